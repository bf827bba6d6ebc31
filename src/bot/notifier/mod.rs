//! Tells users how their files are: what `TransferJob`s say becomes what chats show.
//!
//! Level-based, as the controller is: whatever is lost here (a process, a reply, Redis, the Bot API
//! for hours) is made up for by looking at the jobs again. A result is told in two ways. The status
//! message is edited until it stands: that can be repeated. The new message that rings is sent at
//! most once: `status.notified` is written before it.

mod plan;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    bot_api::{BotApi, ChatError, Place, Post},
    jobs::{JobError, Jobs, created},
    members::MemberBook,
    metrics::BotMetrics,
    render::{self, Readers},
    texts::Language,
    view::{FileState, FileView, Kind},
};
use crate::{
    Class,
    api::{Delivery, Notified, Requester, TransferJob},
    queue::{LiveProgress, Queue},
};
use plan::{Batch, Board, MessageKey, Shown, Step, Topic, kinds, plan};

/// It looks at least so often.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// And not more often.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);

/// The most chats that are spoken in at the same time.
const MOST_AT_ONCE: usize = 32;

/// If Telegram refuses edits for longer, a result does not wait for one.
const EDIT_PATIENCE: Duration = Duration::from_secs(30);

/// How long the message that rings is tried.
const RING_PATIENCE: Duration = Duration::from_mins(10);

/// Until then, nobody misses the progress of a file.
const LONG: Duration = Duration::from_hours(1);

/// The longest rest of a chat after failures.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// How long a chat is believed to take no messages.
const MUTED: Duration = Duration::from_mins(10);

/// What was begun may take so long to end.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// What the notifier works with.
#[derive(Clone)]
pub struct Notifier {
    api: BotApi,
    jobs: Jobs,
    members: MemberBook,
    metrics: BotMetrics,
    wake: Arc<Notify>,
    board: Arc<Mutex<Board>>,
    live: Arc<Mutex<HashMap<String, LiveProgress>>>,
}

/// Why something could not be said.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error(transparent)]
    Job(#[from] JobError),
}

impl Trouble {
    fn class(&self) -> Class {
        match self {
            Self::Chat(error) => error.class(),
            // What has changed is looked at again.
            Self::Job(JobError::Gone | JobError::Conflict) => Class::Transient,
            Self::Job(error) => error.class(),
        }
    }
}

