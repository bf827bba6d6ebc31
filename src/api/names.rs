//! The names, labels and annotations that components find each other's things by.

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use jiff::{Timestamp, tz::TimeZone};

use kube::ResourceExt as _;

use super::{TransferJob, file_name::SafeFileName};

/// Keeps a `TransferJob` until its upload, link and, if so asked, its object are gone.
pub const FINALIZER: &str = "telestream.io/clean-up";

/// Label of a `TransferJob` with which nobody has anything left to do. Its value is the generation
/// that was acted on: a later one is a wish that came afterwards.
pub const FINISHED_LABEL: &str = "telestream.io/finished";

/// Label of a finished `TransferJob`: the hour, counted from 1970, in which it has to be looked at
/// again, for its link ends or it has been kept for long enough.
pub const WAKE_HOUR_LABEL: &str = "telestream.io/wake-hour";

/// Annotation of a finished `TransferJob`: the time in that hour.
pub const WAKE_ANNOTATION: &str = "telestream.io/wake-at";

/// Label of a `TransferJob` that the bot made: the hash of its user and file, by which the same file
/// is known again.
pub const FILE_LABEL: &str = "telestream.io/file";

/// Label of a worker pod: its slot.
pub const SLOT_LABEL: &str = "telestream.io/slot";

/// Label of a worker pod: the hash of the template it was made from.
pub const TEMPLATE_LABEL: &str = "telestream.io/template-hash";

/// Label of a worker pod: the hash of the session that its slot had when it was made.
pub const SESSION_LABEL: &str = "telestream.io/session-hash";

/// The exit code of a worker whose session Telegram does not accept (`EX_CONFIG`).
pub const SESSION_REFUSED_EXIT_CODE: u8 = 78;

/// The exit code of a worker that cannot use its configuration; wrong arguments have it too.
pub const MISCONFIGURED_EXIT_CODE: u8 = 2;

/// Metadata key of an object: the UID of the `TransferJob` that made it.
pub const OBJECT_UID_KEY: &str = "tj-uid";

/// The metadata of an object that names the file at Telegram that it was made of.
pub const OBJECT_FILE_KEY: &str = "tj-file";

/// The hour, counted from 1970, that a time is in.
pub fn wake_hour(time: Timestamp) -> i64 {
    time.as_second().div_euclid(3_600)
}

/// The worker pod of a slot. One slot, one name: the API server allows no second.
pub fn worker_pod(prefix: &str, slot: i32) -> String {
    format!("{prefix}-worker-{slot}")
}

/// The hash of a session document, which tells it from others.
pub fn session_hash(document: &[u8]) -> String {
    short_hash(digest(&SHA256, document).as_ref())
}

/// The start of a hash, in hexadecimal digits: enough to tell a few of them apart.
pub fn short_hash(hash: &[u8]) -> String {
    let start = hash.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start))
}

/// The Secret that holds a slot's Telegram session.
pub fn session_secret(prefix: &str, slot: i32) -> String {
    format!("{prefix}-session-{slot}")
}

/// The name of the PAR that an attempt makes: no other attempt makes or deletes it.
pub fn link_name(job_uid: &str, attempt: i32) -> String {
    format!("tj-{job_uid}-a{attempt}")
}

/// The name of the PAR that the controller makes for a later generation of the spec.
pub fn renewed_link_name(job_uid: &str, generation: i64) -> String {
    format!("tj-{job_uid}-g{generation}")
}

/// Whether a PAR of that name was made for the `TransferJob`.
pub fn is_link_of(par_name: &str, job_uid: &str) -> bool {
    par_name
        .strip_prefix("tj-")
        .and_then(|rest| rest.strip_prefix(job_uid))
        .is_some_and(|rest| rest.starts_with('-'))
}

