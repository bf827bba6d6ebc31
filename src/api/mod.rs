//! The `TransferJob` resource: what users ask for, what happened, and the names and labels that
//! everything else agrees on.
//!
//! Types and pure functions only. Nothing here talks to a network, reads a clock, or imports
//! another module of this crate.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt as _;

mod condition;
mod duration;
pub mod file_name;
pub mod names;
mod spec;
mod status;

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
