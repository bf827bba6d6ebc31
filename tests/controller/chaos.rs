//! A long run in which anything dies at any moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use telestream::api::{Phase, TransferJob};
use tokio::time::sleep;

use crate::world::{MIB, World, attempt_under_way};

const JOBS: usize = 300;

/// The variable that makes a run strike the blows of an earlier one.
const SEED: &str = "CHAOS_SEED";

/// How long all of them may take.
const PATIENCE: Duration = Duration::from_mins(8);

#[tokio::test(flavor = "multi_thread")]
async fn everything_dies_now_and_then_and_every_file_arrives_once() {
    let change = json!({"controller": {"replicas": 2}, "limits": {"runningPerUser": 0}});
    let mut world = World::install("chaos", change).await;
    let seed = std::env::var(SEED).map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("a number"),
    );
    println!("to strike the same blows again: {SEED}={seed}");
    // Given many files, of no byte, of one part and of several
    let mut names = BTreeSet::new();
    let sizes = [0, MIB, 3 * MIB + 1, 17 * MIB];
    let mut messages = Vec::new();
    for size in sizes {
        messages.push(world.send(size).await);
    }
    world.set_rate(Some(24 * MIB));
    for number in 0..JOBS {
        let name = format!("j{number:03}");
        let message = messages[number % messages.len()];
        let user = i64::try_from(number % 7).unwrap() + 1;
        let priority = ["High", "Normal", "Low"][number % 3];
        // A user whom nobody tells keeps a job from being finished.
        let requester = if number % 2 == 0 {
            json!({"userId": user, "chatId": user})
        } else {
            json!(null)
        };
        world
            .apply(
                &name,
                message,
                json!({"priority": priority, "requester": requester}),
            )
            .await;
        names.insert(name);
    }
    // When pods, controllers and Redis are killed at random moments, and jobs are meddled with
    let deadline = Instant::now() + PATIENCE;
    let mut blows = [0; 7];
    for turn in 0.. {
        let jobs = world.jobs.list(&ListParams::default()).await.unwrap().items;
        let open: Vec<_> = jobs
            .iter()
            .filter(|job| {
                job.status
                    .as_ref()
                    .is_none_or(|status| status.completion_time.is_none())
            })
            .collect();
        no_pod_has_two(&open);
        if open.is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{} are left, of which: {:#?}",
            open.len(),
            open[0].status
        );
        // Each turn by itself: what it finds to strike must not change the turns after it.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(turn));
        let blow = random.usize(..blows.len());
        blows[blow] += 1;
        strike(&mut world, &mut random, blow, &open).await;
        sleep(Duration::from_millis(random.u64(100..1200))).await;
    }
    println!("blows {blows:?}");
    // Then all have succeeded, or have a reason
    let mut succeeded = BTreeSet::new();
    for job in world.jobs.list(&ListParams::default()).await.unwrap().items {
        let status = job.status.clone().unwrap();
        match status.phase {
            Phase::Succeeded => drop(succeeded.insert(job.name_any())),
            Phase::Failed => {
                assert!(status.reason.is_some());
                println!("{} failed: {:?}", job.name_any(), status.reason);
            }
            _ => panic!("{:#?}", job.status),
        }
    }
    assert!(
        succeeded.len() * 10 >= JOBS * 9,
        "only {} succeeded",
        succeeded.len()
    );
    // And no session was used twice, which Telegram would have ended
    world.assert_no_session_was_shared();
    // And each has one object and one link, and nothing else is left
    world.assert_exactly(&succeeded).await;
}

/// No pod is to run more than one job at a time.
fn no_pod_has_two(open: &[&TransferJob]) {
    let mut runs = BTreeMap::new();
    for job in open {
        if let Some(assignment) = attempt_under_way(job) {
            let other = runs.insert(&assignment.pod_uid, job.name_any());
            assert_eq!(other, None, "and {} on {}", job.name_any(), assignment.pod);
        }
    }
}

/// Does something bad to somebody.
async fn strike(world: &mut World, random: &mut fastrand::Rng, blow: usize, open: &[&TransferJob]) {
    let pods = world.workers().await;
    let pod = random.choice(&pods).map(kube::ResourceExt::name_any);
    match (blow, pod) {
        (0, Some(pod)) => world.kubelet.signal(&pod, "KILL"),
        (1, Some(pod)) => {
            // Not at once: a pod that is deleted by force keeps its slot closed for minutes.
            let now = DeleteParams::default().grace_period(random.u32(1..4));
            drop(world.pods.delete(&pod, &now).await);
        }
        (6, _) if random.u8(..) < 96 => {
            let soon = DeleteParams::default().grace_period(random.u32(1..4));
            for pod in &pods {
                drop(world.pods.delete(&pod.name_any(), &soon).await);
            }
        }
        (2, _) if random.bool() => {
            if let Some(controller) = random.choice(world.controllers()) {
                world.kubelet.signal(&controller, "KILL");
            }
        }
        (3, _) => world.redis.admin().await.run::<()>("FLUSHALL").await,
        (4, _) if random.u8(..) < 64 => {
            world.redis.kill();
            sleep(Duration::from_secs(1)).await;
            world.redis.start_again();
        }
        (5, _) => {
            let job = random.choice(open).unwrap().name_any();
            let label = json!({"metadata": {"labels": {"meddled": random.u8(..).to_string()}}});
            let parameters = PatchParams::default();
            drop(
                world
                    .jobs
                    .patch(&job, &parameters, &Patch::Merge(label))
                    .await,
            );
        }
        _ => {}
    }
}
