//! The lifecycle as a table: what is observed, and what must happen.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::Link;
use crate::controller::merge_patch;

const NOW: &str = "2026-11-02T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const POLICY: Policy = Policy {
    ttl_after_finished: SignedDuration::from_hours(7 * 24),
    clean_up_patience: SignedDuration::from_hours(1),
};

/// Decides about a job whose worker was just heard of.
fn decide(job: &TransferJob, pod: PodSight, now: Timestamp) -> Step {
    let signs = Signs {
        heard: now,
        moved: now,
        stopping: None,
    };
    super::decide(job, &Sight { pod, signs }, &POLICY, now)
}

/// The same, of a worker that has been asked to stop since then.
fn decide_stopping(job: &TransferJob, pod: PodSight, stopping: &str) -> Step {
    let signs = Signs {
        heard: now(),
        moved: now(),
        stopping: Some(at(stopping)),
    };
    super::decide(job, &Sight { pod, signs }, &POLICY, now())
}

/// A job that a worker runs in its first attempt, changed by a merge patch.
fn running_job(change: &Value) -> TransferJob {
    let mut job = json!({
        "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
        "metadata": {"name": "tj", "uid": "u", "generation": 1, "finalizers": [names::FINALIZER]},
        "spec": {"source": {"chatId": 1, "messageId": 1}},
        "status": {
            "phase": "Running", "attempt": 1, "startTime": "2026-11-01T23:59:00Z",
            "assignment": {"pod": "p", "podUID": "pu", "slot": 0, "attempt": 1, "time": "2026-11-01T23:59:00Z"},
        },
    });
    apply_all(&mut job, change);
    serde_json::from_value(job).unwrap()
}

/// Applies a merge patch, or several in order: merged into one, they would lose their nulls.
fn apply_all(job: &mut Value, change: &Value) {
    match change {
        Value::Array(changes) => changes.iter().for_each(|change| apply_all(job, change)),
        change => merge_patch::apply(job, change),
    }
}

fn waiting_job(change: &Value) -> TransferJob {
    running_job(&with(
        json!({"status": {"phase": "Pending", "assignment": null}}),
        change,
    ))
}

fn outcome(result: &str, reason: &str, attempt: i32) -> Value {
    json!({"status": {"outcome": {"attempt": attempt, "result": result, "reason": reason, "message": "words"}}})
}

fn with(first: Value, second: &Value) -> Value {
    json!([first, second])
}

fn delivered() -> Value {
    json!({"status": {
        "object": {"name": "o", "bucket": "b", "size": 1, "etag": "e", "crc32c": "AAAAAA==", "contentType": "a/b"},
        "link": {"id": "l", "url": "https://secret", "expiresAt": "2026-11-09T00:00:00Z", "ttl": "7d"},
    }})
}

fn finished(type_: &str) -> Value {
    json!({"status": {"assignment": null, "conditions": [
        {"type": type_, "status": "True", "reason": "R", "message": "", "lastTransitionTime": NOW},
    ]}})
}

/// It has its link, and the end of the transfer is half a minute ago.
fn succeeded() -> Value {
    json!([finished("Complete"), delivered(), {"status": {
        "phase": "Succeeded", "completionTime": "2026-11-01T23:59:30Z",
        "conditions": [
            {"type": "Complete", "status": "True", "reason": "R", "message": "", "lastTransitionTime": NOW},
            {"type": "LinkReady", "status": "True", "reason": "Created", "message": "", "lastTransitionTime": NOW},
        ],
    }}])
}

fn deleted(time: &str) -> Value {
    json!({"metadata": {"deletionTimestamp": time}})
}

/// The status that a step writes.
fn written(step: Step) -> TransferJobStatus {
    match step {
        Step::Write(transition)
        | Step::LookForObject {
            missing: transition,
            ..
        }
        | Step::EndLinks {
            then: transition, ..
        } => transition.status,
        other => panic!("wrote nothing: {other:?}"),
    }
}

#[test]
fn an_attempt_ends_by_its_outcome() {
    let lost_success = outcome("Succeeded", "Succeeded", 1);
    let no_retries = json!({"spec": {"retry": {"limit": 0}}});
    let tired = json!({"status": {"interruptions": 20}});
    for (name, change, phase, reason, failures, interruptions) in [
        (
            "success",
            with(outcome("Succeeded", "Succeeded", 1), &delivered()),
            Phase::Succeeded,
            "Succeeded",
            0,
            0,
        ),
        (
            "success without its link",
            lost_success,
            Phase::Pending,
            "Succeeded",
            1,
            0,
        ),
        (
            "a failure for ever",
            outcome("PermanentFailure", "NoMedia", 1),
            Phase::Failed,
            "NoMedia",
            0,
            0,
        ),
        (
            "a failure that may pass",
            outcome("TransientFailure", "StorageTimeout", 1),
            Phase::Pending,
            "StorageTimeout",
            1,
            0,
        ),
        (
            "one failure too many",
            with(
                outcome("TransientFailure", "StorageTimeout", 1),
                &no_retries,
            ),
            Phase::Failed,
            "StorageTimeout",
            1,
            0,
        ),
        (
            "an interruption",
            outcome("Interrupted", "WorkerStopped", 1),
            Phase::Pending,
            "WorkerStopped",
            0,
            1,
        ),
        (
            "one interruption too many",
            with(outcome("Interrupted", "WorkerStopped", 1), &tired),
            Phase::Failed,
            "WorkerStopped",
            0,
            21,
        ),
        (
            "a stop",
            outcome("Stopped", "Stopped", 1),
            Phase::Pending,
            "Stopped",
            0,
            0,
        ),
    ] {
        let status = written(decide(&running_job(&change), PodSight::Alive, now()));
        assert_eq!(status.assignment, None, "{name}");
        assert_eq!(
            (status.phase, status.reason.as_deref()),
            (phase, Some(reason)),
            "{name}"
        );
        assert_eq!(
            (status.failures, status.interruptions),
            (failures, interruptions),
            "{name}"
        );
        assert_eq!(
            is_finished(&status),
            matches!(phase, Phase::Succeeded | Phase::Failed),
            "{name}"
        );
        assert_eq!(
            status.completion_time.is_some(),
            is_finished(&status),
            "{name}"
        );
    }
}

