//! The client of Object Storage: one pool of connections, and the two ways a request is sent.
//! A *call* is small and is tried again as its [`RetryPolicy`] says; an *upload* streams a body
//! that only its caller can produce again, and is tried once. Every try is signed anew.
//!
//! The calls themselves are in the modules `objects`, `uploads` and `links`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderMap, RETRY_AFTER,
};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::body::watched;
use super::credentials::{Credentials, Renewal};
use super::endpoint::{Endpoint, LinkBase};
use super::error::{Error, Result, ServiceCode, ServiceError, Waiting, shown};
use super::names::{BucketName, Crc32c, Etag, Namespace, encode};
use super::operation::{Operation, Repeating};
use super::retry::{Next, RetryPolicy, Tries};
use super::signer::{Signed, SignedContent, Signer};

/// No reply of the API comes near this; a larger one is not from it.
const LARGEST_REPLY: usize = 8 << 20;

const JSON: &str = "application/json";

/// What a client is made of.
#[derive(Debug)]
pub struct Settings {
    /// Where Object Storage is.
    pub endpoint: Endpoint,
    /// The namespace of the tenancy.
    pub namespace: Namespace,
    /// What signs the requests.
    pub credentials: Credentials,
    /// What the URLs of links begin with if the service does not say; the endpoint if absent.
    pub link_base: Option<LinkBase>,
    /// How small requests are tried again.
    pub retry: RetryPolicy,
    /// How long things may take.
    pub timeouts: Timeouts,
}

impl Settings {
    /// Settings with the default retries and timeouts.
    pub fn new(endpoint: Endpoint, namespace: Namespace, credentials: Credentials) -> Self {
        Self {
            endpoint,
            namespace,
            credentials,
            link_base: None,
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// How long things may take.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For one try of a small request, from connecting to the end of the reply.
    pub request: Duration,
    /// For the service to take the next chunk of a body.
    pub stall: Duration,
    /// For the reply to an upload, once the last chunk was handed to the socket.
    pub reply: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_mins(1),
            stall: Duration::from_mins(1),
            reply: Duration::from_mins(2),
        }
    }
}

/// A client of Object Storage for one namespace. Clones share their connections.
#[derive(Clone, Debug)]
pub struct ObjectStorage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    settings: Settings,
    link_base: LinkBase,
}

/// A small request, ready to be signed as often as needed.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) json: Option<Bytes>,
}

/// A reply that is a success.
pub(super) struct Reply {
    operation: Operation,
    headers: HeaderMap,
    body: Bytes,
}

