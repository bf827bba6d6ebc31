//! One TCP connection of a client: bytes in, answers out.
//!
//! Reading and writing are two loops of one task. Here is the one that reads, opens and judges;
//! what is to be written waits in a bounded queue for the other one, in `writer`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use mtproto::envelope;
use mtproto::session::Content;
use mtproto::transport::{Detected, FrameError, SERVER_FRAME_LIMIT};
use mtproto::{
    BadMsgCode, Body, Decoder, Envelope, IdKind, MsgId, Side, Step, Transport, TransportCode,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::faults::{Effect, KeySharing, Manner};
use super::ids::Door;
use super::keys::{Key, KeyUse};
use super::link::{Link, LinkError};
use super::methods::{self, Call};
use super::rpc::{Answer, Payload, RpcError};
use super::session::{ConnectionId, Event, Judge, Session};
use super::spoil;
use super::traffic::Entry;
use super::world::{Centre, World};
use super::writer::{Order, Outgoing, QUEUE, What, Which, Writer};

/// A connection that says nothing for this long is closed, unless a ping asked for another time.
const IDLE: Duration = Duration::from_mins(15);

/// Why a connection ended other than by the client's closing it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the socket failed")]
    Socket(#[from] io::Error),
    #[error("the client's frames make no sense")]
    Frame(#[from] FrameError),
    #[error("a packet could not be opened")]
    Packet(#[from] envelope::OpenError),
    #[error("the client was silent for too long")]
    Silent,
    #[error("nothing more can be sent")]
    Link(#[from] LinkError),
    #[error("a file's content cannot be read")]
    Content(#[source] io::Error),
    #[error("it was refused with {0}")]
    Refused(TransportCode),
    #[error("it was cut on demand")]
    Cut,
}

/// Where a connection belongs.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) world: Arc<World>,
    pub(super) centre: Centre,
    pub(super) door: Door,
    pub(super) id: ConnectionId,
}

/// Serves a connection until it ends.
pub(super) async fn serve(stream: TcpStream, place: Place) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let mut input = Input {
        read,
        buffer: BytesMut::with_capacity(16 << 10),
        heard: Instant::now(),
        close_at: None,
    };
    let Some(transport) = input.detect().await? else {
        return Ok(());
    };
    tracing::debug!(?transport, dc = place.centre.id.0, door = ?place.door, "connected");
    let traffic = &place.world.traffic;
    let entry = Arc::new(traffic.open(place.id, place.centre.id, place.door));
    let (orders, queue) = mpsc::channel(QUEUE);
    let reader = Reader {
        input,
        decoder: Decoder::new(transport, Side::Client, SERVER_FRAME_LIMIT),
        place: place.clone(),
        entry: Arc::clone(&entry),
        orders,
        given: 0,
        attached: None,
        uses: Vec::new(),
    };
    let writer = Writer::new(Link::new(write), transport, place, entry, queue);
    // The reader's end closes the queue, so that the writer still writes what is in it.
    let (read, written) = (reader.run(), writer.run());
    tokio::pin!(read, written);
    tokio::select! {
        ended = &mut read => ended.and(written.await),
        ended = &mut written => ended,
    }
}

/// The bytes that have arrived.
struct Input {
    read: OwnedReadHalf,
    buffer: BytesMut,
    heard: Instant,
    /// When the client itself wants to be given up.
    close_at: Option<Instant>,
}

impl Input {
    /// Reads until there are `need` bytes; `false` if the client closes before.
    async fn fill(&mut self, need: usize) -> Result<bool, Ended> {
        while self.buffer.len() < need {
            self.buffer.reserve(need - self.buffer.len());
            let deadline = self.close_at.unwrap_or(self.heard + IDLE);
            let left = deadline.saturating_duration_since(Instant::now());
            let read = timeout(left, self.read.read_buf(&mut self.buffer)).await;
            if read.map_err(|_| Ended::Silent)?? == 0 {
                return Ok(false);
            }
            self.heard = Instant::now();
        }
        Ok(true)
    }

    /// Learns which transport the client speaks; `None` if it closes before it said so.
    async fn detect(&mut self) -> Result<Option<Transport>, Ended> {
        loop {
            if !self.fill(self.buffer.len() + 1).await? {
                return Ok(None);
            }
            if let Detected::Is(transport) = Transport::detect(&self.buffer)? {
                self.buffer.advance(transport.opening().len());
                return Ok(Some(transport));
            }
        }
    }
}

/// Reads, opens and judges what the client sends, and gives the orders that follow.
struct Reader {
    input: Input,
    decoder: Decoder,
    place: Place,
    entry: Arc<Entry>,
    orders: mpsc::Sender<Order>,
    given: u64,
    /// The session whose left-over messages were sent on this connection already.
    attached: Option<i64>,
    /// The keys it uses, if it is one on which that is watched.
    uses: Vec<KeyUse>,
}

impl Reader {
    async fn run(mut self) -> Result<(), Ended> {
        loop {
            let consumed = match self.decoder.poll(&self.input.buffer)? {
                Step::Need(need) => {
                    if self.input.fill(need).await? {
                        continue;
                    }
                    return Ok(());
                }
                Step::Packet { payload, consumed } => {
                    let mut frame = self.input.buffer.split_to(consumed);
                    if !self.packet(&mut frame[payload]).await? {
                        return Ok(());
                    }
                    continue;
                }
                Step::Code { consumed, .. } | Step::Noop { consumed } => consumed,
            };
            self.input.buffer.advance(consumed);
        }
    }

    /// Deals with a packet; `false` if the connection is refused.
    async fn packet(&mut self, packet: &mut [u8]) -> Result<bool, Ended> {
        let world = Arc::clone(&self.place.world);
        let dc = self.place.centre.id;
        let key = envelope::key_id(packet).and_then(|id| world.keys.get(dc, id));
        let Some(key) = key else {
            let refusal = What::Refuse(TransportCode::UNKNOWN_KEY);
            self.order(refusal, Duration::ZERO).await;
            return Ok(false);
        };
        let opened = Envelope::new(&key.shared, Side::Client).open(packet)?;
        self.note_use(&key);
        let session_id = opened.header.session_id;
        let mut session = world.sessions.get(dc, key.shared.id(), session_id);
        let judge = Judge {
            now: world.now(),
            salts: world.salts(&key.shared),
        };
        let events = session.accept(&opened.header, &packet[opened.body], &judge);
        for event in events {
            if session.is_lost() {
                session = world.sessions.get(dc, key.shared.id(), session_id);
            }
            if !self.event(&key, &session, event).await {
                return Ok(false);
            }
        }
        if self.attached != Some(session.id) {
            self.attached = Some(session.id);
            for left in session.left_over(self.place.id) {
                self.send(&key, &session, Which::Again(left), Duration::ZERO)
                    .await;
            }
        }
        Ok(true)
    }

    /// Main doors watch whether a key is used on two connections at once.
    fn note_use(&mut self, key: &Arc<Key>) {
        if self.place.door == Door::Media {
            return;
        }
        if !self.uses.iter().any(|using| using.is_of(key)) {
            self.uses.push(key.begin(self.place.id));
        }
        for using in self.uses.iter().filter(|using| using.is_of(key)) {
            using.packet();
        }
    }

    /// Does what a message asks for; `false` if the connection is to be closed instead.
    async fn event(&mut self, key: &Arc<Key>, session: &Arc<Session>, event: Event) -> bool {
        let which = match event {
            Event::Send {
                kind,
                content,
                payload,
            } => Which::New {
                kind,
                content,
                payload,
            },
            Event::SendAgain(id) => Which::Again(id),
            Event::Call {
                msg_id,
                seq_no,
                query,
            } => return self.call(key, session, (msg_id, seq_no), query).await,
            Event::Destroy(session_id) => self.destroy(key, session_id),
            Event::CloseAfter(delay) => {
                self.input.close_at = Some(Instant::now() + delay);
                return true;
            }
        };
        self.send(key, session, which, Duration::ZERO).await;
        true
    }

    /// Makes a call, unless the faults in force have something else in mind.
    async fn call(
        &mut self,
        key: &Arc<Key>,
        session: &Arc<Session>,
        (msg_id, seq_no): (MsgId, i32),
        query: Vec<u8>,
    ) -> bool {
        let world = Arc::clone(&self.place.world);
        let method = methods::name_of(&query);
        self.entry.called(method);
        let verdict = world.faults.judge(method, key.dc, self.place.door);
        let mut session = Arc::clone(session);
        let answered = match verdict.effect {
            _ if self.is_dead(key) => Err(RpcError::DUPLICATED),
            None => self.answer(key, &session, query),
            Some(Effect::Error { code, message }) => Err(RpcError {
                code,
                message: message.into(),
            }),
            Some(Effect::Refuse { code }) => {
                self.order(What::Refuse(TransportCode(code)), verdict.delay)
                    .await;
                return false;
            }
            Some(Effect::BadMessage { code }) => {
                let which = refusal(msg_id, seq_no, BadMsgCode::from_code(code));
                self.send(key, &session, which, verdict.delay).await;
                return true;
            }
            Some(Effect::Close) => return false,
            Some(Effect::Lose) => {
                // The call is made, its answer never numbered: nobody will send it again.
                let _ = self.answer(key, &session, query);
                return true;
            }
            Some(Effect::RotateSalts) => {
                world.rotate_salts();
                self.answer(key, &session, query)
            }
            Some(Effect::LoseSession) => {
                session = self.lose(key, &session, (msg_id, seq_no)).await;
                self.answer(key, &session, query)
            }
            Some(spoilt) => self
                .answer(key, &session, query)
                .map(|answer| spoil::answer(answer, &spoilt)),
        };
        tracing::debug!(method, dc = key.dc.0, error = ?answered.as_ref().err(), "called");
        let which = Which::New {
            kind: IdKind::Answer,
            content: Content::Related,
            payload: Payload::result(msg_id, answered),
        };
        let outgoing = Outgoing {
            key: Arc::clone(key),
            session,
            which,
            manner: verdict.manner,
        };
        self.order(What::Send(outgoing), verdict.delay).await;
        true
    }

    /// Whether the key was used on two connections at once, and that is not allowed.
    fn is_dead(&self, key: &Key) -> bool {
        self.place.world.faults.key_sharing() == KeySharing::Punish && key.is_duplicated()
    }

    /// Loses a session; the call at hand is the first one of a new session of the same name.
    async fn lose(
        &mut self,
        key: &Arc<Key>,
        session: &Session,
        (msg_id, seq_no): (MsgId, i32),
    ) -> Arc<Session> {
        let world = Arc::clone(&self.place.world);
        let anew = world.sessions.lose(key.dc, key.shared.id(), session.id);
        let judge = Judge {
            now: world.now(),
            salts: world.salts(&key.shared),
        };
        for event in anew.adopt(msg_id, seq_no, &judge) {
            if let Event::Send {
                kind,
                content,
                payload,
            } = event
            {
                let which = Which::New {
                    kind,
                    content,
                    payload,
                };
                self.send(key, &anew, which, Duration::ZERO).await;
            }
        }
        anew
    }

    fn answer(&self, key: &Key, session: &Session, query: Vec<u8>) -> Result<Answer, RpcError> {
        let call = Call {
            world: &self.place.world,
            centre: self.place.centre,
            door: self.place.door,
            key,
            session,
        };
        methods::answer(&call, query)
    }

    fn destroy(&self, key: &Key, session_id: i64) -> Which {
        let sessions = &self.place.world.sessions;
        let body = if sessions.remove(key.dc, key.shared.id(), session_id) {
            Body::DestroySessionOk { session_id }
        } else {
            Body::DestroySessionNone { session_id }
        };
        Which::New {
            kind: IdKind::Answer,
            content: Content::Unrelated,
            payload: Payload::of(&body),
        }
    }

    async fn send(
        &mut self,
        key: &Arc<Key>,
        session: &Arc<Session>,
        which: Which,
        delay: Duration,
    ) {
        let outgoing = Outgoing {
            key: Arc::clone(key),
            session: Arc::clone(session),
            which,
            manner: Manner::default(),
        };
        self.order(What::Send(outgoing), delay).await;
    }

    async fn order(&mut self, what: What, delay: Duration) {
        self.given += 1;
        let order = Order {
            due: Instant::now() + delay + self.place.world.faults.latency(),
            number: self.given,
            what,
        };
        // The writer is gone only when the connection is; then nobody waits for this.
        let _ = self.orders.send(order).await;
    }
}

/// That a message is refused by the protocol itself.
fn refusal(bad_msg_id: MsgId, bad_seq_no: i32, code: BadMsgCode) -> Which {
    let body = Body::BadMsg {
        bad_msg_id,
        bad_seq_no,
        code,
    };
    Which::New {
        kind: IdKind::Answer,
        content: Content::Unrelated,
        payload: Payload::of(&body),
    }
}
