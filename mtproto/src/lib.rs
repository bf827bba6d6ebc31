//! MTProto 2.0 framing and encrypted envelope, both directions, without I/O.
//!
//! Bytes in, bytes out: this crate opens no socket, reads no clock and draws no random number;
//! who uses it passes them in. It serves a client and a server alike, so every place where the
//! two differ is written with [`Side`]. Nothing here trusts its input: a parser answers hostile
//! bytes with a typed error, never with a panic or an allocation that the input's length does not
//! justify.
//!
//! The map, in the order in which bytes arrive:
//!
//! - [`transport`]: cuts a TCP stream into packets (Abridged, Intermediate, Full).
//! - [`envelope`]: opens and seals a packet in place: encryption, integrity, header.
//! - [`message`]: the service messages inside: containers, results, acks, salts.
//! - [`gzip`]: packed bodies, with a bound on what they unpack to.
//! - [`session`]: message ids and sequence numbers: making ours, judging theirs.
//! - [`client`]: a client's half of a session, which does all of the above by itself.
//! - [`crypto`] and [`ige`]: authorization keys, key derivation, AES-IGE.
//!
//! Everything works on the caller's buffer, so that a reply can be read from the socket, opened
//! and handed on without being copied.

pub mod client;
pub mod crypto;
pub mod envelope;
pub mod gzip;
pub mod ige;
pub mod message;
pub mod session;
mod tl;
pub mod transport;

pub use crypto::{AuthKey, KeyId, Side};
pub use envelope::{Envelope, Header, Opened};
pub use message::{BadMsgCode, Body, Message};
pub use session::{IdKind, MsgId, MsgIds, Received, SeqNos};
pub use transport::{Decoder, Encoder, Step, Transport, TransportCode};
