//! One TCP connection to a data centre, and the one session on it.
//!
//! It owns the socket and always reads it. Orders come with a buffer each; a reply is read into
//! one of the reserved buffers, opened there, and the buffer leaves as the chunk. It does not
//! reconnect: its end, with what it has not answered, is reported, and another takes its place.

use std::{
    io,
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use mtproto::{
    AuthKey, Decoder, Side, Step, Transport, TransportCode,
    client::{Answer, Answered, Client, SendError, Server, Violation},
    envelope::OpenError,
    transport::{CLIENT_FRAME_LIMIT, FrameError},
};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    buffers::{BUFFER_BYTES, Buffer},
    frame::Frame,
    get_file,
    opener::{Expected, Opener, Opening, Sealed},
};
use crate::telegram::Error;

/// Calls under way on one connection.
pub const DEPTH: usize = 4;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that brings nothing for so long, though something is due, is broken.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a sign of life is asked for, and after how long the server gives us up.
const PING_INTERVAL: Duration = Duration::from_mins(1);
const PING_PATIENCE: Duration = Duration::from_secs(75);

/// Frames up to this many bytes are opened where they first arrive.
const STAGE_BYTES: usize = 4096;

/// How long packets may take to be opened once the connection has ended.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);

/// Where to connect to, and with what.
#[derive(Clone)]
pub struct Endpoint {
    /// The data centre's address.
    pub address: SocketAddr,
    /// The key that it knows the identity by.
    pub key: AuthKey,
    /// What stands before the first calls.
    pub greeting: Box<[u8]>,
}

/// A call to be made.
#[derive(Debug)]
pub struct Order {
    /// What the answer is told apart by.
    pub fetch: u64,
    /// The call.
    pub query: Box<[u8]>,
    /// Room for its reply.
    pub buffer: Buffer,
}

/// The bytes of the file, or an error and the buffer that it did not need.
pub type Reply = Result<Bytes, (Error, Option<Buffer>)>;

/// What a connection has to say.
#[derive(Debug)]
pub enum Report {
    /// A call was answered.
    Answered {
        /// Which.
        fetch: u64,
        /// What came of it.
        reply: Reply,
    },
    /// The connection has ended. It says nothing after this.
    Ended {
        /// Why; `None` if it was told to.
        why: Option<ConnectionError>,
        /// What it learnt of the server.
        server: Server,
        /// The calls that it has not answered.
        unanswered: Vec<u64>,
        /// Their buffers.
        buffers: Vec<Buffer>,
    },
}

/// Why a connection broke.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It cannot be made, or broke off.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing came for too long.
    #[error("nothing came for {} s", .0.as_secs())]
    Silence(Duration),
    /// The server refused it.
    #[error("the server refused it with code {0}")]
    Refused(TransportCode),
    /// The server's bytes are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A packet is not genuine.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server broke the protocol, or says that we did.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// A call cannot be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// A connection at work.
struct Connection {
    stream: TcpStream,
    client: Client<u64>,
    key: AuthKey,
    decoder: Decoder,
    clock: Clock,
    reserved: Vec<Buffer>,
    stage: Stage,
    /// A frame too large for the stage, and how much of it has come.
    large: Option<(Frame, usize)>,
    opener: Arc<Opener>,
    expected: Expected,
    done: mpsc::Sender<Opening>,
    opened: mpsc::Receiver<Opening>,
    /// Packets at the opener.
    opening: usize,
    /// Answers that wait to be reported.
    ready: Vec<(u64, Reply)>,
    last_heard: Instant,
    next_ping: Instant,
}

