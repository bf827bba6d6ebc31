//! The stand-in for Telegram by its own rules: what it refuses and how, what it remembers, what
//! it sends again. The client here is a few lines over `mtproto`; that the two understand other
//! people's programs is shown elsewhere.

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
use telestream_sim::content::Content as FileContent;
use telestream_sim::telegram::faults::{Effect, Fault};
use telestream_sim::telegram::ids::{ChatId, DcId, Identity};
use telestream_sim::telegram::keys::{SessionDocument, SignedIn};
use telestream_sim::telegram::store::{Draft, DraftBody, Look, MediaKind, Origin};
use telestream_sim::{Options, Sim};
use tl::enums::{Document, DocumentAttribute as Attribute, InputFileLocation, MessageMedia};
use tl::{Deserializable, RemoteCall, Serializable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CHANNEL_ID: i64 = 1_234_567_890;
const SIZE: u64 = 3 * (1 << 20) + 777;
const PATIENCE: Duration = Duration::from_secs(20);

/// A message from the stand-in.
#[derive(Clone, Debug)]
struct Received {
    msg_id: MsgId,
    seq_no: i32,
    body: Vec<u8>,
}

/// The sending and receiving half of a client, as plain as can be.
struct Client {
    stream: TcpStream,
    encoder: Encoder,
    decoder: Decoder,
    key: AuthKey,
    session_id: i64,
    salt: i64,
    ids: MsgIds,
    seq: SeqNos,
    bytes: Vec<u8>,
    inbox: VecDeque<Received>,
}

impl Client {
    async fn connect(address: SocketAddrV4, key: AuthKey, transport: Transport) -> Self {
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
        }
    }

    /// A client of the home data centre that has said who it is.
    async fn ready(sim: &Sim, session: &SessionDocument) -> Self {
        let mut client = Self::home(sim, session).await;
        client.init().await;
        client
    }

    async fn home(sim: &Sim, session: &SessionDocument) -> Self {
        let key = key(session, session.home_dc);
        Self::connect(address(sim, session.home_dc), key, Transport::Intermediate).await
    }

    /// Names its layer, as the first call of every client does.
    async fn init(&mut self) {
        let config: tl::enums::Config = self
            .call_inited(tl::functions::help::GetConfig {})
            .await
            .expect("a config");
        let tl::enums::Config::Config(config) = config;
        assert!(config.dc_options.len() >= 6);
    }

    async fn call_inited<R: RemoteCall>(&mut self, query: R) -> Result<R::Return, String> {
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

    async fn send(&mut self, content: Content, body: &[u8]) -> MsgId {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("past 1970");
        let msg_id = self.ids.next(now, IdKind::Client);
        let seq_no = self.seq.next(content);
        self.send_as(msg_id, seq_no, body).await;
        msg_id
    }

    async fn send_as(&mut self, msg_id: MsgId, seq_no: i32, body: &[u8]) {
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

    async fn send_body(&mut self, body: &Body<'_>) -> MsgId {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        self.send(Content::Unrelated, &bytes).await
    }

    /// The next frame: its packets, or the code by which the connection is refused.
    async fn frame(&mut self) -> Result<(), TransportCode> {
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

    fn open(&mut self, payload: std::ops::Range<usize>) {
        let packet = &mut self.bytes[payload];
        let envelope = Envelope::new(&self.key, Side::Server).of_session(self.session_id);
        let opened = envelope.open(packet).expect("a packet for this session");
        let outer = Received {
            msg_id: opened.header.msg_id,
            seq_no: opened.header.seq_no,
            body: packet[opened.body].to_vec(),
        };
        match Body::parse(&outer.body).expect("a body") {
            Body::Container(messages) => {
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

    async fn next(&mut self) -> Received {
        while self.inbox.is_empty() {
            self.frame().await.expect("not refused");
        }
        self.inbox.pop_front().expect("not empty")
    }

    /// Calls a method, taking up a new salt if need be.
    async fn call<R: RemoteCall>(&mut self, query: &R) -> Result<R::Return, String> {
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

    async fn file(
        &mut self,
        location: InputFileLocation,
        offset: i64,
        limit: i32,
    ) -> Result<Vec<u8>, String> {
        let query = tl::functions::upload::GetFile {
            precise: false,
            cdn_supported: false,
            location,
            offset,
            limit,
        };
        match self.call(&query).await? {
            tl::enums::upload::File::File(file) => Ok(file.bytes),
            tl::enums::upload::File::CdnRedirect(_) => panic!("there is no CDN"),
        }
    }

    async fn media(&mut self, id: i32) -> MessageMedia {
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

    async fn document(&mut self, id: i32) -> tl::types::Document {
        match self.media(id).await {
            MessageMedia::Document(tl::types::MessageMediaDocument {
                document: Some(Document::Document(document)),
                ..
            }) => document,
            other => panic!("{other:?}"),
        }
    }
}

fn outcome<T: Deserializable>(result: &[u8]) -> Result<T, String> {
    let value = match Outcome::parse(result).expect("an outcome") {
        Outcome::Value(value) => value.to_vec(),
        Outcome::GzipPacked(packed) => gzip::unpack(packed, 1 << 20).expect("packed"),
        Outcome::Error { code, message } => {
            return Err(format!("{code} {}", String::from_utf8_lossy(message)));
        }
    };
    Ok(T::from_bytes(&value).expect("what the schema says"))
}

fn key(session: &SessionDocument, dc: DcId) -> AuthKey {
    let dc = session
        .dcs
        .iter()
        .find(|one| one.id == dc)
        .expect("a key for it");
    let bytes = BASE64.decode(&dc.auth_key).expect("base64");
    AuthKey::new(bytes.try_into().expect("256 bytes"))
}

fn address(sim: &Sim, dc: DcId) -> SocketAddrV4 {
    let addresses = sim.telegram().addresses();
    addresses
        .iter()
        .find(|one| one.id == dc)
        .expect("it exists")
        .address
}

fn location(document: &tl::types::Document) -> tl::types::InputDocumentFileLocation {
    tl::types::InputDocumentFileLocation {
        id: document.id,
        access_hash: document.access_hash,
        file_reference: document.file_reference.clone(),
        thumb_size: String::new(),
    }
}

fn draft(dc: DcId, kind: MediaKind) -> Draft {
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

async fn publish(sim: &Sim, dc: DcId, kind: MediaKind) -> i32 {
    sim.telegram()
        .publish(draft(dc, kind))
        .await
        .expect("published")
        .id
}

async fn start() -> (tempfile::TempDir, Sim) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sim = Sim::start(Options::in_dir(dir.path()))
        .await
        .expect("the stand-in starts");
    (dir, sim)
}

fn session(sim: &Sim, signed_in: SignedIn) -> SessionDocument {
    sim.telegram()
        .create_session(Identity::Bot, signed_in)
        .expect("a session")
}

#[tokio::test]
async fn an_unknown_key_is_refused_in_every_transport() {
    let (_dir, sim) = start().await;
    for transport in [
        Transport::Full,
        Transport::Intermediate,
        Transport::PaddedIntermediate,
        Transport::Abridged,
    ] {
        let mut client =
            Client::connect(address(&sim, DcId(2)), AuthKey::new([9; 256]), transport).await;
        client.send_body(&Body::Ping { ping_id: 1 }).await;
        assert_eq!(
            client.frame().await,
            Err(TransportCode::UNKNOWN_KEY),
            "{transport:?}"
        );
    }
    let home_alone = session(&sim, SignedIn::All);
    let mut elsewhere = Client::connect(
        address(&sim, DcId(4)),
        key(&home_alone, DcId(2)),
        Transport::Full,
    )
    .await;
    elsewhere.send_body(&Body::Ping { ping_id: 1 }).await;
    assert_eq!(
        elsewhere.frame().await,
        Err(TransportCode::UNKNOWN_KEY),
        "a key of another data centre"
    );
    sim.stop().await;
}

#[tokio::test]
async fn noise_closes_the_connection_and_nothing_else() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    for noise in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xee; 64],
        &[0xef, 0xff, 1, 2, 3, 4, 5, 6],
        &[0; 4096],
    ] {
        let mut stream = TcpStream::connect(address(&sim, DcId(2)))
            .await
            .expect("it listens");
        stream.write_all(noise).await.expect("it reads");
        let mut end = Vec::new();
        let closed = timeout(PATIENCE, stream.read_to_end(&mut end))
            .await
            .expect("closed");
        assert!(end.is_empty(), "{closed:?}");
    }
    Client::ready(&sim, &session).await;
    sim.stop().await;
}

#[tokio::test]
async fn sessions_and_messages_outlive_a_restart() {
    // Given a session that has fetched a message
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sim = Sim::start(Options::in_dir(dir.path()))
        .await
        .expect("the stand-in starts");
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let before = Client::ready(&sim, &session).await.document(id).await;
    sim.stop().await;

    // When the stand-in is started again
    let sim = Sim::start(Options::in_dir(dir.path()))
        .await
        .expect("the stand-in starts");

    // Then the session, the message and even the file reference still serve
    let mut client = Client::ready(&sim, &session).await;
    let after = client.document(id).await;
    assert_eq!(
        (before.id, before.access_hash),
        (after.id, after.access_hash)
    );
    let bytes = client.file(location(&before).into(), 0, 4096).await;
    assert_eq!(bytes.expect("the old reference").len(), 4096);
    sim.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_not_acknowledged_is_sent_again_on_the_next_connection() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    // Given an answer received but never acknowledged
    let mut client = Client::ready(&sim, &session).await;
    let asked = client
        .send(
            Content::Related,
            &tl::functions::updates::GetState {}.to_bytes(),
        )
        .await;
    let answered = loop {
        let received = client.next().await;
        if matches!(Body::parse(&received.body), Ok(Body::RpcResult { req_msg_id, .. }) if req_msg_id == asked)
        {
            break received;
        }
    };

    // When the session comes back on another connection
    let mut again = Client::home(&sim, &session).await;
    again.salt = client.salt;
    again.ids = client.ids;
    again.seq = client.seq;
    again.send_body(&Body::Ping { ping_id: 5 }).await;

    // Then the same message comes again
    let repeated = loop {
        let received = again.next().await;
        if received.msg_id == answered.msg_id {
            break received;
        }
    };
    assert_eq!(
        (repeated.seq_no, &repeated.body),
        (answered.seq_no, &answered.body)
    );

    // And not once more after it was acknowledged
    let acks = again
        .inbox
        .iter()
        .map(|left| left.msg_id)
        .chain([repeated.msg_id])
        .collect();
    again.send_body(&Body::MsgsAck(acks)).await;
    again.send_body(&Body::Ping { ping_id: 6 }).await;
    while !matches!(
        Body::parse(&again.next().await.body),
        Ok(Body::Pong { ping_id: 6, .. })
    ) {}
    let mut third = Client::home(&sim, &session).await;
    third.salt = again.salt;
    third.ids = again.ids;
    third.seq = again.seq;
    third.send_body(&Body::Ping { ping_id: 7 }).await;
    third.send_body(&Body::Ping { ping_id: 8 }).await;
    loop {
        let received = third.next().await;
        assert_ne!(received.msg_id, answered.msg_id);
        if matches!(
            Body::parse(&received.body),
            Ok(Body::Pong { ping_id: 8, .. })
        ) {
            break;
        }
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_call_sent_twice_is_made_once() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let mut client = Client::ready(&sim, &session).await;
    let query = tl::functions::updates::GetState {}.to_bytes();
    let asked = client.send(Content::Related, &query).await;
    let answer_of = |received: &Received| matches!(Body::parse(&received.body), Ok(Body::RpcResult { req_msg_id, .. }) if req_msg_id == asked);
    let first = loop {
        let received = client.next().await;
        if answer_of(&received) {
            break received;
        }
    };
    client.send_as(asked, 3, &query).await;
    let second = loop {
        let received = client.next().await;
        if answer_of(&received) {
            break received;
        }
    };
    assert_eq!(first.msg_id, second.msg_id);
    sim.stop().await;
}

#[tokio::test]
async fn new_salts_and_a_wrong_clock_are_told() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let mut client = Client::ready(&sim, &session).await;
    let salt = client.salt;
    sim.telegram().rotate_salts();
    let state = client.call(&tl::functions::updates::GetState {}).await;
    assert!(state.is_ok());
    assert_ne!(client.salt, salt);

    for (offset, code) in [(3600, 16), (-3600, 17)] {
        sim.telegram().set_clock_offset(offset);
        client.send_body(&Body::Ping { ping_id: 1 }).await;
        let received = client.next().await;
        let Ok(Body::BadMsg { code: told, .. }) = Body::parse(&received.body) else {
            panic!("{received:?}");
        };
        assert_eq!(told.code(), code);
        let ahead = received.msg_id.seconds() - client_seconds();
        assert!(
            (ahead - offset).abs() < 60,
            "the answer's id tells the time, not {ahead}"
        );
    }
    sim.stop().await;
}

fn client_seconds() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("past 1970");
    now.as_secs().cast_signed()
}

#[tokio::test]
async fn keys_that_are_not_signed_in_may_do_little() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::None);
    let mut client = Client::home(&sim, &session).await;
    let early = client.call(&tl::functions::updates::GetState {}).await;
    assert_eq!(early.err().as_deref(), Some("400 CONNECTION_NOT_INITED"));
    client.init().await;
    let state = client.call(&tl::functions::updates::GetState {}).await;
    assert_eq!(state.err().as_deref(), Some("401 AUTH_KEY_UNREGISTERED"));
    sim.stop().await;
}

#[tokio::test]
async fn authorizations_go_to_other_data_centres_alone() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::Home);
    let mut home = Client::ready(&sim, &session).await;
    for dc_id in [2, 9] {
        let own = home
            .call(&tl::functions::auth::ExportAuthorization { dc_id })
            .await;
        assert_eq!(own.err().as_deref(), Some("400 DC_ID_INVALID"));
    }
    let exported = home
        .call(&tl::functions::auth::ExportAuthorization { dc_id: 4 })
        .await;
    let tl::enums::auth::ExportedAuthorization::Authorization(exported) =
        exported.expect("exported");

    let import = tl::functions::auth::ImportAuthorization {
        id: exported.id,
        bytes: exported.bytes,
    };
    for (dc, works) in [(1, false), (4, true)] {
        let dc = DcId(dc);
        let mut there =
            Client::connect(address(&sim, dc), key(&session, dc), Transport::Abridged).await;
        there.init().await;
        let before = there.call(&tl::functions::updates::GetState {}).await;
        assert_eq!(before.err().as_deref(), Some("401 AUTH_KEY_UNREGISTERED"));
        let imported = there.call(&import).await;
        assert_eq!(imported.is_ok(), works);
        assert_eq!(
            there
                .call(&tl::functions::updates::GetState {})
                .await
                .is_ok(),
            works
        );
    }
    sim.stop().await;
}

