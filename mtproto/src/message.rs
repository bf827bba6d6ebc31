//! Messages and the service bodies in them.
//!
//! [`Body::parse`] understands what the protocol itself says (containers, results, acks, salts,
//! pings) and leaves the API's objects to whoever knows their schema, as [`Body::Api`]. Parsed
//! bodies borrow from the packet; [`range_within`] turns such a slice back into a place in the
//! packet's buffer. [`Body::write`] is the inverse of [`Body::parse`].

use std::ops::Range;

use crate::session::MsgId;
use crate::tl::{self, Reader, Truncated, put_bytes, put_count, put_i32, put_i64, put_u32};

/// The most messages a container may hold.
pub const MAX_MESSAGES: usize = 1020;

/// A container's size must stay below this, in bytes.
pub const MAX_CONTAINER: usize = 1_044_448;

/// Bytes of a message's head inside a container.
pub const MESSAGE_HEAD: usize = 16;

/// The constructors of the service bodies.
mod id {
    pub(super) const MSG_CONTAINER: u32 = 0x73f1_f8dc;
    pub(super) const RPC_RESULT: u32 = 0xf35c_6d01;
    pub(super) const RPC_ERROR: u32 = 0x2144_ca19;
    pub(super) const GZIP_PACKED: u32 = 0x3072_cfa1;
    pub(super) const MSGS_ACK: u32 = 0x62d6_b459;
    pub(super) const BAD_MSG_NOTIFICATION: u32 = 0xa7ef_f811;
    pub(super) const BAD_SERVER_SALT: u32 = 0xedab_447b;
    pub(super) const NEW_SESSION_CREATED: u32 = 0x9ec2_0908;
    pub(super) const PING: u32 = 0x7abe_77ec;
    pub(super) const PING_DELAY_DISCONNECT: u32 = 0xf342_7b8c;
    pub(super) const PONG: u32 = 0x3477_73c5;
    pub(super) const GET_FUTURE_SALTS: u32 = 0xb921_bd04;
    pub(super) const FUTURE_SALTS: u32 = 0xae50_0895;
    pub(super) const MSGS_STATE_REQ: u32 = 0xda69_fb52;
    pub(super) const MSGS_STATE_INFO: u32 = 0x04de_b57d;
    pub(super) const MSGS_ALL_INFO: u32 = 0x8cc0_d131;
    pub(super) const MSG_DETAILED_INFO: u32 = 0x276d_3ec6;
    pub(super) const MSG_NEW_DETAILED_INFO: u32 = 0x809d_b6df;
    pub(super) const MSG_RESEND_REQ: u32 = 0x7d86_1a08;
    pub(super) const RPC_DROP_ANSWER: u32 = 0x58e4_a740;
    pub(super) const DESTROY_SESSION: u32 = 0xe751_2126;
    pub(super) const DESTROY_SESSION_OK: u32 = 0xe220_45fc;
    pub(super) const DESTROY_SESSION_NONE: u32 = 0x62d3_50c9;
    pub(super) const HTTP_WAIT: u32 = 0x9299_359f;
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It ends early, or a count in it promises more than there is.
    #[error("a message is truncated or malformed")]
    Truncated,
    /// Bytes are left over behind it.
    #[error("{0} bytes are left over behind a message")]
    Trailing(usize),
    /// A container with more messages than allowed.
    #[error("a container holds {0} messages")]
    Crowded(usize),
    /// A container inside a container.
    #[error("a container holds another container")]
    Nested,
}

impl From<Truncated> for ParseError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// One message: what a packet holds, or one of several in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its id.
    pub msg_id: MsgId,
    /// Its sequence number.
    pub seq_no: i32,
    /// Its body, constructor first.
    pub body: &'a [u8],
}

