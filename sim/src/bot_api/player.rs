//! The users' side of the chats: what they write, press, change and block.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::BotApi;
use super::Privacy;
use super::events::{Author, Happened};
use super::html::Formatted;
use super::methods::chats::member;
use super::params::random;
use super::people::{Acquaintance, ChatKind, Standing};
use super::state::{Callback, Desk};
use super::text;
use super::updates::UpdateKind;
use crate::telegram::details::{
    ButtonAction, Details, Entity, EntityKind, ForwardOrigin, Happening, Special,
};
use crate::telegram::ids::{ChatId, DcId};
use crate::telegram::journal::JournalError;
use crate::telegram::store::{Look, Media, Message, MessageBody, Origin, Post, StoreError};

/// Why a user cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The bot is blocked; the private chat must be started anew first.
    #[error("user {0} has blocked the bot")]
    Blocked(i64),
    /// There is no such group or channel.
    #[error("there is no chat {0}")]
    NoChat(ChatId),
    /// There is no such message.
    #[error("there is no message {message_id} in chat {chat_id}")]
    NoMessage {
        /// In which chat.
        chat_id: ChatId,
        /// Which number.
        message_id: i32,
    },
    /// The message is not the user's own.
    #[error("message {0} is not the user's own")]
    NotOwn(i32),
    /// The message has no such button.
    #[error("message {message_id} has no button {button:?} that tells the bot anything")]
    NoButton {
        /// Which message.
        message_id: i32,
        /// What was to be on the button.
        button: String,
    },
    /// There is no such file.
    #[error("there is no file {0}")]
    NoFile(i64),
    /// There is no such update.
    #[error("there is no update {0}")]
    NoUpdate(i64),
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be remembered.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What a user sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserMessage {
    /// Who sends it.
    pub from: i64,
    /// The group or channel; the private chat with the bot if there is none.
    #[serde(default)]
    pub chat_id: Option<ChatId>,
    /// Its text, or its file's caption.
    #[serde(default)]
    pub text: String,
    /// What it is, if it is not words alone.
    #[serde(flatten)]
    pub body: Option<UserBody>,
    /// The message it replies to.
    #[serde(default)]
    pub reply_to: Option<i32>,
    /// The topic.
    #[serde(default)]
    pub thread_id: Option<i32>,
    /// The album.
    #[serde(default)]
    pub media_group_id: Option<i64>,
    /// It may be neither forwarded nor saved.
    #[serde(default)]
    pub protected: bool,
    /// Where it comes from, if the user forwards it.
    #[serde(default)]
    pub forwarded: Option<ForwardOrigin>,
}

/// What a user sends beside words.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserBody {
    /// A file.
    File(UserFile),
    /// A poll, a contact or a place.
    Special(Special),
    /// Nothing: the chat tells that something happened.
    Happening(Happening),
}

/// A file that a user sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserFile {
    /// Its kind and attributes.
    #[serde(flatten)]
    pub look: Look,
    /// Its bytes.
    #[serde(flatten)]
    pub source: FileSource,
    /// The data centre that keeps it; home if none is given.
    #[serde(default)]
    pub dc: Option<DcId>,
}

/// Where the bytes of a user's file come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum FileSource {
    /// They are made up.
    Generated {
        /// How many.
        size: u64,
        /// From what.
        #[serde(default)]
        seed: u64,
    },
    /// It is a file that was sent before: the same one.
    Again {
        /// Its number in the data centres.
        file_id: i64,
    },
    /// It lies in the store's folder already.
    Stored {
        /// Under which name.
        stored: String,
    },
}

impl UserFile {
    /// A document of made-up bytes.
    pub fn generated(name: &str, size: u64, seed: u64) -> Self {
        let name = Some(name.to_owned());
        Self::of(
            Look {
                name,
                ..Look::default()
            },
            FileSource::Generated { size, seed },
        )
    }

    /// A file of any kind.
    pub const fn of(look: Look, source: FileSource) -> Self {
        Self {
            look,
            source,
            dc: None,
        }
    }
}

impl UserMessage {
    /// Words in the private chat.
    pub fn text(from: i64, text: &str) -> Self {
        Self {
            from,
            chat_id: None,
            text: text.to_owned(),
            body: None,
            reply_to: None,
            thread_id: None,
            media_group_id: None,
            protected: false,
            forwarded: None,
        }
    }

    /// A file in the private chat.
    pub fn file(from: i64, file: UserFile) -> Self {
        Self {
            body: Some(UserBody::File(file)),
            ..Self::text(from, "")
        }
    }

