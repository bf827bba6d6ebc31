//! What a `TransferJob` asks for: one file, where it goes, and how long its link lives.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a type of its own"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, TransferJobStatus};

/// One file to move from Telegram into Object Storage.
///
/// The bounds and rules here become the schema and the CEL rules of the custom resource
/// definition: the API server enforces them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "telestream.io",
    version = "v1alpha1",
    kind = "TransferJob",
    namespaced,
    status = "TransferJobStatus",
    shortname = "tj",
    category = "telestream",
    derive = "PartialEq",
    doc = "A TransferJob moves one file from a Telegram message into an OCI Object Storage bucket and holds its download link.",
    selectable = ".status.phase",
    selectable = ".spec.requester.userId",
    selectable = ".status.assignment.podUID",
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where the transfer stands"
    ),
    printcolumn(
        name = "Progress",
        type_ = "string",
        json_path = ".status.progress.percent",
        description = "Share of the file that is stored"
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        json_path = ".status.progress.size",
        description = "Size of the file"
    ),
    printcolumn(
        name = "Attempts",
        type_ = "integer",
        json_path = ".status.attempt",
        description = "How often a worker has begun"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "File",
        type_ = "string",
        json_path = ".status.progress.fileName",
        priority = 1,
        description = "Name of the file"
    ),
    printcolumn(
        name = "User",
        type_ = "integer",
        json_path = ".spec.requester.userId",
        priority = 1,
        description = "Telegram user who asked for it"
    ),
    printcolumn(
        name = "Rate",
        type_ = "string",
        json_path = ".status.progress.rate",
        priority = 1,
        description = "Speed since the attempt began"
    ),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.link.expiresAt",
        priority = 1,
        description = "When the link ends"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.reason",
        priority = 1,
        description = "Why it stands there"
    )
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct TransferJobSpec {
    /// The Telegram message that holds the file. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf").message("source is immutable: create another TransferJob"))]
    pub source: Source,

    /// Where the object goes. Immutable; what is left out comes from the controller's configuration.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("destination is immutable: create another TransferJob"))]
    pub destination: Destination,

    /// The download link.
    #[serde(default)]
    pub link: LinkSpec,

    /// Who asked for it. Absent for a TransferJob made by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,

    /// Which of the waiting TransferJobs go first.
    #[serde(default)]
    pub priority: Priority,

    /// True keeps it from starting, and stops it if it runs; what is stored stays for later.
    #[serde(default)]
    pub suspend: bool,

    /// How failures that may pass are retried.
    #[serde(default)]
    pub retry: RetrySpec,

    /// Seconds from the first start after which the transfer is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<i64>,

    /// Seconds from its end after which a finished TransferJob is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub ttl_seconds_after_finished: Option<i64>,

    /// What becomes of the object when the TransferJob is deleted.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
}

/// A Telegram message, and what its sender is known to have said of the file.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The chat in the form of the Bot API: a user's id, or -100… for a channel.
    #[x_kube(validation = Rule::new("self != 0").message("chatId must be the id of a chat: a user's id, or -100... for a channel"))]
    pub chat_id: i64,

    /// The message's number within its chat.
    #[schemars(range(min = 1))]
    pub message_id: i32,

    /// Replaces the file's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub file_name: Option<String>,

    /// Size in bytes as the Bot API told it. The message itself decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size: Option<i64>,

    /// Media type as the Bot API told it. The message itself decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub mime_type: Option<String>,

    /// The Bot API's `file_unique_id`, by which the same file is known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub file_unique_id: Option<String>,
}

/// Where the object goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The bucket, in the configured namespace of Object Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub bucket: Option<String>,

    /// The object's whole name. Left out, every TransferJob has a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^\x00-\x1f\x7f]+$"))]
    #[x_kube(validation = Rule::new(r"!self.matches('(^|/)[.]{1,2}(/|$)')").message("objectName must not hold . or .. between slashes"))]
    pub object_name: Option<String>,

    /// The storage tier. Left out, the bucket's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_tier: Option<StorageTier>,
}

/// How quickly, and at what price, an object can be read. Archived objects cannot be linked to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageTier {
    /// Read at any time.
    Standard,
    /// Cheaper to keep, dearer to read.
    InfrequentAccess,
}

/// The download link.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LinkSpec {
    /// How long the link lives, from the end of the transfer. Another value makes another link.
    #[serde(default = "LinkSpec::default_ttl")]
    pub ttl: HumanDuration,

    /// True takes the link back. It stays so.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self || !oldSelf").message("a revoked link stays revoked: create another TransferJob"))]
    pub revoked: bool,
}

impl LinkSpec {
    const fn default_ttl() -> HumanDuration {
        HumanDuration::from_days(7)
    }
}

impl Default for LinkSpec {
    fn default() -> Self {
        Self {
            ttl: Self::default_ttl(),
            revoked: false,
        }
    }
}

/// The Telegram user who asked, and where the answer goes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// The user's Telegram id.
    #[schemars(range(min = 1))]
    pub user_id: i64,

    /// The chat that hears of the result.
    pub chat_id: i64,

    /// The user's own message in that chat, which answers reply to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub message_id: Option<i32>,

    /// The forum topic that the user's message stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub thread_id: Option<i32>,

    /// The album that the user's message belongs to: its files are told of together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub album: Option<String>,

    /// The language that the user is spoken to in, an IETF tag such as `de`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 35))]
    pub language: Option<String>,

    /// The message that shows progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub status_message_id: Option<i32>,

    /// How many files that message tells of, if more than this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 100))]
    pub status_files: Option<i32>,
}

/// Which of the waiting TransferJobs go first.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum Priority {
    /// Before all others.
    High,
    /// The rule.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

/// How failures that may pass are retried. Interruptions from outside do not count.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RetrySpec {
    /// How many failed attempts are followed by another.
    #[schemars(range(min = 0, max = 100))]
    pub limit: i32,

    /// The wait before the first retry; it doubles with each.
    pub backoff: HumanDuration,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            limit: 3,
            backoff: HumanDuration::from_secs(2),
        }
    }
}

/// What becomes of the object when the TransferJob is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReclaimPolicy {
    /// The object stays; only its link goes.
    #[default]
    Retain,
    /// The object goes too.
    Delete,
}
