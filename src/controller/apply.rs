//! The writes of the controller to the API server, each under a deadline and each only valid for
//! the object as it was observed.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
    core::Status,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{lifecycle::Notice, merge_patch, metrics::ControllerMetrics};
use crate::{
    Class,
    api::{TransferJob, TransferJobStatus, names},
};

/// A call that takes longer is given up.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// Longest text of an event, by the API's own limit.
const MAX_NOTE_BYTES: usize = 1_024;

/// What an event says instead of words that name the file: whoever may read events may not know it.
const WITHHELD: &str = "Withheld here, for it names the file: see the status";

/// A call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// It took too long.
    #[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// The object has changed since it was observed. Observe again.
    #[error("the object has changed meanwhile")]
    Conflict,
    /// The object is gone.
    #[error("the object is gone")]
    NotFound,
    /// Anything else.
    #[error("the API server refused: {0}")]
    Refused(#[source] Box<kube::Error>),
    /// An object could not be written as JSON.
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl ApiError {
    /// What a caller may do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Timeout | Self::Refused(_) => Class::Transient,
            Self::Conflict | Self::NotFound => Class::Interrupted,
            Self::Json(_) => Class::Permanent,
        }
    }

    /// Whether it is the API server that fails, and not what it was asked for.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Refused(error) => match &**error {
                kube::Error::Api(status) => status.code >= 500,
                kube::Error::HyperError(_) | kube::Error::Service(_) => true,
                _ => false,
            },
            Self::Conflict | Self::NotFound | Self::Json(_) => false,
        }
    }

    /// What the API server has answered, if it has refused.
    pub fn answer(&self) -> Option<&Status> {
        match self {
            Self::Refused(error) => match &**error {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Writes in one namespace.
#[derive(Clone)]
pub struct Writer {
    jobs: Api<TransferJob>,
    pods: Api<Pod>,
    recorder: Recorder,
    metrics: ControllerMetrics,
}

impl Writer {
    /// Writes in `namespace`, reporting events as `reporter`.
    pub fn new(
        client: Client,
        namespace: &str,
        instance: Option<String>,
        metrics: ControllerMetrics,
    ) -> Self {
        let reporter = Reporter {
            controller: "telestream-controller".to_owned(),
            instance,
        };
        Self {
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            recorder: Recorder::new(client, reporter),
            metrics,
        }
    }

    /// Changes the status to `new`, if the job is still as observed. Returns it as it is then.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if it has changed, or what keeps us from writing.
    pub async fn status(
        &self,
        job: &TransferJob,
        new: &TransferJobStatus,
    ) -> Result<TransferJob, ApiError> {
        let old = serde_json::to_value(job.status.clone().unwrap_or_default())?;
        let patch = merge_patch::diff(&old, &serde_json::to_value(new)?);
        let patch = observed(job, json!({ "status": patch }));
        let written = call(self.jobs.patch_status(
            &job.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        ))
        .await;
        self.metrics.status_write(match &written {
            Ok(_) => "ok",
            Err(ApiError::Conflict | ApiError::NotFound) => "conflict",
            Err(_) => "error",
        });
        if written.is_ok() {
            self.metrics.wrote(job, new, Timestamp::now());
        }
        written
    }

    /// Adds our finalizer. Returns the job's metadata then.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn add_finalizer(&self, job: &TransferJob) -> Result<ObjectMeta, ApiError> {
        let finalizers: Vec<_> = job
            .finalizers()
            .iter()
            .map(String::as_str)
            .chain([names::FINALIZER])
            .collect();
        self.metadata(job, json!({ "finalizers": finalizers }))
            .await
    }

    /// Removes our finalizer: the job may go.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn remove_finalizer(&self, job: &TransferJob) -> Result<(), ApiError> {
        let finalizers: Vec<_> = job
            .finalizers()
            .iter()
            .filter(|name| *name != names::FINALIZER)
            .collect();
        self.metadata(job, json!({ "finalizers": finalizers }))
            .await
            .map(drop)
    }

    /// Labels the job finished: it leaves the main watch, and is looked at again at `wake`.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn label_finished(
        &self,
        job: &TransferJob,
        wake: Option<Timestamp>,
    ) -> Result<(), ApiError> {
        let generation = job.metadata.generation.unwrap_or_default().to_string();
        let change = json!({
            "labels": {
                names::FINISHED_LABEL: generation,
                names::WAKE_HOUR_LABEL: wake.map(|time| names::wake_hour(time).to_string()),
            },
            "annotations": { names::WAKE_ANNOTATION: wake.map(|time| time.to_string()) },
        });
        self.metadata(job, change).await.map(drop)
    }

    /// Takes the finished label off a job, by name: it comes back into the main watch.
    ///
    /// # Errors
    /// What keeps us from writing.
    pub async fn unlabel_finished(&self, name: &str) -> Result<(), ApiError> {
        let patch = json!({ "metadata": {
            "labels": { names::FINISHED_LABEL: null, names::WAKE_HOUR_LABEL: null },
            "annotations": { names::WAKE_ANNOTATION: null },
        } });
        call(
            self.jobs
                .patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)),
        )
        .await
        .map(drop)
    }

    /// Deletes the job, if it is still as observed.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn delete_job(&self, job: &TransferJob) -> Result<(), ApiError> {
        let preconditions = Preconditions {
            uid: job.uid(),
            resource_version: job.resource_version(),
        };
        let parameters = DeleteParams::background().preconditions(preconditions);
        call(self.jobs.delete(&job.name_any(), &parameters))
            .await
            .map(drop)
    }

    /// Tells of a transition. A lost event is not repeated: the status says the same.
    ///
    /// # Errors
    /// What keeps us from writing.
    pub async fn event(&self, job: &TransferJob, notice: Notice) -> Result<(), ApiError> {
        let mut note = notice.message;
        if names_file(job, &note) {
            WITHHELD.clone_into(&mut note);
        }
        note.truncate(note.floor_char_boundary(MAX_NOTE_BYTES));
        let event = Event {
            type_: if notice.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason,
            note: Some(note),
            action: "Transfer".to_owned(),
            secondary: None,
        };
        call(self.recorder.publish(&event, &job.object_ref(&()))).await
    }

    /// Makes a pod, and returns its UID. There may be one of its name already: it is seen by the
    /// watch.
    ///
    /// # Errors
    /// What keeps us from writing.
    pub async fn create_pod(&self, pod: &Pod) -> Result<Option<String>, ApiError> {
        match call(self.pods.create(&PostParams::default(), pod)).await {
            Ok(made) => Ok(made.uid()),
            Err(ApiError::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the pod of that name and UID. One that is gone already is as good.
    ///
    /// # Errors
    /// What keeps us from writing.
    pub async fn delete_pod(&self, name: &str, uid: &str) -> Result<(), ApiError> {
        let preconditions = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        };
        let parameters = DeleteParams::background().preconditions(preconditions);
        match call(self.pods.delete(name, &parameters)).await {
            Ok(_) | Err(ApiError::NotFound | ApiError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn metadata(&self, job: &TransferJob, change: Value) -> Result<ObjectMeta, ApiError> {
        let patch = observed(job, json!({ "metadata": change }));
        call(self.jobs.patch_metadata(
            &job.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        ))
        .await
        .map(|written| written.metadata)
    }
}

/// Whether a text names the file of a job, as answers of Object Storage do: by its object, or by
/// itself.
fn names_file(job: &TransferJob, text: &str) -> bool {
    let folder = format!("/{}/", job.name_any());
    let progress = job
        .status
        .as_ref()
        .and_then(|status| status.progress.as_ref());
    let names = [
        Some(&folder),
        job.spec.source.file_name.as_ref(),
        job.spec.destination.object_name.as_ref(),
        progress.map(|progress| &progress.file_name),
    ];
    let mut names = names.into_iter().flatten();
    names.any(|name| !name.is_empty() && text.contains(name.as_str()))
}

/// Makes a patch valid only for the object as it was observed.
fn observed(job: &TransferJob, mut patch: Value) -> Value {
    let identity: BTreeMap<_, _> = [
        ("uid", job.uid()),
        ("resourceVersion", job.resource_version()),
    ]
    .into_iter()
    .collect();
    for (key, value) in identity {
        patch["metadata"][key] = json!(value);
    }
    patch
}

/// Makes a call under a deadline.
pub(super) async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match timeout(CALL_TIMEOUT, request).await {
        Err(_) => Err(ApiError::Timeout),
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(ApiError::Conflict),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(ApiError::NotFound),
        Ok(Err(error)) => Err(ApiError::Refused(Box::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_outage_is_no_answer_or_one_of_a_server_that_fails() {
        let answered = async |code: u16| {
            let status = Status::failure("words", "Reason").with_code(code);
            let answer = Err(kube::Error::Api(Box::new(status)));
            call::<()>(async { answer }).await.unwrap_err()
        };
        for code in [400, 401, 403, 404, 409, 413, 422, 429] {
            assert!(!answered(code).await.is_outage(), "{code}");
        }
        for code in [500, 502, 503, 504] {
            assert!(answered(code).await.is_outage(), "{code}");
        }
        let unreachable = kube::Error::Service("connection refused".into());
        let unreadable = kube::Error::LinesCodecMaxLineLengthExceeded;
        assert!(ApiError::Timeout.is_outage());
        assert!(ApiError::Refused(Box::new(unreachable)).is_outage());
        assert!(!ApiError::Refused(Box::new(unreadable)).is_outage());
    }

    #[test]
    fn a_text_that_names_the_file_is_known() {
        let job = serde_json::json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": "tj-1"},
            "spec": {"source": {"chatId": 1, "messageId": 1, "fileName": "caption.mp4"},
                "destination": {"objectName": "films/one"}},
            "status": {"progress": {"attempt": 1, "bytes": 0, "total": 1, "percent": "", "size": "",
                "fileName": "holiday.mp4", "bytesPerSecond": 0, "rate": "", "updatedAt": "2026-11-01T00:00:00Z"}},
        });
        let job: TransferJob = serde_json::from_value(job).unwrap();
        for (text, names) in [
            ("PutObject: 404 BucketNotFound: no bucket 'b'", false),
            ("the object 'x/shared/202611/tj-1/any' exists", true),
            ("the object 'films/one' exists", true),
            ("no room for holiday.mp4", true),
            ("no room for caption.mp4", true),
        ] {
            assert_eq!(names_file(&job, text), names, "{text}");
        }
        let bare = TransferJob::new(
            "tj-2",
            serde_json::from_value(json!({"source": {"chatId": 1, "messageId": 1}})).unwrap(),
        );
        assert!(!names_file(&bare, "anything"));
    }
}