impl Notifier {
    /// A notifier that looks whenever `wake` is notified.
    pub fn new(
        api: BotApi,
        jobs: Jobs,
        members: MemberBook,
        metrics: BotMetrics,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            api,
            jobs,
            members,
            metrics,
            wake,
            board: Arc::default(),
            live: Arc::default(),
        }
    }

    /// Tells until `stop`; then what was begun has a while to end.
    pub async fn run(&self, queue: Option<Queue>, stop: &CancellationToken) {
        let following = self.follow(queue);
        let telling = self.tell(stop);
        tokio::select! {
            () = following => {}
            () = telling => {}
        }
    }

    /// Keeps what workers tell of their progress, for ever.
    async fn follow(&self, queue: Option<Queue>) {
        let Some(queue) = queue else {
            return std::future::pending().await;
        };
        let mut told = std::pin::pin!(queue.subscribe());
        while let Some((uid, progress)) = told.next().await {
            lock(&self.live).insert(uid, progress);
            self.wake.notify_one();
        }
    }

    async fn tell(&self, stop: &CancellationToken) {
        let mut speaking = JoinSet::new();
        loop {
            let jobs = self.jobs.unfinished();
            self.forget_progress(&jobs);
            let now = Instant::now();
            let (steps, again) = plan(&jobs, &mut lock(&self.board), now);
            for step in steps {
                if speaking.len() >= MOST_AT_ONCE {
                    break;
                }
                let (chat, topic) = (step.chat(), step.topic());
                lock(&self.board).busy.insert(chat);
                let notifier = self.clone();
                speaking.spawn(async move {
                    let result = notifier.say(step).await;
                    notifier.spoke(chat, topic, result);
                });
            }
            let until = again.map_or(LONGEST_SLEEP, |again| again.saturating_duration_since(now));
            let nap = until.clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(nap) => {}
                () = self.wake.notified() => sleep(SHORTEST_SLEEP).await,
                Some(_) = speaking.join_next() => {}
            }
        }
        let ended = async { while speaking.join_next().await.is_some() {} };
        if timeout(STOP_PATIENCE, ended).await.is_err() {
            warn!("not all that was begun has been said; it is said after the next start");
        }
    }

    fn forget_progress(&self, jobs: &[Arc<TransferJob>]) {
        let mut live = lock(&self.live);
        if live.len() > jobs.len() {
            let uids: std::collections::HashSet<_> =
                jobs.iter().filter_map(|job| job.uid()).collect();
            live.retain(|uid, _| uids.contains(uid));
        }
    }

    /// Notes how saying something in a chat went.
    fn spoke(&self, chat: i64, topic: Topic, result: Result<(), Trouble>) {
        let mut board = lock(&self.board);
        board.busy.remove(&chat);
        let Err(trouble) = result else {
            board.resting.remove(&topic);
            drop(board);
            self.wake.notify_one();
            return;
        };
        let failures = board
            .resting
            .get(&topic)
            .map_or(0, |(_, failures)| *failures);
        let wait = match trouble.class() {
            Class::After(wait) => wait,
            Class::Permanent => LONGEST_REST,
            Class::Transient | Class::Interrupted => {
                (Duration::from_millis(200) * 2_u32.saturating_pow(failures)).min(LONGEST_REST)
            }
        };
        warn!(error = %trouble, wait_seconds = wait.as_secs_f32(), "a chat was not told; trying again");
        let until = Instant::now() + wait;
        board
            .resting
            .insert(topic, (until, failures.saturating_add(1)));
        drop(board);
        self.wake.notify_one();
    }

    async fn say(&self, step: Step) -> Result<(), Trouble> {
        match step {
            Step::Announce(batch) => self.announce(batch).await,
            Step::Refresh(batch) => self.refresh(batch).await,
            Step::Deliver(batch) => self.deliver(batch).await,
            Step::Bury(key) => self.bury(key).await,
        }
    }

    /// Says that files were taken, and writes down where.
    async fn announce(&self, batch: Batch) -> Result<(), Trouble> {
        let files = self.views(&batch, None).await;
        let post = self.status_post(&batch.requester, &files);
        let place = Place {
            chat: batch.requester.chat_id,
            thread: batch.requester.thread_id,
            reply_to: batch.requester.message_id,
        };
        let message = match self.api.send(place, &post).await {
            Err(error @ (ChatError::Unreachable(_) | ChatError::Gone(_))) => {
                // The transfer goes on: the user may come back for it.
                info!(%error, "a chat takes no messages");
                let until = Instant::now() + MUTED;
                let mut board = lock(&self.board);
                board.muted.insert(batch.requester.chat_id, until);
                return Ok(());
            }
            sent => sent?,
        };
        let key = MessageKey {
            chat: batch.requester.chat_id,
            message,
        };
        self.api.pace().edit(key.chat, Instant::now());
        let shown = Shown {
            requester: batch.requester.clone(),
            kinds: kinds(&batch.jobs),
            hash: hash(&post),
            looked: Instant::now(),
            rests: None,
            files,
        };
        {
            let mut board = lock(&self.board);
            board.shown.insert(key, shown);
            let uids = batch.jobs.iter().filter_map(|job| job.uid());
            board.announced.extend(uids.map(|uid| (uid, key)));
        }
        for job in &batch.jobs {
            self.write_down(job, message, batch.jobs.len()).await;
        }
        Ok(())
    }

    /// Tries until it stands, or the job is gone: without it, the file would be announced again.
    async fn write_down(&self, job: &TransferJob, message: i32, files: usize) {
        let mut wait = Duration::from_millis(100);
        loop {
            match self.jobs.set_status_message(job, message, files).await {
                Err(error) if error.class() == Class::Transient => {
                    warn!(%error, "a status message was not written down; trying again");
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_REST);
                }
                Err(JobError::Gone) | Ok(()) => return,
                Err(error) => {
                    warn!(%error, "a status message was not written down");
                    return;
                }
            }
        }
    }

    /// Shows how far files are, if that has changed and the chat may be written to.
    async fn refresh(&self, batch: Batch) -> Result<(), Trouble> {
        let Some(key) = batch.key else { return Ok(()) };
        let shown = self.shown(key, &batch).await?;
        let files = self.views(&batch, Some(&shown)).await;
        let post = self.status_post(&batch.requester, &files);
        let mut next = Shown {
            kinds: kinds(&batch.jobs),
            hash: hash(&post),
            looked: Instant::now(),
            rests: None,
            files,
            ..shown.clone()
        };
        if next.hash != shown.hash {
            let wait = self.api.pace().edit(key.chat, Instant::now());
            if let Some(wait) = wait {
                // Edits that only show progress are not queued: the next one shows more.
                let rests = Some(Instant::now() + wait);
                lock(&self.board)
                    .shown
                    .insert(key, Shown { rests, ..shown });
                return Ok(());
            }
            match self.api.edit(key.chat, key.message, &post).await {
                // The user has deleted it: nothing is shown until the end.
                Err(ChatError::Gone(_) | ChatError::Refused(_) | ChatError::Unreachable(_)) => {
                    next.rests = Some(Instant::now() + LONG);
                }
                Err(ChatError::Flooded(wait)) => {
                    next.rests = Some(Instant::now() + wait);
                    next.hash = shown.hash;
                }
                edited => edited?,
            }
        }
        lock(&self.board).shown.insert(key, next);
        Ok(())
    }

    /// Says that files were stopped whose jobs are gone.
    async fn bury(&self, key: MessageKey) -> Result<(), Trouble> {
        let Some(mut shown) = lock(&self.board).shown.get(&key).cloned() else {
            return Ok(());
        };
        for file in &mut shown.files {
            if !file.is_over() {
                file.state = FileState::Cancelled;
            }
        }
        let post = self.status_post(&shown.requester, &shown.files);
        self.edit_result(key, &post).await?;
        lock(&self.board).shown.insert(key, shown);
        Ok(())
    }

    /// Tells of the end of a batch.
    async fn deliver(&self, batch: Batch) -> Result<(), Trouble> {
        let requester = batch.requester.clone();
        let shown = match batch.key {
            Some(key) => Some(self.shown(key, &batch).await?),
            None => None,
        };
        let files = self.views(&batch, shown.as_ref()).await;
        let delivery = if files.iter().all(|file| file.state == FileState::Cancelled) {
            self.tell_cancelled(&batch, &files).await?
        } else if readers(&requester) == Readers::User && batch.key.is_some() {
            self.tell_in_status(&batch, &files).await?
        } else {
            self.tell_in_private(&batch, &files).await?
        };
        {
            let mut board = lock(&self.board);
            if let Some(key) = batch.key {
                board.shown.remove(&key);
            }
            board
                .told
                .extend(batch.jobs.iter().filter_map(|job| job.uid()));
        }
        self.metrics.told(delivery);
        Ok(())
    }

    /// Whoever stops a file needs no bell.
    async fn tell_cancelled(
        &self,
        batch: &Batch,
        files: &[FileView],
    ) -> Result<&'static str, Trouble> {
        if let Some(key) = batch.key {
            let post = self.status_post(&batch.requester, files);
            self.edit_result(key, &post).await?;
        }
        self.mark(batch, Delivery::Delivered, None).await?;
        Ok("Cancelled")
    }

    /// The status message carries the result, then a new message rings.
    async fn tell_in_status(
        &self,
        batch: &Batch,
        files: &[FileView],
    ) -> Result<&'static str, Trouble> {
        let Some(key) = batch.key else {
            return self.tell_in_private(batch, files).await;
        };
        let post = self.status_post(&batch.requester, files);
        match self.edit_result(key, &post).await {
            Ok(Edited::Stands) => {
                if self.mark(batch, Delivery::Delivered, None).await? == Marked::First {
                    self.ring(batch.requester.user_id, &batch.requester, files)
                        .await;
                }
                Ok("Delivered")
            }
            Ok(Edited::Gone) => self.tell_in_private(batch, files).await,
            Err(ChatError::Flooded(wait)) if wait > EDIT_PATIENCE => {
                // The new message brings the link; should it be lost, the edit is still owed.
                if self.mark(batch, Delivery::Sending, None).await? == Marked::Before {
                    return Err(ChatError::Flooded(wait).into());
                }
                let rung = self
                    .ring(batch.requester.user_id, &batch.requester, files)
                    .await;
                if rung.is_none() {
                    return Err(ChatError::Flooded(wait).into());
                }
                self.mark(batch, Delivery::Delivered, rung).await?;
                Ok("Delivered")
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A message of its own in the user's private chat carries the result. It is sent without it,
    /// written down, and then edited until it has it: so the link is there exactly once, whenever
    /// this process dies.
    async fn tell_in_private(
        &self,
        batch: &Batch,
        files: &[FileView],
    ) -> Result<&'static str, Trouble> {
        let requester = &batch.requester;
        let language = self.language(requester);
        let begun = self.carrier(batch);
        let message = if let Some(message) = begun {
            message
        } else {
            let announcement = Post {
                html: language.say("result-follows"),
                keyboard: None,
            };
            let place = Place::chat(requester.user_id);
            let sent = match self.api.send(place, &announcement).await {
                Err(ChatError::Unreachable(why)) => {
                    info!(why, "a user cannot be told");
                    return self.give_up(batch, files).await;
                }
                sent => sent?,
            };
            let uids = batch.jobs.iter().filter_map(|job| job.uid());
            let mut board = lock(&self.board);
            board.carriers.extend(uids.map(|uid| (uid, sent)));
            sent
        };
        // Written down before it carries anything: whoever goes on after a death finds it.
        self.mark(batch, Delivery::Sending, Some(message)).await?;
        let post = render::result(language, files, Timestamp::now());
        let key = MessageKey {
            chat: requester.user_id,
            message,
        };
        match self.edit_result(key, &post).await {
            Ok(Edited::Stands | Edited::Gone) => {}
            Err(ChatError::Flooded(wait)) if wait > EDIT_PATIENCE && begun.is_none() => {
                self.ring(requester.user_id, requester, files).await;
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = batch.key.filter(|key| key.chat != requester.user_id) {
            let post = self.status_post(requester, files);
            self.edit_result(status, &post).await?;
        }
        self.mark(batch, Delivery::Delivered, Some(message)).await?;
        Ok("Delivered")
    }

    /// The message that was sent to carry the result of a batch, if that was begun.
    fn carrier(&self, batch: &Batch) -> Option<i32> {
        let board = lock(&self.board);
        batch.jobs.iter().find_map(|job| {
            let written = notified(job).and_then(|notified| notified.message_id);
            let sent = || board.carriers.get(&job.uid().unwrap_or_default());
            written.or_else(|| sent().copied())
        })
    }

    /// The user cannot be told. In a group it is said how they can be.
    async fn give_up(&self, batch: &Batch, files: &[FileView]) -> Result<&'static str, Trouble> {
        if let Some(key) = batch.key
            && readers(&batch.requester) == Readers::Group
        {
            let mut post = self.status_post(&batch.requester, files);
            let hint = self.language(&batch.requester).say("start-me-first");
            post.html = format!("{}\n\n{hint}", post.html);
            self.edit_result(key, &post).await?;
        }
        self.mark(batch, Delivery::Undeliverable, None).await?;
        Ok("Undeliverable")
    }

    /// Makes the user's phone ring: at most once, and best effort. The message's number, if it was
    /// sent.
    async fn ring(&self, chat: i64, requester: &Requester, files: &[FileView]) -> Option<i32> {
        let post = render::result(self.language(requester), files, Timestamp::now());
        let place = Place {
            chat,
            thread: requester.thread_id.filter(|_| chat == requester.chat_id),
            reply_to: requester.message_id.filter(|_| chat == requester.chat_id),
        };
        let deadline = Instant::now() + RING_PATIENCE;
        loop {
            let error = match self.api.send(place, &post).await {
                Ok(message) => return Some(message),
                Err(error) => error,
            };
            let wait = match &error {
                ChatError::Flooded(wait) => *wait,
                // It was not accepted, as far as one can know: an answer that was lost would be a
                // second message.
                ChatError::Unavailable("no connection") => Duration::from_secs(1),
                _ => Duration::MAX,
            };
            if wait == Duration::MAX || Instant::now() + wait > deadline {
                warn!(%error, "no new message tells of a result; the status message does");
                return None;
            }
            sleep(wait).await;
        }
    }

    /// Edits a message that carries a result, as soon as Telegram lets us.
    async fn edit_result(&self, key: MessageKey, post: &Post) -> Result<Edited, ChatError> {
        let wait = self.api.pace().edit_of_result(key.chat, Instant::now());
        if let Some(wait) = wait {
            return Err(ChatError::Flooded(wait));
        }
        match self.api.edit(key.chat, key.message, post).await {
            Ok(()) => Ok(Edited::Stands),
            Err(
                error @ (ChatError::Gone(_) | ChatError::Unreachable(_) | ChatError::Refused(_)),
            ) => {
                info!(%error, "a message cannot be edited any more");
                Ok(Edited::Gone)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes down how far the user has been told of each job, and says whether anything stood there
    /// of all of them: who writes first is the one to ring.
    async fn mark(
        &self,
        batch: &Batch,
        delivery: Delivery,
        message: Option<i32>,
    ) -> Result<Marked, Trouble> {
        let wanted = Notified {
            time: Time(Timestamp::now()),
            delivery,
            message_id: message,
        };
        let mut marked = Marked::Before;
        for job in &batch.jobs {
            if self.mark_one(job, &wanted).await? == Marked::First {
                marked = Marked::First;
            }
        }
        Ok(marked)
    }

    async fn mark_one(&self, job: &TransferJob, wanted: &Notified) -> Result<Marked, Trouble> {
        let mut seen = job.clone();
        loop {
            let before = notified(&seen).map(|notified| notified.delivery);
            match before {
                Some(Delivery::Sending) if wanted.delivery != Delivery::Sending => {}
                Some(_) => return Ok(Marked::Before),
                None => {}
            }
            match self.jobs.set_notified(&seen, wanted).await {
                Ok(_) if before.is_none() => return Ok(Marked::First),
                Ok(_) | Err(JobError::Gone) => return Ok(Marked::Before),
                // The controller writes too.
                Err(JobError::Conflict) => match self.jobs.find(&job.name_any()).await? {
                    Some(now) if now.uid() == job.uid() => seen = now,
                    _ => return Ok(Marked::Before),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What a status message shows. If another process has made it, its other files are looked up.
    async fn shown(&self, key: MessageKey, batch: &Batch) -> Result<Shown, Trouble> {
        if let Some(shown) = lock(&self.board).shown.get(&key) {
            return Ok(shown.clone());
        }
        let expected = batch
            .jobs
            .iter()
            .filter_map(|job| job.spec.requester.as_ref()?.status_files)
            .max()
            .unwrap_or(1);
        let mut files = Vec::new();
        if usize::try_from(expected).unwrap_or_default() > batch.jobs.len() {
            let all = self.jobs.of_user(batch.requester.user_id).await?;
            let of_it = |job: &&TransferJob| {
                job.spec.requester.as_ref().is_some_and(|requester| {
                    requester.chat_id == key.chat
                        && requester.status_message_id == Some(key.message)
                })
            };
            let mut others: Vec<_> = all.iter().filter(of_it).collect();
            others.sort_by_key(|job| (created(job), job.spec.source.message_id));
            let now = Timestamp::now();
            files.extend(
                others
                    .into_iter()
                    .map(|job| FileView::of(job, None, None, now)),
            );
        }
        Ok(Shown {
            requester: batch.requester.clone(),
            files,
            kinds: std::collections::BTreeMap::new(),
            hash: 0,
            looked: Instant::now(),
            rests: None,
        })
    }

    /// The files of a batch as they are now, in the order in which they are shown already.
    async fn views(&self, batch: &Batch, shown: Option<&Shown>) -> Vec<FileView> {
        let mut files = shown.map(|shown| shown.files.clone()).unwrap_or_default();
        let now = Timestamp::now();
        for job in &batch.jobs {
            let place = match Kind::of(job) {
                Kind::Waiting => self.jobs.place(job).await,
                Kind::Running | Kind::Over => None,
            };
            let live = lock(&self.live)
                .get(&job.uid().unwrap_or_default())
                .cloned();
            let view = FileView::of(job, place, live.as_ref(), now);
            match files.iter_mut().find(|file| file.job == view.job) {
                Some(file) => *file = view,
                None => files.push(view),
            }
        }
        let is_there = |file: &FileView| batch.jobs.iter().any(|job| job.name_any() == file.job);
        for file in &mut files {
            if !file.is_over() && !is_there(file) {
                file.state = FileState::Cancelled;
            }
        }
        files
    }

    fn status_post(&self, requester: &Requester, files: &[FileView]) -> Post {
        render::status(
            self.language(requester),
            files,
            readers(requester),
            Timestamp::now(),
        )
    }

    fn language(&self, requester: &Requester) -> Language {
        let member = self.members.member(requester.user_id);
        let chosen = member.and_then(|member| member.language);
        Language::of_code(chosen.as_deref().or(requester.language.as_deref()))
    }
}

/// Whether something stood there before it was written down that the user is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    /// Nothing did.
    First,
    /// It did, or the job is gone.
    Before,
}

/// What became of an edit.
enum Edited {
    /// The message says it.
    Stands,
    /// There is no such message any more.
    Gone,
}

fn readers(requester: &Requester) -> Readers {
    if requester.chat_id == requester.user_id {
        Readers::User
    } else {
        Readers::Group
    }
}

fn notified(job: &TransferJob) -> Option<&Notified> {
    job.status.as_ref()?.notified.as_ref()
}

fn hash(post: &Post) -> u64 {
    let mut hasher = DefaultHasher::new();
    post.html.hash(&mut hasher);
    format!("{:?}", post.keyboard).hash(&mut hasher);
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
