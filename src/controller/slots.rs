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

/// How long a write that was not seen back is believed in.
const OVERLAY_LIFE: SignedDuration = SignedDuration::from_secs(30);

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
    /// Whether a pod was asked for of which nothing is known yet.
    asked: Asked,
    /// The UID of the latest pod that anybody had seen on it before that.
    latest_before: Option<String>,
    /// What was written and has not been seen back.
    unseen: Option<Unseen>,
    /// Since when nothing is known of the pod that should be there.
    missing_since: Option<Timestamp>,
    /// Since when the tenant has been as it is.
    since: Option<(Kind, Timestamp)>,
    /// The tenant has had work.
    has_served: bool,
    /// Pods in a row that failed without having done anything.
    failures: u32,
}

/// Whether a pod was asked for of which nothing is known yet. The one name makes asking again safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    No,
    Once,
    /// Even if it is refused, an earlier one may come.
    Again,
    /// It was refused the only time: there is none.
    Refused,
}

/// A pod was made or deleted.
#[derive(Clone, Debug)]
struct Unseen {
    /// The UID of the pod that was there before.
    before: Option<String>,
    at: Timestamp,
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
            asked: match self.asked {
                Asked::No | Asked::Refused => Asked::Once,
                Asked::Once | Asked::Again => Asked::Again,
            },
            latest_before: self.latest_before.take(),
            failures: self.failures,
            ..Self::default()
        };
    }

    /// The pod that was asked for is there. It has that UID if it was not there before.
    pub fn spawned(&mut self, uid: Option<String>, now: Timestamp) {
        if uid.is_some() {
            (self.asked, self.tenant) = (Asked::No, uid);
        }
        let before = None;
        self.unseen = Some(Unseen { before, at: now });
    }

    /// The pod that was asked for was refused.
    pub fn refused(&mut self) {
        if self.asked == Asked::Once {
            self.asked = Asked::Refused;
        }
    }

    /// The pod of that UID is told to go.
    pub fn retired(&mut self, uid: String, now: Timestamp) {
        let before = Some(uid);
        self.unseen = Some(Unseen { before, at: now });
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
        if let Some(state) = self.unseen(view.pod, now) {
            return state;
        }
        match view.pod {
            Some(pod) => self.tenanted(pod, view, now),
            None => self.empty(view, end_of, now),
        }
    }

    /// What is on the slot as long as it is seen as it was before a write.
    fn unseen(&mut self, pod: Option<&Pod>, now: Timestamp) -> Option<SlotState> {
        let seen = pod.and_then(|pod| pod.metadata.uid.as_ref());
        let unseen = self.unseen.take_if(|unseen| {
            seen != unseen.before.as_ref() || now.duration_since(unseen.at) >= OVERLAY_LIFE
        });
        drop(unseen);
        self.unseen.as_ref().map(|unseen| match unseen.before {
            Some(_) => SlotState::Leaving,
            None => SlotState::Starting {
                since: unseen.at,
                outdated: false,
            },
        })
    }

    fn tenanted(&mut self, pod: &Pod, view: &View<'_>, now: Timestamp) -> SlotState {
        let uid = pod.uid();
        if self.tenant != uid {
            self.tenant = uid;
            self.since = None;
            self.has_served = false;
        }
        (self.asked, self.missing_since) = (Asked::No, None);
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
                unrecorded: view.work == Work::Running,
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
        if self.latest_before.as_deref() != view.latest {
            // One came and went before anybody looked.
            (self.asked, self.missing_since) = (Asked::No, None);
        }
        if !self.is_asked() {
            self.latest_before = view.latest.map(str::to_owned);
        }
        let may_spawn = view.is_wanted && matches!(view.session, SessionState::Usable { .. });
        if view.is_held && !(self.is_asked() && may_spawn) {
            // Of a pod that was asked for and not seen, nothing that was seen says how it ended.
            let tenant = self.tenant.as_deref().or(view.latest);
            let tenant = tenant.filter(|_| !self.is_asked());
            let is_proven = self.asked == Asked::Refused || tenant.and_then(end_of).is_some();
            let since = *self.missing_since.get_or_insert(now);
            let until = since.saturating_add(STRAY_LIFE).unwrap_or(Timestamp::MAX);
            return if is_proven || until <= now {
                SlotState::Vacated
            } else {
                SlotState::Closed { until }
            };
        }
        (self.tenant, self.missing_since) = (None, None);
        if !view.is_held {
            self.asked = Asked::No;
        }
        if may_spawn {
            SlotState::Empty
        } else {
            SlotState::Unusable
        }
    }

    fn is_asked(&self) -> bool {
        matches!(self.asked, Asked::Once | Asked::Again)
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
    use crate::{
        api::names,
        controller::{
            ledger::Holds,
            pool::{self, PoolSize, Slot},
            sessions::Sessions,
        },
    };

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
        SessionState::Usable {
            hash: "s".into(),
            prints: ["s".into()].into(),
        }
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

    #[test]
    fn a_pod_that_was_refused_leaves_its_slot_open_unless_an_earlier_one_may_come() {
        let session = usable();
        let view = |is_held| View {
            pod: None,
            work: Work::None,
            is_outdated: false,
            is_wanted: true,
            session: &session,
            is_held,
            latest: None,
        };
        let unseen = |_: &str| None;
        let mut memory = Memory::default();
        memory.spawning();
        memory.refused();
        assert_eq!(memory.look(&view(true), unseen, at(0)), SlotState::Vacated);
        assert_eq!(memory.look(&view(false), unseen, at(0)), SlotState::Empty);
        // No reply, and then a refusal
        memory.spawning();
        assert_eq!(memory.look(&view(true), unseen, at(1)), SlotState::Empty);
        memory.spawning();
        memory.refused();
        assert_eq!(memory.look(&view(true), unseen, at(2)), SlotState::Empty);
        let not_wanted = View {
            is_wanted: false,
            ..view(true)
        };
        let closed = SlotState::Closed {
            until: at(3) + STRAY_LIFE,
        };
        assert_eq!(memory.look(&not_wanted, unseen, at(3)), closed);
    }

    #[test]
    fn a_pod_that_was_asked_for_is_not_proven_to_have_ended_by_one_before() {
        let session = usable();
        let view = |is_wanted, latest| View {
            pod: None,
            work: Work::None,
            is_outdated: false,
            is_wanted,
            session: &session,
            is_held: true,
            latest,
        };
        let seen = |uid: &str| (uid == "old").then_some(PodEnd::Deleted);
        let closed = SlotState::Closed {
            until: at(1) + STRAY_LIFE,
        };
        let asked = || {
            let mut memory = Memory::default();
            memory.look(&view(true, Some("old")), seen, at(0));
            memory.spawning();
            memory
        };
        // The slot is not wanted any more, and the reply has not come
        let state = asked().look(&view(false, Some("old")), seen, at(1));
        assert_eq!(state, closed);
        // It came and went, and nobody saw its end
        let state = asked().look(&view(true, Some("new")), seen, at(1));
        assert_eq!(state, closed);
        // It is asked for again
        let state = asked().look(&view(true, Some("old")), seen, at(1));
        assert_eq!(state, SlotState::Empty);
    }

    /// What can happen to two slots. What happens to a pod happens to the one that is on a slot.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// The controller looks while so many wait, and dies after so many writes.
        Look {
            writes: usize,
            waiting: usize,
            fate: Fate,
        },
        /// The controller's caches are told all that has happened.
        See,
        /// Another controller leads.
        Restart { knows_the_past: bool },
        /// A request for a pod arrives that nobody has waited for.
        Land,
        /// The node starts the pod.
        Start(i32),
        /// The worker ends, and the node reports it.
        End(i32),
        /// The node has carried out a deletion; the caches are told, or are not.
        Gone { slot: i32, seen: bool },
        /// Somebody removes the pod from the API server, and the node does not hear of it.
        ForceDelete(i32),
        /// The control plane fails the pod, for its node is gone or out of service.
        GiveUp { slot: i32, says_so: bool },
        /// The worker says how the attempt at a job ended.
        Outcome(usize),
        /// The end of the attempt is recorded, by the worker's word or its pod's end.
        Record(usize),
        /// The Secret of a slot gets that document, or goes.
        Secret(i32, Option<u8>),
        /// So many slots are wanted.
        Wanted(i32),
        /// So many seconds pass.
        Wait(u16),
    }

    /// What becomes of a request for a pod.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fate {
        Answered,
        /// It is carried out, and the reply is lost.
        Unanswered,
        /// It is given up before it arrives. It does so before anybody asks again, or removes
        /// another.
        Late,
        Refused,
    }

    fn event() -> impl Strategy<Value = Event> {
        let slot = || 0..2_i32;
        let fate = || {
            prop_oneof![
                6 => Just(Fate::Answered),
                1 => Just(Fate::Unanswered),
                1 => Just(Fate::Late),
                1 => Just(Fate::Refused),
            ]
        };
        let looks = move |writes: BoxedStrategy<usize>| {
            (writes, 0..3_usize, fate()).prop_map(|(writes, waiting, fate)| Event::Look {
                writes,
                waiting,
                fate,
            })
        };
        prop_oneof![
            2 => looks((0..6_usize).boxed()),
            10 => looks(Just(usize::MAX).boxed()),
            10 => Just(Event::See),
            1 => any::<bool>().prop_map(|knows_the_past| Event::Restart { knows_the_past }),
            1 => Just(Event::Land),
            6 => slot().prop_map(Event::Start),
            1 => slot().prop_map(Event::End),
            2 => (slot(), any::<bool>()).prop_map(|(slot, seen)| Event::Gone { slot, seen }),
            1 => slot().prop_map(Event::ForceDelete),
            1 => (slot(), any::<bool>()).prop_map(|(slot, says_so)| Event::GiveUp { slot, says_so }),
            2 => (0..JOBS).prop_map(Event::Outcome),
            2 => (0..JOBS).prop_map(Event::Record),
            2 => (slot(), prop::option::weighted(0.9, 0..4_u8)).prop_map(|(slot, document)| Event::Secret(slot, document)),
            1 => (1..3_i32).prop_map(Event::Wanted),
            2 => (0..700_u16).prop_map(Event::Wait),
        ]
    }

    const JOBS: usize = 4;

    /// Two documents each have one key.
    fn key(document: u8) -> u8 {
        document / 2
    }

    fn hash(document: u8) -> String {
        format!("document-{document}")
    }

    /// A job: how many attempts were begun, and the pod of the one that is.
    type Job = (u32, Option<(String, Work)>);

    #[derive(Debug)]
    struct Worker {
        pod: String,
        key: u8,
        /// When it ends itself, once it was cut off.
        ends: Option<Timestamp>,
    }

    /// What the API server says.
    #[derive(Clone, Debug)]
    struct Truth {
        pods: HashMap<i32, Pod>,
        jobs: [Job; JOBS],
        secrets: [Option<u8>; 2],
    }

    /// Two slots, what the API server says of them, what the controller knows of that, and the workers.
    struct World {
        now: Timestamp,
        truth: Truth,
        ledger: Holds,
        wanted: i32,
        pods_made: usize,
        /// A request for a pod that has not arrived.
        on_its_way: Option<(i32, Pod)>,
        workers: Vec<Worker>,
        /// Pods whose nodes are out of reach.
        lost: Vec<String>,
        true_ends: Vec<String>,
        /// Of the controller that leads.
        seen: Truth,
        memories: Memories,
        /// The slots that jobs were given, and the attempts that were begun.
        given: HashMap<usize, (i32, u32)>,
        ends: Vec<String>,
        latest: HashMap<i32, String>,
        unseen_ends: Vec<String>,
        /// What must never happen.
        wrong: Option<String>,
    }

    /// As the scheduler sees it.
    struct Sight {
        slots: Vec<Slot>,
        sessions: HashMap<i32, SessionState>,
        holds: Holds,
    }

    impl World {
        fn new() -> Self {
            let truth = Truth {
                pods: HashMap::new(),
                jobs: Default::default(),
                secrets: [Some(0), Some(2)],
            };
            Self {
                now: at(0),
                seen: truth.clone(),
                truth,
                ledger: Holds::default(),
                wanted: 2,
                pods_made: 0,
                on_its_way: None,
                workers: Vec::new(),
                lost: Vec::new(),
                true_ends: Vec::new(),
                memories: Memories::new(),
                given: HashMap::new(),
                ends: Vec::new(),
                latest: HashMap::new(),
                unseen_ends: Vec::new(),
                wrong: None,
            }
        }

        fn happen(&mut self, event: Event) {
            match event {
                Event::Wait(seconds) => {
                    if seconds > 60 {
                        // No request is under way for longer.
                        self.happen(Event::Land);
                    }
                    self.now += SignedDuration::from_secs(seconds.into());
                    let now = self.now;
                    self.workers
                        .retain(|worker| worker.ends.is_none_or(|end| end > now));
                    if seconds > 300 {
                        // No watch stands still for longer.
                        self.see();
                    }
                }
                Event::See => self.see(),
                Event::Restart { knows_the_past } => self.restart(knows_the_past),
                Event::Land => {
                    if let Some((slot, pod)) = self.on_its_way.take() {
                        self.truth.pods.entry(slot).or_insert(pod);
                    }
                }
                Event::Start(slot) => self.start(slot),
                Event::End(slot) => {
                    if let Some(pod) = self.truth.pods.get_mut(&slot)
                        && pods::is_running(pod)
                        && !self.lost.contains(&uid(pod))
                    {
                        let uid = uid(pod);
                        end(pod, 1);
                        self.workers.retain(|worker| worker.pod != uid);
                        self.true_ends.push(uid);
                    }
                }
                Event::Gone { slot, seen } => {
                    // A pod takes longer to come and go than a request does that was sent before.
                    self.happen(Event::Land);
                    let can_go = |pod: &Pod| {
                        pod.metadata.deletion_timestamp.is_some() && !self.lost.contains(&uid(pod))
                    };
                    if self.truth.pods.get(&slot).is_some_and(can_go) {
                        let uid = uid(&self.truth.pods.remove(&slot).unwrap());
                        self.workers.retain(|worker| worker.pod != uid);
                        self.true_ends.push(uid.clone());
                        if seen {
                            self.unseen_ends.push(uid);
                        }
                    }
                }
                Event::ForceDelete(slot) => {
                    self.happen(Event::Land);
                    if let Some(pod) = self.truth.pods.remove(&slot) {
                        // Nobody is as fast as to remove what the caches do not know of yet.
                        self.latest.insert(slot, uid(&pod));
                        self.cut_off(&uid(&pod));
                        if pods::end(&pod).is_some() {
                            self.unseen_ends.push(uid(&pod));
                        }
                    }
                }
                Event::GiveUp { slot, says_so } => self.give_up(slot, says_so),
                Event::Outcome(job) => {
                    if let Some((uid, work)) = &mut self.truth.jobs[job].1
                        && self
                            .workers
                            .iter()
                            .any(|worker| worker.pod == *uid && worker.ends.is_none())
                    {
                        *work = Work::Ended;
                    }
                }
                Event::Record(job) => {
                    let pods = &self.truth.pods;
                    let is_at_work = |of: &String| {
                        pods.values()
                            .any(|pod| uid(pod) == *of && pods::end(pod).is_none())
                    };
                    self.truth.jobs[job]
                        .1
                        .take_if(|(uid, work)| *work == Work::Ended || !is_at_work(uid));
                }
                Event::Secret(slot, document) => {
                    self.truth.secrets[usize::try_from(slot).unwrap()] = document;
                }
                Event::Wanted(wanted) => {
                    self.wanted = wanted;
                    self.restart(true);
                }
                Event::Look {
                    writes,
                    waiting,
                    fate,
                } => {
                    if self.look(writes, waiting, fate).is_none() {
                        self.restart(false);
                    }
                }
            }
        }

        fn see(&mut self) {
            self.seen = self.truth.clone();
            self.ends.append(&mut self.unseen_ends);
            for (slot, pod) in &self.seen.pods {
                self.latest.insert(*slot, uid(pod));
                if pods::end(pod).is_some() {
                    self.ends.push(uid(pod));
                }
            }
        }

        fn restart(&mut self, knows_the_past: bool) {
            (self.memories, self.given) = (Memories::new(), HashMap::new());
            (self.ends, self.latest) = (Vec::new(), HashMap::new());
            self.unseen_ends.clear();
            if knows_the_past {
                self.ends.clone_from(&self.true_ends);
            }
            self.see();
        }

        /// The node has no word with the API server any more.
        fn cut_off(&mut self, pod: &str) {
            self.lost.push(pod.to_owned());
            let end = self.now + WORKER_LIFE;
            for worker in self.workers.iter_mut().filter(|worker| worker.pod == pod) {
                worker.ends.get_or_insert(end);
            }
        }

        fn start(&mut self, slot: i32) {
            let document = self.truth.secrets[usize::try_from(slot).unwrap()];
            if let Some(pod) = self.truth.pods.get_mut(&slot)
                && phase(pod) == "Pending"
                && pod.metadata.deletion_timestamp.is_none()
                && !self.lost.contains(&uid(pod))
                && let Some(document) = document
            {
                if pods::session_hash(pod) == Some(&hash(document)) {
                    set(pod, "Running", json!({"running": {}}));
                    self.workers.push(Worker {
                        pod: uid(pod),
                        key: key(document),
                        ends: None,
                    });
                } else {
                    // The worker does not take another session than it was made for.
                    end(pod, 2);
                    self.true_ends.push(uid(pod));
                }
            }
        }

        fn give_up(&mut self, slot: i32, says_so: bool) {
            let Some(pod) = self.truth.pods.get_mut(&slot) else {
                return;
            };
            if pods::is_leaving(pod) && pods::end(pod).is_some() {
                return;
            }
            let status = pod.status.as_mut().unwrap();
            // A pod that has not started is given up in words.
            if says_so || status.phase.as_deref() == Some("Pending") {
                let given_up = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]);
                status.conditions = serde_json::from_value(given_up).unwrap();
            }
            status.phase = Some("Failed".into());
            let uid = uid(pod);
            self.cut_off(&uid);
        }

        fn sight(&mut self) -> Sight {
            let documents = (0..).zip(self.seen.secrets);
            let sessions = Sessions::of(documents.take(usize::try_from(self.wanted).unwrap()).map(
                |(slot, document)| {
                    let prints =
                        |document| [hash(document), format!("key-{}", key(document))].into();
                    (slot, document.map(|of| (hash(of), prints(of))))
                },
            ));
            let mut holds = self.ledger.clone();
            for (slot, pod) in &self.seen.pods {
                if pods::end(pod).is_none() {
                    sessions.hold(&mut holds, *slot, pods::session_hash(pod));
                }
            }
            let works = work_of_pods(self.seen.jobs.iter().filter_map(|(_, pod)| pod.clone()));
            let mut sight = Sight {
                slots: Vec::new(),
                sessions: HashMap::new(),
                holds,
            };
            for number in 0..2 {
                let pod = self.seen.pods.get(&number);
                let mut session = sessions.state(number, "s");
                if pod.is_none() {
                    session = session.beside(&sight.holds, number);
                }
                let given = self.given.values().any(|(slot, _)| *slot == number);
                let work = pod.and_then(|pod| works.get(&uid(pod)).copied());
                let is_outdated = match &session {
                    SessionState::Unknown => false,
                    SessionState::Usable { hash, .. } => {
                        pod.is_some_and(|pod| pods::session_hash(pod) != Some(hash))
                    }
                    SessionState::Unusable(_) => true,
                };
                let view = View {
                    pod,
                    work: if given {
                        Work::Running
                    } else {
                        work.unwrap_or(Work::None)
                    },
                    is_outdated,
                    is_wanted: number < self.wanted,
                    session: &session,
                    is_held: self.ledger.is_held(number),
                    latest: self.latest.get(&number).map(String::as_str),
                };
                let end_of = |uid: &str| {
                    self.ends
                        .iter()
                        .any(|end| end == uid)
                        .then_some(PodEnd::Deleted)
                };
                let state = self
                    .memories
                    .entry(number)
                    .or_default()
                    .look(&view, end_of, self.now);
                sight.slots.push(Slot { number, state });
                sight.sessions.insert(number, session);
            }
            sight
        }

        /// As the scheduler does it, each write of which may be the last: then there is nothing.
        fn look(&mut self, mut writes: usize, waiting: usize, fate: Fate) -> Option<()> {
            let mut may_write = || {
                writes = writes.saturating_sub(1);
                (writes > 0).then_some(())
            };
            let seen = &self.seen.jobs;
            self.given
                .retain(|job, (_, attempt)| seen[*job].0 < *attempt);
            let idle: Vec<_> = self
                .sight()
                .slots
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
            for slot in idle {
                let is_free =
                    |job: &usize| self.seen.jobs[*job].1.is_none() && !self.given.contains_key(job);
                let Some(job) = (0..JOBS).rev().find(is_free) else {
                    break;
                };
                may_write()?;
                let pod = uid(&self.seen.pods[&slot]);
                if self.truth.jobs[job] == self.seen.jobs[job] {
                    let runs = |job: &Job| job.1 == Some((pod.clone(), Work::Running));
                    if self.truth.jobs.iter().any(runs) {
                        self.wrong = Some(format!("{pod} is given another job"));
                    }
                    let attempt = self.truth.jobs[job].0 + 1;
                    self.truth.jobs[job] = (attempt, Some((pod, Work::Running)));
                    self.given.insert(job, (slot, attempt));
                }
            }
            let sight = self.sight();
            let plan = pool::decide(&sight.slots, waiting, SIZE, self.now);
            let mut holds = sight.holds.clone();
            for slot in &plan.spawn {
                let SessionState::Usable { prints, .. } = &sight.sessions[slot] else {
                    unreachable!("no pod is made without a session")
                };
                holds.hold(*slot, prints.iter().cloned());
            }
            if self.ledger != holds {
                may_write()?;
                self.ledger = holds.clone();
            }
            let is_dead = |slot: &&i32| pods::end(&self.seen.pods[*slot]).is_some();
            for slot in plan.retire.iter().filter(is_dead).chain(&plan.release) {
                holds.release(*slot);
            }
            if self.ledger != holds {
                may_write()?;
                self.ledger = holds;
            }
            for slot in &plan.retire {
                may_write()?;
                self.retire(*slot);
            }
            for slot in &plan.spawn {
                may_write()?;
                let SessionState::Usable { hash, .. } = &sight.sessions[slot] else {
                    unreachable!("no pod is made without a session")
                };
                if !self.spawn(*slot, hash, fate) {
                    break;
                }
            }
            Some(())
        }

        fn retire(&mut self, slot: i32) {
            let retired = uid(&self.seen.pods[&slot]);
            let runs = |job: &Job| job.1 == Some((retired.clone(), Work::Running));
            if self.truth.jobs.iter().any(runs) {
                self.wrong = Some(format!("{retired} is retired at work"));
            }
            if let Some(pod) = self.truth.pods.get_mut(&slot)
                && uid(pod) == retired
            {
                pod.metadata.deletion_timestamp = pod_leaving().metadata.deletion_timestamp;
                if pods::end(pod).is_some() {
                    self.truth.pods.remove(&slot);
                }
            }
            self.memories
                .entry(slot)
                .or_default()
                .retired(retired, self.now);
        }

        /// Whether the controller has an answer.
        fn spawn(&mut self, slot: i32, hash: &str, fate: Fate) -> bool {
            self.happen(Event::Land);
            let memory = self.memories.entry(slot).or_default();
            memory.spawning();
            self.pods_made += 1;
            let made = pod_of(&self.pods_made.to_string(), hash);
            if fate == Fate::Refused {
                memory.refused();
                return true;
            }
            if fate == Fate::Late {
                self.on_its_way = Some((slot, made));
                return false;
            }
            // The API server allows no second of that name.
            let is_free = !self.truth.pods.contains_key(&slot);
            let made_uid = is_free.then(|| uid(&made));
            if is_free {
                self.truth.pods.insert(slot, made);
            }
            if fate == Fate::Answered {
                memory.spawned(made_uid, self.now);
            }
            fate == Fate::Answered
        }

        fn check(&self) -> Result<(), String> {
            if let Some(wrong) = &self.wrong {
                return Err(wrong.clone());
            }
            let mut keys: Vec<_> = self.workers.iter().map(|worker| worker.key).collect();
            keys.sort_unstable();
            keys.dedup();
            if keys.len() < self.workers.len() {
                return Err(format!("one key: {:?}", self.workers));
            }
            Ok(())
        }
    }

    fn uid(pod: &Pod) -> String {
        pod.metadata.uid.clone().unwrap()
    }

    fn phase(pod: &Pod) -> &str {
        pod.status.as_ref().unwrap().phase.as_deref().unwrap()
    }

    fn set(pod: &mut Pod, phase: &str, state: serde_json::Value) {
        let status = pod.status.as_mut().unwrap();
        status.phase = Some(phase.into());
        let container = &mut status.container_statuses.as_mut().unwrap()[0];
        container.state = serde_json::from_value(state).unwrap();
    }

    fn end(pod: &mut Pod, code: i32) {
        set(pod, "Failed", json!({"terminated": {"exitCode": code}}));
    }

    fn pod_of(uid: &str, hash: &str) -> Pod {
        let mut pod = pod(uid, "Pending", false);
        pod.metadata.labels = Some([(names::SESSION_LABEL.to_owned(), hash.to_owned())].into());
        pod
    }

    fn pod_leaving() -> Pod {
        pod("x", "Running", true)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn no_schedule_of_events_puts_two_workers_on_one_session(events in prop::collection::vec(event(), 0..120)) {
            let mut world = World::new();
            for event in events {
                world.happen(event);
                let checked = world.check();
                prop_assert!(checked.is_ok(), "after {event:?}: {checked:?}");
            }
            // And both always come back to work.
            let last = [Event::Wanted(2), Event::Secret(0, Some(0)), Event::Secret(1, Some(2)), Event::Land];
            for event in last {
                world.happen(event);
            }
            for _ in 0..12 {
                world.happen(Event::Wait(700));
                for job in 0..JOBS {
                    world.happen(Event::Outcome(job));
                    world.happen(Event::Record(job));
                }
                world.happen(Event::See);
                world.happen(Event::Look { writes: usize::MAX, waiting: 2, fate: Fate::Answered });
                for slot in 0..2 {
                    world.happen(Event::Gone { slot, seen: true });
                    let is_lost = |pod: &Pod| world.lost.contains(&uid(pod));
                    if world.truth.pods.get(&slot).is_some_and(is_lost) {
                        world.happen(Event::ForceDelete(slot));
                    }
                    world.happen(Event::Start(slot));
                }
                prop_assert!(world.check().is_ok(), "{:?}", world.check());
            }
            prop_assert_eq!(world.workers.len(), 2);
        }
    }
}