#[tokio::test]
async fn files_are_given_by_the_documented_rules() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let here = publish(&sim, DcId(2), MediaKind::Document).await;
    let there = publish(&sim, DcId(4), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let document = client.document(here).await;
    assert_eq!((document.size.unsigned_abs(), document.dc_id), (SIZE, 2));
    let good = location(&document);

    let mut whole = Vec::new();
    while (whole.len() as u64) < SIZE {
        let offset = i64::try_from(whole.len()).expect("small");
        whole.extend(
            client
                .file(good.clone().into(), offset, 512 << 10)
                .await
                .expect("a piece"),
        );
    }
    let mut expected = vec![0; whole.len()];
    FileContent::generated(3, SIZE)
        .read_at(0, &mut expected)
        .expect("generated");
    assert!(whole == expected);
    assert_eq!(
        client.file(good.clone().into(), 8 << 20, 4096).await,
        Ok(Vec::new()),
        "beyond the end"
    );

    let with = |change: fn(&mut tl::types::InputDocumentFileLocation)| {
        let mut location = good.clone();
        change(&mut location);
        location
    };
    let elsewhere = location(&client.document(there).await);
    for (location, offset, limit, error) in [
        (good.clone(), 1024, 4096, "400 OFFSET_INVALID"),
        (good.clone(), 0, 1000, "400 LIMIT_INVALID"),
        (with(|l| l.id += 1), 0, 4096, "400 FILE_ID_INVALID"),
        (with(|l| l.access_hash += 1), 0, 4096, "400 FILE_ID_INVALID"),
        (
            with(|l| l.file_reference[0] ^= 1),
            0,
            4096,
            "400 FILE_REFERENCE_INVALID",
        ),
        (
            with(|l| l.thumb_size = "m".to_owned()),
            0,
            4096,
            "400 LOCATION_INVALID",
        ),
        (elsewhere, 0, 4096, "303 FILE_MIGRATE_4"),
    ] {
        let refused = client.file(location.into(), offset, limit).await;
        assert_eq!(refused.err().as_deref(), Some(error));
    }
    sim.stop().await;
}

