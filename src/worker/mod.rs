//! The worker: a pod that holds one Telegram session, takes the `TransferJob`s that are assigned
//! to it one after another, and moves their files.
//!
//! It acts only on assignments that name its own pod's UID, writes only its own keys of their
//! status, and keeps nothing of one transfer for the next but its warm connections.

mod assignments;
mod contact;
mod meter;
mod once;
mod report;
mod serve;
mod transfer;
mod upload;

pub use contact::ContactLost;
pub use meter::{Meter, Reading};
pub use once::{TransferReport, TransferRequest, transfer_once};
pub use serve::{RunError, WorkerSettings, run};
pub use transfer::{Delivery, Engine, History, Journal, Order, TransferError};
