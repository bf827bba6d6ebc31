//! The AES instructions of x86-64 and aarch64, under common names.
//!
//! All of the crate's `unsafe` code is here, and it is of two kinds: blocks are loaded and stored
//! through pointers, and code that was compiled for AES instructions is called. For the latter
//! [`Instructions`] is the proof: it exists only on a processor that has them.

use super::round_keys::{self, RoundKeys};
use super::{Lane, advance};
use crate::ige::{Direction, IgeKey};

pub(super) use arch::{Word, inverse_mix, last_round, load, round, store, xor};

/// The proof that this processor has AES instructions.
#[derive(Clone, Copy, Debug)]
pub(in crate::ige) struct Instructions(());

#[expect(clippy::unused_self, reason = "to have it is enough: it is the proof")]
impl Instructions {
    pub(in crate::ige) fn detect() -> Option<Self> {
        arch::detected().then_some(Self(()))
    }

    /// See [`round_keys::expand`].
    pub(super) fn expand(self, direction: Direction, key: &IgeKey) -> RoundKeys {
        // SAFETY: `self` proves that the instructions are there.
        unsafe { round_keys::expand(direction, &key.key) }
    }

    /// See [`advance`].
    pub(super) fn advance(self, direction: Direction, lanes: &mut [Lane<'_>], span: usize) {
        match direction {
            // SAFETY: `self` proves that the instructions are there.
            Direction::Encrypt => unsafe { advance::<false>(lanes, span) },
            // SAFETY: as above.
            Direction::Decrypt => unsafe { advance::<true>(lanes, span) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod arch {
    pub(in crate::ige::lanes) use std::arch::x86_64::{
        __m128i as Word, _mm_aesimc_si128 as inverse_mix, _mm_xor_si128 as xor,
    };
    use std::arch::x86_64::{
        _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128,
        _mm_loadu_si128, _mm_storeu_si128,
    };

    pub(in crate::ige::lanes) fn detected() -> bool {
        std::arch::is_x86_feature_detected!("aes")
    }

    #[inline]
    pub(in crate::ige::lanes) fn load(block: &[u8; 16]) -> Word {
        // SAFETY: a block is as long as what is read, which may lie anywhere.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    #[inline]
    pub(in crate::ige::lanes) fn store(block: &mut [u8; 16], word: Word) {
        // SAFETY: a block is as long as what is written, which may lie anywhere.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), word) }
    }

    #[inline]
    #[target_feature(enable = "aes")]
    pub(in crate::ige::lanes) fn round<const INVERSE: bool>(state: Word, key: Word) -> Word {
        if INVERSE {
            _mm_aesdec_si128(state, key)
        } else {
            _mm_aesenc_si128(state, key)
        }
    }

    #[inline]
    #[target_feature(enable = "aes")]
    pub(in crate::ige::lanes) fn last_round<const INVERSE: bool>(state: Word, key: Word) -> Word {
        if INVERSE {
            _mm_aesdeclast_si128(state, key)
        } else {
            _mm_aesenclast_si128(state, key)
        }
    }
}

/// Here an instruction adds its key first and not last. The compiler turns a zero key and the
/// addition of the round before into one instruction.
#[cfg(target_arch = "aarch64")]
mod arch {
    pub(in crate::ige::lanes) use std::arch::aarch64::{
        uint8x16_t as Word, vaesimcq_u8 as inverse_mix, veorq_u8 as xor,
    };
    use std::arch::aarch64::{vaesdq_u8, vaeseq_u8, vaesmcq_u8, vdupq_n_u8, vld1q_u8, vst1q_u8};

    pub(in crate::ige::lanes) fn detected() -> bool {
        std::arch::is_aarch64_feature_detected!("aes")
    }

    #[inline]
    pub(in crate::ige::lanes) fn load(block: &[u8; 16]) -> Word {
        // SAFETY: a block is as long as what is read, which may lie anywhere.
        unsafe { vld1q_u8(block.as_ptr()) }
    }

    #[inline]
    pub(in crate::ige::lanes) fn store(block: &mut [u8; 16], word: Word) {
        // SAFETY: a block is as long as what is written, which may lie anywhere.
        unsafe { vst1q_u8(block.as_mut_ptr(), word) }
    }

    #[inline]
    #[target_feature(enable = "aes")]
    pub(in crate::ige::lanes) fn round<const INVERSE: bool>(state: Word, key: Word) -> Word {
        let zero = vdupq_n_u8(0);
        let mixed = if INVERSE {
            inverse_mix(vaesdq_u8(state, zero))
        } else {
            vaesmcq_u8(vaeseq_u8(state, zero))
        };
        xor(mixed, key)
    }

    #[inline]
    #[target_feature(enable = "aes")]
    pub(in crate::ige::lanes) fn last_round<const INVERSE: bool>(state: Word, key: Word) -> Word {
        let zero = vdupq_n_u8(0);
        let substituted = if INVERSE {
            vaesdq_u8(state, zero)
        } else {
            vaeseq_u8(state, zero)
        };
        xor(substituted, key)
    }
}
