//! A client's session does what the protocol demands, whatever the server says.

use std::time::Duration;

use mtproto::client::{
    ACK_DELAY, Answer, Answered, Client, MAX_PENDING_ACKS, MAX_REPEATS, Server, Violation,
};
use mtproto::envelope::{BODY_AT, OUTER, packet_len};
use mtproto::message::{Outcome, ParseError};
use mtproto::transport::{CLIENT_FRAME_LIMIT, SERVER_FRAME_LIMIT};
use mtproto::{
    AuthKey, BadMsgCode, Body, Decoder, Envelope, Header, IdKind, Message, MsgId, MsgIds, Side,
    Step, Transport, gzip,
};

const NOW: Duration = Duration::new(1_800_000_000, 500_000_000);
const GREETING: &[u8] = b"greeting";
const QUERY: &[u8] = b"a query.";

/// A client, and a server that says what a test wants.
struct Bench {
    client: Client<&'static str>,
    key: AuthKey,
    decoder: Decoder,
    ids: MsgIds,
    seq_no: i32,
    opening_seen: bool,
}

/// A message as the server read it.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    header: Header,
    body: Vec<u8>,
}

fn zeroes_with_a_one(buffer: &mut [u8]) {
    buffer.fill(0);
    buffer[0] = 1;
}

impl Bench {
    fn new() -> Self {
        Self::with(Server {
            salt: 77,
            clock_offset: None,
        })
    }

    fn with(server: Server) -> Self {
        let key = AuthKey::new([42; 256]);
        Self {
            client: Client::new(key.clone(), server, GREETING.into(), zeroes_with_a_one),
            key,
            decoder: Decoder::new(Transport::Intermediate, Side::Client, SERVER_FRAME_LIMIT),
            ids: MsgIds::default(),
            seq_no: 0,
            opening_seen: false,
        }
    }

    fn call(&mut self, tag: &'static str) -> Sent {
        self.client.call(tag, QUERY.into(), NOW).unwrap();
        self.sent().pop().unwrap()
    }

    /// What the client wrote since.
    fn sent(&mut self) -> Vec<Sent> {
        let written = std::mem::take(self.client.outgoing());
        let mut bytes = &written[..];
        if !std::mem::replace(&mut self.opening_seen, true) {
            bytes = bytes.strip_prefix(&[0xee; 4]).expect("the opening");
        }
        let mut sent = Vec::new();
        while !bytes.is_empty() {
            let Step::Packet { payload, consumed } = self.decoder.poll(bytes).unwrap() else {
                panic!("no packet")
            };
            let mut packet = bytes[payload].to_vec();
            let opened = Envelope::new(&self.key, Side::Client)
                .open(&mut packet)
                .unwrap();
            sent.push(Sent {
                header: opened.header,
                body: packet[opened.body].to_vec(),
            });
            bytes = &bytes[consumed..];
        }
        sent
    }

    fn id(&mut self) -> MsgId {
        self.ids.next(NOW, IdKind::Answer)
    }

    fn say(&mut self, body: &Body<'_>) -> Result<Vec<Answered<&'static str>>, Violation> {
        let msg_id = self.id();
        self.say_as(msg_id, body)
    }

    fn say_as(
        &mut self,
        msg_id: MsgId,
        body: &Body<'_>,
    ) -> Result<Vec<Answered<&'static str>>, Violation> {
        let packet = self.seal(msg_id, body);
        self.take(packet)
    }

    /// A content-related message.
    fn seal(&mut self, msg_id: MsgId, body: &Body<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        let mut packet = vec![0; packet_len(bytes.len(), 0)];
        packet[BODY_AT..BODY_AT + bytes.len()].copy_from_slice(&bytes);
        self.seq_no += 2;
        let header = Header {
            salt: 0,
            session_id: self.client.session_id(),
            msg_id,
            seq_no: self.seq_no - 1,
        };
        Envelope::new(&self.key, Side::Server)
            .seal(&header, bytes.len(), &mut packet)
            .unwrap();
        packet
    }

