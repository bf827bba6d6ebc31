//! What must happen next to one `TransferJob`. Pure: no client, no clock.
//!
//! State comes from what is observed (deletion mark, assignment, outcome, pod, conditions), never
//! from the stored phase. Each call names one step; after it the object changes and is looked at
//! again, so a controller that dies between two steps goes on where it was.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::pods::{PodEnd, PodSight};
use crate::api::{
    Assignment, ConditionStatus, ConditionType, Outcome, OutcomeResult, Phase, StopReason,
    TransferJob, TransferJobStatus, find_condition, names, set_condition,
};

/// How long a worker may take to stop before its pod is deleted.
const STOP_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// The longest wait between two attempts, unless a server asks for more.
const MAX_BACKOFF: Duration = Duration::from_hours(1);

/// Interruptions after which a transfer is given up all the same.
const MAX_INTERRUPTIONS: i32 = 20;

/// The next step of a `TransferJob`.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing, until something changes or that time has come.
    Rest(Option<Timestamp>),
    /// Add our finalizer, before anything is made that must be cleaned up.
    AddFinalizer,
    /// Write this status, in one write, and tell of it.
    Write(Box<Transition>),
    /// Delete the pod that was told to stop and did not.
    DeletePod(Assignment),
    /// Abort uploads that are left, then label it finished.
    Finish,
    /// Remove upload, links and, as the reclaim policy says, the object; then let go.
    CleanUp,
}

/// A change of status, and the Kubernetes event that tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The whole status as it shall be.
    pub status: TransferJobStatus,
    /// What is worth an event.
    pub event: Option<Notice>,
}

/// What a Kubernetes event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should look at it.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence. Never a link, a token or a file's name.
    pub message: String,
}

/// Names the next step.
pub fn decide(job: &TransferJob, pod: PodSight, now: Timestamp) -> Step {
    let status = job.status.clone().unwrap_or_default();
    if job.metadata.deletion_timestamp.is_some() {
        return deleting(job, status, pod, now);
    }
    if is_finished(&status) {
        return if job.labels().contains_key(names::FINISHED_LABEL) {
            Step::Rest(None)
        } else {
            Step::Finish
        };
    }
    if !has_finalizer(job) {
        return Step::AddFinalizer;
    }
    match status.assignment.clone() {
        Some(assignment) => running(job, status, &assignment, pod, now),
        None => waiting(job, status, now),
    }
}

/// Whether a worker may be given this job now.
pub fn is_waiting(job: &TransferJob, now: Timestamp) -> bool {
    let status = job.status.as_ref();
    job.metadata.deletion_timestamp.is_none()
        && has_finalizer(job)
        && !job.spec.suspend
        && status.is_none_or(|status| {
            !is_finished(status)
                && status.assignment.is_none()
                && status
                    .next_attempt_time
                    .as_ref()
                    .is_none_or(|time| time.0 <= now)
        })
}

/// The status of a job that is given to a worker.
pub fn assigned(job: &TransferJob, assignment: Assignment, now: Timestamp) -> TransferJobStatus {
    let mut status = job.status.clone().unwrap_or_default();
    status.attempt = assignment.attempt;
    status.start_time.get_or_insert(Time(now));
    status.next_attempt_time = None;
    status.assignment = Some(assignment);
    set_phase(job, &mut status, Phase::Running, "Assigned");
    condition(
        job,
        &mut status,
        ConditionType::Admitted,
        ConditionStatus::True,
        "Assigned",
        "A worker runs it",
        now,
    );
    status
}

/// The status of a job for which no slot is free, if it does not say so yet.
pub fn queued(job: &TransferJob, now: Timestamp) -> Option<TransferJobStatus> {
    let mut status = job.status.clone().unwrap_or_default();
    if status.phase == Phase::Queued {
        return None;
    }
    set_phase(job, &mut status, Phase::Queued, "WaitingForSlot");
    let message = "Waits for a free worker";
    condition(
        job,
        &mut status,
        ConditionType::Admitted,
        ConditionStatus::False,
        "WaitingForSlot",
        message,
        now,
    );
    Some(status)
}

/// Whether it succeeded or was given up.
pub fn is_finished(status: &TransferJobStatus) -> bool {
    [ConditionType::Complete, ConditionType::Failed]
        .iter()
        .any(|type_| {
            find_condition(&status.conditions, *type_)
                .is_some_and(|condition| condition.status == "True")
        })
}

fn has_finalizer(job: &TransferJob) -> bool {
    job.finalizers()
        .iter()
        .any(|finalizer| finalizer == names::FINALIZER)
}

fn deleting(
    job: &TransferJob,
    mut status: TransferJobStatus,
    pod: PodSight,
    now: Timestamp,
) -> Step {
    if !has_finalizer(job) {
        return Step::Rest(None);
    }
    let Some(assignment) = status.assignment.clone() else {
        return Step::CleanUp;
    };
    if outcome_of(&status, &assignment).is_some() || pod != PodSight::Alive {
        end_attempt(&mut status);
        set_phase(job, &mut status, Phase::Cancelled, "Deleted");
        return write(status, None);
    }
    let since = job
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    stop_or_delete(assignment, since, now)
}

