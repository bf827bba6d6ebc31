//! A controller that has just begun, and does not know yet all that it has to know.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::Request;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
    client::Body,
};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    theatre::{Fate, Fates, Theatre},
    world::{MIB, NAMESPACE, World, eventually},
};

/// The query for the jobs that have finished, and for those that have not.
const FINISHED: &str = "labelSelector=telestream.io%2Ffinished";
const UNFINISHED: &str = "labelSelector=%21telestream.io%2Ffinished";

/// Holds the lists of a resource, as an API server does that has very much of it.
struct SlowLists {
    resource: &'static str,
    query: &'static str,
    are_held: AtomicBool,
}

impl SlowLists {
    fn of(resource: &'static str, query: &'static str) -> Arc<Self> {
        let are_held = AtomicBool::new(true);
        Arc::new(Self {
            resource,
            query,
            are_held,
        })
    }
}

impl Fates for SlowLists {
    fn of(&self, request: &Request<Body>) -> Fate {
        let query = request.uri().query().unwrap_or_default();
        let is_one = request.uri().path().ends_with(self.resource)
            && (self.query.is_empty() || query.split('&').any(|pair| pair == self.query))
            && !query.contains("watch=true");
        if is_one && self.are_held.load(Ordering::SeqCst) {
            Fate::Held
        } else {
            Fate::Answered
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_acts_while_finished_jobs_are_still_looked_through() {
    let world = World::install("finished", json!({})).await;
    for name in ["early", "late"] {
        world.transfer(name, MIB).await;
        world.labelled(name).await;
    }
    let theatre = Theatre::set(&world).await;
    revoke(&world, "early").await;
    // Given a controller that does not come to the end of the finished jobs, and was left no word
    leaders_last_look(&world, None).await;
    let lists = SlowLists::of("/transferjobs", FINISHED);
    let controller = theatre.play(lists).await;
    world.transfer("leads", MIB).await;
    world.succeeded("leads").await;
    // When a link is revoked
    revoke(&world, "late").await;
    // Then it goes
    eventually("the link is gone", async || world.links_of("late") == 0).await;
    assert_eq!(world.links_of("early"), 1, "nobody has come so far");
    controller.end().await;
    // And what was revoked before it began is found by looking
    let controller = theatre.play(Arc::new(())).await;
    eventually("that is gone too", async || world.links_of("early") == 0).await;
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_while_nobody_leads_acts_before_finished_jobs_are_looked_through() {
    let world = World::install("missed", json!({})).await;
    world.transfer("done", MIB).await;
    world.labelled("done").await;
    let theatre = Theatre::set(&world).await;
    // Given a revoke that the leader before cannot have seen
    let list = world.jobs.list(&ListParams::default()).await.unwrap();
    leaders_last_look(&world, list.metadata.resource_version).await;
    revoke(&world, "done").await;
    // When the next one does not come to the end of the finished jobs
    let controller = theatre.play(SlowLists::of("/transferjobs", FINISHED)).await;
    // Then it acts all the same
    eventually("the link is gone", async || world.links_of("done") == 0).await;
    controller.end().await;
}

/// Makes it look as if the leader before had seen everything up to a version.
async fn leaders_last_look(world: &World, version: Option<String>) {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), NAMESPACE);
    let patch = json!({"metadata": {"annotations": {"telestream.io/since": version}}});
    let parameters = PatchParams::default();
    leases
        .patch("telestream-controller", &parameters, &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_is_ready_when_it_knows_all_that_waits() {
    let world = World::install("ready", json!({})).await;
    let theatre = Theatre::set(&world).await;
    let lists = SlowLists::of("/transferjobs", UNFINISHED);
    let controller = theatre.play(Arc::clone(&lists)).await;
    leads(&world).await;
    eventually("it is not ready", async || {
        controller.readiness().await == Some(503)
    })
    .await;
    world.transfer("waits", MIB).await;
    assert!(world.workers().await.is_empty());
    controller.kill();
    // One that is told all is ready, and acts.
    lists.are_held.store(false, Ordering::SeqCst);
    let controller = theatre.play(lists).await;
    eventually("it is ready", async || {
        controller.readiness().await == Some(200)
    })
    .await;
    world.succeeded("waits").await;
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_was_not_seen_yet_is_not_taken_for_gone() {
    let world = World::install("unseen", json!({})).await;
    let theatre = Theatre::set(&world).await;
    // Given a worker that goes on while no controller is there
    let controller = theatre.play(Arc::new(())).await;
    world.set_rate(Some(MIB));
    world.transfer("runs", 40 * MIB).await;
    world.under_way("runs").await;
    controller.end().await;
    // When the next one knows the jobs before it knows the pods
    let lists = SlowLists::of("/pods", "");
    let controller = theatre.play(Arc::clone(&lists)).await;
    leads(&world).await;
    world.transfer("comes", MIB).await;
    let finalizers = async || world.jobs.get("comes").await.unwrap().metadata.finalizers;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(finalizers().await, None, "nobody is admitted yet");
    let status = world.jobs.get("runs").await.unwrap().status.unwrap();
    assert!(status.assignment.is_some(), "{status:#?}");
    controller.kill();
    lists.are_held.store(false, Ordering::SeqCst);
    let controller = theatre.play(lists).await;
    world.set_rate(None);
    // Then it does not interrupt what it has not looked for
    let status = world.succeeded("runs").await;
    assert_eq!((status.attempt, status.interruptions), (1, 0));
    world.succeeded("comes").await;
    controller.end().await;
}

async fn leads(world: &World) {
    eventually("it leads", async || {
        world.leader().await.as_deref() == Some("telestream-controller-here")
    })
    .await;
}

async fn revoke(world: &World, name: &str) {
    let revoked = json!({"link": {"revoked": true}});
    world.change(name, revoked).await;
}
