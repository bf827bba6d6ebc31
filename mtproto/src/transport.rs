//! Cutting a TCP stream into packets and back.
//!
//! A [`Decoder`] looks at the bytes that have arrived and says where the next packet lies in
//! them, so that the caller can have read them right into the buffer in which the packet will be
//! opened. An [`Encoder`] writes a frame's head and tail around a packet already in its buffer.
//! Neither keeps a byte. Quick acknowledgements are never asked for; being asked or given one is
//! an error. Specification: <https://core.telegram.org/mtproto/mtproto-transports>.

use std::fmt;
use std::ops::Range;

use crc_fast::CrcAlgorithm;

use crate::crypto::Side;

/// The largest head any transport writes before a packet.
pub const MAX_HEAD: usize = 8;

/// The largest frame a client accepts, as Telegram's own library has it.
pub const CLIENT_FRAME_LIMIT: usize = 4 << 20;

/// The largest frame a server accepts.
pub const SERVER_FRAME_LIMIT: usize = (1 << 20) + (16 << 10);

/// Full frames carry length, sequence number and checksum: twelve bytes around the packet.
const FULL_OVERHEAD: usize = 12;

/// Payloads shorter than this are not packets but a single number.
const SHORTEST_PACKET: usize = 16;

/// How packets are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One or four bytes of length, in words.
    Abridged,
    /// Four bytes of length.
    Intermediate,
    /// As Intermediate, with up to 15 random bytes after the packet.
    PaddedIntermediate,
    /// Length, sequence number and a CRC-32.
    Full,
}

impl Transport {
    /// What a client sends once, before its first frame.
    pub const fn opening(self) -> &'static [u8] {
        match self {
            Self::Abridged => &[0xef],
            Self::Intermediate => &[0xee; 4],
            Self::PaddedIntermediate => &[0xdd; 4],
            Self::Full => &[],
        }
    }

    /// Tells from the first bytes of a connection which transport its client speaks.
    ///
    /// # Errors
    /// [`FrameError::UnknownTransport`] when it is none of these (obfuscated, HTTP, TLS, noise).
    pub fn detect(first: &[u8]) -> Result<Detected, FrameError> {
        if first.first() == Some(&0xef) {
            return Ok(Detected::Is(Self::Abridged));
        }
        for transport in [Self::Intermediate, Self::PaddedIntermediate] {
            if first.starts_with(transport.opening()) {
                return Ok(Detected::Is(transport));
            }
        }
        match first.first_chunk::<8>() {
            None => Ok(Detected::NeedMore),
            // Full has no opening: its first frame has the sequence number 0.
            Some([_, _, _, _, 0, 0, 0, 0]) => Ok(Detected::Is(Self::Full)),
            Some(_) => Err(FrameError::UnknownTransport),
        }
    }
}

/// What [`Transport::detect`] can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// The client speaks this; skip the bytes of its [`Transport::opening`].
    Is(Transport),
    /// Too few bytes to tell; eight are always enough.
    NeedMore,
}

/// A negative number in place of a packet by which a server refuses a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TransportCode(pub i32);

impl TransportCode {
    /// The server does not know the key.
    pub const UNKNOWN_KEY: Self = Self(-404);
    /// Too many connections, or too much on one.
    pub const FLOOD: Self = Self(-429);
    /// The key or the protocol is of another data centre.
    pub const WRONG_DC: Self = Self(-444);
}

impl fmt::Debug for TransportCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportCode({})", self.0)
    }
}

impl fmt::Display for TransportCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a stream cannot be cut any further; the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The client's first bytes belong to no transport spoken here.
    #[error("the connection opens with no known transport")]
    UnknownTransport,
    /// A length that no packet can have.
    #[error("a frame claims the impossible length {0}")]
    Length(i64),
    /// A frame beyond the limit.
    #[error("a frame of {len} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// The frame's length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A quick acknowledgement was asked for or given.
    #[error("quick acknowledgements are not spoken")]
    QuickAck,
    /// A frame of Full out of order.
    #[error("frame {got} came where frame {expected} was due")]
    Sequence {
        /// The number that was due.
        expected: u32,
        /// The number that came.
        got: u32,
    },
    /// A frame of Full whose checksum is wrong.
    #[error("a frame's checksum is wrong")]
    Checksum,
}

