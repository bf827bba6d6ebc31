//! Packed bodies. What arrives is unpacked only up to a bound the caller names: a small packet
//! must not be able to fill the memory.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// Why a packed body was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum GzipError {
    /// It would unpack to more than the caller allows.
    #[error("a packed body unpacks to more than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// It is not a gzip stream.
    #[error("a packed body is no gzip stream")]
    Malformed(#[source] std::io::Error),
}

/// Unpacks `packed`, which may come to at most `limit` bytes.
///
/// # Errors
/// [`GzipError::TooLarge`] beyond the limit, [`GzipError::Malformed`] for anything that is not a
/// whole gzip stream.
pub fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, GzipError> {
    let mut out = Vec::new();
    // One byte beyond the limit tells "just fits" from "too large".
    let ceiling = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    GzDecoder::new(packed)
        .take(ceiling)
        .read_to_end(&mut out)
        .map_err(GzipError::Malformed)?;
    if out.len() > limit {
        return Err(GzipError::TooLarge { limit });
    }
    Ok(out)
}

/// Packs `plain`.
pub fn pack(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(plain)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let packed = pack(&vec![0; 1 << 20]);
        assert!(packed.len() < 8192);
        assert!(matches!(
            unpack(&packed, (1 << 20) - 1),
            Err(GzipError::TooLarge { .. })
        ));
        assert_eq!(unpack(&packed, 1 << 20).expect("fits").len(), 1 << 20);
    }

    proptest! {
        #[test]
        fn unpack_undoes_pack(plain in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(unpack(&pack(&plain), plain.len()).expect("whole"), plain);
        }

        #[test]
        fn garbage_is_an_error_or_bytes_but_no_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = unpack(&bytes, 1000);
        }

        #[test]
        fn a_truncated_stream_is_malformed(cut in 1_usize..30) {
            let packed = pack(b"some text that is long enough to be cut");
            let short = &packed[..packed.len() - cut];
            prop_assert!(matches!(unpack(short, 1000), Err(GzipError::Malformed(_))));
        }
    }
}
