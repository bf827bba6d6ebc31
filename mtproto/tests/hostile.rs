//! What strangers may send: noise, and genuine bytes that were tampered with.
//!
//! Whatever arrives, nothing panics or runs on for ever, a tampered packet is an error, and no more
//! memory is taken than the length of what arrived justifies. `PROPTEST_CASES=100000` turns this into
//! some minutes of fuzzing.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use allocation_counter::{AllocationInfo, measure};
use mtproto::envelope::{BODY_AT, INNER, MAX_PADDING, MIN_PADDING, OUTER, packet_len};
use mtproto::message::{MAX_MESSAGES, Outcome};
use mtproto::transport::{FrameError, MAX_HEAD};
use mtproto::{
    AuthKey, Body, Decoder, Encoder, Envelope, Header, Message, MsgId, Opened, Side, Step,
    Transport, TransportCode, gzip, ige,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One act of tampering.
#[derive(Clone, Debug)]
enum Edit {
    Flip(Index, u8),
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let end = bytes.len();
        let place = |at: &Index| at.index(end + 1);
        let span = |at: usize, len: usize| at..(at + len).min(end);
        match self {
            Self::Flip(at, bit) => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Overwrite(at, with) => {
                let span = span(place(at), with.len());
                let len = span.len();
                bytes[span].copy_from_slice(&with[..len]);
            }
            Self::Insert(at, what) => {
                let at = place(at);
                bytes.splice(at..at, what.iter().copied());
            }
            Self::Remove(at, len) => {
                bytes.drain(span(place(at), *len));
            }
            Self::Repeat(at, len) => {
                let span = span(place(at), *len);
                let again = bytes[span.clone()].to_vec();
                bytes.splice(span.end..span.end, again);
            }
            Self::Cut(at) => bytes.truncate(place(at)),
        }
    }
}

/// Numbers at which lengths and counts go wrong, or nearly.
const EDGES: [u32; 12] = [
    0,
    1,
    3,
    4,
    12,
    16,
    0x7f,
    0xfe,
    0xff,
    1 << 24,
    1 << 26,
    1 << 31,
];

fn numbers() -> impl Strategy<Value = Vec<u8>> {
    let edges = (select(&EDGES[..]), -2_i32..=2)
        .prop_map(|(edge, off)| edge.wrapping_add_signed(off).to_le_bytes().to_vec());
    prop_oneof![edges, vec(any::<u8>(), 1..9)]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let edit = prop_oneof![
        4 => (at(), 0_u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        4 => (at(), numbers()).prop_map(|(at, with)| Edit::Overwrite(at, with)),
        2 => (at(), numbers()).prop_map(|(at, what)| Edit::Insert(at, what)),
        2 => (at(), 1_usize..33).prop_map(|(at, len)| Edit::Remove(at, len)),
        2 => (at(), 1_usize..65).prop_map(|(at, len)| Edit::Repeat(at, len)),
        1 => at().prop_map(Edit::Cut),
    ];
    vec(edit, 1..5)
}

fn tampered(genuine: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = genuine.to_vec();
    for edit in edits {
        edit.apply(&mut bytes);
    }
    bytes
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..400)
}

/// What `work` returns, and the memory it took for that.
fn measured<T>(work: impl FnOnce() -> T) -> (T, AllocationInfo) {
    let mut result = None;
    // A panic must not get past the counter, which would then go on counting.
    let taken = measure(|| result = Some(catch_unwind(AssertUnwindSafe(work))));
    match result.expect("it was called") {
        Ok(result) => (result, taken),
        Err(panic) => resume_unwind(panic),
    }
}

mod streams {
    use super::*;

    const LIMIT: usize = 2048;

    const ALL: [Transport; 4] = [
        Transport::Abridged,
        Transport::Intermediate,
        Transport::PaddedIntermediate,
        Transport::Full,
    ];

    /// What a stream was cut into, and how it ended.
    type Cuts = (Vec<Step>, Result<usize, FrameError>);

