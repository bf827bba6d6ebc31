//! File bytes: connections of our own to the data centres that store files.
//!
//! grammers has one connection to a data centre, copies every reply three times, has no timeouts
//! and does not use the addresses that are meant for files. So `upload.getFile` goes through here
//! wherever there are such addresses, over `mtproto`, with the keys that the session holds:
//!
//! - [`doors`]: where a data centre is reached, and by how many connections.
//! - [`centre`]: one data centre: hands fetches to connections, and replaces what breaks.
//! - [`connection`]: one TCP connection and its session.
//! - [`pace`]: how many connections there are.
//! - [`opener`]: decrypts and verifies large packets, several at once.
//! - [`buffers`] and [`frame`]: the memory that replies are read into and chunks are made of.
//! - [`get_file`]: the one method that is called.

use std::time::Duration;

mod buffers;
mod centre;
mod connection;
mod doors;
mod frame;
mod get_file;
mod opener;
mod pace;
#[cfg(test)]
mod peer;

pub(super) use buffers::{Budget, Buffer};
pub(super) use centre::Centre;
pub use connection::ConnectionError;
pub(super) use connection::{DEPTH, Reply};
pub(super) use doors::Doors;
pub(super) use get_file::{content, greeting, query};
pub(super) use opener::Opener;

/// Waits up to this long are waited out; longer ones are handed up, which frees the slot.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Bytes asked for at a time. It satisfies every rule of `upload.getFile`
/// (<https://core.telegram.org/api/files>).
pub const CHUNK: u32 = 512 * 1024;