/// What a `bad_msg_notification` complains of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMsgCode {
    /// 16: the message id is too old by the server's clock.
    IdTooLow,
    /// 17: the message id is too far ahead of the server's clock.
    IdTooHigh,
    /// 18: the message id's two lowest bits are wrong.
    IdBits,
    /// 19: a container has the id of a message received before.
    ContainerId,
    /// 20: the message is too old to tell whether it was received before.
    TooOld,
    /// 32: the sequence number is not above that of an older message.
    SeqTooLow,
    /// 33: the sequence number is not below that of a younger message.
    SeqTooHigh,
    /// 34: an odd sequence number on a message that asks for no acknowledgement.
    SeqNotEven,
    /// 35: an even sequence number on a message that asks for one.
    SeqNotOdd,
    /// 48: the salt is wrong; comes as `bad_server_salt`.
    Salt,
    /// 64: the container is invalid.
    Container,
    /// A code the protocol does not document.
    Other(i32),
}

impl BadMsgCode {
    /// The number on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::IdTooLow => 16,
            Self::IdTooHigh => 17,
            Self::IdBits => 18,
            Self::ContainerId => 19,
            Self::TooOld => 20,
            Self::SeqTooLow => 32,
            Self::SeqTooHigh => 33,
            Self::SeqNotEven => 34,
            Self::SeqNotOdd => 35,
            Self::Salt => 48,
            Self::Container => 64,
            Self::Other(code) => code,
        }
    }

    /// Reads the number on the wire.
    pub const fn from_code(code: i32) -> Self {
        match code {
            16 => Self::IdTooLow,
            17 => Self::IdTooHigh,
            18 => Self::IdBits,
            19 => Self::ContainerId,
            20 => Self::TooOld,
            32 => Self::SeqTooLow,
            33 => Self::SeqTooHigh,
            34 => Self::SeqNotEven,
            35 => Self::SeqNotOdd,
            48 => Self::Salt,
            64 => Self::Container,
            other => Self::Other(other),
        }
    }
}

/// A salt and the time in which it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutureSalt {
    /// Valid from, in Unix seconds.
    pub valid_since: i32,
    /// Valid until, in Unix seconds.
    pub valid_until: i32,
    /// The salt.
    pub salt: i64,
}

