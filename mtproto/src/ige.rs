//! AES-256 in IGE mode, in place.
//!
//! Each block is chained with the plaintext *and* the ciphertext of the one before it, so one
//! message cannot be cut into parallel pieces. The whole message is handed to the cipher's
//! backend at once: its instructions are chosen once a message instead of once a block, which is
//! what costs most otherwise.

use std::fmt;

use aes::Aes256;
use aes::cipher::consts::U16;
use aes::cipher::{
    Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
};

/// Bytes of a block; every buffer must be a multiple of it.
pub const BLOCK: usize = 16;

/// The key and vector of one message.
#[derive(Clone)]
pub struct IgeKey {
    /// The AES-256 key.
    pub key: [u8; 32],
    /// What stands before the first block: ciphertext, then plaintext.
    pub iv: [u8; 32],
}

impl IgeKey {
    fn chain(&self) -> Chain {
        let (cipher, plain) = self.iv.split_at(BLOCK);
        Chain {
            cipher: word(cipher.try_into().expect("half of 32 bytes")),
            plain: word(plain.try_into().expect("half of 32 bytes")),
        }
    }
}

impl fmt::Debug for IgeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IgeKey").finish_non_exhaustive()
    }
}

/// Encrypts `buffer` in place.
///
/// # Panics
/// If the buffer is not a multiple of [`BLOCK`] bytes: a mistake of the caller.
pub fn encrypt(key: &IgeKey, buffer: &mut [u8]) {
    let blocks = whole_blocks(buffer);
    Aes256::new(&key.key.into()).encrypt_with_backend(Run {
        chain: key.chain(),
        blocks,
    });
}

/// Decrypts `buffer` in place. It cannot fail: a wrong key gives noise, which the message key
/// reveals.
///
/// # Panics
/// If the buffer is not a multiple of [`BLOCK`] bytes: a mistake of the caller.
pub fn decrypt(key: &IgeKey, buffer: &mut [u8]) {
    let blocks = whole_blocks(buffer);
    Aes256::new(&key.key.into()).decrypt_with_backend(Run {
        chain: key.chain(),
        blocks,
    });
}

fn whole_blocks(buffer: &mut [u8]) -> &mut [[u8; BLOCK]] {
    let (blocks, rest) = buffer.as_chunks_mut::<BLOCK>();
    assert!(rest.is_empty(), "an IGE buffer is whole blocks");
    blocks
}

/// The block before the current one, in both its forms.
struct Chain {
    cipher: u128,
    plain: u128,
}

struct Run<'a> {
    chain: Chain,
    blocks: &'a mut [[u8; BLOCK]],
}

impl BlockSizeUser for Run<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Run<'_> {
    #[expect(
        clippy::inline_always,
        reason = "the cipher's instructions are enabled in its caller"
    )]
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Chain {
            mut cipher,
            mut plain,
        } = self.chain;
        for block in self.blocks {
            let input = word(block);
            let mut state = Block::<Self>::from((input ^ cipher).to_ne_bytes());
            backend.encrypt_block_inplace(&mut state);
            cipher = word(&state.0) ^ plain;
            plain = input;
            *block = cipher.to_ne_bytes();
        }
    }
}

impl BlockCipherDecClosure for Run<'_> {
    #[expect(
        clippy::inline_always,
        reason = "the cipher's instructions are enabled in its caller"
    )]
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        let Chain {
            mut cipher,
            mut plain,
        } = self.chain;
        for block in self.blocks {
            let input = word(block);
            let mut state = Block::<Self>::from((input ^ plain).to_ne_bytes());
            backend.decrypt_block_inplace(&mut state);
            plain = word(&state.0) ^ cipher;
            cipher = input;
            *block = plain.to_ne_bytes();
        }
    }
}

#[inline]
fn word(block: &[u8; BLOCK]) -> u128 {
    u128::from_ne_bytes(*block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_reference_both_ways(
            key: [u8; 32],
            iv: [u8; 32],
            blocks in proptest::collection::vec(any::<[u8; BLOCK]>(), 0..70),
        ) {
            let plain = blocks.concat();
            let ours_key = IgeKey { key, iv };

            let mut ours = plain.clone();
            encrypt(&ours_key, &mut ours);
            let mut reference = plain.clone();
            grammers_crypto::aes::ige_encrypt(&mut reference, &key, &iv);
            prop_assert_eq!(&ours, &reference);

            decrypt(&ours_key, &mut ours);
            prop_assert_eq!(&ours, &plain);
            grammers_crypto::aes::ige_decrypt(&mut reference, &key, &iv);
            prop_assert_eq!(&reference, &plain);
        }
    }
}
