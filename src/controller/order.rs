//! The order in which jobs run: as the queue in Redis says, or by creation while it is away.
//!
//! What waits is known from the jobs alone. The queue is told of it, asked for its order, and
//! checked against the jobs: whatever it has lost, or has too much, is mended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt as _,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    admission::{self, Running},
    lifecycle,
    metrics::ControllerMetrics,
};
use crate::{
    api::{Priority, TransferJob},
    queue::{self, Entry, Queue, Rank, Ticket},
};

/// How often the queue is made to hold exactly what waits, whatever has happened to it.
const SYNC_INTERVAL: Duration = Duration::from_mins(2);

/// How often the queue is asked for more because it named jobs that do not wait any more.
const ASKED_AGAIN: usize = 4;

/// What has happened to jobs that the queue has not been told of yet.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// What the queue holds, or will, by UID.
    entered: HashMap<String, Entry>,
    /// What it has to be told: an entry, or that there is none.
    untold: HashMap<String, Option<Entry>>,
    /// How long transfers have held their slots.
    durations: Vec<Duration>,
}

/// The order in which jobs run.
pub struct Order {
    queue: Option<Queue>,
    namespace: String,
    changes: Arc<Changes>,
    metrics: ControllerMetrics,
    synced: Option<Instant>,
    is_away: bool,
}

impl Changes {
    /// Takes notice of a job as it is now.
    pub fn note(&self, job: &TransferJob) {
        let uid = job.uid().unwrap_or_default();
        let entry = entry(job);
        let mut noted = self.lock();
        if noted.entered.get(&uid) == entry.as_ref() {
            return;
        }
        match &entry {
            Some(entry) => drop(noted.entered.insert(uid.clone(), entry.clone())),
            None => drop(noted.entered.remove(&uid)),
        }
        noted.untold.insert(uid, entry);
    }

    /// A transfer has held its slot for so long.
    pub fn note_duration(&self, took: SignedDuration) {
        if let Ok(took) = took.try_into() {
            self.lock().durations.push(took);
        }
    }

    fn admitted(&self, uid: &str) {
        let mut noted = self.lock();
        noted.entered.remove(uid);
        noted.untold.remove(uid);
    }

    fn take(&self) -> (HashMap<String, Option<Entry>>, Vec<Duration>) {
        let mut noted = self.lock();
        (
            std::mem::take(&mut noted.untold),
            std::mem::take(&mut noted.durations),
        )
    }

    /// All that waits. Nothing is left to be told.
    fn take_all(&self) -> Vec<Entry> {
        let mut noted = self.lock();
        noted.untold.clear();
        noted.entered.values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    /// The order of a namespace's jobs, by that queue if there is one, which is told of these
    /// changes.
    pub fn new(
        queue: Option<Queue>,
        namespace: String,
        changes: Arc<Changes>,
        metrics: ControllerMetrics,
    ) -> Self {
        Self {
            queue,
            namespace,
            changes,
            metrics,
            synced: None,
            is_away: false,
        }
    }

    /// The next `count` jobs that may run. `waiting` are all that do, in no order; `jobs` knows
    /// them by name.
    pub async fn next(
        &mut self,
        count: usize,
        jobs: &Store<TransferJob>,
        waiting: &[Arc<TransferJob>],
        running: &Running,
        now: Timestamp,
    ) -> Vec<Arc<TransferJob>> {
        let by_creation = || admission::creation_order(waiting.to_vec(), now);
        let Some(queue) = self.queue.clone() else {
            return by_creation();
        };
        let asked = self.ask(&queue, count, jobs, running, now).await;
        self.metrics.queue_available(asked.is_ok());
        match asked {
            Ok(order) => {
                if std::mem::take(&mut self.is_away) {
                    info!("the queue is back: its order counts again");
                }
                if order.len() < count && lacks(&order, waiting, running, now) {
                    // It has lost some: they are put back, and do not wait for it.
                    self.synced = None;
                    return by_creation();
                }
                order
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    warn!(%error, "the queue is away: jobs run in the order of their creation");
                }
                self.synced = None;
                by_creation()
            }
        }
    }

    /// A job was given to a slot.
    pub async fn admitted(&mut self, job: &TransferJob) {
        let uid = job.uid().unwrap_or_default();
        self.changes.admitted(&uid);
        if let Some(queue) = &self.queue
            && queue.admitted(&uid).await.is_err()
        {
            // Its entry may be left there: it is found to be stale, or removed by the next sync.
            self.synced = None;
        }
    }

