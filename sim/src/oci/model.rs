//! What the service remembers: buckets, objects, uploads with their parts, and pre-authenticated
//! requests. Plain records; their rules are in the modules that make them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::blob::Extent;
use super::checksum::{Algorithm, Checksum, Digests};
use super::names::{ObjectName, PartNumber};

/// A bucket and all that is in it.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) etag: String,
    pub(super) created: Timestamp,
    pub(super) objects: BTreeMap<ObjectName, Arc<Object>>,
    /// By upload id.
    pub(super) uploads: BTreeMap<String, Upload>,
    /// By id.
    pub(super) pars: BTreeMap<String, Arc<Par>>,
    /// From a PAR's secret to its id.
    pub(super) par_tokens: HashMap<String, String>,
}

impl Bucket {
    pub(super) fn new(etag: String, created: Timestamp) -> Self {
        Self {
            etag,
            created,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            pars: BTreeMap::new(),
            par_tokens: HashMap::new(),
        }
    }
}

/// A whole object.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Object {
    pub(super) name: ObjectName,
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) md5: ObjectMd5,
    pub(super) crc32c: u32,
    /// The checksum the client chose, if it chose one.
    pub(super) checksum: Option<Checksum>,
    pub(super) presentation: Presentation,
    pub(super) extents: Vec<Arc<Extent>>,
}

/// The MD5 an object is listed with, in base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ObjectMd5 {
    /// Of an object put at once: that of its bytes.
    Content(String),
    /// Of an object made of parts: that of the MD5s of its parts, and their number.
    Multipart(String),
}

impl ObjectMd5 {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Content(md5) | Self::Multipart(md5) => md5,
        }
    }
}

/// What a client says about an object for those who read it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Presentation {
    pub(super) content_type: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) storage_tier: Option<String>,
    /// Without the prefix `opc-meta-`.
    pub(super) metadata: BTreeMap<String, String>,
}

impl Presentation {
    pub(super) fn storage_tier(&self) -> &str {
        self.storage_tier.as_deref().unwrap_or("Standard")
    }
}

/// A multipart upload that is neither committed nor aborted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) object: ObjectName,
    pub(super) created: Timestamp,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) presentation: Presentation,
    pub(super) parts: BTreeMap<PartNumber, Part>,
}

/// One part of an upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) number: PartNumber,
    pub(super) etag: String,
    pub(super) digests: Digests,
    pub(super) extent: Arc<Extent>,
}

/// A pre-authenticated request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Par {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) token: String,
    pub(super) access: AccessType,
    pub(super) listing: Option<BucketListing>,
    /// The object; for the `Any` types a prefix of names, or nothing.
    pub(super) object_name: Option<String>,
    pub(super) created: Timestamp,
    pub(super) expires: Timestamp,
}

/// What the holder of a link may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::enum_variant_names,
    reason = "the names are those of the API reference"
)]
pub(super) enum AccessType {
    ObjectRead,
    ObjectWrite,
    ObjectReadWrite,
    AnyObjectRead,
    AnyObjectWrite,
    AnyObjectReadWrite,
}

/// Whether the holder of a link to any object may list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BucketListing {
    Deny,
    ListObjects,
}
