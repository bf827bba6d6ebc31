//! Which slots are held by a pod: written down before the pod is made, and crossed out only after
//! its containers are known to have ended.
//!
//! A pod that was force-deleted, or went with its node, leaves no trace in the API server, and its
//! worker may go on for minutes. The ledger is the trace: a `ConfigMap` with an entry for each slot,
//! which says as well by what the sessions are known that the slot's worker may use. Secrets may be
//! moved to other slots meanwhile.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    apply::{ApiError, call},
    sessions::Prints,
};

/// The first word of the entry of a slot that a pod may be on. Prints follow.
const HELD: &str = "held";

/// The slots that a pod may be on, and the sessions that it may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds(BTreeMap<i32, Prints>);

/// The ledger, and what stands in it as far as we know.
pub struct Ledger {
    api: Api<ConfigMap>,
    name: String,
    resource_version: Option<String>,
    holds: Holds,
}

impl Holds {
    /// Whether a pod may be on a slot.
    pub fn is_held(&self, slot: i32) -> bool {
        self.0.contains_key(&slot)
    }

    /// The slots that a pod may be on.
    pub fn slots(&self) -> impl Iterator<Item = i32> {
        self.0.keys().copied()
    }

    /// Another slot whose pod may use one of these sessions.
    pub fn rival(&self, slot: i32, prints: &Prints) -> Option<i32> {
        let mut others = self.0.iter().filter(|(other, _)| **other != slot);
        let rival = others.find(|(_, used)| !used.is_disjoint(prints));
        rival.map(|(other, _)| *other)
    }

    /// A pod may be on a slot, and use these sessions, besides those that are known already.
    pub fn hold(&mut self, slot: i32, prints: impl IntoIterator<Item = String>) {
        self.0.entry(slot).or_default().extend(prints);
    }

    /// A pod is on a slot, made for this session, in whose place none is left that was made before.
    pub fn hold_only(&mut self, slot: i32, prints: Prints) {
        self.0.insert(slot, prints);
    }

    /// No pod is on a slot.
    pub fn release(&mut self, slot: i32) {
        self.0.remove(&slot);
    }

    fn read(entries: impl IntoIterator<Item = (String, String)>) -> Self {
        let held = entries.into_iter().filter_map(|(slot, entry)| {
            let mut words = entry.split_whitespace();
            let is_held = words.next() == Some(HELD);
            let prints = words.map(str::to_owned).collect();
            is_held.then_some((slot.parse().ok()?, prints))
        });
        Self(held.collect())
    }

    /// The entries, as they are written, of those slots that are not the same in `before`.
    fn changes(&self, before: &Self) -> BTreeMap<String, Option<String>> {
        let slots = self.0.keys().chain(before.0.keys());
        slots
            .filter(|slot| self.0.get(slot) != before.0.get(slot))
            .map(|slot| {
                let words = |prints: &Prints| {
                    let words = [HELD].into_iter().chain(prints.iter().map(String::as_str));
                    words.collect::<Vec<_>>().join(" ")
                };
                (slot.to_string(), self.0.get(slot).map(words))
            })
            .collect()
    }
}

impl Ledger {
    /// Opens the `ConfigMap` of that name.
    ///
    /// # Errors
    /// It is not there, or the API server does not answer.
    pub async fn open(client: Client, namespace: &str, name: &str) -> Result<Self, ApiError> {
        let mut ledger = Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            resource_version: None,
            holds: Holds::default(),
        };
        ledger.read().await?;
        Ok(ledger)
    }

    /// What stands in it.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Writes down that slots are held, or crosses out those whose pods' ends are proven.
    ///
    /// # Errors
    /// It could not be written. On a conflict it was read again.
    pub async fn write(&mut self, holds: &Holds) -> Result<(), ApiError> {
        let data = holds.changes(&self.holds);
        if data.is_empty() {
            return Ok(());
        }
        let patch = json!({
            "metadata": { "resourceVersion": self.resource_version }, "data": data,
        });
        let parameters = PatchParams::default();
        let patch = Patch::Merge(patch);
        match call(self.api.patch(&self.name, &parameters, &patch)).await {
            Ok(written) => {
                self.take(&written);
                Ok(())
            }
            Err(ApiError::Conflict) => {
                self.read().await?;
                Err(ApiError::Conflict)
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&mut self) -> Result<(), ApiError> {
        let found = call(self.api.get(&self.name)).await?;
        self.take(&found);
        Ok(())
    }

    fn take(&mut self, map: &ConfigMap) {
        self.resource_version = map.resource_version();
        self.holds = Holds::read(map.data.clone().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(words: &str) -> Prints {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_held_slot_says_whose_sessions_its_pod_may_use() {
        let mut holds = Holds::default();
        holds.hold(1, prints("a b"));
        holds.hold(1, prints("c"));
        holds.hold(2, []);
        for (slot, key, rival) in [
            (0, "a", Some(1)),
            (2, "c d", Some(1)),
            (0, "d", None),
            // Its own pod is no rival.
            (1, "a", None),
        ] {
            assert_eq!(holds.rival(slot, &prints(key)), rival, "{slot} {key}");
        }
        holds.hold_only(1, prints("b"));
        let rivals = ["a", "b"].map(|key| holds.rival(0, &prints(key)));
        assert_eq!(rivals, [None, Some(1)]);
        holds.release(1);
        assert!(holds.is_held(2) && !holds.is_held(1));
        assert_eq!(holds.rival(0, &prints("a")), None);
    }

    #[test]
    fn what_is_written_is_what_has_changed_and_is_read_again() {
        let (mut before, mut after) = (Holds::default(), Holds::default());
        for holds in [&mut before, &mut after] {
            holds.hold(0, prints("a"));
        }
        before.hold(1, prints("b"));
        after.hold(2, prints("d c"));
        let changes = after.changes(&before);
        let written = [("1", None), ("2", Some("held c d"))];
        let written = written.map(|(slot, entry)| (slot.to_owned(), entry.map(str::to_owned)));
        assert_eq!(changes, written.into());
        let entries = after.changes(&Holds::default());
        let entries = entries
            .into_iter()
            .filter_map(|(slot, entry)| Some((slot, entry?)));
        assert_eq!(Holds::read(entries), after);
        let strange = [("x", "held"), ("3", "free"), ("4", "held")];
        let strange = strange.map(|(slot, entry)| (slot.to_owned(), entry.to_owned()));
        let mut only = Holds::default();
        only.hold(4, []);
        assert_eq!(Holds::read(strange), only);
    }
}
