//! The writing half of a connection: what was ordered, when it is due, in the manner asked for.
//!
//! A piece of a file is read, sealed and framed only when it is its turn, with at most a handful
//! of others, so memory does not grow with what is asked for. A plain answer goes straight
//! through [`Writer::write`]; one that is to come in a [`Manner`] of its own takes
//! [`Writer::write_in_manner`], which nothing else does.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use mtproto::envelope::{BODY_AT, INNER, MAX_PADDING, MIN_PADDING, OUTER, packet_len};
use mtproto::ige::{self, IgeKey, Job, MAX_LANES};
use mtproto::message::{MAX_CONTAINER, MESSAGE_HEAD};
use mtproto::session::Content;
use mtproto::transport::MAX_HEAD;
use mtproto::{
    Body, Encoder, Envelope, Header, IdKind, Message, MsgId, Side, Transport, TransportCode,
};
use tokio::sync::mpsc;

use super::connection::{Ended, Place};
use super::faults::{Breakage, Companion, Forgery, Manner};
use super::forge;
use super::keys::Key;
use super::link::Link;
use super::rpc::Payload;
use super::session::{Numbered, Session};
use super::spoil::{self, Occasion};
use super::traffic::{Entry, Served};

/// How many answers may wait to be written.
pub(super) const QUEUE: usize = 1024;

/// Answers up to this size travel together in a container, in bytes.
const SMALL: usize = 8192;

/// How many answers a container holds at most.
const MAX_TOGETHER: usize = 64;

/// The most random blocks of padding beyond the least, so that packets vary in length.
const EXTRA_BLOCKS: u8 = 62;

/// What is held back until later packets are sent is held back for no longer than this.
const HELD_FOR: Duration = Duration::from_secs(1);

/// Something the writing side is to do, and not before when.
pub(super) struct Order {
    pub(super) due: Instant,
    /// Orders of the same time are carried out as they were given.
    pub(super) number: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// Send a message.
    Send(Outgoing),
    /// Refuse the connection; nothing comes after.
    Refuse(TransportCode),
    /// Let go of what is held back since the order of this number.
    LetGo(u64),
}

/// A message to be sent.
pub(super) struct Outgoing {
    pub(super) key: Arc<Key>,
    pub(super) session: Arc<Session>,
    pub(super) which: Which,
    pub(super) manner: Manner,
}

pub(super) enum Which {
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

/// An answer that waits until so many packets are sent.
struct Held {
    packets: u32,
    due: Instant,
    number: u64,
    outgoing: Outgoing,
}

/// Writes what was ordered when it is due.
pub(super) struct Writer {
    link: Link,
    transport: Transport,
    encoder: Encoder,
    place: Place,
    entry: Arc<Entry>,
    queue: mpsc::Receiver<Order>,
    waiting: BinaryHeap<Reverse<Order>>,
    held: Vec<Held>,
    /// Nothing is sent any more, on demand.
    stalled: bool,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

/// A packet in a buffer, behind room for the largest head, to be encrypted by this key.
struct Laid {
    buffer: Vec<u8>,
    key: IgeKey,
}

/// What is sent at one go: a buffer, from here on.
struct Frame {
    buffer: Vec<u8>,
    start: usize,
}

impl Frame {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Writer {
    pub(super) fn new(
        link: Link,
        transport: Transport,
        place: Place,
        entry: Arc<Entry>,
        queue: mpsc::Receiver<Order>,
    ) -> Self {
        Self {
            link,
            transport,
            encoder: Encoder::new(transport),
            place,
            entry,
            queue,
            waiting: BinaryHeap::new(),
            held: Vec::new(),
            stalled: false,
            spare: Vec::new(),
        }
    }

