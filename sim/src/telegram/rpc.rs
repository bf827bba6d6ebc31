//! What a call of the API can come to: an answer, now or as a piece of a file to be read when it
//! is sent, or an error in Telegram's manner.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use grammers_tl_types::Serializable;
use mtproto::message::{Outcome, write_result_head};
use mtproto::{Body, MsgId};

use super::ids::DcId;
use super::traffic::Served;
use crate::content::{Content, make_room};

/// Answers of at least this many bytes are packed, when that makes them smaller.
const PACK_FROM: usize = 512;

/// An answer to a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// An object, constructor first.
    Object(Vec<u8>),
    /// A piece of a file.
    Piece(Piece),
}

/// A file, in one of its renditions.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileName {
    pub(super) id: i64,
    pub(super) rendition: &'static str,
}

/// A piece of a file, as `upload.file` will carry it.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) name: FileName,
    pub(super) content: Arc<Content>,
    pub(super) offset: u64,
    pub(super) len: usize,
    /// The file's date, in Unix seconds.
    pub(super) mtime: i32,
    /// The constructor of the file's type.
    pub(super) file_type: u32,
    /// What is wrong with it, on demand.
    pub(super) flaw: Option<Flaw>,
}

/// What is wrong with a piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It goes on for so many bytes that are not in the file.
    Longer(usize),
    /// A bit in its middle is flipped.
    WrongByte,
}

/// An error as Telegram gives it: a number modelled on HTTP, and a word in capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) code: i32,
    pub(crate) message: Cow<'static, str>,
}

impl RpcError {
    /// 400: the request is wrong.
    pub(super) const fn bad(message: &'static str) -> Self {
        Self {
            code: 400,
            message: Cow::Borrowed(message),
        }
    }

    /// 401: the key is not signed in, or not far enough.
    pub(super) const fn unauthorized(message: &'static str) -> Self {
        Self {
            code: 401,
            message: Cow::Borrowed(message),
        }
    }

    /// 406: the key was used on two connections at once, and is dead.
    pub(super) const DUPLICATED: Self = Self {
        code: 406,
        message: Cow::Borrowed("AUTH_KEY_DUPLICATED"),
    };

    /// 303: another data centre is responsible.
    pub(super) fn migrate(what: &'static str, dc: DcId) -> Self {
        Self {
            code: 303,
            message: Cow::Owned(format!("{what}_MIGRATE_{dc}")),
        }
    }

    /// 500: it is the stand-in's own fault.
    pub(super) const fn internal() -> Self {
        Self {
            code: 500,
            message: Cow::Borrowed("INTERNAL"),
        }
    }
}

/// The result of a call on its way to the client. Cheap to keep until it is acknowledged: a piece
/// of a file is read anew each time it is sent.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// A whole body.
    Bytes(Bytes),
    /// An `rpc_result` with a piece of a file.
    Piece { req_msg_id: MsgId, piece: Piece },
    /// An `rpc_result` that was packed on demand, and the piece of a file in it.
    Packed { body: Bytes, served: Served },
}

/// `upload.file#096a18d5`.
const UPLOAD_FILE: u32 = 0x096a_18d5;

/// Bytes before a piece's own: `rpc_result`, the call's id, `upload.file`, type and date.
const PIECE_HEAD: usize = 24;

impl Piece {
    /// How long it is on the wire.
    fn told_len(&self) -> usize {
        match self.flaw {
            Some(Flaw::Longer(more)) => self.len + more,
            Some(Flaw::WrongByte) | None => self.len,
        }
    }
}

impl Payload {
    /// A body of the protocol itself.
    pub(super) fn of(body: &Body<'_>) -> Self {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        Self::Bytes(bytes.into())
    }

    /// How long it is, in bytes.
    pub(super) fn body_len(&self) -> usize {
        match self {
            Self::Bytes(body) | Self::Packed { body, .. } => body.len(),
            Self::Piece { piece, .. } => {
                let len = piece.told_len();
                let head = if len < 254 { 1 } else { 4 };
                PIECE_HEAD + (head + len).next_multiple_of(4)
            }
        }
    }

    /// The result of the call `req_msg_id`.
    pub(super) fn result(req_msg_id: MsgId, result: Result<Answer, RpcError>) -> Self {
        let object = match result {
            Ok(Answer::Piece(piece)) => return Self::Piece { req_msg_id, piece },
            Ok(Answer::Object(object)) => object,
            Err(error) => {
                let mut body = Vec::new();
                write_result_head(&mut body, req_msg_id);
                Outcome::Error {
                    code: error.code,
                    message: error.message.as_bytes(),
                }
                .write(&mut body);
                return Self::Bytes(body.into());
            }
        };
        let mut body = Vec::with_capacity(object.len() + 16);
        write_result_head(&mut body, req_msg_id);
        let packed = (object.len() >= PACK_FROM)
            .then(|| mtproto::gzip::pack(&object))
            .filter(|packed| packed.len() + 8 < object.len());
        match packed {
            Some(packed) => Outcome::GzipPacked(&packed).write(&mut body),
            None => Outcome::Value(&object).write(&mut body),
        }
        Self::Bytes(body.into())
    }

