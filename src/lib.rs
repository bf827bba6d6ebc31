//! TeleStream OCI moves files from Telegram into Oracle Cloud (OCI) Object Storage, chunk by
//! chunk and without a disk, and hands out pre-authenticated download links.
//!
//! The map, in the order in which a file passes through:
//!
//! - [`oci`]: signing, credentials, and the client of Object Storage and its links.
//!
//! Arrows point one way: `api` and `transfer` import none of the others; `telegram`, `oci`
//! and `ops` do not know each other; `controller` and `worker` use them and never each other.

pub mod class;
pub mod oci;

pub use class::Class;
