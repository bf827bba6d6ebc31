//! What is on each slot: judged from its pod, its session, the ledger, and what this process
//! remembers of it. No client, no clock.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::{
    lifecycle::STRAY_LIFE,
    pods::{self, PodEnd},
    pool::SlotState,
    sessions::SessionState,
};

/// How long a dead pod is left where it is; doubled for each that failed before without having
/// done anything.
const DEAD_POD_REST: SignedDuration = SignedDuration::from_secs(10);

/// Doublings of that: up to 5 min.
const MAX_DOUBLINGS: u32 = 5;

/// A session that Telegram refused is tried again so much later, should its Secret not change.
const REFUSED_REST: SignedDuration = SignedDuration::from_mins(10);

/// What a pod has to do with jobs. What counts more comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// No job names it.
    None,
    /// A job whose attempt has ended, which is not recorded yet.
    Ended,
    /// A job that it runs.
    Running,
}

/// What is seen of a slot.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The pod that is on it.
    pub pod: Option<&'a Pod>,
    /// What that pod has to do.
    pub work: Work,
    /// Whether that pod was made from something older.
    pub is_outdated: bool,
    /// Whether the slot is one of those that are wanted.
    pub is_wanted: bool,
    /// Its session.
    pub session: &'a SessionState,
    /// Whether the ledger says that a pod may be on it.
    pub is_held: bool,
    /// The UID of the latest pod that anybody has seen on it.
    pub latest: Option<&'a str>,
}

/// What this process remembers of a slot.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The UID of the pod that was on it last.
    tenant: Option<String>,
    /// A pod was asked for, and nothing is known of it yet: the one name makes asking again safe.
    is_spawning: bool,
    /// Since when nothing is known of the pod that should be there.
    missing_since: Option<Timestamp>,
    /// Since when the tenant has been as it is.
    since: Option<(Kind, Timestamp)>,
    /// The tenant has had work.
    has_served: bool,
    /// Pods in a row that failed without having done anything.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Starting,
    Idle,
    Busy,
    Dead,
}

impl Memory {
    /// A pod is being asked for, which the ledger knows.
    pub fn spawning(&mut self) {
        *self = Self {
            is_spawning: true,
            failures: self.failures,
            ..Self::default()
        };
    }

    /// The pod that was asked for is there.
    pub fn spawned(&mut self, uid: String) {
        self.is_spawning = false;
        self.tenant = Some(uid);
    }

    /// Whether the pod that is there has had work.
    pub fn has_served(&self) -> bool {
        self.has_served
    }

    /// Judges what is on the slot. `end_of` says how the pod of a UID ended, if that was seen.
    pub fn look(
        &mut self,
        view: &View<'_>,
        end_of: impl Fn(&str) -> Option<PodEnd>,
        now: Timestamp,
    ) -> SlotState {
        match view.pod {
            Some(pod) => self.tenanted(pod, view, now),
            None => self.empty(view, end_of, now),
        }
    }

    fn tenanted(&mut self, pod: &Pod, view: &View<'_>, now: Timestamp) -> SlotState {
        let uid = pod.uid();
        if self.tenant != uid {
            self.tenant = uid;
            self.since = None;
            self.has_served = false;
        }
        (self.is_spawning, self.missing_since) = (false, None);
        if let Some(end) = pods::end(pod) {
            let is_new = !matches!(self.since, Some((Kind::Dead, _)));
            let since = self.since(Kind::Dead, now);
            let failed = match end {
                PodEnd::SessionRefused | PodEnd::Misconfigured => true,
                PodEnd::Exited(1..) | PodEnd::OutOfMemory => !self.has_served,
                _ => false,
            };
            if !failed {
                self.failures = 0;
            } else if is_new {
                self.failures = self.failures.saturating_add(1);
            }
            let rest = match end {
                PodEnd::SessionRefused if view.is_outdated => SignedDuration::ZERO,
                PodEnd::SessionRefused => REFUSED_REST,
                _ => DEAD_POD_REST * (1 << self.failures.saturating_sub(1).min(MAX_DOUBLINGS)),
            };
            return SlotState::Dead {
                rest_until: since.saturating_add(rest).unwrap_or(Timestamp::MAX),
                unrecorded: view.work != Work::None,
            };
        }
        if pods::is_leaving(pod) {
            return SlotState::Leaving;
        }
        let outdated = view.is_outdated || !view.is_wanted;
        if !pods::is_running(pod) {
            let since = self.since(Kind::Starting, now);
            return SlotState::Starting { since, outdated };
        }
        if view.work == Work::Running {
            self.since(Kind::Busy, now);
            self.has_served = true;
            return SlotState::Busy;
        }
        let since = self.since(Kind::Idle, now);
        SlotState::Idle { since, outdated }
    }