#[tokio::test]
async fn an_expired_reference_is_renewed_by_fetching_the_message_again() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let old = location(&client.document(id).await);
    sim.telegram().expire_file_references();
    let expired = client.file(old.into(), 0, 4096).await;
    assert_eq!(expired.err().as_deref(), Some("400 FILE_REFERENCE_EXPIRED"));
    let fresh = location(&client.document(id).await);
    assert!(client.file(fresh.into(), 0, 4096).await.is_ok());
    sim.stop().await;
}

#[tokio::test]
async fn a_reference_grows_old() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut options = Options::in_dir(dir.path());
    options.telegram.file_reference_ttl = Duration::from_secs(100);
    let sim = Sim::start(options).await.expect("the stand-in starts");
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let old = location(&client.document(id).await);
    for (seconds, works) in [(90, true), (110, false)] {
        sim.telegram().set_clock_offset(seconds);
        client.init().await;
        assert_eq!(
            client.file(old.clone().into(), 0, 4096).await.is_ok(),
            works
        );
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_door_for_files_serves_files_alone() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let document = Client::ready(&sim, &session).await.document(id).await;
    let media = sim.telegram().addresses()[1].media_address;
    let mut client = Client::connect(media, key(&session, DcId(2)), Transport::Intermediate).await;
    client.session_id = 78;
    client.init().await;
    assert!(
        client
            .file(location(&document).into(), 0, 1 << 20)
            .await
            .is_ok()
    );
    let state = client.call(&tl::functions::updates::GetState {}).await;
    assert_eq!(state.err().as_deref(), Some("400 METHOD_INVALID"));
    sim.stop().await;
}

