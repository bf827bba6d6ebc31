//! What is sent: sizes, kinds, places.

use crc_fast::{CrcAlgorithm, Digest};
use telestream::Class;
use telestream_sim::{
    content::Content,
    oci::Keeping,
    telegram::{
        ids::{ChatId, Door},
        keys::SignedIn,
        store::{Draft, DraftBody, Look, MediaKind},
    },
};

use crate::world::{ABROAD, CHANNEL, CHUNK, HOME, MIB, Nature, PART, Sent, World};

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