    fn take(&mut self, mut packet: Vec<u8>) -> Result<Vec<Answered<&'static str>>, Violation> {
        let opened = self.client.envelope().open(&mut packet).unwrap();
        let mut answered = Vec::new();
        self.client.receive(&packet, &opened, NOW, &mut answered)?;
        Ok(answered)
    }

    fn answer(&mut self, call: &Sent, result: &[u8]) -> Vec<Answered<&'static str>> {
        self.say(&Body::RpcResult {
            req_msg_id: call.header.msg_id,
            result,
        })
        .unwrap()
    }
}

fn error(code: i32, message: &[u8]) -> Vec<u8> {
    let mut result = Vec::new();
    Outcome::Error { code, message }.write(&mut result);
    result
}

fn acked(sent: &[Sent]) -> Vec<MsgId> {
    sent.iter()
        .filter_map(|sent| match Body::parse(&sent.body) {
            Ok(Body::MsgsAck(ids)) => Some(ids),
            _ => None,
        })
        .flatten()
        .collect()
}

#[test]
fn calls_are_numbered_in_order_and_greet_until_the_first_result() {
    let mut bench = Bench::new();
    let (first, second) = (bench.call("first"), bench.call("second"));
    assert_eq!(first.body, [GREETING, QUERY].concat());
    assert_eq!(second.body, [GREETING, QUERY].concat());
    assert_eq!((first.header.seq_no, second.header.seq_no), (1, 3));
    assert!(first.header.msg_id < second.header.msg_id);
    assert!(
        first.header.msg_id.is(IdKind::Client) && first.header.msg_id.seconds() == 1_800_000_000
    );
    assert_eq!((first.header.salt, first.header.session_id), (77, 1));
    bench.answer(&first, b"result..");
    assert_eq!(bench.call("third").body, QUERY);
}

#[test]
fn an_answer_is_found_in_its_packet() {
    let mut bench = Bench::new();
    let (first, second) = (bench.call("first"), bench.call("second"));
    // In any order, alone
    let answered = bench.answer(&second, b"two.");
    let [
        Answered {
            tag: "second",
            answer: Answer::Value(range),
        },
    ] = &answered[..]
    else {
        panic!("{answered:?}")
    };
    // 24 bytes outside, 32 of header, 12 of rpc_result; the frame's head is not counted.
    assert_eq!(range, &(OUTER + 32 + 12..OUTER + 32 + 16));
    // And in a container with other messages
    let mut result = Vec::new();
    Body::RpcResult {
        req_msg_id: first.header.msg_id,
        result: b"one.",
    }
    .write(&mut result);
    let mut pong = Vec::new();
    Body::Pong {
        msg_id: MsgId(4),
        ping_id: 1,
    }
    .write(&mut pong);
    let (pong_id, result_id) = (bench.id(), bench.id());
    let inner = vec![
        Message {
            msg_id: pong_id,
            seq_no: 4,
            body: &pong,
        },
        Message {
            msg_id: result_id,
            seq_no: 5,
            body: &result,
        },
    ];
    let answered = bench.say(&Body::Container(inner)).unwrap();
    assert!(matches!(
        answered[..],
        [Answered {
            tag: "first",
            answer: Answer::Value(_)
        }]
    ));
    assert_eq!(bench.client.pending(), 0);
}

#[test]
fn packed_answers_are_unpacked_up_to_a_bound() {
    let mut bench = Bench::new();
    let call = bench.call("small");
    let mut result = Vec::new();
    Outcome::GzipPacked(&gzip::pack(b"plain...")).write(&mut result);
    assert_eq!(
        bench.answer(&call, &result),
        [Answered {
            tag: "small",
            answer: Answer::Unpacked(b"plain...".to_vec())
        }]
    );
    // A whole message that is packed
    let call = bench.call("message");
    let mut message = Vec::new();
    Body::RpcResult {
        req_msg_id: call.header.msg_id,
        result: b"result..",
    }
    .write(&mut message);
    let answered = bench.say(&Body::GzipPacked(&gzip::pack(&message))).unwrap();
    assert_eq!(
        answered,
        [Answered {
            tag: "message",
            answer: Answer::Unpacked(b"result..".to_vec())
        }]
    );
    // A bomb
    let call = bench.call("bomb");
    let mut result = Vec::new();
    Outcome::GzipPacked(&gzip::pack(&vec![0; 64 << 20])).write(&mut result);
    let refused = bench.say(&Body::RpcResult {
        req_msg_id: call.header.msg_id,
        result: &result,
    });
    assert!(matches!(refused, Err(Violation::Packed(_))), "{refused:?}");
}