impl ObjectStorage {
    /// Sets up the client. No connection is made yet. TLS trusts the root certificates of the
    /// platform, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    ///
    /// # Errors
    /// [`Error::HttpClient`] if there are no root certificates.
    pub fn new(settings: Settings) -> Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("telestream/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.timeouts.connect)
            // A peer that acknowledges nothing is gone; the kernel notices first.
            .tcp_user_timeout(settings.timeouts.stall)
            // A signature is for one host and path, so there is nothing to follow.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(Error::HttpClient)?;
        let link_base = match &settings.link_base {
            Some(base) => base.clone(),
            None => LinkBase::from(&settings.endpoint),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                settings,
                link_base,
            }),
        })
    }

    /// The namespace this client works in.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.settings.namespace
    }

    pub(super) fn link_base(&self) -> &LinkBase {
        &self.inner.link_base
    }

    /// The URL of something in a bucket: `segments` and the values of `query` are encoded here.
    pub(super) fn url(
        &self,
        bucket: &BucketName,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Url {
        let mut url = format!(
            "{}/n/{}/b/{}",
            self.inner.settings.endpoint.as_str(),
            encode(self.namespace().as_str()),
            encode(bucket.as_str())
        );
        for segment in segments {
            url.push('/');
            url.push_str(&encode(segment));
        }
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.extend([name, "=", &encode(value)]);
        }
        Url::parse(&url).expect("an endpoint followed by encoded segments is a URL")
    }

    /// Makes a small request, again if need be.
    pub(super) async fn call(&self, call: Call) -> Result<Reply> {
        let Settings {
            retry, credentials, ..
        } = &self.inner.settings;
        let begun = Instant::now();
        let mut tries = Tries::default();
        loop {
            let signer = credentials.current().await;
            let error = match self.try_call(&signer, &call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match tries.after(retry, call.operation, error, begun.elapsed()) {
                Next::Fail(error) => return Err(error),
                Next::RenewCredentials => {
                    self.renew(call.operation, &signer).await;
                }
                Next::Pause(pause, error) => {
                    let reason = error.reason();
                    tracing::debug!(operation = %call.operation, reason, ?pause, "trying again");
                    sleep(pause).await;
                }
            }
        }
    }

    /// A failed renewal leaves the credentials as they are; the next refusal tells the caller.
    async fn renew(&self, operation: Operation, refused: &Signer) -> Renewal {
        match self.inner.settings.credentials.renew(refused).await {
            Ok(renewal) => renewal,
            Err(error) => {
                tracing::warn!(%operation, %error, "the refused credentials cannot be renewed");
                Renewal::Unchanged
            }
        }
    }

    async fn try_call(&self, signer: &Signer, call: &Call) -> Result<Reply> {
        let limit = self.inner.settings.timeouts.request;
        let request = self.signed(signer, call)?.timeout(limit);
        let response = request
            .send()
            .await
            .map_err(|error| Error::from_http(call.operation, error, limit))?;
        read(call.operation, response, limit).await
    }

    /// Sends a body of `length` bytes as its chunks come. Nothing is kept of them, so a failed
    /// upload has to be begun again by the caller.
    pub(super) async fn upload<S, E>(&self, call: Call, length: u64, source: S) -> Result<Reply>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let Timeouts {
            stall,
            reply,
            request: limit,
            ..
        } = self.inner.settings.timeouts;
        let operation = call.operation;
        let (body, watch) = watched(operation, length, source);
        let signer = self.inner.settings.credentials.current().await;
        let request = self
            .signed(&signer, &call)?
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(body));

        let sent = tokio::select! {
            sent = request.send() => sent.map_err(|error| Error::from_http(operation, error, reply)),
            (waiting, after) = watch.stalled(stall, reply) => {
                Err(Error::Timeout { operation, waiting, after })
            }
        };
        let received = match sent {
            Err(error) => Err(error),
            Ok(response) => timeout(limit, read(operation, response, limit))
                .await
                .unwrap_or(Err(Error::Timeout {
                    operation,
                    waiting: Waiting::ForReply,
                    after: limit,
                })),
        };

        match received {
            Ok(reply) if watch.is_given() => Ok(reply),
            Ok(reply) => Err(reply.invalid("came before the data was sent")),
            Err(error) => {
                if let Some(failure) = watch.take_failure() {
                    return Err(failure);
                }
                if error.is_unauthenticated()
                    && self.renew(operation, &signer).await == Renewal::Changed
                {
                    return Err(Error::CredentialsRenewed { operation });
                }
                if watch.is_given() && error.leaves_doubt() {
                    return Err(in_doubt(operation, error));
                }
                Err(error)
            }
        }
    }

    fn signed(&self, signer: &Signer, call: &Call) -> Result<RequestBuilder> {
        let host = self.inner.settings.endpoint.host();
        let date = http_date();
        let target = match call.url.query() {
            Some(query) => format!("{}?{query}", call.url.path()),
            None => call.url.path().to_owned(),
        };
        let sha256 = call
            .json
            .as_ref()
            .map(|json| STANDARD.encode(digest::digest(&digest::SHA256, json)));
        let content = match (&call.json, &sha256) {
            (Some(json), Some(sha256)) => Some(SignedContent {
                length: json.len(),
                media_type: JSON,
                sha256,
            }),
            _ => None,
        };
        let authorization = signer.authorization(&Signed {
            method: &call.method,
            target: &target,
            host,
            date: &date,
            content,
        })?;

        let mut request = self
            .inner
            .http
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone())
            .header(DATE, date)
            .header(HOST, host)
            .header(AUTHORIZATION, authorization);
        if let (Some(json), Some(sha256)) = (&call.json, sha256) {
            request = request
                .header(CONTENT_TYPE, JSON)
                .header("x-content-sha256", sha256)
                .body(json.clone());
        }
        Ok(request)
    }
}

