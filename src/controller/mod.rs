//! The controller: admits `TransferJob`s, keeps a pool of worker pods for them, and turns what
//! becomes of them into status.
//!
//! Observe, decide, apply. Three pure functions carry the decisions: [`lifecycle`] (one job),
//! [`admission`] (who runs next, on which slot) and [`pool`] (which pods should exist). The
//! lifecycle is driven once per job by [`reconcile`]; admission and pool by the one loop of
//! [`scheduler`]. Whatever is written is valid only for the object as it was observed.

pub mod admission;
mod api_requests;
mod apply;
mod clean_up;
mod finished_jobs;
mod lease;
mod ledger;
pub mod lifecycle;
mod merge_patch;
mod metrics;
mod order;
pub mod pods;
pub mod pool;
mod reconcile;
mod scheduler;
pub mod sessions;
pub mod signs;
pub mod slots;
mod worker_pods;

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Config,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use api_requests::counted_client;
pub use apply::ApiError;
pub use clean_up::CleanUp;
pub use lifecycle::Policy;
pub use pods::{PodFactory, TemplateError};
pub use scheduler::PoolSettings;

use crate::{
    api::TransferJob,
    ops::{http::Health, metrics::Metrics},
    queue::Queue,
    unfinished_jobs,
};
use apply::Writer;
use finished_jobs::FinishedJobs;
use lease::Identity;
use ledger::Ledger;
use metrics::ControllerMetrics;
use order::Order;
use reconcile::Context;
use scheduler::{Scheduler, World};
use sessions::Sessions;
use worker_pods::WorkerPods;

/// Jobs that are reconciled at the same time.
const CONCURRENCY: u16 = 16;

/// How long what was begun may take to end when the controller is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

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
    /// What is decided about all jobs.
    pub policy: Policy,
    /// The `ConfigMap` that says which slots are held.
    pub slot_ledger: String,
    /// The Lease whose holder acts.
    pub lease: String,
    /// The queue, if there is one.
    pub queue: Option<Queue>,
}

