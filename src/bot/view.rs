//! What a user sees of a file, made from its `TransferJob` and the live progress. Pure.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::jobs;
use crate::{
    api::{ConditionType, Phase, TransferJob, find_condition},
    queue::{LiveProgress, Place, TransferState},
};

/// A file, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileView {
    /// The name of its job.
    pub job: String,
    /// What it is called.
    pub name: String,
    /// How far it is.
    pub state: FileState,
}

/// How far a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// It waits for its turn.
    Waiting {
        /// How many go before it.
        ahead: u64,
        /// Seconds until it will begin, roughly.
        estimate: Option<u64>,
    },
    /// Somebody holds it up.
    Suspended,
    /// It failed, and is tried again.
    Retrying {
        /// Why it failed.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// It moves.
    Running {
        /// Bytes stored.
        bytes: u64,
        /// Bytes in all; none until they are known.
        total: Option<u64>,
        /// Bytes a second.
        rate: u64,
        /// What the worker does.
        stage: TransferState,
    },
    /// It is stored.
    Done(Stored),
    /// It was given up.
    Failed {
        /// Why, as one word.
        reason: String,
    },
    /// Its user, or an operator, has stopped it.
    Cancelled,
}

/// A stored file.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// CRC32C of the whole, as Object Storage writes it.
    pub crc32c: String,
    /// Its link, if it works.
    pub link: Option<LinkView>,
}

/// A link that works.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkView {
    /// The URL: a secret.
    pub url: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for LinkView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkView")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("size", &self.size)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl FileView {
    /// A job's file. `place` and `live` are looked at while it waits and while it runs.
    pub fn of(
        job: &TransferJob,
        place: Option<Place>,
        live: Option<&LiveProgress>,
        now: Timestamp,
    ) -> Self {
        Self {
            job: job.name_any(),
            name: name_of(job),
            state: state_of(job, place, live, now),
        }
    }

    /// Whether nothing more happens to it.
    pub const fn is_over(&self) -> bool {
        matches!(
            self.state,
            FileState::Done(_) | FileState::Failed { .. } | FileState::Cancelled
        )
    }
}

fn state_of(
    job: &TransferJob,
    place: Option<Place>,
    live: Option<&LiveProgress>,
    now: Timestamp,
) -> FileState {
    let status = job.status.clone().unwrap_or_default();
    if job.metadata.deletion_timestamp.is_some() {
        return FileState::Cancelled;
    }
    if jobs::has(job, ConditionType::Failed) {
        let failed = find_condition(&status.conditions, ConditionType::Failed);
        let reason = failed.map(|condition| condition.reason.clone());
        return FileState::Failed {
            reason: reason.unwrap_or_default(),
        };
    }
    if jobs::has(job, ConditionType::Complete) {
        let object = status.object.as_ref();
        let link = jobs::live_link(job, now).map(|link| LinkView {
            url: link.url.clone(),
            expires_at: link.expires_at.0,
        });
        return FileState::Done(Stored {
            size: object.map_or(0, |object| object.size.unsigned_abs()),
            crc32c: object
                .map(|object| object.crc32c.clone())
                .unwrap_or_default(),
            link,
        });
    }
    if let Some(assignment) = &status.assignment {
        if let Some(live) = live.filter(|live| live.attempt == assignment.attempt) {
            return FileState::Running {
                bytes: live.bytes,
                total: live.total,
                rate: live.bytes_per_second,
                stage: live.state,
            };
        }
        let told = status
            .progress
            .as_ref()
            .filter(|progress| progress.attempt == assignment.attempt);
        let expected = job.spec.source.size.map(i64::unsigned_abs);
        return FileState::Running {
            bytes: told.map_or(0, |progress| progress.bytes.unsigned_abs()),
            total: told.map_or(expected, |progress| Some(progress.total.unsigned_abs())),
            rate: told.map_or(0, |progress| progress.bytes_per_second.unsigned_abs()),
            stage: if told.is_some() {
                TransferState::Streaming
            } else {
                TransferState::Locating
            },
        };
    }
    if job.spec.suspend {
        return FileState::Suspended;
    }
    match &status.next_attempt_time {
        Some(time) if status.phase == Phase::Pending && time.0 > now => FileState::Retrying {
            reason: status.reason.clone().unwrap_or_default(),
            at: time.0,
        },
        _ => FileState::Waiting {
            ahead: place.map_or(0, |place| place.ahead),
            estimate: place
                .and_then(|place| place.estimate)
                .map(|estimate| estimate.as_secs()),
        },
    }
}