    async fn ask(
        &mut self,
        queue: &Queue,
        count: usize,
        jobs: &Store<TransferJob>,
        running: &Running,
        now: Timestamp,
    ) -> Result<Vec<Arc<TransferJob>>, queue::Error> {
        self.tell(queue).await?;
        let full = running.full_users();
        let mut wanted = count;
        let mut order = Vec::new();
        for _ in 0..ASKED_AGAIN {
            let tickets = queue.next(wanted, now, &full).await?;
            let are_all = tickets.len() < wanted;
            let (stale, unknown);
            (order, stale, unknown) = sort_out(&tickets, jobs, &self.namespace, now);
            if !stale.is_empty() {
                queue.remove(&stale).await?;
            }
            if order.len() >= count || are_all || unknown + stale.len() == 0 {
                break;
            }
            wanted = count + unknown;
        }
        order.truncate(count);
        Ok(order)
    }

    /// Tells the queue what it does not know.
    async fn tell(&mut self, queue: &Queue) -> Result<(), queue::Error> {
        let is_synced = self
            .synced
            .is_some_and(|synced| synced.elapsed() < SYNC_INTERVAL);
        let (untold, durations) = self.changes.take();
        if is_synced {
            let told = tell_changes(queue, &untold).await;
            match told {
                Err(queue::Error::Lost) => self.synced = None,
                told => told?,
            }
        } else {
            self.synced = None;
        }
        if self.synced.is_none() {
            queue.sync(&self.changes.take_all()).await?;
            self.synced = Some(Instant::now());
        }
        for took in durations {
            queue.note_duration(took).await?;
        }
        Ok(())
    }
}

async fn tell_changes(
    queue: &Queue,
    untold: &HashMap<String, Option<Entry>>,
) -> Result<(), queue::Error> {
    let entries: Vec<_> = untold.values().flatten().cloned().collect();
    if !entries.is_empty() {
        queue.put(&entries).await?;
    }
    let gone: Vec<_> = untold
        .iter()
        .filter(|(_, entry)| entry.is_none())
        .map(|(uid, _)| uid.as_str())
        .collect();
    if !gone.is_empty() {
        queue.remove(&gone).await?;
    }
    Ok(())
}

/// The jobs of tickets that may run; the UIDs of those that may not; and how many are of jobs that
/// have not been seen yet.
fn sort_out<'a>(
    tickets: &'a [Ticket],
    jobs: &Store<TransferJob>,
    namespace: &str,
    now: Timestamp,
) -> (Vec<Arc<TransferJob>>, Vec<&'a str>, usize) {
    let (mut order, mut stale, mut unknown) = (Vec::new(), Vec::new(), 0);
    for ticket in tickets {
        match jobs.get(&ObjectRef::new(&ticket.name).within(namespace)) {
            Some(job) if job.uid().as_deref() == Some(&ticket.uid) => {
                if lifecycle::is_waiting(&job, now) {
                    order.push(job);
                } else {
                    stale.push(ticket.uid.as_str());
                }
            }
            Some(_) => stale.push(ticket.uid.as_str()),
            None => unknown += 1,
        }
    }
    (order, stale, unknown)
}

/// Whether somebody who may run is not in an order that should have everybody.
fn lacks(
    order: &[Arc<TransferJob>],
    waiting: &[Arc<TransferJob>],
    running: &Running,
    now: Timestamp,
) -> bool {
    let mut running = running.clone();
    for job in order {
        running.add(job);
    }
    waiting.iter().any(|job| {
        lifecycle::is_waiting(job, now)
            && running.admits(job)
            && !order
                .iter()
                .any(|listed| listed.metadata.uid == job.metadata.uid)
    })
}

/// What the queue is to hold of a job: nothing if it cannot run, now or later, as it is.
fn entry(job: &TransferJob) -> Option<Entry> {
    lifecycle::will_wait(job).then(|| Entry {
        name: job.name_any(),
        uid: job.uid().unwrap_or_default(),
        user: job.spec.requester.as_ref().map(|asked| asked.user_id),
        rank: match job.spec.priority {
            Priority::High => Rank::High,
            Priority::Normal => Rank::Normal,
            Priority::Low => Rank::Low,
        },
        created: job
            .creation_timestamp()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        not_before: job
            .status
            .as_ref()
            .and_then(|status| status.next_attempt_time.as_ref())
            .map(|time| time.0),
    })
}