/// A message's body, as far as the protocol itself understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// `msg_container`: several messages at once.
    Container(Vec<Message<'a>>),
    /// `rpc_result`: the answer to a call; [`Outcome::parse`] reads it further.
    RpcResult {
        /// The call's message id.
        req_msg_id: MsgId,
        /// The result, constructor first.
        result: &'a [u8],
    },
    /// `gzip_packed`: a body to unpack first, see [`crate::gzip::unpack`].
    GzipPacked(&'a [u8]),
    /// `msgs_ack`.
    MsgsAck(Vec<MsgId>),
    /// `bad_msg_notification`: a message was refused.
    BadMsg {
        /// Which.
        bad_msg_id: MsgId,
        /// Its sequence number.
        bad_seq_no: i32,
        /// Why.
        code: BadMsgCode,
    },
    /// `bad_server_salt`: a message was refused for its salt.
    BadServerSalt {
        /// Which.
        bad_msg_id: MsgId,
        /// Its sequence number.
        bad_seq_no: i32,
        /// 48.
        code: BadMsgCode,
        /// The salt to use.
        salt: i64,
    },
    /// `new_session_created`: the server knows nothing of what came before `first_msg_id`.
    NewSession {
        /// The first message the server has seen in it.
        first_msg_id: MsgId,
        /// What tells this session from an earlier one of the same id.
        unique_id: i64,
        /// The salt to use.
        salt: i64,
    },
    /// `ping`.
    Ping {
        /// To be given back.
        ping_id: i64,
    },
    /// `ping_delay_disconnect`.
    PingDelayDisconnect {
        /// To be given back.
        ping_id: i64,
        /// Seconds without another ping after which the server closes the connection.
        delay: i32,
    },
    /// `pong`.
    Pong {
        /// The ping's message id.
        msg_id: MsgId,
        /// The ping's own id.
        ping_id: i64,
    },
    /// `get_future_salts`.
    GetFutureSalts {
        /// How many.
        num: i32,
    },
    /// `future_salts`.
    FutureSalts {
        /// The request's message id.
        req_msg_id: MsgId,
        /// The server's time, in Unix seconds.
        now: i32,
        /// The salts.
        salts: Vec<FutureSalt>,
    },
    /// `msgs_state_req`.
    MsgsStateReq(Vec<MsgId>),
    /// `msgs_state_info`: one byte of state for each message asked about.
    MsgsStateInfo {
        /// The request's message id.
        req_msg_id: MsgId,
        /// The states.
        info: &'a [u8],
    },
    /// `msgs_all_info`: the same, unasked.
    MsgsAllInfo {
        /// The messages.
        msg_ids: Vec<MsgId>,
        /// The states.
        info: &'a [u8],
    },
    /// `msg_detailed_info`, or `msg_new_detailed_info` without a request: an answer exists that
    /// was not sent again.
    MsgDetailedInfo {
        /// The request, if the answer belongs to one.
        msg_id: Option<MsgId>,
        /// The answer.
        answer_msg_id: MsgId,
        /// The answer's size.
        bytes: i32,
        /// The request's state.
        status: i32,
    },
    /// `msg_resend_req`.
    MsgResendReq(Vec<MsgId>),
    /// `rpc_drop_answer`: the client has lost interest in a call.
    RpcDropAnswer {
        /// The call's message id.
        req_msg_id: MsgId,
    },
    /// `destroy_session`.
    DestroySession {
        /// Which.
        session_id: i64,
    },
    /// `destroy_session_ok`.
    DestroySessionOk {
        /// Which.
        session_id: i64,
    },
    /// `destroy_session_none`: there was no such session.
    DestroySessionNone {
        /// Which.
        session_id: i64,
    },
    /// `http_wait`: means something over HTTP only.
    HttpWait {
        /// Milliseconds.
        max_delay: i32,
        /// Milliseconds.
        wait_after: i32,
        /// Milliseconds.
        max_wait: i32,
    },
    /// Anything else: an object of the API, constructor first.
    Api(&'a [u8]),
}

impl<'a> Body<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ParseError`] for a service body that does not hold together. A body of the API is not
    /// looked into.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(body);
        let parsed = match r.u32()? {
            id::MSG_CONTAINER => Self::Container(container(&mut r)?),
            id::RPC_RESULT => {
                let req_msg_id = r.msg_id()?;
                let result = r.take(r.rest().len())?;
                Self::RpcResult { req_msg_id, result }
            }
            id::GZIP_PACKED => Self::GzipPacked(r.bytes()?),
            id::MSGS_ACK => Self::MsgsAck(r.msg_ids()?),
            id::BAD_MSG_NOTIFICATION => Self::BadMsg {
                bad_msg_id: r.msg_id()?,
                bad_seq_no: r.i32()?,
                code: BadMsgCode::from_code(r.i32()?),
            },
            id::BAD_SERVER_SALT => Self::BadServerSalt {
                bad_msg_id: r.msg_id()?,
                bad_seq_no: r.i32()?,
                code: BadMsgCode::from_code(r.i32()?),
                salt: r.i64()?,
            },
            id::NEW_SESSION_CREATED => Self::NewSession {
                first_msg_id: r.msg_id()?,
                unique_id: r.i64()?,
                salt: r.i64()?,
            },
            id::PING => Self::Ping { ping_id: r.i64()? },
            id::PING_DELAY_DISCONNECT => Self::PingDelayDisconnect {
                ping_id: r.i64()?,
                delay: r.i32()?,
            },
            id::PONG => Self::Pong {
                msg_id: r.msg_id()?,
                ping_id: r.i64()?,
            },
            id::GET_FUTURE_SALTS => Self::GetFutureSalts { num: r.i32()? },
            id::FUTURE_SALTS => future_salts(&mut r)?,
            other => return Self::parse_rare(other, r, body),
        };
        finished(&r, parsed)
    }

    /// The bodies that a quiet connection never sees.
    fn parse_rare(constructor: u32, mut r: Reader<'a>, body: &'a [u8]) -> Result<Self, ParseError> {
        let parsed = match constructor {
            id::MSGS_STATE_REQ => Self::MsgsStateReq(r.msg_ids()?),
            id::MSGS_STATE_INFO => Self::MsgsStateInfo {
                req_msg_id: r.msg_id()?,
                info: r.bytes()?,
            },
            id::MSGS_ALL_INFO => Self::MsgsAllInfo {
                msg_ids: r.msg_ids()?,
                info: r.bytes()?,
            },
            id::MSG_DETAILED_INFO => Self::MsgDetailedInfo {
                msg_id: Some(r.msg_id()?),
                answer_msg_id: r.msg_id()?,
                bytes: r.i32()?,
                status: r.i32()?,
            },
            id::MSG_NEW_DETAILED_INFO => Self::MsgDetailedInfo {
                msg_id: None,
                answer_msg_id: r.msg_id()?,
                bytes: r.i32()?,
                status: r.i32()?,
            },
            id::MSG_RESEND_REQ => Self::MsgResendReq(r.msg_ids()?),
            id::RPC_DROP_ANSWER => Self::RpcDropAnswer {
                req_msg_id: r.msg_id()?,
            },
            id::DESTROY_SESSION => Self::DestroySession {
                session_id: r.i64()?,
            },
            id::DESTROY_SESSION_OK => Self::DestroySessionOk {
                session_id: r.i64()?,
            },
            id::DESTROY_SESSION_NONE => Self::DestroySessionNone {
                session_id: r.i64()?,
            },
            id::HTTP_WAIT => Self::HttpWait {
                max_delay: r.i32()?,
                wait_after: r.i32()?,
                max_wait: r.i32()?,
            },
            _ => return Ok(Self::Api(body)),
        };
        finished(&r, parsed)
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// If something in it is longer than the format can say (bytes of 16 MiB, 2^31 items).
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Container(messages) => {
                put_u32(out, id::MSG_CONTAINER);
                put_count(out, messages.len());
                for message in messages {
                    put_message(out, message);
                }
            }
            Self::RpcResult { req_msg_id, result } => {
                write_result_head(out, *req_msg_id);
                out.extend_from_slice(result);
            }
            Self::GzipPacked(packed) => {
                put_u32(out, id::GZIP_PACKED);
                put_bytes(out, packed);
            }
            Self::MsgsAck(ids) => put_ids(out, id::MSGS_ACK, ids),
            Self::BadMsg {
                bad_msg_id,
                bad_seq_no,
                code,
            } => put_bad(
                out,
                id::BAD_MSG_NOTIFICATION,
                *bad_msg_id,
                *bad_seq_no,
                *code,
            ),
            Self::BadServerSalt {
                bad_msg_id,
                bad_seq_no,
                code,
                salt,
            } => {
                put_bad(out, id::BAD_SERVER_SALT, *bad_msg_id, *bad_seq_no, *code);
                put_i64(out, *salt);
            }
            Self::NewSession {
                first_msg_id,
                unique_id,
                salt,
            } => put_longs(
                out,
                id::NEW_SESSION_CREATED,
                &[first_msg_id.0, *unique_id, *salt],
            ),
            Self::Ping { ping_id } => put_longs(out, id::PING, &[*ping_id]),
            Self::PingDelayDisconnect { ping_id, delay } => {
                put_longs(out, id::PING_DELAY_DISCONNECT, &[*ping_id]);
                put_i32(out, *delay);
            }
            Self::Pong { msg_id, ping_id } => put_longs(out, id::PONG, &[msg_id.0, *ping_id]),
            Self::GetFutureSalts { num } => {
                put_u32(out, id::GET_FUTURE_SALTS);
                put_i32(out, *num);
            }
            Self::FutureSalts {
                req_msg_id,
                now,
                salts,
            } => put_future_salts(out, *req_msg_id, *now, salts),
            rare => rare.write_rare(out),
        }
    }

    fn write_rare(&self, out: &mut Vec<u8>) {
        match self {
            Self::MsgsStateReq(ids) => put_ids(out, id::MSGS_STATE_REQ, ids),
            Self::MsgsStateInfo { req_msg_id, info } => {
                put_longs(out, id::MSGS_STATE_INFO, &[req_msg_id.0]);
                put_bytes(out, info);
            }
            Self::MsgsAllInfo { msg_ids, info } => {
                put_ids(out, id::MSGS_ALL_INFO, msg_ids);
                put_bytes(out, info);
            }
            Self::MsgDetailedInfo {
                msg_id,
                answer_msg_id,
                bytes,
                status,
            } => {
                match msg_id {
                    Some(msg_id) => {
                        put_longs(out, id::MSG_DETAILED_INFO, &[msg_id.0, answer_msg_id.0]);
                    }
                    None => put_longs(out, id::MSG_NEW_DETAILED_INFO, &[answer_msg_id.0]),
                }
                put_i32(out, *bytes);
                put_i32(out, *status);
            }
            Self::MsgResendReq(ids) => put_ids(out, id::MSG_RESEND_REQ, ids),
            Self::RpcDropAnswer { req_msg_id } => {
                put_longs(out, id::RPC_DROP_ANSWER, &[req_msg_id.0]);
            }
            Self::DestroySession { session_id } => {
                put_longs(out, id::DESTROY_SESSION, &[*session_id]);
            }
            Self::DestroySessionOk { session_id } => {
                put_longs(out, id::DESTROY_SESSION_OK, &[*session_id]);
            }
            Self::DestroySessionNone { session_id } => {
                put_longs(out, id::DESTROY_SESSION_NONE, &[*session_id]);
            }
            Self::HttpWait {
                max_delay,
                wait_after,
                max_wait,
            } => {
                put_u32(out, id::HTTP_WAIT);
                for value in [max_delay, wait_after, max_wait] {
                    put_i32(out, *value);
                }
            }
            Self::Api(body) => out.extend_from_slice(body),
            // `write` has dealt with all others.
            _ => unreachable!("a body that `write` writes itself"),
        }
    }
}

