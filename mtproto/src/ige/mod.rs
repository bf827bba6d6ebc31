//! AES-256 in IGE mode, in place.
//!
//! Each block is chained with the plaintext *and* the ciphertext of the one before it, so one
//! message cannot be cut into parallel pieces: the processor's AES unit waits for each block
//! before it may begin the next, and is idle most of the time. Different messages know nothing of
//! each other. [`decrypt_many`] and [`encrypt_many`] therefore work on up to [`MAX_LANES`]
//! messages at once, a block of each in turn.
//!
//! - `lanes`: several messages at once, by the AES instructions of x86-64 and aarch64.
//! - `portable`: one message after the other, on any processor.
//!
//! Which of the two is taken is found out at run time.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
mod portable;

use std::fmt;

/// Bytes of a block; every buffer must be a multiple of it.
pub const BLOCK: usize = 16;

/// How many messages are worked on at once. More would not help: with eight, the AES unit is
/// already busy.
pub const MAX_LANES: usize = 8;

/// The key and vector of one message.
#[derive(Clone)]
pub struct IgeKey {
    /// The AES-256 key.
    pub key: [u8; 32],
    /// What stands before the first block: ciphertext, then plaintext.
    pub iv: [u8; 32],
}

impl IgeKey {
    /// The ciphertext and the plaintext before the first block.
    fn before_first(&self) -> ([u8; BLOCK], [u8; BLOCK]) {
        let (cipher, plain) = self.iv.split_at(BLOCK);
        (
            cipher.try_into().expect("half of 32 bytes"),
            plain.try_into().expect("half of 32 bytes"),
        )
    }
}

impl fmt::Debug for IgeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IgeKey").finish_non_exhaustive()
    }
}

/// One message to be encrypted or decrypted in place.
#[derive(Debug)]
pub struct Job<'a> {
    key: IgeKey,
    blocks: &'a mut [[u8; BLOCK]],
}

impl<'a> Job<'a> {
    /// The message in `buffer`, under `key`.
    ///
    /// # Panics
    /// If the buffer is not a multiple of [`BLOCK`] bytes: a mistake of the caller.
    pub fn new(key: IgeKey, buffer: &'a mut [u8]) -> Self {
        let (blocks, rest) = buffer.as_chunks_mut();
        assert!(rest.is_empty(), "an IGE buffer is whole blocks");
        Self { key, blocks }
    }
}

/// Encrypts `buffer` in place.
///
/// # Panics
/// If the buffer is not a multiple of [`BLOCK`] bytes: a mistake of the caller.
pub fn encrypt(key: &IgeKey, buffer: &mut [u8]) {
    encrypt_many(&mut [Job::new(key.clone(), buffer)]);
}

/// Decrypts `buffer` in place. It cannot fail: a wrong key gives noise, which the message key
/// reveals.
///
/// # Panics
/// If the buffer is not a multiple of [`BLOCK`] bytes: a mistake of the caller.
pub fn decrypt(key: &IgeKey, buffer: &mut [u8]) {
    decrypt_many(&mut [Job::new(key.clone(), buffer)]);
}

