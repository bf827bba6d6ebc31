//! `telestream-sim chat`: a person, or a script line by line, plays a user of the bot.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use regex::Regex;
use reqwest::Url;
use telestream_sim::bot_api::events::Event;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use super::client::Client;
use super::transcript::{Transcript, matches};

const HELP: &str = "\
what you type is sent, /commands too; and there is
    send FILE [CAPTION]   send a file
    press N               press a button of the last message that has some, by number or label
    wait REGEX            read on when the bot has said something that matches
    help, quit";

/// Plays a user of the bot at the terminal.
#[derive(Args)]
pub(crate) struct Chat {
    /// The admin interface of the stand-in.
    #[arg(long)]
    admin: Url,
    /// The user's number.
    #[arg(long)]
    user: i64,
    /// The user's name.
    #[arg(long)]
    name: Option<String>,
    /// How many seconds `wait` waits.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Say(&'a str),
    Send { file: &'a str, caption: &'a str },
    Press(&'a str),
    Wait(&'a str),
    Help,
    Quit,
}

fn parse(line: &str) -> Line<'_> {
    let line = line.trim();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match (word, rest.is_empty()) {
        ("", _) => Line::Nothing,
        ("send", false) => {
            let (file, caption) = rest.split_once(' ').unwrap_or((rest, ""));
            Line::Send { file, caption }
        }
        ("press", false) => Line::Press(rest),
        ("wait", false) => Line::Wait(rest),
        ("help", true) => Line::Help,
        ("quit" | "exit", true) => Line::Quit,
        _ => Line::Say(line),
    }
}

struct Terminal {
    client: Client,
    transcript: Transcript,
    /// The last event that was shown.
    seen: u64,
    patience: Duration,
}

/// Whether to read on.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    End,
}

impl Chat {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.admin, self.user)?;
        if let Some(name) = &self.name {
            client.introduce(name).await?;
        }
        let mut terminal = Terminal {
            seen: client.last_event().await?,
            client,
            transcript: Transcript::default(),
            patience: Duration::from_secs(self.timeout),
        };
        for message in terminal.client.shown().await? {
            println!("{}", terminal.transcript.message(&message));
        }
        let mut lines = BufReader::new(stdin()).lines();
        loop {
            let line = tokio::select! {
                line = lines.next_line() => line.context("cannot read what is typed")?,
                events = terminal.client.events(terminal.seen) => {
                    terminal.show(&events?);
                    continue;
                }
            };
            let next = match line {
                Some(line) => terminal.obey(parse(&line)).await?,
                None => Next::End,
            };
            if next == Next::End {
                let rest = terminal.client.events_so_far(terminal.seen).await?;
                terminal.show(&rest);
                return Ok(());
            }
        }
    }
}

impl Terminal {
    fn show(&mut self, events: &[Event]) {
        for event in events {
            println!("{}", self.transcript.event(event));
            self.seen = event.seq;
        }
    }

    async fn obey(&mut self, line: Line<'_>) -> anyhow::Result<Next> {
        let client = &self.client;
        let done = match line {
            Line::Nothing => Ok(()),
            Line::Quit => return Ok(Next::End),
            Line::Help => {
                println!("{HELP}");
                Ok(())
            }
            Line::Say(text) => client.say(text).await,
            Line::Send { file, caption } => client.send_file(Path::new(file), caption).await,
            Line::Press(button) => match self.transcript.button(button) {
                Some((message_id, button)) => client.press(message_id, &button.text).await,
                None => Err(anyhow::anyhow!("there is no such button")),
            },
            Line::Wait(pattern) => return self.wait(pattern).await,
        };
        if let Err(error) = done {
            println!("! {error:#}");
        }
        Ok(Next::Line)
    }

    async fn wait(&mut self, pattern: &str) -> anyhow::Result<Next> {
        let pattern = Regex::new(pattern).context("that is no regular expression")?;
        let patience = self.patience;
        let waiting = async {
            loop {
                let events = self.client.events(self.seen).await?;
                self.show(&events);
                if events.iter().any(|event| matches(event, &pattern)) {
                    return anyhow::Ok(Next::Line);
                }
            }
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(found) => found,
            Err(_) => bail!("the bot said nothing that matches within {patience:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_words_or_a_command() {
        for (line, meant) in [
            ("  ", Line::Nothing),
            ("hello there", Line::Say("hello there")),
            ("/start", Line::Say("/start")),
            ("send", Line::Say("send")),
            (
                "send a.bin what it is",
                Line::Send {
                    file: "a.bin",
                    caption: "what it is",
                },
            ),
            ("press 2", Line::Press("2")),
            ("wait https?://", Line::Wait("https?://")),
            ("help", Line::Help),
            ("help me", Line::Say("help me")),
            ("quit", Line::Quit),
        ] {
            assert_eq!(parse(line), meant, "{line:?}");
        }
    }
}
