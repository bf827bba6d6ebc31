//! How an error is to be answered. Every error enum of this crate says its [`Class`], so that
//! retries are decided by type and never by the text of a message.

use std::time::Duration;

/// What a caller may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It may pass by itself: try again, backing off.
    Transient,
    /// The server named the time before which a new try is pointless.
    After(Duration),
    /// The same request fails for ever: tell the user.
    Permanent,
    /// We were told to stop; nothing is wrong with the work.
    Interrupted,
}
