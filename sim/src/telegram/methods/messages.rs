//! Messages by number, with the media they carry.

use grammers_tl_types as tl;
use tl::enums::{DocumentAttribute, InputMessage, InputStickerSet, MessageMedia};

use super::chats::tl_peer;
use super::{Answered, Known};
use crate::telegram::ids::{ChatId, Peer};
use crate::telegram::layer::{self, Items, Message as LayerMessage};
use crate::telegram::rpc::{Answer, RpcError};
use crate::telegram::secret::{Object, Reference};
use crate::telegram::store::{ChannelKind, Media, MediaKind, Message, MessageBody, Rendition};

/// The most messages that may be asked for at once.
const MAX_IDS: usize = 100;

/// `channels.getMessages`. A number that has no message, or no longer one, gives an empty one.
pub(super) fn of_channel(
    known: &Known<'_>,
    method: &tl::functions::channels::GetMessages,
) -> Answered {
    let (id, chat) = known.channel(&method.channel)?;
    let (mut messages, mut users) = (Items::default(), Items::default());
    let mut named = Vec::new();
    for number in numbers(&method.id)? {
        let found = known
            .call
            .world
            .store
            .message(ChatId::of_channel(id), number);
        known.push_message(number, found.as_ref(), &mut messages);
        if let Some(sender) = found.and_then(|message| message.details.sender) {
            known.push_user(sender, &mut named, &mut users);
        }
    }
    let mut chats = Items::default();
    chats.push(|out| known.write_channel(id, &chat, out));
    Ok(Answer::Object(layer::channel_messages(
        &messages, &chats, &users,
    )))
}

/// `messages.getMessages`: those of private chats, which share their numbers.
pub(super) fn of_private(
    known: &Known<'_>,
    method: &tl::functions::messages::GetMessages,
) -> Answered {
    let store = &known.call.world.store;
    let (mut messages, mut users) = (Items::default(), Items::default());
    let mut named = Vec::new();
    for number in numbers(&method.id)? {
        let found = store.private_message(known.who, number);
        known.push_message(number, found.as_ref(), &mut messages);
        if let Some(message) = found {
            let sender = message.details.sender.unwrap_or(message.chat_id.0);
            known.push_user(message.chat_id.0, &mut named, &mut users);
            known.push_user(sender, &mut named, &mut users);
        }
    }
    let none = Items::default();
    Ok(Answer::Object(layer::messages(
        &messages,
        &none,
        &users,
        known.layer,
    )))
}

fn numbers(ids: &[InputMessage]) -> Result<Vec<i32>, RpcError> {
    if ids.is_empty() {
        return Err(RpcError::bad("MESSAGE_IDS_EMPTY"));
    }
    let ids = ids.iter().take(MAX_IDS);
    Ok(ids
        .map(|id| match id {
            InputMessage::Id(id) => id.id,
            // Replies and pinned messages are not kept: there is none.
            _ => 0,
        })
        .collect())
}

