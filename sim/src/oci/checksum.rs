//! The digests of a body: MD5 and CRC32C always, SHA-256 or SHA-384 where the client chose it; how
//! those of parts make those of an object; and the comparison with what the client claims.

use aws_lc_rs::digest;
use axum::body::Bytes;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm::Crc32Iscsi;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::md5_lanes::BodyMd5;

/// The checksum a client may choose in addition to MD5 (`opc-checksum-algorithm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Algorithm {
    Crc32c,
    Sha256,
    Sha384,
}

impl Algorithm {
    /// What the request chose. An empty header, which rclone sends, chooses nothing.
    pub(super) fn chosen(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let chosen = match text(headers, "opc-checksum-algorithm") {
            None | Some("") => None,
            Some(name) => Some(match name.to_uppercase().as_str() {
                "CRC32C" => Self::Crc32c,
                "SHA256" => Self::Sha256,
                "SHA384" => Self::Sha384,
                _ => {
                    return Err(ApiError::invalid_parameter(format!(
                        "opc-checksum-algorithm '{name}' is not one of CRC32C, SHA256, SHA384"
                    )));
                }
            }),
        };
        Ok(chosen)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "CRC32C",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
        }
    }

    /// The header of a body's own checksum.
    fn content_header(self) -> &'static str {
        match self {
            Self::Crc32c => "opc-content-crc32c",
            Self::Sha256 => "opc-content-sha256",
            Self::Sha384 => "opc-content-sha384",
        }
    }

    /// The header of an object made of parts. A CRC32C does not depend on how it was cut.
    fn multipart_header(self) -> &'static str {
        match self {
            Self::Crc32c => "opc-content-crc32c",
            Self::Sha256 => "opc-multipart-sha256",
            Self::Sha384 => "opc-multipart-sha384",
        }
    }

    fn sha(self) -> Option<&'static digest::Algorithm> {
        match self {
            Self::Crc32c => None,
            Self::Sha256 => Some(&digest::SHA256),
            Self::Sha384 => Some(&digest::SHA384),
        }
    }
}

/// The chosen checksum with the header it is told in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksum {
    pub(super) header: String,
    pub(super) value: String,
}

/// Computes the digests of a body while it passes. Blocks.
pub(super) struct Hasher {
    md5: BodyMd5,
    crc32c: crc_fast::Digest,
    sha: Option<digest::Context>,
}

impl Hasher {
    pub(super) fn new(chosen: Option<Algorithm>, md5: BodyMd5) -> Self {
        Self {
            md5,
            crc32c: crc_fast::Digest::new(Crc32Iscsi),
            sha: chosen.and_then(Algorithm::sha).map(digest::Context::new),
        }
    }

    pub(super) fn update(&mut self, frame: Bytes) {
        self.crc32c.update(&frame);
        if let Some(sha) = &mut self.sha {
            sha.update(&frame);
        }
        self.md5.update(frame);
    }

    pub(super) fn finish(self) -> Digests {
        Digests {
            md5: self.md5.finish(),
            crc32c: u32::try_from(self.crc32c.finalize()).expect("a 32-bit CRC fits into 32 bits"),
            sha: self.sha.map(|sha| sha.finish().as_ref().to_vec()),
        }
    }
}

/// The digests of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digests {
    pub(super) md5: [u8; 16],
    pub(super) crc32c: u32,
    sha: Option<Vec<u8>>,
}

impl Digests {
    pub(super) fn md5_base64(&self) -> String {
        STANDARD.encode(self.md5)
    }

    /// The chosen checksum, as the answer to the upload of this body tells it.
    pub(super) fn checksum(&self, chosen: Algorithm) -> Checksum {
        Checksum {
            header: chosen.content_header().to_owned(),
            value: match &self.sha {
                Some(sha) => STANDARD.encode(sha),
                None => crc32c_base64(self.crc32c),
            },
        }
    }

    /// Compares with `Content-MD5` and with the `opc-content-*` header of the chosen algorithm,
    /// where the client sent them.
    pub(super) fn verify(
        &self,
        headers: &HeaderMap,
        chosen: Option<Algorithm>,
    ) -> Result<(), ApiError> {
        let actual = self.md5_base64();
        if let Some(claimed) = text(headers, "content-md5").filter(|claimed| *claimed != actual) {
            return Err(ApiError::unmatched_checksum(
                "MD5",
                "Content-MD5",
                &actual,
                claimed,
            ));
        }
        let Some(chosen) = chosen else { return Ok(()) };
        let Checksum { header, value } = self.checksum(chosen);
        match text(headers, &header).filter(|claimed| *claimed != value) {
            None => Ok(()),
            Some(claimed) => Err(ApiError::unmatched_checksum(
                chosen.name(),
                &header,
                &value,
                claimed,
            )),
        }
    }
}

