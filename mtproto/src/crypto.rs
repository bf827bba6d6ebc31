//! Authorization keys and the key derivation of MTProto 2.0.
//!
//! It knows the 256-byte key two sides share and what is derived from it for one message: the
//! message key that proves the plaintext, and the AES key and vector. It never prints a key.
//! Specification: <https://core.telegram.org/mtproto/description>.

use std::fmt;
use std::sync::Arc;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ige::IgeKey;

/// Who wrote a message. The derivation differs by direction, so that a message cannot be
/// reflected to its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A message from client to server (`x = 0` in the specification).
    Client,
    /// A message from server to client (`x = 8`).
    Server,
}

impl Side {
    const fn x(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 8,
        }
    }
}

/// The lower 64 bits of the SHA-1 of an authorization key: how a packet names its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The id as it stands in a packet.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The id as it stands in a packet.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

/// A 256-byte authorization key with its id.
#[derive(Clone)]
pub struct AuthKey {
    bytes: Arc<[u8; 256]>,
    id: KeyId,
}

impl AuthKey {
    /// Takes the raw key as a session stores it.
    pub fn new(bytes: [u8; 256]) -> Self {
        let hash = Sha1::digest(bytes);
        let mut id = [0; 8];
        id.copy_from_slice(&hash[12..20]);
        Self {
            bytes: Arc::new(bytes),
            id: KeyId(id),
        }
    }

    /// The name of the key in packets.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The raw key, for storing it.
    pub fn as_bytes(&self) -> &[u8; 256] {
        &self.bytes
    }

    /// The message key of a plaintext, padding included, written by `from`.
    pub fn msg_key(&self, from: Side, plaintext: &[u8]) -> MsgKey {
        let x = from.x();
        let large = Sha256::new()
            .chain_update(&self.bytes[88 + x..120 + x])
            .chain_update(plaintext)
            .finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&large[8..24]);
        MsgKey(key)
    }

    /// The AES key and vector of the message that carries `msg_key` and was written by `from`.
    pub fn ige_key(&self, from: Side, msg_key: &MsgKey) -> IgeKey {
        let x = from.x();
        let a = Sha256::new()
            .chain_update(msg_key.0)
            .chain_update(&self.bytes[x..x + 36])
            .finalize();
        let b = Sha256::new()
            .chain_update(&self.bytes[40 + x..76 + x])
            .chain_update(msg_key.0)
            .finalize();
        let mut key = [0; 32];
        key[..8].copy_from_slice(&a[..8]);
        key[8..24].copy_from_slice(&b[8..24]);
        key[24..].copy_from_slice(&a[24..]);
        let mut iv = [0; 32];
        iv[..8].copy_from_slice(&b[..8]);
        iv[8..24].copy_from_slice(&a[8..24]);
        iv[24..].copy_from_slice(&b[24..]);
        IgeKey { key, iv }
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The 128 bits of a packet that both prove its plaintext and seed its encryption.
#[derive(Clone, Copy, Debug)]
pub struct MsgKey([u8; 16]);

impl MsgKey {
    /// The key as it stands in a packet.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key as it stands in a packet.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Compares without telling by its duration where the difference is.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_key_shows_its_id_alone() {
        let key = AuthKey::new([7; 256]);
        let text = format!("{key:?}");
        assert!(!text.contains("7, 7, 7"), "{text}");
    }

    #[test]
    fn the_two_directions_have_different_keys() {
        let key = AuthKey::new(std::array::from_fn(|i| u8::try_from(i).unwrap_or(0)));
        let client = key.msg_key(Side::Client, b"the same plaintext");
        let server = key.msg_key(Side::Server, b"the same plaintext");
        assert!(!client.matches(&server));
        assert!(client.matches(&client));
        assert_ne!(
            key.ige_key(Side::Client, &client).iv,
            key.ige_key(Side::Server, &client).iv
        );
    }
}
