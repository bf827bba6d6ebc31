//! Removes what transfers leave in object storage.
//!
//! Only the controller aborts uploads and deletes objects, and only when no worker runs the job
//! any more. Everything here can be repeated: what is gone already is as good.
//!
//! An Object Storage that does not answer holds up few jobs at a time: for all others the controller
//! goes on. Who comes when that many are at it is told to come again.

use std::time::Duration;

use aws_lc_rs::hmac;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::info;

use super::{CONCURRENCY, lifecycle::Keep};

use crate::{
    Class,
    api::{
        ConditionType, Link, ReclaimPolicy, TransferJob, TransferJobStatus, find_condition,
        names::{self, Placement},
    },
    oci::{self, BucketName, NewPar, ObjectName, ObjectStorage},
};

/// Jobs at a time for which object storage is asked: the others that are reconciled need not wait
/// for it.
const TURNS: usize = CONCURRENCY as usize / 2;

/// When to come again when all turns are taken.
const NEXT_TURN: Duration = Duration::from_secs(2);

/// Object storage could not be cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum CleanUpError {
    /// It is asked for as many other jobs as it may be.
    #[error("object storage is asked for other jobs first")]
    Busy,
    /// It cannot be reached or refuses.
    #[error("cleaning up object storage failed: {0}")]
    Storage(#[from] oci::Error),
}

impl CleanUpError {
    /// What a caller may do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Busy => Class::After(NEXT_TURN),
            Self::Storage(error) => error.class(),
        }
    }

    /// One CamelCase word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Busy => "StorageBusy",
            Self::Storage(error) => error.reason(),
        }
    }
}

/// Removes what transfers leave in object storage.
pub struct CleanUp {
    storage: ObjectStorage,
    bucket: BucketName,
    object_prefix: String,
    object_name_key: hmac::Key,
    turns: Semaphore,
}

/// Where a job's things are, and the turn to ask for them.
struct Place<'a> {
    bucket: BucketName,
    placement: Placement,
    uid: String,
    _turn: SemaphorePermit<'a>,
}

impl CleanUp {
    /// Cleans up in `storage`: in `bucket` for jobs that name none, and objects whose names begin
    /// with `object_prefix` and have users' ids in them under `object_name_key`.
    pub fn new(
        storage: ObjectStorage,
        bucket: BucketName,
        object_prefix: String,
        object_name_key: hmac::Key,
    ) -> Self {
        Self {
            storage,
            bucket,
            object_prefix,
            object_name_key,
            turns: Semaphore::new(TURNS),
        }
    }

    /// Removes what a finished job no longer needs: open uploads, the links of attempts whose
    /// outcome was not the last word, and, if it failed, an object that nobody was told of.
    ///
    /// A first attempt that succeeded, and got all its replies, leaves nothing and costs nothing
    /// here.
    ///
    /// # Errors
    /// Object storage cannot be reached, refuses, or is asked for others first.
    pub async fn leftovers(&self, job: &TransferJob) -> Result<(), CleanUpError> {
        let status = job.status.clone().unwrap_or_default();
        let complete = is_complete(&status);
        if leaves_nothing(&status) {
            return Ok(());
        }
        let place = self.place(job)?;
        self.abort_uploads(&place).await?;
        let kept = status.link.as_ref().filter(|_| complete);
        self.delete_links(&place, kept.map(|link| link.id.as_str()))
            .await?;
        if !complete {
            self.delete_objects(&place).await?;
        }
        Ok(())
    }

    /// Removes everything that must not outlive the job: uploads, links, and the object if the
    /// reclaim policy says so or nobody was ever told of it.
    ///
    /// # Errors
    /// Object storage cannot be reached, refuses, or is asked for others first.
    pub async fn everything(&self, job: &TransferJob) -> Result<(), CleanUpError> {
        let status = job.status.clone().unwrap_or_default();
        if status.attempt == 0 {
            return Ok(());
        }
        let place = self.place(job)?;
        self.abort_uploads(&place).await?;
        self.delete_links(&place, None).await?;
        if !is_complete(&status) || job.spec.reclaim_policy == ReclaimPolicy::Delete {
            self.delete_objects(&place).await?;
        }
        Ok(())
    }

    /// Ends the links of a job.
    ///
    /// # Errors
    /// Object storage cannot be reached, refuses, or is asked for others first.
    pub async fn end_links(&self, job: &TransferJob, keep: Keep) -> Result<(), CleanUpError> {
        let kept = current_link(job).filter(|_| keep == Keep::Current);
        self.delete_links(&self.place(job)?, kept).await
    }

    /// Makes another link to the object of a job. The one in its status goes on working; others,
    /// which may have been made and lost, are ended.
    ///
    /// # Errors
    /// Object storage cannot be reached, refuses, or is asked for others first.
    pub async fn renew_link(
        &self,
        job: &TransferJob,
        expires: Timestamp,
    ) -> Result<Link, CleanUpError> {
        let place = self.place(job)?;
        self.delete_links(&place, current_link(job)).await?;
        let object = job
            .status
            .as_ref()
            .and_then(|status| status.object.as_ref());
        let generation = job.metadata.generation.unwrap_or_default();
        let new = NewPar {
            name: names::renewed_link_name(&place.uid, generation),
            object: ObjectName::new(object.map_or("", |object| object.name.as_str()))?,
            expires,
        };
        let par = self.storage.create_par(&place.bucket, &new).await?;
        info!("renewed a link");
        Ok(Link {
            id: par.id.as_str().to_owned(),
            url: par.url.expose().to_owned(),
            expires_at: Time(par.expires),
            ttl: job.spec.link.ttl,
        })
    }

