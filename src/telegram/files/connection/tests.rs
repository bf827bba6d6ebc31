//! What a connection does by itself as time goes by.

use mtproto::{
    Body, Envelope, Header, IdKind, MsgId, MsgIds,
    client::ACK_DELAY,
    envelope::{BODY_AT, packet_len},
    message::Outcome,
    transport::SERVER_FRAME_LIMIT,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};

use super::*;
use crate::telegram::files::Budget;

/// By how much the paused clock is moved on at a time, at most.
const GRAIN: Duration = Duration::from_millis(100);

/// A server that notes what it hears, and answers when it is told to.
struct Peer {
    stream: TcpStream,
    key: AuthKey,
    decoder: Decoder,
    received: Vec<u8>,
    begun: Instant,
}

/// A message as the server reads it.
#[derive(Debug, PartialEq)]
enum Heard {
    Call,
    Acks(Vec<MsgId>),
    Ping { delay: i32 },
}

impl Peer {
    async fn accept(listener: &TcpListener, key: AuthKey) -> Self {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut opening = [0; 4];
        stream.read_exact(&mut opening).await.unwrap();
        assert_eq!(opening, [0xee; 4]);
        Self {
            stream,
            key,
            decoder: Decoder::new(Transport::Intermediate, Side::Client, SERVER_FRAME_LIMIT),
            received: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// The next message, and how long after the beginning it came.
    async fn hear(&mut self) -> (Duration, Header, Heard) {
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
            let read = timeout(2 * PING_INTERVAL, read).await;
            assert!(read.expect("not a word").unwrap() > 0, "it has closed");
        }
    }

    /// Answers a call with an error, by a message that asks to be acknowledged.
    async fn answer(&mut self, call: &Header) -> MsgId {
        let mut result = Vec::new();
        let (code, message) = (500, &b"BUSY"[..]);
        Outcome::Error { code, message }.write(&mut result);
        let mut body = Vec::new();
        Body::RpcResult {
            req_msg_id: call.msg_id,
            result: &result,
        }
        .write(&mut body);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let header = Header {
            msg_id: MsgIds::default().next(now.unwrap(), IdKind::Answer),
            seq_no: 1,
            ..*call
        };
        let mut packet = vec![0; packet_len(body.len(), 0)];
        packet[BODY_AT..BODY_AT + body.len()].copy_from_slice(&body);
        Envelope::new(&self.key, Side::Server)
            .seal(&header, body.len(), &mut packet)
            .unwrap();
        let length = u32::try_from(packet.len()).unwrap();
        self.stream.write_all(&length.to_le_bytes()).await.unwrap();
        self.stream.write_all(&packet).await.unwrap();
        header.msg_id
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_waits_half_a_minute_and_life_is_asked_for_each_minute() {
    // So that the clock never runs past what is under way between the sockets.
    let ticking = tokio::spawn(async {
        loop {
            sleep(GRAIN).await;
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = AuthKey::new([42; 256]);
    let endpoint = Endpoint {
        address: listener.local_addr().unwrap(),
        key: key.clone(),
        greeting: Box::default(),
    };
    let (orders, taken) = mpsc::channel(DEPTH);
    let (reports, mut reported) = mpsc::channel(DEPTH);
    let opener = Arc::new(Opener::start());
    let running = tokio::spawn(run(1, endpoint, Server::default(), taken, reports, opener));
    let order = Order {
        fetch: 7,
        query: Box::from(*b"a query."),
        buffer: Budget::new(0).reserve().await,
    };
    orders.send(order).await.unwrap();

    let mut peer = Peer::accept(&listener, key).await;
    let (_, call, heard) = peer.hear().await;
    assert_eq!(heard, Heard::Call);
    let answer = peer.answer(&call).await;
    let Some((1, Report::Answered { fetch: 7, reply })) = reported.recv().await else {
        panic!("no answer")
    };
    assert!(matches!(reply, Err((Error::Rpc(_), Some(_)))), "{reply:?}");

    for (due, expected) in [
        (ACK_DELAY, Heard::Acks(vec![answer])),
        (Duration::from_mins(1), Heard::Ping { delay: 75 }),
        (Duration::from_mins(2), Heard::Ping { delay: 75 }),
        (Duration::from_mins(3), Heard::Ping { delay: 75 }),
    ] {
        let (at, _, heard) = peer.hear().await;
        assert_eq!(heard, expected);
        assert!(at.abs_diff(due) < 20 * GRAIN, "{heard:?} at {at:?}");
    }
    drop(orders);
    running.await.unwrap();
    ticking.abort();
}
