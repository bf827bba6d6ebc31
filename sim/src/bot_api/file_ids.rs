//! The Bot API's names for files. A `file_id` says what the file is, where it is and which one; a
//! `file_unique_id` says the same of everything that has the same bytes.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use crate::telegram::store::{Media, MediaKind};

/// The bytes of a `file_id`, by which the real ones' length is met.
const LEN: usize = 51;

/// A file, in one of its renditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) file_id: i64,
    pub(super) rendition: String,
}

/// The number by which the real service tells kinds of files apart.
const fn code(kind: MediaKind) -> u8 {
    match kind {
        MediaKind::Photo => 2,
        MediaKind::Voice => 3,
        MediaKind::Video => 4,
        MediaKind::Document => 5,
        MediaKind::Sticker => 8,
        MediaKind::Audio => 9,
        MediaKind::Animation => 10,
        MediaKind::VideoNote => 13,
    }
}

/// A medium's `file_id`.
pub(super) fn file_id(media: &Media, rendition: &str) -> String {
    let letter = rendition.bytes().next().unwrap_or(0);
    let dc = u8::try_from(media.dc.0).unwrap_or(0);
    let mut bytes = vec![code(media.look.kind), 0, 2, 2, dc, letter];
    bytes.extend(media.file_id.to_le_bytes());
    let tail = digest::digest(&digest::SHA256, &bytes);
    let room = LEN - bytes.len();
    bytes.extend(tail.as_ref().iter().cycle().take(room));
    BASE64URL.encode(bytes)
}

/// A medium's `file_unique_id`.
pub(super) fn unique_id(media: &Media, rendition: &str) -> String {
    let mut said = vec![code(media.look.kind)];
    said.extend(media.sha256);
    said.extend(rendition.bytes());
    let hash = digest::digest(&digest::SHA256, &said);
    BASE64URL.encode(&hash.as_ref()[..11])
}

/// Which file a `file_id` names; `None` for what never was one.
pub(super) fn parse(text: &str) -> Option<Named> {
    let bytes = BASE64URL.decode(text).ok()?;
    let head = bytes.first_chunk::<14>()?;
    let hash = digest::digest(&digest::SHA256, head);
    let tail = hash.as_ref().iter().cycle().take(LEN - head.len());
    if !bytes[head.len()..].iter().eq(tail) {
        return None;
    }
    let letter = Some(char::from(head[5])).filter(|letter| *letter != '\0');
    let (_, file_id) = head.split_last_chunk::<8>()?;
    Some(Named {
        file_id: i64::from_le_bytes(*file_id),
        rendition: letter.map(String::from).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telegram::ids::DcId;
    use crate::telegram::store::{Look, Origin};

    fn media(file_id: i64) -> Media {
        Media {
            file_id,
            dc: DcId(2),
            size: 1,
            sha256: [7; 32],
            origin: Origin::Seed(1),
            look: Look::default(),
        }
    }

    #[test]
    fn a_file_is_found_by_its_name() {
        for rendition in ["", "y"] {
            let named = Named {
                file_id: 1 << 60,
                rendition: rendition.to_owned(),
            };
            let id = file_id(&media(1 << 60), rendition);
            assert!(id.starts_with("BQACAg"), "as documents' begin: {id}");
            assert_eq!(parse(&id), Some(named));
        }
        assert_eq!(parse("BQACAgIAAxkBAAIB"), None);
        assert_eq!(parse("?"), None);
    }

    #[test]
    fn the_unique_name_is_that_of_the_bytes() {
        let (one, other) = (media(1), media(2));
        assert_ne!(file_id(&one, ""), file_id(&other, ""));
        assert_eq!(unique_id(&one, ""), unique_id(&other, ""));
        assert_ne!(unique_id(&one, "x"), unique_id(&one, "y"));
    }
}
