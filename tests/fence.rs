//! The fence that the chart installs, on a real API server: what the token of a worker's pod may
//! write, and what not.

mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::{
    admissionregistration::v1::ValidatingAdmissionPolicy,
    authentication::v1::TokenRequest,
    core::v1::{Pod, ServiceAccount},
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use support::ControlPlane;
use telestream::api::TransferJob;
use tokio::time::sleep;

const NAMESPACE: &str = "telestream";
const ACCOUNT: &str = "telestream-worker";
const BOT: &str = "telestream-bot";
const JOB: &str = "job";

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A control plane with the chart and no controller.
struct World {
    plane: ControlPlane,
    /// With all rights, as the controller has those it needs.
    jobs: Api<TransferJob>,
    pods: Api<Pod>,
    accounts: Api<ServiceAccount>,
}

/// Somebody with a token.
struct Worker {
    uid: String,
    jobs: Api<TransferJob>,
}

impl World {
    async fn install() -> Self {
        let plane = ControlPlane::start("fence");
        let chart = support::root().join("charts/telestream");
        let values = chart.join("ci/values.yaml");
        plane.run(
            "helm",
            &[
                "install",
                "telestream",
                chart.to_str().unwrap(),
                "--namespace",
                NAMESPACE,
                "--create-namespace",
                "--values",
                values.to_str().unwrap(),
            ],
        );
        let client = plane.client().await;
        let world = Self {
            jobs: Api::namespaced(client.clone(), NAMESPACE),
            pods: Api::namespaced(client.clone(), NAMESPACE),
            accounts: Api::namespaced(client.clone(), NAMESPACE),
            plane,
        };
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client);
        for name in ["telestream-fence", "telestream-bot-fence"] {
            let name = format!("{name}.{NAMESPACE}");
            let checked = world
                .eventually("the policy is checked", async || {
                    let status = policies.get(&name).await.unwrap().status;
                    status.filter(|status| status.observed_generation.is_some())
                })
                .await;
            let warnings = checked
                .type_checking
                .and_then(|check| check.expression_warnings);
            assert_eq!(
                warnings.unwrap_or_default(),
                [],
                "every expression fits the types"
            );
        }
        // Besides what the chart grants: what is tested is the fence alone.
        world.plane.run(
            "kubectl",
            &[
                "create",
                "rolebinding",
                "more",
                "--namespace",
                NAMESPACE,
                "--clusterrole=admin",
                &format!("--serviceaccount={NAMESPACE}:{ACCOUNT}"),
            ],
        );
        world.plane.run(
            "kubectl",
            &[
                "create",
                "role",
                "all",
                "--namespace",
                NAMESPACE,
                "--verb=*",
                "--resource=transferjobs.telestream.io,transferjobs.telestream.io/status",
            ],
        );
        world.plane.run(
            "kubectl",
            &[
                "create",
                "rolebinding",
                "all",
                "--namespace",
                NAMESPACE,
                "--role=all",
                &format!("--serviceaccount={NAMESPACE}:{ACCOUNT}"),
            ],
        );
        world
    }

    async fn eventually<T>(&self, what: &str, holds: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = holds().await {
                return value;
            }
            assert!(Instant::now() < deadline, "not in time: {what}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A pod of that name, with a token that is bound to it.
    async fn worker(&self, name: &str) -> Worker {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "serviceAccountName": ACCOUNT, "containers": [{"name": "main", "image": "none"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let pod = self
            .pods
            .create(&PostParams::default(), &pod)
            .await
            .unwrap();
        let uid = pod.uid().unwrap();
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
        Worker {
            jobs: self.jobs_of(ACCOUNT, Some(bound)).await,
            uid,
        }
    }

    async fn jobs_of(&self, account: &str, bound_to: Option<Value>) -> Api<TransferJob> {
        let request = json!({"spec": {"audiences": [], "expirationSeconds": 3600, "boundObjectRef": bound_to}});
        let request: TokenRequest = serde_json::from_value(request).unwrap();
        let parameters = PostParams::default();
        let granted = self
            .accounts
            .create_token_request(account, &parameters, &request)
            .await
            .unwrap();
        let mut kubeconfig = Kubeconfig::read_from(&self.plane.kubeconfig).unwrap();
        let auth = kubeconfig.auth_infos[0].auth_info.as_mut().unwrap();
        *auth = serde_json::from_value(json!({"token": granted.status.unwrap().token})).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        Api::namespaced(Client::try_from(config).unwrap(), NAMESPACE)
    }

    /// The job anew, assigned to a pod of that UID, with this as the rest of its status.
    async fn job(&self, pod_uid: &str, status: Value) {
        let spec = json!({"source": {"chatId": 7, "messageId": 1}});
        let job = json!({"apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": JOB}, "spec": spec});
        let job = serde_json::from_value(job).unwrap();
        drop(self.jobs.delete(JOB, &DeleteParams::default()).await);
        self.jobs
            .create(&PostParams::default(), &job)
            .await
            .unwrap();
        let assignment = json!({"pod": "w", "podUID": pod_uid, "slot": 0, "attempt": 2, "time": "2026-11-01T00:00:00Z"});
        self.write(json!({"phase": "Running", "attempt": 2, "assignment": assignment}))
            .await;
        self.write(status).await;
    }

    async fn write(&self, status: Value) {
        write(&self.jobs, status).await.unwrap();
    }
}

async fn write(jobs: &Api<TransferJob>, status: Value) -> kube::Result<TransferJob> {
    let patch = Patch::Merge(json!({ "status": status }));
    jobs.patch_status(JOB, &PatchParams::default(), &patch)
        .await
}

/// What the API server said no with.
fn refusal(result: kube::Result<TransferJob>) -> String {
    match result {
        Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.message),
        other => panic!("it was not refused: {other:?}"),
    }
}

fn progress(attempt: i32) -> Value {
    json!({"attempt": attempt, "bytes": 1, "total": 2, "percent": "50%", "fileName": "a", "size": "2 B",
        "rate": "1 B/s", "bytesPerSecond": 1, "updatedAt": "2026-11-01T00:00:01Z"})
}

fn outcome(result: &str, attempt: i32) -> Value {
    json!({"attempt": attempt, "result": result, "reason": "R", "message": "words"})
}

fn object() -> Value {
    json!({"name": "o", "bucket": "b", "size": 1, "etag": "e", "crc32c": "AAAAAA==", "contentType": "a/b"})
}

fn link() -> Value {
    json!({"id": "l", "url": "https://example.com/p/x", "expiresAt": "2026-11-09T00:00:00Z", "ttl": "7d"})
}

fn success() -> Value {
    json!({"progress": progress(2), "upload": null, "object": object(), "link": link(), "outcome": outcome("Succeeded", 2)})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_writes_what_is_its_own_and_nothing_else() {
    let world = World::install().await;
    let worker = world.worker("w").await;
    it_is_in_force(&world, &worker).await;
    what_it_has_to_say_is_taken(&world, &worker).await;
    what_is_not_its_own_is_refused(&world, &worker).await;
    nobody_else_may(&world, &worker).await;
    who_has_lost_the_assignment_publishes_nothing(&world, &worker).await;
    others_are_not_concerned(&world, &worker).await;
    the_bot_writes_what_is_its_own_and_nothing_else(&world).await;
}

/// A policy takes a moment.
async fn it_is_in_force(world: &World, worker: &Worker) {
    world
        .eventually("the fence stands", async || {
            world.job("another", json!({})).await;
            let refused = write(&worker.jobs, json!({"progress": progress(2)})).await;
            matches!(refused, Err(kube::Error::Api(status)) if status.code == 403).then_some(())
        })
        .await;
}

async fn what_it_has_to_say_is_taken(world: &World, worker: &Worker) {
    let upload = json!({"uploadId": "u", "objectName": "o", "partSize": 16_777_216, "fileId": 1});
    for (what, said) in [
        ("progress", vec![json!({"progress": progress(2)})]),
        ("a success", vec![success()]),
        ("a success said again", vec![success(), success()]),
        (
            "a failure",
            vec![json!({"outcome": outcome("TransientFailure", 2)})],
        ),
        (
            "all in turn",
            vec![
                json!({ "upload": upload }),
                json!({"progress": progress(2)}),
                success(),
            ],
        ),
    ] {
        world.job(&worker.uid, json!({})).await;
        for status in said {
            let taken = write(&worker.jobs, status).await;
            taken.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    // An earlier attempt's words may stand there.
    let before = json!({"outcome": outcome("Interrupted", 1), "progress": progress(1)});
    world.job(&worker.uid, before).await;
    write(&worker.jobs, json!({"progress": progress(2)}))
        .await
        .unwrap();
    write(&worker.jobs, success()).await.unwrap();
}

async fn what_is_not_its_own_is_refused(world: &World, worker: &Worker) {
    let time = "2026-11-01T00:00:00Z";
    let condition = json!({"type": "Complete", "status": "True", "reason": "R", "message": "", "lastTransitionTime": time});
    let assignment = json!({"assignment": {"attempt": 3}});
    for status in [
        json!({"observedGeneration": 9}),
        json!({"phase": "Succeeded"}),
        json!({"reason": "R"}),
        json!({"conditions": [condition]}),
        json!({"attempt": 3}),
        json!({"failures": 1}),
        json!({"interruptions": 1}),
        json!({"nextAttemptTime": time}),
        json!({"adoptionAttempt": 3}),
        json!({"strayUntil": time}),
        assignment,
        json!({"assignment": null}),
        json!({"notified": {"time": time}}),
        json!({"startTime": time}),
        json!({"completionTime": time}),
        json!({"progress": progress(1)}),
        json!({"progress": progress(3)}),
        json!({"outcome": outcome("Interrupted", 1)}),
        json!({"outcome": outcome("Interrupted", 3)}),
        json!({"link": link()}),
        json!({"object": object()}),
        json!({"link": link(), "object": object(), "outcome": outcome("TransientFailure", 2)}),
        json!({"phase": "Succeeded", "progress": progress(2)}),
    ] {
        world.job(&worker.uid, json!({})).await;
        let refused = refusal(write(&worker.jobs, status.clone()).await);
        assert!(
            refused.starts_with("403 ") && refused.contains("fence"),
            "{status}: {refused}"
        );
    }
    // Nor a second outcome, nor another link
    world.job(&worker.uid, success()).await;
    for status in [
        json!({"outcome": outcome("TransientFailure", 2)}),
        json!({"link": {"url": "https://example.com/p/y"}}),
        json!({"progress": {"bytes": 2}}),
        json!({"outcome": null}),
    ] {
        let refused = refusal(write(&worker.jobs, status.clone()).await);
        assert!(refused.contains("outcome is final"), "{status}: {refused}");
    }
    // Nor anything but the status
    let whole = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let refused = refusal(
        worker
            .jobs
            .patch(JOB, &PatchParams::default(), &whole)
            .await,
    );
    assert!(
        refused.contains("nothing of a TransferJob but its status"),
        "{refused}"
    );
    let gone = worker.jobs.delete(JOB, &DeleteParams::default()).await;
    assert!(matches!(gone, Err(kube::Error::Api(status)) if status.code == 403));
}

async fn nobody_else_may(world: &World, worker: &Worker) {
    world.job(&worker.uid, json!({})).await;
    let other = world.worker("other").await;
    let nobody = world.jobs_of(ACCOUNT, None).await;
    for jobs in [&other.jobs, &nobody] {
        let refused = refusal(write(jobs, success()).await);
        assert!(
            refused.contains("not assigned to this worker pod"),
            "{refused}"
        );
    }
    // The pod of the same name that comes after
    let first = world.worker("again").await;
    world.job(&first.uid, json!({})).await;
    let by_force = DeleteParams::default().grace_period(0);
    world.pods.delete("again", &by_force).await.unwrap();
    let second = world.worker("again").await;
    let refused = refusal(write(&second.jobs, success()).await);
    assert!(
        refused.contains("not assigned to this worker pod"),
        "{refused}"
    );
    // And the one that was there, which is nobody any more
    let refused = world
        .eventually("its token has ended", async || {
            let refused =
                refusal(write(&first.jobs, json!({"outcome": outcome("Stopped", 9)})).await);
            refused.starts_with("401 ").then_some(refused)
        })
        .await;
    assert!(refused.contains("Unauthorized"), "{refused}");
}

async fn who_has_lost_the_assignment_publishes_nothing(world: &World, worker: &Worker) {
    // The attempt was ended, and another has begun elsewhere
    world.job(&worker.uid, json!({})).await;
    world
        .write(json!({"assignment": null, "phase": "Pending"}))
        .await;
    let refused = refusal(write(&worker.jobs, success()).await);
    assert!(
        refused.contains("not assigned to this worker pod"),
        "{refused}"
    );
    let next =
        json!({"pod": "x", "podUID": "x", "slot": 1, "attempt": 3, "time": "2026-11-01T00:00:00Z"});
    world.write(json!({"assignment": next, "attempt": 3})).await;
    let refused = refusal(write(&worker.jobs, success()).await);
    assert!(
        refused.contains("not assigned to this worker pod"),
        "{refused}"
    );
    // Or it is this pod's again, and an old word comes late
    let again = json!({"pod": "w", "podUID": worker.uid, "slot": 0, "attempt": 4, "time": "2026-11-01T00:00:00Z"});
    world
        .write(json!({"assignment": again, "attempt": 4}))
        .await;
    let refused = refusal(write(&worker.jobs, success()).await);
    assert!(
        refused.contains("not of the attempt that is assigned"),
        "{refused}"
    );
    let job = world.jobs.get(JOB).await.unwrap().status.unwrap();
    assert!(job.link.is_none() && job.object.is_none() && job.outcome.is_none());
}

async fn others_are_not_concerned(world: &World, worker: &Worker) {
    world.job(&worker.uid, success()).await;
    world
        .write(json!({"assignment": null, "phase": "Succeeded", "link": null}))
        .await;
}

async fn the_bot_writes_what_is_its_own_and_nothing_else(world: &World) {
    let bot = world.jobs_of(BOT, None).await;
    world.job("x", success()).await;
    let parameters = PatchParams::default();
    let change = async |patch: Value| bot.patch(JOB, &parameters, &Patch::Merge(patch)).await;
    let notified = json!({"notified": {"time": "2026-11-01T00:00:00Z", "delivery": "Sending"}});
    for allowed in [
        json!({"spec": {"link": {"ttl": "9d"}}}),
        json!({"spec": {"link": {"revoked": true}}}),
    ] {
        change(allowed).await.unwrap();
    }
    write(&bot, notified).await.unwrap();
    for refused in [
        json!({"phase": "Failed"}),
        json!({"assignment": null}),
        json!({"link": null}),
        json!({"notified": {"time": "2026-11-01T00:00:00Z"}, "attempt": 9}),
    ] {
        let said = refusal(write(&bot, refused).await);
        assert!(said.contains("the bot changes nothing"), "{said}");
    }
    for (refused, why) in [
        (
            json!({"spec": {"suspend": true}}),
            "the bot changes nothing",
        ),
        (
            json!({"spec": {"priority": "High"}}),
            "the bot changes nothing",
        ),
        (
            json!({"spec": {"reclaimPolicy": "Delete"}}),
            "the bot changes nothing",
        ),
        (
            json!({"spec": {"requester": {"userId": 8, "chatId": 8}}}),
            "stays its requester's",
        ),
        (
            json!({"metadata": {"labels": {"telestream.io/finished": "1"}}}),
            "no labels",
        ),
        (json!({"metadata": {"finalizers": []}}), "no labels"),
    ] {
        if why == "no labels" {
            let finalizers = json!({"metadata": {"finalizers": ["telestream.io/clean-up"]}});
            let patch = Patch::Merge(finalizers);
            world.jobs.patch(JOB, &parameters, &patch).await.unwrap();
        }
        let said = refusal(change(refused).await);
        assert!(said.contains(why), "{said}");
    }
    let free = json!({"metadata": {"finalizers": null}});
    world
        .jobs
        .patch(JOB, &parameters, &Patch::Merge(free))
        .await
        .unwrap();
    bot.delete(JOB, &DeleteParams::default()).await.unwrap();
}