fn finished<'a>(r: &Reader<'a>, body: Body<'a>) -> Result<Body<'a>, ParseError> {
    match r.rest().len() {
        0 => Ok(body),
        left => Err(ParseError::Trailing(left)),
    }
}

fn container<'a>(r: &mut Reader<'a>) -> Result<Vec<Message<'a>>, ParseError> {
    let count = r.count(MESSAGE_HEAD)?;
    if count > MAX_MESSAGES {
        return Err(ParseError::Crowded(count));
    }
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        let msg_id = r.msg_id()?;
        let seq_no = r.i32()?;
        let len = r.count(1)?;
        if !len.is_multiple_of(4) {
            return Err(ParseError::Truncated);
        }
        let body = r.take(len)?;
        if body.starts_with(&id::MSG_CONTAINER.to_le_bytes()) {
            return Err(ParseError::Nested);
        }
        messages.push(Message {
            msg_id,
            seq_no,
            body,
        });
    }
    Ok(messages)
}

fn future_salts<'a>(r: &mut Reader<'a>) -> Result<Body<'a>, ParseError> {
    let req_msg_id = r.msg_id()?;
    let now = r.i32()?;
    // A bare vector of bare objects: a count, and no constructors.
    let count = r.count(16)?;
    let salts = (0..count)
        .map(|_| {
            Ok(FutureSalt {
                valid_since: r.i32()?,
                valid_until: r.i32()?,
                salt: r.i64()?,
            })
        })
        .collect::<Result<_, Truncated>>()?;
    Ok(Body::FutureSalts {
        req_msg_id,
        now,
        salts,
    })
}

