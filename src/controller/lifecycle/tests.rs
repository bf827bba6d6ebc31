//! The lifecycle as a table: what is observed, and what must happen.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::controller::merge_patch;

const NOW: &str = "2026-11-02T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
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

fn deleted(time: &str) -> Value {
    json!({"metadata": {"deletionTimestamp": time}})
}

/// The status that a step writes.
fn written(step: Step) -> TransferJobStatus {
    match step {
        Step::Write(transition) => transition.status,
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
        (PodSight::Ended(PodEnd::OutOfMemory), "OOMKilled", 1, 0),
        (PodSight::Ended(PodEnd::Exited(1)), "WorkerFailed", 1, 0),
        (PodSight::Ended(PodEnd::Exited(0)), "WorkerStopped", 0, 1),
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
    assert_eq!(decide(&job, PodSight::Alive, now()), Step::Rest(None));
}

#[test]
fn what_is_finished_is_labelled_once_and_left_alone() {
    for type_ in ["Complete", "Failed"] {
        let job = running_job(&finished(type_));
        assert_eq!(decide(&job, PodSight::Gone, now()), Step::Finish, "{type_}");
        let labelled = json!({"metadata": {"labels": {names::FINISHED_LABEL: "true"}}});
        let job = running_job(&with(finished(type_), &labelled));
        assert_eq!(
            decide(&job, PodSight::Gone, now()),
            Step::Rest(None),
            "{type_}"
        );
    }
}

#[test]
fn deletion_waits_for_the_worker_and_cleans_up_after_it() {
    let assignment = running_job(&json!({})).status.unwrap().assignment.unwrap();
    let just = deleted("2026-11-01T23:59:59Z");
    let long_ago = deleted("2026-11-01T23:59:30Z");
    let no_finalizer = with(just.clone(), &json!({"metadata": {"finalizers": null}}));
    let unassigned = with(just.clone(), &json!({"status": {"assignment": null}}));
    for (name, change, pod, step) in [
        (
            "the worker is stopping",
            &just,
            PodSight::Alive,
            Step::Rest(Some(at("2026-11-02T00:00:29Z"))),
        ),
        (
            "the worker does not stop",
            &long_ago,
            PodSight::Alive,
            Step::DeletePod(assignment),
        ),
        ("nothing runs", &unassigned, PodSight::Gone, Step::CleanUp),
        (
            "it succeeded before",
            &with(finished("Complete"), &just),
            PodSight::Gone,
            Step::CleanUp,
        ),
        (
            "nothing was made",
            &no_finalizer,
            PodSight::Gone,
            Step::Rest(None),
        ),
    ] {
        assert_eq!(decide(&running_job(change), pod, now()), step, "{name}");
    }
    for (change, pod) in [
        (
            with(just.clone(), &outcome("Stopped", "Stopped", 1)),
            PodSight::Alive,
        ),
        (just, PodSight::Gone),
    ] {
        let status = written(decide(&running_job(&change), pod, now()));
        assert_eq!((status.phase, status.assignment), (Phase::Cancelled, None));
    }
}

#[test]
fn a_new_job_is_protected_before_anything_else() {
    let job = waiting_job(&json!({"metadata": {"finalizers": null}, "status": null}));
    assert_eq!(decide(&job, PodSight::Gone, now()), Step::AddFinalizer);
    assert!(!is_waiting(&job, now()));
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
        decide(&running_job(&told), PodSight::Alive, now()),
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
            json!({"status": {"assignment": null}}),
            json!({"status": null}),
            json!({"status": {"failures": 3, "interruptions": 20}}),
            json!({"status": {"nextAttemptTime": "2026-11-02T00:01:00Z"}}),
        ]),
        0..5,
    );
    (outcomes, pieces).prop_map(|(outcome, pieces)| pieces.iter().fold(outcome, with))
}

fn any_pod() -> impl Strategy<Value = PodSight> {
    prop::sample::select(vec![
        PodSight::Alive,
        PodSight::Gone,
        PodSight::Ended(PodEnd::Evicted),
        PodSight::Ended(PodEnd::Exited(1)),
    ])
}

proptest! {
    #[test]
    fn following_the_steps_comes_to_rest(change in any_change(), pod in any_pod()) {
        let mut job = running_job(&change);
        let mut attempt = job.status.as_ref().map_or(0, |status| status.attempt);
        for _ in 0..6 {
            match decide(&job, pod, now()) {
                // What a worker, a slot or time has to end.
                Step::Rest(_) | Step::DeletePod(_) => return Ok(()),
                Step::CleanUp => job.metadata.finalizers = None,
                Step::AddFinalizer => job.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]),
                Step::Finish => {
                    job.metadata.labels = Some([(names::FINISHED_LABEL.to_owned(), "true".to_owned())].into());
                }
                Step::Write(transition) => {
                    prop_assert!(Some(&transition.status) != job.status.as_ref(), "a write changes something");
                    prop_assert!(transition.status.attempt >= attempt);
                    attempt = transition.status.attempt;
                    job.status = Some(transition.status);
                }
            }
        }
        prop_assert!(false, "no rest after six steps: {job:?}");
    }
}
