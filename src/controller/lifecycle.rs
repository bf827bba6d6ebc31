//! What must happen next to one `TransferJob`. Pure: no client, no clock.
//!
//! State comes from what is observed (deletion mark, assignment, outcome, pod, conditions), never
//! from the stored phase. Each call names one step; after it the object changes and is looked at
//! again, so a controller that dies between two steps goes on where it was.

mod finished;

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

/// A worker says something at least every 30 s. One that was not heard of for so long is replaced.
const SILENCE_LIMIT: SignedDuration = SignedDuration::from_mins(2);

/// One that talks but moves no byte for so long is replaced too: longer than a worker itself waits
/// for any server.
const STANDSTILL_LIMIT: SignedDuration = SignedDuration::from_mins(10);

/// The longest wait between two attempts, unless a server asks for more.
const MAX_BACKOFF: Duration = Duration::from_hours(1);

/// Interruptions after which a transfer is given up all the same.
const MAX_INTERRUPTIONS: i32 = 20;

/// How long a worker of whose end nothing was heard may still act: it ends itself after 10 min
/// without the API server.
pub const STRAY_LIFE: SignedDuration = SignedDuration::from_mins(11);

/// How long a request that got no reply may take to be carried out all the same.
const LANDING_TIME: SignedDuration = SignedDuration::from_mins(2);

/// A job that may be run again is called queued when it has waited for so long: one that is taken
/// at once is spared the write.
const QUEUED_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Reason of an attempt whose worker the kernel killed.
const OUT_OF_MEMORY: &str = "OOMKilled";

/// Reason of `LinkReady` while another link is in the status than all others that may be left.
const RENEWING: &str = "Renewing";

/// What an installation decides about all its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long finished jobs are kept that do not say so themselves. Those with a link are kept
    /// at least until it ends.
    pub ttl_after_finished: SignedDuration,
    /// How long a deleted job waits for object storage before it goes all the same.
    pub clean_up_patience: SignedDuration,
}

/// What is seen of a job besides itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The pod that its assignment names.
    pub pod: PodSight,
    /// What this controller has noticed of its worker.
    pub signs: Signs,
}

/// When this controller saw what the job itself does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// When the worker was last heard of.
    pub heard: Timestamp,
    /// When it had last moved a byte.
    pub moved: Timestamp,
    /// Since when it has been asked to stop.
    pub stopping: Option<Timestamp>,
}

/// The next step of a `TransferJob`.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing, until something changes or that time has come.
    Rest(Option<Timestamp>),
    /// Add our finalizer: something may have been made that must be cleaned up.
    AddFinalizer,
    /// Write this status, in one write, and tell of it.
    Write(Box<Transition>),
    /// Delete the pod that was told to stop and did not.
    DeletePod(Assignment),
    /// Look into object storage: if a whole object of the job is there, go on with `found`, which
    /// has the next attempt adopt it, otherwise with `missing`, which gives up.
    LookForObject {
        /// The job is tried once more.
        found: Box<Transition>,
        /// The job has failed.
        missing: Box<Transition>,
    },
    /// End all links, or all but the one in the status, then write this.
    EndLinks {
        /// Whether the link in the status stays.
        but_current: Keep,
        /// What is written then.
        then: Box<Transition>,
    },
    /// Make a link that ends at this time, and write it with [`renewed`].
    RenewLink(Timestamp),
    /// Remove what earlier attempts may have left, then write this.
    RemoveLeftovers(Box<Transition>),
    /// Remove what attempts may have left, then label it finished, to be looked at again then.
    Finish(Option<Timestamp>),
    /// Delete the job: it has been kept for long enough.
    Delete,
    /// Remove uploads, links and, as the reclaim policy says, the object; then let go.
    CleanUp(Release),
}

/// Which links stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None.
    None,
    /// The one in the status.
    Current,
}

