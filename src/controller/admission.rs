//! Who runs next, and on which slot. Pure: no client, no clock.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::lifecycle;
use crate::api::TransferJob;

/// What a pass of admission decides.
#[derive(Debug, Default)]
pub struct Admissions {
    /// Jobs to run now, each with its slot.
    pub assign: Vec<(Arc<TransferJob>, i32)>,
    /// Jobs that would run now if there were pods for them, in their order.
    pub wait: Vec<Arc<TransferJob>>,
}

/// How many transfers each user has running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    by_user: HashMap<i64, u32>,
    /// The most that a user may have. None: as many as there are slots.
    limit: Option<u32>,
}

impl Running {
    /// Nobody has anything running yet.
    pub fn new(limit: Option<u32>) -> Self {
        Self {
            by_user: HashMap::new(),
            limit,
        }
    }

    /// A transfer of this job runs.
    pub fn add(&mut self, job: &TransferJob) {
        if let Some(user) = user(job) {
            self.add_user(user);
        }
    }

    /// A transfer of this user runs.
    pub fn add_user(&mut self, user: i64) {
        *self.by_user.entry(user).or_default() += 1;
    }

    /// Whether one more of this job's user may run.
    pub fn admits(&self, job: &TransferJob) -> bool {
        let running = user(job).and_then(|user| self.by_user.get(&user));
        self.limit
            .is_none_or(|limit| running.copied().unwrap_or_default() < limit)
    }

    /// Users of whom no more may run.
    pub fn full_users(&self) -> Vec<i64> {
        let full = |running: u32| self.limit.is_some_and(|limit| running >= limit);
        let users = self.by_user.iter();
        users
            .filter(|(_, running)| full(**running))
            .map(|(user, _)| *user)
            .collect()
    }
}

/// Gives the idle slots to jobs in the order given, as far as their users' limits allow. At most
/// `pods` more could run if there were pods for them.
pub fn decide(
    order: Vec<Arc<TransferJob>>,
    idle_slots: &[i32],
    pods: usize,
    mut running: Running,
) -> Admissions {
    let mut slots = idle_slots.iter().copied();
    let mut admissions = Admissions::default();
    for job in order {
        if !running.admits(&job) {
            continue;
        }
        if let Some(slot) = slots.next() {
            running.add(&job);
            admissions.assign.push((job, slot));
        } else if admissions.wait.len() < pods {
            running.add(&job);
            admissions.wait.push(job);
        } else {
            break;
        }
    }
    admissions
}

/// The jobs that may run now, in the order that needs no queue: higher priority first, then older,
/// then by name.
pub fn creation_order(jobs: Vec<Arc<TransferJob>>, now: Timestamp) -> Vec<Arc<TransferJob>> {
    let mut waiting = jobs;
    waiting.retain(|job| lifecycle::is_waiting(job, now));
    waiting.sort_by_cached_key(|job| {
        let created = job.creation_timestamp().map(|time| time.0);
        (job.spec.priority, created, job.name_any())
    });
    waiting
}

