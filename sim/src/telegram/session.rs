//! The server's side of MTProto sessions: which messages of the client are accepted, what is
//! answered by the protocol itself, what still waits to be acknowledged.
//!
//! A session belongs to a key and outlives its connections; what a client has not acknowledged
//! is sent again on its next one. No I/O happens here: [`Session::accept`] says what to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mtproto::message::Message;
use mtproto::session::{Content, Freshness, check_time, wants_ack};
use mtproto::{BadMsgCode, Body, Header, IdKind, KeyId, MsgId, MsgIds, Received, SeqNos, gzip};

use super::ids::DcId;
use super::layer::Layer;
use super::rpc::Payload;
use super::salts::Salts;
use super::traffic::SessionTraffic;

/// What a packed request may unpack to, in bytes.
const UNPACK_LIMIT: usize = 1 << 20;

/// An answer that nobody has fetched for this long is forgotten.
const UNACKED_FOR: Duration = Duration::from_mins(5);

/// A session that nobody uses is forgotten after this long, as is one too many.
const IDLE_FOR: Duration = Duration::from_mins(30);

/// Beyond so many sessions the idle ones are looked for.
const MANY_SESSIONS: usize = 256;

/// The most salts that are announced at once.
const MAX_SALTS: i64 = 64;

/// A TCP connection, for telling whether a message was sent on this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(pub(super) u64);

/// What the client's messages ask for.
#[derive(Debug)]
pub(super) enum Event {
    /// A message of the protocol itself is to be sent.
    Send {
        kind: IdKind,
        content: Content,
        payload: Payload,
    },
    /// An earlier message is to be sent again.
    SendAgain(MsgId),
    /// The API is called.
    Call {
        msg_id: MsgId,
        seq_no: i32,
        query: Vec<u8>,
    },
    /// The connection is to be closed unless another such ping comes in time.
    CloseAfter(Duration),
    /// The client is done with this session.
    Destroy(i64),
}

/// The time and the salts against which messages are judged.
pub(super) struct Judge<'a> {
    pub(super) now: Duration,
    pub(super) salts: Salts<'a>,
}

#[derive(Debug)]
struct Unacked {
    seq_no: i32,
    payload: Payload,
    sent: Instant,
    connection: ConnectionId,
}

#[derive(Debug)]
struct State {
    received: Received,
    ids: MsgIds,
    seq: SeqNos,
    unacked: BTreeMap<MsgId, Unacked>,
    layer: Option<Layer>,
    greeted: bool,
    /// It was forgotten: nothing more is sent in it.
    lost: bool,
    used: Instant,
    /// The client's messages that were refused, by code.
    refused: BTreeMap<i32, u64>,
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: i64,
    state: Mutex<State>,
}

/// A message that was given its place in the session, ready to be sealed.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) msg_id: MsgId,
    pub(super) seq_no: i32,
    pub(super) payload: Payload,
}

