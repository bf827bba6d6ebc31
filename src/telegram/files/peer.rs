//! The other end of a connection, for tests.

use std::{
    io,
    time::{Duration, SystemTime},
};

use grammers_client::tl::{Serializable as _, enums, types};
use mtproto::{
    AuthKey, Body, Decoder, Envelope, Header, IdKind, MsgId, MsgIds, Side, Step, Transport,
    envelope::{BODY_AT, packet_len},
    transport::SERVER_FRAME_LIMIT,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// By how much the paused clock is moved on at a time, at most.
pub const GRAIN: Duration = Duration::from_millis(100);

/// How long a client may say nothing.
const PATIENCE: Duration = Duration::from_mins(2);

/// Keeps the paused clock from running past what is under way between the sockets.
pub fn tick() -> JoinHandle<()> {
    tokio::spawn(async {
        loop {
            sleep(GRAIN).await;
        }
    })
}

/// An `upload.file` of these bytes.
pub fn piece(content: &[u8]) -> Vec<u8> {
    enums::upload::File::File(types::upload::File {
        r#type: enums::storage::FileType::FilePartial,
        mtime: 7,
        bytes: content.to_vec(),
    })
    .to_bytes()
}

/// A server that notes what it hears, and answers when it is told to.
pub struct Peer {
    stream: TcpStream,
    key: AuthKey,
    decoder: Decoder,
    received: Vec<u8>,
    ids: MsgIds,
    seq_no: i32,
    begun: Instant,
}

/// A message as the server reads it.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Call,
    Acks(Vec<MsgId>),
    Ping { delay: i32 },
}

impl Peer {
    pub async fn accept(listener: &TcpListener, key: AuthKey) -> Self {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut opening = [0; 4];
        stream.read_exact(&mut opening).await.unwrap();
        assert_eq!(opening, [0xee; 4]);
        Self {
            stream,
            key,
            decoder: Decoder::new(Transport::Intermediate, Side::Client, SERVER_FRAME_LIMIT),
            received: Vec::new(),
            ids: MsgIds::default(),
            seq_no: 1,
            begun: Instant::now(),
        }
    }

    /// The next message, and how long after the beginning it came.
    pub async fn hear(&mut self) -> (Duration, Header, Heard) {
        loop {
            if let Step::Packet { payload, consumed } = self.decoder.poll(&self.received).unwrap() {
                let mut packet = self.received[payload].to_vec();
                self.received.drain(..consumed);
                let envelope = Envelope::new(&self.key, Side::Client);
                let opened = envelope.open(&mut packet).unwrap();
                let heard = match Body::parse(&packet[opened.body]).unwrap() {
                    Body::MsgsAck(ids) => Heard::Acks(ids),
                    Body::PingDelayDisconnect { delay, .. } => Heard::Ping { delay },
                    _ => Heard::Call,
                };
                return (self.begun.elapsed(), opened.header, heard);
            }
            let read = self.stream.read_buf(&mut self.received);
            let read = timeout(PATIENCE, read).await;
            assert!(read.expect("not a word").unwrap() > 0, "it has closed");
        }
    }

    /// Answers a call, by a message that asks to be acknowledged.
    pub async fn answer(&mut self, call: &Header, result: &[u8]) -> MsgId {
        let body = Body::RpcResult {
            req_msg_id: call.msg_id,
            result,
        };
        self.say(call, &body).await.unwrap()
    }

    /// Says something in the session of a call.
    pub async fn say(&mut self, call: &Header, body: &Body<'_>) -> io::Result<MsgId> {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let header = Header {
            msg_id: self.ids.next(now.unwrap(), IdKind::Answer),
            seq_no: self.seq_no,
            ..*call
        };
        self.seq_no += 2;
        let mut packet = vec![0; packet_len(bytes.len(), 0)];
        packet[BODY_AT..BODY_AT + bytes.len()].copy_from_slice(&bytes);
        Envelope::new(&self.key, Side::Server)
            .seal(&header, bytes.len(), &mut packet)
            .unwrap();
        let length = u32::try_from(packet.len()).unwrap();
        self.stream.write_all(&length.to_le_bytes()).await?;
        self.stream.write_all(&packet).await?;
        Ok(header.msg_id)
    }
}
