//! The one loop that gives jobs to slots and keeps the pool of worker pods.
//!
//! It decides from caches, which lag behind its own writes: what it has written and not yet seen
//! back is laid over them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use kube::{ResourceExt as _, runtime::reflector::Store};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    admission,
    apply::{ApiError, Writer},
    lifecycle,
    pods::{self, PodFactory},
    pool::{self, PoolSize, Slot, SlotState},
};
use crate::api::{Assignment, TransferJob};

/// How long at most until the next look, for what no event announces.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How soon to look again after a write failed.
const ERROR_SLEEP: Duration = Duration::from_secs(1);

/// How long a write that was not seen back is believed in.
const OVERLAY_LIFE: Duration = Duration::from_secs(30);

/// The loop, and what it remembers between two looks.
pub struct Scheduler {
    jobs: Store<TransferJob>,
    pods: Store<Pod>,
    writer: Writer,
    factory: PodFactory,
    slots: i32,
    size: PoolSize,
    wake: Arc<Notify>,
    /// Since when each pod, by UID, has been idle or dead, as this process saw it.
    since: HashMap<String, (SinceKind, Timestamp)>,
    /// Jobs, by UID, that were given to a slot, and the attempt that was begun.
    assigned: HashMap<String, Written>,
    /// Slots whose pod was made or deleted, and the UID of the pod that was there before.
    changed: HashMap<i32, PodChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinceKind {
    Idle,
    Dead,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    slot: i32,
    attempt: i32,
    at: Timestamp,
}

#[derive(Clone, Debug)]
struct PodChange {
    before: Option<String>,
    at: Timestamp,
}

/// How a pool is to be.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// The number of slots.
    pub slots: i32,
    /// How many pods, and for how long.
    pub size: PoolSize,
}

