//! The names, labels and annotations that components find each other's things by.

use aws_lc_rs::hmac;
use jiff::{Timestamp, tz::TimeZone};

use super::file_name::SafeFileName;

/// Keeps a `TransferJob` until its upload, link and, if so asked, its object are gone.
pub const FINALIZER: &str = "telestream.io/clean-up";

/// Label of a `TransferJob` with which nobody has anything left to do.
pub const FINISHED_LABEL: &str = "telestream.io/finished";

/// Label of a worker pod: its slot.
pub const SLOT_LABEL: &str = "telestream.io/slot";

/// Label of a worker pod: the hash of the template it was made from.
pub const TEMPLATE_LABEL: &str = "telestream.io/template-hash";

/// Metadata key of an object: the UID of the `TransferJob` that made it.
pub const OBJECT_UID_KEY: &str = "tj-uid";

/// The worker pod of a slot. One slot, one name: the API server allows no second.
pub fn worker_pod(prefix: &str, slot: i32) -> String {
    format!("{prefix}-worker-{slot}")
}

/// The Secret that holds a slot's Telegram session.
pub fn session_secret(prefix: &str, slot: i32) -> String {
    format!("{prefix}-session-{slot}")
}

/// The name of the PAR that an attempt makes: no other attempt makes or deletes it.
///
/// `link` counts the links of the `TransferJob`, from 1.
pub fn link_name(job_uid: &str, link: i32, attempt: i32) -> String {
    format!("{}{attempt}", link_name_prefix(job_uid, link))
}

fn link_name_prefix(job_uid: &str, link: i32) -> String {
    format!("tj-{job_uid}-{link}-")
}

/// Whether a PAR of that name was made for the `TransferJob`.
pub fn is_link_of(par_name: &str, job_uid: &str) -> bool {
    par_name
        .strip_prefix("tj-")
        .and_then(|rest| rest.strip_prefix(job_uid))
        .is_some_and(|rest| rest.starts_with('-'))
}

/// The folder of objects of one `TransferJob`, with its final slash:
/// `<prefix>/<user>/<yyyymm>/<job>/`.
///
/// The user's id goes through HMAC-SHA256 with `key`, for links show the object's name. Without
/// a user the folder is `shared`.
pub fn object_folder(
    prefix: &str,
    key: &hmac::Key,
    user_id: Option<i64>,
    created: Timestamp,
    job: &str,
) -> String {
    let user = user_id.map_or_else(
        || "shared".to_owned(),
        |id| {
            let tag = hmac::sign(key, &id.to_be_bytes());
            tag.as_ref()[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        },
    );
    let month = created.to_zoned(TimeZone::UTC).strftime("%Y%m");
    let prefix = prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{prefix}{slash}{user}/{month}/{job}/")
}

/// The object of a file in its `TransferJob`'s folder.
pub fn object_name(folder: &str, file: &SafeFileName) -> String {
    format!("{folder}{file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, b"a secret of this installation")
    }

    #[test]
    fn an_object_folder_hides_the_user_and_tells_month_and_job() {
        let created = "2026-11-30T23:59:59Z".parse().unwrap();
        let folder = object_folder("telegram/", &key(), Some(42), created, "tj-abc");
        let parts: Vec<_> = folder.split('/').collect();
        assert_eq!(
            (parts[0], parts[2], parts[3], parts[4]),
            ("telegram", "202611", "tj-abc", "")
        );
        assert_eq!(parts[1].len(), 16);
        assert_ne!(
            folder,
            object_folder("telegram/", &key(), Some(43), created, "tj-abc")
        );
        assert_eq!(
            object_folder("", &key(), None, created, "j"),
            "shared/202611/j/"
        );
    }

    #[test]
    fn a_link_is_known_by_its_job_only() {
        let name = link_name("1b4e28ba-2fa1", 1, 7);
        assert!(is_link_of(&name, "1b4e28ba-2fa1"));
        assert!(!is_link_of(&name, "1b4e28ba-2fa"));
        assert!(!is_link_of("somebody-else", "1b4e28ba-2fa1"));
    }
}
