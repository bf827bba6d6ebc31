//! Two controllers: one acts, and the other takes over.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use serde_json::json;
use tokio::time::sleep;

use crate::world::{MIB, World, eventually};

/// How long a takeover may take.
const TAKEOVER: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn another_takes_over_and_nothing_is_done_twice() {
    let change = json!({"controller": {"replicas": 2}, "worker": {"standby": 1}});
    let world = World::install("leaders", change).await;
    let leader = leader_after(&world, None).await;
    eventually("a worker is kept warm", async || {
        world.workers().await.len() == 1
    })
    .await;
    the_other_does_nothing(&world, &leader).await;
    let leader = a_frozen_leader_is_replaced_and_goes(&world, leader).await;
    let leader = a_killed_leader_is_back_at_once(&world, leader).await;
    a_leader_that_is_told_to_go_lets_go(&world, leader).await;
}

/// Waits for a leader that is not the one before.
async fn leader_after(world: &World, before: Option<&str>) -> String {
    let deadline = Instant::now() + TAKEOVER;
    loop {
        if let Some(leader) = world.leader().await
            && Some(leader.as_str()) != before
        {
            return leader;
        }
        assert!(Instant::now() < deadline, "nobody leads");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn the_other_does_nothing(world: &World, leader: &str) {
    world.transfer("first", MIB).await;
    world.succeeded("first").await;
    eventually("both are there", async || world.controllers().len() == 2).await;
    let other = other(world, leader);
    assert!(world.figure(leader, "telestream_api_requests_total").await > 5.0);
    assert!((world.figure(leader, "telestream_leader").await - 1.0).abs() < 0.1);
    for pod in [leader, &other] {
        let url = format!("http://{}/readyz", world.kubelet.http(pod));
        let ready = reqwest::get(url).await.unwrap().status();
        assert!(ready.is_success(), "{pod}: {ready}");
    }
    assert!(world.figure(&other, "telestream_leader").await.abs() < 0.1);
    // It looks at the lease and at its own Deployment, and at nothing else.
    let url = format!("http://{}/metrics", world.kubelet.http(&other));
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    for line in text
        .lines()
        .filter(|line| line.starts_with("telestream_api_requests_total{"))
    {
        assert!(
            line.contains("verb=\"get\"") || line.contains("resource=\"leases\""),
            "{line}"
        );
    }
}

fn other(world: &World, leader: &str) -> String {
    let mut controllers = world.controllers();
    controllers.retain(|pod| pod != leader);
    controllers.pop().expect("there are two")
}

async fn a_frozen_leader_is_replaced_and_goes(world: &World, leader: String) -> String {
    // Given a transfer under way
    world.set_rate(Some(2 * MIB));
    world.transfer("undisturbed", 60 * MIB).await;
    world.under_way("undisturbed").await;
    // When the leader stands still
    world.kubelet.signal(&leader, "STOP");
    let next = leader_after(world, Some(&leader)).await;
    world.transfer("second", MIB).await;
    world.succeeded("second").await;
    let writes = world.figure(&next, "telestream_status_writes_total").await;
    assert!(writes > 0.0);
    // And it wakes up
    world.kubelet.signal(&leader, "CONT");
    eventually("it has said that it lost the lease", async || {
        world.kubelet.log(&leader).contains("is lost")
    })
    .await;
    // Then it does not act, the other does, and the transfer has noticed nothing
    assert_eq!(world.leader().await.as_ref(), Some(&next));
    world.set_rate(None);
    let status = world.succeeded("undisturbed").await;
    assert_eq!((status.attempt, status.interruptions), (1, 0));
    let jobs = ["first", "undisturbed", "second"].map(str::to_owned);
    world.assert_exactly(&jobs.into()).await;
    // Nor was any pod made beside another, or in place of one.
    for pod in world.workers().await {
        let started = world.kubelet.started(&pod.name_any());
        assert_eq!(started, [pod.uid().unwrap()], "{}", pod.name_any());
    }
    next
}

async fn a_killed_leader_is_back_at_once(world: &World, leader: String) -> String {
    world.set_rate(Some(2 * MIB));
    world.transfer("third", 40 * MIB).await;
    world.under_way("third").await;
    let killed = Instant::now();
    world.kubelet.signal(&leader, "KILL");
    sleep(Duration::from_millis(500)).await;
    // Its next container leads: nobody has to wait for a lease that its own past holds.
    world.transfer("fourth", MIB).await;
    world.succeeded("fourth").await;
    assert!(
        killed.elapsed() < Duration::from_secs(10),
        "{:?}",
        killed.elapsed()
    );
    world.set_rate(None);
    assert_eq!(world.succeeded("third").await.attempt, 1);
    world.leader().await.unwrap()
}

async fn a_leader_that_is_told_to_go_lets_go(world: &World, leader: String) {
    let begun = Instant::now();
    let parameters = kube::api::DeleteParams::default();
    world.pods.delete(&leader, &parameters).await.unwrap();
    let next = leader_after(world, Some(&leader)).await;
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert_ne!(next, leader);
    world.transfer("fifth", MIB).await;
    world.succeeded("fifth").await;
}
