//! A Redis that is slow, dead or full holds nothing up.

use std::time::Duration;

use telestream::{
    Class,
    queue::{Error, Patience, Queue},
};
use tokio::time::timeout;

use super::{
    PATIENCE, at, drain, entry,
    support::{
        forwarder::Forwarder,
        redis_server::{RedisServer, settings},
    },
    until_ok,
};

#[tokio::test]
async fn slow_replies_are_given_up_and_then_calls_fail_at_once() {
    let server = RedisServer::start(&[]);
    let forwarder = Forwarder::to(server.port).await;
    let mut settings = settings(forwarder.port);
    settings.patience = Patience {
        deadline: Duration::from_secs(2),
        rest: Duration::from_secs(3),
        longest_rest: Duration::from_secs(3),
    };
    let queue = Queue::new(&settings).unwrap();
    queue.sync(&[entry("a", 1, 0)]).await.unwrap();

    forwarder.hold_replies(true);
    let error = timeout(PATIENCE, queue.next(1, at(0), &[])).await.unwrap();
    assert!(matches!(error, Err(Error::Timeout(_))), "{error:?}");
    let error = queue.next(1, at(0), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Resting(_)), "{error:?}");
    assert!(matches!(error.class(), Class::After(left) if left <= Duration::from_secs(3)));

    forwarder.hold_replies(false);
    until_ok("it recovers", async || {
        queue.sync(&[entry("a", 1, 0)]).await
    })
    .await;
    assert_eq!(drain(&queue).await, ["a"]);
}

#[tokio::test]
async fn a_server_that_does_not_reply_to_anybody_is_given_up() {
    let server = RedisServer::start(&[]);
    let mut settings = server.settings();
    settings.patience.deadline = Duration::from_secs(1);
    let queue = Queue::new(&settings).unwrap();
    queue.sync(&[]).await.unwrap();
    let admin = server.admin().await;
    admin.run::<()>("CLIENT PAUSE 60000 ALL").await;
    let given_up = timeout(PATIENCE, queue.put(&[entry("a", 1, 0)]))
        .await
        .unwrap();
    assert!(matches!(given_up, Err(Error::Timeout(_))), "{given_up:?}");
}

#[tokio::test]
async fn a_dead_server_is_left_alone_and_found_again() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let mut settings = server.settings();
    settings.patience.rest = Duration::from_secs(1);
    settings.patience.longest_rest = Duration::from_secs(1);
    let queue = Queue::new(&settings).unwrap();
    let refused = queue.stats().await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    let resting = queue.stats().await.unwrap_err();
    assert!(matches!(resting, Error::Resting(_)), "{resting:?}");
    server.start_again();
    until_ok("it is found", async || queue.stats().await).await;
}

#[tokio::test]
async fn a_full_server_takes_nothing_more_but_lets_go() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let queue = server.queue().await;
    let entries = [entry("a", 1, 0), entry("b", 1, 1), entry("c", 2, 2)];
    queue.put(&entries).await.unwrap();
    let admin = server.admin().await;
    admin.run::<()>("CONFIG SET maxmemory 1").await;

    let refused = queue.put(&[entry("d", 3, 3)]).await.unwrap_err();
    assert_eq!(refused.class(), Class::Transient, "{refused}");
    assert!(matches!(refused, Error::OutOfMemory), "{refused:?}");
    // It is not left alone for that, and admission goes on.
    let tickets = queue.next(1, at(0), &[]).await.unwrap();
    queue.admitted(&tickets[0].uid).await.unwrap();
    queue.remove(&["uid-c"]).await.unwrap();

    admin.run::<()>("CONFIG SET maxmemory 0").await;
    queue.put(&[entry("d", 3, 3)]).await.unwrap();
    assert_eq!(drain(&queue).await, ["b", "d"]);
}

#[tokio::test]
async fn calls_can_be_made_from_tasks_at_the_same_time() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let tasks: Vec<_> = (0..50)
        .map(|user| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.put(&[entry(&user.to_string(), user, 0)]).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(queue.next(99, at(0), &[]).await.unwrap().len(), 50);
    let clients: String = server.admin().await.run("CLIENT LIST").await;
    assert_eq!(
        clients.lines().count(),
        2,
        "one connection, and the test's own: {clients}"
    );
}