#[tokio::test]
async fn hashes_are_those_of_the_bytes() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let document = client.document(id).await;
    let query = tl::functions::upload::GetFileHashes {
        location: location(&document).into(),
        offset: 3 << 20,
    };
    let hashes = client.call(&query).await.expect("hashes");
    let [tl::enums::FileHash::Hash(last)] = &hashes[..] else {
        panic!("{hashes:?}");
    };
    assert_eq!((last.offset, last.limit), (3 << 20, 777));
    let content = FileContent::generated(3, SIZE);
    assert_eq!(
        last.hash,
        content.sha256_of(3 << 20, SIZE).expect("generated")
    );
    sim.stop().await;
}

#[tokio::test]
async fn the_configuration_tells_both_doors_of_every_data_centre() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let mut client = Client::ready(&sim, &session).await;
    let config = client
        .call(&tl::functions::help::GetConfig {})
        .await
        .expect("a config");
    let tl::enums::Config::Config(config) = config;
    for centre in sim.telegram().addresses() {
        for (address, media_only) in [(centre.address, false), (centre.media_address, true)] {
            let told = config.dc_options.iter().any(|option| {
                let tl::enums::DcOption::Option(option) = option;
                option.id == centre.id.0
                    && option.ip_address == address.ip().to_string()
                    && option.port == i32::from(address.port())
                    && option.media_only == media_only
                    && option.r#static != media_only
                    && !option.ipv6
            });
            assert!(told, "{centre:?}");
        }
    }
    sim.stop().await;
}

