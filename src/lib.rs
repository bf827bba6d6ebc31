//! TeleStream OCI moves files from Telegram into Oracle Cloud (OCI) Object Storage, chunk by
//! chunk and without a disk, and hands out pre-authenticated download links.
//!
//! The map:
//!
//! - [`bot`]: the Telegram chat: files become jobs, and jobs become messages.
//! - [`controller`]: the life of a transfer, who runs next, the pool of worker pods.
//! - [`worker`]: takes its assignments, one transfer at a time.
//! - [`api`]: the `TransferJob` resource, its names and labels. No I/O.
//! - [`telegram`]: MTProto: sessions, message lookup, ranged reads.
//! - [`transfer`]: the streaming engine, from any source to any sink.
//! - [`oci`]: request signing, credentials, and the client of Object Storage and its links.
//! - [`queue`]: Redis: order, fairness between users, live progress.
//! - [`unfinished_jobs`]: what controller and bot watch alike.
//! - [`ops`]: variables, logs, health endpoints, signals.
//!
//! Arrows point one way: `api` and `transfer` import none of the others; `telegram`, `oci`,
//! `queue` and `ops` do not know each other; `bot`, `controller` and `worker`
//! use them and never each other.

pub mod api;
pub mod bot;
pub mod class;
pub mod config;
pub mod controller;
pub mod oci;
pub mod ops;
pub mod queue;
pub mod telegram;
pub mod transfer;
pub mod unfinished_jobs;
pub mod worker;

pub use class::Class;