    /// A poll, a contact or a place in the private chat.
    pub fn special(from: i64, special: Special) -> Self {
        Self {
            body: Some(UserBody::Special(special)),
            ..Self::text(from, "")
        }
    }

    /// Something that a user does to a chat.
    pub fn happening(from: i64, chat_id: ChatId, happening: Happening) -> Self {
        Self {
            body: Some(UserBody::Happening(happening)),
            ..Self::text(from, "").in_chat(chat_id)
        }
    }

    /// In a group or channel instead.
    #[must_use]
    pub fn in_chat(self, chat_id: ChatId) -> Self {
        Self {
            chat_id: Some(chat_id),
            ..self
        }
    }

    /// With a caption.
    #[must_use]
    pub fn with_caption(self, caption: &str) -> Self {
        Self {
            text: caption.to_owned(),
            ..self
        }
    }

    /// As a reply.
    #[must_use]
    pub fn in_reply_to(self, message_id: i32) -> Self {
        Self {
            reply_to: Some(message_id),
            ..self
        }
    }

    /// In a topic.
    #[must_use]
    pub fn in_thread(self, thread_id: i32) -> Self {
        Self {
            thread_id: Some(thread_id),
            ..self
        }
    }

    /// As part of an album.
    #[must_use]
    pub fn in_album(self, media_group_id: i64) -> Self {
        Self {
            media_group_id: Some(media_group_id),
            ..self
        }
    }

    /// So that it can be neither forwarded nor saved.
    #[must_use]
    pub fn protected(self) -> Self {
        Self {
            protected: true,
            ..self
        }
    }

    fn chat(&self) -> ChatId {
        self.chat_id.unwrap_or(ChatId(self.from))
    }
}

/// The number of a pressed button, as the bot is told it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallbackId(pub String);

impl BotApi {
    /// A user opens the private chat with the bot, or unblocks it, and sends `/start`.
    ///
    /// # Errors
    /// [`PlayError`] naming what is in the way.
    pub async fn start(&self, user_id: i64) -> Result<Message, PlayError> {
        self.set_blocked(user_id, false)?;
        self.send(UserMessage::text(user_id, "/start")).await
    }

    /// A user sends a message, of which the bot is told. A private chat is open from then on. A
    /// file is hashed first, which takes its time.
    ///
    /// # Errors
    /// [`PlayError`] naming what is in the way.
    pub async fn send(&self, message: UserMessage) -> Result<Message, PlayError> {
        let body = self.body(&message).await?;
        let chat_id = message.chat();
        let mut desk = self.shared.desk();
        if message.chat_id.is_none_or(|chat| chat.0 > 0) {
            if desk.meet(message.from)?.acquaintance == Acquaintance::Blocked {
                return Err(PlayError::Blocked(message.from));
            }
            desk.acquaint(message.from, Acquaintance::Open)?;
        } else {
            desk.group(chat_id).ok_or(PlayError::NoChat(chat_id))?;
            desk.meet(message.from)?;
        }
        let Formatted { text, entities } = text::plain(&message.text);
        let post = Post {
            chat_id,
            text,
            grouped_id: message.media_group_id,
            body,
            details: Details {
                sender: desk.sender(&message),
                entities,
                reply_to: message.reply_to,
                thread_id: message.thread_id,
                protected: message.protected,
                forwarded: message.forwarded,
                ..Details::default()
            },
        };
        let sent = desk.post(post, None)?;
        desk.tell_of_message(&sent, Change::New)?;
        Ok(sent)
    }

    async fn body(&self, message: &UserMessage) -> Result<MessageBody, PlayError> {
        Ok(match message.body.clone() {
            None => MessageBody::Text,
            Some(UserBody::Special(special)) => MessageBody::Special(special),
            Some(UserBody::Happening(happening)) => MessageBody::Happening(happening),
            Some(UserBody::File(file)) => MessageBody::Media(Box::new(self.media(file).await?)),
        })
    }

    async fn media(&self, file: UserFile) -> Result<Media, PlayError> {
        let telegram = self.shared.telegram.clone();
        let (origin, size) = match file.source {
            FileSource::Generated { size, seed } => (Origin::Seed(seed), size),
            FileSource::Stored { stored } => (Origin::File(stored), 0),
            FileSource::Again { file_id } => {
                let known = telegram.store().file(file_id);
                return Ok(known.ok_or(PlayError::NoFile(file_id))?.media.clone());
            }
        };
        let dc = file.dc.unwrap_or(telegram.home());
        let hashing = move || telegram.store().media(dc, origin, size, file.look);
        let media = tokio::task::spawn_blocking(hashing).await;
        Ok(media.expect("hashing does not panic")?)
    }