#[tokio::test]
async fn every_kind_of_media_looks_like_it() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let mut client = Client::ready(&sim, &session).await;
    let is_kind = |kind, attributes: &[Attribute]| {
        let has = |wanted: fn(&Attribute) -> bool| attributes.iter().any(wanted);
        match kind {
            MediaKind::Video => has(|a| matches!(a, Attribute::Video(v) if !v.round_message)),
            MediaKind::VideoNote => has(|a| matches!(a, Attribute::Video(v) if v.round_message)),
            MediaKind::Animation => has(|a| matches!(a, Attribute::Animated)),
            MediaKind::Audio => {
                has(|a| matches!(a, Attribute::Audio(v) if !v.voice && v.duration == 12))
            }
            MediaKind::Voice => has(|a| matches!(a, Attribute::Audio(v) if v.voice)),
            MediaKind::Sticker => has(|a| matches!(a, Attribute::Sticker(_))),
            _ => has(|a| matches!(a, Attribute::Filename(f) if f.file_name == "name.bin")),
        }
    };
    for kind in [
        MediaKind::Document,
        MediaKind::Video,
        MediaKind::VideoNote,
        MediaKind::Animation,
        MediaKind::Audio,
        MediaKind::Voice,
        MediaKind::Sticker,
    ] {
        let id = publish(&sim, DcId(2), kind).await;
        let document = client.document(id).await;
        assert!(
            is_kind(kind, &document.attributes),
            "{kind:?}: {:?}",
            document.attributes
        );
    }
    let id = publish(&sim, DcId(2), MediaKind::Photo).await;
    let MessageMedia::Photo(photo) = client.media(id).await else {
        panic!("a photo");
    };
    let Some(tl::enums::Photo::Photo(photo)) = photo.photo else {
        panic!("a photo");
    };
    let smallest = tl::types::InputPhotoFileLocation {
        id: photo.id,
        access_hash: photo.access_hash,
        file_reference: photo.file_reference,
        thumb_size: "m".to_owned(),
    };
    let bytes = client
        .file(smallest.into(), 0, 1 << 20)
        .await
        .expect("a photo");
    assert_eq!(bytes.len() as u64, SIZE / 16);
    sim.stop().await;
}

