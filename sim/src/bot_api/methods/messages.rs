//! Sending, changing and deleting messages.

use serde_json::{Value, json};

use super::Answered;
use super::targets::{Access, Target};
use crate::bot_api::error::Refusal;
use crate::bot_api::events::Happened;
use crate::bot_api::file_ids;
use crate::bot_api::html::Formatted;
use crate::bot_api::keyboard::{self, Takes};
use crate::bot_api::params::Params;
use crate::bot_api::state::Desk;
use crate::bot_api::text;
use crate::telegram::details::Details;
use crate::telegram::ids::ChatId;
use crate::telegram::store::{Media, Message, MessageBody, Post};

/// What a bot may say that it is doing.
const ACTIONS: [&str; 12] = [
    "cancel",
    "choose_sticker",
    "find_location",
    "record_video",
    "record_video_note",
    "record_voice",
    "typing",
    "upload_document",
    "upload_photo",
    "upload_video",
    "upload_video_note",
    "upload_voice",
];

/// `sendMessage`.
pub(super) fn send_message(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let text = text::text(params)?;
    let target = desk.target(params)?;
    send(desk, params, target, text, MessageBody::Text)
}

/// `sendDocument`: a file that came with the call, or one that is known.
pub(super) fn send_document(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let caption = text::caption(params)?;
    let target = desk.target(params)?;
    let media = match params.media() {
        Some(media) => media.clone(),
        None => known_file(desk, params, "document")?,
    };
    send(
        desk,
        params,
        target,
        caption,
        MessageBody::Media(Box::new(media)),
    )
}

/// The file that a `file_id` names.
fn known_file(desk: &Desk<'_>, params: &Params, name: &str) -> Result<Media, Refusal> {
    let told = params.text(name).unwrap_or_default();
    if told.is_empty() {
        return Err(Refusal::bad(format_args!(
            "there is no {name} in the request"
        )));
    }
    let named = file_ids::parse(&told);
    let file = named.and_then(|named| desk.store().file(named.file_id));
    let wrong = || Refusal::bad("wrong remote file identifier specified: Wrong string length");
    Ok(file.ok_or_else(wrong)?.media.clone())
}

fn send(
    desk: &mut Desk<'_>,
    params: &Params,
    target: Target,
    text: Formatted,
    body: MessageBody,
) -> Answered {
    let Target { chat_id, thread_id } = target;
    let reply_to = desk.reply_to(params, chat_id)?;
    let replied = reply_to.and_then(|id| desk.store().message(chat_id, id));
    let details = Details {
        sender: Some(desk.shared.me.id),
        entities: text.entities,
        reply_to,
        // A reply stands where the message stands that it answers.
        thread_id: thread_id.or(replied.and_then(|replied| replied.details.thread_id)),
        protected: params.wants("protect_content"),
        keyboard: keyboard::read(params, Takes::Any)?,
        link_preview: link_preview(params)?,
        ..Details::default()
    };
    desk.admit(chat_id, 1)?;
    let post = Post {
        chat_id,
        text: text.text,
        grouped_id: None,
        body,
        details,
    };
    let message = desk.post(post, None)?;
    Ok(desk.view().message(&message).into())
}

/// What is said about links, in the words of today or of before.
fn link_preview(params: &Params) -> Result<Option<Value>, Refusal> {
    let legacy = params.wants("disable_web_page_preview");
    let legacy = legacy.then(|| json!({"is_disabled": true}));
    let options: Option<Value> = params.json("link_preview_options")?;
    Ok(options.or(legacy))
}

/// `sendChatAction`.
pub(super) fn send_chat_action(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let Target { chat_id, .. } = desk.target(params)?;
    let action = params.text("action").unwrap_or_default().to_lowercase();
    if !ACTIONS.contains(&action.as_str()) {
        return Err(Refusal::bad("wrong parameter action in request"));
    }
    desk.log(chat_id, Happened::Action { action });
    Ok(json!(true).into())
}

