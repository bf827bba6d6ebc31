//! A client of the Telegram stand-in, a few lines over `mtproto`, for the tests of its rules.

#![allow(dead_code, reason = "each file of tests uses its own part")]

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use grammers_tl_types as tl;
use mtproto::envelope::{BODY_AT, packet_len};
use mtproto::message::Outcome;
use mtproto::session::Content;
use mtproto::transport::{CLIENT_FRAME_LIMIT, MAX_HEAD};
use mtproto::{
    AuthKey, Body, Decoder, Encoder, Envelope, Header, IdKind, MsgId, MsgIds, SeqNos, Side, Step,
    Transport, TransportCode, gzip,
};
use telestream_sim::telegram::ids::{ChatId, DcId, Identity};
use telestream_sim::telegram::keys::{SessionDocument, SignedIn};
use telestream_sim::telegram::store::{Draft, DraftBody, Look, MediaKind, Origin};
use telestream_sim::{Options, Sim};
use tl::enums::{Document, InputFileLocation, MessageMedia};
use tl::{Deserializable, RemoteCall, Serializable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const CHANNEL_ID: i64 = 1_234_567_890;
pub const SIZE: u64 = 3 * (1 << 20) + 777;
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A message from the stand-in.
#[derive(Clone, Debug)]
pub struct Received {
    pub msg_id: MsgId,
    pub seq_no: i32,
    pub body: Vec<u8>,
}

impl Received {
    /// Whether it is the result of a call.
    pub fn answers(&self, asked: MsgId) -> bool {
        matches!(Body::parse(&self.body), Ok(Body::RpcResult { req_msg_id, .. }) if req_msg_id == asked)
    }

    /// The piece of a file it is the result with.
    pub fn piece(&self) -> Vec<u8> {
        let Ok(Body::RpcResult { result, .. }) = Body::parse(&self.body) else {
            panic!("{self:?}");
        };
        match outcome(result).expect("a piece") {
            tl::enums::upload::File::File(file) => file.bytes,
            tl::enums::upload::File::CdnRedirect(_) => panic!("there is no CDN"),
        }
    }
}

/// The sending and receiving half of a client, as plain as can be.
pub struct Client {
    pub stream: TcpStream,
    pub encoder: Encoder,
    pub decoder: Decoder,
    pub key: AuthKey,
    pub session_id: i64,
    pub salt: i64,
    pub ids: MsgIds,
    pub seq: SeqNos,
    pub bytes: Vec<u8>,
    pub inbox: VecDeque<Received>,
    /// What asks to be acknowledged.
    pub seen: Vec<MsgId>,
    /// How much padding the last packet had.
    pub padding: usize,
    /// How many containers came.
    pub containers: usize,
}

impl Client {
    pub async fn connect(address: SocketAddrV4, key: AuthKey, transport: Transport) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(transport.opening())
            .await
            .expect("it reads");
        Self {
            stream,
            encoder: Encoder::new(transport),
            decoder: Decoder::new(transport, Side::Server, CLIENT_FRAME_LIMIT),
            key,
            session_id: 77,
            salt: 0,
            ids: MsgIds::default(),
            seq: SeqNos::default(),
            bytes: Vec::new(),
            inbox: VecDeque::new(),
            seen: Vec::new(),
            padding: 0,
            containers: 0,
        }
    }

    /// A client of the home data centre that has said who it is.
    pub async fn ready(sim: &Sim, session: &SessionDocument) -> Self {
        let mut client = Self::home(sim, session).await;
        client.init().await;
        client
    }

    pub async fn home(sim: &Sim, session: &SessionDocument) -> Self {
        let key = key(session, session.home_dc);
        Self::connect(address(sim, session.home_dc), key, Transport::Intermediate).await
    }

    /// A client at the door for files, in a session of its own, that has said who it is.
    pub async fn at_media(sim: &Sim, session: &SessionDocument, session_id: i64) -> Self {
        let address = media_address(sim, session.home_dc);
        let key = key(session, session.home_dc);
        let mut client = Self::connect(address, key, Transport::Intermediate).await;
        client.session_id = session_id;
        client.init().await;
        client
    }

    /// Names its layer, as the first call of every client does.
    pub async fn init(&mut self) {
        let config: tl::enums::Config = self
            .call_inited(tl::functions::help::GetConfig {})
            .await
            .expect("a config");
        let tl::enums::Config::Config(config) = config;
        assert!(config.dc_options.len() >= 6);
    }

    pub async fn call_inited<R: RemoteCall>(&mut self, query: R) -> Result<R::Return, String> {
        self.call(&tl::functions::InvokeWithLayer {
            layer: tl::LAYER,
            query: tl::functions::InitConnection {
                api_id: 1,
                device_model: "test".to_owned(),
                system_version: "1".to_owned(),
                app_version: "1".to_owned(),
                system_lang_code: "en".to_owned(),
                lang_pack: String::new(),
                lang_code: "en".to_owned(),
                proxy: None,
                params: None,
                query,
            },
        })
        .await
    }

    pub async fn send(&mut self, content: Content, body: &[u8]) -> MsgId {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("past 1970");
        let msg_id = self.ids.next(now, IdKind::Client);
        let seq_no = self.seq.next(content);
        self.send_as(msg_id, seq_no, body).await;
        msg_id
    }

    pub async fn send_as(&mut self, msg_id: MsgId, seq_no: i32, body: &[u8]) {
        let header = Header {
            salt: self.salt,
            session_id: self.session_id,
            msg_id,
            seq_no,
        };
        let mut buffer = vec![0; MAX_HEAD + BODY_AT];
        buffer.extend_from_slice(body);
        buffer.resize(MAX_HEAD + packet_len(body.len(), 1), 0x55);
        Envelope::new(&self.key, Side::Client)
            .seal(&header, body.len(), &mut buffer[MAX_HEAD..])
            .expect("fits");
        let start = self.encoder.frame(&mut buffer, MAX_HEAD).expect("fits");
        self.stream
            .write_all(&buffer[start..])
            .await
            .expect("it reads");
    }

    pub async fn send_body(&mut self, body: &Body<'_>) -> MsgId {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        self.send(Content::Unrelated, &bytes).await
    }

    /// The next frame: its packets, or the code by which the connection is refused.
    pub async fn frame(&mut self) -> Result<(), TransportCode> {
        loop {
            match self
                .decoder
                .poll(&self.bytes)
                .expect("frames that make sense")
            {
                Step::Need(need) => {
                    let mut more = vec![0; need - self.bytes.len()];
                    let read = timeout(PATIENCE, self.stream.read_exact(&mut more)).await;
                    read.expect("an answer in time").expect("an answer");
                    self.bytes.extend_from_slice(&more);
                }
                Step::Code { code, .. } => return Err(code),
                Step::Noop { consumed } => drop(self.bytes.drain(..consumed)),
                Step::Packet { payload, consumed } => {
                    self.open(payload);
                    self.bytes.drain(..consumed);
                    return Ok(());
                }
            }
        }
    }

    pub fn open(&mut self, payload: std::ops::Range<usize>) {
        let packet = &mut self.bytes[payload];
        let envelope = Envelope::new(&self.key, Side::Server).of_session(self.session_id);
        let opened = envelope.open(packet).expect("a packet for this session");
        self.padding = packet.len() - opened.body.end;
        let outer = Received {
            msg_id: opened.header.msg_id,
            seq_no: opened.header.seq_no,
            body: packet[opened.body].to_vec(),
        };
        match Body::parse(&outer.body).expect("a body") {
            Body::Container(messages) => {
                self.containers += 1;
                assert_eq!(outer.seq_no & 1, 0, "containers ask for no acknowledgement");
                let inner = messages.iter().map(|message| Received {
                    msg_id: message.msg_id,
                    seq_no: message.seq_no,
                    body: message.body.to_vec(),
                });
                self.inbox.extend(inner);
            }
            _ => self.inbox.push_back(outer),
        }
    }

    pub async fn next(&mut self) -> Received {
        while self.inbox.is_empty() {
            self.frame().await.expect("not refused");
        }
        let received = self.inbox.pop_front().expect("not empty");
        if received.seq_no & 1 == 1 {
            self.seen.push(received.msg_id);
        }
        received
    }

    /// Calls a method, taking up a new salt if need be.
    pub async fn call<R: RemoteCall>(&mut self, query: &R) -> Result<R::Return, String> {
        let query = query.to_bytes();
        let mut asked = self.send(Content::Related, &query).await;
        loop {
            let received = self.next().await;
            match Body::parse(&received.body).expect("a body") {
                Body::BadServerSalt {
                    salt, bad_msg_id, ..
                } if bad_msg_id == asked => {
                    self.salt = salt;
                    asked = self.send(Content::Related, &query).await;
                }
                Body::RpcResult { req_msg_id, result } if req_msg_id == asked => {
                    return outcome(result);
                }
                _ => {}
            }
        }
    }

    /// So many bytes as they come, past all framing.
    pub async fn raw(&mut self, len: usize) -> Vec<u8> {
        assert!(self.bytes.is_empty(), "half a frame was read already");
        let mut bytes = vec![0; len];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut bytes)).await;
        read.expect("bytes in time").expect("bytes");
        bytes
    }

    /// Reads until the answer to a call comes; what came before it is dropped.
    pub async fn answer(&mut self, asked: MsgId) -> Received {
        loop {
            let received = self.next().await;
            if received.answers(asked) {
                return received;
            }
        }
    }

    /// Asks for a piece of a file and does not wait.
    pub async fn ask(&mut self, location: &InputFileLocation, offset: i64, limit: i32) -> MsgId {
        let query = get_file(location.clone(), offset, limit).to_bytes();
        self.send(Content::Related, &query).await
    }

    pub async fn file(
        &mut self,
        location: InputFileLocation,
        offset: i64,
        limit: i32,
    ) -> Result<Vec<u8>, String> {
        match self.call(&get_file(location, offset, limit)).await? {
            tl::enums::upload::File::File(file) => Ok(file.bytes),
            tl::enums::upload::File::CdnRedirect(_) => panic!("there is no CDN"),
        }
    }

    pub async fn media(&mut self, id: i32) -> MessageMedia {
        let channel = tl::types::InputChannel {
            channel_id: CHANNEL_ID,
            access_hash: 0,
        };
        let query = tl::functions::channels::GetMessages {
            channel: channel.into(),
            id: vec![tl::types::InputMessageId { id }.into()],
        };
        let found = self.call(&query).await.expect("messages");
        let tl::enums::messages::Messages::ChannelMessages(found) = found else {
            panic!("messages of a channel");
        };
        match found.messages.into_iter().next() {
            Some(tl::enums::Message::Message(message)) => message.media.expect("media"),
            other => panic!("{other:?}"),
        }
    }

    pub async fn document(&mut self, id: i32) -> tl::types::Document {
        match self.media(id).await {
            MessageMedia::Document(tl::types::MessageMediaDocument {
                document: Some(Document::Document(document)),
                ..
            }) => document,
            other => panic!("{other:?}"),
        }
    }
}