/// What the file of a job is called.
pub fn name_of(job: &TransferJob) -> String {
    let told = job
        .status
        .as_ref()
        .and_then(|status| status.progress.as_ref())
        .map(|progress| progress.file_name.clone())
        .filter(|name| !name.is_empty());
    told.or_else(|| job.spec.source.file_name.clone())
        .unwrap_or_else(|| format!("message {}", job.spec.source.message_id))
}

/// What a text about a job depends on, without the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It waits, is held up, or is to be tried again.
    Waiting,
    /// It moves.
    Running,
    /// Nothing more happens.
    Over,
}

impl Kind {
    /// The kind of a job.
    pub fn of(job: &TransferJob) -> Self {
        let is_assigned = job
            .status
            .as_ref()
            .is_some_and(|status| status.assignment.is_some());
        if jobs::is_over(job) {
            Self::Over
        } else if is_assigned {
            Self::Running
        } else {
            Self::Waiting
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-01T12:00:00Z";

    fn state(status: Value, more: Value) -> FileState {
        let mut job = json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": "tj-1"},
            "spec": {"source": {"chatId": 1, "messageId": 2, "fileName": "a.zip", "size": 9}}, "status": status,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            job[key.split('.').next().unwrap()][key.split('.').nth(1).unwrap()] = value.clone();
        }
        let job = serde_json::from_value(job).unwrap();
        let place = Place {
            ahead: 2,
            of: 3,
            estimate: Some(std::time::Duration::from_secs(61)),
        };
        let live = LiveProgress {
            attempt: 2,
            bytes: 5,
            total: Some(9),
            bytes_per_second: 3,
            state: TransferState::Committing,
        };
        FileView::of(&job, Some(place), Some(&live), NOW.parse().unwrap()).state
    }

    fn condition(type_: &str, reason: &str) -> Value {
        json!({"type": type_, "status": "True", "reason": reason, "message": "", "lastTransitionTime": NOW})
    }

    #[test]
    fn a_state_follows_from_what_stands_in_the_job() {
        let assignment = |attempt: i32| json!({"pod": "p", "podUID": "u", "slot": 0, "attempt": attempt, "time": NOW});
        let waiting = FileState::Waiting {
            ahead: 2,
            estimate: Some(61),
        };
        assert_eq!(state(json!({}), json!({})), waiting);
        assert_eq!(
            state(json!({}), json!({"spec.suspend": true})),
            FileState::Suspended
        );
        let later = "2026-11-01T12:01:00Z";
        let backing_off =
            json!({"phase": "Pending", "reason": "TelegramTimeout", "nextAttemptTime": later});
        let retrying = FileState::Retrying {
            reason: "TelegramTimeout".into(),
            at: later.parse().unwrap(),
        };
        assert_eq!(state(backing_off, json!({})), retrying);
        let due = json!({"phase": "Pending", "reason": "TelegramTimeout", "nextAttemptTime": NOW});
        assert_eq!(state(due, json!({})), waiting);
        let live = FileState::Running {
            bytes: 5,
            total: Some(9),
            rate: 3,
            stage: TransferState::Committing,
        };
        assert_eq!(state(json!({"assignment": assignment(2)}), json!({})), live);
        let begun = FileState::Running {
            bytes: 0,
            total: Some(9),
            rate: 0,
            stage: TransferState::Locating,
        };
        assert_eq!(
            state(json!({"assignment": assignment(1)}), json!({})),
            begun,
            "progress of another attempt"
        );
        let failed = json!({"conditions": [condition("Failed", "NoMedia")]});
        assert_eq!(
            state(failed, json!({})),
            FileState::Failed {
                reason: "NoMedia".into()
            }
        );
        let deleted = json!({"metadata.deletionTimestamp": NOW});
        assert_eq!(
            state(json!({"assignment": assignment(2)}), deleted),
            FileState::Cancelled
        );
    }

    #[test]
    fn a_link_is_shown_while_it_works() {
        let stored = |expires: &str, more: Value| {
            let status = json!({
                "conditions": [condition("Complete", "Succeeded"), condition("LinkReady", "Created")],
                "object": {"name": "o", "bucket": "b", "size": 9, "etag": "e", "crc32c": "AAAAAA==", "contentType": "c"},
                "link": {"id": "i", "url": "https://secret", "expiresAt": expires, "ttl": "7d"},
            });
            match state(status, more) {
                FileState::Done(stored) => stored,
                other => panic!("{other:?}"),
            }
        };
        let works = stored("2026-11-08T12:00:00Z", json!({}));
        assert_eq!(works.link.as_ref().unwrap().url, "https://secret");
        assert!(!format!("{works:?}").contains("secret"));
        assert_eq!(stored(NOW, json!({})).link, None);
        assert_eq!(
            stored(
                "2026-11-08T12:00:00Z",
                json!({"spec.link": {"ttl": "7d", "revoked": true}})
            )
            .link,
            None
        );
    }
}
