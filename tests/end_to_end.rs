//! From `helm install` to the link, on a real node: what a user of TransferJobs sees.
//!
//! Telegram and Object Storage are the stand-ins; everything else is real.

mod support;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use support::Node;
use telestream::api::{Phase, TransferJob};
use telestream_sim::{Options, Sim};
use tempfile::TempDir;
use tokio::time::sleep;

const CHANNEL: i64 = -1_001_234_567_890;
const NAMESPACE: &str = "telestream";
const MIB: u64 = 1024 * 1024;

/// What some of Oracle's documents say that parts must have.
const MINIMUM_PART_SIZE: u64 = 10 * MIB;

/// The product on a node of its own, between two stand-ins.
struct World {
    node: Node,
    sim: Sim,
    jobs: Api<TransferJob>,
    pods: Api<Pod>,
    http: reqwest::Client,
    _data: TempDir,
}

/// A message that was published.
struct Published {
    message_id: i64,
    sha256: String,
}

impl World {
    async fn install() -> Self {
        let node = Node::start("e2e");
        let data = TempDir::new().unwrap();
        let mut options = Options::in_dir(data.path());
        options.listen = IpAddr::V4(node.host_address);
        options.advertise = node.host_address;
        options.oci.minimum_part_size = Some(MINIMUM_PART_SIZE);
        let sim = Sim::start(options).await.unwrap();
        let http = reqwest::Client::new();
        let admin = format!("http://{}", sim.admin_address());
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let session = http
                .post(format!("{admin}/telegram/sessions"))
                .json(&json!({"identity": "bot"}));
            sessions.push(session.send().await.unwrap().text().await.unwrap());
        }
        let config = sim.oci().client_config();
        let (repository, tag) = node.image.split_once(':').unwrap();
        let values = json!({
            "image": {"repository": repository, "tag": tag},
            "telegram": {"apiId": "1", "sessions": sessions},
            "oci": {
                "namespace": config.namespace, "bucket": config.bucket, "region": config.region,
                "tenancy": config.tenancy, "user": config.user, "fingerprint": config.fingerprint,
                "privateKey": config.private_key, "endpoint": config.endpoint,
            },
            "worker": {"slots": 2, "idleTimeout": "15s"},
        });
        let file = data.path().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        node.run(
            "helm",
            &[
                "install",
                "telestream",
                support::root().join("charts/telestream").to_str().unwrap(),
                "--namespace",
                NAMESPACE,
                "--create-namespace",
                "--values",
                file.to_str().unwrap(),
                "--wait",
                "--timeout",
                "2m",
            ],
        );
        let client = node.client().await;
        let jobs = Api::namespaced(client.clone(), NAMESPACE);
        let pods = Api::namespaced(client, NAMESPACE);
        Self {
            node,
            sim,
            jobs,
            pods,
            http,
            _data: data,
        }
    }

    async fn publish(&self, message: Value) -> Published {
        let url = format!("http://{}/telegram/messages", self.sim.admin_address());
        let reply = self.http.post(url).json(&message).send().await.unwrap();
        let reply: Value = reply.error_for_status().unwrap().json().await.unwrap();
        Published {
            message_id: reply["messageId"].as_i64().unwrap(),
            sha256: reply["sha256"].as_str().unwrap_or_default().to_owned(),
        }
    }

    async fn publish_file(&self, name: &str, size: u64) -> Published {
        self.publish(json!({"chatId": CHANNEL, "kind": "document", "name": name, "mimeType": "video/mp4", "size": size, "seed": size + 1}))
            .await
    }

    async fn apply(&self, name: &str, message_id: i64, change: Value) -> TransferJob {
        let mut spec = json!({"source": {"chatId": CHANNEL, "messageId": message_id}});
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let job = json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": name}, "spec": spec,
        });
        self.jobs
            .create(
                &PostParams::default(),
                &serde_json::from_value(job).unwrap(),
            )
            .await
            .unwrap()
    }

    /// Waits until the job is as wanted, and returns it.
    async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&TransferJob) -> bool,
    ) -> TransferJob {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let job = self.jobs.get(name).await.unwrap();
            if wanted(&job) {
                return job;
            }
            assert!(
                Instant::now() < deadline,
                "{name} is not {what}: {:#?}",
                job.status
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn finished(&self, name: &str) -> TransferJob {
        self.until(name, "finished", |job| {
            job.status
                .as_ref()
                .is_some_and(|status| status.completion_time.is_some())
        })
        .await
    }

    async fn gone(&self, name: &str) {
        self.eventually(&format!("{name} is gone"), async || {
            self.jobs.get_opt(name).await.unwrap().is_none()
        })
        .await;
    }

    async fn eventually(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !holds().await {
            assert!(Instant::now() < deadline, "not within a minute: {what}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn download(&self, url: &str) -> Result<String, u16> {
        let reply = self.http.get(url).send().await.unwrap();
        if !reply.status().is_success() {
            return Err(reply.status().as_u16());
        }
        let mut digest = Context::new(&SHA256);
        let mut body = reply.bytes_stream();
        while let Some(chunk) = body.next().await {
            digest.update(&chunk.unwrap());
        }
        Ok(digest
            .finish()
            .as_ref()
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.node.run(
            "kubectl",
            &[&["--namespace", NAMESPACE], arguments].concat(),
        )
    }

    fn objects_of(&self, job: &str) -> Vec<String> {
        let ours = |name: &String| name.contains(&format!("/{job}/"));
        self.sim
            .oci()
            .objects()
            .into_iter()
            .map(|object| object.name)
            .filter(ours)
            .collect()
    }

    fn links_of(&self, job: &str) -> usize {
        let ours = |name: &Option<String>| {
            name.as_ref()
                .is_some_and(|name| name.contains(&format!("/{job}/")))
        };
        self.sim
            .oci()
            .pars()
            .into_iter()
            .filter(|par| ours(&par.object_name))
            .count()
    }
}

fn link(job: &TransferJob) -> String {
    job.status
        .as_ref()
        .unwrap()
        .link
        .as_ref()
        .unwrap()
        .url
        .clone()
}

fn reason(job: &TransferJob) -> (Phase, String) {
    let status = job.status.as_ref().unwrap();
    (status.phase, status.reason.clone().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_a_link() {
    let world = World::install().await;
    files_of_every_size_arrive(&world).await;
    what_cannot_work_fails_with_its_reason(&world).await;
    a_hostile_name_becomes_a_safe_one(&world).await;
    a_killed_worker_is_replaced_and_the_file_arrives(&world).await;
    deleting_a_running_transfer_leaves_nothing(&world).await;
    deleting_a_finished_transfer_ends_its_link(&world).await;
    nothing_is_left_open(&world).await;
    idle_workers_are_retired(&world).await;
    world.sim.stop().await;
}

async fn files_of_every_size_arrive(world: &World) {
    // Given files of no byte, of one part, and of several
    let sizes = [("empty", 0), ("small", MIB + 1), ("large", 40 * MIB + 7)];
    let mut published = Vec::new();
    for (name, size) in sizes {
        published.push((name, size, world.publish_file("holiday.mp4", size).await));
    }
    // When each gets a TransferJob
    for (name, _, file) in &published {
        world.apply(name, file.message_id, json!({})).await;
    }
    // Then each ends with a link to the same bytes
    for (name, size, file) in &published {
        let job = world.finished(name).await;
        assert_eq!(
            reason(&job),
            (Phase::Succeeded, "Succeeded".to_owned()),
            "{name}: {:#?}",
            job.status
        );
        assert_eq!(
            world.download(&link(&job)).await,
            Ok(file.sha256.clone()),
            "{name}"
        );
        assert_eq!(
            (world.objects_of(name).len(), world.links_of(name)),
            (1, 1),
            "{name}"
        );
        let status = job.status.unwrap();
        assert_eq!(status.object.unwrap().size.cast_unsigned(), *size);
        assert_eq!(
            (status.attempt, status.failures, status.interruptions),
            (1, 0, 0)
        );
    }
    // And kubectl shows it, without the link
    let shown = world.kubectl(&["get", "tj", "large", "-o", "wide"]);
    for word in ["Succeeded", "100%", "40.0 MiB", "holiday.mp4", "MiB/s"] {
        assert!(shown.contains(word), "{word} is not in:\n{shown}");
    }
    assert!(!shown.contains("http"), "{shown}");
    world.kubectl(&[
        "wait",
        "--for=condition=Complete",
        "tj/large",
        "--timeout=1s",
    ]);
    let events = world.kubectl(&["events", "--for", "transferjob/large"]);
    assert!(
        events.contains("Succeeded") && !events.contains("http"),
        "{events}"
    );
}

async fn what_cannot_work_fails_with_its_reason(world: &World) {
    let text = world
        .publish(json!({"chatId": CHANNEL, "kind": "text", "text": "no file"}))
        .await;
    let file = world.publish_file("a.bin", 20 * MIB).await;
    let stranger = json!({"source": {"chatId": -1_009_999_999_999_i64, "messageId": 1}});
    for (name, message, change, expected) in [
        ("deleted", 999_999, json!({}), "MessageNotFound"),
        ("not-a-file", text.message_id, json!({}), "NoMedia"),
        ("not-visible", 1, stranger, "MessageNotFound"),
        (
            "no-bucket",
            file.message_id,
            json!({"destination": {"bucket": "nowhere"}}),
            "BucketNotFound",
        ),
    ] {
        world.apply(name, message, change).await;
        let job = world.finished(name).await;
        assert_eq!(reason(&job), (Phase::Failed, expected.to_owned()), "{name}");
        assert_eq!(job.status.unwrap().attempt, 1, "{name} was not tried again");
        let events = world.kubectl(&["events", "--for", &format!("transferjob/{name}")]);
        assert!(events.contains(expected), "{events}");
    }
}

async fn a_hostile_name_becomes_a_safe_one(world: &World) {
    let file = world
        .publish_file(
            &format!("../../{}\u{202e}\r\n.tar.gz", "ä".repeat(2_000)),
            MIB,
        )
        .await;
    world.apply("hostile", file.message_id, json!({})).await;
    let job = world.finished("hostile").await;
    let name = job
        .status
        .as_ref()
        .unwrap()
        .object
        .as_ref()
        .unwrap()
        .name
        .clone();
    assert!(
        name.ends_with("ä.gz")
            && name.len() < 300
            && name.split('/').all(|part| part != "..")
            && !name.contains('\u{202e}'),
        "{name}"
    );
    assert_eq!(world.download(&link(&job)).await, Ok(file.sha256));
}

/// Makes uploads slow, so that something can happen to them.
fn slow_down(world: &World) {
    world.sim.oci().set_connection_rate(Some(4 * MIB));
}

fn speed_up(world: &World) {
    world.sim.oci().set_connection_rate(None);
}

async fn a_killed_worker_is_replaced_and_the_file_arrives(world: &World) {
    // Given a transfer under way
    let file = world.publish_file("film.mkv", 100 * MIB).await;
    slow_down(world);
    world.apply("killed", file.message_id, json!({})).await;
    let stored = |job: &TransferJob| {
        job.status
            .as_ref()
            .and_then(|s| s.progress.as_ref())
            .map_or(0, |p| p.bytes)
    };
    let job = world
        .until("killed", "under way", |job| {
            stored(job) > 40 * MIB.cast_signed()
        })
        .await;
    let pod = job.status.unwrap().assignment.unwrap().pod;
    // When its pod is killed
    world
        .pods
        .delete(&pod, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    speed_up(world);
    // Then another takes over and the file is whole
    let job = world.finished("killed").await;
    assert_eq!(reason(&job).0, Phase::Succeeded, "{:#?}", job.status);
    assert_eq!(world.download(&link(&job)).await, Ok(file.sha256));
    let status = job.status.unwrap();
    assert_eq!(
        (status.attempt, status.failures, status.interruptions),
        (2, 0, 1)
    );
    assert_eq!(
        (world.objects_of("killed").len(), world.links_of("killed")),
        (1, 1)
    );
}

async fn deleting_a_running_transfer_leaves_nothing(world: &World) {
    // Given a transfer under way
    let file = world.publish_file("film.mkv", 100 * MIB).await;
    slow_down(world);
    world.apply("cancelled", file.message_id, json!({})).await;
    world
        .until("cancelled", "uploading", |job| {
            job.status
                .as_ref()
                .is_some_and(|status| status.upload.is_some())
        })
        .await;
    // When its TransferJob is deleted
    world
        .jobs
        .delete("cancelled", &DeleteParams::default())
        .await
        .unwrap();
    // Then it goes, with everything it made
    world.gone("cancelled").await;
    speed_up(world);
    assert_eq!(
        (
            world.objects_of("cancelled").len(),
            world.links_of("cancelled")
        ),
        (0, 0)
    );
}

async fn deleting_a_finished_transfer_ends_its_link(world: &World) {
    for (name, policy, objects) in [("kept", "Retain", 1), ("removed", "Delete", 0)] {
        let file = world.publish_file("a.bin", MIB).await;
        world
            .apply(name, file.message_id, json!({"reclaimPolicy": policy}))
            .await;
        let url = link(&world.finished(name).await);
        world
            .jobs
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        world.gone(name).await;
        assert_eq!(world.download(&url).await, Err(404), "{name}");
        assert_eq!(
            (world.objects_of(name).len(), world.links_of(name)),
            (objects, 0),
            "{name}"
        );
    }
}

async fn nothing_is_left_open(world: &World) {
    let uploads = async || world.sim.oci().uploads().is_empty();
    world.eventually("no upload is open", uploads).await;
}

async fn idle_workers_are_retired(world: &World) {
    let workers = ListParams::default().labels("app.kubernetes.io/component=worker");
    let none = async || world.pods.list(&workers).await.unwrap().items.is_empty();
    world.eventually("no worker pod is left", none).await;
    let controller = ListParams::default().labels("app.kubernetes.io/component=controller");
    let controllers = world.pods.list(&controller).await.unwrap();
    let names: Vec<_> = controllers
        .items
        .iter()
        .map(kube::ResourceExt::name_any)
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
