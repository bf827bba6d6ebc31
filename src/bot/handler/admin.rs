//! What those who look after the bot can do.

use jiff::Timestamp;
use kube::ResourceExt as _;
use tracing::{info, warn};

use super::{Handler, Speaker};
use crate::bot::{
    access::{ByteCount, Door, Member, Members},
    command::Command,
    jobs::{JobError, is_over},
    members::MemberError,
    texts::{Args, duration, escape, shorten},
    view::Kind,
};

/// The most users that are listed.
const MOST_LISTED: usize = 50;

/// The longest name that an admin gives a user.
const MAX_NOTE: usize = 60;

impl Handler {
    pub(super) async fn users(&self, speaker: &Speaker) -> Result<(), JobError> {
        let guests = &self.settings.guests;
        let members = self.members.read();
        let language = speaker.language;
        let mut lines = Vec::new();
        let mut list = |user: i64, key: &str, note: Option<&str>| {
            let note = note
                .map(|note| format!(" — {}", escape(note)))
                .unwrap_or_default();
            lines.push(format!("<code>{user}</code> {}{note}", language.say(key)));
        };
        for user in &guests.admins {
            list(*user, "user-admin", None);
        }
        for user in guests.users.difference(&guests.admins) {
            if members.users.get(user).and_then(|member| member.allowed) != Some(false) {
                list(*user, "user-configured", None);
            }
        }
        for (user, member) in &members.users {
            match member.allowed {
                Some(true) => list(*user, "user-allowed", member.note.as_deref()),
                Some(false) => list(*user, "user-denied", member.note.as_deref()),
                None => {}
            }
        }
        let more = lines.len().saturating_sub(MOST_LISTED);
        lines.truncate(MOST_LISTED);
        if more > 0 {
            lines.push(language.tell("and-more", &Args::new().number("count", more)));
        }
        if guests.door == Door::Everyone {
            lines.insert(0, language.say("users-everyone"));
        }
        let html = format!("{}\n{}", language.say("users"), lines.join("\n"));
        self.say(speaker, html).await;
        Ok(())
    }

    pub(super) async fn allow(&self, command: &Command, speaker: &Speaker) -> Result<(), JobError> {
        let Some(user) = user_in(command) else {
            self.answer(speaker, "allow-how", &Args::new()).await;
            return Ok(());
        };
        let note = command.words[1..].join(" ");
        let note = (!note.is_empty()).then(|| shorten(&note, MAX_NOTE).into_owned());
        let kept = self
            .change(user, |member| {
                member.allowed = Some(true);
                member.note = note;
            })
            .await;
        self.tell_change(speaker, user, "allowed", kept).await;
        Ok(())
    }

    /// Shuts somebody out, and stops what they have under way.
    pub(super) async fn deny(&self, command: &Command, speaker: &Speaker) -> Result<(), JobError> {
        let user = user_in(command).filter(|user| !self.settings.guests.admins.contains(user));
        let Some(user) = user else {
            self.answer(speaker, "deny-how", &Args::new()).await;
            return Ok(());
        };
        let kept = self
            .change(user, |member| member.allowed = Some(false))
            .await;
        if kept.is_ok() {
            for job in self.jobs.under_way(user) {
                if let Err(error) = self.jobs.cancel(&job).await {
                    warn!(%error, job = job.name_any(), "a transfer of somebody who is shut out was not stopped");
                }
            }
        }
        self.tell_change(speaker, user, "denied", kept).await;
        Ok(())
    }

    pub(super) async fn limits_command(
        &self,
        command: &Command,
        speaker: &Speaker,
    ) -> Result<(), JobError> {
        let Some((user, wish)) = user_in(command).zip(limit_in(command)) else {
            self.answer(speaker, "limits-how", &Args::new()).await;
            return Ok(());
        };
        let kept = self.change(user, |member| wish.apply(member)).await;
        if kept.is_err() {
            self.tell_change(speaker, user, "allowed", kept).await;
            return Ok(());
        }
        let limits = self.limits(user);
        let args = Args::new()
            .text("user", user.to_string())
            .number("queued", limits.queued)
            .text("bytes", ByteCount(limits.bytes_per_day).to_string());
        self.answer(speaker, "limits-set", &args).await;
        Ok(())
    }