/// `editMessageText`.
pub(super) fn edit_message_text(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let text = text::text(params)?;
    let mut message = desk.to_edit(params)?;
    if !matches!(message.body, MessageBody::Text) {
        return Err(Refusal::bad("there is no text in the message to edit"));
    }
    let before = message.clone();
    message.text = text.text;
    message.details.entities = text.entities;
    message.details.link_preview = link_preview(params)?;
    message.details.keyboard = keyboard::read(params, Takes::Inline)?;
    edit(desk, &before, message)
}

/// `editMessageCaption`.
pub(super) fn edit_message_caption(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let caption = text::caption(params)?;
    let mut message = desk.to_edit(params)?;
    if !matches!(message.body, MessageBody::Media(_)) {
        return Err(Refusal::bad("there is no caption in the message to edit"));
    }
    let before = message.clone();
    message.text = caption.text;
    message.details.entities = caption.entities;
    message.details.keyboard = keyboard::read(params, Takes::Inline)?;
    edit(desk, &before, message)
}

/// `editMessageReplyMarkup`.
pub(super) fn edit_message_reply_markup(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let mut message = desk.to_edit(params)?;
    let before = message.clone();
    message.details.keyboard = keyboard::read(params, Takes::Inline)?;
    edit(desk, &before, message)
}

fn edit(desk: &mut Desk<'_>, before: &Message, after: Message) -> Answered {
    desk.admit(after.chat_id, 1)?;
    let shown = |message: &Message| {
        let details = &message.details;
        (
            message.text.clone(),
            details.entities.clone(),
            details.keyboard.clone(),
        )
    };
    if shown(before) == shown(&after) {
        return Err(Refusal::bad(
            "message is not modified: specified new message content and reply markup are exactly \
             the same as a current content and reply markup of the message",
        ));
    }
    let by = desk.author(before);
    let message = desk.change(by, after)?;
    Ok(desk.view().message(&message).into())
}

/// `deleteMessage`.
pub(super) fn delete_message(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let chat_id = desk.chat(params, "chat_id", Access::Write)?;
    let id = params.message_id("message_id");
    if id == 0 {
        return Err(Refusal::bad("message identifier is not specified"));
    }
    let message = desk.store().message(chat_id, id);
    let message = message.ok_or_else(|| Refusal::bad("message to delete not found"))?;
    delete(desk, &message)?;
    Ok(json!(true).into())
}

/// `deleteMessages`: those that are not there are skipped.
pub(super) fn delete_messages(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let chat_id = desk.chat(params, "chat_id", Access::Write)?;
    for message in several(desk, params, chat_id)? {
        delete(desk, &message)?;
    }
    Ok(json!(true).into())
}

fn delete(desk: &mut Desk<'_>, message: &Message) -> Result<(), Refusal> {
    desk.check_deletable(message)?;
    desk.delete(crate::bot_api::events::Author::Bot, message)?;
    Ok(())
}

/// The messages that `message_ids` names, as far as they are there.
pub(super) fn several(
    desk: &Desk<'_>,
    params: &Params,
    chat_id: ChatId,
) -> Result<Vec<Message>, Refusal> {
    let ids: Vec<i32> = params
        .json("message_ids")
        .map_err(|_| Refusal::bad("can't parse message identifiers JSON object"))?
        .unwrap_or_default();
    if ids.is_empty() {
        return Err(Refusal::bad("message identifiers are not specified"));
    }
    if ids.len() > 100 {
        return Err(Refusal::bad("too many message identifiers specified"));
    }
    if !ids.is_sorted_by(|one, next| one < next) {
        return Err(Refusal::bad(
            "message identifiers must be in a strictly increasing order",
        ));
    }
    let found = ids
        .iter()
        .filter_map(|id| desk.store().message(chat_id, *id));
    Ok(found.collect())
}
