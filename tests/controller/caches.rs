//! A controller that sees late what has happened, or whose writes come too late.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, Request};
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    client::Body,
};
use serde_json::json;
use telestream::api::TransferJobStatus;
use tokio::time::sleep;

use crate::{
    theatre::{Fate, Fates, Theatre},
    world::{MIB, World},
};

/// How late changes are seen.
const LAG: Duration = Duration::from_secs(12);

/// Slots, and jobs for them.
const SLOTS: usize = 2;
const JOBS: usize = 5;

/// Every answer of a watch comes late.
struct LateWatches;

impl Fates for LateWatches {
    fn of(&self, request: &Request<Body>) -> Fate {
        let query = request.uri().query().unwrap_or_default();
        if query.contains("watch=true") {
            Fate::Slow(LAG)
        } else {
            Fate::Answered
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_everything_late_gives_no_job_twice_and_no_worker_two() {
    let change = json!({"worker": {"slots": SLOTS, "idleTimeout": "5m"}});
    let world = World::install("late", change).await;
    let theatre = Theatre::set(&world).await;
    let controller = theatre.play(Arc::new(LateWatches)).await;
    // Given jobs that take a while, and another one that changes all the time, so that it looks often
    let suspended = json!({"suspend": true});
    let message = world.send(MIB).await;
    world.apply("bystander", message, suspended).await;
    world.set_rate(Some(2 * MIB));
    let names: Vec<_> = (0..JOBS).map(|number| format!("late-{number}")).collect();
    for name in &names {
        world.transfer(name, 17 * MIB).await;
    }
    let looking = async {
        loop {
            nobody_has_two(&world).await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let all_end = async {
        for name in &names {
            let status = world.succeeded(name).await;
            let counts = (status.attempt, status.failures, status.interruptions);
            assert_eq!(counts, (1, 0, 0), "{name}");
        }
    };
    // Then each runs once, on a worker of its own
    tokio::select! {
        never = looking => never,
        never = somebody_else(&world, "bystander") => match never {},
        () = all_end => {}
    }
    world.set_rate(None);
    for pod in world.workers().await {
        let started = world.kubelet.started(&pod.name_any());
        assert_eq!(started, [pod.uid().unwrap()], "{}", pod.name_any());
        let log = world.kubelet.log(&pod.name_any());
        for name in &names {
            let is_begin = |line: &&str| line.contains("begins") && line.contains(name.as_str());
            assert!(log.lines().filter(is_begin).count() <= 1, "{name}");
        }
    }
    world.assert_exactly(&names.into_iter().collect()).await;
    controller.end().await;
}

/// No worker has two jobs at a time that have not ended.
async fn nobody_has_two(world: &World) {
    let jobs = world.jobs.list(&ListParams::default()).await.unwrap();
    let mut holders = BTreeMap::new();
    for job in jobs {
        let name = job.name_any();
        let Some(status) = job.status else { continue };
        let Some(assignment) = status.assignment else {
            continue;
        };
        let outcome = status.outcome.map_or(0, |outcome| outcome.attempt);
        if outcome < assignment.attempt {
            let other = holders.insert(assignment.pod_uid, name.clone());
            assert_eq!(other, None, "{name} has the same worker");
        }
    }
}

/// Every other write of a status comes too late: somebody else was quicker.
#[derive(Default)]
struct Conflicts {
    writes: AtomicUsize,
}

impl Fates for Conflicts {
    fn of(&self, request: &Request<Body>) -> Fate {
        let path = request.uri().path();
        let is_write = path.contains("/transferjobs/") && *request.method() == Method::PATCH;
        if is_write
            && path.ends_with("/status")
            && self.writes.fetch_add(1, Ordering::SeqCst).is_multiple_of(2)
        {
            Fate::Refused(409)
        } else {
            Fate::Answered
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_comes_too_late_is_made_anew_and_counts_once() {
    let world = World::install("conflicts", json!({"worker": {"idleTimeout": "5m"}})).await;
    let theatre = Theatre::set(&world).await;
    let conflicts = Arc::new(Conflicts::default());
    let controller = theatre.play(Arc::clone(&conflicts)).await;
    world.set_rate(Some(4 * MIB));
    world.transfer("again", 40 * MIB).await;
    tokio::select! {
        never = somebody_else(&world, "again") => match never {},
        () = an_eventful_life(&world, "again") => {}
    }
    // Then it has met conflicts all the way
    let conflicts = conflicts.writes.load(Ordering::SeqCst) / 2;
    assert!(conflicts >= 5, "{conflicts}");
    let metrics = reqwest::get(format!("http://{}/metrics", controller.http)).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let counted = |line: &str| {
        line.starts_with("telestream_status_writes_total") && line.contains("conflict")
    };
    assert!(metrics.lines().any(counted), "{metrics}");
    controller.end().await;
}

/// Changes a job all the time.
async fn somebody_else(world: &World, name: &str) -> std::convert::Infallible {
    loop {
        let label = json!({"metadata": {"labels": {"meddled": fastrand::u8(..).to_string()}}});
        let parameters = PatchParams::default();
        drop(
            world
                .jobs
                .patch(name, &parameters, &Patch::Merge(label))
                .await,
        );
        sleep(Duration::from_millis(500)).await;
    }
}

/// A job is interrupted, tried again, gets another link, and is kept for long enough.
async fn an_eventful_life(world: &World, name: &str) {
    let pod = world.under_way(name).await;
    world.kubelet.signal(&pod, "KILL");
    let is_interrupted = |status: &TransferJobStatus| status.interruptions == 1;
    world.until(name, "interrupted", is_interrupted).await;
    world.set_rate(None);
    let status = world.succeeded(name).await;
    let counts = (status.attempt, status.failures, status.interruptions);
    assert_eq!(counts, (2, 0, 1), "each attempt has counted once");
    world.labelled(name).await;
    world.change(name, json!({"link": {"ttl": "30d"}})).await;
    let old = status.link.unwrap().id;
    let is_renewed = |status: &TransferJobStatus| {
        let mut conditions = status.conditions.iter();
        conditions.any(|condition| condition.reason == "Renewed")
            && status.link.as_ref().is_some_and(|link| link.id != old)
    };
    world.until(name, "renewed", is_renewed).await;
    world.labelled(name).await;
    world.assert_exactly(&[name.to_owned()].into()).await;
    let soon = json!({"ttlSecondsAfterFinished": 1});
    world.change(name, soon).await;
    world.gone(name).await;
    assert_eq!(world.links_of(name), 0);
}
