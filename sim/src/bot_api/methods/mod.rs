//! The methods of the Bot API that the stand-in knows. Each is a function that is given the desk
//! and the parameters, and comes to an answer at once; only `getUpdates` waits, and is in
//! `polling`.

mod callbacks;
pub(super) mod chats;
mod files;
mod messages;
mod myself;
mod targets;
mod transfers;
mod webhooks;

use serde_json::Value;

use super::error::Refusal;
use super::params::Params;
use super::state::Desk;

/// What a call comes to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) result: Value,
    /// What some methods say in addition.
    pub(super) description: Option<&'static str>,
}

impl From<Value> for Answer {
    fn from(result: Value) -> Self {
        Self {
            result,
            description: None,
        }
    }
}

pub(super) type Answered = Result<Answer, Refusal>;

/// How a method is carried out.
#[derive(Clone, Copy)]
pub(super) enum Carry {
    /// At once.
    Now(fn(&mut Desk<'_>, &mut Params) -> Answered),
    /// By waiting for updates.
    Poll,
}

/// A method.
#[derive(Clone, Copy)]
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) carry: Carry,
}

/// All methods there are.
const METHODS: [Method; 24] = [
    now("getMe", myself::get_me),
    Method {
        name: "getUpdates",
        carry: Carry::Poll,
    },
    now("setWebhook", webhooks::set_webhook),
    now("deleteWebhook", webhooks::delete_webhook),
    now("getWebhookInfo", webhooks::get_webhook_info),
    now("setMyCommands", myself::set_my_commands),
    now("getMyCommands", myself::get_my_commands),
    now("deleteMyCommands", myself::delete_my_commands),
    now("sendMessage", messages::send_message),
    now("sendDocument", messages::send_document),
    now("sendChatAction", messages::send_chat_action),
    now("editMessageText", messages::edit_message_text),
    now("editMessageCaption", messages::edit_message_caption),
    now(
        "editMessageReplyMarkup",
        messages::edit_message_reply_markup,
    ),
    now("deleteMessage", messages::delete_message),
    now("deleteMessages", messages::delete_messages),
    now("forwardMessage", transfers::forward_message),
    now("forwardMessages", transfers::forward_messages),
    now("copyMessage", transfers::copy_message),
    now("copyMessages", transfers::copy_messages),
    now("answerCallbackQuery", callbacks::answer_callback_query),
    now("getChat", chats::get_chat),
    now("getChatMember", chats::get_chat_member),
    now("getFile", files::get_file),
];

const fn now(name: &'static str, carry: fn(&mut Desk<'_>, &mut Params) -> Answered) -> Method {
    Method {
        name,
        carry: Carry::Now(carry),
    }
}

/// The method of this name, whose case does not matter.
pub(super) fn find(name: &str) -> Option<Method> {
    METHODS
        .into_iter()
        .find(|method| method.name.eq_ignore_ascii_case(name))
}
