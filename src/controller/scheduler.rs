//! The one loop that gives jobs to slots and keeps the pool of worker pods.
//!
//! It decides from caches, which lag behind its own writes: what it has written and not yet seen
//! back is laid over them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use kube::{ResourceExt as _, runtime::reflector::Store};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    admission::{self, Running},
    apply::{ApiError, Writer},
    ledger::{Holds, Ledger},
    lifecycle::{self, Notice},
    metrics::ControllerMetrics,
    order::Order,
    pods::{self, PodFactory},
    pool::{self, PoolSize, Slot, SlotState},
    sessions::{SessionState, Sessions},
    slots::{self, Memories, View, Work},
    worker_pods::WorkerPods,
};
use crate::{
    api::{Assignment, TransferJob},
    ops::http::Health,
};

/// How long at most until the next look, for what no event announces.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How soon to look again after a write failed.
const ERROR_SLEEP: Duration = Duration::from_secs(1);

/// How long what was refused is left alone.
const REFUSED_REST: Duration = Duration::from_secs(30);

/// How long a job that was given to a slot is believed to be there without being seen there: longer
/// than a watch that stands still is borne.
const OVERLAY_LIFE: Duration = Duration::from_mins(6);

/// How a pool is to be.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// The number of slots.
    pub slots: i32,
    /// How many pods, and for how long.
    pub size: PoolSize,
    /// The most transfers of one user at a time. None: as many as there are slots.
    pub running_per_user: Option<u32>,
}

/// What the loop sees, and through what it acts.
pub struct World {
    /// The jobs that have not finished.
    pub jobs: Store<TransferJob>,
    /// The worker pods.
    pub pods: WorkerPods,
    /// The slots' sessions.
    pub sessions: Sessions,
    /// Which slots are held.
    pub ledger: Ledger,
    /// Writes to the API server.
    pub writer: Writer,
    /// Makes pods.
    pub factory: PodFactory,
    /// The order in which jobs run.
    pub order: Order,
    /// What is counted.
    pub metrics: ControllerMetrics,
    /// Told of each look.
    pub health: Health,
}

/// The loop, and what it remembers between two looks.
pub struct Scheduler {
    world: World,
    pool: PoolSettings,
    wake: Arc<Notify>,
    slots: Memories,
    /// Jobs, by UID, that were given to a slot, and the attempt that was begun.
    assigned: HashMap<String, Written>,
    refused: Refused,
}

/// What the API server refused, for itself and not in general. Others go on; it is tried again later.
#[derive(Debug, Default)]
struct Refused {
    /// Jobs, by UID, and when each is tried again.
    jobs: HashMap<String, Timestamp>,
    /// Slots whose pod was refused, why, and when each is tried again.
    slots: HashMap<i32, (Notice, Timestamp)>,
    /// Something was refused in this look.
    is_new: bool,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    slot: i32,
    attempt: i32,
    user: Option<i64>,
    at: Timestamp,
}

/// The slots as they are, and what is wrong with some.
struct Sight {
    slots: Vec<Slot>,
    troubles: Vec<Notice>,
    pods: HashMap<i32, Arc<Pod>>,
    sessions: HashMap<i32, SessionState>,
    /// What the ledger is to say.
    holds: Holds,
}

