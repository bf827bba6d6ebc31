//! The Telegram chat: files become `TransferJob`s, and `TransferJob`s become messages.
//!
//! Two halves that meet in the `TransferJob`s alone, so that either may die at any time:
//!
//! - [`intake`] takes updates in, [`handler`] answers them: a file becomes a job before its update
//!   is confirmed.
//! - [`notifier`] looks at the jobs and tells their users: one status message for files that came
//!   together, and one new message when all of them are over.
//!
//! Beside them: [`bot_api`] is the Bot API with deadlines and errors by class, `pace` how often a
//! chat may be written to, [`jobs`] the jobs as the bot uses them, [`access`] who may do what and
//! how much, [`members`] what was decided about users at run time, [`command`], [`media`], [`view`],
//! [`render`] and [`texts`] the pure parts between a chat and a job.
//!
//! The bot reads and writes no file, runs nothing, and knows neither Object Storage nor MTProto. It
//! decides nothing about a transfer but that there is to be one, or not any more.

pub mod access;
pub mod bot_api;
pub mod command;
pub mod handler;
pub mod intake;
pub mod jobs;
pub mod media;
pub mod members;
pub mod metrics;
pub mod notifier;
mod pace;
pub mod render;
pub mod texts;
pub mod view;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, reflector},
};
use teloxide::types::{BotCommand, BotCommandScope, ChatId, Recipient};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    api::TransferJob,
    ops::{http::Health, metrics::Metrics},
    queue::Queue,
    unfinished_jobs,
};
use bot_api::{BotApi, BotToken, ChatError};
use command::{Audience, CommandName};
use handler::{Handler, HandlerSettings};
use intake::{Intake, IntakeError};
use jobs::Jobs;
use members::MemberBook;
use metrics::BotMetrics;
use notifier::Notifier;
use texts::Language;

/// What the bot is told.
pub struct BotSettings {
    /// The namespace of its jobs.
    pub namespace: String,
    /// The token with which it signs in.
    pub token: BotToken,
    /// The Bot API, if not Telegram's own.
    pub api_url: Option<String>,
    /// How updates come in.
    pub intake: Intake,
    /// The `ConfigMap` in which is kept what was decided about users.
    pub members: String,
    /// Everything about updates.
    pub handler: HandlerSettings,
    /// The queue, if there is one.
    pub queue: Option<Queue>,
}

/// The bot cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No updates can come in.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// There are no roots of trust for TLS.
    #[error("no client for the Bot API can be made: {0}")]
    Client(#[source] teloxide_http::Error),
}

/// Runs until `stop`.
///
/// # Errors
/// The token is refused, or an address cannot be listened on.
pub async fn run(
    settings: BotSettings,
    client: Client,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let figures = BotMetrics::new(&metrics);
    let api = BotApi::new(
        &settings.token,
        settings.api_url.as_deref(),
        figures.clone(),
    )
    .map_err(RunError::Client)?;
    let members = MemberBook::new(client.clone(), &settings.namespace, settings.members);
    let (members_read, mut members_ready) = watch::channel(false);
    let (unfinished, writer) = reflector::store();
    let jobs = Jobs::new(
        client.clone(),
        &settings.namespace,
        unfinished.clone(),
        settings.queue.clone(),
    );
    let wake = Arc::new(Notify::new());
    let watching = follow_jobs(
        Api::namespaced(client, &settings.namespace),
        writer,
        Arc::clone(&wake),
        &stop,
    );
    let working = async {
        // Nobody is refused, and nothing is said twice, for what is not known yet.
        let filled = async {
            drop(unfinished.wait_until_ready().await);
            drop(members_ready.wait_for(|is_ready| *is_ready).await);
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = filled => {}
        }
        let Some(name) = introduce(&api, &stop).await? else {
            return Ok(());
        };
        info!(bot = name, "ready");
        health.set_ready(true);
        let handler = Handler::new(
            settings.handler.clone(),
            &name,
            api.clone(),
            jobs.clone(),
            members.clone(),
            figures.clone(),
        );
        let notifier = Notifier::new(api.clone(), jobs.clone(), members.clone(), figures, wake);
        let admins = &settings.handler.guests.admins;
        let (taken_in, ()) = tokio::join!(
            async {
                let taken_in =
                    intake::run(&settings.intake, api.clone(), handler, &health, &stop).await;
                stop.cancel();
                taken_in
            },
            async {
                tokio::join!(
                    notifier.run(settings.queue, &stop),
                    register_commands(&api, admins.iter().copied(), &stop),
                );
            },
        );
        taken_in.map_err(RunError::from)
    };
    tokio::select! {
        result = working => result,
        () = async { tokio::join!(watching, members.follow(members_read, &stop)); } => Ok(()),
    }
}

