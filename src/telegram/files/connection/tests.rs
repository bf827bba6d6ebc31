//! What a connection does by itself as time goes by.

use mtproto::{client::ACK_DELAY, message::Outcome};
use tokio::net::TcpListener;

use super::*;
use crate::telegram::files::{
    Budget,
    peer::{GRAIN, Heard, Peer, tick},
};

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_waits_half_a_minute_and_life_is_asked_for_each_minute() {
    let ticking = tick();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = AuthKey::new([42; 256]);
    let endpoint = Endpoint {
        address: listener.local_addr().unwrap(),
        key: key.clone(),
        greeting: Box::default(),
    };
    let (orders, taken) = mpsc::channel(DEPTH);
    let (reports, mut reported) = mpsc::channel(DEPTH);
    let opener = Arc::new(Opener::start());
    let running = tokio::spawn(run(1, endpoint, Server::default(), taken, reports, opener));
    let order = Order {
        fetch: 7,
        query: Box::from(*b"a query."),
        buffer: Budget::new(0).reserve().await,
    };
    orders.send(order).await.unwrap();

    let mut peer = Peer::accept(&listener, key).await;
    let (_, call, heard) = peer.hear().await;
    assert_eq!(heard, Heard::Call);
    let mut busy = Vec::new();
    let (code, message) = (500, &b"BUSY"[..]);
    Outcome::Error { code, message }.write(&mut busy);
    let answer = peer.answer(&call, &busy).await;
    let Some((1, Report::Answered { fetch: 7, reply })) = reported.recv().await else {
        panic!("no answer")
    };
    assert!(matches!(reply, Err((Error::Rpc(_), Some(_)))), "{reply:?}");

    for (due, expected) in [
        (ACK_DELAY, Heard::Acks(vec![answer])),
        (Duration::from_mins(1), Heard::Ping { delay: 75 }),
        (Duration::from_mins(2), Heard::Ping { delay: 75 }),
        (Duration::from_mins(3), Heard::Ping { delay: 75 }),
    ] {
        let (at, _, heard) = peer.hear().await;
        assert_eq!(heard, expected);
        assert!(at.abs_diff(due) < 20 * GRAIN, "{heard:?} at {at:?}");
    }
    drop(orders);
    running.await.unwrap();
    ticking.abort();
}

/// It could go on for long: a server that answers nothing need not be silent.
#[tokio::test]
async fn a_connection_that_has_no_room_can_be_told_to_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = AuthKey::new([42; 256]);
    let endpoint = Endpoint {
        address: listener.local_addr().unwrap(),
        key: key.clone(),
        greeting: Box::default(),
    };
    let (orders, taken) = mpsc::channel(DEPTH);
    let (reports, mut reported) = mpsc::channel(DEPTH);
    let opener = Arc::new(Opener::start());
    let running = tokio::spawn(run(1, endpoint, Server::default(), taken, reports, opener));
    let budget = Budget::new(0);
    let mut peer = None;
    for fetch in 0..DEPTH as u64 {
        let order = Order {
            fetch,
            query: Box::from(*b"a query."),
            buffer: budget.reserve().await,
        };
        orders.send(order).await.unwrap();
        if peer.is_none() {
            peer = Some(Peer::accept(&listener, key.clone()).await);
        }
        peer.as_mut().unwrap().hear().await;
    }
    drop(orders);
    let Some((
        1,
        Report::Ended {
            why,
            unanswered,
            buffers,
            ..
        },
    )) = reported.recv().await
    else {
        panic!("it says something else")
    };
    assert!(why.is_none(), "{why:?}");
    assert_eq!(unanswered, [0, 1, 2, 3]);
    assert_eq!(buffers.len(), DEPTH);
    running.await.unwrap();
}
