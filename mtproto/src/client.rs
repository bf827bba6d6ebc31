//! A client's half of one session, over one TCP connection in Intermediate framing.
//!
//! It turns calls into frames and opened packets into answers, and does by itself what the
//! protocol demands in between: it numbers messages, follows the server's salt and clock,
//! acknowledges, and sends again what the server did not take. It sends neither containers nor
//! packed bodies, and never uses a message id twice. It does not read the socket, decrypt, or
//! look at a clock: `now` is the time since the Unix epoch by a local clock that never goes back.
//!
//! Rules: <https://core.telegram.org/mtproto/service_messages>,
//! <https://core.telegram.org/mtproto/service_messages_about_messages>,
//! <https://core.telegram.org/mtproto/security_guidelines>.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::crypto::{AuthKey, Side};
use crate::envelope::{self, BODY_AT, Envelope, Header, Opened, SealError};
use crate::gzip::{self, GzipError};
use crate::message::{BadMsgCode, Body, Message, Outcome, ParseError, range_within};
use crate::session::{
    Content, Freshness, IdKind, MsgId, MsgIds, Received, SeqNos, check_time, wants_ack,
};
use crate::transport::{Encoder, FrameError, MAX_HEAD, Transport};

/// How many acknowledgements are sent without waiting for a call to go with.
pub const MAX_PENDING_ACKS: usize = 16;

/// How long an acknowledgement may wait for a call to go with.
pub const ACK_DELAY: Duration = Duration::from_secs(30);

/// What a packed body may come to: no answer that is asked for is larger.
pub const MAX_UNPACKED: usize = 1 << 20;

/// How often one call is sent again on one connection: a server that wants it more often has no
/// end of wanting it.
pub const MAX_REPEATS: u32 = 16;

/// Own messages other than calls whose refusal is still understood.
const REMEMBERED_SERVICE: usize = 16;

/// What a connection learns of the server, and the next one need not learn again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// The salt to send; all sessions of a key share it.
    pub salt: i64,
    /// By how many seconds the server's clock is ahead of ours, once known.
    pub clock_offset: Option<i64>,
}

/// An answered call.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered<T> {
    /// What the caller tagged it with.
    pub tag: T,
    /// What came of it.
    pub answer: Answer,
}

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// An object of the API, constructor first: its place in the packet.
    Value(Range<usize>),
    /// An object of the API that came packed.
    Unpacked(Vec<u8>),
    /// An error.
    Error {
        /// Modelled on HTTP.
        code: i32,
        /// In capitals.
        message: String,
    },
}

