//! One TCP connection of a client: bytes in, answers out.
//!
//! Reading and writing are two loops of one task. What is to be written waits in a bounded queue
//! until its time comes; a piece of a file is read, sealed and framed only when it is its turn,
//! in the one buffer the connection has, so memory does not grow with what is asked for.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use bytes::{Buf, Bytes, BytesMut};
use mtproto::envelope::{self, BODY_AT, packet_len};
use mtproto::session::Content;
use mtproto::transport::{Detected, FrameError, MAX_HEAD, SERVER_FRAME_LIMIT};
use mtproto::{
    Body, Decoder, Encoder, Envelope, Header, IdKind, Message, MsgId, Side, Step, Transport,
    TransportCode,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::faults::Effect;
use super::ids::Door;
use super::keys::Key;
use super::link::{Link, LinkError};
use super::methods::{self, Call};
use super::rpc::{Answer, Payload, RpcError};
use super::session::{ConnectionId, Event, Judge, Numbered, Session};
use super::traffic::{Entry, Served};
use super::world::{Centre, World};

/// How many answers may wait to be written.
const QUEUE: usize = 1024;

/// A connection that says nothing for this long is closed, unless a ping asked for another time.
const IDLE: Duration = Duration::from_mins(15);

/// Answers up to this size travel together in a container, in bytes.
const SMALL: usize = 4096;

/// How many answers a container holds at most.
const MAX_TOGETHER: usize = 64;

/// The most random blocks of padding beyond the least, so that packets vary in length.
const EXTRA_BLOCKS: u8 = 62;

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
}

/// Something the writing side is to do, and not before when.
struct Order {
    due: Instant,
    /// Orders of the same time are carried out as they were given.
    number: u64,
    what: What,
}

enum What {
    /// Send a message.
    Send(Outgoing),
    /// Refuse the connection; nothing comes after.
    Refuse(TransportCode),
}

/// A message to be sent.
struct Outgoing {
    key: Arc<Key>,
    session: Arc<Session>,
    which: Which,
}