impl Scheduler {
    /// A scheduler of this world, which looks whenever `wake` is notified.
    pub fn new(world: World, pool: PoolSettings, wake: Arc<Notify>) -> Self {
        let (slots, assigned, refused) = Default::default();
        Self {
            world,
            pool,
            wake,
            slots,
            assigned,
            refused,
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
            self.world.health.beat();
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
        let sight = self.sight(now);
        let with = |wanted: fn(SlotState) -> bool| {
            let slots = sight.slots.iter().filter(move |slot| wanted(slot.state));
            slots.map(|slot| slot.number).collect::<Vec<_>>()
        };
        let idle = with(is_ready);
        let pods_to_come = with(may_come).len();
        let running = self.running(&jobs);
        let count = idle.len() + pods_to_come;
        let order = self.next(count, &jobs, &running, now).await;
        let admissions = admission::decide(order, &idle, pods_to_come, running);
        for (job, slot) in &admissions.assign {
            let assigned = self.assign(job, *slot, &sight.pods, now).await;
            self.bear(job, assigned, now).await?;
        }
        let sight = self.sight(now);
        self.world.metrics.slots(&sight.slots);
        self.keep_pool(&sight, admissions.wait.len(), now).await?;
        self.tell(&admissions.wait, &sight, now).await?;
        let sleep = self.sleep(&jobs, &sight, admissions.wait.len(), now);
        // Whoever comes after what was refused need not wait for it.
        let is_refused = std::mem::take(&mut self.refused.is_new);
        Ok(if is_refused {
            sleep.min(ERROR_SLEEP)
        } else {
            sleep
        })
    }

    /// The jobs that would run on so many slots.
    async fn next(
        &mut self,
        count: usize,
        jobs: &[Arc<TransferJob>],
        running: &Running,
        now: Timestamp,
    ) -> Vec<Arc<TransferJob>> {
        if count == 0 {
            return Vec::new();
        }
        let World {
            order, jobs: store, ..
        } = &mut self.world;
        let count = count + self.refused.jobs.len();
        let mut order = order.next(count, store, jobs, running, now).await;
        // The cache may not have seen yet that they were given to a slot.
        order.retain(|job| !is_in(&self.assigned, job) && !is_in(&self.refused.jobs, job));
        order
    }

    /// Makes the pods as they should be for so many jobs that wait.
    async fn keep_pool(
        &mut self,
        sight: &Sight,
        waiting: usize,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let plan = pool::decide(&sight.slots, waiting, self.pool.size, now);
        let mut holds = sight.holds.clone();
        for slot in &plan.spawn {
            if let Some(SessionState::Usable { prints, .. }) = sight.sessions.get(slot) {
                holds.hold(*slot, prints.iter().cloned());
            }
        }
        self.world.ledger.write(&holds).await?;
        let dead = plan.retire.iter().filter(|slot| {
            let pod = sight.pods.get(slot);
            pod.is_some_and(|pod| pods::end(pod).is_some())
        });
        let released: Vec<_> = dead.chain(&plan.release).collect();
        for slot in &released {
            holds.release(**slot);
        }
        self.world.ledger.write(&holds).await?;
        for slot in &plan.retire {
            self.retire(*slot, &sight.pods, now).await?;
        }
        for slot in &plan.spawn {
            self.spawn(*slot, &sight.sessions, now).await?;
        }
        if !released.is_empty() {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Tells the jobs next in line what keeps workers from starting, and the same jobs when it is
    /// over.
    async fn tell(
        &mut self,
        next: &[Arc<TransferJob>],
        sight: &Sight,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let can_work = sight.slots.iter().any(|slot| is_working(slot.state));
        let trouble = sight.troubles.first().filter(|_| !can_work);
        for job in next {
            if let Some(status) = lifecycle::queued(job, trouble, now) {
                let told = self.world.writer.status(job, &status).await;
                self.bear(job, ignore_conflict(told).map(drop), now).await?;
            }
        }
        Ok(())
    }

    fn sleep(
        &self,
        jobs: &[Arc<TransferJob>],
        sight: &Sight,
        waiting: usize,
        now: Timestamp,
    ) -> Duration {
        let due = jobs
            .iter()
            .filter_map(|job| job.status.as_ref()?.next_attempt_time.as_ref())
            .map(|time| time.0);
        let plan = pool::decide(&sight.slots, waiting, self.pool.size, now);
        let wake = due.filter(|time| *time > now).chain(plan.wake).min();
        wake.map_or(LONGEST_SLEEP, |wake| {
            Duration::try_from(wake.duration_since(now))
                .unwrap_or_default()
                .min(LONGEST_SLEEP)
        })
    }

    /// Bears that a write to one job was refused: a policy may not like the one, and others go on.
    async fn bear(
        &mut self,
        job: &TransferJob,
        written: Result<(), ApiError>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let Err(error) = &written else { return Ok(()) };
        let Some(why) = refusal(error) else {
            return written;
        };
        warn!(job = job.name_any(), %error, "a job was refused");
        self.refused.is_new = true;
        let until = now.saturating_add(REFUSED_REST);
        let uid = job.uid().unwrap_or_default();
        self.refused
            .jobs
            .insert(uid, until.unwrap_or(Timestamp::MAX));
        let notice = Notice {
            warning: true,
            reason: "Refused".to_owned(),
            message: format!("The API server does not let it be run: {why}"),
        };
        if let Err(error) = self.world.writer.event(job, notice).await {
            warn!(job = job.name_any(), %error, "an event is lost");
        }
        Ok(())
    }

    /// Jobs as the cache has them, less those that were given to a slot since, or are refused.
    fn visible_jobs(&mut self, now: Timestamp) -> Vec<Arc<TransferJob>> {
        self.refused.jobs.retain(|_, until| *until > now);
        let jobs = &self.world.jobs;
        self.assigned.retain(|uid, written| {
            let is_unseen = |job: &TransferJob| {
                job.uid().as_ref() == Some(uid)
                    && job.status.as_ref().map_or(0, |status| status.attempt) < written.attempt
            };
            fresh(written.at, now) && jobs.find(is_unseen).is_some()
        });
        let mut visible = jobs.state();
        visible.retain(|job| !is_in(&self.assigned, job) && !is_in(&self.refused.jobs, job));
        visible
    }

    /// How many transfers each user has running.
    fn running(&self, jobs: &[Arc<TransferJob>]) -> Running {
        let mut running = Running::new(self.pool.running_per_user);
        for job in jobs.iter().filter(|job| is_at_work(job)) {
            running.add(job);
        }
        for user in self.assigned.values().filter_map(|written| written.user) {
            running.add_user(user);
        }
        running
    }

    /// All slots, each with what is on it.
    fn sight(&mut self, now: Timestamp) -> Sight {
        let pods: HashMap<i32, Arc<Pod>> = self
            .world
            .pods
            .present()
            .into_iter()
            .filter_map(|pod| Some((pods::slot(&pod)?, pod)))
            .collect();
        let holders = self.world.jobs.state_filter(|job| holder(job).is_some());
        let works = slots::work_of_pods(holders.iter().filter_map(|job| holder(job)));
        let holds = self.holds(&pods);
        self.refused.slots.retain(|_, (_, until)| *until > now);
        // Slots beyond the wanted number are looked at until nothing is on them.
        let beyond = pods.keys().copied().chain(holds.slots());
        let numbers: BTreeSet<_> = (0..self.pool.slots).chain(beyond).collect();
        let mut sight = Sight {
            slots: Vec::new(),
            troubles: Vec::new(),
            sessions: HashMap::new(),
            pods,
            holds,
        };
        for number in numbers {
            let pod = sight.pods.get(&number);
            let secret = self.world.factory.session_secret(number);
            let mut session = self.world.sessions.state(number, &secret);
            if pod.is_none() {
                session = session.beside(&sight.holds, number);
                if let Some((why, _)) = self.refused.slots.get(&number) {
                    session = SessionState::Unusable(why.clone());
                }
            }
            let state = self.state(number, pod, &session, &works, now);
            sight.slots.push(Slot { number, state });
            sight.troubles.extend(match (&session, pod) {
                (SessionState::Unusable(notice), None) => Some(notice.clone()),
                (_, Some(pod)) => pods::trouble(pod).or_else(|| pods::trouble_at_end(pod)),
                _ => None,
            });
            if let SlotState::Closed { until } = state {
                sight.troubles.push(closed(number, until));
            }
            sight.sessions.insert(number, session);
        }
        sight
    }

    /// What the ledger is to say of these pods: it may have been lost.
    fn holds(&self, pods: &HashMap<i32, Arc<Pod>>) -> Holds {
        let mut holds = self.world.ledger.holds().clone();
        for (slot, pod) in pods {
            if pods::end(pod).is_none() {
                let hash = pods::session_hash(pod).filter(|hash| !hash.is_empty());
                self.world.sessions.hold(&mut holds, *slot, hash);
            }
        }
        holds
    }

    fn state(
        &mut self,
        number: i32,
        pod: Option<&Arc<Pod>>,
        session: &SessionState,
        works: &HashMap<String, Work>,
        now: Timestamp,
    ) -> SlotState {
        let given = self.assigned.values().any(|written| written.slot == number);
        let work = pod
            .and_then(|pod| pod.metadata.uid.as_ref())
            .and_then(|uid| works.get(uid));
        let memory = self.slots.entry(number).or_default();
        let latest = self.world.pods.latest_of(number);
        let is_used_up = self.pool.size.idle_timeout.is_zero() && memory.has_served();
        let view = View {
            pod: pod.map(|pod| &**pod),
            work: if given {
                Work::Running
            } else {
                work.copied().unwrap_or(Work::None)
            },
            is_outdated: is_used_up
                || pod.is_some_and(|pod| is_outdated(&self.world.factory, pod, session)),
            is_wanted: number < self.pool.slots,
            session,
            is_held: self.world.ledger.holds().is_held(number),
            latest: latest.as_deref(),
        };
        let pods = &self.world.pods;
        memory.look(&view, |uid| pods.end_of(uid), now)
    }

    async fn assign(
        &mut self,
        job: &Arc<TransferJob>,
        slot: i32,
        pods: &HashMap<i32, Arc<Pod>>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let Some(pod) = pods.get(&slot) else {
            return Ok(());
        };
        let Some(job) = &self.protected(job).await? else {
            return Ok(());
        };
        let attempt = job.status.as_ref().map_or(0, |status| status.attempt) + 1;
        let assignment = Assignment {
            pod: pod.name_any(),
            pod_uid: pod.uid().unwrap_or_default(),
            slot,
            attempt,
            time: Time(now),
            stop: None,
        };
        let status = lifecycle::assigned(job, assignment, now);
        if ignore_conflict(self.world.writer.status(job, &status).await)?.is_some() {
            info!(job = job.name_any(), slot, attempt, "assigned");
            let written = Written {
                slot,
                attempt,
                user: job.spec.requester.as_ref().map(|asked| asked.user_id),
                at: now,
            };
            self.assigned.insert(job.uid().unwrap_or_default(), written);
            self.world.metrics.assigned(job, now);
            self.world.order.admitted(job).await;
        }
        Ok(())
    }

    /// The job with our finalizer, before anything is made that must be cleaned up. None: it has
    /// changed meanwhile.
    async fn protected(
        &self,
        job: &Arc<TransferJob>,
    ) -> Result<Option<Arc<TransferJob>>, ApiError> {
        if lifecycle::has_finalizer(job) {
            return Ok(Some(Arc::clone(job)));
        }
        let added = ignore_conflict(self.world.writer.add_finalizer(job).await)?;
        Ok(added.map(|metadata| {
            let mut job = TransferJob::clone(job);
            job.metadata = metadata;
            Arc::new(job)
        }))
    }

    async fn spawn(
        &mut self,
        slot: i32,
        sessions: &HashMap<i32, SessionState>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let Some(SessionState::Usable { hash, .. }) = sessions.get(&slot) else {
            return Ok(());
        };
        info!(slot, "spawning a worker");
        let memory = self.slots.entry(slot).or_default();
        memory.spawning();
        let pod = self.world.factory.build(slot, hash);
        match self.world.writer.create_pod(&pod).await {
            Ok(made) => memory.spawned(made, now),
            Err(error) => {
                self.bear_for_slot(slot, &pod, error, now)?;
                self.slots.entry(slot).or_default().refused();
            }
        }
        Ok(())
    }

    /// Bears that the pod of a slot is refused, to be made or to go.
    fn bear_for_slot(
        &mut self,
        slot: i32,
        pod: &Pod,
        error: ApiError,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let Some(why) = refusal(&error) else {
            return Err(error);
        };
        warn!(slot, %error, "a worker's pod was refused");
        self.refused.is_new = true;
        let notice = Notice {
            warning: true,
            reason: "WorkerRefused".to_owned(),
            message: format!("The worker's pod {} is refused: {why}", pod.name_any()),
        };
        let until = now.saturating_add(REFUSED_REST);
        self.refused
            .slots
            .insert(slot, (notice, until.unwrap_or(Timestamp::MAX)));
        Ok(())
    }

    async fn retire(
        &mut self,
        slot: i32,
        pods: &HashMap<i32, Arc<Pod>>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let Some(pod) = pods.get(&slot) else {
            return Ok(());
        };
        if self.refused.slots.contains_key(&slot) {
            return Ok(());
        }
        let uid = pod.uid().unwrap_or_default();
        info!(slot, pod = pod.name_any(), "retiring a worker");
        if let Err(error) = self.world.writer.delete_pod(&pod.name_any(), &uid).await {
            return self.bear_for_slot(slot, pod, error, now);
        }
        self.slots.entry(slot).or_default().retired(uid, now);
        Ok(())
    }
}

fn is_in<V>(jobs: &HashMap<String, V>, job: &TransferJob) -> bool {
    let uid = job.metadata.uid.as_ref();
    uid.is_some_and(|uid| jobs.contains_key(uid))
}

/// Whether a pod was made from something older. A session that cannot be used any more is none.
fn is_outdated(factory: &PodFactory, pod: &Pod, session: &SessionState) -> bool {
    match session {
        SessionState::Unknown => false,
        SessionState::Usable { hash, .. } => factory.is_outdated(pod, hash),
        SessionState::Unusable(_) => true,
    }
}

/// The UID of the pod that a job is assigned to, and what the pod has to do: at its outcome a slot
/// is free, before the rest of the bookkeeping.
fn holder(job: &TransferJob) -> Option<(String, Work)> {
    let status = job.status.as_ref()?;
    let assignment = status.assignment.as_ref()?;
    let done = status
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.attempt == assignment.attempt);
    let work = if done { Work::Ended } else { Work::Running };
    Some((assignment.pod_uid.clone(), work))
}

fn is_at_work(job: &TransferJob) -> bool {
    matches!(holder(job), Some((_, Work::Running)))
}

fn is_ready(state: SlotState) -> bool {
    matches!(
        state,
        SlotState::Idle {
            outdated: false,
            ..
        }
    )
}

/// Whether a pod may soon be ready on a slot that has none that is.
fn may_come(state: SlotState) -> bool {
    !matches!(state, SlotState::Busy) && !is_ready(state)
}

/// Whether jobs are being moved on, or will be as soon as they are given.
fn is_working(state: SlotState) -> bool {
    is_ready(state) || matches!(state, SlotState::Busy)
}

fn closed(slot: i32, until: Timestamp) -> Notice {
    Notice {
        warning: true,
        reason: "WorkerVanished".to_owned(),
        message: format!(
            "The pod of slot {slot} vanished, and its worker may still be at work: it is not replaced before {until}"
        ),
    }
}

fn fresh(at: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < OVERLAY_LIFE)
}

/// Why the API server does not take this one write, whatever else it takes: a policy, a webhook, a
/// quota. None: it may take no other either, or this one at another moment.
fn refusal(error: &ApiError) -> Option<&str> {
    let is_of_this_one = |code| matches!(code, 400 | 403 | 413 | 422);
    let answer = error
        .answer()
        .filter(|answer| is_of_this_one(answer.code))?;
    Some(&answer.message)
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(attempt: i32, pod_uid: &str, outcome: Value) -> TransferJob {
        serde_json::from_value(json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": "j"},
            "spec": {"source": {"chatId": 1, "messageId": 1}},
            "status": {"attempt": attempt, "outcome": outcome, "assignment": {"pod": "w", "podUID": pod_uid, "slot": 0,
                "attempt": attempt, "time": "2026-11-01T00:00:00Z"}},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_wrong_with_one_write_is_told_from_what_is_wrong_with_all() {
        for (code, is_refusal) in [
            (400, true),
            (403, true),
            (422, true),
            // The token is not taken, the server is busy, or falls over.
            (401, false),
            (429, false),
            (500, false),
            (504, false),
        ] {
            let status =
                json!({"status": "Failure", "message": "why", "reason": "R", "code": code});
            let status = Box::new(serde_json::from_value(status).unwrap());
            let error = ApiError::Refused(Box::new(kube::Error::Api(status)));
            assert_eq!(refusal(&error), is_refusal.then_some("why"), "{code}");
        }
        assert_eq!(refusal(&ApiError::Timeout), None);
    }

    #[test]
    fn a_pod_is_busy_while_it_runs_one_job_whatever_others_say_that_name_it() {
        let ended = |attempt: i32| json!({"attempt": attempt, "result": "PermanentFailure", "reason": "R", "message": ""});
        let (unrecorded, running) = (job(1, "u", ended(1)), job(2, "u", ended(1)));
        let other = job(1, "v", ended(1));
        for order in [
            [&unrecorded, &running, &other],
            [&other, &running, &unrecorded],
        ] {
            let works = slots::work_of_pods(order.into_iter().filter_map(holder));
            assert_eq!(
                works,
                [("u".into(), Work::Running), ("v".into(), Work::Ended)].into()
            );
        }
    }
}