    /// Feeds `stream` in pieces that end at `ends`, checking what a caller relies on.
    fn cut(mut decoder: Decoder, stream: &[u8], ends: &[usize]) -> Cuts {
        let mut steps = Vec::new();
        let mut begin = 0;
        let mut need = 0;
        for &end in ends.iter().chain([&stream.len()]) {
            loop {
                let bytes = &stream[begin..end];
                let step = match decoder.poll(bytes) {
                    Ok(step) => step,
                    Err(error) => return (steps, Err(error)),
                };
                let consumed = match &step {
                    Step::Need(more) => {
                        assert!(*more > bytes.len(), "asks for what is there");
                        assert!(*more <= LIMIT, "asks for more than the limit");
                        need = *more;
                        break;
                    }
                    Step::Packet { payload, consumed } => {
                        assert!(payload.start <= payload.end && payload.end <= *consumed);
                        *consumed
                    }
                    Step::Code { consumed, .. } | Step::Noop { consumed } => *consumed,
                };
                assert!(consumed > 0, "makes no progress");
                assert!(consumed <= bytes.len(), "takes more than there is");
                begin += consumed;
                steps.push(step);
            }
        }
        (steps, Ok(need))
    }

    fn genuine(transport: Transport, frames: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut encoder = Encoder::new(transport);
        let mut stream = Vec::new();
        for frame in frames {
            let Some(packet) = frame else {
                stream.extend(encoder.code(TransportCode::FLOOD));
                continue;
            };
            let mut buffer = [&[0; MAX_HEAD], &packet[..]].concat();
            let start = encoder.frame(&mut buffer, MAX_HEAD).expect("fits");
            stream.extend_from_slice(&buffer[start..]);
        }
        stream
    }

    fn streams(transport: Transport) -> impl Strategy<Value = Vec<u8>> {
        let packet = vec(any::<[u8; 4]>(), 0..160).prop_map(|words| Some(words.concat()));
        let frames = vec(prop_oneof![5 => packet, 1 => Just(None)], 0..6);
        let tampered = (frames, edits())
            .prop_map(move |(frames, edits)| tampered(&genuine(transport, &frames), &edits));
        prop_oneof![4 => tampered, 1 => noise()]
    }

    fn transports_and_streams() -> impl Strategy<Value = (Transport, Vec<u8>)> {
        select(&ALL[..]).prop_flat_map(|transport| (Just(transport), streams(transport)))
    }

    proptest! {
        #[test]
        fn a_stream_is_cut_alike_however_it_arrives(
            (transport, stream) in transports_and_streams(),
            ends in vec(any::<Index>(), 0..40),
        ) {
            let mut ends: Vec<usize> = ends.iter().map(|end| end.index(stream.len() + 1)).collect();
            ends.sort_unstable();
            for from in [Side::Client, Side::Server] {
                let decoder = || Decoder::new(transport, from, LIMIT);
                prop_assert_eq!(cut(decoder(), &stream, &ends), cut(decoder(), &stream, &[]));
            }
        }

        #[test]
        fn a_decoder_takes_no_memory((transport, stream) in transports_and_streams()) {
            for from in [Side::Client, Side::Server] {
                let mut decoder = Decoder::new(transport, from, LIMIT);
                let (_, taken) = measured(|| (Transport::detect(&stream), decoder.poll(&stream)));
                prop_assert_eq!(taken.count_total, 0);
            }
        }
    }
}

mod packets {
    use super::*;

    /// The lanes' state, for one lane; a packet is opened in place.
    const MEMORY: u64 = 1024;

    pub fn key() -> AuthKey {
        AuthKey::new([0x5c; 256])
    }

    fn genuine(from: Side, body: &[u8], blocks: usize) -> Vec<u8> {
        let header = Header {
            salt: 1,
            session_id: 2,
            msg_id: MsgId(1 << 40 | i64::from(from == Side::Server)),
            seq_no: 1,
        };
        let mut packet = vec![0xa5; packet_len(body.len(), blocks)];
        packet[BODY_AT..BODY_AT + body.len()].copy_from_slice(body);
        Envelope::new(&key(), from)
            .seal(&header, body.len(), &mut packet)
            .expect("fits");
        packet
    }

