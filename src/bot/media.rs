//! The file in a message: what kind it is, and what it is called. Pure.

use jiff::{Timestamp, tz::TimeZone};
use teloxide::types::{FileMeta, Message};

use crate::api::file_name::SafeFileName;

/// The longest caption that is taken for a name.
const MAX_NAME_CHARS: usize = 120;

/// A file as the Bot API tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Its name, made safe.
    pub name: SafeFileName,
    /// Whether the user has named it so with a caption.
    pub is_renamed: bool,
    /// Bytes.
    pub size: u64,
    /// Media type, if it is known.
    pub mime_type: Option<String>,
    /// By which the same file is known again.
    pub unique_id: String,
}

/// What a message's file is known by before it has its name.
struct Found<'a> {
    file: &'a FileMeta,
    name: Option<&'a str>,
    mime_type: Option<String>,
    /// The first word of a name that is made up.
    kind: &'static str,
    /// The extension of a name that is made up, if the media type does not tell.
    extension: &'static str,
}

impl Media {
    /// The file of a message, if it holds one.
    ///
    /// A caption of one line names it, unless somebody else wrote it: that of a forwarded message
    /// is its author's.
    pub fn of(message: &Message) -> Option<Self> {
        let found = find(message)?;
        let own = found.name.map_or_else(
            || made_up(message, &found),
            |name| SafeFileName::new(name).to_string(),
        );
        let wish = message
            .caption()
            .filter(|_| message.forward_origin().is_none())
            .and_then(|caption| name_in(caption, &own));
        Some(Self {
            is_renamed: wish.is_some(),
            name: SafeFileName::new(wish.as_deref().unwrap_or(&own)),
            size: found.file.size.into(),
            mime_type: found.mime_type,
            unique_id: found.file.unique_id.0.clone(),
        })
    }
}

fn find(message: &Message) -> Option<Found<'_>> {
    let found = |file, name, mime_type: Option<String>, kind, extension| Found {
        file,
        name,
        mime_type,
        kind,
        extension,
    };
    // An animation is a document too, and goes first.
    if let Some(it) = message.animation() {
        let mime = it.mime_type.as_ref().map(ToString::to_string);
        return Some(found(
            &it.file,
            it.file_name.as_deref(),
            mime,
            "animation",
            "mp4",
        ));
    }
    if let Some(it) = message.document() {
        let mime = it.mime_type.as_ref().map(ToString::to_string);
        return Some(found(
            &it.file,
            it.file_name.as_deref(),
            mime,
            "file",
            "bin",
        ));
    }
    if let Some(it) = message.video() {
        let mime = it.mime_type.as_ref().map(ToString::to_string);
        return Some(found(
            &it.file,
            it.file_name.as_deref(),
            mime,
            "video",
            "mp4",
        ));
    }
    if let Some(it) = message.audio() {
        let mime = it.mime_type.as_ref().map(ToString::to_string);
        return Some(found(
            &it.file,
            it.file_name.as_deref(),
            mime,
            "audio",
            "mp3",
        ));
    }
    if let Some(it) = message.voice() {
        let mime = it.mime_type.as_ref().map(ToString::to_string);
        return Some(found(&it.file, None, mime, "voice", "ogg"));
    }
    if let Some(it) = message.video_note() {
        return Some(found(&it.file, None, None, "round", "mp4"));
    }
    if let Some(it) = message.sticker() {
        let extension = match (it.is_animated(), it.is_video()) {
            (true, _) => "tgs",
            (_, true) => "webm",
            _ => "webp",
        };
        return Some(found(&it.file, None, None, "sticker", extension));
    }
    let largest = message.photo()?.iter().max_by_key(|size| size.file.size)?;
    Some(found(&largest.file, None, None, "photo", "jpg"))
}

/// `photo_20260921_123005_42.jpg`: the kind, when it was sent, and the number of its message.
fn made_up(message: &Message, found: &Found<'_>) -> String {
    let sent = Timestamp::from_second(message.date.timestamp()).unwrap_or_default();
    let sent = sent.to_zoned(TimeZone::UTC).strftime("%Y%m%d_%H%M%S");
    let extension = found
        .mime_type
        .as_deref()
        .and_then(extension_of)
        .unwrap_or(found.extension);
    format!("{}_{sent}_{}.{extension}", found.kind, message.id.0)
}

/// The usual extension of the media types that come without a name.
fn extension_of(mime_type: &str) -> Option<&'static str> {
    Some(match mime_type {
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "audio/aac" => "aac",
        "audio/flac" => "flac",
        "audio/mp4" | "audio/x-m4a" => "m4a",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        "audio/wav" | "audio/x-wav" => "wav",
        "image/gif" => "gif",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/webp" => "webp",
        "text/plain" => "txt",
        "video/mp4" => "mp4",
        "video/quicktime" => "mov",
        "video/webm" => "webm",
        "video/x-matroska" => "mkv",
        _ => return None,
    })
}

