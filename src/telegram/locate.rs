//! From a message to the file it holds.

use grammers_client::tl::{
    enums::{self, DocumentAttribute, InputFileLocation, MessageMedia},
    functions, types,
};
use grammers_session::types::{PeerId, PeerKind};
use jiff::{Timestamp, tz::TimeZone};

use super::{Error, Telegram};

/// A message, in the terms of the Bot API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef {
    /// A user's id, or -100… for a channel.
    pub chat_id: i64,
    /// The message's number within its chat.
    pub message_id: i32,
}

/// The file of a message, as the message describes it.
#[derive(Clone, Debug)]
pub struct MediaFile {
    /// Its name; made from kind and date where it has none. Not yet safe for anything.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub mime_type: String,
    /// Telegram's id of the file: the same after the message was fetched again.
    pub file_id: i64,
    /// When its message was edited last, if ever: before that it may have held another file.
    pub edited: Option<Timestamp>,
    /// The data centre that stores it.
    pub(super) data_centre: i32,
    /// What `upload.getFile` wants to know. Its file reference ends after some hours.
    pub(super) location: InputFileLocation,
}

impl Telegram {
    /// Finds the file of a message.
    ///
    /// # Errors
    /// [`Error::MessageNotFound`], [`Error::NoMedia`], or what keeps us from asking.
    pub async fn locate(&self, message: MessageRef) -> Result<MediaFile, Error> {
        let message = self.message(message).await?;
        media_file(&message).ok_or(Error::NoMedia)
    }

    async fn message(&self, wanted: MessageRef) -> Result<types::Message, Error> {
        let peer = PeerId::from_bot_api_dialog_id(wanted.chat_id)
            .ok_or(Error::InvalidChat(wanted.chat_id))?;
        let id = vec![
            types::InputMessageId {
                id: wanted.message_id,
            }
            .into(),
        ];
        let reply = if peer.kind() == PeerKind::Channel {
            let channel_id = peer.bare_id().ok_or(Error::InvalidChat(wanted.chat_id))?;
            // Bots need no access hash: being a member is enough.
            let channel = types::InputChannel {
                channel_id,
                access_hash: 0,
            }
            .into();
            self.call_home(&functions::channels::GetMessages { channel, id })
                .await?
        } else {
            self.call_home(&functions::messages::GetMessages { id })
                .await?
        };
        let messages = match reply {
            enums::messages::Messages::Messages(found) => found.messages,
            enums::messages::Messages::Slice(found) => found.messages,
            enums::messages::Messages::ChannelMessages(found) => found.messages,
            enums::messages::Messages::NotModified(_) => {
                return Err(Error::UnexpectedReply("getMessages"));
            }
        };
        for found in messages {
            match found {
                enums::Message::Message(found)
                    if found.id == wanted.message_id
                        && PeerId::from(found.peer_id.clone()) == peer =>
                {
                    return Ok(found);
                }
                // A message about the chat itself, such as a new member.
                enums::Message::Service(found) if found.id == wanted.message_id => {
                    return Err(Error::NoMedia);
                }
                _ => {}
            }
        }
        Err(Error::MessageNotFound)
    }
}

fn media_file(message: &types::Message) -> Option<MediaFile> {
    let edited = message.edit_date;
    let edited = edited.and_then(|date| Timestamp::from_second(i64::from(date)).ok());
    match message.media.as_ref()? {
        MessageMedia::Document(types::MessageMediaDocument {
            document: Some(enums::Document::Document(document)),
            ..
        }) => Some(from_document(message.id, edited, document)),
        MessageMedia::Photo(types::MessageMediaPhoto {
            photo: Some(enums::Photo::Photo(photo)),
            ..
        }) => from_photo(message.id, edited, photo),
        _ => None,
    }
}

fn from_document(
    message_id: i32,
    edited: Option<Timestamp>,
    document: &types::Document,
) -> MediaFile {
    let location = types::InputDocumentFileLocation {
        id: document.id,
        access_hash: document.access_hash,
        file_reference: document.file_reference.clone(),
        thumb_size: String::new(),
    };
    let name = document
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            DocumentAttribute::Filename(name) if !name.file_name.trim().is_empty() => {
                Some(name.file_name.clone())
            }
            _ => None,
        });
    MediaFile {
        name: name.unwrap_or_else(|| {
            made_up_name(
                kind(document),
                document.date,
                message_id,
                extension(&document.mime_type),
            )
        }),
        size: u64::try_from(document.size).unwrap_or(0),
        mime_type: document.mime_type.clone(),
        file_id: document.id,
        edited,
        data_centre: document.dc_id,
        location: location.into(),
    }
}

