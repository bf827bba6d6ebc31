//! Buckets and whole objects: asking after them, putting a small one, deleting one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use futures::Stream;
use reqwest::Method;
use reqwest::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH,
};

use serde::Deserialize;

use super::client::{Call, ObjectStorage, Reply};
use super::error::{Error, Result, ServiceCode};
use super::names::{BucketName, Crc32c, Etag, ObjectName};
use super::operation::Operation;

/// What the names of an object's own metadata begin with on the wire.
pub(super) const META: &str = "opc-meta-";

/// Asks the service to compute and return a CRC-32C, besides the MD5 it always computes.
pub(super) const CHECKSUM: (HeaderName, HeaderValue) = (
    HeaderName::from_static("opc-checksum-algorithm"),
    HeaderValue::from_static("CRC32C"),
);

/// What a new object is besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewObject {
    /// The media type; the service's default if absent.
    pub content_type: Option<String>,
    /// The `Content-Disposition` of downloads, in ASCII (RFC 6266 says how to encode the rest).
    pub content_disposition: Option<String>,
    /// The storage tier; the bucket's own if absent.
    pub storage_tier: Option<StorageTier>,
    /// Metadata of one's own, without the `opc-meta-` that its names have on the wire.
    pub metadata: BTreeMap<String, String>,
}

/// A storage tier of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageTier {
    /// For frequent access.
    Standard,
    /// Cheaper to keep, dearer to read.
    InfrequentAccess,
    /// Must be restored before it can be read, so a link to it does not work at once.
    Archive,
}

impl StorageTier {
    /// The tier as the service writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::InfrequentAccess => "InfrequentAccess",
            Self::Archive => "Archive",
        }
    }
}

impl fmt::Display for StorageTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StorageTier {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Standard, Self::InfrequentAccess, Self::Archive]
            .into_iter()
            .find(|tier| tier.as_str() == text)
            .ok_or(Error::InvalidName {
                what: "storage tier",
                why: "Standard, InfrequentAccess or Archive is expected",
            })
    }
}

/// What becomes of an object that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the request fails with [`ServiceCode::IfNoneMatchFailed`].
    Keep,
    /// It is replaced.
    Replace,
}

/// An object as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Its size in bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Etag,
    /// Its CRC-32C, if it was written with one.
    pub crc32c: Option<Crc32c>,
    /// Its media type.
    pub content_type: Option<String>,
    /// Its metadata, without the `opc-meta-` of the wire.
    pub metadata: BTreeMap<String, String>,
}

/// What the service says of an object it has just stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The entity tag of the object.
    pub etag: Etag,
    /// The CRC-32C of the whole object as the service computed it.
    pub crc32c: Option<Crc32c>,
    /// The MD5 in base64; of a multipart upload, that of the parts' MD5s followed by `-` and
    /// their number.
    pub md5: Option<String>,
}

/// What became of something that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone now.
    Removed,
    /// It was not there; perhaps a first try removed it and its reply was lost.
    WasAbsent,
}

impl Removal {
    /// Sorts the outcome of a removal. A 404 that may as well mean a missing permission stays an
    /// error: it proves nothing.
    pub(super) fn of(outcome: Result<Reply>) -> Result<Self> {
        use ServiceCode::{BucketNotFound, NamespaceNotFound, NotAuthorizedOrNotFound, Other};
        let Err(error) = outcome else {
            return Ok(Self::Removed);
        };
        match error.code() {
            Some(BucketNotFound | NamespaceNotFound | NotAuthorizedOrNotFound) => Err(error),
            Some(Other(code)) if code.is_empty() => Err(error),
            _ if error.is_not_found() => Ok(Self::WasAbsent),
            _ => Err(error),
        }
    }
}

impl NewObject {
    /// The same as headers.
    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        if let Some(media_type) = &self.content_type {
            headers.insert(CONTENT_TYPE, value("content type", media_type)?);
        }
        if let Some(disposition) = &self.content_disposition {
            headers.insert(
                CONTENT_DISPOSITION,
                value("content disposition", disposition)?,
            );
        }
        if let Some(tier) = self.storage_tier {
            headers.insert("storage-tier", HeaderValue::from_static(tier.as_str()));
        }
        for (name, text) in &self.metadata {
            let name =
                HeaderName::try_from(format!("{META}{name}")).map_err(|_| Error::InvalidName {
                    what: "name of metadata",
                    why: "letters, digits and - are allowed",
                })?;
            headers.insert(name, value("metadata", text)?);
        }
        Ok(headers)
    }
}

