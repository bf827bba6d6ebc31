//! Attempts that end early, and those that follow.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{future::join_all, stream};
use jiff::Timestamp;
use telestream::{
    Class,
    oci::PartNumber,
    worker::{History, Meter},
};
use telestream_sim::{
    oci::{Effect as OciEffect, Operation},
    telegram::{faults::Tale, ids::ChatId},
};
use tokio::{process::Command, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::world::{CHANNEL, HOME, MIB, Notes, PART, Sent, World, download, read_report, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_transfer_keeps_its_parts_and_the_next_attempt_goes_on() {
    let world = World::start().await;
    let sent = world.send(200 * MIB, HOME).await;
    world.set_telegram_rate(Some(20 * MIB));
    let notes = Notes::default();
    let stop = CancellationToken::new();
    let (stopped, ()) = tokio::join!(world.attempt(&sent, History::None, &notes, &stop), async {
        until("some parts are stored", || world.stored(&sent) >= 2 * PART).await;
        stop.cancel();
    });
    let error = stopped.unwrap_err();
    assert_eq!(error.class(), Class::Interrupted, "{error}");
    let stored = world.stored(&sent);
    assert!(stored >= 3 * PART, "parts under way have ended: {stored}");
    world.set_telegram_rate(None);
    let stop = CancellationToken::new();
    let delivery = world
        .attempt(&sent, notes.history(), &notes, &stop)
        .await
        .unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_waits_for_object_storage_stops_in_time() {
    use Operation::{
        CommitMultipartUpload as Commit, CreateMultipartUpload as Begin,
        CreatePreauthenticatedRequest as Link, HeadObject as Head, ListMultipartUploads as List,
        UploadPart,
    };
    let each = [Head, List, Begin, UploadPart, Commit, Link].map(async |operation| {
        let world = World::start().await;
        let sent = world.send(3 * PART, HOME).await;
        let (notes, stop) = (Notes::default(), CancellationToken::new());
        // Given an Object Storage that does not answer
        world.spoil_oci(operation, 0, None, OciEffect::Delay { millis: 600_000 });
        let oci = world.sim.oci();
        let (stopped, told) = tokio::join!(
            world.attempt(&sent, notes.history(), &notes, &stop),
            async {
                let asked = || oci.traffic().requests(operation) > 0;
                until("it is asked", asked).await;
                stop.cancel();
                Instant::now()
            }
        );
        // Then a transfer that is told to stop does, before its pod's time is over
        let took = told.elapsed();
        assert!(took < Duration::from_secs(45), "{operation:?}: {took:?}");
        let error = stopped.unwrap_err();
        assert_eq!(error.class(), Class::Interrupted, "{operation:?}: {error}");
        // and the next one goes on where it was
        oci.clear_faults();
        let stop = CancellationToken::new();
        let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
        let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
        let lost = u64::from(operation == UploadPart) * sent.size;
        assert!(again < lost + PART, "{operation:?}: {again} bytes again");
    });
    join_all(each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_go_lets_parts_under_way_end() {
    let world = World::start().await;
    let sent = world.send(7 * PART, HOME).await;
    world.set_telegram_rate(Some(20 * MIB));
    let process = world.process(&sent).spawn().unwrap();
    until("a part is stored", || world.stored(&sent) >= PART).await;
    let mut kill = Command::new("kill");
    kill.arg("-TERM").arg(process.id().unwrap().to_string());
    assert!(kill.status().await.unwrap().success());
    let ended = timeout(Duration::from_secs(45), process.wait_with_output()).await;
    let ended = ended.expect("it ends in time").unwrap();
    assert!(!ended.status.success());
    let stored = world.stored(&sent);
    assert!((2 * PART..7 * PART).contains(&stored), "{stored}");
    world.set_telegram_rate(None);
    let output = world.process(&sent).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let delivery = read_report(&output.stdout);
    let again = world.assert_arrived(&sent, &delivery).await;
    assert!(again < PART, "{again} bytes again");
}

/// Stops a first attempt at a file of seven parts when some are stored.
async fn stopped(world: &World, sent: &Sent, notes: &Notes) {
    world.set_telegram_rate(Some(20 * MIB));
    let stop = CancellationToken::new();
    let (stopped, ()) = tokio::join!(world.attempt(sent, History::None, notes, &stop), async {
        until("some parts are stored", || world.stored(sent) >= 2 * PART).await;
        stop.cancel();
    });
    assert_eq!(stopped.unwrap_err().class(), Class::Interrupted);
    assert!(world.stored(sent) < 7 * PART);
    world.set_telegram_rate(None);
}

/// Puts other bytes where a part is, or will be.
async fn plant(world: &World, sent: &Sent, number: u32) {
    let order = world.order(sent, History::None);
    let storage = &world.engine.storage;
    let prefix = order.placement.prefix();
    let uploads = storage.list_uploads(&order.bucket, prefix).await.unwrap();
    let number = PartNumber::new(number).unwrap();
    let zeroes = stream::once(async { Ok::<_, Infallible>(Bytes::from(vec![0; 16 << 20])) });
    let planted = storage.upload_part(&uploads[0].upload, number, PART, zeroes);
    planted.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_another_when_an_attempt_goes_on_is_noticed_at_the_end() {
    let world = World::start().await;
    let sent = world.send(7 * PART, HOME).await;
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    stopped(&world, &sent, &notes).await;
    plant(&world, &sent, 1).await;
    let failed = world.attempt(&sent, notes.history(), &notes, &stop).await;
    let error = failed.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("ChecksumMismatch", Class::Transient)
    );
    assert_eq!(world.left_by(&sent), (0, 0, 0));
    let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    // Once more, and no part of it a third time.
    assert!((sent.size..sent.size + PART).contains(&again), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_which_the_attempt_before_knows_nothing_is_stored_again() {
    let world = World::start().await;
    let sent = world.send(7 * PART, HOME).await;
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    stopped(&world, &sent, &notes).await;
    plant(&world, &sent, 7).await;
    let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert_eq!(again, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_wrote_down_is_gone_on_with() {
    let world = World::start().await;
    let sent = world.send(7 * PART, HOME).await;
    stopped(&world, &sent, &Notes::default()).await;
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert!(again < PART, "{again} bytes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_may_be_of_the_file_before_the_edit_is_not() {
    let world = World::start().await;
    let sent = world.send(7 * PART, HOME).await;
    stopped(&world, &sent, &Notes::default()).await;
    let stored = world.stored(&sent);
    let date = i32::try_from(Timestamp::now().as_second()).unwrap();
    world.tell(Tale::Edited { date });
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert!(
        (stored..stored + PART).contains(&again),
        "{again} of {stored}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_of_a_message_before_it_was_edited_is_given_up() {
    let world = World::start().await;
    let before = world.send(7 * PART, HOME).await;
    let after = world.send(7 * PART - MIB, HOME).await;
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    stopped(&world, &before, &notes).await;
    let mut order = world.order(&before, notes.history());
    order.message.message_id = after.message_id;
    let meter = Arc::new(Meter::start());
    let delivery = world.engine.run(&order, &notes, &meter, &stop).await;
    let delivery = delivery.unwrap();
    assert_eq!(download(&delivery.link.url).await, after.sha256);
    assert_eq!(world.left_by(&before), (1, 1, 0));
    let traffic = world.sim.telegram().traffic();
    for file in [before.file_id, after.file_id] {
        let again = traffic.file(file).bytes_again;
        assert!(again < PART, "{again} bytes again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_cut_off_costs_no_more_than_what_was_under_way() {
    let world = World::start().await;
    let sent = world.send(100 * MIB, HOME).await;
    world.set_telegram_rate(Some(20 * MIB));
    let notes = Notes::default();
    for parts in 1..=3 {
        let stop = CancellationToken::new();
        let history = if parts == 1 {
            History::None
        } else {
            notes.history()
        };
        tokio::select! {
            ended = world.attempt(&sent, history, &notes, &stop) => panic!("ended early: {ended:?}"),
            () = until("a part more is stored", || world.stored(&sent) >= parts * PART) => {}
        }
    }
    world.set_telegram_rate(None);
    let stop = CancellationToken::new();
    let delivery = world
        .attempt(&sent, notes.history(), &notes, &stop)
        .await
        .unwrap();
    let again = world.assert_arrived(&sent, &delivery).await;
    assert!(again <= 3 * 3 * PART, "{again} bytes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_after_the_end_finds_the_object_and_makes_its_link_anew() {
    let world = World::start().await;
    for size in [3 * MIB, 40 * MIB] {
        let sent = world.send(size, HOME).await;
        let notes = Notes::default();
        let stop = CancellationToken::new();
        let first = world
            .attempt(&sent, History::None, &notes, &stop)
            .await
            .unwrap();
        let second = world
            .attempt(&sent, notes.history(), &notes, &stop)
            .await
            .unwrap();
        assert_eq!(first.object, second.object);
        assert_ne!(first.link.url, second.link.url);
        assert_eq!(world.assert_arrived(&sent, &second).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_whole_is_delivered_though_its_message_is_deleted() {
    let world = World::start().await;
    for size in [3 * MIB, 40 * MIB] {
        let sent = world.send(size, HOME).await;
        let notes = Notes::default();
        let stop = CancellationToken::new();
        let first = world.attempt(&sent, History::None, &notes, &stop).await;
        let telegram = world.sim.telegram();
        telegram.delete(ChatId(CHANNEL), sent.message_id).unwrap();
        let second = world.attempt(&sent, notes.history(), &notes, &stop).await;
        let second = second.unwrap();
        assert_eq!(first.unwrap().object, second.object);
        assert_eq!(world.assert_arrived(&sent, &second).await, 0);
    }
}
