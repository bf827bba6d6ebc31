//! Multipart uploads: created, filled part by part, committed or aborted, listed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ObjectStorage;
use super::checksum::{self, Algorithm};
use super::conditions::WriteCondition;
use super::error::ApiError;
use super::model::{Bucket, Object, ObjectMd5, Part, Presentation, Upload};
use super::names::{self, ObjectName, PartNumber};
use super::objects::insert_checksum;
use super::request::{self, Page, Request, headers, http_date, json_time};
use super::store::Change;

/// The prefix that every key of an upload's metadata must have.
const META: &str = "opc-meta-";

/// The body of `CreateMultipartUpload`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Creation {
    object: Option<String>,
    content_type: Option<String>,
    content_language: Option<String>,
    content_encoding: Option<String>,
    content_disposition: Option<String>,
    cache_control: Option<String>,
    storage_tier: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
}

impl Creation {
    fn presentation(self) -> Result<Presentation, ApiError> {
        let metadata = self.metadata.unwrap_or_default().into_iter();
        let metadata = metadata.map(|(key, value)| match key.strip_prefix(META) {
            Some(name) => Ok((name.to_lowercase(), value)),
            None => Err(ApiError::invalid_parameter(format!(
                "The metadata key '{key}' does not start with '{META}'"
            ))),
        });
        Ok(Presentation {
            content_type: self.content_type,
            content_language: self.content_language,
            content_encoding: self.content_encoding,
            content_disposition: self.content_disposition,
            cache_control: self.cache_control,
            storage_tier: self.storage_tier,
            metadata: metadata.collect::<Result<_, _>>()?,
        })
    }
}

/// The body of `CommitMultipartUpload`. Other fields are ignored: the TypeScript SDK sends some.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Commit {
    parts_to_commit: Option<Vec<PartToCommit>>,
    parts_to_exclude: Option<Vec<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartToCommit {
    part_num: i64,
    etag: String,
}

impl ObjectStorage {
    pub(super) async fn create_upload(&self, request: Request) -> Result<Response, ApiError> {
        let condition = WriteCondition::of(&request.headers)?;
        let algorithm = Algorithm::chosen(&request.headers)?;
        let mut creation: Creation = request::json(request.body).await?;
        let object = creation.object.take();
        let object = object.ok_or_else(|| ApiError::missing_parameter("object"))?;
        let upload = Upload {
            id: names::uuid(),
            object: ObjectName::parse(object)?,
            created: Timestamp::now(),
            algorithm,
            presentation: creation.presentation()?,
            parts: BTreeMap::new(),
        };
        let answer = summary(&request.call.namespace, &request.call.bucket, &upload);
        request::late(request.landing.as_ref()).await;
        self.change_bucket(&request.call, |bucket, name| {
            condition.check(bucket.objects.get(&upload.object).map(Arc::as_ref))?;
            let bucket = name.to_owned();
            Ok((Change::UploadCreated { bucket, upload }, ()))
        })?;
        Ok(Json(answer).into_response())
    }

    pub(super) async fn upload_part(&self, request: Request) -> Result<Response, ApiError> {
        let name = request.call.object_name()?;
        let upload_id = request.required_query("uploadId")?;
        let number = request.required_query("uploadPartNum")?;
        let number = number
            .parse()
            .map_err(|_| ApiError::invalid_parameter("uploadPartNum is not a number"))?;
        let number = PartNumber::new(number)?;
        let length = request.content_length()?;
        checksum::check_content_md5(&request.headers)?;
        let condition = WriteCondition::of(&request.headers)?;
        let asked = Algorithm::chosen(&request.headers)?;
        let chosen = self.bucket(&request.call, |bucket| {
            let upload = find(bucket, &name, &upload_id)?;
            check_part(&condition, upload.parts.get(&number))?;
            algorithm_of_part(upload.algorithm, asked)
        })??;
        let received = self.blobs().receive(request.body, length, chosen).await?;
        received.digests.verify(&request.headers, chosen)?;
        request::late(request.landing.as_ref()).await;
        let etag = names::uuid();
        let digests = received.digests.clone();
        self.change_bucket(&request.call, |bucket, bucket_name| {
            let upload = find(bucket, &name, &upload_id)?;
            check_part(&condition, upload.parts.get(&number))?;
            let change = Change::PartPut {
                bucket: bucket_name.to_owned(),
                upload_id,
                part: Part {
                    number,
                    etag: etag.clone(),
                    digests: digests.clone(),
                    extent: received.keep(),
                },
            };
            Ok((change, ()))
        })?;
        let mut answer = headers([
            ("etag", Some(etag)),
            ("opc-content-md5", Some(digests.md5_base64())),
        ]);
        let stored = chosen.map(|chosen| digests.checksum(chosen));
        insert_checksum(&mut answer, stored.as_ref());
        Ok(answer.into_response())
    }

