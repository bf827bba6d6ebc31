//! What was decided about users at run time, kept in a `ConfigMap`: a key for each user, so that
//! two changes never meet.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::access::{MAX_MEMBERS, Member, Members};

/// A write that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Key of the switch that lets no more files in.
const DRAIN: &str = "drain";

/// What was decided about users. Clones share it.
#[derive(Clone)]
pub struct MemberBook {
    api: Api<ConfigMap>,
    name: String,
    members: watch::Sender<Members>,
}

/// Something could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The API server did not answer.
    #[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// It refused.
    #[error("the API server refused: {0}")]
    Refused(#[source] Box<kube::Error>),
    /// There are too many users.
    #[error("something is kept of {MAX_MEMBERS} users already")]
    Full,
}

impl MemberBook {
    /// What stands in the `ConfigMap` of that name; nothing, until [`MemberBook::follow`] has read it.
    pub fn new(client: Client, namespace: &str, name: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name,
            members: watch::channel(Members::default()).0,
        }
    }

    /// What is known now.
    pub fn read(&self) -> Members {
        self.members.borrow().clone()
    }

    /// What is known of one user.
    pub fn member(&self, user: i64) -> Option<Member> {
        self.members.borrow().users.get(&user).cloned()
    }

    /// Reads what is written, until `stop`; `ready` is told when it has been read once.
    pub async fn follow(&self, ready: watch::Sender<bool>, stop: &CancellationToken) {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let events = watcher(self.api.clone(), only).default_backoff();
        let mut events = std::pin::pin!(events);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map))) => {
                    self.members
                        .send_replace(parse(map.data.unwrap_or_default()));
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    ready.send_replace(true);
                }
                Some(Ok(watcher::Event::Init | watcher::Event::Delete(_))) => {}
                Some(Err(error)) => {
                    warn!(%error, "watching the users' ConfigMap failed; trying again");
                }
                None => return,
            }
        }
    }

    /// Writes down what is now known of a user; what was written is known at once.
    ///
    /// # Errors
    /// It was not written, and is not known.
    pub async fn set(&self, user: i64, member: Member) -> Result<(), MemberError> {
        let is_new = {
            let members = self.members.borrow();
            !members.users.contains_key(&user) && members.users.len() >= MAX_MEMBERS
        };
        if is_new {
            return Err(MemberError::Full);
        }
        let text = (member != Member::default()).then(|| json!(member).to_string());
        self.patch(&user.to_string(), text).await?;
        self.members.send_modify(|members| {
            members.users.insert(user, member);
        });
        Ok(())
    }

    /// Takes no more files, or takes them again.
    ///
    /// # Errors
    /// It was not written, and everything is as it was.
    pub async fn drain(&self, is_drained: bool) -> Result<(), MemberError> {
        self.patch(DRAIN, Some(is_drained.to_string())).await?;
        self.members
            .send_modify(|members| members.is_drained = is_drained);
        Ok(())
    }

    async fn patch(&self, key: &str, value: Option<String>) -> Result<(), MemberError> {
        let patch = Patch::Merge(json!({ "data": { key: value } }));
        let parameters = PatchParams::default();
        match timeout(
            CALL_TIMEOUT,
            self.api.patch(&self.name, &parameters, &patch),
        )
        .await
        {
            Err(_) => Err(MemberError::Timeout),
            Ok(Err(error)) => Err(MemberError::Refused(Box::new(error))),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

/// What cannot be read, for somebody has written it by hand, is passed over.
fn parse(data: BTreeMap<String, String>) -> Members {
    let mut members = Members::default();
    for (key, value) in data {
        if key == DRAIN {
            members.is_drained = value.trim() == "true";
            continue;
        }
        if let (Ok(user), Ok(member)) = (key.parse(), serde_json::from_str(&value)) {
            members.users.insert(user, member);
        } else {
            warn!(key, "an entry of the users' ConfigMap cannot be read");
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_wrongly_shuts_nobody_else_out() {
        let data = [
            ("7", r#"{"allowed": true, "note": "Ann", "linkTtl": "3d"}"#),
            ("8", "yes"),
            ("nine", r#"{"allowed": true}"#),
            ("drain", "true"),
        ];
        let members = parse(
            data.map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
        assert_eq!(members.users.len(), 1);
        assert_eq!(members.users[&7].allowed, Some(true));
        assert!(members.is_drained);
        assert_eq!(json!(Member::default()).to_string(), "{}");
    }
}
