//! What to say next, in which chat. Pure: no client, no clock.
//!
//! A *batch* is what one status message tells of: the files that came together. Which files belong
//! to it stands in their `TransferJob`s (`requester.statusMessageId`), so that it is the same batch
//! after a restart.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::ResourceExt as _;

use super::super::{
    jobs::{created, is_over},
    view::{FileView, Kind},
};
use crate::api::{Delivery, Requester, TransferJob};

/// The files of an album come one by one: so long after the last of them it is whole.
const ALBUM_PAUSE: Duration = Duration::from_millis(1_500);

/// The most files that one message tells of.
pub const MOST_FILES: usize = 10;

/// How often the figures of a running transfer are looked at.
const RUNNING_INTERVAL: Duration = Duration::from_secs(3);

/// How often the places of those that wait are looked at.
const WAITING_INTERVAL: Duration = Duration::from_secs(20);

/// A status message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey {
    /// The chat that it is in.
    pub chat: i64,
    /// Its number there.
    pub message: i32,
}

/// Files that are told of together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Their status message, once there is one.
    pub key: Option<MessageKey>,
    /// Who asked for them, and where.
    pub requester: Requester,
    /// Their jobs, in the order in which they came.
    pub jobs: Vec<Arc<TransferJob>>,
}

/// What is to be said.
#[derive(Clone, Debug)]
pub enum Step {
    /// Tell that files were taken.
    Announce(Batch),
    /// Tell how far they are.
    Refresh(Batch),
    /// Tell what became of them.
    Deliver(Batch),
    /// Tell that they were stopped: their jobs are gone.
    Bury(MessageKey),
}

/// What a status message shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Who reads it.
    pub requester: Requester,
    /// Its files, those too whose jobs are gone.
    pub files: Vec<FileView>,
    /// What it was made from.
    pub kinds: BTreeMap<String, Kind>,
    /// Hash of its text and buttons.
    pub hash: u64,
    /// When it was last looked at.
    pub looked: Instant,
    /// Before that it may not be edited, whatever has changed.
    pub rests: Option<Instant>,
}

/// What this process remembers of the chats. All of it can be lost.
#[derive(Debug, Default)]
pub struct Board {
    /// By status message.
    pub shown: HashMap<MessageKey, Shown>,
    /// When jobs without a status message were first seen.
    pub arrived: HashMap<String, Instant>,
    /// The status messages of jobs, by UID, that do not say so themselves yet.
    pub announced: HashMap<String, MessageKey>,
    /// Jobs, by UID, of whose end was told, and which do not say so themselves yet.
    pub told: HashSet<String>,
    /// Messages that were sent to carry results, by the UIDs of jobs that do not say so themselves yet.
    pub carriers: HashMap<String, i32>,
    /// Chats in which something is being said.
    pub busy: HashSet<i64>,
    /// What could not be said, when it is tried again, and how often it was tried.
    pub resting: HashMap<Topic, (Instant, u32)>,
    /// Chats that take no messages, until when that is believed: files are not announced there.
    pub muted: HashMap<i64, Instant>,
}

/// What something is said about: one does not wait for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// New files in a chat.
    New(i64),
    /// The files of a status message.
    Message(MessageKey),
}

impl Step {
    /// The chat that it is about.
    pub const fn chat(&self) -> i64 {
        match self {
            Self::Announce(batch) | Self::Refresh(batch) | Self::Deliver(batch) => {
                batch.requester.chat_id
            }
            Self::Bury(key) => key.chat,
        }
    }

    /// What it is about.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::Announce(batch) | Self::Refresh(batch) | Self::Deliver(batch) => {
                match batch.key {
                    Some(key) => Topic::Message(key),
                    None => Topic::New(batch.requester.chat_id),
                }
            }
            Self::Bury(key) => Topic::Message(*key),
        }
    }
}

