//! File names from strangers, made safe for object names, URLs and terminals.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

/// Bytes that a name may have; the rest of an object name needs room too.
const MAX_BYTES: usize = 180;

/// A longer last part is no extension but a part of the name.
const MAX_EXTENSION_BYTES: usize = 16;

/// Device names of Windows, on which a download would fail.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A file name without path, control, invisible or direction-changing characters, in NFC, of 1 to
/// 180 bytes, that starts with neither a dot nor a space and still has its extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeFileName(String);

impl SafeFileName {
    /// Makes any text safe. What has nothing left is called `file`.
    pub fn new(raw: &str) -> Self {
        // Bounded first: normalising is linear, but a stranger chooses the length. The end is
        // kept too, for the extension is there.
        let bounded = keep_ends(raw, 4096);
        let clean: String = bounded.chars().filter_map(clean_char).nfc().collect();
        let trimmed = clean.trim_matches(is_edge);
        let name = match trimmed {
            "" => "file".to_owned(),
            name if is_reserved(name) => format!("_{name}"),
            name => name.to_owned(),
        };
        Self(cut(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafeFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands for a character: itself, an underscore for what separates paths, or nothing for
/// what cannot be seen.
fn clean_char(c: char) -> Option<char> {
    match c {
        '/' | '\\' | ':' | '%' | '\u{2044}' | '\u{2215}' => Some('_'),
        c if c.is_control() => None,
        // Soft hyphen, Arabic letter mark, zero-width characters, directional marks, overrides and
        // isolates, line separators, invisible operators, byte order mark, tags.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => None,
        c => Some(c),
    }
}

/// What a name neither starts nor ends with.
fn is_edge(c: char) -> bool {
    c.is_whitespace() || c == '.'
}

fn is_reserved(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_lowercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device)
            .is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
    };
    RESERVED.contains(&stem.as_str()) || numbered("com") || numbered("lpt")
}

/// The first and the last `limit / 2` bytes of a longer text, cut between characters.
fn keep_ends(raw: &str, limit: usize) -> String {
    if raw.len() <= limit {
        return raw.to_owned();
    }
    let head = raw.floor_char_boundary(limit / 2);
    let tail = raw.ceil_char_boundary(raw.len() - limit / 2);
    format!("{}{}", &raw[..head], &raw[tail..])
}

/// Cuts the stem, between characters, so that stem and extension fit.
fn cut(name: String) -> String {
    if name.len() <= MAX_BYTES {
        return name;
    }
    let extension = name
        .rfind('.')
        .filter(|dot| *dot > 0 && name.len() - dot <= MAX_EXTENSION_BYTES)
        .map_or("", |dot| &name[dot..]);
    let stem =
        name[..name.floor_char_boundary(MAX_BYTES - extension.len())].trim_end_matches(is_edge);
    format!("{stem}{extension}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_become_safe_ones() {
        for (raw, safe) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("..\\..\\boot.ini", "_.._boot.ini"),
            ("a\r\nSet-Cookie: x.txt", "aSet-Cookie_ x.txt"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("zero\u{200b}width\u{feff}.zip", "zerowidth.zip"),
            (".htaccess", "htaccess"),
            ("  spaced.txt ", "spaced.txt"),
            ("%2e%2e%2fx", "_2e_2e_2fx"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("com7.log", "_com7.log"),
            ("company.txt", "company.txt"),
            ("e\u{301}te\u{301}.txt", "\u{e9}t\u{e9}.txt"),
            ("\u{1f600}.png", "\u{1f600}.png"),
            ("", "file"),
            (".", "file"),
            ("..", "file"),
            ("\0\u{1}", "file"),
        ] {
            assert_eq!(SafeFileName::new(raw).as_str(), safe, "{raw:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let name = SafeFileName::new(&format!("{}.tar.gz", "ä".repeat(5_000)));
        assert!(name.as_str().len() <= MAX_BYTES);
        assert!(
            name.as_str().starts_with("ää") && name.as_str().ends_with("ä.gz"),
            "{name}"
        );
    }

    proptest! {
        #[test]
        fn every_name_is_safe_and_safe_names_stay(raw in "\\PC{0,300}|.{0,40}|[./\\\\ a\u{202e}]{0,12}") {
            let name = SafeFileName::new(&raw);
            let text = name.as_str();
            prop_assert!(!text.is_empty() && text.len() <= MAX_BYTES);
            prop_assert!(!text.starts_with('.') && !text.contains(['/', '\\']));
            prop_assert!(text.chars().all(|c| !c.is_control()));
            prop_assert_eq!(&SafeFileName::new(text), &name);
        }
    }
}
