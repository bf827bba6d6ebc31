//! Telegram over MTProto: sessions, message lookup, and ranged reads of a message's file.
//!
//! Knows nothing of object storage or Kubernetes. It never logs in and never writes a session: those
//! are provided.

mod connection;
mod error;
mod file;
mod files;
mod key_ring;
mod locate;
mod session;
mod source;

pub use connection::{Account, FileConnections, FileConnectionsError, Telegram};
pub use error::Error;
pub use file::RemoteFile;
pub use files::{CHUNK, ConnectionError};
pub use locate::{MediaFile, MessageRef};
pub use session::{ApiId, ApiIdError, Identity, Session, SessionError};