/// Where the object of a job may be: where its spec says, or in a folder that no other job has,
/// `<prefix>/<user>/<yyyymm>/<job>/`.
///
/// The user's id goes through HMAC-SHA256 with `key`, for links show the object's name. Without a
/// user the folder is `shared`.
pub fn placement(job: &TransferJob, prefix: &str, key: &hmac::Key) -> Placement {
    if let Some(name) = &job.spec.destination.object_name {
        return Placement::Exact(name.clone());
    }
    let user = job.spec.requester.as_ref().map_or_else(
        || "shared".to_owned(),
        |requester| {
            let tag = hmac::sign(key, &requester.user_id.to_be_bytes());
            let start = tag.as_ref().first_chunk().copied().unwrap_or_default();
            format!("{:016x}", u64::from_be_bytes(start))
        },
    );
    let created = job
        .creation_timestamp()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let month = created.to_zoned(TimeZone::UTC).strftime("%Y%m");
    let folder = format!("{user}/{month}/{}/", job.name_any());
    Placement::Folder(below(prefix, &folder))
}

/// The folder of a message, for transfers without a job: `<prefix>/<chat>/<message>/`.
pub fn folder_of_message(prefix: &str, chat_id: i64, message_id: i32) -> Placement {
    Placement::Folder(below(prefix, &format!("{chat_id}/{message_id}/")))
}

fn below(prefix: &str, rest: &str) -> String {
    let prefix = prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{prefix}{slash}{rest}")
}

/// Where the object of a `TransferJob` may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At exactly this name.
    Exact(String),
    /// Somewhere in this folder, which no other job has, under its file's name.
    Folder(String),
}

impl Placement {
    /// The name of the object of that file.
    pub fn object_name(&self, file: &SafeFileName) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Folder(folder) => format!("{folder}{file}"),
        }
    }

    /// What the names of all objects of the job begin with.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Exact(prefix) | Self::Folder(prefix) => prefix,
        }
    }

    /// Whether an object of that name can be the job's.
    pub fn holds(&self, object_name: &str) -> bool {
        match self {
            Self::Exact(name) => object_name == name,
            Self::Folder(folder) => object_name.starts_with(folder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, b"a secret of this installation")
    }

    fn job(spec: serde_json::Value) -> TransferJob {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
            "metadata": {"name": "tj-abc", "creationTimestamp": "2026-11-30T23:59:59Z"}, "spec": spec,
        }))
        .unwrap()
    }

    fn folder(prefix: &str, user: Option<i64>) -> String {
        let requester = user.map(|id| serde_json::json!({"userId": id, "chatId": id}));
        let spec =
            serde_json::json!({"source": {"chatId": 1, "messageId": 1}, "requester": requester});
        placement(&job(spec), prefix, &key()).prefix().to_owned()
    }

    #[test]
    fn an_object_folder_hides_the_user_and_tells_month_and_job() {
        let of_user = folder("telegram/", Some(42));
        let parts: Vec<_> = of_user.split('/').collect();
        assert_eq!(
            (parts[0], parts[2], parts[3], parts[4]),
            ("telegram", "202611", "tj-abc", "")
        );
        assert_eq!(parts[1].len(), 16);
        assert_ne!(of_user, folder("telegram/", Some(43)));
        assert_eq!(folder("", None), "shared/202611/tj-abc/");
        assert_eq!(folder_of_message("/a/", -1007, 5).prefix(), "a/-1007/5/");
    }

    #[test]
    fn a_name_in_the_spec_is_taken_as_it_is() {
        let spec = serde_json::json!({"source": {"chatId": 1, "messageId": 1}, "destination": {"objectName": "a/b"}});
        let placement = placement(&job(spec), "telegram", &key());
        assert_eq!(placement.object_name(&SafeFileName::new("x.zip")), "a/b");
        assert!(placement.holds("a/b") && !placement.holds("a/bc"));
    }

    #[test]
    fn a_link_is_known_by_its_job_only() {
        let name = link_name("1b4e28ba-2fa1", 7);
        assert!(is_link_of(&name, "1b4e28ba-2fa1"));
        assert!(!is_link_of(&name, "1b4e28ba-2fa"));
        assert!(!is_link_of("somebody-else", "1b4e28ba-2fa1"));
    }
}
