//! The memory of a transfer.

use std::{num::NonZeroUsize, str::FromStr};

use super::CHUNK_BYTES;

const MIB: u64 = 1024 * 1024;

/// How many bytes of a file are in memory at a time, whatever its size and whoever is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(u64);

/// The text is no window.
#[derive(Debug, thiserror::Error)]
#[error("it must be a number of MiB from {} to {}", Window::LEAST / MIB, Window::MOST / MIB)]
pub struct WindowError;

impl Window {
    const LEAST: u64 = 4 * MIB;
    const MOST: u64 = 1024 * MIB;

    /// Parts under way at a time: one that is sent, one that waits for its reply, and one more
    /// where a single connection is slow.
    pub const PARTS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    /// Bytes of the file in memory.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// How many chunks each part may read ahead.
    pub fn chunks_per_part(self) -> usize {
        usize::try_from(self.0 / CHUNK_BYTES).unwrap_or(usize::MAX) / Self::PARTS
    }
}

impl Default for Window {
    fn default() -> Self {
        Self(16 * MIB)
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mib: u64 = text.parse().map_err(|_| WindowError)?;
        let bytes = mib.saturating_mul(MIB);
        (Self::LEAST..=Self::MOST)
            .contains(&bytes)
            .then_some(Self(bytes))
            .ok_or(WindowError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_is_given_in_mib() {
        let window = |text: &str| text.parse::<Window>().map(Window::bytes).ok();
        assert_eq!(window("16"), Some(Window::default().bytes()));
        assert_eq!(window("4"), Some(4 * MIB));
        for text in ["", "3", "1025", "99999999999999999999", "16 MiB", "-1"] {
            assert_eq!(window(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn all_parts_together_fit_in_and_use_most_of_it(mib in 4_u64..=1024) {
            let window: Window = mib.to_string().parse().unwrap();
            let chunks = window.chunks_per_part() * Window::PARTS.get();
            let used = chunks as u64 * CHUNK_BYTES;
            prop_assert!(window.chunks_per_part() > 0 && used <= window.bytes());
            prop_assert!(window.bytes() - used < Window::PARTS.get() as u64 * CHUNK_BYTES);
        }
    }
}
