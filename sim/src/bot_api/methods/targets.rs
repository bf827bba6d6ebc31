//! Which chat and which messages a call is about, and whether the bot may.

use std::time::Duration;

use serde::Deserialize;

use crate::bot_api::error::Refusal;
use crate::bot_api::params::Params;
use crate::bot_api::people::{Acquaintance, ChatKind, Standing};
use crate::bot_api::state::Desk;
use crate::telegram::ids::ChatId;
use crate::telegram::store::Message;

/// The topic of a forum in which everything is that is in no other. It cannot be named.
const GENERAL_TOPIC: i64 = 1;

/// After so long nobody else's messages can be deleted, and one's own neither.
const DELETABLE_FOR: Duration = Duration::from_hours(48);

/// What the bot wants of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// To know it.
    Read,
    /// To write in it.
    Write,
}

/// Where a message is to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) chat_id: ChatId,
    pub(super) thread_id: Option<i32>,
}

#[derive(Deserialize)]
struct ReplyParameters {
    message_id: i32,
    #[serde(default)]
    allow_sending_without_reply: bool,
}

impl Desk<'_> {
    /// The chat that the parameter `name` names.
    pub(super) fn chat(
        &self,
        params: &Params,
        name: &str,
        access: Access,
    ) -> Result<ChatId, Refusal> {
        let named = params.text(name).unwrap_or_default();
        if named.is_empty() {
            return Err(Refusal::bad("chat_id is empty"));
        }
        let not_found = || Refusal::bad("chat not found");
        let chat_id = match named.strip_prefix('@') {
            Some(username) => self.state.named(username),
            None => named.trim().parse().ok().map(ChatId),
        };
        let chat_id = chat_id.ok_or_else(not_found)?;
        if chat_id.0 > 0 {
            self.check_private(chat_id, access)?;
        } else {
            self.check_group(chat_id, access)?;
        }
        Ok(chat_id)
    }

    fn check_private(&self, chat_id: ChatId, access: Access) -> Result<(), Refusal> {
        let Some(user) = self.state.users.get(&chat_id.0) else {
            // The store alone may know it, from the data centres' side.
            return match self.store().membership(chat_id) {
                Some(_) => Ok(()),
                None => Err(Refusal::bad("chat not found")),
            };
        };
        match (user.acquaintance, access) {
            (Acquaintance::Open, _) | (_, Access::Read) => Ok(()),
            (Acquaintance::Strangers, Access::Write) => Err(Refusal::forbidden(
                "bot can't initiate conversation with a user",
            )),
            (Acquaintance::Blocked, Access::Write) => {
                Err(Refusal::forbidden("bot was blocked by the user"))
            }
        }
    }

    fn check_group(&self, chat_id: ChatId, access: Access) -> Result<(), Refusal> {
        let chat = self.group(chat_id);
        let chat = chat.ok_or_else(|| Refusal::bad("chat not found"))?;
        let kind = chat.kind.word();
        let only_read = chat.bot == Standing::Member && chat.kind == ChatKind::Channel;
        if only_read && access == Access::Write {
            return Err(Refusal::bad(
                "need administrator rights in the channel chat",
            ));
        }
        match chat.bot {
            Standing::Administrator | Standing::Member => Ok(()),
            Standing::Absent => Err(Refusal::forbidden(format_args!(
                "bot is not a member of the {kind} chat"
            ))),
            Standing::Kicked => Err(Refusal::forbidden(format_args!(
                "bot was kicked from the {kind} chat"
            ))),
        }
    }

    /// The chat and topic that a message is to go to.
    pub(super) fn target(&self, params: &Params) -> Result<Target, Refusal> {
        let chat_id = self.chat(params, "chat_id", Access::Write)?;
        let thread_id = params.integer("message_thread_id").filter(|id| *id != 0);
        let Some(thread_id) = thread_id else {
            return Ok(Target {
                chat_id,
                thread_id: None,
            });
        };
        let not_found = || Refusal::bad("message thread not found");
        let Some(chat) = self.group(chat_id) else {
            return Err(not_found());
        };
        if chat.kind != ChatKind::Forum {
            // The real service takes no notice of it either.
            return Ok(Target {
                chat_id,
                thread_id: None,
            });
        }
        let topic = chat
            .topics
            .iter()
            .find(|topic| i64::from(topic.id) == thread_id);
        let topic = topic.filter(|_| thread_id != GENERAL_TOPIC);
        Ok(Target {
            chat_id,
            thread_id: Some(topic.ok_or_else(not_found)?.id),
        })
    }

    /// The message that is replied to.
    pub(super) fn reply_to(
        &self,
        params: &Params,
        chat_id: ChatId,
    ) -> Result<Option<i32>, Refusal> {
        let given: Option<ReplyParameters> = params.json("reply_parameters")?;
        let legacy = params.message_id("reply_to_message_id");
        let given = given.or((legacy != 0).then(|| ReplyParameters {
            message_id: legacy,
            allow_sending_without_reply: params.wants("allow_sending_without_reply"),
        }));
        let Some(given) = given else { return Ok(None) };
        match self.store().message(chat_id, given.message_id) {
            Some(message) => Ok(Some(message.id)),
            None if given.allow_sending_without_reply => Ok(None),
            None => Err(Refusal::bad("message to be replied not found")),
        }
    }

    /// A message of the bot's that is to be changed.
    pub(super) fn to_edit(&self, params: &Params) -> Result<Message, Refusal> {
        if !params.has("chat_id") && !params.has("message_id") {
            return Err(Refusal::bad("message identifier is not specified"));
        }
        let chat_id = self.chat(params, "chat_id", Access::Write)?;
        let message = self
            .store()
            .message(chat_id, params.message_id("message_id"));
        let message = message.ok_or_else(|| Refusal::bad("message to edit not found"))?;
        if message.details.sender != Some(self.shared.me.id) {
            return Err(Refusal::bad("message can't be edited"));
        }
        Ok(message)
    }

    /// Whether the bot may delete a message.
    pub(super) fn check_deletable(&self, message: &Message) -> Result<(), Refusal> {
        let age = self.now().as_secs().cast_signed() - message.date;
        if age > DELETABLE_FOR.as_secs().cast_signed() {
            return Err(Refusal::bad("message can't be deleted for everyone"));
        }
        let is_own = message.details.sender == Some(self.shared.me.id);
        let runs_chat = match self.group(message.chat_id) {
            None => true,
            Some(chat) => chat.bot == Standing::Administrator,
        };
        if is_own || runs_chat {
            Ok(())
        } else {
            Err(Refusal::bad("message can't be deleted"))
        }
    }
}
