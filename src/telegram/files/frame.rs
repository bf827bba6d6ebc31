//! Where a frame is read into.

use std::ops::{Deref, DerefMut};

use super::buffers::Buffer;

/// The memory of one frame that is too large to be looked at where it first arrives.
#[derive(Debug)]
pub enum Frame {
    /// A reserved buffer, which can become a chunk.
    Reserved(Buffer),
    /// A frame that does not fit one, or that nobody reserved a buffer for.
    Unforeseen(Vec<u8>),
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Reserved(buffer) => buffer,
            Self::Unforeseen(memory) => memory,
        }
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Reserved(buffer) => buffer,
            Self::Unforeseen(memory) => memory,
        }
    }
}
