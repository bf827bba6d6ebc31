//! The calls of the API by name, as they appear in errors, logs and metric labels, and which of
//! them may be repeated without asking.

use std::fmt;

/// A call of the Object Storage API, by Oracle's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Oracle's and say what they do")]
pub enum Operation {
    HeadBucket,
    HeadObject,
    PutObject,
    DeleteObject,
    ListObjects,
    CreateMultipartUpload,
    UploadPart,
    CommitMultipartUpload,
    AbortMultipartUpload,
    ListMultipartUploads,
    ListMultipartUploadParts,
    CreatePreauthenticatedRequest,
    ListPreauthenticatedRequests,
    DeletePreauthenticatedRequest,
}

/// What a second execution of the same request would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeating {
    /// Nothing more than the first.
    Harmless,
    /// Leave a second upload or link behind, or be refused because of the first: after a lost
    /// reply only the caller can find out what is there.
    AsksTheCaller,
}

impl Operation {
    /// Oracle's name of the operation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeadBucket => "HeadBucket",
            Self::HeadObject => "HeadObject",
            Self::PutObject => "PutObject",
            Self::DeleteObject => "DeleteObject",
            Self::ListObjects => "ListObjects",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::CommitMultipartUpload => "CommitMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::ListMultipartUploadParts => "ListMultipartUploadParts",
            Self::CreatePreauthenticatedRequest => "CreatePreauthenticatedRequest",
            Self::ListPreauthenticatedRequests => "ListPreauthenticatedRequests",
            Self::DeletePreauthenticatedRequest => "DeletePreauthenticatedRequest",
        }
    }

    pub(super) fn repeating(self) -> Repeating {
        match self {
            Self::PutObject
            | Self::CreateMultipartUpload
            | Self::CommitMultipartUpload
            | Self::CreatePreauthenticatedRequest => Repeating::AsksTheCaller,
            Self::HeadBucket
            | Self::HeadObject
            | Self::DeleteObject
            | Self::ListObjects
            | Self::UploadPart
            | Self::AbortMultipartUpload
            | Self::ListMultipartUploads
            | Self::ListMultipartUploadParts
            | Self::ListPreauthenticatedRequests
            | Self::DeletePreauthenticatedRequest => Repeating::Harmless,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