#[test]
fn an_attempt_ends_by_its_pods_end_when_the_worker_said_nothing() {
    for (pod, reason, failures, interruptions) in [
        (PodSight::Ended(PodEnd::OutOfMemory), "OOMKilled", 3, 0),
        (PodSight::Ended(PodEnd::Exited(1)), "WorkerFailed", 1, 0),
        (PodSight::Ended(PodEnd::Exited(0)), "WorkerStopped", 0, 1),
        (PodSight::Ended(PodEnd::Killed), "WorkerKilled", 0, 1),
        (
            PodSight::Ended(PodEnd::Misconfigured),
            "WorkerMisconfigured",
            0,
            1,
        ),
        (PodSight::Ended(PodEnd::Evicted), "Evicted", 0, 1),
        (PodSight::Gone, "PodDeleted", 0, 1),
    ] {
        let status = written(decide(&running_job(&json!({})), pod, now()));
        assert_eq!(status.reason.as_deref(), Some(reason), "{pod:?}");
        assert_eq!(
            (status.failures, status.interruptions),
            (failures, interruptions),
            "{pod:?}"
        );
    }
}

#[test]
fn the_workers_word_counts_more_than_its_pods_end() {
    let job = running_job(&with(outcome("Succeeded", "Succeeded", 1), &delivered()));
    assert_eq!(
        written(decide(&job, PodSight::Gone, now())).phase,
        Phase::Succeeded
    );
}

#[test]
fn an_outcome_of_another_attempt_says_nothing() {
    let job = running_job(&with(
        outcome("PermanentFailure", "NoMedia", 1),
        &json!({"status": {
            "attempt": 2, "assignment": {"attempt": 2},
        }}),
    ));
    assert!(matches!(
        decide(&job, PodSight::Alive, now()),
        Step::Rest(_)
    ));
}

#[test]
fn what_is_finished_is_labelled_once_and_left_alone() {
    for type_ in ["Complete", "Failed"] {
        let job = running_job(&finished(type_));
        assert!(
            matches!(decide(&job, PodSight::Gone, now()), Step::Finish(_)),
            "{type_}"
        );
        let labelled = json!({"metadata": {"labels": {names::FINISHED_LABEL: "1"}}});
        let job = running_job(&with(finished(type_), &labelled));
        assert_eq!(
            decide(&job, PodSight::Gone, now()),
            Step::Rest(None),
            "{type_}"
        );
        let asked = json!({"spec": {"requester": {"userId": 1, "chatId": 1}}});
        let job = running_job(&with(finished(type_), &asked));
        assert!(
            matches!(decide(&job, PodSight::Gone, now()), Step::Rest(_)),
            "{type_}: its user was not told yet"
        );
        let told = json!({"status": {"notified": {"time": NOW}}});
        let job = running_job(&json!([finished(type_), asked, told]));
        assert!(
            matches!(decide(&job, PodSight::Gone, now()), Step::Finish(_)),
            "{type_}"
        );
    }
}

#[test]
fn a_finished_job_is_kept_for_its_time_and_while_its_link_works() {
    let end = |time: &str| json!({"status": {"completionTime": time}});
    let ttl = json!({"spec": {"ttlSecondsAfterFinished": 3_600}});
    let stray = json!({"status": {"strayUntil": "2026-11-02T00:05:00Z"}});
    for (what, change, step) in [
        (
            "not before its link ends",
            json!([succeeded(), end("2026-10-01T00:00:00Z")]),
            Step::Finish(Some(at("2026-11-09T00:00:00Z"))),
        ),
        (
            "failed just now",
            json!([finished("Failed"), end(NOW)]),
            Step::Finish(Some(at("2026-11-09T00:00:00Z"))),
        ),
        (
            "failed long ago",
            json!([finished("Failed"), end("2026-10-26T00:00:00Z")]),
            Step::Delete,
        ),
        (
            "says so itself",
            json!([succeeded(), end("2026-11-01T23:00:00Z"), ttl]),
            Step::Delete,
        ),
        (
            "a stray may be at work",
            json!([succeeded(), end("2026-11-01T23:00:00Z"), ttl, stray]),
            Step::Finish(Some(at("2026-11-02T00:05:00Z"))),
        ),
    ] {
        assert_eq!(
            decide(&running_job(&change), PodSight::Gone, now()),
            step,
            "{what}"
        );
    }
}

