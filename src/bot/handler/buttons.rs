//! What users press. The data of a button is a wish, not a right: what it names is looked up, and
//! must be the presser's own.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use teloxide::types::{CallbackQuery, ChatKind};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Handler, Place, Speaker};
use crate::{
    api::{ConditionType, HumanDuration, TransferJob, find_condition},
    bot::{
        access::{Hearing, Role},
        bot_api::{ChatError, Post},
        command::Button,
        jobs::{self, JobError, live_link, user_of},
        metrics::Incoming,
        render,
        texts::Language,
        view::FileView,
    },
};

/// How much longer a link lives each time.
const EXTENSION: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a new link is waited for.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(20);

/// What comes of a press: a text that pops up, and a new text of the message.
#[derive(Default)]
struct Reaction {
    key: Option<&'static str>,
    post: Option<Post>,
}

impl Reaction {
    fn say(key: &'static str) -> Self {
        Self {
            key: Some(key),
            post: None,
        }
    }

    fn show(post: Post) -> Self {
        Self {
            key: None,
            post: Some(post),
        }
    }
}

impl Handler {
    pub(super) async fn pressed(&self, query: &CallbackQuery) {
        self.metrics.came(Incoming::Button);
        let Some(message) = &query.message else {
            return self.pop_up(query, None, Language::English).await;
        };
        let chat = message.chat();
        let place = Place::chat(chat.id.0);
        let is_private = matches!(chat.kind, ChatKind::Private(_));
        let speaker = self.speaker_in(&query.from, place, is_private);
        let limit = self.settings.limits.messages_per_minute;
        let hearing = self.chatter().hear(speaker.user, limit, Timestamp::now());
        if speaker.role == Role::Stranger || hearing != Hearing::Heard {
            return self
                .pop_up(query, Some("button-not-yours"), speaker.language)
                .await;
        }
        let button = query.data.as_deref().and_then(Button::parse);
        let reaction = match button {
            None => Ok(Reaction::say("button-too-old")),
            Some(button) => self.react(button, &speaker, message.id().0).await,
        };
        let reaction = reaction.unwrap_or_else(|error| {
            warn!(%error, "a button failed");
            Reaction::say("cluster-away-short")
        });
        if let Some(post) = &reaction.post {
            let edited = self.api.edit(place.chat, message.id().0, post).await;
            match edited {
                Ok(()) => {}
                Err(ChatError::Flooded(_)) => self.post(place, post).await,
                Err(error) => info!(%error, "a message was not changed by its button"),
            }
        }
        self.pop_up(query, reaction.key, speaker.language).await;
    }

    async fn pop_up(&self, query: &CallbackQuery, key: Option<&str>, language: Language) {
        let text = key.map(|key| language.say(key));
        if let Err(error) = self.api.answer(&query.id, text.as_deref()).await {
            info!(%error, "a press was not answered");
        }
    }

