//! A bot as a client of the Bot API sees it: calls made with nothing but HTTP.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use telestream_sim::bot_api::BotApi;
use telestream_sim::bot_api::people::{ChatKind, ChatProfile};
use telestream_sim::telegram::ids::ChatId;
use telestream_sim::{Options, Sim};

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const USER: i64 = 7001;
pub const OTHER: i64 = 7002;
pub const PRIVATE: ChatId = ChatId(USER);
pub const CHANNEL: ChatId = ChatId(-1_001_234_567_890);
pub const GROUP: ChatId = ChatId(-1_001_000_000_077);

pub struct Bench {
    pub sim: Sim,
    pub bot: BotApi,
    pub client: reqwest::Client,
    dir: Option<tempfile::TempDir>,
}

impl Bench {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut bench = Self::in_dir(dir.path()).await;
        bench.dir = Some(dir);
        bench
    }

    /// With everything kept in a folder that outlives it.
    pub async fn in_dir(dir: &Path) -> Self {
        let mut options = Options::in_dir(dir);
        options.bot_api.webhook_pause = Duration::from_millis(20);
        let sim = Sim::start(options).await.expect("the stand-in starts");
        Self {
            bot: sim.bot(),
            sim,
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            dir: None,
        }
    }

    /// A channel and a group that the bot runs.
    pub fn with_chats(self) -> Self {
        for profile in [
            ChatProfile::new(CHANNEL, ChatKind::Channel, "Files"),
            ChatProfile::new(GROUP, ChatKind::Supergroup, "Friends"),
        ] {
            self.bot.add_chat(profile).expect("a chat");
        }
        self
    }

    /// Calls a method; the whole answer.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).await.expect("an answer")
    }

    pub async fn try_call(&self, method: &str, params: Value) -> reqwest::Result<Value> {
        let url = format!("{}/bot{}/{method}", self.bot.url(), self.bot.token());
        let request = self.client.post(url).json(&params);
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let answer: Value = answer.json().await?;
        if answer["ok"] == false {
            assert_eq!(answer["error_code"], status);
        } else {
            assert_eq!(status, 200);
        }
        Ok(answer)
    }

    /// Calls a method that is carried out; its result.
    pub async fn ok(&self, method: &str, params: Value) -> Value {
        let mut answer = self.call(method, params.clone()).await;
        assert_eq!(answer["ok"], true, "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// Calls a method that is refused; code and description.
    pub async fn refused(&self, method: &str, params: Value) -> (u64, String) {
        let answer = self.call(method, params.clone()).await;
        assert_eq!(answer["ok"], false, "{method} {params}: {answer}");
        let code = answer["error_code"].as_u64().expect("a code");
        let description = answer["description"].as_str().expect("a description");
        (code, description.to_owned())
    }

    /// Says something in the private chat; the message's number.
    pub async fn say(&self, text: &str) -> i64 {
        let params = json!({"chat_id": USER, "text": text});
        let sent = self.ok("sendMessage", params).await;
        sent["message_id"].as_i64().expect("a number")
    }

    /// Fetches and confirms what there is.
    pub async fn updates(&self) -> Vec<Value> {
        let updates = self.ok("getUpdates", json!({})).await;
        let updates = updates.as_array().expect("updates").clone();
        if let Some(last) = updates.last() {
            let next = last["update_id"].as_i64().expect("a number") + 1;
            let params = json!({"offset": next, "limit": 1});
            self.ok("getUpdates", params).await;
        }
        updates
    }
}
