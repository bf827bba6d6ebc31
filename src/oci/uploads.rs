//! Multipart uploads: beginning one, its parts, and its end. What the service lists is the truth
//! about an upload; nothing is remembered here.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH};
use serde::{Deserialize, Serialize};

use super::client::{Call, ObjectStorage};
use super::error::{Error, Result};
use super::names::{BucketName, Crc32c, Etag, ObjectName, PartNumber, UploadId};
use super::objects::{CHECKSUM, META, NewObject, Removal, StoredObject};
use super::operation::Operation;

/// One multipart upload. All three together name it, so that it can be taken up by another
/// process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The bucket it is in.
    pub bucket: BucketName,
    /// The object it will be.
    pub object: ObjectName,
    /// What the service calls it.
    pub id: UploadId,
}

/// An upload that was begun and neither committed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadSummary {
    /// The upload.
    pub upload: Upload,
    /// When it was begun, if the service says.
    pub created: Option<Timestamp>,
}

/// What the service says of a part it has just stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// The entity tag, which a commit must name.
    pub etag: Etag,
    /// The CRC-32C as the service computed it.
    pub crc32c: Option<Crc32c>,
    /// The MD5 as the service computed it, in base64.
    pub md5: Option<String>,
    /// The bytes that were sent.
    pub size: u64,
}

