//! Where the bytes of files come from: made up on demand, or read from disk by range.
//!
//! Generated content is a function of seed and offset alone, can be had at any range at several
//! gigabytes a second, and does not compress. Nothing here holds a whole file in memory.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest;
use aws_lc_rs::iv::FixedLength;

/// The cipher's block: generated content is the keystream of AES-128 in counter mode.
const BLOCK: u64 = 16;

/// How much is read at once while a whole file is hashed.
const HASH_STEP: usize = 1 << 20;

/// A file's bytes, of known length, readable at any range.
#[derive(Debug)]
pub struct Content {
    source: Source,
    len: u64,
    sha256: OnceLock<[u8; 32]>,
}

#[derive(Debug)]
enum Source {
    Generated(Box<Keystream>),
    Stored { file: File, path: PathBuf },
}

impl Content {
    /// `len` bytes made from `seed`.
    pub fn generated(seed: u64, len: u64) -> Self {
        Self {
            source: Source::Generated(Box::new(Keystream::new(seed))),
            len,
            sha256: OnceLock::new(),
        }
    }

    /// The file at `path` as it is now; it must not change afterwards.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn stored(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            source: Source::Stored { file, path },
            len,
            sha256: OnceLock::new(),
        })
    }

    /// Says what the hash is, for who has computed it already.
    #[must_use]
    pub fn with_sha256(self, sha256: [u8; 32]) -> Self {
        Self {
            sha256: OnceLock::from(sha256),
            ..self
        }
    }

    /// The length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where a stored file lies.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Generated(_) => None,
            Source::Stored { path, .. } => Some(path),
        }
    }

    /// Fills `out` with the bytes from `offset` on; the range must lie within the file.
    ///
    /// # Errors
    /// If a stored file cannot be read, or has become shorter.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.source {
            Source::Generated(keystream) => {
                out.fill(0);
                keystream.add_at(offset, out);
                Ok(())
            }
            Source::Stored { file, .. } => file.read_exact_at(out, offset),
        }
    }

    /// Appends the `len` bytes from `offset` on to `out`; the range must lie within the file.
    ///
    /// # Errors
    /// As [`Content::read_at`].
    pub fn append_to(&self, out: &mut Vec<u8>, offset: u64, len: usize) -> io::Result<()> {
        let at = out.len();
        make_room(out, len);
        match &self.source {
            Source::Generated(keystream) => {
                keystream.add_at(offset, &mut out[at..]);
                Ok(())
            }
            Source::Stored { file, .. } => file.read_exact_at(&mut out[at..], offset),
        }
    }

    /// The SHA-256 of the bytes `start..end`.
    ///
    /// # Errors
    /// As [`Content::read_at`].
    pub fn sha256_of(&self, start: u64, end: u64) -> io::Result<[u8; 32]> {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; HASH_STEP];
        let mut at = start;
        while at < end {
            let step = usize::try_from(end - at).map_or(HASH_STEP, |left| left.min(HASH_STEP));
            let piece = &mut buffer[..step];
            self.read_at(at, piece)?;
            context.update(piece);
            at += step as u64;
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Ok(hash)
    }

    /// The SHA-256 of the whole, computed once. It reads everything, so call it where blocking
    /// is allowed.
    ///
    /// # Errors
    /// As [`Content::read_at`].
    pub fn sha256(&self) -> io::Result<[u8; 32]> {
        if let Some(known) = self.sha256.get() {
            return Ok(*known);
        }
        let computed = self.sha256_of(0, self.len)?;
        Ok(*self.sha256.get_or_init(|| computed))
    }
}

/// Appends `len` zeroes. `resize` would do, but an unoptimised build, which serves files too,
/// writes them one by one.
pub(crate) fn make_room(out: &mut Vec<u8>, len: usize) {
    const ZEROES: &[u8] = &[0; 64 << 10];
    out.reserve(len);
    for _ in 0..len / ZEROES.len() {
        out.extend_from_slice(ZEROES);
    }
    out.extend_from_slice(&ZEROES[..len % ZEROES.len()]);
}

/// A hash as people write it.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a String does not fail.
        text
    })
}

/// AES-128 in counter mode under a key made from a seed.
#[derive(Debug)]
struct Keystream {
    key: EncryptingKey,
}

impl Keystream {
    fn new(seed: u64) -> Self {
        let mut label = b"telestream-sim content ".to_vec();
        label.extend_from_slice(&seed.to_le_bytes());
        let hash = digest::digest(&digest::SHA256, &label);
        let key = UnboundCipherKey::new(&AES_128, &hash.as_ref()[..16]).expect("16 bytes of key");
        Self {
            key: EncryptingKey::ctr(key).expect("AES-128 has a counter mode"),
        }
    }

    /// Adds the keystream to what is in `out`.
    fn add_at(&self, offset: u64, out: &mut [u8]) {
        // The counter counts blocks, so a range that begins inside one takes its first bytes
        // from a block of its own.
        let inside = usize::try_from(offset % BLOCK).expect("below 16");
        let head = (16 - inside) % 16;
        let (head, rest) = out.split_at_mut(head.min(out.len()));
        if !head.is_empty() {
            let mut block = [0; 16];
            self.blocks_at(offset / BLOCK, &mut block);
            head.copy_from_slice(&block[inside..inside + head.len()]);
        }
        self.blocks_at(offset.div_ceil(BLOCK), rest);
    }

    fn blocks_at(&self, block: u64, out: &mut [u8]) {
        if out.is_empty() {
            return;
        }
        let counter = EncryptionContext::Iv128(FixedLength::from(u128::from(block).to_be_bytes()));
        self.key
            .less_safe_encrypt(out, counter)
            .expect("counter mode takes any length");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: &Content, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![1; len];
        content.read_at(offset, &mut out).expect("within the file");
        out
    }

    #[test]
    fn any_range_equals_the_same_part_of_the_whole() {
        let content = Content::generated(7, 100_000);
        let whole = bytes(&content, 0, 100_000);
        for (offset, len) in [
            (0, 0),
            (0, 1),
            (1, 3),
            (15, 1),
            (15, 2),
            (16, 16),
            (17, 50_000),
            (99_999, 1),
        ] {
            let from = usize::try_from(offset).expect("small");
            assert_eq!(
                bytes(&content, offset, len),
                whole[from..from + len],
                "{len} at {offset}"
            );
        }
    }

    #[test]
    fn content_follows_from_its_seed() {
        let one = bytes(&Content::generated(1, 4096), 0, 4096);
        assert_eq!(one, bytes(&Content::generated(1, 4096), 0, 4096));
        assert_ne!(one, bytes(&Content::generated(2, 4096), 0, 4096));
    }

    #[test]
    fn content_does_not_compress() {
        let plain = bytes(&Content::generated(3, 1 << 16), 0, 1 << 16);
        assert!(mtproto::gzip::pack(&plain).len() >= plain.len());
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        let content = Content::generated(4, 3 * (1 << 20) + 5);
        let whole = bytes(&content, 0, 3 * (1 << 20) + 5);
        let expected = digest::digest(&digest::SHA256, &whole);
        assert_eq!(content.sha256().expect("generated"), expected.as_ref());
        assert_eq!(content.sha256().expect("again"), expected.as_ref());
    }

    #[test]
    fn a_stored_file_is_read_by_range() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").expect("writable");
        let content = Content::stored(path).expect("there");
        assert_eq!(content.len(), 10);
        assert_eq!(bytes(&content, 3, 4), b"3456");
        assert!(content.read_at(8, &mut [0; 3]).is_err());
    }
}
