//! Attempts that end early, and those that follow.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::stream;
use telestream::{
    Class,
    oci::PartNumber,
    worker::{History, Meter},
};
use telestream_sim::telegram::ids::ChatId;
use tokio_util::sync::CancellationToken;

use crate::world::{CHANNEL, HOME, MIB, Notes, PART, Sent, World, download, until};

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
    world.assert_arrived(&sent, &delivery.unwrap()).await;
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
