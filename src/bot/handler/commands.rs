//! What users type.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use teloxide::types::InlineKeyboardMarkup;
use tracing::warn;

use super::{Handler, Speaker};
use crate::{
    api::{ConditionType, HumanDuration, TransferJob},
    bot::{
        access::{ByteCount, Limits},
        bot_api::Post,
        command::{Audience, Button, Command, CommandName},
        jobs::{self, JobError, Made, live_link, short_id, user_of},
        render::{self, Readers, button, keyboard},
        texts::{Args, Language, duration},
        view::{FileView, Kind},
    },
};

/// Links that a page shows.
const LINKS_PER_PAGE: usize = 5;

/// Days that links can be chosen to live.
pub(super) const LINK_DAYS: [u32; 4] = [1, 3, 7, 30];

/// The most transfers that are listed.
const MOST_LISTED: usize = 10;

impl Handler {
    pub(super) async fn command(&self, command: &Command, speaker: &Speaker) {
        if !speaker.role.is_of(command.name.audience()) {
            self.answer(speaker, "unknown-command", &Args::new()).await;
            return;
        }
        let done = match command.name {
            CommandName::Start => self.start(speaker).await,
            CommandName::Help => self.help(speaker).await,
            CommandName::Status => self.status(speaker).await,
            CommandName::Queue => self.queue(speaker).await,
            CommandName::Cancel => self.cancel_command(command, speaker).await,
            CommandName::Retry => self.retry_command(command, speaker).await,
            CommandName::MyLinks => self.my_links(speaker).await,
            CommandName::Revoke => self.revoke_command(command, speaker).await,
            CommandName::Extend => self.extend_command(command, speaker).await,
            CommandName::Quota => self.quota(speaker).await,
            CommandName::Settings => self.settings_command(speaker).await,
            CommandName::Users => self.users(speaker).await,
            CommandName::Allow => self.allow(command, speaker).await,
            CommandName::Deny => self.deny(command, speaker).await,
            CommandName::Limits => self.limits_command(command, speaker).await,
            CommandName::Drain => self.drain(command, speaker).await,
            CommandName::Stats => self.stats(speaker).await,
        };
        if let Err(error) = done {
            warn!(%error, command = command.name.word(), "a command failed");
            self.answer(speaker, "cluster-away", &Args::new()).await;
        }
    }

    async fn start(&self, speaker: &Speaker) -> Result<(), JobError> {
        let limits = self.limits(speaker.user);
        let args = Args::new()
            .text("size", ByteCount(limits.file_size).to_string())
            .text(
                "days",
                duration(self.link_ttl(speaker.user).get().as_secs()),
            );
        self.answer(speaker, "welcome", &args).await;
        Ok(())
    }

    async fn help(&self, speaker: &Speaker) -> Result<(), JobError> {
        let list = |audience| {
            let lines = CommandName::ALL
                .iter()
                .filter(|name| name.audience() == audience)
                .map(|name| format!("/{} — {}", name.word(), speaker.language.say(name.about())));
            lines.collect::<Vec<_>>().join("\n")
        };
        let args = Args::new().html("commands", list(Audience::Users));
        let mut html = speaker.language.tell("help", &args);
        if speaker.role.is_of(Audience::Admins) {
            let args = Args::new().html("commands", list(Audience::Admins));
            html = format!("{html}\n\n{}", speaker.language.tell("help-admin", &args));
        }
        self.say(speaker, html).await;
        Ok(())
    }

    async fn status(&self, speaker: &Speaker) -> Result<(), JobError> {
        let under_way = self.jobs.under_way(speaker.user);
        if under_way.is_empty() {
            self.answer(speaker, "nothing-under-way", &Args::new())
                .await;
            return Ok(());
        }
        let now = Timestamp::now();
        let mut lines = Vec::new();
        for job in under_way.iter().take(MOST_LISTED) {
            let view = self.view(job, now).await;
            let line = render::line(speaker.language, &view, Readers::User, now);
            lines.push(format!("{line}\n<code>{}</code>", short_id(&view.job)));
        }
        if under_way.len() > MOST_LISTED {
            let args = Args::new().number("count", under_way.len() - MOST_LISTED);
            lines.push(speaker.language.tell("and-more", &args));
        }
        let html = lines.join("\n\n");
        self.say(speaker, html).await;
        Ok(())
    }

    async fn queue(&self, speaker: &Speaker) -> Result<(), JobError> {
        let (own, all) = self.jobs.count(speaker.user);
        let waiting = self.jobs.under_way(speaker.user);
        let next = waiting.iter().find(|job| Kind::of(job) == Kind::Waiting);
        let args = Args::new().number("all", all).number("own", own);
        let mut html = speaker.language.tell("queue", &args);
        if let Some(job) = next {
            let now = Timestamp::now();
            let view = self.view(job, now).await;
            let line = render::line(speaker.language, &view, Readers::User, now);
            html = format!("{html}\n{line}");
        }
        self.say(speaker, html).await;
        Ok(())
    }

