//! The API server or Redis is away, or says what nobody expects.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::json;
use telestream::api::{TransferJob, TransferJobStatus};
use telestream_sim::oci::{Effect, Fault, Operation};
use tokio::time::{sleep, timeout};

use crate::world::{MIB, NAMESPACE, World, eventually};

/// How long the API server is away: longer than a worker may be silent otherwise.
const OUTAGE: Duration = Duration::from_secs(130);

/// Links that are ended at a time: more than the controller reconciles jobs.
const MANY: usize = 24;

/// How many of them at least are waited for until all that can be held up is.
const HELD: u64 = 8;

/// How soon a small file is through while Object Storage answers the controller nothing: sooner than
/// a request to it is given up.
const SOON: Duration = Duration::from_secs(45);

/// By how many seconds a clock is wrong: workers are silent for less, and requests to Object Storage
/// are refused five minutes off.
const WRONG: i64 = 240;

/// How often a watch is begun at most while the API server is away, of all sessions together.
const PATIENT_TRIES: usize = 150;

/// How often a watch is made to expire until the controller has lived through it.
const TRIES: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_outlives_the_api_server_and_tells_afterwards() {
    let world = World::install("outage", json!({})).await;
    the_past_is_forgotten(&world).await;
    // Given a transfer under way
    world.set_rate(Some(2 * MIB));
    world.transfer("through", 40 * MIB).await;
    let pod = world.under_way("through").await;
    // When the API server is away for long
    world.plane.stop("apiserver");
    world.set_rate(None);
    let gone = Instant::now();
    // Then the file is stored meanwhile
    eventually("the object is stored", async || {
        world.objects_of("through") == 1
    })
    .await;
    assert!(gone.elapsed() < OUTAGE / 2);
    sleep(OUTAGE.saturating_sub(gone.elapsed())).await;
    world.plane.start_again("apiserver");
    let leader = world.leader().await.unwrap();
    let log = world.kubelet.log(&leader);
    let tried = log.matches("watching a session failed").count();
    assert!(tried < PATIENT_TRIES, "{tried} times");
    // And afterwards it is told, by the worker that did it
    let status = world.succeeded("through").await;
    assert_eq!((status.attempt, status.interruptions), (1, 0));
    let log = world.kubelet.log(&pod);
    let begins = |line: &&str| line.contains("begins") && line.contains("through");
    assert_eq!(log.lines().filter(begins).count(), 1);
    // And work goes on: every watch has found its way back
    world.transfer("after", MIB).await;
    world.succeeded("after").await;
    world
        .change("through", json!({"link": {"revoked": true}}))
        .await;
    eventually("a finished job is seen", async || {
        world.links_of("through") == 0
    })
    .await;
}

