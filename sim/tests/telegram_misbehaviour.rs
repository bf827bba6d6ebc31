//! Everything the Telegram stand-in can be told to do to its answers: to their content, to the
//! manner in which they come, to their packets, and to the connection.

mod raw;

use std::time::Duration;

use grammers_tl_types as tl;
use mtproto::envelope::OpenError;
use mtproto::message::{Outcome, ParseError};
use mtproto::session::{Content, check_time};
use mtproto::transport::{CLIENT_FRAME_LIMIT, FrameError};
use mtproto::{Body, Decoder, Envelope, Side, Step, Transport, gzip};
use raw::{Client, PATIENCE, SIZE, address, get_file, location, publish, session, start};
use telestream_sim::Sim;
use telestream_sim::content::Content as FileContent;
use telestream_sim::telegram::faults::{
    Companion, DoorConduct, Effect, Fault, Forgery, KeySharing, Tale,
};
use telestream_sim::telegram::ids::{DcId, Door};
use telestream_sim::telegram::keys::{SessionDocument, SignedIn};
use telestream_sim::telegram::store::MediaKind;
use tl::Serializable;
use tl::enums::InputFileLocation;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: i32 = 4096;

/// A client that may fetch a file, and nothing left to read.
struct Scene {
    _dir: tempfile::TempDir,
    sim: Sim,
    session: SessionDocument,
    client: Client,
    file: InputFileLocation,
}

impl Scene {
    async fn new() -> Self {
        let (dir, sim) = start().await;
        let session = session(&sim, SignedIn::All);
        let id = publish(&sim, DcId(2), MediaKind::Document).await;
        let mut client = Client::ready(&sim, &session).await;
        let file = location(&client.document(id).await).into();
        Self {
            _dir: dir,
            sim,
            session,
            client,
            file,
        }
    }

    /// The next call of `upload.getFile` is befallen.
    fn once(&self, effect: Effect) {
        self.sim.telegram().add_fault(Fault {
            methods: vec!["upload.getFile".to_owned()],
            times: Some(1),
            ..Fault::of(effect)
        });
    }

    async fn ask(&mut self) -> mtproto::MsgId {
        self.client.ask(&self.file, 0, LIMIT).await
    }

    async fn piece(&mut self) -> Vec<u8> {
        let piece = self.client.file(self.file.clone(), 0, LIMIT).await;
        piece.expect("a piece")
    }
}

#[tokio::test]
async fn messages_say_of_their_documents_what_is_not_so() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let id = publish(&sim, DcId(2), MediaKind::Document).await;
    let mut client = Client::ready(&sim, &session).await;
    let real = client.document(id).await;
    for tale in [
        Tale::Size { bytes: 7 },
        Tale::Document { id: 8 },
        Tale::DataCentre { dc: DcId(4) },
        Tale::Protected,
        Tale::Edited { date: 9 },
    ] {
        sim.telegram().add_fault(Fault {
            times: Some(1),
            ..Fault::of(Effect::Tell(tale))
        });
        let told = client.document(id).await;
        let mut expected = real.clone();
        match tale {
            Tale::Size { bytes } => expected.size = bytes,
            Tale::Document { id } => expected.id = id,
            Tale::DataCentre { dc } => expected.dc_id = dc.0,
            Tale::Protected | Tale::Edited { .. } => {}
        }
        expected.file_reference.clone_from(&told.file_reference);
        assert_eq!(told, expected, "{tale:?}");
    }
    sim.stop().await;
}

fn expected() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let content = FileContent::generated(3, SIZE);
    content.read_at(0, &mut bytes).expect("generated");
    bytes
}

#[tokio::test]
async fn pieces_are_short_or_long_or_wrong() {
    let mut scene = Scene::new().await;
    scene.once(Effect::Short { bytes: 100 });
    assert_eq!(scene.piece().await, expected()[..3996]);
    scene.once(Effect::Short { bytes: 5000 });
    assert_eq!(scene.piece().await.len(), 0);
    scene.once(Effect::Long { bytes: 7 });
    let long = scene.piece().await;
    assert_eq!((long.len(), &long[..4096]), (4103, &expected()[..]));
    scene.once(Effect::WrongBytes);
    let wrong = scene.piece().await;
    let differ = wrong.iter().zip(expected()).filter(|(a, b)| **a != *b);
    assert_eq!((wrong.len(), differ.count()), (4096, 1));
    scene.once(Effect::CdnRedirect);
    let query = get_file(scene.file.clone(), 0, LIMIT);
    let redirected = scene.client.call(&query).await.expect("an answer");
    assert!(matches!(
        redirected,
        tl::enums::upload::File::CdnRedirect(_)
    ));
    assert_eq!(scene.piece().await, expected());
    scene.sim.stop().await;
}

