//! The controller: admits `TransferJob`s, keeps a pool of worker pods for them, and turns what
//! becomes of them into status.
//!
//! Observe, decide, apply. Three pure functions carry the decisions: [`lifecycle`] (one job),
//! [`admission`] (who runs next, on which slot) and [`pool`] (which pods should exist). The
//! lifecycle is driven once per job by [`reconcile`]; admission and pool by the one loop of
//! [`scheduler`]. Whatever is written is valid only for the object as it was observed.

pub mod admission;
mod apply;
mod clean_up;
pub mod lifecycle;
mod merge_patch;
pub mod pods;
pub mod pool;
mod reconcile;
mod scheduler;

use std::sync::Arc;

use futures::{StreamExt as _, future};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Config,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use clean_up::CleanUp;
pub use pods::{PodFactory, TemplateError};
pub use scheduler::PoolSettings;

use crate::{
    api::{TransferJob, names},
    ops::health::Readiness,
};
use apply::Writer;
use reconcile::Context;
use scheduler::Scheduler;

/// Jobs that are reconciled at the same time.
const CONCURRENCY: u16 = 16;

/// Pod changes that wait to be looked at; a full channel slows the watch down.
const POD_CHANGES: usize = 256;

/// What a controller runs with.
pub struct ControllerSettings {
    /// The namespace it looks after.
    pub namespace: String,
    /// Its own pod's name, for events.
    pub instance: Option<String>,
    /// The label selector of worker pods.
    pub worker_selector: String,
    /// How worker pods are made.
    pub factory: PodFactory,
    /// How many.
    pub pool: PoolSettings,
    /// Removes what transfers leave.
    pub clean_up: CleanUp,
}

/// The controller cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Deployment that worker pods belong to cannot be read.
    #[error("the Deployment {name} cannot be read: {source}")]
    Owner {
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// The reference by which worker pods belong to the controller's Deployment: removing it removes
/// them, and a drain takes them for replaceable.
///
/// # Errors
/// It cannot be read.
pub async fn owner(
    client: Client,
    namespace: &str,
    deployment: &str,
) -> Result<Option<OwnerReference>, StartError> {
    let deployments: Api<Deployment> = Api::namespaced(client, namespace);
    let found = deployments
        .get_metadata(deployment)
        .await
        .map_err(|source| StartError::Owner {
            name: deployment.to_owned(),
            source: Box::new(source),
        })?;
    let reference = OwnerReference {
        api_version: Deployment::api_version(&()).into_owned(),
        kind: Deployment::kind(&()).into_owned(),
        name: deployment.to_owned(),
        uid: found.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    Ok(Some(reference))
}

/// Runs until `stop`.
pub async fn run(
    settings: ControllerSettings,
    client: Client,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let ControllerSettings {
        namespace,
        instance,
        worker_selector,
        factory,
        pool,
        clean_up,
    } = settings;
    let writer = Writer::new(client.clone(), &namespace, instance);
    let jobs_api: Api<TransferJob> = Api::namespaced(client.clone(), &namespace);
    let unfinished = watcher::Config::default().labels(&format!("!{}", names::FINISHED_LABEL));
    let controller = Controller::new(jobs_api, unfinished);
    let jobs = controller.store();
    let scheduler_wake = Arc::new(Notify::new());

    let (pods, pod_changes) = watch_pods(
        client.clone(),
        &namespace,
        &worker_selector,
        &jobs,
        &scheduler_wake,
        &stop,
    );
    let context = Arc::new(Context {
        writer: writer.clone(),
        pods: pods.clone(),
        clean_up,
        scheduler: Arc::clone(&scheduler_wake),
        errors: reconcile::ErrorCounts::default(),
    });
    let reconciling = controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(ReceiverStream::new(pod_changes))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile::reconcile, reconcile::on_error, context)
        .for_each(|_| future::ready(()));
    let scheduling = async {
        // Deciding from half-filled caches would spawn what is there and admit what runs.
        if future::try_join(jobs.wait_until_ready(), pods.wait_until_ready())
            .await
            .is_err()
        {
            return;
        }
        info!("caches are filled");
        readiness.set_ready();
        Scheduler::new(
            jobs.clone(),
            pods.clone(),
            writer.clone(),
            factory,
            pool,
            scheduler_wake,
        )
        .run(stop.clone())
        .await;
    };
    let reviving = revive_deleted(Api::namespaced(client, &namespace), &writer, &stop);
    future::join3(reconciling, scheduling, reviving).await;
}

/// Keeps the worker pods in a store, and tells of each change the job that the pod runs.
fn watch_pods(
    client: Client,
    namespace: &str,
    selector: &str,
    jobs: &Store<TransferJob>,
    scheduler: &Arc<Notify>,
    stop: &CancellationToken,
) -> (Store<Pod>, mpsc::Receiver<ObjectRef<TransferJob>>) {
    let (reader, writer) = reflector::store();
    let (changes_tx, changes_rx) = mpsc::channel(POD_CHANGES);
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let mut events = watcher(api, watcher::Config::default().labels(selector))
        .default_backoff()
        .reflect(writer)
        .boxed();
    let (jobs, scheduler, stop) = (jobs.clone(), Arc::clone(scheduler), stop.clone());
    // Ends with the token; the receiver's end is the controller's own.
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(
                    watcher::Event::Apply(pod)
                    | watcher::Event::Delete(pod)
                    | watcher::Event::InitApply(pod),
                )) => {
                    for job in jobs.state_filter(|job| is_assigned_to(job, &pod)) {
                        if changes_tx.send(ObjectRef::from_obj(&*job)).await.is_err() {
                            return;
                        }
                    }
                    scheduler.notify_one();
                }
                Some(Ok(_)) => scheduler.notify_one(),
                Some(Err(error)) => warn!(%error, "watching pods failed; trying again"),
                None => return,
            }
        }
    });
    (reader, changes_rx)
}

fn is_assigned_to(job: &TransferJob, pod: &Pod) -> bool {
    let assignment = job
        .status
        .as_ref()
        .and_then(|status| status.assignment.as_ref());
    assignment.is_some_and(|assignment| Some(&assignment.pod_uid) == pod.metadata.uid.as_ref())
}

/// Brings finished jobs that are deleted back into the main watch, which cleans up after them.
/// They are watched by metadata only and kept in no store: the cost follows active work.
async fn revive_deleted(
    jobs: Api<PartialObjectMeta<TransferJob>>,
    writer: &Writer,
    stop: &CancellationToken,
) {
    let finished = watcher::Config::default().labels(names::FINISHED_LABEL);
    let mut events = watcher(jobs, finished)
        .default_backoff()
        .touched_objects()
        .boxed();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(job))
                if job.metadata.deletion_timestamp.is_some() && !job.finalizers().is_empty() =>
            {
                if let Err(error) = writer.unlabel_finished(&job.name_any()).await {
                    warn!(job = job.name_any(), %error, "a deleted job could not be revived");
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => warn!(%error, "watching finished jobs failed; trying again"),
            None => return,
        }
    }
}
