//! Drives the lifecycle of each `TransferJob`: observe, decide, apply, one step at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::controller::Action};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::{
    apply::{ApiError, Writer},
    clean_up::{CleanUp, CleanUpError},
    lifecycle::{self, Notice, Policy, Release, Sight, Step, Transition},
    metrics::ControllerMetrics,
    order,
    pods::PodSight,
    signs,
    worker_pods::WorkerPods,
};
use crate::{
    Class,
    api::{Assignment, TransferJob},
};

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
    pub pods: WorkerPods,
    /// Removes what transfers leave in object storage.
    pub clean_up: CleanUp,
    /// What this installation decides about all jobs.
    pub policy: Policy,
    /// What was noticed of workers.
    pub watch: signs::Watch,
    /// What the queue has to be told.
    pub changes: Arc<order::Changes>,
    /// Woken after each look at a job: it may wait for a slot, or have freed one.
    pub scheduler: Arc<Notify>,
    /// Errors in a row, by job.
    pub errors: ErrorCounts,
    /// What is counted.
    pub metrics: ControllerMetrics,
}

impl Context {
    /// A job is there no more, or nobody has anything left to do for it.
    pub fn forget(&self, job: &TransferJob) {
        self.changes.gone(job);
        self.errors.forget(job);
        self.watch.forget(&job.uid().unwrap_or_default());
    }
}

/// Errors in a row, by the UID of a job.
#[derive(Debug, Default)]
pub struct ErrorCounts(Mutex<HashMap<String, u32>>);

/// Takes the next step of a job.
///
/// # Errors
/// The step could not be taken; [`on_error`] says when to try again.
pub async fn reconcile(job: Arc<TransferJob>, context: Arc<Context>) -> Result<Action, Error> {
    let assignment = assignment(&job);
    let (now, begun) = (Timestamp::now(), Instant::now());
    let look = context.watch.look(&job, now);
    context.metrics.retries(look.lost_bytes);
    let sight = Sight {
        pod: assignment.map_or(PodSight::Gone, |assignment| context.pods.sight(assignment)),
        signs: look.signs,
    };
    context.changes.note(&job);
    // An outcome has freed a slot: it need not wait for the bookkeeping.
    context.scheduler.notify_one();
    let step = lifecycle::decide(&job, &sight, &context.policy, now);
    debug!(job = job.name_any(), ?step, "decided");
    let applied = apply(&job, step, &context).await;
    context.metrics.reconciled(begun.elapsed());
    let wake = applied?;
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
            // Not for a job that is refused: it may be for ever, and would excuse all workers.
            if matches!(error, Error::Api(error) if error.is_outage()) {
                context.watch.begin_anew(Timestamp::now());
            }
            context.metrics.reconcile_failed(match error {
                Error::Api(_) => "api",
                Error::CleanUp(_) => "object_storage",
            });
            let times = context.errors.count(&job);
            warn!(job = job.name_any(), %error, times, "a step failed");
            let (first, longest) = ERROR_BACKOFF;
            Action::requeue((first * 2_u32.saturating_pow(times - 1)).min(longest))
        }
    }
}

/// Takes a step; says when to look again, should nothing change before.
async fn apply(
    job: &TransferJob,
    step: Step,
    context: &Context,
) -> Result<Option<Timestamp>, Error> {
    let (writer, clean_up) = (&context.writer, &context.clean_up);
    match step {
        Step::Rest(wake) => return Ok(wake),
        Step::AddFinalizer => drop(writer.add_finalizer(job).await?),
        Step::Write(transition) => {
            let ended = assignment(job).filter(|_| transition.status.assignment.is_none());
            if let Some(assignment) = ended {
                let took = Timestamp::now().duration_since(assignment.time.0);
                context.changes.note_duration(took);
            }
            write(job, *transition, writer).await?;
        }
        Step::DeletePod(assignment) => {
            writer
                .delete_pod(&assignment.pod, &assignment.pod_uid)
                .await?;
        }
        Step::LookForObject { found, missing } => {
            let transition = if clean_up.has_object(job).await? {
                found
            } else {
                missing
            };
            write(job, *transition, writer).await?;
        }
        Step::EndLinks { but_current, then } => {
            clean_up.end_links(job, but_current).await?;
            write(job, *then, writer).await?;
        }
        Step::RenewLink(expires) => {
            let link = clean_up.renew_link(job, expires).await?;
            let status = lifecycle::renewed(job, link, Timestamp::now());
            let event = None;
            write(job, Transition { status, event }, writer).await?;
        }
        Step::RemoveLeftovers(transition) => {
            clean_up.leftovers(job).await?;
            write(job, *transition, writer).await?;
        }
        Step::Finish(wake) => {
            clean_up.leftovers(job).await?;
            writer.label_finished(job, wake).await?;
            context.watch.forget(&job.uid().unwrap_or_default());
        }
        Step::Delete => writer.delete_job(job).await?,
        Step::CleanUp(release) => return clean_up_and_release(job, release, context).await,
    }
    Ok(None)
}

async fn clean_up_and_release(
    job: &TransferJob,
    release: Release,
    context: &Context,
) -> Result<Option<Timestamp>, Error> {
    let cleaned = context.clean_up.everything(job).await;
    match (cleaned, release) {
        (Ok(()), Release::NotBefore(time)) => return Ok(Some(time)),
        (Ok(()), Release::WhenClean | Release::Now) => {}
        (Err(error @ CleanUpError::Storage(_)), Release::Now) => {
            left_behind(job, &error, &context.writer).await;
        }
        (Err(error), _) => return Err(error.into()),
    }
    context.writer.remove_finalizer(job).await?;
    context.watch.forget(&job.uid().unwrap_or_default());
    Ok(None)
}

/// The job goes although something of it may be left in object storage: says what.
async fn left_behind(job: &TransferJob, error: &CleanUpError, writer: &Writer) {
    let status = job.status.as_ref();
    let upload = status.and_then(|status| status.upload.as_ref());
    let upload = upload.map_or_else(String::new, |upload| {
        format!(", the upload {}", upload.upload_id)
    });
    let notice = Notice {
        warning: true,
        reason: "LeftBehind".to_owned(),
        message: format!(
            "Deleted without cleaning up ({}). Links whose names begin with tj-{}{upload} and the object may be left",
            error.reason(),
            job.uid().unwrap_or_default(),
        ),
    };
    warn!(job = job.name_any(), %error, "let go without cleaning up");
    if let Err(error) = writer.event(job, notice).await {
        warn!(job = job.name_any(), %error, "an event is lost");
    }
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

fn assignment(job: &TransferJob) -> Option<&Assignment> {
    job.status.as_ref()?.assignment.as_ref()
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
