//! What a `TransferJob` may not be, and may not become: on a real API server (`tests/crd.rs`), and,
//! as far as the rules of the definition say it, without one (`src/api`).

use serde_json::{Value, json};

/// Where in the spec, what, and a part of the complaint.
pub type Refused = (&'static str, Value, &'static str);

/// The complaint about an attempt that shrinks.
pub const ATTEMPT_ONLY_GROWS: &str = "attempt only grows";

/// Names that merely look like the forbidden ones.
pub const OBJECT_NAMES_THAT_DO: [&str; 4] = ["..a/b", "a..", "a/.b", "a.b/c"];

/// The least that a spec holds.
pub fn least() -> Value {
    json!({"source": {"chatId": -1_001_234_567_890_i64, "messageId": 42}})
}

/// A spec with everything.
pub fn full() -> Value {
    json!({
        "source": {"chatId": 7, "messageId": 1, "fileName": "a.pdf", "size": 1, "mimeType": "application/pdf", "fileUniqueId": "AgAD"},
        "destination": {"bucket": "b", "objectName": "folder/a.pdf", "storageTier": "InfrequentAccess"},
        "link": {"ttl": "12h", "revoked": false},
        "requester": {"userId": 7, "chatId": 7, "statusMessageId": 3},
        "priority": "High", "suspend": true, "retry": {"limit": 0, "backoff": "1m30s"},
        "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 0, "reclaimPolicy": "Delete",
    })
}

/// The spec with a value at a path: `set(least(), "source.chatId", 0)`.
pub fn set(mut spec: Value, path: &str, value: Value) -> Value {
    let pointer = format!("/{}", path.replace('.', "/"));
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() {
        &mut spec
    } else {
        spec.pointer_mut(parent).unwrap()
    };
    parent[key] = value;
    spec
}

#[allow(dead_code, reason = "only a server knows the schema")]
fn long(length: usize) -> Value {
    json!("x".repeat(length))
}

/// What the schema does not take.
#[allow(dead_code, reason = "only a server knows the schema")]
pub fn bounds() -> Vec<Refused> {
    vec![
        ("source", Value::Null, "spec.source: Required value"),
        ("source.messageId", json!(0), "spec.source.messageId"),
        ("source.fileName", json!(""), "spec.source.fileName"),
        ("source.fileName", long(8_193), "spec.source.fileName"),
        ("source.size", json!(-1), "spec.source.size"),
        ("source.mimeType", long(256), "spec.source.mimeType"),
        ("source.fileUniqueId", long(65), "spec.source.fileUniqueId"),
        ("destination.bucket", json!(""), "spec.destination.bucket"),
        (
            "destination.bucket",
            json!("a/b"),
            "spec.destination.bucket",
        ),
        ("destination.bucket", long(257), "spec.destination.bucket"),
        (
            "destination.objectName",
            json!(""),
            "spec.destination.objectName",
        ),
        (
            "destination.objectName",
            long(1_025),
            "spec.destination.objectName",
        ),
        (
            "destination.objectName",
            json!("a\nb"),
            "spec.destination.objectName",
        ),
        (
            "destination.storageTier",
            json!("Archive"),
            "spec.destination.storageTier",
        ),
        ("link.ttl", json!("0s"), "spec.link.ttl"),
        ("link.ttl", json!("forever"), "spec.link.ttl"),
        ("requester.userId", json!(0), "spec.requester.userId"),
        (
            "requester.statusMessageId",
            json!(0),
            "spec.requester.statusMessageId",
        ),
        ("priority", json!("Urgent"), "spec.priority"),
        ("retry.limit", json!(-1), "spec.retry.limit"),
        ("retry.limit", json!(101), "spec.retry.limit"),
        ("retry.backoff", json!("-2s"), "spec.retry.backoff"),
        (
            "activeDeadlineSeconds",
            json!(0),
            "spec.activeDeadlineSeconds",
        ),
        (
            "activeDeadlineSeconds",
            json!(31_536_001),
            "spec.activeDeadlineSeconds",
        ),
        (
            "ttlSecondsAfterFinished",
            json!(-1),
            "spec.ttlSecondsAfterFinished",
        ),
        (
            "ttlSecondsAfterFinished",
            json!(315_360_001),
            "spec.ttlSecondsAfterFinished",
        ),
        ("reclaimPolicy", json!("Burn"), "spec.reclaimPolicy"),
    ]
}

