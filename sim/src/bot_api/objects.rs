//! The Bot API's objects: users, chats and messages as the bot is told of them.

use serde_json::{Value, json};

use super::file_ids::{file_id, unique_id};
use super::people::{ChatKind, ChatProfile, UserProfile};
use super::state::{Me, State};
use crate::telegram::details::{ForwardOrigin, Happening, Special};
use crate::telegram::ids::ChatId;
use crate::telegram::store::{Media, MediaKind, Message, MessageBody, Store};

/// Everything that objects are made of.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    pub(super) store: &'a Store,
    pub(super) me: &'a Me,
}

/// Adds a field if there is something to say.
fn put(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[name] = value.into();
    }
}

/// A `User`.
pub(super) fn user(profile: &UserProfile) -> Value {
    let mut told = json!({
        "id": profile.id,
        "is_bot": false,
        "first_name": profile.first_name,
    });
    put(&mut told, "last_name", profile.last_name.clone());
    put(&mut told, "username", profile.username.clone());
    put(&mut told, "language_code", profile.language_code.clone());
    put(&mut told, "is_premium", profile.premium.then_some(true));
    told
}

/// The bot as a `User`.
pub(super) fn bot(me: &Me) -> Value {
    json!({
        "id": me.id,
        "is_bot": true,
        "first_name": me.first_name,
        "username": me.username,
    })
}

/// A group or channel as a `Chat`.
fn group(profile: &ChatProfile) -> Value {
    let mut told = json!({
        "id": profile.id,
        "title": profile.title,
        "type": profile.kind.word(),
    });
    put(&mut told, "username", profile.username.clone());
    let forum = (profile.kind == ChatKind::Forum).then_some(true);
    put(&mut told, "is_forum", forum);
    told
}

impl View<'_> {
    /// A `User`, the bot included.
    pub(super) fn user(&self, id: i64) -> Value {
        if id == self.me.id {
            return bot(self.me);
        }
        match self.state.users.get(&id) {
            Some(known) => user(&known.profile),
            None => user(&UserProfile::new(id)),
        }
    }

    /// A `Chat`.
    pub(super) fn chat(&self, chat_id: ChatId) -> Value {
        if let Some(profile) = self.state.group(self.store, chat_id) {
            return group(&profile);
        }
        let mut told = self.user(chat_id.0);
        if let Some(object) = told.as_object_mut() {
            object.retain(|name, _| {
                matches!(
                    name.as_str(),
                    "id" | "first_name" | "last_name" | "username"
                )
            });
        }
        told["type"] = "private".into();
        told
    }

    /// A `Message`, with the one that it replies to.
    pub(super) fn message(&self, message: &Message) -> Value {
        let mut told = self.message_alone(message);
        let reply_to = message.details.reply_to;
        let reply_to = reply_to.and_then(|id| self.store.message(message.chat_id, id));
        put(
            &mut told,
            "reply_to_message",
            reply_to.map(|replied| self.message_alone(&replied)),
        );
        told
    }

    fn message_alone(&self, message: &Message) -> Value {
        let details = &message.details;
        let chat = self.chat(message.chat_id);
        let mut told = json!({
            "message_id": message.id,
            "date": message.date,
            "chat": chat,
        });
        let is_channel = chat["type"] == "channel";
        if is_channel {
            told["sender_chat"] = chat.clone();
        } else {
            let private = (message.chat_id.0 > 0).then_some(message.chat_id.0);
            let sender = details.sender.or(private);
            put(&mut told, "from", sender.map(|id| self.user(id)));
        }
        put(&mut told, "edit_date", details.edited);
        put(&mut told, "message_thread_id", details.thread_id);
        let in_topic = details.thread_id.filter(|_| chat["is_forum"] == true);
        put(&mut told, "is_topic_message", in_topic.map(|_| true));
        let album = message.grouped_id.map(|id| id.to_string());
        put(&mut told, "media_group_id", album);
        let protected = details.protected.then_some(true);
        put(&mut told, "has_protected_content", protected);
        put(
            &mut told,
            "link_preview_options",
            details.link_preview.clone(),
        );
        let origin = details.forwarded.as_ref();
        put(
            &mut told,
            "forward_origin",
            origin.map(|origin| self.origin(origin)),
        );
        if !details.keyboard.is_empty() {
            told["reply_markup"] = json!({ "inline_keyboard": details.keyboard });
        }
        self.put_body(message, &mut told);
        told
    }

    fn put_body(&self, message: &Message, told: &mut Value) {
        let entities = &message.details.entities;
        let entities = (!entities.is_empty()).then(|| json!(entities));
        match &message.body {
            MessageBody::Text => {
                told["text"] = message.text.clone().into();
                put(told, "entities", entities);
            }
            MessageBody::Media(media) => {
                self.put_media(media, told);
                if !message.text.is_empty() {
                    told["caption"] = message.text.clone().into();
                    put(told, "caption_entities", entities);
                }
            }
            MessageBody::Special(special) => put_special(special, message, told),
            MessageBody::Happening(happening) => self.put_happening(happening, message, told),
            MessageBody::Service => {
                told["pinned_message"] = json!({
                    "chat": told["chat"], "message_id": 0, "date": 0,
                });
            }
        }
    }

    fn origin(&self, origin: &ForwardOrigin) -> Value {
        match origin {
            ForwardOrigin::User { sender, date } => json!({
                "type": "user", "sender_user": self.user(*sender), "date": date,
            }),
            ForwardOrigin::HiddenUser { name, date } => json!({
                "type": "hidden_user", "sender_user_name": name, "date": date,
            }),
            ForwardOrigin::Channel {
                chat_id,
                message_id,
                date,
            } => json!({
                "type": "channel",
                "chat": self.chat(*chat_id),
                "message_id": message_id,
                "date": date,
            }),
        }
    }

    fn put_happening(&self, happening: &Happening, message: &Message, told: &mut Value) {
        match happening {
            Happening::NewMembers { users } => {
                let members: Vec<_> = users.iter().map(|id| self.user(*id)).collect();
                told["new_chat_members"] = members.into();
            }
            Happening::LeftMember { user } => told["left_chat_member"] = self.user(*user),
            Happening::NewTitle { title } => told["new_chat_title"] = title.clone().into(),
            Happening::TopicCreated { name } => {
                told["forum_topic_created"] = json!({"name": name, "icon_color": 7_322_096});
            }
            Happening::Pinned { message_id } => {
                let pinned = self.store.message(message.chat_id, *message_id);
                told["pinned_message"] = match pinned {
                    Some(pinned) => self.message_alone(&pinned),
                    None => json!({"chat": told["chat"], "message_id": message_id, "date": 0}),
                };
            }
        }
    }

    fn put_media(&self, media: &Media, told: &mut Value) {
        let look = &media.look;
        let file = file(media);
        match look.kind {
            MediaKind::Photo => told["photo"] = self.photo(media).into(),
            MediaKind::Document => told["document"] = file,
            MediaKind::Video => told["video"] = file,
            MediaKind::Audio => told["audio"] = file,
            MediaKind::Voice => told["voice"] = file,
            MediaKind::VideoNote => told["video_note"] = file,
            MediaKind::Sticker => told["sticker"] = file,
            MediaKind::Animation => {
                told["document"] = document(media);
                told["animation"] = file;
            }
        }
    }

    /// A photo's sizes, the smallest first.
    fn photo(&self, media: &Media) -> Vec<Value> {
        let file = self.store.file(media.file_id);
        let sizes = file.iter().flat_map(|file| &file.renditions);
        let sizes = sizes.map(|size| {
            let mut told = named(media, size.name);
            told["file_size"] = size.content.len().into();
            told["width"] = (media.look.width.unwrap_or(1280) / size.shrunk).into();
            told["height"] = (media.look.height.unwrap_or(960) / size.shrunk).into();
            told
        });
        sizes.collect()
    }
}

