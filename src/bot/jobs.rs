//! The `TransferJob`s as the bot uses them: made for files, found again, stopped, and told of.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::reflector::Store,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::debug;

use crate::{
    Class,
    api::{
        ConditionType, HumanDuration, LinkSpec, Notified, Phase, Priority, TransferJob,
        find_condition, names,
    },
    queue::{Entry, LiveProgress, Place, Queue, Rank},
};

/// A call that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// A look into Redis that takes longer is done without.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// The most jobs of one user that are looked at.
const MOST_JOBS: u32 = 500;

/// Jobs that a page of a list holds.
const PAGE: u32 = 100;

/// Why something could not be done with a job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The API server did not answer.
    #[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// There is no such job any more, or another of its name.
    #[error("the TransferJob is gone")]
    Gone,
    /// It has changed meanwhile.
    #[error("the TransferJob has changed meanwhile")]
    Conflict,
    /// The API server refuses, and would refuse again.
    #[error("the API server refused: {0}")]
    Refused(#[source] Box<kube::Error>),
    /// The API server cannot be reached, or has a failure of its own.
    #[error("the API server cannot be reached: {0}")]
    Unavailable(#[source] Box<kube::Error>),
}

impl JobError {
    /// What a caller may do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Timeout | Self::Unavailable(_) | Self::Conflict => Class::Transient,
            Self::Gone | Self::Refused(_) => Class::Permanent,
        }
    }
}

impl From<kube::Error> for JobError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => match status.code {
                404 => Self::Gone,
                409 => Self::Conflict,
                // A quota of the namespace is full: it may have room later.
                403 if status.message.contains("exceeded quota") => {
                    Self::Unavailable(Box::new(error))
                }
                400..=428 | 430..=499 => Self::Refused(Box::new(error)),
                _ => Self::Unavailable(Box::new(error)),
            },
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

/// What became of making a job.
#[derive(Debug)]
pub enum Made {
    /// It is new.
    New(TransferJob),
    /// It was there: the update was seen before.
    Known(TransferJob),
}

/// The jobs. Clones share one cache.
#[derive(Clone)]
pub struct Jobs {
    api: Api<TransferJob>,
    unfinished: Store<TransferJob>,
    queue: Option<Queue>,
}

