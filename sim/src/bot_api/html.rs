//! HTML as messages may be formatted with it, read by the rules of the real service and written
//! back for whoever looks at a chat. See <https://core.telegram.org/bots/api#html-style>.

use std::fmt::Write as _;

use crate::telegram::details::{Entity, EntityKind};

/// A text and what stands out in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formatted {
    pub(super) text: String,
    pub(super) entities: Vec<Entity>,
}

/// The tags there are.
const TAGS: [&str; 16] = [
    "a",
    "b",
    "strong",
    "i",
    "em",
    "s",
    "strike",
    "del",
    "u",
    "ins",
    "tg-spoiler",
    "tg-emoji",
    "span",
    "pre",
    "code",
    "blockquote",
];

/// Reads HTML.
///
/// # Errors
/// What is wrong with it, as the real service says after `can't parse entities: `.
pub(super) fn parse(html: &str) -> Result<Formatted, String> {
    let mut parser = Parser {
        html,
        at: 0,
        units: 0,
        open: Vec::new(),
        read: Formatted::default(),
    };
    while parser.at < html.len() {
        parser.step()?;
    }
    if let Some(tag) = parser.open.pop() {
        return Err(format!(
            "Can't find end tag corresponding to start tag \"{}\"",
            tag.name
        ));
    }
    let mut read = parser.read;
    read.entities
        .sort_by_key(|entity| (entity.offset, usize::MAX - entity.length));
    Ok(read)
}

/// A tag that has not ended.
struct Open {
    name: String,
    argument: Option<String>,
    /// Where it began, in UTF-16 code units and in bytes of the text that was read.
    offset: usize,
    byte: usize,
}

struct Parser<'a> {
    html: &'a str,
    at: usize,
    units: usize,
    open: Vec<Open>,
    read: Formatted,
}

