//! What the queue costs with 100,000 entries of which one user has half, in a real Redis.
//!
//! `cargo bench --bench queue`; prints medians of calls as a caller sees them, over loopback.

#[allow(dead_code, reason = "the benchmark uses a part of it")]
#[path = "../tests/support/redis_server.rs"]
mod server;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use server::RedisServer;
use telestream::queue::{Entry, Queue, Rank};

/// Users besides the one who has half of everything.
const OTHERS: i64 = 500;

fn entries(count: i64) -> Vec<Entry> {
    let entry = |number| Entry {
        name: format!("tj-{number:016x}"),
        uid: format!("00000000-0000-4000-8000-{number:012x}"),
        user: Some(if number % 2 == 0 {
            0
        } else {
            1 + number % OTHERS
        }),
        rank: Rank::Normal,
        created: Timestamp::from_second(1_700_000_000 + number).expect("a time"),
        not_before: None,
    };
    (0..count).map(entry).collect()
}

async fn median(times: u32, call: impl AsyncFn()) -> Duration {
    let mut took = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        call().await;
        took.push(begin.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = RedisServer::start(&[]);
    let queue = Queue::new(&server.settings()).expect("settings");
    queue.sync(&[]).await.expect("an empty queue");
    let now = Timestamp::now();
    let all = entries(100_000);

    for count in [10_000, 100_000] {
        let put = median(1, async || queue.put(&all[..count]).await.expect("put")).await;
        println!("put of {count}: {put:?}");
        queue.sync(&[]).await.expect("an empty queue");
    }
    queue.put(&all).await.expect("put");
    println!(
        "sync of 100,000, nothing new: {:?}",
        median(1, async || queue.sync(&all).await.expect("sync")).await
    );
    for count in [3, 100, 1000] {
        let next = median(101, async || {
            queue.next(count, now, &[]).await.expect("next");
        })
        .await;
        println!("next of {count}: {next:?}");
    }
    let last = &all[99_998].uid;
    let place = median(101, async || {
        queue.place(last).await.expect("place");
    })
    .await;
    println!("place of the last: {place:?}");
    let turns = median(101, async || {
        let tickets = queue.next(1, now, &[]).await.expect("next");
        queue.admitted(&tickets[0].uid).await.expect("admitted");
    });
    println!("next of 1, and admitted: {:?}", turns.await);
    let memory: String = server.admin().await.run("INFO memory").await;
    let used = memory
        .lines()
        .find(|line| line.starts_with("used_memory_human"));
    println!("{}", used.unwrap_or_default());
}