pub fn outcome<T: Deserializable>(result: &[u8]) -> Result<T, String> {
    let value = match Outcome::parse(result).expect("an outcome") {
        Outcome::Value(value) => value.to_vec(),
        Outcome::GzipPacked(packed) => gzip::unpack(packed, 1 << 20).expect("packed"),
        Outcome::Error { code, message } => {
            return Err(format!("{code} {}", String::from_utf8_lossy(message)));
        }
    };
    Ok(T::from_bytes(&value).expect("what the schema says"))
}

pub fn key(session: &SessionDocument, dc: DcId) -> AuthKey {
    let dc = session
        .dcs
        .iter()
        .find(|one| one.id == dc)
        .expect("a key for it");
    let bytes = BASE64.decode(&dc.auth_key).expect("base64");
    AuthKey::new(bytes.try_into().expect("256 bytes"))
}

pub fn address(sim: &Sim, dc: DcId) -> SocketAddrV4 {
    let addresses = sim.telegram().addresses();
    addresses
        .iter()
        .find(|one| one.id == dc)
        .expect("it exists")
        .address
}

pub fn media_address(sim: &Sim, dc: DcId) -> SocketAddrV4 {
    let addresses = sim.telegram().addresses();
    addresses
        .iter()
        .find(|one| one.id == dc)
        .expect("it exists")
        .media_address
}