/// Runs a connection until `orders` are closed or it breaks, reporting under its number.
pub async fn run(
    number: u64,
    endpoint: Endpoint,
    server: Server,
    mut orders: mpsc::Receiver<Order>,
    reports: mpsc::Sender<(u64, Report)>,
    opener: Arc<Opener>,
) {
    let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(endpoint.address)).await;
    let connected = match connecting {
        Ok(Ok(stream)) => stream.set_nodelay(true).map(|()| stream),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let (why, end) = match connected {
        Err(error) => (Some(error.into()), None),
        Ok(stream) => {
            let mut connection = Connection::new(stream, endpoint, server, opener);
            let why = connection.work(number, &mut orders, &reports).await.err();
            connection.settle(number, &reports).await;
            (why, Some(connection))
        }
    };
    let mut server = server;
    let (mut unanswered, mut buffers) = (Vec::new(), Vec::new());
    if let Some(connection) = end {
        server = connection.client.server();
        if let Some((Frame::Reserved(buffer), _)) = connection.large {
            buffers.push(buffer);
        }
        buffers.extend(connection.reserved);
        unanswered.extend(connection.client.into_pending());
    }
    orders.close();
    while let Some(order) = orders.recv().await {
        unanswered.push(order.fetch);
        buffers.push(order.buffer);
    }
    let ended = Report::Ended {
        why,
        server,
        unanswered,
        buffers,
    };
    // Nobody listens any more only when nothing is wanted any more.
    drop(reports.send((number, ended)).await);
}

impl Connection {
    fn new(stream: TcpStream, endpoint: Endpoint, server: Server, opener: Arc<Opener>) -> Self {
        let (done, finished) = mpsc::channel(DEPTH * 2);
        let now = Instant::now();
        Self {
            stream,
            client: Client::new(endpoint.key.clone(), server, endpoint.greeting, random),
            key: endpoint.key,
            decoder: Decoder::new(Transport::Intermediate, Side::Server, CLIENT_FRAME_LIMIT),
            clock: Clock::start(),
            reserved: Vec::new(),
            stage: Stage::new(),
            large: None,
            expected: opener.expected(),
            opener,
            done,
            opened: finished,
            opening: 0,
            ready: Vec::new(),
            last_heard: now,
            next_ping: now + PING_INTERVAL,
        }
    }

    async fn work(
        &mut self,
        number: u64,
        orders: &mut mpsc::Receiver<Order>,
        reports: &mpsc::Sender<(u64, Report)>,
    ) -> Result<(), ConnectionError> {
        loop {
            self.write()?;
            self.deliver(number, reports).await;
            self.expect();
            let is_writing = !self.client.outgoing().is_empty();
            let deadline = self.deadline();
            tokio::select! {
                ready = self.stream.readable() => {
                    ready?;
                    self.read()?;
                }
                ready = self.stream.writable(), if is_writing => ready?,
                Some(opening) = self.opened.recv() => self.take(opening)?,
                // There is always room: whoever orders keeps to the depth.
                order = orders.recv() => match order {
                    None => return Ok(()),
                    Some(order) => self.accept(order),
                },
                () = sleep_until(deadline) => self.keep_up()?,
            }
        }
    }

    /// Tells the opener how many answers are still to come.
    fn expect(&mut self) {
        self.expected
            .set(self.client.pending().saturating_sub(self.opening));
    }

    fn accept(&mut self, order: Order) {
        if self.client.pending() == 0 {
            self.last_heard = Instant::now();
        }
        let now = self.clock.now();
        match self.client.call(order.fetch, order.query, now) {
            Ok(()) => self.reserved.push(order.buffer),
            Err(error) => {
                // No connection can send it.
                let error = Error::Unreachable(Arc::new(error.into()));
                let reply = Err((error, Some(order.buffer)));
                self.ready.push((order.fetch, reply));
            }
        }
    }

