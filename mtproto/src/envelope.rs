//! The encrypted envelope: one packet of the transport, opened or sealed in place.
//!
//! ```text
//! key id 8 | msg_key 16 | encrypted: salt 8 | session 8 | msg_id 8 | seq_no 4 | length 4 | body | padding 12..=1024
//! ```
//!
//! [`Envelope::open`] and [`Envelope::seal`] do it at one go. Both are made of two halves with
//! the cipher between them, which are public too, so that many packets can be decrypted together:
//! [`Envelope::unlock`], [`ige::decrypt`], [`Envelope::verify`].
//!
//! Nothing of a packet is to be believed before `verify` has said yes. Which check failed is told
//! for diagnosis; to the other side all failures must look alike.

use std::ops::Range;

use crate::crypto::{AuthKey, KeyId, MsgKey, Side};
use crate::ige::{self, IgeKey};
use crate::session::MsgId;

/// Bytes before the ciphertext: key id and message key.
pub const OUTER: usize = 24;

/// Bytes of the encrypted header.
pub const INNER: usize = 32;

/// Where the body begins in a packet.
pub const BODY_AT: usize = OUTER + INNER;

/// The least padding, in bytes.
pub const MIN_PADDING: usize = 12;

/// The most padding, in bytes.
pub const MAX_PADDING: usize = 1024;

/// The encrypted header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The server's salt.
    pub salt: i64,
    /// The session, chosen by the client.
    pub session_id: i64,
    /// The message's id.
    pub msg_id: MsgId,
    /// The message's sequence number.
    pub seq_no: i32,
}

/// A packet that was opened: its header, and where in the packet its body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The encrypted header.
    pub header: Header,
    /// The body's place in the packet, without padding.
    pub body: Range<usize>,
}

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It names another key.
    #[error("the packet is encrypted with another key")]
    KeyId,
    /// It is too short, or its ciphertext is not whole blocks.
    #[error("the packet's ciphertext is no whole number of blocks")]
    Blocks,
    /// The plaintext is not what the message key promises.
    #[error("the packet's message key does not match its plaintext")]
    MsgKey,
    /// It belongs to another session.
    #[error("the packet belongs to another session")]
    Session,
    /// The body's length is negative, no multiple of four, or beyond the packet.
    #[error("the packet's body has an impossible length")]
    Length,
    /// There is less or more padding than allowed.
    #[error("the packet has {0} bytes of padding")]
    Padding(usize),
    /// A server's message with the id of a client's.
    #[error("the packet's message id is not one of a server")]
    Parity,
}

/// Why a packet was not sealed: a mistake of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The body is not a multiple of four bytes, or longer than the format can say.
    #[error("a body of {0} bytes cannot be sealed")]
    Length(usize),
    /// The packet leaves too little or too much room for padding, or is not whole blocks.
    #[error("a packet of {packet} bytes does not fit a body of {body} bytes")]
    Room {
        /// The packet's length in bytes.
        packet: usize,
        /// The body's length in bytes.
        body: usize,
    },
}

/// The id of the key a packet is encrypted with; `None` when it is too short to name one.
pub fn key_id(packet: &[u8]) -> Option<KeyId> {
    packet.first_chunk().copied().map(KeyId::from_bytes)
}

/// The length of a packet for a body of `body` bytes with the least padding plus `extra_blocks`
/// blocks of it, of which 62 always fit.
pub const fn packet_len(body: usize, extra_blocks: usize) -> usize {
    OUTER + (INNER + body + MIN_PADDING).next_multiple_of(ige::BLOCK) + extra_blocks * ige::BLOCK
}

/// What is needed to open or seal the packets of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'k> {
    key: &'k AuthKey,
    from: Side,
    session: Option<i64>,
}

impl<'k> Envelope<'k> {
    /// Packets written by `from` under `key`, of any session: a server's view.
    pub const fn new(key: &'k AuthKey, from: Side) -> Self {
        Self {
            key,
            from,
            session: None,
        }
    }

    /// Packets of this session alone: a client's view.
    #[must_use]
    pub const fn of_session(self, session_id: i64) -> Self {
        Self {
            session: Some(session_id),
            ..self
        }
    }

    /// Decrypts a packet in place and checks it.
    ///
    /// # Errors
    /// The first check that failed, see [`OpenError`]; the packet's content is then noise.
    pub fn open(&self, packet: &mut [u8]) -> Result<Opened, OpenError> {
        let key = self.unlock(packet)?;
        ige::decrypt(&key, &mut packet[OUTER..]);
        self.verify(packet)
    }

