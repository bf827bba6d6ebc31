//! What the bot does with an update: one at a time for each chat, in the order in which they came.
//!
//! A file becomes a `TransferJob` before its update is confirmed; whatever else is said is answered
//! right here. Whoever is not let in is told their id, and nothing else.

mod admin;
mod buttons;
mod commands;
mod files;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use teloxide::types::{ChatKind, Message, Update, UpdateKind, User};
use tracing::{info, warn};

use super::{
    access::{Chatter, Day, Guests, Hearing, Limits, Role},
    bot_api::{BotApi, ChatError, Place, Post},
    command::Command,
    jobs::{JobError, Jobs},
    media::Media,
    members::MemberBook,
    metrics::{BotMetrics, Incoming},
    texts::{Args, Language},
};
use crate::{
    Class,
    api::{HumanDuration, ReclaimPolicy},
};

/// The most users whose day is remembered; of others it is looked up.
const MAX_DAYS: usize = 10_000;

/// How often an answer is tried.
const ANSWER_TRIES: u32 = 3;

/// What links are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPolicy {
    /// How long they live, if their user has not chosen otherwise.
    pub ttl: HumanDuration,
    /// How long they can be made to live.
    pub longest: HumanDuration,
}

/// What the handler is told about itself.
#[derive(Clone, Debug)]
pub struct HandlerSettings {
    /// The bot's id.
    pub bot_id: i64,
    /// The channel that files are forwarded into; none has workers read the user's own message.
    pub channel: Option<i64>,
    /// Who is let in.
    pub guests: Guests,
    /// How much they may do.
    pub limits: Limits,
    /// What links are like.
    pub links: LinkPolicy,
    /// What becomes of an object when its job is removed.
    pub reclaim: ReclaimPolicy,
}

/// Handles updates. Clones share everything.
#[derive(Clone)]
pub struct Handler {
    settings: Arc<HandlerSettings>,
    bot_name: Arc<str>,
    api: BotApi,
    jobs: Jobs,
    members: MemberBook,
    metrics: BotMetrics,
    chatter: Arc<Mutex<Chatter>>,
    strangers: Arc<Mutex<Chatter>>,
    days: Arc<Mutex<HashMap<i64, Day>>>,
}

/// Whether an update is seen for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    First,
    /// It was postponed.
    Again,
}

/// An update could not be dealt with now, and is to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Postponed {
    /// The API server does not take a job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The Bot API does not forward a file.
    #[error(transparent)]
    Chat(#[from] ChatError),
}

impl Postponed {
    /// How long to wait, if Telegram has said so.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Chat(ChatError::Flooded(wait)) => Some(*wait),
            _ => None,
        }
    }
}

/// Somebody who said or pressed something, and where.
#[derive(Clone, Debug)]
struct Speaker {
    user: i64,
    role: Role,
    language: Language,
    /// As Telegram tells it.
    language_code: Option<String>,
    place: Place,
    /// Whether nobody else reads along.
    is_private: bool,
}

impl Handler {
    /// A handler for the bot of that user name.
    pub fn new(
        settings: HandlerSettings,
        bot_name: &str,
        api: BotApi,
        jobs: Jobs,
        members: MemberBook,
        metrics: BotMetrics,
    ) -> Self {
        Self {
            settings: Arc::new(settings),
            bot_name: bot_name.into(),
            api,
            jobs,
            members,
            metrics,
            chatter: Arc::default(),
            strangers: Arc::default(),
            days: Arc::default(),
        }
    }

