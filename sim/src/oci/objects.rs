//! Objects put, read, deleted and listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::ObjectStorage;
use super::checksum::{self, Algorithm};
use super::conditions::{self, ReadVerdict, Span, WriteCondition};
use super::error::ApiError;
use super::model::{Object, ObjectMd5, Presentation};
use super::names::{self, ObjectName};
use super::request::{self, Request, headers, http_date, json_time, object_headers};
use super::store::Change;

/// The prefix of a header that carries metadata.
const META: &str = "opc-meta-";

impl ObjectStorage {
    pub(super) async fn put_object(&self, request: Request) -> Result<Response, ApiError> {
        let name = request.call.object_name()?;
        let length = request.content_length()?;
        let condition = WriteCondition::of(&request.headers)?;
        let chosen = Algorithm::chosen(&request.headers)?;
        checksum::check_content_md5(&request.headers)?;
        // Refused before the body, as `Expect: 100-continue` is for; and again after it.
        self.bucket(&request.call, |bucket| {
            condition.check(bucket.objects.get(&name).map(Arc::as_ref))
        })??;
        let presentation = presentation(&request);
        let received = self.blobs().receive(request.body, length, chosen).await?;
        received.digests.verify(&request.headers, chosen)?;
        request::late(request.landing.as_ref()).await;
        let now = Timestamp::now();
        let digests = received.digests.clone();
        let stored = chosen.map(|chosen| digests.checksum(chosen));
        let etag = names::uuid();
        let mut object = Object {
            name,
            etag: etag.clone(),
            size: received.length(),
            created: now,
            modified: now,
            md5: ObjectMd5::Content(digests.md5_base64()),
            crc32c: digests.crc32c,
            checksum: stored.clone(),
            presentation,
            extents: Vec::new(),
        };
        self.change_bucket(&request.call, |bucket, name| {
            condition.check(bucket.objects.get(&object.name).map(Arc::as_ref))?;
            object.extents.push(received.keep());
            let change = Change::ObjectPut {
                bucket: name.to_owned(),
                object: Arc::new(object),
            };
            Ok((change, ()))
        })?;
        let mut answer = headers([
            ("etag", Some(etag)),
            ("last-modified", Some(http_date(now))),
            ("opc-content-md5", Some(digests.md5_base64())),
        ]);
        insert_checksum(&mut answer, stored.as_ref());
        Ok(answer.into_response())
    }

    /// GET and HEAD, for the owner and for the holder of a link.
    pub(super) fn get_object(
        &self,
        request: &Request,
        reading: Reading,
    ) -> Result<Response, ApiError> {
        let name = request.call.object_name()?;
        let object = self
            .bucket(&request.call, |bucket| bucket.objects.get(&name).cloned())?
            .ok_or_else(|| ApiError::object_not_found(&request.call.bucket, name.as_str()))?;
        if conditions::check_read(&request.headers, &object.etag)? == ReadVerdict::NotModified {
            let etag = headers([("etag", Some(object.etag.clone()))]);
            return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
        }
        let mut answer = object_headers(&object);
        let (status, start, length) = match conditions::span(&request.headers, object.size)? {
            Span::Whole => (StatusCode::OK, 0, object.size),
            Span::Part { start, length } => {
                let last = start + length - 1;
                let range = format!("bytes {start}-{last}/{}", object.size);
                if let Ok(range) = HeaderValue::try_from(range) {
                    answer.insert(header::CONTENT_RANGE, range);
                }
                (StatusCode::PARTIAL_CONTENT, start, length)
            }
        };
        answer.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        let body = match reading {
            Reading::Head => Body::empty(),
            Reading::Bytes if object.extents.iter().any(|extent| extent.is_forgotten()) => {
                return Err(ApiError::object_not_found(
                    &request.call.bucket,
                    name.as_str(),
                ));
            }
            Reading::Bytes => self.blobs().read(&object.extents, start, length),
        };
        Ok((status, answer, body).into_response())
    }

    pub(super) fn delete_object(&self, request: &Request) -> Result<Response, ApiError> {
        let name = request.call.object_name()?;
        let condition = WriteCondition::of(&request.headers)?;
        self.change_bucket(&request.call, |bucket, bucket_name| {
            let object = bucket.objects.get(&name);
            let missing = || ApiError::object_not_found(bucket_name, name.as_str());
            condition.check(Some(object.ok_or_else(missing)?))?;
            let change = Change::ObjectDeleted {
                bucket: bucket_name.to_owned(),
                name,
            };
            Ok((change, ()))
        })?;
        let now = http_date(Timestamp::now());
        let answer = headers([("last-modified", Some(now))]);
        Ok((StatusCode::NO_CONTENT, answer).into_response())
    }

    pub(super) fn list_objects(
        &self,
        request: &Request,
        beneath: &str,
    ) -> Result<Response, ApiError> {
        let limit = request.limit(self.page_limit())?;
        let fields = Fields::parse(&request.query("fields").unwrap_or_default())?;
        let wanted = Wanted::parse(request, beneath)?;
        let listing = self.bucket(&request.call, |bucket| {
            wanted.list(&bucket.objects, limit, &fields)
        })?;
        Ok(Json(listing).into_response())
    }
}