    async fn react(
        &self,
        button: Button,
        speaker: &Speaker,
        message: i32,
    ) -> Result<Reaction, JobError> {
        let language = speaker.language;
        let now = Timestamp::now();
        match button {
            Button::Cancel(name) => {
                let Some(job) = self.own(&name, speaker).await? else {
                    return Ok(Reaction::say("button-too-old"));
                };
                self.stop(&job).await
            }
            Button::CancelAll => self.stop_all(speaker, message).await,
            Button::Retry(name) => match self.own(&name, speaker).await? {
                Some(job) if jobs::has(&job, ConditionType::Failed) => {
                    Ok(Reaction::say(self.retry(&job).await?))
                }
                _ => Ok(Reaction::say("button-too-old")),
            },
            Button::Revoke(name) => match self.own_linked(&name, speaker).await? {
                Some(job) => {
                    let view = FileView::of(&job, None, None, now);
                    let minute = now.as_second() / 60;
                    let minute = u64::try_from(minute).unwrap_or_default();
                    Ok(Reaction::show(render::revoke_question(
                        language, &view, minute, now,
                    )))
                }
                None => Ok(Reaction::say("button-too-old")),
            },
            Button::RevokeSurely(name, asked) => {
                let Some(job) = self.own_linked(&name, speaker).await? else {
                    return Ok(Reaction::say("button-too-old"));
                };
                let minute = u64::try_from(now.as_second() / 60).unwrap_or_default();
                let mut job = job;
                let key = if Button::is_fresh(asked, minute) {
                    self.jobs.revoke(&job).await?;
                    job.spec.link.revoked = true;
                    "revoked"
                } else {
                    "question-too-old"
                };
                let view = FileView::of(&job, None, None, now);
                Ok(Reaction {
                    key: Some(key),
                    post: Some(render::result_of_one(language, &view, now)),
                })
            }
            Button::Keep(name) => match self.own(&name, speaker).await? {
                Some(job) => {
                    let view = FileView::of(&job, None, None, now);
                    Ok(Reaction::show(render::result_of_one(language, &view, now)))
                }
                None => Ok(Reaction::say("button-too-old")),
            },
            Button::Extend(name) => {
                let Some(job) = self.own_linked(&name, speaker).await? else {
                    return Ok(Reaction::say("button-too-old"));
                };
                let Some(job) = self.extend(&job).await? else {
                    return Ok(Reaction::say("extended-enough-short"));
                };
                let view = FileView::of(&job, None, None, now);
                Ok(Reaction {
                    key: Some("extended"),
                    post: Some(render::result_of_one(language, &view, now)),
                })
            }
            Button::Links(page) if speaker.is_private => {
                Ok(Reaction::show(self.links_page(speaker, page).await?))
            }
            Button::Links(_) => Ok(Reaction::say("button-too-old")),
            Button::Speak(chosen) => self.choose_language(speaker, chosen).await,
            Button::LinkDays(days) => self.choose_days(speaker, days).await,
        }
    }

    /// A job, if it is the presser's own.
    async fn own(&self, name: &str, speaker: &Speaker) -> Result<Option<TransferJob>, JobError> {
        let job = self.jobs.find(name).await?;
        Ok(job.filter(|job| user_of(job) == Some(speaker.user)))
    }

    /// A job whose link works, if it is the presser's own and nobody else reads along.
    async fn own_linked(
        &self,
        name: &str,
        speaker: &Speaker,
    ) -> Result<Option<TransferJob>, JobError> {
        let job = self
            .own(name, speaker)
            .await?
            .filter(|_| speaker.is_private);
        Ok(job.filter(|job| live_link(job, Timestamp::now()).is_some()))
    }

    async fn stop(&self, job: &TransferJob) -> Result<Reaction, JobError> {
        if jobs::is_over(job) {
            return Ok(Reaction::say("too-late"));
        }
        match self.jobs.cancel(job).await {
            Ok(()) | Err(JobError::Gone) => Ok(Reaction::say("cancelling-one")),
            Err(error) => Err(error),
        }
    }

    async fn stop_all(&self, speaker: &Speaker, message: i32) -> Result<Reaction, JobError> {
        let of_message = |job: &&std::sync::Arc<TransferJob>| {
            job.spec.requester.as_ref().is_some_and(|requester| {
                requester.chat_id == speaker.place.chat
                    && requester.status_message_id == Some(message)
            })
        };
        let under_way = self.jobs.under_way(speaker.user);
        let wanted: Vec<_> = under_way.iter().filter(of_message).collect();
        if wanted.is_empty() {
            return Ok(Reaction::say("too-late"));
        }
        for job in wanted {
            self.stop(job).await?;
        }
        Ok(Reaction::say("cancelling-one"))
    }