#[test]
fn errors_are_answers_and_a_forgotten_greeting_is_given_again() {
    let mut bench = Bench::new();
    let call = bench.call("flood");
    let answered = bench.answer(&call, &error(420, b"FLOOD_WAIT_3"));
    let answer = Answer::Error {
        code: 420,
        message: "FLOOD_WAIT_3".into(),
    };
    assert_eq!(
        answered,
        [Answered {
            tag: "flood",
            answer
        }]
    );
    for message in [&b"CONNECTION_NOT_INITED"[..], b"CONNECTION_LAYER_INVALID"] {
        let call = bench.call("later");
        assert_eq!(call.body, QUERY);
        assert_eq!(bench.answer(&call, &error(400, message)), []);
        let again = bench.sent().pop().unwrap();
        assert_eq!(again.body, [GREETING, QUERY].concat());
        assert!(again.header.msg_id > call.header.msg_id);
        assert_eq!(bench.answer(&again, b"result..").len(), 1);
    }
    // A server that never takes the greeting is told so once.
    let mut bench = Bench::new();
    let call = bench.call("never");
    assert_eq!(
        bench
            .answer(&call, &error(400, b"CONNECTION_NOT_INITED"))
            .len(),
        1
    );
}

#[test]
fn a_wrong_salt_is_replaced_and_only_what_is_in_flight_counts() {
    let mut bench = Bench::new();
    let call = bench.call("call");
    let refusal = |bad_msg_id, salt| Body::BadServerSalt {
        bad_msg_id,
        bad_seq_no: 1,
        code: BadMsgCode::Salt,
        salt,
    };
    bench.say(&refusal(MsgId(4), 666)).unwrap();
    assert!(bench.sent().is_empty());
    bench.say(&refusal(call.header.msg_id, 78)).unwrap();
    let again = bench.sent().pop().unwrap();
    assert_eq!((again.header.salt, &again.body), (78, &call.body));
    assert!(again.header.msg_id > call.header.msg_id);
    // The refused number is gone, the new one counts.
    assert_eq!(bench.answer(&call, b"stale..."), []);
    assert_eq!(bench.answer(&again, b"result..").len(), 1);
    // A refused ping tells the salt too.
    bench.client.ping(Duration::from_secs(75), NOW).unwrap();
    let ping = bench.sent().pop().unwrap();
    assert_eq!(ping.header.seq_no % 2, 0);
    bench.say(&refusal(ping.header.msg_id, 79)).unwrap();
    assert_eq!(bench.client.server().salt, 79);
}

#[test]
fn a_server_that_has_no_end_of_refusing_is_left() {
    let refusals: [fn(MsgId) -> Body<'static>; 5] = [
        |id| Body::BadServerSalt {
            bad_msg_id: id,
            bad_seq_no: 1,
            code: BadMsgCode::Salt,
            salt: 78,
        },
        |id| Body::BadMsg {
            bad_msg_id: id,
            bad_seq_no: 1,
            code: BadMsgCode::IdTooLow,
        },
        |id| Body::BadMsg {
            bad_msg_id: id,
            bad_seq_no: 1,
            code: BadMsgCode::TooOld,
        },
        |id| Body::NewSession {
            first_msg_id: MsgId(id.0 + 4),
            unique_id: 5,
            salt: 80,
        },
        |id| Body::MsgDetailedInfo {
            msg_id: Some(id),
            answer_msg_id: MsgId(id.0 + 3),
            bytes: 100,
            status: 0,
        },
    ];
    for refusal in refusals {
        let mut bench = Bench::new();
        let mut last = bench.call("call");
        let mut sent = 1;
        let left = loop {
            if let Err(left) = bench.say(&refusal(last.header.msg_id)) {
                break left;
            }
            let again = bench.sent();
            last = again
                .into_iter()
                .rfind(|sent| sent.body == last.body)
                .unwrap();
            sent += 1;
            assert!(sent < 100, "{:?}", refusal(MsgId(4)));
        };
        assert!(matches!(left, Violation::Endless), "{left:?}");
        assert_eq!(sent, 1 + MAX_REPEATS);
        // Whoever takes the connection's place has to make it.
        assert_eq!(bench.client.into_pending().collect::<Vec<_>>(), ["call"]);
    }
}

