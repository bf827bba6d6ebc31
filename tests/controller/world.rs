//! The product, installed by its chart on a control plane of its own, between two stand-ins and a
//! Redis.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Pod, Secret},
    events::v1::Event,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use telestream::{
    api::{Assignment, Phase, TransferJob, TransferJobStatus, names},
    oci::{
        ApiKey, BucketName, Credentials, Endpoint, Namespace, NewPar, ObjectName, ObjectStorage,
        Settings,
    },
};
use telestream_sim::{
    Options, Sim,
    telegram::{
        ids::{ChatId, DcId, Identity},
        keys::SignedIn,
        store::{Draft, DraftBody, Look, Origin},
    },
};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::support::{self, ControlPlane, kubelet::Kubelet, redis_server::RedisServer};

pub const NAMESPACE: &str = "telestream";
pub const MIB: u64 = 1024 * 1024;

/// The channel that files stand in.
pub const CHANNEL: i64 = -1_001_234_567_890;
const HOME: DcId = DcId(2);

/// What some of Oracle's documents say that parts must have.
const MINIMUM_PART_SIZE: u64 = 10 * MIB;

/// Shorter words are no secrets.
const SECRET_LENGTH: usize = 24;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_mins(4);

/// The product and all that it meets.
pub struct World {
    // Dropped in this order.
    pub kubelet: Kubelet,
    pub redis: RedisServer,
    pub sim: Sim,
    pub client: Client,
    pub jobs: Api<TransferJob>,
    pub pods: Api<Pod>,
    pub plane: ControlPlane,
    _data: TempDir,
}

impl World {
    /// Installs it with values that differ from the usual ones by `change`. `name` tells the tests
    /// of this process apart.
    pub async fn install(name: &str, change: Value) -> Self {
        Self::install_with(name, |_| change).await
    }