#[test]
fn what_strays_have_left_is_removed_when_they_cannot_act_any_more() {
    let stray = json!({"status": {"strayUntil": NOW}});
    let job = running_job(&with(finished("Failed"), &stray));
    let Step::RemoveLeftovers(then) = decide(&job, PodSight::Gone, now()) else {
        panic!("nothing was removed")
    };
    assert_eq!(then.status.stray_until, None);
}

#[test]
fn what_a_failed_job_has_made_is_removed_before_its_user_is_told() {
    let asked = json!({"spec": {"requester": {"userId": 1, "chatId": 1}}});
    let lost = json!({"status": {"strayUntil": "2026-11-02T00:05:00Z"}});
    let failed = outcome("PermanentFailure", "NoMedia", 1);
    let after = |job: TransferJob, status| TransferJob {
        status: Some(status),
        ..job
    };
    for (what, change, is_removed_now) in [
        ("nobody acts any more", json!([asked, failed]), true),
        ("a stray may add to it", json!([asked, failed, lost]), false),
    ] {
        let job = running_job(&change);
        let status = written(decide(&job, PodSight::Alive, now()));
        assert_eq!(status.phase, Phase::Failed, "{what}");
        let job = after(job, status);
        let step = decide(&job, PodSight::Gone, now());
        if !is_removed_now {
            let until = at("2026-11-02T00:05:00Z");
            assert_eq!(step, Step::Rest(Some(until)), "{what}");
            continue;
        }
        let Step::RemoveLeftovers(then) = step else {
            panic!("{what}: {step:?}")
        };
        let job = after(job, then.status);
        assert!(
            matches!(decide(&job, PodSight::Gone, now()), Step::Rest(_)),
            "{what}: its user has to be told yet"
        );
    }
    // One that no worker was given has made nothing.
    let late = json!({"spec": {"activeDeadlineSeconds": 60}, "status": {"attempt": 0}});
    let status = written(decide(&waiting_job(&late), PodSight::Gone, now()));
    assert_eq!((status.phase, status.stray_until), (Phase::Failed, None));
}

#[test]
fn what_a_request_without_a_reply_may_make_yet_is_removed_once_it_can_make_it_no_more() {
    let doubtful = json!({"status": {"outcome": {"inDoubt": true}}});
    for result in [
        outcome("Succeeded", "Succeeded", 1),
        outcome("TransientFailure", "StorageTimeout", 1),
        outcome("Interrupted", "WorkerStopped", 1),
    ] {
        let certain = running_job(&with(delivered(), &result));
        let status = written(decide(&certain, PodSight::Alive, now()));
        assert_eq!(status.stray_until, None, "nothing is in doubt");
        let job = running_job(&with(with(delivered(), &result), &doubtful));
        let status = written(decide(&job, PodSight::Alive, now()));
        let until = status.stray_until.map(|until| until.0);
        assert!(until.is_some_and(|until| until > now()), "{until:?}");
    }
}

#[test]
fn the_link_follows_the_spec() {
    let condition = |job: &TransferJob| {
        let status = job.status.as_ref().unwrap();
        let found = find_condition(&status.conditions, ConditionType::LinkReady).unwrap();
        (found.status.clone(), found.reason.clone())
    };
    let says = |value: &str, reason: &str| (value.to_owned(), reason.to_owned());
    let after = |job: &TransferJob, then: Box<Transition>| TransferJob {
        status: Some(then.status),
        ..job.clone()
    };

    let revoked = running_job(&with(
        succeeded(),
        &json!({"spec": {"link": {"revoked": true}}}),
    ));
    let Step::EndLinks {
        but_current: Keep::None,
        then,
    } = decide(&revoked, PodSight::Gone, now())
    else {
        panic!("not revoked")
    };
    let revoked = after(&revoked, then);
    assert_eq!(condition(&revoked), says("False", "Revoked"));
    assert_eq!(
        revoked.status.as_ref().unwrap().link,
        None,
        "a dead secret is not kept"
    );
    assert!(matches!(
        decide(&revoked, PodSight::Gone, now()),
        Step::Finish(_)
    ));

    let longer = running_job(&with(
        succeeded(),
        &json!({"spec": {"link": {"ttl": "30d"}}}),
    ));
    assert_eq!(
        decide(&longer, PodSight::Gone, now()),
        Step::RenewLink(at("2026-12-01T23:59:30Z")),
        "counted from the end of the transfer"
    );
    let new = serde_json::from_value(json!({"id": "l2", "url": "https://new", "expiresAt": "2026-12-01T23:59:30Z", "ttl": "30d"})).unwrap();
    let renewed = TransferJob {
        status: Some(renewed(&longer, new, now())),
        ..longer
    };
    let Step::EndLinks {
        but_current: Keep::Current,
        then,
    } = decide(&renewed, PodSight::Gone, now())
    else {
        panic!("the old link was left")
    };
    let renewed = after(&renewed, then);
    assert_eq!(condition(&renewed), says("True", "Renewed"));
    assert!(matches!(
        decide(&renewed, PodSight::Gone, now()),
        Step::Finish(_)
    ));

    let past = at("2026-11-09T00:00:00Z");
    let kept = json!({"spec": {"ttlSecondsAfterFinished": 2_592_000}});
    let expired = running_job(&with(succeeded(), &kept));
    let Step::EndLinks {
        but_current: Keep::None,
        then,
    } = decide(&expired, PodSight::Gone, past)
    else {
        panic!("not expired")
    };
    let expired = after(&expired, then);
    assert_eq!(condition(&expired), says("False", "Expired"));
    assert!(matches!(
        decide(&expired, PodSight::Gone, past),
        Step::Finish(_)
    ));

    let shorter = running_job(&with(
        succeeded(),
        &json!({"spec": {"link": {"ttl": "10s"}}}),
    ));
    let Step::EndLinks {
        but_current: Keep::None,
        then,
    } = decide(&shorter, PodSight::Gone, now())
    else {
        panic!("not ended")
    };
    let shorter = after(&shorter, then);
    assert_eq!(condition(&shorter), says("False", "Expired"));
    assert!(matches!(
        decide(&shorter, PodSight::Gone, now()),
        Step::Finish(_)
    ));
}

