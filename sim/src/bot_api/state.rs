//! What the Bot API knows beside the store's messages, and the one place where any of it changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::commands::Commands;
use super::error::Refusal;
use super::events::{Author, CallCount, ChatMessage, Event, Happened, author};
use super::faults::Faults;
use super::journal::Fact;
use super::limits::Limiter;
use super::objects::View;
use super::people::{Acquaintance, ChatProfile, Standing, User, UserProfile};
use super::updates::{Queue, Update, UpdateKind};
use super::webhook::{Delivery, Webhook};
use crate::telegram::Telegram;
use crate::telegram::ids::{ChatId, Identity};
use crate::telegram::journal::{Journal, JournalError};
use crate::telegram::store::{Membership, Message, Post, Store, StoreError};

/// Who the bot is.
#[derive(Clone, Debug)]
pub(super) struct Me {
    pub(super) id: i64,
    pub(super) first_name: String,
    pub(super) username: String,
}

/// A button that was pressed.
#[derive(Clone, Debug)]
pub(super) struct Callback {
    pub(super) user: i64,
    pub(super) chat_id: ChatId,
    pub(super) pressed: Instant,
}

/// Everything that changes.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) users: HashMap<i64, User>,
    chats: HashMap<ChatId, ChatProfile>,
    pub(super) queue: Queue,
    /// Counts the requests that wait for updates; the last one is the only one that may.
    pub(super) polls: u64,
    /// How many of them wait.
    pub(super) waiting: usize,
    pub(super) callbacks: HashMap<String, Callback>,
    pub(super) commands: Commands,
    pub(super) webhook: Option<Webhook>,
    pub(super) delivery: Delivery,
    pub(super) events: Vec<Event>,
    pub(super) calls: BTreeMap<String, CallCount>,
    pub(super) faults: Faults,
    pub(super) limiter: Limiter,
}

impl State {
    /// Takes up a remembered fact.
    fn restore(&mut self, fact: Fact) {
        match fact {
            Fact::User {
                profile,
                acquaintance,
            } => {
                let user = User {
                    profile,
                    acquaintance,
                };
                self.users.insert(user.profile.id, user);
            }
            Fact::Chat { profile } => {
                self.chats.insert(profile.id, profile);
            }
            Fact::Update { update } => {
                if update.kind == UpdateKind::CallbackQuery {
                    self.restore_callback(&update.payload);
                }
                self.queue.push(update);
            }
            Fact::Confirmed { before } => {
                self.queue.confirm_before(before);
            }
            Fact::Allowed { kinds } => self.queue.set_allowed(kinds),
            Fact::Webhook { webhook } => self.webhook = webhook,
            Fact::Commands {
                scope,
                language,
                commands,
            } => {
                self.commands.insert((scope, language), commands);
            }
        }
    }

    fn restore_callback(&mut self, query: &Value) {
        let chat_id = query["message"]["chat"]["id"].as_i64();
        if let (Some(id), Some(user), Some(chat_id)) =
            (query["id"].as_str(), query["from"]["id"].as_i64(), chat_id)
        {
            let callback = Callback {
                user,
                chat_id: ChatId(chat_id),
                pressed: Instant::now(),
            };
            self.callbacks.insert(id.to_owned(), callback);
        }
    }

    /// A group or channel, also one that the store alone knows.
    pub(super) fn group(&self, store: &Store, chat_id: ChatId) -> Option<ChatProfile> {
        if chat_id.0 > 0 {
            return None;
        }
        if let Some(known) = self.chats.get(&chat_id) {
            return Some(known.clone());
        }
        let membership = store.membership(chat_id)?;
        let bot = if membership.members.contains(&Identity::Bot) {
            Standing::Administrator
        } else {
            Standing::Absent
        };
        Some(ChatProfile::of_store(chat_id, &membership, bot))
    }

    /// The chat that has this name.
    pub(super) fn named(&self, username: &str) -> Option<ChatId> {
        let mut chats = self.chats.values();
        let found = chats.find(|chat| {
            let name = chat.username.as_deref().unwrap_or_default();
            name.eq_ignore_ascii_case(username)
        });
        found.map(|chat| chat.id)
    }
}

/// What all calls share.
pub(super) struct Shared {
    pub(super) telegram: Telegram,
    pub(super) me: Me,
    pub(super) options: Options,
    pub(super) url: String,
    /// Whoever waits is to give up: the end is near.
    pub(super) stopping: CancellationToken,
    journal: Journal,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Shared {
    /// Takes up what the journal says.
    pub(super) fn new(
        telegram: Telegram,
        options: Options,
        url: String,
        journal: Journal,
        facts: Vec<Fact>,
    ) -> Arc<Self> {
        let mut state = State::default();
        for fact in facts {
            state.restore(fact);
        }
        let me = Me {
            id: telegram.account_id(Identity::Bot),
            first_name: options.first_name.clone(),
            username: options.username.clone(),
        };
        Arc::new(Self {
            telegram,
            me,
            options,
            url,
            stopping: CancellationToken::new(),
            journal,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
        })
    }

    /// Looks at the state.
    pub(super) fn read<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        let state = self.lock();
        look(View {
            state: &state,
            store: self.telegram.store(),
            me: &self.me,
        })
    }

    /// Changes the state; whoever waits for a change is woken when the desk is left.
    pub(super) fn desk(&self) -> Desk<'_> {
        Desk {
            state: self.lock(),
            shared: self,
        }
    }

    /// Tells of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("changes of the state do not panic")
    }
}

/// The place where things change: messages, updates, events, one after the other.
pub(super) struct Desk<'a> {
    pub(super) state: MutexGuard<'a, State>,
    pub(super) shared: &'a Shared,
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        self.shared.changed.send_modify(|changes| *changes += 1);
    }
}