    /// The same, with a change that depends on the stand-ins.
    pub async fn install_with(name: &str, change: impl FnOnce(&Sim) -> Value) -> Self {
        let plane = ControlPlane::start_whole(name);
        let client = plane.client().await;
        let redis = RedisServer::start(&[]);
        let data = tempfile::tempdir().unwrap();
        let mut options = Options::in_dir(data.path());
        options.oci.minimum_part_size = Some(MINIMUM_PART_SIZE);
        let sim = Sim::start(options).await.unwrap();
        let logs = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join("controller")
            .join(name);
        drop(std::fs::remove_dir_all(&logs));
        let kubelet = Kubelet::start(
            client.clone(),
            &plane.kubeconfig,
            NAMESPACE,
            env!("CARGO_BIN_EXE_telestream"),
            logs,
        )
        .await;
        let mut values = values(&sim);
        values["redis"] = json!({"host": "127.0.0.1", "port": redis.port});
        merge(&mut values, change(&sim));
        let file = data.path().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        plane.run(
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
        Self {
            kubelet,
            redis,
            sim,
            jobs: Api::namespaced(client.clone(), NAMESPACE),
            pods: Api::namespaced(client.clone(), NAMESPACE),
            client,
            plane,
            _data: data,
        }
    }

    /// Lets a Deployment have so many pods, and waits until it does.
    pub async fn scale(&self, deployment: &str, replicas: usize) {
        let replicas_option = format!("--replicas={replicas}");
        let arguments = [
            "scale",
            "deployment",
            deployment,
            "--namespace",
            NAMESPACE,
            &replicas_option,
        ];
        self.plane.run("kubectl", &arguments);
        let of_it = |pods: Vec<String>| {
            pods.iter()
                .filter(|pod| pod.starts_with(deployment))
                .count()
        };
        eventually("it has been scaled", async || {
            of_it(self.kubelet.pods()) == replicas
        })
        .await;
    }

    /// A file stands in the channel; the number of its message.
    pub async fn send(&self, size: u64) -> i32 {
        send(&self.sim, size).await
    }

    /// Applies a `TransferJob` for that message.
    pub async fn apply(&self, name: &str, message_id: i32, change: Value) -> TransferJob {
        let mut spec = json!({"source": {"chatId": CHANNEL, "messageId": message_id}});
        merge(&mut spec, change);
        let job = json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": name}, "spec": spec,
        });
        let job = serde_json::from_value(job).unwrap();
        self.jobs
            .create(&PostParams::default(), &job)
            .await
            .unwrap()
    }

    /// A file of that size gets a `TransferJob`.
    pub async fn transfer(&self, name: &str, size: u64) -> TransferJob {
        let message = self.send(size).await;
        self.apply(name, message, json!({})).await
    }

    /// Changes the spec of a job.
    pub async fn change(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let parameters = PatchParams::default();
        self.jobs.patch(name, &parameters, &patch).await.unwrap();
    }

    /// Waits until the status is as wanted, and returns it.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&TransferJobStatus) -> bool,
    ) -> TransferJobStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.jobs.get(name).await;
            let status = job.as_ref().ok().and_then(|job| job.status.clone());
            if let Some(status) = status.filter(&wanted) {
                return status;
            }
            assert!(Instant::now() < deadline, "{name} is not {what}: {job:#?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn finished(&self, name: &str) -> TransferJobStatus {
        self.until(name, "finished", |status| status.completion_time.is_some())
            .await
    }

    pub async fn succeeded(&self, name: &str) -> TransferJobStatus {
        let status = self.finished(name).await;
        assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
        status
    }

    /// Waits until a part of the file is stored, and returns the name of its pod.
    pub async fn under_way(&self, name: &str) -> String {
        let is_under_way =
            |status: &TransferJobStatus| status.assignment.is_some() && status.upload.is_some();
        let status = self.until(name, "under way", is_under_way).await;
        status.assignment.unwrap().pod
    }

    /// Waits until nobody has anything left to do for a job.
    pub async fn labelled(&self, name: &str) {
        eventually(&format!("{name} is labelled"), async || {
            let job = self.jobs.get(name).await.unwrap();
            let labels = job.metadata.labels.unwrap_or_default();
            labels.contains_key("telestream.io/finished")
        })
        .await;
    }

    pub async fn gone(&self, name: &str) {
        eventually(&format!("{name} is gone"), async || {
            matches!(self.jobs.get_opt(name).await, Ok(None))
        })
        .await;
    }

    pub async fn uid(&self, name: &str) -> String {
        self.jobs.get(name).await.unwrap().uid().unwrap()
    }

    /// Uploads to Object Storage go so fast, each connection.
    pub fn set_rate(&self, rate: Option<u64>) {
        self.sim.oci().set_connection_rate(rate);
    }

    /// The UID of a worker pod that is there.
    pub async fn worker(&self, pod: &str) -> Option<String> {
        let found = self.pods.get_opt(pod).await.unwrap();
        found.and_then(|pod| pod.uid())
    }

    /// The worker pods that are there.
    pub async fn workers(&self) -> Vec<Pod> {
        let workers = ListParams::default().labels("app.kubernetes.io/component=worker");
        self.pods.list(&workers).await.unwrap().items
    }

    /// The controllers that have a process.
    pub fn controllers(&self) -> Vec<String> {
        let mut pods = self.kubelet.pods();
        pods.retain(|pod| pod.contains("controller"));
        pods
    }

    /// Who leads: the pod's name.
    pub async fn leader(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let lease = leases.get("telestream-controller").await.ok()?;
        let holder = lease.spec?.holder_identity?;
        Some(holder.split_once('_')?.0.to_owned())
    }

    /// Changes values of the chart, each as `--set` takes it.
    pub fn upgrade(&self, values: &[&str]) {
        let chart = support::root().join("charts/telestream");
        let mut arguments = vec![
            "upgrade",
            "telestream",
            chart.to_str().unwrap(),
            "--namespace",
            NAMESPACE,
            "--reuse-values",
            "--wait",
            "--timeout",
            "2m",
        ];
        for value in values {
            arguments.extend(["--set", value]);
        }
        self.plane.run("helm", &arguments);
    }

    /// The events that tell of a job: how often each, by its reason.
    pub async fn events(&self, job: &str) -> BTreeMap<String, i32> {
        let mut counts = BTreeMap::new();
        for event in self.events_of(job).await {
            let times = event.series.map_or(1, |series| series.count);
            *counts.entry(event.reason.unwrap_or_default()).or_default() += times;
        }
        counts
    }

    /// What the events of that reason say of a job.
    pub async fn notes(&self, job: &str, reason: &str) -> Vec<String> {
        let mut events = self.events_of(job).await;
        events.retain(|event| event.reason.as_deref() == Some(reason));
        events.into_iter().filter_map(|event| event.note).collect()
    }

    async fn events_of(&self, job: &str) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| {
            let about = event
                .regarding
                .as_ref()
                .and_then(|about| about.name.as_deref());
            about == Some(job)
        });
        events
    }

    /// What Secrets hold that is long enough to be one: keys, by their lines, and the words of
    /// sessions.
    pub async fn secrets(&self) -> Vec<String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let all = secrets.list(&ListParams::default()).await.unwrap();
        let data = all.into_iter().filter_map(|secret| secret.data).flatten();
        let values = data
            // The credentials' file says who signs, not with what.
            .filter(|(key, _)| key != "config")
            .filter_map(|(_, value)| String::from_utf8(value.0).ok());
        values
            .flat_map(|text| {
                let words = text.split(|c: char| c.is_whitespace() || "\",:{}[]".contains(c));
                words.map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(|word| word.len() >= SECRET_LENGTH)
            .collect()
    }

    /// Gives a slot a new session.
    pub async fn replace_session(&self, slot: i32) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = json!({"stringData": {"session.json": session(&self.sim)}});
        let name = format!("telestream-session-{slot}");
        let parameters = PatchParams::default();
        let patch = Patch::Merge(patch);
        secrets.patch(&name, &parameters, &patch).await.unwrap();
    }

    pub fn objects_of(&self, job: &str) -> usize {
        let marker = format!("/{job}/");
        let objects = self.sim.oci().objects();
        objects
            .iter()
            .filter(|object| object.name.contains(&marker))
            .count()
    }

    pub fn links_of(&self, job: &str) -> usize {
        let marker = format!("/{job}/");
        let pars = self.sim.oci().pars();
        pars.iter()
            .filter(|par| {
                par.object_name
                    .as_ref()
                    .is_some_and(|name| name.contains(&marker))
            })
            .count()
    }

    /// A link to what a job stores, as the worker of that attempt would have made it.
    pub async fn make_link(&self, job: &str, attempt: i32) {
        let job = self.jobs.get(job).await.unwrap();
        let config = self.sim.oci().client_config();
        let credentials = Credentials::from_api_key(&ApiKey {
            tenancy: config.tenancy,
            user: config.user,
            fingerprint: config.fingerprint,
            private_key: config.private_key,
            pass_phrase: None,
        });
        let storage = ObjectStorage::new(Settings::new(
            Endpoint::at(&config.endpoint).unwrap(),
            Namespace::new(config.namespace).unwrap(),
            credentials.unwrap(),
        ));
        let upload = job.status.as_ref().unwrap().upload.as_ref().unwrap();
        let link = NewPar {
            name: names::link_name(&job.uid().unwrap(), attempt),
            object: ObjectName::new(upload.object_name.clone()).unwrap(),
            expires: Timestamp::now() + SignedDuration::from_hours(1),
        };
        let bucket = BucketName::new(config.bucket).unwrap();
        storage.unwrap().create_par(&bucket, &link).await.unwrap();
    }

    /// Nothing is left in Object Storage but one object and one link of each of these.
    pub async fn assert_exactly(&self, jobs: &BTreeSet<String>) {
        eventually("no upload is open", async || {
            self.sim.oci().uploads().is_empty()
        })
        .await;
        let oci = self.sim.oci();
        for job in jobs {
            let left = (self.objects_of(job), self.links_of(job));
            let links: Vec<_> = oci.pars().into_iter().map(|par| par.name).collect();
            assert_eq!(left, (1, 1), "{job}, {}: {links:?}", self.uid(job).await);
        }
        assert_eq!(
            (oci.objects().len(), oci.pars().len()),
            (jobs.len(), jobs.len())
        );
    }

    /// Telegram ends sessions that two workers use at the same time.
    pub fn assert_no_session_was_shared(&self) {
        let log = self.kubelet.log("telestream-worker");
        let told: Vec<_> = log
            .lines()
            .filter(|line| line.contains("AUTH_KEY_DUPLICATED"))
            .collect();
        assert!(told.is_empty(), "{told:#?}");
    }

    /// What a figure of a controller is, summed over its labels.
    pub async fn figure(&self, pod: &str, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.kubelet.http(pod));
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let of_it = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        text.lines()
            .filter(of_it)
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

