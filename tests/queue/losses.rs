//! What Redis loses is made again, and nothing comes of it.

use telestream::queue::{Entry, Queue};

use super::{
    at, drain, entry, names,
    support::{
        forwarder::Forwarder,
        redis_server::{RedisServer, settings},
    },
    until_fails, until_ok,
};

fn entries() -> Vec<Entry> {
    (0..9)
        .map(|number| entry(&format!("{}-{number}", number % 3), number % 3, number))
        .collect()
}

/// As they go when nobody has had a turn.
const ORDER: [&str; 9] = [
    "0-0", "1-1", "2-2", "0-3", "1-4", "2-5", "0-6", "1-7", "2-8",
];

#[tokio::test]
async fn a_queue_that_nobody_has_filled_says_so() {
    let server = RedisServer::start(&[]);
    let queue = Queue::new(&server.settings()).unwrap();
    queue.put(&entries()).await.unwrap();
    until_fails("QueueLost", async || queue.next(1, at(0), &[]).await).await;
    queue.sync(&entries()).await.unwrap();
    assert_eq!(drain(&queue).await, ORDER);
}

#[tokio::test]
async fn a_flush_is_noticed_and_mended() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    queue.put(&entries()).await.unwrap();
    queue.admitted("uid-0-0").await.unwrap();

    server.admin().await.run::<()>("FLUSHALL").await;
    let next = queue.next(1, at(0), &[]).await.unwrap_err();
    let admitted = queue.admitted("uid-1-1").await.unwrap_err();
    assert_eq!(
        (next.reason(), admitted.reason()),
        ("QueueLost", "QueueLost")
    );
    // What the bot puts meanwhile does not hide it.
    queue.put(&[entry("new", 7, 100)]).await.unwrap();
    until_fails("QueueLost", async || queue.next(1, at(0), &[]).await).await;

    queue.sync(&entries()[1..]).await.unwrap();
    assert_eq!(
        drain(&queue).await,
        ["1-1", "2-2", "0-3", "1-4", "2-5", "0-6", "1-7", "2-8"]
    );
}

#[tokio::test]
async fn a_queue_that_another_has_filled_is_not_ours() {
    let server = RedisServer::start(&[]);
    let (queue, other) = (server.queue().await, server.queue().await);
    until_fails("QueueLost", async || queue.next(1, at(0), &[]).await).await;
    until_fails("QueueLost", async || queue.admitted("uid-0-0").await).await;
    other.put(&entries()).await.unwrap();
    assert_eq!(drain(&other).await, ORDER);
}

#[tokio::test]
async fn each_key_that_is_evicted_is_missed() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let admin = server.admin().await;
    let mut entries = entries();
    entries.push(Entry {
        not_before: Some(at(50)),
        ..entry("late", 1, 0)
    });
    queue.put(&entries).await.unwrap();
    let keys: Vec<String> = admin.run("KEYS *").await;
    assert_eq!(keys.len(), 5, "{keys:?}");
    for key in keys {
        admin.run::<()>(&format!("DEL {key}")).await;
        // A user who comes now must not make it look whole.
        queue.put(&[entry("new", 7, 100)]).await.unwrap();
        until_fails("QueueLost", async || queue.next(1, at(0), &[]).await).await;
        queue.sync(&entries).await.unwrap();
        let tickets = queue.next(99, at(0), &[]).await.unwrap();
        assert_eq!(tickets.len(), 9, "without {key}: {tickets:?}");
    }
    assert_eq!(drain(&queue).await, ORDER);
}

#[tokio::test]
async fn a_server_that_evicts_under_pressure_is_filled_again() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let queue = server.queue().await;
    let admin = server.admin().await;
    queue.put(&entries()).await.unwrap();
    admin.run::<()>("CONFIG SET maxmemory 3mb").await;
    let filling = "x".repeat(10_000);
    let mut number = 0;
    while admin
        .run::<usize>("EXISTS {test}:entries {test}:ages {test}:ready:normal {test}:turns:normal")
        .await
        == 4
    {
        admin
            .run::<()>(&format!("SET filling-{number} {filling}"))
            .await;
        number += 1;
    }
    until_fails("QueueLost", async || queue.next(1, at(0), &[]).await).await;

    admin.run::<()>("CONFIG SET maxmemory 0").await;
    queue.sync(&entries()).await.unwrap();
    assert_eq!(drain(&queue).await, ORDER);
}

#[tokio::test]
async fn a_restart_without_persistence_is_mended() {
    let mut server = RedisServer::start(&[]);
    let queue = server.queue().await;
    queue.put(&entries()).await.unwrap();
    server.kill();
    server.start_again();
    until_fails("QueueLost", async || queue.next(1, at(0), &[]).await).await;
    queue.sync(&entries()).await.unwrap();
    assert_eq!(drain(&queue).await, ORDER);
}

#[tokio::test]
async fn a_restart_with_persistence_keeps_the_turns() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = server.queue().await;
    queue.put(&entries()).await.unwrap();
    queue.admitted("uid-0-0").await.unwrap();
    server.kill();
    server.start_again();
    // It may have lost something: who fills it must look.
    until_fails("QueueLost", async || queue.next(1, at(0), &[]).await).await;
    queue.sync(&entries()[1..]).await.unwrap();
    assert_eq!(drain(&queue).await, ORDER[1..]);
}

#[tokio::test]
async fn a_failover_that_loses_the_last_writes_is_mended() {
    let (primary, replica) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let forwarder = Forwarder::to(primary.port).await;
    let queue = Queue::new(&settings(forwarder.port)).unwrap();
    queue.sync(&entries()).await.unwrap();
    let (at_primary, at_replica) = (primary.admin().await, replica.admin().await);
    at_replica
        .run::<()>(&format!("REPLICAOF 127.0.0.1 {}", primary.port))
        .await;
    until_ok("the replica has everything", async || {
        let link: String = at_replica.run("INFO replication").await;
        let keys: usize = at_replica.run("DBSIZE").await;
        let whole = link.contains("master_link_status:up")
            && keys == at_primary.run::<usize>("DBSIZE").await;
        whole.then_some(()).ok_or(telestream::queue::Error::Lost)
    })
    .await;

    // The replica is promoted with what it has; what is written after that is lost.
    at_replica.run::<()>("REPLICAOF NO ONE").await;
    queue.admitted("uid-0-0").await.unwrap();
    queue.put(&[entry("7-new", 7, 100)]).await.unwrap();
    forwarder.lead_to(replica.port);

    until_fails("QueueLost", async || queue.next(1, at(0), &[]).await).await;
    let mut truth = entries();
    truth.remove(0);
    truth.push(entry("7-new", 7, 100));
    queue.sync(&truth).await.unwrap();
    let tickets = queue.next(99, at(0), &[]).await.unwrap();
    assert_eq!(
        names(&tickets),
        [
            "0-3", "1-1", "2-2", "7-new", "0-6", "1-4", "2-5", "1-7", "2-8"
        ]
    );
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_left() {
    let (old, new) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let forwarder = Forwarder::to(old.port).await;
    let queue = Queue::new(&settings(forwarder.port)).unwrap();
    queue.sync(&entries()).await.unwrap();
    let admin = old.admin().await;
    admin
        .run::<()>(&format!("REPLICAOF 127.0.0.1 {}", new.port))
        .await;
    until_fails("QueueUnavailable", async || {
        queue.put(&entries()[..1]).await
    })
    .await;
    forwarder.lead_to(new.port);
    until_ok("the new one is filled", async || {
        queue.sync(&entries()).await
    })
    .await;
    assert_eq!(drain(&queue).await, ORDER);
}