    pub(super) async fn commit_upload(&self, request: Request) -> Result<Response, ApiError> {
        let name = request.call.object_name()?;
        let upload_id = request.required_query("uploadId")?;
        let condition = WriteCondition::of(&request.headers)?;
        let commit: Commit = request::json(request.body).await?;
        let minimum = self.minimum_part_size();
        request::late(request.landing.as_ref()).await;
        let object = self.change_bucket(&request.call, |bucket, bucket_name| {
            let upload = find(bucket, &name, &upload_id)?;
            let parts = commit.choose(upload, minimum)?;
            condition.check(bucket.objects.get(&name).map(Arc::as_ref))?;
            let object = Arc::new(assemble(upload, &parts));
            let change = Change::UploadCommitted {
                bucket: bucket_name.to_owned(),
                upload_id: upload_id.clone(),
                object: Arc::clone(&object),
            };
            Ok((change, object))
        })?;
        let mut answer = headers([
            ("etag", Some(object.etag.clone())),
            ("last-modified", Some(http_date(object.modified))),
            ("opc-multipart-md5", Some(object.md5.as_str().to_owned())),
        ]);
        insert_checksum(&mut answer, object.checksum.as_ref());
        Ok(answer.into_response())
    }

    pub(super) fn abort_upload(&self, request: &Request) -> Result<Response, ApiError> {
        let name = request.call.object_name()?;
        let upload_id = request.required_query("uploadId")?;
        self.change_bucket(&request.call, |bucket, bucket_name| {
            find(bucket, &name, &upload_id)?;
            let bucket = bucket_name.to_owned();
            Ok((Change::UploadAborted { bucket, upload_id }, ()))
        })?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    pub(super) fn list_uploads(&self, request: &Request) -> Result<Response, ApiError> {
        let limit = request.limit(self.page_limit())?;
        let after = request.page()?;
        let call = &request.call;
        let page = self.bucket(call, |bucket| {
            let uploads = bucket.uploads.values().filter(|upload| upload.id > after);
            let summaries = uploads.map(|upload| summary(&call.namespace, &call.bucket, upload));
            Page::of(summaries, limit, |upload| {
                upload["uploadId"].as_str().unwrap_or_default().to_owned()
            })
        })?;
        Ok((page.headers(), Json(page.items)).into_response())
    }

    pub(super) fn list_parts(&self, request: &Request) -> Result<Response, ApiError> {
        let name = request.call.object_name()?;
        let upload_id = request.required_query("uploadId")?;
        let limit = request.limit(self.page_limit())?;
        let after: u16 = request.page()?.parse().unwrap_or_default();
        let page = self.bucket(&request.call, |bucket| {
            let parts = find(bucket, &name, &upload_id)?.parts.values();
            let parts = parts.filter(|part| part.number.get() > after).map(|part| {
                json!({
                    "partNumber": part.number,
                    "etag": part.etag,
                    "md5": part.digests.md5_base64(),
                    "size": part.extent.length,
                })
            });
            Ok(Page::of(parts, limit, |part| {
                part["partNumber"].to_string()
            }))
        })??;
        Ok((page.headers(), Json(page.items)).into_response())
    }
}

fn find<'a>(bucket: &'a Bucket, name: &ObjectName, id: &str) -> Result<&'a Upload, ApiError> {
    let upload = bucket
        .uploads
        .get(id)
        .filter(|upload| upload.object == *name);
    upload.ok_or_else(|| ApiError::upload_not_found(id))
}

