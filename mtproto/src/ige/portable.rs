//! IGE by the `aes` crate, one message after the other.
//!
//! A message is handed to the cipher's backend as a whole: its instructions are chosen once a
//! message instead of once a block, which is what costs most otherwise.

use aes::Aes256;
use aes::cipher::consts::U16;
use aes::cipher::{
    Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
};

use super::{BLOCK, Direction, Job};

/// Works through all of `jobs`.
pub(super) fn run(direction: Direction, jobs: &mut [Job<'_>]) {
    for job in jobs {
        let cipher = Aes256::new(&job.key.key.into());
        let run = Run::new(job);
        match direction {
            Direction::Encrypt => cipher.encrypt_with_backend(run),
            Direction::Decrypt => cipher.decrypt_with_backend(run),
        }
    }
}

struct Run<'a> {
    /// The block before the current one, in both its forms.
    cipher: u128,
    plain: u128,
    blocks: &'a mut [[u8; BLOCK]],
}

impl<'a> Run<'a> {
    fn new(job: &'a mut Job<'_>) -> Self {
        let (cipher, plain) = job.key.before_first();
        Self {
            cipher: word(&cipher),
            plain: word(&plain),
            blocks: job.blocks,
        }
    }
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
        let Self {
            mut cipher,
            mut plain,
            blocks,
        } = self;
        for block in blocks {
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
        let Self {
            mut cipher,
            mut plain,
            blocks,
        } = self;
        for block in blocks {
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
