//! The one method that file connections call: `upload.getFile`
//! (<https://core.telegram.org/method/upload.getFile>).

use std::ops::Range;

use grammers_client::tl::{
    Identifiable as _, LAYER, Serializable as _,
    enums::InputFileLocation,
    functions::{InitConnection, InvokeWithLayer, InvokeWithoutUpdates, upload::GetFile},
    types,
};

use super::CHUNK;
use crate::telegram::{ApiId, Error};

/// A function without arguments, to see what stands before one.
struct Nothing;

impl grammers_client::tl::Serializable for Nothing {
    fn serialize(&self, _: &mut impl Extend<u8>) {}
}

/// What stands before the first calls of a session: who we are, and that no updates are wanted.
pub fn greeting(api_id: ApiId) -> Box<[u8]> {
    InvokeWithLayer {
        layer: LAYER,
        query: InitConnection {
            api_id: api_id.get(),
            device_model: "TeleStream".to_owned(),
            system_version: std::env::consts::OS.to_owned(),
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            system_lang_code: "en".to_owned(),
            lang_pack: String::new(),
            lang_code: "en".to_owned(),
            proxy: None,
            params: None,
            query: InvokeWithoutUpdates { query: Nothing },
        },
    }
    .to_bytes()
    .into()
}

/// The call for the chunk at `offset`.
pub fn query(location: &InputFileLocation, offset: i64) -> Box<[u8]> {
    GetFile {
        precise: false,
        cdn_supported: false,
        location: location.clone(),
        offset,
        limit: CHUNK.cast_signed(),
    }
    .to_bytes()
    .into()
}

/// Where in an `upload.file` the bytes of the file are.
///
/// # Errors
/// [`Error::CdnOnly`], or [`Error::UnexpectedReply`] for anything but an `upload.file`.
pub fn content(reply: &[u8]) -> Result<Range<usize>, Error> {
    // Constructor, type of the file, and time of its change stand before the bytes.
    const BYTES_AT: usize = 12;
    let unexpected = Error::UnexpectedReply("upload.getFile");
    match reply.first_chunk().map(|id| u32::from_le_bytes(*id)) {
        Some(types::upload::File::CONSTRUCTOR_ID) => {}
        Some(types::upload::FileCdnRedirect::CONSTRUCTOR_ID) => return Err(Error::CdnOnly),
        _ => return Err(unexpected),
    }
    let (head, len) = match reply.get(BYTES_AT..) {
        Some([0xfe, a, b, c, ..]) => (4, u32::from_le_bytes([*a, *b, *c, 0]) as usize),
        Some([len @ 0..0xfe, ..]) => (1, usize::from(*len)),
        _ => return Err(unexpected),
    };
    let start = BYTES_AT + head;
    if (start + len).next_multiple_of(4) == reply.len() {
        Ok(start..start + len)
    } else {
        Err(unexpected)
    }
}

#[cfg(test)]
mod tests {
    use grammers_client::tl::{enums, functions::help::GetConfig};

    use super::*;

    fn reply(bytes: Vec<u8>) -> Vec<u8> {
        enums::upload::File::File(types::upload::File {
            r#type: enums::storage::FileType::FilePartial,
            mtime: 7,
            bytes,
        })
        .to_bytes()
    }

    #[test]
    fn the_content_of_a_reply_is_found() {
        for len in [0, 1, 3, 253, 254, 255, 256, 4096, CHUNK as usize] {
            let reply = reply(vec![5; len]);
            let range = content(&reply).unwrap();
            assert_eq!((range.len(), &reply[range]), (len, &vec![5; len][..]));
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let redirect = types::upload::FileCdnRedirect {
            dc_id: 203,
            file_token: vec![1],
            encryption_key: vec![2; 32],
            encryption_iv: vec![3; 16],
            file_hashes: vec![],
        };
        let redirect = enums::upload::File::CdnRedirect(redirect).to_bytes();
        assert!(matches!(content(&redirect), Err(Error::CdnOnly)));
        let whole = reply(vec![5; 300]);
        for len in 0..whole.len() {
            assert!(content(&whole[..len]).is_err(), "{len}");
        }
        assert!(content(&[&whole[..], &[0; 4]].concat()).is_err());
        assert!(content(&GetConfig {}.to_bytes()).is_err());
    }

    #[test]
    fn a_greeting_ends_where_a_call_begins() {
        let greeting = greeting("17".parse().unwrap());
        let expected = InvokeWithLayer::<Nothing>::CONSTRUCTOR_ID.to_le_bytes();
        assert_eq!(&greeting[..4], expected);
        let last = InvokeWithoutUpdates::<Nothing>::CONSTRUCTOR_ID.to_le_bytes();
        assert!(greeting.ends_with(&last) && greeting.len().is_multiple_of(4));
    }
}