impl Session {
    fn new(id: i64) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                received: Received::default(),
                ids: MsgIds::default(),
                seq: SeqNos::default(),
                unacked: BTreeMap::new(),
                layer: None,
                greeted: false,
                lost: false,
                used: Instant::now(),
                refused: BTreeMap::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("judging messages does not panic")
    }

    /// The layer the client has named, if it has.
    pub(super) fn layer(&self) -> Option<Layer> {
        self.state().layer
    }

    /// Notes the layer the client names.
    pub(super) fn set_layer(&self, layer: Layer) {
        self.state().layer = Some(layer);
    }

    /// Judges a packet of the client and says what it asks for.
    pub(super) fn accept(&self, header: &Header, body: &[u8], judge: &Judge<'_>) -> Vec<Event> {
        let mut state = self.state();
        state.used = Instant::now();
        state.forget_stale();
        let mut intake = Intake {
            state: &mut state,
            judge,
            events: Vec::new(),
        };
        intake.packet(header, body);
        intake.events
    }

    /// Makes a message, judged in a session that is lost meanwhile, the first one of this session,
    /// and says what the client is to be told.
    pub(super) fn adopt(&self, msg_id: MsgId, seq_no: i32, judge: &Judge<'_>) -> Vec<Event> {
        let mut state = self.state();
        state.received.note(msg_id, seq_no);
        let mut intake = Intake {
            state: &mut state,
            judge,
            events: Vec::new(),
        };
        intake.greet(msg_id);
        intake.events
    }

    /// Whether it was forgotten.
    pub(super) fn is_lost(&self) -> bool {
        self.state().lost
    }

    /// Gives a new message its number, and keeps it until it is acknowledged if it asks for that.
    pub(super) fn number(
        &self,
        kind: IdKind,
        content: Content,
        payload: Payload,
        now: Duration,
        connection: ConnectionId,
    ) -> Numbered {
        let mut state = self.state();
        let msg_id = state.ids.next(now, kind);
        let seq_no = state.seq.next(content);
        if content == Content::Related {
            let unacked = Unacked {
                seq_no,
                payload: payload.clone(),
                sent: Instant::now(),
                connection,
            };
            state.unacked.insert(msg_id, unacked);
        }
        Numbered {
            msg_id,
            seq_no,
            payload,
        }
    }

    /// An earlier message as it was, unless it has been acknowledged meanwhile.
    pub(super) fn again(&self, msg_id: MsgId, connection: ConnectionId) -> Option<Numbered> {
        let mut state = self.state();
        let unacked = state.unacked.get_mut(&msg_id)?;
        unacked.connection = connection;
        Some(Numbered {
            msg_id,
            seq_no: unacked.seq_no,
            payload: unacked.payload.clone(),
        })
    }

    /// What was sent on other connections and never acknowledged.
    pub(super) fn left_over(&self, connection: ConnectionId) -> Vec<MsgId> {
        let state = self.state();
        let left = state
            .unacked
            .iter()
            .filter(|(_, u)| u.connection != connection);
        left.map(|(id, _)| *id).collect()
    }
}

impl State {
    fn forget_stale(&mut self) {
        while let Some(oldest) = self.unacked.first_entry()
            && oldest.get().sent.elapsed() > UNACKED_FOR
        {
            oldest.remove();
        }
    }
}

/// The judging of one packet.
struct Intake<'a, 'j> {
    state: &'a mut State,
    judge: &'a Judge<'j>,
    events: Vec<Event>,
}

impl Intake<'_, '_> {
    fn packet(&mut self, header: &Header, body: &[u8]) {
        let outer = Message {
            msg_id: header.msg_id,
            seq_no: header.seq_no,
            body,
        };
        if !outer.msg_id.is(IdKind::Client) {
            return self.refuse(&outer, BadMsgCode::IdBits);
        }
        if let Err(code) = check_time(outer.msg_id, self.judge.now) {
            return self.refuse(&outer, code);
        }
        if !self.judge.salts.accepts(header.salt, self.judge.now) {
            return self.refuse_salt(&outer);
        }
        match Body::parse(body) {
            Ok(Body::Container(messages)) => self.container(&outer, &messages),
            Err(_) => self.refuse(&outer, BadMsgCode::Container),
            Ok(_) => self.message(&outer),
        }
    }