fn put_future_salts(out: &mut Vec<u8>, req_msg_id: MsgId, now: i32, salts: &[FutureSalt]) {
    put_longs(out, id::FUTURE_SALTS, &[req_msg_id.0]);
    put_i32(out, now);
    put_count(out, salts.len());
    for salt in salts {
        put_i32(out, salt.valid_since);
        put_i32(out, salt.valid_until);
        put_i64(out, salt.salt);
    }
}

fn put_message(out: &mut Vec<u8>, message: &Message<'_>) {
    put_i64(out, message.msg_id.0);
    put_i32(out, message.seq_no);
    put_count(out, message.body.len());
    out.extend_from_slice(message.body);
}

fn put_ids(out: &mut Vec<u8>, constructor: u32, ids: &[MsgId]) {
    put_u32(out, constructor);
    tl::put_msg_ids(out, ids);
}

fn put_longs(out: &mut Vec<u8>, constructor: u32, longs: &[i64]) {
    put_u32(out, constructor);
    for long in longs {
        put_i64(out, *long);
    }
}

fn put_bad(out: &mut Vec<u8>, constructor: u32, id: MsgId, seq_no: i32, code: BadMsgCode) {
    put_longs(out, constructor, &[id.0]);
    put_i32(out, seq_no);
    put_i32(out, code.code());
}