pub fn get_file(
    location: InputFileLocation,
    offset: i64,
    limit: i32,
) -> tl::functions::upload::GetFile {
    tl::functions::upload::GetFile {
        precise: false,
        cdn_supported: false,
        location,
        offset,
        limit,
    }
}

pub fn location(document: &tl::types::Document) -> tl::types::InputDocumentFileLocation {
    tl::types::InputDocumentFileLocation {
        id: document.id,
        access_hash: document.access_hash,
        file_reference: document.file_reference.clone(),
        thumb_size: String::new(),
    }
}

pub fn draft(dc: DcId, kind: MediaKind) -> Draft {
    Draft {
        chat_id: ChatId::of_channel(CHANNEL_ID),
        members: None,
        chat_title: None,
        text: String::new(),
        grouped_id: None,
        body: DraftBody::Media {
            dc,
            origin: Origin::Seed(3),
            size: SIZE,
            look: Look {
                kind,
                name: Some("name.bin".to_owned()),
                duration: Some(12.0),
                ..Look::default()
            },
        },
    }
}

pub async fn publish(sim: &Sim, dc: DcId, kind: MediaKind) -> i32 {
    sim.telegram()
        .publish(draft(dc, kind))
        .await
        .expect("published")
        .id
}

pub async fn start() -> (tempfile::TempDir, Sim) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sim = Sim::start(Options::in_dir(dir.path()))
        .await
        .expect("the stand-in starts");
    (dir, sim)
}

pub fn session(sim: &Sim, signed_in: SignedIn) -> SessionDocument {
    sim.telegram()
        .create_session(Identity::Bot, signed_in)
        .expect("a session")
}