/// Whether a read wants the bytes, or what is known about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Head,
    Bytes,
}

/// Adds the chosen checksum to an answer.
pub(super) fn insert_checksum(answer: &mut HeaderMap, stored: Option<&checksum::Checksum>) {
    if let Some(stored) = stored
        && let Ok(name) = header::HeaderName::try_from(&stored.header)
        && let Ok(value) = HeaderValue::try_from(&stored.value)
    {
        answer.insert(name, value);
    }
}

/// What a PUT says by its headers about its object.
fn presentation(request: &Request) -> Presentation {
    let metadata = request.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(META)?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    Presentation {
        content_type: request.header("content-type"),
        content_language: request.header("content-language"),
        content_encoding: request.header("content-encoding"),
        content_disposition: request.header("content-disposition"),
        cache_control: request.header("cache-control"),
        storage_tier: request.header("storage-tier"),
        metadata: metadata.collect(),
    }
}

/// Which names a listing is about.
struct Wanted {
    prefix: String,
    start: String,
    start_after: Option<String>,
    end: Option<String>,
    /// `/`, the only one there is.
    delimited: bool,
}

impl Wanted {
    /// `beneath` is a prefix that the listing may not leave.
    fn parse(request: &Request, beneath: &str) -> Result<Self, ApiError> {
        let delimited = match request.query("delimiter").as_deref() {
            None | Some("") => false,
            Some("/") => true,
            Some(other) => {
                return Err(ApiError::invalid_parameter(format!(
                    "The delimiter '{other}' is not '/'"
                )));
            }
        };
        let prefix = request.query("prefix").unwrap_or_default();
        if !prefix.starts_with(beneath) && !prefix.is_empty() {
            return Err(ApiError::invalid_parameter(format!(
                "The prefix must start with '{beneath}'"
            )));
        }
        Ok(Self {
            prefix: if prefix.is_empty() {
                beneath.to_owned()
            } else {
                prefix
            },
            start: request.query("start").unwrap_or_default(),
            start_after: request.query("startAfter"),
            end: request.query("end"),
            delimited,
        })
    }

    fn includes(&self, name: &str) -> bool {
        name.starts_with(&self.prefix)
            && name >= self.start.as_str()
            && self.start_after.as_deref().is_none_or(|after| name > after)
            && self.end.as_deref().is_none_or(|end| name < end)
    }

    /// The directory, up to and with its slash, that stands for `name` in a delimited listing.
    fn directory<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.get(self.prefix.len()..).filter(|_| self.delimited)?;
        rest.find('/')
            .map(|slash| &name[..=self.prefix.len() + slash])
    }

    fn list(
        &self,
        objects: &BTreeMap<ObjectName, Arc<Object>>,
        limit: usize,
        fields: &Fields,
    ) -> Value {
        let (mut summaries, mut prefixes): (Vec<Value>, Vec<&str>) = (Vec::new(), Vec::new());
        let mut next = None;
        for (name, object) in objects
            .iter()
            .filter(|(name, _)| self.includes(name.as_str()))
        {
            let directory = self.directory(name.as_str());
            if directory.is_some() && prefixes.last().copied() == directory {
                continue;
            }
            if summaries.len() + prefixes.len() == limit {
                next = Some(name.as_str());
                break;
            }
            match directory {
                Some(directory) => prefixes.push(directory),
                None => summaries.push(fields.summary(object)),
            }
        }
        let mut listing = json!({ "objects": summaries, "prefixes": prefixes });
        if let Some(next) = next {
            listing["nextStartWith"] = json!(next);
        }
        listing
    }
}

/// The fields of a summary besides the name.
#[derive(Debug)]
struct Fields(Vec<&'static str>);

impl Fields {
    const KNOWN: [&str; 8] = [
        "name",
        "size",
        "etag",
        "md5",
        "timeCreated",
        "timeModified",
        "storageTier",
        "archivalState",
    ];

    /// A comma-separated list, in any case.
    fn parse(list: &str) -> Result<Self, ApiError> {
        let names = list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let known = names.map(|name| {
            let mut known = Self::KNOWN.into_iter();
            known
                .find(|known| known.eq_ignore_ascii_case(name))
                .ok_or_else(|| {
                    ApiError::invalid_parameter(format!("The field '{name}' is unknown"))
                })
        });
        known.collect::<Result<_, _>>().map(Self)
    }

    fn summary(&self, object: &Object) -> Value {
        let mut summary = Map::new();
        summary.insert("name".to_owned(), json!(object.name));
        for &field in &self.0 {
            let value = match field {
                "size" => json!(object.size),
                "etag" => json!(object.etag),
                "md5" => json!(object.md5.as_str()),
                "timeCreated" => json!(json_time(object.created)),
                "timeModified" => json!(json_time(object.modified)),
                "storageTier" => json!(object.presentation.storage_tier()),
                _ => continue,
            };
            summary.insert(field.to_owned(), value);
        }
        Value::Object(summary)
    }
}