enum Which {
    /// A new one.
    New {
        kind: IdKind,
        content: Content,
        payload: Payload,
    },
    /// An earlier one, if it still waits to be acknowledged.
    Again(MsgId),
}

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
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
    };
    let writer = Writer {
        link: Link::new(write),
        encoder: Encoder::new(transport),
        place,
        entry,
        queue,
        waiting: BinaryHeap::new(),
        buffer: Vec::new(),
    };
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
        let session = world
            .sessions
            .get(dc, key.shared.id(), opened.header.session_id);
        let judge = Judge {
            now: world.now(),
            salts: world.salts(&key.shared),
        };
        let events = session.accept(&opened.header, &packet[opened.body], &judge);
        for event in events {
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
            Event::Call { msg_id, query } => return self.call(key, session, msg_id, query).await,
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
        msg_id: MsgId,
        query: Vec<u8>,
    ) -> bool {
        let method = methods::name_of(&query);
        self.entry.called(method);
        let verdict = self.place.world.faults.judge(method, key.dc);
        let answered = match verdict.effect {
            None => self.answer(key, session, query),
            Some(Effect::Error { code, message }) => Err(RpcError {
                code,
                message: message.into(),
            }),
            Some(Effect::Refuse { code }) => {
                self.order(What::Refuse(TransportCode(code)), verdict.delay)
                    .await;
                return false;
            }
            Some(Effect::Close) => return false,
            Some(Effect::Lose | Effect::Delay { .. }) => {
                // The call is made, its answer never numbered: nobody will send it again.
                let _ = self.answer(key, session, query);
                return true;
            }
        };
        tracing::debug!(method, dc = key.dc.0, error = ?answered.as_ref().err(), "called");
        let which = Which::New {
            kind: IdKind::Answer,
            content: Content::Related,
            payload: Payload::result(msg_id, answered),
        };
        self.send(key, session, which, verdict.delay).await;
        true
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
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        Which::New {
            kind: IdKind::Answer,
            content: Content::Unrelated,
            payload: Payload::Bytes(bytes.into()),
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

/// Writes what was ordered when it is due.
struct Writer {
    link: Link,
    encoder: Encoder,
    place: Place,
    entry: Arc<Entry>,
    queue: mpsc::Receiver<Order>,
    waiting: BinaryHeap<Reverse<Order>>,
    buffer: Vec<u8>,
}

impl Writer {
    async fn run(mut self) -> Result<(), Ended> {
        while let Some(order) = self.next().await {
            let outgoing = match order.what {
                What::Send(outgoing) => outgoing,
                What::Refuse(code) => {
                    self.buffer = self.encoder.code(code);
                    self.flush(0, &[]).await?;
                    return Err(Ended::Refused(code));
                }
            };
            let session = Arc::clone(&outgoing.session);
            let key = Arc::clone(&outgoing.key);
            let mut messages: Vec<Numbered> = self.number(outgoing).into_iter().collect();
            if messages.first().is_some_and(is_small) {
                self.gather(&session, &mut messages);
            }
            if messages.is_empty() {
                continue;
            }
            let start = self.seal(&key, &session, &messages)?;
            let pieces: Vec<Served> = messages
                .iter()
                .filter_map(|message| message.payload.served())
                .collect();
            self.flush(start, &pieces).await?;
        }
        Ok(())
    }

    /// The next order, once it is due; `None` when there will be no more.
    async fn next(&mut self) -> Option<Order> {
        loop {
            self.take_in();
            let Some(Reverse(first)) = self.waiting.peek() else {
                let order = self.queue.recv().await?;
                self.waiting.push(Reverse(order));
                continue;
            };
            let due = first.due;
            if due <= Instant::now() {
                return self.waiting.pop().map(|Reverse(order)| order);
            }
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                order = self.queue.recv(), if self.waiting.len() < QUEUE && !self.queue.is_closed() => {
                    self.waiting.extend(order.map(Reverse));
                }
            }
        }
    }

    fn take_in(&mut self) {
        while self.waiting.len() < QUEUE
            && let Ok(order) = self.queue.try_recv()
        {
            self.waiting.push(Reverse(order));
        }
    }

    /// Adds further small messages of the same session that are due, for one container.
    fn gather(&mut self, session: &Arc<Session>, messages: &mut Vec<Numbered>) {
        let now = Instant::now();
        while messages.len() < MAX_TOGETHER {
            let fits = self.waiting.peek().is_some_and(|Reverse(order)| {
                order.due <= now
                    && matches!(&order.what, What::Send(outgoing)
                        if Arc::ptr_eq(&outgoing.session, session) && outgoing.is_small())
            });
            if !fits {
                return;
            }
            if let Some(Reverse(order)) = self.waiting.pop()
                && let What::Send(outgoing) = order.what
            {
                messages.extend(self.number(outgoing));
            }
        }
    }

    fn number(&self, outgoing: Outgoing) -> Option<Numbered> {
        let here = self.place.id;
        match outgoing.which {
            Which::Again(id) => outgoing.session.again(id, here),
            Which::New {
                kind,
                content,
                payload,
            } => {
                let now = self.place.world.now();
                let session = outgoing.session;
                Some(session.number(kind, content, payload, now, here))
            }
        }
    }

    /// Puts a frame into the buffer and says where it begins.
    fn seal(
        &mut self,
        key: &Key,
        session: &Session,
        messages: &[Numbered],
    ) -> Result<usize, Ended> {
        let buffer = &mut self.buffer;
        let now = self.place.world.now();
        buffer.clear();
        buffer.resize(MAX_HEAD + BODY_AT, 0);
        let (msg_id, seq_no) = match messages {
            [alone] => {
                alone.payload.write(buffer).map_err(Ended::Content)?;
                (alone.msg_id, alone.seq_no)
            }
            several => {
                write_container(several, buffer).map_err(Ended::Content)?;
                let nothing = Payload::Bytes(Bytes::new());
                let here = self.place.id;
                let own = session.number(IdKind::Notice, Content::Unrelated, nothing, now, here);
                (own.msg_id, own.seq_no)
            }
        };
        let header = Header {
            salt: self.place.world.salts(&key.shared).current(now),
            session_id: session.id,
            msg_id,
            seq_no,
        };
        let body = buffer.len() - MAX_HEAD - BODY_AT;
        pad(buffer, body);
        Envelope::new(&key.shared, Side::Server)
            .seal(&header, body, &mut buffer[MAX_HEAD..])
            .expect("the packet was made to fit its body");
        Ok(self.encoder.frame(buffer, MAX_HEAD)?)
    }

    async fn flush(&mut self, start: usize, pieces: &[Served]) -> Result<(), Ended> {
        let rate = self.place.world.faults.rate();
        let frame = &self.buffer[start..];
        self.link.send(frame, rate).await?;
        self.entry.sent(frame.len(), pieces);
        Ok(())
    }
}

impl Outgoing {
    fn is_small(&self) -> bool {
        match &self.which {
            Which::New { payload, .. } => payload.small().is_some(),
            Which::Again(_) => false,
        }
    }
}

fn is_small(message: &Numbered) -> bool {
    message.payload.small().is_some()
}

impl Payload {
    /// A body that may share a container.
    fn small(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) if bytes.len() <= SMALL => Some(bytes),
            _ => None,
        }
    }
}

fn write_container(messages: &[Numbered], out: &mut Vec<u8>) -> io::Result<()> {
    let mut bodies = Vec::with_capacity(messages.len());
    for message in messages {
        let mut body = Vec::new();
        message.payload.write(&mut body)?;
        bodies.push(body);
    }
    let messages = messages.iter().zip(&bodies).map(|(message, body)| Message {
        msg_id: message.msg_id,
        seq_no: message.seq_no,
        body,
    });
    Body::Container(messages.collect()).write(out);
    Ok(())
}

/// Appends random padding, the least plus a random number of blocks.
fn pad(buffer: &mut Vec<u8>, body: usize) {
    let mut extra = [0];
    rand::fill(&mut extra).expect("the system has random numbers");
    let extra = usize::from(extra[0] % (EXTRA_BLOCKS + 1));
    let at = buffer.len();
    buffer.resize(MAX_HEAD + packet_len(body, extra), 0);
    rand::fill(&mut buffer[at..]).expect("the system has random numbers");
}