fn value(what: &'static str, text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| Error::InvalidName {
        what,
        why: "only visible ASCII is allowed",
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectsReply {
    objects: Vec<ObjectEntry>,
    next_start_with: Option<String>,
}

#[derive(Deserialize)]
struct ObjectEntry {
    name: String,
}

impl ObjectStorage {
    /// Asks whether the bucket is there and these credentials may see it.
    ///
    /// # Errors
    /// [`ServiceCode::BucketNotFound`] if not: the service does not tell the two apart.
    pub async fn head_bucket(&self, bucket: &BucketName) -> Result<()> {
        let call = Call {
            operation: Operation::HeadBucket,
            method: Method::HEAD,
            url: self.url(bucket, &[], &[]),
            headers: HeaderMap::new(),
            json: None,
        };
        self.call(call).await.map(drop)
    }

    /// Asks after an object. `None` if there is none, or no permission to see it.
    ///
    /// # Errors
    /// Those of a request that may be repeated; see [`Error::class`].
    pub async fn head_object(
        &self,
        bucket: &BucketName,
        object: &ObjectName,
    ) -> Result<Option<ObjectHead>> {
        let call = Call {
            operation: Operation::HeadObject,
            method: Method::HEAD,
            url: self.url(bucket, &["o", object.as_str()], &[]),
            headers: HeaderMap::new(),
            json: None,
        };
        match self.call(call).await {
            Ok(reply) => object_head(&reply).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores an object of `length` bytes in one request. The body is streamed, and is not
    /// tried again here. Chunks should be small against the bandwidth: the service must take
    /// each within [`Timeouts::stall`](super::Timeouts::stall).
    ///
    /// # Errors
    /// [`Error::ReplyLost`] if the whole body was sent and no reply came: look at the object.
    /// [`Error::Body`] if the stream failed.
    pub async fn put_object<S, E>(
        &self,
        bucket: &BucketName,
        object: &ObjectName,
        new: &NewObject,
        existing: Existing,
        length: u64,
        body: S,
    ) -> Result<StoredObject>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let mut headers = new.headers()?;
        let (name, algorithm) = CHECKSUM;
        headers.insert(name, algorithm);
        if existing == Existing::Keep {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let call = Call {
            operation: Operation::PutObject,
            method: Method::PUT,
            url: self.url(bucket, &["o", object.as_str()], &[]),
            headers,
            json: None,
        };
        let reply = self.upload(call, length, body).await?;
        Ok(StoredObject {
            etag: reply.etag()?,
            crc32c: reply.crc32c(),
            md5: reply.header("opc-content-md5").map(str::to_owned),
        })
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// Those of a request that may be repeated; see [`Error::class`].
    pub async fn delete_object(&self, bucket: &BucketName, object: &ObjectName) -> Result<Removal> {
        let call = Call {
            operation: Operation::DeleteObject,
            method: Method::DELETE,
            url: self.url(bucket, &["o", object.as_str()], &[]),
            headers: HeaderMap::new(),
            json: None,
        };
        Removal::of(self.call(call).await)
    }

    /// Names of the objects that begin with `prefix`, all pages.
    ///
    /// # Errors
    /// What the service or the network says.
    pub async fn list_objects(&self, bucket: &BucketName, prefix: &str) -> Result<Vec<ObjectName>> {
        let mut names = Vec::new();
        let mut start: Option<String> = None;
        loop {
            let mut query = vec![("prefix", prefix), ("fields", "name"), ("limit", "1000")];
            query.extend(start.as_deref().map(|start| ("start", start)));
            let call = Call {
                operation: Operation::ListObjects,
                method: Method::GET,
                url: self.url(bucket, &["o"], &query),
                headers: HeaderMap::new(),
                json: None,
            };
            let page: ObjectsReply = self.call(call).await?.json()?;
            names.extend(
                page.objects
                    .into_iter()
                    .filter_map(|object| ObjectName::new(object.name).ok()),
            );
            match page.next_start_with {
                Some(next) if Some(&next) != start.as_ref() => start = Some(next),
                _ => return Ok(names),
            }
        }
    }
}

fn object_head(reply: &Reply) -> Result<ObjectHead> {
    let size = reply.header(CONTENT_LENGTH.as_str());
    let metadata = reply.headers().iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(META)?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    Ok(ObjectHead {
        size: size
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| reply.invalid("has no size"))?,
        etag: reply.etag()?,
        crc32c: reply.crc32c(),
        content_type: reply.header(CONTENT_TYPE.as_str()).map(str::to_owned),
        metadata: metadata.collect(),
    })
}
