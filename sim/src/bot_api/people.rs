//! Who there is: users, and the groups and channels they meet in.

use serde::{Deserialize, Serialize};

use crate::telegram::ids::ChatId;
use crate::telegram::store::{ChannelKind, Membership};

/// A user as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UserProfile {
    /// The user's number.
    pub id: i64,
    /// The first name, or the only one.
    pub first_name: String,
    /// The last name.
    pub last_name: Option<String>,
    /// The name by which anyone finds the user.
    pub username: Option<String>,
    /// The IETF tag of the user's language.
    pub language_code: Option<String>,
    /// Whether the user pays for Telegram.
    pub premium: bool,
}

impl UserProfile {
    /// A user of whom nothing is known but the number: `User 7`, who speaks English.
    pub fn new(id: i64) -> Self {
        Self {
            id,
            first_name: format!("User {id}"),
            language_code: Some("en".to_owned()),
            ..Self::default()
        }
    }
}

/// What a user and the bot are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Acquaintance {
    /// The user never wrote to the bot, so the bot must not either.
    Strangers,
    /// They may write to each other.
    Open,
    /// The user has blocked the bot.
    Blocked,
}

/// A user, and what the bot is to it.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) profile: UserProfile,
    pub(super) acquaintance: Acquaintance,
}

/// What kind of chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChatKind {
    /// A group.
    #[default]
    Supergroup,
    /// A group that is divided into topics.
    Forum,
    /// A channel.
    Channel,
}

impl ChatKind {
    /// The Bot API's word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Supergroup | Self::Forum => "supergroup",
            Self::Channel => "channel",
        }
    }
}

/// What the bot is in a chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It is not in it.
    Absent,
    /// It was thrown out.
    Kicked,
    /// It may write, and reads what is meant for it.
    Member,
    /// It may do everything, and reads everything.
    #[default]
    Administrator,
}

impl Standing {
    /// The Bot API's word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Absent => "left",
            Self::Kicked => "kicked",
            Self::Member => "member",
            Self::Administrator => "administrator",
        }
    }

    /// Whether it is in the chat.
    pub(super) const fn is_in(self) -> bool {
        matches!(self, Self::Member | Self::Administrator)
    }
}

/// A topic of a forum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topic {
    /// Its number: that of a message.
    pub id: i32,
    /// Its name.
    pub name: String,
}

/// A group or channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChatProfile {
    /// Its number, `-100…`.
    pub id: ChatId,
    /// What it is.
    #[serde(default)]
    pub kind: ChatKind,
    /// Its title.
    pub title: String,
    /// The name by which anyone finds it.
    #[serde(default)]
    pub username: Option<String>,
    /// What the bot is in it.
    #[serde(default)]
    pub bot: Standing,
    /// The users who are in it.
    #[serde(default)]
    pub members: Vec<i64>,
    /// Those of them who run it.
    #[serde(default)]
    pub administrators: Vec<i64>,
    /// A forum's topics, but for the general one.
    #[serde(default)]
    pub topics: Vec<Topic>,
}

impl ChatProfile {
    /// A chat that the bot runs, without users.
    pub fn new(id: ChatId, kind: ChatKind, title: &str) -> Self {
        Self {
            id,
            kind,
            title: title.to_owned(),
            username: None,
            bot: Standing::Administrator,
            members: Vec::new(),
            administrators: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// What is known of a chat that the store alone knows.
    pub(super) fn of_store(id: ChatId, membership: &Membership, bot: Standing) -> Self {
        let kind = match membership.kind {
            ChannelKind::Broadcast => ChatKind::Channel,
            ChannelKind::Supergroup => ChatKind::Supergroup,
        };
        Self {
            bot,
            ..Self::new(id, kind, &membership.title)
        }
    }

    /// How the store has it.
    pub(super) const fn channel_kind(&self) -> ChannelKind {
        match self.kind {
            ChatKind::Channel => ChannelKind::Broadcast,
            ChatKind::Supergroup | ChatKind::Forum => ChannelKind::Supergroup,
        }
    }
}
