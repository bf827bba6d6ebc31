//! The permissions each operation needs (objectstoragepolicyreference.htm), and those withheld.
//!
//! The stand-in has one principal. What it lacks is answered as the service answers: as if the
//! bucket did not exist. A link needs its creator's permissions each time it is used.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::route::{Call, Operation};

/// A permission, spelt in JSON as in a policy (`PAR_MANAGE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are those of the policy reference")]
pub enum Permission {
    BucketInspect,
    BucketRead,
    ObjectInspect,
    ObjectRead,
    ObjectCreate,
    ObjectOverwrite,
    ObjectDelete,
    ParManage,
}

impl Operation {
    /// All of these are needed; of an inner list, one.
    fn needs(self) -> &'static [&'static [Permission]] {
        use Permission as P;
        match self {
            Self::GetNamespace => &[],
            Self::GetBucket | Self::ListMultipartUploads => &[&[P::BucketRead]],
            Self::HeadBucket => &[&[P::BucketInspect, P::BucketRead]],
            Self::CreateMultipartUpload
            | Self::UploadPart
            | Self::CommitMultipartUpload
            | Self::LinkPut => &[&[P::ObjectCreate], &[P::ObjectOverwrite]],
            Self::PutObject => &[&[P::ObjectCreate]],
            Self::ListMultipartUploadParts | Self::ListObjects | Self::LinkList => {
                &[&[P::ObjectInspect]]
            }
            Self::AbortMultipartUpload | Self::DeleteObject => &[&[P::ObjectDelete]],
            Self::GetObject | Self::LinkGet | Self::LinkHead => &[&[P::ObjectRead]],
            Self::HeadObject => &[&[P::ObjectInspect, P::ObjectRead]],
            Self::CreatePreauthenticatedRequest
            | Self::ListPreauthenticatedRequests
            | Self::GetPreauthenticatedRequest
            | Self::DeletePreauthenticatedRequest => &[&[P::ParManage]],
        }
    }
}

/// The permissions the principal lacks.
#[derive(Debug, Default)]
pub(super) struct Policy(RwLock<HashSet<Permission>>);

impl Policy {
    pub(super) fn withhold(&self, permissions: &[Permission]) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            permissions.iter().copied().collect();
    }

    pub(super) fn check(&self, call: &Call) -> Result<(), ApiError> {
        let withheld = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let held = |permission| !withheld.contains(permission);
        if call
            .operation
            .needs()
            .iter()
            .all(|any| any.iter().any(held))
        {
            Ok(())
        } else {
            Err(ApiError::bucket_not_found(&call.namespace, &call.bucket))
        }
    }
}
