//! A file becomes a `TransferJob`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{ResourceExt as _, api::ObjectMeta};
use teloxide::types::Message;
use tracing::{info, warn};

use super::{Handler, Place, Postponed, Speaker};
use crate::{
    Class,
    api::{
        Destination, LinkSpec, Priority, Requester, RetrySpec, Source, TransferJob,
        TransferJobSpec, names,
    },
    bot::{
        access::{ByteCount, Refusal, Usage, admit},
        bot_api::{ChatError, Post},
        jobs::{self, JobError, Made, file_tag, job_name},
        media::Media,
        metrics::Incoming,
        render,
        texts::{Args, duration},
        view::FileView,
    },
};

/// The longest media type, language tag and id of a file or album that are passed on.
const MAX_MIME_TYPE: usize = 255;
const MAX_LANGUAGE: usize = 35;
const MAX_ID: usize = 64;

impl Handler {
    /// What is for the user alone is said in their private chat; in the group, that it was.
    pub(super) async fn privately(&self, speaker: &Speaker, post: &Post) {
        if speaker.is_private {
            return self.post(speaker.place, post).await;
        }
        let sent = self.api.send(Place::chat(speaker.user), post).await;
        let key = match sent {
            Ok(_) => "sent-privately",
            Err(ChatError::Unreachable(_)) => "start-me-first",
            Err(error) => {
                info!(%error, "an answer was not sent");
                return;
            }
        };
        self.answer(speaker, key, &Args::new()).await;
    }

