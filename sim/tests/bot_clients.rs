//! telegraf, a client of the Bot API that nobody here wrote, against the stand-in: it is why the
//! stand-in is believed. The users are played; what the bot tells them it has from its client.
//!
//! It is found in the folder that `TELESTREAM_CLIENTS` names, or that `dev/clients` makes.

mod bot;
mod installed;

use std::path::Path;
use std::time::Duration;

use bot::{Bench, CHANNEL, PRIVATE, USER};
use installed::folder;
use serde_json::{Value, json};
use telestream_sim::bot_api::events::{ChatMessage, Happened};
use telestream_sim::bot_api::faults::{Effect, Fault};
use telestream_sim::bot_api::player::{UserFile, UserMessage};
use tokio::process::{Child, Command};

/// How long an answer may take; the first one includes the client's start.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts the bot; it ends when it is dropped.
async fn telegraf(bench: &Bench, webhook: Value) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/telegraf/bot.js");
    let task = json!({
        "folder": folder().await,
        "url": bench.bot.url(),
        "token": bench.bot.token(),
        "channel": CHANNEL,
        "webhook": webhook,
    });
    Command::new("node")
        .arg(script)
        .arg(task.to_string())
        .kill_on_drop(true)
        .spawn()
        .expect("node runs")
}

impl Bench {
    /// Sends a message as the user, and waits for what the bot says next.
    async fn ask(&self, message: UserMessage) -> ChatMessage {
        let before = self.bot.last_event();
        self.bot.send(message).await.expect("sent");
        self.next(before, |_| true).await
    }

    /// What the bot says after an event in the private chat.
    async fn next(&self, after: u64, is_it: impl Fn(&ChatMessage) -> bool) -> ChatMessage {
        let said = self.bot.wait_for(after, PATIENCE, |event| {
            let message = event.what.by_bot();
            message.is_some_and(|message| message.chat_id == PRIVATE && is_it(message))
        });
        let said = said.await.expect("the bot says something");
        said.what.message().expect("a message").clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn telegraf_runs_a_bot_that_fetches_updates() {
    let bench = Bench::new().await.with_chats();
    let _running = telegraf(&bench, Value::Null).await;

    // It greets, with buttons; one is pressed
    let hello = bench.ask(UserMessage::text(USER, "/start")).await;
    assert_eq!(hello.html, format!("Hello, <b>User {USER}</b>"));
    assert_eq!(bench.bot.commands("default", "")[0].command, "start");
    let before = bench.bot.last_event();
    let query = bench
        .bot
        .press(PRIVATE, hello.message_id, USER, "Press")
        .expect("pressed");
    let edited = bench.next(before, |message| message.edits == 1).await;
    assert_eq!(edited.text, format!("pressed by {USER}"));
    assert!(edited.buttons.is_empty());
    let answered = bench
        .bot
        .events(before)
        .into_iter()
        .find_map(|event| match event.what {
            Happened::Answered {
                query, text, alert, ..
            } => Some((query, text, alert)),
            _ => None,
        });
    assert_eq!(answered, Some((query.0, "Pressed".to_owned(), true)));

    // It edits, and is refused
    let before = bench.bot.last_event();
    bench
        .bot
        .send(UserMessage::text(USER, "/edit"))
        .await
        .expect("sent");
    let told = bench
        .next(before, |message| message.text.contains("400"))
        .await;
    assert_eq!(
        told.text,
        "two: 400 Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message"
    );

    // It sends too much, waits, and sends again
    let effect = Effect::TooManyRequests { retry_after: 1 };
    bench
        .bot
        .add_fault(Fault::of_method("sendMessage", 1, effect));
    let told = bench.ask(UserMessage::text(USER, "/flood")).await;
    assert_eq!(told.text, "429 1");

    // It forwards, copies and downloads a file
    let file = UserFile::generated("r\u{e9}sum\u{e9}.pdf", 100_000, 5);
    let told = bench.ask(UserMessage::file(USER, file)).await;
    assert_eq!(told.text, "r\u{e9}sum\u{e9}.pdf 1 2 true 100000");
    assert!(told.reply_to.is_some());
    let shown = bench.bot.chat(CHANNEL);
    assert_eq!(
        (shown[0].forwarded.is_some(), shown[1].text.as_str()),
        (true, "a copy")
    );

    // It is blocked
    bench.bot.set_blocked(USER, true).expect("blocked");
    let told = bench
        .bot
        .wait_until(PATIENCE, |bot| bot.chat(CHANNEL).get(2).cloned());
    assert_eq!(told.await.expect("it is told").text, "now kicked");
    bench.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telegraf_runs_a_bot_that_is_brought_updates() {
    let bench = Bench::new().await.with_chats();
    let webhook = json!({"path": "/hook", "secret": "s3cret-Token_1"});
    let _running = telegraf(&bench, webhook).await;
    let hello = bench.ask(UserMessage::text(USER, "/start")).await;
    assert_eq!(hello.text, format!("Hello, User {USER}"));
    bench
        .bot
        .wait_until(PATIENCE, |bot| (bot.pending_updates() == 0).then_some(()))
        .await
        .expect("taken");
    let url = bench.bot.webhook_url().expect("a webhook");
    let forged = bench
        .client
        .post(url)
        .json(&json!({"update_id": 1}))
        .send()
        .await;
    assert_eq!(
        forged.expect("an answer").status(),
        403,
        "it checks the secret"
    );
    bench.sim.stop().await;
}