    /// Lets a link live longer; the job with its new link, or none if it lives as long as any may.
    pub(super) async fn extend(&self, job: &TransferJob) -> Result<Option<TransferJob>, JobError> {
        let longest = self.settings.links.longest;
        let ttl = longer(job, longest, Timestamp::now());
        if ttl <= job.spec.link.ttl {
            return Ok(None);
        }
        self.jobs.extend(job, ttl).await?;
        let deadline = Instant::now() + RENEWAL_PATIENCE;
        let mut wait = Duration::from_millis(100);
        loop {
            let renewed = self.jobs.get(&job.name_any()).await?;
            if is_renewed(&renewed, ttl) || Instant::now() > deadline {
                return Ok(Some(renewed));
            }
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
    }

    async fn choose_language(
        &self,
        speaker: &Speaker,
        chosen: Option<Language>,
    ) -> Result<Reaction, JobError> {
        let code = chosen.map(|language| language.code().to_owned());
        let kept = self
            .remember(speaker, |member| member.language = code)
            .await;
        let language = Language::of_code(
            chosen
                .map(Language::code)
                .or(speaker.language_code.as_deref()),
        );
        Ok(self.settings_after(speaker, language, kept))
    }

    async fn choose_days(&self, speaker: &Speaker, days: u32) -> Result<Reaction, JobError> {
        let ttl = HumanDuration::from_days(days.clamp(1, 3_650));
        if ttl > self.settings.links.longest {
            return Ok(Reaction::say("button-too-old"));
        }
        let kept = self
            .remember(speaker, |member| member.link_ttl = Some(ttl))
            .await;
        Ok(self.settings_after(speaker, speaker.language, kept))
    }

    fn settings_after(&self, speaker: &Speaker, language: Language, kept: bool) -> Reaction {
        let speaker = Speaker {
            language,
            ..speaker.clone()
        };
        Reaction {
            key: Some(if kept {
                "settings-kept"
            } else {
                "settings-not-kept"
            }),
            post: Some(self.settings_post(&speaker)),
        }
    }
}

/// How long a link lives that lives a week longer: counted from the end of its transfer, as the spec
/// has it.
fn longer(job: &TransferJob, longest: HumanDuration, now: Timestamp) -> HumanDuration {
    let status = job.status.as_ref();
    let begin = status
        .and_then(|status| status.completion_time.as_ref())
        .map_or(now, |time| time.0);
    let end = live_link(job, now).map_or(now, |link| link.expires_at.0);
    let until = end.saturating_add(EXTENSION).unwrap_or(end);
    // Whole hours read well.
    let seconds = u32::try_from(until.as_second() - begin.as_second()).unwrap_or(u32::MAX);
    let hours = seconds.div_ceil(3_600).min(90_000);
    HumanDuration::from_secs(hours * 3_600).min(longest)
}

fn is_renewed(job: &TransferJob, ttl: HumanDuration) -> bool {
    let Some(status) = &job.status else {
        return false;
    };
    let ready = find_condition(&status.conditions, ConditionType::LinkReady);
    status.link.as_ref().is_some_and(|link| link.ttl == ttl)
        && ready.is_some_and(|ready| ready.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_link_lives_a_week_longer_and_not_for_ever() {
        let job = |expires: &str| -> TransferJob {
            serde_json::from_value(json!({
                "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": "tj"},
                "spec": {"source": {"chatId": 1, "messageId": 1}},
                "status": {
                    "completionTime": "2026-11-01T12:00:00Z",
                    "conditions": [{"type": "LinkReady", "status": "True", "reason": "Created", "message": "",
                        "lastTransitionTime": "2026-11-01T12:00:00Z"}],
                    "link": {"id": "i", "url": "u", "expiresAt": expires, "ttl": "7d"},
                },
            }))
            .unwrap()
        };
        let now = "2026-11-02T12:00:00Z".parse().unwrap();
        let days = HumanDuration::from_days;
        assert_eq!(
            longer(&job("2026-11-08T12:00:00Z"), days(30), now),
            days(14)
        );
        assert_eq!(
            longer(&job("2026-11-29T12:00:00Z"), days(30), now),
            days(30)
        );
        assert_eq!(
            longer(&job("2026-12-24T12:00:00Z"), days(30), now),
            days(30)
        );
    }
}
