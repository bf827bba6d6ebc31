//! MD5's compression function (RFC 1321, 3.4) for one chain, or for four or eight side by side.
//! The same steps on words of 32 bits and on vectors of them.

use std::array;
use std::ops::{Add, BitAnd, BitOr, BitXor};

use wide::{u32x4, u32x8};

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// The state before the first block.
pub(super) const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// How far each step of a round rotates; the four repeat.
const ROTATIONS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// The integer part of 2^32 times |sin(n)|, for n from 1 to 64.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// `L` words of 32 bits that go through the same steps.
trait Lane<const L: usize>:
    Copy + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self>
{
    fn of(words: [u32; L]) -> Self;
    fn words(self) -> [u32; L];
    /// The sum modulo 2^32.
    fn plus(self, other: Self) -> Self;
    fn rotate(self, left: u32) -> Self;
}

impl Lane<1> for u32 {
    fn of([word]: [u32; 1]) -> Self {
        word
    }

    fn words(self) -> [u32; 1] {
        [self]
    }

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn rotate(self, left: u32) -> Self {
        self.rotate_left(left)
    }
}

macro_rules! vector {
    ($vector:ty, $lanes:literal) => {
        impl Lane<$lanes> for $vector {
            #[inline]
            fn of(words: [u32; $lanes]) -> Self {
                Self::new(words)
            }

            #[inline]
            fn words(self) -> [u32; $lanes] {
                self.to_array()
            }

            #[inline]
            fn plus(self, other: Self) -> Self {
                Add::add(self, other)
            }

            #[inline]
            fn rotate(self, left: u32) -> Self {
                (self << left) | (self >> (32 - left))
            }
        }
    };
}

vector!(u32x4, 4);
vector!(u32x8, 8);

/// Goes through `blocks` blocks of `bytes`.
pub(super) fn compress_one(state: &mut [u32; 4], bytes: &[u8], blocks: usize) {
    let mut states = [*state];
    compress::<1, u32>(&mut states, [bytes], blocks);
    [*state] = states;
}

/// Goes through `blocks` blocks of each of two to eight chains.
pub(super) fn compress_lanes(states: &mut [[u32; 4]], bytes: &[&[u8]], blocks: usize) {
    if states.len() <= 4 {
        compress_some::<4, u32x4>(states, bytes, blocks);
    } else {
        compress_some::<8, u32x8>(states, bytes, blocks);
    }
}

/// Lanes without a chain repeat the first one's blocks, for nothing.
fn compress_some<const L: usize, V: Lane<L>>(
    states: &mut [[u32; 4]],
    bytes: &[&[u8]],
    blocks: usize,
) {
    let mut all = array::from_fn(|lane| states.get(lane).copied().unwrap_or(INITIAL));
    let sources = array::from_fn(|lane| bytes.get(lane).copied().unwrap_or(bytes[0]));
    compress::<L, V>(&mut all, sources, blocks);
    for (state, new) in states.iter_mut().zip(all) {
        *state = new;
    }
}

#[inline(never)]
fn compress<const L: usize, V: Lane<L>>(
    states: &mut [[u32; 4]; L],
    bytes: [&[u8]; L],
    blocks: usize,
) {
    let sources = bytes.map(|bytes| &bytes.as_chunks::<BLOCK>().0[..blocks]);
    let mut state: [V; 4] = array::from_fn(|word| V::of(states.map(|state| state[word])));
    for block in 0..blocks {
        let rows: [&[[u8; 4]; 16]; L] = sources.map(|source| {
            let (words, _) = source[block].as_chunks();
            words.try_into().expect("a block has 16 words")
        });
        let words: [V; 16] = array::from_fn(|word| {
            V::of(array::from_fn(|lane| u32::from_le_bytes(rows[lane][word])))
        });
        let before = state;
        for step in 0..16 {
            state = step_of(state, &words, 0, step, |b, c, d| d ^ (b & (c ^ d)));
        }
        for step in 0..16 {
            state = step_of(state, &words, 1, step, |b, c, d| c ^ (d & (b ^ c)));
        }
        for step in 0..16 {
            state = step_of(state, &words, 2, step, |b, c, d| b ^ c ^ d);
        }
        let ones = V::of([u32::MAX; L]);
        for step in 0..16 {
            state = step_of(state, &words, 3, step, |b, c, d| c ^ (b | (d ^ ones)));
        }
        state = array::from_fn(|word| state[word].plus(before[word]));
    }
    let state = state.map(V::words);
    for (lane, out) in states.iter_mut().enumerate() {
        *out = array::from_fn(|word| state[word][lane]);
    }
}

/// One of the 16 steps of a round.
#[inline]
fn step_of<const L: usize, V: Lane<L>>(
    [a, b, c, d]: [V; 4],
    words: &[V; 16],
    round: usize,
    step: usize,
    mix: impl Fn(V, V, V) -> V,
) -> [V; 4] {
    let word = words[[step, 5 * step + 1, 3 * step + 5, 7 * step][round] % 16];
    let sine = V::of([SINES[16 * round + step]; L]);
    let sum = a.plus(word.plus(sine)).plus(mix(b, c, d));
    let rotated = sum.rotate(ROTATIONS[round][step % 4]);
    [d, rotated.plus(b), b, c]
}