fn user(job: &TransferJob) -> Option<i64> {
    job.spec
        .requester
        .as_ref()
        .map(|requester| requester.user_id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::names::FINALIZER;

    fn job(name: &str, second: u32, change: serde_json::Value) -> Arc<TransferJob> {
        let mut job = json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
            "metadata": {"name": name, "creationTimestamp": format!("2026-11-01T00:00:{second:02}Z"), "finalizers": [FINALIZER]},
            "spec": {"source": {"chatId": 1, "messageId": 1}},
        });
        crate::controller::merge_patch::apply(&mut job, &change);
        Arc::new(serde_json::from_value(job).unwrap())
    }

    fn of(name: &str, user: i64) -> Arc<TransferJob> {
        job(
            name,
            0,
            json!({"spec": {"requester": {"userId": user, "chatId": user}}}),
        )
    }

    fn names(jobs: &[Arc<TransferJob>]) -> Vec<String> {
        jobs.iter().map(|job| job.name_any()).collect()
    }

    fn now() -> Timestamp {
        "2026-11-02T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn without_a_queue_priority_counts_and_then_age() {
        let jobs = vec![
            job("young", 9, json!({})),
            job("old", 1, json!({})),
            job("urgent", 10, json!({"spec": {"priority": "High"}})),
            job("later", 0, json!({"spec": {"priority": "Low"}})),
        ];
        assert_eq!(
            names(&creation_order(jobs, now())),
            ["urgent", "old", "young", "later"]
        );
    }

    #[test]
    fn only_what_may_run_is_admitted() {
        let assignment = json!({"pod": "p", "podUID": "u", "slot": 0, "attempt": 1, "time": "2026-11-01T00:00:00Z"});
        let failed = json!([{"type": "Failed", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-11-01T00:00:00Z"}]);
        let jobs = vec![
            job("running", 1, json!({"status": {"assignment": assignment}})),
            job("finished", 2, json!({"status": {"conditions": failed}})),
            job("suspended", 3, json!({"spec": {"suspend": true}})),
            job(
                "deleted",
                4,
                json!({"metadata": {"deletionTimestamp": "2026-11-01T00:00:00Z"}}),
            ),
            job("new", 5, json!({"metadata": {"finalizers": null}})),
            job(
                "backing-off",
                6,
                json!({"status": {"nextAttemptTime": "2026-11-02T00:00:01Z"}}),
            ),
            job(
                "due",
                7,
                json!({"status": {"nextAttemptTime": "2026-11-02T00:00:00Z"}}),
            ),
        ];
        assert_eq!(names(&creation_order(jobs, now())), ["new", "due"]);
    }

    #[test]
    fn slots_are_given_in_order_within_the_limits_of_users() {
        for (what, order, running, idle, pods, assigned, wait) in [
            (
                "in order",
                vec![of("a", 1), of("b", 2)],
                vec![],
                vec![4, 7],
                0,
                vec![("a", 4), ("b", 7)],
                vec![],
            ),
            (
                "no slot",
                vec![of("a", 1)],
                vec![],
                vec![],
                1,
                vec![],
                vec!["a"],
            ),
            (
                "no room either",
                vec![of("a", 1)],
                vec![],
                vec![],
                0,
                vec![],
                vec![],
            ),
            (
                "a user at the limit is passed over",
                vec![of("a", 1), of("b", 2)],
                vec![of("x", 1), of("y", 1)],
                vec![0],
                9,
                vec![("b", 0)],
                vec![],
            ),
            (
                "what is admitted in this pass counts",
                vec![of("a", 1), of("b", 1), of("c", 1), of("d", 2)],
                vec![],
                vec![0],
                9,
                vec![("a", 0)],
                vec!["b", "d"],
            ),
            (
                "what has no user has no limit",
                vec![
                    job("a", 0, json!({})),
                    job("b", 0, json!({})),
                    job("c", 0, json!({})),
                ],
                vec![],
                vec![0, 1, 2],
                0,
                vec![("a", 0), ("b", 1), ("c", 2)],
                vec![],
            ),
        ] {
            let mut counts = Running::new(Some(2));
            for job in &running {
                counts.add(job);
            }
            let admissions = decide(order, &idle, pods, counts);
            let given: Vec<_> = admissions
                .assign
                .iter()
                .map(|(job, slot)| (job.name_any(), *slot))
                .collect();
            let given: Vec<_> = given
                .iter()
                .map(|(name, slot)| (name.as_str(), *slot))
                .collect();
            assert_eq!(given, assigned, "{what}");
            assert_eq!(names(&admissions.wait), wait, "{what}");
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_limit_and_no_slot_two_jobs(
            users in prop::collection::vec(1_i64..5, 0..40), slots in 0_i32..8, pods in 0_usize..8, limit in 1_u32..4,
        ) {
            let order: Vec<_> = users.iter().enumerate().map(|(at, user)| of(&format!("j{at}"), *user)).collect();
            let idle: Vec<_> = (0..slots).collect();
            let admissions = decide(order.clone(), &idle, pods, Running::new(Some(limit)));
            let mut given: Vec<_> = admissions.assign.iter().map(|(_, slot)| *slot).collect();
            given.dedup();
            prop_assert_eq!(given.len(), admissions.assign.len());
            let all = || admissions.assign.iter().map(|(job, _)| job).chain(&admissions.wait);
            for user in 1..5 {
                prop_assert!(all().filter(|job| super::user(job) == Some(user)).count() <= limit as usize);
            }
            // A slot stays idle only if nobody else may run.
            if admissions.assign.len() < idle.len() {
                let mut running = Running::new(Some(limit));
                for (job, _) in &admissions.assign {
                    running.add(job);
                }
                let left = order.iter().filter(|job| !all().any(|taken| Arc::ptr_eq(taken, job)));
                prop_assert!(left.into_iter().all(|job| !running.admits(job)));
            }
        }

        #[test]
        fn what_was_admitted_is_not_admitted_again_and_who_waits_goes_next(
            users in prop::collection::vec(1_i64..5, 0..40), slots in 0_usize..8, pods in 0_usize..8, limit in 1_u32..4,
        ) {
            let order: Vec<_> = users.iter().enumerate().map(|(at, user)| of(&format!("j{at}"), *user)).collect();
            let idle: Vec<_> = (0..8).take(slots).collect();
            let first = decide(order.clone(), &idle, pods, Running::new(Some(limit)));
            // When it has been carried out
            let mut running = Running::new(Some(limit));
            for (job, _) in &first.assign {
                running.add(job);
            }
            let left: Vec<_> = order
                .into_iter()
                .filter(|job| !first.assign.iter().any(|(taken, _)| Arc::ptr_eq(taken, job)))
                .collect();
            let still_idle = &idle[first.assign.len()..];
            let again = decide(left.clone(), still_idle, pods, running.clone());
            // Then nothing more is to be done, and the same jobs wait for pods
            prop_assert!(again.assign.is_empty());
            prop_assert_eq!(names(&again.wait), names(&first.wait));
            // And when there are pods for them, it is they who get them
            let come: Vec<_> = (100..108).take(first.wait.len()).collect();
            let then = decide(left, &[still_idle, &come].concat(), 0, running);
            let given: Vec<_> = then.assign.iter().map(|(job, _)| Arc::clone(job)).collect();
            prop_assert_eq!(names(&given), names(&first.wait));
        }
    }
}