/// When a deleted job may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Once everything is removed.
    WhenClean,
    /// Not before that time, when everything is removed again: a stray worker may add to it.
    NotBefore(Timestamp),
    /// Now, whatever is left.
    Now,
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
pub fn decide(job: &TransferJob, sight: &Sight, policy: &Policy, now: Timestamp) -> Step {
    let status = job.status.clone().unwrap_or_default();
    if job.metadata.deletion_timestamp.is_some() {
        return deleting(job, status, sight, policy, now);
    }
    if is_finished(&status) {
        return finished::decide(job, status, policy, now);
    }
    if status.attempt > 0 && !has_finalizer(job) {
        // Somebody has taken it off.
        return Step::AddFinalizer;
    }
    match status.assignment.clone() {
        Some(assignment) => running(job, status, &assignment, sight, now),
        None => waiting(job, status, now),
    }
}

/// Whether a worker may be given this job now.
pub fn is_waiting(job: &TransferJob, now: Timestamp) -> bool {
    let status = job.status.as_ref();
    job.metadata.deletion_timestamp.is_none()
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

/// Whether a worker may be given this job now, or later without anybody's doing.
pub fn will_wait(job: &TransferJob) -> bool {
    is_waiting(job, Timestamp::MAX)
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

/// The status of a job that waits for a worker, if it says something else. `why` is what keeps
/// workers from starting, if anything does.
pub fn queued(
    job: &TransferJob,
    why: Option<&Notice>,
    now: Timestamp,
) -> Option<TransferJobStatus> {
    let (reason, message) = why.map_or(("WaitingForSlot", "Waits for a free worker"), |notice| {
        (notice.reason.as_str(), notice.message.as_str())
    });
    let mut status = job.status.clone().unwrap_or_default();
    let said = find_condition(&status.conditions, ConditionType::Admitted);
    let is_said = match said {
        Some(condition) => condition.reason == reason,
        None => why.is_none(),
    };
    if status.phase == Phase::Queued && is_said {
        return None;
    }
    set_phase(job, &mut status, Phase::Queued, reason);
    not_admitted(job, &mut status, reason, message, now);
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

/// Whether a job that is deleted stays until it is cleaned up. One that was never given to a worker
/// need not.
pub fn has_finalizer(job: &TransferJob) -> bool {
    job.finalizers()
        .iter()
        .any(|finalizer| finalizer == names::FINALIZER)
}

fn deleting(
    job: &TransferJob,
    mut status: TransferJobStatus,
    sight: &Sight,
    policy: &Policy,
    now: Timestamp,
) -> Step {
    if !has_finalizer(job) {
        return Step::Rest(None);
    }
    let Some(assignment) = status.assignment.clone() else {
        return Step::CleanUp(release(job, &status, policy, now));
    };
    let ended = outcome_of(&status, &assignment).is_some();
    match sight.pod {
        PodSight::Alive if !ended => return stop_or_delete(assignment, &sight.signs, now),
        PodSight::Leaving { lost_at } if !ended && lost_at > now => {
            return Step::Rest(Some(lost_at));
        }
        PodSight::Leaving { .. } | PodSight::Gone if !ended => stray(&mut status, now),
        _ => {}
    }
    status.assignment = None;
    set_phase(job, &mut status, Phase::Cancelled, "Deleted");
    write(status, None)
}

fn release(
    job: &TransferJob,
    status: &TransferJobStatus,
    policy: &Policy,
    now: Timestamp,
) -> Release {
    let since = job.metadata.deletion_timestamp.as_ref();
    let patient_until = since.map_or(now, |since| later(since.0, policy.clean_up_patience));
    match status.stray_until.as_ref().map(|until| until.0) {
        Some(until) if until > now => Release::NotBefore(until),
        _ if patient_until <= now => Release::Now,
        _ => Release::WhenClean,
    }
}

fn running(
    job: &TransferJob,
    mut status: TransferJobStatus,
    assignment: &Assignment,
    sight: &Sight,
    now: Timestamp,
) -> Step {
    if let Some(outcome) = outcome_of(&status, assignment).cloned() {
        return accept(job, status, assignment, &outcome, now);
    }
    let lost = match sight.pod {
        PodSight::Alive => None,
        PodSight::Leaving { lost_at } if lost_at > now => Some(lost_at),
        PodSight::Leaving { .. } => {
            stray(&mut status, now);
            return accept_end(job, status, assignment, PodEnd::Lost, now);
        }
        PodSight::Gone => {
            stray(&mut status, now);
            return accept_end(job, status, assignment, PodEnd::Deleted, now);
        }
        PodSight::Ended(end) => return accept_end(job, status, assignment, end, now),
    };
    if assignment.stop.is_some() || job.spec.suspend {
        return match (stop_or_delete(assignment.clone(), &sight.signs, now), lost) {
            (Step::Rest(wake), lost) => Step::Rest(wake.into_iter().chain(lost).min()),
            (step, _) => step,
        };
    }
    let deadline = deadline(job, &status);
    let silent = later(sight.signs.heard, SILENCE_LIMIT);
    let still = later(sight.signs.moved, STANDSTILL_LIMIT);
    let stop = if deadline.is_some_and(|deadline| deadline <= now) {
        StopReason::DeadlineExceeded
    } else if silent.min(still) <= now {
        StopReason::Stalled
    } else {
        let wake = [silent, still]
            .into_iter()
            .chain(lost)
            .chain(deadline)
            .min();
        return Step::Rest(wake);
    };
    status.assignment = Some(Assignment {
        stop: Some(stop),
        ..assignment.clone()
    });
    write(status, None)
}

/// Ends an attempt by the end of its pod, of which the worker said nothing.
fn accept_end(
    job: &TransferJob,
    status: TransferJobStatus,
    assignment: &Assignment,
    end: PodEnd,
    now: Timestamp,
) -> Step {
    let outcome = outcome_of_pod(end, assignment.attempt);
    accept(job, status, assignment, &outcome, now)
}

fn waiting(job: &TransferJob, mut status: TransferJobStatus, now: Timestamp) -> Step {
    let deadline = deadline(job, &status);
    if deadline.is_some_and(|deadline| deadline <= now) {
        return write_failure(job, status, "DeadlineExceeded", &deadline_message(job), now);
    }
    if job.spec.suspend {
        if status.reason.as_deref() == Some("Suspended") {
            return Step::Rest(deadline);
        }
        set_phase(job, &mut status, Phase::Pending, "Suspended");
        let message = "Suspended: set spec.suspend to false to go on";
        not_admitted(job, &mut status, "Suspended", message, now);
        return write(status, None);
    }
    if status.phase == Phase::Queued {
        return Step::Rest(deadline);
    }
    // It was suspended, or backs off: whoever may run is queued.
    let due = status.next_attempt_time.as_ref().map(|time| time.0);
    let said = due.map_or(now, |due| later(due, QUEUED_AFTER));
    if said <= now
        && let Some(status) = queued(job, None, now)
    {
        return write(status, None);
    }
    let due = due.filter(|due| *due > now);
    Step::Rest(due.into_iter().chain([said]).chain(deadline).min())
}

/// Ends an attempt by what became of it.
fn accept(
    job: &TransferJob,
    mut status: TransferJobStatus,
    assignment: &Assignment,
    outcome: &Outcome,
    now: Timestamp,
) -> Step {
    status.assignment = None;
    let landed = later(now, LANDING_TIME);
    if outcome.in_doubt
        && status
            .stray_until
            .as_ref()
            .is_none_or(|until| until.0 < landed)
    {
        status.stray_until = Some(Time(landed));
    }
    let is_delivered = status.object.is_some() && status.link.is_some();
    match (outcome.result, assignment.stop) {
        (OutcomeResult::Succeeded, _) if is_delivered => succeed(job, status, now),
        (OutcomeResult::PermanentFailure, _) => {
            fail(job, status, &outcome.reason, &outcome.message, now)
        }
        (_, Some(StopReason::DeadlineExceeded)) => {
            write_failure(job, status, "DeadlineExceeded", &deadline_message(job), now)
        }
        (_, Some(StopReason::Stalled)) => {
            let stalled = Outcome {
                reason: "Stalled".to_owned(),
                message: "The worker came to a standstill".to_owned(),
                ..outcome.clone()
            };
            failed_once(job, status, &stalled, now)
        }
        // Whatever ended it, it was to end.
        (OutcomeResult::Stopped, None) => stopped(job, status, outcome, now),
        (OutcomeResult::Interrupted, None) if job.spec.suspend => {
            stopped(job, status, outcome, now)
        }
        // A success without object or link is no success.
        (OutcomeResult::Succeeded | OutcomeResult::TransientFailure, None) => {
            failed_once(job, status, outcome, now)
        }
        (OutcomeResult::Interrupted, None) => interrupted(job, status, outcome, now),
    }
}

fn stopped(
    job: &TransferJob,
    mut status: TransferJobStatus,
    outcome: &Outcome,
    now: Timestamp,
) -> Step {
    set_phase(job, &mut status, Phase::Pending, "Stopped");
    not_admitted(job, &mut status, "Stopped", &outcome.message, now);
    write(status, None)
}

fn failed_once(
    job: &TransferJob,
    mut status: TransferJobStatus,
    outcome: &Outcome,
    now: Timestamp,
) -> Step {
    let limit = job.spec.retry.limit;
    status.failures = status.failures.saturating_add(1);
    if outcome.reason == OUT_OF_MEMORY {
        // The same bytes in the same memory: one more try, not as many as there are.
        status.failures = status.failures.max(limit);
    }
    if status.failures > limit {
        let message = format!(
            "{} (given up after {} attempts)",
            outcome.message, status.attempt
        );
        return fail(job, status, &outcome.reason, &message, now);
    }
    let wait = backoff(job, status.failures, status.attempt).max(retry_after(outcome));
    let transition = retry(job, status, outcome, wait, now);
    Step::Write(Box::new(transition))
}

fn interrupted(
    job: &TransferJob,
    mut status: TransferJobStatus,
    outcome: &Outcome,
    now: Timestamp,
) -> Step {
    status.interruptions = status.interruptions.saturating_add(1);
    if status.interruptions > MAX_INTERRUPTIONS {
        let message = format!(
            "Interrupted {MAX_INTERRUPTIONS} times, last: {}",
            outcome.message
        );
        return fail(job, status, &outcome.reason, &message, now);
    }
    let wait = backoff(job, status.interruptions, status.attempt).max(retry_after(outcome));
    let transition = retry(job, status, outcome, wait, now);
    Step::Write(Box::new(transition))
}

fn succeed(job: &TransferJob, mut status: TransferJobStatus, now: Timestamp) -> Step {
    status.completion_time = Some(Time(now));
    if status.attempt > 1 {
        // Of what an earlier attempt made and did not come to say, nothing is to stay.
        status.stray_until.get_or_insert(Time(now));
    }
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

/// Gives up, unless an earlier attempt stored the object and did not come to say so: then the next
/// one adopts it. It does not look twice.
fn fail(
    job: &TransferJob,
    status: TransferJobStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Step {
    if status.adoption_attempt == Some(status.attempt) {
        return write_failure(job, status, reason, message, now);
    }
    let outcome = Outcome {
        attempt: status.attempt,
        result: OutcomeResult::Interrupted,
        reason: "ObjectFound".to_owned(),
        message: "The object is stored already".to_owned(),
        retry_after_seconds: None,
        in_doubt: false,
    };
    let mut found = retry(job, status.clone(), &outcome, Duration::ZERO, now);
    found.status.adoption_attempt = Some(status.attempt.saturating_add(1));
    Step::LookForObject {
        found: Box::new(found),
        missing: Box::new(failure(job, status, reason, message, now)),
    }
}

fn write_failure(
    job: &TransferJob,
    status: TransferJobStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Step {
    Step::Write(Box::new(failure(job, status, reason, message, now)))
}

fn failure(
    job: &TransferJob,
    mut status: TransferJobStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Transition {
    status.completion_time = Some(Time(now));
    status.next_attempt_time = None;
    if status.attempt > 0 {
        // What attempts have made does not wait until the user is told.
        status.stray_until.get_or_insert(Time(now));
    }
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
    let event = Notice {
        warning: true,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    Transition {
        status,
        event: Some(event),
    }
}

fn retry(
    job: &TransferJob,
    mut status: TransferJobStatus,
    outcome: &Outcome,
    wait: Duration,
    now: Timestamp,
) -> Transition {
    let wait_signed = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    status.next_attempt_time = Some(Time(later(now, wait_signed)));
    set_phase(job, &mut status, Phase::Pending, &outcome.reason);
    let message = format!(
        "{}; the next attempt begins in {} s",
        outcome.message,
        wait.as_secs()
    );
    not_admitted(job, &mut status, &outcome.reason, &message, now);
    let event = Notice {
        warning: true,
        reason: outcome.reason.clone(),
        message,
    };
    Transition {
        status,
        event: Some(event),
    }
}

/// What a pod's end says of the attempt that it ran, when the worker said nothing.
fn outcome_of_pod(end: PodEnd, attempt: i32) -> Outcome {
    let (result, reason, message) = match end {
        PodEnd::OutOfMemory => (
            OutcomeResult::TransientFailure,
            OUT_OF_MEMORY,
            "The worker ran out of memory: give it a higher limit".to_owned(),
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
        PodEnd::Lost => (
            OutcomeResult::Interrupted,
            "NodeLost",
            "The worker's node is out of reach".to_owned(),
        ),
        PodEnd::SessionRefused => (
            OutcomeResult::Interrupted,
            "SessionRefused",
            "Telegram does not accept the worker's session".to_owned(),
        ),
        PodEnd::Misconfigured => (
            OutcomeResult::Interrupted,
            "WorkerMisconfigured",
            "The worker cannot use its configuration: see its pod's log".to_owned(),
        ),
        PodEnd::Killed => (
            OutcomeResult::Interrupted,
            "WorkerKilled",
            "The worker was killed".to_owned(),
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
        in_doubt: false,
    }
}

fn outcome_of<'a>(status: &'a TransferJobStatus, assignment: &Assignment) -> Option<&'a Outcome> {
    status
        .outcome
        .as_ref()
        .filter(|outcome| outcome.attempt == assignment.attempt)
}

/// A stopping worker is waited for until its grace has passed.
fn stop_or_delete(assignment: Assignment, signs: &Signs, now: Timestamp) -> Step {
    let until = later(signs.stopping.unwrap_or(now), STOP_GRACE);
    if until <= now {
        Step::DeletePod(assignment)
    } else {
        Step::Rest(Some(until))
    }
}

/// An attempt ends, and its worker may go on all the same.
fn stray(status: &mut TransferJobStatus, now: Timestamp) {
    status.stray_until = Some(Time(later(now, STRAY_LIFE)));
}

fn later(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

fn deadline(job: &TransferJob, status: &TransferJobStatus) -> Option<Timestamp> {
    let start = status.start_time.as_ref()?.0;
    let seconds = job.spec.active_deadline_seconds?;
    Some(later(start, SignedDuration::from_secs(seconds)))
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

fn not_admitted(
    job: &TransferJob,
    status: &mut TransferJobStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    condition(
        job,
        status,
        ConditionType::Admitted,
        ConditionStatus::False,
        reason,
        message,
        now,
    );
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

pub use finished::renewed;

#[cfg(test)]
mod tests;
