//! What this process has noticed of workers: when one was last heard of, when it had last moved a
//! byte, since when it has been asked to stop, and what it moves that was moved before.
//!
//! Only changes that were seen here count, by this machine's clock: a worker's clock may be wrong,
//! and what happened before this process looked is not held against a worker.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::lifecycle::Signs;
use crate::api::TransferJob;

/// What was noticed, by the UID of the job.
#[derive(Debug, Default)]
pub struct Watch(Mutex<HashMap<String, Noticed>>);

#[derive(Debug)]
struct Noticed {
    attempt: i32,
    told: Option<(Time, i64)>,
    /// Bytes that an earlier attempt had stored, until this one tells of its own.
    before: Option<i64>,
    signs: Signs,
}

/// A look at a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What was noticed of its worker.
    pub signs: Signs,
    /// Bytes that an earlier attempt had stored, and that this one turned out to lack.
    pub lost_bytes: u64,
}

impl Watch {
    /// Takes notice of a job as it is now.
    pub fn look(&self, job: &TransferJob, now: Timestamp) -> Look {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = job.uid().unwrap_or_default();
        let fresh = Signs {
            heard: now,
            moved: now,
            stopping: None,
        };
        let status = job.status.as_ref();
        let Some(assignment) = status.and_then(|status| status.assignment.as_ref()) else {
            all.remove(&uid);
            return Look {
                signs: fresh,
                lost_bytes: 0,
            };
        };
        let progress = status.and_then(|status| status.progress.as_ref());
        let told = progress
            .filter(|progress| progress.attempt == assignment.attempt)
            .map(|progress| (progress.updated_at.clone(), progress.bytes));
        let before = progress
            .filter(|progress| progress.attempt < assignment.attempt)
            .map(|progress| progress.bytes);
        let noticed = all
            .entry(uid)
            .and_modify(|noticed| {
                if noticed.attempt != assignment.attempt {
                    noticed.signs = fresh;
                }
            })
            .or_insert(Noticed {
                attempt: assignment.attempt,
                told: None,
                before: None,
                signs: fresh,
            });
        noticed.attempt = assignment.attempt;
        noticed.before = before.or(noticed.before);
        let mut lost_bytes = 0;
        if let Some((_, bytes)) = &told
            && let Some(before) = noticed.before.take()
        {
            lost_bytes = u64::try_from(before - bytes).unwrap_or_default();
        }
        if told != noticed.told {
            let bytes = |told: &Option<(Time, i64)>| told.as_ref().map(|(_, bytes)| *bytes);
            noticed.signs.heard = now;
            if bytes(&told) != bytes(&noticed.told) {
                noticed.signs.moved = now;
            }
            noticed.told = told;
        }
        let is_to_stop = assignment.stop.is_some()
            || job.spec.suspend
            || job.metadata.deletion_timestamp.is_some();
        noticed.signs.stopping = is_to_stop.then(|| noticed.signs.stopping.unwrap_or(now));
        Look {
            signs: noticed.signs,
            lost_bytes,
        }
    }

    /// Nothing of a job is noticed any more.
    pub fn forget(&self, uid: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }

    /// The API server was away: what was not seen meanwhile says nothing of the workers.
    pub fn begin_anew(&self, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for noticed in all.values_mut() {
            noticed.signs = Signs {
                heard: now,
                moved: now,
                stopping: noticed.signs.stopping.map(|_| now),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job(attempt: i32, progress: Option<(i64, i64)>, spec: Value) -> TransferJob {
        let progress = progress.map(|(second, bytes)| {
            json!({"attempt": attempt, "bytes": bytes, "total": 9, "percent": "", "size": "", "fileName": "",
                "bytesPerSecond": 0, "rate": "", "updatedAt": at(second).to_string()})
        });
        let mut job = json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": "tj", "uid": "u"},
            "spec": {"source": {"chatId": 1, "messageId": 1}},
            "status": {"attempt": attempt, "progress": progress,
                "assignment": {"pod": "p", "podUID": "pu", "slot": 0, "attempt": attempt, "time": "2026-11-01T00:00:00Z"}},
        });
        crate::controller::merge_patch::apply(&mut job, &json!({ "spec": spec }));
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_heartbeat_is_heard_and_only_bytes_are_movement() {
        let watch = Watch::default();
        let look = |progress, second| {
            let signs = watch.look(&job(1, progress, json!({})), at(second)).signs;
            (signs.heard.as_second(), signs.moved.as_second())
        };
        assert_eq!(look(None, 10), (10, 10));
        assert_eq!(look(None, 20), (10, 10));
        assert_eq!(look(Some((1, 0)), 30), (30, 30));
        assert_eq!(
            look(Some((2, 0)), 40),
            (40, 30),
            "a heartbeat without a byte"
        );
        assert_eq!(look(Some((2, 0)), 50), (40, 30), "nothing new");
        assert_eq!(look(Some((1, 5)), 60), (60, 60), "a clock that went back");
        watch.begin_anew(at(70));
        assert_eq!(look(Some((1, 5)), 80), (70, 70));
    }

    #[test]
    fn another_attempt_is_another_worker() {
        let watch = Watch::default();
        watch.look(&job(1, None, json!({})), at(10));
        let look = watch.look(&job(2, None, json!({})), at(20));
        assert_eq!(look.signs.heard, at(20));
    }

    #[test]
    fn what_the_next_attempt_lacks_of_what_was_stored_is_counted_once() {
        // What the first attempt has stored, what the second tells one after the other, what is lost
        for (stored, tells, lost) in [
            (Some(7), vec![5, 9], vec![2, 0]),
            (Some(7), vec![0, 3], vec![7, 0]),
            (Some(7), vec![8], vec![0]),
            (None, vec![0], vec![0]),
        ] {
            let watch = Watch::default();
            let mut next = job(2, None, json!({}));
            let before = job(1, stored.map(|bytes| (1, bytes)), json!({}));
            next.status.as_mut().unwrap().progress = before.status.unwrap().progress;
            assert_eq!(
                watch.look(&next, at(10)).lost_bytes,
                0,
                "it says nothing yet"
            );
            let counted: Vec<_> = tells
                .iter()
                .map(|bytes| {
                    let told = job(2, Some((20, *bytes)), json!({}));
                    watch.look(&told, at(20)).lost_bytes
                })
                .collect();
            assert_eq!(counted, lost, "{stored:?}, {tells:?}");
        }
    }

    #[test]
    fn stopping_counts_from_when_it_was_first_seen() {
        let watch = Watch::default();
        let stopping = |suspend: bool, second| {
            watch
                .look(&job(1, None, json!({ "suspend": suspend })), at(second))
                .signs
                .stopping
        };
        assert_eq!(stopping(false, 10), None);
        assert_eq!(stopping(true, 20), Some(at(20)));
        assert_eq!(stopping(true, 30), Some(at(20)));
        assert_eq!(stopping(false, 40), None);
    }
}