#[tokio::test]
async fn an_answer_is_overtaken_by_as_many_as_asked() {
    let mut scene = Scene::new().await;
    scene.once(Effect::Hold { packets: 2 });
    let mut asked = Vec::new();
    // Too large to share a container
    for _ in 0..4 {
        asked.push(scene.client.ask(&scene.file, 0, 64 << 10).await);
    }
    let mut came = Vec::new();
    while came.len() < 4 {
        let received = scene.client.next().await;
        came.extend(asked.iter().position(|asked| received.answers(*asked)));
    }
    assert_eq!(came, [1, 2, 0, 3]);

    // Nothing else comes: it is let go after a while
    scene.once(Effect::Hold { packets: 2 });
    assert_eq!(scene.piece().await, expected());
    scene.sim.stop().await;
}

#[tokio::test]
async fn unasked_messages_come_before_an_answer_or_with_it() {
    let mut scene = Scene::new().await;
    let all = [
        Companion::Ack,
        Companion::NewSession,
        Companion::Update,
        Companion::StateRequest,
        Companion::ResendRequest,
        Companion::DetailedInfo,
        Companion::Pong,
    ];
    for (effect, containers) in [
        (Effect::Precede { by: all.to_vec() }, 0),
        (Effect::Contain { with: all.to_vec() }, 1),
    ] {
        scene.once(effect);
        scene.client.containers = 0;
        let asked = scene.ask().await;
        let mut came = Vec::new();
        for _ in 0..8 {
            came.push(scene.client.next().await);
        }
        assert_eq!(scene.client.containers, containers);
        let bodies: Vec<_> = came.iter().map(|one| Body::parse(&one.body)).collect();
        assert!(matches!(
            &bodies[..],
            [
                Ok(Body::MsgsAck(received)),
                Ok(Body::NewSession { first_msg_id, .. }),
                Ok(Body::Api(_)),
                Ok(Body::MsgsStateReq(_)),
                Ok(Body::MsgResendReq(_)),
                Ok(Body::MsgDetailedInfo { msg_id: None, .. }),
                Ok(Body::Pong { .. }),
                Ok(Body::RpcResult { .. }),
            ] if received == &[asked] && *first_msg_id == asked
        ));
        assert_eq!(came[7].piece(), expected());
        let rising = came.windows(2).all(|pair| pair[0].msg_id < pair[1].msg_id);
        assert!(rising, "{came:?}");
    }

    // Half a mebibyte fits, a whole one does not
    for (limit, containers) in [(512 << 10, 1), (1 << 20, 0)] {
        scene.once(Effect::Contain {
            with: vec![Companion::Ack],
        });
        scene.client.containers = 0;
        let piece = scene.client.file(scene.file.clone(), 0, limit).await;
        assert_eq!(
            piece.expect("a piece").len(),
            limit.cast_unsigned() as usize
        );
        assert_eq!(scene.client.containers, containers);
    }
    scene.once(Effect::Contain { with: Vec::new() });
    scene.client.containers = 0;
    scene.piece().await;
    assert_eq!(scene.client.containers, 1, "a container of one");
    scene.sim.stop().await;
}

#[tokio::test]
async fn an_answer_is_packed_and_padded_as_asked() {
    let mut scene = Scene::new().await;
    scene.once(Effect::Pack);
    let asked = scene.ask().await;
    let answer = scene.client.answer(asked).await;
    let Ok(Body::RpcResult { result, .. }) = Body::parse(&answer.body) else {
        panic!("{answer:?}");
    };
    assert!(matches!(Outcome::parse(result), Ok(Outcome::GzipPacked(_))));
    assert_eq!(answer.piece(), expected());
    for (bytes, least, most) in [(0, 12, 27), (500, 500, 515), (1024, 1009, 1024)] {
        scene.once(Effect::Pad { bytes });
        scene.piece().await;
        let padding = scene.client.padding;
        assert!((least..=most).contains(&padding), "{padding} for {bytes}");
    }
    scene.sim.stop().await;
}

