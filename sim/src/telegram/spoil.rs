//! What faults do to the content of an answer, and the messages they add to it.
//!
//! Answers in, answers out: whether anything is to be spoilt is decided by [`super::faults`].

use std::io;
use std::time::Duration;

use aws_lc_rs::rand;
use grammers_tl_types::{self as tl, Deserializable, Serializable};
use mtproto::message::{Outcome, write_result_head};
use mtproto::session::Content;
use mtproto::{Body, IdKind, MsgId, gzip};

use super::faults::{Companion, Effect, Tale};
use super::rpc::{Answer, Flaw, Payload, Piece};

/// The data centre of a CDN, which does not exist.
const CDN: i32 = 203;

/// What an effect makes of an answer. Only pieces of files and messages are spoilt.
pub(super) fn answer(answer: Answer, effect: &Effect) -> Answer {
    let piece = match (answer, effect) {
        (Answer::Piece(piece), _) => piece,
        (Answer::Object(object), Effect::Tell(tale)) => {
            return Answer::Object(told(object, *tale));
        }
        (object, _) => return object,
    };
    let bytes = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
    match effect {
        Effect::Short { bytes: lacking } => Answer::Piece(Piece {
            len: piece.len.saturating_sub(bytes(*lacking)),
            ..piece
        }),
        Effect::Long { bytes: more } => Answer::Piece(Piece {
            flaw: Some(Flaw::Longer(bytes(*more))),
            ..piece
        }),
        Effect::WrongBytes => Answer::Piece(Piece {
            flaw: Some(Flaw::WrongByte),
            ..piece
        }),
        Effect::CdnRedirect => Answer::Object(cdn_redirect()),
        _ => Answer::Piece(piece),
    }
}

/// Messages that say something else of their documents. What is no list of messages in the current
/// layer stays as it is.
fn told(object: Vec<u8>, tale: Tale) -> Vec<u8> {
    let Ok(mut found) = tl::enums::messages::Messages::from_bytes(&object) else {
        return object;
    };
    let messages = match &mut found {
        tl::enums::messages::Messages::Messages(found) => &mut found.messages,
        tl::enums::messages::Messages::Slice(found) => &mut found.messages,
        tl::enums::messages::Messages::ChannelMessages(found) => &mut found.messages,
        tl::enums::messages::Messages::NotModified(_) => return object,
    };
    for message in messages {
        if let tl::enums::Message::Message(message) = message
            && let Some(tl::enums::MessageMedia::Document(media)) = &mut message.media
            && let Some(tl::enums::Document::Document(document)) = &mut media.document
        {
            match tale {
                Tale::Size { bytes } => document.size = bytes,
                Tale::Document { id } => document.id = id,
                Tale::DataCentre { dc } => document.dc_id = dc.0,
                Tale::Protected => message.noforwards = true,
                Tale::Edited { date } => message.edit_date = Some(date),
            }
        }
    }
    found.to_bytes()
}

fn cdn_redirect() -> Vec<u8> {
    let noise = |len| {
        let mut bytes = vec![0; len];
        rand::fill(&mut bytes).expect("the system has random numbers");
        bytes
    };
    tl::enums::upload::File::CdnRedirect(tl::types::upload::FileCdnRedirect {
        dc_id: CDN,
        file_token: noise(16),
        encryption_key: noise(32),
        encryption_iv: noise(16),
        file_hashes: Vec::new(),
    })
    .to_bytes()
}

/// A result as `gzip_packed`; anything else as it is.
pub(super) fn pack(payload: Payload) -> io::Result<Payload> {
    let mut body = Vec::new();
    payload.write(&mut body)?;
    let Ok(Body::RpcResult { req_msg_id, result }) = Body::parse(&body) else {
        return Ok(payload);
    };
    if !matches!(Outcome::parse(result), Ok(Outcome::Value(_))) {
        return Ok(payload);
    }
    let mut packed = Vec::new();
    write_result_head(&mut packed, req_msg_id);
    Outcome::GzipPacked(&gzip::pack(result)).write(&mut packed);
    let body = packed.into();
    Ok(match payload.served() {
        Some(served) => Payload::Packed { body, served },
        None => Payload::Bytes(body),
    })
}

/// What is to be known to make up a companion.
pub(super) struct Occasion {
    /// The call whose answer it keeps company.
    pub(super) call: MsgId,
    /// The current salt.
    pub(super) salt: i64,
    /// The data centres' time, since the Unix epoch.
    pub(super) now: Duration,
}

/// A message that nobody asked for.
pub(super) fn companion(kind: Companion, at: &Occasion) -> (IdKind, Content, Payload) {
    let call = at.call;
    let mut noise = [0; 8];
    rand::fill(&mut noise).expect("the system has random numbers");
    let noise = i64::from_le_bytes(noise);
    let too_long = tl::enums::Updates::TooLong.to_bytes();
    let (content, body) = match kind {
        Companion::Ack => (Content::Unrelated, Body::MsgsAck(vec![call])),
        Companion::NewSession => (
            Content::Related,
            Body::NewSession {
                first_msg_id: call,
                unique_id: noise,
                salt: at.salt,
            },
        ),
        Companion::Update => (Content::Related, Body::Api(&too_long)),
        Companion::StateRequest => (Content::Related, Body::MsgsStateReq(vec![call])),
        Companion::ResendRequest => (Content::Related, Body::MsgResendReq(vec![call])),
        Companion::DetailedInfo => (
            Content::Unrelated,
            Body::MsgDetailedInfo {
                msg_id: None,
                answer_msg_id: MsgId(at.now.as_secs().cast_signed() << 32 | 1),
                bytes: 1000,
                status: 0,
            },
        ),
        Companion::Pong => (
            Content::Unrelated,
            Body::Pong {
                msg_id: MsgId(call.0 - 4),
                ping_id: noise,
            },
        ),
    };
    (IdKind::Notice, content, Payload::of(&body))
}

/// `msg_detailed_info` of an answer that is kept back.
pub(super) fn announcement(call: MsgId, answer: MsgId, bytes: usize) -> Payload {
    Payload::of(&Body::MsgDetailedInfo {
        msg_id: Some(call),
        answer_msg_id: answer,
        bytes: i32::try_from(bytes).unwrap_or(i32::MAX),
        status: 0,
    })
}
