//! A file arrives whole and once, whatever goes wrong between Telegram and Object Storage; or it
//! fails with a reason, and nothing is left behind.

mod inputs;
mod kill;
mod memory;
mod resume;
mod storage;
mod telegram;
mod world;
