//! The envelope, against itself in both directions and against grammers' implementation.

use grammers_crypto::{AuthKey as TheirKey, DequeBuffer, decrypt_data_v2, encrypt_data_v2};
use mtproto::envelope::{self, BODY_AT, OUTER, OpenError, SealError, packet_len};
use mtproto::{AuthKey, Envelope, Header, MsgId, Opened, Side};
use proptest::collection::vec;
use proptest::prelude::*;

fn key() -> [u8; 256] {
    std::array::from_fn(|i| u8::try_from(i * 7 % 251).expect("below 251"))
}

fn header(seed: i64, from: Side) -> Header {
    Header {
        salt: seed ^ 0x1111,
        session_id: seed ^ 0x2222,
        msg_id: MsgId(seed & !3 | i64::from(from == Side::Server)),
        seq_no: 1,
    }
}

fn sealed(from: Side, header: &Header, body: &[u8], extra_blocks: usize) -> Vec<u8> {
    let mut packet = vec![0xa5; packet_len(body.len(), extra_blocks)];
    packet[BODY_AT..BODY_AT + body.len()].copy_from_slice(body);
    Envelope::new(&AuthKey::new(key()), from)
        .seal(header, body.len(), &mut packet)
        .expect("fits");
    packet
}

fn open(from: Side, packet: &mut [u8]) -> Result<Opened, OpenError> {
    Envelope::new(&AuthKey::new(key()), from).open(packet)
}

/// Seals a packet whose inner length says `length`, whatever its real body.
fn sealed_with_length(length: i32, room: usize) -> Vec<u8> {
    let ours = AuthKey::new(key());
    let mut packet = vec![0; OUTER + room];
    packet[OUTER + 16] = 1;
    packet[OUTER + 28..OUTER + 32].copy_from_slice(&length.to_le_bytes());
    let msg_key = ours.msg_key(Side::Server, &packet[OUTER..]);
    packet[..8].copy_from_slice(&ours.id().to_bytes());
    packet[8..OUTER].copy_from_slice(msg_key.as_bytes());
    mtproto::ige::encrypt(&ours.ige_key(Side::Server, &msg_key), &mut packet[OUTER..]);
    packet
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<[u8; 4]>(), 0..300).prop_map(|words| words.concat())
}

fn sides() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

proptest! {
    #[test]
    fn opening_undoes_sealing(from in sides(), seed: i64, body in words(), extra in 0_usize..=62) {
        let header = header(seed, from);
        let mut packet = sealed(from, &header, &body, extra);
        let opened = open(from, &mut packet).expect("our own packet");
        prop_assert_eq!(opened.header, header);
        prop_assert_eq!(&packet[opened.body], &body[..]);
    }

    #[test]
    fn their_packets_open(seed: i64, body in words()) {
        let header = header(seed, Side::Client);
        let mut theirs = DequeBuffer::with_capacity(2048, 64);
        theirs.extend(header.salt.to_le_bytes());
        theirs.extend(header.session_id.to_le_bytes());
        theirs.extend(header.msg_id.0.to_le_bytes());
        theirs.extend(header.seq_no.to_le_bytes());
        theirs.extend(i32::try_from(body.len()).expect("short").to_le_bytes());
        theirs.extend(body.iter().copied());
        encrypt_data_v2(&mut theirs, &TheirKey::from_bytes(key()));
        let mut packet = theirs[..].to_vec();

        let opened = open(Side::Client, &mut packet).expect("their packet");
        prop_assert_eq!(opened.header, header);
        prop_assert_eq!(&packet[opened.body], &body[..]);
    }

    #[test]
    fn they_open_our_packets(seed: i64, body in words(), extra in 0_usize..=62) {
        let header = header(seed, Side::Server);
        let mut packet = sealed(Side::Server, &header, &body, extra);
        let plain = decrypt_data_v2(&mut packet, &TheirKey::from_bytes(key())).expect("our packet");
        prop_assert_eq!(&plain[..8], &header.salt.to_le_bytes()[..]);
        prop_assert_eq!(&plain[8..16], &header.session_id.to_le_bytes()[..]);
        prop_assert_eq!(&plain[16..24], &header.msg_id.0.to_le_bytes()[..]);
        prop_assert_eq!(&plain[32..32 + body.len()], &body[..]);
    }

    #[test]
    fn any_changed_bit_is_noticed(from in sides(), body in words(), at: prop::sample::Index, bit in 0_u8..8) {
        let mut packet = sealed(from, &header(1 << 40, from), &body, 0);
        let at = at.index(packet.len());
        packet[at] ^= 1 << bit;
        let expected = if at < 8 { OpenError::KeyId } else { OpenError::MsgKey };
        prop_assert_eq!(open(from, &mut packet), Err(expected));
    }

    #[test]
    fn a_cut_packet_is_an_error(body in words(), cut: prop::sample::Index) {
        let mut packet = sealed(Side::Server, &header(1 << 40, Side::Server), &body, 0);
        let len = cut.index(packet.len());
        prop_assert!(open(Side::Server, &mut packet[..len]).is_err());
    }

    #[test]
    fn garbage_never_panics(mut bytes in vec(any::<u8>(), 0..400), from in sides()) {
        if bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&AuthKey::new(key()).id().to_bytes());
        }
        prop_assert!(open(from, &mut bytes).is_err());
        let _ = Envelope::new(&AuthKey::new(key()), from).verify(&bytes);
        let _ = envelope::key_id(&bytes);
    }
}