impl Jobs {
    /// The jobs of a namespace; `unfinished` holds those with which somebody has something left to
    /// do.
    pub fn new(
        client: Client,
        namespace: &str,
        unfinished: Store<TransferJob>,
        queue: Option<Queue>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            unfinished,
            queue,
        }
    }

    /// Makes a job, and only then lets it wait in the queue.
    ///
    /// # Errors
    /// It was not made, or nobody knows.
    pub async fn make(&self, job: &TransferJob) -> Result<Made, JobError> {
        let name = job.name_any();
        let parameters = PostParams::default();
        match in_time(self.api.create(&parameters, job)).await {
            Ok(made) => {
                self.enqueue(&made).await;
                Ok(Made::New(made))
            }
            Err(JobError::Conflict) => Ok(Made::Known(self.get(&name).await?)),
            Err(error) => Err(error),
        }
    }

    /// A job by its name.
    ///
    /// # Errors
    /// [`JobError::Gone`] if there is none, and whatever else goes wrong.
    pub async fn get(&self, name: &str) -> Result<TransferJob, JobError> {
        in_time(self.api.get(name)).await
    }

    /// A job by its name, if there is one.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn find(&self, name: &str) -> Result<Option<TransferJob>, JobError> {
        in_time(self.api.get_opt(name)).await
    }

    /// All jobs of a user that are kept, the newest first, of [`MOST_JOBS`] at most.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn of_user(&self, user: i64) -> Result<Vec<TransferJob>, JobError> {
        let of_user = ListParams::default()
            .fields(&format!("spec.requester.userId={user}"))
            .limit(PAGE);
        self.list(of_user).await
    }

    /// A job of the same file that was sent by the same user: the newest whose link works, or
    /// which is still to get one.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn of_file(
        &self,
        user: i64,
        unique_id: &str,
        now: Timestamp,
    ) -> Result<Option<TransferJob>, JobError> {
        let label = format!("{}={}", names::FILE_LABEL, file_tag(user, unique_id));
        let found = self
            .list(ListParams::default().labels(&label).limit(PAGE))
            .await?;
        let is_same = |job: &TransferJob| {
            user_of(job) == Some(user)
                && job.spec.source.file_unique_id.as_deref() == Some(unique_id)
                && job.metadata.deletion_timestamp.is_none()
        };
        let mut same: Vec<_> = found.into_iter().filter(is_same).collect();
        let linked = same.iter().position(|job| live_link(job, now).is_some());
        let under_way = same.iter().position(|job| !is_over(job));
        Ok(linked.or(under_way).map(|index| same.swap_remove(index)))
    }

    /// The newest first.
    async fn list(&self, mut parameters: ListParams) -> Result<Vec<TransferJob>, JobError> {
        let mut jobs = Vec::new();
        loop {
            let page = in_time(self.api.list(&parameters)).await?;
            jobs.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if jobs.len() < MOST_JOBS as usize => {
                    parameters = parameters.continue_token(&token);
                }
                _ => break,
            }
        }
        jobs.sort_by_key(|job| std::cmp::Reverse(created(job)));
        Ok(jobs)
    }

    /// The jobs that wait or run, or of whose end the user has not been told.
    pub fn unfinished(&self) -> Vec<Arc<TransferJob>> {
        self.unfinished.state()
    }

    /// The jobs of a user that wait or run, the oldest first.
    pub fn under_way(&self, user: i64) -> Vec<Arc<TransferJob>> {
        let mut jobs = self
            .unfinished
            .state_filter(|job| user_of(job) == Some(user) && !is_over(job));
        jobs.sort_by_key(|job| (created(job), job.name_any()));
        jobs
    }

    /// How many wait or run: of a user, and of everybody.
    pub fn count(&self, user: i64) -> (u32, u32) {
        let mut counts = (0, 0);
        for job in self.unfinished.state() {
            if !is_over(&job) {
                counts.0 += u32::from(user_of(&job) == Some(user));
                counts.1 += 1;
            }
        }
        counts
    }

    /// Stops a job and removes it, if it is still the same one.
    ///
    /// # Errors
    /// [`JobError::Gone`] if it is gone, and whatever else goes wrong.
    pub async fn cancel(&self, job: &TransferJob) -> Result<(), JobError> {
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: job.uid(),
            resource_version: None,
        });
        in_time(self.api.delete(&job.name_any(), &parameters))
            .await
            .map_err(|error| match error {
                JobError::Conflict => JobError::Gone,
                error => error,
            })?;
        if let (Some(queue), Some(uid)) = (&self.queue, job.uid()) {
            // The controller does so too, if this is lost.
            drop(timeout(QUEUE_TIMEOUT, queue.remove(&[&uid])).await);
        }
        Ok(())
    }

    /// Writes down which message shows the progress of a job, and of how many in all.
    ///
    /// # Errors
    /// It was not written.
    pub async fn set_status_message(
        &self,
        job: &TransferJob,
        message: i32,
        files: usize,
    ) -> Result<(), JobError> {
        let mut requester = json!({"statusMessageId": message});
        if files > 1 {
            requester["statusFiles"] = json!(files);
        }
        self.patch(job, json!({"spec": {"requester": requester}}))
            .await
    }

    /// Takes the link of a job back, for good.
    ///
    /// # Errors
    /// It was not written.
    pub async fn revoke(&self, job: &TransferJob) -> Result<(), JobError> {
        self.patch(job, json!({"spec": {"link": {"revoked": true}}}))
            .await
    }

    /// Has another link made that lives so long.
    ///
    /// # Errors
    /// It was not written.
    pub async fn extend(&self, job: &TransferJob, ttl: HumanDuration) -> Result<(), JobError> {
        self.patch(job, json!({"spec": {"link": {"ttl": ttl}}}))
            .await
    }

    /// Writes down how far the user has been told, if the job is still as it was seen.
    ///
    /// # Errors
    /// It was not written: [`JobError::Conflict`] if the job has changed.
    pub async fn set_notified(
        &self,
        job: &TransferJob,
        notified: &Notified,
    ) -> Result<TransferJob, JobError> {
        let patch = Patch::Merge(json!({
            "metadata": {"uid": job.uid(), "resourceVersion": job.resource_version()},
            "status": {"notified": notified},
        }));
        let (name, parameters) = (job.name_any(), PatchParams::default());
        in_time(self.api.patch_status(&name, &parameters, &patch)).await
    }

    /// Where in the queue a job waits, and since when it may be told.
    pub async fn place(&self, job: &TransferJob) -> Option<Place> {
        if let (Some(queue), Some(uid)) = (&self.queue, job.uid())
            && let Ok(Ok(Some(place))) = timeout(QUEUE_TIMEOUT, queue.place(&uid)).await
        {
            return Some(place);
        }
        // Without Redis the oldest goes first.
        let waiting = self.unfinished.state_filter(is_waiting);
        let before = |other: &&Arc<TransferJob>| {
            (created(other), other.name_any()) < (created(job), job.name_any())
        };
        Some(Place {
            ahead: waiting.iter().filter(before).count() as u64,
            of: waiting.len() as u64,
            estimate: None,
        })
    }

    /// How far a running job is, as its worker told Redis lately.
    pub async fn live(&self, job: &TransferJob) -> Option<LiveProgress> {
        let (queue, uid) = (self.queue.as_ref()?, job.uid()?);
        timeout(QUEUE_TIMEOUT, queue.progress(&uid))
            .await
            .ok()?
            .ok()?
    }

    async fn patch(&self, job: &TransferJob, mut patch: Value) -> Result<(), JobError> {
        patch["metadata"] = json!({"uid": job.uid()});
        let (name, parameters, patch) =
            (job.name_any(), PatchParams::default(), Patch::Merge(patch));
        let patched = in_time(self.api.patch(&name, &parameters, &patch)).await;
        match patched {
            // Of another UID: ours is gone.
            Err(JobError::Conflict) => Err(JobError::Gone),
            patched => patched.map(drop),
        }
    }

    /// Lost, it is made up for by the controller.
    async fn enqueue(&self, job: &TransferJob) {
        let (Some(queue), Some(uid)) = (&self.queue, job.uid()) else {
            return;
        };
        let entry = Entry {
            name: job.name_any(),
            uid,
            user: user_of(job),
            rank: match job.spec.priority {
                Priority::High => Rank::High,
                Priority::Normal => Rank::Normal,
                Priority::Low => Rank::Low,
            },
            created: created(job),
            not_before: None,
        };
        if let Ok(Err(error)) = timeout(QUEUE_TIMEOUT, queue.put(&[entry])).await {
            debug!(%error, "the queue does not know of a new job yet");
        }
    }
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, JobError> {
    match timeout(CALL_TIMEOUT, call).await {
        Err(_) => Err(JobError::Timeout),
        Ok(result) => result.map_err(JobError::from),
    }
}

