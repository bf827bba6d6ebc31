//! A whole conversation, compared with one that reads like a chat (`tests/data/chat.txt`).
//!
//! What differs each time (links, checksums, times, rates) is put in brackets. After a change that is
//! meant, `UPDATE_TRANSCRIPT=1` writes the file anew.

use std::{collections::HashMap, fmt::Write as _};

use serde_json::json;
use telestream_sim::{
    bot_api::{
        BotApi,
        events::{Author, ChatMessage, Happened},
        player::{UserFile, UserMessage},
    },
    telegram::{
        details::{Button, ButtonAction},
        ids::ChatId,
    },
};

use crate::{
    chat::{ANN, Person, SMALL, install},
    support,
    world::{MIB, World},
};

/// Without it, files wait.
const CONTROLLER: &str = "telestream-controller";

/// What stands for how far a file is.
const PROGRESS: &str = "[progress]";

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_as_it_is_written_down() {
    let world = install("bot-transcript", json!({})).await;
    let ann = Person::new(&world, ANN);
    let begin = ann.last_event();
    converse(&world, &ann).await;
    let told = tell(&world.sim.bot(), begin, ann.chat_id());
    let path = support::root().join("tests/data/chat.txt");
    if std::env::var_os("UPDATE_TRANSCRIPT").is_some() {
        std::fs::write(&path, &told).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(told, written, "the chat was:\n{told}");
}

async fn converse(world: &World, ann: &Person) {
    ann.ask("/start").await;
    ann.ask("hello").await;
    // A file moves, slowly enough to be watched.
    world.set_rate(Some(3 * MIB));
    let before = ann.last_event();
    ann.send_file("holiday.mp4", 24 * MIB).await;
    ann.sees(before, "▰").await;
    world.set_rate(None);
    let result = ann.sees(before, "CRC32C").await;
    ann.press(&result, "Revoke").await;
    let asked = ann.sees(before, "Take this link back?").await;
    ann.press(&asked, "Yes, revoke").await;
    // A renamed file. While nobody takes jobs, small files too are seen to wait.
    world.scale(CONTROLLER, 0).await;
    let before = ann.last_event();
    let file = UserFile::generated("IMG_0001.pdf", SMALL, 31);
    ann.send(UserMessage::file(ann.id, file).with_caption("Invoice May"))
        .await;
    ann.sees(before, "Invoice May.pdf").await;
    world.scale(CONTROLLER, 1).await;
    ann.sees(before, "CRC32C").await;
    // An album.
    world.scale(CONTROLLER, 0).await;
    let before = ann.last_event();
    for number in 1..=2 {
        let file = UserFile::generated(&format!("page{number}.png"), 300_000, number);
        ann.send(UserMessage::file(ann.id, file).in_album(5)).await;
    }
    ann.sees(before, "page2.png").await;
    world.scale(CONTROLLER, 1).await;
    ann.sees(before, "files are stored").await;
    // Second thoughts.
    world.scale(CONTROLLER, 0).await;
    let before = ann.last_event();
    ann.send_file("mistake.iso", 24 * MIB).await;
    let status = ann.sees(before, "mistake.iso").await;
    ann.press(&status, "Cancel").await;
    ann.sees(before, "cancelled").await;
    ann.ask("/status").await;
    ann.ask("/quota").await;
}

/// What happened, as a chat reads. How often progress is shown is a matter of time: an edit that shows
/// nothing else is not told.
fn tell(bot: &BotApi, begin: u64, chat: ChatId) -> String {
    let mut told = String::new();
    let mut shown: HashMap<i32, (String, Vec<Button>)> = HashMap::new();
    let events = bot.events(begin);
    for event in events.iter().filter(|event| event.chat_id == chat) {
        match &event.what {
            Happened::Sent { message, .. } | Happened::Edited { message, .. } => {
                let who = match (message.author, &event.what) {
                    (Author::Bot, Happened::Sent { .. }) => "bot",
                    (Author::Bot, _) => "bot, changing its message",
                    _ => "Ann",
                };
                let text = block(message);
                let buttons = message.all_buttons().cloned().collect();
                let is_progress =
                    matches!(event.what, Happened::Edited { .. }) && text.contains(PROGRESS);
                let before = shown.insert(message.message_id, (text.clone(), buttons));
                if !is_progress && before.is_none_or(|(before, _)| before != text) {
                    let _ = writeln!(told, "{who}:\n{text}");
                }
            }
            Happened::Pressed {
                data,
                message_id,
                query,
                ..
            } => {
                let buttons = shown.get(message_id).map(|(_, buttons)| &buttons[..]);
                let _ = writeln!(told, "Ann presses [{}]\n", label(buttons, data));
                // It pops up before or after a message changes: a matter of time.
                let answer = events.iter().find_map(|event| match &event.what {
                    Happened::Answered {
                        query: to, text, ..
                    } if to == query => Some(text),
                    _ => None,
                });
                if let Some(text) = answer.filter(|text| !text.is_empty()) {
                    let _ = writeln!(told, "pops up: {text}\n");
                }
            }
            _ => {}
        }
    }
    told
}

fn label<'a>(buttons: Option<&'a [Button]>, wanted: &str) -> &'a str {
    let found = buttons.into_iter().flatten().find(
        |button| matches!(&button.action, ButtonAction::CallbackData(data) if data == wanted),
    );
    found.map_or("what no button says", |button| &button.text)
}

fn block(message: &ChatMessage) -> String {
    let mut text = String::new();
    if let Some(file) = &message.file {
        let name = file.name.as_deref().unwrap_or("without a name");
        let _ = writeln!(
            text,
            "    [{} {name}, {} bytes]",
            format!("{:?}", file.kind).to_lowercase(),
            file.size
        );
    }
    for line in message.text.lines() {
        let _ = writeln!(text, "    {}", without_figures(line));
    }
    for row in &message.buttons {
        let labels: Vec<_> = row
            .iter()
            .map(|button| format!("[{}]", button.text))
            .collect();
        let _ = writeln!(text, "    {}", labels.join(" "));
    }
    text
}

/// A line without what differs each time.
fn without_figures(line: &str) -> String {
    if line.contains('▰')
        || line.contains('▱')
        || line == "looking for it at Telegram"
        || line.starts_with("queued: ")
    {
        return PROGRESS.to_owned();
    }
    // Whether it waits or moves already is a matter of time, too.
    let line = line.replace('🕓', "⏳");
    let mut words = Vec::new();
    for word in line.split(' ') {
        let is_url = word.starts_with("http");
        let is_checksum = word.len() == 8 && word.ends_with("==");
        let is_date = word.len() == 10 && word.matches('-').count() == 2 && word.starts_with("20");
        let is_time = word.len() == 5 && word.as_bytes()[2] == b':';
        words.push(match (is_url, is_checksum, is_date, is_time) {
            (true, ..) => "[link]",
            (_, true, ..) => "[checksum]",
            (_, _, true, _) => "[date]",
            (.., true) => "[time]",
            _ => word,
        });
    }
    words.join(" ")
}
