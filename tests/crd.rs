//! The TransferJob definition on a real API server: what it takes, what it refuses, and what it
//! shows.

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

fn least() -> Value {
    json!({"source": {"chatId": -1_001_234_567_890_i64, "messageId": 42}})
}

fn full() -> Value {
    json!({
        "source": {"chatId": 7, "messageId": 1, "fileName": "a.pdf", "size": 1, "mimeType": "application/pdf", "fileUniqueId": "AgAD"},
        "destination": {"bucket": "b", "objectName": "folder/a.pdf", "storageTier": "InfrequentAccess"},
        "link": {"ttl": "12h", "revoked": false},
        "requester": {"userId": 7, "chatId": 7, "statusMessageId": 3},
        "priority": "High", "suspend": true, "retry": {"limit": 0, "backoff": "1m30s"},
        "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 0, "reclaimPolicy": "Delete",
    })
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

/// The object with a value at a path: `set(least(), "source.chatId", 0)`.
fn set(mut spec: Value, path: &str, value: Value) -> Value {
    let pointer = format!("/{}", path.replace('.', "/"));
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() {
        &mut spec
    } else {
        spec.pointer_mut(parent).unwrap()
    };
    parent[key] = value;
    spec
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
    let created = server.create("least", least()).await.unwrap();
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

    let created = server.create("full", full()).await.unwrap();
    let typed: TransferJob =
        serde_json::from_value(serde_json::to_value(&created).unwrap()).unwrap();
    assert_eq!(typed.spec.link.ttl.to_string(), "12h");
    assert_eq!(serde_json::to_value(&typed.spec).unwrap(), full());
}

#[allow(clippy::too_many_lines, reason = "a table")]
async fn bounds_are_kept(server: &Server) {
    let long = |length: usize| json!("x".repeat(length));
    for (path, value, complaint) in [
        ("source", Value::Null, "spec.source: Required value"),
        ("source.chatId", json!(0), "chatId must be the id of a chat"),
        ("source.messageId", json!(0), "spec.source.messageId"),
        ("source.fileName", json!(""), "spec.source.fileName"),
        ("source.fileName", long(8_193), "spec.source.fileName"),
        ("source.size", json!(-1), "spec.source.size"),
        ("source.mimeType", long(256), "spec.source.mimeType"),
        ("source.fileUniqueId", long(65), "spec.source.fileUniqueId"),
        ("destination.bucket", json!(""), "spec.destination.bucket"),
        (
            "destination.bucket",
            json!("a/b"),
            "spec.destination.bucket",
        ),
        ("destination.bucket", long(257), "spec.destination.bucket"),
        (
            "destination.objectName",
            json!(""),
            "spec.destination.objectName",
        ),
        (
            "destination.objectName",
            long(1_025),
            "spec.destination.objectName",
        ),
        (
            "destination.objectName",
            json!("a\nb"),
            "spec.destination.objectName",
        ),
        (
            "destination.objectName",
            json!("."),
            "must not hold . or ..",
        ),
        (
            "destination.objectName",
            json!("../etc"),
            "must not hold . or ..",
        ),
        (
            "destination.objectName",
            json!("a/../b"),
            "must not hold . or ..",
        ),
        (
            "destination.objectName",
            json!("a/."),
            "must not hold . or ..",
        ),
        (
            "destination.storageTier",
            json!("Archive"),
            "spec.destination.storageTier",
        ),
        ("link.ttl", json!("0s"), "spec.link.ttl"),
        ("link.ttl", json!("forever"), "spec.link.ttl"),
        ("requester.userId", json!(0), "spec.requester.userId"),
        (
            "requester.statusMessageId",
            json!(0),
            "spec.requester.statusMessageId",
        ),
        ("priority", json!("Urgent"), "spec.priority"),
        ("retry.limit", json!(-1), "spec.retry.limit"),
        ("retry.limit", json!(101), "spec.retry.limit"),
        ("retry.backoff", json!("-2s"), "spec.retry.backoff"),
        (
            "activeDeadlineSeconds",
            json!(0),
            "spec.activeDeadlineSeconds",
        ),
        (
            "activeDeadlineSeconds",
            json!(31_536_001),
            "spec.activeDeadlineSeconds",
        ),
        (
            "ttlSecondsAfterFinished",
            json!(-1),
            "spec.ttlSecondsAfterFinished",
        ),
        (
            "ttlSecondsAfterFinished",
            json!(315_360_001),
            "spec.ttlSecondsAfterFinished",
        ),
        ("reclaimPolicy", json!("Burn"), "spec.reclaimPolicy"),
    ] {
        let refused = server
            .create("refused", set(full(), path, value.clone()))
            .await;
        let Err(message) = refused else {
            panic!("{path} = {value} was taken")
        };
        assert!(message.contains(complaint), "{path} = {value}: {message}");
    }
    // Names that merely look like the forbidden ones.
    for name in ["..a/b", "a..", "a/.b", "a.b/c"] {
        let job = format!("name-{}", name.len());
        server
            .create(
                &job,
                set(least(), "destination", json!({"objectName": name})),
            )
            .await
            .unwrap();
        server
            .jobs
            .delete(&job, &kube::api::DeleteParams::default())
            .await
            .unwrap();
    }
}

async fn what_must_not_change_cannot(server: &Server) {
    for (job, patch, complaint) in [
        (
            "least",
            json!({"source": {"messageId": 43}}),
            "source is immutable",
        ),
        (
            "least",
            json!({"source": {"fileName": "new"}}),
            "source is immutable",
        ),
        (
            "full",
            json!({"source": {"size": null}}),
            "source is immutable",
        ),
        (
            "least",
            json!({"destination": {"bucket": "b"}}),
            "destination is immutable",
        ),
        (
            "full",
            json!({"destination": {"objectName": null}}),
            "destination is immutable",
        ),
        (
            "full",
            json!({"destination": null}),
            "destination is immutable",
        ),
    ] {
        let message = server
            .patch(job, json!({ "spec": patch }))
            .await
            .unwrap_err();
        assert!(message.contains(complaint), "{patch}: {message}");
    }
    for patch in [
        json!({"suspend": false}),
        json!({"link": {"ttl": "30d"}}),
        json!({"link": {"revoked": true}}),
        json!({"priority": "Low"}),
    ] {
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
    for (status, complaint) in [
        (json!({"attempt": 2}), "attempt only grows"),
        (json!({"phase": "Lost"}), "status.phase"),
        (
            json!({"assignment": {"slot": -1}}),
            "status.assignment.slot",
        ),
        (
            json!({"outcome": {"attempt": 3, "result": "Maybe", "reason": "R", "message": ""}}),
            "status.outcome.result",
        ),
        (
            json!({"outcome": {"attempt": 3, "result": "Stopped", "reason": "R", "message": "x".repeat(1_025)}}),
            "status.outcome.message",
        ),
    ] {
        let message = server
            .patch_status("least", status.clone())
            .await
            .unwrap_err();
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