#[test]
fn a_message_cannot_be_reflected_to_its_writer() {
    let mut packet = sealed(Side::Client, &header(1 << 40, Side::Client), b"ping", 0);
    assert_eq!(open(Side::Server, &mut packet), Err(OpenError::MsgKey));
}

#[test]
fn a_client_takes_packets_of_its_own_session_alone() {
    let header = header(1 << 40, Side::Server);
    let key = AuthKey::new(key());
    let client = Envelope::new(&key, Side::Server);
    let packet = sealed(Side::Server, &header, b"body", 0);
    assert!(
        client
            .of_session(header.session_id)
            .open(&mut packet.clone())
            .is_ok()
    );
    assert_eq!(
        client.of_session(5).open(&mut packet.clone()),
        Err(OpenError::Session)
    );
}

#[test]
fn a_servers_message_has_an_odd_id() {
    let header = header(1 << 40, Side::Client);
    let mut packet = sealed(Side::Server, &header, b"body", 0);
    assert_eq!(open(Side::Server, &mut packet), Err(OpenError::Parity));
}

#[test]
fn impossible_lengths_are_refused_after_the_message_key() {
    let cases = [
        (-4, 64, OpenError::Length),
        (2, 64, OpenError::Length),
        (36, 64, OpenError::Length),
        (32, 64, OpenError::Padding(0)),
        (24, 64, OpenError::Padding(8)),
        (0, 32 + 1040, OpenError::Padding(1040)),
    ];
    for (length, room, error) in cases {
        assert_eq!(
            open(Side::Server, &mut sealed_with_length(length, room)),
            Err(error),
            "{length} in {room}"
        );
    }
    assert!(open(Side::Server, &mut sealed_with_length(20, 64)).is_ok());
    assert!(open(Side::Server, &mut sealed_with_length(16, 32 + 1040)).is_ok());
}

#[test]
fn what_does_not_fit_is_not_sealed() {
    let key = AuthKey::new(key());
    let envelope = Envelope::new(&key, Side::Client);
    let header = header(1 << 40, Side::Client);
    let seal = |body, packet| envelope.seal(&header, body, &mut vec![0; packet]);
    assert_eq!(seal(5, packet_len(5, 0)), Err(SealError::Length(5)));
    for (body, packet) in [
        (8, BODY_AT + 8 + 11),
        (8, BODY_AT + 8 + 17),
        (8, BODY_AT),
        (8, BODY_AT + 8 + 1040),
    ] {
        assert_eq!(seal(body, packet), Err(SealError::Room { packet, body }));
    }
}