impl Scheduler {
    /// A scheduler over these caches, looked at whenever `wake` is notified.
    pub fn new(
        jobs: Store<TransferJob>,
        pods: Store<Pod>,
        writer: Writer,
        factory: PodFactory,
        settings: PoolSettings,
        wake: Arc<Notify>,
    ) -> Self {
        let PoolSettings { slots, size } = settings;
        let (since, assigned, changed) = Default::default();
        Self {
            jobs,
            pods,
            writer,
            factory,
            slots,
            size,
            wake,
            since,
            assigned,
            changed,
        }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sleep = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // Either way it is time to look.
                _ = timeout(sleep, self.wake.notified()) => {}
            }
            sleep = match self.look().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    warn!(%error, "scheduling failed");
                    ERROR_SLEEP
                }
            };
        }
    }

    /// Observes, decides and applies once; says how long to sleep.
    async fn look(&mut self) -> Result<Duration, ApiError> {
        let now = Timestamp::now();
        let jobs = self.visible_jobs(now);
        let slots = self.slots(now);
        let idle: Vec<_> = slots
            .iter()
            .filter(|slot| {
                matches!(
                    slot.state,
                    SlotState::Idle {
                        outdated: false,
                        ..
                    }
                )
            })
            .map(|slot| slot.number)
            .collect();
        let admissions = admission::decide(&jobs, &idle, now);
        for (job, slot) in &admissions.assign {
            self.assign(job, *slot, now).await?;
        }
        let plan = pool::decide(&self.slots(now), admissions.wait.len(), self.size, now);
        for slot in plan.spawn {
            self.spawn(slot, now).await?;
        }
        for slot in plan.retire {
            self.retire(slot, now).await?;
        }
        for job in &admissions.wait {
            if let Some(status) = lifecycle::queued(job, now) {
                ignore_conflict(self.writer.status(job, &status).await)?;
            }
        }
        let due = jobs
            .iter()
            .filter_map(|job| job.status.as_ref()?.next_attempt_time.as_ref())
            .map(|time| time.0);
        let wake = due.filter(|time| *time > now).chain(plan.wake).min();
        Ok(wake.map_or(LONGEST_SLEEP, |wake| {
            Duration::try_from(wake.duration_since(now))
                .unwrap_or_default()
                .min(LONGEST_SLEEP)
        }))
    }

    /// Jobs as the cache has them, less those that were given to a slot since.
    fn visible_jobs(&mut self, now: Timestamp) -> Vec<Arc<TransferJob>> {
        let jobs = self.jobs.state();
        let seen: HashMap<_, _> = jobs
            .iter()
            .filter_map(|job| {
                Some((
                    job.uid()?,
                    job.status.as_ref().map_or(0, |status| status.attempt),
                ))
            })
            .collect();
        self.assigned.retain(|uid, written| {
            fresh(written.at, now)
                && seen
                    .get(uid)
                    .is_some_and(|attempt| *attempt < written.attempt)
        });
        jobs.into_iter()
            .filter(|job| {
                job.uid()
                    .is_none_or(|uid| !self.assigned.contains_key(&uid))
            })
            .collect()
    }

    /// All slots, each with what is on it.
    fn slots(&mut self, now: Timestamp) -> Vec<Slot> {
        let pods: HashMap<i32, Arc<Pod>> = self
            .pods
            .state()
            .into_iter()
            .filter_map(|pod| Some((pods::slot(&pod)?, pod)))
            .collect();
        let holders: HashMap<String, bool> = self
            .jobs
            .state()
            .iter()
            .filter_map(|job| holder(job))
            .collect();
        self.changed.retain(|slot, change| {
            fresh(change.at, now) && pods.get(slot).and_then(|pod| pod.uid()) == change.before
        });
        let mut since = HashMap::new();
        // Slots beyond the configured number are still looked at until their pods are gone.
        let beyond = pods.keys().copied().filter(|slot| *slot >= self.slots);
        let slots = (0..self.slots)
            .chain(beyond)
            .map(|number| Slot {
                number,
                state: self.state(number, pods.get(&number), &holders, &mut since, now),
            })
            .collect();
        self.since = since;
        slots
    }

    fn state(
        &self,
        number: i32,
        pod: Option<&Arc<Pod>>,
        holders: &HashMap<String, bool>,
        since: &mut HashMap<String, (SinceKind, Timestamp)>,
        now: Timestamp,
    ) -> SlotState {
        if let Some(change) = self.changed.get(&number) {
            return if change.before.is_none() {
                SlotState::Starting
            } else {
                SlotState::Leaving
            };
        }
        let Some(pod) = pod else {
            return SlotState::Empty;
        };
        let uid = pod.uid().unwrap_or_default();
        let mut since = |kind| {
            let known = self.since.get(&uid).filter(|(before, _)| *before == kind);
            let entry = known.copied().unwrap_or((kind, now));
            since.insert(uid.clone(), entry);
            entry.1
        };
        if pods::end(pod).is_some() {
            return SlotState::Dead {
                since: since(SinceKind::Dead),
                unrecorded: holders.contains_key(&uid),
            };
        }
        if pod.metadata.deletion_timestamp.is_some() {
            return SlotState::Leaving;
        }
        if !pods::is_running(pod) {
            return SlotState::Starting;
        }
        let given = self.assigned.values().any(|written| written.slot == number);
        if given || holders.get(&uid) == Some(&true) {
            return SlotState::Busy;
        }
        let outdated = self.factory.is_outdated(pod) || number >= self.slots;
        SlotState::Idle {
            since: since(SinceKind::Idle),
            outdated,
        }
    }

    async fn assign(
        &mut self,
        job: &Arc<TransferJob>,
        slot: i32,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let name = self.factory.pod_name(slot);
        let Some(pod) = self.pods.find(|pod| pod.name_any() == name) else {
            return Ok(());
        };
        let attempt = job.status.as_ref().map_or(0, |status| status.attempt) + 1;
        let assignment = Assignment {
            pod: name,
            pod_uid: pod.uid().unwrap_or_default(),
            slot,
            attempt,
            time: Time(now),
            stop: None,
        };
        let status = lifecycle::assigned(job, assignment, now);
        if ignore_conflict(self.writer.status(job, &status).await)?.is_some() {
            info!(job = job.name_any(), slot, attempt, "assigned");
            self.assigned.insert(
                job.uid().unwrap_or_default(),
                Written {
                    slot,
                    attempt,
                    at: now,
                },
            );
        }
        Ok(())
    }

    async fn spawn(&mut self, slot: i32, now: Timestamp) -> Result<(), ApiError> {
        info!(slot, "spawning a worker");
        self.writer.create_pod(&self.factory.build(slot)).await?;
        self.changed.insert(
            slot,
            PodChange {
                before: None,
                at: now,
            },
        );
        Ok(())
    }

    async fn retire(&mut self, slot: i32, now: Timestamp) -> Result<(), ApiError> {
        let Some(pod) = self.pods.find(|pod| pods::slot(pod) == Some(slot)) else {
            return Ok(());
        };
        let uid = pod.uid().unwrap_or_default();
        info!(slot, pod = pod.name_any(), "retiring a worker");
        self.writer.delete_pod(&pod.name_any(), &uid).await?;
        self.changed.insert(
            slot,
            PodChange {
                before: Some(uid),
                at: now,
            },
        );
        Ok(())
    }
}

/// The UID of the pod that a job is assigned to, and whether the pod still works on it: at its
/// outcome a slot is free, before the rest of the bookkeeping.
fn holder(job: &TransferJob) -> Option<(String, bool)> {
    let status = job.status.as_ref()?;
    let assignment = status.assignment.as_ref()?;
    let done = status
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.attempt == assignment.attempt);
    Some((assignment.pod_uid.clone(), !done))
}

fn fresh(at: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < OVERLAY_LIFE)
}

/// A job that has changed since it was observed is looked at again when the change arrives.
fn ignore_conflict<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ApiError::Conflict | ApiError::NotFound) => {
            debug!("changed meanwhile; looking again");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
