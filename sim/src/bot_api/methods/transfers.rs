//! Forwarding and copying messages from chat to chat. The file stays the same file.

use serde_json::{Value, json};

use super::Answered;
use super::messages::several;
use super::targets::{Access, Target};
use crate::bot_api::error::Refusal;
use crate::bot_api::events::{Source, Way};
use crate::bot_api::keyboard::{self, Takes};
use crate::bot_api::params::{Params, random};
use crate::bot_api::people::ChatKind;
use crate::bot_api::state::Desk;
use crate::bot_api::text;
use crate::telegram::details::{Details, ForwardOrigin};
use crate::telegram::ids::ChatId;
use crate::telegram::store::{Message, MessageBody, Post};

/// `forwardMessage`.
pub(super) fn forward_message(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let message = one(desk, params, Way::Forwarded)?;
    let target = desk.target(params)?;
    desk.admit(target.chat_id, 1)?;
    let sent = transfer(desk, &message, target, params, Way::Forwarded)?;
    Ok(desk.view().message(&sent).into())
}

/// `copyMessage`, which may give another caption and buttons.
pub(super) fn copy_message(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let mut message = one(desk, params, Way::Copied)?;
    if params.has("caption") && matches!(message.body, MessageBody::Media(_)) {
        let caption = text::caption(params)?;
        message.text = caption.text;
        message.details.entities = caption.entities;
    }
    let target = desk.target(params)?;
    desk.admit(target.chat_id, 1)?;
    let sent = transfer(desk, &message, target, params, Way::Copied)?;
    Ok(json!({"message_id": sent.id}).into())
}

/// `forwardMessages`.
pub(super) fn forward_messages(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    many(desk, params, Way::Forwarded)
}

/// `copyMessages`.
pub(super) fn copy_messages(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    many(desk, params, Way::Copied)
}

/// The message that `from_chat_id` and `message_id` name, outside of any album.
fn one(desk: &Desk<'_>, params: &Params, way: Way) -> Result<Message, Refusal> {
    let from = desk.chat(params, "from_chat_id", Access::Read)?;
    let message = desk.store().message(from, params.message_id("message_id"));
    let missing = match way {
        Way::Forwarded => "message to forward not found",
        Way::Copied => "message to copy not found",
    };
    let mut message = message.ok_or_else(|| Refusal::bad(missing))?;
    check(&message, way)?;
    message.grouped_id = None;
    Ok(message)
}

/// Whether a message may go anywhere.
fn check(message: &Message, way: Way) -> Result<(), Refusal> {
    let word = match way {
        Way::Forwarded => "forwarded",
        Way::Copied => "copied",
    };
    if message.details.protected {
        return Err(Refusal::bad(format_args!(
            "message has protected content and can't be {word}"
        )));
    }
    if matches!(
        message.body,
        MessageBody::Service | MessageBody::Happening(_)
    ) {
        return Err(Refusal::bad(format_args!("message can't be {word}")));
    }
    Ok(())
}

fn many(desk: &mut Desk<'_>, params: &Params, way: Way) -> Answered {
    let from = desk.chat(params, "from_chat_id", Access::Read)?;
    let target = desk.target(params)?;
    let mut messages = several(desk, params, from)?;
    messages.retain(|message| check(message, way).is_ok());
    if messages.is_empty() {
        return Err(Refusal::bad("there are no messages to forward"));
    }
    desk.admit(target.chat_id, messages.len())?;
    // An album stays one, under another number.
    let shift = (random() >> 2).cast_signed();
    let mut ids: Vec<Value> = Vec::new();
    for mut message in messages {
        message.grouped_id = message.grouped_id.map(|album| album ^ shift);
        let sent = transfer(desk, &message, target, params, way)?;
        ids.push(json!({"message_id": sent.id}));
    }
    Ok(Value::from(ids).into())
}

fn transfer(
    desk: &mut Desk<'_>,
    message: &Message,
    target: Target,
    params: &Params,
    way: Way,
) -> Result<Message, Refusal> {
    let Target { chat_id, thread_id } = target;
    let (forwarded, keyboard, reply_to) = match way {
        Way::Forwarded => (Some(origin(desk, message)), Vec::new(), None),
        Way::Copied => (
            None,
            keyboard::read(params, Takes::Any)?,
            desk.reply_to(params, chat_id)?,
        ),
    };
    let post = Post {
        chat_id,
        text: message.text.clone(),
        grouped_id: message.grouped_id,
        body: message.body.clone(),
        details: Details {
            sender: Some(desk.shared.me.id),
            entities: message.details.entities.clone(),
            reply_to,
            thread_id,
            protected: params.wants("protect_content"),
            keyboard,
            forwarded,
            link_preview: message.details.link_preview.clone(),
            ..Details::default()
        },
    };
    let source = Source {
        chat_id: message.chat_id,
        message_id: message.id,
        way,
    };
    Ok(desk.post(post, Some(source))?)
}

/// Where a message comes from, however often it was forwarded.
fn origin(desk: &Desk<'_>, message: &Message) -> ForwardOrigin {
    if let Some(origin) = &message.details.forwarded {
        return origin.clone();
    }
    let date = message.date;
    let ChatId(chat) = message.chat_id;
    let is_channel = desk
        .group(message.chat_id)
        .is_some_and(|chat| chat.kind == ChatKind::Channel);
    match message.details.sender {
        Some(sender) if !is_channel => ForwardOrigin::User { sender, date },
        None if chat > 0 => ForwardOrigin::User { sender: chat, date },
        _ => ForwardOrigin::Channel {
            chat_id: message.chat_id,
            message_id: message.id,
            date,
        },
    }
}