    /// Whatever `plaintext` says, under the right key and with the right message key: what someone
    /// who knows the key could send.
    fn insiders(from: Side, plaintext: &[u8]) -> Vec<u8> {
        let key = key();
        let msg_key = key.msg_key(from, plaintext);
        let outer = [&key.id().to_bytes()[..], msg_key.as_bytes()].concat();
        let mut packet = [outer, plaintext.to_vec()].concat();
        ige::encrypt(&key.ige_key(from, &msg_key), &mut packet[OUTER..]);
        packet
    }

    fn sides() -> impl Strategy<Value = Side> {
        select(&[Side::Client, Side::Server][..])
    }

    proptest! {
        #[test]
        fn a_tampered_packet_is_an_error(
            from in sides(),
            body in vec(any::<[u8; 4]>(), 0..100),
            blocks in 0_usize..63,
            edits in edits(),
        ) {
            let genuine = genuine(from, &body.concat(), blocks);
            let mut packet = tampered(&genuine, &edits);
            prop_assume!(packet != genuine);
            let key = key();
            let (opened, taken) = measured(|| Envelope::new(&key, from).open(&mut packet));
            prop_assert!(opened.is_err());
            prop_assert!(taken.bytes_max <= MEMORY, "{taken:?}");
        }

        #[test]
        fn noise_under_the_keys_name_is_an_error(from in sides(), mut packet in noise()) {
            let key = key();
            let named = packet.len().min(8);
            packet[..named].copy_from_slice(&key.id().to_bytes()[..named]);
            prop_assert!(Envelope::new(&key, from).open(&mut packet).is_err());
        }

        #[test]
        fn what_an_insider_sends_opens_only_within_the_rules(
            from in sides(),
            blocks in vec(any::<[u8; 16]>(), 2..140),
            padding in prop_oneof![-20_i32..40, 1000..1050, any::<i32>()],
        ) {
            let mut plaintext = blocks.concat();
            let room = i32::try_from(plaintext.len() - INNER).expect("a small number");
            let length = room.wrapping_sub(padding);
            plaintext[28..INNER].copy_from_slice(&length.to_le_bytes());
            let mut packet = insiders(from, &plaintext);
            let opened = Envelope::new(&key(), from).open(&mut packet);
            if let Ok(Opened { header, body }) = opened {
                prop_assert_eq!(body.start, BODY_AT);
                prop_assert_eq!(body.len() % 4, 0);
                prop_assert_eq!(i32::try_from(body.len()), Ok(length));
                prop_assert!((MIN_PADDING..=MAX_PADDING).contains(&(packet.len() - body.end)));
                prop_assert!(from == Side::Client || header.msg_id.0 & 1 == 1);
                prop_assert_eq!(&packet[OUTER..], &plaintext[..]);
            }
        }
    }
}

mod bodies {
    use super::*;

    /// Those of other people's packets, and kinds that are not among them.
    pub fn genuine() -> Vec<Vec<u8>> {
        let frozen: serde_json::Value =
            serde_json::from_str(include_str!("frozen.json")).expect("the file of packets");
        let hex = |text: &str| -> Vec<u8> {
            let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
            (0..text.len()).step_by(2).map(digit).collect()
        };
        let frozen = frozen.as_array().expect("a list").iter();
        let frozen = frozen.map(|one| hex(one["body"].as_str().expect("a body")));
        let long = vec![7; 300];
        let ids = vec![MsgId(4), MsgId(8)];
        let message = Message {
            msg_id: MsgId(4),
            seq_no: 1,
            body: &long,
        };
        let ours = [
            Body::Container(vec![message; 9]),
            Body::GzipPacked(&long),
            Body::MsgsStateReq(ids.clone()),
            Body::MsgsStateInfo {
                req_msg_id: MsgId(4),
                info: &long,
            },
            Body::MsgsAllInfo {
                msg_ids: ids.clone(),
                info: b"ab",
            },
            Body::MsgDetailedInfo {
                msg_id: Some(MsgId(4)),
                answer_msg_id: MsgId(5),
                bytes: 6,
                status: 0,
            },
            Body::MsgResendReq(ids),
            Body::DestroySession { session_id: 1 },
            Body::HttpWait {
                max_delay: 1,
                wait_after: 2,
                max_wait: 3,
            },
            Body::Api(&long),
        ];
        let ours = ours.iter().map(|body| {
            let mut out = Vec::new();
            body.write(&mut out);
            out
        });
        frozen.chain(ours).collect()
    }

