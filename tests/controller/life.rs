//! What users do with a `TransferJob`, from its first to its last day.

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use telestream::api::Phase;
use tokio::time::sleep;

use crate::world::{MIB, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_does_as_it_is_told_all_its_life() {
    let world = World::install("life", json!({"cleanUp": {"patience": "5s"}})).await;
    a_suspended_job_waits_and_a_running_one_stops(&world).await;
    a_deleted_job_goes_in_any_phase_with_all_it_made(&world).await;
    a_deadline_ends_it(&world, json!({})).await;
    // Nor does what it left wait until somebody tells its user.
    let user = json!({"requester": {"userId": 1, "chatId": 1}});
    a_deadline_ends_it(&world, user).await;
    a_failure_that_passes_is_tried_again_on_the_same_pod(&world).await;
    let links = a_link_is_extended_revoked_and_ends(&world).await;
    a_link_that_was_taken_back_before_it_was_made_ends_at_once(&world).await;
    an_object_that_is_stored_already_is_adopted(&world).await;
    a_job_is_deleted_when_it_has_been_kept_for_long_enough(&world).await;
    a_job_that_cannot_be_cleaned_up_lets_go(&world).await;
    no_log_tells_what_nobody_should_know(&world, &links).await;
}

async fn a_suspended_job_waits_and_a_running_one_stops(world: &World) {
    // Given a job that is suspended from the start
    let message = world.send(60 * MIB).await;
    world
        .apply("suspended", message, json!({"suspend": true}))
        .await;
    let reason = |wanted: &'static str| {
        move |status: &telestream::api::TransferJobStatus| status.reason.as_deref() == Some(wanted)
    };
    world
        .until("suspended", "suspended", reason("Suspended"))
        .await;
    // When it is resumed, suspended under way, and resumed again
    world.set_rate(Some(4 * MIB));
    world.change("suspended", json!({"suspend": false})).await;
    world.under_way("suspended").await;
    world.change("suspended", json!({"suspend": true})).await;
    let status = world
        .until("suspended", "stopped", |status| {
            status.assignment.is_none() && status.phase == Phase::Pending
        })
        .await;
    // Then what was stored is kept, and no attempt was counted
    assert!(status.upload.is_some());
    assert_eq!((status.failures, status.interruptions), (0, 0));
    world.set_rate(None);
    world.change("suspended", json!({"suspend": false})).await;
    let status = world.succeeded("suspended").await;
    assert_eq!(status.attempt, 2);
    world.assert_exactly(&["suspended".to_owned()].into()).await;
    delete(world, "suspended").await;
}

async fn a_deleted_job_goes_in_any_phase_with_all_it_made(world: &World) {
    world.set_rate(Some(4 * MIB));
    let message = world.send(60 * MIB).await;
    let suspend = json!({"suspend": true});
    let purge = json!({"reclaimPolicy": "Delete"});
    world.apply("waiting", message, suspend).await;
    world.apply("running", message, json!({})).await;
    world.under_way("running").await;
    let small = world.send(MIB).await;
    world.apply("finished", small, purge).await;
    world.succeeded("finished").await;
    for name in ["waiting", "running", "finished"] {
        delete(world, name).await;
    }
    world.set_rate(None);
    assert_nothing_but(world, &["suspended"]).await;
}

async fn a_deadline_ends_it(world: &World, change: serde_json::Value) {
    world.set_rate(Some(MIB));
    let message = world.send(60 * MIB).await;
    world.apply("late", message, change).await;
    world.under_way("late").await;
    world
        .change("late", json!({"activeDeadlineSeconds": 3}))
        .await;
    let status = world.finished("late").await;
    world.set_rate(None);
    assert_eq!(status.phase, Phase::Failed);
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_nothing_but(world, &["suspended"]).await;
    delete(world, "late").await;
}

async fn a_failure_that_passes_is_tried_again_on_the_same_pod(world: &World) {
    use telestream_sim::oci::{Effect, Fault, Operation};
    // Given an Object Storage that begins no upload for a while
    let oci = world.sim.oci();
    oci.add_fault(Fault {
        operations: vec![Operation::PutObject],
        object_prefix: String::new(),
        skip: 0,
        times: None,
        effect: Effect::Refuse {
            status: 503,
            code: "ServiceUnavailable".into(),
            message: "come again".into(),
        },
    });
    let pods = world.workers().await.len();
    let message = world.send(MIB).await;
    world
        .apply("again", message, json!({"retry": {"backoff": "1s"}}))
        .await;
    let status = world
        .until("again", "failed once", |status| status.failures > 0)
        .await;
    assert!(status.next_attempt_time.is_some());
    // When it is well again
    oci.clear_faults();
    // Then the next attempt succeeds, in a pod that is there
    let status = world.succeeded("again").await;
    assert!(status.attempt > 1 && status.failures == status.attempt - 1);
    assert_eq!(world.workers().await.len(), pods);
    delete(world, "again").await;
}