    /// A user changes the text or caption of a message of their own.
    ///
    /// # Errors
    /// [`PlayError`] naming what is in the way.
    pub fn edit_user_message(
        &self,
        chat_id: ChatId,
        message_id: i32,
        text: &str,
    ) -> Result<Message, PlayError> {
        let mut desk = self.shared.desk();
        let mut message = desk.there(chat_id, message_id)?;
        let by = desk.author(&message);
        if by == Author::Bot {
            return Err(PlayError::NotOwn(message_id));
        }
        let written = text::plain(text);
        message.text = written.text;
        message.details.entities = written.entities;
        let changed = desk.change(by, message)?;
        desk.tell_of_message(&changed, Change::Edited)?;
        Ok(changed)
    }

    /// A user deletes a message. The bot is not told.
    ///
    /// # Errors
    /// [`PlayError::NoMessage`] if it is not there.
    pub fn delete_message(
        &self,
        by: i64,
        chat_id: ChatId,
        message_id: i32,
    ) -> Result<(), PlayError> {
        let mut desk = self.shared.desk();
        let message = desk.there(chat_id, message_id)?;
        Ok(desk.delete(Author::User(by), &message)?)
    }

    /// A user presses the button of this label, or with this callback data.
    ///
    /// # Errors
    /// [`PlayError`] if there is no such message or button.
    pub fn press(
        &self,
        chat_id: ChatId,
        message_id: i32,
        from: i64,
        button: &str,
    ) -> Result<CallbackId, PlayError> {
        let mut desk = self.shared.desk();
        let message = desk.there(chat_id, message_id)?;
        let buttons = || message.details.keyboard.iter().flatten();
        let data = |one: &crate::telegram::details::Button| match &one.action {
            ButtonAction::CallbackData(data) => Some(data.clone()),
            ButtonAction::Url(_) | ButtonAction::CopyText { .. } => None,
        };
        let labelled = buttons().find(|one| one.text == button).and_then(data);
        let by_data = || buttons().filter_map(data).find(|told| told == button);
        let data = labelled.or_else(by_data).ok_or(PlayError::NoButton {
            message_id,
            button: button.to_owned(),
        })?;
        desk.pressed(chat_id, message_id, from, &data)
    }

    /// A client that is no honest one says that a button was pressed, with data that need not be
    /// on any button, of a message that need not be there any more.
    ///
    /// # Errors
    /// If it cannot be remembered.
    pub fn press_forged(
        &self,
        from: i64,
        chat_id: ChatId,
        message_id: i32,
        data: &str,
    ) -> Result<CallbackId, PlayError> {
        self.shared.desk().pressed(chat_id, message_id, from, data)
    }

    /// A user blocks the bot, or no longer does; the bot is told if that changes anything.
    ///
    /// # Errors
    /// If it cannot be remembered.
    pub fn set_blocked(&self, user_id: i64, blocked: bool) -> Result<(), PlayError> {
        let mut desk = self.shared.desk();
        let before = desk.meet(user_id)?.acquaintance;
        let after = if blocked {
            Acquaintance::Blocked
        } else {
            Acquaintance::Open
        };
        desk.acquaint(user_id, after)?;
        let told = [before, after].contains(&Acquaintance::Blocked);
        if before == after || !told {
            return Ok(());
        }
        let words = if blocked {
            ("member", "kicked")
        } else {
            ("kicked", "member")
        };
        let chat_id = ChatId(user_id);
        desk.log(
            chat_id,
            Happened::Blocked {
                user: user_id,
                blocked,
            },
        );
        Ok(desk.tell_of_standing(chat_id, user_id, words)?)
    }

    /// Somebody makes the bot something else in a group or channel; the bot is told.
    ///
    /// # Errors
    /// [`PlayError::NoChat`] if there is no such chat.
    pub fn set_standing(
        &self,
        chat_id: ChatId,
        by: i64,
        standing: Standing,
    ) -> Result<(), PlayError> {
        let mut desk = self.shared.desk();
        let mut chat = desk.group(chat_id).ok_or(PlayError::NoChat(chat_id))?;
        let words = (chat.bot.word(), standing.word());
        chat.bot = standing;
        desk.set_chat(chat)?;
        Ok(desk.tell_of_standing(chat_id, by, words)?)
    }
}

/// Whether a message is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    New,
    Edited,
}

