//! What is still to be done for a job that has finished: its link ends, is revoked or renewed, what
//! strays may have left is removed, and one day it is deleted.

use super::{
    ConditionStatus, ConditionType, Keep, Notice, Policy, RENEWING, SignedDuration, Step, Time,
    Timestamp, TransferJob, TransferJobStatus, Transition, condition, find_condition, later, names,
};
use crate::api::{Delivery, Link};
use kube::ResourceExt as _;

/// Names the next step of a finished job.
pub(super) fn decide(
    job: &TransferJob,
    mut status: TransferJobStatus,
    policy: &Policy,
    now: Timestamp,
) -> Step {
    let delete_at = delete_at(job, &status, policy);
    if delete_at.is_some_and(|time| time <= now) {
        return Step::Delete;
    }
    if let Some(step) = link(job, &status, now) {
        return step;
    }
    let stray_until = status.stray_until.as_ref().map(|time| time.0);
    if stray_until.is_some_and(|until| until <= now) {
        status.stray_until = None;
        return Step::RemoveLeftovers(silently(status));
    }
    let link_end = ready_link(&status).map(|link| link.expires_at.0);
    let wake = [delete_at, stray_until, link_end]
        .into_iter()
        .flatten()
        .min();
    if is_labelled(job) {
        Step::Rest(None)
    } else if job.spec.requester.is_some() && !is_told(&status) {
        // Its user has to be told yet.
        Step::Rest(wake)
    } else {
        Step::Finish(wake)
    }
}

/// The status of a job whose link was replaced by this one. Others may be left.
pub fn renewed(job: &TransferJob, link: Link, now: Timestamp) -> TransferJobStatus {
    let mut status = job.status.clone().unwrap_or_default();
    status.link = Some(link);
    link_ready(job, &mut status, ConditionStatus::True, RENEWING, now);
    status
}

/// What the link needs, if anything.
fn link(job: &TransferJob, status: &TransferJobStatus, now: Timestamp) -> Option<Step> {
    let link = status.link.as_ref()?;
    let ready = find_condition(&status.conditions, ConditionType::LinkReady)?;
    let mut next = status.clone();
    if job.spec.link.revoked {
        next.link = None;
        link_ready(job, &mut next, ConditionStatus::False, "Revoked", now);
        let event = notice("LinkRevoked", "The link was taken back");
        return Some(end_links(Keep::None, next, Some(event)));
    }
    if job.spec.link.ttl != link.ttl {
        let end = link_end(job, status);
        if end > now {
            return Some(Step::RenewLink(end));
        }
        next.link = Some(Link {
            ttl: job.spec.link.ttl,
            expires_at: Time(end),
            ..link.clone()
        });
    } else if ready.reason == RENEWING {
        link_ready(job, &mut next, ConditionStatus::True, "Renewed", now);
        let event = notice("LinkRenewed", "The link was replaced by another");
        return Some(end_links(Keep::Current, next, Some(event)));
    } else if ready.status != "True" || link.expires_at.0 > now {
        return None;
    }
    link_ready(job, &mut next, ConditionStatus::False, "Expired", now);
    Some(end_links(Keep::None, next, None))
}

/// When the link of a job ends that lives as the spec says.
fn link_end(job: &TransferJob, status: &TransferJobStatus) -> Timestamp {
    let start = status.completion_time.as_ref();
    let start = start.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let ttl = SignedDuration::try_from(job.spec.link.ttl.get()).unwrap_or(SignedDuration::MAX);
    later(start, ttl)
}

/// When the job has been kept for long enough: not while its link works, unless it says so itself,
/// nor while a stray worker may be at work.
fn delete_at(job: &TransferJob, status: &TransferJobStatus, policy: &Policy) -> Option<Timestamp> {
    let end = status.completion_time.as_ref()?.0;
    let kept_until = match job.spec.ttl_seconds_after_finished {
        Some(seconds) => later(end, SignedDuration::from_secs(seconds)),
        None => later(end, policy.ttl_after_finished)
            .max(ready_link(status).map_or(Timestamp::MIN, |link| link.expires_at.0)),
    };
    let stray_until = status.stray_until.as_ref();
    Some(stray_until.map_or(kept_until, |until| kept_until.max(until.0)))
}

/// The link, while it works.
fn ready_link(status: &TransferJobStatus) -> Option<&Link> {
    let ready = find_condition(&status.conditions, ConditionType::LinkReady)?;
    status.link.as_ref().filter(|_| ready.status == "True")
}

/// Whether the user knows what became of it, as far as they can be told.
fn is_told(status: &TransferJobStatus) -> bool {
    status
        .notified
        .as_ref()
        .is_some_and(|notified| notified.delivery != Delivery::Sending)
}

/// Whether all that its spec asks for now was done before.
fn is_labelled(job: &TransferJob) -> bool {
    let generation = job.metadata.generation.unwrap_or_default().to_string();
    job.labels().get(names::FINISHED_LABEL) == Some(&generation)
}

fn end_links(but_current: Keep, status: TransferJobStatus, event: Option<Notice>) -> Step {
    let then = Box::new(Transition { status, event });
    Step::EndLinks { but_current, then }
}

fn silently(status: TransferJobStatus) -> Box<Transition> {
    Box::new(Transition {
        status,
        event: None,
    })
}

fn notice(reason: &str, message: &str) -> Notice {
    Notice {
        warning: false,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

fn link_ready(
    job: &TransferJob,
    status: &mut TransferJobStatus,
    value: ConditionStatus,
    reason: &str,
    now: Timestamp,
) {
    let message = match reason {
        "Revoked" => "The link was taken back",
        "Expired" => "The link has ended",
        RENEWING => "The link works; an earlier one is being ended",
        _ => "The link can be used",
    };
    condition(
        job,
        status,
        ConditionType::LinkReady,
        value,
        reason,
        message,
        now,
    );
    status.observed_generation = job.metadata.generation;
}
