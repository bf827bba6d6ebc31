//! What happened, in order, as a person at the chat would tell it; and what a chat shows now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::html;
use crate::telegram::details::{Button, ForwardOrigin, Happening, Special};
use crate::telegram::ids::ChatId;
use crate::telegram::store::{MediaKind, Message, MessageBody};

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Author {
    /// The bot.
    Bot,
    /// The user of this number.
    User(i64),
    /// The channel itself.
    Chat,
}

/// A file as a chat shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownFile {
    /// What kind it is.
    pub kind: MediaKind,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its length in bytes.
    pub size: u64,
    /// The number by which the data centres know it.
    pub file_id: i64,
}

/// A message as a chat shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatMessage {
    /// The chat.
    pub chat_id: ChatId,
    /// Its number.
    pub message_id: i32,
    /// When it was sent, in Unix seconds.
    pub date: i64,
    /// Who sent it.
    pub author: Author,
    /// The text or caption.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// The file.
    pub file: Option<ShownFile>,
    /// What it is, if neither words nor a file.
    pub special: Option<Special>,
    /// What it tells, if it tells of an event.
    pub happening: Option<Happening>,
    /// The buttons, row by row.
    pub buttons: Vec<Vec<Button>>,
    /// The message it replies to.
    pub reply_to: Option<i32>,
    /// The topic.
    pub thread_id: Option<i32>,
    /// The album.
    pub media_group_id: Option<i64>,
    /// It may be neither forwarded nor saved.
    pub protected: bool,
    /// Where it comes from, if it was forwarded.
    pub forwarded: Option<ForwardOrigin>,
    /// How often it was changed.
    pub edits: u32,
    /// Whether links are shown as pictures.
    pub link_preview: bool,
}

impl ChatMessage {
    pub(super) fn of(message: &Message, bot: i64) -> Self {
        let details = &message.details;
        let (mut file, mut special, mut happening) = (None, None, None);
        match &message.body {
            MessageBody::Text | MessageBody::Service => {}
            MessageBody::Media(media) => {
                file = Some(ShownFile {
                    kind: media.look.kind,
                    name: media.look.name.clone(),
                    size: media.size,
                    file_id: media.file_id,
                });
            }
            MessageBody::Special(what) => special = Some(what.clone()),
            MessageBody::Happening(what) => happening = Some(what.clone()),
        }
        let preview_off = details
            .link_preview
            .as_ref()
            .is_some_and(|options| options["is_disabled"].as_bool().unwrap_or(false));
        Self {
            chat_id: message.chat_id,
            message_id: message.id,
            date: message.date,
            author: author(message, bot),
            text: message.text.clone(),
            html: html::write(&message.text, &details.entities),
            file,
            special,
            happening,
            buttons: details.keyboard.clone(),
            reply_to: details.reply_to,
            thread_id: details.thread_id,
            media_group_id: message.grouped_id,
            protected: details.protected,
            forwarded: details.forwarded.clone(),
            edits: details.edits,
            link_preview: !preview_off,
        }
    }

    /// All buttons, in one row.
    pub fn all_buttons(&self) -> impl Iterator<Item = &Button> {
        self.buttons.iter().flatten()
    }

    /// The button with this label.
    pub fn button(&self, label: &str) -> Option<&Button> {
        self.all_buttons().find(|button| button.text == label)
    }
}

/// Who wrote a message.
pub(super) fn author(message: &Message, bot: i64) -> Author {
    match message.details.sender {
        Some(sender) if sender == bot => Author::Bot,
        Some(sender) => Author::User(sender),
        None if message.chat_id.0 > 0 => Author::User(message.chat_id.0),
        None => Author::Chat,
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counted from 1.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub time: u64,
    /// In which chat.
    pub chat_id: ChatId,
    /// What.
    #[serde(flatten)]
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Happened {
    /// A message was sent; forwards and copies too.
    Sent {
        /// Which.
        message: Box<ChatMessage>,
        /// Where the bot forwarded or copied it from.
        source: Option<Source>,
    },
    /// A message was changed.
    Edited {
        /// By whom.
        by: Author,
        /// Into what.
        message: Box<ChatMessage>,
    },
    /// A message was deleted.
    Deleted {
        /// By whom.
        by: Author,
        /// Which.
        message_id: i32,
    },
    /// A user pressed a button.
    Pressed {
        /// Who.
        user: i64,
        /// Of which message.
        message_id: i32,
        /// What the bot was told.
        data: String,
        /// The number of the query.
        query: String,
    },
    /// The bot answered that.
    Answered {
        /// Who had pressed.
        user: i64,
        /// The number of the query.
        query: String,
        /// What the user is shown.
        text: String,
        /// Whether that has to be closed.
        alert: bool,
    },
    /// The bot showed that it is busy.
    Action {
        /// With what, such as `typing`.
        action: String,
    },
    /// A user blocked the bot, or no longer does.
    Blocked {
        /// Who.
        user: i64,
        /// Whether.
        blocked: bool,
    },
}

/// Where a message was forwarded or copied from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The chat.
    pub chat_id: ChatId,
    /// The message.
    pub message_id: i32,
    /// How.
    pub way: Way,
}

/// How a message came from one chat to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// With its origin.
    Forwarded,
    /// Without.
    Copied,
}

impl Happened {
    /// The message that was sent or changed.
    pub fn message(&self) -> Option<&ChatMessage> {
        match self {
            Self::Sent { message, .. } | Self::Edited { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The message, if the bot sent or changed it.
    pub fn by_bot(&self) -> Option<&ChatMessage> {
        match self {
            Self::Sent { message, .. } if message.author == Author::Bot => Some(message),
            Self::Edited {
                by: Author::Bot,
                message,
            } => Some(message),
            _ => None,
        }
    }
}

/// How calls of one method ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallCount {
    /// How many were carried out.
    pub ok: u64,
    /// How many were refused, by error code.
    pub refused: BTreeMap<u16, u64>,
    /// How many got no answer, by a fault.
    pub unanswered: u64,
}

impl CallCount {
    /// How many there were.
    pub fn total(&self) -> u64 {
        self.ok + self.refused.values().sum::<u64>() + self.unanswered
    }
}