/// What was before is forgotten, by the API server and by etcd: watches expire (410).
async fn the_past_is_forgotten(world: &World) {
    for number in 0..TRIES {
        let (before, after) = (format!("before-{number}"), format!("after-{number}"));
        world.transfer(&before, MIB).await;
        world.labelled(&before).await;
        let leader = world.leader().await.unwrap();
        let told = world.kubelet.log(&leader).len();
        // At once: a server that ends in peace takes longer than the lease lasts.
        world.plane.kill("apiserver");
        world.plane.compact().await;
        world.plane.start_again("apiserver");
        world.transfer(&after, MIB).await;
        world.labelled(&after).await;
        let revoked = json!({"link": {"revoked": true}});
        world.change(&before, revoked).await;
        eventually("a finished job is seen", async || {
            world.links_of(&before) == 0
        })
        .await;
        let log = world.kubelet.log(&leader);
        let since = log.get(told..).unwrap_or_default();
        // Should the server take longer than the lease lasts, the controller begins anew: then no
        // watch of its has expired.
        if !since.contains("caches are filled") {
            for watch in ["watching jobs failed", "following finished jobs failed"] {
                let is_expired =
                    |line: &&str| line.contains(watch) && line.to_lowercase().contains("expired");
                assert!(
                    since.lines().any(|line| is_expired(&line)),
                    "{watch}: {since}"
                );
            }
            return;
        }
    }
    panic!("the controller has lost its lease each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_jobs_run_in_the_order_of_their_creation() {
    let change = json!({"worker": {"slots": 1}, "limits": {"runningPerUser": 0}});
    let mut world = World::install("no-redis", change).await;
    world.transfer("before", MIB).await;
    world.succeeded("before").await;
    let leader = world.leader().await.unwrap();
    assert!((world.figure(&leader, "telestream_queue_available").await - 1.0).abs() < 0.1);
    // When Redis is gone, and several wait for the only slot
    world.redis.kill();
    world.set_rate(Some(MIB));
    world.transfer("first", 40 * MIB).await;
    world.under_way("first").await;
    let order = ["z", "m", "a"];
    let message = world.send(2 * MIB).await;
    for name in order {
        // One user has them all: by turns, somebody else would go first.
        let spec = json!({"requester": {"userId": 1, "chatId": 1}});
        let made = world.apply(name, message, spec).await;
        next_second(made.creation_timestamp().unwrap().0).await;
    }
    let other = json!({"requester": {"userId": 2, "chatId": 2}});
    world.apply("0", message, other).await;
    // Then they go one after the other, as they came
    world.change("first", json!({"suspend": true})).await;
    let mut starts = Vec::new();
    for name in ["z", "m", "a", "0"] {
        let status = world.succeeded(name).await;
        starts.push(status.start_time.unwrap().0);
    }
    assert!(starts.is_sorted_by(|one, next| one < next), "{starts:?}");
    world.set_rate(None);
    world.change("first", json!({"suspend": false})).await;
    world.succeeded("first").await;
    assert!(
        world
            .figure(&leader, "telestream_queue_available")
            .await
            .abs()
            < 0.1
    );
    // And back, having lost all
    world.redis.start_again();
    world.transfer("later", MIB).await;
    world.succeeded("later").await;
    eventually("the queue counts again", async || {
        world.transfer(&format!("j{}", fastrand::u32(..)), 0).await;
        world.figure(&leader, "telestream_queue_available").await > 0.5
    })
    .await;
}

/// Waits until the second is over in which something was made.
async fn next_second(made: Timestamp) {
    eventually("the second is over", async || {
        Timestamp::now().as_second() > made.as_second()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_storage_that_hangs_holds_up_no_bookkeeping() {
    let world = World::install("hanging", json!({})).await;
    let message = world.send(MIB).await;
    let names: Vec<_> = (0..MANY).map(|number| format!("link-{number}")).collect();
    for name in &names {
        world.apply(name, message, json!({})).await;
    }
    for name in &names {
        world.succeeded(name).await;
    }
    // Given an Object Storage that does not say which links there are
    let oci = world.sim.oci();
    oci.reset_traffic();
    oci.add_fault(Fault {
        operations: vec![Operation::ListPreauthenticatedRequests],
        ..Fault::of(Effect::Delay { millis: 3_600_000 })
    });
    // When many links are to be ended
    for name in &names {
        let revoked = json!({"link": {"revoked": true}});
        world.change(name, revoked).await;
    }
    eventually("links are looked for", async || {
        oci.traffic()
            .requests(Operation::ListPreauthenticatedRequests)
            >= HELD
    })
    .await;
    // Then others are told of their ends, and stopped when that is asked for
    let others = async {
        world.transfer("meanwhile", MIB).await;
        world.succeeded("meanwhile").await;
        let suspended = json!({"suspend": true});
        world.apply("suspended", message, suspended).await;
        let says_so = |status: &TransferJobStatus| status.reason.as_deref() == Some("Suspended");
        world.until("suspended", "suspended", says_so).await;
    };
    timeout(SOON, others).await.expect("nobody waits for links");
    assert_eq!(world.links_of("link-0"), 1, "it does hang");
    // And when it answers again, all links end
    oci.clear_faults();
    for name in &names {
        eventually("its link is gone", async || world.links_of(name) == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_whose_clock_is_fast_does_nobody_harm() {
    a_wrong_clock_does_nobody_harm("fast", WRONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_whose_clock_is_slow_does_nobody_harm() {
    a_wrong_clock_does_nobody_harm("slow", -WRONG).await;
}

async fn a_wrong_clock_does_nobody_harm(name: &str, wrong: i64) {
    let world = World::install(name, json!({"controller": {"replicas": 2}})).await;
    // Given controllers whose clocks are as wrong as Object Storage lets pass
    world.kubelet.set_clock("telestream-controller", wrong);
    for pod in world.controllers() {
        world.kubelet.signal(&pod, "KILL");
    }
    // When a worker tells of itself, another is killed, and another controller takes over
    world.set_rate(Some(MIB));
    world.transfer("runs", 60 * MIB).await;
    world.under_way("runs").await;
    world.transfer("breaks", 60 * MIB).await;
    let pod = world.under_way("breaks").await;
    world.kubelet.signal(&pod, "KILL");
    let is_interrupted = |status: &TransferJobStatus| status.interruptions == 1;
    world.until("breaks", "interrupted", is_interrupted).await;
    world.under_way("breaks").await;
    let leader = world.leader().await.unwrap();
    let parameters = DeleteParams::default();
    world.pods.delete(&leader, &parameters).await.unwrap();
    eventually("another leads", async || {
        world.leader().await.is_some_and(|now| now != leader)
    })
    .await;
    world.transfer("comes", MIB).await;
    world.succeeded("comes").await;
    // Then nobody is taken for silent, late or dead who is not
    world.set_rate(None);
    for (job, attempts) in [("runs", 1), ("breaks", 2)] {
        let status = world.succeeded(job).await;
        let counts = (status.attempt, status.failures, status.interruptions);
        assert_eq!(counts, (attempts, 0, attempts - 1), "{job}");
        let skew = status
            .start_time
            .unwrap()
            .0
            .duration_since(Timestamp::now());
        let is_wrong = skew.as_secs() * wrong.signum() > WRONG / 2;
        assert!(is_wrong, "their clocks are right: {skew}");
    }
    let revoked = json!({"link": {"revoked": true}});
    world.change("runs", revoked).await;
    eventually("the link is gone", async || world.links_of("runs") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_malformed_job_stops_nobody() {
    let world = World::install("malformed", json!({})).await;
    // Given a definition that takes anything, as an older one might
    let anything = json!({"spec": {"versions": [{
        "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        "selectableFields": [{"jsonPath": ".status.assignment.podUID"}],
    }]}});
    let definitions: Api<DynamicObject> = Api::all_with(
        world.client.clone(),
        &ApiResource::erase::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(&()),
    );
    let anything = json!({"spec": {"versions": anything["spec"]["versions"]}});
    // A selectable field needs a schema of its own.
    let mut anything = anything;
    anything["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "assignment": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"podUID": {"type": "string"}}}}}}});
    definitions
        .patch(
            "transferjobs.telestream.io",
            &PatchParams::default(),
            &Patch::Merge(anything),
        )
        .await
        .unwrap();
    let jobs: Api<DynamicObject> = Api::namespaced_with(
        world.client.clone(),
        NAMESPACE,
        &ApiResource::erase::<TransferJob>(&()),
    );
    // When somebody writes nonsense
    let nonsense = json!({"apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
        "metadata": {"name": "nonsense"}, "spec": {"source": "somewhere", "retry": 7}});
    eventually("it is taken", async || {
        let nonsense = serde_json::from_value(nonsense.clone()).unwrap();
        jobs.create(&PostParams::default(), &nonsense).await.is_ok()
    })
    .await;
    // Then others go on, and a controller that starts with it there too
    world.transfer("sane", MIB).await;
    world.succeeded("sane").await;
    let leader = world.leader().await.unwrap();
    eventually("it was told", async || {
        world.kubelet.log(&leader).contains("cannot be read")
    })
    .await;
    world.kubelet.signal(&leader, "KILL");
    world.transfer("saner", MIB).await;
    world.succeeded("saner").await;
    assert!(world.jobs.get_opt("sane").await.unwrap().is_some());
}