    pub(super) async fn drain(&self, command: &Command, speaker: &Speaker) -> Result<(), JobError> {
        let is_drained = match command.words.first().map(String::as_str) {
            Some("on") => true,
            Some("off") => false,
            _ => {
                self.answer(speaker, "drain-how", &Args::new()).await;
                return Ok(());
            }
        };
        let key = match self.members.drain(is_drained).await {
            Ok(()) if is_drained => "drain-on",
            Ok(()) => "drain-off",
            Err(error) => {
                warn!(%error, "draining was not written down");
                "cluster-away"
            }
        };
        self.answer(speaker, key, &Args::new()).await;
        Ok(())
    }

    pub(super) async fn stats(&self, speaker: &Speaker) -> Result<(), JobError> {
        let jobs = self.jobs.unfinished();
        let count = |kind| jobs.iter().filter(|job| Kind::of(job) == kind).count();
        let untold = jobs
            .iter()
            .filter(|job| is_over(job) && job.spec.requester.is_some())
            .count();
        let waiting = jobs.iter().filter(|job| Kind::of(job) == Kind::Waiting);
        let oldest = waiting.map(|job| crate::bot::jobs::created(job)).min();
        let age = oldest.map_or(0, |oldest| {
            Timestamp::now().as_second() - oldest.as_second()
        });
        let Members { users, is_drained } = self.members.read();
        let allowed = users
            .values()
            .filter(|member| member.allowed == Some(true))
            .count();
        let args = Args::new()
            .number("running", count(Kind::Running))
            .number("waiting", count(Kind::Waiting))
            .number("untold", untold)
            .text("age", duration(u64::try_from(age).unwrap_or_default()))
            .number("users", allowed + self.settings.guests.users.len());
        let mut html = speaker.language.tell("stats", &args);
        if is_drained {
            html = format!("{html}\n{}", speaker.language.say("drain-on"));
        }
        self.say(speaker, html).await;
        Ok(())
    }

    /// Changes what is kept of whoever speaks; whether it was kept.
    pub(super) async fn remember(
        &self,
        speaker: &Speaker,
        change: impl FnOnce(&mut Member),
    ) -> bool {
        let kept = self.change(speaker.user, change).await;
        if let Err(error) = &kept {
            warn!(%error, "a choice was not written down");
        }
        kept.is_ok()
    }

    async fn change(&self, user: i64, change: impl FnOnce(&mut Member)) -> Result<(), MemberError> {
        let mut member = self.members.member(user).unwrap_or_default();
        change(&mut member);
        self.members.set(user, member).await
    }

    async fn tell_change(
        &self,
        speaker: &Speaker,
        user: i64,
        key: &str,
        kept: Result<(), MemberError>,
    ) {
        let key = match kept {
            Ok(()) => {
                info!(
                    admin = speaker.user,
                    user,
                    change = key,
                    "an admin has changed who may do what"
                );
                key
            }
            Err(MemberError::Full) => "users-full",
            Err(error) => {
                warn!(%error, "a change of users was not written down");
                "cluster-away"
            }
        };
        self.answer(speaker, key, &Args::new().text("user", user.to_string()))
            .await;
    }
}

/// A limit that an admin sets for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Queued(u32),
    Bytes(u64),
    /// Those of everybody.
    Default,
}

impl Limit {
    fn apply(self, member: &mut Member) {
        match self {
            Self::Queued(queued) => member.queued = Some(queued),
            Self::Bytes(bytes) => member.bytes_per_day = Some(bytes),
            Self::Default => {
                member.queued = None;
                member.bytes_per_day = None;
            }
        }
    }
}

fn user_in(command: &Command) -> Option<i64> {
    let id = command.words.first()?.parse().ok()?;
    (id > 0).then_some(id)
}

fn limit_in(command: &Command) -> Option<Limit> {
    match command.words.get(1..)? {
        [what] if what == "default" => Some(Limit::Default),
        [what, count] if what == "queued" => Some(Limit::Queued(count.parse().ok()?)),
        [what, bytes] if what == "bytes" => Some(Limit::Bytes(bytes.parse::<ByteCount>().ok()?.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_it_is_typed() {
        let limit = |text: &str| {
            let command = Command::parse(text, "bot").unwrap().unwrap();
            user_in(&command).zip(limit_in(&command))
        };
        assert_eq!(limit("/limits 7 queued 3"), Some((7, Limit::Queued(3))));
        assert_eq!(
            limit("/limits 7 bytes 5GiB"),
            Some((7, Limit::Bytes(5 << 30)))
        );
        assert_eq!(limit("/limits 7 default"), Some((7, Limit::Default)));
        for wrong in [
            "/limits",
            "/limits 7",
            "/limits ann queued 3",
            "/limits 7 queued many",
            "/limits -7 default",
        ] {
            assert_eq!(limit(wrong), None, "{wrong}");
        }
    }
}