/// Appends the head of an `rpc_result`; the result itself follows. For large results that are
/// written right into the outgoing buffer.
pub fn write_result_head(out: &mut Vec<u8>, req_msg_id: MsgId) {
    put_longs(out, id::RPC_RESULT, &[req_msg_id.0]);
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// An object of the API, constructor first.
    Value(&'a [u8]),
    /// The same, packed.
    GzipPacked(&'a [u8]),
    /// `rpc_error`.
    Error {
        /// Modelled on HTTP: 303, 400, 401, 403, 406, 420, 500...
        code: i32,
        /// In capitals, such as `FLOOD_WAIT_31`. Not checked to be UTF-8.
        message: &'a [u8],
    },
}

impl<'a> Outcome<'a> {
    /// Reads the result of an `rpc_result`.
    ///
    /// # Errors
    /// [`ParseError`] for an error or a packed result that does not hold together.
    pub fn parse(result: &'a [u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(result);
        let outcome = match r.u32()? {
            id::RPC_ERROR => Self::Error {
                code: r.i32()?,
                message: r.bytes()?,
            },
            id::GZIP_PACKED => Self::GzipPacked(r.bytes()?),
            _ => return Ok(Self::Value(result)),
        };
        match r.rest().len() {
            0 => Ok(outcome),
            left => Err(ParseError::Trailing(left)),
        }
    }

    /// Appends the result to `out`.
    ///
    /// # Panics
    /// If the packed bytes are longer than the format can say (16 MiB).
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Value(value) => out.extend_from_slice(value),
            Self::GzipPacked(packed) => {
                put_u32(out, id::GZIP_PACKED);
                put_bytes(out, packed);
            }
            Self::Error { code, message } => {
                put_u32(out, id::RPC_ERROR);
                put_i32(out, *code);
                put_bytes(out, message);
            }
        }
    }
}

