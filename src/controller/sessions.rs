//! The sessions of the slots, as their Secrets say: which can be used, and which cannot, and why.
//!
//! Telegram takes a session away that is used twice at the same time, so two Secrets with one key
//! count as one session: the lower slot has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt as _, stream::SelectAll};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{ledger::Holds, lifecycle::Notice};
use crate::{api::names, telegram::Session};

/// The key of the Secret that holds the document.
const KEY: &str = "session.json";

/// By what a session is known again: the hash of its document, and one of each of its keys.
pub type Prints = BTreeSet<String>;

/// The session of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Its Secret has not been looked at yet.
    Unknown,
    /// It can be used.
    Usable {
        /// Tells it from others that the slot had before.
        hash: String,
        /// Tell it from those of other slots.
        prints: Prints,
    },
    /// It cannot.
    Unusable(Notice),
}

/// What a Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Malformed(String),
    Session { hash: String, prints: Prints },
}

impl SessionState {
    /// What is left of the session of a slot that has no pod while others are held: a key may have
    /// come from a slot whose worker still uses it.
    #[must_use]
    pub fn beside(self, holds: &Holds, slot: i32) -> Self {
        let rival = match &self {
            Self::Usable { prints, .. } => holds.rival(slot, prints),
            _ => None,
        };
        rival.map_or(self, |rival| {
            unusable(
                "SessionInUse",
                format!(
                    "The worker of slot {rival} may still use a key that slot {slot} has now: slot {slot} waits for its end"
                ),
            )
        })
    }
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

    /// Sessions of these hashes and prints, where Secrets hold one.
    #[cfg(test)]
    pub fn of(secrets: impl IntoIterator<Item = (i32, Option<(String, Prints)>)>) -> Self {
        let held = secrets.into_iter().map(|(slot, session)| {
            let session = session.map(|(hash, prints)| Held::Session { hash, prints });
            (slot, session.unwrap_or(Held::Nothing))
        });
        Self {
            held: Arc::new(Mutex::new(held.collect())),
            all_seen: watch::channel(true).1,
        }
    }

    /// Waits until all Secrets were looked at once.
    pub async fn wait_until_ready(&mut self) {
        // An error means that watching has ended, and so does the controller.
        drop(self.all_seen.wait_for(|seen| *seen).await);
    }

    /// Writes down what is known of the session that a slot's pod was made for.
    pub fn hold(&self, holds: &mut Holds, slot: i32, hash: Option<&str>) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(&slot) {
            Some(Held::Session { hash: now, prints }) if Some(now.as_str()) == hash => {
                holds.hold_only(slot, prints.clone());
            }
            _ => holds.hold(slot, hash.map(str::to_owned)),
        }
    }

    /// The session of a slot, whose Secret has that name.
    pub fn state(&self, slot: i32, secret: &str) -> SessionState {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        judge(&held, slot, secret)
    }
}

fn unusable(reason: &str, message: String) -> SessionState {
    SessionState::Unusable(Notice {
        warning: true,
        reason: reason.to_owned(),
        message,
    })
}

fn judge(held: &BTreeMap<i32, Held>, slot: i32, secret: &str) -> SessionState {
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
            let shares = |other: &Held| matches!(other, Held::Session { prints: others, .. } if !others.is_disjoint(prints));
            match held.range(..slot).find(|(_, other)| shares(other)) {
                None => SessionState::Usable {
                    hash: hash.clone(),
                    prints: prints.clone(),
                },
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
            let hash = names::session_hash(&bytes.0);
            let keys = session.key_prints().into_iter();
            let prints = keys
                .map(|print| names::short_hash(&print))
                .chain([hash.clone()])
                .collect();
            Held::Session { hash, prints }
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
    fn a_slot_waits_for_the_worker_that_has_its_session_still() {
        let keys = |keys: &[u8]| match judge(&[(0, read(Some(&secret(keys))))].into(), 0, "s") {
            SessionState::Usable { prints, .. } => prints,
            other => panic!("{other:?}"),
        };
        let held: BTreeMap<_, _> = [(0, read(Some(&secret(&[1, 2]))))].into();
        let mut holds = Holds::default();
        holds.hold(1, keys(&[3]));
        let session = judge(&held, 0, "s");
        assert_eq!(session.clone().beside(&holds, 0), session);
        // Another document, and one key of it is the same
        holds.hold(1, keys(&[2]));
        let SessionState::Unusable(notice) = session.clone().beside(&holds, 0) else {
            panic!("slot 1 has it")
        };
        assert_eq!(notice.reason, "SessionInUse");
        assert_eq!(session.clone().beside(&holds, 1), session, "its own");
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
