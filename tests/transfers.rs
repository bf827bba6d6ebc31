//! A file arrives whole and once, whatever goes wrong between Telegram and Object Storage; or it
//! fails with a reason, and nothing is left behind.

use std::time::Duration;

use support::transfers::{ABROAD, HOME, Notes, World, until};
use telestream::{
    Class,
    worker::{History, TransferError},
};
use telestream_sim::{
    oci::{Effect as OciEffect, Operation},
    telegram::{faults::Effect, ids::Door, keys::SignedIn},
};
use tokio_util::sync::CancellationToken;

mod support {
    pub mod transfers;
}

const MIB: u64 = 1024 * 1024;
const CHUNK: u64 = 512 * 1024;
const PART: u64 = 16 * MIB;

fn rpc_error(code: i32, message: &str) -> Effect {
    Effect::Error {
        code,
        message: message.into(),
    }
}

fn refusal(status: u16, code: &str) -> OciEffect {
    OciEffect::Refuse {
        status,
        code: code.into(),
        message: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_arrive_and_nothing_is_fetched_twice() {
    let world = World::start().await;
    for size in [
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        PART - 1,
        PART,
        PART + 1,
        100 * MIB + 12_345,
    ] {
        let sent = world.send(size, HOME).await;
        let delivery = world.transfer(&sent).await.unwrap();
        assert_eq!(world.assert_arrived(&sent, &delivery).await, 0, "{size}");
    }
    // Through the door that is meant for files, over several connections, and all of them end
    // well: every message acknowledged that asks for it, none refused.
    let traffic = world.sim.telegram().traffic();
    let (main, media) = (
        traffic.door(HOME, Door::Main),
        traffic.door(HOME, Door::Media),
    );
    assert_eq!(main.calls_of("upload.getFile"), 0);
    assert!((2..=8).contains(&media.most_open), "{media:?}");
    assert_eq!(main.most_open, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_data_centre_arrives() {
    for signed_in in [SignedIn::All, SignedIn::Home] {
        let world = World::with(signed_in).await;
        let sent = world.send(20 * MIB, ABROAD).await;
        let delivery = world.transfer(&sent).await.unwrap();
        assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_telegram_does_wrong_is_got_over() {
    for (what, times, effect) in [
        ("a short flood wait", 3, rpc_error(420, "FLOOD_WAIT_1")),
        ("a premium wait", 3, rpc_error(420, "FLOOD_PREMIUM_WAIT_1")),
        ("a 500", 3, rpc_error(500, "RPC_CALL_FAIL")),
        ("a timeout of theirs", 3, rpc_error(-503, "Timeout")),
        (
            "an expired reference",
            1,
            rpc_error(400, "FILE_REFERENCE_EXPIRED"),
        ),
        ("a migration", 1, rpc_error(303, "FILE_MIGRATE_4")),
        ("lost answers", 3, Effect::Lose),
        ("closed connections", 3, Effect::Close),
        ("a refusal for too much", 2, Effect::Refuse { code: -429 }),
        (
            "a key that is unknown for once",
            1,
            Effect::Refuse { code: -404 },
        ),
    ] {
        let world = World::start().await;
        let sent = world.send(40 * MIB + 1, HOME).await;
        world.spoil_telegram(9, Some(times), effect);
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{what}: {error}"));
        let again = world.assert_arrived(&sent, &delivery).await;
        // What was under way on a connection that broke, and what was asked for twice.
        assert!(again <= 16 * CHUNK, "{what}: {again} bytes again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_handed_up() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    world.spoil_telegram(9, None, rpc_error(420, "FLOOD_WAIT_1400"));
    let error = world.transfer(&sent).await.unwrap_err();
    let Class::After(wait) = error.class() else {
        panic!("{error:?}")
    };
    assert!((1_300..=1_400).contains(&wait.as_secs()), "{wait:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_refused_is_told_apart() {
    for (effect, name) in [
        (
            rpc_error(401, "AUTH_KEY_UNREGISTERED"),
            "AUTH_KEY_UNREGISTERED",
        ),
        (rpc_error(406, "AUTH_KEY_DUPLICATED"), "AUTH_KEY_DUPLICATED"),
        (Effect::Refuse { code: -404 }, "AUTH_KEY_UNKNOWN"),
    ] {
        let world = World::start().await;
        let sent = world.send(MIB, HOME).await;
        world.spoil_telegram(0, None, effect);
        let error = world.transfer(&sent).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            ("SessionRefused", Class::Permanent)
        );
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(world.left_by(&sent), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_when_telegram_forgets_half_of_it() {
    let world = World::start().await;
    let sent = world.send(60 * MIB, HOME).await;
    world.set_telegram_rate(Some(8 * MIB));
    let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
        let telegram = world.sim.telegram();
        until("something is stored", || world.stored(&sent) > 0).await;
        telegram.rotate_salts();
        telegram.expire_file_references();
        telegram.forget_sessions();
        world.set_telegram_rate(None);
    });
    world.assert_arrived(&sent, &delivery.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_does_no_harm() {
    for offset in [-3600, 3600] {
        let world = World::start().await;
        let sent = world.send(60 * MIB, HOME).await;
        world.set_telegram_rate(Some(8 * MIB));
        let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
            until("something is stored", || world.stored(&sent) > 0).await;
            world.sim.telegram().set_clock_offset(offset);
            world.set_telegram_rate(None);
        });
        let delivery = delivery.unwrap_or_else(|error| panic!("{offset}: {error}"));
        world.assert_arrived(&sent, &delivery).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_object_storage_does_wrong_is_got_over() {
    use Operation::{
        CommitMultipartUpload as Commit, CreateMultipartUpload as Create,
        CreatePreauthenticatedRequest as CreateLink, PutObject, UploadPart,
    };
    for (operation, size, times, effect) in [
        (UploadPart, 40 * MIB, 4, refusal(503, "ServiceUnavailable")),
        (UploadPart, 40 * MIB, 4, refusal(429, "TooManyRequests")),
        (UploadPart, 40 * MIB, 4, refusal(500, "InternalServerError")),
        (UploadPart, 40 * MIB, 2, OciEffect::LoseReply),
        (Create, 40 * MIB, 2, refusal(503, "ServiceUnavailable")),
        (Commit, 40 * MIB, 2, refusal(409, "ConcurrentObjectUpdate")),
        (Commit, 40 * MIB, 1, OciEffect::LoseReply),
        (CreateLink, 40 * MIB, 2, OciEffect::LoseReply),
        (CreateLink, 40 * MIB, 2, refusal(500, "InternalServerError")),
        (PutObject, 3 * MIB, 2, refusal(503, "ServiceUnavailable")),
        (PutObject, 3 * MIB, 1, OciEffect::LoseReply),
    ] {
        let world = World::start().await;
        let sent = world.send(size, HOME).await;
        world.spoil_oci(operation, 0, Some(times), effect.clone());
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{operation:?} {effect:?}: {error}"));
        let again = world.assert_arrived(&sent, &delivery).await;
        let sent_again = match operation {
            UploadPart => u64::from(times) * PART,
            PutObject => u64::from(times) * size,
            _ => 0,
        };
        assert!(again <= sent_again, "{operation:?} {effect:?}: {again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_beginning_was_lost_is_gone_on_with() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    world.spoil_oci(
        Operation::CreateMultipartUpload,
        0,
        Some(1),
        OciEffect::LoseReply,
    );
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_object_storage_refuses_for_good_is_a_reason() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    let mut order = world.order(&sent, History::None);
    order.bucket = "nowhere".parse().unwrap();
    let meter = std::sync::Arc::new(telestream::worker::Meter::start());
    let stop = CancellationToken::new();
    let failed = world
        .engine
        .run(&order, &Notes::default(), &meter, &stop)
        .await;
    let error = failed.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("BucketNotFound", Class::Permanent)
    );
    // Somebody else's object is left alone.
    let sent = world.send(3 * MIB, HOME).await;
    let delivery = world.transfer(&sent).await.unwrap();
    let mut order = world.order(&sent, History::None);
    order.owner = "another".into();
    let error = world
        .engine
        .run(&order, &Notes::default(), &meter, &stop)
        .await
        .unwrap_err();
    assert!(matches!(error, TransferError::ObjectExists), "{error:?}");
    world.assert_arrived(&sent, &delivery).await;
}

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
async fn a_slow_service_holds_the_source_back() {
    let world = World::start().await;
    let sent = world.send(100 * MIB, HOME).await;
    world.sim.oci().set_connection_rate(Some(MIB));
    let reading = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.sim.telegram().traffic().file(sent.file_id).bytes
    };
    let fetched = tokio::select! {
        ended = world.transfer(&sent) => panic!("ended early: {ended:?}"),
        fetched = reading => fetched,
    };
    // The window, and what the sockets to Object Storage hold.
    assert!(
        fetched <= 16 * MIB + 3 * 8 * MIB,
        "{fetched} bytes were fetched"
    );
}