/// Why the connection is to be closed. All look alike from outside.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// A message does not hold together.
    #[error("the server sent a malformed message")]
    Malformed(#[from] ParseError),
    /// A packed message does not.
    #[error("the server sent a malformed packed message")]
    Packed(#[from] GzipError),
    /// A message is from another time.
    #[error("the server sent a message from another time")]
    Time,
    /// A message is older than all that are remembered.
    #[error("the server sent a message too old to be told from a repeated one")]
    TooOld,
    /// The server refuses what we sent; with codes 17, 32 and 33 a new session helps.
    #[error("the server refused a message with code {}", .0.code())]
    Refused(BadMsgCode),
    /// The server has one call sent again and again.
    #[error("the server wants a call again and again")]
    Endless,
}

/// A message that cannot be sent: a mistake of the caller.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Its length does not fit the envelope.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Its length does not fit the transport.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Fills a buffer with random bytes.
pub type Random = fn(&mut [u8]);

/// One session. `T` is what a caller tags calls with.
#[derive(Debug)]
pub struct Client<T> {
    key: AuthKey,
    session_id: i64,
    server: Server,
    /// Put before a call until the server has answered one.
    greeting: Box<[u8]>,
    greeted: bool,
    random: Random,
    ids: MsgIds,
    seq_nos: SeqNos,
    received: Received,
    calls: BTreeMap<MsgId, Call<T>>,
    service: VecDeque<MsgId>,
    acks: Vec<MsgId>,
    first_ack: Duration,
    encoder: Encoder,
    packet: Vec<u8>,
    out: Vec<u8>,
}

#[derive(Debug)]
struct Call<T> {
    tag: T,
    query: Box<[u8]>,
    /// How often it was sent again.
    repeats: u32,
}

impl<T> Client<T> {
    /// A new session for a new connection. `greeting` is what `invokeWithLayer`, `initConnection`
    /// and the like put before the first calls of a session.
    pub fn new(key: AuthKey, server: Server, greeting: Box<[u8]>, random: Random) -> Self {
        let mut session_id = [0; 8];
        while session_id == [0; 8] {
            random(&mut session_id);
        }
        Self {
            key,
            session_id: i64::from_le_bytes(session_id),
            server,
            greeting,
            greeted: false,
            random,
            ids: MsgIds::default(),
            seq_nos: SeqNos::default(),
            received: Received::default(),
            calls: BTreeMap::new(),
            service: VecDeque::new(),
            acks: Vec::new(),
            first_ack: Duration::ZERO,
            encoder: Encoder::new(Transport::Intermediate),
            packet: Vec::new(),
            out: Transport::Intermediate.opening().to_vec(),
        }
    }

    /// What packets of this session are opened with.
    pub fn envelope(&self) -> Envelope<'_> {
        Envelope::new(&self.key, Side::Server).of_session(self.session_id)
    }

    /// The session's id.
    pub const fn session_id(&self) -> i64 {
        self.session_id
    }

    /// What is known of the server by now.
    pub const fn server(&self) -> Server {
        self.server
    }

    /// Calls that are not answered.
    pub fn pending(&self) -> usize {
        self.calls.len()
    }

    /// The calls that were not answered, oldest first.
    pub fn into_pending(self) -> impl Iterator<Item = T> {
        self.calls.into_values().map(|call| call.tag)
    }

    /// The bytes to be written to the socket. Whoever writes them takes them out, in order.
    pub const fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Makes a call: `query` is a function of the API, constructor first.
    ///
    /// # Errors
    /// [`SendError`] for a query that is no multiple of four bytes; nothing is sent then.
    pub fn call(&mut self, tag: T, query: Box<[u8]>, now: Duration) -> Result<(), SendError> {
        self.flush_acks(now)?;
        let call = Call {
            tag,
            query,
            repeats: 0,
        };
        self.send_call(call, now)
    }

    /// Asks for a sign of life, and tells the server to close the connection if it is not asked
    /// again within `delay`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn ping(&mut self, delay: Duration, now: Duration) -> Result<(), SendError> {
        let mut ping_id = [0; 8];
        (self.random)(&mut ping_id);
        let ping = Body::PingDelayDisconnect {
            ping_id: i64::from_le_bytes(ping_id),
            delay: i32::try_from(delay.as_secs()).unwrap_or(i32::MAX),
        };
        self.flush_acks(now)?;
        self.send_service(&ping, now)
    }

    /// When acknowledgements are due at the latest, if there are any.
    pub fn acks_due(&self) -> Option<Duration> {
        (!self.acks.is_empty()).then(|| self.first_ack + ACK_DELAY)
    }

    /// Sends the acknowledgements that wait.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn flush_acks(&mut self, now: Duration) -> Result<(), SendError> {
        if self.acks.is_empty() {
            return Ok(());
        }
        let acks = std::mem::take(&mut self.acks);
        self.send_service(&Body::MsgsAck(acks), now)
    }

    /// Takes in a packet that [`Self::envelope`] has opened, and that `arrived` then. Pushes the
    /// calls that it answers.
    ///
    /// # Errors
    /// [`Violation`]: nothing of this packet may be used, and the connection is to be closed.
    pub fn receive(
        &mut self,
        packet: &[u8],
        opened: &Opened,
        arrived: Duration,
        answered: &mut Vec<Answered<T>>,
    ) -> Result<(), Violation> {
        let message = Message {
            msg_id: opened.header.msg_id,
            seq_no: opened.header.seq_no,
            body: &packet[opened.body.clone()],
        };
        let body = Body::parse(message.body)?;
        let is_refusal = matches!(body, Body::BadMsg { .. } | Body::BadServerSalt { .. });
        let offset = *self
            .server
            .clock_offset
            .get_or_insert_with(|| offset_from(message.msg_id, arrived));
        if !is_refusal && check_time(message.msg_id, shifted(arrived, offset)).is_err() {
            // One of the clocks may have been set: the next session finds out anew.
            self.server.clock_offset = None;
            return Err(Violation::Time);
        }
        let mut found = Vec::new();
        let mut taking = Taking {
            packet: Some(packet),
            arrived,
            found: &mut found,
        };
        if let Err(violation) = self.message(message, body, &mut taking) {
            // What it seemed to answer is not answered.
            let calls = found.into_iter().map(|found| (found.msg_id, found.call));
            self.calls.extend(calls);
            return Err(violation);
        }
        answered.extend(found.into_iter().map(|found| Answered {
            tag: found.call.tag,
            answer: found.answer,
        }));
        if self.acks.len() >= MAX_PENDING_ACKS {
            self.flush_acks(arrived).expect("acknowledgements fit");
        }
        Ok(())
    }

    fn message(
        &mut self,
        message: Message<'_>,
        body: Body<'_>,
        taking: &mut Taking<'_, T>,
    ) -> Result<(), Violation> {
        let freshness = self.received.freshness(message.msg_id);
        if freshness == Freshness::TooOld {
            return Err(Violation::TooOld);
        }
        if wants_ack(message.seq_no) {
            self.ack(message.msg_id, taking.arrived);
        }
        if freshness == Freshness::Duplicate {
            return Ok(());
        }
        self.received.note(message.msg_id, message.seq_no);
        match body {
            Body::Container(messages) => {
                for inner in messages {
                    self.message(inner, Body::parse(inner.body)?, taking)?;
                }
                Ok(())
            }
            Body::GzipPacked(packed) => {
                let plain = gzip::unpack(packed, MAX_UNPACKED)?;
                let mut taking = Taking {
                    packet: None,
                    arrived: taking.arrived,
                    found: taking.found,
                };
                match Body::parse(&plain)? {
                    Body::Container(_) | Body::GzipPacked(_) => Err(ParseError::Nested.into()),
                    body => self.body(message.msg_id, body, &mut taking),
                }
            }
            body => self.body(message.msg_id, body, taking),
        }
    }

    fn body(
        &mut self,
        msg_id: MsgId,
        body: Body<'_>,
        taking: &mut Taking<'_, T>,
    ) -> Result<(), Violation> {
        let now = taking.arrived;
        match body {
            Body::RpcResult { req_msg_id, result } => self.result(req_msg_id, result, taking),
            Body::BadServerSalt {
                bad_msg_id, salt, ..
            } => {
                if self.is_ours(bad_msg_id) {
                    self.server.salt = salt;
                    self.send_again(bad_msg_id, now)?;
                }
                Ok(())
            }
            Body::BadMsg {
                bad_msg_id, code, ..
            } if self.is_ours(bad_msg_id) => self.refused(msg_id, bad_msg_id, code, now),
            Body::NewSession {
                first_msg_id, salt, ..
            } => {
                self.server.salt = salt;
                let unseen: Vec<_> = self
                    .calls
                    .range(..first_msg_id)
                    .map(|(id, _)| *id)
                    .collect();
                for id in unseen {
                    self.send_again(id, now)?;
                }
                Ok(())
            }
            Body::MsgDetailedInfo {
                msg_id: call,
                answer_msg_id,
                ..
            } => {
                self.ack(answer_msg_id, now);
                let is_new = self.received.freshness(answer_msg_id) == Freshness::New;
                if let Some(call) = call.filter(|_| is_new) {
                    self.send_again(call, now)?;
                }
                Ok(())
            }
            // Signs of life, what nobody asked for, and updates, which were not wanted.
            _ => Ok(()),
        }
    }

    fn result(
        &mut self,
        req_msg_id: MsgId,
        result: &[u8],
        taking: &mut Taking<'_, T>,
    ) -> Result<(), Violation> {
        if !self.calls.contains_key(&req_msg_id) {
            return Ok(());
        }
        let answer = match Outcome::parse(result)? {
            Outcome::Value(value) => match taking.packet.and_then(|p| range_within(p, value)) {
                Some(range) => Answer::Value(range),
                None => Answer::Unpacked(value.to_vec()),
            },
            Outcome::GzipPacked(packed) => Answer::Unpacked(gzip::unpack(packed, MAX_UNPACKED)?),
            Outcome::Error { message, .. }
                if matches!(
                    message,
                    b"CONNECTION_NOT_INITED" | b"CONNECTION_LAYER_INVALID"
                ) && self.greeted =>
            {
                self.greeted = false;
                return self.send_again(req_msg_id, taking.arrived);
            }
            Outcome::Error { code, message } => Answer::Error {
                code,
                message: String::from_utf8_lossy(message).into_owned(),
            },
        };
        self.greeted = true;
        if let Some(call) = self.calls.remove(&req_msg_id) {
            taking.found.push(Found {
                msg_id: req_msg_id,
                call,
                answer,
            });
        }
        Ok(())
    }

    fn refused(
        &mut self,
        notice: MsgId,
        bad_msg_id: MsgId,
        code: BadMsgCode,
        now: Duration,
    ) -> Result<(), Violation> {
        match code {
            BadMsgCode::IdTooLow => {
                self.server.clock_offset = Some(offset_from(notice, now));
                self.send_again(bad_msg_id, now)
            }
            BadMsgCode::TooOld => self.send_again(bad_msg_id, now),
            code => {
                // For the session to come; this one's ids cannot go back.
                self.server.clock_offset = Some(offset_from(notice, now));
                Err(Violation::Refused(code))
            }
        }
    }

    fn is_ours(&self, msg_id: MsgId) -> bool {
        self.calls.contains_key(&msg_id) || self.service.contains(&msg_id)
    }

    fn ack(&mut self, msg_id: MsgId, now: Duration) {
        if self.acks.is_empty() {
            self.first_ack = now;
        }
        self.acks.push(msg_id);
    }

    fn send_again(&mut self, msg_id: MsgId, now: Duration) -> Result<(), Violation> {
        let Some(call) = self.calls.get_mut(&msg_id) else {
            return Ok(());
        };
        if call.repeats == MAX_REPEATS {
            return Err(Violation::Endless);
        }
        call.repeats += 1;
        if let Some(call) = self.calls.remove(&msg_id) {
            self.send_call(call, now)
                .expect("it was sent before, so it fits");
        }
        Ok(())
    }

    fn send_call(&mut self, call: Call<T>, now: Duration) -> Result<(), SendError> {
        let greeting = if self.greeted {
            &[][..]
        } else {
            &self.greeting
        };
        let body = [greeting, &call.query].concat();
        let msg_id = self.send(&body, Content::Related, now)?;
        self.calls.insert(msg_id, call);
        Ok(())
    }

    fn send_service(&mut self, body: &Body<'_>, now: Duration) -> Result<(), SendError> {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        let msg_id = self.send(&bytes, Content::Unrelated, now)?;
        if self.service.len() == REMEMBERED_SERVICE {
            self.service.pop_front();
        }
        self.service.push_back(msg_id);
        Ok(())
    }

    fn send(&mut self, body: &[u8], content: Content, now: Duration) -> Result<MsgId, SendError> {
        if !body.len().is_multiple_of(4) {
            return Err(SealError::Length(body.len()).into());
        }
        let now = shifted(now, self.server.clock_offset.unwrap_or(0));
        let msg_id = self.ids.next(now, IdKind::Client);
        let header = Header {
            salt: self.server.salt,
            session_id: self.session_id,
            msg_id,
            seq_no: self.seq_nos.next(content),
        };
        let len = envelope::packet_len(body.len(), 0);
        self.packet.clear();
        self.packet.resize(MAX_HEAD + len, 0);
        let packet = &mut self.packet[MAX_HEAD..];
        packet[BODY_AT..BODY_AT + body.len()].copy_from_slice(body);
        (self.random)(&mut packet[BODY_AT + body.len()..]);
        Envelope::new(&self.key, Side::Client).seal(&header, body.len(), packet)?;
        let start = self.encoder.frame(&mut self.packet, MAX_HEAD)?;
        self.out.extend_from_slice(&self.packet[start..]);
        Ok(msg_id)
    }
}

/// A packet being taken in.
struct Taking<'a, T> {
    /// None while in a body that was unpacked from it.
    packet: Option<&'a [u8]>,
    arrived: Duration,
    found: &'a mut Vec<Found<T>>,
}

/// An answer, with the call that is answered if nothing is wrong with the rest of the packet.
struct Found<T> {
    msg_id: MsgId,
    call: Call<T>,
    answer: Answer,
}

fn offset_from(msg_id: MsgId, now: Duration) -> i64 {
    msg_id.seconds() - now.as_secs().cast_signed()
}

fn shifted(now: Duration, offset: i64) -> Duration {
    let by = Duration::from_secs(offset.unsigned_abs());
    if offset < 0 {
        now.saturating_sub(by)
    } else {
        now.saturating_add(by)
    }
}