/// What the rules do not take in a new job.
pub fn of_new_jobs() -> Vec<Refused> {
    vec![
        ("source.chatId", json!(0), "chatId must be the id of a chat"),
        (
            "destination.objectName",
            json!("."),
            "must not hold . or ..",
        ),
        (
            "destination.objectName",
            json!("../etc"),
            "must not hold . or ..",
        ),
        (
            "destination.objectName",
            json!("a/../b"),
            "must not hold . or ..",
        ),
        (
            "destination.objectName",
            json!("a/."),
            "must not hold . or ..",
        ),
    ]
}

/// What may not be changed: the job's name in the test, its spec, the change, the complaint.
pub fn of_changes() -> Vec<(&'static str, Value, Value, &'static str)> {
    let source = "source is immutable";
    let destination = "destination is immutable";
    [
        ("least", json!({"source": {"messageId": 43}}), source),
        ("least", json!({"source": {"fileName": "new"}}), source),
        ("full", json!({"source": {"size": null}}), source),
        (
            "least",
            json!({"destination": {"bucket": "b"}}),
            destination,
        ),
        (
            "full",
            json!({"destination": {"objectName": null}}),
            destination,
        ),
        ("full", json!({"destination": null}), destination),
    ]
    .into_iter()
    .map(|(job, change, complaint)| {
        let spec = if job == "full" { full() } else { least() };
        (job, spec, change, complaint)
    })
    .collect()
}

/// What may be changed of a full spec, one after the other.
pub fn changes_that_do() -> [Value; 4] {
    [
        json!({"suspend": false}),
        json!({"link": {"ttl": "30d"}}),
        json!({"link": {"revoked": true}}),
        json!({"priority": "Low"}),
    ]
}

/// What the schema does not take in a status.
#[allow(dead_code, reason = "only a server knows the schema")]
pub fn status_bounds() -> Vec<(Value, &'static str)> {
    let outcome = |change: Value| {
        let outcome = json!({"attempt": 3, "result": "Stopped", "reason": "R", "message": ""});
        json!({ "outcome": merged(outcome, &change) })
    };
    let link = |change: Value| {
        let link = json!({"id": "i", "url": "https://example.com", "expiresAt": "2026-11-01T00:00:00Z", "ttl": "7d"});
        json!({ "link": merged(link, &change) })
    };
    let upload = |change: Value| {
        let upload = json!({"uploadId": "u", "objectName": "o", "partSize": 1, "fileId": 1});
        json!({ "upload": merged(upload, &change) })
    };
    let condition = |number: usize| {
        json!({"type": format!("C{number}"), "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-11-01T00:00:00Z"})
    };
    let conditions: Vec<_> = (0..17).map(condition).collect();
    vec![
        (json!({"phase": "Lost"}), "status.phase"),
        (json!({"reason": long(129)}), "status.reason"),
        (json!({ "conditions": conditions }), "status.conditions"),
        (
            json!({"conditions": [condition(1), condition(1)]}),
            "status.conditions",
        ),
        (json!({"attempt": -1}), "status.attempt"),
        (json!({"failures": -1}), "status.failures"),
        (json!({"interruptions": -1}), "status.interruptions"),
        (
            json!({"assignment": {"slot": -1}}),
            "status.assignment.slot",
        ),
        (
            json!({"assignment": {"pod": long(254)}}),
            "status.assignment.pod",
        ),
        (
            json!({"assignment": {"stop": "Now"}}),
            "status.assignment.stop",
        ),
        (outcome(json!({"result": "Maybe"})), "status.outcome.result"),
        (
            outcome(json!({"reason": long(129)})),
            "status.outcome.reason",
        ),
        (
            outcome(json!({"message": long(1_025)})),
            "status.outcome.message",
        ),
        (
            outcome(json!({"retryAfterSeconds": -1})),
            "status.outcome.retryAfterSeconds",
        ),
        (link(json!({"url": long(4_097)})), "status.link.url"),
        (link(json!({"id": long(513)})), "status.link.id"),
        (link(json!({"ttl": "soon"})), "status.link.ttl"),
        (
            upload(json!({"uploadId": long(257)})),
            "status.upload.uploadId",
        ),
        (
            upload(json!({"objectName": long(1_025)})),
            "status.upload.objectName",
        ),
        (upload(json!({"partSize": 0})), "status.upload.partSize"),
    ]
}

/// An object after a merge patch (RFC 7396).
pub fn merged(object: Value, patch: &Value) -> Value {
    let (Value::Object(mut object), Value::Object(patch)) = (object, patch) else {
        return patch.clone();
    };
    for (key, value) in patch {
        let before = object.remove(key).unwrap_or(Value::Null);
        if !value.is_null() {
            object.insert(key.clone(), merged(before, value));
        }
    }
    Value::Object(object)
}