fn running(
    job: &TransferJob,
    mut status: TransferJobStatus,
    assignment: &Assignment,
    pod: PodSight,
    now: Timestamp,
) -> Step {
    if let Some(outcome) = outcome_of(&status, assignment).cloned() {
        return accept(job, status, assignment, &outcome, now);
    }
    match pod {
        PodSight::Ended(end) => {
            return accept(
                job,
                status,
                assignment,
                &outcome_of_pod(end, assignment.attempt),
                now,
            );
        }
        PodSight::Gone => {
            let outcome = outcome_of_pod(PodEnd::Deleted, assignment.attempt);
            return accept(job, status, assignment, &outcome, now);
        }
        PodSight::Alive => {}
    }
    let deadline = deadline(job, &status);
    match (deadline, assignment.stop) {
        (Some(deadline), Some(_)) => stop_or_delete(assignment.clone(), deadline, now),
        (Some(deadline), None) if deadline <= now => {
            status.assignment = Some(Assignment {
                stop: Some(StopReason::DeadlineExceeded),
                ..assignment.clone()
            });
            write(status, None)
        }
        (deadline, _) => Step::Rest(deadline),
    }
}

fn waiting(job: &TransferJob, mut status: TransferJobStatus, now: Timestamp) -> Step {
    let deadline = deadline(job, &status);
    if deadline.is_some_and(|deadline| deadline <= now) {
        return fail(job, status, "DeadlineExceeded", &deadline_message(job), now);
    }
    if job.spec.suspend {
        if status.reason.as_deref() == Some("Suspended") {
            return Step::Rest(deadline);
        }
        set_phase(job, &mut status, Phase::Pending, "Suspended");
        let message = "Suspended: set spec.suspend to false to go on";
        condition(
            job,
            &mut status,
            ConditionType::Admitted,
            ConditionStatus::False,
            "Suspended",
            message,
            now,
        );
        return write(status, None);
    }
    let next = status
        .next_attempt_time
        .as_ref()
        .map(|time| time.0)
        .filter(|time| *time > now);
    Step::Rest(next.into_iter().chain(deadline).min())
}

/// Ends an attempt by what became of it.
fn accept(
    job: &TransferJob,
    mut status: TransferJobStatus,
    assignment: &Assignment,
    outcome: &Outcome,
    now: Timestamp,
) -> Step {
    end_attempt(&mut status);
    match outcome.result {
        OutcomeResult::Succeeded if status.object.is_some() && status.link.is_some() => {
            succeed(job, status, now)
        }
        OutcomeResult::PermanentFailure => {
            fail(job, status, &outcome.reason, &outcome.message, now)
        }
        // A success without object or link is no success.
        OutcomeResult::Succeeded | OutcomeResult::TransientFailure => {
            status.failures += 1;
            if status.failures > job.spec.retry.limit {
                let message = format!(
                    "{} (given up after {} attempts)",
                    outcome.message, status.attempt
                );
                return fail(job, status, &outcome.reason, &message, now);
            }
            let wait = backoff(job, status.failures, status.attempt).max(retry_after(outcome));
            retry(job, status, outcome, wait, now)
        }
        OutcomeResult::Interrupted => {
            status.interruptions += 1;
            if status.interruptions > MAX_INTERRUPTIONS {
                let message = format!(
                    "Interrupted {MAX_INTERRUPTIONS} times, last: {}",
                    outcome.message
                );
                return fail(job, status, &outcome.reason, &message, now);
            }
            let wait = backoff(job, status.interruptions, status.attempt).max(retry_after(outcome));
            retry(job, status, outcome, wait, now)
        }
        OutcomeResult::Stopped if assignment.stop == Some(StopReason::DeadlineExceeded) => {
            fail(job, status, "DeadlineExceeded", &deadline_message(job), now)
        }
        OutcomeResult::Stopped => {
            set_phase(job, &mut status, Phase::Pending, "Stopped");
            condition(
                job,
                &mut status,
                ConditionType::Admitted,
                ConditionStatus::False,
                "Stopped",
                &outcome.message,
                now,
            );
            write(status, None)
        }
    }
}

fn succeed(job: &TransferJob, mut status: TransferJobStatus, now: Timestamp) -> Step {
    status.completion_time = Some(Time(now));
    set_phase(job, &mut status, Phase::Succeeded, "Succeeded");
    condition(
        job,
        &mut status,
        ConditionType::Complete,
        ConditionStatus::True,
        "Succeeded",
        "The object is stored",
        now,
    );
    condition(
        job,
        &mut status,
        ConditionType::LinkReady,
        ConditionStatus::True,
        "Created",
        "The link can be used",
        now,
    );
    let message = format!("Stored and linked in attempt {}", status.attempt);
    write(
        status,
        Some(Notice {
            warning: false,
            reason: "Succeeded".to_owned(),
            message,
        }),
    )
}

