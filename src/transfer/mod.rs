//! The streaming engine: a source read in chunks, a sink written in parts, and a bounded window
//! of chunks between them.
//!
//! It knows neither Telegram nor OCI, holds no more than the window in memory whatever the file's
//! size, and touches no disk. Chunks are read ahead, several at a time and in order; a part's body
//! is streamed while its chunks arrive; when the sink is slow, reading stops.

mod engine;
mod layout;
mod verified;
mod window;

pub use engine::{
    BodyAborted, Error, PartBody, Progress, STOP_PATIENCE, Sink, Source, StoredPart, run,
};
pub use layout::{CHUNK_BYTES, Layout, MAX_PARTS, MIN_PART_BYTES, Part};
pub use verified::Verified;
pub use window::{Window, WindowError};