    fn empty(
        &mut self,
        view: &View<'_>,
        end_of: impl Fn(&str) -> Option<PodEnd>,
        now: Timestamp,
    ) -> SlotState {
        self.since = None;
        if view.is_held && !self.is_spawning {
            let tenant = self.tenant.as_deref().or(view.latest);
            let is_proven = tenant.and_then(end_of).is_some();
            let since = *self.missing_since.get_or_insert(now);
            let until = since.saturating_add(STRAY_LIFE).unwrap_or(Timestamp::MAX);
            return if is_proven || until <= now {
                SlotState::Vacated
            } else {
                SlotState::Closed { until }
            };
        }
        (self.tenant, self.missing_since) = (None, None);
        if view.is_wanted && matches!(view.session, SessionState::Usable(_)) {
            SlotState::Empty
        } else {
            SlotState::Unusable
        }
    }

    fn since(&mut self, kind: Kind, now: Timestamp) -> Timestamp {
        match self.since {
            Some((before, since)) if before == kind => since,
            _ => {
                self.since = Some((kind, now));
                now
            }
        }
    }
}

/// What this process remembers of all slots.
pub type Memories = HashMap<i32, Memory>;

/// What each pod has to do, by UID, of what each job that names one says. A pod that was given a job
/// at the outcome of another may be named by both.
pub fn work_of_pods(said: impl IntoIterator<Item = (String, Work)>) -> HashMap<String, Work> {
    let mut works = HashMap::new();
    for (uid, work) in said {
        let known = works.entry(uid).or_insert(work);
        *known = work.max(*known);
    }
    works
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::controller::pool::{self, PoolSize, Slot};

    /// A worker that cannot reach the API server lives so long, and a little less than we wait.
    const WORKER_LIFE: SignedDuration = SignedDuration::from_mins(10);

    const SIZE: PoolSize = PoolSize {
        standby: 1,
        idle_timeout: SignedDuration::from_mins(5),
    };

    fn pod(uid: &str, phase: &str, is_leaving: bool) -> Pod {
        let deleted = is_leaving.then_some("2026-11-01T00:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"name": "w", "uid": uid, "deletionTimestamp": deleted},
            "status": {"phase": phase, "containerStatuses": [{"name": "w", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": if phase == "Failed" { json!({"terminated": {"exitCode": 1}}) } else { json!({}) }}]},
        }))
        .unwrap()
    }

    fn usable() -> SessionState {
        SessionState::Usable("s".into())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_pod_that_vanished_keeps_its_slot_closed_and_one_that_ended_does_not() {
        let session = usable();
        let view = |pod| View {
            pod,
            work: Work::None,
            is_outdated: false,
            is_wanted: true,
            session: &session,
            is_held: true,
            latest: None,
        };
        let running = pod("u", "Running", false);
        let unseen = |_: &str| None;
        let seen = |uid: &str| (uid == "u").then_some(PodEnd::Deleted);

        let mut memory = Memory::default();
        memory.look(&view(Some(&running)), unseen, at(0));
        let closed = SlotState::Closed {
            until: at(100) + STRAY_LIFE,
        };
        assert_eq!(memory.look(&view(None), unseen, at(100)), closed);
        assert_eq!(memory.look(&view(None), unseen, at(200)), closed);
        assert_eq!(
            memory.look(&view(None), unseen, at(100) + STRAY_LIFE),
            SlotState::Vacated
        );

        let mut memory = Memory::default();
        memory.look(&view(Some(&running)), seen, at(0));
        assert_eq!(memory.look(&view(None), seen, at(1)), SlotState::Vacated);

        let mut fresh = Memory::default();
        assert!(
            matches!(
                fresh.look(&view(None), seen, at(1)),
                SlotState::Closed { .. }
            ),
            "a process that has just begun knows of no pod"
        );
    }

    #[test]
    fn pods_that_fail_one_after_another_rest_longer_and_longer() {
        let session = usable();
        let mut memory = Memory::default();
        let mut rest = |uid: &str, work: Work| {
            let dead = pod(uid, "Failed", false);
            let running = pod(uid, "Running", false);
            let view = |pod, work| View {
                pod: Some(pod),
                work,
                is_outdated: false,
                is_wanted: true,
                session: &session,
                is_held: true,
                latest: None,
            };
            memory.look(&view(&running, work), |_| None, at(0));
            memory.look(&view(&dead, Work::None), |_| None, at(0));
            match memory.look(&view(&dead, Work::None), |_| None, at(5)) {
                SlotState::Dead { rest_until, .. } => rest_until.as_second(),
                other => panic!("{other:?}"),
            }
        };
        let rests: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h"]
            .iter()
            .map(|uid| rest(uid, Work::None))
            .collect();
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 320, 320]);
        assert_eq!(rest("i", Work::Running), 10, "this one was of use");
    }

    /// What can happen to a slot.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// The controller looks, and dies after so many writes.
        Look { writes: usize },
        /// The controller starts anew.
        Restart { knows_the_past: bool },
        /// The node starts the pod.
        Start,
        /// The worker ends, and the node reports it.
        End,
        /// The node has carried out a deletion; the controller sees it, or has missed it.
        Gone { seen: bool },
        /// Somebody removes the pod from the API server, and the node does not hear of it.
        ForceDelete,
        /// The pod is given a job.
        Assign,
        /// The worker says how its attempt ended.
        Outcome,
        /// The end of the attempt is recorded, by the worker's word or its pod's end.
        Record,
        /// So many seconds pass.
        Wait(u16),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0..4_usize).prop_map(|writes| Event::Look { writes }),
            4 => Just(Event::Look { writes: usize::MAX }),
            1 => any::<bool>().prop_map(|knows_the_past| Event::Restart { knows_the_past }),
            3 => Just(Event::Start),
            1 => Just(Event::End),
            1 => any::<bool>().prop_map(|seen| Event::Gone { seen }),
            1 => Just(Event::ForceDelete),
            3 => Just(Event::Assign),
            1 => Just(Event::Outcome),
            2 => Just(Event::Record),
            2 => (0..700_u16).prop_map(Event::Wait),
        ]
    }

    /// One slot, its pod at the API server, and the workers that hold its session.
    struct World {
        now: Timestamp,
        memory: Memory,
        ends: Vec<String>,
        /// Whether anybody has seen them or not.
        true_ends: Vec<String>,
        /// What was learned of the pods of the past.
        latest: Option<String>,
        is_held: bool,
        pod: Option<Pod>,
        pods_made: usize,
        /// What the job that was given to the pod of that UID does.
        work: Option<(String, Work)>,
        /// A pod with work was deleted by us.
        is_work_killed: bool,
        /// Each with the time at which it ends itself, once it was cut off.
        workers: Vec<(String, Option<Timestamp>)>,
    }

    impl World {
        fn happen(&mut self, event: Event) {
            match event {
                Event::Wait(seconds) => {
                    self.now += SignedDuration::from_secs(seconds.into());
                    let now = self.now;
                    self.workers
                        .retain(|(_, end)| end.is_none_or(|end| end > now));
                }
                Event::Restart { knows_the_past } => {
                    self.memory = Memory::default();
                    (self.ends, self.latest) = (Vec::new(), None);
                    if knows_the_past {
                        self.ends.clone_from(&self.true_ends);
                        self.latest = (self.pods_made > 0).then(|| self.pods_made.to_string());
                    }
                }
                Event::Start => {
                    if let Some(pod) = self.pod.as_mut()
                        && pod.status.as_ref().unwrap().phase.as_deref() == Some("Pending")
                        && pod.metadata.deletion_timestamp.is_none()
                    {
                        pod.status.as_mut().unwrap().phase = Some("Running".into());
                        self.workers.push((pod.uid().unwrap(), None));
                    }
                }
                Event::End => {
                    if let Some(pod_now) = &self.pod
                        && pods::is_running(pod_now)
                    {
                        let uid = pod_now.uid().unwrap();
                        self.workers.retain(|(of, _)| *of != uid);
                        self.pod = Some(pod(&uid, "Failed", false));
                        self.true_ends.push(uid.clone());
                        self.ends.push(uid);
                    }
                }
                Event::Gone { seen } => {
                    if let Some(pod) = self
                        .pod
                        .take_if(|pod| pod.metadata.deletion_timestamp.is_some())
                    {
                        let uid = pod.uid().unwrap();
                        self.workers.retain(|(of, _)| *of != uid);
                        self.true_ends.push(uid.clone());
                        if seen {
                            self.ends.push(uid);
                        }
                    }
                }
                Event::ForceDelete => {
                    if let Some(pod) = self.pod.take() {
                        let uid = pod.uid().unwrap();
                        let end = self.now + WORKER_LIFE;
                        for (of, ends) in &mut self.workers {
                            if *of == uid {
                                *ends = Some(end);
                            }
                        }
                    }
                }
                Event::Assign => {
                    if let Some(pod) = self.pod.as_ref().filter(|pod| pods::is_running(pod))
                        && self.work.is_none()
                    {
                        self.work = Some((pod.uid().unwrap(), Work::Running));
                    }
                }
                Event::Outcome => {
                    if let Some((uid, work)) = &mut self.work
                        && self.workers.iter().any(|(of, _)| of == uid)
                    {
                        *work = Work::Ended;
                    }
                }
                Event::Record => {
                    let is_at_work = |uid: &String| {
                        let pod = self.pod.as_ref();
                        pod.is_some_and(|pod| {
                            pod.uid().as_ref() == Some(uid) && pods::end(pod).is_none()
                        })
                    };
                    self.work
                        .take_if(|(uid, work)| *work == Work::Ended || !is_at_work(uid));
                }
                Event::Look { writes } => self.look(writes),
            }
        }

        /// What the pod that is there has to do.
        fn work(&self) -> Work {
            let uid = self.pod.as_ref().and_then(kube::ResourceExt::uid);
            match &self.work {
                Some((of, work)) if Some(of) == uid.as_ref() => *work,
                _ => Work::None,
            }
        }

        /// As the scheduler does it, each write of which may be the last.
        fn look(&mut self, mut writes: usize) {
            let session = usable();
            let latest = self.latest.clone();
            let view = View {
                pod: self.pod.as_ref(),
                work: self.work(),
                is_outdated: false,
                is_wanted: true,
                session: &session,
                is_held: self.is_held,
                latest: latest.as_deref(),
            };
            let ends = self.ends.clone();
            let end_of = |uid: &str| ends.iter().any(|end| end == uid).then_some(PodEnd::Deleted);
            let state = self.memory.look(&view, end_of, self.now);
            let plan = pool::decide(&[Slot { number: 0, state }], 1, SIZE, self.now);
            let is_unrecorded = self
                .pod
                .as_ref()
                .is_some_and(|pod| pods::end(pod).is_some());
            self.is_work_killed |= !plan.retire.is_empty()
                && (self.work() == Work::Running || is_unrecorded && self.work() == Work::Ended);
            let mut may_write = || {
                writes = writes.saturating_sub(1);
                writes > 0
            };
            let dies = (|| {
                if self.pod.is_some() && !self.is_held {
                    may_write().then(|| self.is_held = true)?;
                }
                if !plan.release.is_empty() {
                    may_write().then(|| self.is_held = false)?;
                }
                if !plan.retire.is_empty() {
                    if matches!(state, SlotState::Dead { .. }) {
                        may_write().then(|| self.is_held = false)?;
                        may_write().then(|| self.pod = None)?;
                    } else {
                        may_write().then(|| {
                            let pod = self.pod.as_mut().unwrap();
                            pod.metadata.deletion_timestamp =
                                pod_leaving().metadata.deletion_timestamp;
                        })?;
                    }
                }
                if !plan.spawn.is_empty() {
                    may_write().then(|| self.is_held = true)?;
                    self.memory.spawning();
                    may_write().then(|| {
                        // The API server allows no second of that name.
                        if self.pod.is_none() {
                            self.pods_made += 1;
                            self.pod = Some(pod(&self.pods_made.to_string(), "Pending", false));
                        }
                    })?;
                    self.memory.spawned(self.pods_made.to_string());
                }
                Some(())
            })();
            if dies.is_none() {
                self.happen(Event::Restart {
                    knows_the_past: false,
                });
            }
        }
    }

    fn pod_leaving() -> Pod {
        pod("x", "Running", true)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_schedule_of_events_puts_two_workers_on_one_session(events in prop::collection::vec(event(), 0..60)) {
            let mut world = World {
                now: at(0),
                memory: Memory::default(),
                ends: Vec::new(),
                true_ends: Vec::new(),
                latest: None,
                is_held: false,
                pod: None,
                pods_made: 0,
                work: None,
                is_work_killed: false,
                workers: Vec::new(),
            };
            for event in events {
                world.happen(event);
                prop_assert!(!world.is_work_killed, "after {event:?}: {:?}", world.work);
                prop_assert!(world.workers.len() <= 1, "after {event:?}: {:?}", world.workers);
            }
            // And it always comes back to work.
            for _ in 0..6 {
                world.happen(Event::Wait(700));
                world.happen(Event::Outcome);
                world.happen(Event::Record);
                world.happen(Event::Look { writes: usize::MAX });
                world.happen(Event::Gone { seen: true });
                world.happen(Event::Start);
            }
            prop_assert_eq!(world.workers.len(), 1);
        }
    }
}