#[test]
fn a_wrong_clock_is_corrected() {
    // Ours is an hour slow, and nothing of the server was seen.
    let mut bench = Bench::with(Server {
        salt: 0,
        clock_offset: Some(-3600),
    });
    let call = bench.call("call");
    assert_eq!(call.header.msg_id.seconds(), 1_800_000_000 - 3600);
    let notice = Body::BadMsg {
        bad_msg_id: call.header.msg_id,
        bad_seq_no: 1,
        code: BadMsgCode::IdTooLow,
    };
    bench.say(&notice).unwrap();
    let again = bench.sent().pop().unwrap();
    assert_eq!(again.header.msg_id.seconds(), 1_800_000_000);
    assert_eq!(bench.answer(&again, b"result..").len(), 1);
    // An id that is too old for the server's memory is replaced.
    let call = bench.call("old");
    let notice = Body::BadMsg {
        bad_msg_id: call.header.msg_id,
        bad_seq_no: 1,
        code: BadMsgCode::TooOld,
    };
    bench.say(&notice).unwrap();
    assert!(bench.sent().pop().unwrap().header.msg_id > call.header.msg_id);
}

#[test]
fn a_clock_that_is_fast_needs_a_new_session_which_knows_better() {
    let mut bench = Bench::with(Server {
        salt: 0,
        clock_offset: Some(3600),
    });
    let call = bench.call("call");
    let notice = Body::BadMsg {
        bad_msg_id: call.header.msg_id,
        bad_seq_no: 1,
        code: BadMsgCode::IdTooHigh,
    };
    let refused = bench.say(&notice);
    assert!(
        matches!(refused, Err(Violation::Refused(BadMsgCode::IdTooHigh))),
        "{refused:?}"
    );
    let mut next = Bench::with(bench.client.server());
    assert_eq!(next.call("call").header.msg_id.seconds(), 1_800_000_000);
    assert_eq!(bench.client.into_pending().collect::<Vec<_>>(), ["call"]);
}

#[test]
fn refusals_that_show_a_mistake_close_the_connection() {
    for code in [17, 18, 19, 32, 33, 34, 35, 64, 99].map(BadMsgCode::from_code) {
        let mut bench = Bench::new();
        let call = bench.call("call");
        let notice = |bad_msg_id| Body::BadMsg {
            bad_msg_id,
            bad_seq_no: 1,
            code,
        };
        bench.say(&notice(MsgId(8))).unwrap();
        let refused = bench.say(&notice(call.header.msg_id));
        assert!(
            matches!(refused, Err(Violation::Refused(got)) if got == code),
            "{refused:?}"
        );
    }
}

#[test]
fn nothing_of_a_packet_counts_if_something_in_it_breaks_the_protocol() {
    let mut bench = Bench::new();
    let (first, second) = (bench.call("first"), bench.call("second"));
    let mut result = Vec::new();
    Body::RpcResult {
        req_msg_id: first.header.msg_id,
        result: b"result..",
    }
    .write(&mut result);
    let mut refusal = Vec::new();
    Body::BadMsg {
        bad_msg_id: second.header.msg_id,
        bad_seq_no: 3,
        code: BadMsgCode::SeqTooLow,
    }
    .write(&mut refusal);
    let inner = [bench.id(), bench.id()];
    let message = |msg_id, body| Message {
        msg_id,
        seq_no: 1,
        body,
    };
    let container = Body::Container(vec![
        message(inner[0], &result[..]),
        message(inner[1], &refusal[..]),
    ]);
    let refused = bench.say(&container);
    assert!(
        matches!(refused, Err(Violation::Refused(BadMsgCode::SeqTooLow))),
        "{refused:?}"
    );
    let pending: Vec<_> = bench.client.into_pending().collect();
    assert_eq!(pending, ["first", "second"]);
}

