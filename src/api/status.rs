//! What happened to a `TransferJob`.
//!
//! Each field has one writer: the worker writes `progress`, `upload`, `object`, `outcome` and the
//! first `link`; the bot `notified`; the controller everything else. All write JSON merge patches
//! of their own keys.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HumanDuration;

/// What happened to a `TransferJob`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TransferJobStatus {
    /// The `metadata.generation` that the controller has last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// A summary for people; nothing decides by it.
    #[serde(default)]
    pub phase: Phase,

    /// Why the phase is what it is, as one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,

    /// `Admitted`, `Complete`, `Failed` and `LinkReady`, each with a reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,

    /// The number of the latest attempt; it only grows.
    #[serde(default)]
    #[schemars(range(min = 0))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("attempt only grows"))]
    pub attempt: i32,

    /// How many attempts failed by themselves. Counted against `spec.retry.limit`.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failures: i32,

    /// How many attempts were ended from outside: eviction, node loss, upgrade.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub interruptions: i32,

    /// No attempt begins before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,

    /// The attempt that is to adopt an object which an earlier one stored without coming to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub adoption_attempt: Option<i32>,

    /// Until then a worker of an ended attempt, of whose end nothing was heard, may still act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stray_until: Option<Time>,

    /// The worker pod that runs it. Written before the worker acts; gone when the attempt has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,

    /// How far the latest attempt has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// The multipart upload that holds the parts stored so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Upload>,

    /// The object, once it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<StoredObject>,

    /// The download link. It is a secret: who reads it can read the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,

    /// What the worker says of the end of an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,

    /// What the user has been told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified: Option<Notified>,

    /// When the first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When it succeeded or was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
}

/// A summary for people.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Suspended, or backing off.
    Pending,
    /// Waiting for a slot. So it starts: a job that is not held up costs no write to say so.
    #[default]
    Queued,
    /// Assigned to a worker.
    Running,
    /// Stored, with a link.
    Succeeded,
    /// Given up; the `Failed` condition says why.
    Failed,
    /// Deleted before it finished.
    Cancelled,
}

/// Which pod runs a TransferJob.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The worker pod's name.
    #[schemars(length(max = 253))]
    pub pod: String,

    /// The worker pod's UID: a later pod of the same name is another.
    #[serde(rename = "podUID")]
    #[schemars(length(max = 64))]
    pub pod_uid: String,

    /// The slot, and so the Telegram session.
    #[schemars(range(min = 0))]
    pub slot: i32,

    /// The number of this attempt.
    #[schemars(range(min = 1))]
    pub attempt: i32,

    /// When it was assigned.
    pub time: Time,

    /// Set to make the worker stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopReason>,
}

/// Why a worker is told to stop.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// `spec.activeDeadlineSeconds` has passed.
    DeadlineExceeded,
    /// No progress for too long.
    Stalled,
}

/// How far an attempt has come.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The attempt this tells of.
    #[schemars(range(min = 1))]
    pub attempt: i32,

    /// Bytes stored.
    #[schemars(range(min = 0))]
    pub bytes: i64,

    /// Bytes in all.
    #[schemars(range(min = 0))]
    pub total: i64,

    /// `bytes` of `total`, for people, such as `40%`.
    #[schemars(length(max = 8))]
    pub percent: String,

    /// `total` for people, such as `300.0 MiB`.
    #[schemars(length(max = 16))]
    pub size: String,

    /// The file's name, made safe.
    #[schemars(length(max = 1024))]
    pub file_name: String,

    /// Bytes per second since the attempt began.
    #[schemars(range(min = 0))]
    pub bytes_per_second: i64,

    /// `bytesPerSecond` for people, such as `85.2 MiB/s`.
    #[schemars(length(max = 16))]
    pub rate: String,

    /// When this was written.
    pub updated_at: Time,
}