    fn write(&mut self) -> Result<(), ConnectionError> {
        let outgoing = self.client.outgoing();
        while !outgoing.is_empty() {
            match self.stream.try_write(outgoing) {
                Ok(written) => drop(outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads once what is there: into a large frame if one has begun, otherwise into the stage.
    fn read(&mut self) -> Result<(), ConnectionError> {
        let into = match &mut self.large {
            Some((frame, filled)) => {
                let Step::Need(need) = self.decoder.poll(&frame[..*filled])? else {
                    unreachable!("a large frame that is whole has been handed over")
                };
                &mut frame[*filled..need]
            }
            None => self.stage.room(),
        };
        let read = match self.stream.try_read(into) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.last_heard = Instant::now();
        if let Some((_, filled)) = &mut self.large {
            *filled += read;
            self.look_at_large()
        } else {
            self.stage.filled += read;
            self.look_at_stage()
        }
    }

    fn look_at_large(&mut self) -> Result<(), ConnectionError> {
        let Some((frame, filled)) = self.large.take() else {
            return Ok(());
        };
        match self.decoder.poll(&frame[..filled])? {
            Step::Need(_) => self.large = Some((frame, filled)),
            Step::Packet { payload, .. } => {
                self.opening += 1;
                self.expect();
                self.opener.open(Sealed {
                    frame,
                    packet: payload,
                    key: self.key.clone(),
                    session_id: self.client.session_id(),
                    arrived: self.clock.now(),
                    done: self.done.clone(),
                });
            }
            // Neither is ever large.
            Step::Code { .. } | Step::Noop { .. } => self.release(frame),
        }
        Ok(())
    }

    fn look_at_stage(&mut self) -> Result<(), ConnectionError> {
        while !self.stage.unread().is_empty() {
            match self.decoder.poll(self.stage.unread())? {
                Step::Need(need) if need <= STAGE_BYTES => break,
                Step::Need(need) => {
                    let mut frame = self.room_for(need);
                    let begun = self.stage.unread();
                    frame[..begun.len()].copy_from_slice(begun);
                    self.large = Some((frame, begun.len()));
                    self.stage.clear();
                }
                Step::Packet { payload, consumed } => {
                    let arrived = self.clock.now();
                    let packet = &mut self.stage.unread_mut()[payload];
                    let opened = self.client.envelope().open(packet)?;
                    let mut answered = Vec::new();
                    self.client
                        .receive(packet, &opened, arrived, &mut answered)?;
                    for (fetch, content) in contents(answered, packet) {
                        let reply = copied(content, packet, self.reserved.pop());
                        self.ready.push((fetch, reply));
                    }
                    self.stage.skip(consumed);
                }
                Step::Code { code, .. } => return Err(ConnectionError::Refused(code)),
                Step::Noop { consumed } => self.stage.skip(consumed),
            }
        }
        Ok(())
    }

    /// Takes in a large packet from the opener. If it answers a call, its buffer is the chunk.
    fn take(&mut self, opening: Opening) -> Result<(), ConnectionError> {
        self.opening -= 1;
        let Opening {
            frame,
            packet: at,
            arrived,
            opened,
        } = opening;
        let mut answered = Vec::new();
        let taken = opened.map_err(ConnectionError::from).and_then(|opened| {
            let packet = &frame[at.clone()];
            Ok(self
                .client
                .receive(packet, &opened, arrived, &mut answered)?)
        });
        let packet = &frame[at.clone()];
        let mut found = contents(answered, packet);
        // The last answer may have what the frame lies in; the others get a buffer each.
        let last = found.pop();
        for (fetch, content) in found {
            let reply = copied(content, packet, self.reserved.pop());
            self.ready.push((fetch, reply));
        }
        match (frame, last) {
            (Frame::Reserved(buffer), Some((fetch, content))) => {
                let reply = match content {
                    Ok(Content::Here(range)) => {
                        Ok(buffer.into_chunk(at.start + range.start..at.start + range.end))
                    }
                    Ok(Content::Unpacked(value, range)) => Ok(buffer.holding(&value[range])),
                    Err(error) => Err((error, Some(buffer))),
                };
                self.ready.push((fetch, reply));
            }
            (Frame::Unforeseen(frame), Some((fetch, content))) => {
                let reply = copied(content, &frame[at], self.reserved.pop());
                self.ready.push((fetch, reply));
            }
            (frame, None) => self.release(frame),
        }
        taken
    }

    /// Room for a frame: a reserved buffer if it fits.
    fn room_for(&mut self, bytes: usize) -> Frame {
        let buffer = (bytes <= BUFFER_BYTES)
            .then(|| self.reserved.pop())
            .flatten();
        buffer.map_or_else(|| Frame::Unforeseen(vec![0; bytes]), Frame::Reserved)
    }

    /// A frame brought nothing: its buffer is reserved as before, for as long as there is a call
    /// that it may be wanted for.
    fn release(&mut self, frame: Frame) {
        if let Frame::Reserved(buffer) = frame
            && self.reserved.len() < self.client.pending()
        {
            self.reserved.push(buffer);
        }
    }

    async fn deliver(&mut self, number: u64, reports: &mpsc::Sender<(u64, Report)>) {
        for (fetch, reply) in self.ready.drain(..) {
            let answered = Report::Answered { fetch, reply };
            // Nobody listens any more only when nothing is wanted any more.
            drop(reports.send((number, answered)).await);
        }
    }

    /// After the end of the connection: what had come before it still counts.
    async fn settle(&mut self, number: u64, reports: &mpsc::Sender<(u64, Report)>) {
        while self.opening > 0 {
            let Ok(Some(opening)) = timeout(OPENING_TIMEOUT, self.opened.recv()).await else {
                break;
            };
            // Why it ended is known already.
            drop(self.take(opening));
        }
        self.deliver(number, reports).await;
    }

    fn deadline(&self) -> Instant {
        let mut deadline = self.next_ping;
        if self.client.pending() > 0 {
            deadline = deadline.min(self.last_heard + SILENCE_TIMEOUT);
        }
        if let Some(due) = self.client.acks_due() {
            deadline = deadline.min(self.clock.instant(due));
        }
        deadline
    }

    /// Does what is due by now.
    fn keep_up(&mut self) -> Result<(), ConnectionError> {
        let now = Instant::now();
        if self.client.pending() > 0 && now >= self.last_heard + SILENCE_TIMEOUT {
            return Err(ConnectionError::Silence(SILENCE_TIMEOUT));
        }
        if now >= self.next_ping {
            self.next_ping = now + PING_INTERVAL;
            self.client.ping(PING_PATIENCE, self.clock.now())?;
        }
        if self
            .client
            .acks_due()
            .is_some_and(|due| due <= self.clock.now())
        {
            self.client.flush_acks(self.clock.now())?;
        }
        Ok(())
    }
}

/// Where the bytes of the file are.
enum Content {
    /// In the packet.
    Here(Range<usize>),
    /// In a value that came packed.
    Unpacked(Vec<u8>, Range<usize>),
}

/// What the answers in a packet have brought.
fn contents(answered: Vec<Answered<u64>>, packet: &[u8]) -> Vec<(u64, Result<Content, Error>)> {
    let content = |answer| match answer {
        Answer::Value(value) => {
            let content = get_file::content(&packet[value.clone()])?;
            let start = value.start + content.start;
            Ok(Content::Here(start..start + content.len()))
        }
        Answer::Unpacked(value) => {
            let content = get_file::content(&value)?;
            Ok(Content::Unpacked(value, content))
        }
        Answer::Error { code, message } => Err(Error::from_rpc(code, message)),
    };
    answered
        .into_iter()
        .map(|Answered { tag, answer }| (tag, content(answer)))
        .collect()
}

/// A reply of its own, in a buffer of its own.
fn copied(content: Result<Content, Error>, packet: &[u8], buffer: Option<Buffer>) -> Reply {
    match (content, buffer) {
        (Err(error), buffer) => Err((error, buffer)),
        (Ok(_), None) => Err((Error::UnexpectedReply("upload.getFile"), None)),
        (Ok(Content::Here(range)), Some(buffer)) => Ok(buffer.holding(&packet[range])),
        (Ok(Content::Unpacked(value, range)), Some(buffer)) => Ok(buffer.holding(&value[range])),
    }
}

/// Where bytes first arrive: heads of frames, and whole small ones.
struct Stage {
    memory: Box<[u8; STAGE_BYTES]>,
    begin: usize,
    filled: usize,
}

impl Stage {
    fn new() -> Self {
        Self {
            memory: Box::new([0; STAGE_BYTES]),
            begin: 0,
            filled: 0,
        }
    }

    fn unread(&self) -> &[u8] {
        &self.memory[self.begin..self.filled]
    }

    fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.filled]
    }

    fn skip(&mut self, bytes: usize) {
        self.begin += bytes;
    }

    fn clear(&mut self) {
        self.begin = self.filled;
    }

    /// Where the next bytes go. There is room, for a frame that would fill it up goes elsewhere.
    fn room(&mut self) -> &mut [u8] {
        self.memory.copy_within(self.begin..self.filled, 0);
        self.filled -= self.begin;
        self.begin = 0;
        &mut self.memory[self.filled..]
    }
}

/// The time since the Unix epoch, by a clock that never goes back.
struct Clock {
    epoch: Duration,
    since: Instant,
}

impl Clock {
    fn start() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            epoch: epoch.unwrap_or_default(),
            since: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.epoch + self.since.elapsed()
    }

    fn instant(&self, time: Duration) -> Instant {
        self.since + time.saturating_sub(self.epoch)
    }
}

fn random(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the system has random bytes");
}

#[cfg(test)]
mod tests;