#[test]
fn deletion_waits_for_the_worker_and_cleans_up_after_it() {
    let assignment = running_job(&json!({})).status.unwrap().assignment.unwrap();
    let just = deleted("2026-11-01T23:59:59Z");
    let no_finalizer = with(just.clone(), &json!({"metadata": {"finalizers": null}}));
    let unassigned = json!({"status": {"assignment": null}});
    let stray = json!({"status": {"strayUntil": "2026-11-02T00:05:00Z"}});
    let job = running_job(&just);
    for (name, stopping, step) in [
        (
            "the worker is stopping",
            "2026-11-01T23:59:59Z",
            Step::Rest(Some(at("2026-11-02T00:00:29Z"))),
        ),
        (
            "the worker does not stop",
            "2026-11-01T23:59:30Z",
            Step::DeletePod(assignment),
        ),
    ] {
        assert_eq!(
            decide_stopping(&job, PodSight::Alive, stopping),
            step,
            "{name}"
        );
    }
    for (name, change, step) in [
        (
            "nothing runs",
            with(just.clone(), &unassigned),
            Step::CleanUp(Release::WhenClean),
        ),
        (
            "it succeeded before",
            with(finished("Complete"), &just),
            Step::CleanUp(Release::WhenClean),
        ),
        (
            "a stray may be at work",
            json!([just, unassigned, stray]),
            Step::CleanUp(Release::NotBefore(at("2026-11-02T00:05:00Z"))),
        ),
        (
            "object storage was away for long",
            with(deleted("2026-11-01T23:00:00Z"), &unassigned),
            Step::CleanUp(Release::Now),
        ),
        ("nothing was made", no_finalizer, Step::Rest(None)),
    ] {
        assert_eq!(
            decide(&running_job(&change), PodSight::Gone, now()),
            step,
            "{name}"
        );
    }
    for (change, pod, is_stray) in [
        (
            with(just.clone(), &outcome("Stopped", "Stopped", 1)),
            PodSight::Alive,
            false,
        ),
        (just.clone(), PodSight::Ended(PodEnd::Deleted), false),
        (just.clone(), PodSight::Gone, true),
        (just, PodSight::Leaving { lost_at: now() }, true),
    ] {
        let status = written(decide(&running_job(&change), pod, now()));
        assert_eq!((status.phase, status.assignment), (Phase::Cancelled, None));
        assert_eq!(status.stray_until.is_some(), is_stray, "{pod:?}");
    }
}

#[test]
fn what_was_begun_is_protected() {
    let job = waiting_job(&json!({"metadata": {"finalizers": null}, "status": null}));
    assert_eq!(decide(&job, PodSight::Gone, now()), Step::Rest(None));
    assert!(is_waiting(&job, now()));
    let job = running_job(&json!({"metadata": {"finalizers": null}}));
    assert_eq!(decide(&job, PodSight::Alive, now()), Step::AddFinalizer);
}

#[test]
fn a_deadline_stops_the_worker_and_then_fails_the_job() {
    let deadline = |seconds: i64| json!({"spec": {"activeDeadlineSeconds": seconds}});
    assert_eq!(
        decide(&running_job(&deadline(61)), PodSight::Alive, now()),
        Step::Rest(Some(at("2026-11-02T00:00:01Z")))
    );
    let status = written(decide(&running_job(&deadline(60)), PodSight::Alive, now()));
    assert_eq!(
        status.assignment.unwrap().stop,
        Some(StopReason::DeadlineExceeded)
    );

    let told = with(
        deadline(60),
        &json!({"status": {"assignment": {"stop": "DeadlineExceeded"}}}),
    );
    assert_eq!(
        decide_stopping(&running_job(&told), PodSight::Alive, NOW),
        Step::Rest(Some(at("2026-11-02T00:00:30Z")))
    );
    let stopped = with(told, &outcome("Stopped", "Stopped", 1));
    let status = written(decide(&running_job(&stopped), PodSight::Alive, now()));
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Phase::Failed, Some("DeadlineExceeded"))
    );

    let status = written(decide(&waiting_job(&deadline(60)), PodSight::Gone, now()));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn a_suspended_job_says_so_once() {
    let job = waiting_job(&json!({"spec": {"suspend": true}}));
    let status = written(decide(&job, PodSight::Gone, now()));
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Phase::Pending, Some("Suspended"))
    );
    let again = TransferJob {
        status: Some(status),
        ..job
    };
    assert_eq!(decide(&again, PodSight::Gone, now()), Step::Rest(None));
}

