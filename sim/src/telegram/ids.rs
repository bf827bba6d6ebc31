//! The names by which Telegram's things are called: data centres, chats, accounts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A data centre's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DcId(pub i32);

impl fmt::Display for DcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A chat as the Bot API numbers it: a user's id for a private chat, `-100…` for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChatId(pub i64);

/// Channels are numbered below this, see <https://core.telegram.org/api/bots/ids>.
const CHANNEL_BASE: i64 = -1_000_000_000_000;

impl ChatId {
    /// The chat of this channel.
    pub const fn of_channel(channel_id: i64) -> Self {
        Self(CHANNEL_BASE - channel_id)
    }

    /// What the number stands for; `None` for a basic group, which the stand-in does not have.
    pub const fn peer(self) -> Option<Peer> {
        if self.0 > 0 {
            Some(Peer::User(self.0))
        } else if self.0 < CHANNEL_BASE {
            Some(Peer::Channel(CHANNEL_BASE - self.0))
        } else {
            None
        }
    }
}

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A chat as MTProto numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The private chat with this user.
    User(i64),
    /// A channel.
    Channel(i64),
}

/// Which of a data centre's two doors a connection comes in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// The one for everything.
    Main,
    /// The one for files alone.
    Media,
}

/// One of the two accounts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// The bot.
    Bot,
    /// The user.
    User,
}

impl Identity {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Bot, Self::User];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_numbers_are_those_of_the_bot_api() {
        assert_eq!(
            ChatId(-1_001_234_567_890).peer(),
            Some(Peer::Channel(1_234_567_890))
        );
        assert_eq!(
            ChatId::of_channel(1_234_567_890),
            ChatId(-1_001_234_567_890)
        );
        assert_eq!(ChatId(77).peer(), Some(Peer::User(77)));
        assert_eq!(ChatId(-77).peer(), None);
        assert_eq!(ChatId(0).peer(), None);
    }
}