fn fail(
    job: &TransferJob,
    mut status: TransferJobStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Step {
    status.completion_time = Some(Time(now));
    status.next_attempt_time = None;
    set_phase(job, &mut status, Phase::Failed, reason);
    condition(
        job,
        &mut status,
        ConditionType::Failed,
        ConditionStatus::True,
        reason,
        message,
        now,
    );
    let notice = Notice {
        warning: true,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    write(status, Some(notice))
}

fn retry(
    job: &TransferJob,
    mut status: TransferJobStatus,
    outcome: &Outcome,
    wait: Duration,
    now: Timestamp,
) -> Step {
    let next = SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| now.checked_add(wait).ok())
        .unwrap_or(now);
    status.next_attempt_time = Some(Time(next));
    set_phase(job, &mut status, Phase::Pending, &outcome.reason);
    let message = format!(
        "{}; the next attempt begins in {} s",
        outcome.message,
        wait.as_secs()
    );
    condition(
        job,
        &mut status,
        ConditionType::Admitted,
        ConditionStatus::False,
        &outcome.reason,
        &message,
        now,
    );
    write(
        status,
        Some(Notice {
            warning: true,
            reason: outcome.reason.clone(),
            message,
        }),
    )
}

/// What a pod's end says of the attempt that it ran, when the worker said nothing.
fn outcome_of_pod(end: PodEnd, attempt: i32) -> Outcome {
    let (result, reason, message) = match end {
        PodEnd::OutOfMemory => (
            OutcomeResult::TransientFailure,
            "OOMKilled",
            "The worker ran out of memory".to_owned(),
        ),
        PodEnd::Evicted => (
            OutcomeResult::Interrupted,
            "Evicted",
            "The worker's pod was evicted".to_owned(),
        ),
        PodEnd::Deleted => (
            OutcomeResult::Interrupted,
            "PodDeleted",
            "The worker's pod was deleted".to_owned(),
        ),
        PodEnd::Exited(0) => (
            OutcomeResult::Interrupted,
            "WorkerStopped",
            "The worker went away".to_owned(),
        ),
        PodEnd::Exited(code) => (
            OutcomeResult::TransientFailure,
            "WorkerFailed",
            format!("The worker ended with exit code {code}"),
        ),
    };
    Outcome {
        attempt,
        result,
        reason: reason.to_owned(),
        message,
        retry_after_seconds: None,
    }
}

fn outcome_of<'a>(status: &'a TransferJobStatus, assignment: &Assignment) -> Option<&'a Outcome> {
    status
        .outcome
        .as_ref()
        .filter(|outcome| outcome.attempt == assignment.attempt)
}

/// A stopping worker is waited for until its grace has passed since `since`.
fn stop_or_delete(assignment: Assignment, since: Timestamp, now: Timestamp) -> Step {
    let until = since.checked_add(STOP_GRACE).unwrap_or(now);
    if until <= now {
        Step::DeletePod(assignment)
    } else {
        Step::Rest(Some(until))
    }
}

fn end_attempt(status: &mut TransferJobStatus) {
    status.assignment = None;
}

fn deadline(job: &TransferJob, status: &TransferJobStatus) -> Option<Timestamp> {
    let start = status.start_time.as_ref()?.0;
    start
        .checked_add(SignedDuration::from_secs(job.spec.active_deadline_seconds?))
        .ok()
}

fn deadline_message(job: &TransferJob) -> String {
    format!(
        "Not done within {} s of its start",
        job.spec.active_deadline_seconds.unwrap_or_default()
    )
}

fn retry_after(outcome: &Outcome) -> Duration {
    let seconds = outcome
        .retry_after_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

/// `spec.retry.backoff`, doubled for each earlier time, and up to half as long again: jobs that
/// failed together do not come back together. The jitter is a function of the job, so that
/// deciding twice decides the same.
fn backoff(job: &TransferJob, times: i32, attempt: i32) -> Duration {
    let doublings = u32::try_from(times - 1).unwrap_or_default().min(20);
    let base = job
        .spec
        .retry
        .backoff
        .get()
        .saturating_mul(1 << doublings)
        .min(MAX_BACKOFF);
    let seed = job
        .uid()
        .unwrap_or_default()
        .bytes()
        .fold(attempt.unsigned_abs(), |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
        });
    base + base.mul_f64(f64::from(seed % 1_000) / 2_000.0)
}

fn set_phase(job: &TransferJob, status: &mut TransferJobStatus, phase: Phase, reason: &str) {
    status.phase = phase;
    status.reason = Some(reason.to_owned());
    status.observed_generation = job.metadata.generation;
}

fn condition(
    job: &TransferJob,
    status: &mut TransferJobStatus,
    type_: ConditionType,
    value: ConditionStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    set_condition(
        &mut status.conditions,
        type_,
        value,
        reason,
        message,
        job.metadata.generation,
        now,
    );
}

fn write(status: TransferJobStatus, event: Option<Notice>) -> Step {
    Step::Write(Box::new(Transition { status, event }))
}

#[cfg(test)]
mod tests;