#[test]
fn a_worker_that_stops_too_slowly_loses_its_pod() {
    let assignment = running_job(&json!({})).status.unwrap().assignment.unwrap();
    let suspended = running_job(&json!({"spec": {"suspend": true}}));
    assert_eq!(
        decide_stopping(&suspended, PodSight::Alive, "2026-11-01T23:59:40Z"),
        Step::Rest(Some(at("2026-11-02T00:00:10Z")))
    );
    assert_eq!(
        decide_stopping(&suspended, PodSight::Alive, "2026-11-01T23:59:30Z"),
        Step::DeletePod(assignment)
    );
    let status = written(decide(&suspended, PodSight::Ended(PodEnd::Deleted), now()));
    assert_eq!(
        (status.interruptions, status.phase),
        (0, Phase::Pending),
        "that was asked for"
    );
}

#[test]
fn a_worker_that_says_nothing_or_moves_nothing_is_replaced() {
    let job = running_job(&json!({}));
    let decide = |heard: &str, moved: &str| {
        let signs = Signs {
            heard: at(heard),
            moved: at(moved),
            stopping: None,
        };
        super::decide(
            &job,
            &Sight {
                pod: PodSight::Alive,
                signs,
            },
            &POLICY,
            now(),
        )
    };
    assert_eq!(
        decide("2026-11-01T23:58:01Z", "2026-11-01T23:50:30Z"),
        Step::Rest(Some(at("2026-11-02T00:00:01Z")))
    );
    for (heard, moved) in [("2026-11-01T23:58:00Z", NOW), (NOW, "2026-11-01T23:50:00Z")] {
        let status = written(decide(heard, moved));
        assert_eq!(status.assignment.unwrap().stop, Some(StopReason::Stalled));
    }
    let told = json!({"status": {"assignment": {"stop": "Stalled"}}});
    for (change, pod) in [
        (
            with(told.clone(), &outcome("Stopped", "Stopped", 1)),
            PodSight::Alive,
        ),
        (told, PodSight::Ended(PodEnd::Deleted)),
    ] {
        let status = written(super::tests::decide(&running_job(&change), pod, now()));
        assert_eq!(
            (status.failures, status.reason.as_deref()),
            (1, Some("Stalled"))
        );
    }
}

#[test]
fn a_job_moves_from_a_node_out_of_reach_and_its_worker_counts_as_stray() {
    let job = running_job(&json!({}));
    let leaving = |time: &str| PodSight::Leaving { lost_at: at(time) };
    assert_eq!(
        decide(&job, leaving("2026-11-02T00:00:15Z"), now()),
        Step::Rest(Some(at("2026-11-02T00:00:15Z")))
    );
    for (pod, reason) in [(leaving(NOW), "NodeLost"), (PodSight::Gone, "PodDeleted")] {
        let status = written(decide(&job, pod, now()));
        assert_eq!(
            (status.reason.as_deref(), status.interruptions),
            (Some(reason), 1)
        );
        assert_eq!(
            status.stray_until.map(|time| time.0),
            Some(now() + STRAY_LIFE)
        );
    }
    let status = written(decide(&job, PodSight::Ended(PodEnd::Evicted), now()));
    assert_eq!(status.stray_until, None);
}

#[test]
fn a_worker_that_ran_out_of_memory_gets_one_more_try() {
    let failures = |before: i32| {
        let job = running_job(&json!({"status": {"failures": before}}));
        let status = written(decide(&job, PodSight::Ended(PodEnd::OutOfMemory), now()));
        (status.failures, status.phase)
    };
    assert_eq!(failures(0), (3, Phase::Pending));
    assert_eq!(failures(3), (4, Phase::Failed));
}

#[test]
fn a_whole_object_is_adopted_once_before_a_job_fails() {
    let failed = outcome("PermanentFailure", "MessageNotFound", 1);
    let Step::LookForObject { found, missing } =
        decide(&running_job(&failed), PodSight::Alive, now())
    else {
        panic!("it did not look")
    };
    assert_eq!(
        (missing.status.phase, missing.status.reason.as_deref()),
        (Phase::Failed, Some("MessageNotFound"))
    );
    assert_eq!(
        (found.status.phase, found.status.adoption_attempt),
        (Phase::Pending, Some(2))
    );
    assert_eq!(found.status.next_attempt_time.unwrap().0, now());

    let adopting =
        json!({"status": {"attempt": 2, "assignment": {"attempt": 2}, "adoptionAttempt": 2}});
    let job = running_job(&with(
        adopting,
        &outcome("PermanentFailure", "StorageRefused", 2),
    ));
    assert!(
        matches!(decide(&job, PodSight::Alive, now()), Step::Write(_)),
        "it does not look twice"
    );
}

