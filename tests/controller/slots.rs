//! One session, one worker: whatever is done to pods and Secrets.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::sleep;

use crate::world::{MIB, NAMESPACE, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_drained_or_frozen_worker_costs_an_attempt_that_does_not_count() {
    let world = World::install("killed", json!({})).await;
    for (name, blow) in [("killed", "KILL"), ("terminated", "TERM")] {
        world.set_rate(Some(4 * MIB));
        world.transfer(name, 60 * MIB).await;
        let pod = world.under_way(name).await;
        world.kubelet.signal(&pod, blow);
        world
            .until(name, "interrupted", |status| status.interruptions == 1)
            .await;
        world.set_rate(None);
        let status = world.succeeded(name).await;
        assert_eq!((status.attempt, status.failures), (2, 0), "{name}");
    }
    // A drain evicts its pod
    world.set_rate(Some(4 * MIB));
    world.transfer("drained", 60 * MIB).await;
    let pod = world.under_way("drained").await;
    let parameters = EvictParams::default();
    world.pods.evict(&pod, &parameters).await.unwrap();
    world
        .until("drained", "interrupted", |status| status.interruptions == 1)
        .await;
    world.set_rate(None);
    let status = world.succeeded("drained").await;
    assert_eq!((status.attempt, status.failures), (2, 0));
    let jobs = ["killed", "terminated", "drained"].map(str::to_owned);
    world.assert_exactly(&jobs.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_a_killed_worker_did_not_come_to_tell_of_is_ended() {
    let world = World::install("untold", json!({})).await;
    world.set_rate(Some(4 * MIB));
    world.transfer("untold", 60 * MIB).await;
    let pod = world.under_way("untold").await;
    world.kubelet.signal(&pod, "KILL");
    world
        .until("untold", "interrupted", |status| status.interruptions == 1)
        .await;
    world.make_link("untold", 1).await;
    assert_eq!(world.links_of("untold"), 1);
    world.set_rate(None);
    // Then the link of the attempt that succeeds is the only one
    let status = world.succeeded("untold").await;
    let link = status.link.unwrap().id;
    eventually("the other link is ended", async || {
        let pars = world.sim.oci().pars();
        pars.iter().map(|par| &par.id).eq([&link])
    })
    .await;
    world.assert_exactly(&["untold".to_owned()].into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_assignment_is_taken_away_stops_and_says_so() {
    let world = World::install("taken", json!({})).await;
    world.set_rate(Some(MIB));
    world.transfer("taken", 40 * MIB).await;
    let pod = world.under_way("taken").await;
    let nothing = Patch::Merge(json!({"status": {"assignment": null}}));
    let parameters = PatchParams::default();
    world
        .jobs
        .patch_status("taken", &parameters, &nothing)
        .await
        .unwrap();
    eventually("it stops", async || {
        world.kubelet.log(&pod).contains("no longer ours")
    })
    .await;
    // Then it takes what it is given next
    world.set_rate(None);
    assert_eq!(world.succeeded("taken").await.attempt, 2);
    assert_eq!(world.kubelet.started(&pod).len(), 1);
    world.assert_exactly(&["taken".to_owned()].into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_finishes_late_publishes_nothing() {
    let world = World::install("zombie", json!({})).await;
    // Given a worker that is cut off and stands still, and whose pod is deleted by force
    world.set_rate(Some(4 * MIB));
    world.transfer("haunted", 40 * MIB).await;
    let pod = world.under_way("haunted").await;
    world.kubelet.lose(&pod);
    world.kubelet.signal(&pod, "STOP");
    let by_force = DeleteParams::default().grace_period(0);
    world.pods.delete(&pod, &by_force).await.unwrap();
    world.set_rate(None);
    // Then its job moves to another slot, and its own slot stays closed
    let status = world.succeeded("haunted").await;
    assert_eq!(
        (status.attempt, status.failures, status.interruptions),
        (2, 0, 1)
    );
    let link = status.link.unwrap();
    world.transfer("next", MIB).await;
    world.succeeded("next").await;
    let workers = world.workers().await;
    assert!(workers.iter().all(|worker| worker.name_any() != pod));
    // When it wakes up, and finishes
    world.kubelet.signal(&pod, "CONT");
    eventually("it has ended", async || {
        !world.kubelet.pods().contains(&pod)
    })
    .await;
    // Then nothing of it shows, and nothing of it is left
    let after = world.jobs.get("haunted").await.unwrap().status.unwrap();
    assert_eq!(after.link.unwrap().id, link.id);
    assert_eq!(after.outcome.unwrap().attempt, 2);
    let jobs = ["haunted", "next"].map(str::to_owned);
    world.assert_exactly(&jobs.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_is_replaced() {
    let world = World::install("still", json!({})).await;
    world.set_rate(Some(4 * MIB));
    world.transfer("stands", 40 * MIB).await;
    let pod = world.under_way("stands").await;
    // Its node goes on saying that it runs.
    world.kubelet.signal(&pod, "STOP");
    let status = world
        .until("stands", "told to stop", |status| {
            let assignment = status.assignment.as_ref();
            assignment.is_some_and(|assignment| assignment.stop.is_some())
        })
        .await;
    assert_eq!(status.attempt, 1);
    world.set_rate(None);
    let status = world.succeeded("stands").await;
    assert_eq!((status.attempt, status.failures), (2, 1));
    world.assert_exactly(&["stands".to_owned()].into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_slot_is_told_to_those_who_wait() {
    let world = World::install("sessions", json!({"worker": {"slots": 1}})).await;
    let told = |reason: &'static str| {
        move |status: &telestream::api::TransferJobStatus| status.reason.as_deref() == Some(reason)
    };
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), NAMESPACE);
    let session = "telestream-session-0";
    // A Secret that holds no session
    write(&secrets, session, "nonsense").await;
    world.transfer("waits", MIB).await;
    world.until("waits", "told", told("SessionMalformed")).await;
    world.replace_session(0).await;
    world.succeeded("waits").await;
    // A new session, while its pod is at work: the transfer ends in peace, and the pod goes
    world.set_rate(Some(4 * MIB));
    world.transfer("works", 40 * MIB).await;
    world.under_way("works").await;
    let before = uid_of_worker(&world).await;
    world.replace_session(0).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(uid_of_worker(&world).await, before);
    world.set_rate(None);
    assert_eq!(world.succeeded("works").await.attempt, 1);
    eventually("the pod of the old session is gone", async || {
        uid_of_worker(&world).await != before
    })
    .await;
    // No Secret at all
    secrets
        .delete(session, &DeleteParams::default())
        .await
        .unwrap();
    eventually("its pod is gone", async || world.workers().await.is_empty()).await;
    world.transfer("lacks", MIB).await;
    world.until("lacks", "told", told("SessionMissing")).await;
    // A pod that never starts
    let oci = secrets.get("telestream-oci").await.unwrap();
    secrets
        .delete("telestream-oci", &DeleteParams::default())
        .await
        .unwrap();
    let secret = Secret {
        metadata: kube::api::ObjectMeta {
            name: Some(session.to_owned()),
            ..Default::default()
        },
        ..Secret::default()
    };
    let parameters = PostParams::default();
    secrets.create(&parameters, &secret).await.unwrap();
    world.replace_session(0).await;
    world
        .until("lacks", "told", told("CreateContainerConfigError"))
        .await;
    let secret = Secret {
        metadata: kube::api::ObjectMeta {
            name: oci.metadata.name.clone(),
            ..Default::default()
        },
        data: oci.data.clone(),
        ..Secret::default()
    };
    // A configuration that workers cannot use costs nobody an attempt that counts
    let mut secret = secret;
    let nonsense = ByteString(b"nonsense".to_vec());
    let data = secret.data.as_mut().unwrap();
    data.insert("config".to_owned(), nonsense);
    secrets.create(&parameters, &secret).await.unwrap();
    world
        .until("lacks", "told", told("WorkerMisconfigured"))
        .await;
    let config = oci.data.unwrap()["config"].0.clone();
    write_key(
        &secrets,
        "telestream-oci",
        "config",
        &String::from_utf8(config).unwrap(),
    )
    .await;
    let status = world.succeeded("lacks").await;
    assert_eq!(status.failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_moves_to_another_secret_never_has_two_pods() {
    let world = World::install("moved", json!({"worker": {"slots": 2}})).await;
    let moves = async {
        // Given two workers, of which one is at work for long
        world.set_rate(Some(MIB / 4));
        world.transfer("short", 40 * MIB).await;
        world.under_way("short").await;
        world.transfer("long", 40 * MIB).await;
        let pod = world.under_way("long").await;
        assert_eq!(pod, "telestream-worker-1");
        // When its session is copied to the slot of the other, whose pod goes
        let secrets: Api<Secret> = Api::namespaced(world.client.clone(), NAMESPACE);
        let data = secrets.get("telestream-session-1").await.unwrap().data;
        let copy = Patch::Merge(json!({ "data": data }));
        let parameters = PatchParams::default();
        secrets
            .patch("telestream-session-0", &parameters, &copy)
            .await
            .unwrap();
        world.change("short", json!({"suspend": true})).await;
        world.transfer("waits", MIB).await;
        // Then the slot waits for the worker that has it still
        let leader = world.leader().await.unwrap();
        eventually("the slot cannot be used", async || {
            let unusable = r#"telestream_slots{state="unusable"}"#;
            world.figure(&leader, unusable).await > 0.5
        })
        .await;
        assert_eq!(world.worker("telestream-worker-0").await, None);
        assert!(world.worker(&pod).await.is_some());
        // And goes on when that has ended
        world.set_rate(None);
        assert_eq!(world.succeeded("long").await.attempt, 1);
        world.succeeded("waits").await;
        let pods = world.workers().await;
        assert!(
            pods.iter()
                .any(|pod| pod.name_any() == "telestream-worker-0")
        );
        world.assert_no_session_was_shared();
    };
    tokio::select! {
        () = moves => {}
        () = two_pods_of_a_session(&world) => unreachable!("it fails"),
    }
}

/// Fails when there are two.
async fn two_pods_of_a_session(world: &World) {
    loop {
        let mut sessions = BTreeSet::new();
        for pod in world.workers().await {
            let session = pod.labels()["telestream.io/session-hash"].clone();
            assert!(sessions.insert(session), "{}", pod.name_any());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn uid_of_worker(world: &World) -> Option<String> {
    world
        .workers()
        .await
        .first()
        .and_then(kube::ResourceExt::uid)
}

async fn write(secrets: &Api<Secret>, name: &str, session: &str) {
    write_key(secrets, name, "session.json", session).await;
}

async fn write_key(secrets: &Api<Secret>, name: &str, key: &str, value: &str) {
    let patch = Patch::Merge(json!({"stringData": {key: value}}));
    let parameters = PatchParams::default();
    secrets.patch(name, &parameters, &patch).await.unwrap();
}
