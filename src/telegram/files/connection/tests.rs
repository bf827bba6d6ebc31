//! What a connection does by itself as time goes by.

use mtproto::{client::ACK_DELAY, message::Outcome};
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::telegram::files::{
    Budget, CHUNK,
    peer::{GRAIN, Heard, Peer, piece, tick},
};

/// A connection at work, and where it connects to.
struct Bench {
    listener: TcpListener,
    orders: mpsc::Sender<Order>,
    reported: mpsc::Receiver<(u64, Report)>,
    running: JoinHandle<()>,
    budget: Budget,
}

impl Bench {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint {
            address: listener.local_addr().unwrap(),
            key: key(),
            greeting: Box::default(),
        };
        let (orders, taken) = mpsc::channel(DEPTH);
        let (reports, reported) = mpsc::channel(DEPTH);
        let opener = Arc::new(Opener::start());
        let running = tokio::spawn(run(1, endpoint, Server::default(), taken, reports, opener));
        Self {
            listener,
            orders,
            reported,
            running,
            budget: Budget::new(0),
        }
    }

    async fn order(&self, fetch: u64, query: &[u8]) {
        let order = Order {
            fetch,
            query: Box::from(query),
            buffer: self.budget.reserve().await,
        };
        self.orders.send(order).await.unwrap();
    }
}

fn key() -> AuthKey {
    AuthKey::new([42; 256])
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_waits_half_a_minute_and_life_is_asked_for_each_minute() {
    let ticking = tick();
    let mut bench = Bench::start().await;
    bench.order(7, b"a query.").await;

    let mut peer = Peer::accept(&bench.listener, key()).await;
    let (_, call, heard) = peer.hear().await;
    assert_eq!(heard, Heard::Call);
    let mut busy = Vec::new();
    let (code, message) = (500, &b"BUSY"[..]);
    Outcome::Error { code, message }.write(&mut busy);
    let answer = peer.answer(&call, &busy).await;
    let Some((1, Report::Answered { fetch: 7, reply })) = bench.reported.recv().await else {
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
    drop(bench.orders);
    bench.running.await.unwrap();
    ticking.abort();
}

/// It could go on for long: a server that answers nothing need not be silent.
#[tokio::test]
async fn a_connection_that_has_no_room_can_be_told_to_end() {
    let mut bench = Bench::start().await;
    for fetch in 0..DEPTH as u64 {
        bench.order(fetch, b"a query.").await;
    }
    let mut peer = Peer::accept(&bench.listener, key()).await;
    for _ in 0..DEPTH {
        peer.hear().await;
    }
    drop(bench.orders);
    let Some((
        1,
        Report::Ended {
            why,
            unanswered,
            buffers,
            ..
        },
    )) = bench.reported.recv().await
    else {
        panic!("it says something else")
    };
    assert!(why.is_none(), "{why:?}");
    assert_eq!(unanswered, [0, 1, 2, 3]);
    assert_eq!(buffers.len(), DEPTH);
    bench.running.await.unwrap();
}

#[tokio::test]
async fn a_call_that_cannot_be_sent_is_answered_and_the_others_go_on() {
    let mut bench = Bench::start().await;
    bench.order(1, b"odd").await;
    bench.order(2, b"a query.").await;
    let mut peer = Peer::accept(&bench.listener, key()).await;
    peer.hear().await;
    let Some((1, Report::Answered { fetch: 1, reply })) = bench.reported.recv().await else {
        panic!("no answer")
    };
    assert!(
        matches!(reply, Err((Error::Unreachable(_), Some(_)))),
        "{reply:?}"
    );
    drop(bench.orders);
    let Some((1, Report::Ended { unanswered, .. })) = bench.reported.recv().await else {
        panic!("no end")
    };
    assert_eq!(unanswered, [2]);
    bench.running.await.unwrap();
}

/// Large packets are still being opened when the end is seen.
#[tokio::test]
async fn answers_that_came_before_the_end_of_a_connection_count() {
    let content = vec![7; CHUNK as usize];
    let mut bench = Bench::start().await;
    for fetch in 0..3 {
        bench.order(fetch, b"a query.").await;
    }
    let mut peer = Peer::accept(&bench.listener, key()).await;
    for answer in [Some(&content[..]), Some(b"short"), None] {
        let (_, call, _) = peer.hear().await;
        if let Some(content) = answer {
            peer.answer(&call, &piece(content)).await;
        }
    }
    drop(peer);
    let mut answered = Vec::new();
    let unanswered = loop {
        match bench.reported.recv().await {
            Some((1, Report::Answered { fetch, reply })) => {
                answered.push((fetch, reply.unwrap().len()));
            }
            Some((1, Report::Ended { unanswered, .. })) => break unanswered,
            other => panic!("{other:?}"),
        }
    };
    answered.sort_unstable();
    assert_eq!(answered, [(0, content.len()), (1, 5)]);
    assert_eq!(unanswered, [2]);
}