    fn container(&mut self, outer: &Message<'_>, messages: &[Message<'_>]) {
        if self.state.received.freshness(outer.msg_id) == Freshness::Duplicate {
            return self.refuse(outer, BadMsgCode::ContainerId);
        }
        if wants_ack(outer.seq_no) {
            return self.refuse(outer, BadMsgCode::SeqNotEven);
        }
        if messages.iter().any(|inner| inner.msg_id >= outer.msg_id) {
            return self.refuse(outer, BadMsgCode::Container);
        }
        for inner in messages {
            if inner.msg_id.is(IdKind::Client) {
                self.message(inner);
            } else {
                self.refuse(inner, BadMsgCode::IdBits);
            }
        }
        match self.state.received.check_seq(outer.msg_id, outer.seq_no) {
            Ok(()) => self.state.received.note(outer.msg_id, outer.seq_no),
            Err(code) => self.refuse(outer, code),
        }
    }

    /// A single message, alone or from a container.
    fn message(&mut self, message: &Message<'_>) {
        match self.state.received.freshness(message.msg_id) {
            Freshness::New => {}
            Freshness::Duplicate => return self.duplicate(message),
            Freshness::TooOld => return self.refuse(message, BadMsgCode::TooOld),
        }
        let unpacked;
        let body = match Body::parse(message.body) {
            Ok(Body::GzipPacked(packed)) => match gzip::unpack(packed, UNPACK_LIMIT) {
                Ok(plain) => {
                    unpacked = plain;
                    Body::parse(&unpacked)
                }
                Err(_) => return self.refuse(message, BadMsgCode::Container),
            },
            other => other,
        };
        let Ok(body) = body else {
            return self.refuse(message, BadMsgCode::Container);
        };
        let order = check_parity(&body, message.seq_no).and_then(|()| {
            self.state
                .received
                .check_seq(message.msg_id, message.seq_no)
        });
        if let Err(code) = order {
            return self.refuse(message, code);
        }
        self.state.received.note(message.msg_id, message.seq_no);
        self.greet(message.msg_id);
        self.act(message.msg_id, message.seq_no, body);
    }

    fn greet(&mut self, first_msg_id: MsgId) {
        if self.state.greeted {
            return;
        }
        self.state.greeted = true;
        let mut unique_id = [0; 8];
        aws_lc_rs::rand::fill(&mut unique_id).expect("the system has random numbers");
        let body = Body::NewSession {
            first_msg_id,
            unique_id: i64::from_le_bytes(unique_id),
            salt: self.judge.salts.current(self.judge.now),
        };
        self.send(IdKind::Notice, Content::Related, &body);
    }

    fn act(&mut self, msg_id: MsgId, seq_no: i32, body: Body<'_>) {
        match body {
            Body::Api(query) => self.events.push(Event::Call {
                msg_id,
                seq_no,
                query: query.to_vec(),
            }),
            Body::MsgsAck(ids) => {
                for id in ids {
                    self.state.unacked.remove(&id);
                }
            }
            Body::Ping { ping_id } => self.answer(&Body::Pong { msg_id, ping_id }),
            Body::PingDelayDisconnect { ping_id, delay } => {
                self.answer(&Body::Pong { msg_id, ping_id });
                let delay = Duration::from_secs(delay.max(0).unsigned_abs().into());
                self.events.push(Event::CloseAfter(delay));
            }
            Body::GetFutureSalts { num } => {
                let count = i64::from(num).clamp(1, MAX_SALTS);
                let salts = self.judge.salts.future(self.judge.now, count);
                self.answer(&Body::FutureSalts {
                    req_msg_id: msg_id,
                    now: i32::try_from(self.judge.now.as_secs()).unwrap_or(i32::MAX),
                    salts,
                });
            }
            rare => self.act_rarely(msg_id, &rare),
        }
    }

    fn act_rarely(&mut self, msg_id: MsgId, body: &Body<'_>) {
        match body {
            Body::MsgsStateReq(ids) => {
                let info: Vec<u8> = ids.iter().map(|id| self.state_of(*id)).collect();
                self.answer(&Body::MsgsStateInfo {
                    req_msg_id: msg_id,
                    info: &info,
                });
            }
            Body::MsgResendReq(ids) => {
                let known = ids.iter().filter(|id| self.state.unacked.contains_key(id));
                self.events.extend(known.map(|id| Event::SendAgain(*id)));
            }
            Body::RpcDropAnswer { .. } => {
                // Every call is answered as soon as it is read, so there is none to be dropped.
                let unknown = 0x5e2a_d36e_u32.to_le_bytes();
                self.answer(&Body::RpcResult {
                    req_msg_id: msg_id,
                    result: &unknown,
                });
            }
            Body::DestroySession { session_id } => self.events.push(Event::Destroy(*session_id)),
            // Acknowledgements of states and what only servers say: nothing to do.
            _ => {}
        }
    }

    /// One byte of `msgs_state_info`: 4 for received, 1 for unknown.
    fn state_of(&self, id: MsgId) -> u8 {
        match self.state.received.freshness(id) {
            Freshness::Duplicate => 4,
            Freshness::New | Freshness::TooOld => 1,
        }
    }

    /// A message that came before: its answer is sent again if there is one, else it is
    /// acknowledged again.
    fn duplicate(&mut self, message: &Message<'_>) {
        let mut unacked = self.state.unacked.iter();
        let answer = unacked.find(|(_, unacked)| unacked.payload.answers() == Some(message.msg_id));
        match answer {
            Some((id, _)) => self.events.push(Event::SendAgain(*id)),
            None => self.answer(&Body::MsgsAck(vec![message.msg_id])),
        }
    }

    fn refuse(&mut self, message: &Message<'_>, code: BadMsgCode) {
        tracing::debug!(
            ?code,
            msg_id = message.msg_id.0,
            seq_no = message.seq_no,
            "message refused"
        );
        self.count(code);
        self.answer(&Body::BadMsg {
            bad_msg_id: message.msg_id,
            bad_seq_no: message.seq_no,
            code,
        });
    }

    fn count(&mut self, code: BadMsgCode) {
        *self.state.refused.entry(code.code()).or_default() += 1;
    }

    fn refuse_salt(&mut self, message: &Message<'_>) {
        self.count(BadMsgCode::Salt);
        self.answer(&Body::BadServerSalt {
            bad_msg_id: message.msg_id,
            bad_seq_no: message.seq_no,
            code: BadMsgCode::Salt,
            salt: self.judge.salts.current(self.judge.now),
        });
    }

    fn answer(&mut self, body: &Body<'_>) {
        self.send(IdKind::Answer, Content::Unrelated, body);
    }

    fn send(&mut self, kind: IdKind, content: Content, body: &Body<'_>) {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        self.events.push(Event::Send {
            kind,
            content,
            payload: Payload::Bytes(bytes.into()),
        });
    }
}

