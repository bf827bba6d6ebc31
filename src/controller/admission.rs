//! Who runs next, and on which slot. Pure: no client, no clock.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::lifecycle;
use crate::api::TransferJob;

/// What a pass of admission decides.
#[derive(Debug, Default)]
pub struct Admissions {
    /// Jobs to run now, each with its slot.
    pub assign: Vec<(Arc<TransferJob>, i32)>,
    /// Jobs for which no slot is left, in their order.
    pub wait: Vec<Arc<TransferJob>>,
}

/// Gives the idle slots to the jobs that wait: higher priority first, then older, then by name.
pub fn decide(jobs: &[Arc<TransferJob>], idle_slots: &[i32], now: Timestamp) -> Admissions {
    let mut waiting: Vec<_> = jobs
        .iter()
        .filter(|job| lifecycle::is_waiting(job, now))
        .cloned()
        .collect();
    waiting.sort_by_cached_key(|job| {
        (
            job.spec.priority,
            job.creation_timestamp().map(|time| time.0),
            job.name_any(),
        )
    });
    let mut slots = idle_slots.iter().copied();
    let mut admissions = Admissions::default();
    for job in waiting {
        match slots.next() {
            Some(slot) => admissions.assign.push((job, slot)),
            None => admissions.wait.push(job),
        }
    }
    admissions
}

#[cfg(test)]
mod tests {
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

    fn names(jobs: &[Arc<TransferJob>]) -> Vec<String> {
        jobs.iter().map(|job| job.name_any()).collect()
    }

    #[test]
    fn slots_go_by_priority_then_age() {
        let jobs = [
            job("young", 9, json!({})),
            job("old", 1, json!({})),
            job("urgent", 10, json!({"spec": {"priority": "High"}})),
            job("later", 0, json!({"spec": {"priority": "Low"}})),
        ];
        let admissions = decide(&jobs, &[4, 7], "2026-11-02T00:00:00Z".parse().unwrap());
        let assigned: Vec<_> = admissions
            .assign
            .iter()
            .map(|(job, slot)| (job.name_any(), *slot))
            .collect();
        assert_eq!(assigned, [("urgent".to_owned(), 4), ("old".to_owned(), 7)]);
        assert_eq!(names(&admissions.wait), ["young", "later"]);
    }

    #[test]
    fn only_what_may_run_is_admitted() {
        let assignment = json!({"pod": "p", "podUID": "u", "slot": 0, "attempt": 1, "time": "2026-11-01T00:00:00Z"});
        let failed = json!([{"type": "Failed", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-11-01T00:00:00Z"}]);
        let jobs = [
            job("running", 1, json!({"status": {"assignment": assignment}})),
            job("finished", 2, json!({"status": {"conditions": failed}})),
            job("suspended", 3, json!({"spec": {"suspend": true}})),
            job(
                "deleted",
                4,
                json!({"metadata": {"deletionTimestamp": "2026-11-01T00:00:00Z"}}),
            ),
            job("unprotected", 5, json!({"metadata": {"finalizers": null}})),
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
        let admissions = decide(&jobs, &[], "2026-11-02T00:00:00Z".parse().unwrap());
        assert_eq!(names(&admissions.wait), ["due"]);
    }
}