fn put_special(special: &Special, message: &Message, told: &mut Value) {
    match special {
        Special::Poll { question, options } => {
            let options: Vec<_> = options
                .iter()
                .map(|text| json!({"text": text, "voter_count": 0}))
                .collect();
            told["poll"] = json!({
                "id": message.id.to_string(),
                "question": question,
                "options": options,
                "total_voter_count": 0,
                "is_closed": false,
                "is_anonymous": true,
                "type": "regular",
                "allows_multiple_answers": false,
            });
        }
        Special::Contact {
            phone_number,
            first_name,
        } => {
            told["contact"] = json!({"phone_number": phone_number, "first_name": first_name});
        }
        Special::Location {
            latitude,
            longitude,
        } => told["location"] = json!({"latitude": latitude, "longitude": longitude}),
    }
}

fn named(media: &Media, rendition: &str) -> Value {
    json!({
        "file_id": file_id(media, rendition),
        "file_unique_id": unique_id(media, rendition),
        "file_size": media.size,
    })
}

fn document(media: &Media) -> Value {
    let mut file = named(media, "");
    put(&mut file, "file_name", media.look.name.clone());
    file["mime_type"] = media.look.mime_type().into();
    file
}

/// A file with the fields of its kind.
fn file(media: &Media) -> Value {
    let look = &media.look;
    let mut file = match look.kind {
        MediaKind::Document | MediaKind::Photo => return document(media),
        MediaKind::Sticker => return sticker(media),
        _ => named(media, ""),
    };
    file["duration"] = seconds(media);
    let wide = look.width.unwrap_or(640);
    if look.kind == MediaKind::VideoNote {
        file["length"] = wide.into();
        return file;
    }
    file["mime_type"] = look.mime_type().into();
    if look.kind == MediaKind::Voice {
        return file;
    }
    put(&mut file, "file_name", look.name.clone());
    if look.kind == MediaKind::Audio {
        put(&mut file, "title", look.title.clone());
        put(&mut file, "performer", look.performer.clone());
        return file;
    }
    file["width"] = wide.into();
    file["height"] = look.height.unwrap_or(640).into();
    file
}

fn sticker(media: &Media) -> Value {
    let look = &media.look;
    let mut file = named(media, "");
    file["type"] = "regular".into();
    file["width"] = look.width.unwrap_or(512).into();
    file["height"] = look.height.unwrap_or(512).into();
    file["is_animated"] = (look.mime_type() == "application/x-tgsticker").into();
    file["is_video"] = (look.mime_type() == "video/webm").into();
    file["emoji"] = "\u{1f600}".into();
    file
}

/// A duration, which the Bot API has in whole seconds.
fn seconds(media: &Media) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of a float saturates"
    )]
    let seconds = media.look.duration.unwrap_or(10.0) as i64;
    seconds.into()
}
