//! What the operations read from a request: query, JSON body, lengths, pages; and the headers they
//! answer with.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::error::ApiError;
use super::model::{Object, ObjectMd5};
use super::route::Call;

/// The largest JSON body: a commit of 10,000 parts has less than 1 MiB.
const MAX_JSON: usize = 8 << 20;
/// The largest body of `PutObject` and `UploadPart`: 50 GiB.
const MAX_BODY: u64 = 50 << 30;
/// How long the service waits for more of a body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// A request that is authenticated and allowed.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) call: Call,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// How long it waits between the last byte of its body and its effect.
    pub(super) landing: Option<Landing>,
}

impl Request {
    /// The value of a query parameter.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        query_value(self.uri.query(), name)
    }

    pub(super) fn required_query(&self, name: &str) -> Result<String, ApiError> {
        self.query(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| ApiError::missing_parameter(name))
    }

    /// `limit`, at most `most`.
    pub(super) fn limit(&self, most: usize) -> Result<usize, ApiError> {
        match self.query("limit") {
            None => Ok(most),
            Some(text) => match text.parse::<usize>() {
                Ok(limit) if limit > 0 => Ok(limit.min(most)),
                _ => Err(ApiError::invalid_parameter(format!(
                    "The limit '{text}' is not a positive number"
                ))),
            },
        }
    }

    /// The key after which the page asked for starts; empty for the first.
    pub(super) fn page(&self) -> Result<String, ApiError> {
        let token = self.query("page").unwrap_or_default();
        let key = URL_SAFE_NO_PAD.decode(token).ok();
        key.and_then(|key| String::from_utf8(key).ok())
            .ok_or_else(|| ApiError::invalid_parameter("The page is not valid"))
    }

    /// The length of a body that will be streamed. Without `Content-Length` there is none; a
    /// chunked one is refused, as the service does.
    pub(super) fn content_length(&self) -> Result<u64, ApiError> {
        if self.headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(ApiError::length_required());
        }
        let length = match self.headers.get(header::CONTENT_LENGTH) {
            None => return Err(ApiError::length_required()),
            Some(length) => length.to_str().ok().and_then(|text| text.parse().ok()),
        };
        match length {
            Some(length) if length > MAX_BODY => Err(ApiError::too_large(MAX_BODY)),
            Some(length) => Ok(length),
            None => Err(ApiError::length_required()),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    }
}

/// The value of a parameter in a query.
pub(super) fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.replace('+', " ");
        (key == name).then(|| percent_decode_str(&value).decode_utf8_lossy().into_owned())
    })
}

/// When a request that lands late does so.
#[derive(Clone, Debug)]
pub(super) struct Landing {
    pub(super) delay: Duration,
    /// Notified when it is to land at once.
    pub(super) at_once: Arc<Notify>,
}

/// Waits, if the request was told to.
pub(super) async fn late(landing: Option<&Landing>) {
    if let Some(landing) = landing {
        // Either way it lands.
        drop(tokio::time::timeout(landing.delay, landing.at_once.notified()).await);
    }
}

/// The whole of a small body.
pub(super) async fn collect(body: Body) -> Result<Bytes, ApiError> {
    tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_JSON))
        .await
        .map_err(|_| ApiError::request_timeout())?
        .map_err(|error| ApiError::unparsable(&error))
}

/// A body that is already there, as JSON.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bytes = collect(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::unparsable(&error))
}

/// One page of a listing.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Where the next page starts: the key of the last item of this one.
    pub(super) next: Option<String>,
}

impl<T> Page<T> {
    /// The first `limit` of `items`, which come after the page's token in the order of `key`.
    pub(super) fn of(
        items: impl Iterator<Item = T>,
        limit: usize,
        key: impl Fn(&T) -> String,
    ) -> Self {
        let mut items = items.peekable();
        let page: Vec<T> = items.by_ref().take(limit).collect();
        let next = items.peek().and_then(|_| page.last()).map(key);
        Self { items: page, next }
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let next = self.next.as_ref().map(|key| URL_SAFE_NO_PAD.encode(key));
        headers([("opc-next-page", next)])
    }
}

/// Headers from those that have a value. A value that is none for HTTP is left out.
pub(super) fn headers<const N: usize>(pairs: [(&'static str, Option<String>); N]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// The headers that `GetObject` and `HeadObject` have in common.
pub(super) fn object_headers(object: &Object) -> HeaderMap {
    let shown = &object.presentation;
    let (single, multipart) = match &object.md5 {
        ObjectMd5::Content(md5) => (Some(md5.clone()), None),
        ObjectMd5::Multipart(md5) => (None, Some(md5.clone())),
    };
    let default_type = || "application/octet-stream".to_owned();
    let mut headers = headers([
        ("accept-ranges", Some("bytes".to_owned())),
        ("etag", Some(object.etag.clone())),
        ("last-modified", Some(http_date(object.modified))),
        (
            "content-type",
            shown.content_type.clone().or_else(|| Some(default_type())),
        ),
        ("content-language", shown.content_language.clone()),
        ("content-encoding", shown.content_encoding.clone()),
        ("content-disposition", shown.content_disposition.clone()),
        ("cache-control", shown.cache_control.clone()),
        ("content-md5", single),
        ("opc-multipart-md5", multipart),
        ("storage-tier", Some(shown.storage_tier().to_owned())),
    ]);
    let metadata = shown.metadata.iter();
    let metadata = metadata.map(|(name, value)| (format!("opc-meta-{name}"), value));
    let checksum = object.checksum.iter();
    let checksum = checksum.map(|checksum| (checksum.header.clone(), &checksum.value));
    for (name, value) in metadata.chain(checksum) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// RFC 9110's date.
pub(super) fn http_date(time: Timestamp) -> String {
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}

/// RFC 3339 with milliseconds, in UTC, as the service writes times in JSON.
pub(super) fn json_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
