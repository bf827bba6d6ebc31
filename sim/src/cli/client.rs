//! The admin interface, as one user needs it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use telestream_sim::bot_api::events::{ChatMessage, Event};
use telestream_sim::bot_api::people::UserProfile;
use tokio_util::io::ReaderStream;

/// How long a request for events waits, in seconds.
const WAIT: u64 = 30;

/// How long any other request may take; a file is read twice by then.
const PATIENCE: Duration = Duration::from_hours(1);

/// A user's private chat with the bot.
#[derive(Clone)]
pub(super) struct Client {
    admin: Url,
    http: reqwest::Client,
    pub(super) user: i64,
}

impl Client {
    pub(super) fn new(admin: &Url, user: i64) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        Ok(Self {
            admin: admin.clone(),
            http: http.build().context("no HTTP client")?,
            user,
        })
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        let joined = self.admin.join(path);
        joined.with_context(|| format!("{} cannot be extended by {path}", self.admin))
    }

    /// Gives the user a name.
    pub(super) async fn introduce(&self, name: &str) -> anyhow::Result<()> {
        let profile = UserProfile {
            first_name: name.to_owned(),
            ..UserProfile::new(self.user)
        };
        let request = self.http.post(self.url("bot/users")?).json(&profile);
        answer(request).await.map(drop)
    }

    /// Sends words.
    pub(super) async fn say(&self, text: &str) -> anyhow::Result<()> {
        let message = json!({"from": self.user, "text": text});
        let request = self.http.post(self.url("bot/messages")?).json(&message);
        answer(request).await.map(drop)
    }

    /// Sends a file of made-up bytes.
    pub(super) async fn send_generated(
        &self,
        name: &str,
        size: u64,
        seed: u64,
        caption: &str,
    ) -> anyhow::Result<()> {
        let file = json!({"name": name, "size": size, "seed": seed});
        let message = json!({"from": self.user, "text": caption, "file": file});
        let request = self.http.post(self.url("bot/messages")?).json(&message);
        answer(request).await.map(drop)
    }

    /// Sends a file from disk, which is streamed.
    pub(super) async fn send_file(&self, path: &Path, caption: &str) -> anyhow::Result<()> {
        let file = tokio::fs::File::open(path).await;
        let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut url = self.url("bot/files")?;
        url.query_pairs_mut()
            .append_pair("from", &self.user.to_string())
            .append_pair("name", &name)
            .append_pair("caption", caption);
        let body = reqwest::Body::wrap_stream(ReaderStream::new(file));
        answer(self.http.put(url).body(body)).await.map(drop)
    }

    /// Presses a button.
    pub(super) async fn press(&self, message_id: i32, button: &str) -> anyhow::Result<()> {
        let press = json!({
            "from": self.user, "chatId": self.user, "messageId": message_id, "button": button,
        });
        let request = self.http.post(self.url("bot/presses")?).json(&press);
        answer(request).await.map(drop)
    }

    /// The number of the last event.
    pub(super) async fn last_event(&self) -> anyhow::Result<u64> {
        let told: Value = read(self.http.get(self.url("bot")?)).await?;
        told["lastEvent"].as_u64().context("no Bot API there")
    }

    /// What the chat shows now.
    pub(super) async fn shown(&self) -> anyhow::Result<Vec<ChatMessage>> {
        let url = self.url(&format!("bot/chats/{}", self.user))?;
        read(self.http.get(url)).await
    }

    /// What happened in the chat after an event; it waits for something, but not for ever.
    pub(super) async fn events(&self, after: u64) -> anyhow::Result<Vec<Event>> {
        self.events_within(after, WAIT).await
    }

    /// What has happened in the chat after an event up to now.
    pub(super) async fn events_so_far(&self, after: u64) -> anyhow::Result<Vec<Event>> {
        self.events_within(after, 0).await
    }

    async fn events_within(&self, after: u64, seconds: u64) -> anyhow::Result<Vec<Event>> {
        let mut url = self.url("bot/events")?;
        url.query_pairs_mut()
            .append_pair("after", &after.to_string())
            .append_pair("chatId", &self.user.to_string())
            .append_pair("waitSeconds", &seconds.to_string());
        read(self.http.get(url)).await
    }
}

/// What the admin interface says when it refuses.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

async fn answer(request: RequestBuilder) -> anyhow::Result<Response> {
    let answer = request.send().await.context("the stand-in is not there")?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    match answer.json().await {
        Ok(Refused { error }) => bail!(error),
        Err(_) => bail!("the stand-in answers {status}"),
    }
}

async fn read<T: DeserializeOwned>(request: RequestBuilder) -> anyhow::Result<T> {
    let answer = answer(request).await?;
    answer
        .json()
        .await
        .context("the stand-in answers strangely")
}