/// What to say now, one thing in each chat at most, and when to look again.
pub fn plan(
    jobs: &[Arc<TransferJob>],
    board: &mut Board,
    now: Instant,
) -> (Vec<Step>, Option<Instant>) {
    catch_up(jobs, board, now);
    let (batches, fresh) = group(jobs, board);
    remember(&fresh, board, now);
    let mut offers = Offers::default();
    for (key, batch) in &batches {
        let shown = board.shown.get(key);
        if batch.jobs.iter().any(|job| !is_over(job)) {
            let due = refresh_at(batch, shown, now);
            offers.offer(2, Step::Refresh(batch.clone()), due);
        } else if !batch.jobs.iter().all(|job| is_told(job, board)) {
            offers.offer(0, Step::Deliver(batch.clone()), now);
        }
    }
    for batch in announcements(&fresh) {
        let due = complete_at(&batch, board);
        let is_over = batch.jobs.iter().all(|job| is_over(job));
        let is_muted = board.muted.contains_key(&batch.requester.chat_id);
        let is_private = batch.requester.chat_id == batch.requester.user_id;
        match (is_over, is_muted) {
            // What is over before anything was said is said once.
            (true, false) if is_private => offers.offer(0, Step::Deliver(batch), due),
            (_, false) => offers.offer(1, Step::Announce(batch), due),
            (true, true) => offers.offer(0, Step::Deliver(batch), due),
            (false, true) => {}
        }
    }
    board.shown.retain(|key, shown| {
        let is_open = shown.files.iter().any(|file| !file.is_over());
        if is_open && !batches.contains_key(key) {
            offers.offer(1, Step::Bury(*key), now);
        }
        // What is over and told of needs no memory.
        is_open || batches.contains_key(key)
    });
    offers.choose(board, now)
}

/// Forgets what the jobs say themselves by now.
fn catch_up(jobs: &[Arc<TransferJob>], board: &mut Board, now: Instant) {
    let mut untold = HashSet::new();
    let mut unnamed = HashSet::new();
    for job in jobs {
        let uid = job.uid().unwrap_or_default();
        let requester = job.spec.requester.as_ref();
        if requester.is_some_and(|requester| requester.status_message_id.is_none()) {
            unnamed.insert(uid.clone());
        }
        if !says_told(job) {
            untold.insert(uid);
        }
    }
    board.announced.retain(|uid, _| unnamed.contains(uid));
    board.told.retain(|uid| untold.contains(uid));
    board.carriers.retain(|uid, _| untold.contains(uid));
    board.muted.retain(|_, until| *until > now);
}

/// What might be said, and when.
#[derive(Default)]
struct Offers {
    all: Vec<(u8, Step, Instant)>,
}

impl Offers {
    fn offer(&mut self, urgency: u8, step: Step, due: Instant) {
        self.all.push((urgency, step, due));
    }

    /// The most urgent that is due in each chat that is not busy, and when the next is due.
    fn choose(mut self, board: &mut Board, now: Instant) -> (Vec<Step>, Option<Instant>) {
        let topics: HashSet<Topic> = self.all.iter().map(|(_, step, _)| step.topic()).collect();
        board
            .resting
            .retain(|topic, (until, _)| topics.contains(topic) || *until > now);
        let mut again: Option<Instant> = None;
        let mut chosen: BTreeMap<i64, Step> = BTreeMap::new();
        self.all.sort_by_key(|(urgency, _, due)| (*urgency, *due));
        for (_, step, due) in self.all {
            let rest = board.resting.get(&step.topic()).map(|(until, _)| *until);
            let due = rest.map_or(due, |rest| rest.max(due));
            if due > now {
                again = Some(again.map_or(due, |other| other.min(due)));
            } else if !board.busy.contains(&step.chat()) {
                chosen.entry(step.chat()).or_insert(step);
            }
        }
        (chosen.into_values().collect(), again)
    }
}

/// The batches that have a status message, and the jobs that have none.
fn group(
    jobs: &[Arc<TransferJob>],
    board: &Board,
) -> (BTreeMap<MessageKey, Batch>, Vec<Arc<TransferJob>>) {
    let mut batches: BTreeMap<MessageKey, Batch> = BTreeMap::new();
    let mut fresh = Vec::new();
    let mut sorted: Vec<_> = jobs.iter().collect();
    sorted.sort_by_key(|job| (created(job), job.spec.source.message_id));
    for job in sorted {
        let Some(requester) = &job.spec.requester else {
            continue;
        };
        let named = requester.status_message_id.map(|message| MessageKey {
            chat: requester.chat_id,
            message,
        });
        let announced = || board.announced.get(&job.uid().unwrap_or_default());
        let Some(key) = named.or_else(|| announced().copied()) else {
            if !is_told(job, board) {
                fresh.push(Arc::clone(job));
            }
            continue;
        };
        let batch = batches.entry(key).or_insert_with(|| Batch {
            key: Some(key),
            requester: requester.clone(),
            jobs: Vec::new(),
        });
        batch.jobs.push(Arc::clone(job));
    }
    (batches, fresh)
}

