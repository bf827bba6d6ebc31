//! What the Bot API must still know after a restart, beside the messages, which the store keeps.

use serde::{Deserialize, Serialize};

use super::commands::BotCommand;
use super::people::{Acquaintance, ChatProfile, UserProfile};
use super::updates::Update;
use super::webhook::Webhook;

/// One fact.
#[derive(Debug, Serialize, Deserialize)]
#[serde(
    tag = "fact",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(super) enum Fact {
    /// There is this user.
    User {
        profile: UserProfile,
        acquaintance: Acquaintance,
    },
    /// There is this chat.
    Chat { profile: ChatProfile },
    /// The bot is to be told this.
    Update { update: Update },
    /// The updates before this one are confirmed.
    Confirmed { before: i64 },
    /// The bot wants these kinds of updates; none: all.
    Allowed { kinds: Vec<String> },
    /// Updates go here.
    Webhook { webhook: Option<Webhook> },
    /// The bot has these commands.
    Commands {
        scope: String,
        language: String,
        commands: Vec<BotCommand>,
    },
}