#[test]
fn a_new_session_gets_what_it_has_not_seen() {
    let mut bench = Bench::new();
    let (lost, seen) = (bench.call("lost"), bench.call("seen"));
    let news = Body::NewSession {
        first_msg_id: seen.header.msg_id,
        unique_id: 5,
        salt: 80,
    };
    let id = bench.id();
    bench.say_as(id, &news).unwrap();
    let sent = bench.sent();
    let [again] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!((again.header.salt, &again.body), (80, &lost.body));
    // It wants an acknowledgement, which goes with the next call.
    bench.client.call("next", QUERY.into(), NOW).unwrap();
    assert_eq!(acked(&bench.sent()), [id]);
}

#[test]
fn acknowledgements_go_with_the_next_call_or_in_time() {
    let mut bench = Bench::new();
    assert_eq!(bench.client.acks_due(), None);
    let update = Body::Api(b"update..");
    let ids: Vec<_> = (1..MAX_PENDING_ACKS).map(|_| bench.id()).collect();
    for id in &ids {
        bench.say_as(*id, &update).unwrap();
    }
    assert!(bench.sent().is_empty());
    assert_eq!(bench.client.acks_due(), Some(NOW + ACK_DELAY));
    bench.client.flush_acks(NOW + ACK_DELAY).unwrap();
    let sent = bench.sent();
    assert_eq!((acked(&sent), sent[0].header.seq_no), (ids, 0));
    // Many do not wait
    for _ in 0..MAX_PENDING_ACKS {
        bench.say(&update).unwrap();
    }
    assert_eq!(acked(&bench.sent()).len(), MAX_PENDING_ACKS);
    assert_eq!(bench.client.acks_due(), None);
}

#[test]
fn messages_in_a_container_are_acknowledged_by_their_own_numbers() {
    let mut bench = Bench::new();
    let mut pong = Vec::new();
    Body::Pong {
        msg_id: MsgId(4),
        ping_id: 1,
    }
    .write(&mut pong);
    let ids = [bench.id(), bench.id()];
    let inner = [(ids[0], 4), (ids[1], 5)].map(|(msg_id, seq_no)| Message {
        msg_id,
        seq_no,
        body: &pong,
    });
    bench.say(&Body::Container(inner.to_vec())).unwrap();
    bench.client.flush_acks(NOW).unwrap();
    let acked = acked(&bench.sent());
    assert!(
        acked.contains(&ids[1]) && !acked.contains(&ids[0]),
        "{acked:?}"
    );
}

#[test]
fn a_repeated_message_is_acknowledged_and_dropped() {
    let mut bench = Bench::new();
    let call = bench.call("call");
    let id = bench.id();
    let result = Body::RpcResult {
        req_msg_id: call.header.msg_id,
        result: b"result..",
    };
    let packet = bench.seal(id, &result);
    assert_eq!(bench.take(packet.clone()).unwrap().len(), 1);
    assert_eq!(bench.take(packet).unwrap(), []);
    bench.client.flush_acks(NOW).unwrap();
    assert_eq!(acked(&bench.sent()), [id, id]);
}

#[test]
fn an_answer_that_was_not_sent_is_asked_for_again() {
    let mut bench = Bench::new();
    let call = bench.call("call");
    let answer_msg_id = bench.id();
    let info = Body::MsgDetailedInfo {
        msg_id: Some(call.header.msg_id),
        answer_msg_id,
        bytes: 524_288,
        status: 0,
    };
    bench.say(&info).unwrap();
    let again = bench.sent().pop().unwrap();
    assert_eq!(again.body, call.body);
    bench.client.flush_acks(NOW).unwrap();
    assert!(acked(&bench.sent()).contains(&answer_msg_id));
    assert_eq!(bench.answer(&again, b"result..").len(), 1);
}

