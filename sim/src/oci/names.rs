//! Names that obey the service's rules, the ids it makes up, and how a name is written in a path.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// Everything but RFC 3986's unreserved characters, so that a name is one path segment.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// 1 to 1024 characters and bytes, no line feed, carriage return or NUL; not `.` or `..`, which
/// URL parsers drop from a path (managingobjects.htm).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ObjectName(String);

impl ObjectName {
    pub(super) fn parse(name: String) -> Result<Self, ApiError> {
        if name.is_empty() || name.len() > 1024 {
            Err(ApiError::invalid_object_name(
                "it must have 1 to 1024 bytes",
            ))
        } else if name.contains(['\n', '\r', '\0']) {
            Err(ApiError::invalid_object_name(
                "it must not contain line feed, carriage return or NUL",
            ))
        } else if name == "." || name == ".." {
            Err(ApiError::invalid_object_name("it must not be '.' or '..'"))
        } else {
            Ok(Self(name))
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The number of a part, 1 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct PartNumber(u16);

impl PartNumber {
    pub(super) fn new(number: i64) -> Result<Self, ApiError> {
        match u16::try_from(number) {
            Ok(number @ 1..=10_000) => Ok(Self(number)),
            _ => Err(ApiError::invalid_parameter(format!(
                "The part number {number} is not between 1 and 10000"
            ))),
        }
    }

    pub(super) fn get(self) -> u16 {
        self.0
    }
}

/// Whether a bucket may be called that: letters, digits, `-`, `_`, `.`; 1 to 256 of them.
pub(super) fn check_bucket_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=256).contains(&name.len()) && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(ApiError::invalid_parameter(format!(
            "The bucket name '{name}' is not valid"
        )))
    }
}

/// `text` as one path segment.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// An `ETag` or an upload id: a random UUID (version 4), as the service's are.
pub(super) fn uuid() -> String {
    let mut bits = u128::from_be_bytes(random());
    bits = bits & !(0xf << 76) | 0x4 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// A PAR's secret: 64 characters of base64url, as in the documentation's examples.
pub(super) fn link_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<48>())
}

/// A PAR's id: 64 characters of base64 (`/` and `+` among them), then the object it is for.
pub(super) fn par_id(object_name: Option<&str>) -> String {
    let id = STANDARD.encode(random::<48>());
    match object_name {
        Some(name) => format!("{id}:{name}"),
        None => id,
    }
}

/// The name of a data file or the tail of a request id.
pub(super) fn hex_id() -> String {
    format!("{:032x}", u128::from_be_bytes(random()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_keep_the_documented_limits() {
        let long = "é".repeat(512);
        for good in ["a", "a/../b", " ", "..a", long.as_str()] {
            assert!(ObjectName::parse(good.to_owned()).is_ok(), "{good:?}");
        }
        let too_long = "é".repeat(513);
        for bad in ["", ".", "..", "a\nb", "a\rb", "a\0b", too_long.as_str()] {
            assert!(ObjectName::parse(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn part_numbers_run_from_1_to_10000() {
        for (number, good) in [
            (0, false),
            (1, true),
            (10_000, true),
            (10_001, false),
            (-1, false),
        ] {
            assert_eq!(PartNumber::new(number).is_ok(), good, "{number}");
        }
    }

    #[test]
    fn ids_look_like_the_services() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert_ne!(id, uuid());
        assert_eq!(link_token().len(), 64);
        assert!(par_id(Some("a/b")).ends_with(":a/b"));
        assert_eq!(segment("a/b c~é"), "a%2Fb%20c~%C3%A9");
    }
}