    /// Takes a file, or says why not.
    pub(super) async fn file(
        &self,
        message: &Message,
        media: &Media,
        speaker: &Speaker,
    ) -> Result<(), Postponed> {
        if self.is_known(message, media, speaker).await? {
            return Ok(());
        }
        if let Err(refusal) = self.admit(speaker.user, media.size).await? {
            self.metrics.came(Incoming::FileRefused);
            self.refuse(speaker, media, refusal).await;
            return Ok(());
        }
        let Some(source) = self.source(message, media, speaker).await? else {
            return Ok(());
        };
        let job = self.job(message, media, speaker, source);
        match self.jobs.make(&job).await {
            Ok(Made::New(job)) => {
                self.metrics.came(Incoming::File);
                let size = media.size;
                self.with_day(speaker.user, |day| day.add(jobs::created(&job), size))
                    .await?;
                info!(job = job.name_any(), "a file was taken");
            }
            Ok(Made::Known(_)) => {}
            Err(error) if error.class() == Class::Permanent => {
                warn!(%error, "a TransferJob was refused");
                self.answer(speaker, "refused-by-cluster", &Args::new())
                    .await;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether the job of this very message is there, or the file is on its way or linked already:
    /// then the user is told so.
    async fn is_known(
        &self,
        message: &Message,
        media: &Media,
        speaker: &Speaker,
    ) -> Result<bool, Postponed> {
        let now = Timestamp::now();
        let found = self
            .jobs
            .of_file(speaker.user, &media.unique_id, now)
            .await?;
        let Some(job) = found else {
            return Ok(false);
        };
        let name = job_name(self.settings.bot_id, message.chat.id.0, message.id.0);
        if job.name_any() == name {
            return Ok(true);
        }
        // The user wants it under another name.
        if media.is_renamed && jobs_name(&job) != media.name.as_str() {
            return Ok(false);
        }
        self.metrics.came(Incoming::FileRefused);
        let view = FileView::of(&job, None, None, now);
        let post = render::known(speaker.language, &view, now);
        if speaker.is_private || !view.is_over() {
            self.post(speaker.place, &post).await;
        } else {
            self.privately(speaker, &post).await;
        }
        Ok(true)
    }

    async fn admit(&self, user: i64, size: u64) -> Result<Result<(), Refusal>, JobError> {
        let limits = self.limits(user);
        let (queued, queued_of_all) = self.jobs.count(user);
        let now = Timestamp::now();
        let (bytes, fits_at) = self
            .with_day(user, |day| {
                (day.bytes(now), day.fits_at(size, limits.bytes_per_day, now))
            })
            .await?;
        let usage = Usage {
            queued,
            queued_of_all,
            bytes,
            fits_at,
        };
        Ok(admit(size, &limits, &usage, self.members.read().is_drained))
    }

    async fn refuse(&self, speaker: &Speaker, media: &Media, refusal: Refusal) {
        let limits = self.limits(speaker.user);
        let args = Args::new().text("name", render::shown_name(media.name.as_str()));
        let (key, args) = match refusal {
            Refusal::Drained => ("refused-drained", args),
            Refusal::TooLarge => {
                let limit = ByteCount(limits.file_size).to_string();
                let size = ByteCount(media.size).to_string();
                (
                    "refused-too-large",
                    args.text("limit", limit).text("size", size),
                )
            }
            Refusal::Queued => ("refused-queued", args.number("limit", limits.queued)),
            Refusal::Full => ("refused-full", args),
            Refusal::Day(fits_at) => {
                let args = args.text("limit", ByteCount(limits.bytes_per_day).to_string());
                match fits_at {
                    Some(at) => {
                        let wait = render::seconds_until(at, Timestamp::now());
                        ("refused-day", args.text("wait", duration(wait.max(1))))
                    }
                    None => ("refused-day-never", args),
                }
            }
        };
        self.answer(speaker, key, &args).await;
    }

    /// Where workers read the file: in the channel, if there is one and the message may be
    /// forwarded. None if the message is gone, of which the user knows.
    async fn source(
        &self,
        message: &Message,
        media: &Media,
        speaker: &Speaker,
    ) -> Result<Option<Source>, Postponed> {
        let (chat, id) = (message.chat.id.0, message.id.0);
        let (chat_id, message_id) = match self.settings.channel {
            None => (chat, id),
            Some(channel) => match self.api.forward(chat, id, channel).await {
                Ok(forwarded) => (channel, forwarded),
                // Protected: nobody may take it elsewhere, but the bot itself may read it.
                Err(ChatError::Protected) => (chat, id),
                Err(ChatError::Gone(_)) => {
                    self.answer(speaker, "message-gone", &Args::new()).await;
                    return Ok(None);
                }
                Err(error @ (ChatError::Unreachable(_) | ChatError::Refused(_))) => {
                    warn!(%error, "TG_GROUP_ID takes no messages of the bot: make it an admin there; the worker reads the user's own message");
                    (chat, id)
                }
                Err(error) => return Err(error.into()),
            },
        };
        let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        Ok(Some(Source {
            chat_id,
            message_id,
            file_name: Some(media.name.to_string()),
            size: i64::try_from(media.size).ok(),
            mime_type: media
                .mime_type
                .as_deref()
                .map(|mime| short(mime, MAX_MIME_TYPE)),
            file_unique_id: Some(short(&media.unique_id, MAX_ID)),
        }))
    }

    fn job(
        &self,
        message: &Message,
        media: &Media,
        speaker: &Speaker,
        source: Source,
    ) -> TransferJob {
        let short = |text: &str, most: usize| {
            let text: String = text.chars().take(most).collect();
            (!text.is_empty()).then_some(text)
        };
        let requester = Requester {
            user_id: speaker.user,
            chat_id: message.chat.id.0,
            message_id: (!speaker.is_private).then_some(message.id.0),
            thread_id: speaker.place.thread,
            album: message
                .media_group_id()
                .and_then(|album| short(&album.0, MAX_ID)),
            language: speaker
                .language_code
                .as_deref()
                .and_then(|code| short(code, MAX_LANGUAGE)),
            status_message_id: None,
            status_files: None,
        };
        let spec = TransferJobSpec {
            source,
            link: LinkSpec {
                ttl: self.link_ttl(speaker.user),
                revoked: false,
            },
            requester: Some(requester),
            reclaim_policy: self.settings.reclaim,
            destination: Destination::default(),
            priority: Priority::default(),
            suspend: false,
            retry: RetrySpec::default(),
            active_deadline_seconds: None,
            ttl_seconds_after_finished: None,
        };
        let tag = file_tag(speaker.user, &media.unique_id);
        let mut job = TransferJob::new("", spec);
        job.metadata = ObjectMeta {
            name: Some(job_name(
                self.settings.bot_id,
                message.chat.id.0,
                message.id.0,
            )),
            labels: Some(BTreeMap::from([(names::FILE_LABEL.to_owned(), tag)])),
            ..ObjectMeta::default()
        };
        job
    }
}

fn jobs_name(job: &TransferJob) -> &str {
    job.spec.source.file_name.as_deref().unwrap_or_default()
}
