//! Several messages at once, a block of each in turn.
//!
//! As many run together as there are lanes, until the shortest of them ends; its lane then goes to
//! the next message that waits, or is given up.
//!
//! Both directions are one loop: a block's output is `AES(input ^ output before) ^ input before`,
//! AES being the cipher or its inverse.
//!
//! - `instructions`: what the processor can do; the crate's only `unsafe` code.
//! - `round_keys`: what is made of a key before the first block.

#[expect(unsafe_code, reason = "the processor's AES instructions need it")]
mod instructions;
mod round_keys;

use std::array;

pub(super) use self::instructions::Instructions;
use self::instructions::{Word, last_round, load, round, store, xor};
use self::round_keys::{ROUNDS, RoundKeys};
use super::{BLOCK, Direction, Job, MAX_LANES};

/// A message on its way.
pub(super) struct Lane<'a> {
    keys: RoundKeys,
    /// The block before the next one, before and after the cipher.
    input: Word,
    output: Word,
    rest: &'a mut [[u8; BLOCK]],
}

impl<'a> Lane<'a> {
    fn new(instructions: Instructions, direction: Direction, job: &'a mut Job<'_>) -> Self {
        let (cipher, plain) = job.key.before_first();
        let (input, output) = match direction {
            Direction::Encrypt => (plain, cipher),
            Direction::Decrypt => (cipher, plain),
        };
        Self {
            keys: instructions.expand(direction, &job.key),
            input: load(&input),
            output: load(&output),
            rest: job.blocks,
        }
    }

    fn take(&mut self, span: usize) -> &'a mut [[u8; BLOCK]] {
        let (taken, rest) = std::mem::take(&mut self.rest).split_at_mut(span);
        self.rest = rest;
        taken
    }
}

/// Works through all of `jobs`.
pub(super) fn run(instructions: Instructions, direction: Direction, jobs: &mut [Job<'_>]) {
    let mut lanes = Vec::with_capacity(jobs.len().min(MAX_LANES));
    let mut waiting = jobs
        .iter_mut()
        .filter(|job| !job.blocks.is_empty())
        .map(|job| Lane::new(instructions, direction, job));
    loop {
        let free = MAX_LANES - lanes.len();
        lanes.extend(waiting.by_ref().take(free));
        let Some(span) = lanes.iter().map(|lane: &Lane<'_>| lane.rest.len()).min() else {
            return;
        };
        instructions.advance(direction, &mut lanes, span);
        lanes.retain(|lane| !lane.rest.is_empty());
    }
}

/// Works on the next `span` blocks of every lane; none may have fewer left.
#[target_feature(enable = "aes")]
pub(super) fn advance<const INVERSE: bool>(lanes: &mut [Lane<'_>], span: usize) {
    // A loop of its own for each number of lanes: only so does the compiler unroll it.
    macro_rules! unrolled {
        ($($count:literal)*) => {
            match lanes.len() {
                $($count => {
                    let lanes = lanes.first_chunk_mut().expect("as many as there are");
                    advance_together::<$count, INVERSE>(lanes, span);
                })*
                more => unreachable!("{more} lanes"),
            }
        };
    }
    unrolled!(1 2 3 4 5 6 7 8);
}

#[expect(
    clippy::needless_range_loop,
    reason = "it goes through all lanes alike, not through one of them"
)]
#[target_feature(enable = "aes")]
fn advance_together<const N: usize, const INVERSE: bool>(lanes: &mut [Lane<'_>; N], span: usize) {
    let blocks = lanes.each_mut().map(|lane| lane.take(span));
    let mut input = lanes.each_ref().map(|lane| lane.input);
    let mut output = lanes.each_ref().map(|lane| lane.output);
    for at in 0..span {
        let next: [Word; N] = array::from_fn(|lane| load(&blocks[lane][at]));
        let mut state: [Word; N] =
            array::from_fn(|lane| xor(xor(next[lane], lanes[lane].keys[0]), output[lane]));
        for turn in 1..ROUNDS {
            for lane in 0..N {
                state[lane] = round::<INVERSE>(state[lane], lanes[lane].keys[turn]);
            }
        }
        for lane in 0..N {
            // The last key is added to the state, and so is the chaining: both at one go.
            let last = xor(lanes[lane].keys[ROUNDS], input[lane]);
            output[lane] = last_round::<INVERSE>(state[lane], last);
            input[lane] = next[lane];
            store(&mut blocks[lane][at], output[lane]);
        }
    }
    for lane in 0..N {
        lanes[lane].input = input[lane];
        lanes[lane].output = output[lane];
    }
}
