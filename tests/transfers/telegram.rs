//! What Telegram does, rightly or wrongly.

use std::time::{Duration, Instant};

use telestream::Class;
use telestream_sim::telegram::{
    faults::{Companion, DoorConduct, Effect, Fault, Forgery, Tale},
    ids::{ChatId, Door},
    keys::SignedIn,
};

use tokio::time::sleep;

use crate::world::{
    ABROAD, CHANNEL, CHUNK, HOME, MIB, Nature, PART, World, download, read_report, until,
};

/// Calls under way on a connection.
const DEPTH: u64 = 4;

fn rpc_error(code: i32, message: &str) -> Effect {
    Effect::Error {
        code,
        message: message.into(),
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
        (
            "a reference of another age",
            1,
            rpc_error(406, "FILEREF_UPGRADE_NEEDED"),
        ),
        ("a migration", 1, rpc_error(303, "FILE_MIGRATE_4")),
        ("lost answers", 3, Effect::Lose),
        ("answers broken off", 3, Effect::Cut { bytes: 100_000 }),
        ("silence in the middle", 2, Effect::Stall { bytes: 100_000 }),
        ("silence from the start", 2, Effect::Stall { bytes: 0 }),
        ("a short piece", 2, Effect::Short { bytes: 100 }),
        ("a long piece", 2, Effect::Long { bytes: 100 }),
        ("an empty piece", 1, Effect::Short { bytes: 524_288 }),
        ("a late answer", 3, Effect::Delay { milliseconds: 2000 }),
        ("closed connections", 3, Effect::Close),
        ("a refusal for too much", 2, Effect::Refuse { code: -429 }),
        (
            "a key that is unknown for once",
            1,
            Effect::Refuse { code: -404 },
        ),
        (
            "a data centre that is another for once",
            1,
            Effect::Refuse { code: -444 },
        ),
    ] {
        let world = World::start().await;
        let sent = world.send(40 * MIB + 1, HOME).await;
        // What was under way on a connection that broke, and what was asked for twice; or on all of
        // them, which are left at once if they lead to another data centre.
        let is_of_all = matches!(effect, Effect::Refuse { code: -444 });
        let most = if is_of_all { 32 } else { 16 };
        world.spoil_telegram(9, Some(times), effect);
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{what}: {error}"));
        let again = world.assert_arrived(&sent, &delivery).await;
        assert!(again <= most * CHUNK, "{what}: {again} bytes again");
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
async fn short_waits_are_waited_out_whatever_is_asked() {
    let world = World::with(Nature {
        signed_in: SignedIn::Home,
        ..Nature::default()
    })
    .await;
    for method in [
        "channels.getMessages",
        "help.getConfig",
        "auth.exportAuthorization",
        "auth.importAuthorization",
    ] {
        world.sim.telegram().add_fault(Fault {
            methods: vec![method.into()],
            times: Some(2),
            ..Fault::of(rpc_error(420, "FLOOD_WAIT_1"))
        });
    }
    let sent = world.send(MIB, ABROAD).await;
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
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

/// A bot that was removed from a channel is told so with 406: no fault of the session's.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_closed_to_us_is_a_reason_and_the_session_goes_on() {
    let world = World::start().await;
    let sent = world.send(MIB, HOME).await;
    world.sim.telegram().add_fault(Fault {
        methods: vec!["channels.getMessages".into()],
        times: Some(1),
        ..Fault::of(rpc_error(406, "CHANNEL_PRIVATE"))
    });
    let error = world.transfer(&sent).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("MessageNotFound", Class::Permanent)
    );
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

/// Only a second refusal counts, of a connection that was begun after the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_unknown_for_once_is_tried_again_however_many_connections_broke() {
    let unknown = |times| (Effect::Refuse { code: -404 }, times);
    for faults in [
        // Both connections of the beginning are refused.
        vec![unknown(2)],
        vec![(Effect::Close, 3), unknown(1)],
    ] {
        let world = World::start().await;
        let sent = world.send(20 * MIB, HOME).await;
        // Both are begun before the first of them is refused.
        world.sim.telegram().set_latency(Duration::from_millis(100));
        for (effect, times) in &faults {
            world.spoil_telegram(0, Some(*times), effect.clone());
        }
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        world.assert_arrived(&sent, &delivery).await;
    }
}

/// The connection for messages is grammers', which would agree on another key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_main_door_does_not_know_is_tried_twice_and_kept() {
    let fault = |methods: &[&str], times| Fault {
        methods: methods.iter().map(ToString::to_string).collect(),
        doors: vec![Door::Main],
        times,
        ..Fault::of(Effect::Refuse { code: -404 })
    };
    let world = World::start().await;
    let telegram = world.sim.telegram();
    // Once: while a connection is made, and on one that has been there.
    telegram.add_fault(fault(&[], Some(1)));
    world.connect_anew().await.unwrap();
    let sent = world.send(MIB, HOME).await;
    telegram.add_fault(fault(&["channels.getMessages"], Some(1)));
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);

    // From now on.
    telegram.add_fault(fault(&[], None));
    let error = world.transfer(&sent).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("SessionRefused", Class::Permanent)
    );
    let error = world.connect_anew().await.err().unwrap();
    assert_eq!(
        (error.reason(), error.class()),
        ("SessionRefused", Class::Permanent)
    );

    // It was no word on the key itself, which is still there.
    telegram.clear_faults();
    let sent = world.send(MIB, HOME).await;
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

