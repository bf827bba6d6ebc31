//! Which slots are held by a pod: written down before the pod is made, and crossed out only after
//! its containers are known to have ended.
//!
//! A pod that was force-deleted, or went with its node, leaves no trace in the API server, and its
//! worker may go on for minutes. The ledger is the trace: a `ConfigMap` with an entry for each slot.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::apply::{ApiError, call};

/// The entry of a slot that a pod may be on.
const HELD: &str = "held";

/// The ledger, and what stands in it as far as we know.
pub struct Ledger {
    api: Api<ConfigMap>,
    name: String,
    resource_version: Option<String>,
    held: BTreeSet<i32>,
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
            held: BTreeSet::new(),
        };
        ledger.read().await?;
        Ok(ledger)
    }

    /// Whether a pod may be on a slot.
    pub fn is_held(&self, slot: i32) -> bool {
        self.held.contains(&slot)
    }

    /// Writes down that these slots are held.
    ///
    /// # Errors
    /// It could not be written. On a conflict it was read again.
    pub async fn hold(&mut self, slots: &[i32]) -> Result<(), ApiError> {
        self.write(slots, Some(HELD)).await
    }

    /// Crosses out slots whose pods' ends are proven.
    ///
    /// # Errors
    /// It could not be written. On a conflict it was read again.
    pub async fn release(&mut self, slots: &[i32]) -> Result<(), ApiError> {
        self.write(slots, None).await
    }

    async fn write(&mut self, slots: &[i32], entry: Option<&str>) -> Result<(), ApiError> {
        let slots: Vec<_> = slots
            .iter()
            .filter(|slot| self.is_held(**slot) != entry.is_some())
            .collect();
        if slots.is_empty() {
            return Ok(());
        }
        let data: BTreeMap<_, _> = slots.iter().map(|slot| (slot.to_string(), entry)).collect();
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
        let entries = map.data.iter().flatten();
        self.held = entries
            .filter(|(_, entry)| *entry == HELD)
            .filter_map(|(slot, _)| slot.parse().ok())
            .collect();
    }
}
