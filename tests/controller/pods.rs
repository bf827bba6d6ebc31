//! Worker pods whose node is lost, whose session is refused, that are too old, or that cannot start.

use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use telestream::api::TransferJobStatus;
use telestream_sim::telegram::faults::{Effect, Fault};

use crate::{
    support::kubelet::Trouble,
    world::{MIB, World, eventually},
};

/// The exit code of a worker whose session Telegram does not accept.
const REFUSED: i32 = 78;

fn refusal(methods: &[&str], times: Option<u32>, code: i32, message: &str) -> Fault {
    Fault {
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        times,
        ..Fault::of(Effect::Error {
            code,
            message: message.into(),
        })
    }
}

fn counts(status: &TransferJobStatus) -> (i32, i32, i32) {
    (status.attempt, status.failures, status.interruptions)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_leaves_a_node_that_is_out_of_reach_and_its_slot_stays_closed() {
    let world = World::install("unreachable", json!({"worker": {"slots": 2}})).await;
    // Given a worker whose node is out of reach, and whose pod is deleted like any other
    world.set_rate(Some(MIB / 4));
    world.transfer("moves", 60 * MIB).await;
    let pod = world.under_way("moves").await;
    let uid = world.worker(&pod).await;
    world.kubelet.lose(&pod);
    let soon = DeleteParams::default().grace_period(2);
    world.pods.delete(&pod, &soon).await.unwrap();
    // Then its job goes on elsewhere
    goes_on_elsewhere(&world, &pod).await;
    world.set_rate(None);
    world.succeeded("moves").await;
    assert!(world.events("moves").await.contains_key("NodeLost"));
    // And nobody gets its session, however many wait
    others_go_on_without(&world, &pod).await;
    assert_eq!(world.worker(&pod).await, uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_leaves_a_node_that_was_removed_and_its_slot_stays_closed() {
    let world = World::install("removed", json!({"worker": {"slots": 2}})).await;
    // Given a worker that goes on, on a node that is not there any more
    world.set_rate(Some(MIB / 4));
    world.transfer("moves", 60 * MIB).await;
    let pod = world.under_way("moves").await;
    world.kubelet.lose(&pod);
    // When the control plane fails its pod, and removes it
    let now = Timestamp::now();
    let given_up = json!({"status": {"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True",
        "reason": "DeletionByPodGC", "message": "PodGC: node no longer exists", "lastTransitionTime": now}]}});
    let (parameters, patch) = (PatchParams::default(), Patch::Strategic(given_up));
    let failed = world
        .pods
        .patch_status(&pod, &parameters, &patch)
        .await
        .unwrap();
    let state = failed.status.unwrap().container_statuses.unwrap()[0]
        .state
        .clone();
    assert!(state.unwrap().running.is_some(), "as it was last heard of");
    let by_force = DeleteParams::default().grace_period(0);
    world.pods.delete(&pod, &by_force).await.unwrap();
    // Then its job goes on elsewhere
    goes_on_elsewhere(&world, &pod).await;
    let closed = r#"telestream_slots{state="closed"}"#;
    let leader = world.leader().await.unwrap();
    assert!((world.figure(&leader, closed).await - 1.0).abs() < 0.1);
    world.set_rate(None);
    world.succeeded("moves").await;
    // And nobody gets its session, however many wait
    others_go_on_without(&world, &pod).await;
    assert_eq!(world.worker(&pod).await, None);
}

/// The job that a pod had is given to another, and that counts as an interruption.
async fn goes_on_elsewhere(world: &World, pod: &str) {
    let status = world
        .until("moves", "moved", |status| {
            let assignment = status.assignment.as_ref();
            assignment.is_some_and(|assignment| assignment.pod != pod)
        })
        .await;
    assert_eq!(counts(&status), (2, 0, 1));
}

/// Several jobs wait at a time, and no second pod of that name is started.
async fn others_go_on_without(world: &World, pod: &str) {
    let message = world.send(MIB).await;
    let others = ["a", "b", "c", "d"];
    for name in others {
        world.apply(name, message, json!({})).await;
    }
    for name in others {
        world.succeeded(name).await;
    }
    assert_eq!(world.kubelet.started(pod).len(), 1);
    let jobs = ["moves", "a", "b", "c", "d"].map(str::to_owned);
    world.assert_exactly(&jobs.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_telegram_refuses_is_left_and_another_slot_takes_the_job() {
    let world = World::install("refused", json!({})).await;
    let telegram = world.sim.telegram();
    // Given a session that is refused at once
    let unknown = |methods: &[&str], times| refusal(methods, times, 401, "AUTH_KEY_UNREGISTERED");
    telegram.add_fault(unknown(&["updates.getState"], Some(1)));
    world.transfer("first", MIB).await;
    let status = world.succeeded("first").await;
    // It may have been given the job before it was refused.
    let (attempt, failures, interruptions) = counts(&status);
    assert_eq!((attempt - interruptions, failures), (1, 0));
    assert_eq!(refused_pods(&world).await, 1);
    // And one that is refused in the middle of a transfer
    telegram.add_fault(unknown(&["upload.getFile"], None));
    world.transfer("second", 20 * MIB).await;
    world
        .until("second", "interrupted", |status| status.interruptions == 1)
        .await;
    telegram.clear_faults();
    let status = world.succeeded("second").await;
    assert_eq!(counts(&status), (2, 0, 1));
    // Then both are left alone, for each of which a third has worked
    assert_eq!(refused_pods(&world).await, 2);
    for pod in world.workers().await {
        assert_eq!(world.kubelet.started(&pod.name_any()).len(), 1);
    }
    let jobs = ["first", "second"].map(str::to_owned);
    world.assert_exactly(&jobs.into()).await;
    // And a new session is taken at once
    world.replace_session(0).await;
    eventually("the slot is open again", async || {
        refused_pods(&world).await == 1
    })
    .await;
}

/// How many pods have ended because Telegram did not accept their session.
async fn refused_pods(world: &World) -> usize {
    let is_refused = |pod: &k8s_openapi::api::core::v1::Pod| {
        let containers = pod
            .status
            .iter()
            .flat_map(|status| &status.container_statuses);
        containers
            .flatten()
            .filter_map(|container| container.state.as_ref()?.terminated.as_ref())
            .any(|ended| ended.exit_code == REFUSED)
    };
    world
        .workers()
        .await
        .iter()
        .filter(|pod| is_refused(pod))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_replaces_idle_workers_at_once_and_busy_ones_after_their_transfer() {
    let change = json!({"worker": {"slots": 2, "idleTimeout": "10m"}});
    let world = World::install("upgrade", change).await;
    for (what, value) in [
        ("configuration", "worker.window=8"),
        ("image", "image.tag=newer"),
    ] {
        // Given a worker that is busy and one that is idle
        let (busy, idle) = (format!("{what}-busy"), format!("{what}-idle"));
        world.set_rate(Some(MIB / 2));
        world.transfer(&busy, 60 * MIB).await;
        let busy_pod = world.under_way(&busy).await;
        world.transfer(&idle, MIB / 4).await;
        world.succeeded(&idle).await;
        let before: Vec<_> = world
            .workers()
            .await
            .iter()
            .filter_map(kube::ResourceExt::uid)
            .collect();
        let busy_uid = world.worker(&busy_pod).await.unwrap();
        assert_eq!(before.len(), 2, "{what}");
        // When there is something newer
        world.upgrade(&[value]);
        // Then the idle one goes, and the busy one stays
        eventually(&format!("the idle one is gone: {what}"), async || {
            let now: Vec<_> = world
                .workers()
                .await
                .iter()
                .filter_map(kube::ResourceExt::uid)
                .collect();
            before.iter().any(|uid| !now.contains(uid))
        })
        .await;
        let status = world.jobs.get(&busy).await.unwrap().status.unwrap();
        let assignment = status.assignment.expect("it is still at work");
        assert_eq!(assignment.pod_uid, busy_uid, "{what}");
        assert_eq!(
            world.worker(&busy_pod).await,
            Some(busy_uid.clone()),
            "{what}"
        );
        // Until its transfer has ended
        world.set_rate(None);
        let status = world.succeeded(&busy).await;
        assert_eq!(counts(&status), (1, 0, 0), "{what}");
        eventually(&format!("the busy one is gone: {what}"), async || {
            world.worker(&busy_pod).await.as_ref() != Some(&busy_uid)
        })
        .await;
        let next = format!("{what}-next");
        world.transfer(&next, MIB).await;
        assert_eq!(world.succeeded(&next).await.attempt, 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_flood_wait_frees_the_slot() {
    let world = World::install("flood", json!({"worker": {"slots": 1}})).await;
    // Given a Telegram that asks to wait
    let telegram = world.sim.telegram();
    telegram.add_fault(refusal(
        &["channels.getMessages"],
        None,
        420,
        "FLOOD_WAIT_40",
    ));
    let begun = Timestamp::now();
    world.transfer("waits", MIB).await;
    let is_put_off = |status: &TransferJobStatus| {
        status.assignment.is_none() && status.next_attempt_time.is_some()
    };
    let status = world.until("waits", "put off", is_put_off).await;
    telegram.clear_faults();
    assert_eq!(counts(&status), (1, 0, 1));
    assert_eq!(status.reason.as_deref(), Some("TelegramFloodWait"));
    // A second for the figure's precision.
    let due = status.next_attempt_time.unwrap().0;
    assert!(due >= begun + SignedDuration::from_secs(39), "{due}");
    // Then another one gets the only slot, and its pod
    world.transfer("goes", MIB).await;
    world.succeeded("goes").await;
    assert_eq!(world.kubelet.started("telestream-worker-0").len(), 1);
    let status = world.jobs.get("waits").await.unwrap().status.unwrap();
    assert_eq!(status.attempt, 1);
    // And the first one when it is time
    let status = world.succeeded("waits").await;
    assert_eq!(counts(&status), (2, 0, 1));
    assert!(status.completion_time.unwrap().0 >= due);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_pods_from_starting_is_told_to_those_who_are_next() {
    let world = World::install("pending", json!({"worker": {"slots": 1}})).await;
    for (trouble, reason, message) in [
        (
            Trouble::Unschedulable,
            "Unschedulable",
            "0/1 nodes are available",
        ),
        (
            Trouble::ImagePullBackOff,
            "ImagePullBackOff",
            "no such image",
        ),
    ] {
        world.kubelet.set_trouble(Some(trouble)).await;
        let (next, after) = (format!("{reason}-1"), format!("{reason}-2"));
        let (next, after) = (next.to_lowercase(), after.to_lowercase());
        world.transfer(&next, MIB).await;
        let is_told = |status: &TransferJobStatus| status.reason.as_deref() == Some(reason);
        let status = world.until(&next, "told", is_told).await;
        assert!(
            status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Admitted"
                    && condition.reason == reason
                    && condition.message.contains(message))
        );
        world.transfer(&after, MIB).await;
        world.kubelet.set_trouble(None).await;
        for name in [&next, &after] {
            let status = world.succeeded(name).await;
            assert_eq!(counts(&status), (1, 0, 0), "{name}");
        }
        // The next trouble meets a pod that is new.
        let now = DeleteParams::default().grace_period(1);
        world
            .pods
            .delete("telestream-worker-0", &now)
            .await
            .unwrap();
        eventually("the pod is gone", async || world.workers().await.is_empty()).await;
    }
    // A pod that no node was given has left nothing behind
    let trouble = Some(Trouble::Unschedulable);
    world.kubelet.set_trouble(trouble).await;
    world.transfer("last", MIB).await;
    let is_told = |status: &TransferJobStatus| status.reason.as_deref() == Some("Unschedulable");
    world.until("last", "told", is_told).await;
    let parameters = DeleteParams::default();
    world
        .pods
        .delete("telestream-worker-0", &parameters)
        .await
        .unwrap();
    world.kubelet.set_trouble(None).await;
    world.succeeded("last").await;
}
