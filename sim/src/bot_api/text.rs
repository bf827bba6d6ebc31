//! A message's words as the service makes them from what a bot or a user gives: formatting read,
//! ends trimmed, links and commands found.

use super::error::Refusal;
use super::html::{self, Formatted};
use super::params::Params;
use crate::telegram::details::{Entity, EntityKind};

/// The most UTF-16 code units that a text may have.
const MAX_TEXT: usize = 4096;

/// The most UTF-16 code units that a caption may have.
const MAX_CAPTION: usize = 1024;

/// The text that a bot sends, from the parameters `text`, `parse_mode` and `entities`.
pub(super) fn text(params: &Params) -> Result<Formatted, Refusal> {
    let text = read(params, "text", "entities")?;
    match text.text.encode_utf16().count() {
        0 => Err(Refusal::bad("message text is empty")),
        len if len > MAX_TEXT => Err(Refusal::bad("message is too long")),
        _ => Ok(text),
    }
}

/// The caption that a bot sends, which may be empty.
pub(super) fn caption(params: &Params) -> Result<Formatted, Refusal> {
    let text = read(params, "caption", "caption_entities")?;
    if text.text.encode_utf16().count() > MAX_CAPTION {
        return Err(Refusal::bad("message caption is too long"));
    }
    Ok(text)
}

fn read(params: &Params, name: &str, entities: &str) -> Result<Formatted, Refusal> {
    let text = params.text(name).unwrap_or_default();
    let mode = params.text("parse_mode").unwrap_or_default();
    let formatted = match mode.to_lowercase().as_str() {
        "" => Formatted {
            entities: params.json(entities)?.unwrap_or_default(),
            text: text.into_owned(),
        },
        "html" => html::parse(&text)
            .map_err(|error| Refusal::bad(format_args!("can't parse entities: {error}")))?,
        _ => return Err(Refusal::bad("unsupported parse_mode")),
    };
    Ok(finish(formatted))
}

/// What a user writes: nothing in it is formatting.
pub(super) fn plain(text: &str) -> Formatted {
    finish(Formatted {
        text: text.to_owned(),
        entities: Vec::new(),
    })
}

fn finish(mut formatted: Formatted) -> Formatted {
    trim(&mut formatted);
    find_entities(&mut formatted);
    formatted
}

/// Cuts white space off the end, and off the beginning as far as nothing stands out there.
fn trim(formatted: &mut Formatted) {
    let end = formatted.text.trim_end().len();
    formatted.text.truncate(end);
    let first = formatted.entities.iter().map(|entity| entity.offset).min();
    let blank = formatted
        .text
        .bytes()
        .take_while(|b| matches!(b, b' ' | b'\n'))
        .count();
    let cut = blank.min(first.unwrap_or(blank));
    formatted.text.drain(..cut);
    let units = formatted.text.encode_utf16().count();
    for entity in &mut formatted.entities {
        entity.offset -= cut;
        entity.length = entity.length.min(units.saturating_sub(entity.offset));
    }
    formatted.entities.retain(|entity| entity.length > 0);
}

/// Adds the links, commands and mentions that stand where nothing else does.
fn find_entities(formatted: &mut Formatted) {
    let mut found = Vec::new();
    let mut offset = 0;
    for word in formatted.text.split_inclusive([' ', '\n', '\t']) {
        let shown = word.trim_end();
        if let Some((kind, length)) = recognise(shown) {
            found.push(Entity {
                kind,
                offset,
                length,
            });
        }
        offset += word.encode_utf16().count();
    }
    let taken = |one: &Entity| {
        let others = formatted.entities.iter();
        let mut others =
            others.filter(|other| !matches!(other.kind, EntityKind::Bold | EntityKind::Italic));
        others.any(|other| {
            one.offset < other.offset + other.length && other.offset < one.offset + one.length
        })
    };
    found.retain(|one| !taken(one));
    formatted.entities.extend(found);
    formatted
        .entities
        .sort_by_key(|entity| (entity.offset, usize::MAX - entity.length));
}

/// What a word begins with, and how long that is.
fn recognise(word: &str) -> Option<(EntityKind, usize)> {
    let name_len = |text: &str| {
        text.bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count()
    };
    if let Some(rest) = word.strip_prefix('/') {
        let len = name_len(rest);
        let to = rest[len..]
            .strip_prefix('@')
            .map_or(0, |to| 1 + name_len(to));
        return (1..=64)
            .contains(&len)
            .then_some((EntityKind::BotCommand, 1 + len + to));
    }
    if let Some(rest) = word.strip_prefix('@') {
        let len = name_len(rest);
        return (3..=32)
            .contains(&len)
            .then_some((EntityKind::Mention, 1 + len));
    }
    let is_link = ["http://", "https://"]
        .iter()
        .any(|scheme| word.len() > scheme.len() && word.starts_with(scheme));
    is_link.then(|| (EntityKind::Url, word.encode_utf16().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_links_and_mentions_are_found() {
        let text = plain("/start@my_bot \u{e9}\u{1f600} https://a.b/c?d=1 @name 1/2");
        let found: Vec<_> = text
            .entities
            .iter()
            .map(|entity| (entity.kind.clone(), entity.offset, entity.length))
            .collect();
        assert_eq!(
            found,
            [
                (EntityKind::BotCommand, 0, 13),
                (EntityKind::Url, 18, 17),
                (EntityKind::Mention, 36, 5),
            ]
        );
    }

    #[test]
    fn blank_ends_are_cut() {
        let mut text = html::parse("\n <b> a </b> \n").expect("HTML");
        trim(&mut text);
        assert_eq!(text.text, " a");
        assert_eq!((text.entities[0].offset, text.entities[0].length), (0, 2));
        assert_eq!(plain(" \n ").text, "");
    }
}
