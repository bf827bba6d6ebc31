//! Values that clients carry back to us and that must not be guessable: access hashes, file
//! references, exported authorizations. All are made from one secret, so that nothing has to be
//! remembered about each.

use aws_lc_rs::hmac;

use super::ids::{ChatId, DcId, Identity};

/// The stand-in's secret.
pub(super) struct Secret {
    key: hmac::Key,
}

/// What an access hash is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object {
    User(i64),
    Channel(i64),
    File(i64),
}

/// What a file reference says once it proved genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The message it was issued with.
    pub(super) chat_id: ChatId,
    /// Its number in that chat.
    pub(super) message_id: i32,
    /// When, in Unix seconds.
    pub(super) issued: i64,
    /// How often all references had been expired by then.
    pub(super) generation: u32,
}

/// Bytes of a reference before its proof.
const REFERENCE: usize = 24;

/// Bytes of the proof.
const PROOF: usize = 12;

impl Secret {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, bytes),
        }
    }

    fn tag(&self, what: &str, parts: &[i64], rest: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(what.as_bytes());
        for part in parts {
            context.update(&part.to_le_bytes());
        }
        context.update(rest);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// The access hash under which `who` may name an object; every account has its own.
    pub(super) fn access_hash(&self, who: Identity, object: Object) -> i64 {
        let (what, id) = match object {
            Object::User(id) => ("user", id),
            Object::Channel(id) => ("channel", id),
            Object::File(id) => ("file", id),
        };
        let tag = self.tag(what, &[id, who as i64], &[]);
        let (head, _) = tag.split_first_chunk().expect("32 bytes");
        i64::from_le_bytes(*head)
    }

    /// Issues a file reference to `who`.
    pub(super) fn reference(&self, who: Identity, file_id: i64, says: Reference) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(REFERENCE + PROOF);
        bytes.extend_from_slice(&says.chat_id.0.to_le_bytes());
        bytes.extend_from_slice(&says.message_id.to_le_bytes());
        bytes.extend_from_slice(&says.issued.to_le_bytes());
        bytes.extend_from_slice(&says.generation.to_le_bytes());
        let proof = self.tag("reference", &[file_id, who as i64], &bytes);
        bytes.extend_from_slice(&proof[..PROOF]);
        bytes
    }

    /// Reads a file reference; `None` if it was not issued to `who` for this file.
    pub(super) fn read_reference(
        &self,
        who: Identity,
        file_id: i64,
        bytes: &[u8],
    ) -> Option<Reference> {
        let (says, proof) = bytes.split_at_checked(REFERENCE)?;
        let expected = self.tag("reference", &[file_id, who as i64], says);
        if proof != &expected[..PROOF] {
            return None;
        }
        let (chat_id, rest) = says.split_first_chunk()?;
        let (message_id, rest) = rest.split_first_chunk()?;
        let (issued, rest) = rest.split_first_chunk()?;
        let (generation, _) = rest.split_first_chunk()?;
        Some(Reference {
            chat_id: ChatId(i64::from_le_bytes(*chat_id)),
            message_id: i32::from_le_bytes(*message_id),
            issued: i64::from_le_bytes(*issued),
            generation: u32::from_le_bytes(*generation),
        })
    }

    /// What carries the authorization of `who` to another data centre.
    pub(super) fn authorization(&self, who: Identity, to: DcId, user_id: i64) -> Vec<u8> {
        self.tag("authorization", &[who as i64, to.0.into(), user_id], &[])
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAYS: Reference = Reference {
        chat_id: ChatId(-1_000_000_000_777),
        message_id: 5,
        issued: 1_800_000_000,
        generation: 3,
    };

    #[test]
    fn a_reference_says_what_it_was_issued_with() {
        let secret = Secret::new(b"secret");
        let bytes = secret.reference(Identity::Bot, 9, SAYS);
        assert_eq!(secret.read_reference(Identity::Bot, 9, &bytes), Some(SAYS));
    }

    #[test]
    fn a_reference_serves_one_account_and_one_file() {
        let secret = Secret::new(b"secret");
        let mut bytes = secret.reference(Identity::Bot, 9, SAYS);
        assert_eq!(secret.read_reference(Identity::User, 9, &bytes), None);
        assert_eq!(secret.read_reference(Identity::Bot, 8, &bytes), None);
        assert_eq!(secret.read_reference(Identity::Bot, 9, &bytes[..30]), None);
        bytes[9] ^= 1;
        assert_eq!(secret.read_reference(Identity::Bot, 9, &bytes), None);
    }

    #[test]
    fn each_account_has_access_hashes_of_its_own() {
        let secret = Secret::new(b"secret");
        let hash = |who, object| secret.access_hash(who, object);
        assert_ne!(
            hash(Identity::Bot, Object::Channel(1)),
            hash(Identity::User, Object::Channel(1))
        );
        assert_ne!(
            hash(Identity::Bot, Object::Channel(1)),
            hash(Identity::Bot, Object::User(1))
        );
    }
}