impl Parser<'_> {
    /// The byte at a place; 0 behind the end.
    fn byte(&self) -> u8 {
        self.html.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn is_space(&self) -> bool {
        matches!(self.byte(), b' ' | b'\t' | b'\r' | b'\n' | 0 | 0x0b)
    }

    fn skip(&mut self, more: impl Fn(u8) -> bool) -> &str {
        let from = self.at;
        while self.at < self.html.len() && more(self.byte()) {
            self.at += 1;
        }
        &self.html[from..self.at]
    }

    fn skip_space(&mut self) {
        while self.at < self.html.len() && self.is_space() {
            self.at += 1;
        }
    }

    fn push(&mut self, character: char) {
        self.units += character.len_utf16();
        self.read.text.push(character);
    }

    fn step(&mut self) -> Result<(), String> {
        match self.byte() {
            b'&' => {
                if let Some(character) = self.character_reference() {
                    self.push(character);
                    return Ok(());
                }
            }
            b'<' if self.html[self.at..].starts_with("</") => return self.end_tag(),
            b'<' => return self.start_tag(),
            _ => {}
        }
        let character = self.html[self.at..].chars().next();
        let character = character.expect("within the text, and between characters");
        self.at += character.len_utf8();
        self.push(character);
        Ok(())
    }

    /// `&lt;` and the like; `None`, and nothing is read, if it is none of those known.
    fn character_reference(&mut self) -> Option<char> {
        let rest = &self.html[self.at + 1..];
        let (character, len) = if let Some(number) = rest.strip_prefix('#') {
            let (digits, radix, head) = match number.strip_prefix('x') {
                Some(digits) => (digits, 16, 2),
                None => (number, 10, 1),
            };
            let len = digits.chars().take_while(|c| c.is_digit(radix)).count();
            let code = u32::from_str_radix(&digits[..len], radix).ok();
            let code = code.filter(|code| *code != 0 && head + len < 9);
            (code.and_then(char::from_u32)?, head + len)
        } else {
            let len = rest.chars().take_while(char::is_ascii_alphabetic).count();
            let character = match &rest[..len] {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                _ => return None,
            };
            (character, len)
        };
        self.at += 1 + len;
        if self.byte() == b';' {
            self.at += 1;
        }
        Some(character)
    }

    fn start_tag(&mut self) -> Result<(), String> {
        let begin = self.at;
        self.at += 1;
        while !self.is_space() && self.byte() != b'>' {
            self.at += 1;
        }
        if self.at >= self.html.len() {
            return Err(format!("Unclosed start tag at byte offset {begin}"));
        }
        let name = self.html[begin + 1..self.at].to_lowercase();
        if !TAGS.contains(&name.as_str()) {
            return Err(format!(
                "Unsupported start tag \"{name}\" at byte offset {begin}"
            ));
        }
        let mut argument = None;
        loop {
            self.skip_space();
            if self.byte() == b'>' {
                self.at += 1;
                break;
            }
            argument = self.attribute(&name, begin)?.or(argument);
        }
        if name == "span" && argument.as_deref() != Some("spoiler") {
            return Err(format!(
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset {begin}"
            ));
        }
        self.open.push(Open {
            name,
            argument,
            offset: self.units,
            byte: self.read.text.len(),
        });
        Ok(())
    }

    /// Reads an attribute; what it says, if it matters for this tag.
    fn attribute(&mut self, tag: &str, begin: usize) -> Result<Option<String>, String> {
        let unclosed = || format!("Unclosed start tag \"{tag}\" at byte offset {begin}");
        let name = self.skip(|b| {
            !matches!(
                b,
                b' ' | b'\t' | b'\r' | b'\n' | b'=' | b'>' | b'/' | b'"' | b'\''
            )
        });
        if name.is_empty() {
            return Err(format!(
                "Empty attribute name in the tag \"{tag}\" at byte offset {begin}"
            ));
        }
        let name = name.to_owned();
        self.skip_space();
        if self.at >= self.html.len() {
            return Err(unclosed());
        }
        if self.byte() != b'=' {
            let expandable = tag == "blockquote" && name == "expandable";
            return Ok(expandable.then(String::new));
        }
        self.at += 1;
        self.skip_space();
        if self.at >= self.html.len() {
            return Err(unclosed());
        }
        let value = self.attribute_value()?;
        if self.at >= self.html.len() {
            return Err(format!("Unclosed start tag at byte offset {begin}"));
        }
        Ok(match (tag, name.as_str()) {
            ("a", "href") => Some(value),
            ("code", "class") => value.strip_prefix("language-").map(str::to_owned),
            ("span", "class") => value.strip_prefix("tg-").map(str::to_owned),
            _ => None,
        })
    }

    fn attribute_value(&mut self) -> Result<String, String> {
        let quote = self.byte();
        if !matches!(quote, b'"' | b'\'') {
            let from = self.at;
            let token = self.skip(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
            let token = token.to_lowercase();
            if !self.is_space() && self.byte() != b'>' {
                return Err(format!(
                    "Unexpected end of name token at byte offset {from}"
                ));
            }
            return Ok(token);
        }
        self.at += 1;
        let mut value = String::new();
        while self.at < self.html.len() && self.byte() != quote {
            if self.byte() == b'&'
                && let Some(character) = self.character_reference()
            {
                value.push(character);
                continue;
            }
            let character = self.html[self.at..].chars().next();
            let character = character.expect("within the text, and between characters");
            self.at += character.len_utf8();
            value.push(character);
        }
        self.at = (self.at + 1).min(self.html.len());
        Ok(value)
    }

    fn end_tag(&mut self) -> Result<(), String> {
        let begin = self.at;
        let Some(tag) = self.open.pop() else {
            return Err(format!("Unexpected end tag at byte offset {begin}"));
        };
        self.at += 2;
        let name = self.skip(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'>'));
        let name = name.to_owned();
        self.skip_space();
        if self.byte() != b'>' {
            return Err(format!("Unclosed end tag at byte offset {begin}"));
        }
        self.at += 1;
        if !name.is_empty() && name != tag.name {
            return Err(format!(
                "Unmatched end tag at byte offset {begin}, expected \"</{}>\", found \"</{name}>\"",
                tag.name
            ));
        }
        if self.units > tag.offset {
            self.close(tag);
        }
        Ok(())
    }

    /// Notes what stood between a tag and its end.
    fn close(&mut self, tag: Open) {
        let (offset, length) = (tag.offset, self.units - tag.offset);
        let kind = match tag.name.as_str() {
            "b" | "strong" => EntityKind::Bold,
            "i" | "em" => EntityKind::Italic,
            "u" | "ins" => EntityKind::Underline,
            "s" | "strike" | "del" => EntityKind::Strikethrough,
            "tg-spoiler" | "span" => EntityKind::Spoiler,
            "blockquote" if tag.argument.is_some() => EntityKind::ExpandableBlockquote,
            "blockquote" => EntityKind::Blockquote,
            "a" => {
                let text = || self.read.text[tag.byte..].to_owned();
                let url = tag.argument.unwrap_or_else(text);
                if !is_link(&url) {
                    return;
                }
                EntityKind::TextLink { url }
            }
            "code" => {
                let inside_pre = self
                    .open
                    .last()
                    .is_some_and(|outer| outer.name == "pre" && outer.offset == offset);
                match (tag.argument, inside_pre) {
                    (Some(language), true) => {
                        if let Some(pre) = self.open.last_mut() {
                            pre.argument = Some(language);
                        }
                        return;
                    }
                    (_, true) => return,
                    _ => EntityKind::Code,
                }
            }
            "pre" => EntityKind::Pre {
                language: tag.argument,
            },
            _ => return,
        };
        self.read.entities.push(Entity {
            kind,
            offset,
            length,
        });
    }
}