/// grammers connects without a deadline, and what is called meanwhile waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_main_door_that_was_silent_is_asked_again_when_it_speaks() {
    let world = World::start().await;
    let sent = world.send(MIB, HOME).await;
    let telegram = world.sim.telegram();
    telegram.set_door(HOME, Door::Main, DoorConduct::Ignore);
    telegram.add_fault(Fault {
        methods: vec!["channels.getMessages".into()],
        times: Some(1),
        ..Fault::of(Effect::Close)
    });
    while world.transfer(&sent).await.unwrap_err().reason() != "TelegramTimeout" {}
    telegram.set_door(HOME, Door::Main, DoorConduct::Serve);
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

/// It panics at what no server says, and all its connections with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_grammers_is_got_over() {
    let world = World::start().await;
    let sent = world.send(MIB, HOME).await;
    world.sim.telegram().add_fault(Fault {
        methods: vec!["channels.getMessages".into()],
        times: Some(1),
        ..Fault::of(Effect::Forge(Forgery::Session))
    });
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_main_door_that_is_asked_too_much_is_no_word_on_the_session() {
    let world = World::start().await;
    let sent = world.send(MIB, HOME).await;
    world.sim.telegram().add_fault(Fault {
        doors: vec![Door::Main],
        times: Some(1),
        ..Fault::of(Effect::Refuse { code: -429 })
    });
    let error = world.transfer(&sent).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("TelegramUnavailable", Class::Transient)
    );
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_of_another_data_centre_is_looked_up_anew() {
    let world = World::start().await;
    let looked_up = || {
        let traffic = world.sim.telegram().traffic();
        traffic.door(HOME, Door::Main).calls_of("help.getConfig")
    };
    let sent = world.send(3 * MIB, HOME).await;
    world.transfer(&sent).await.unwrap();

    world.sim.telegram().reset_traffic();
    world.spoil_telegram(0, Some(1), Effect::Refuse { code: -444 });
    let sent = world.send(3 * MIB, HOME).await;
    let delivery = world.transfer(&sent).await.unwrap();
    world.assert_arrived(&sent, &delivery).await;
    assert_eq!(looked_up(), 1);

    world.spoil_telegram(0, None, Effect::Refuse { code: -444 });
    let sent = world.send(3 * MIB, HOME).await;
    let error = world.transfer(&sent).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("WrongDataCentre", Class::Transient)
    );
    assert_eq!(world.left_by(&sent), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_overdue_is_asked_for_twice_and_not_waited_for() {
    let world = World::start().await;
    let sent = world.send(20 * MIB, HOME).await;
    let late = Duration::from_secs(20).as_millis();
    let milliseconds = late.try_into().unwrap();
    world.spoil_telegram(9, Some(1), Effect::Delay { milliseconds });
    let delivery = world.transfer(&sent).await.unwrap();
    // The late answer has not come yet: what was served once was asked for twice. And no
    // connection was given up for it, which would have helped too, but later.
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
    let media = world.sim.telegram().traffic().door(HOME, Door::Media);
    let pieces = sent.size / CHUNK;
    assert!(media.calls_of("upload.getFile") > pieces + 1, "{media:?}");
    assert_eq!(media.open, usize::try_from(media.opened).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_file_has_moved_to_is_learned_once() {
    let world = World::start().await;
    let sent = world.send(60 * MIB, ABROAD).await;
    world.tell(Tale::DataCentre { dc: HOME });
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
    let traffic = world.sim.telegram().traffic();
    let asked = traffic.door(HOME, Door::Media).calls_of("upload.getFile");
    // All that was under way before the first of them was answered.
    assert!((1..=32).contains(&asked), "{asked} of them at the old one");
    let pieces = sent.size / CHUNK;
    let found = traffic.door(ABROAD, Door::Media).calls_of("upload.getFile");
    assert!(found >= pieces, "{found} of {pieces}");
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
async fn a_clock_that_is_behind_from_the_start_does_no_harm() {
    let world = World::start().await;
    let sent = world.send(20 * MIB + 1, HOME).await;
    world.sim.telegram().set_clock_offset(3600);
    let output = world.process(&sent).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let delivery = read_report(&output.stdout);
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

/// grammers numbers its messages by the clock, and can go back by no second.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_from_the_start_is_a_reason() {
    let world = World::start().await;
    let sent = world.send(MIB, HOME).await;
    world.sim.telegram().set_clock_offset(-3600);
    let output = world.process(&sent).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("clock"), "{told}");
    assert_eq!(world.left_by(&sent), (0, 0, 0));
}

/// The manners that a server may have; none of them is anybody's business but the connection's.
#[tokio::test(flavor = "multi_thread")]
async fn how_telegram_puts_its_answers_makes_no_difference() {
    use Companion::{Ack, DetailedInfo, NewSession, Pong, ResendRequest, StateRequest, Update};
    let companions = vec![
        Ack,
        NewSession,
        Update,
        StateRequest,
        ResendRequest,
        DetailedInfo,
        Pong,
    ];
    for effect in [
        Effect::Pack,
        Effect::Pad { bytes: 1024 },
        Effect::Contain { with: vec![] },
        Effect::Contain {
            with: companions.clone(),
        },
        Effect::Precede { by: companions },
        Effect::Twice,
        Effect::Redeliver { milliseconds: 50 },
        Effect::Withhold,
        Effect::Hold { packets: 2 },
        Effect::RotateSalts,
        Effect::LoseSession,
    ] {
        let is_news = match &effect {
            Effect::LoseSession => true,
            Effect::Contain { with } | Effect::Precede { by: with } => with.contains(&NewSession),
            _ => false,
        };
        // Told of a new session by each third answer, it would have no end of asking again.
        let every = if is_news { 12 } else { 3 };
        let world = World::start().await;
        let sent = world.send(20 * MIB + 1, HOME).await;
        world.sim.telegram().add_fault(Fault {
            methods: vec!["upload.getFile".into()],
            every,
            ..Fault::of(effect.clone())
        });
        let begun = Instant::now();
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{effect:?}: {error}"));
        let took = begun.elapsed();
        let again = world.assert_arrived(&sent, &delivery).await;
        let media = world.sim.telegram().traffic().door(HOME, Door::Media);
        let spoilt = media.calls_of("upload.getFile") / u64::from(every) + 1;
        let allowed = match &effect {
            // What comes twice was sent twice.
            Effect::Twice | Effect::Redeliver { .. } => sent.size,
            // Who is told of a new session asks again for what the old one had not answered.
            _ if is_news => spoilt * DEPTH * CHUNK,
            _ => 0,
        };
        // On a machine that has no time for this test chunks are overdue: one is looked for each
        // 100 ms.
        let overdue = u64::try_from(took.as_millis()).unwrap() / 100 * CHUNK;
        assert!(
            again <= allowed + overdue,
            "{effect:?}: {again} bytes again, in {took:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_cannot_be_believed_are_not() {
    use Forgery::{
        Blocks, ClientId, FutureId, GzipBomb, HugeFrame, KeyId, LongLength, LongPadding, MsgKey,
        NegativeLength, NestedContainer, OldId, QuickAck, Session, ShortPadding, UnevenLength,
    };
    for forgery in [
        KeyId,
        MsgKey,
        Blocks,
        Session,
        NegativeLength,
        UnevenLength,
        LongLength,
        ShortPadding,
        LongPadding,
        ClientId,
        OldId,
        FutureId,
        NestedContainer,
        GzipBomb,
        HugeFrame,
        QuickAck,
    ] {
        let world = World::start().await;
        let sent = world.send(20 * MIB, HOME).await;
        world.spoil_telegram(7, Some(2), Effect::Forge(forgery));
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{forgery:?}: {error}"));
        let again = world.assert_arrived(&sent, &delivery).await;
        assert!(again <= 16 * CHUNK, "{forgery:?}: {again} bytes again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_stay_wrong_end_the_attempt() {
    for effect in [Effect::Short { bytes: 1 }, Effect::Long { bytes: 1 }] {
        let world = World::start().await;
        let sent = world.send(3 * MIB, HOME).await;
        world.spoil_telegram(0, None, effect);
        let error = world.transfer(&sent).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            ("TelegramMisbehaved", Class::Transient)
        );
        assert_eq!(world.left_by(&sent), (0, 0, 0));
    }
}

/// A message that says too little would have its file cut off, and nobody would know.
#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_not_so_ends_the_attempt() {
    for (real, told) in [
        (3 * MIB, 0),
        (3 * MIB, CHUNK),
        (3 * MIB, 3 * MIB - CHUNK),
        (3 * MIB, 3 * MIB - 1),
        (3 * MIB, 3 * MIB + 1),
        (3 * MIB, 4 * MIB),
        (40 * MIB, 2 * PART),
        (40 * MIB, 3 * PART),
    ] {
        let world = World::start().await;
        let sent = world.send(real, HOME).await;
        world.tell(Tale::Size {
            bytes: told.try_into().unwrap(),
        });
        let error = world.transfer(&sent).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            ("TelegramMisbehaved", Class::Transient),
            "{told} of {real}"
        );
        let (objects, links, _) = world.left_by(&sent);
        assert_eq!((objects, links), (0, 0), "{told} of {real}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_a_cdn_is_a_reason() {
    let world = World::start().await;
    let sent = world.send(3 * MIB, HOME).await;
    world.spoil_telegram(2, None, Effect::CdnRedirect);
    let error = world.transfer(&sent).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("CdnOnly", Class::Permanent)
    );
    assert_eq!(world.left_by(&sent), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_deleted_under_way_is_a_reason() {
    let world = World::start().await;
    let sent = world.send(200 * MIB, HOME).await;
    world.set_telegram_rate(Some(8 * MIB));
    let (failed, ()) = tokio::join!(world.transfer(&sent), async {
        until("something is stored", || world.stored(&sent) > 0).await;
        let telegram = world.sim.telegram();
        telegram.delete(ChatId(CHANNEL), sent.message_id).unwrap();
        world.set_telegram_rate(None);
    });
    let error = failed.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("MessageNotFound", Class::Permanent)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_edited_under_way_is_a_reason() {
    for tale in [Tale::Document { id: 7 }, Tale::Size { bytes: 7 }] {
        let world = World::start().await;
        let sent = world.send(60 * MIB, HOME).await;
        world.set_telegram_rate(Some(8 * MIB));
        let (failed, ()) = tokio::join!(world.transfer(&sent), async {
            until("something is stored", || world.stored(&sent) > 0).await;
            world.tell(tale);
            world.sim.telegram().expire_file_references();
            world.set_telegram_rate(None);
        });
        let error = failed.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            ("MediaChanged", Class::Permanent),
            "{tale:?}"
        );
        let (objects, links, _) = world.left_by(&sent);
        assert_eq!((objects, links), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_be_passed_on_is_read_where_it_stands() {
    let world = World::start().await;
    let sent = world.send(3 * MIB, HOME).await;
    world.tell(Tale::Protected);
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_centre_that_cannot_be_reached_is_a_reason() {
    for conduct in [DoorConduct::Close, DoorConduct::Ignore] {
        let world = World::start().await;
        let sent = world.send(MIB, HOME).await;
        world.sim.telegram().set_door(HOME, Door::Media, conduct);
        let error = world.transfer(&sent).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            ("TelegramUnavailable", Class::Transient),
            "{conduct:?}"
        );
        assert_eq!(world.left_by(&sent), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_centre_that_comes_back_is_gone_on_with() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    let telegram = world.sim.telegram();
    telegram.set_door(HOME, Door::Media, DoorConduct::Close);
    let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
        sleep(Duration::from_secs(1)).await;
        telegram.set_door(HOME, Door::Media, DoorConduct::Serve);
    });
    assert_eq!(world.assert_arrived(&sent, &delivery.unwrap()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn authorizations_are_carried_over_only_if_they_are_missing() {
    let export = "auth.exportAuthorization";
    let world = World::start().await;
    let sent = world.send(MIB, ABROAD).await;
    world.transfer(&sent).await.unwrap();
    let traffic = world.sim.telegram().traffic();
    assert_eq!(traffic.door(HOME, Door::Main).calls_of(export), 0);

    let world = World::with(Nature {
        signed_in: SignedIn::Home,
        ..Nature::default()
    })
    .await;
    let sent = world.send(MIB, ABROAD).await;
    world.sim.telegram().add_fault(Fault {
        methods: vec![export.into()],
        ..Fault::of(rpc_error(420, "FLOOD_WAIT_1400"))
    });
    let error = world.transfer(&sent).await.unwrap_err();
    assert!(matches!(error.class(), Class::After(_)), "{error:?}");
    let traffic = world.sim.telegram().traffic();
    assert_eq!(traffic.door(HOME, Door::Main).calls_of(export), 1);
}

/// As the real data centres 1, 3 and 5: a second connection with the same key costs the key.
#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_door_for_files_they_come_over_the_one_connection_there_is() {
    for (dc, signed_in) in [
        (HOME, SignedIn::All),
        (ABROAD, SignedIn::All),
        (ABROAD, SignedIn::Home),
    ] {
        let world = World::with(Nature {
            signed_in,
            ..Nature::default()
        })
        .await;
        let telegram = world.sim.telegram();
        telegram.set_door(dc, Door::Media, DoorConduct::Hide);
        for _ in 0..2 {
            let sent = world.send(40 * MIB + 1, dc).await;
            world.set_telegram_rate(Some(16 * MIB));
            let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
                until("something is stored", || world.stored(&sent) > 0).await;
                telegram.expire_file_references();
                world.set_telegram_rate(None);
            });
            let delivery = delivery.unwrap_or_else(|error| panic!("{dc}: {error}"));
            assert_eq!(world.assert_arrived(&sent, &delivery).await, 0, "{dc}");
        }
        let traffic = telegram.traffic();
        assert_eq!(traffic.door(dc, Door::Main).opened, 1, "{dc}");
        assert_eq!(traffic.door(dc, Door::Media).opened, 0, "{dc}");
        // However many reads found that they are not known, one has told of us for all.
        let exports = traffic.door(HOME, Door::Main);
        let expected = u64::from(signed_in == SignedIn::Home);
        assert_eq!(exports.calls_of("auth.exportAuthorization"), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_where_there_is_no_door_for_files_is_got_over() {
    for (what, times, effect) in [
        ("a short flood wait", 3, rpc_error(420, "FLOOD_WAIT_1")),
        ("a 500", 3, rpc_error(500, "RPC_CALL_FAIL")),
        ("a short piece", 2, Effect::Short { bytes: 100 }),
        ("a long piece", 2, Effect::Long { bytes: 100 }),
        ("closed connections", 3, Effect::Close),
        ("a refusal for too much", 2, Effect::Refuse { code: -429 }),
        ("a migration", 1, rpc_error(303, "FILE_MIGRATE_4")),
    ] {
        let world = World::start().await;
        let telegram = world.sim.telegram();
        telegram.set_door(HOME, Door::Media, DoorConduct::Hide);
        let sent = world.send(20 * MIB + 1, HOME).await;
        world.spoil_telegram(9, Some(times), effect);
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{what}: {error}"));
        let again = world.assert_arrived(&sent, &delivery).await;
        assert!(again <= 16 * CHUNK, "{what}: {again} bytes again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_got_over_where_there_is_no_door_for_files_is_a_reason() {
    for (effect, reason) in [
        (rpc_error(420, "FLOOD_WAIT_1400"), "TelegramFloodWait"),
        (rpc_error(401, "AUTH_KEY_UNREGISTERED"), "SessionRefused"),
        (Effect::Short { bytes: 1 }, "TelegramMisbehaved"),
        (Effect::CdnRedirect, "CdnOnly"),
    ] {
        let world = World::start().await;
        let telegram = world.sim.telegram();
        telegram.set_door(HOME, Door::Media, DoorConduct::Hide);
        let sent = world.send(3 * MIB, HOME).await;
        world.spoil_telegram(2, None, effect);
        let error = world.transfer(&sent).await.unwrap_err();
        assert_eq!(error.reason(), reason);
        assert_eq!(world.left_by(&sent), (0, 0, 0));
    }
}

/// Some refusals are answered by sending the call again, others by a new session.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_the_protocol_refuses_are_made_again() {
    for code in [16, 17, 18, 20, 32, 33, 35, 64] {
        let world = World::start().await;
        let sent = world.send(20 * MIB, HOME).await;
        world.spoil_telegram(9, Some(2), Effect::BadMessage { code });
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{code}: {error}"));
        world.assert_arrived(&sent, &delivery).await;
        let media = world.sim.telegram().traffic().door(HOME, Door::Media);
        let is_closed = media.open < usize::try_from(media.opened).unwrap();
        assert_eq!(is_closed, !matches!(code, 16 | 20), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_often_is_read_over_fewer_connections() {
    let flood = rpc_error(420, "FLOOD_WAIT_1");
    let most_open = |world: &World, dc| {
        let traffic = world.sim.telegram().traffic();
        traffic.door(dc, Door::Media).most_open
    };
    // All that is under way at first is refused, on both connections.
    for (effect, times) in [(flood.clone(), 8), (Effect::Refuse { code: -429 }, 2)] {
        let world = World::start().await;
        let sent = world.send(30 * MIB, HOME).await;
        world.spoil_telegram(0, Some(times), effect.clone());
        let delivery = world.transfer(&sent).await.unwrap();
        world.assert_arrived(&sent, &delivery).await;
        assert!(most_open(&world, HOME) <= 2, "{effect:?}");
    }
    // What one data centre says is not said of another.
    let world = World::start().await;
    world.sim.telegram().add_fault(Fault {
        methods: vec!["upload.getFile".into()],
        dcs: vec![ABROAD],
        ..Fault::of(rpc_error(420, "FLOOD_WAIT_1400"))
    });
    let abroad = world.send(MIB, ABROAD).await;
    let error = world.transfer(&abroad).await.unwrap_err();
    assert!(matches!(error.class(), Class::After(_)), "{error:?}");
    let sent = world.send(60 * MIB, HOME).await;
    world.set_telegram_rate(Some(8 * MIB));
    let delivery = world.transfer(&sent).await.unwrap();
    world.assert_arrived(&sent, &delivery).await;
    assert!(most_open(&world, HOME) > 2);
}

/// Packets are opened several at a time, but each is its own connection's business.
#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_is_not_genuine_costs_only_the_connection_that_it_came_on() {
    let world = World::start().await;
    let sent = world.send(60 * MIB, HOME).await;
    world.spoil_telegram(30, Some(1), Effect::Forge(Forgery::MsgKey));
    let delivery = world.transfer(&sent).await.unwrap();
    world.assert_arrived(&sent, &delivery).await;
    let media = world.sim.telegram().traffic().door(HOME, Door::Media);
    let closed = usize::try_from(media.opened).unwrap() - media.open;
    assert_eq!(closed, 1, "{media:?}");
}

/// What Telegram's own servers seal is believed, and stored as it came.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_telegram_itself_has_wrong_arrive_as_they_are() {
    let world = World::start().await;
    let sent = world.send(3 * MIB, HOME).await;
    world.spoil_telegram(2, Some(1), Effect::WrongBytes);
    let delivery = world.transfer(&sent).await.unwrap();
    assert_ne!(download(&delivery.link.url).await, sent.sha256);
    assert_eq!(delivery.object.size.cast_unsigned(), sent.size);
    assert_eq!(world.left_by(&sent), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_reads_are_not_known_one_tells_of_us_for_all() {
    let world = World::with(Nature {
        signed_in: SignedIn::Home,
        ..Nature::default()
    })
    .await;
    let sent = world.send(20 * MIB, ABROAD).await;
    let delivery = world.transfer(&sent).await.unwrap();
    world.assert_arrived(&sent, &delivery).await;
    let main = world.sim.telegram().traffic().door(HOME, Door::Main);
    assert_eq!(main.calls_of("auth.exportAuthorization"), 1);
}
