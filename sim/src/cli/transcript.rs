//! A chat as lines of text, and the buttons that can be pressed in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::Regex;
use telestream_sim::bot_api::events::{Author, ChatMessage, Event, Happened};
use telestream_sim::telegram::details::{Button, ButtonAction};

/// What has been shown of a chat.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// The buttons that there are, by message.
    keyboards: BTreeMap<i32, Vec<Button>>,
}

impl Transcript {
    /// The lines of a message that stands there already.
    pub(super) fn message(&mut self, message: &ChatMessage) -> String {
        self.note(message);
        let time = clock(message.date * 1000);
        format!("{time} {}", spoken(message, ""))
    }

    /// The lines of an event.
    pub(super) fn event(&mut self, event: &Event) -> String {
        let time = clock(i64::try_from(event.time).unwrap_or(i64::MAX));
        let told = match &event.what {
            Happened::Sent { message, .. } => {
                self.note(message);
                spoken(message, "")
            }
            Happened::Edited { message, .. } => {
                self.note(message);
                spoken(message, &format!(" (edited {})", message.edits))
            }
            Happened::Deleted { message_id, .. } => {
                self.keyboards.remove(message_id);
                format!("#{message_id} is deleted")
            }
            Happened::Pressed {
                message_id, data, ..
            } => format!(
                "you press {:?} of #{message_id}",
                self.label(*message_id, data)
            ),
            Happened::Answered { text, alert, .. } => match (text.is_empty(), alert) {
                (true, _) => "bot takes note".to_owned(),
                (false, false) => format!("bot answers: {text}"),
                (false, true) => format!("bot alerts: {text}"),
            },
            Happened::Action { action } => format!("bot is busy: {action}"),
            Happened::Blocked { blocked: true, .. } => "you block the bot".to_owned(),
            Happened::Blocked { blocked: false, .. } => "you unblock the bot".to_owned(),
        };
        format!("{time} {told}")
    }

    fn note(&mut self, message: &ChatMessage) {
        let buttons: Vec<_> = message.all_buttons().cloned().collect();
        if buttons.is_empty() {
            self.keyboards.remove(&message.message_id);
        } else {
            self.keyboards.insert(message.message_id, buttons);
        }
    }

    fn label(&self, message_id: i32, data: &str) -> String {
        let buttons = self.keyboards.get(&message_id).into_iter().flatten();
        let mut pressed = buttons.filter(
            |button| matches!(&button.action, ButtonAction::CallbackData(told) if told == data),
        );
        pressed
            .next()
            .map_or(data, |button| &button.text)
            .to_owned()
    }

    /// The button of this number, counted from 1, of the last message with buttons; or the one with
    /// this label.
    pub(super) fn button(&self, named: &str) -> Option<(i32, Button)> {
        let (message_id, buttons) = self.keyboards.last_key_value()?;
        let number = named.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let by_number = number.and_then(|index| buttons.get(index));
        let by_label = || buttons.iter().find(|button| button.text == named);
        Some((*message_id, by_number.or_else(by_label)?.clone()))
    }
}

/// Whether an event is something that the bot says and that matches: words, or where a button leads.
pub(super) fn matches(event: &Event, pattern: &Regex) -> bool {
    match &event.what {
        Happened::Answered { text, .. } => pattern.is_match(text),
        what => what.by_bot().is_some_and(|message| {
            let mut links = message
                .all_buttons()
                .filter_map(|button| match &button.action {
                    ButtonAction::Url(url) => Some(url),
                    _ => None,
                });
            pattern.is_match(&message.text)
                || pattern.is_match(&message.html)
                || links.any(|url| pattern.is_match(url))
        }),
    }
}

fn clock(milliseconds: i64) -> String {
    let at = Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = at.to_zoned(TimeZone::UTC);
    at.strftime("%H:%M:%S").to_string()
}

/// A message, with its buttons below it.
fn spoken(message: &ChatMessage, mark: &str) -> String {
    let who = match message.author {
        Author::Bot => "bot",
        Author::User(_) => "you",
        Author::Chat => "channel",
    };
    let mut out = format!("{who} #{}{mark}:", message.message_id);
    if let Some(reply_to) = message.reply_to {
        let _ = write!(out, " (to #{reply_to})");
    }
    if let Some(file) = &message.file {
        let name = file.name.as_deref().unwrap_or("without a name");
        let _ = write!(out, " [{:?} {name}, {} bytes]", file.kind, file.size);
    }
    if let Some(special) = &message.special {
        let _ = write!(out, " [{special:?}]");
    }
    if let Some(happening) = &message.happening {
        let _ = write!(out, " [{happening:?}]");
    }
    let mut lines = message.text.lines();
    if let Some(first) = lines.next() {
        let _ = write!(out, " {first}");
    }
    for line in lines {
        let _ = write!(out, "\n    {line}");
    }
    for (index, button) in message.all_buttons().enumerate() {
        let _ = write!(out, "\n    [{}] {}", index + 1, button.text);
        if let ButtonAction::Url(url) = &button.action {
            let _ = write!(out, " -> {url}");
        }
    }
    out
}
