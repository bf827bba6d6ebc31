//! The sessions of the slots, as their Secrets say: which can be used, and which cannot, and why.
//!
//! Telegram takes a session away that is used twice at the same time, so two Secrets with one key
//! count as one session: the lower slot has it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use futures::{StreamExt as _, stream::SelectAll};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::lifecycle::Notice;
use crate::telegram::Session;

/// The key of the Secret that holds the document.
const KEY: &str = "session.json";

/// The session of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Its Secret has not been looked at yet.
    Unknown,
    /// It can be used; the hash tells it from others that the slot had before.
    Usable(String),
    /// It cannot.
    Unusable(Notice),
}

/// What a Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Malformed(String),
    Session {
        hash: String,
        /// Of each of its keys.
        prints: Vec<[u8; 32]>,
    },
}

/// The sessions of all slots, as last seen.
#[derive(Clone, Debug)]
pub struct Sessions {
    held: Arc<Mutex<BTreeMap<i32, Held>>>,
    all_seen: watch::Receiver<bool>,
}

impl Sessions {
    /// Watches the Secrets, each by its name, until `stop`; notifies `wake` of each change.
    pub fn watch(
        api: &Api<Secret>,
        secrets: Vec<(i32, String)>,
        wake: Arc<Notify>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let held = Arc::default();
        let (seen_tx, all_seen) = watch::channel(secrets.is_empty());
        let sessions = Self { held, all_seen };
        let count = secrets.len();
        let mut changes: SelectAll<_> = secrets
            .into_iter()
            .map(|(slot, name)| {
                watcher::watch_object(api.clone(), &name)
                    .default_backoff()
                    .map(move |found| (slot, name.clone(), found))
                    .boxed()
            })
            .collect();
        let known = sessions.clone();
        let watching = async move {
            loop {
                let change = tokio::select! {
                    () = stop.cancelled() => return,
                    change = changes.next() => change,
                };
                match change {
                    None => return,
                    Some((_, secret, Err(error))) => {
                        warn!(secret, %error, "watching a session failed; trying again");
                    }
                    Some((slot, _, Ok(secret))) => {
                        let mut held = known.held.lock().unwrap_or_else(PoisonError::into_inner);
                        held.insert(slot, read(secret.as_ref()));
                        seen_tx.send_replace(held.len() == count);
                        wake.notify_one();
                    }
                }
            }
        };
        (sessions, watching)
    }

    /// Waits until all Secrets were looked at once.
    pub async fn wait_until_ready(&mut self) {
        // An error means that watching has ended, and so does the controller.
        drop(self.all_seen.wait_for(|seen| *seen).await);
    }

    /// The session of a slot, whose Secret has that name.
    pub fn state(&self, slot: i32, secret: &str) -> SessionState {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        judge(&held, slot, secret)
    }
}

fn judge(held: &BTreeMap<i32, Held>, slot: i32, secret: &str) -> SessionState {
    let unusable = |reason: &str, message: String| {
        SessionState::Unusable(Notice {
            warning: true,
            reason: reason.to_owned(),
            message,
        })
    };
    match held.get(&slot) {
        None => SessionState::Unknown,
        Some(Held::Nothing) => unusable(
            "SessionMissing",
            format!(
                "There is no Secret {secret} with the key {KEY}: create it from a session document"
            ),
        ),
        Some(Held::Malformed(why)) => unusable(
            "SessionMalformed",
            format!("The Secret {secret} holds no session: {why}"),
        ),
        Some(Held::Session { hash, prints }) => {
            let shares = |other: &Held| matches!(other, Held::Session { prints: others, .. } if others.iter().any(|print| prints.contains(print)));
            match held.range(..slot).find(|(_, other)| shares(other)) {
                None => SessionState::Usable(hash.clone()),
                Some((other, _)) => unusable(
                    "SessionShared",
                    format!(
                        "The Secret {secret} holds a key of slot {other}'s session: Telegram would end both"
                    ),
                ),
            }
        }
    }
}

fn read(secret: Option<&Secret>) -> Held {
    let Some(bytes) = secret
        .and_then(|secret| secret.data.as_ref())
        .and_then(|data| data.get(KEY))
    else {
        return Held::Nothing;
    };
    let parsed = std::str::from_utf8(&bytes.0)
        .map_err(|_| "it is no text".to_owned())
        .and_then(|text| text.parse::<Session>().map_err(|error| error.to_string()));
    match parsed {
        Err(why) => Held::Malformed(why),
        Ok(session) => {
            let print = digest(&SHA256, &bytes.0);
            let start = print.as_ref().first_chunk().copied().unwrap_or_default();
            Held::Session {
                hash: format!("{:016x}", u64::from_be_bytes(start)),
                prints: session.key_prints(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use serde_json::json;

    use super::*;

    fn secret(keys: &[u8]) -> Secret {
        let dcs: Vec<_> = keys
            .iter()
            .zip(1..)
            .map(|(key, dc)| json!({"id": dc, "ipv4": "127.0.0.1:443", "authKey": BASE64.encode([*key; 256])}))
            .collect();
        let document = json!({"identity": "bot", "homeDc": 1, "dcs": dcs}).to_string();
        Secret {
            data: Some([(KEY.to_owned(), k8s_openapi::ByteString(document.into()))].into()),
            ..Secret::default()
        }
    }

    fn reason(held: &BTreeMap<i32, Held>, slot: i32) -> Option<String> {
        match judge(held, slot, "s") {
            SessionState::Unusable(notice) => Some(notice.reason),
            _ => None,
        }
    }

    #[test]
    fn a_slot_needs_a_session_of_its_own() {
        let held: BTreeMap<_, _> = [
            (0, read(Some(&secret(&[1, 2])))),
            (1, read(None)),
            (2, read(Some(&secret(&[3, 2])))),
            (3, read(Some(&secret(&[4])))),
            (4, read(Some(&Secret::default()))),
        ]
        .into();
        let reasons: Vec<_> = (0..6).map(|slot| reason(&held, slot)).collect();
        let some = |reason: &str| Some(reason.to_owned());
        assert_eq!(
            reasons,
            [
                None,
                some("SessionMissing"),
                some("SessionShared"),
                None,
                some("SessionMissing"),
                None
            ]
        );
        assert_eq!(judge(&held, 5, "s"), SessionState::Unknown);
        assert_ne!(judge(&held, 0, "s"), judge(&held, 3, "s"));
    }

    #[test]
    fn what_is_malformed_is_named_without_its_content() {
        let mut broken = secret(&[1]);
        broken.data.as_mut().unwrap().insert(
            KEY.to_owned(),
            k8s_openapi::ByteString(b"{\"identity\": \"bot\", \"hunter2\"".to_vec()),
        );
        let Held::Malformed(why) = read(Some(&broken)) else {
            panic!("it was read")
        };
        assert!(!why.contains("hunter2"), "{why}");
    }
}
