//! The keys that may sign: one pair made at the first start and kept, and any public keys
//! registered besides (those of fixed test vectors, of session tokens).

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

/// Why a key could not be made, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not a PEM document of the expected kind.
    #[error("not a PEM document labelled {expected}")]
    Pem {
        /// The label that was looked for.
        expected: &'static str,
    },
    /// The cryptography library refused the key.
    #[error("the key was refused")]
    Refused,
    /// The file of the key could not be read or written.
    #[error("the file of the key")]
    File(#[from] io::Error),
}

/// The pair of the stand-in's own user.
#[derive(Debug)]
pub(super) struct OwnKey {
    pub(super) private_pem: String,
    pub(super) public_der: Vec<u8>,
    /// MD5 of the public key's DER in colon-separated hexadecimal, as OCI prints it.
    pub(super) fingerprint: String,
}

impl OwnKey {
    /// Reads the pair from `dir`, or makes one (RSA, 2048 bits) and keeps it there.
    pub(super) fn load_or_generate(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join("key.pem");
        let pair = if path.exists() {
            let der = from_pem(&fs::read_to_string(&path)?, PRIVATE)?;
            KeyPair::from_pkcs8(&der).map_err(|_| KeyError::Refused)?
        } else {
            KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Refused)?
        };
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Refused)?;
        let public: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(|_| KeyError::Refused)?;
        let key = Self {
            private_pem: to_pem(private.as_ref(), PRIVATE),
            fingerprint: fingerprint(public.as_ref()),
            public_der: public.as_ref().to_vec(),
        };
        if !path.exists() {
            fs::write(&path, &key.private_pem)?;
        }
        Ok(key)
    }
}

/// Public keys by key id.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    keys: RwLock<HashMap<String, Vec<u8>>>,
    disabled: RwLock<HashSet<String>>,
}

impl Keyring {
    pub(super) fn register(&self, key_id: String, public_der: Vec<u8>) {
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key_id, public_der);
    }

    /// Disables exactly these keys.
    pub(super) fn disable(&self, key_ids: &[&str]) {
        let mut disabled = self
            .disabled
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *disabled = key_ids.iter().map(|&id| id.to_owned()).collect();
    }

    fn is_disabled(&self, key_id: &str) -> bool {
        let disabled = self.disabled.read().unwrap_or_else(PoisonError::into_inner);
        disabled.contains(key_id)
    }

    /// Whether `signature` over `message` is that of the key called `key_id`; `None` if there is
    /// no such key.
    pub(super) fn verify(&self, key_id: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
        if self.is_disabled(key_id) {
            return None;
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let der = keys.get(key_id)?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der);
        Some(key.verify(message, signature).is_ok())
    }
}

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// The DER inside a public key's PEM (`SubjectPublicKeyInfo`).
pub(super) fn public_der(pem: &str) -> Result<Vec<u8>, KeyError> {
    from_pem(pem, PUBLIC)
}

fn fingerprint(public_der: &[u8]) -> String {
    let pairs = Md5::digest(public_der).map(|byte| format!("{byte:02x}"));
    pairs.as_slice().join(":")
}

fn to_pem(der: &[u8], label: &str) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(64) {
        let line = String::from_utf8_lossy(line);
        let _ = writeln!(pem, "{line}");
    }
    let _ = writeln!(pem, "-----END {label}-----");
    pem
}

fn from_pem(pem: &str, label: &'static str) -> Result<Vec<u8>, KeyError> {
    let wrong = KeyError::Pem { expected: label };
    let Some((_, rest)) = pem.split_once(&format!("-----BEGIN {label}-----")) else {
        return Err(wrong);
    };
    let Some((body, _)) = rest.split_once(&format!("-----END {label}-----")) else {
        return Err(wrong);
    };
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_survives_a_restart() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let first = OwnKey::load_or_generate(dir.path()).expect("a new pair");
        let second = OwnKey::load_or_generate(dir.path()).expect("the kept pair");
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(first.private_pem, second.private_pem);
    }

    #[test]
    fn pem_is_undone_by_reading_it() {
        let der: Vec<u8> = (0..=255).collect();
        assert_eq!(from_pem(&to_pem(&der, PUBLIC), PUBLIC).expect("PEM"), der);
        assert!(from_pem("nothing", PUBLIC).is_err());
    }
}