fn remember(fresh: &[Arc<TransferJob>], board: &mut Board, now: Instant) {
    let uids: HashSet<String> = fresh.iter().filter_map(|job| job.uid()).collect();
    board.arrived.retain(|uid, _| uids.contains(uid));
    for uid in uids {
        board.arrived.entry(uid).or_insert(now);
    }
}

/// Who is told together: the files of an album, and those that came into one topic of a chat while
/// it could not be spoken in.
fn announcements(fresh: &[Arc<TransferJob>]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for job in fresh {
        let Some(requester) = &job.spec.requester else {
            continue;
        };
        let together = |batch: &&mut Batch| {
            let other = &batch.requester;
            batch.jobs.len() < MOST_FILES
                && (other.chat_id, other.thread_id, other.user_id, &other.album)
                    == (
                        requester.chat_id,
                        requester.thread_id,
                        requester.user_id,
                        &requester.album,
                    )
        };
        match batches.iter_mut().rev().find(together) {
            Some(batch) => batch.jobs.push(Arc::clone(job)),
            None => batches.push(Batch {
                key: None,
                requester: requester.clone(),
                jobs: vec![Arc::clone(job)],
            }),
        }
    }
    batches
}

/// When a batch can be announced: an album, when nothing more of it comes.
fn complete_at(batch: &Batch, board: &Board) -> Instant {
    let arrivals = batch
        .jobs
        .iter()
        .filter_map(|job| board.arrived.get(&job.uid().unwrap_or_default()));
    let last = arrivals.max().copied().unwrap_or_else(Instant::now);
    if batch.requester.album.is_some() && batch.jobs.len() < MOST_FILES {
        last + ALBUM_PAUSE
    } else {
        last
    }
}

/// When the status message of a batch is to be looked at.
fn refresh_at(batch: &Batch, shown: Option<&Shown>, now: Instant) -> Instant {
    let Some(shown) = shown else {
        // Another process has shown it.
        return now;
    };
    let rested = shown.rests.unwrap_or(now);
    let kinds = kinds(&batch.jobs);
    if kinds
        .iter()
        .any(|(job, kind)| shown.kinds.get(job) != Some(kind))
    {
        return rested;
    }
    let interval = if kinds.values().any(|kind| *kind == Kind::Running) {
        RUNNING_INTERVAL
    } else {
        WAITING_INTERVAL
    };
    rested.max(shown.looked + interval)
}

/// What the text about some jobs depends on.
pub fn kinds(jobs: &[Arc<TransferJob>]) -> BTreeMap<String, Kind> {
    jobs.iter()
        .map(|job| (job.name_any(), Kind::of(job)))
        .collect()
}

/// Whether the user knows of the end, as far as they can be told.
fn is_told(job: &TransferJob, board: &Board) -> bool {
    says_told(job) || board.told.contains(&job.uid().unwrap_or_default())
}

