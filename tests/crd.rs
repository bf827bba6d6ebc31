//! The TransferJob definition on a real API server: what it takes, what it refuses, and what it
//! shows.

#[path = "crd/rules.rs"]
mod rules;
mod support;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::ApiResource,
    runtime::wait::{await_condition, conditions},
};
use serde_json::{Value, json};
use support::ControlPlane;
use telestream::api::{TransferJob, crd, crd_yaml};

#[test]
fn the_kept_definitions_are_the_generated_one() {
    let generated = crd_yaml().unwrap();
    for path in ["crds", "charts/telestream/files"] {
        let path = support::root()
            .join(path)
            .join("transferjobs.telestream.io.yaml");
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(
            kept == generated,
            "{} is out of date: run make crds",
            path.display()
        );
    }
}

/// A TransferJob as a user would write it, changed by a merge patch.
fn manifest(name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

struct Server {
    jobs: Api<DynamicObject>,
    _control_plane: ControlPlane,
}

async fn server() -> Server {
    let control_plane = ControlPlane::start("crd");
    let client = control_plane.client().await;
    install(client.clone()).await;
    let resource = ApiResource::erase::<TransferJob>(&());
    let jobs = Api::namespaced_with(client, "default", &resource);
    Server {
        jobs,
        _control_plane: control_plane,
    }
}

async fn install(client: Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    definitions
        .create(&PostParams::default(), &crd())
        .await
        .unwrap();
    await_condition(
        definitions,
        "transferjobs.telestream.io",
        conditions::is_crd_established(),
    )
    .await
    .unwrap();
}

impl Server {
    async fn create(&self, name: &str, spec: Value) -> Result<DynamicObject, String> {
        let parameters = PostParams {
            field_manager: None,
            ..PostParams::default()
        };
        said(self.jobs.create(&parameters, &manifest(name, spec)).await)
    }

    async fn patch(&self, name: &str, patch: Value) -> Result<DynamicObject, String> {
        said(
            self.jobs
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await,
        )
    }

    async fn patch_status(&self, name: &str, status: Value) -> Result<DynamicObject, String> {
        let patch = json!({ "status": status });
        said(
            self.jobs
                .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
                .await,
        )
    }

    async fn select(&self, fields: &str) -> Vec<String> {
        let listed = self
            .jobs
            .list(&ListParams::default().fields(fields))
            .await
            .unwrap();
        listed
            .items
            .into_iter()
            .map(|job| job.metadata.name.unwrap())
            .collect()
    }
}

/// The words of a refusal for its content.
fn said(result: kube::Result<DynamicObject>) -> Result<DynamicObject, String> {
    result.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 422 => status.message,
        error => panic!("not a refusal of the content: {error}"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_enforces_the_definition() {
    let server = server().await;
    defaults_are_filled_in(&server).await;
    bounds_are_kept(&server).await;
    what_must_not_change_cannot(&server).await;
    status_is_a_subresource_with_rules_of_its_own(&server).await;
    jobs_are_found_by_their_fields(&server).await;
}

async fn defaults_are_filled_in(server: &Server) {
    let created = server.create("least", rules::least()).await.unwrap();
    let spec = &created.data["spec"];
    assert_eq!(spec["link"], json!({"ttl": "7d", "revoked": false}));
    assert_eq!(spec["retry"], json!({"limit": 3, "backoff": "2s"}));
    assert_eq!(
        (&spec["priority"], &spec["suspend"]),
        (&json!("Normal"), &json!(false))
    );
    assert_eq!(
        (&spec["reclaimPolicy"], &spec["destination"]),
        (&json!("Retain"), &json!({}))
    );
    let read = server.jobs.get("least").await.unwrap();
    assert_eq!(
        read.data["status"]["phase"], "Queued",
        "it says so before the controller has seen it"
    );

    let created = server.create("full", rules::full()).await.unwrap();
    let typed: TransferJob =
        serde_json::from_value(serde_json::to_value(&created).unwrap()).unwrap();
    assert_eq!(typed.spec.link.ttl.to_string(), "12h");
    assert_eq!(serde_json::to_value(&typed.spec).unwrap(), rules::full());
}

async fn bounds_are_kept(server: &Server) {
    let refused = rules::bounds().into_iter().chain(rules::of_new_jobs());
    for (path, value, complaint) in refused {
        let spec = rules::set(rules::full(), path, value.clone());
        let Err(message) = server.create("refused", spec).await else {
            panic!("{path} = {value} was taken")
        };
        assert!(message.contains(complaint), "{path} = {value}: {message}");
    }
    // Names that merely look like the forbidden ones.
    for name in rules::OBJECT_NAMES_THAT_DO {
        let job = format!("name-{}", name.len());
        let destination = json!({ "objectName": name });
        let spec = rules::set(rules::least(), "destination", destination);
        server.create(&job, spec).await.unwrap();
        server
            .jobs
            .delete(&job, &kube::api::DeleteParams::default())
            .await
            .unwrap();
    }
}

async fn what_must_not_change_cannot(server: &Server) {
    for (job, _, patch, complaint) in rules::of_changes() {
        let message = server
            .patch(job, json!({ "spec": patch }))
            .await
            .unwrap_err();
        assert!(message.contains(complaint), "{patch}: {message}");
    }
    for patch in rules::changes_that_do() {
        server
            .patch("full", json!({ "spec": patch }))
            .await
            .unwrap();
    }
    let message = server
        .patch("full", json!({"spec": {"link": {"revoked": false}}}))
        .await
        .unwrap_err();
    assert!(
        message.contains("a revoked link stays revoked"),
        "{message}"
    );
}

async fn status_is_a_subresource_with_rules_of_its_own(server: &Server) {
    let changed = server
        .patch("least", json!({"status": {"phase": "Succeeded"}}))
        .await
        .unwrap();
    assert_eq!(
        changed.data["status"]["phase"], "Queued",
        "only the subresource writes the status"
    );

    let status = json!({
        "phase": "Running", "attempt": 2,
        "assignment": {"pod": "telestream-worker-0", "podUID": "uid-1", "slot": 0, "attempt": 2, "time": "2026-11-01T00:00:00Z"},
    });
    let changed = server.patch_status("least", status).await.unwrap();
    assert_eq!(changed.data["spec"]["link"]["ttl"], "7d");
    server
        .patch_status("least", json!({"attempt": 3}))
        .await
        .unwrap();
    let message = server
        .patch_status("least", json!({"attempt": 2}))
        .await
        .unwrap_err();
    assert!(message.contains(rules::ATTEMPT_ONLY_GROWS), "{message}");
    for (status, complaint) in rules::status_bounds() {
        let Err(message) = server.patch_status("least", status.clone()).await else {
            panic!("{status} was taken")
        };
        assert!(message.contains(complaint), "{status}: {message}");
    }
}

async fn jobs_are_found_by_their_fields(server: &Server) {
    for (fields, found) in [
        ("status.phase=Running", &["least"][..]),
        ("status.assignment.podUID=uid-1", &["least"]),
        ("status.assignment.podUID=uid-2", &[]),
        ("spec.requester.userId=7", &["full"]),
    ] {
        assert_eq!(server.select(fields).await, found, "{fields}");
    }
}