#[tokio::test]
async fn an_answer_comes_twice_or_again() {
    let mut scene = Scene::new().await;
    scene.once(Effect::Twice);
    let asked = scene.ask().await;
    let (first, second) = (
        scene.client.answer(asked).await,
        scene.client.answer(asked).await,
    );
    assert_eq!((first.msg_id, first.body), (second.msg_id, second.body));

    scene.once(Effect::Redeliver { milliseconds: 50 });
    let asked = scene.ask().await;
    let first = scene.client.answer(asked).await;
    let again = scene.client.answer(asked).await;
    assert_eq!(first.msg_id, again.msg_id);

    // Unless it was acknowledged
    scene.once(Effect::Redeliver { milliseconds: 300 });
    let asked = scene.ask().await;
    let first = scene.client.answer(asked).await;
    scene
        .client
        .send_body(&Body::MsgsAck(vec![first.msg_id]))
        .await;
    scene.once(Effect::Delay { milliseconds: 500 });
    let later = scene.ask().await;
    assert!(scene.client.next().await.answers(later));
    scene.sim.stop().await;
}

#[tokio::test]
async fn a_whole_file_comes_through_all_of_it() {
    let mut scene = Scene::new().await;
    let manners = [
        (2, Effect::Hold { packets: 1 }),
        (3, Effect::Pack),
        (4, Effect::Pad { bytes: 1000 }),
        (
            5,
            Effect::Contain {
                with: vec![Companion::Ack, Companion::NewSession],
            },
        ),
        (
            6,
            Effect::Precede {
                by: vec![Companion::Update],
            },
        ),
        (7, Effect::Twice),
    ];
    for (every, effect) in manners {
        scene.sim.telegram().add_fault(Fault {
            methods: vec!["upload.getFile".to_owned()],
            every,
            ..Fault::of(effect)
        });
    }
    let step = 128 << 10;
    let mut whole = Vec::new();
    while (whole.len() as u64) < SIZE {
        let mut asked = Vec::new();
        for index in 0..4 {
            let offset = i64::try_from(whole.len()).expect("small") + index * step;
            let limit = i32::try_from(step).expect("small");
            asked.push((scene.client.ask(&scene.file, offset, limit).await, None));
        }
        while asked.iter().any(|(_, piece)| piece.is_none()) {
            let received = scene.client.next().await;
            if let Some((_, piece)) = asked.iter_mut().find(|(id, _)| received.answers(*id)) {
                *piece = Some(received.piece());
            }
        }
        whole.extend(asked.into_iter().filter_map(|(_, piece)| piece).flatten());
    }
    let mut expected = vec![0; whole.len()];
    let content = FileContent::generated(3, SIZE);
    content.read_at(0, &mut expected).expect("generated");
    assert!(whole == expected);
    let served = scene.sim.telegram().traffic().files;
    let again = served[0].bytes_again;
    assert_eq!(served[0].bytes, SIZE + again);
    assert!(
        again > 0 && again.is_multiple_of(step.unsigned_abs()),
        "{again}"
    );
    scene.sim.stop().await;
}

#[tokio::test]
async fn a_withheld_answer_comes_when_it_is_asked_for() {
    let mut scene = Scene::new().await;
    for again in ["resend", "repeat"] {
        scene.once(Effect::Withhold);
        let seq_no = scene.client.seq.next(Content::Unrelated) + 1;
        let asked = scene.ask().await;
        let told = scene.client.next().await;
        let Ok(Body::MsgDetailedInfo {
            msg_id: Some(msg_id),
            answer_msg_id,
            bytes,
            ..
        }) = Body::parse(&told.body)
        else {
            panic!("{told:?}");
        };
        assert_eq!(msg_id, asked);
        if again == "resend" {
            let resend = Body::MsgResendReq(vec![answer_msg_id]);
            scene.client.send_body(&resend).await;
        } else {
            let query = get_file(scene.file.clone(), 0, LIMIT).to_bytes();
            scene.client.send_as(asked, seq_no, &query).await;
        }
        let answer = scene.client.answer(asked).await;
        assert_eq!(answer.msg_id, answer_msg_id);
        assert_eq!(answer.body.len(), bytes.cast_unsigned() as usize);
        assert_eq!(answer.piece(), expected());
    }
    scene.sim.stop().await;
}

#[tokio::test]
async fn a_session_is_lost_with_what_is_unanswered_in_it() {
    let mut scene = Scene::new().await;
    scene.once(Effect::Delay { milliseconds: 100 });
    scene.sim.telegram().add_fault(Fault {
        methods: vec!["upload.getFile".to_owned()],
        skip: 1,
        times: Some(1),
        ..Fault::of(Effect::LoseSession)
    });
    let lost = scene.ask().await;
    let first = scene.ask().await;
    let told = scene.client.next().await;
    assert!(matches!(
        Body::parse(&told.body),
        Ok(Body::NewSession { first_msg_id, .. }) if first_msg_id == first
    ));
    assert_eq!(told.seq_no, 1, "it counts from the beginning");
    assert!(scene.client.next().await.answers(first));

    // What was sent before is answered when it is sent again, and only then
    scene.once(Effect::Delay { milliseconds: 300 });
    let again = scene.ask().await;
    let answer = scene.client.next().await;
    assert!(answer.answers(again) && !answer.answers(lost));
    scene.sim.stop().await;
}

