//! Redis forgets, falls over or stands still under a controller that goes by its order.

use std::cell::Cell;

use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use telestream::api::TransferJob;
use tokio::time::{Duration, timeout};

use crate::{
    support::{forwarder::Forwarder, kubelet::Trouble, redis_server::RedisServer},
    world::{MIB, World, attempt_under_way, eventually},
};

/// Keys that the queue always has while something waits.
const KEYS: &str = "EXISTS {telestream.telestream}:entries {telestream.telestream}:ages";

/// How many wait there at a time.
const MANY: usize = 6;

/// How many are deleted that wait.
const CANCELLED: usize = 20;

/// How many wait in it, and one entry that says whose queue it is.
const COUNT: &str = "HLEN {telestream.telestream}:entries";

/// How soon a job gets the free slot of a controller that has no use of its queue.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_redis_every_job_runs_once() {
    let (first, second) = (
        RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]),
        RedisServer::start(&[]),
    );
    let forwarder = Forwarder::to(first.port).await;
    let change = json!({"redis": {"port": forwarder.port}, "worker": {"slots": 1}});
    let world = World::install("queue", change).await;
    // Given a queue that is thrown out while many wait in it
    let mut jobs = many_wait(&world, &first, "evicted").await;
    evict(&first).await;
    world.kubelet.set_trouble(None).await;
    // Then all run
    all_succeed(&world, &jobs).await;
    is_used(&world, true).await;

    // Given a replica that takes over, and does not know who was given the slot last
    let more = many_wait(&world, &first, "lost").await;
    fail_over(&first, &second, &forwarder, &world).await;
    // Then nobody runs twice
    world.set_rate(None);
    all_succeed(&world, &more).await;
    jobs.extend(more);
    is_used(&world, true).await;

    // Replies that do not come hold nobody up
    forwarder.hold_replies(true);
    let goes = async {
        world.transfer("held", MIB).await;
        world.succeeded("held").await;
        world.transfer("held-too", MIB).await;
        world.succeeded("held-too").await;
    };
    timeout(SOON, goes)
        .await
        .expect("it does not wait for Redis");
    is_used(&world, false).await;
    forwarder.hold_replies(false);
    eventually("it is used again", async || {
        world.transfer(&format!("j{}", fastrand::u32(..)), 0).await;
        queue_available(&world).await > 0.5
    })
    .await;
    for name in &jobs {
        let status = world.succeeded(name).await;
        assert_eq!(status.attempt, 1, "{name}");
        assert_eq!(
            (world.objects_of(name), world.links_of(name)),
            (1, 1),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_deleted_waits_no_more_and_turns_go_round() {
    let world = World::install("ghosts", json!({"worker": {"slots": 1}})).await;
    let admin = world.redis.admin().await;
    let wait = async |count: usize| {
        eventually(&format!("{count} wait in the queue"), async || {
            admin.run::<usize>(COUNT).await == count + 1
        })
        .await;
    };
    // Given many jobs of one user that no worker was ever given
    world
        .kubelet
        .set_trouble(Some(Trouble::Unschedulable))
        .await;
    let message = world.send(2 * MIB).await;
    for number in 0..CANCELLED {
        apply_of(&world, &format!("cancelled-{number}"), message, 1).await;
    }
    wait(CANCELLED).await;
    // When they are deleted
    for number in 0..CANCELLED {
        let name = format!("cancelled-{number}");
        let parameters = DeleteParams::default();
        world.jobs.delete(&name, &parameters).await.unwrap();
        world.gone(&name).await;
    }
    // Then they wait no more, nor do they come back with those that wait when the queue is filled anew
    wait(0).await;
    for user in 1..=2 {
        for number in 0..MANY / 2 {
            apply_of(&world, &format!("user-{user}-{number}"), message, user).await;
        }
    }
    wait(MANY).await;
    admin.run::<()>("FLUSHALL").await;
    wait(MANY).await;
    // And the next jobs of that user take turns with those of another, a second or more each
    world.set_rate(Some(MIB));
    world.kubelet.set_trouble(None).await;
    let mut users = Vec::new();
    for user in 1..=2 {
        for number in 0..MANY / 2 {
            let status = world.succeeded(&format!("user-{user}-{number}")).await;
            users.push((status.start_time.unwrap().0, user));
        }
    }
    users.sort();
    let users: Vec<_> = users.into_iter().map(|(_, user)| user).collect();
    assert_eq!(users, [1, 2].repeat(MANY / 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_take_turns_and_nobody_has_more_than_the_limit() {
    let change = json!({"worker": {"slots": 1}, "limits": {"runningPerUser": 2}});
    let world = World::install("turns", change).await;
    // Given one who has sent all of theirs before another has
    let trouble = Some(Trouble::Unschedulable);
    world.kubelet.set_trouble(trouble).await;
    let message = world.send(2 * MIB).await;
    let of_users = [1, 1, 1, 2, 2, 2];
    let names: Vec<_> = (0..of_users.len()).map(|at| format!("turn-{at}")).collect();
    for (name, user) in names.iter().zip(of_users) {
        apply_of(&world, name, message, user).await;
    }
    let admin = world.redis.admin().await;
    eventually("they wait in the queue", async || {
        admin.run::<usize>(COUNT).await == of_users.len() + 1
    })
    .await;
    // When there is one slot for them, longer than the figures' precision
    world.set_rate(Some(MIB));
    world.kubelet.set_trouble(None).await;
    let mut starts = Vec::new();
    for (name, user) in names.iter().zip(of_users) {
        starts.push((world.succeeded(name).await.start_time.unwrap().0, user));
    }
    // Then they take turns
    starts.sort_unstable();
    let is_turn = |pair: &[(_, i32)]| pair[0].1 != pair[1].1;
    assert!(starts.windows(2).all(is_turn), "{starts:?}");

    // Given more slots than one user may have
    world.upgrade(&["worker.slots=3"]);
    let names: Vec<_> = (0..5).map(|at| format!("many-{at}")).collect();
    for name in &names {
        apply_of(&world, name, message, 1).await;
    }
    let most = Cell::new(0);
    eventually("all are done", async || {
        let jobs = world.jobs.list(&ListParams::default()).await.unwrap();
        let running = jobs.iter().filter(|job| attempt_under_way(job).is_some());
        most.set(most.get().max(running.count()));
        assert!(most.get() <= 2, "{most:?} run");
        let is_done = |job: &TransferJob| {
            let status = job.status.as_ref();
            status.is_some_and(|status| status.completion_time.is_some())
        };
        jobs.iter().all(is_done)
    })
    .await;
    assert_eq!(most.get(), 2, "as many as they may");
    all_succeed(&world, &names).await;
}

async fn apply_of(world: &World, name: &str, message: i32, user: i32) {
    let requester = json!({"requester": {"userId": user, "chatId": user}});
    world.apply(name, message, requester).await;
}

/// Many wait in the queue, and no pod runs that they could be given.
async fn many_wait(world: &World, server: &RedisServer, prefix: &str) -> Vec<String> {
    world
        .kubelet
        .set_trouble(Some(Trouble::Unschedulable))
        .await;
    let now = DeleteParams::default().grace_period(1);
    drop(world.pods.delete("telestream-worker-0", &now).await);
    let message = world.send(2 * MIB).await;
    let names: Vec<_> = (0..MANY)
        .map(|number| format!("{prefix}-{number}"))
        .collect();
    for (name, user) in names.iter().zip((1..=2).cycle()) {
        let requester = json!({"userId": user, "chatId": user});
        world
            .apply(name, message, json!({ "requester": requester }))
            .await;
    }
    let admin = server.admin().await;
    eventually("they wait in the queue", async || {
        admin.run::<usize>(COUNT).await == MANY + 1
    })
    .await;
    names
}

async fn all_succeed(world: &World, names: &[String]) {
    for name in names {
        world.succeeded(name).await;
    }
}

/// Fills the server until it has thrown out what the controller has put there.
async fn evict(server: &RedisServer) {
    let admin = server.admin().await;
    admin.run::<()>("CONFIG SET maxmemory 3mb").await;
    let filling = "x".repeat(10_000);
    let mut number = 0;
    while admin.run::<usize>(KEYS).await == 2 {
        let line = format!("SET filling-{number} {filling}");
        admin.run::<()>(&line).await;
        number += 1;
    }
    admin.run::<()>("CONFIG SET maxmemory 0").await;
}

/// The second takes the place of the first, without what was written last.
async fn fail_over(
    first: &RedisServer,
    second: &RedisServer,
    forwarder: &Forwarder,
    world: &World,
) {
    let (old, new) = (first.admin().await, second.admin().await);
    new.run::<()>(&format!("REPLICAOF 127.0.0.1 {}", first.port))
        .await;
    eventually("the second has everything", async || {
        let link: String = new.run("INFO replication").await;
        link.contains("master_link_status:up") && new.run::<usize>(KEYS).await == 2
    })
    .await;
    new.run::<()>("REPLICAOF NO ONE").await;
    // Somebody is given the slot, as the first alone is told.
    world.set_rate(Some(MIB / 2));
    world.kubelet.set_trouble(None).await;
    eventually("one waits no more", async || {
        old.run::<usize>(COUNT).await < MANY + 1
    })
    .await;
    forwarder.lead_to(second.port);
}

async fn queue_available(world: &World) -> f64 {
    let leader = world.leader().await.unwrap();
    world.figure(&leader, "telestream_queue_available").await
}

/// Waits until the order of the queue counts, or does not.
async fn is_used(world: &World, is_used: bool) {
    eventually(
        "the controller says whether it uses the queue",
        async || (queue_available(world).await > 0.5) == is_used,
    )
    .await;
}
