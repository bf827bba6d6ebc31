//! Packets that no client may believe: sealed under the right key, but for one thing.
//!
//! Everything here is by hand, because what is shared with the product refuses to make it.

use std::sync::OnceLock;

use mtproto::envelope::{BODY_AT, INNER, OUTER, packet_len};
use mtproto::message::{Outcome, write_result_head};
use mtproto::transport::MAX_HEAD;
use mtproto::{AuthKey, Body, Header, Message, MsgId, Side, Transport, gzip, ige};

use super::faults::Forgery;

/// What a bomb unpacks to, in bytes.
const BOMB: usize = 64 << 20;

/// What a frame that is too large announces, in bytes.
const HUGE: u32 = 5 << 20;

/// How much padding is too little, in bytes.
const SHORT_PADDING: usize = 8;

/// Blocks of padding that are too many.
const LONG_PADDING: usize = 64;

/// The body that takes the place of `body`, the answer to `call`.
pub(super) fn body(forgery: Forgery, call: MsgId, body: Vec<u8>) -> Vec<u8> {
    let contained = |body: &[u8]| {
        let message = Message {
            msg_id: MsgId(call.0 | 1),
            seq_no: 0,
            body,
        };
        let mut out = Vec::new();
        Body::Container(vec![message]).write(&mut out);
        out
    };
    match forgery {
        Forgery::NestedContainer => contained(&contained(&body)),
        Forgery::GzipBomb => {
            static BOMB_PACKED: OnceLock<Vec<u8>> = OnceLock::new();
            let packed = BOMB_PACKED.get_or_init(|| gzip::pack(&vec![0; BOMB]));
            let mut out = Vec::new();
            write_result_head(&mut out, call);
            Outcome::GzipPacked(packed).write(&mut out);
            out
        }
        _ => body,
    }
}

/// Seals the body that stands in `buffer` at [`MAX_HEAD`] + [`BODY_AT`].
pub(super) fn seal(forgery: Forgery, key: &AuthKey, header: &Header, buffer: &mut Vec<u8>) {
    let body = buffer.len() - MAX_HEAD - BODY_AT;
    let extra = match forgery {
        Forgery::LongPadding => LONG_PADDING,
        _ => 0,
    };
    buffer.resize(MAX_HEAD + packet_len(body, extra), 0x5a);
    let room = buffer.len() - MAX_HEAD - BODY_AT;
    let length = match forgery {
        Forgery::NegativeLength => -4,
        Forgery::UnevenLength => number(body) + 1,
        Forgery::LongLength => number(room) + 4,
        Forgery::ShortPadding => number(room - SHORT_PADDING),
        _ => number(body),
    };
    let header = forged_header(forgery, *header);
    let packet = &mut buffer[MAX_HEAD..];
    let (outer, plaintext) = packet.split_at_mut(OUTER);
    write_inner(&header, length, &mut plaintext[..INNER]);
    let msg_key = key.msg_key(Side::Server, plaintext);
    outer[..8].copy_from_slice(&key.id().to_bytes());
    outer[8..].copy_from_slice(msg_key.as_bytes());
    ige::encrypt(&key.ige_key(Side::Server, &msg_key), plaintext);
    match forgery {
        Forgery::KeyId => outer[0] ^= 1,
        Forgery::MsgKey => plaintext[INNER] ^= 1,
        Forgery::Blocks => buffer.truncate(buffer.len() - 4),
        _ => {}
    }
}

fn number(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn forged_header(forgery: Forgery, header: Header) -> Header {
    let shifted = |seconds: i64| MsgId(header.msg_id.0 + (seconds << 32));
    match forgery {
        Forgery::Session => Header {
            session_id: header.session_id ^ 1,
            ..header
        },
        Forgery::ClientId => Header {
            msg_id: MsgId(header.msg_id.0 & !3),
            ..header
        },
        Forgery::OldId => Header {
            msg_id: shifted(-600),
            ..header
        },
        Forgery::FutureId => Header {
            msg_id: shifted(120),
            ..header
        },
        _ => header,
    }
}

fn write_inner(header: &Header, length: i32, inner: &mut [u8]) {
    inner[..8].copy_from_slice(&header.salt.to_le_bytes());
    inner[8..16].copy_from_slice(&header.session_id.to_le_bytes());
    inner[16..24].copy_from_slice(&header.msg_id.0.to_le_bytes());
    inner[24..28].copy_from_slice(&header.seq_no.to_le_bytes());
    inner[28..].copy_from_slice(&length.to_le_bytes());
}

/// Changes the frame that begins in `buffer` at `start`, around the packet at [`MAX_HEAD`], and
/// says where it begins now.
pub(super) fn frame(
    forgery: Forgery,
    transport: Transport,
    buffer: &mut Vec<u8>,
    start: usize,
) -> usize {
    match (forgery, transport) {
        (Forgery::HugeFrame, Transport::Abridged) => {
            let head = (HUGE / 4) << 8 | 0x7f;
            buffer[MAX_HEAD - 4..MAX_HEAD].copy_from_slice(&head.to_le_bytes());
            MAX_HEAD - 4
        }
        (Forgery::HugeFrame, _) => {
            buffer[start..start + 4].copy_from_slice(&HUGE.to_le_bytes());
            start
        }
        (Forgery::QuickAck, Transport::Abridged) => {
            *buffer = vec![0x9a, 0x9b, 0x9c, 0x9d];
            0
        }
        (Forgery::QuickAck, _) => {
            *buffer = vec![0x9d, 0x9c, 0x9b, 0x9a];
            0
        }
        _ => start,
    }
}
