//! The stand-in for Telegram by its own rules: what it refuses and how, what it remembers, what
//! it sends again. The client here is a few lines over `mtproto`; that the two understand other
//! people's programs is shown elsewhere.

mod raw;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grammers_tl_types as tl;
use mtproto::session::Content;
use mtproto::{AuthKey, Body, Side, Transport, TransportCode, ige};
use raw::{
    Client, PATIENCE, Received, SIZE, address, key, location, media_address, publish, session,
    start,
};
use telestream_sim::content::Content as FileContent;
use telestream_sim::telegram::faults::{Effect, Fault};
use telestream_sim::telegram::ids::DcId;
use telestream_sim::telegram::keys::SignedIn;
use telestream_sim::telegram::store::MediaKind;
use telestream_sim::{Options, Sim};
use tl::Serializable;
use tl::enums::{DocumentAttribute as Attribute, MessageMedia};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

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
async fn packets_that_are_sealed_wrongly_close_the_connection() {
    let (_dir, sim) = start().await;
    let session = session(&sim, SignedIn::All);
    // Length and padding, in bytes; then what is done to a byte of the ciphertext, and how much of
    // its end is left out
    for (length, padding, flip, cut) in [
        (16, 0, 0, 0),
        (16, 1040, 0, 0),
        (-4, 16, 0, 0),
        (15, 16, 0, 0),
        (16, 16, 1, 0),
        (16, 16, 0, 8),
    ] {
        let mut client = Client::home(&sim, &session).await;
        let mut plain = vec![0; 32 + 16 + padding];
        plain[28..32].copy_from_slice(&i32::to_le_bytes(length));
        let msg_key = client.key.msg_key(Side::Client, &plain);
        ige::encrypt(&client.key.ige_key(Side::Client, &msg_key), &mut plain);
        plain[40] ^= flip;
        plain.truncate(plain.len() - cut);
        let packet = [&client.key.id().to_bytes()[..], msg_key.as_bytes(), &plain].concat();
        let length_of_frame = u32::try_from(packet.len()).expect("small").to_le_bytes();
        let frame = [&length_of_frame[..], &packet].concat();
        client.stream.write_all(&frame).await.expect("it reads");
        let mut end = Vec::new();
        let closed = timeout(PATIENCE, client.stream.read_to_end(&mut end)).await;
        assert!(
            closed.is_ok() && end.is_empty(),
            "{length} {padding} {flip} {cut}"
        );
    }
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
    let media = media_address(&sim, DcId(2));
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
        times: Some(1),
        ..Fault::of(effect)
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