/// Calls ask for acknowledgement, acknowledgements never do; of the rest clients differ.
const fn check_parity(body: &Body<'_>, seq_no: i32) -> Result<(), BadMsgCode> {
    match body {
        Body::Api(_) if !wants_ack(seq_no) => Err(BadMsgCode::SeqNotOdd),
        Body::MsgsAck(_) | Body::HttpWait { .. } if wants_ack(seq_no) => {
            Err(BadMsgCode::SeqNotEven)
        }
        _ => Ok(()),
    }
}

/// All sessions of all keys.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: Mutex<HashMap<(DcId, KeyId, i64), Arc<Session>>>,
}

impl Sessions {
    /// The session of this name, new if need be.
    pub(super) fn get(&self, dc: DcId, key: KeyId, id: i64) -> Arc<Session> {
        let mut sessions = self.lock();
        if sessions.len() >= MANY_SESSIONS {
            sessions.retain(|_, session| session.state().used.elapsed() < IDLE_FOR);
        }
        let session = sessions.entry((dc, key, id));
        Arc::clone(session.or_insert_with(|| Arc::new(Session::new(id))))
    }

    /// Forgets a session with all that was to be sent in it, and begins it anew.
    pub(super) fn lose(&self, dc: DcId, key: KeyId, id: i64) -> Arc<Session> {
        let removed = self.lock().remove(&(dc, key, id));
        if let Some(session) = removed {
            session.state().lost = true;
        }
        self.get(dc, key, id)
    }

    /// Forgets a session; whether there was one.
    pub(super) fn remove(&self, dc: DcId, key: KeyId, id: i64) -> bool {
        self.lock().remove(&(dc, key, id)).is_some()
    }

    /// How the clients of all sessions keep to the protocol.
    pub(super) fn report(&self) -> Vec<SessionTraffic> {
        let sessions = self.lock();
        let mut report: Vec<_> = sessions
            .iter()
            .map(|((dc, _, session_id), session)| {
                let state = session.state();
                SessionTraffic {
                    dc: *dc,
                    session_id: *session_id,
                    unacknowledged: state.unacked.len(),
                    refused: state.refused.clone(),
                }
            })
            .collect();
        report.sort_by_key(|one| (one.dc, one.session_id));
        report
    }

    /// Counts refusals from nothing again.
    pub(super) fn reset_counts(&self) {
        for session in self.lock().values() {
            session.state().refused.clear();
        }
    }

    /// Forgets all sessions, as a server does that is started anew.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(DcId, KeyId, i64), Arc<Session>>> {
        self.sessions
            .lock()
            .expect("looking up sessions does not panic")
    }
}

#[cfg(test)]
mod tests {
    use mtproto::AuthKey;

    use super::*;

    const NOW: Duration = Duration::new(1_800_000_000, 0);
    const HERE: ConnectionId = ConnectionId(1);

