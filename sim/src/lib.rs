//! Stand-ins for Telegram and OCI Object Storage.