/// The URLs that it had.
async fn a_link_is_extended_revoked_and_ends(world: &World) -> [String; 2] {
    let message = world.send(MIB).await;
    world
        .apply("linked", message, json!({"link": {"ttl": "1h"}}))
        .await;
    let first = world.succeeded("linked").await.link.unwrap();
    // The finished job has left the main watch: what follows must find it there.
    eventually("it is labelled", async || {
        let job = world.jobs.get("linked").await.unwrap();
        job.metadata
            .labels
            .is_some_and(|labels| labels.contains_key("telestream.io/finished"))
    })
    .await;
    world.change("linked", json!({"link": {"ttl": "2d"}})).await;
    let second = world
        .until("linked", "extended", |status| {
            status.link.as_ref().is_some_and(|link| link.id != first.id)
        })
        .await;
    let second = second.link.unwrap();
    assert!(second.expires_at.0 > first.expires_at.0);
    eventually("the first link is gone", async || {
        world.links_of("linked") == 1
    })
    .await;
    world
        .change("linked", json!({"link": {"revoked": true}}))
        .await;
    eventually("no link is left", async || world.links_of("linked") == 0).await;
    let status = world
        .until("linked", "revoked", |status| status.link.is_none())
        .await;
    assert_eq!(status.phase, Phase::Succeeded);
    delete(world, "linked").await;
    // And one that ends by itself
    world
        .apply("brief", message, json!({"link": {"ttl": "3s"}}))
        .await;
    world.succeeded("brief").await;
    eventually("its link has ended", async || world.links_of("brief") == 0).await;
    delete(world, "brief").await;
    [first.url, second.url]
}

async fn a_link_that_was_taken_back_before_it_was_made_ends_at_once(world: &World) {
    world.set_rate(Some(4 * MIB));
    world.transfer("hasty", 40 * MIB).await;
    world.under_way("hasty").await;
    let revoked = json!({"link": {"revoked": true}});
    world.change("hasty", revoked).await;
    world.set_rate(None);
    // The transfer goes on: the object is wanted.
    world.succeeded("hasty").await;
    let status = world
        .until("hasty", "revoked", |status| status.link.is_none())
        .await;
    assert_eq!((status.phase, status.attempt), (Phase::Succeeded, 1));
    let left = (world.objects_of("hasty"), world.links_of("hasty"));
    assert_eq!(left, (1, 0));
    delete(world, "hasty").await;
}

async fn an_object_that_is_stored_already_is_adopted(world: &World) {
    use telestream_sim::oci::{Effect, Fault, Operation};
    // Given a job that is tried once, and whose object is stored, but gets no link
    let oci = world.sim.oci();
    oci.add_fault(Fault {
        operations: vec![Operation::CreatePreauthenticatedRequest],
        ..Fault::of(Effect::Refuse {
            status: 503,
            code: "ServiceUnavailable".into(),
            message: "come again".into(),
        })
    });
    let message = world.send(MIB).await;
    let once = json!({"retry": {"limit": 0}});
    world.apply("adopted", message, once).await;
    let is_found = |status: &telestream::api::TransferJobStatus| status.adoption_attempt.is_some();
    world.until("adopted", "found", is_found).await;
    oci.clear_faults();
    // Then one more attempt finds it, and only makes the link
    let status = world.succeeded("adopted").await;
    assert_eq!((status.attempt, status.failures), (2, 1));
    let left = (world.objects_of("adopted"), world.links_of("adopted"));
    assert_eq!(left, (1, 1));
    delete(world, "adopted").await;
}

/// Neither links nor what Secrets hold nor names of files.
async fn no_log_tells_what_nobody_should_know(world: &World, links: &[String]) {
    let log = world.kubelet.log("telestream");
    assert!(log.contains("reported") && log.contains("wrote status"));
    let mut canaries = vec!["holiday".to_owned()];
    canaries.extend(links.iter().map(|url| {
        let (_, token) = url.split_once("/p/").expect("the URL of a link");
        token.split('/').next().unwrap().to_owned()
    }));
    canaries.extend(world.secrets().await);
    assert!(canaries.len() > 10, "{}", canaries.len());
    for (number, canary) in canaries.iter().enumerate() {
        // By its number: what a test prints is a log, too.
        assert!(!log.contains(canary.as_str()), "canary {number}");
    }
}

async fn a_job_is_deleted_when_it_has_been_kept_for_long_enough(world: &World) {
    let message = world.send(MIB).await;
    world
        .apply("kept", message, json!({"ttlSecondsAfterFinished": 1}))
        .await;
    world.gone("kept").await;
    assert_eq!(world.links_of("kept"), 0);
}

async fn a_job_that_cannot_be_cleaned_up_lets_go(world: &World) {
    // Given a finished job, and an Object Storage that is gone
    let message = world.send(MIB).await;
    world.apply("stuck", message, json!({})).await;
    world.succeeded("stuck").await;
    world.sim.oci().add_fault(telestream_sim::oci::Fault {
        operations: vec![],
        object_prefix: String::new(),
        skip: 0,
        times: None,
        effect: telestream_sim::oci::Effect::Refuse {
            status: 503,
            code: "ServiceUnavailable".into(),
            message: "gone".into(),
        },
    });
    // When it is deleted
    world
        .jobs
        .delete("stuck", &DeleteParams::default())
        .await
        .unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(world.jobs.get_opt("stuck").await.unwrap().is_some());
    // Then it goes in the end, and says what it left
    world.gone("stuck").await;
    let events = world.plane.run(
        "kubectl",
        &["get", "events", "--namespace", crate::world::NAMESPACE],
    );
    assert!(events.contains("LeftBehind"), "{events}");
    world.sim.oci().clear_faults();
}

async fn delete(world: &World, name: &str) {
    let parameters = DeleteParams::default();
    world.jobs.delete(name, &parameters).await.unwrap();
    world.gone(name).await;
    assert_eq!(world.links_of(name), 0, "{name}");
}

/// Objects are kept by default.
async fn assert_nothing_but(world: &World, kept: &[&str]) {
    let oci = world.sim.oci();
    eventually("no upload is open", async || oci.uploads().is_empty()).await;
    let objects = oci.objects();
    let is_kept = |name: &str| kept.iter().any(|job| name.contains(&format!("/{job}/")));
    assert!(objects.iter().all(|object| is_kept(&object.name)));
}