    /// Whether a whole object of the job is there: only a whole one appears under its name.
    ///
    /// # Errors
    /// Object storage cannot be reached, refuses, or is asked for others first.
    pub async fn has_object(&self, job: &TransferJob) -> Result<bool, CleanUpError> {
        let place = self.place(job)?;
        let listed = self
            .storage
            .list_objects(&place.bucket, place.placement.prefix())
            .await;
        for name in or_nothing(listed)? {
            if place.placement.holds(name.as_str()) && self.is_ours(&place, &name).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn place(&self, job: &TransferJob) -> Result<Place<'_>, CleanUpError> {
        let turn = self.turns.try_acquire().map_err(|_| CleanUpError::Busy)?;
        let bucket = job
            .spec
            .destination
            .bucket
            .as_deref()
            .map(BucketName::new)
            .transpose()?;
        Ok(Place {
            bucket: bucket.unwrap_or_else(|| self.bucket.clone()),
            placement: names::placement(job, &self.object_prefix, &self.object_name_key),
            uid: job.uid().unwrap_or_default(),
            _turn: turn,
        })
    }

    /// Found by the object's name, not by the status alone: the write of an upload's id may have
    /// been lost.
    async fn abort_uploads(&self, place: &Place<'_>) -> Result<(), CleanUpError> {
        let listed = self
            .storage
            .list_uploads(&place.bucket, place.placement.prefix())
            .await;
        for found in or_nothing(listed)? {
            if place.placement.holds(found.upload.object.as_str()) {
                self.storage.abort_multipart_upload(&found.upload).await?;
                info!("aborted an upload");
            }
        }
        Ok(())
    }

    async fn delete_links(
        &self,
        place: &Place<'_>,
        kept: Option<&str>,
    ) -> Result<(), CleanUpError> {
        let listed = self
            .storage
            .list_pars(&place.bucket, place.placement.prefix())
            .await;
        for par in or_nothing(listed)? {
            if names::is_link_of(&par.name, &place.uid) && Some(par.id.as_str()) != kept {
                self.storage.delete_par(&place.bucket, &par.id).await?;
                info!("deleted a link");
            }
        }
        Ok(())
    }

    /// An object is the job's only if its metadata says so.
    async fn delete_objects(&self, place: &Place<'_>) -> Result<(), CleanUpError> {
        let listed = self
            .storage
            .list_objects(&place.bucket, place.placement.prefix())
            .await;
        for name in or_nothing(listed)? {
            if place.placement.holds(name.as_str()) && self.is_ours(place, &name).await? {
                self.storage.delete_object(&place.bucket, &name).await?;
                info!("deleted an object");
            }
        }
        Ok(())
    }

    async fn is_ours(&self, place: &Place<'_>, name: &ObjectName) -> Result<bool, CleanUpError> {
        let head = self.storage.head_object(&place.bucket, name).await?;
        Ok(head.is_some_and(|head| head.metadata.get(names::OBJECT_UID_KEY) == Some(&place.uid)))
    }
}

fn leaves_nothing(status: &TransferJobStatus) -> bool {
    let is_tidy = status.attempt == 1 && status.upload.is_none() && status.stray_until.is_none();
    status.attempt == 0 || is_complete(status) && is_tidy
}

fn is_complete(status: &TransferJobStatus) -> bool {
    find_condition(&status.conditions, ConditionType::Complete).is_some()
}

/// The id of the link in the status.
fn current_link(job: &TransferJob) -> Option<&str> {
    let link = job.status.as_ref()?.link.as_ref()?;
    Some(&link.id)
}

/// In a bucket that is not there, or that we may not see, nothing was ever left.
fn or_nothing<T>(listed: oci::Result<Vec<T>>) -> oci::Result<Vec<T>> {
    match listed {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        listed => listed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_first_attempt_that_got_all_its_replies_leaves_nothing() {
        let complete = json!([{
            "type": "Complete", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-11-02T00:00:00Z",
        }]);
        let upload = json!({"uploadId": "u", "objectName": "o", "partSize": 1, "fileId": 1});
        for (status, nothing) in [
            (json!({"attempt": 0}), true),
            (json!({"attempt": 1, "conditions": complete}), true),
            (json!({"attempt": 1}), false),
            (json!({"attempt": 2, "conditions": complete}), false),
            (
                json!({"attempt": 1, "conditions": complete, "upload": upload}),
                false,
            ),
            (
                json!({"attempt": 1, "conditions": complete, "strayUntil": "2026-11-02T00:00:00Z"}),
                false,
            ),
        ] {
            let parsed: TransferJobStatus = serde_json::from_value(status.clone()).unwrap();
            assert_eq!(leaves_nothing(&parsed), nothing, "{status}");
        }
    }
}
