//! Answers to pressed buttons.

use serde_json::json;

use super::Answered;
use crate::bot_api::error::Refusal;
use crate::bot_api::events::Happened;
use crate::bot_api::params::Params;
use crate::bot_api::state::Desk;

/// The most UTF-16 code units of an answer.
const MAX_ANSWER: usize = 200;

/// `answerCallbackQuery`.
pub(super) fn answer_callback_query(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let id = params.text("callback_query_id").unwrap_or_default();
    let text = params.text("text").unwrap_or_default();
    let expires = desk.shared.options.callback_ttl;
    let callback = desk.state.callbacks.get(id.as_ref());
    let callback = callback.filter(|callback| callback.pressed.elapsed() < expires);
    let callback = callback.cloned().ok_or_else(|| {
        Refusal::bad("query is too old and response timeout expired or query ID is invalid")
    })?;
    if text.encode_utf16().count() > MAX_ANSWER {
        return Err(Refusal::bad("MESSAGE_TOO_LONG"));
    }
    let answered = Happened::Answered {
        user: callback.user,
        query: id.into_owned(),
        text: text.into_owned(),
        alert: params.wants("show_alert"),
    };
    desk.log(callback.chat_id, answered);
    Ok(json!(true).into())
}
