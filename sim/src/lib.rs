//! Stand-ins for Telegram and OCI Object Storage.

pub mod oci;