/// The name of the job of a user's message: the same message is the same job, for the same bot.
pub fn job_name(bot: i64, chat: i64, message: i32) -> String {
    let hash = digest::digest(
        &digest::SHA256,
        format!("{bot}/{chat}/{message}").as_bytes(),
    );
    format!("tj-{}", hex(&hash.as_ref()[..10]))
}

/// The name of the job that tries a failed one again; none when that was done often enough.
pub fn retry_name(name: &str) -> Option<String> {
    let (base, tries) = match name.rsplit_once("-r") {
        Some((base, tries)) => (base, tries.parse::<u32>().ok()?),
        None => (name, 0),
    };
    (tries < 9).then(|| format!("{base}-r{}", tries + 1))
}

/// The short form of a job's name, which people may type.
pub fn short_id(name: &str) -> String {
    let id = name.strip_prefix("tj-").unwrap_or(name);
    let (id, tries) = id.split_at(id.find("-r").unwrap_or(id.len()));
    let short: String = id.chars().take(6).collect();
    short + tries
}

/// What a file of a user is labelled with: the label tells neither.
pub fn file_tag(user: i64, unique_id: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{user}/{unique_id}").as_bytes());
    hex(&hash.as_ref()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a String does not fail.
        text
    })
}

/// Who asked for a job.
pub fn user_of(job: &TransferJob) -> Option<i64> {
    job.spec
        .requester
        .as_ref()
        .map(|requester| requester.user_id)
}