/// A part as the service lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSummary {
    /// Its number.
    pub number: PartNumber,
    /// Its size in bytes.
    pub size: u64,
    /// The entity tag, which a commit must name.
    pub etag: Etag,
    /// The MD5 in base64.
    pub md5: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateDetails<'a> {
    object: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_disposition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_tier: Option<&'static str>,
    metadata: BTreeMap<String, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CommitDetails<'a> {
    parts_to_commit: Vec<PartToCommit<'a>>,
    parts_to_exclude: Vec<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartToCommit<'a> {
    part_num: u32,
    etag: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadReply {
    object: String,
    upload_id: String,
    time_created: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartReply {
    part_number: u32,
    size: u64,
    etag: String,
    md5: Option<String>,
}

impl ObjectStorage {
    /// Begins a multipart upload.
    ///
    /// # Errors
    /// [`Error::ReplyLost`] if an upload may have been begun that nobody knows the id of: it is
    /// in the list of uploads.
    pub async fn create_multipart_upload(
        &self,
        bucket: &BucketName,
        object: &ObjectName,
        new: &NewObject,
    ) -> Result<Upload> {
        let metadata = new.metadata.iter();
        let details = CreateDetails {
            object: object.as_str(),
            content_type: new.content_type.as_deref(),
            content_disposition: new.content_disposition.as_deref(),
            storage_tier: new.storage_tier.map(super::StorageTier::as_str),
            metadata: metadata
                .map(|(name, text)| (format!("{META}{name}"), text.as_str()))
                .collect(),
        };
        let call = Call {
            operation: Operation::CreateMultipartUpload,
            method: Method::POST,
            url: self.url(bucket, &["u"], &[]),
            headers: HeaderMap::from_iter([CHECKSUM]),
            json: Some(json(&details)),
        };
        let reply = self.call(call).await?;
        let begun: UploadReply = reply.json()?;
        Ok(Upload {
            bucket: bucket.clone(),
            object: object.clone(),
            id: UploadId::new(begun.upload_id).map_err(|_| reply.invalid("has no upload id"))?,
        })
    }

    /// Stores one part of `length` bytes; one that is there already is replaced. The body is
    /// streamed, and is not tried again here. Chunks should be small against the bandwidth: the
    /// service must take each within [`Timeouts::stall`](super::Timeouts::stall).
    ///
    /// # Errors
    /// [`Error::Body`] if the stream failed. After any other the part may be stored all the same;
    /// sending it again is harmless, but list the parts before the commit if that happened, for a
    /// late first try may have replaced the etag of the second.
    pub async fn upload_part<S, E>(
        &self,
        upload: &Upload,
        number: PartNumber,
        length: u64,
        body: S,
    ) -> Result<StoredPart>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let number = number.to_string();
        let media_type = HeaderValue::from_static("application/octet-stream");
        let call = Call {
            operation: Operation::UploadPart,
            method: Method::PUT,
            url: self.upload_url(upload, &[("uploadPartNum", &number)]),
            headers: HeaderMap::from_iter([CHECKSUM, (CONTENT_TYPE, media_type)]),
            json: None,
        };
        let reply = self.upload(call, length, body).await?;
        Ok(StoredPart {
            etag: reply.etag()?,
            crc32c: reply.crc32c(),
            md5: reply.header("opc-content-md5").map(str::to_owned),
            size: length,
        })
    }

    /// Makes the object of the parts, unless an object of that name exists. Every part that is
    /// stored must be either in `parts` or in `excluded`.
    ///
    /// # Errors
    /// [`Error::ReplyLost`] if the object may exist: look at it. Of the service's answers,
    /// [`InvalidUploadPart`](super::ServiceCode::InvalidUploadPart) means that an etag is not the
    /// part's present one, and [`IfNoneMatchFailed`](super::ServiceCode::IfNoneMatchFailed) that
    /// the object was there before.
    pub async fn commit_multipart_upload(
        &self,
        upload: &Upload,
        parts: impl IntoIterator<Item = (PartNumber, &Etag)>,
        excluded: impl IntoIterator<Item = PartNumber>,
    ) -> Result<StoredObject> {
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_unstable_by_key(|(number, _)| *number);
        let details = CommitDetails {
            parts_to_commit: parts
                .into_iter()
                .map(|(number, etag)| PartToCommit {
                    part_num: number.get(),
                    etag: etag.as_str(),
                })
                .collect(),
            parts_to_exclude: excluded.into_iter().map(PartNumber::get).collect(),
        };
        let call = Call {
            operation: Operation::CommitMultipartUpload,
            method: Method::POST,
            url: self.upload_url(upload, &[]),
            headers: HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("*"))]),
            json: Some(json(&details)),
        };
        let reply = self.call(call).await?;
        Ok(StoredObject {
            etag: reply.etag()?,
            crc32c: reply.crc32c(),
            md5: reply.header("opc-multipart-md5").map(str::to_owned),
        })
    }

    /// Gives an upload up; its parts are deleted.
    ///
    /// # Errors
    /// Those of a request that may be repeated; see [`Error::class`].
    pub async fn abort_multipart_upload(&self, upload: &Upload) -> Result<Removal> {
        let call = Call {
            operation: Operation::AbortMultipartUpload,
            method: Method::DELETE,
            url: self.upload_url(upload, &[]),
            headers: HeaderMap::new(),
            json: None,
        };
        Removal::of(self.call(call).await)
    }

    /// The unfinished uploads of a bucket whose object names begin with `prefix`. The service
    /// cannot filter, so all pages are read; what does not match is dropped at once, and so are
    /// objects with names that an [`ObjectName`] cannot be.
    ///
    /// # Errors
    /// Those of a request that may be repeated; see [`Error::class`].
    pub async fn list_uploads(
        &self,
        bucket: &BucketName,
        prefix: &str,
    ) -> Result<Vec<UploadSummary>> {
        let keep = |item: UploadReply| {
            if !item.object.starts_with(prefix) {
                return None;
            }
            Some(UploadSummary {
                upload: Upload {
                    bucket: bucket.clone(),
                    object: ObjectName::new(item.object).ok()?,
                    id: UploadId::new(item.upload_id).ok()?,
                },
                created: item.time_created.and_then(|time| time.parse().ok()),
            })
        };
        self.pages(Operation::ListMultipartUploads, bucket, &["u"], &[], keep)
            .await
    }

    /// The parts of an upload that are stored, in ascending order.
    ///
    /// # Errors
    /// A 404 if the upload is no more; see [`Error::is_not_found`].
    pub async fn list_parts(&self, upload: &Upload) -> Result<Vec<PartSummary>> {
        let parse = |item: PartReply| -> Option<Result<PartSummary>> {
            let part = PartNumber::new(item.part_number).and_then(|number| {
                Ok(PartSummary {
                    number,
                    size: item.size,
                    etag: Etag::new(item.etag)?,
                    md5: item.md5,
                })
            });
            Some(part.map_err(|_| Error::Reply {
                operation: Operation::ListMultipartUploadParts,
                why: "lists a part without a proper number or etag",
            }))
        };
        let mut parts = self
            .pages(
                Operation::ListMultipartUploadParts,
                &upload.bucket,
                &["u", upload.object.as_str()],
                &[("uploadId", upload.id.as_str())],
                parse,
            )
            .await?
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    fn upload_url(&self, upload: &Upload, more: &[(&str, &str)]) -> reqwest::Url {
        let mut query = vec![("uploadId", upload.id.as_str())];
        query.extend_from_slice(more);
        self.url(&upload.bucket, &["u", upload.object.as_str()], &query)
    }
}

/// The JSON of a body of ours.
pub(super) fn json(details: &impl Serialize) -> Bytes {
    serde_json::to_vec(details)
        .expect("structures of strings and numbers have a JSON form")
        .into()
}
