//! Brings finished jobs back into the main watch when there is something to do for them: they are
//! deleted, their spec has changed, their link ends, or they have been kept for long enough.
//!
//! They are watched by metadata only and kept in no store: the cost follows active work.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PartialObjectMeta},
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::time::{MissedTickBehavior, interval};
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

/// The finished jobs of a namespace.
pub struct FinishedJobs {
    jobs: Api<PartialObjectMeta<TransferJob>>,
    writer: Writer,
}

impl FinishedJobs {
    /// Those of that API.
    pub fn new(jobs: Api<PartialObjectMeta<TransferJob>>, writer: Writer) -> Self {
        Self { jobs, writer }
    }

    /// Runs until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        let finished = watcher::Config::default()
            .labels(names::FINISHED_LABEL)
            .page_size(PAGE_SIZE);
        let mut events = watcher(self.jobs.clone(), finished)
            .default_backoff()
            .touched_objects()
            .boxed();
        let mut sweeps = interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = sweeps.tick() => {
                    if let Err(error) = self.sweep(Timestamp::now()).await {
                        warn!(%error, "looking for finished jobs whose time has come failed; trying again");
                    }
                }
                event = events.next() => match event {
                    Some(Ok(job)) => self.revive_if_needed(&job, Timestamp::now()).await,
                    Some(Err(error)) => warn!(%error, "watching finished jobs failed; trying again"),
                    None => return,
                },
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
        let mut parameters = ListParams::default().labels(&selector).limit(PAGE_SIZE);
        loop {
            let page = call(self.jobs.list(&parameters)).await?;
            for job in &page.items {
                self.revive_if_needed(job, now).await;
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    async fn revive_if_needed(&self, job: &PartialObjectMeta<TransferJob>, now: Timestamp) {
        if !needs_attention(job, now) {
            return;
        }
        match self.writer.unlabel_finished(&job.name_any()).await {
            Ok(()) | Err(ApiError::NotFound) => {}
            Err(error) => {
                warn!(job = job.name_any(), %error, "a finished job could not be taken up again");
            }
        }
    }
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