/// Since when a job exists.
pub fn created(job: &TransferJob) -> Timestamp {
    job.creation_timestamp()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// Whether it succeeded, was given up, or is being removed.
pub fn is_over(job: &TransferJob) -> bool {
    job.metadata.deletion_timestamp.is_some()
        || has(job, ConditionType::Complete)
        || has(job, ConditionType::Failed)
}

/// Whether that condition holds.
pub fn has(job: &TransferJob, type_: ConditionType) -> bool {
    let conditions = job.status.as_ref().map(|status| &status.conditions[..]);
    find_condition(conditions.unwrap_or_default(), type_)
        .is_some_and(|condition| condition.status == "True")
}

fn is_waiting(job: &TransferJob) -> bool {
    let phase = job
        .status
        .as_ref()
        .map_or(Phase::Queued, |status| status.phase);
    !is_over(job) && phase == Phase::Queued
}

/// The link of a job, if it works.
pub fn live_link(job: &TransferJob, now: Timestamp) -> Option<&crate::api::Link> {
    let link = job.status.as_ref()?.link.as_ref()?;
    let works = has(job, ConditionType::LinkReady)
        && !job.spec.link.revoked
        && link.expires_at.0 > now
        && job.metadata.deletion_timestamp.is_none();
    works.then_some(link)
}

/// The spec of a job that tries `job` again.
pub fn again(job: &TransferJob) -> Option<TransferJob> {
    let mut spec = job.spec.clone();
    spec.link = LinkSpec {
        revoked: false,
        ..spec.link
    };
    spec.suspend = false;
    if let Some(requester) = &mut spec.requester {
        requester.status_message_id = None;
    }
    let mut again = TransferJob::new(&retry_name(&job.name_any())?, spec);
    again.metadata.labels = job.metadata.labels.clone().map(|mut labels| {
        labels.retain(|label, _| label == names::FILE_LABEL);
        labels
    });
    Some(again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_message_is_the_same_job() {
        let name = job_name(7, 5, 42);
        assert_eq!(name, job_name(7, 5, 42));
        assert!(name.len() == 23 && name.starts_with("tj-"), "{name}");
        for other in [
            job_name(8, 5, 42),
            job_name(7, 6, 42),
            job_name(7, 5, 43),
            job_name(75, 4, 2),
        ] {
            assert_ne!(name, other);
        }
        assert_eq!(short_id(&name).len(), 6);
    }

    #[test]
    fn a_failed_job_is_tried_again_under_a_name_of_its_own() {
        let names = std::iter::successors(Some("tj-0a".to_owned()), |name| retry_name(name));
        let names: Vec<_> = names.collect();
        assert_eq!(names[1], "tj-0a-r1");
        assert_eq!(names.len(), 10);
        assert_eq!(short_id("tj-0a1b2c3d4e-r1"), "0a1b2c-r1");
    }

    #[test]
    fn a_file_of_two_users_has_two_labels() {
        assert_ne!(file_tag(1, "u"), file_tag(2, "u"));
        assert_eq!(file_tag(1, "u").len(), 32);
    }
}
