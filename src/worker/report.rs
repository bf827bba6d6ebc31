//! What the worker writes into the status of a `TransferJob`: its own keys, as merge patches.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{
    assignments::Task,
    meter::{Meter, Reading, percent},
    transfer::{Delivery, Journal, TransferError},
};
use crate::{
    Class,
    api::{Outcome, OutcomeResult, Progress, TransferJob, Upload, human_bytes},
    queue::{LiveProgress, Queue, TransferState},
};

/// A write that takes longer is tried again.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the end of an attempt is tried to be written: longer, and the controller has taken the
/// pod for lost anyway.
const OUTCOME_PATIENCE: Duration = Duration::from_mins(10);

/// How often the meter is looked at.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Longest text of an outcome.
const MAX_MESSAGE_BYTES: usize = 1_024;

/// A status could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The API server did not answer in time.
    #[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// It refused.
    #[error("the API server refused: {0}")]
    Refused(#[from] Box<kube::Error>),
}

/// What became of the word about the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It stands in the status.
    Written,
    /// The attempt is no longer ours to end.
    Refused,
    /// The API server did not answer.
    Unknown,
}

/// Writes the status of one task.
pub struct Reporter {
    jobs: Api<TransferJob>,
    name: String,
    uid: Option<String>,
    attempt: i32,
    queue: Option<Queue>,
}

impl Reporter {
    /// A reporter of that task.
    pub fn new(client: Client, namespace: &str, queue: Option<Queue>, task: &Task) -> Self {
        Self {
            jobs: Api::namespaced(client, namespace),
            name: task.job.name_any(),
            uid: task.job.uid(),
            attempt: task.assignment.attempt,
            queue,
        }
    }

    /// Writes progress when it is due, for ever. A lost write is made up for by the next.
    pub async fn follow(&self, meter: &Meter) -> std::convert::Infallible {
        loop {
            sleep(PROGRESS_INTERVAL).await;
            self.tell_live(meter).await;
            if let Some(reading) = meter.read_if_due()
                && let Err(error) = self
                    .patch(json!({ "progress": self.progress(&reading) }))
                    .await
            {
                warn!(job = self.name, %error, "progress was not written");
            }
        }
    }

    /// Writes how the attempt ended, and tries until it is written or has become pointless.
    pub async fn finish(
        &self,
        meter: &Meter,
        outcome: Outcome,
        delivery: Option<&Delivery>,
    ) -> Told {
        let reason = outcome.reason.clone();
        let outcome = Outcome {
            in_doubt: meter.is_in_doubt(),
            ..outcome
        };
        let mut status = json!({ "outcome": outcome });
        if let Some(reading) = meter.read() {
            status["progress"] = json!(self.progress(&reading));
        }
        if let Some(upload) = meter.read_upload(self.attempt) {
            status["upload"] = json!(upload);
        }
        if let Some(delivery) = delivery {
            status["object"] = json!(delivery.object);
            status["link"] = json!(delivery.link);
            status["upload"] = Value::Null;
        }
        let persist = async {
            let mut wait = Duration::from_millis(100);
            while let Err(error) = self.patch(status.clone()).await {
                if is_final(&error) {
                    warn!(job = self.name, %error, "the job is no longer ours; its outcome is dropped");
                    return Told::Refused;
                }
                warn!(job = self.name, %error, "the outcome was not written; trying again");
                sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(15));
            }
            info!(job = self.name, attempt = self.attempt, reason, "reported");
            Told::Written
        };
        timeout(OUTCOME_PATIENCE, persist)
            .await
            .unwrap_or_else(|_| {
                warn!(job = self.name, "the outcome could not be written");
                Told::Unknown
            })
    }

    /// The outcome of an attempt that ended by itself.
    pub fn outcome(&self, result: &Result<Delivery, TransferError>) -> Outcome {
        match result {
            Ok(_) => self.ended(
                OutcomeResult::Succeeded,
                "Succeeded",
                "Stored and linked".to_owned(),
            ),
            Err(error) => {
                let (result, wait) = match error.class() {
                    // Another session may do.
                    _ if error.is_session_refused() => (OutcomeResult::Interrupted, None),
                    Class::Permanent => (OutcomeResult::PermanentFailure, None),
                    Class::Interrupted => (OutcomeResult::Interrupted, None),
                    Class::Transient => (OutcomeResult::TransientFailure, None),
                    Class::After(wait) => (OutcomeResult::Interrupted, Some(wait)),
                };
                let mut outcome = self.ended(result, error.reason(), error.to_string());
                outcome.retry_after_seconds =
                    wait.and_then(|wait| i64::try_from(wait.as_secs()).ok());
                outcome
            }
        }
    }

    /// An outcome of this attempt.
    pub fn ended(&self, result: OutcomeResult, reason: &str, mut message: String) -> Outcome {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        Outcome {
            attempt: self.attempt,
            result,
            reason: reason.to_owned(),
            message,
            retry_after_seconds: None,
            in_doubt: false,
        }
    }

    /// Tells whoever looks right now. Lost, it is made up for by the next.
    async fn tell_live(&self, meter: &Meter) {
        let (Some(queue), Some(uid)) = (&self.queue, &self.uid) else {
            return;
        };
        let reading = meter.read();
        let live = LiveProgress {
            attempt: self.attempt,
            bytes: reading.as_ref().map_or(0, |reading| reading.bytes),
            total: reading.as_ref().map(|reading| reading.size),
            bytes_per_second: reading.as_ref().map_or(0, |reading| reading.rate),
            state: match &reading {
                None => TransferState::Locating,
                Some(reading) if reading.bytes < reading.size => TransferState::Streaming,
                Some(_) => TransferState::Committing,
            },
        };
        if let Err(error) = queue.publish_progress(uid, &live).await {
            debug!(job = self.name, %error, "live progress was not told");
        }
    }

    fn progress(&self, reading: &Reading) -> Progress {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Progress {
            attempt: self.attempt,
            bytes: signed(reading.bytes),
            total: signed(reading.size),
            percent: format!("{}%", percent(reading.bytes, reading.size)),
            size: human_bytes(reading.size),
            file_name: reading.name.clone(),
            bytes_per_second: signed(reading.rate),
            rate: format!("{}/s", human_bytes(reading.rate)),
            updated_at: Time(Timestamp::now()),
        }
    }

    /// Merges into the status, if the job is still the same one.
    async fn patch(&self, status: Value) -> Result<(), ReportError> {
        let patch = Patch::Merge(json!({ "metadata": { "uid": self.uid }, "status": status }));
        let parameters = PatchParams::default();
        match timeout(
            CALL_TIMEOUT,
            self.jobs.patch_status(&self.name, &parameters, &patch),
        )
        .await
        {
            Err(_) => Err(ReportError::Timeout),
            Ok(Err(error)) => Err(ReportError::Refused(Box::new(error))),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

impl Journal for Reporter {
    async fn upload_begun(&self, upload: &Upload) {
        // Not fatal: the next attempt and the clean-up find the upload by its object's name.
        if let Err(error) = self.patch(json!({ "upload": upload })).await {
            warn!(job = self.name, %error, "the upload's id was not written");
        }
    }
}

/// Whether the API server's answer will not change: the job is gone or not ours.
fn is_final(error: &ReportError) -> bool {
    match error {
        ReportError::Timeout => false,
        ReportError::Refused(error) => {
            matches!(&**error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404 | 409 | 422))
        }
    }
}
