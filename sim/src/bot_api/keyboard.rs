//! `reply_markup`: the buttons below a message, and what is wrong with them.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::Refusal;
use super::params::Params;
use crate::telegram::details::{Button, ButtonAction};

/// The most bytes of a button's `callback_data`.
const MAX_DATA: usize = 64;

/// The most buttons of a keyboard.
const MAX_BUTTONS: usize = 100;

#[derive(Deserialize)]
struct Markup {
    inline_keyboard: Option<Vec<Vec<Map<String, Value>>>>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Which markups a method takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Buttons below the message.
    Inline,
    /// Those, or what is done to the user's own keyboard, which messages do not show.
    Any,
}

/// The inline keyboard that a call gives; empty if it gives none.
pub(super) fn read(params: &Params, takes: Takes) -> Result<Vec<Vec<Button>>, Refusal> {
    let markup: Option<Markup> = params
        .json("reply_markup")
        .map_err(|_| Refusal::bad("can't parse reply keyboard markup JSON object"))?;
    let Some(markup) = markup else {
        return Ok(Vec::new());
    };
    let Some(rows) = markup.inline_keyboard else {
        let known = ["keyboard", "remove_keyboard", "force_reply"];
        let is_known = known.iter().any(|name| markup.other.contains_key(*name));
        return match takes {
            Takes::Any if is_known || markup.other.is_empty() => Ok(Vec::new()),
            Takes::Inline if markup.other.is_empty() => Ok(Vec::new()),
            Takes::Inline => Err(Refusal::bad("inline keyboard expected")),
            Takes::Any => Err(Refusal::bad("object expected as reply markup")),
        };
    };
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().map(button).collect::<Result<Vec<_>, _>>())
        .filter(|row| !matches!(row, Ok(buttons) if buttons.is_empty()))
        .collect::<Result<Vec<_>, _>>()?;
    if rows.iter().map(Vec::len).sum::<usize>() > MAX_BUTTONS {
        return Err(Refusal::bad("reply markup is too long"));
    }
    Ok(rows)
}

fn button(fields: Map<String, Value>) -> Result<Button, Refusal> {
    let wrong = |what| Refusal::bad(format_args!("can't parse inline keyboard button: {what}"));
    let text = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(format!("Field \"{name}\" must be of type String"))),
    };
    let label = text("text")?;
    let label = label.ok_or_else(|| wrong("Can't find field \"text\"".to_owned()))?;
    if label.trim().is_empty() {
        return Err(Refusal::bad(
            "inline keyboard button text must be non-empty",
        ));
    }
    let action = if let Some(url) = text("url")? {
        if !is_link(&url) {
            return Err(Refusal::bad(format_args!(
                "inline keyboard button URL '{url}' is invalid: Wrong HTTP URL"
            )));
        }
        ButtonAction::Url(url)
    } else if let Some(data) = text("callback_data")? {
        if data.is_empty() || data.len() > MAX_DATA {
            return Err(Refusal::bad("BUTTON_DATA_INVALID"));
        }
        ButtonAction::CallbackData(data)
    } else if let Some(copied) = fields.get("copy_text") {
        let text = copied["text"].as_str().unwrap_or_default().to_owned();
        if !(1..=256).contains(&text.encode_utf16().count()) {
            return Err(Refusal::bad("BUTTON_COPY_TEXT_INVALID"));
        }
        ButtonAction::CopyText { text }
    } else {
        return Err(wrong(
            "Text buttons are unallowed in the inline keyboard".to_owned(),
        ));
    };
    Ok(Button {
        text: label,
        action,
    })
}

/// Whether it leads anywhere; the real service wants a dot in the host's name.
fn is_link(url: &str) -> bool {
    if url.starts_with("tg://") {
        return true;
    }
    let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"));
    let host = rest.unwrap_or(url).split(['/', '?', '#']).next();
    host.is_some_and(|host| host.contains('.') && !host.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keyboard(markup: Value) -> Result<Vec<Vec<Button>>, Refusal> {
        let mut values = Map::new();
        values.insert("reply_markup".to_owned(), markup);
        read(&values.into(), Takes::Inline)
    }

    #[test]
    fn buttons_are_read_row_by_row() {
        let markup = json!({"inline_keyboard": [
            [{"text": "a", "callback_data": "1"}, {"text": "b", "url": "https://a.b/c"}],
            [],
            [{"text": "c", "copy_text": {"text": "x"}}],
        ]});
        let rows = keyboard(markup.clone()).expect("buttons");
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(keyboard(json!(markup.to_string())), Ok(rows), "as a text");
    }

    #[test]
    fn what_is_wrong_with_a_button_is_told() {
        for (button, told) in [
            (
                json!({"text": "a", "callback_data": "x".repeat(65)}),
                "BUTTON_DATA_INVALID",
            ),
            (
                json!({"text": "a", "callback_data": ""}),
                "BUTTON_DATA_INVALID",
            ),
            (
                json!({"text": "a", "url": "http://localhost:80/x"}),
                "inline keyboard button URL 'http://localhost:80/x' is invalid: Wrong HTTP URL",
            ),
            (
                json!({"text": " ", "callback_data": "x"}),
                "inline keyboard button text must be non-empty",
            ),
            (
                json!({"text": "a"}),
                "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
            ),
        ] {
            let refused = keyboard(json!({"inline_keyboard": [[button]]}));
            assert_eq!(refused, Err(Refusal::bad(told)));
        }
        let other = keyboard(json!({"keyboard": [["a"]]}));
        assert_eq!(other, Err(Refusal::bad("inline keyboard expected")));
    }
}