#[test]
fn who_may_run_again_and_still_waits_is_called_queued() {
    let due = |time: &str| waiting_job(&json!({"status": {"nextAttemptTime": time}}));
    assert_eq!(
        decide(&due("2026-11-02T00:01:00Z"), PodSight::Gone, now()),
        Step::Rest(Some(at("2026-11-02T00:01:00Z")))
    );
    assert_eq!(
        decide(&due(NOW), PodSight::Gone, now()),
        Step::Rest(Some(at("2026-11-02T00:00:05Z")))
    );
    let status = written(decide(&due("2026-11-01T23:59:55Z"), PodSight::Gone, now()));
    assert_eq!(status.phase, Phase::Queued);
    let fresh = waiting_job(&json!({"status": {"phase": "Queued"}}));
    assert_eq!(decide(&fresh, PodSight::Gone, now()), Step::Rest(None));
    assert_eq!(
        queued(&fresh, None, now()),
        None,
        "it needs no write to be queued"
    );
    let trouble = Notice {
        warning: true,
        reason: "ImagePullBackOff".into(),
        message: "no image".into(),
    };
    let told = queued(&fresh, Some(&trouble), now()).unwrap();
    assert_eq!(told.reason.as_deref(), Some("ImagePullBackOff"));
    let told = TransferJob {
        status: Some(told),
        ..fresh
    };
    assert_eq!(queued(&told, Some(&trouble), now()), None);
    assert_eq!(
        queued(&told, None, now()).unwrap().reason.as_deref(),
        Some("WaitingForSlot")
    );
}

#[test]
fn retries_double_and_never_come_before_a_server_allows_them() {
    let wait = |failures: i32, retry_after: Value| {
        let change = with(
            outcome("TransientFailure", "R", 1),
            &json!({
                "spec": {"retry": {"limit": 100}},
                "status": {"failures": failures, "outcome": {"retryAfterSeconds": retry_after}},
            }),
        );
        let status = written(decide(&running_job(&change), PodSight::Alive, now()));
        status
            .next_attempt_time
            .unwrap()
            .0
            .duration_since(now())
            .as_secs_f64()
    };
    for (failures, least) in [(0, 2.0), (1, 4.0), (2, 8.0), (30, 3_600.0)] {
        let waited = wait(failures, Value::Null);
        assert!(
            (least..=least * 1.5).contains(&waited),
            "{failures} failures: {waited} s"
        );
    }
    assert!(wait(0, json!(1_400)) >= 1_400.0);
}

#[test]
fn jobs_that_failed_together_do_not_come_back_together() {
    let due = |uid: String| {
        let change = with(
            outcome("TransientFailure", "R", 1),
            &json!({"metadata": {"uid": uid}}),
        );
        let status = written(decide(&running_job(&change), PodSight::Alive, now()));
        status.next_attempt_time.unwrap().0
    };
    let times: BTreeSet<_> = (0..20).map(|number| due(format!("uid-{number}"))).collect();
    assert!(times.len() > 10, "{times:?}");
}

/// Any status that the API server would take.
fn any_change() -> impl Strategy<Value = Value> {
    let outcomes = prop_oneof![
        Just(json!({})),
        (
            prop::sample::select(
                &[
                    "Succeeded",
                    "PermanentFailure",
                    "TransientFailure",
                    "Interrupted",
                    "Stopped"
                ][..]
            ),
            1..4,
        )
            .prop_map(|(result, attempt)| outcome(result, "R", attempt)),
    ];
    let pieces = prop::collection::vec(
        prop::sample::select(vec![
            delivered(),
            finished("Complete"),
            finished("Failed"),
            deleted("2026-11-01T23:59:00Z"),
            json!({"metadata": {"finalizers": null}}),
            json!({"spec": {"suspend": true}}),
            json!({"spec": {"activeDeadlineSeconds": 10}}),
            json!({"spec": {"link": {"revoked": true}}}),
            json!({"spec": {"link": {"ttl": "30d"}}}),
            json!({"spec": {"link": {"ttl": "1s"}}}),
            json!({"spec": {"ttlSecondsAfterFinished": 1}}),
            json!({"status": {"strayUntil": "2026-11-02T00:05:00Z"}}),
            json!({"status": {"strayUntil": "2026-11-01T00:05:00Z"}}),
            succeeded(),
            json!({"status": {"assignment": null}}),
            json!({"status": null}),
            stopping("Stalled"),
            stopping("DeadlineExceeded"),
            json!({"spec": {"requester": {"userId": 1, "chatId": 1}}}),
            json!({"status": {"notified": {"time": NOW, "delivery": "Sending"}}}),
            json!({"status": {"notified": {"time": NOW}}}),
            json!({"metadata": {"labels": {names::FINISHED_LABEL: "1"}}}),
            json!({"status": {"attempt": 2, "assignment": {"pod": "p", "podUID": "pu", "slot": 0, "attempt": 2,
                "time": "2026-11-01T23:59:00Z"}}}),
            json!({"status": {"adoptionAttempt": 1}}),
            json!({"status": {"adoptionAttempt": 2}}),
            json!([succeeded(), renewing()]),
            json!({"status": {"failures": 3, "interruptions": 20}}),
            json!({"status": {"nextAttemptTime": "2026-11-02T00:01:00Z"}}),
        ]),
        0..5,
    );
    (outcomes, pieces).prop_map(|(outcome, pieces)| pieces.iter().fold(outcome, with))
}