impl Known<'_> {
    fn push_message(&self, number: i32, found: Option<&Message>, messages: &mut Items) {
        match found {
            Some(message) => messages.push(|out| self.write_message(message, out)),
            None => messages.push(|out| layer::write_no_message(number, out)),
        }
    }

    /// Appends a user whom messages name, once.
    fn push_user(&self, id: i64, named: &mut Vec<i64>, users: &mut Items) {
        if named.contains(&id) {
            return;
        }
        named.push(id);
        let myself = self.myself();
        if id == myself.id {
            return users.push(|out| myself.write(self.layer, out));
        }
        let chat = self.call.world.store.membership(ChatId(id));
        let name = chat.map(|chat| chat.title).unwrap_or_default();
        users.push(|out| self.write_user(id, &name, out));
    }

    /// Appends a message as this account sees it now, file references included.
    pub(super) fn write_message(&self, message: &Message, out: &mut Vec<u8>) {
        let peer = message
            .chat_id
            .peer()
            .expect("only such chats are published to");
        let date = unix(message.date);
        let media = match &message.body {
            MessageBody::Service | MessageBody::Happening(_) => {
                let peer = tl_peer(peer);
                return layer::write_service_message(message.id, &peer, date, self.layer, out);
            }
            MessageBody::Text => None,
            MessageBody::Media(media) => Some(self.media(message, media)),
            MessageBody::Special(_) => Some(MessageMedia::Unsupported),
        };
        let details = &message.details;
        let chat = self.call.world.store.membership(message.chat_id);
        let is_broadcast = matches!(peer, Peer::Channel(_))
            && chat.is_none_or(|chat| chat.kind == ChannelKind::Broadcast);
        let sender = details.sender.filter(|_| !is_broadcast).map(Peer::User);
        let from = sender.or(matches!(peer, Peer::User(_)).then_some(peer));
        let myself = Peer::User(self.call.world.accounts.id(self.who));
        LayerMessage {
            id: message.id,
            is_mine: from == Some(myself),
            is_post: from.is_none(),
            is_protected: details.protected,
            peer: tl_peer(peer),
            from: from.map(tl_peer),
            date,
            text: &message.text,
            media,
            grouped_id: message.grouped_id,
        }
        .write(self.layer, out);
    }

    fn reference(&self, message: &Message, media: &Media) -> Vec<u8> {
        let world = self.call.world;
        let says = Reference {
            chat_id: message.chat_id,
            message_id: message.id,
            issued: world.now().as_secs().cast_signed(),
            generation: world.reference_generation(),
        };
        world.secret.reference(self.who, media.file_id, says)
    }

    fn media(&self, message: &Message, media: &Media) -> MessageMedia {
        if media.look.kind == MediaKind::Photo {
            return self.photo(message, media);
        }
        let kind = media.look.kind;
        MessageMedia::Document(tl::types::MessageMediaDocument {
            nopremium: false,
            spoiler: false,
            video: kind == MediaKind::Video,
            round: kind == MediaKind::VideoNote,
            voice: kind == MediaKind::Voice,
            document: Some(tl::enums::Document::Document(tl::types::Document {
                id: media.file_id,
                access_hash: self.access_hash(Object::File(media.file_id)),
                file_reference: self.reference(message, media),
                date: unix(message.date),
                mime_type: media.look.mime_type().to_owned(),
                size: media.size.cast_signed(),
                thumbs: None,
                video_thumbs: None,
                dc_id: media.dc.0,
                attributes: attributes(media),
            })),
            alt_documents: None,
            video_cover: None,
            video_timestamp: None,
            ttl_seconds: None,
        })
    }

    fn photo(&self, message: &Message, media: &Media) -> MessageMedia {
        let file = self.call.world.store.file(media.file_id);
        let sizes = file.iter().flat_map(|file| &file.renditions);
        let photo = tl::types::Photo {
            has_stickers: false,
            id: media.file_id,
            access_hash: self.access_hash(Object::File(media.file_id)),
            file_reference: self.reference(message, media),
            date: unix(message.date),
            sizes: sizes.map(|size| photo_size(media, size)).collect(),
            video_sizes: None,
            dc_id: media.dc.0,
        };
        MessageMedia::Photo(tl::types::MessageMediaPhoto {
            spoiler: false,
            live_photo: false,
            photo: Some(tl::enums::Photo::Photo(photo)),
            ttl_seconds: None,
            video: None,
        })
    }
}

fn photo_size(media: &Media, size: &Rendition) -> tl::enums::PhotoSize {
    tl::enums::PhotoSize::Size(tl::types::PhotoSize {
        r#type: size.name.to_owned(),
        w: media.look.width.unwrap_or(1280) / size.shrunk,
        h: media.look.height.unwrap_or(960) / size.shrunk,
        size: i32::try_from(size.content.len()).unwrap_or(i32::MAX),
    })
}

fn attributes(media: &Media) -> Vec<DocumentAttribute> {
    let look = &media.look;
    let mut attributes = Vec::new();
    match look.kind {
        MediaKind::Document | MediaKind::Photo => {}
        MediaKind::Video | MediaKind::VideoNote => attributes.push(video(media)),
        MediaKind::Animation => {
            attributes.push(video(media));
            attributes.push(DocumentAttribute::Animated);
        }
        MediaKind::Audio | MediaKind::Voice => attributes.push(audio(media)),
        MediaKind::Sticker => {
            attributes.push(DocumentAttribute::ImageSize(
                tl::types::DocumentAttributeImageSize {
                    w: look.width.unwrap_or(512),
                    h: look.height.unwrap_or(512),
                },
            ));
            attributes.push(DocumentAttribute::Sticker(
                tl::types::DocumentAttributeSticker {
                    mask: false,
                    alt: "\u{1f600}".to_owned(),
                    stickerset: InputStickerSet::Empty,
                    mask_coords: None,
                },
            ));
        }
    }
    if let Some(name) = &look.name {
        let file_name = name.clone();
        attributes.push(tl::types::DocumentAttributeFilename { file_name }.into());
    }
    attributes
}

fn video(media: &Media) -> DocumentAttribute {
    let look = &media.look;
    DocumentAttribute::Video(tl::types::DocumentAttributeVideo {
        round_message: look.kind == MediaKind::VideoNote,
        supports_streaming: look.kind == MediaKind::Video,
        nosound: look.kind == MediaKind::Animation,
        duration: look.duration.unwrap_or(10.0),
        w: look.width.unwrap_or(640),
        h: look.height.unwrap_or(640),
        preload_prefix_size: None,
        video_start_ts: None,
        video_codec: None,
    })
}

fn audio(media: &Media) -> DocumentAttribute {
    let look = &media.look;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of a float saturates"
    )]
    let duration = look.duration.unwrap_or(10.0) as i32;
    DocumentAttribute::Audio(tl::types::DocumentAttributeAudio {
        voice: look.kind == MediaKind::Voice,
        duration,
        title: look.title.clone(),
        performer: look.performer.clone(),
        waveform: None,
    })
}

fn unix(seconds: i64) -> i32 {
    i32::try_from(seconds).unwrap_or(i32::MAX)
}