/// A file stands in the channel; the number of its message.
pub async fn send(sim: &Sim, size: u64) -> i32 {
    let look = Look {
        name: Some("holiday.mp4".into()),
        ..Look::default()
    };
    let draft = Draft {
        chat_id: ChatId(CHANNEL),
        members: None,
        chat_title: None,
        text: String::new(),
        grouped_id: None,
        body: DraftBody::Media {
            dc: HOME,
            origin: Origin::Seed(size),
            size,
            look,
        },
    };
    sim.telegram().publish(draft).await.unwrap().id
}

/// What a worker is given that has not said yet how it ended.
pub fn attempt_under_way(job: &TransferJob) -> Option<&Assignment> {
    let status = job.status.as_ref()?;
    let ended = status.outcome.as_ref().map(|outcome| outcome.attempt);
    let assignment = status.assignment.as_ref();
    assignment.filter(|assignment| ended != Some(assignment.attempt))
}

pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn session(sim: &Sim) -> String {
    let session = sim
        .telegram()
        .create_session(Identity::Bot, SignedIn::All)
        .unwrap();
    serde_json::to_string(&session).unwrap()
}

/// Values of the chart that lead to these stand-ins, without a Redis.
pub fn values(sim: &Sim) -> Value {
    let config = sim.oci().client_config();
    let sessions: Vec<_> = (0..3).map(|_| session(sim)).collect();
    json!({
        "image": {"repository": "telestream", "tag": "test"},
        "telegram": {"apiId": "1", "sessions": sessions},
        "oci": {
            "namespace": config.namespace, "bucket": config.bucket, "region": config.region,
            "tenancy": config.tenancy, "user": config.user, "fingerprint": config.fingerprint,
            "privateKey": config.private_key, "endpoint": config.endpoint,
        },
        "worker": {"slots": 3, "idleTimeout": "1m"},
    })
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}