fn in_doubt(operation: Operation, error: Error) -> Error {
    match operation.repeating() {
        Repeating::Harmless => error,
        Repeating::AsksTheCaller => Error::ReplyLost {
            operation,
            source: Box::new(error),
        },
    }
}

/// The present time in the form of RFC 9110, as the `Date` header has it.
fn http_date() -> String {
    rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&Timestamp::now())
        .expect("the present year has four digits")
}

/// Reads a whole reply and tells successes from errors.
async fn read(operation: Operation, mut response: Response, limit: Duration) -> Result<Reply> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Error::from_http(operation, error, limit))?
    {
        if body.len() + chunk.len() > LARGEST_REPLY {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let reply = Reply {
        operation,
        headers,
        body: body.freeze(),
    };
    if status.is_success() {
        Ok(reply)
    } else {
        Err(Error::Service(Box::new(reply.refusal(status))))
    }
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn etag(&self) -> Result<Etag> {
        self.header("etag")
            .and_then(|etag| Etag::new(etag).ok())
            .ok_or_else(|| self.invalid("has no etag"))
    }

    pub(super) fn crc32c(&self) -> Option<Crc32c> {
        self.header("opc-content-crc32c")?.parse().ok()
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|_| self.invalid("is not the JSON it should be"))
    }

    /// An error about the reply, although the request was carried out.
    pub(super) fn invalid(&self, why: &'static str) -> Error {
        let operation = self.operation;
        in_doubt(operation, Error::Reply { operation, why })
    }

    fn refusal(&self, status: StatusCode) -> ServiceError {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            code: String,
            message: String,
        }
        let body: Body = serde_json::from_slice(&self.body).unwrap_or_default();
        let code = if body.code.is_empty() {
            implied_code(self.operation, status)
        } else {
            ServiceCode::parse(&body.code)
        };
        let mut message = shown(&body.message, 300);
        if status == StatusCode::UNAUTHORIZED
            && let Some(skew) = self.header("date").and_then(clock_skew)
        {
            let hint = format!(" (this machine's clock is off by {skew} s)");
            message.push_str(&hint);
        }
        ServiceError {
            operation: self.operation,
            status: status.as_u16(),
            code,
            message,
            request_id: self.header("opc-request-id").map(|id| shown(id, 120)),
            retry_after: self.header(RETRY_AFTER.as_str()).and_then(retry_after),
        }
    }
}

/// What a refusal without a body means: the replies to HEAD never have one.
fn implied_code(operation: Operation, status: StatusCode) -> ServiceCode {
    match (operation, status) {
        (_, StatusCode::UNAUTHORIZED) => ServiceCode::NotAuthenticated,
        (_, StatusCode::TOO_MANY_REQUESTS) => ServiceCode::TooManyRequests,
        (Operation::HeadBucket, StatusCode::NOT_FOUND) => ServiceCode::BucketNotFound,
        _ => ServiceCode::Other(String::new()),
    }
}

/// By how many seconds this clock differs, if by so much that signatures are refused.
fn clock_skew(server_date: &str) -> Option<i64> {
    let server = rfc2822::DateTimeParser::new()
        .parse_timestamp(server_date)
        .ok()?;
    let skew = Timestamp::now().as_second() - server.as_second();
    (skew.abs() > 240).then_some(skew)
}

/// The wait a `Retry-After` asks for: seconds or a date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = SystemTime::from(date).duration_since(SystemTime::now());
    Some(wait.unwrap_or_default())
}

#[cfg(test)]
mod tests;
