//! What is sent: sizes, kinds, places.

use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};
use telestream::{
    Class,
    api::names,
    worker::{History, Meter, Order},
};
use telestream_sim::{
    content::Content,
    oci::Keeping,
    telegram::{
        ids::{ChatId, Door},
        keys::SignedIn,
        store::{Draft, DraftBody, Look, MediaKind},
    },
};
use tokio_util::sync::CancellationToken;

use crate::world::{
    ABROAD, CHANNEL, CHUNK, HOME, MIB, Nature, Notes, PART, Sent, World, download, until,
};

/// Telegram's code for a message with a salt that is not, or no longer, the server's.
const WRONG_SALT: i32 = 48;

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
    // Through the door that is meant for files, over several connections.
    let traffic = world.sim.telegram().traffic();
    let (main, media) = (
        traffic.door(HOME, Door::Main),
        traffic.door(HOME, Door::Media),
    );
    assert_eq!(main.calls_of("upload.getFile"), 0);
    assert!((2..=8).contains(&media.most_open), "{media:?}");
    assert_eq!(main.most_open, 1);
    // None of our messages was refused, but for the first of a connection that did not know the
    // salt; and all of theirs are acknowledged that ask for it, once they have waited for company.
    for session in traffic.sessions {
        let refused: Vec<_> = session.refused.keys().collect();
        assert!(
            refused.iter().all(|code| **code == WRONG_SALT),
            "{session:?}"
        );
    }
    until("every message is acknowledged", || {
        let sessions = world.sim.telegram().traffic().sessions;
        sessions.iter().all(|session| session.unacknowledged == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_data_centre_arrives() {
    for signed_in in [SignedIn::All, SignedIn::Home] {
        let world = World::with(Nature {
            signed_in,
            ..Nature::default()
        })
        .await;
        let sent = world.send(20 * MIB, ABROAD).await;
        let delivery = world.transfer(&sent).await.unwrap();
        assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_beyond_32_bits_arrive() {
    let world = World::with(Nature {
        keeping: Keeping::Checksums,
        ..Nature::default()
    })
    .await;
    for size in [2048 * MIB - 1, 2048 * MIB + 1, 4096 * MIB] {
        let sent = world.send(size, HOME).await;
        let delivery = world.transfer(&sent).await.unwrap();
        assert_eq!(delivery.object.size.cast_unsigned(), size);
        assert_eq!(world.left_by(&sent), (1, 1, 0));
        let expected = tokio::task::spawn_blocking(move || crc32c(size));
        assert_eq!(delivery.object.crc32c, expected.await.unwrap(), "{size}");
        let traffic = world.sim.telegram().traffic().file(sent.file_id);
        assert_eq!((traffic.bytes, traffic.bytes_again), (size, 0));
    }
}

/// The checksum of a file that [`World::send`] sends, as Object Storage writes it.
fn crc32c(size: u64) -> String {
    let content = Content::generated(size, size);
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut chunk = vec![0; 1 << 20];
    for offset in (0..size).step_by(chunk.len()) {
        let length = (size - offset).min(1 << 20);
        let chunk = &mut chunk[..usize::try_from(length).unwrap()];
        content.read_at(offset, chunk).unwrap();
        digest.update(chunk);
    }
    telestream::oci::Crc32c::new(u32::try_from(digest.finalize()).unwrap()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_arrives() {
    let world = World::start().await;
    for kind in [
        MediaKind::Document,
        MediaKind::Photo,
        MediaKind::Video,
        MediaKind::VideoNote,
        MediaKind::Animation,
        MediaKind::Audio,
        MediaKind::Voice,
        MediaKind::Sticker,
    ] {
        let look = Look {
            kind,
            ..Look::default()
        };
        let sent = world.send_as(look, MIB + 1, HOME).await;
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        world.assert_arrived(&sent, &delivery).await;
        assert!(delivery.object.name.contains('.'), "{delivery:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_sent_twice_is_stored_twice() {
    let world = World::start().await;
    let (one, other) = (
        world.send(3 * MIB, HOME).await,
        world.send(3 * MIB, HOME).await,
    );
    let (first, second) = tokio::join!(world.transfer(&one), world.transfer(&other));
    let (first, second) = (first.unwrap(), second.unwrap());
    world.assert_arrived(&one, &first).await;
    world.assert_arrived(&other, &second).await;
    assert_ne!(first.object.name, second.object.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_two_users_send_is_stored_for_each() {
    let world = World::start().await;
    let sent = world.send(20 * MIB, HOME).await;
    let order = |user: &str| Order {
        placement: names::folder_of_message(user, CHANNEL, sent.message_id),
        owner: user.to_owned(),
        link_name: format!("{user}-link"),
        ..world.order(&sent, History::None)
    };
    let (one, other) = (order("one"), order("other"));
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    let run = |order| {
        let (notes, stop, engine) = (&notes, &stop, &world.engine);
        async move {
            let meter = Arc::new(Meter::start());
            engine.run(order, notes, &meter, stop).await.unwrap()
        }
    };
    let (first, second) = tokio::join!(run(&one), run(&other));
    for (delivery, user) in [(&first, "one/"), (&second, "other/")] {
        assert!(delivery.object.name.starts_with(user), "{delivery:?}");
        assert_eq!(download(&delivery.link.url).await, sent.sha256);
    }
    let oci = world.sim.oci();
    let left = (oci.objects().len(), oci.pars().len(), oci.uploads().len());
    assert_eq!(left, (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_a_file_are_told_apart() {
    let world = World::start().await;
    let gone = world.send(MIB, HOME).await;
    let telegram = world.sim.telegram();
    telegram.delete(ChatId(CHANNEL), gone.message_id).unwrap();
    let mut cases = vec![(gone.message_id, "MessageNotFound")];
    for body in [DraftBody::Text, DraftBody::Service] {
        let draft = Draft {
            chat_id: ChatId(CHANNEL),
            members: None,
            chat_title: None,
            text: "words".to_owned(),
            grouped_id: None,
            body,
        };
        cases.push((telegram.publish(draft).await.unwrap().id, "NoMedia"));
    }
    for (message_id, reason) in cases {
        let sent = Sent {
            message_id,
            ..gone.clone()
        };
        let error = world.transfer(&sent).await.unwrap_err();
        assert_eq!((error.reason(), error.class()), (reason, Class::Permanent));
        assert_eq!(world.left_by(&sent), (0, 0, 0));
    }
}
