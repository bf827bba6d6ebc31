//! Packets sealed by other people's libraries, with keys, salts and ids that were fixed once.
//! They are here because `mtproto` serves both sides of the project's own conversations: a
//! mistake made on both would otherwise go unnoticed.

use mtproto::{AuthKey, BadMsgCode, Body, Envelope, MsgId, Side};
use serde::Deserialize;

/// One packet as its maker described it; bytes in hexadecimal.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frozen {
    by: String,
    from: String,
    salt: i64,
    session: i64,
    msg_id: i64,
    seq_no: i32,
    body: String,
    packet: String,
}

/// The key all of them use.
fn key() -> AuthKey {
    AuthKey::new(std::array::from_fn(|i| {
        u8::try_from(i * 7 % 251).expect("below 251")
    }))
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hexadecimal")
        })
        .collect()
}

fn frozen() -> Vec<Frozen> {
    serde_json::from_str(include_str!("frozen.json")).expect("the file of packets")
}

fn side(frozen: &Frozen) -> Side {
    match frozen.from.as_str() {
        "client" => Side::Client,
        _ => Side::Server,
    }
}

#[test]
fn every_packet_opens_to_what_its_maker_put_in() {
    let key = key();
    let packets = frozen();
    assert!(packets.len() >= 14, "packets are missing");
    for one in &packets {
        let mut packet = bytes(&one.packet);
        let opened = Envelope::new(&key, side(one))
            .of_session(one.session)
            .open(&mut packet)
            .unwrap_or_else(|error| panic!("{} {}: {error}", one.by, one.msg_id));
        assert_eq!(opened.header.salt, one.salt);
        assert_eq!(opened.header.msg_id, MsgId(one.msg_id));
        assert_eq!(opened.header.seq_no, one.seq_no);
        assert_eq!(packet[opened.body], bytes(&one.body));
    }
}

#[test]
fn every_body_is_read_and_written_alike() {
    for one in frozen() {
        let body = bytes(&one.body);
        let parsed = Body::parse(&body).unwrap_or_else(|error| panic!("{}: {error}", one.body));
        assert!(
            !matches!(parsed, Body::Api(_)),
            "{} is a service body",
            one.body
        );
        let mut written = Vec::new();
        parsed.write(&mut written);
        assert_eq!(written, body, "{parsed:?}");
    }
}

#[test]
fn their_bodies_mean_what_they_meant() {
    let all = frozen();
    let bodies: Vec<Vec<u8>> = all.iter().map(|one| bytes(&one.body)).collect();
    let parsed: Vec<Body<'_>> = bodies
        .iter()
        .map(|body| Body::parse(body).expect("read above"))
        .collect();
    let has = |wanted: &dyn Fn(&Body<'_>) -> bool| parsed.iter().any(wanted);
    assert!(has(&|b| matches!(
        b,
        Body::PingDelayDisconnect {
            ping_id: 99,
            delay: 75
        }
    )));
    assert!(has(&|b| matches!(
        b,
        Body::BadServerSalt {
            salt: 123_456_789,
            bad_seq_no: 3,
            code: BadMsgCode::Salt,
            ..
        }
    )));
    assert!(has(&|b| matches!(
        b,
        Body::BadMsg {
            code: BadMsgCode::SeqTooLow,
            ..
        }
    )));
    assert!(has(&|b| matches!(
        b,
        Body::NewSession {
            unique_id: 7,
            salt: -77,
            ..
        }
    )));
    assert!(has(
        &|b| matches!(b, Body::FutureSalts { now: 1_800_000_000, salts, .. } if salts[0].salt == 3)
    ));
    assert!(has(
        &|b| matches!(b, Body::Container(messages) if messages.len() == 2 && messages[1].seq_no == 7)
    ));
}
