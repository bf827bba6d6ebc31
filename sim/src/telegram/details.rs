//! What a message shows beside its text and its file: who wrote it, what it replies to, which
//! words stand out, its buttons. Data centres hand out a little of it, the Bot API all, in whose
//! form it is kept.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::ChatId;

/// What a message shows beside its text and its file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// The user or bot who wrote it; `None` for the chat itself: a channel, or the other side of a
    /// private chat.
    pub sender: Option<i64>,
    /// Words that stand out, by their place in the text or caption.
    pub entities: Vec<Entity>,
    /// The message of the same chat that it replies to.
    pub reply_to: Option<i32>,
    /// The topic it belongs to.
    pub thread_id: Option<i32>,
    /// It may be neither forwarded nor saved.
    pub protected: bool,
    /// The buttons below it, row by row.
    pub keyboard: Vec<Vec<Button>>,
    /// Where it comes from, if it was forwarded.
    pub forwarded: Option<ForwardOrigin>,
    /// When it was changed last, in Unix seconds.
    pub edited: Option<i64>,
    /// How often it was changed.
    pub edits: u32,
    /// Which link is shown as a picture, as the bot said it.
    pub link_preview: Option<Value>,
}

/// A part of a text that stands out. Offsets and lengths are in UTF-16 code units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// In which way.
    #[serde(flatten)]
    pub kind: EntityKind,
    /// Where it begins.
    pub offset: usize,
    /// How long it is.
    pub length: usize,
}

/// How a part of a text stands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EntityKind {
    /// `<b>`
    Bold,
    /// `<i>`
    Italic,
    /// `<u>`
    Underline,
    /// `<s>`
    Strikethrough,
    /// `<tg-spoiler>`
    Spoiler,
    /// `<code>`
    Code,
    /// `<pre>`
    Pre {
        /// The programming language.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
    },
    /// `<blockquote>`
    Blockquote,
    /// `<blockquote expandable>`
    ExpandableBlockquote,
    /// `<a>`
    TextLink {
        /// Where it leads.
        url: String,
    },
    /// A link that is its own text.
    Url,
    /// A `/command`.
    BotCommand,
    /// A `@name`.
    Mention,
}

/// A button of an inline keyboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What stands on it.
    pub text: String,
    /// What it does.
    #[serde(flatten)]
    pub action: ButtonAction,
}

/// What a button does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ButtonAction {
    /// It tells the bot these 1 to 64 bytes.
    CallbackData(String),
    /// It opens a link.
    Url(String),
    /// It copies a text.
    CopyText {
        /// The text.
        text: String,
    },
}

/// Where a forwarded message comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum ForwardOrigin {
    /// A user or a bot wrote it.
    User {
        /// Who.
        sender: i64,
        /// When, in Unix seconds.
        date: i64,
    },
    /// A user wrote it who does not let others see who that is.
    HiddenUser {
        /// The user's name.
        name: String,
        /// When, in Unix seconds.
        date: i64,
    },
    /// It stood in a channel.
    Channel {
        /// Which one.
        chat_id: ChatId,
        /// Its number there.
        message_id: i32,
        /// When, in Unix seconds.
        date: i64,
    },
}

/// What a message is that is neither words nor a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Special {
    /// A poll.
    Poll {
        /// What is asked.
        question: String,
        /// What can be answered.
        options: Vec<String>,
    },
    /// Somebody's phone number.
    Contact {
        /// The number.
        phone_number: String,
        /// The name.
        first_name: String,
    },
    /// A place.
    Location {
        /// Degrees.
        latitude: f64,
        /// Degrees.
        longitude: f64,
    },
}

/// Something that happened in a chat and is told by a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Happening {
    /// Users joined.
    NewMembers {
        /// Who.
        users: Vec<i64>,
    },
    /// A user left.
    LeftMember {
        /// Who.
        user: i64,
    },
    /// The chat has another title.
    NewTitle {
        /// Which one.
        title: String,
    },
    /// A topic was opened.
    TopicCreated {
        /// Its name.
        name: String,
    },
    /// A message was pinned.
    Pinned {
        /// Which one.
        message_id: i32,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entities_and_buttons_are_kept_as_the_bot_api_writes_them() {
        let entity = json!({"type": "text_link", "url": "https://a.b/", "offset": 1, "length": 2});
        let read: Entity = serde_json::from_value(entity.clone()).expect("an entity");
        assert_eq!(
            read.kind,
            EntityKind::TextLink {
                url: "https://a.b/".to_owned()
            }
        );
        assert_eq!(serde_json::to_value(read).expect("JSON"), entity);
        let button = json!({"text": "Cancel", "callback_data": "c:1"});
        let read: Button = serde_json::from_value(button.clone()).expect("a button");
        assert_eq!(read.action, ButtonAction::CallbackData("c:1".to_owned()));
        assert_eq!(serde_json::to_value(read).expect("JSON"), button);
    }
}