fn is_link(url: &str) -> bool {
    ["http://", "https://", "tg://", "ton://", "mailto:"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
}

/// Writes a text as HTML that reads as the same.
pub(super) fn write(text: &str, entities: &[Entity]) -> String {
    let shown: Vec<&Entity> = entities
        .iter()
        .filter(|entity| tags(&entity.kind).is_some())
        .collect();
    let mut out = String::new();
    let mut open: Vec<&Entity> = Vec::new();
    let mut at = 0;
    for character in text.chars().map(Some).chain([None]) {
        close_ended(&mut open, at, &mut out);
        let mut begun: Vec<&Entity> = shown.iter().copied().filter(|e| e.offset == at).collect();
        begun.sort_by_key(|entity| usize::MAX - entity.length);
        if character.is_some() {
            for entity in begun {
                out.push_str(&tags(&entity.kind).unwrap_or_default().0);
                open.push(entity);
            }
        }
        let Some(character) = character else { break };
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            other => out.push(other),
        }
        at += character.len_utf16();
    }
    out
}

/// Ends the tags of what ends here; those that were begun within and go on are begun anew.
fn close_ended(open: &mut Vec<&Entity>, at: usize, out: &mut String) {
    let Some(first) = open.iter().position(|e| e.offset + e.length <= at) else {
        return;
    };
    let inner = open.split_off(first);
    for entity in inner.iter().rev() {
        out.push_str(tags(&entity.kind).unwrap_or_default().1);
    }
    for entity in inner {
        if entity.offset + entity.length > at {
            out.push_str(&tags(&entity.kind).unwrap_or_default().0);
            open.push(entity);
        }
    }
}