    pub fn outcomes() -> Vec<Vec<u8>> {
        let packed = gzip::pack(&[7; 300]);
        let outcomes = [
            Outcome::Value(&[7; 40]),
            Outcome::GzipPacked(&packed),
            Outcome::Error {
                code: 420,
                message: b"FLOOD_WAIT_31",
            },
        ];
        let written = outcomes.iter().map(|outcome| {
            let mut out = Vec::new();
            outcome.write(&mut out);
            out
        });
        written.collect()
    }

    fn tampered_of(genuine: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let tampered =
            (select(genuine), edits()).prop_map(|(genuine, edits)| tampered(&genuine, &edits));
        prop_oneof![6 => tampered, 1 => noise()]
    }

    /// A parsed list holds its items in up to four times the bytes they came in: twice for what
    /// an item is in memory, twice for a list that grew.
    fn justified(bytes: &[u8]) -> u64 {
        u64::try_from(4 * bytes.len() + 64).expect("a small number")
    }

    #[test]
    fn a_wrong_length_or_count_takes_no_memory() {
        let most = u32::try_from(MAX_MESSAGES).expect("a small number");
        for genuine in genuine() {
            for at in (0..genuine.len()).step_by(4) {
                for number in EDGES.into_iter().chain([most]) {
                    let mut bytes = genuine.clone();
                    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
                    let (_, taken) = measured(|| Body::parse(&bytes).is_ok());
                    assert!(
                        taken.bytes_max <= justified(&bytes),
                        "{number} at {at} of {bytes:?}: {taken:?}"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_body_is_refused_or_understood(bytes in tampered_of(genuine())) {
            let (parsed, taken) = measured(|| Body::parse(&bytes));
            prop_assert!(taken.bytes_max <= justified(&bytes), "{taken:?}");
            let Ok(body) = parsed else {
                return Ok(());
            };
            if let Body::Container(messages) = &body {
                prop_assert!(messages.len() <= MAX_MESSAGES);
                for message in messages {
                    prop_assert!(!matches!(Body::parse(message.body), Ok(Body::Container(_))));
                }
            }
            // To have understood it is to be able to say it again.
            let mut again = Vec::new();
            body.write(&mut again);
            prop_assert_eq!(Body::parse(&again), Ok(body));
        }

        #[test]
        fn an_outcome_is_refused_or_understood(bytes in tampered_of(outcomes())) {
            let (parsed, taken) = measured(|| Outcome::parse(&bytes));
            prop_assert_eq!(taken.count_total, 0);
            if let Ok(outcome) = parsed {
                let mut again = Vec::new();
                outcome.write(&mut again);
                prop_assert_eq!(Outcome::parse(&again), Ok(outcome));
            }
        }
    }
}

mod packed {
    use super::*;

    /// The inflater's own state: window, tables and read buffer.
    const INFLATER: usize = 128 << 10;

    /// What unpacking may take: the output, twice when it grows, and the names a gzip head holds.
    fn justified(packed: &[u8], limit: usize) -> u64 {
        u64::try_from(INFLATER + 4 * limit + 2 * packed.len()).expect("a small number")
    }

    fn plain() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..2000),
            (any::<u8>(), 0_usize..50_000).prop_map(|(byte, len)| vec![byte; len]),
        ]
    }

    proptest! {
        #[test]
        fn a_tampered_stream_never_unpacks_to_something_else(
            plain in plain(),
            edits in edits(),
            limit in 0_usize..60_000,
        ) {
            let packed = tampered(&gzip::pack(&plain), &edits);
            let (unpacked, taken) = measured(|| gzip::unpack(&packed, limit));
            prop_assert!(taken.bytes_max <= justified(&packed, limit), "{taken:?}");
            // Much of a gzip head means nothing and has no checksum.
            if let Ok(bytes) = unpacked {
                prop_assert!(bytes.len() <= limit);
                prop_assert_eq!(bytes, plain);
            }
        }

        #[test]
        fn noise_behind_a_gzip_head_is_an_error(noise in noise(), limit in 0_usize..5000) {
            let packed = [&gzip::pack(b"")[..10], &noise[..]].concat();
            let (unpacked, taken) = measured(|| gzip::unpack(&packed, limit));
            prop_assert!(unpacked.is_err());
            prop_assert!(taken.bytes_max <= justified(&packed, limit), "{taken:?}");
        }
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_its_limit() {
        let bomb = gzip::pack(&vec![0; 32 << 20]);
        for limit in [0, 1000, 1 << 20] {
            let (unpacked, taken) = measured(|| gzip::unpack(&bomb, limit));
            assert!(unpacked.is_err());
            assert!(taken.bytes_max <= justified(&[], limit), "{taken:?}");
        }
    }
}

mod sessions {
    use std::time::Duration;

    use mtproto::client::{Answer, Client, MAX_UNPACKED, Server};
    use mtproto::transport::CLIENT_FRAME_LIMIT;
    use mtproto::{BadMsgCode, IdKind, MsgIds};

    use super::*;

    const NOW: Duration = Duration::new(1_800_000_000, 500_000_000);

    /// Calls that are under way.
    const CALLS: usize = 6;

    /// What the server may say, the packets and messages of which hold together.
    #[derive(Clone, Debug)]
    enum Saying {
        /// The answer to the call of that number, be it made, made again, or neither.
        Result(i64, Vec<u8>),
        BadSalt(i64),
        Bad(i64, i32),
        NewSession(i64),
        Detailed(i64),
        Other(Vec<u8>),
        Packed(Box<Saying>),
        Container(Vec<Saying>),
        Tampered(Box<Saying>, Vec<Edit>),
    }

    impl Saying {
        fn bytes(&self, ids: &mut MsgIds) -> Vec<u8> {
            let body = match self {
                Self::Other(bytes) => return bytes.clone(),
                Self::Tampered(saying, edits) => {
                    let mut bytes = tampered(&saying.bytes(ids), edits);
                    // Whatever is no multiple of four bytes does not fit the envelope.
                    bytes.truncate(bytes.len() & !3);
                    return bytes;
                }
                Self::Packed(saying) => {
                    let packed = gzip::pack(&saying.bytes(ids));
                    return written(&Body::GzipPacked(&packed));
                }
                Self::Container(sayings) => {
                    let bodies: Vec<_> = sayings.iter().map(|one| one.bytes(ids)).collect();
                    let messages = bodies.iter().map(|body| Message {
                        msg_id: ids.next(NOW, IdKind::Answer),
                        seq_no: 1,
                        body,
                    });
                    return written(&Body::Container(messages.collect()));
                }
                Self::Result(call, result) => Body::RpcResult {
                    req_msg_id: id(*call),
                    result,
                },
                Self::BadSalt(call) => Body::BadServerSalt {
                    bad_msg_id: id(*call),
                    bad_seq_no: 1,
                    code: BadMsgCode::Salt,
                    salt: *call,
                },
                Self::Bad(call, code) => Body::BadMsg {
                    bad_msg_id: id(*call),
                    bad_seq_no: 1,
                    code: BadMsgCode::Other(*code),
                },
                Self::NewSession(first) => Body::NewSession {
                    first_msg_id: id(*first),
                    unique_id: 1,
                    salt: *first,
                },
                Self::Detailed(call) => Body::MsgDetailedInfo {
                    msg_id: Some(id(*call)),
                    answer_msg_id: ids.next(NOW, IdKind::Answer),
                    bytes: 1,
                    status: 0,
                },
            };
            written(&body)
        }
    }

    fn written(body: &Body<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        body.write(&mut out);
        out
    }

    /// The client's ids rise by four while its clock stands.
    fn id(number: i64) -> MsgId {
        let first = MsgIds::default().next(NOW, IdKind::Client);
        MsgId(first.0 + 4 * number)
    }

    fn sayings() -> impl Strategy<Value = Saying> {
        let call = || 0_i64..24;
        let result = prop_oneof![2 => select(bodies::outcomes()), 1 => noise()];
        let codes = select(&[16, 17, 18, 19, 20, 32, 33, 34, 35, 48, 64, -1][..]);
        let simple = prop_oneof![
            4 => (call(), result).prop_map(|(call, result)| Saying::Result(call, result)),
            2 => call().prop_map(Saying::BadSalt),
            1 => (call(), codes).prop_map(|(call, code)| Saying::Bad(call, code)),
            1 => call().prop_map(Saying::NewSession),
            1 => call().prop_map(Saying::Detailed),
            2 => select(bodies::genuine()).prop_map(Saying::Other),
        ];
        simple.prop_recursive(4, 24, 6, |inner| {
            prop_oneof![
                2 => inner.clone().prop_map(|saying| Saying::Packed(saying.into())),
                3 => vec(inner.clone(), 0..6).prop_map(Saying::Container),
                1 => (inner, edits())
                    .prop_map(|(saying, edits)| Saying::Tampered(saying.into(), edits)),
            ]
        })
    }

    /// A frame of a packet that the server seals.
    fn framed(
        client: &Client<usize>,
        encoder: &mut Encoder,
        body: &[u8],
        ids: &mut MsgIds,
    ) -> Vec<u8> {
        let body = &body[..body.len() & !3];
        let len = packet_len(body.len(), 0);
        let mut frame = vec![0; MAX_HEAD + len];
        let packet = &mut frame[MAX_HEAD..];
        packet[BODY_AT..BODY_AT + body.len()].copy_from_slice(body);
        let header = Header {
            salt: 0,
            session_id: client.session_id(),
            msg_id: ids.next(NOW, IdKind::Answer),
            seq_no: 1,
        };
        Envelope::new(&packets::key(), Side::Server)
            .seal(&header, body.len(), packet)
            .expect("fits");
        let start = encoder.frame(&mut frame, MAX_HEAD).expect("fits");
        frame.split_off(start)
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_no_call_is_lost(
            sayings in vec(sayings(), 1..8),
            edits in prop_oneof![3 => Just(Vec::new()), 1 => edits()],
        ) {
            // Given calls that are under way
            let server = Server { salt: 7, clock_offset: Some(0) };
            let ones = |buffer: &mut [u8]| buffer.fill(1);
            let mut client = Client::new(packets::key(), server, Box::from(*b"greeting"), ones);
            for tag in 0..CALLS {
                client.call(tag, Box::from(*b"question"), NOW).expect("fits");
            }
            let asked = client.outgoing().len();
            // When all kinds of things arrive
            let (mut ids, mut encoder) = (MsgIds::default(), Encoder::new(Transport::Intermediate));
            let mut stream = Vec::new();
            for saying in &sayings {
                let body = saying.bytes(&mut ids);
                stream.extend(framed(&client, &mut encoder, &body, &mut ids));
            }
            let stream = tampered(&stream, &edits);
            let mut decoder = Decoder::new(Transport::Intermediate, Side::Server, CLIENT_FRAME_LIMIT);
            let mut answered = Vec::new();
            let mut rest = &stream[..];
            while let Ok(Step::Packet { payload, consumed }) = decoder.poll(rest) {
                let mut packet = rest[payload].to_vec();
                let Ok(opened) = client.envelope().open(&mut packet) else {
                    break;
                };
                let before = answered.len();
                let (received, taken) =
                    measured(|| client.receive(&packet, &opened, NOW, &mut answered));
                // Then memory is bounded: by what answers may come to, and by what arrived
                let most = (CALLS + 1) * 4 * MAX_UNPACKED + (256 << 10) + 256 * packet.len();
                prop_assert!(taken.bytes_max <= most as u64, "{taken:?} for {}", packet.len());
                for one in &answered[before..] {
                    if let Answer::Value(place) = &one.answer {
                        prop_assert!(place.start <= place.end && place.end <= packet.len());
                    }
                }
                if received.is_err() {
                    break;
                }
                rest = &rest[consumed..];
            }
            // and so is what it makes us say
            let said = client.outgoing().len() - asked;
            prop_assert!(said <= 4096 + 128 * stream.len(), "{said} for {}", stream.len());
            // and each call is answered or waits for it, and not both
            let mut tags: Vec<_> = answered.iter().map(|one| one.tag).collect();
            prop_assert_eq!(tags.len() + client.pending(), CALLS);
            tags.extend(client.into_pending());
            tags.sort_unstable();
            prop_assert_eq!(tags, (0..CALLS).collect::<Vec<_>>());
        }
    }
}