/// What stands at the beginning of the bytes given to [`Decoder::poll`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not yet a whole frame: ask again once there are this many bytes, counted from the
    /// beginning. Exact once the head is there, so a caller can read the rest in one go.
    Need(usize),
    /// A packet.
    Packet {
        /// Where it lies.
        payload: Range<usize>,
        /// How many bytes the frame takes, tail included.
        consumed: usize,
    },
    /// A refusal.
    Code {
        /// What the server says.
        code: TransportCode,
        /// How many bytes the frame takes.
        consumed: usize,
    },
    /// A frame without meaning, to be skipped.
    Noop {
        /// How many bytes the frame takes.
        consumed: usize,
    },
}

/// Finds frames in a stream of bytes.
#[derive(Debug)]
pub struct Decoder {
    transport: Transport,
    from: Side,
    limit: usize,
    /// The sequence number due next; Full alone has one.
    sequence: u32,
}

/// Where a payload lies and how long its frame is.
struct Extent {
    payload: Range<usize>,
    frame: usize,
}

impl Decoder {
    /// For frames written by `from`, none of them longer than `limit` bytes.
    pub const fn new(transport: Transport, from: Side, limit: usize) -> Self {
        Self {
            transport,
            from,
            limit,
            sequence: 0,
        }
    }

    /// Looks at what has arrived: `bytes` begins where the last frame ended (after the opening,
    /// for the first one).
    ///
    /// # Errors
    /// [`FrameError`]: the stream makes no sense from here on.
    pub fn poll(&mut self, bytes: &[u8]) -> Result<Step, FrameError> {
        let head = match self.transport {
            Transport::Abridged => abridged(bytes),
            Transport::Intermediate | Transport::PaddedIntermediate => intermediate(bytes),
            Transport::Full => self.full(bytes),
        }?;
        let extent = match head {
            Head::Need(need) => return Ok(Step::Need(need)),
            Head::Raw(code) => return Ok(Step::Code { code, consumed: 4 }),
            Head::Frame(extent) => extent,
        };
        if extent.frame > self.limit {
            return Err(FrameError::TooLarge {
                len: extent.frame,
                limit: self.limit,
            });
        }
        if bytes.len() < extent.frame {
            return Ok(Step::Need(extent.frame));
        }
        if self.transport == Transport::Full {
            self.check_full(&bytes[..extent.frame])?;
        }
        Ok(self.classify(bytes, extent))
    }

    fn full(&self, bytes: &[u8]) -> Result<Head, FrameError> {
        let Some(head) = bytes.first_chunk::<4>() else {
            return Ok(Head::Need(4));
        };
        let length = i32::from_le_bytes(*head);
        if length < 0 && self.from == Side::Server {
            // Servers refuse a Full connection with the bare number, unframed.
            return Ok(Head::Raw(TransportCode(length)));
        }
        match usize::try_from(length) {
            Ok(frame) if frame >= FULL_OVERHEAD && frame.is_multiple_of(4) => {
                Ok(Head::Frame(Extent {
                    payload: 8..frame - 4,
                    frame,
                }))
            }
            _ => Err(FrameError::Length(length.into())),
        }
    }

