//! The names Object Storage goes by, as types: what was parsed here is never checked again.
//! Nothing here does I/O.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::{Error, Result};

/// Everything but the unreserved characters of RFC 3986, so that `/` in a name becomes `%2F`
/// and a name is one segment of a path whatever it contains.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `text` as one segment of a path or one value of a query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A string that passed `$check`, which answers with the rule that was broken.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the text.
            ///
            /// # Errors
            /// [`Error::InvalidName`] with the rule that was broken.
            pub fn new(text: impl Into<String>) -> Result<Self> {
                let text = text.into();
                let check: fn(&str) -> Option<&'static str> = $check;
                match check(&text) {
                    None => Ok(Self(text)),
                    Some(why) => Err(Error::InvalidName { what: $what, why }),
                }
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }
    };
}

checked_text! {
    /// The Object Storage namespace of a tenancy.
    Namespace, "namespace", |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (text.is_empty() || text.len() > 256 || !text.chars().all(allowed))
            .then_some("1 to 256 letters, digits, - and _ are allowed")
    }
}

checked_text! {
    /// The name of a bucket.
    BucketName, "bucket name", |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 256 || !text.chars().all(allowed) {
            Some("1 to 256 letters, digits, -, _ and . are allowed")
        } else {
            lost_in_urls(text)
        }
    }
}

checked_text! {
    /// The name of an object: 1 to 1024 bytes of UTF-8. Names with a `.` or `..` between their
    /// slashes are refused, because URL parsers on the way of a link would collapse them.
    ObjectName, "object name", |text| {
        if text.is_empty() || text.len() > 1024 {
            Some("it must have 1 to 1024 bytes")
        } else if text.contains(['\n', '\r', '\0']) {
            Some("line feeds, carriage returns and NUL are not allowed")
        } else {
            lost_in_urls(text)
        }
    }
}

checked_text! {
    /// What Object Storage calls one multipart upload.
    UploadId, "upload id", visible_ascii
}

checked_text! {
    /// The entity tag of an object or part, as the service writes it.
    Etag, "etag", visible_ascii
}

checked_text! {
    /// What Object Storage calls one pre-authenticated request. It opens nothing by itself.
    ParId, "PAR id", |text| {
        if text.is_empty() || text.len() > 4096 || text.contains(char::is_control) {
            Some("1 to 4096 bytes without control characters are allowed")
        } else {
            lost_in_urls(text)
        }
    }
}

fn lost_in_urls(text: &str) -> Option<&'static str> {
    text.split('/')
        .any(|segment| matches!(segment, "." | ".."))
        .then_some("it must not have a segment that is . or ..")
}

fn visible_ascii(text: &str) -> Option<&'static str> {
    (text.is_empty() || text.len() > 1024 || !text.bytes().all(|b| b.is_ascii_graphic()))
        .then_some("1 to 1024 visible ASCII characters are allowed")
}

/// The number of a part in its upload, 1 to 10,000. Parts are assembled in ascending order and
/// gaps are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    /// The most parts an upload may have.
    pub const MAX: u32 = 10_000;

    /// Checks and takes the number.
    ///
    /// # Errors
    /// [`Error::InvalidName`] outside of 1 to 10,000.
    pub fn new(number: u32) -> Result<Self> {
        match u16::try_from(number) {
            Ok(small) if (1..=Self::MAX).contains(&number) => Ok(Self(small)),
            _ => Err(Error::InvalidName {
                what: "part number",
                why: "1 to 10000 is allowed",
            }),
        }
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.into()
    }
}

impl fmt::Display for PartNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A CRC-32C (Castagnoli). Its text form is the service's: base64 of the four bytes, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Crc32c(u32);

impl Crc32c {
    /// Takes a computed checksum.
    pub fn new(value: u32) -> Self {
        Self(value)
    }

    /// The checksum as a number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Crc32c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.to_be_bytes()))
    }
}

impl FromStr for Crc32c {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = STANDARD.decode(text).ok();
        match bytes.as_deref().and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => Ok(Self(u32::from_be_bytes(bytes))),
            None => Err(Error::InvalidName {
                what: "CRC32C",
                why: "base64 of four bytes is expected",
            }),
        }
    }
}

/// A URL that opens something by itself. `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Takes a URL into hiding.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL itself, for the one it was made for. It must not be logged.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(hidden)")
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn object_names_keep_the_rules_of_the_service() {
        for good in ["a", "dir/My file é.bin", "...", "a/..b/c", "%2F?#", "//"] {
            assert_eq!(ObjectName::new(good).unwrap().as_str(), good);
        }
        assert!(ObjectName::new("x".repeat(1024)).is_ok());

        for bad in [
            "", "a\nb", "a\rb", "a\0b", ".", "..", "a/../b", "./a", "a/.",
        ] {
            assert!(ObjectName::new(bad).is_err(), "{bad:?}");
        }
        assert!(ObjectName::new("x".repeat(1025)).is_err());
        assert!(
            ObjectName::new("é".repeat(513)).is_err(),
            "bytes count, not characters"
        );
    }

    #[test]
    fn buckets_and_namespaces_are_plain_words() {
        assert!(BucketName::new("My_bucket-1.x").is_ok());
        assert!(Namespace::new("axabcdefghij").is_ok());
        for bad in ["", "a/b", "a b", "..", "é"] {
            assert!(BucketName::new(bad).is_err(), "{bad:?}");
            assert!(Namespace::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn part_numbers_are_1_to_10000() {
        assert!(PartNumber::new(0).is_err());
        assert_eq!(PartNumber::new(1).unwrap().get(), 1);
        assert_eq!(PartNumber::new(10_000).unwrap().get(), 10_000);
        assert!(PartNumber::new(10_001).is_err());
        assert!(PartNumber::new(65_537).is_err());
    }

    #[test]
    fn crc32c_is_base64_of_big_endian_bytes() {
        // The check value of CRC-32C: the digits 1 to 9.
        assert_eq!(Crc32c::new(0xE306_9283).to_string(), "4waSgw==");
        assert_eq!("4waSgw==".parse::<Crc32c>().unwrap().get(), 0xE306_9283);
        for bad in ["", "4waS", "4waSgwAA", "not base64"] {
            assert!(bad.parse::<Crc32c>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_url_shows_itself_only_when_asked() {
        let url = SecretUrl::new("https://host/p/token/n/ns/b/b/o/x");
        assert!(!format!("{url} {url:?} {:?}", Some(&url)).contains("token"));
        assert_eq!(url.expose(), "https://host/p/token/n/ns/b/b/o/x");
    }

    proptest! {
        #[test]
        fn an_encoded_name_survives_url_parsing(name in "\\PC{1,60}") {
            prop_assume!(ObjectName::new(name.as_str()).is_ok());

            let path = format!("/n/ns/b/b/o/{}", encode(&name));
            let url = reqwest::Url::parse(&format!("http://host{path}")).unwrap();

            prop_assert_eq!(url.path(), path);
            let last = url.path_segments().unwrap().next_back().unwrap();
            let decoded = percent_encoding::percent_decode_str(last).decode_utf8().unwrap();
            prop_assert_eq!(decoded, name);
        }

        #[test]
        fn crc32c_text_is_the_inverse_of_parsing(value: u32) {
            let text = Crc32c::new(value).to_string();
            prop_assert_eq!(text.parse::<Crc32c>().unwrap().get(), value);
        }
    }
}