impl Desk<'_> {
    pub(super) fn store(&self) -> &Store {
        self.shared.telegram.store()
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            state: &self.state,
            store: self.shared.telegram.store(),
            me: &self.shared.me,
        }
    }

    /// The time, since the Unix epoch.
    pub(super) fn now(&self) -> Duration {
        self.shared.telegram.now()
    }

    pub(super) fn remember(&self, fact: &Fact) -> Result<(), JournalError> {
        self.shared.journal.append(fact)
    }

    /// Notes what happened.
    pub(super) fn log(&mut self, chat_id: ChatId, what: Happened) {
        let event = Event {
            seq: self.state.events.len() as u64 + 1,
            time: u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX),
            chat_id,
            what,
        };
        self.state.events.push(event);
    }

    /// Tells the bot something, if it wants to know.
    pub(super) fn tell(&mut self, kind: UpdateKind, payload: Value) -> Result<(), JournalError> {
        if !self.state.queue.wants(kind) {
            return Ok(());
        }
        let update = Update {
            id: self.state.queue.next_id(),
            kind,
            payload,
        };
        self.remember(&Fact::Update {
            update: update.clone(),
        })?;
        self.state.queue.push(update);
        Ok(())
    }

    /// Forgets updates before this one.
    pub(super) fn confirm_before(&mut self, id: i64) -> Result<(), JournalError> {
        match self.state.queue.confirm_before(id) {
            Some(before) => self.remember(&Fact::Confirmed { before }),
            None => Ok(()),
        }
    }

    /// A user, who exists from now on if not before.
    pub(super) fn meet(&mut self, id: i64) -> Result<&mut User, JournalError> {
        if !self.state.users.contains_key(&id) {
            self.introduce(UserProfile::new(id))?;
        }
        Ok(self.state.users.get_mut(&id).expect("just introduced"))
    }

    /// Says who a user is.
    pub(super) fn introduce(&mut self, profile: UserProfile) -> Result<(), JournalError> {
        let known = self.state.users.get(&profile.id);
        let acquaintance = known.map_or(Acquaintance::Strangers, |user| user.acquaintance);
        self.set_user(User {
            profile,
            acquaintance,
        })
    }

    /// Says what a user and the bot are to each other from now on.
    pub(super) fn acquaint(
        &mut self,
        id: i64,
        acquaintance: Acquaintance,
    ) -> Result<(), StoreError> {
        let user = self.meet(id)?.clone();
        let chat_id = ChatId(id);
        if self.store().membership(chat_id).is_none() {
            let membership = Membership {
                members: vec![Identity::Bot],
                title: user.profile.first_name.clone(),
                kind: crate::telegram::store::ChannelKind::default(),
            };
            self.store().set_membership(chat_id, membership)?;
        }
        if user.acquaintance != acquaintance {
            self.set_user(User {
                acquaintance,
                ..user
            })?;
        }
        Ok(())
    }

    fn set_user(&mut self, user: User) -> Result<(), JournalError> {
        self.remember(&Fact::User {
            profile: user.profile.clone(),
            acquaintance: user.acquaintance,
        })?;
        self.state.users.insert(user.profile.id, user);
        Ok(())
    }

    /// Says what a group or channel is.
    pub(super) fn set_chat(&mut self, profile: ChatProfile) -> Result<(), StoreError> {
        let account = self.shared.telegram.account_id(Identity::User);
        let mut members = Vec::new();
        if profile.bot.is_in() {
            members.push(Identity::Bot);
        }
        if profile.members.contains(&account) {
            members.push(Identity::User);
        }
        let membership = Membership {
            members,
            title: profile.title.clone(),
            kind: profile.channel_kind(),
        };
        self.store().set_membership(profile.id, membership)?;
        self.remember(&Fact::Chat {
            profile: profile.clone(),
        })?;
        self.state.chats.insert(profile.id, profile);
        Ok(())
    }

    pub(super) fn group(&self, chat_id: ChatId) -> Option<ChatProfile> {
        self.state.group(self.store(), chat_id)
    }

    /// Puts a message into a chat.
    pub(super) fn post(
        &mut self,
        post: Post,
        source: Option<super::events::Source>,
    ) -> Result<Message, StoreError> {
        let message = self.store().post(post, self.now())?;
        let shown = Box::new(ChatMessage::of(&message, self.shared.me.id));
        self.log(
            message.chat_id,
            Happened::Sent {
                message: shown,
                source,
            },
        );
        Ok(message)
    }

    /// Changes a message, which is marked as changed.
    pub(super) fn change(
        &mut self,
        by: Author,
        mut message: Message,
    ) -> Result<Message, StoreError> {
        message.details.edits += 1;
        message.details.edited = Some(self.now().as_secs().cast_signed());
        self.store().replace(&message)?;
        let shown = Box::new(ChatMessage::of(&message, self.shared.me.id));
        self.log(message.chat_id, Happened::Edited { by, message: shown });
        Ok(message)
    }

    /// Deletes a message.
    pub(super) fn delete(&mut self, by: Author, message: &Message) -> Result<(), StoreError> {
        self.store().delete(message.chat_id, message.id)?;
        let message_id = message.id;
        self.log(message.chat_id, Happened::Deleted { by, message_id });
        Ok(())
    }

    pub(super) fn author(&self, message: &Message) -> Author {
        author(message, self.shared.me.id)
    }

    /// Counts messages that the bot sends to a chat, or refuses them.
    pub(super) fn admit(&mut self, chat_id: ChatId, count: usize) -> Result<(), Refusal> {
        let admitted = self.state.limiter.admit(chat_id, count, Instant::now());
        admitted.map_err(Refusal::too_many)
    }
}