    fn check_full(&mut self, frame: &[u8]) -> Result<(), FrameError> {
        let got = u32_at(frame, 4);
        if got != self.sequence {
            return Err(FrameError::Sequence {
                expected: self.sequence,
                got,
            });
        }
        let (checked, _) = frame.split_at(frame.len() - 4);
        if crc32(checked) != u32_at(frame, frame.len() - 4) {
            return Err(FrameError::Checksum);
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    fn classify(&self, bytes: &[u8], extent: Extent) -> Step {
        let consumed = extent.frame;
        let payload = &bytes[extent.payload.clone()];
        // The shortest code frame of Padded Intermediate may be padded up to 19 bytes, yet no
        // encrypted packet is shorter than 24.
        let shortest = match self.transport {
            Transport::PaddedIntermediate => 24,
            _ => SHORTEST_PACKET,
        };
        if payload.len() < shortest {
            return match payload
                .first_chunk::<4>()
                .map(|raw| i32::from_le_bytes(*raw))
            {
                None | Some(0) => Step::Noop { consumed },
                Some(code) => Step::Code {
                    code: TransportCode(code),
                    consumed,
                },
            };
        }
        let mut payload = extent.payload;
        if self.transport == Transport::PaddedIntermediate {
            // An encrypted packet is 24 bytes and whole blocks; what is beyond is padding.
            payload.end -= (payload.len() - 24) % 16;
        }
        Step::Packet { payload, consumed }
    }
}

/// What a frame's head says.
enum Head {
    Need(usize),
    Raw(TransportCode),
    Frame(Extent),
}

fn abridged(bytes: &[u8]) -> Result<Head, FrameError> {
    let Some(&first) = bytes.first() else {
        return Ok(Head::Need(1));
    };
    if first & 0x80 != 0 {
        return Err(FrameError::QuickAck);
    }
    let (words, head) = if first < 0x7f {
        (usize::from(first), 1)
    } else {
        let Some([_, a, b, c]) = bytes.first_chunk::<4>() else {
            return Ok(Head::Need(4));
        };
        let words = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        (words, 4)
    };
    Ok(Head::Frame(Extent {
        payload: head..head + words * 4,
        frame: head + words * 4,
    }))
}

fn intermediate(bytes: &[u8]) -> Result<Head, FrameError> {
    let Some(head) = bytes.first_chunk::<4>() else {
        return Ok(Head::Need(4));
    };
    let length = u32::from_le_bytes(*head);
    if length & 1 << 31 != 0 {
        return Err(FrameError::QuickAck);
    }
    let length = usize::try_from(length).map_err(|_| FrameError::Length(length.into()))?;
    Ok(Head::Frame(Extent {
        payload: 4..4 + length,
        frame: 4 + length,
    }))
}

/// Frames packets that already stand in a buffer.
#[derive(Debug)]
pub struct Encoder {
    transport: Transport,
    sequence: u32,
}

impl Encoder {
    /// For one direction of one connection.
    pub const fn new(transport: Transport) -> Self {
        Self {
            transport,
            sequence: 0,
        }
    }

    /// Frames the packet that stands in `buffer` from `at` to the end: writes the head right
    /// before it, appends the tail, and returns where the frame begins.
    ///
    /// # Errors
    /// [`FrameError::Length`] for a packet that the transport cannot carry: no multiple of four,
    /// or too long.
    ///
    /// # Panics
    /// If there is less than [`MAX_HEAD`] room before the packet: a mistake of the caller.
    pub fn frame(&mut self, buffer: &mut Vec<u8>, at: usize) -> Result<usize, FrameError> {
        assert!(at >= MAX_HEAD && at <= buffer.len(), "no room for a head");
        let len = buffer.len() - at;
        let refused = FrameError::Length(i64::try_from(len).unwrap_or(i64::MAX));
        let short = u32::try_from(len)
            .ok()
            .filter(|len| *len < 1 << 26 && len.is_multiple_of(4))
            .ok_or(refused)?;
        Ok(match self.transport {
            Transport::Abridged => {
                let words = short / 4;
                match u8::try_from(words) {
                    Ok(words) if words < 0x7f => put_head(buffer, at, &[words]),
                    _ => put_head(buffer, at, &(words << 8 | 0x7f).to_le_bytes()),
                }
            }
            Transport::Intermediate | Transport::PaddedIntermediate => {
                put_head(buffer, at, &short.to_le_bytes())
            }
            Transport::Full => self.frame_full(buffer, at, short),
        })
    }

    fn frame_full(&mut self, buffer: &mut Vec<u8>, at: usize, len: u32) -> usize {
        let total = u64::from(len) + 12;
        let start = put_head(
            buffer,
            at,
            &(total | u64::from(self.sequence) << 32).to_le_bytes(),
        );
        let crc = crc32(&buffer[start..]);
        buffer.extend_from_slice(&crc.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        start
    }

    /// A refusal, in the form this transport gives it: framed, but bare with Full.
    pub fn code(&self, code: TransportCode) -> Vec<u8> {
        let raw = code.0.to_le_bytes();
        match self.transport {
            Transport::Full => raw.to_vec(),
            Transport::Abridged => [&[1], &raw[..]].concat(),
            Transport::Intermediate | Transport::PaddedIntermediate => {
                [&4_u32.to_le_bytes(), &raw[..]].concat()
            }
        }
    }
}

fn put_head(buffer: &mut [u8], at: usize, head: &[u8]) -> usize {
    let start = at - head.len();
    buffer[start..at].copy_from_slice(head);
    start
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn crc32(bytes: &[u8]) -> u32 {
    let sum = crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes);
    u32::try_from(sum).expect("a 32-bit checksum")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Transport; 4] = [
        Transport::Abridged,
        Transport::Intermediate,
        Transport::PaddedIntermediate,
        Transport::Full,
    ];

    /// Feeds `stream` in pieces of `piece` bytes, as a socket would, and collects the packets.
    fn packets(
        decoder: &mut Decoder,
        stream: &[u8],
        piece: usize,
    ) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut found = Vec::new();
        let mut buffered = Vec::new();
        for bytes in stream.chunks(piece.max(1)) {
            buffered.extend_from_slice(bytes);
            loop {
                match decoder.poll(&buffered)? {
                    Step::Need(need) => {
                        assert!(need > buffered.len(), "asked for what is there");
                        break;
                    }
                    Step::Packet { payload, consumed } => {
                        found.push(buffered[payload].to_vec());
                        buffered.drain(..consumed);
                    }
                    Step::Code { consumed, .. } | Step::Noop { consumed } => {
                        buffered.drain(..consumed);
                    }
                }
            }
        }
        Ok(found)
    }

    fn frame(encoder: &mut Encoder, payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; MAX_HEAD];
        buffer.extend_from_slice(payload);
        let start = encoder.frame(&mut buffer, MAX_HEAD).expect("fits");
        buffer.split_off(start)
    }

