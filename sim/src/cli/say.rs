//! `telestream-sim say`: a script sends one thing, and reads what the bot says until that is enough.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use regex::Regex;
use reqwest::Url;

use super::client::Client;
use super::transcript::{Transcript, matches};

/// Sends something as a user of the bot and prints the conversation. Fails if the bot does not say
/// in time what is waited for.
#[derive(Args)]
pub(crate) struct Say {
    /// The admin interface of the stand-in.
    #[arg(long)]
    admin: Url,
    /// The user's number.
    #[arg(long)]
    user: i64,
    /// The user's name.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    what: What,
    /// The file's caption.
    #[arg(long, default_value = "")]
    caption: String,
    /// The generated file's name.
    #[arg(long, default_value = "generated.bin")]
    file_name: String,
    /// What the generated file's bytes are made from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is waited for: a regular expression that something the bot says matches, or a link on
    /// a button.
    #[arg(long)]
    until: Option<Regex>,
    /// For how many seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

/// What is sent.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Words, or a /command.
    #[arg(long)]
    text: Option<String>,
    /// A file, which is streamed.
    #[arg(long)]
    file: Option<PathBuf>,
    /// A file of so many bytes, made up.
    #[arg(long, value_name = "SIZE")]
    generate: Option<u64>,
    /// Nothing, but a button is pressed: of the last message that has some, by number or label.
    #[arg(long, value_name = "BUTTON")]
    press: Option<String>,
}

impl Say {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.admin, self.user)?;
        if let Some(name) = &self.name {
            client.introduce(name).await?;
        }
        let mut seen = client.last_event().await?;
        let mut transcript = Transcript::default();
        self.act(&client, &mut transcript).await?;
        let reading = async {
            loop {
                let events = client.events(seen).await?;
                for event in &events {
                    println!("{}", transcript.event(event));
                    seen = event.seq;
                }
                let enough = |pattern| events.iter().any(|event| matches(event, pattern));
                // Without anything to wait for, what was sent is all there is to see.
                if self.until.as_ref().is_none_or(enough) {
                    return anyhow::Ok(());
                }
            }
        };
        let patience = Duration::from_secs(self.timeout);
        match tokio::time::timeout(patience, reading).await {
            Ok(read) => read,
            Err(_) => bail!("the bot said nothing that matches within {patience:?}"),
        }
    }

    async fn act(&self, client: &Client, transcript: &mut Transcript) -> anyhow::Result<()> {
        let What {
            text,
            file,
            generate,
            press,
        } = &self.what;
        if let Some(text) = text {
            client.say(text).await?;
        }
        if let Some(file) = file {
            client.send_file(file, &self.caption).await?;
        }
        if let Some(size) = generate {
            client
                .send_generated(&self.file_name, *size, self.seed, &self.caption)
                .await?;
        }
        if let Some(button) = press {
            for message in client.shown().await? {
                transcript.message(&message);
            }
            let Some((message_id, button)) = transcript.button(button) else {
                bail!("there is no button {button:?}");
            };
            client.press(message_id, &button.text).await?;
        }
        Ok(())
    }
}