    /// The call this is the result of, if it is one.
    pub(super) fn answers(&self) -> Option<MsgId> {
        match self {
            Self::Piece { req_msg_id, .. } => Some(*req_msg_id),
            Self::Bytes(body) | Self::Packed { body, .. } => match Body::parse(body) {
                Ok(Body::RpcResult { req_msg_id, .. }) => Some(req_msg_id),
                _ => None,
            },
        }
    }

    /// The piece of a file in it, for the books.
    pub(super) fn served(&self) -> Option<Served> {
        match self {
            Self::Bytes(_) => None,
            Self::Packed { served, .. } => Some(served.clone()),
            Self::Piece { piece, .. } => Some(Served {
                file_id: piece.name.id,
                thumb_size: piece.name.rendition,
                offset: piece.offset,
                len: piece.len as u64,
            }),
        }
    }

    /// Appends the body to `out`; a piece is read right into its place.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let (req_msg_id, piece) = match self {
            Self::Bytes(body) | Self::Packed { body, .. } => {
                out.extend_from_slice(body);
                return Ok(());
            }
            Self::Piece { req_msg_id, piece } => (req_msg_id, piece),
        };
        write_result_head(out, *req_msg_id);
        UPLOAD_FILE.serialize(out);
        piece.file_type.serialize(out);
        piece.mtime.serialize(out);
        let head = out.len();
        let len = piece.told_len();
        match u8::try_from(len) {
            Ok(short) if short < 254 => out.push(short),
            _ => {
                let len = u32::try_from(len).expect("a piece is a few MiB at most");
                (len << 8 | 0xfe).serialize(out);
            }
        }
        let at = out.len();
        piece.content.append_to(out, piece.offset, piece.len)?;
        match piece.flaw {
            None => {}
            Some(Flaw::Longer(more)) => make_room(out, more),
            Some(Flaw::WrongByte) => out[at..]
                .iter_mut()
                .skip(piece.len / 2)
                .take(1)
                .for_each(|byte| *byte ^= 1),
        }
        let written = out.len() - head;
        out.resize(head + written.next_multiple_of(4), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grammers_tl_types::{self as tl, Deserializable};

    fn body(payload: &Payload) -> Vec<u8> {
        let mut out = Vec::new();
        payload.write(&mut out).expect("readable");
        out
    }

    fn piece(len: usize) -> Payload {
        let piece = Piece {
            name: FileName {
                id: 1,
                rendition: "",
            },
            content: Arc::new(Content::generated(1, 5000)),
            offset: 100,
            len,
            mtime: 7,
            file_type: 0xaa96_3b05,
            flaw: None,
        };
        Payload::result(MsgId(4), Ok(Answer::Piece(piece)))
    }

    #[test]
    fn a_piece_is_what_the_schema_calls_a_file() {
        for len in [0, 1, 4, 253, 254, 255, 4096] {
            let bytes = body(&piece(len));
            let Ok(Body::RpcResult { result, .. }) = Body::parse(&bytes) else {
                panic!("a result");
            };
            let Ok(tl::enums::upload::File::File(file)) =
                tl::enums::upload::File::from_bytes(result)
            else {
                panic!("a file of {len}");
            };
            let mut expected = vec![0; len];
            Content::generated(1, 5000)
                .read_at(100, &mut expected)
                .expect("generated");
            assert_eq!((file.mtime, file.bytes), (7, expected));
            assert_eq!(bytes.len(), piece(len).body_len());
            assert_eq!(bytes.len() % 4, 0);
        }
    }

    #[test]
    fn a_large_answer_is_packed() {
        let bytes = body(&Payload::result(
            MsgId(4),
            Ok(Answer::Object(vec![5; 4000])),
        ));
        assert!(bytes.len() < 200);
        let Ok(Body::RpcResult { result, .. }) = Body::parse(&bytes) else {
            panic!("a result");
        };
        let Ok(Outcome::GzipPacked(packed)) = Outcome::parse(result) else {
            panic!("packed");
        };
        assert_eq!(
            mtproto::gzip::unpack(packed, 4000).expect("ours"),
            vec![5; 4000]
        );
    }
}
