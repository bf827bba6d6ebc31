//! A stand-in for the Telegram Bot API, over the message store of the MTProto data centres.
//!
//! A bot talks to it over HTTP as to the real one: `POST <url>/bot<token>/<method>`. What the users
//! do is played through [`BotApi`]. The map, from the socket inwards:
//!
//! - `service`: the way of a request; `params`: what it says; `error`: what it may come to.
//! - `methods`: what bots can do; `polling`: the one method that waits; `webhook`: updates delivered.
//! - [`player`]: what users do; [`people`]: who they are, and where they meet.
//! - `state`: everything that changes, and the one desk at which it does; `journal`: what outlives a
//!   restart; [`updates`]: what the bot has not been told.
//! - `objects`, `file_ids`: the Bot API's objects; `html`, `text`, `keyboard`, [`commands`]: their parts.
//! - [`events`]: what happened, and what a chat shows; [`faults`], [`limits`]: what goes wrong on demand.
//! - `admin`: the HTTP interface by which scripts play the users.
//!
//! Messages and files are the store's: what is sent here can be fetched from the data centres, by the
//! same numbers, and what is published there is seen here.

pub(crate) mod admin;
pub mod commands;
mod error;
pub mod events;
pub mod faults;
mod file_ids;
mod html;
mod journal;
mod keyboard;
pub mod limits;
mod methods;
mod objects;
mod params;
pub mod people;
pub mod player;
mod polling;
mod service;
mod state;
mod text;
pub mod updates;
mod webhook;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::http::HttpServer;
use crate::telegram::Telegram;
use crate::telegram::ids::ChatId;
use crate::telegram::journal::{Journal, JournalError};
use crate::telegram::store::{Message, StoreError};
use commands::BotCommand;
use events::{CallCount, ChatMessage, Event};
use faults::Fault;
use limits::Limits;
use people::{ChatProfile, UserProfile};
use player::PlayError;
use state::{Desk, Shared};

/// The longest body of a request, in bytes: 50 MiB of file, and what is around it.
const MAX_BODY: usize = 51 << 20;

/// Whether the bot reads what is not meant for it in the groups that it does not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privacy {
    /// It does not, as every bot whose maker has not asked for it.
    #[default]
    On,
    /// It does.
    Off,
}

/// What the Bot API is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bot's username.
    pub username: String,
    /// The bot's name.
    pub first_name: String,
    /// What it reads in groups.
    pub privacy: Privacy,
    /// Where updates, users and commands are kept.
    pub journal: PathBuf,
    /// The pause after the first delivery to a webhook that failed; it doubles each time.
    pub webhook_pause: Duration,
    /// For how long a pressed button can be answered.
    pub callback_ttl: Duration,
}

impl Options {
    /// The usual, with the journal at `journal`.
    pub fn new(journal: PathBuf) -> Self {
        Self {
            username: "telestream_sim_bot".to_owned(),
            first_name: "Stand-in bot".to_owned(),
            privacy: Privacy::On,
            journal,
            webhook_pause: Duration::from_secs(1),
            callback_ttl: Duration::from_mins(15),
        }
    }
}

