//! Drives the lifecycle of each `TransferJob`: observe, decide, apply, one step at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt as _,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::{
    apply::{ApiError, Writer},
    clean_up::{CleanUp, CleanUpError},
    lifecycle::{self, Step, Transition},
    pods::{self, PodSight},
};
use crate::{Class, api::TransferJob};

/// The first and the longest wait after an error.
const ERROR_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// A step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not take a write.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Object storage could not be cleaned up.
    #[error(transparent)]
    CleanUp(#[from] CleanUpError),
}

/// What reconciling needs.
pub struct Context {
    /// Writes to the API server.
    pub writer: Writer,
    /// Worker pods as last seen.
    pub pods: Store<Pod>,
    /// Removes what transfers leave in object storage.
    pub clean_up: CleanUp,
    /// Woken after each look at a job: it may wait for a slot, or have freed one.
    pub scheduler: Arc<Notify>,
    /// Errors in a row, by job.
    pub errors: ErrorCounts,
}

/// Errors in a row, by the UID of a job.
#[derive(Debug, Default)]
pub struct ErrorCounts(Mutex<HashMap<String, u32>>);

/// Takes the next step of a job.
///
/// # Errors
/// The step could not be taken; [`on_error`] says when to try again.
pub async fn reconcile(job: Arc<TransferJob>, context: Arc<Context>) -> Result<Action, Error> {
    let now = Timestamp::now();
    let step = lifecycle::decide(&job, sight(&job, &context.pods), now);
    debug!(job = job.name_any(), ?step, "decided");
    let wake = match step {
        Step::Rest(wake) => wake,
        step => {
            apply(&job, step, &context).await?;
            None
        }
    };
    context.errors.forget(&job);
    context.scheduler.notify_one();
    Ok(wake.map_or_else(Action::await_change, |wake| {
        Action::requeue(until(now, wake))
    }))
}

/// When to try again: a changed object at once when the change arrives, else backing off.
pub fn on_error(job: Arc<TransferJob>, error: &Error, context: Arc<Context>) -> Action {
    let class = match error {
        Error::Api(error) => error.class(),
        Error::CleanUp(error) => error.class(),
    };
    match class {
        // Changed meanwhile: its watch event is on the way. The requeue is for a lost one.
        Class::Interrupted => Action::requeue(ERROR_BACKOFF.0),
        Class::After(wait) => Action::requeue(wait),
        Class::Transient | Class::Permanent => {
            let times = context.errors.count(&job);
            warn!(job = job.name_any(), %error, times, "a step failed");
            let (first, longest) = ERROR_BACKOFF;
            Action::requeue((first * 2_u32.saturating_pow(times - 1)).min(longest))
        }
    }
}

fn sight(job: &TransferJob, pods: &Store<Pod>) -> PodSight {
    let Some(assignment) = job
        .status
        .as_ref()
        .and_then(|status| status.assignment.as_ref())
    else {
        return PodSight::Gone;
    };
    let namespace = job.namespace().unwrap_or_default();
    let pod = pods.get(&ObjectRef::new(&assignment.pod).within(&namespace));
    pods::sight(pod.as_deref(), &assignment.pod_uid)
}

async fn apply(job: &TransferJob, step: Step, context: &Context) -> Result<(), Error> {
    let writer = &context.writer;
    match step {
        Step::Rest(_) => {}
        Step::AddFinalizer => writer.add_finalizer(job).await?,
        Step::Write(transition) => write(job, *transition, writer).await?,
        Step::DeletePod(assignment) => {
            writer
                .delete_pod(&assignment.pod, &assignment.pod_uid)
                .await?;
        }
        Step::Finish => {
            context.clean_up.leftovers(job).await?;
            writer.label_finished(job).await?;
        }
        Step::CleanUp => {
            context.clean_up.everything(job).await?;
            writer.remove_finalizer(job).await?;
        }
    }
    Ok(())
}

async fn write(job: &TransferJob, transition: Transition, writer: &Writer) -> Result<(), Error> {
    let Transition { status, event } = transition;
    writer.status(job, &status).await?;
    let reason = status.reason.as_deref().unwrap_or_default();
    info!(job = job.name_any(), phase = ?status.phase, reason, attempt = status.attempt, "wrote status");
    if let Some(notice) = event
        && let Err(error) = writer.event(job, notice).await
    {
        warn!(job = job.name_any(), %error, "an event is lost");
    }
    Ok(())
}

fn until(now: Timestamp, wake: Timestamp) -> Duration {
    Duration::try_from(wake.duration_since(now))
        .unwrap_or_default()
        .max(Duration::from_millis(1))
}

impl ErrorCounts {
    fn count(&self, job: &TransferJob) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(job.uid().unwrap_or_default()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn forget(&self, job: &TransferJob) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&job.uid().unwrap_or_default());
    }
}