impl Desk<'_> {
    fn there(&self, chat_id: ChatId, message_id: i32) -> Result<Message, PlayError> {
        let message = self.store().message(chat_id, message_id);
        message.ok_or(PlayError::NoMessage {
            chat_id,
            message_id,
        })
    }

    /// Who has written a message; in a channel, nobody.
    fn sender(&self, message: &UserMessage) -> Option<i64> {
        let chat = self.group(message.chat());
        let is_channel = chat.is_some_and(|chat| chat.kind == ChatKind::Channel);
        (!is_channel).then_some(message.from)
    }

    /// Tells the bot of a message, if it is one that it sees.
    fn tell_of_message(&mut self, message: &Message, change: Change) -> Result<(), PlayError> {
        let chat = self.group(message.chat_id);
        let is_channel = chat
            .as_ref()
            .is_some_and(|chat| chat.kind == ChatKind::Channel);
        let sees = match chat.map(|chat| chat.bot) {
            None | Some(Standing::Administrator) => true,
            Some(Standing::Member) => {
                self.shared.options.privacy == Privacy::Off || self.is_meant_for_bot(message)
            }
            Some(Standing::Absent | Standing::Kicked) => false,
        };
        if !sees {
            return Ok(());
        }
        let kind = match (is_channel, change) {
            (false, Change::New) => UpdateKind::Message,
            (false, Change::Edited) => UpdateKind::EditedMessage,
            (true, Change::New) => UpdateKind::ChannelPost,
            (true, Change::Edited) => UpdateKind::EditedChannelPost,
        };
        let told = self.view().message(message);
        Ok(self.tell(kind, told)?)
    }

    /// What a bot in privacy mode sees of a group, see
    /// <https://core.telegram.org/bots/features#privacy-mode>.
    fn is_meant_for_bot(&self, message: &Message) -> bool {
        if matches!(
            message.body,
            MessageBody::Service | MessageBody::Happening(_)
        ) {
            return true;
        }
        let replied = message.details.reply_to;
        let replied = replied.and_then(|id| self.store().message(message.chat_id, id));
        if replied.is_some_and(|replied| self.author(&replied) == Author::Bot) {
            return true;
        }
        let mine = format!("@{}", self.shared.me.username);
        let addresses = |entity: &Entity| {
            let said = part(&message.text, entity);
            match entity.kind {
                EntityKind::BotCommand => {
                    !said.contains('@') || said.to_lowercase().ends_with(&mine.to_lowercase())
                }
                EntityKind::Mention => said.eq_ignore_ascii_case(&mine),
                _ => false,
            }
        };
        message.details.entities.iter().any(addresses)
    }

    fn pressed(
        &mut self,
        chat_id: ChatId,
        message_id: i32,
        from: i64,
        data: &str,
    ) -> Result<CallbackId, PlayError> {
        self.meet(from)?;
        let id = (random() >> 1).to_string();
        let message = match self.store().message(chat_id, message_id) {
            Some(message) => self.view().message(&message),
            None => json!({
                "chat": self.view().chat(chat_id), "message_id": message_id, "date": 0,
            }),
        };
        let query: Value = json!({
            "id": id,
            "from": self.view().user(from),
            "message": message,
            "chat_instance": (chat_id.0 ^ 0x7e1e_57ea).to_string(),
            "data": data,
        });
        let callback = Callback {
            user: from,
            chat_id,
            pressed: std::time::Instant::now(),
        };
        self.state.callbacks.insert(id.clone(), callback);
        self.log(
            chat_id,
            Happened::Pressed {
                user: from,
                message_id,
                data: data.to_owned(),
                query: id.clone(),
            },
        );
        self.tell(UpdateKind::CallbackQuery, query)?;
        Ok(CallbackId(id))
    }

    fn tell_of_standing(
        &mut self,
        chat_id: ChatId,
        by: i64,
        (before, after): (&str, &str),
    ) -> Result<(), JournalError> {
        let view = self.view();
        let me = || view.user(self.shared.me.id);
        let told = json!({
            "chat": view.chat(chat_id),
            "from": view.user(by),
            "date": self.now().as_secs(),
            "old_chat_member": member(me(), before),
            "new_chat_member": member(me(), after),
        });
        self.tell(UpdateKind::MyChatMember, told)
    }
}

/// The part of a text that an entity covers.
fn part(text: &str, entity: &Entity) -> String {
    let units = text.encode_utf16().skip(entity.offset).take(entity.length);
    String::from_utf16_lossy(&units.collect::<Vec<_>>())
}
