//! The `TransferJob` resource: what users ask for, what happened, and the names and labels that
//! everything else agrees on.
//!
//! Types and pure functions only. Nothing here talks to a network, reads a clock, or imports
//! another module of this crate.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt as _;

mod byte_size;
mod condition;
mod duration;
pub mod file_name;
pub mod names;
mod spec;
mod status;

pub use byte_size::human_bytes;
pub use condition::{ConditionStatus, ConditionType, find_condition, set_condition};
pub use duration::{HumanDuration, ParseDurationError};
pub use spec::{
    Destination, LinkSpec, Priority, ReclaimPolicy, Requester, RetrySpec, Source, StorageTier,
    TransferJob, TransferJobSpec,
};
pub use status::{
    Assignment, Delivery, Link, Notified, Outcome, OutcomeResult, Phase, Progress, StopReason,
    StoredObject, TransferJobStatus, Upload, VerifiedParts,
};

/// The `CustomResourceDefinition`.
///
/// The status defaults to an empty one, so that a `TransferJob` shows `Queued` before the
/// controller has seen it.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = TransferJob::crd();
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({})));
        }
    }
    crd
}

/// [`crd`] as YAML, as it stands in `crds/` and in the chart.
///
/// # Errors
/// None in practice: the definition is built from types. The serializer's own error otherwise.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&crd())
}

#[cfg(test)]
#[path = "../../tests/crd/rules.rs"]
mod rules;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(spec: Value, status: Value) -> TransferJob {
        serde_json::from_value(json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": "tj"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn new(spec: Value) -> TransferJob {
        job(spec, json!({}))
    }

    #[test]
    fn the_rules_of_new_jobs_are_kept() {
        for spec in [rules::least(), rules::full()] {
            new(spec).validate_cel().unwrap();
        }
        for name in rules::OBJECT_NAMES_THAT_DO {
            let destination = json!({ "objectName": name });
            let spec = rules::set(rules::least(), "destination", destination);
            new(spec).validate_cel().unwrap();
        }
        for (path, value, complaint) in rules::of_new_jobs() {
            let spec = rules::set(rules::full(), path, value.clone());
            let refused = new(spec).validate_cel().unwrap_err().to_string();
            assert!(refused.contains(complaint), "{path} = {value}: {refused}");
        }
    }

    #[test]
    fn what_must_not_change_cannot() {
        for (_, old, change, complaint) in rules::of_changes() {
            let refused = new(rules::merged(old.clone(), &change)).validate_cel_update(&new(old));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(complaint), "{change}: {refused}");
        }
        let mut spec = rules::full();
        for change in rules::changes_that_do() {
            let next = rules::merged(spec.clone(), &change);
            new(next.clone()).validate_cel_update(&new(spec)).unwrap();
            spec = next;
        }
        let taken_back = rules::merged(spec.clone(), &json!({"link": {"revoked": false}}));
        let refused = new(taken_back).validate_cel_update(&new(spec));
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("a revoked link stays revoked")
        );
    }

    #[test]
    fn an_attempt_only_grows() {
        let at = |attempt: i32| job(rules::least(), json!({ "attempt": attempt }));
        at(3).validate_cel_update(&at(2)).unwrap();
        at(3).validate_cel_update(&at(3)).unwrap();
        let refused = at(2).validate_cel_update(&at(3)).unwrap_err().to_string();
        assert!(refused.contains(rules::ATTEMPT_ONLY_GROWS), "{refused}");
    }
}