/// `if-match` and `if-none-match` of an `UploadPart` are about the part.
fn check_part(condition: &WriteCondition, existing: Option<&Part>) -> Result<(), ApiError> {
    match (condition, existing) {
        (WriteCondition::Absent, Some(_)) => Err(ApiError::if_none_match_failed()),
        (WriteCondition::Matches(etag), Some(part)) if part.etag == *etag => Ok(()),
        (WriteCondition::Matches(etag), _) => Err(ApiError::if_match_failed(etag)),
        (WriteCondition::Always, _) | (WriteCondition::Absent, None) => Ok(()),
    }
}

/// A part may leave the choice to its upload (the Python SDK does, for streams) but not choose
/// otherwise.
fn algorithm_of_part(
    upload: Option<Algorithm>,
    part: Option<Algorithm>,
) -> Result<Option<Algorithm>, ApiError> {
    match (upload, part) {
        (_, None) => Ok(upload),
        (chosen, asked) if chosen == asked => Ok(chosen),
        _ => Err(ApiError::invalid_parameter(
            "opc-checksum-algorithm is not that of the multipart upload",
        )),
    }
}

impl Commit {
    /// The parts of the object, ascending, after every rule about them.
    fn choose(&self, upload: &Upload, minimum: Option<u64>) -> Result<Vec<Part>, ApiError> {
        let listed = self.parts_to_commit.as_deref().unwrap_or_default();
        if listed.is_empty() {
            return Err(ApiError::missing_parameter("partsToCommit"));
        }
        let mut chosen = BTreeMap::new();
        for part in listed {
            let number = PartNumber::new(part.part_num)?;
            let stored = upload
                .parts
                .get(&number)
                .filter(|stored| stored.etag == part.etag);
            let stored = stored.ok_or_else(|| invalid_parts(upload))?;
            if chosen.insert(number, stored.clone()).is_some() {
                return Err(ApiError::invalid_parameter(format!(
                    "The part {} is listed twice",
                    number.get()
                )));
            }
        }
        let excluded = self.parts_to_exclude.iter().flatten();
        let excluded: BTreeSet<PartNumber> = excluded
            .map(|number| PartNumber::new(*number))
            .collect::<Result<_, _>>()?;
        for number in upload.parts.keys().chain(&excluded) {
            if chosen.contains_key(number) == excluded.contains(number) {
                return Err(ApiError::invalid_parameter(format!(
                    "The part {} must be in either partsToCommit or partsToExclude, not in both",
                    number.get()
                )));
            }
        }
        let chosen: Vec<Part> = chosen.into_values().collect();
        let but_last = chosen.split_last().map_or(&[][..], |(_, others)| others);
        let too_small = but_last
            .iter()
            .find(|part| minimum.is_some_and(|minimum| part.extent.length < minimum));
        match too_small {
            Some(part) => Err(ApiError::invalid_upload_part(format!(
                "The part {} is smaller than the minimum part size",
                part.number.get()
            ))),
            None => Ok(chosen),
        }
    }
}

fn invalid_parts(upload: &Upload) -> ApiError {
    ApiError::invalid_upload_part(format!(
        "There were some invalid part (partNum/etag) combination for the upload {}",
        upload.id
    ))
}

fn assemble(upload: &Upload, parts: &[Part]) -> Object {
    let digests = || parts.iter().map(|part| &part.digests);
    let sized = parts.iter().map(|part| (&part.digests, part.extent.length));
    let crc32c = checksum::combined_crc32c(sized);
    let now = Timestamp::now();
    Object {
        name: upload.object.clone(),
        etag: names::uuid(),
        size: parts.iter().map(|part| part.extent.length).sum(),
        created: now,
        modified: now,
        md5: ObjectMd5::Multipart(checksum::multipart_md5(digests())),
        crc32c,
        checksum: upload
            .algorithm
            .and_then(|chosen| checksum::multipart_checksum(chosen, crc32c, digests())),
        presentation: upload.presentation.clone(),
        extents: parts.iter().map(|part| Arc::clone(&part.extent)).collect(),
    }
}

/// An upload as it is created and listed.
pub(super) fn summary(namespace: &str, bucket: &str, upload: &Upload) -> Value {
    json!({
        "namespace": namespace,
        "bucket": bucket,
        "object": upload.object,
        "uploadId": upload.id,
        "timeCreated": json_time(upload.created),
        "storageTier": upload.presentation.storage_tier(),
    })
}
