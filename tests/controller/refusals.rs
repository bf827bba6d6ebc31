//! The API server refuses single writes of the controller: a policy does not like a job, or a quota no
//! more pods.

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::ResourceQuota,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use telestream::api::TransferJobStatus;

use crate::world::{MIB, NAMESPACE, World, eventually};

/// What the policy and its binding are called.
const POLICY: &str = "unloved.telestream";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_policy_refuses_holds_nobody_up() {
    let world = World::install("policy", json!({"worker": {"slots": 1}})).await;
    // Given a job that nobody may write to, and that goes first
    refuse_status_of_unloved(&world).await;
    let message = world.send(MIB).await;
    let first = json!({"priority": "High"});
    world.apply("unloved", message, first).await;
    eventually("it is told", async || {
        world.events("unloved").await.contains_key("Refused")
    })
    .await;
    // Then others run
    for name in ["next", "after"] {
        world.apply(name, message, json!({})).await;
        world.succeeded(name).await;
    }
    let unloved = world.jobs.get("unloved").await.unwrap();
    assert_eq!(unloved.status.map_or(0, |status| status.attempt), 0);
    // And it does too, once it may
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.client.clone());
    policies
        .delete(POLICY, &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(world.succeeded("unloved").await.attempt, 1);
}

/// Writes to the status of the job of that name are refused from now on.
async fn refuse_status_of_unloved(world: &World) {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client.clone());
    let parameters = PostParams::default();
    let policy = json!({"metadata": {"name": POLICY}, "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"apiGroups": ["telestream.io"], "apiVersions": ["v1alpha1"],
            "operations": ["UPDATE"], "resources": ["transferjobs/status"]}]},
        "validations": [{"expression": "object.metadata.name != 'unloved'", "message": "nobody likes it"}],
    }});
    let policy = serde_json::from_value(policy).unwrap();
    policies.create(&parameters, &policy).await.unwrap();
    let binding = json!({"metadata": {"name": POLICY}, "spec": {"policyName": POLICY, "validationActions": ["Deny"]}});
    let binding = serde_json::from_value(binding).unwrap();
    bindings.create(&parameters, &binding).await.unwrap();
    // A namesake that may not run shows when it is in force.
    let message = world.send(MIB).await;
    world
        .apply("unloved", message, json!({"suspend": true}))
        .await;
    eventually("the policy is in force", async || {
        let nothing = Patch::Merge(json!({"metadata": {"labels": {}}}));
        let parameters = PatchParams::default();
        let written = world
            .jobs
            .patch_status("unloved", &parameters, &nothing)
            .await;
        written.is_err_and(|error| error.to_string().contains("nobody likes it"))
    })
    .await;
    world
        .jobs
        .delete("unloved", &DeleteParams::default())
        .await
        .unwrap();
    world.gone("unloved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_takes_no_pods_is_told_to_those_who_are_next() {
    let world = World::install("quota", json!({"worker": {"slots": 2}})).await;
    let quotas: Api<ResourceQuota> = Api::namespaced(world.client.clone(), NAMESPACE);
    let none = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    let none = serde_json::from_value(none).unwrap();
    quotas.create(&PostParams::default(), &none).await.unwrap();
    eventually("it is in force", async || {
        let quota = quotas.get("none").await.unwrap();
        quota.status.is_some_and(|status| status.hard.is_some())
    })
    .await;
    // Given a job that no worker can be had for
    world.transfer("waits", MIB).await;
    let is_told = |status: &TransferJobStatus| status.reason.as_deref() == Some("WorkerRefused");
    let status = world.until("waits", "told", is_told).await;
    assert!(
        status.conditions.iter().any(|condition| {
            condition.type_ == "Admitted" && condition.message.contains("quota")
        }),
        "{status:#?}"
    );
    // No slot is taken for one whose worker may be at work somewhere
    let leader = world.leader().await.unwrap();
    eventually("no slot is held", async || {
        world
            .figure(&leader, r#"telestream_slots{state="unusable"}"#)
            .await
            > 1.5
    })
    .await;
    // When it is lifted, it runs
    quotas
        .delete("none", &DeleteParams::default())
        .await
        .unwrap();
    let status = world.succeeded("waits").await;
    assert_eq!((status.attempt, status.interruptions), (1, 0));
}