/// A worker that was told to stop.
fn stopping(reason: &str) -> Value {
    json!({"status": {"assignment": {"pod": "p", "podUID": "pu", "slot": 0, "attempt": 1,
        "time": "2026-11-01T23:59:00Z", "stop": reason}}})
}

/// Another link than before is in the status.
fn renewing() -> Value {
    json!({"status": {"conditions": [
        {"type": "Complete", "status": "True", "reason": "R", "message": "", "lastTransitionTime": NOW},
        {"type": "LinkReady", "status": "True", "reason": RENEWING, "message": "", "lastTransitionTime": NOW},
    ]}})
}

/// What may be noticed of a worker: it was heard of no earlier than it moved.
fn any_signs() -> impl Strategy<Value = Signs> {
    let ago = |limit: SignedDuration| {
        prop::sample::select(vec![
            now(),
            now() - limit + SignedDuration::from_secs(1),
            now() - limit,
        ])
    };
    let stopping = prop::option::of(ago(STOP_GRACE));
    (ago(SILENCE_LIMIT), ago(STANDSTILL_LIMIT), stopping).prop_map(|(heard, moved, stopping)| {
        Signs {
            heard,
            moved: moved.min(heard),
            stopping,
        }
    })
}

fn any_sight() -> impl Strategy<Value = Sight> {
    (any_pod(), any_signs()).prop_map(|(pod, signs)| Sight { pod, signs })
}

fn any_pod() -> impl Strategy<Value = PodSight> {
    prop::sample::select(vec![
        PodSight::Alive,
        PodSight::Gone,
        PodSight::Leaving { lost_at: now() },
        PodSight::Leaving {
            lost_at: at("2026-11-02T00:00:01Z"),
        },
        PodSight::Ended(PodEnd::OutOfMemory),
        PodSight::Ended(PodEnd::Evicted),
        PodSight::Ended(PodEnd::Deleted),
        PodSight::Ended(PodEnd::Lost),
        PodSight::Ended(PodEnd::SessionRefused),
        PodSight::Ended(PodEnd::Misconfigured),
        PodSight::Ended(PodEnd::Killed),
        PodSight::Ended(PodEnd::Exited(0)),
        PodSight::Ended(PodEnd::Exited(1)),
    ])
}

/// The job after a step, all of whose writes were taken. None: it is at rest.
fn followed(mut job: TransferJob, step: Step, is_found: bool) -> Option<TransferJob> {
    let transition = match step {
        // What a worker, a slot or time has to end.
        Step::Rest(_)
        | Step::DeletePod(_)
        | Step::Delete
        | Step::CleanUp(Release::NotBefore(_)) => {
            return None;
        }
        Step::CleanUp(_) => {
            job.metadata.finalizers = None;
            return Some(job);
        }
        Step::AddFinalizer => {
            job.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
            return Some(job);
        }
        Step::Finish(_) => {
            let generation = job.metadata.generation.unwrap().to_string();
            job.metadata.labels = Some([(names::FINISHED_LABEL.to_owned(), generation)].into());
            return Some(job);
        }
        Step::RenewLink(expires) => {
            let link = Link {
                id: "new".into(),
                url: "https://new".into(),
                expires_at: Time(expires),
                ttl: job.spec.link.ttl,
            };
            job.status = Some(renewed(&job, link, now()));
            return Some(job);
        }
        Step::Write(transition) | Step::RemoveLeftovers(transition) => transition,
        Step::EndLinks { then, .. } => then,
        Step::LookForObject { found, missing } => {
            if is_found {
                found
            } else {
                missing
            }
        }
    };
    job.status = Some(transition.status);
    Some(job)
}

proptest! {
    #[test]
    fn following_the_steps_comes_to_rest(change in any_change(), sight in any_sight(), is_found in any::<bool>()) {
        let mut job = running_job(&change);
        let mut attempt = job.status.as_ref().map_or(0, |status| status.attempt);
        for _ in 0..10 {
            let step = super::decide(&job, &sight, &POLICY, now());
            let again = super::decide(&job, &sight, &POLICY, now());
            prop_assert_eq!(&step, &again, "deciding twice decides the same");
            if let Step::Rest(Some(wake)) = &step {
                prop_assert!(*wake > now(), "it does not rest until what is past");
            }
            let before = job.clone();
            match followed(job, step, is_found) {
                None => return Ok(()),
                Some(after) => {
                    prop_assert!(before != after, "a step changes something");
                    let now_at = after.status.as_ref().map_or(0, |status| status.attempt);
                    prop_assert!(now_at >= attempt, "attempts only grow");
                    attempt = now_at;
                    job = after;
                }
            }
        }
        prop_assert!(false, "no rest after ten steps: {job:?}");
    }

    #[test]
    fn what_has_ended_well_or_badly_stays_so(change in any_change(), sight in any_sight(), is_found in any::<bool>()) {
        let mut job = running_job(&change);
        let mut was_finished = false;
        for _ in 0..10 {
            let is_now = job.status.as_ref().is_some_and(is_finished);
            prop_assert!(is_now || !was_finished, "{job:?}");
            was_finished = is_now;
            let step = super::decide(&job, &sight, &POLICY, now());
            if was_finished {
                prop_assert!(job.metadata.deletion_timestamp.is_some() || !is_waiting(&job, now()));
            }
            match followed(job, step, is_found) {
                None => return Ok(()),
                Some(after) => job = after,
            }
        }
    }
}