    /// Checks the outside of a packet and derives the key for everything after [`OUTER`].
    ///
    /// # Errors
    /// [`OpenError::KeyId`] or [`OpenError::Blocks`].
    pub fn unlock(&self, packet: &[u8]) -> Result<IgeKey, OpenError> {
        let (outer, ciphertext) = packet
            .split_first_chunk::<OUTER>()
            .ok_or(OpenError::Blocks)?;
        let (key_id, msg_key) = split_outer(outer);
        if key_id != self.key.id() {
            return Err(OpenError::KeyId);
        }
        if ciphertext.len() < INNER || !ciphertext.len().is_multiple_of(ige::BLOCK) {
            return Err(OpenError::Blocks);
        }
        Ok(self.key.ige_key(self.from, &msg_key))
    }

    /// Checks a packet whose ciphertext was decrypted in place, in the order the protocol's
    /// security guidelines demand: first that it is genuine, then what it says.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(&self, packet: &[u8]) -> Result<Opened, OpenError> {
        let (outer, plaintext) = packet
            .split_first_chunk::<OUTER>()
            .ok_or(OpenError::Blocks)?;
        let (_, promised) = split_outer(outer);
        if !self.key.msg_key(self.from, plaintext).matches(&promised) {
            return Err(OpenError::MsgKey);
        }
        let (inner, body) = plaintext
            .split_first_chunk::<INNER>()
            .ok_or(OpenError::Blocks)?;
        let (header, length) = read_inner(inner);
        if self.session.is_some_and(|ours| ours != header.session_id) {
            return Err(OpenError::Session);
        }
        let length = usize::try_from(length).map_err(|_| OpenError::Length)?;
        if !length.is_multiple_of(4) {
            return Err(OpenError::Length);
        }
        let padding = body.len().checked_sub(length).ok_or(OpenError::Length)?;
        if !(MIN_PADDING..=MAX_PADDING).contains(&padding) {
            return Err(OpenError::Padding(padding));
        }
        if self.from == Side::Server && header.msg_id.0 & 1 == 0 {
            return Err(OpenError::Parity);
        }
        Ok(Opened {
            header,
            body: BODY_AT..BODY_AT + length,
        })
    }

    /// Seals a packet in place. The caller has written the body at [`BODY_AT`] and random padding
    /// behind it; [`packet_len`] gives fitting lengths.
    ///
    /// # Errors
    /// [`SealError`] when the lengths do not fit each other; the packet is then untouched.
    pub fn seal(&self, header: &Header, body: usize, packet: &mut [u8]) -> Result<(), SealError> {
        let key = self.lock(header, body, packet)?;
        ige::encrypt(&key, &mut packet[OUTER..]);
        Ok(())
    }

    /// Writes the header and the outside of a packet and derives the key to encrypt everything
    /// after [`OUTER`] with.
    ///
    /// # Errors
    /// As [`Envelope::seal`].
    pub fn lock(
        &self,
        header: &Header,
        body: usize,
        packet: &mut [u8],
    ) -> Result<IgeKey, SealError> {
        let length = i32::try_from(body).map_err(|_| SealError::Length(body))?;
        if !body.is_multiple_of(4) {
            return Err(SealError::Length(body));
        }
        let room = SealError::Room {
            packet: packet.len(),
            body,
        };
        let padding = packet.len().checked_sub(BODY_AT + body).ok_or(room)?;
        if !(MIN_PADDING..=MAX_PADDING).contains(&padding)
            || !(packet.len() - OUTER).is_multiple_of(ige::BLOCK)
        {
            return Err(room);
        }
        let (outer, plaintext) = packet.split_at_mut(OUTER);
        write_inner(header, length, &mut plaintext[..INNER]);
        let msg_key = self.key.msg_key(self.from, plaintext);
        outer[..8].copy_from_slice(&self.key.id().to_bytes());
        outer[8..].copy_from_slice(msg_key.as_bytes());
        Ok(self.key.ige_key(self.from, &msg_key))
    }
}

fn split_outer(outer: &[u8; OUTER]) -> (KeyId, MsgKey) {
    let mut key_id = [0; 8];
    key_id.copy_from_slice(&outer[..8]);
    let mut msg_key = [0; 16];
    msg_key.copy_from_slice(&outer[8..]);
    (KeyId::from_bytes(key_id), MsgKey::from_bytes(msg_key))
}

fn read_inner(inner: &[u8; INNER]) -> (Header, i32) {
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&inner[at..at + 8]);
        i64::from_le_bytes(bytes)
    };
    let int = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&inner[at..at + 4]);
        i32::from_le_bytes(bytes)
    };
    let header = Header {
        salt: long(0),
        session_id: long(8),
        msg_id: MsgId(long(16)),
        seq_no: int(24),
    };
    (header, int(28))
}

fn write_inner(header: &Header, length: i32, inner: &mut [u8]) {
    inner[..8].copy_from_slice(&header.salt.to_le_bytes());
    inner[8..16].copy_from_slice(&header.session_id.to_le_bytes());
    inner[16..24].copy_from_slice(&header.msg_id.0.to_le_bytes());
    inner[24..28].copy_from_slice(&header.seq_no.to_le_bytes());
    inner[28..32].copy_from_slice(&length.to_le_bytes());
}