    async fn cancel_command(&self, command: &Command, speaker: &Speaker) -> Result<(), JobError> {
        let under_way = self.jobs.under_way(speaker.user);
        let word = command.words.first().map(String::as_str);
        let wanted: Vec<Arc<TransferJob>> = match (word, &under_way[..]) {
            (_, []) => {
                self.answer(speaker, "nothing-under-way", &Args::new())
                    .await;
                return Ok(());
            }
            (Some("all"), all) => all.to_vec(),
            (None, [one]) => vec![Arc::clone(one)],
            (None, many) => {
                self.offer(speaker, "cancel-which", many, Button::Cancel)
                    .await;
                return Ok(());
            }
            (Some(id), all) => all
                .iter()
                .filter(|job| is_called(job, id))
                .cloned()
                .collect(),
        };
        if wanted.is_empty() {
            self.answer(speaker, "no-such-file", &Args::new()).await;
            return Ok(());
        }
        let count = wanted.len();
        for job in wanted {
            match self.jobs.cancel(&job).await {
                Ok(()) | Err(JobError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        self.answer(speaker, "cancelling", &Args::new().number("count", count))
            .await;
        Ok(())
    }

    /// Lets the user choose among some jobs.
    async fn offer(
        &self,
        speaker: &Speaker,
        key: &str,
        jobs: &[Arc<TransferJob>],
        make: impl Fn(String) -> Button,
    ) {
        let rows = jobs.iter().take(MOST_LISTED).map(|job| {
            let label = render::shown_name(&crate::bot::view::name_of(job));
            vec![button(label, &make(job.name_any()))]
        });
        let post = Post {
            html: speaker.language.say(key),
            keyboard: keyboard(rows.collect()),
        };
        self.post(speaker.place, &post).await;
    }

    async fn retry_command(&self, command: &Command, speaker: &Speaker) -> Result<(), JobError> {
        let jobs = self.jobs.of_user(speaker.user).await?;
        let failed = |job: &&TransferJob| jobs::has(job, ConditionType::Failed);
        let found = match command.words.first() {
            Some(id) => jobs.iter().filter(failed).find(|job| is_called(job, id)),
            None => jobs.iter().find(failed),
        };
        let key = match found {
            None => "nothing-failed",
            Some(job) => self.retry(job).await?,
        };
        self.answer(speaker, key, &Args::new()).await;
        Ok(())
    }

    /// Tries a failed job again, under another name; the text that tells how that went.
    pub(super) async fn retry(&self, job: &TransferJob) -> Result<&'static str, JobError> {
        let Some(again) = jobs::again(job) else {
            return Ok("retried-too-often");
        };
        Ok(match self.jobs.make(&again).await? {
            Made::New(_) => "retrying",
            Made::Known(_) => "retried-already",
        })
    }

    async fn my_links(&self, speaker: &Speaker) -> Result<(), JobError> {
        let post = self.links_page(speaker, 0).await?;
        self.privately(speaker, &post).await;
        Ok(())
    }

    /// A page of the links that work.
    pub(super) async fn links_page(&self, speaker: &Speaker, page: u32) -> Result<Post, JobError> {
        let now = Timestamp::now();
        let jobs = self.jobs.of_user(speaker.user).await?;
        let linked: Vec<_> = jobs
            .iter()
            .filter(|job| live_link(job, now).is_some())
            .collect();
        let language = speaker.language;
        if linked.is_empty() {
            return Ok(Post {
                html: language.say("no-links"),
                keyboard: None,
            });
        }
        let pages = linked.len().div_ceil(LINKS_PER_PAGE);
        let page = usize::try_from(page).unwrap_or_default().min(pages - 1);
        let shown = linked
            .iter()
            .skip(page * LINKS_PER_PAGE)
            .take(LINKS_PER_PAGE);
        let (mut lines, mut rows) = (Vec::new(), Vec::new());
        for (index, job) in shown.enumerate() {
            let view = FileView::of(job, None, None, now);
            let number = page * LINKS_PER_PAGE + index + 1;
            let line = render::line(language, &view, Readers::User, now);
            lines.push(format!(
                "{number}. {line}\n<code>{}</code>",
                short_id(&view.job)
            ));
            let label = |key| format!("{number} {}", language.say(key));
            rows.push(vec![
                button(label("button-revoke"), &Button::Revoke(view.job.clone())),
                button(label("button-extend"), &Button::Extend(view.job)),
            ]);
        }
        let mut turn = Vec::new();
        for (to, arrow) in [
            (page.checked_sub(1), "‹"),
            (Some(page + 1).filter(|to| *to < pages), "›"),
        ] {
            if let Some(to) = to {
                let to = u32::try_from(to).unwrap_or_default();
                turn.push(button(arrow.to_owned(), &Button::Links(to)));
            }
        }
        if !turn.is_empty() {
            rows.push(turn);
        }
        let head = Args::new()
            .number("count", linked.len())
            .number("page", page + 1)
            .number("pages", pages);
        let head = language.tell("my-links", &head);
        Ok(Post {
            html: format!("{head}\n\n{}", lines.join("\n\n")),
            keyboard: keyboard(rows),
        })
    }

    /// The user's job whose link works and which the command names; the text to say if there is none.
    async fn linked(
        &self,
        command: &Command,
        speaker: &Speaker,
    ) -> Result<Result<TransferJob, &'static str>, JobError> {
        let Some(id) = command.words.first() else {
            return Ok(Err("which-link"));
        };
        let now = Timestamp::now();
        let jobs = self.jobs.of_user(speaker.user).await?;
        let found = jobs
            .into_iter()
            .find(|job| is_called(job, id) && live_link(job, now).is_some());
        Ok(found.ok_or("no-such-link"))
    }

    async fn revoke_command(&self, command: &Command, speaker: &Speaker) -> Result<(), JobError> {
        let key = match self.linked(command, speaker).await? {
            Err(key) => key,
            Ok(job) => {
                self.jobs.revoke(&job).await?;
                "revoked"
            }
        };
        self.answer(speaker, key, &Args::new()).await;
        Ok(())
    }

    async fn extend_command(&self, command: &Command, speaker: &Speaker) -> Result<(), JobError> {
        let job = match self.linked(command, speaker).await? {
            Err(key) => {
                self.answer(speaker, key, &Args::new()).await;
                return Ok(());
            }
            Ok(job) => job,
        };
        match self.extend(&job).await? {
            Some(job) => {
                let now = Timestamp::now();
                let view = FileView::of(&job, None, None, now);
                let post = render::result_of_one(speaker.language, &view, now);
                self.privately(speaker, &post).await;
            }
            None => {
                self.answer(speaker, "extended-enough", &self.longest())
                    .await;
            }
        }
        Ok(())
    }

    /// What texts say of the longest life of links.
    pub(super) fn longest(&self) -> Args {
        let longest = self.settings.links.longest.get().as_secs();
        Args::new().text("longest", duration(longest))
    }

    async fn quota(&self, speaker: &Speaker) -> Result<(), JobError> {
        let Limits {
            running,
            queued: limit,
            bytes_per_day,
            file_size,
            ..
        } = self.limits(speaker.user);
        let (queued, _) = self.jobs.count(speaker.user);
        let now = Timestamp::now();
        let bytes = self.with_day(speaker.user, |day| day.bytes(now)).await?;
        let args = Args::new()
            .number("queued", queued)
            .number("limit", limit)
            .text("bytes", ByteCount(bytes).to_string())
            .text("day", ByteCount(bytes_per_day).to_string())
            .text("size", ByteCount(file_size).to_string());
        let mut html = speaker.language.tell("quota", &args);
        if let Some(running) = running {
            let args = Args::new().number("running", running);
            html = format!("{html}\n{}", speaker.language.tell("quota-running", &args));
        }
        self.say(speaker, html).await;
        Ok(())
    }

    async fn settings_command(&self, speaker: &Speaker) -> Result<(), JobError> {
        let post = self.settings_post(speaker);
        self.privately(speaker, &post).await;
        Ok(())
    }

    /// What a user has chosen, and can choose.
    pub(super) fn settings_post(&self, speaker: &Speaker) -> Post {
        let member = self.members.member(speaker.user).unwrap_or_default();
        let ttl = self.link_ttl(speaker.user);
        let args = Args::new()
            .text("language", speaker.language.name())
            .text("days", duration(ttl.get().as_secs()));
        Post {
            html: speaker.language.tell("settings", &args),
            keyboard: self.settings_keyboard(speaker.language, member.language.as_deref(), ttl),
        }
    }

    fn settings_keyboard(
        &self,
        language: Language,
        chosen: Option<&str>,
        ttl: HumanDuration,
    ) -> Option<InlineKeyboardMarkup> {
        let mark = |is_chosen, label: String| {
            if is_chosen {
                format!("✓ {label}")
            } else {
                label
            }
        };
        let mut languages = vec![button(
            mark(chosen.is_none(), language.say("language-auto")),
            &Button::Speak(None),
        )];
        languages.extend(Language::ALL.map(|other| {
            let label = mark(chosen == Some(other.code()), other.name().to_owned());
            button(label, &Button::Speak(Some(other)))
        }));
        let days = LINK_DAYS
            .into_iter()
            .filter(|days| HumanDuration::from_days(*days) <= self.settings.links.longest)
            .map(|days| {
                let label = language.tell("days", &Args::new().number("days", days));
                let label = mark(ttl == HumanDuration::from_days(days), label);
                button(label, &Button::LinkDays(days))
            });
        keyboard(vec![languages, days.collect()])
    }

    /// A job as the user sees it.
    async fn view(&self, job: &TransferJob, now: Timestamp) -> FileView {
        let (place, live) = match Kind::of(job) {
            Kind::Waiting => (self.jobs.place(job).await, None),
            Kind::Running => (None, self.jobs.live(job).await),
            Kind::Over => (None, None),
        };
        FileView::of(job, place, live.as_ref(), now)
    }
}

/// Whether a user may mean that job by what they typed.
fn is_called(job: &TransferJob, id: &str) -> bool {
    let name = job.name_any();
    user_of(job).is_some() && (short_id(&name) == id || name == id)
}