    /// Deals with an update, for the first time or again. The same again does nothing new.
    ///
    /// # Errors
    /// It has to be tried again, or a file would be lost.
    pub async fn handle(&self, update: &Update, turn: Turn) -> Result<(), Postponed> {
        match &update.kind {
            UpdateKind::Message(message) => self.message(message, turn).await,
            UpdateKind::CallbackQuery(query) => {
                self.pressed(query).await;
                Ok(())
            }
            UpdateKind::Error(_) => {
                warn!(
                    update = update.id.0,
                    "an update cannot be read and is passed over"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Tells whoever sent a file that it is safe, and has to wait for us.
    pub async fn say_postponed(&self, update: &Update) {
        if let UpdateKind::Message(message) = &update.kind
            && let Some(speaker) = self.speaker(message)
        {
            self.answer(&speaker, "postponed", &Args::new()).await;
        }
    }

    async fn message(&self, message: &Message, turn: Turn) -> Result<(), Postponed> {
        // Posts of channels, and of groups that speak for themselves, have no user.
        let Some(speaker) = self.speaker(message) else {
            return Ok(());
        };
        let media = Media::of(message);
        let command = message
            .text()
            .and_then(|text| Command::parse(text, &self.bot_name));
        // In groups, what is not for the bot is none of its business.
        if !speaker.is_private && media.is_none() && command.is_none() {
            return Ok(());
        }
        if speaker.role == Role::Stranger {
            self.stranger(&speaker).await;
            return Ok(());
        }
        // What was heard once is not refused for what was said since.
        if turn == Turn::First && !self.is_heard(&speaker).await {
            return Ok(());
        }
        if let Some(media) = media {
            return self.file(message, &media, &speaker).await;
        }
        match command {
            Some(Ok(command)) => {
                self.metrics.came(Incoming::Command);
                self.command(&command, &speaker).await;
            }
            Some(Err(_)) if speaker.is_private => {
                self.metrics.came(Incoming::Other);
                self.answer(&speaker, "unknown-command", &Args::new()).await;
            }
            Some(Err(_)) => {}
            None => {
                self.metrics.came(Incoming::Other);
                self.answer(&speaker, "not-a-file", &Args::new()).await;
            }
        }
        Ok(())
    }

    async fn stranger(&self, speaker: &Speaker) {
        self.metrics.came(Incoming::Stranger);
        // Once in a while, and in private only: strangers do not make the bot talk.
        let hearing = {
            let mut strangers = self
                .strangers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            strangers.hear(speaker.user, 1, Timestamp::now())
        };
        if speaker.is_private && hearing == Hearing::Heard {
            info!("somebody who is not let in was told their id");
            let args = Args::new().text("id", speaker.user.to_string());
            self.answer(speaker, "stranger", &args).await;
        }
    }

    /// Whether somebody has not said too much lately; otherwise they are told so, once.
    async fn is_heard(&self, speaker: &Speaker) -> bool {
        let limit = self.settings.limits.messages_per_minute;
        let hearing = self.chatter().hear(speaker.user, limit, Timestamp::now());
        if hearing == Hearing::Hush {
            let args = Args::new().number("limit", limit);
            self.answer(speaker, "too-many-messages", &args).await;
        }
        hearing == Hearing::Heard
    }

    fn chatter(&self) -> std::sync::MutexGuard<'_, Chatter> {
        self.chatter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever wrote a message.
    fn speaker(&self, message: &Message) -> Option<Speaker> {
        let from = message.from.as_ref().filter(|from| !from.is_bot)?;
        let is_private = matches!(message.chat.kind, ChatKind::Private(_));
        let place = Place {
            chat: message.chat.id.0,
            thread: message
                .thread_id
                .filter(|_| message.is_topic_message)
                .map(|thread| thread.0.0),
            reply_to: (!is_private).then_some(message.id.0),
        };
        Some(self.speaker_in(from, place, is_private))
    }

    fn speaker_in(&self, from: &User, place: Place, is_private: bool) -> Speaker {
        let user = i64::try_from(from.id.0).unwrap_or_default();
        let members = self.members.read();
        let chosen = members
            .users
            .get(&user)
            .and_then(|member| member.language.clone());
        Speaker {
            user,
            role: Role::of(user, &self.settings.guests, &members),
            language: Language::of_code(chosen.as_deref().or(from.language_code.as_deref())),
            language_code: from.language_code.clone(),
            place,
            is_private,
        }
    }

    /// Says one of the texts.
    async fn answer(&self, speaker: &Speaker, key: &str, args: &Args) {
        self.say(speaker, speaker.language.tell(key, args)).await;
    }

    /// Says something without buttons.
    async fn say(&self, speaker: &Speaker, html: String) {
        let post = Post {
            html,
            keyboard: None,
        };
        self.post(speaker.place, &post).await;
    }

    /// Says something that can be asked for again: a few tries are enough.
    async fn post(&self, place: Place, post: &Post) {
        for tries in 1..=ANSWER_TRIES {
            let Err(error) = self.api.send(place, post).await else {
                return;
            };
            let wait = match error.class() {
                Class::After(wait) if wait <= Duration::from_secs(30) => wait,
                Class::Transient => Duration::from_secs(1),
                _ => Duration::MAX,
            };
            if tries == ANSWER_TRIES || wait == Duration::MAX {
                info!(%error, "an answer was not sent");
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn limits(&self, user: i64) -> Limits {
        self.settings.limits.of(self.members.member(user).as_ref())
    }

    /// How long new links of a user live.
    fn link_ttl(&self, user: i64) -> HumanDuration {
        let member = self.members.member(user);
        let chosen = member.and_then(|member| member.link_ttl);
        chosen
            .unwrap_or(self.settings.links.ttl)
            .min(self.settings.links.longest)
    }

    /// Works with what a user has sent in the last 24 hours.
    ///
    /// # Errors
    /// Nobody knows what it was.
    async fn with_day<T>(
        &self,
        user: i64,
        look: impl FnOnce(&mut Day) -> T,
    ) -> Result<T, JobError> {
        let known = self.days().contains_key(&user);
        if !known {
            let jobs = self.jobs.of_user(user).await?;
            let files = jobs.iter().map(|job| {
                let size = job.spec.source.size.unwrap_or_default();
                (super::jobs::created(job), size.unsigned_abs())
            });
            let day = Day::new(files);
            let mut days = self.days();
            if days.len() >= MAX_DAYS {
                days.clear();
            }
            days.entry(user).or_insert(day);
        }
        Ok(look(self.days().entry(user).or_default()))
    }

    fn days(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Day>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
