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
        self.enter(job, entry(job));
    }

    /// A job is there no more, or nobody has anything left to do for it.
    pub fn gone(&self, job: &TransferJob) {
        self.enter(job, None);
    }

    fn enter(&self, job: &TransferJob, entry: Option<Entry>) {
        let uid = job.uid().unwrap_or_default();
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

    /// All that waits. Nothing is left to be told. What `is_there` does not know is forgotten: that
    /// it went was missed.
    fn take_all(&self, is_there: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut noted = self.lock();
        noted.untold.clear();
        noted.entered.retain(|_, entry| is_there(entry));
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
        self.tell(queue, jobs).await?;
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
    async fn tell(&mut self, queue: &Queue, jobs: &Store<TransferJob>) -> Result<(), queue::Error> {
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
            let is_there = |entry: &Entry| {
                let job = find(jobs, &self.namespace, &entry.name);
                job.is_some_and(|job| job.uid().as_ref() == Some(&entry.uid))
            };
            queue.sync(&self.changes.take_all(is_there)).await?;
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
        match find(jobs, namespace, &ticket.name) {
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

fn find(jobs: &Store<TransferJob>, namespace: &str, name: &str) -> Option<Arc<TransferJob>> {
    jobs.get(&ObjectRef::new(name).within(namespace))
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

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher};
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-02T00:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// A job that waits, of that user, changed by a merge patch.
    fn job(name: &str, user: i64, change: &Value) -> TransferJob {
        let mut job = json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
            "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}")},
            "spec": {"source": {"chatId": 1, "messageId": 1}, "requester": {"userId": user, "chatId": user}},
        });
        crate::controller::merge_patch::apply(&mut job, change);
        serde_json::from_value(job).unwrap()
    }

    fn store(jobs: &[TransferJob]) -> Store<TransferJob> {
        let (store, mut writer) = reflector::store();
        for job in jobs {
            writer.apply_watcher_event(&watcher::Event::Apply(job.clone()));
        }
        store
    }

    fn suspended() -> Value {
        json!({"spec": {"suspend": true}})
    }

    fn due_later() -> Value {
        json!({"status": {"nextAttemptTime": "2026-11-02T00:00:01Z"}})
    }

    #[test]
    fn tickets_are_of_jobs_that_wait_or_stale_or_of_nobody_yet() {
        let another = json!({"metadata": {"uid": "another"}});
        let jobs = store(&[
            job("waits", 1, &json!({})),
            job("suspended", 1, &suspended()),
            job("backs-off", 1, &due_later()),
            job("made-anew", 1, &another),
        ]);
        let names = ["waits", "suspended", "new", "backs-off", "made-anew"];
        let tickets = names.map(|name| Ticket {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
        });
        let (order, stale, unknown) = sort_out(&tickets, &jobs, "n", now());
        let order: Vec<_> = order.iter().map(|job| job.name_any()).collect();
        assert_eq!(order, ["waits"]);
        assert_eq!(stale, ["uid-suspended", "uid-backs-off", "uid-made-anew"]);
        assert_eq!(unknown, 1);
    }

    #[test]
    fn an_order_lacks_whoever_may_run_and_is_not_in_it() {
        let listed = || Arc::new(job("listed", 1, &json!({})));
        for (what, user, change, lacking) in [
            ("another user", 2, json!({}), true),
            ("one who has reached the limit", 1, json!({}), false),
            ("who is suspended", 2, suspended(), false),
            ("who backs off", 2, due_later(), false),
        ] {
            let waiting = [listed(), Arc::new(job("other", user, &change))];
            let running = Running::new(Some(1));
            assert_eq!(
                lacks(&[listed()], &waiting, &running, now()),
                lacking,
                "{what}"
            );
        }
        assert!(!lacks(&[listed()], &[listed()], &Running::new(None), now()));
    }

    #[test]
    fn the_queue_is_told_once_of_what_comes_and_goes() {
        let changes = Changes::default();
        let told = || {
            let (untold, _) = changes.take();
            let told = untold.into_iter();
            told.map(|(uid, entry)| (uid, entry.is_some()))
                .collect::<Vec<_>>()
        };
        let says = |waits: bool| vec![("uid-a".to_owned(), waits)];
        changes.note(&job("a", 1, &json!({})));
        assert_eq!(told(), says(true));
        changes.note(&job("a", 1, &json!({})));
        assert_eq!(told(), []);
        changes.note(&job("a", 1, &suspended()));
        assert_eq!(told(), says(false));
        changes.note(&job("a", 1, &json!({})));
        changes.gone(&job("a", 1, &json!({})));
        assert_eq!(told(), says(false));
        changes.gone(&job("a", 1, &json!({})));
        assert_eq!(told(), []);
        assert_eq!(changes.take_all(|_| true), []);
    }

    #[test]
    fn what_is_not_there_any_more_is_no_part_of_all_that_waits() {
        let changes = Changes::default();
        let (stays, goes) = (job("stays", 1, &json!({})), job("goes", 1, &json!({})));
        changes.note(&stays);
        changes.note(&goes);
        let all = changes.take_all(|entry| entry.name != "goes");
        assert_eq!(all, [entry(&stays).unwrap()]);
        // Nor is it remembered.
        assert_eq!(changes.take_all(|_| true), all);
    }
}