#[tokio::test]
async fn salts_change_in_mid_stream() {
    let mut scene = Scene::new().await;
    let salt = scene.client.salt;
    scene.once(Effect::RotateSalts);
    let asked = scene.ask().await;
    assert_eq!(scene.client.answer(asked).await.piece(), expected());
    assert_eq!(scene.client.salt, salt);
    assert_eq!(scene.piece().await, expected());
    assert_ne!(
        scene.client.salt, salt,
        "the next call was told the new one"
    );
    scene.sim.stop().await;
}

#[tokio::test]
async fn a_connection_stalls_in_mid_frame_and_stays_open() {
    let mut scene = Scene::new().await;
    scene.once(Effect::Stall { bytes: 1000 });
    scene.ask().await;
    scene.client.raw(1000).await;
    scene.client.send_body(&Body::Ping { ping_id: 1 }).await;
    scene.ask().await;
    let silence = Duration::from_millis(300);
    let more = timeout(silence, scene.client.stream.read(&mut [0; 1])).await;
    assert!(more.is_err(), "{more:?}");
    // Others are served
    let mut other = Client::at_media(&scene.sim, &scene.session, 5).await;
    assert!(other.file(scene.file.clone(), 0, LIMIT).await.is_ok());
    scene.sim.stop().await;
}

#[tokio::test]
async fn a_connection_ends_in_mid_frame() {
    let mut scene = Scene::new().await;
    scene.once(Effect::Cut { bytes: 1000 });
    scene.ask().await;
    let mut all = Vec::new();
    let ended = timeout(PATIENCE, scene.client.stream.read_to_end(&mut all)).await;
    // A reset is an end, too.
    let _ = ended.expect("it ends");
    assert_eq!(all.len(), 1000);
    scene.sim.stop().await;
}

#[tokio::test]
async fn forged_packets_are_what_a_client_must_refuse() {
    for (forgery, refusal) in [
        (Forgery::KeyId, OpenError::KeyId),
        (Forgery::MsgKey, OpenError::MsgKey),
        (Forgery::Blocks, OpenError::Blocks),
        (Forgery::Session, OpenError::Session),
        (Forgery::NegativeLength, OpenError::Length),
        (Forgery::UnevenLength, OpenError::Length),
        (Forgery::LongLength, OpenError::Length),
        (Forgery::ShortPadding, OpenError::Padding(8)),
        (Forgery::ClientId, OpenError::Parity),
    ] {
        let mut scene = Scene::new().await;
        scene.once(Effect::Forge(forgery));
        scene.ask().await;
        assert_eq!(open(&mut scene.client).await.err(), Some(refusal));
    }
    let mut scene = Scene::new().await;
    scene.once(Effect::Forge(Forgery::LongPadding));
    scene.ask().await;
    let refused = open(&mut scene.client).await.err();
    assert!(matches!(refused, Some(OpenError::Padding(1025..))));
}

/// Reads a frame and opens its packet as a client should.
async fn open(client: &mut Client) -> Result<(i64, Vec<u8>), OpenError> {
    let head = client.raw(4).await;
    let length = u32::from_le_bytes(head.try_into().expect("four bytes"));
    let mut packet = client.raw(length.try_into().expect("not much")).await;
    let envelope = Envelope::new(&client.key, Side::Server).of_session(client.session_id);
    let opened = envelope.open(&mut packet)?;
    Ok((opened.header.msg_id.0, packet[opened.body].to_vec()))
}

#[tokio::test]
async fn genuine_packets_say_what_no_client_may_believe() {
    let mut scene = Scene::new().await;
    let now = || {
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH)
            .expect("past 1970")
    };
    for (forgery, code) in [(Forgery::OldId, 16), (Forgery::FutureId, 17)] {
        scene.once(Effect::Forge(forgery));
        scene.ask().await;
        let (id, _) = open(&mut scene.client).await.expect("genuine");
        let judged = check_time(mtproto::MsgId(id), now());
        assert_eq!(judged.map_err(mtproto::BadMsgCode::code), Err(code));
    }
    scene.once(Effect::Forge(Forgery::NestedContainer));
    scene.ask().await;
    let (_, body) = open(&mut scene.client).await.expect("genuine");
    assert_eq!(Body::parse(&body), Err(ParseError::Nested));

    scene.once(Effect::Forge(Forgery::GzipBomb));
    let asked = scene.ask().await;
    let (_, body) = open(&mut scene.client).await.expect("genuine");
    let Ok(Body::RpcResult { req_msg_id, result }) = Body::parse(&body) else {
        panic!("a result");
    };
    assert_eq!(req_msg_id, asked);
    let Ok(Outcome::GzipPacked(packed)) = Outcome::parse(result) else {
        panic!("a packed result");
    };
    assert!(packed.len() < 1 << 20 && gzip::unpack(packed, 16 << 20).is_err());
    assert_eq!(scene.piece().await, expected(), "and all is well again");
    scene.sim.stop().await;
}

