//! The bot's commands, as users see them in a menu: by scope and language.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::Refusal;
use super::params::Params;

/// The most commands of one list.
const MAX_COMMANDS: usize = 100;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BotCommand {
    /// Without its slash.
    pub command: String,
    /// What it does.
    pub description: String,
}

impl BotCommand {
    /// By the rules of <https://core.telegram.org/bots/api#botcommand>.
    fn check(&self) -> Result<(), Refusal> {
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if self.command.is_empty() {
            return Err(Refusal::bad("command must be non-empty"));
        }
        if self.command.len() > 32 || !self.command.bytes().all(letters) {
            return Err(Refusal::bad("BOT_COMMAND_INVALID"));
        }
        if self.description.is_empty() {
            return Err(Refusal::bad("command description must be non-empty"));
        }
        if self.description.encode_utf16().count() > 256 {
            return Err(Refusal::bad("BOT_COMMAND_DESCRIPTION_INVALID"));
        }
        Ok(())
    }
}

/// For whom, as a bot says it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Scope {
    Default,
    AllPrivateChats,
    AllGroupChats,
    AllChatAdministrators,
    Chat { chat_id: i64 },
    ChatAdministrators { chat_id: i64 },
    ChatMember { chat_id: i64, user_id: i64 },
}

impl Scope {
    fn key(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::AllPrivateChats => "all_private_chats".to_owned(),
            Self::AllGroupChats => "all_group_chats".to_owned(),
            Self::AllChatAdministrators => "all_chat_administrators".to_owned(),
            Self::Chat { chat_id } => format!("chat:{chat_id}"),
            Self::ChatAdministrators { chat_id } => format!("chat_administrators:{chat_id}"),
            Self::ChatMember { chat_id, user_id } => format!("chat_member:{chat_id}:{user_id}"),
        }
    }
}

/// The key of a list: scope and language.
pub(super) fn key(params: &Params) -> Result<(String, String), Refusal> {
    let scope: Option<Scope> = params
        .json("scope")
        .map_err(|_| Refusal::bad("can't parse BotCommandScope"))?;
    let language = params.text("language_code").unwrap_or_default();
    let letters = language.bytes().all(|b| b.is_ascii_lowercase());
    if !matches!((language.len(), letters), (0, _) | (2, true)) {
        return Err(Refusal::bad("invalid language code specified"));
    }
    let scope = scope.unwrap_or(Scope::Default).key();
    Ok((scope, language.into_owned()))
}

/// The list that a bot gives.
pub(super) fn list(params: &Params) -> Result<Vec<BotCommand>, Refusal> {
    let commands: Vec<BotCommand> = params
        .json("commands")
        .map_err(|_| Refusal::bad("can't parse commands JSON object"))?
        .unwrap_or_default();
    if commands.len() > MAX_COMMANDS {
        return Err(Refusal::bad("BOT_COMMANDS_TOO_MUCH"));
    }
    commands.iter().try_for_each(BotCommand::check)?;
    Ok(commands)
}

/// All lists there are.
pub(super) type Commands = BTreeMap<(String, String), Vec<BotCommand>>;