/// Keeps the cache of jobs, and wakes whoever looks at it.
async fn follow_jobs(
    jobs: Api<kube::core::DeserializeGuard<TransferJob>>,
    writer: reflector::store::Writer<TransferJob>,
    wake: Arc<Notify>,
    stop: &CancellationToken,
) {
    let mut events = std::pin::pin!(unfinished_jobs::watch(jobs).reflect(writer));
    // What was begun is said to the end: the cache goes last.
    let ended = async {
        stop.cancelled().await;
        sleep(Duration::from_secs(20)).await;
    };
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            event = events.next() => match event {
                Some(Ok(_)) => wake.notify_one(),
                Some(Err(error)) => warn!(%error, "watching jobs failed; trying again"),
                None => return,
            },
        }
    }
}

/// The bot's user name, as soon as Telegram tells it.
async fn introduce(api: &BotApi, stop: &CancellationToken) -> Result<Option<String>, RunError> {
    let mut wait = Duration::from_millis(500);
    loop {
        match api.user_name().await {
            Ok(name) => return Ok(Some(name)),
            Err(ChatError::InvalidToken) => return Err(IntakeError::InvalidToken.into()),
            Err(error) => warn!(%error, "Telegram does not say who the bot is; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = sleep(wait) => {}
        }
        wait = (wait * 2).min(Duration::from_secs(15));
    }
}

/// Lets the chat show the commands: in each language, and to admins theirs too. It is tried until it
/// is done; the commands themselves work all the same.
async fn register_commands(
    api: &BotApi,
    admins: impl Iterator<Item = i64>,
    stop: &CancellationToken,
) {
    let mut wanted = Vec::new();
    let mut want = |scope: BotCommandScope, audiences: &[Audience]| {
        for language in Language::ALL {
            let code = (language != Language::English).then_some(language.code());
            wanted.push((scope.clone(), code, listed(language, audiences)));
        }
    };
    want(BotCommandScope::AllPrivateChats, &[Audience::Users]);
    want(BotCommandScope::AllGroupChats, &[Audience::Users]);
    for admin in admins {
        let chat_id = Recipient::Id(ChatId(admin));
        want(
            BotCommandScope::Chat { chat_id },
            &[Audience::Users, Audience::Admins],
        );
    }
    let mut patience = Duration::from_secs(1);
    for (scope, code, commands) in wanted {
        loop {
            let pause = match api
                .set_commands(commands.clone(), scope.clone(), code)
                .await
            {
                // To an admin who has not started the bot yet there is nobody to show them.
                Ok(()) | Err(ChatError::Unreachable(_) | ChatError::Refused(_)) => break,
                Err(ChatError::Flooded(pause)) => pause,
                Err(error) => {
                    warn!(%error, "commands were not registered; trying again");
                    patience = (patience * 2).min(Duration::from_mins(1));
                    patience
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }
}

fn listed(language: Language, audiences: &[Audience]) -> Vec<BotCommand> {
    CommandName::ALL
        .iter()
        .filter(|name| audiences.contains(&name.audience()))
        .map(|name| BotCommand::new(name.word(), language.say(name.about())))
        .collect()
}
