//! Live progress is seen by everybody, soon, and forgotten soon.

use std::{pin::pin, time::Duration};

use futures::{Stream, StreamExt as _};
use telestream::queue::{LiveProgress, Queue, TransferState};
use tokio::time::{Instant, interval};

use super::{PATIENCE, support::redis_server::RedisServer};

fn progress(bytes: u64) -> LiveProgress {
    LiveProgress {
        attempt: 2,
        bytes,
        total: Some(100),
        bytes_per_second: 7,
        state: TransferState::Streaming,
    }
}

#[tokio::test]
async fn the_newest_state_is_kept_for_a_while() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    assert_eq!(queue.progress("u1").await.unwrap(), None);
    for bytes in [1, 2] {
        queue
            .publish_progress("u1", &progress(bytes))
            .await
            .unwrap();
    }
    assert_eq!(queue.progress("u1").await.unwrap(), Some(progress(2)));
    assert_eq!(queue.progress("u2").await.unwrap(), None);
    let admin = server.admin().await;
    let left: i64 = admin.run("TTL {test}:progress:u1").await;
    assert!((200..=300).contains(&left), "{left}");
    admin
        .run::<()>("SET {test}:progress:u1 from-another-version")
        .await;
    assert_eq!(queue.progress("u1").await.unwrap(), None);
}

/// Publishes again and again until the subscriber has it: who subscribes late misses the first.
async fn until_seen(
    queue: &Queue,
    bytes: u64,
    stream: &mut (impl Stream<Item = (String, LiveProgress)> + Unpin),
) {
    let deadline = Instant::now() + PATIENCE;
    let mut again = interval(Duration::from_millis(10));
    loop {
        tokio::select! {
            seen = stream.next() => {
                let (uid, seen) = seen.expect("it does not end");
                assert_eq!(uid, "u1");
                if seen == progress(bytes) {
                    return;
                }
            }
            _ = again.tick() => {
                assert!(Instant::now() < deadline, "not seen in time");
                // The server may be away.
                drop(queue.publish_progress("u1", &progress(bytes)).await);
            }
        }
    }
}

#[tokio::test]
async fn a_subscription_survives_its_connection_and_the_server() {
    let mut server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let mut stream = pin!(queue.subscribe());
    until_seen(&queue, 1, &mut stream).await;

    let admin = server.admin().await;
    let killed: usize = admin.run("CLIENT KILL TYPE pubsub").await;
    assert_eq!(killed, 1);
    until_seen(&queue, 2, &mut stream).await;

    server.kill();
    server.start_again();
    until_seen(&queue, 3, &mut stream).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_passed_over() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let mut stream = pin!(queue.subscribe());
    until_seen(&queue, 1, &mut stream).await;
    let admin = server.admin().await;
    let heard: usize = admin.run("PUBLISH {test}:progress nonsense").await;
    assert_eq!(heard, 1);
    until_seen(&queue, 2, &mut stream).await;
}