/// Where jobs come from and go to.
const NOWHERE: &str = "[*]";

/// From one phase to another.
type Arrow = (String, String);

/// All that may happen to a job in one go: the arrow that it is in the diagram, if it is one, and
/// the job after it, if there still is one.
fn happenings(job: &TransferJob) -> Vec<(Option<Arrow>, Option<TransferJob>)> {
    let phase = |job: &TransferJob| {
        let phase = job.status.as_ref().map(|status| status.phase);
        format!("{:?}", phase.unwrap_or_default())
    };
    let later = at("2026-12-24T00:00:00Z");
    let mut found = Vec::new();
    let mut becomes = |after: TransferJob| {
        let arrow = (phase(job), phase(&after));
        let is_arrow = arrow.0 != arrow.1;
        found.push((is_arrow.then_some(arrow), Some(after)));
    };
    let with_status = |status| {
        let mut after = job.clone();
        after.status = Some(status);
        after
    };
    // What the controller does
    let pods = [
        PodSight::Alive,
        PodSight::Gone,
        PodSight::Ended(PodEnd::Exited(1)),
        PodSight::Ended(PodEnd::Evicted),
    ];
    let mut goes = false;
    for pod in pods {
        for time in [now(), later] {
            let step = decide(job, pod, time);
            goes |= match &step {
                Step::Delete => true,
                Step::CleanUp(release) => !matches!(release, Release::NotBefore(_)),
                _ => false,
            };
            for is_found in [false, true] {
                if let Some(after) = followed(job.clone(), step.clone(), is_found)
                    && !matches!(step, Step::CleanUp(_))
                {
                    becomes(after);
                }
            }
        }
    }
    if is_waiting(job, later) {
        let attempt = job.status.as_ref().map_or(0, |status| status.attempt) + 1;
        let assignment =
            json!({"pod": "p", "podUID": "pu", "slot": 0, "attempt": attempt, "time": NOW});
        let assignment = serde_json::from_value(assignment).unwrap();
        becomes(with_status(assigned(job, assignment, now())));
        let trouble = Notice {
            warning: true,
            reason: "T".into(),
            message: String::new(),
        };
        for why in [None, Some(&trouble)] {
            if let Some(status) = queued(job, why, now()) {
                becomes(with_status(status));
            }
        }
    }
    // What workers and users do
    let status = job.status.clone().unwrap_or_default();
    if let Some(assignment) = &status.assignment {
        for result in [
            "Succeeded",
            "PermanentFailure",
            "TransientFailure",
            "Interrupted",
            "Stopped",
        ] {
            let mut said = outcome(result, "R", assignment.attempt);
            if result == "Succeeded" {
                said = with(said, &delivered());
            }
            let mut after = serde_json::to_value(job).unwrap();
            apply_all(&mut after, &said);
            becomes(serde_json::from_value(after).unwrap());
        }
    }
    for suspend in [false, true] {
        let mut after = job.clone();
        after.spec.suspend = suspend;
        becomes(after);
    }
    let mut after = job.clone();
    after.metadata.deletion_timestamp = Some(Time(now()));
    becomes(after);
    if goes {
        found.push((Some((phase(job), NOWHERE.to_owned())), None));
    }
    found
}

/// All arrows between phases that happen to new jobs in a while.
fn arrows_that_happen() -> BTreeSet<Arrow> {
    let new = |change: &Value| {
        let mut job = json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
            "metadata": {"name": "j", "namespace": "n", "uid": "u", "generation": 1, "creationTimestamp": NOW},
            "spec": {"source": {"chatId": 7, "messageId": 1}},
        });
        apply_all(&mut job, change);
        serde_json::from_value::<TransferJob>(job).unwrap()
    };
    let mut arrows = BTreeSet::from([(NOWHERE.to_owned(), "Queued".to_owned())]);
    let mut known = BTreeSet::new();
    let mut jobs = vec![
        new(&json!({})),
        new(&json!({"spec": {"retry": {"limit": 0}}})),
        new(&json!({"spec": {"activeDeadlineSeconds": 60}})),
    ];
    for _ in 0..8 {
        let mut next = Vec::new();
        for job in jobs {
            for (arrow, after) in happenings(&job) {
                arrows.extend(arrow);
                if let Some(after) = after
                    && known.insert(serde_json::to_string(&after).unwrap())
                {
                    next.push(after);
                }
            }
        }
        jobs = next;
    }
    arrows
}

#[test]
fn the_diagram_has_the_arrows_that_happen() {
    let document = include_str!("../../../docs/lifecycle.md");
    let arrow = |line: &str| {
        let (arrow, _) = line.split_once(": ")?;
        let (from, to) = arrow.split_once(" --> ")?;
        Some((from.trim().to_owned(), to.trim().to_owned()))
    };
    let drawn: BTreeSet<_> = document.lines().filter_map(arrow).collect();
    let happen = arrows_that_happen();
    let missing: Vec<_> = happen.difference(&drawn).collect();
    let invented: Vec<_> = drawn.difference(&happen).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not drawn: {missing:?}; drawn, but never happen: {invented:?}"
    );
}
