//! The queue in Redis: who goes first, what a loss of Redis costs (nothing), and that a sick Redis
//! holds nothing up. Against real servers that the tests start.

mod access;
mod failures;
mod losses;
mod model;
mod order;
mod progress;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use telestream::queue::{Entry, Queue, Rank, Result, Ticket};
use tokio::time::{Instant, sleep};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time at `second` of the tests' own age.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// An entry of `user`, made at `second`.
fn entry(name: &str, user: i64, second: i64) -> Entry {
    Entry {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        user: Some(user),
        rank: Rank::Normal,
        created: at(second),
        not_before: None,
    }
}

fn names(tickets: &[Ticket]) -> Vec<&str> {
    tickets.iter().map(|ticket| ticket.name.as_str()).collect()
}

/// The order in which all go, if one is admitted after the other.
async fn drain(queue: &Queue) -> Vec<String> {
    let mut order = Vec::new();
    while let [ticket] = &queue.next(1, at(0), &[]).await.unwrap()[..] {
        queue.admitted(&ticket.uid).await.unwrap();
        order.push(ticket.name.clone());
    }
    order
}

/// Calls until it succeeds, as its caller does after a failure that passes.
async fn until_ok<T>(what: &str, call: impl AsyncFn() -> Result<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "not in time: {what}: {error}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Calls until it fails with this reason, and with none but those that pass before.
async fn until_fails<T>(reason: &str, call: impl AsyncFn() -> Result<T>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(error) if error.reason() == reason => return,
            Err(error) if error.class() == telestream::Class::Permanent => panic!("{error}"),
            _ => assert!(Instant::now() < deadline, "not in time: {reason}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// How many tickets each user has, given that names begin with `<user>-`.
fn shares(tickets: &[Ticket]) -> HashMap<&str, usize> {
    tickets.iter().fold(HashMap::new(), |mut shares, ticket| {
        *shares
            .entry(ticket.name.split('-').next().unwrap())
            .or_default() += 1;
        shares
    })
}