/// Encrypts any number of messages of any lengths, [`MAX_LANES`] of them at a time. Of use from
/// two on: eight together take little longer than two.
pub fn encrypt_many(jobs: &mut [Job<'_>]) {
    run(Direction::Encrypt, jobs);
}

/// Decrypts any number of messages of any lengths, as [`encrypt_many`] encrypts them.
pub fn decrypt_many(jobs: &mut [Job<'_>]) {
    run(Direction::Decrypt, jobs);
}

/// Whether this processor has AES instructions that are used here. Without them everything works,
/// but slowly.
pub fn is_accelerated() -> bool {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return lanes::Instructions::detect().is_some();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Encrypt,
    Decrypt,
}

fn run(direction: Direction, jobs: &mut [Job<'_>]) {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if let Some(instructions) = lanes::Instructions::detect() {
        return lanes::run(instructions, direction, jobs);
    }
    portable::run(direction, jobs);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A message before it is worked on, and under which key.
    #[derive(Clone, Debug)]
    struct Given {
        key: [u8; 32],
        iv: [u8; 32],
        buffer: Vec<u8>,
    }

    impl Given {
        fn key(&self) -> IgeKey {
            IgeKey {
                key: self.key,
                iv: self.iv,
            }
        }
    }

    fn message(blocks: impl Strategy<Value = usize>) -> impl Strategy<Value = Given> {
        let blocks = blocks.prop_flat_map(|count| vec(any::<[u8; BLOCK]>(), count));
        (any::<[u8; 32]>(), any::<[u8; 32]>(), blocks).prop_map(|(key, iv, blocks)| Given {
            key,
            iv,
            buffer: blocks.concat(),
        })
    }

    /// Mostly short ones, so that lanes end and are taken again often; some are empty.
    fn messages() -> impl Strategy<Value = Vec<Given>> {
        vec(message(prop_oneof![0..6_usize, 0..70_usize]), 0..21)
    }

    fn done(given: &[Given], work: impl FnOnce(&mut [Job<'_>])) -> Vec<Vec<u8>> {
        let mut buffers: Vec<Vec<u8>> = given.iter().map(|one| one.buffer.clone()).collect();
        let mut jobs: Vec<Job<'_>> = given
            .iter()
            .zip(&mut buffers)
            .map(|(one, buffer)| Job::new(one.key(), buffer))
            .collect();
        work(&mut jobs);
        buffers
    }

    fn by_grammers(direction: Direction, given: &[Given]) -> Vec<Vec<u8>> {
        let work = match direction {
            Direction::Encrypt => grammers_crypto::aes::ige_encrypt,
            Direction::Decrypt => grammers_crypto::aes::ige_decrypt,
        };
        let mut given = given.to_vec();
        for one in &mut given {
            work(&mut one.buffer, &one.key, &one.iv);
        }
        given.into_iter().map(|one| one.buffer).collect()
    }

    const BOTH: [Direction; 2] = [Direction::Encrypt, Direction::Decrypt];

    proptest! {
        #[test]
        fn every_implementation_equals_the_reference(given in messages()) {
            for direction in BOTH {
                let expected = by_grammers(direction, &given);
                prop_assert_eq!(&done(&given, |jobs| run(direction, jobs)), &expected);
                prop_assert_eq!(&done(&given, |jobs| portable::run(direction, jobs)), &expected);
            }
        }

        #[test]
        fn any_number_of_lanes_equals_the_reference(
            given in vec(message(0..40_usize), MAX_LANES),
            count in 1..=MAX_LANES,
        ) {
            for direction in BOTH {
                let given = &given[..count];
                prop_assert_eq!(done(given, |jobs| run(direction, jobs)), by_grammers(direction, given));
            }
        }

        #[test]
        fn decryption_undoes_encryption(given in messages()) {
            let plain: Vec<_> = given.iter().map(|one| one.buffer.clone()).collect();
            prop_assert_eq!(done(&given, |jobs| { encrypt_many(jobs); decrypt_many(jobs) }), plain);
        }

        #[test]
        fn a_single_message_needs_no_job(given in message(0..70_usize)) {
            let mut buffer = given.buffer.clone();
            encrypt(&given.key(), &mut buffer);
            let given_alone = std::slice::from_ref(&given);
            prop_assert_eq!(&buffer, &by_grammers(Direction::Encrypt, given_alone)[0]);
            decrypt(&given.key(), &mut buffer);
            prop_assert_eq!(buffer, given.buffer);
        }
    }

    #[test]
    fn messages_of_very_different_lengths_are_done_together() {
        let given: Vec<Given> = [0, 1, 32 << 10, 2, 0, 1000, 1, 1, 7, 32 << 10, 3, 0, 500, 1]
            .into_iter()
            .zip(1..)
            .map(|(blocks, seed)| Given {
                key: [seed; 32],
                iv: [!seed; 32],
                buffer: vec![seed; blocks * BLOCK],
            })
            .collect();
        for direction in BOTH {
            assert!(
                done(&given, |jobs| run(direction, jobs)) == by_grammers(direction, &given),
                "{direction:?}"
            );
        }
    }

    #[test]
    fn nothing_to_do_is_done() {
        encrypt_many(&mut []);
        decrypt_many(&mut []);
        let key = IgeKey {
            key: [1; 32],
            iv: [2; 32],
        };
        decrypt_many(&mut [Job::new(key.clone(), &mut []), Job::new(key, &mut [])]);
    }

    #[test]
    #[should_panic(expected = "whole blocks")]
    fn a_broken_block_is_a_mistake() {
        let key = IgeKey {
            key: [1; 32],
            iv: [2; 32],
        };
        decrypt(&key, &mut [0; BLOCK + 1]);
    }

    #[test]
    #[ignore = "asks for a processor with AES instructions"]
    fn this_processors_instructions_are_used() {
        assert!(is_accelerated());
    }
}