fn fault(effect: Effect) -> Fault {
    Fault {
        methods: vec!["upload.getFile".to_owned()],
        dcs: Vec::new(),
        skip: 0,
        times: Some(1),
        effect,
    }
}

#[tokio::test]
async fn what_is_to_go_wrong_goes_wrong() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let file = location(&client.document(id).await);

    // An error, once
    let error = Effect::Error {
        code: 420,
        message: "FLOOD_PREMIUM_WAIT_2".to_owned(),
    };
    sim.telegram().add_fault(fault(error));
    let flooded = client.file(file.clone().into(), 0, 4096).await;
    assert_eq!(flooded.err().as_deref(), Some("420 FLOOD_PREMIUM_WAIT_2"));
    assert!(client.file(file.clone().into(), 0, 4096).await.is_ok());

    // A lost answer: the next one comes without it
    sim.telegram().add_fault(fault(Effect::Lose));
    let query = tl::functions::upload::GetFile {
        precise: false,
        cdn_supported: false,
        location: file.clone().into(),
        offset: 0,
        limit: 4096,
    };
    let lost = client.send(Content::Related, &query.to_bytes()).await;
    assert!(
        client
            .call(&tl::functions::updates::GetState {})
            .await
            .is_ok()
    );
    let answered = client.inbox.iter().any(|received| {
        matches!(Body::parse(&received.body), Ok(Body::RpcResult { req_msg_id, .. }) if req_msg_id == lost)
    });
    assert!(!answered);

    // A late answer is overtaken
    sim.telegram()
        .add_fault(fault(Effect::Delay { milliseconds: 300 }));
    let late = client.send(Content::Related, &query.to_bytes()).await;
    let began = std::time::Instant::now();
    assert!(
        client
            .call(&tl::functions::updates::GetState {})
            .await
            .is_ok()
    );
    loop {
        let received = client.next().await;
        if matches!(Body::parse(&received.body), Ok(Body::RpcResult { req_msg_id, .. }) if req_msg_id == late)
        {
            break;
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(290));

    // A slow link
    sim.telegram().set_rate(std::num::NonZeroU64::new(1 << 20));
    let began = std::time::Instant::now();
    assert!(client.file(file.into(), 0, 512 << 10).await.is_ok());
    assert!(began.elapsed() >= Duration::from_millis(400));
    sim.telegram().set_rate(None);

    // A refused connection
    sim.telegram()
        .add_fault(fault(Effect::Refuse { code: -429 }));
    client.send(Content::Related, &query.to_bytes()).await;
    assert_eq!(client.frame().await, Err(TransportCode::FLOOD));
    sim.stop().await;
}