    /// A client's messages against one session.
    struct Bench {
        key: AuthKey,
        session: Session,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                key: AuthKey::new([3; 256]),
                session: Session::new(7),
            }
        }

        fn salts(&self) -> Salts<'_> {
            Salts::new(&self.key, 0)
        }

        fn send_with_salt(&self, salt: i64, id: i64, seq_no: i32, body: &Body<'_>) -> Vec<Event> {
            let mut bytes = Vec::new();
            body.write(&mut bytes);
            let header = Header {
                salt,
                session_id: 7,
                msg_id: at(id),
                seq_no,
            };
            let judge = Judge {
                now: NOW,
                salts: self.salts(),
            };
            self.session.accept(&header, &bytes, &judge)
        }

        fn send(&self, id: i64, seq_no: i32, body: &Body<'_>) -> Vec<Event> {
            self.send_with_salt(self.salts().current(NOW), id, seq_no, body)
        }

        /// With the greeting out of the way.
        fn greeted() -> Self {
            let bench = Self::new();
            bench.send(-4000, 0, &Body::Ping { ping_id: 1 });
            bench
        }

        fn result(&self, req_msg_id: MsgId) -> MsgId {
            let body = Body::RpcResult {
                req_msg_id,
                result: b"done",
            };
            let mut bytes = Vec::new();
            body.write(&mut bytes);
            let payload = Payload::Bytes(bytes.into());
            self.session
                .number(IdKind::Answer, Content::Related, payload, NOW, HERE)
                .msg_id
        }
    }

    fn at(offset: i64) -> MsgId {
        MsgId((1_800_000_000 << 32) + offset)
    }

    fn call() -> Body<'static> {
        Body::Api(b"\x6b\x18\xf9\xc4")
    }

    /// The bodies a session sends by itself.
    fn sent(events: &[Event]) -> Vec<Vec<u8>> {
        events
            .iter()
            .filter_map(|event| match event {
                Event::Send {
                    payload: Payload::Bytes(bytes),
                    ..
                } => Some(bytes.to_vec()),
                _ => None,
            })
            .collect()
    }

    fn refused_with(events: &[Event]) -> Option<i32> {
        sent(events)
            .iter()
            .find_map(|bytes| match Body::parse(bytes) {
                Ok(Body::BadMsg { code, .. } | Body::BadServerSalt { code, .. }) => {
                    Some(code.code())
                }
                _ => None,
            })
    }

    fn calls(events: &[Event]) -> usize {
        events
            .iter()
            .filter(|event| matches!(event, Event::Call { .. }))
            .count()
    }

    #[test]
    fn a_new_session_is_announced_once() {
        let bench = Bench::new();
        let first = bench.send(4, 1, &call());
        let announced = sent(&first);
        assert!(matches!(
            Body::parse(&announced[0]),
            Ok(Body::NewSession { first_msg_id, .. }) if first_msg_id == at(4)
        ));
        assert_eq!(calls(&first), 1);
        assert!(sent(&bench.send(8, 3, &call())).is_empty());
    }

    #[test]
    fn a_wrong_salt_is_answered_with_the_right_one_and_nothing_is_done() {
        let bench = Bench::new();
        let events = bench.send_with_salt(5, 4, 1, &call());
        assert_eq!(refused_with(&events), Some(48));
        assert_eq!(calls(&events), 0);
        assert_eq!(
            calls(&bench.send(4, 1, &call())),
            1,
            "the same message with the right salt"
        );
    }

    #[test]
    fn wrong_messages_are_refused_with_their_codes() {
        let minute = 60_i64 << 32;
        let ack = Body::MsgsAck(vec![at(1)]);
        for (id, seq_no, body, code) in [
            (6, 1, call(), 18),
            (-6 * minute, 1, call(), 16),
            (minute, 1, call(), 17),
            (8, 2, call(), 35),
            (8, 1, ack, 34),
        ] {
            let bench = Bench::greeted();
            let events = bench.send(id, seq_no, &body);
            assert_eq!(refused_with(&events), Some(code), "{id} {seq_no} {body:?}");
            assert_eq!(calls(&events), 0);
        }
    }

    #[test]
    fn sequence_numbers_out_of_order_are_refused() {
        let bench = Bench::greeted();
        assert_eq!(calls(&bench.send(400, 5, &call())), 1);
        assert_eq!(refused_with(&bench.send(800, 5, &call())), Some(32));
        assert_eq!(refused_with(&bench.send(200, 7, &call())), Some(33));
        assert_eq!(calls(&bench.send(200, 3, &call())), 1);
    }

    #[test]
    fn a_repeated_call_is_not_made_twice_but_answered_again() {
        let bench = Bench::greeted();
        assert_eq!(calls(&bench.send(4, 1, &call())), 1);
        let answer = bench.result(at(4));
        let again = bench.send(4, 1, &call());
        assert!(matches!(again[..], [Event::SendAgain(id)] if id == answer));

        bench.send(8, 2, &Body::MsgsAck(vec![answer]));
        let after = sent(&bench.send(4, 1, &call()));
        assert_eq!(Body::parse(&after[0]), Ok(Body::MsgsAck(vec![at(4)])));
    }

    #[test]
    fn what_was_not_acknowledged_is_left_for_the_next_connection() {
        let bench = Bench::greeted();
        bench.send(4, 1, &call());
        let answer = bench.result(at(4));
        assert!(bench.session.left_over(HERE).is_empty());
        let there = ConnectionId(2);
        assert_eq!(bench.session.left_over(there), [answer]);
        let again = bench
            .session
            .again(answer, there)
            .expect("not acknowledged");
        assert_eq!((again.msg_id, again.seq_no), (answer, 1));
        assert!(bench.session.left_over(there).is_empty());
        bench.send(8, 2, &Body::MsgsAck(vec![answer]));
        assert!(bench.session.again(answer, there).is_none());
    }

    #[test]
    fn a_container_is_unpacked_and_judged_itself() {
        let bench = Bench::greeted();
        let bytes = b"\x6b\x18\xf9\xc4";
        let inner = |id, seq_no| Message {
            msg_id: at(id),
            seq_no,
            body: bytes,
        };
        let two = Body::Container(vec![inner(4, 1), inner(8, 3)]);
        assert_eq!(calls(&bench.send(12, 4, &two)), 2);
        assert_eq!(refused_with(&bench.send(12, 4, &two)), Some(19));
        let odd = Body::Container(vec![inner(16, 5)]);
        assert_eq!(refused_with(&bench.send(20, 5, &odd)), Some(34));
        let late = Body::Container(vec![inner(40, 5)]);
        assert_eq!(refused_with(&bench.send(24, 6, &late)), Some(64));
    }

    #[test]
    fn a_packed_call_is_a_call_and_a_bomb_is_refused() {
        let bench = Bench::greeted();
        let packed = gzip::pack(b"\x6b\x18\xf9\xc4");
        let events = bench.send(4, 1, &Body::GzipPacked(&packed));
        assert!(matches!(&events[..], [Event::Call { query, .. }] if query == b"\x6b\x18\xf9\xc4"));
        let bomb = gzip::pack(&vec![0; UNPACK_LIMIT + 1]);
        assert_eq!(
            refused_with(&bench.send(8, 3, &Body::GzipPacked(&bomb))),
            Some(64)
        );
    }

    #[test]
    fn pings_and_questions_are_answered() {
        let bench = Bench::greeted();
        let ping = Body::PingDelayDisconnect {
            ping_id: 9,
            delay: 75,
        };
        let events = bench.send(4, 0, &ping);
        assert_eq!(
            Body::parse(&sent(&events)[0]),
            Ok(Body::Pong {
                msg_id: at(4),
                ping_id: 9
            })
        );
        assert!(matches!(events[1], Event::CloseAfter(delay) if delay.as_secs() == 75));

        let salts = sent(&bench.send(8, 1, &Body::GetFutureSalts { num: 500 }));
        let Ok(Body::FutureSalts { salts, .. }) = Body::parse(&salts[0]) else {
            panic!("salts");
        };
        assert_eq!(salts.len(), 64);
        assert_eq!(salts[0].salt, bench.salts().current(NOW));

        let states = sent(&bench.send(12, 3, &Body::MsgsStateReq(vec![at(4), at(5)])));
        let Ok(Body::MsgsStateInfo { info, .. }) = Body::parse(&states[0]) else {
            panic!("states");
        };
        assert_eq!(info, [4, 1]);
    }
}