/// A multipart upload under way.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// Object Storage's id of the upload.
    #[schemars(length(max = 256))]
    pub upload_id: String,

    /// The name the object will have.
    #[schemars(length(max = 1024))]
    pub object_name: String,

    /// Bytes in each part but the last.
    #[schemars(range(min = 1))]
    pub part_size: i64,

    /// Telegram's id of the file that the parts are of: an edited message holds another.
    pub file_id: i64,

    /// The parts whose checksum is known. Written as null where it is absent, so that nothing is
    /// left of another upload's.
    #[serde(default)]
    pub verified: Option<VerifiedParts>,
}

/// The parts of an upload whose CRC32C was compared with what Object Storage computed, as an attempt
/// wrote them down at its end: with it, the next one can compare that of the whole object. It
/// takes as many bytes for any number of parts.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedParts {
    /// The attempt that wrote this down. Of parts that a later one stored it says nothing.
    #[schemars(range(min = 1))]
    pub attempt: i32,

    /// The number of the last of them.
    #[schemars(range(min = 0, max = 10_000))]
    pub through: u16,

    /// The numbers before it that do not belong to them: those that were under way.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub missing: Vec<u16>,

    /// What they add to the CRC32C of the whole, base64 of four bytes big-endian.
    #[schemars(length(max = 8))]
    pub crc32c: String,
}

impl VerifiedParts {
    /// More are not written down.
    pub const MOST_MISSING: usize = 16;
}

/// A whole object.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StoredObject {
    /// The object's name.
    #[schemars(length(max = 1024))]
    pub name: String,

    /// The bucket it is in.
    #[schemars(length(max = 256))]
    pub bucket: String,

    /// Bytes.
    #[schemars(range(min = 0))]
    pub size: i64,

    /// The entity tag that Object Storage gave it.
    #[schemars(length(max = 128))]
    pub etag: String,

    /// CRC32C of the whole object, base64 of four bytes big-endian, as Object Storage writes it.
    #[schemars(length(max = 8))]
    pub crc32c: String,

    /// The media type it is served with.
    #[schemars(length(max = 255))]
    pub content_type: String,
}

/// A pre-authenticated request (PAR) that reads the object.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Object Storage's id of the PAR, by which it can be deleted.
    #[schemars(length(max = 512))]
    pub id: String,

    /// The URL that downloads the file. A secret.
    #[schemars(length(max = 4096))]
    pub url: String,

    /// When it ends.
    pub expires_at: Time,

    /// The `spec.link.ttl` that it was made for: another one makes another link.
    pub ttl: HumanDuration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What the worker says of the end of an attempt.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The attempt that ended.
    #[schemars(range(min = 1))]
    pub attempt: i32,

    /// How it ended.
    pub result: OutcomeResult,

    /// Why, as one CamelCase word.
    #[schemars(length(max = 128))]
    pub reason: String,

    /// Why, for people.
    #[schemars(length(max = 1024))]
    pub message: String,

    /// Seconds before which a server said that another attempt is pointless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub retry_after_seconds: Option<i64>,

    /// Whether an upload or a link may be left, or appear yet, that nobody knows of: a request got
    /// no reply.
    #[serde(default)]
    pub in_doubt: bool,
}

/// How an attempt ended.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeResult {
    /// The object is whole and the link made.
    Succeeded,
    /// It would fail the same way again.
    PermanentFailure,
    /// It may work another time.
    TransientFailure,
    /// The worker had to go; the transfer itself is fine.
    Interrupted,
    /// It was told to stop: deleted, suspended, or `assignment.stop`.
    Stopped,
}

/// What the user has been told.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Notified {
    /// When.
    pub time: Time,

    /// How far that has come.
    #[serde(default)]
    pub delivery: Delivery,

    /// The message that says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<i32>,
}

/// How far telling the user has come.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// The message that rings was sent, or was about to be: it is not sent a second time.
    Sending,
    /// The user has it.
    #[default]
    Delivered,
    /// The user cannot be reached: the bot is blocked, or the chat is gone.
    Undeliverable,
}