/// The name that a caption gives, with the extension of `own` if it brings none.
fn name_in(caption: &str, own: &str) -> Option<String> {
    let caption = caption.trim();
    let is_name = !caption.is_empty()
        && !caption.contains('\n')
        && caption.chars().count() <= MAX_NAME_CHARS
        && !caption.starts_with('/');
    if !is_name {
        return None;
    }
    let has_extension = caption.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty()
            && (1..=8).contains(&extension.len())
            && extension.chars().all(|c| c.is_ascii_alphanumeric())
    });
    let extension = own
        .rsplit_once('.')
        .map(|(_, extension)| extension)
        .filter(|_| !has_extension);
    Some(match extension {
        Some(extension) => format!("{caption}.{extension}"),
        None => caption.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(more: Value) -> Message {
        let mut message = json!({
            "message_id": 42, "date": 1_790_166_605,
            "chat": {"id": 7, "type": "private", "first_name": "Ann"},
            "from": {"id": 7, "is_bot": false, "first_name": "Ann"},
        });
        let (Value::Object(message_map), Value::Object(more)) = (&mut message, more) else {
            panic!("objects");
        };
        message_map.extend(more);
        serde_json::from_value(message).unwrap()
    }

    fn file(mut more: Value) -> Value {
        more["file_id"] = json!("f");
        more["file_unique_id"] = json!("u");
        more["file_size"] = json!(5);
        more
    }

    fn name(more: Value) -> String {
        Media::of(&message(more)).unwrap().name.to_string()
    }

    #[test]
    fn each_kind_has_a_name() {
        let played = json!({"duration": 1, "width": 2, "height": 2, "length": 2});
        let sticker = json!({"type": "regular", "width": 1, "height": 1, "is_animated": true, "is_video": false});
        let named = |name: &str| file(json!({"file_name": name}));
        let with = |mut of: Value, mime: &str| {
            of["mime_type"] = json!(mime);
            file(of)
        };
        let small =
            json!({"file_id": "s", "file_unique_id": "s", "file_size": 1, "width": 1, "height": 1});
        for (more, expected) in [
            (json!({"document": named("a.pdf")}), "a.pdf"),
            (json!({"document": named("../b\u{202e}.pdf")}), "_b.pdf"),
            (
                json!({"document": with(json!({}), "application/zip")}),
                "file_20260923_123005_42.zip",
            ),
            (
                json!({"document": file(json!({}))}),
                "file_20260923_123005_42.bin",
            ),
            (
                json!({"video": with(played.clone(), "video/webm")}),
                "video_20260923_123005_42.webm",
            ),
            (
                json!({"audio": with(played.clone(), "audio/flac")}),
                "audio_20260923_123005_42.flac",
            ),
            (
                json!({"voice": with(played.clone(), "audio/ogg")}),
                "voice_20260923_123005_42.ogg",
            ),
            (
                json!({"video_note": file(played.clone())}),
                "round_20260923_123005_42.mp4",
            ),
            (
                json!({"animation": with(played.clone(), "video/mp4"), "document": named("x.gif")}),
                "animation_20260923_123005_42.mp4",
            ),
            (
                json!({"sticker": file(sticker)}),
                "sticker_20260923_123005_42.tgs",
            ),
            (
                json!({"photo": [small, file(json!({"width": 9, "height": 9}))]}),
                "photo_20260923_123005_42.jpg",
            ),
        ] {
            assert_eq!(name(more), expected);
        }
        assert_eq!(Media::of(&message(json!({"text": "hello"}))), None);
    }

    #[test]
    fn a_caption_of_ones_own_names_the_file() {
        let captioned = |caption: &str| json!({"document": file(json!({"file_name": "a.pdf"})), "caption": caption});
        for (caption, expected) in [
            ("Invoice May", "Invoice May.pdf"),
            ("v1.2 final", "v1.2 final.pdf"),
            ("other.txt", "other.txt"),
            ("<b>x</b>", "<b>x<_b>.pdf"),
            ("two\nlines", "a.pdf"),
            ("/start", "a.pdf"),
            ("  ", "a.pdf"),
        ] {
            assert_eq!(name(captioned(caption)), expected, "{caption:?}");
        }
        assert_eq!(name(captioned(&"x".repeat(121))), "a.pdf");
        let mut forwarded = captioned("their words");
        forwarded["forward_origin"] =
            json!({"type": "hidden_user", "sender_user_name": "Bob", "date": 1});
        assert_eq!(name(forwarded), "a.pdf");
    }
}