#[tokio::test]
async fn frames_are_too_large_or_quick_acknowledgements() {
    for transport in [
        Transport::Intermediate,
        Transport::Abridged,
        Transport::Full,
    ] {
        for forgery in [Forgery::HugeFrame, Forgery::QuickAck] {
            let scene = Scene::new().await;
            let mut client = Client::connect(
                address(&scene.sim, DcId(2)),
                raw::key(&scene.session, DcId(2)),
                transport,
            )
            .await;
            client.session_id = 99;
            client.init().await;
            scene.once(Effect::Forge(forgery));
            client.ask(&scene.file, 0, LIMIT).await;
            let first = client.raw(4).await;
            let mut decoder = Decoder::new(transport, Side::Server, CLIENT_FRAME_LIMIT);
            let polled = decoder.poll(&first);
            match (forgery, transport) {
                (Forgery::HugeFrame, _) => {
                    assert!(
                        matches!(polled, Err(FrameError::TooLarge { .. })),
                        "{polled:?}"
                    );
                }
                (_, Transport::Full) => assert!(matches!(polled, Ok(Step::Code { .. }))),
                _ => assert_eq!(polled, Err(FrameError::QuickAck)),
            }
            scene.sim.stop().await;
        }
    }
}

#[tokio::test]
async fn a_door_is_shut_or_deaf_or_leads_elsewhere() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    let media = raw::media_address(&sim, DcId(2));
    let set = |conduct| sim.telegram().set_door(DcId(2), Door::Media, conduct);
    set(DoorConduct::Close);
    let mut stream = TcpStream::connect(media).await.expect("it listens");
    let end = timeout(PATIENCE, stream.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");

    set(DoorConduct::Ignore);
    let key = raw::key(&session, DcId(2));
    let mut ignored = Client::connect(media, key, Transport::Intermediate).await;
    ignored.send_body(&Body::Ping { ping_id: 1 }).await;
    let silence = Duration::from_millis(200);
    let end = timeout(silence, ignored.stream.read(&mut [0; 1])).await;
    assert!(end.is_err(), "{end:?}");

    let to = raw::media_address(&sim, DcId(4));
    set(DoorConduct::PassOn { to });
    let key = raw::key(&session, DcId(4));
    let mut passed = Client::connect(media, key, Transport::Intermediate).await;
    passed.init().await;

    set(DoorConduct::Serve);
    Client::at_media(&sim, &session, 5).await;
    sim.stop().await;
}

#[tokio::test]
async fn a_key_used_on_two_connections_at_once_is_dead() {
    let mut scene = Scene::new().await;
    let state = tl::functions::updates::GetState {};
    // A client that moved to another connection has done nothing wrong
    let mut moved = Client::home(&scene.sim, &scene.session).await;
    moved.session_id = 2;
    moved.init().await;
    assert!(moved.call(&state).await.is_ok());
    // Nor has one that fetches files on several
    let mut one = Client::at_media(&scene.sim, &scene.session, 3).await;
    let mut two = Client::at_media(&scene.sim, &scene.session, 4).await;
    for client in [&mut one, &mut two] {
        assert!(client.file(scene.file.clone(), 0, LIMIT).await.is_ok());
    }
    assert!(one.file(scene.file.clone(), 0, LIMIT).await.is_ok());
    // But the first one comes back while the second is open
    let duplicated = scene.client.call(&state).await;
    assert_eq!(duplicated.err().as_deref(), Some("406 AUTH_KEY_DUPLICATED"));
    for client in [&mut moved, &mut one] {
        let dead = client.file(scene.file.clone(), 0, LIMIT).await;
        assert_eq!(dead.err().as_deref(), Some("406 AUTH_KEY_DUPLICATED"));
    }
    scene.sim.telegram().set_key_sharing(KeySharing::Allow);
    assert!(moved.call(&state).await.is_ok());
    scene.sim.stop().await;
}