/// The tags of an entity; `None` for one that is found in the text itself.
fn tags(kind: &EntityKind) -> Option<(String, &'static str)> {
    let (name, end) = match kind {
        EntityKind::Bold => ("<b>", "</b>"),
        EntityKind::Italic => ("<i>", "</i>"),
        EntityKind::Underline => ("<u>", "</u>"),
        EntityKind::Strikethrough => ("<s>", "</s>"),
        EntityKind::Spoiler => ("<tg-spoiler>", "</tg-spoiler>"),
        EntityKind::Code => ("<code>", "</code>"),
        EntityKind::Blockquote => ("<blockquote>", "</blockquote>"),
        EntityKind::ExpandableBlockquote => ("<blockquote expandable>", "</blockquote>"),
        EntityKind::Pre { language: None } => ("<pre>", "</pre>"),
        EntityKind::Pre {
            language: Some(language),
        } => {
            let begin = format!("<pre><code class=\"language-{language}\">");
            return Some((begin, "</code></pre>"));
        }
        EntityKind::TextLink { url } => {
            let mut begin = String::from("<a href=\"");
            for character in url.chars() {
                match character {
                    '"' => begin.push_str("&quot;"),
                    '&' => begin.push_str("&amp;"),
                    other => {
                        let _ = write!(begin, "{other}");
                    }
                }
            }
            begin.push_str("\">");
            return Some((begin, "</a>"));
        }
        EntityKind::Url | EntityKind::BotCommand | EntityKind::Mention => return None,
    };
    Some((name.to_owned(), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(kind: EntityKind, offset: usize, length: usize) -> Entity {
        Entity {
            kind,
            offset,
            length,
        }
    }

    #[test]
    fn offsets_are_counted_in_utf_16() {
        let read = parse("\u{1f600}\u{e9}<b>x\u{1f600}</b>").expect("HTML");
        assert_eq!(read.text, "\u{1f600}\u{e9}x\u{1f600}");
        assert_eq!(read.entities, [entity(EntityKind::Bold, 3, 3)]);
    }

    #[test]
    fn every_tag_is_read() {
        for (html, kind) in [
            ("<b>ab</b>", EntityKind::Bold),
            ("<STRONG>ab</>", EntityKind::Bold),
            ("<i>ab</i >", EntityKind::Italic),
            ("<em>ab</em>", EntityKind::Italic),
            ("<u>ab</u>", EntityKind::Underline),
            ("<ins>ab</ins>", EntityKind::Underline),
            ("<s>ab</s>", EntityKind::Strikethrough),
            ("<del>ab</del>", EntityKind::Strikethrough),
            ("<tg-spoiler>ab</tg-spoiler>", EntityKind::Spoiler),
            ("<span class=\"tg-spoiler\">ab</span>", EntityKind::Spoiler),
            ("<code>ab</code>", EntityKind::Code),
            ("<pre>ab</pre>", EntityKind::Pre { language: None }),
            (
                "<pre><code class='language-rust'>ab</code></pre>",
                EntityKind::Pre {
                    language: Some("rust".to_owned()),
                },
            ),
            ("<blockquote>ab</blockquote>", EntityKind::Blockquote),
            (
                "<blockquote expandable>ab</blockquote>",
                EntityKind::ExpandableBlockquote,
            ),
            (
                "<a href=\"https://a.b/?x=1&amp;y=2\">ab</a>",
                EntityKind::TextLink {
                    url: "https://a.b/?x=1&y=2".to_owned(),
                },
            ),
        ] {
            let read = parse(html).unwrap_or_else(|error| panic!("{html}: {error}"));
            assert_eq!(read.text, "ab", "{html}");
            assert_eq!(read.entities, [entity(kind, 0, 2)], "{html}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_as_the_real_service_tells_it() {
        for (html, told) in [
            (
                "a <b>b",
                "Can't find end tag corresponding to start tag \"b\"",
            ),
            ("a <br>", "Unsupported start tag \"br\" at byte offset 2"),
            ("a < b", "Unsupported start tag \"\" at byte offset 2"),
            ("a <b", "Unclosed start tag at byte offset 2"),
            ("a</b>", "Unexpected end tag at byte offset 1"),
            (
                "<b>a</i>",
                "Unmatched end tag at byte offset 4, expected \"</b>\", found \"</i>\"",
            ),
            ("<b>a</b", "Unclosed end tag at byte offset 4"),
            (
                "<span>a</span>",
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0",
            ),
            (
                "<a href=x_y>a</a>",
                "Unexpected end of name token at byte offset 8",
            ),
            (
                "<a =x>a</a>",
                "Empty attribute name in the tag \"a\" at byte offset 0",
            ),
        ] {
            assert_eq!(parse(html), Err(told.to_owned()), "{html}");
        }
    }

    #[test]
    fn characters_may_be_written_by_name() {
        let read = parse("&lt;b&gt; &amp;amp; &quot;&#33;&#x41; &nbsp; &").expect("HTML");
        assert_eq!(read.text, "<b> &amp; \"!A &nbsp; &");
        assert_eq!(read.entities, []);
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let html =
            "a<b>b<i>c &lt;&amp;</i></b> <a href=\"https://a.b/?x=&amp;y\">d</a><code>e</code>";
        let read = parse(html).expect("HTML");
        assert_eq!(write(&read.text, &read.entities), html);
        let crossing = [
            entity(EntityKind::Bold, 0, 2),
            entity(EntityKind::Italic, 1, 2),
        ];
        assert_eq!(write("abc", &crossing), "<b>a<i>b</i></b><i>c</i>");
    }
}
