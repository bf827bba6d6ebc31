//! The key expansion of FIPS 197, section 5.2, by the processor's own S-box: no table, so nothing
//! of the key can be told from what the cache holds.

use std::array;

use super::instructions::{Word, inverse_mix, last_round, load, store};
use crate::ige::{BLOCK, Direction};

/// Rounds of AES-256.
pub(super) const ROUNDS: usize = 14;

/// A key for each round, and one before the first.
pub(super) type RoundKeys = [Word; ROUNDS + 1];

/// Expands `key`; for decryption as the equivalent inverse cipher (section 5.3.5) wants it.
#[target_feature(enable = "aes")]
pub(super) fn expand(direction: Direction, key: &[u8; 32]) -> RoundKeys {
    let mut words = [0; 4 * (ROUNDS + 1)];
    for (word, bytes) in words.iter_mut().zip(key.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    for at in 8..words.len() {
        let before = words[at - 1];
        let mixed = match at % 8 {
            0 => substitute(before).rotate_right(8) ^ 1 << (at / 8 - 1),
            4 => substitute(before),
            _ => before,
        };
        words[at] = words[at - 8] ^ mixed;
    }
    let (keys, _) = words.as_chunks();
    array::from_fn(|round| match direction {
        Direction::Encrypt => column_words(keys[round]),
        Direction::Decrypt => {
            let key = column_words(keys[ROUNDS - round]);
            if matches!(round, 0 | ROUNDS) {
                key
            } else {
                inverse_mix(key)
            }
        }
    })
}

/// The S-box on each byte of a word. A last round does just this to a state of four equal columns,
/// whose rows it shifts in vain.
#[target_feature(enable = "aes")]
fn substitute(word: u32) -> u32 {
    let mut block = [0; BLOCK];
    let state = last_round::<false>(column_words([word; 4]), load(&block));
    store(&mut block, state);
    u32::from_le_bytes([block[0], block[1], block[2], block[3]])
}

#[inline]
fn column_words(words: [u32; 4]) -> Word {
    let mut block = [0; BLOCK];
    for (bytes, word) in block.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    load(&block)
}
