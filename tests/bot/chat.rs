//! People who talk to the bot.

use std::time::Duration;

use serde_json::{Value, json};
use telestream_sim::{
    bot_api::{
        BotApi,
        events::{Author, ChatMessage, Event, Happened},
        people::{ChatKind, ChatProfile, UserProfile},
        player::{UserFile, UserMessage},
    },
    telegram::ids::ChatId,
};

use crate::world::{CHANNEL, MIB, World};

/// Who is let in, by configuration.
pub const ANN: i64 = 1_001;
/// Somebody else who is let in.
pub const BEN: i64 = 1_002;
/// Who looks after the bot.
pub const EVE: i64 = 9_001;
/// Nobody who is known.
pub const MALLORY: i64 = 6_666;

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The product with its bot, and people who may talk to it.
pub async fn install(name: &str, change: Value) -> World {
    install_with(name, json!({"groupId": CHANNEL}), change).await
}

/// The same, with other values of the bot.
pub async fn install_with(name: &str, bot: Value, mut change: Value) -> World {
    change["bot"] = bot;
    let world = World::install_with(name, move |sim| {
        let mut values = change;
        let bot = values["bot"].as_object_mut().expect("an object");
        bot.insert("token".into(), json!(sim.bot().token()));
        bot.insert("apiUrl".into(), json!(sim.bot().url()));
        bot.entry("allowedUsers").or_insert(json!([ANN, BEN]));
        bot.entry("adminUsers").or_insert(json!([EVE]));
        values
    })
    .await;
    let bot = world.sim.bot();
    bot.add_chat(ChatProfile::new(
        ChatId(CHANNEL),
        ChatKind::Channel,
        "Files",
    ))
    .unwrap();
    for (id, name, language) in [
        (ANN, "Ann", "en"),
        (BEN, "Ben", "de"),
        (EVE, "Eve", "en"),
        (MALLORY, "Mallory", "en"),
    ] {
        let profile = UserProfile {
            first_name: name.to_owned(),
            language_code: Some(language.to_owned()),
            ..UserProfile::new(id)
        };
        bot.add_user(profile).unwrap();
    }
    world
}

/// A person at the private chat with the bot.
pub struct Person {
    pub id: i64,
    bot: BotApi,
}

impl Person {
    /// The person of that id, who has not said anything yet.
    pub fn new(world: &World, id: i64) -> Self {
        Self {
            id,
            bot: world.sim.bot(),
        }
    }

    /// Where what happens from now on begins.
    pub fn last_event(&self) -> u64 {
        self.bot.last_event()
    }

    pub fn chat_id(&self) -> ChatId {
        ChatId(self.id)
    }

    /// Sends a document of made-up bytes; the number of its message.
    pub async fn send_file(&self, name: &str, size: u64) -> i32 {
        // The same name is the same file.
        let seed = name.bytes().fold(7_u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        self.send(UserMessage::file(
            self.id,
            UserFile::generated(name, size, seed),
        ))
        .await
    }

    pub async fn send(&self, message: UserMessage) -> i32 {
        self.bot.send(message).await.unwrap().id
    }

    pub async fn say(&self, text: &str) -> i32 {
        self.send(UserMessage::text(self.id, text)).await
    }

    /// Says something, and returns the answer: the next new message of the bot.
    pub async fn ask(&self, text: &str) -> ChatMessage {
        let before = self.bot.last_event();
        self.say(text).await;
        self.next_message(before).await
    }

    /// Says something, and returns the answer that holds these words: something else may be said
    /// before it.
    pub async fn hears(&self, text: &str, words: &str) -> ChatMessage {
        let before = self.bot.last_event();
        self.say(text).await;
        self.sees(before, words).await
    }

    /// The next new message of the bot in the private chat.
    pub async fn next_message(&self, after: u64) -> ChatMessage {
        self.wait(after, "a message of the bot", |event| match &event.what {
            Happened::Sent { message, .. } => message.author == Author::Bot,
            _ => false,
        })
        .await
    }

    /// The first message of the bot, new or changed, that says so.
    pub async fn sees(&self, after: u64, words: &str) -> ChatMessage {
        self.wait(after, words, |event| {
            event
                .what
                .by_bot()
                .is_some_and(|message| message.text.contains(words))
        })
        .await
    }

    /// The message that brings the link of a file.
    pub async fn gets(&self, after: u64, name: &str) -> ChatMessage {
        self.wait(after, name, |event| {
            let message = event.what.by_bot();
            message.is_some_and(|message| {
                message.text.contains(name) && message.text.contains("CRC32C")
            })
        })
        .await
    }

    async fn wait(&self, after: u64, what: &str, is_it: impl Fn(&Event) -> bool) -> ChatMessage {
        let chat = self.chat_id();
        let found = self
            .bot
            .wait_for(after, PATIENCE, |event| {
                event.chat_id == chat && is_it(event)
            })
            .await;
        let event = found.unwrap_or_else(|error| panic!("{what}: {error}\n{}", self.transcript()));
        event.what.message().expect("a message").clone()
    }

    /// Presses a button; what pops up.
    pub async fn press(&self, message: &ChatMessage, button: &str) -> String {
        self.press_as(self.id, message, button).await
    }

    /// Somebody else presses it, as can be in a group, or with a client of their own.
    pub async fn press_as(&self, user: i64, message: &ChatMessage, button: &str) -> String {
        let before = self.bot.last_event();
        let data = match self
            .bot
            .press(message.chat_id, message.message_id, user, button)
        {
            Ok(query) => query.0,
            Err(_) => {
                self.bot
                    .press_forged(user, message.chat_id, message.message_id, button)
                    .unwrap()
                    .0
            }
        };
        let answered = self
            .bot
            .wait_for(
                before,
                PATIENCE,
                |event| matches!(&event.what, Happened::Answered { query, .. } if *query == data),
            )
            .await
            .expect("a press is answered");
        match answered.what {
            Happened::Answered { text, .. } => text,
            _ => unreachable!("it was looked for"),
        }
    }

    /// What the chat shows.
    pub fn messages(&self) -> Vec<ChatMessage> {
        self.bot.chat(self.chat_id())
    }

    /// The new messages of the bot that hold a link.
    pub fn rings(&self) -> usize {
        let rings = self.messages();
        rings
            .iter()
            .filter(|message| message.author == Author::Bot && message.text.contains("CRC32C"))
            .count()
    }

    /// The link in a message.
    pub fn link(message: &ChatMessage) -> String {
        let html = &message.html;
        let start = html
            .find("http")
            .unwrap_or_else(|| panic!("no link: {html}"));
        let end = html[start..]
            .find(['<', '"', ' ', '\n'])
            .unwrap_or(html.len() - start);
        html[start..start + end].replace("&amp;", "&")
    }

    /// What happened in the chat, as somebody would tell it.
    pub fn transcript(&self) -> String {
        let events = self.bot.events(0);
        let of_chat = events
            .iter()
            .filter(|event| event.chat_id == self.chat_id());
        let lines: Vec<_> = of_chat.map(|event| format!("{:?}", event.what)).collect();
        lines.join("\n")
    }
}

/// Downloads a link: its status and length.
pub async fn download(link: &str) -> (u16, u64) {
    let response = reqwest::get(link).await.unwrap();
    let status = response.status().as_u16();
    (status, response.bytes().await.unwrap().len() as u64)
}

/// The size of most files here.
pub const SMALL: u64 = MIB;
