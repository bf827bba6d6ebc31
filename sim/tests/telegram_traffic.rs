//! What the stand-in for Telegram counts, and how slow it can be made.

mod raw;

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use raw::{Client, PATIENCE, SIZE, location, publish, session, start};
use telestream_sim::Sim;
use telestream_sim::telegram::ids::{DcId, Door};
use telestream_sim::telegram::keys::SignedIn;
use telestream_sim::telegram::store::MediaKind;
use tokio::time::timeout;

const HALF: i32 = 512 << 10;

async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, met).await.is_ok(), "never: {what}");
}

fn doors_open(sim: &Sim, door: Door) -> (usize, usize) {
    let door = sim.telegram().traffic().door(DcId(2), door);
    (door.open, door.most_open)
}

#[tokio::test]
async fn bytes_are_counted_and_those_served_again() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let document = client.document(id).await;
    let file = location(&document);
    for (offset, limit) in [
        (0, HALF),
        (HALF.into(), HALF),
        // Half of this was served before, and of the last nothing
        (256 << 10, HALF / 2),
        (3 << 20, HALF),
    ] {
        let piece = client.file(file.clone().into(), offset, limit).await;
        assert!(piece.is_ok());
    }
    let last = SIZE - (3 << 20);
    until("the last piece is counted", || {
        sim.telegram().traffic().file(document.id).pieces == 4
    })
    .await;
    let traffic = sim.telegram().traffic();
    let served = traffic.file(document.id);
    assert_eq!(served.bytes, (1 << 20) + (256 << 10) + last);
    assert_eq!(served.bytes_again, 256 << 10);
    let door = traffic.door(DcId(2), Door::Main);
    assert_eq!(door.calls_of("upload.getFile"), 4);
    assert!(door.bytes > served.bytes);
    assert_eq!(traffic.connections[0].get_file, 4);

    sim.telegram().reset_traffic();
    let traffic = sim.telegram().traffic();
    assert_eq!(traffic.file(document.id).bytes, 0);
    assert_eq!(traffic.door(DcId(2), Door::Main).calls.len(), 0);
    sim.stop().await;
}

#[tokio::test]
async fn connections_are_counted_by_door() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let one = Client::at_media(&sim, &session, 1).await;
    let two = Client::at_media(&sim, &session, 2).await;
    assert_eq!(doors_open(&sim, Door::Media), (2, 2));
    assert_eq!(doors_open(&sim, Door::Main), (0, 0));
    drop(one);
    until("one is closed", || doors_open(&sim, Door::Media) == (1, 2)).await;
    drop(two);
    until("both are closed", || {
        doors_open(&sim, Door::Media) == (0, 2)
    })
    .await;
    sim.stop().await;
}

#[tokio::test]
async fn what_a_client_owes_is_told_by_session() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let mut client = Client::ready(&sim, &session).await;
    let owed = || {
        let traffic = sim.telegram().traffic();
        let found = traffic.sessions.into_iter().find(|s| s.session_id == 77);
        found.expect("its session")
    };
    // The greeting and the configuration
    assert_eq!(owed().unacknowledged, 2);
    assert_eq!(owed().refused.get(&48), Some(&1), "the first salt is wrong");
    let ids = client.seen.clone();
    client.send_body(&mtproto::Body::MsgsAck(ids)).await;
    until("they are acknowledged", || owed().unacknowledged == 0).await;
    sim.stop().await;
}

#[tokio::test]
async fn a_far_data_centre_answers_late_but_all_at_once() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let file = location(&client.document(id).await).into();
    let latency = Duration::from_millis(400);
    sim.telegram().set_latency(latency);
    let began = Instant::now();
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(client.ask(&file, 0, 4096).await);
    }
    for asked in asked {
        client.answer(asked).await;
    }
    let took = began.elapsed();
    assert!(took >= latency && took < latency * 10, "{took:?}");
    sim.stop().await;
}

#[tokio::test]
async fn each_connection_has_a_rate_of_its_own() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let file = location(&client.document(id).await).into();
    let mut others = Vec::new();
    for session_id in 1..=4 {
        others.push(Client::at_media(&sim, &session, session_id).await);
    }
    // Half a second for each connection, one after the other two seconds
    sim.telegram().set_rate(NonZeroU64::new(1 << 20));
    let began = Instant::now();
    for other in &mut others {
        other.ask(&file, 0, HALF).await;
    }
    for other in &mut others {
        other.frame().await.expect("a piece");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert!(took < Duration::from_millis(1800), "{took:?}");
    sim.stop().await;
}