#[test]
fn messages_from_another_time_are_refused_but_refusals_are_heard() {
    let hello = Body::Pong {
        msg_id: MsgId(4),
        ping_id: 1,
    };
    let early = MsgId((1_800_000_000 - 301) << 32 | 1);
    let late = MsgId((1_800_000_000 + 31) << 32 | 1);
    for id in [early, late] {
        let mut bench = Bench::new();
        bench.say(&hello).unwrap();
        assert!(bench.client.server().clock_offset.is_some());
        let refused = bench.say_as(id, &Body::Api(b"update.."));
        assert!(matches!(refused, Err(Violation::Time)), "{refused:?}");
        // The next session shall find out whether the server's clock was set.
        assert_eq!(bench.client.server().clock_offset, None);
    }
    let mut bench = Bench::new();
    let call = bench.call("call");
    bench.say(&hello).unwrap();
    let notice = Body::BadMsg {
        bad_msg_id: call.header.msg_id,
        bad_seq_no: 1,
        code: BadMsgCode::IdTooLow,
    };
    bench.say_as(late, &notice).unwrap();
    assert_eq!(bench.client.server().clock_offset, Some(31));
}

#[test]
fn what_cannot_be_told_from_a_repetition_is_refused() {
    let mut bench = Bench::new();
    let first = bench.id();
    for _ in 0..1000 {
        bench.say(&Body::Api(b"update..")).unwrap();
    }
    let refused = bench.say_as(first, &Body::Api(b"update.."));
    assert!(matches!(refused, Err(Violation::TooOld)), "{refused:?}");
}

#[test]
fn malformed_messages_close_the_connection() {
    let mut nested = Vec::new();
    Body::Container(vec![]).write(&mut nested);
    let packed = gzip::pack(&nested);
    let mut bench = Bench::new();
    let id = bench.id();
    for body in [
        Body::Container(vec![Message {
            msg_id: id,
            seq_no: 1,
            body: &nested,
        }]),
        Body::GzipPacked(&packed),
    ] {
        let refused = bench.say(&body);
        assert!(
            matches!(refused, Err(Violation::Malformed(ParseError::Nested))),
            "{refused:?}"
        );
    }
    let refused = bench.say(&Body::Api(b""));
    assert!(
        matches!(refused, Err(Violation::Malformed(ParseError::Truncated))),
        "{refused:?}"
    );
    let refused = bench.say(&Body::GzipPacked(b"no gzip."));
    assert!(matches!(refused, Err(Violation::Packed(_))), "{refused:?}");
}

#[test]
fn what_nobody_asked_for_changes_nothing() {
    let mut bench = Bench::new();
    let call = bench.call("call");
    for body in [
        Body::MsgsStateReq(vec![call.header.msg_id]),
        Body::MsgResendReq(vec![call.header.msg_id]),
        Body::MsgsStateInfo {
            req_msg_id: MsgId(4),
            info: b"",
        },
        Body::Ping { ping_id: 1 },
        Body::Api(b"update.."),
        Body::RpcResult {
            req_msg_id: MsgId(4),
            result: b"result..",
        },
    ] {
        assert_eq!(bench.say(&body).unwrap(), []);
    }
    assert!(bench.sent().is_empty());
    assert_eq!(bench.answer(&call, b"result..").len(), 1);
}

#[test]
fn a_call_that_is_not_whole_words_is_not_sent() {
    let mut bench = Bench::new();
    assert!(bench.client.call("odd", b"abc"[..].into(), NOW).is_err());
    assert_eq!(bench.client.pending(), 0);
    assert_eq!(bench.call("even").header.seq_no, 1);
}

#[test]
fn frames_over_the_limit_are_refused() {
    let mut decoder = Decoder::new(Transport::Intermediate, Side::Server, CLIENT_FRAME_LIMIT);
    let length = u32::try_from(CLIENT_FRAME_LIMIT + 4).unwrap().to_le_bytes();
    assert!(decoder.poll(&length).is_err());
}
