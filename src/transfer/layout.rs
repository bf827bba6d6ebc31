//! How a file is cut into parts, and parts into chunks.

use std::ops::Range;

/// Bytes read from the source at a time; only the last chunk of a file is shorter.
pub const CHUNK_BYTES: u64 = 512 * 1024;

/// Bytes of a part, unless the file is so large that more are needed.
pub const MIN_PART_BYTES: u64 = 16 * 1024 * 1024;

/// Parts that one upload may have.
pub const MAX_PARTS: u64 = 10_000;

const MIB: u64 = 1024 * 1024;

/// How a file of a certain size is cut into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    part_size: u64,
}

/// A part: its number, counted from 1, and where it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1 to [`MAX_PARTS`].
    pub number: u16,
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Layout {
    /// The layout of a file of `size` bytes: parts of at least 16 MiB, a multiple of 1 MiB, at
    /// most 10,000 of them.
    pub fn new(size: u64) -> Self {
        let part_size = size
            .div_ceil(MAX_PARTS)
            .next_multiple_of(MIB)
            .max(MIN_PART_BYTES);
        Self { size, part_size }
    }

    /// The layout that an earlier attempt began with, if it can be gone on with.
    pub fn resume(size: u64, part_size: u64) -> Option<Self> {
        let fits = part_size > 0
            && part_size.is_multiple_of(CHUNK_BYTES)
            && size.div_ceil(part_size) <= MAX_PARTS;
        fits.then_some(Self { size, part_size })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of every part but the last.
    pub fn part_size(&self) -> u64 {
        self.part_size
    }

    /// Whether one request can carry the whole file.
    pub fn is_single(&self) -> bool {
        self.size <= self.part_size
    }

    /// How many parts there are. A file of no bytes has one part of no bytes.
    pub fn count(&self) -> u16 {
        let count = self.size.div_ceil(self.part_size).max(1);
        u16::try_from(count).expect("a layout has at most 10,000 parts")
    }

    /// The part of that number, counted from 1.
    pub fn part(&self, number: u16) -> Part {
        let offset = u64::from(number.saturating_sub(1)) * self.part_size;
        Part {
            number,
            offset,
            len: self.size.saturating_sub(offset).min(self.part_size),
        }
    }

    /// All parts in order.
    pub fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        let layout = *self;
        (1..=self.count()).map(move |number| layout.part(number))
    }
}

impl Part {
    /// The chunks of the part as ranges of the file.
    pub fn chunks(self) -> impl Iterator<Item = Range<u64>> {
        let end = self.offset + self.len;
        (0..self.len.div_ceil(CHUNK_BYTES)).map(move |index| {
            let start = self.offset + index * CHUNK_BYTES;
            start..end.min(start + CHUNK_BYTES)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1024 * MIB;

    #[test]
    fn the_edges_of_a_part_are_right() {
        for (size, parts, last) in [
            (0, 1, 0),
            (1, 1, 1),
            (MIN_PART_BYTES - 1, 1, MIN_PART_BYTES - 1),
            (MIN_PART_BYTES, 1, MIN_PART_BYTES),
            (MIN_PART_BYTES + 1, 2, 1),
            (4 * GIB, 256, MIN_PART_BYTES),
        ] {
            let all: Vec<_> = Layout::new(size).parts().collect();
            assert_eq!(
                (all.len(), all.last().unwrap().len),
                (parts, last),
                "{size}"
            );
        }
    }

    #[test]
    fn an_earlier_layout_is_taken_only_if_it_fits() {
        assert!(Layout::resume(GIB, 32 * MIB).is_some());
        for (size, part_size) in [
            (GIB, 0),
            (GIB, 1_000_000),
            (GIB, CHUNK_BYTES / 2),
            (6 * GIB, CHUNK_BYTES),
        ] {
            assert_eq!(Layout::resume(size, part_size), None, "{part_size}");
        }
    }

    proptest! {
        #[test]
        fn parts_and_chunks_cover_the_file_once_and_in_order(size in prop_oneof![0..64 * MIB, 0..600 * GIB]) {
            let layout = Layout::new(size);
            prop_assert!(layout.part_size().is_multiple_of(MIB) && layout.part_size() >= MIN_PART_BYTES);
            let mut at = 0;
            let mut count = 0;
            for part in layout.parts() {
                count += 1;
                prop_assert_eq!((u64::from(part.number), part.offset), (count, at));
                if size < 64 * MIB {
                    for chunk in part.chunks() {
                        prop_assert_eq!(chunk.start, at);
                        prop_assert!(chunk.start % CHUNK_BYTES == 0 && chunk.end - chunk.start <= CHUNK_BYTES);
                        at = chunk.end;
                    }
                } else {
                    at += part.len;
                }
            }
            prop_assert_eq!(at, size);
            prop_assert!(count <= MAX_PARTS);
        }
    }
}