/// Refuses a `Content-MD5` that is none, before the body is read.
pub(super) fn check_content_md5(headers: &HeaderMap) -> Result<(), ApiError> {
    match text(headers, "content-md5") {
        Some(value) if STANDARD.decode(value).map_or(0, |md5| md5.len()) != 16 => {
            Err(ApiError::invalid_content_md5(value))
        }
        _ => Ok(()),
    }
}

/// base64(MD5(the binary MD5s of the parts, in order)) and the number of parts.
pub(super) fn multipart_md5<'a>(parts: impl Iterator<Item = &'a Digests>) -> String {
    let mut md5 = Md5::new();
    let mut count = 0;
    for part in parts {
        md5.update(part.md5);
        count += 1;
    }
    format!("{}-{count}", STANDARD.encode(md5.finalize()))
}

/// The CRC32C of bodies in a row, from theirs and their lengths.
pub(super) fn combined_crc32c<'a>(parts: impl Iterator<Item = (&'a Digests, u64)>) -> u32 {
    let combined = parts.fold(0, |crc, (part, length)| {
        crc_fast::checksum_combine(Crc32Iscsi, crc, part.crc32c.into(), length)
    });
    u32::try_from(combined).expect("a 32-bit CRC fits into 32 bits")
}

/// The chosen checksum of an object made of parts; `None` if a part lacks it.
pub(super) fn multipart_checksum<'a>(
    chosen: Algorithm,
    crc32c: u32,
    parts: impl Iterator<Item = &'a Digests>,
) -> Option<Checksum> {
    let value = match chosen.sha() {
        None => crc32c_base64(crc32c),
        Some(sha) => {
            let mut context = digest::Context::new(sha);
            let mut count = 0;
            for part in parts {
                context.update(part.sha.as_ref()?);
                count += 1;
            }
            format!("{}-{count}", STANDARD.encode(context.finish()))
        }
    };
    Some(Checksum {
        header: chosen.multipart_header().to_owned(),
        value,
    })
}

/// Four bytes, the most significant first, in base64.
pub(super) fn crc32c_base64(crc: u32) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::super::md5_lanes::Md5Lanes;
    use super::*;

    fn digests(bytes: &[u8], chosen: Option<Algorithm>) -> Digests {
        let lanes = Md5Lanes::start().expect("a thread");
        let mut hasher = Hasher::new(chosen, lanes.body());
        hasher.update(Bytes::copy_from_slice(bytes));
        hasher.finish()
    }

    #[test]
    fn known_answers() {
        // RFC 3720 B.4 gives 0xe3069283 for "123456789"; RFC 1321 the MD5 of "abc".
        assert_eq!(digests(b"123456789", None).crc32c, 0xe306_9283);
        assert_eq!(
            digests(b"abc", None).md5_base64(),
            STANDARD.encode(0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72_u128.to_be_bytes())
        );
    }

    #[test]
    fn a_combined_crc_is_that_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for cuts in [vec![], vec![1], vec![0, 7, 50_000, 50_000], vec![99_999]] {
            let mut parts = Vec::new();
            let mut start = 0;
            for end in cuts.into_iter().chain([bytes.len()]) {
                parts.push((digests(&bytes[start..end], None), (end - start) as u64));
                start = end;
            }
            let combined = combined_crc32c(parts.iter().map(|(part, length)| (part, *length)));
            assert_eq!(combined, digests(&bytes, None).crc32c);
        }
    }

    #[test]
    fn a_sha_of_parts_needs_that_of_every_part() {
        let with = digests(b"a", Some(Algorithm::Sha256));
        let without = digests(b"b", None);
        let parts = [with.clone(), with.clone()];
        let whole = multipart_checksum(Algorithm::Sha256, 0, parts.iter()).expect("a checksum");
        assert!(whole.value.ends_with("-2"));
        assert_eq!(whole.header, "opc-multipart-sha256");
        let parts = [with, without];
        assert_eq!(multipart_checksum(Algorithm::Sha256, 0, parts.iter()), None);
    }
}
