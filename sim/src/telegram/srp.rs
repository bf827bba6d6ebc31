//! The server's half of the two-step verification password, see
//! <https://core.telegram.org/api/srp>.
//!
//! The password itself is forgotten at once; what is kept is the verifier made of it.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, pbkdf2, rand};
use num_bigint::BigUint;

/// The prime that Telegram's own servers use, of 2048 bits.
const PRIME: &str = "\
    c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f\
    48198a0aa7c14058229493d22530f4dbfa336f6e0ac925139543aed44cce7c37\
    20fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f64\
    2477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4\
    a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754\
    fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4\
    e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f\
    0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b";

/// The generator that belongs to it.
pub(super) const GENERATOR: i32 = 3;

/// Rounds of PBKDF2, as the algorithm's name says.
const ROUNDS: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");

/// A number as it is hashed: 256 bytes, big-endian.
type Padded = [u8; 256];

/// What is kept of a password.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) salt1: [u8; 16],
    pub(super) salt2: [u8; 16],
    prime: BigUint,
    v: BigUint,
    /// From which the secret exponent of each challenge is made.
    seed: [u8; 32],
}

impl Verifier {
    pub(super) fn new(password: &str) -> Self {
        let salt1 = random();
        let salt2 = random();
        let prime = BigUint::parse_bytes(PRIME.as_bytes(), 16).expect("hexadecimal");
        let x = BigUint::from_bytes_be(&password_hash(password.as_bytes(), &salt1, &salt2));
        Self {
            v: generator().modpow(&x, &prime),
            salt1,
            salt2,
            prime,
            seed: random(),
        }
    }

    /// The prime, as clients are told.
    pub(super) fn prime(&self) -> Padded {
        padded(&self.prime)
    }

    /// The number `B` of the challenge `id`.
    pub(super) fn challenge(&self, id: i64) -> Padded {
        let g_b = generator().modpow(&self.exponent(id), &self.prime);
        padded(&((self.k() * &self.v + g_b) % &self.prime))
    }

    /// Whether the answer to challenge `id` proves knowledge of the password.
    pub(super) fn check(&self, id: i64, a: &[u8], m1: &[u8]) -> bool {
        let a = BigUint::from_bytes_be(a);
        if a == BigUint::ZERO || a >= self.prime {
            return false;
        }
        let (b, a_bytes) = (self.challenge(id), padded(&a));
        let u = BigUint::from_bytes_be(&sha256(&[&a_bytes, &b]));
        let base = a * self.v.modpow(&u, &self.prime) % &self.prime;
        let s = base.modpow(&self.exponent(id), &self.prime);
        let key = sha256(&[&padded(&s)]);
        let mut mixed = sha256(&[&self.prime()]);
        for (byte, other) in mixed.iter_mut().zip(sha256(&[&padded(&generator())])) {
            *byte ^= other;
        }
        let expected = sha256(&[
            &mixed,
            &sha256(&[&self.salt1]),
            &sha256(&[&self.salt2]),
            &a_bytes,
            &b,
            &key,
        ]);
        m1 == expected
    }

    fn k(&self) -> BigUint {
        BigUint::from_bytes_be(&sha256(&[&self.prime(), &padded(&generator())]))
    }

    fn exponent(&self, id: i64) -> BigUint {
        BigUint::from_bytes_be(&sha256(&[&self.seed, &id.to_le_bytes()]))
    }
}

fn generator() -> BigUint {
    BigUint::from(GENERATOR.unsigned_abs())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn padded(number: &BigUint) -> Padded {
    let bytes = number.to_bytes_be();
    let mut out = [0; 256];
    out[256 - bytes.len()..].copy_from_slice(&bytes);
    out
}

fn password_hash(password: &[u8], salt1: &[u8], salt2: &[u8]) -> [u8; 32] {
    let salted = |data: &[u8], salt: &[u8]| sha256(&[salt, data, salt]);
    let first = salted(&salted(password, salt1), salt2);
    let mut stretched = [0; 64];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA512,
        ROUNDS,
        salt1,
        &first,
        &mut stretched,
    );
    salted(&stretched, salt2)
}

#[cfg(test)]
mod tests {
    use grammers_crypto::two_factor_auth::{calculate_2fa, check_p_and_g};

    use super::*;

    fn answer(verifier: &Verifier, id: i64, password: &str) -> ([u8; 32], Vec<u8>) {
        let a = vec![7; 256];
        let prime = verifier.prime();
        let (m1, g_a) = calculate_2fa(
            &verifier.salt1,
            &verifier.salt2,
            &prime,
            &GENERATOR,
            verifier.challenge(id).to_vec(),
            a,
            password,
        );
        (m1, g_a.to_vec())
    }

    #[test]
    fn another_librarys_client_proves_the_password() {
        let verifier = Verifier::new("correct horse");
        let (m1, g_a) = answer(&verifier, 5, "correct horse");
        assert!(verifier.check(5, &g_a, &m1));
        assert!(
            !verifier.check(6, &g_a, &m1),
            "an answer serves one challenge"
        );
        let (m1, g_a) = answer(&verifier, 5, "wrong horse");
        assert!(!verifier.check(5, &g_a, &m1));
        assert!(!verifier.check(5, &[0; 256], &m1));
    }

    #[test]
    fn the_prime_is_one_that_clients_accept() {
        assert!(check_p_and_g(&Verifier::new("").prime(), &GENERATOR));
    }
}