/// The controller cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The Deployment that worker pods belong to cannot be read.
    #[error("the Deployment {name} cannot be read: {source}")]
    Owner {
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The ledger of slots cannot be read.
    #[error("the ConfigMap {name} cannot be read: {source}")]
    Ledger {
        /// Its name.
        name: String,
        /// Why.
        source: ApiError,
    },
    /// Another controller may act from now on.
    #[error("the Lease {0} is lost: another controller takes over")]
    LeaseLost(String),
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
) -> Result<Option<OwnerReference>, RunError> {
    let deployments: Api<Deployment> = Api::namespaced(client, namespace);
    let found = deployments
        .get_metadata(deployment)
        .await
        .map_err(|source| RunError::Owner {
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

/// Runs until `stop`: stands by while another controller holds the lease, then acts.
///
/// # Errors
/// It cannot begin, or the lease is lost: nothing may be done any more, and the process is to end.
pub async fn run(
    settings: ControllerSettings,
    client: Client,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let lease = settings.lease.clone();
    let figures = ControllerMetrics::new(&metrics);
    // Whoever stands by can take over: it is as ready as it can be.
    health.set_ready(true);
    let acquired = lease::acquire(
        client.clone(),
        &settings.namespace,
        &lease,
        Identity::of_process(settings.instance.clone()),
        &stop,
    );
    let Some(mut leadership) = acquired.await else {
        return Ok(());
    };
    health.set_ready(false);
    figures.leads(true);
    let since = leadership.since.clone();
    let leading = lead(settings, since, client, metrics, figures, health, stop);
    tokio::select! {
        biased;
        () = leadership.lost() => Err(RunError::LeaseLost(lease)),
        result = Box::pin(leading) => {
            leadership.release().await;
            result
        }
    }
}

/// Acts until `stop`. From the resource version `since` on, the leader before may have missed
/// something.
async fn lead(
    settings: ControllerSettings,
    since: Option<String>,
    client: Client,
    metrics: Metrics,
    figures: ControllerMetrics,
    health: Health,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let ControllerSettings {
        namespace,
        instance,
        worker_selector,
        factory,
        pool,
        clean_up,
        policy,
        slot_ledger,
        lease: _,
        queue,
    } = settings;
    let ledger = Ledger::open(client.clone(), &namespace, &slot_ledger)
        .await
        .map_err(|source| RunError::Ledger {
            name: slot_ledger,
            source,
        })?;
    let writer = Writer::new(client.clone(), &namespace, instance, figures.clone());
    let wake = Arc::new(Notify::new());
    let worker_pods = Api::namespaced(client.clone(), &namespace);
    let (pods, pod_events) = WorkerPods::watch(worker_pods.clone(), &worker_selector);
    let looking_back = look_back(
        pods.clone(),
        worker_pods,
        worker_selector.clone(),
        since.clone(),
        Arc::clone(&wake),
    );
    let (jobs, jobs_writer) = reflector::store();
    ControllerMetrics::follow(&metrics, jobs.clone());
    let changes = Arc::new(order::Changes::default());
    let context = Arc::new(Context {
        writer: writer.clone(),
        pods: pods.clone(),
        clean_up,
        policy,
        watch: signs::Watch::default(),
        changes: Arc::clone(&changes),
        scheduler: Arc::clone(&wake),
        errors: reconcile::ErrorCounts::default(),
        metrics: figures.clone(),
    });
    let job_events = watch_jobs(
        Api::namespaced(client.clone(), &namespace),
        Arc::clone(&context),
    )
    .reflect(jobs_writer)
    .touched_objects();
    let (pod_changes_tx, pod_changes) = mpsc::channel(POD_CHANGES);
    let following = follow_pods(
        pod_events,
        jobs.clone(),
        pod_changes_tx,
        Arc::clone(&wake),
        &stop,
    );
    let reconciler = Controller::for_stream(job_events, jobs.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(ReceiverStream::new(pod_changes))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile::reconcile, reconcile::on_error, context)
        .for_each(|_| future::ready(()));
    let reconciling = after_pods(pods.clone(), reconciler, stop.clone());
    let secrets = (0..pool.slots).map(|slot| (slot, factory.session_secret(slot)));
    let (sessions, watching_sessions) = Sessions::watch(
        &Api::namespaced(client.clone(), &namespace),
        secrets.collect(),
        Arc::clone(&wake),
        stop.clone(),
    );
    let world = World {
        jobs,
        pods,
        sessions,
        ledger,
        writer: writer.clone(),
        factory,
        order: Order::new(queue, namespace.clone(), changes, figures.clone()),
        metrics: figures,
        health,
    };
    let scheduling = schedule(world, pool, wake, stop.clone());
    let finished = FinishedJobs::new(Api::namespaced(client, &namespace), writer.clone());
    let working = async {
        tokio::join!(
            reconciling,
            following,
            looking_back,
            watching_sessions,
            scheduling,
            finished.run(since, &stop),
        );
    };
    end_in_time(Box::pin(working), &stop).await;
    Ok(())
}

/// Reconciles once the worker pods are known: to a cache that is not filled yet, each of them is
/// gone, and with it the attempt that it is at.
async fn after_pods(
    pods: WorkerPods,
    reconciler: impl Future<Output = ()>,
    stop: CancellationToken,
) {
    let are_known = tokio::select! {
        () = stop.cancelled() => false,
        known = pods.wait_until_ready() => known.is_ok(),
    };
    if are_known {
        reconciler.await;
    }
}

/// Works until the end. After `stop`, what was begun has a while to end.
async fn end_in_time(working: impl Future<Output = ()>, stop: &CancellationToken) {
    let too_late = async {
        stop.cancelled().await;
        sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        () = working => {}
        () = too_late => warn!("not all that was begun has ended; the next leader does what is left"),
    }
}

/// Gives jobs to slots, once all that this is decided by is known: from half-filled caches, pods
/// would be spawned that are there, and jobs admitted that run.
async fn schedule(
    mut world: World,
    pool: PoolSettings,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let filled = async {
        let jobs = world.jobs.wait_until_ready().await.is_ok();
        let is_filled = jobs && world.pods.wait_until_ready().await.is_ok();
        world.sessions.wait_until_ready().await;
        is_filled
    };
    let is_filled = tokio::select! {
        () = stop.cancelled() => false,
        is_filled = filled => is_filled,
    };
    if is_filled {
        info!("caches are filled");
        world.health.set_ready(true);
        Scheduler::new(world, pool, wake).run(stop).await;
    }
}

/// The jobs that have not finished. Nothing is kept of those that go: nobody reconciles them again.
fn watch_jobs(
    jobs: Api<DeserializeGuard<TransferJob>>,
    context: Arc<Context>,
) -> impl Stream<Item = Result<watcher::Event<TransferJob>, watcher::Error>> + Send {
    let forgetful = Arc::clone(&context);
    unfinished_jobs::watch(jobs)
        .inspect_ok(move |event| {
            if let watcher::Event::Delete(job) = event {
                forgetful.forget(job);
            }
        })
        .inspect_err(move |error| {
            warn!(%error, "watching jobs failed; trying again");
            context.watch.begin_anew(Timestamp::now());
        })
}

/// Learns what became of worker pods while nobody led.
async fn look_back(
    pods: WorkerPods,
    api: Api<Pod>,
    selector: String,
    since: Option<String>,
    scheduler: Arc<Notify>,
) {
    if let Some(since) = since {
        pods.look_back(&api, &selector, &since).await;
        scheduler.notify_one();
    }
}

/// Sees the worker pods, and tells of each change the job that the pod runs.
async fn follow_pods(
    events: impl Stream<Item = Result<watcher::Event<Pod>, watcher::Error>> + Send,
    jobs: Store<TransferJob>,
    changes: mpsc::Sender<ObjectRef<TransferJob>>,
    scheduler: Arc<Notify>,
    stop: &CancellationToken,
) {
    let mut events = std::pin::pin!(events);
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
                    if changes.send(ObjectRef::from_obj(&*job)).await.is_err() {
                        return;
                    }
                }
                scheduler.notify_one();
            }
            Some(Ok(watcher::Event::InitDone)) => {
                // Pods may have gone while nobody looked.
                for job in jobs.state_filter(is_assigned) {
                    if changes.send(ObjectRef::from_obj(&*job)).await.is_err() {
                        return;
                    }
                }
                scheduler.notify_one();
            }
            Some(Ok(watcher::Event::Init)) => {}
            Some(Err(error)) => warn!(%error, "watching pods failed; trying again"),
            None => return,
        }
    }
}

fn is_assigned(job: &TransferJob) -> bool {
    let status = job.status.as_ref();
    status.is_some_and(|status| status.assignment.is_some())
}

fn is_assigned_to(job: &TransferJob, pod: &Pod) -> bool {
    let assignment = job
        .status
        .as_ref()
        .and_then(|status| status.assignment.as_ref());
    assignment.is_some_and(|assignment| Some(&assignment.pod_uid) == pod.metadata.uid.as_ref())
}