    fn code_of(transport: Transport, bytes: &[u8]) -> Result<Step, FrameError> {
        Decoder::new(transport, Side::Server, CLIENT_FRAME_LIMIT).poll(bytes)
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding_however_the_stream_is_cut(
            transport in proptest::sample::select(&ALL[..]),
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..70), 1..8),
            piece in 1_usize..200,
        ) {
            // Encrypted packets: 24 bytes and whole blocks.
            let packets_sent: Vec<Vec<u8>> = bodies
                .iter()
                .map(|body| body.iter().cycle().take(24 + 16 * body.len()).copied().collect())
                .map(|mut packet: Vec<u8>| { packet.resize(packet.len().max(24).next_multiple_of(8), 1); packet })
                .map(|packet| if packet.len() % 16 == 8 { packet } else { packet[..packet.len() - 8].to_vec() })
                .collect();
            for from in [Side::Client, Side::Server] {
                let mut encoder = Encoder::new(transport);
                let stream: Vec<u8> = packets_sent.iter().flat_map(|packet| frame(&mut encoder, packet)).collect();
                let mut decoder = Decoder::new(transport, from, CLIENT_FRAME_LIMIT);
                prop_assert_eq!(packets(&mut decoder, &stream, piece).expect("our own frames"), packets_sent.clone());
            }
        }

        #[test]
        fn garbage_never_panics(
            transport in proptest::sample::select(&ALL[..]),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            piece in 1_usize..50,
        ) {
            for from in [Side::Client, Side::Server] {
                let _ = packets(&mut Decoder::new(transport, from, 4096), &bytes, piece);
            }
            let _ = Transport::detect(&bytes);
        }
    }

    #[test]
    fn a_transport_is_told_by_its_first_bytes() {
        for transport in ALL {
            let mut encoder = Encoder::new(transport);
            let mut stream = transport.opening().to_vec();
            stream.extend(frame(&mut encoder, &[5; 40]));
            assert_eq!(Transport::detect(&stream), Ok(Detected::Is(transport)));
            for few in 0..transport.opening().len() {
                assert_eq!(Transport::detect(&stream[..few]), Ok(Detected::NeedMore));
            }
        }
        assert_eq!(Transport::detect(&[12, 0, 0, 0, 0]), Ok(Detected::NeedMore));
        assert_eq!(
            Transport::detect(b"GET / HTTP/1.1"),
            Err(FrameError::UnknownTransport)
        );
    }

    #[test]
    fn a_refusal_arrives_in_the_form_of_each_transport() {
        for transport in ALL {
            let bytes = Encoder::new(transport).code(TransportCode::FLOOD);
            let consumed = bytes.len();
            let code = TransportCode(-429);
            assert_eq!(
                code_of(transport, &bytes),
                Ok(Step::Code { code, consumed }),
                "{transport:?}"
            );
        }
        assert_eq!(
            Encoder::new(Transport::Full).code(TransportCode::UNKNOWN_KEY),
            (-404_i32).to_le_bytes()
        );
    }

    #[test]
    fn a_framed_refusal_in_full_is_understood_too() {
        let bytes = frame(
            &mut Encoder::new(Transport::Full),
            &(-404_i32).to_le_bytes(),
        );
        assert_eq!(
            code_of(Transport::Full, &bytes),
            Ok(Step::Code {
                code: TransportCode::UNKNOWN_KEY,
                consumed: 16
            })
        );
    }

    #[test]
    fn quick_acks_are_errors() {
        assert_eq!(
            code_of(Transport::Intermediate, &[40, 0, 0, 0x80]),
            Err(FrameError::QuickAck)
        );
        assert_eq!(
            code_of(Transport::Abridged, &[0x8a]),
            Err(FrameError::QuickAck)
        );
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_by_its_head_alone() {
        let mut decoder = Decoder::new(Transport::Intermediate, Side::Server, 1000);
        assert_eq!(
            decoder.poll(&997_u32.to_le_bytes()),
            Err(FrameError::TooLarge {
                len: 1001,
                limit: 1000
            })
        );
    }

    #[test]
    fn full_notices_a_changed_and_a_repeated_frame() {
        let good = frame(&mut Encoder::new(Transport::Full), &[7; 24]);
        let mut decoder = Decoder::new(Transport::Full, Side::Server, 1000);
        let mut changed = good.clone();
        changed[12] ^= 1;
        assert_eq!(decoder.poll(&changed), Err(FrameError::Checksum));
        assert!(decoder.poll(&good).is_ok());
        assert_eq!(
            decoder.poll(&good),
            Err(FrameError::Sequence {
                expected: 1,
                got: 0
            })
        );
    }

    #[test]
    fn an_empty_number_is_skipped() {
        assert_eq!(
            code_of(Transport::Intermediate, &[4, 0, 0, 0, 0, 0, 0, 0]),
            Ok(Step::Noop { consumed: 8 })
        );
    }

    #[test]
    fn a_packet_that_no_transport_carries_is_refused() {
        let mut buffer = vec![0; MAX_HEAD + 5];
        assert_eq!(
            Encoder::new(Transport::Abridged).frame(&mut buffer, MAX_HEAD),
            Err(FrameError::Length(5))
        );
    }
}
