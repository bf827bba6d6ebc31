//! What a data centre's connections come to when their server does not do its work.

use std::net::SocketAddr;

use futures::FutureExt as _;
use mtproto::{Body, MsgId, message::Outcome};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use super::*;
use crate::telegram::files::peer::{GRAIN, Peer, piece, tick};

/// What a file has in it.
const CONTENT: &[u8] = b"some bytes";

fn key() -> AuthKey {
    AuthKey::new([42; 256])
}

fn centre_at(address: SocketAddr) -> Centre {
    let doors = Doors {
        addresses: vec![address],
        connections: 1,
    };
    Centre::new(doors, key(), Box::default(), Arc::new(Opener::start()))
}

async fn fetch(centre: &Centre, budget: &Budget) -> Result<Vec<u8>, Error> {
    let buffer = budget.reserve().await;
    let reply = centre.fetch(Box::from(*b"a query."), buffer).await;
    reply
        .map(|bytes| bytes.to_vec())
        .map_err(|(error, _)| error)
}

/// A server whose first connections say something each second, but never what they were asked.
async fn chatter(listener: TcpListener, connections: usize) {
    for _ in 0..connections {
        let mut peer = Peer::accept(&listener, key()).await;
        let (_, call, _) = peer.hear().await;
        tokio::spawn(async move {
            loop {
                let chat = Body::Pong {
                    msg_id: MsgId(4),
                    ping_id: 1,
                };
                if peer.say(&call, &chat).await.is_err() {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    let mut peer = Peer::accept(&listener, key()).await;
    loop {
        let (_, call, _) = peer.hear().await;
        peer.answer(&call, &piece(CONTENT)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_all_but_what_it_was_asked_is_replaced() {
    let ticking = tick();
    for chatting in [1, 2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let centre = centre_at(listener.local_addr().unwrap());
        let serving = tokio::spawn(chatter(listener, chatting));
        let budget = Budget::new(0);
        let begun = Instant::now();
        let fetched = fetch(&centre, &budget).await;
        if chatting == 1 {
            assert_eq!(fetched.unwrap(), CONTENT);
            assert!(begun.elapsed() < PATIENCE);
        } else {
            // That was too long for one fetch, but the next one does not wait for it.
            assert!(matches!(fetched, Err(Error::Unreachable(_))), "{fetched:?}");
            let begun = Instant::now();
            assert_eq!(fetch(&centre, &budget).await.unwrap(), CONTENT);
            assert!(begun.elapsed() < 50 * GRAIN, "{:?}", begun.elapsed());
        }
        serving.abort();
    }
    ticking.abort();
}

/// A server that asks to wait for so long, whatever it is asked, and then closes.
async fn tired(listener: TcpListener, seconds: u32) {
    loop {
        let mut peer = Peer::accept(&listener, key()).await;
        let (_, call, _) = peer.hear().await;
        let mut wait = Vec::new();
        let message = format!("FLOOD_WAIT_{seconds}");
        Outcome::Error {
            code: 420,
            message: message.as_bytes(),
        }
        .write(&mut wait);
        peer.answer(&call, &wait).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_outlives_the_connection_that_was_asked_for_it() {
    let ticking = tick();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let centre = centre_at(listener.local_addr().unwrap());
    let serving = tokio::spawn(tired(listener, 1400));
    let budget = Budget::new(0);
    // The second one is for the connection in the place of the first, which has been closed.
    for (after, left) in [(0, 1400), (600, 800)] {
        sleep(Duration::from_secs(after)).await;
        let fetched = fetch(&centre, &budget).await;
        let Err(Error::FloodWait(wait)) = fetched else {
            panic!("{fetched:?}")
        };
        let left = Duration::from_secs(left);
        assert!(
            wait.abs_diff(left) < 100 * GRAIN,
            "{wait:?} instead of {left:?}"
        );
    }
    serving.abort();
    ticking.abort();
}

/// The answer is still to come, and needs its place.
#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_keeps_its_buffer_until_it_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let centre = centre_at(listener.local_addr().unwrap());
    let budget = Budget::new(0);
    let (mut peer, call) = tokio::select! {
        fetched = fetch(&centre, &budget) => panic!("{fetched:?}"),
        heard = async {
            let mut peer = Peer::accept(&listener, key()).await;
            let (_, call, _) = peer.hear().await;
            (peer, call)
        } => heard,
    };
    let mut left = Vec::new();
    while let Some(buffer) = budget.reserve().now_or_never() {
        left.push(buffer);
    }
    assert_eq!(left.len(), 3);
    peer.answer(&call, &piece(CONTENT)).await;
    timeout(Duration::from_mins(1), budget.reserve())
        .await
        .unwrap();
}