    /// Writes until the orders end.
    pub(super) async fn run(mut self) -> Result<(), Ended> {
        while let Some(order) = self.next().await {
            match order.what {
                _ if self.stalled => {}
                What::Send(outgoing) if outgoing.manner.is_plain() => self.write(outgoing).await?,
                What::Send(outgoing) if outgoing.manner.hold > 0 => {
                    self.hold(order.due, order.number, outgoing);
                }
                What::Send(outgoing) => self.write_in_manner(order.number, outgoing).await?,
                What::LetGo(number) => self.let_go(|held| held.number == number),
                What::Refuse(code) => {
                    let buffer = self.encoder.code(code);
                    self.flush(Frame { buffer, start: 0 }, &[]).await?;
                    return Err(Ended::Refused(code));
                }
            }
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

    /// Sends an answer as any server would: small ones that are due together in a container,
    /// large ones encrypted together.
    async fn write(&mut self, outgoing: Outgoing) -> Result<(), Ended> {
        let (key, session) = (Arc::clone(&outgoing.key), Arc::clone(&outgoing.session));
        let Some(first) = self.number(outgoing) else {
            return Ok(());
        };
        let is_small = first.payload.is_small();
        let mut messages = vec![first];
        if is_small {
            self.gather(&session, &mut messages);
        }
        let laid = self.lay_out(&key, &session, &messages, None)?;
        let mut packets = vec![(laid, messages)];
        if !is_small {
            self.accompany(&mut packets)?;
        }
        encrypt(packets.iter_mut().map(|(laid, _)| laid));
        for (Laid { mut buffer, .. }, messages) in packets {
            let start = self.encoder.frame(&mut buffer, MAX_HEAD)?;
            self.flush(Frame { buffer, start }, &messages).await?;
        }
        Ok(())
    }

    /// Adds further large answers that are due, each in a packet of its own: several are encrypted
    /// in hardly more time than one. A slow link has time enough, and keeps its memory; and while
    /// answers are held back, packets are counted one by one.
    fn accompany(&mut self, packets: &mut Vec<(Laid, Vec<Numbered>)>) -> Result<(), Ended> {
        if self.place.world.faults.rate().is_some() || !self.held.is_empty() {
            return Ok(());
        }
        self.take_in();
        let now = Instant::now();
        while packets.len() < MAX_LANES {
            let fits = self.waiting.peek().is_some_and(|Reverse(order)| {
                order.due <= now
                    && matches!(&order.what, What::Send(outgoing) if outgoing.is_plain_and_large())
            });
            if !fits {
                return Ok(());
            }
            if let Some(Reverse(order)) = self.waiting.pop()
                && let What::Send(outgoing) = order.what
            {
                let (key, session) = (Arc::clone(&outgoing.key), Arc::clone(&outgoing.session));
                let messages: Vec<Numbered> = self.number(outgoing).into_iter().collect();
                if !messages.is_empty() {
                    let laid = self.lay_out(&key, &session, &messages, None)?;
                    packets.push((laid, messages));
                }
            }
        }
        Ok(())
    }

    /// Adds further small messages of the same session that are due, for one container.
    fn gather(&mut self, session: &Arc<Session>, messages: &mut Vec<Numbered>) {
        let now = Instant::now();
        while messages.len() < MAX_TOGETHER {
            let fits = self.waiting.peek().is_some_and(|Reverse(order)| {
                order.due <= now
                    && matches!(&order.what, What::Send(outgoing)
                        if Arc::ptr_eq(&outgoing.session, session) && outgoing.may_be_gathered())
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
        if outgoing.session.is_lost() {
            return None;
        }
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

    /// Sends an answer in the manner that was asked for.
    async fn write_in_manner(&mut self, number: u64, mut outgoing: Outgoing) -> Result<(), Ended> {
        let mut manner = std::mem::take(&mut outgoing.manner);
        let (key, session) = (Arc::clone(&outgoing.key), Arc::clone(&outgoing.session));
        if let Which::New { payload, .. } = &mut outgoing.which
            && manner.packed
        {
            *payload = spoil::pack(payload.clone()).map_err(Ended::Content)?;
        }
        let call = match &outgoing.which {
            Which::New { payload, .. } => payload.answers().unwrap_or_default(),
            Which::Again(_) => MsgId::default(),
        };
        for companion in self.companions(call, &key, &manner.precede) {
            let companion = self.numbered(&session, companion);
            let frame = self.seal(&key, &session, &companion, None)?;
            self.flush(frame, &[]).await?;
        }
        let contained = manner.contain.as_deref().unwrap_or_default();
        let mut messages: Vec<Numbered> = Vec::new();
        for companion in self.companions(call, &key, contained) {
            messages.extend(self.numbered(&session, companion));
        }
        let Some(answer) = self.number(outgoing) else {
            return Ok(());
        };
        let msg_id = answer.msg_id;
        if manner.withhold {
            let payload = spoil::announcement(call, msg_id, answer.payload.body_len());
            let told = (IdKind::Notice, Content::Unrelated, payload);
            messages.extend(self.numbered(&session, told));
        } else {
            messages.push(answer);
        }
        let packets = if fit_together(&messages) {
            vec![messages]
        } else {
            manner.contain = None;
            messages.into_iter().map(|message| vec![message]).collect()
        };
        for messages in &packets {
            self.write_packet(&key, &session, messages, &manner).await?;
        }
        if let Some(delay) = manner.redeliver {
            let again = Outgoing {
                key,
                session,
                which: Which::Again(msg_id),
                manner: Manner::default(),
            };
            self.order(number, Instant::now() + delay, What::Send(again));
        }
        Ok(())
    }

    async fn write_packet(
        &mut self,
        key: &Key,
        session: &Session,
        messages: &[Numbered],
        manner: &Manner,
    ) -> Result<(), Ended> {
        for _ in 0..=u8::from(manner.twice) {
            let frame = self.seal(key, session, messages, Some(manner))?;
            match manner.breakage {
                // Nobody is served by a forged packet.
                None if manner.forgery.is_some() => self.flush(frame, &[]).await?,
                None => self.flush(frame, messages).await?,
                Some(breakage) => return self.break_off(frame, breakage).await,
            }
        }
        Ok(())
    }

    fn order(&mut self, number: u64, due: Instant, what: What) {
        self.waiting.push(Reverse(Order { due, number, what }));
    }

    /// Keeps an answer back until enough has overtaken it, or long enough.
    fn hold(&mut self, due: Instant, number: u64, mut outgoing: Outgoing) {
        let packets = std::mem::take(&mut outgoing.manner.hold);
        self.held.push(Held {
            packets,
            due,
            number,
            outgoing,
        });
        self.order(number, Instant::now() + HELD_FOR, What::LetGo(number));
    }

    /// What is let go is overdue, so it is next.
    fn let_go(&mut self, whom: impl Fn(&Held) -> bool) {
        for held in self.held.extract_if(.., |held| whom(held)) {
            self.waiting.push(Reverse(Order {
                due: held.due,
                number: held.number,
                what: What::Send(held.outgoing),
            }));
        }
    }

    fn companions(
        &self,
        call: MsgId,
        key: &Key,
        kinds: &[Companion],
    ) -> Vec<(IdKind, Content, Payload)> {
        let now = self.place.world.now();
        let occasion = Occasion {
            call,
            salt: self.place.world.salts(&key.shared).current(now),
            now,
        };
        kinds
            .iter()
            .map(|kind| spoil::companion(*kind, &occasion))
            .collect()
    }

    fn numbered(
        &self,
        session: &Session,
        (kind, content, payload): (IdKind, Content, Payload),
    ) -> Vec<Numbered> {
        let now = self.place.world.now();
        vec![session.number(kind, content, payload, now, self.place.id)]
    }

    /// The frame of a packet with these messages.
    fn seal(
        &mut self,
        key: &Key,
        session: &Session,
        messages: &[Numbered],
        manner: Option<&Manner>,
    ) -> Result<Frame, Ended> {
        if let Some(forgery) = manner.and_then(|manner| manner.forgery) {
            return self.forge(forgery, key, session, messages);
        }
        let mut laid = self.lay_out(key, session, messages, manner)?;
        encrypt([&mut laid].into_iter());
        let mut buffer = laid.buffer;
        let start = self.encoder.frame(&mut buffer, MAX_HEAD)?;
        Ok(Frame { buffer, start })
    }

    /// Puts all of a packet into a buffer that can be done before it is encrypted.
    fn lay_out(
        &mut self,
        key: &Key,
        session: &Session,
        messages: &[Numbered],
        manner: Option<&Manner>,
    ) -> Result<Laid, Ended> {
        let contained = manner.is_some_and(|manner| manner.contain.is_some());
        let (header, mut buffer) = self.body(key, session, messages, contained)?;
        let body = buffer.len() - MAX_HEAD - BODY_AT;
        pad(&mut buffer, body, manner.and_then(|manner| manner.pad));
        let key = Envelope::new(&key.shared, Side::Server)
            .lock(&header, body, &mut buffer[MAX_HEAD..])
            .expect("the packet was made to fit its body");
        Ok(Laid { buffer, key })
    }

    /// A packet's header, and a buffer with its body where it belongs.
    fn body(
        &mut self,
        key: &Key,
        session: &Session,
        messages: &[Numbered],
        contained: bool,
    ) -> Result<(Header, Vec<u8>), Ended> {
        let now = self.place.world.now();
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(MAX_HEAD + BODY_AT, 0);
        let (msg_id, seq_no) = match messages {
            [alone] if !contained => {
                alone.payload.write(&mut buffer).map_err(Ended::Content)?;
                (alone.msg_id, alone.seq_no)
            }
            several => {
                write_container(several, &mut buffer).map_err(Ended::Content)?;
                let nothing = Payload::Bytes(Vec::new().into());
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
        Ok((header, buffer))
    }

    /// The frame of a packet that no client may believe.
    fn forge(
        &mut self,
        forgery: Forgery,
        key: &Key,
        session: &Session,
        messages: &[Numbered],
    ) -> Result<Frame, Ended> {
        let (header, mut buffer) = self.body(key, session, messages, false)?;
        let call = messages
            .iter()
            .find_map(|message| message.payload.answers());
        let body = buffer.split_off(MAX_HEAD + BODY_AT);
        buffer.extend(forge::body(forgery, call.unwrap_or_default(), body));
        forge::seal(forgery, &key.shared, &header, &mut buffer);
        let start = self.encoder.frame(&mut buffer, MAX_HEAD)?;
        let start = forge::frame(forgery, self.transport, &mut buffer, start);
        Ok(Frame { buffer, start })
    }

    async fn flush(&mut self, frame: Frame, messages: &[Numbered]) -> Result<(), Ended> {
        let rate = self.place.world.faults.rate();
        self.link.send(frame.bytes(), rate).await?;
        let pieces: Vec<Served> = messages
            .iter()
            .filter_map(|message| message.payload.served())
            .collect();
        self.entry.sent(frame.bytes().len(), &pieces);
        self.spare.push(frame.buffer);
        for held in &mut self.held {
            held.packets = held.packets.saturating_sub(1);
        }
        if !self.held.is_empty() {
            self.let_go(|held| held.packets == 0);
        }
        Ok(())
    }

    /// Sends the beginning of a frame, and never the rest.
    async fn break_off(&mut self, frame: Frame, breakage: Breakage) -> Result<(), Ended> {
        let (Breakage::Stall(bytes) | Breakage::Cut(bytes)) = breakage;
        let rate = self.place.world.faults.rate();
        let begun = &frame.bytes()[..bytes.min(frame.bytes().len())];
        self.link.send(begun, rate).await?;
        self.entry.sent(begun.len(), &[]);
        match breakage {
            Breakage::Cut(_) => Err(Ended::Cut),
            Breakage::Stall(_) => {
                self.stalled = true;
                Ok(())
            }
        }
    }
}

/// Encrypts packets together.
fn encrypt<'a>(packets: impl Iterator<Item = &'a mut Laid>) {
    let jobs = packets.map(|laid| {
        let ciphertext = &mut laid.buffer[MAX_HEAD + OUTER..];
        Job::new(laid.key.clone(), ciphertext)
    });
    ige::encrypt_many(&mut jobs.collect::<Vec<_>>());
}

/// Whether a container may hold all of them.
fn fit_together(messages: &[Numbered]) -> bool {
    let sizes = messages.iter().map(|message| message.payload.body_len());
    8 + sizes.map(|size| MESSAGE_HEAD + size).sum::<usize>() < MAX_CONTAINER
}

impl Outgoing {
    fn may_be_gathered(&self) -> bool {
        match &self.which {
            Which::New { payload, .. } => self.manner.is_plain() && payload.is_small(),
            Which::Again(_) => false,
        }
    }

    fn is_plain_and_large(&self) -> bool {
        match &self.which {
            Which::New { payload, .. } => self.manner.is_plain() && !payload.is_small(),
            Which::Again(_) => false,
        }
    }
}

impl Payload {
    /// Whether it may share a container with others.
    fn is_small(&self) -> bool {
        self.body_len() <= SMALL
    }
}

fn write_container(messages: &[Numbered], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut bodies = Vec::with_capacity(messages.len());
    for message in messages {
        let mut body = Vec::with_capacity(message.payload.body_len());
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

/// Appends random padding: at least so many bytes if that was asked for, else the least plus a
/// random number of blocks.
fn pad(buffer: &mut Vec<u8>, body: usize, asked: Option<usize>) {
    let least = (INNER + body + MIN_PADDING).next_multiple_of(ige::BLOCK) - INNER - body;
    let extra = if let Some(asked) = asked {
        let most = (MAX_PADDING - least) / ige::BLOCK;
        asked.saturating_sub(least).div_ceil(ige::BLOCK).min(most)
    } else {
        let mut extra = [0];
        rand::fill(&mut extra).expect("the system has random numbers");
        usize::from(extra[0] % (EXTRA_BLOCKS + 1))
    };
    let at = buffer.len();
    buffer.resize(MAX_HEAD + packet_len(body, extra), 0);
    rand::fill(&mut buffer[at..]).expect("the system has random numbers");
}
