//! The API server or Redis is away, or says what nobody expects.

use std::time::{Duration, Instant};

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::json;
use telestream::api::TransferJob;
use tokio::time::sleep;

use crate::world::{MIB, NAMESPACE, World, eventually};

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_outlives_the_api_server_and_tells_afterwards() {
    let world = World::install("outage", json!({})).await;
    the_api_server_starts_anew(&world).await;
    // Given a transfer under way
    world.set_rate(Some(2 * MIB));
    world.transfer("through", 40 * MIB).await;
    let pod = world.under_way("through").await;
    // When the API server is away for long
    world.plane.stop("apiserver");
    world.set_rate(None);
    let gone = Instant::now();
    // Then the file is stored meanwhile
    eventually("the object is stored", async || {
        world.objects_of("through") == 1
    })
    .await;
    assert!(gone.elapsed() < OUTAGE / 2);
    sleep(OUTAGE.saturating_sub(gone.elapsed())).await;
    world.plane.start_again("apiserver");
    // And afterwards it is told, by the worker that did it
    let status = world.succeeded("through").await;
    assert_eq!((status.attempt, status.interruptions), (1, 0));
    let log = world.kubelet.log(&pod);
    let begins = |line: &&str| line.contains("begins") && line.contains("through");
    assert_eq!(log.lines().filter(begins).count(), 1);
    // And work goes on: every watch has found its way back
    world.transfer("after", MIB).await;
    world.succeeded("after").await;
    world
        .change("through", json!({"link": {"revoked": true}}))
        .await;
    eventually("a finished job is seen", async || {
        world.links_of("through") == 0
    })
    .await;
}

/// A server that has just begun does not remember what it has told: watches expire (410).
async fn the_api_server_starts_anew(world: &World) {
    world.transfer("early", MIB).await;
    world.succeeded("early").await;
    let leader = world.leader().await.unwrap();
    world.plane.stop("apiserver");
    world.plane.start_again("apiserver");
    world.transfer("next", MIB).await;
    world.succeeded("next").await;
    let log = world.kubelet.log(&leader);
    // Should the server take longer than the lease lasts, the controller begins anew as well.
    let is_anew = log.matches("caches are filled").count() > 1;
    assert!(log.contains("Expired") || is_anew, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_jobs_run_in_the_order_of_their_creation() {
    let mut world = World::install("no-redis", json!({})).await;
    world.transfer("before", MIB).await;
    world.succeeded("before").await;
    let leader = world.leader().await.unwrap();
    assert!((world.figure(&leader, "telestream_queue_available").await - 1.0).abs() < 0.1);
    // When Redis is gone
    world.redis.kill();
    for name in ["x", "y", "z"] {
        world.transfer(name, MIB).await;
    }
    for name in ["x", "y", "z"] {
        world.succeeded(name).await;
    }
    assert!(
        world
            .figure(&leader, "telestream_queue_available")
            .await
            .abs()
            < 0.1
    );
    // And back, having lost all
    world.redis.start_again();
    world.transfer("later", MIB).await;
    world.succeeded("later").await;
    eventually("the queue counts again", async || {
        world.transfer(&format!("j{}", fastrand::u32(..)), 0).await;
        world.figure(&leader, "telestream_queue_available").await > 0.5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_malformed_job_stops_nobody() {
    let world = World::install("malformed", json!({})).await;
    // Given a definition that takes anything, as an older one might
    let anything = json!({"spec": {"versions": [{
        "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        "selectableFields": [{"jsonPath": ".status.assignment.podUID"}],
    }]}});
    let definitions: Api<DynamicObject> = Api::all_with(
        world.client.clone(),
        &ApiResource::erase::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(&()),
    );
    let anything = json!({"spec": {"versions": anything["spec"]["versions"]}});
    // A selectable field needs a schema of its own.
    let mut anything = anything;
    anything["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "assignment": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"podUID": {"type": "string"}}}}}}});
    definitions
        .patch(
            "transferjobs.telestream.io",
            &PatchParams::default(),
            &Patch::Merge(anything),
        )
        .await
        .unwrap();
    let jobs: Api<DynamicObject> = Api::namespaced_with(
        world.client.clone(),
        NAMESPACE,
        &ApiResource::erase::<TransferJob>(&()),
    );
    // When somebody writes nonsense
    let nonsense = json!({"apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
        "metadata": {"name": "nonsense"}, "spec": {"source": "somewhere", "retry": 7}});
    eventually("it is taken", async || {
        let nonsense = serde_json::from_value(nonsense.clone()).unwrap();
        jobs.create(&PostParams::default(), &nonsense).await.is_ok()
    })
    .await;
    // Then others go on, and a controller that starts with it there too
    world.transfer("sane", MIB).await;
    world.succeeded("sane").await;
    let leader = world.leader().await.unwrap();
    eventually("it was told", async || {
        world.kubelet.log(&leader).contains("cannot be read")
    })
    .await;
    world.kubelet.signal(&leader, "KILL");
    world.transfer("saner", MIB).await;
    world.succeeded("saner").await;
    assert!(world.jobs.get_opt("sane").await.unwrap().is_some());
}