fn says_told(job: &TransferJob) -> bool {
    let notified = job
        .status
        .as_ref()
        .and_then(|status| status.notified.as_ref());
    notified.is_some_and(|notified| notified.delivery != Delivery::Sending)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bot::view::FileState;

    fn job(id: i32, requester: Value, status: Value) -> Arc<TransferJob> {
        let mut asked = json!({"userId": 7, "chatId": 7});
        for (key, value) in requester.as_object().unwrap() {
            asked[key] = value.clone();
        }
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
                "metadata": {"name": format!("tj-{id}"), "uid": format!("u{id}"), "creationTimestamp": "2026-11-01T12:00:00Z"},
                "spec": {"source": {"chatId": 7, "messageId": id}, "requester": asked}, "status": status,
            }))
            .unwrap(),
        )
    }

    fn over(notified: Value) -> Value {
        json!({"notified": notified, "conditions": [{"type": "Complete", "status": "True", "reason": "Succeeded",
            "message": "", "lastTransitionTime": "2026-11-01T12:00:00Z"}]})
    }

    fn shown(jobs: &[Arc<TransferJob>], looked: Instant) -> Shown {
        Shown {
            requester: jobs[0].spec.requester.clone().unwrap(),
            files: jobs
                .iter()
                .map(|job| FileView::of(job, None, None, jiff::Timestamp::UNIX_EPOCH))
                .collect(),
            kinds: kinds(jobs),
            hash: 0,
            looked,
            rests: None,
        }
    }

    fn said(steps: &[Step]) -> Vec<String> {
        let names = |batch: &Batch| {
            let names: Vec<_> = batch.jobs.iter().map(|job| job.name_any()).collect();
            names.join("+")
        };
        steps
            .iter()
            .map(|step| match step {
                Step::Announce(batch) => format!("announce {}", names(batch)),
                Step::Refresh(batch) => format!("refresh {}", names(batch)),
                Step::Deliver(batch) => format!("deliver {}", names(batch)),
                Step::Bury(key) => format!("bury {}", key.message),
            })
            .collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_new_file_is_announced_at_once_and_an_album_when_it_is_whole() {
        let (mut board, now) = (Board::default(), Instant::now());
        let one = job(1, json!({}), json!({}));
        let (steps, _) = plan(&[one], &mut board, now);
        assert_eq!(said(&steps), ["announce tj-1"]);
        let album: Vec<_> = (2..5)
            .map(|id| job(id, json!({"album": "a"}), json!({})))
            .collect();
        let (steps, again) = plan(&album[..2], &mut board, now);
        assert!(steps.is_empty() && again == Some(now + ALBUM_PAUSE));
        let (steps, _) = plan(&album, &mut board, now + SECOND);
        assert!(steps.is_empty(), "another file of it has come");
        let (steps, _) = plan(&album, &mut board, now + SECOND + ALBUM_PAUSE);
        assert_eq!(said(&steps), ["announce tj-2+tj-3+tj-4"]);
    }

    #[test]
    fn what_is_over_at_once_is_told_of_once_but_in_a_group_shown_first() {
        let (mut board, now) = (Board::default(), Instant::now());
        let private = job(1, json!({}), over(json!(null)));
        let in_group = job(2, json!({"chatId": -100}), over(json!(null)));
        let (steps, _) = plan(&[private, in_group], &mut board, now);
        assert_eq!(said(&steps), ["announce tj-2", "deliver tj-1"]);
    }

    #[test]
    fn files_that_wait_to_be_announced_share_a_message() {
        let (mut board, now) = (Board::default(), Instant::now());
        let many: Vec<_> = (0..25).map(|id| job(id, json!({}), json!({}))).collect();
        board.busy.insert(7);
        assert!(plan(&many, &mut board, now).0.is_empty());
        board.busy.clear();
        let (steps, _) = plan(&many, &mut board, now);
        let [Step::Announce(batch)] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!(batch.jobs.len(), MOST_FILES);
    }

    #[test]
    fn results_go_before_announcements_and_these_before_progress() {
        let (mut board, now) = (Board::default(), Instant::now());
        let running = job(1, json!({"statusMessageId": 1}), json!({}));
        let done = job(2, json!({"statusMessageId": 2}), over(json!(null)));
        let fresh = job(3, json!({}), json!({}));
        let other = job(4, json!({"chatId": 8, "statusMessageId": 1}), json!({}));
        let all = [running, done, fresh, other];
        assert_eq!(
            said(&plan(&all, &mut board, now).0),
            ["deliver tj-2", "refresh tj-4"]
        );
        assert_eq!(
            said(&plan(&[&all[..1], &all[2..3]].concat(), &mut board, now).0),
            ["announce tj-3"]
        );
    }

    #[test]
    fn what_could_not_be_said_holds_nothing_else_up() {
        let (mut board, now) = (Board::default(), Instant::now());
        let stuck = job(1, json!({"statusMessageId": 1}), over(json!(null)));
        let other = job(2, json!({"statusMessageId": 2}), over(json!(null)));
        let key = MessageKey {
            chat: 7,
            message: 1,
        };
        board.resting.insert(Topic::Message(key), (now + SECOND, 1));
        let (steps, again) = plan(&[stuck.clone(), other], &mut board, now);
        assert_eq!(said(&steps), ["deliver tj-2"]);
        assert_eq!(again, Some(now + SECOND));
        assert_eq!(
            said(&plan(&[stuck], &mut board, now + SECOND).0),
            ["deliver tj-1"]
        );
    }

    #[test]
    fn what_was_just_said_is_not_said_again_though_the_jobs_do_not_know_yet() {
        let (mut board, now) = (Board::default(), Instant::now());
        let fresh = [job(1, json!({}), json!({}))];
        let key = MessageKey {
            chat: 7,
            message: 5,
        };
        board.announced.insert("u1".into(), key);
        board.shown.insert(key, shown(&fresh, now));
        assert!(plan(&fresh, &mut board, now).0.is_empty());
        let done = [job(1, json!({"statusMessageId": 5}), over(json!(null)))];
        board.told.insert("u1".into());
        assert!(plan(&done, &mut board, now).0.is_empty());
        assert!(board.announced.is_empty(), "the job says so itself");
        plan(&[], &mut board, now);
        assert!(board.told.is_empty());
    }

    #[test]
    fn a_batch_is_told_of_when_all_of_it_is_over_and_once() {
        let (mut board, now) = (Board::default(), Instant::now());
        let of_batch = |id, status| job(id, json!({"statusMessageId": 5}), status);
        let time = "2026-11-01T12:00:00Z";
        let done = of_batch(1, over(json!(null)));
        assert_eq!(
            said(&plan(&[done.clone(), of_batch(2, json!({}))], &mut board, now).0),
            ["refresh tj-1+tj-2"]
        );
        let sending = of_batch(2, over(json!({"time": time, "delivery": "Sending"})));
        assert_eq!(
            said(&plan(&[done, sending], &mut board, now).0),
            ["deliver tj-1+tj-2"]
        );
        let told = |id| of_batch(id, over(json!({"time": time})));
        assert!(plan(&[told(1), told(2)], &mut board, now).0.is_empty());
    }

    #[test]
    fn progress_is_looked_at_when_it_may_have_changed() {
        let (mut board, now) = (Board::default(), Instant::now());
        let assignment = json!({"pod": "p", "podUID": "u", "slot": 0, "attempt": 1, "time": "2026-11-01T12:00:00Z"});
        let waiting = [job(1, json!({"statusMessageId": 5}), json!({}))];
        let running = [job(
            1,
            json!({"statusMessageId": 5}),
            json!({"assignment": assignment}),
        )];
        let key = MessageKey {
            chat: 7,
            message: 5,
        };
        board.shown.insert(key, shown(&waiting, now));
        let (steps, again) = plan(&waiting, &mut board, now);
        assert!(steps.is_empty() && again == Some(now + WAITING_INTERVAL));
        assert_eq!(said(&plan(&running, &mut board, now).0), ["refresh tj-1"]);
        board.shown.insert(key, shown(&running, now));
        let (steps, again) = plan(&running, &mut board, now);
        assert!(steps.is_empty() && again == Some(now + RUNNING_INTERVAL));
        // And not before the chat may be written to.
        let rests = Some(now + SECOND);
        board.shown.insert(
            key,
            Shown {
                rests,
                ..shown(&waiting, now)
            },
        );
        let (steps, again) = plan(&running, &mut board, now);
        assert!(steps.is_empty() && again == rests);
    }

    #[test]
    fn what_was_removed_behind_our_back_is_said_and_forgotten() {
        let (mut board, now) = (Board::default(), Instant::now());
        let waiting = [job(1, json!({"statusMessageId": 5}), json!({}))];
        let key = MessageKey {
            chat: 7,
            message: 5,
        };
        board.shown.insert(key, shown(&waiting, now));
        assert_eq!(said(&plan(&[], &mut board, now).0), ["bury 5"]);
        board.shown.get_mut(&key).unwrap().files[0].state = FileState::Cancelled;
        assert!(plan(&[], &mut board, now).0.is_empty());
        assert!(board.shown.is_empty());
    }

    #[test]
    fn a_chat_that_takes_no_messages_is_left_alone_until_the_end() {
        let (mut board, now) = (Board::default(), Instant::now());
        board.muted.insert(7, now + SECOND);
        assert!(
            plan(&[job(1, json!({}), json!({}))], &mut board, now)
                .0
                .is_empty()
        );
        assert_eq!(
            said(&plan(&[job(1, json!({}), over(json!(null)))], &mut board, now).0),
            ["deliver tj-1"]
        );
    }

    #[test]
    fn jobs_made_by_hand_are_nobodys() {
        let made_by_hand: TransferJob = serde_json::from_value(json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": "tj"},
            "spec": {"source": {"chatId": 7, "messageId": 1}}, "status": over(json!(null)),
        }))
        .unwrap();
        let (steps, again) = plan(
            &[Arc::new(made_by_hand)],
            &mut Board::default(),
            Instant::now(),
        );
        assert!(steps.is_empty() && again.is_none());
    }
}
