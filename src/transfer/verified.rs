//! The checksum of a file, put together from those of its parts in whatever order they come.
//!
//! CRC32C is linear: what a part adds to that of the whole depends on its own and on how many bytes
//! follow it, and on no other part. So what any parts add is four bytes, however many they are; and
//! when no part is missing, these four bytes are the checksum of the file.

use std::collections::BTreeSet;

use crc_fast::{CrcAlgorithm, checksum_combine};

use super::{Layout, Part};

/// The parts whose checksum is known to be that of the file, and what they add to the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    layout: Layout,
    parts: BTreeSet<u16>,
    crc32c: u32,
}

impl Verified {
    /// None yet.
    pub fn none(layout: Layout) -> Self {
        Self {
            layout,
            parts: BTreeSet::new(),
            crc32c: 0,
        }
    }

    /// The parts from the first to `through`, but for those that are `missing`, if the layout has
    /// such parts. `crc32c` is what they add.
    pub fn of(
        layout: Layout,
        through: u16,
        missing: impl IntoIterator<Item = u16>,
        crc32c: u32,
    ) -> Option<Self> {
        if through > layout.count() {
            return None;
        }
        let mut parts: BTreeSet<_> = (1..=through).collect();
        missing
            .into_iter()
            .all(|number| parts.remove(&number))
            .then_some(Self {
                layout,
                parts,
                crc32c,
            })
    }

    /// One more part. One that is known already changes nothing.
    pub fn add(&mut self, number: u16, crc32c: u32) {
        if self.parts.insert(number) {
            self.crc32c ^= placed(self.layout, self.layout.part(number), crc32c);
        }
    }

    /// Whether the part of that number is one of them.
    pub fn has(&self, number: u16) -> bool {
        self.parts.contains(&number)
    }

    /// All of them.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.parts.iter().map(|number| self.layout.part(*number))
    }

    /// The last of them; 0 if there is none.
    pub fn through(&self) -> u16 {
        self.parts.last().copied().unwrap_or(0)
    }

    /// Those before the last that do not belong to them.
    pub fn missing(&self) -> impl Iterator<Item = u16> + '_ {
        (1..self.through()).filter(|number| !self.parts.contains(number))
    }

    /// What they add to the CRC32C of the file.
    pub fn crc32c(&self) -> u32 {
        self.crc32c
    }

    /// The CRC32C of the file, if no part is missing.
    pub fn whole(&self) -> Option<u32> {
        (self.parts.len() == usize::from(self.layout.count())).then_some(self.crc32c)
    }
}

/// What a part adds to the checksum of the whole.
fn placed(layout: Layout, part: Part, crc32c: u32) -> u32 {
    let after = layout.size().saturating_sub(part.offset + part.len);
    let placed = checksum_combine(CrcAlgorithm::Crc32Iscsi, u64::from(crc32c), 0, after);
    u32::try_from(placed).expect("a CRC32C has 32 bits")
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "patterns of bytes")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn crc(bytes: &[u8]) -> u32 {
        crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
    }

    /// The checksums of all parts, shuffled.
    fn parts(layout: Layout, bytes: &[u8], seed: u64) -> Vec<(u16, u32)> {
        let of = |part: Part| {
            let content = &bytes[part.offset as usize..(part.offset + part.len) as usize];
            (part.number, crc(content))
        };
        let mut parts: Vec<_> = layout.parts().map(of).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut parts);
        parts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_checksum_of_the_whole_follows_from_the_parts_in_any_order(
            size in 1..4_000_000_usize,
            chunks in 1..5_u64,
            seed: u64,
            told: prop::sample::Index,
        ) {
            let bytes: Vec<u8> = (0..size).map(|at| (at / 3) as u8).collect();
            let layout = Layout::resume(size as u64, chunks * 524_288).unwrap();
            let parts = parts(layout, &bytes, seed);
            let told = told.index(parts.len());
            let mut verified = Verified::none(layout);
            for (at, (number, crc)) in parts.iter().enumerate() {
                prop_assert_eq!(verified.whole(), None);
                if at == told {
                    // Written down and read again.
                    let missing: Vec<_> = verified.missing().collect();
                    let read = Verified::of(layout, verified.through(), missing, verified.crc32c());
                    prop_assert_eq!(read, Some(verified.clone()));
                }
                verified.add(*number, *crc);
                verified.add(*number, !crc);
            }
            prop_assert_eq!(verified.whole(), Some(crc(&bytes)));
        }
    }

    #[test]
    fn parts_that_a_file_does_not_have_are_not_taken() {
        let layout = Layout::new(40 << 20);
        assert!(Verified::of(layout, 3, [], 7).is_some());
        assert!(Verified::of(layout, 3, [1, 2], 7).is_some());
        assert_eq!(Verified::of(layout, 4, [], 7), None);
        assert_eq!(Verified::of(layout, 2, [3], 7), None);
        assert_eq!(Verified::of(layout, 3, [1, 1], 7), None);
        assert_eq!(Verified::of(layout, 3, [0], 7), None);
    }
}