/// Why the Bot API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be had.
    #[error("cannot listen on port {port}")]
    Listen {
        /// Which port.
        port: u16,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What was waited for did not happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it did not happen within {0:?}")]
pub struct TimedOut(pub Duration);

/// The running Bot API; whoever holds this ends it by [`BotServer::stop`] or by dropping it.
pub struct BotServer {
    http: HttpServer,
    delivering: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl BotServer {
    /// Listens on `listen`, and is known under `advertise`.
    ///
    /// # Errors
    /// [`StartError`] naming what is in the way.
    pub async fn start(
        listen: IpAddr,
        advertise: Ipv4Addr,
        port: u16,
        telegram: Telegram,
        options: Options,
    ) -> Result<(Self, BotApi), StartError> {
        let failed = |source| StartError::Listen { port, source };
        let listener = TcpListener::bind((listen, port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        if let Some(folder) = options.journal.parent() {
            std::fs::create_dir_all(folder).map_err(|source| JournalError::Io {
                path: folder.to_owned(),
                source,
            })?;
        }
        let (journal, facts) = Journal::open(&options.journal)?;
        let url = format!("http://{advertise}:{port}");
        let shared = Shared::new(telegram, options, url, journal, facts);
        let router = Router::new()
            .fallback(service::serve)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&shared));
        let http = HttpServer::serve(listener, router).map_err(failed)?;
        let delivering = tokio::spawn(webhook::deliver(Arc::clone(&shared)));
        let server = Self {
            http,
            delivering,
            shared: Arc::clone(&shared),
        };
        Ok((server, BotApi { shared }))
    }

    /// Ends it, requests that wait included.
    pub async fn stop(mut self) {
        self.shared.stopping.cancel();
        // It has been told to end; that it was aborted or panicked changes nothing now.
        let _ = (&mut self.delivering).await;
        self.http.end().await;
    }
}

impl Drop for BotServer {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}

/// A handle on the running Bot API; clones are the same.
#[derive(Clone)]
pub struct BotApi {
    shared: Arc<Shared>,
}

impl BotApi {
    /// The root that clients are told, such as `http://127.0.0.1:4000`.
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// The bot's token.
    pub fn token(&self) -> &str {
        self.shared.telegram.bot_token()
    }

    /// The bot's number.
    pub fn id(&self) -> i64 {
        self.shared.me.id
    }

    /// The bot's username.
    pub fn username(&self) -> &str {
        &self.shared.me.username
    }

    /// Says who a user is. Users that nobody spoke of have names made of their numbers.
    ///
    /// # Errors
    /// If it cannot be remembered.
    pub fn add_user(&self, profile: UserProfile) -> Result<(), PlayError> {
        Ok(self.shared.desk().introduce(profile)?)
    }

    /// Makes a group or channel, or changes it; nobody is told.
    ///
    /// # Errors
    /// If it cannot be remembered.
    pub fn add_chat(&self, profile: ChatProfile) -> Result<(), PlayError> {
        if profile.id.0 > 0 || profile.id.peer().is_none() {
            return Err(StoreError::Chat(profile.id).into());
        }
        Ok(self.shared.desk().set_chat(profile)?)
    }

    /// What a chat shows now, oldest first.
    pub fn chat(&self, chat_id: ChatId) -> Vec<ChatMessage> {
        let messages = self.shared.telegram.store().messages(chat_id);
        messages.iter().map(|one| self.shown(one)).collect()
    }

    /// A message as a chat shows it.
    pub fn shown(&self, message: &Message) -> ChatMessage {
        ChatMessage::of(message, self.shared.me.id)
    }

    /// A message as a chat shows it now.
    pub fn message(&self, chat_id: ChatId, message_id: i32) -> Option<ChatMessage> {
        let message = self.shared.telegram.store().message(chat_id, message_id)?;
        Some(self.shown(&message))
    }

    /// What happened after the event of this number, since the start; 0 is all of it.
    pub fn events(&self, after: u64) -> Vec<Event> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        self.shared
            .read(|view| view.state.events.iter().skip(after).cloned().collect())
    }

    /// The number of the last event; 0 if nothing has happened.
    pub fn last_event(&self) -> u64 {
        self.shared.read(|view| view.state.events.len() as u64)
    }

    /// Waits until `look` finds something. It looks whenever anything has changed: messages, events,
    /// updates, calls.
    ///
    /// # Errors
    /// [`TimedOut`] if it does not within `timeout`.
    pub async fn wait_until<T>(
        &self,
        timeout: Duration,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, TimedOut> {
        let mut changes = self.shared.changes();
        let looking = async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                // The sender lives as long as what is shared.
                let _ = changes.changed().await;
            }
        };
        let found = tokio::time::timeout(timeout, looking).await;
        found.map_err(|_| TimedOut(timeout))
    }

    /// Waits for an event after the one of this number.
    ///
    /// # Errors
    /// [`TimedOut`] if none comes within `timeout`.
    pub async fn wait_for(
        &self,
        after: u64,
        timeout: Duration,
        mut is_it: impl FnMut(&Event) -> bool,
    ) -> Result<Event, TimedOut> {
        let mut seen = after;
        self.wait_until(timeout, |bot| {
            let events = bot.events(seen);
            seen += events.len() as u64;
            events.into_iter().find(|event| is_it(event))
        })
        .await
    }

    /// How calls ended, by method.
    pub fn calls(&self) -> BTreeMap<String, CallCount> {
        self.shared.read(|view| view.state.calls.clone())
    }

    /// How calls of a method ended.
    pub fn calls_of(&self, method: &str) -> CallCount {
        self.calls().remove(method).unwrap_or_default()
    }

    /// How many requests for updates are waiting.
    pub fn waiting_polls(&self) -> usize {
        self.shared.read(|view| view.state.waiting)
    }

    /// How many updates the bot has not taken yet.
    pub fn pending_updates(&self) -> usize {
        self.shared.read(|view| view.state.queue.pending())
    }

    /// Lets the bot be told an update a second time.
    ///
    /// # Errors
    /// [`PlayError::NoUpdate`] if there never was one of this number.
    pub fn deliver_again(&self, update_id: i64) -> Result<(), PlayError> {
        if self.shared.desk().state.queue.again(update_id) {
            Ok(())
        } else {
            Err(PlayError::NoUpdate(update_id))
        }
    }

    /// Lets the bot be told the last `count` updates a second time.
    pub fn deliver_last_again(&self, count: usize) {
        let mut desk = self.shared.desk();
        for id in desk.state.queue.last_ids(count) {
            desk.state.queue.again(id);
        }
    }

    /// All updates that there ever were, as the bot is told them.
    pub fn updates(&self) -> Vec<serde_json::Value> {
        let all = |view: objects::View<'_>| {
            let updates = view.state.queue.all().iter();
            updates.map(updates::Update::to_json).collect()
        };
        self.shared.read(all)
    }

    /// The commands that the bot has set for a scope, such as `default`, `all_private_chats` or
    /// `chat:77`, and a language, which may be empty.
    pub fn commands(&self, scope: &str, language: &str) -> Vec<BotCommand> {
        let key = (scope.to_owned(), language.to_owned());
        let found = |view: objects::View<'_>| view.state.commands.get(&key).cloned();
        self.shared.read(found).unwrap_or_default()
    }

    /// The URL of the webhook, if there is one.
    pub fn webhook_url(&self) -> Option<String> {
        let url = |view: objects::View<'_>| Some(view.state.webhook.as_ref()?.url.clone());
        self.shared.read(url)
    }

    /// Makes all buttons that were pressed so far too old to be answered.
    pub fn expire_callbacks(&self) {
        self.shared.desk().state.callbacks.clear();
    }

    /// Makes something go wrong from now on, after the faults that are in force already.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.desk().state.faults.add(fault);
    }

    /// The faults in force, with what is left of their counts.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.read(|view| view.state.faults.list())
    }

    /// Lets nothing go wrong any more.
    pub fn clear_faults(&self) {
        self.shared.desk().state.faults.clear();
    }

    /// Limits what the bot may send, and forgets what it has sent.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.desk().state.limiter.set(limits);
    }
}
