//! Brings finished jobs back into the main watch when there is something to do for them: they are
//! deleted, their spec has changed, their link ends, or they have been kept for long enough.
//!
//! Only their metadata is asked for, and kept in no store: the cost follows active work. Those that
//! have changed since the leader before may have missed it, and from now on, are seen at once, also
//! while the many that are there are still looked through.

use std::{convert::Infallible, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PartialObjectMeta, WatchEvent, WatchParams},
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::apply::{ApiError, Writer, call};
use crate::api::{TransferJob, names};

/// How often those are looked for whose time has come.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Hours that a sweep goes back, should the API server have been away.
const HOURS_BACK: i64 = 24;

/// Jobs that are asked for at a time.
const PAGE_SIZE: u32 = 250;

/// How soon to go on after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The HTTP status of a watch that begins before what the API server remembers.
const EXPIRED: u16 = 410;

/// The finished jobs of a namespace.
pub struct FinishedJobs {
    jobs: Api<TransferJob>,
    writer: Writer,
}

impl FinishedJobs {
    /// Those of that API.
    pub fn new(jobs: Api<TransferJob>, writer: Writer) -> Self {
        Self { jobs, writer }
    }

    /// Runs until `stop`. From the resource version `since` on, the leader before may have missed
    /// something.
    pub async fn run(&self, since: Option<String>, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            never = self.sweep_now_and_then() => match never {},
            never = self.follow(since) => match never {},
        }
    }

    async fn sweep_now_and_then(&self) -> Infallible {
        let mut sweeps = interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            sweeps.tick().await;
            if let Err(error) = self.sweep(Timestamp::now()).await {
                warn!(%error, "looking for finished jobs whose time has come failed; trying again");
            }
        }
    }

    /// Looks through those whose hour it is, or was lately.
    async fn sweep(&self, now: Timestamp) -> Result<(), ApiError> {
        let hour = names::wake_hour(now);
        let hours: Vec<_> = (hour - HOURS_BACK..=hour)
            .map(|hour| hour.to_string())
            .collect();
        let selector = format!("{} in ({})", names::WAKE_HOUR_LABEL, hours.join(","));
        self.look_through(&selector).await
    }

    /// Sees what changes, and what has changed while nobody looked.
    async fn follow(&self, mut since: Option<String>) -> Infallible {
        loop {
            let since = since.take();
            let followed = async {
                let version = match since {
                    Some(version) => version,
                    None => self.version_now().await?,
                };
                tokio::try_join!(
                    self.look_through(names::FINISHED_LABEL),
                    self.watch_from(version),
                )
            };
            match followed.await {
                Ok(((), never)) => match never {},
                Err(error) => warn!(%error, "following finished jobs failed; beginning anew"),
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// The version from which on a watch tells what is new.
    async fn version_now(&self) -> Result<String, ApiError> {
        let one = ListParams::default().limit(1);
        let listed = call(self.jobs.list_metadata(&one)).await?;
        Ok(listed.metadata.resource_version.unwrap_or_default())
    }

    /// Watches from that version on, over as many connections as it takes.
    async fn watch_from(&self, mut version: String) -> Result<Infallible, ApiError> {
        loop {
            match self.watch_once(&mut version).await {
                Ok(()) => {}
                Err(error) if code(&error) == Some(EXPIRED) => return Err(error),
                Err(error) => {
                    warn!(%error, "watching finished jobs failed; trying again");
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// Sees changes until the server ends the watch. `version` is that of the last one seen.
    async fn watch_once(&self, version: &mut String) -> Result<(), ApiError> {
        let finished = WatchParams::default().labels(names::FINISHED_LABEL);
        let events = call(self.jobs.watch_metadata(&finished, version)).await?;
        let mut events = events.boxed();
        let refused = |error| ApiError::Refused(Box::new(error));
        while let Some(event) = events.try_next().await.map_err(refused)? {
            let seen = match event {
                WatchEvent::Added(job) | WatchEvent::Modified(job) => {
                    self.revive_if_needed(&job, Timestamp::now()).await?;
                    job.resource_version()
                }
                // It is in the main watch, or gone.
                WatchEvent::Deleted(job) => job.resource_version(),
                WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
                WatchEvent::Error(status) => return Err(refused(kube::Error::Api(status))),
            };
            *version = seen.unwrap_or_default();
        }
        Ok(())
    }

    /// Looks at all that a label selector finds, a page at a time.
    async fn look_through(&self, selector: &str) -> Result<(), ApiError> {
        let mut parameters = ListParams::default().labels(selector).limit(PAGE_SIZE);
        loop {
            let page = call(self.jobs.list_metadata(&parameters)).await?;
            for job in &page.items {
                self.revive_if_needed(job, Timestamp::now()).await?;
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// # Errors
    /// It could not be taken up again, and it is not the job that is at fault.
    async fn revive_if_needed(
        &self,
        job: &PartialObjectMeta<TransferJob>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        if !needs_attention(job, now) {
            return Ok(());
        }
        match self.writer.unlabel_finished(&job.name_any()).await {
            Ok(()) | Err(ApiError::NotFound) => Ok(()),
            // One that the API server does not take as it is must not keep us from the others.
            Err(error) if code(&error).is_some_and(|code| (400..429).contains(&code)) => {
                warn!(job = job.name_any(), %error, "a finished job could not be taken up again");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// The HTTP status of a refusal.
fn code(error: &ApiError) -> Option<u16> {
    error.answer().map(|answer| answer.code)
}

/// Whether there is something to do for a finished job.
fn needs_attention(job: &PartialObjectMeta<TransferJob>, now: Timestamp) -> bool {
    if job.metadata.deletion_timestamp.is_some() {
        return !job.finalizers().is_empty();
    }
    let generation = job.metadata.generation.unwrap_or_default().to_string();
    let wake = job
        .annotations()
        .get(names::WAKE_ANNOTATION)
        .and_then(|time| time.parse::<Timestamp>().ok());
    job.labels()
        .get(names::FINISHED_LABEL)
        .is_some_and(|acted_on| *acted_on != generation)
        || wake.is_some_and(|wake| wake <= now)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_finished_job_is_left_alone_until_something_is_wanted_of_it() {
        let now = "2026-11-02T00:00:00Z".parse().unwrap();
        for (what, change, wanted) in [
            ("nothing", json!({}), false),
            ("its spec has changed", json!({"generation": 3}), true),
            (
                "its time has come",
                json!({"annotations": {names::WAKE_ANNOTATION: "2026-11-02T00:00:00Z"}}),
                true,
            ),
            (
                "its time will come",
                json!({"annotations": {names::WAKE_ANNOTATION: "2026-11-02T00:00:01Z"}}),
                false,
            ),
            (
                "it is deleted",
                json!({"deletionTimestamp": "2026-11-01T00:00:00Z"}),
                true,
            ),
            (
                "it is gone",
                json!({"deletionTimestamp": "2026-11-01T00:00:00Z", "finalizers": null}),
                false,
            ),
        ] {
            let mut metadata = json!({"name": "tj", "generation": 2, "finalizers": [names::FINALIZER],
                "labels": {names::FINISHED_LABEL: "2"}});
            crate::controller::merge_patch::apply(&mut metadata, &change);
            let object: Value = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
            let job = serde_json::from_value(object).unwrap();
            assert_eq!(needs_attention(&job, now), wanted, "{what}");
        }
    }
}