/// The largest size of a photo; the others are previews.
fn from_photo(
    message_id: i32,
    edited: Option<Timestamp>,
    photo: &types::Photo,
) -> Option<MediaFile> {
    let (thumb_size, size) = photo
        .sizes
        .iter()
        .filter_map(|size| match size {
            enums::PhotoSize::Size(size) => Some((size.r#type.clone(), size.size)),
            enums::PhotoSize::Progressive(size) => {
                Some((size.r#type.clone(), size.sizes.iter().copied().max()?))
            }
            _ => None,
        })
        .max_by_key(|(_, size)| *size)?;
    let location = types::InputPhotoFileLocation {
        id: photo.id,
        access_hash: photo.access_hash,
        file_reference: photo.file_reference.clone(),
        thumb_size,
    };
    Some(MediaFile {
        name: made_up_name("photo", photo.date, message_id, "jpg"),
        size: u64::try_from(size).ok()?,
        mime_type: "image/jpeg".to_owned(),
        file_id: photo.id,
        edited,
        data_centre: photo.dc_id,
        location: location.into(),
    })
}

/// What a document without a name is called. A video that is also animated is an animation.
fn kind(document: &types::Document) -> &'static str {
    let has = |wanted: fn(&DocumentAttribute) -> bool| document.attributes.iter().any(wanted);
    if has(|a| matches!(a, DocumentAttribute::Sticker(_))) {
        "sticker"
    } else if has(|a| matches!(a, DocumentAttribute::Animated)) {
        "animation"
    } else if has(|a| matches!(a, DocumentAttribute::Video(video) if video.round_message)) {
        "round"
    } else if has(|a| matches!(a, DocumentAttribute::Video(_))) {
        "video"
    } else if has(|a| matches!(a, DocumentAttribute::Audio(audio) if audio.voice)) {
        "voice"
    } else if has(|a| matches!(a, DocumentAttribute::Audio(_))) {
        "audio"
    } else {
        "file"
    }
}

/// The usual extension of the media types that Telegram's own apps send without a name.
fn extension(mime_type: &str) -> &'static str {
    match mime_type {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "video/mp4" => "mp4",
        "video/quicktime" => "mov",
        "video/webm" => "webm",
        "audio/mpeg" => "mp3",
        "audio/mp4" => "m4a",
        "audio/ogg" => "ogg",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/x-tgsticker" => "tgs",
        _ => "bin",
    }
}

/// `photo_20260921_123005_77.jpg`
fn made_up_name(kind: &str, date: i32, message_id: i32, extension: &str) -> String {
    let date = Timestamp::from_second(i64::from(date))
        .unwrap_or_default()
        .to_zoned(TimeZone::UTC);
    format!(
        "{kind}_{}_{message_id}.{extension}",
        date.strftime("%Y%m%d_%H%M%S")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(mime_type: &str, attributes: Vec<DocumentAttribute>) -> types::Document {
        types::Document {
            id: 1,
            access_hash: 2,
            file_reference: vec![3],
            date: 1_790_000_000,
            mime_type: mime_type.into(),
            size: 10,
            thumbs: None,
            video_thumbs: None,
            dc_id: 2,
            attributes,
        }
    }

    fn named(name: &str) -> DocumentAttribute {
        types::DocumentAttributeFilename {
            file_name: name.into(),
        }
        .into()
    }

    #[test]
    fn the_name_attribute_counts_wherever_it_stands() {
        let attributes = vec![named("report.pdf"), DocumentAttribute::Animated];
        assert_eq!(
            from_document(77, None, &document("application/pdf", attributes)).name,
            "report.pdf"
        );
    }

    #[test]
    fn what_has_no_name_gets_one_from_kind_and_date() {
        for (mime_type, attributes, name) in [
            ("application/zip", vec![], "file_20260921_141320_77.zip"),
            (
                "application/zip",
                vec![named(" ")],
                "file_20260921_141320_77.zip",
            ),
            (
                "video/mp4",
                vec![DocumentAttribute::Animated],
                "animation_20260921_141320_77.mp4",
            ),
            ("chemical/x-pdb", vec![], "file_20260921_141320_77.bin"),
        ] {
            assert_eq!(
                from_document(77, None, &document(mime_type, attributes)).name,
                name
            );
        }
    }
}
