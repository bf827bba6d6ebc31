//! A job is deleted, whatever it is at, and nothing of it is left.

use kube::api::DeleteParams;
use serde_json::json;
use telestream::api::Phase;
use telestream_sim::oci::{Effect, Fault, Operation};

use crate::world::{MIB, World, eventually};

fn fault(operations: &[Operation], effect: Effect) -> Fault {
    Fault {
        operations: operations.to_vec(),
        ..Fault::of(effect)
    }
}

fn unavailable() -> Effect {
    Effect::Refuse {
        status: 503,
        code: "ServiceUnavailable".into(),
        message: "come again".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_whenever_it_is_deleted() {
    let world = World::install("deletion", json!({"cleanUp": {"patience": "5s"}})).await;
    while_it_backs_off(&world).await;
    when_it_has_failed(&world).await;
    in_the_middle_of_a_commit(&world).await;
    while_object_storage_is_away(&world).await;
}

async fn delete(world: &World, name: &str) {
    let parameters = DeleteParams::default();
    world.jobs.delete(name, &parameters).await.unwrap();
    world.gone(name).await;
}

/// Nothing is in Object Storage at all.
async fn assert_nothing(world: &World) {
    let oci = world.sim.oci();
    eventually("no upload is open", async || oci.uploads().is_empty()).await;
    assert_eq!((oci.objects().len(), oci.pars().len()), (0, 0));
}

async fn while_it_backs_off(world: &World) {
    let oci = world.sim.oci();
    oci.add_fault(fault(&[Operation::CommitMultipartUpload], unavailable()));
    let message = world.send(17 * MIB).await;
    let patient = json!({"retry": {"backoff": "1h"}});
    world.apply("patient", message, patient).await;
    let status = world
        .until("patient", "backing off", |status| {
            status.failures == 1 && status.assignment.is_none()
        })
        .await;
    assert!(status.next_attempt_time.is_some() && status.upload.is_some());
    delete(world, "patient").await;
    oci.clear_faults();
    assert_nothing(world).await;
}

async fn when_it_has_failed(world: &World) {
    let oci = world.sim.oci();
    let par = [Operation::CreatePreauthenticatedRequest];
    oci.add_fault(fault(&par, unavailable()));
    let message = world.send(17 * MIB).await;
    let impatient = json!({"retry": {"limit": 0}});
    world.apply("hopeless", message, impatient).await;
    // The object is there, so it is adopted once before it fails.
    let status = world.finished("hopeless").await;
    assert_eq!(status.phase, Phase::Failed, "{status:#?}");
    delete(world, "hopeless").await;
    oci.clear_faults();
    assert_nothing(world).await;
}

async fn in_the_middle_of_a_commit(world: &World) {
    let oci = world.sim.oci();
    oci.reset_traffic();
    let slowly = Effect::Delay { millis: 2_000 };
    oci.add_fault(fault(&[Operation::CommitMultipartUpload], slowly));
    world.transfer("committing", 17 * MIB).await;
    eventually("it commits", async || {
        oci.traffic().requests(Operation::CommitMultipartUpload) > 0
    })
    .await;
    delete(world, "committing").await;
    oci.clear_faults();
    assert_nothing(world).await;
}

async fn while_object_storage_is_away(world: &World) {
    let oci = world.sim.oci();
    world.set_rate(Some(4 * MIB));
    world.transfer("stranded", 60 * MIB).await;
    world.under_way("stranded").await;
    let uid = world.uid("stranded").await;
    oci.add_fault(fault(&[], unavailable()));
    delete(world, "stranded").await;
    let events = world.events("stranded").await;
    assert_eq!(events.get("LeftBehind"), Some(&1), "{events:?}");
    // It names what is left, and that is what is left.
    let says = world.notes("stranded", "LeftBehind").await.concat();
    let [upload] = &oci.uploads()[..] else {
        panic!("one upload is left")
    };
    for named in [
        format!("tj-{uid}"),
        format!("the upload {}", upload.upload_id),
    ] {
        assert!(says.contains(&named), "{named}: {says}");
    }
    assert!(says.contains("(ServiceUnavailable)"), "{says}");
    oci.clear_faults();
    world.set_rate(None);
    // The slot is free again.
    world.transfer("after", MIB).await;
    assert_eq!(world.succeeded("after").await.attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_transitions_and_of_nothing_else() {
    let change = json!({"jobs": {"ttlAfterFinished": "1m"}});
    let world = World::install("events", change).await;
    let oci = world.sim.oci();
    // Given a job that fails for a while, is suspended and resumed, and shows much progress
    oci.add_fault(fault(&[Operation::CreateMultipartUpload], unavailable()));
    let message = world.send(60 * MIB).await;
    let spec = json!({"retry": {"backoff": "1s"}});
    world.apply("eventful", message, spec).await;
    world
        .until("eventful", "failed", |status| status.failures > 0)
        .await;
    world.set_rate(Some(4 * MIB));
    oci.clear_faults();
    world.under_way("eventful").await;
    world.change("eventful", json!({"suspend": true})).await;
    world
        .until("eventful", "suspended", |status| {
            status.assignment.is_none()
        })
        .await;
    world.change("eventful", json!({"suspend": false})).await;
    world.under_way("eventful").await;
    world.set_rate(None);
    let status = world.succeeded("eventful").await;
    world.labelled("eventful").await;
    // Then there is one event for each failure, one for its end, and one for its link's end
    let revoked = json!({"link": {"revoked": true}});
    world.change("eventful", revoked).await;
    eventually("the link is gone", async || world.links_of("eventful") == 0).await;
    world.labelled("eventful").await;
    eventually("the last event is there", async || {
        world.events("eventful").await.contains_key("LinkRevoked")
    })
    .await;
    let mut events = world.events("eventful").await;
    assert_eq!(events.remove("Succeeded"), Some(1), "{events:?}");
    assert_eq!(events.remove("LinkRevoked"), Some(1), "{events:?}");
    assert_eq!(events.values().sum::<i32>(), status.failures, "{events:?}");
    // And what Object Storage says of the file is in the status, and in no event
    let refused = Effect::Refuse {
        status: 400,
        code: "InvalidParameter".into(),
        message: "holiday.mp4 will not do".into(),
    };
    oci.add_fault(fault(&[Operation::PutObject], refused));
    world.transfer("refused", MIB).await;
    let outcome = world.finished("refused").await.outcome.unwrap();
    assert!(outcome.message.contains("holiday.mp4"), "{outcome:?}");
    eventually("it is told of", async || {
        !world.notes("refused", &outcome.reason).await.is_empty()
    })
    .await;
    let notes = world.notes("refused", &outcome.reason).await.concat();
    assert!(
        notes.contains("Withheld") && !notes.contains("holiday"),
        "{notes}"
    );
    // And in the end it goes, for it does not say how long it is to be kept
    world.gone("refused").await;
}