/// Where `inner` lies in `outer`, if it is a part of it.
pub fn range_within(outer: &[u8], inner: &[u8]) -> Option<Range<usize>> {
    let start = inner.as_ptr().addr().checked_sub(outer.as_ptr().addr())?;
    let end = start.checked_add(inner.len())?;
    (end <= outer.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(body: &Body<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        body.write(&mut out);
        out
    }

    /// One of every kind.
    fn every_kind() -> Vec<Body<'static>> {
        let ids = vec![MsgId(1), MsgId(2)];
        let id = MsgId(9);
        vec![
            Body::Container(vec![
                Message {
                    msg_id: MsgId(4),
                    seq_no: 1,
                    body: b"body",
                },
                Message {
                    msg_id: MsgId(8),
                    seq_no: 3,
                    body: b"",
                },
            ]),
            Body::RpcResult {
                req_msg_id: id,
                result: b"1234",
            },
            Body::GzipPacked(b"packed"),
            Body::MsgsAck(ids.clone()),
            Body::BadMsg {
                bad_msg_id: id,
                bad_seq_no: 3,
                code: BadMsgCode::SeqTooLow,
            },
            Body::BadServerSalt {
                bad_msg_id: id,
                bad_seq_no: 3,
                code: BadMsgCode::Salt,
                salt: -1,
            },
            Body::NewSession {
                first_msg_id: id,
                unique_id: 1,
                salt: 2,
            },
            Body::Ping { ping_id: 1 },
            Body::PingDelayDisconnect {
                ping_id: 1,
                delay: 75,
            },
            Body::Pong {
                msg_id: id,
                ping_id: 1,
            },
            Body::GetFutureSalts { num: 3 },
            Body::FutureSalts {
                req_msg_id: id,
                now: 5,
                salts: vec![FutureSalt {
                    valid_since: 1,
                    valid_until: 2,
                    salt: 3,
                }],
            },
            Body::MsgsStateReq(ids.clone()),
            Body::MsgsStateInfo {
                req_msg_id: id,
                info: b"ab",
            },
            Body::MsgsAllInfo {
                msg_ids: ids.clone(),
                info: b"ab",
            },
            Body::MsgDetailedInfo {
                msg_id: Some(id),
                answer_msg_id: MsgId(5),
                bytes: 6,
                status: 0,
            },
            Body::MsgDetailedInfo {
                msg_id: None,
                answer_msg_id: MsgId(5),
                bytes: 6,
                status: 0,
            },
            Body::MsgResendReq(ids),
            Body::RpcDropAnswer { req_msg_id: id },
            Body::DestroySession { session_id: 1 },
            Body::DestroySessionOk { session_id: 1 },
            Body::DestroySessionNone { session_id: 1 },
            Body::HttpWait {
                max_delay: 1,
                wait_after: 2,
                max_wait: 3,
            },
            Body::Api(b"\x6b\x18\xf9\xc4"),
        ]
    }

    #[test]
    fn reading_undoes_writing() {
        for body in every_kind() {
            assert_eq!(Body::parse(&written(&body)), Ok(body.clone()), "{body:?}");
        }
    }

    /// Against another library's schema, which leaves out three (container, result, packed):
    /// the frozen packets cover these.
    #[test]
    fn constructors_are_those_of_the_schema() {
        let expected = [
            (id::RPC_ERROR, "rpc_error"),
            (id::MSGS_ACK, "msgs_ack"),
            (id::BAD_MSG_NOTIFICATION, "bad_msg_notification"),
            (id::BAD_SERVER_SALT, "bad_server_salt"),
            (id::NEW_SESSION_CREATED, "new_session_created"),
            (id::PING, "ping"),
            (id::PING_DELAY_DISCONNECT, "ping_delay_disconnect"),
            (id::PONG, "pong"),
            (id::GET_FUTURE_SALTS, "get_future_salts"),
            (id::FUTURE_SALTS, "future_salts"),
            (id::MSGS_STATE_REQ, "msgs_state_req"),
            (id::MSGS_STATE_INFO, "msgs_state_info"),
            (id::MSGS_ALL_INFO, "msgs_all_info"),
            (id::MSG_DETAILED_INFO, "msg_detailed_info"),
            (id::MSG_NEW_DETAILED_INFO, "msg_new_detailed_info"),
            (id::MSG_RESEND_REQ, "msg_resend_req"),
            (id::RPC_DROP_ANSWER, "rpc_drop_answer"),
            (id::DESTROY_SESSION, "destroy_session"),
            (id::DESTROY_SESSION_OK, "destroy_session_ok"),
            (id::DESTROY_SESSION_NONE, "destroy_session_none"),
            (id::HTTP_WAIT, "http_wait"),
        ];
        for (constructor, name) in expected {
            assert_eq!(grammers_tl_types::name_for_id(constructor), name);
        }
    }

    #[test]
    fn a_cut_body_is_an_error() {
        for body in every_kind() {
            let whole = written(&body);
            for len in 0..whole.len() {
                // A result and an API object have no end of their own.
                let open_end = matches!(body, Body::RpcResult { .. } if len >= 12);
                assert!(
                    open_end || Body::parse(&whole[..len]).is_err(),
                    "{body:?} cut at {len}"
                );
            }
        }
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        for body in every_kind() {
            if matches!(body, Body::RpcResult { .. } | Body::Api(_)) {
                continue;
            }
            let mut longer = written(&body);
            longer.extend_from_slice(&[0; 4]);
            assert_eq!(
                Body::parse(&longer),
                Err(ParseError::Trailing(4)),
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_container_in_a_container_is_refused() {
        let inner = written(&Body::Container(Vec::new()));
        let message = Message {
            msg_id: MsgId(4),
            seq_no: 0,
            body: &inner,
        };
        let outer = written(&Body::Container(vec![message]));
        assert_eq!(Body::parse(&outer), Err(ParseError::Nested));
    }

    #[test]
    fn a_huge_count_allocates_nothing() {
        let mut bytes = id::MSG_CONTAINER.to_le_bytes().to_vec();
        bytes.extend_from_slice(&i32::MAX.to_le_bytes());
        assert_eq!(Body::parse(&bytes), Err(ParseError::Truncated));

        let message = Message {
            msg_id: MsgId(4),
            seq_no: 0,
            body: b"",
        };
        let crowd = written(&Body::Container(vec![message; MAX_MESSAGES + 1]));
        assert_eq!(
            Body::parse(&crowd),
            Err(ParseError::Crowded(MAX_MESSAGES + 1))
        );
    }

    #[test]
    fn outcomes_are_told_apart() {
        for outcome in [
            Outcome::Value(b"\x05\x96\x8c\x09rest"),
            Outcome::GzipPacked(b"packed"),
            Outcome::Error {
                code: 420,
                message: b"FLOOD_WAIT_31",
            },
        ] {
            let mut out = Vec::new();
            outcome.write(&mut out);
            assert_eq!(Outcome::parse(&out), Ok(outcome));
        }
    }

    #[test]
    fn a_slice_is_found_in_its_buffer() {
        let buffer = vec![0; 100];
        assert_eq!(range_within(&buffer, &buffer[30..70]), Some(30..70));
        assert_eq!(range_within(&buffer[10..50], &buffer[30..70]), None);
        assert_eq!(range_within(&buffer[10..], &buffer[..5]), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Body::parse(&bytes);
            let _ = Outcome::parse(&bytes);
        }

        #[test]
        fn garbage_behind_a_known_constructor_never_panics(
            kind in 0_usize..24,
            garbage in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = written(&every_kind()[kind]);
            bytes.truncate(4);
            bytes.extend_from_slice(&garbage);
            let _ = Body::parse(&bytes);
        }

        #[test]
        fn long_and_short_bytes_survive(len in 0_usize..2000) {
            let bytes = vec![7; len];
            let out = written(&Body::GzipPacked(&bytes));
            prop_assert_eq!(out.len() % 4, 0);
            prop_assert_eq!(Body::parse(&out), Ok(Body::GzipPacked(&bytes)));
        }
    }
}
