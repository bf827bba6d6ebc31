//! What can go wrong with Object Storage, and how it is to be answered.
//!
//! Every error says its [`Class`] and a short [`Error::reason`] fit for a metric label. Texts are
//! for people, are never matched, and hold no URL, key, pass phrase or token: errors of the HTTP
//! client are stripped of their URL on the way in, because the URL of a deleted link names it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::operation::Operation;
use super::private_key::PrivateKeyError;
use crate::Class;

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in this module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that Object Storage, or the URL of it, cannot hold.
    #[error("not a usable {what}: {why}")]
    InvalidName {
        /// What the text should have been.
        what: &'static str,
        /// The rule it breaks.
        why: &'static str,
    },

    /// The endpoint, region or base of links is not one.
    #[error("not a usable {what}: {why}")]
    InvalidEndpoint {
        /// Which of the addresses it is.
        what: &'static str,
        /// The rule it breaks.
        why: &'static str,
    },

    /// The OCI configuration file cannot be read.
    #[error("cannot read the OCI configuration file {}", path.display())]
    ConfigUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// The OCI configuration file has a line that is neither a section, a setting nor a comment.
    #[error("line {line} of the OCI configuration file {} is not `key=value`", path.display())]
    ConfigSyntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },

    /// The OCI configuration file lacks the profile.
    #[error("the OCI configuration file {} has no profile [{profile}]; it has: {present}", path.display())]
    ProfileMissing {
        /// The file.
        path: PathBuf,
        /// The profile that was asked for.
        profile: String,
        /// The profiles that are there.
        present: String,
    },

    /// The profile lacks a setting, or has it empty.
    #[error("profile [{profile}] of {} has no `{setting}`", path.display())]
    SettingMissing {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
        /// The key of the setting.
        setting: &'static str,
    },

    /// The profile has a setting with a value that cannot be right.
    #[error("`{setting}` in profile [{profile}] of {} is wrong: {why}", path.display())]
    SettingInvalid {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
        /// The key of the setting.
        setting: &'static str,
        /// The rule it breaks; never the value.
        why: &'static str,
    },

    /// A file that the profile names cannot be read.
    #[error("cannot read {}, the `{setting}` of profile [{profile}] of {}", file.display(), path.display())]
    CredentialFileUnreadable {
        /// The configuration file.
        path: PathBuf,
        /// The profile.
        profile: String,
        /// The key of the setting that names the file.
        setting: &'static str,
        /// The file that is named.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// The private key cannot be used.
    #[error("cannot use the private key {origin}")]
    PrivateKey {
        /// Where the key came from.
        origin: String,
        /// Why.
        source: PrivateKeyError,
    },

    /// The cryptographic library refused to sign.
    #[error("signing the request failed")]
    Signing,

    /// The HTTP client cannot be made; mostly there are no root certificates.
    #[error("cannot set up TLS: are there root certificates (SSL_CERT_FILE)?")]
    HttpClient(#[source] reqwest::Error),

    /// The service answered, and the answer is no.
    #[error(transparent)]
    Service(Box<ServiceError>),

    /// The credentials were refused and have been replaced since, so that a new try uses others.
    #[error("{operation}: the credentials were refused and have been renewed since")]
    CredentialsRenewed {
        /// The call.
        operation: Operation,
    },

    /// The connection could not be made, so the service knows nothing of the request.
    #[error("{operation}: cannot connect to Object Storage")]
    Unreachable {
        /// The call.
        operation: Operation,
        /// Why, without the URL.
        source: reqwest::Error,
    },

    /// The connection ended before the reply.
    #[error("{operation}: the connection to Object Storage was lost")]
    ConnectionLost {
        /// The call.
        operation: Operation,
        /// Why, without the URL.
        source: reqwest::Error,
    },

    /// The service took too long.
    #[error("{operation}: Object Storage {waiting} for {} s", after.as_secs_f32())]
    Timeout {
        /// The call.
        operation: Operation,
        /// What was waited for.
        waiting: Waiting,
        /// How long.
        after: Duration,
    },

    /// The reply is not what the API describes.
    #[error("{operation}: the reply of Object Storage {why}")]
    Reply {
        /// The call.
        operation: Operation,
        /// What is wrong with it.
        why: &'static str,
    },

    /// The request may have been carried out, or not, and repeating it is not harmless: look
    /// what is there first. See [`Error::is_ambiguous`].
    #[error("{operation}: it is unknown whether the request was carried out")]
    ReplyLost {
        /// The call.
        operation: Operation,
        /// What happened instead of a reply.
        source: Box<Error>,
    },

    /// The stream that was to be uploaded failed. The service has nothing of it.
    #[error("{operation}: the data to upload could not be read")]
    Body {
        /// The call.
        operation: Operation,
        /// The error of the stream.
        source: Box<dyn StdError + Send + Sync>,
    },

    /// The stream that was to be uploaded is not as long as was declared. The service has
    /// nothing of it.
    #[error("{operation}: {declared} bytes were declared, but the data {deviation}")]
    BodyLength {
        /// The call.
        operation: Operation,
        /// The declared length in bytes.
        declared: u64,
        /// How the stream differs.
        deviation: Deviation,
    },
}

/// What a request waited for when its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For the service to take more of the body.
    ToSend,
    /// For the reply.
    ForReply,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToSend => "took no data",
            Self::ForReply => "did not reply",
        })
    }
}

/// How a body differs from its declared length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// It ended after so many bytes.
    Ended(u64),
    /// It went on.
    WentOn,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(after) => write!(f, "ended after {after}"),
            Self::WentOn => f.write_str("went on"),
        }
    }
}

/// An answer of the service that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// The call.
    pub operation: Operation,
    /// The HTTP status.
    pub status: u16,
    /// The service's code for it, or the one its status stands for when a reply has no body.
    pub code: ServiceCode,
    /// The service's words, possibly empty.
    pub message: String,
    /// The `opc-request-id`, which Oracle's support asks for.
    pub request_id: Option<String>,
    /// The time the service wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl StdError for ServiceError {}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} {}",
            self.operation,
            self.status,
            self.code.as_str()
        )?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (opc-request-id {id})"),
            None => Ok(()),
        }
    }
}

/// Declares the codes that have a meaning here, each written as the service writes it.
macro_rules! service_codes {
    ($($code:ident),+ $(,)?) => {
        /// An error code of the service.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are Oracle's")]
        pub enum ServiceCode {
            $($code,)+
            /// A code this list does not know; empty if the reply had none.
            Other(String),
        }

        impl ServiceCode {
            /// The code as the service writes it.
            pub fn as_str(&self) -> &str {
                self.known().unwrap_or(match self {
                    Self::Other(code) => code,
                    _ => "",
                })
            }

            fn known(&self) -> Option<&'static str> {
                match self {
                    $(Self::$code => Some(stringify!($code)),)+
                    Self::Other(_) => None,
                }
            }

            pub(super) fn parse(code: &str) -> Self {
                match code {
                    $(stringify!($code) => Self::$code,)+
                    other => Self::Other(shown(other, 64)),
                }
            }
        }
    };
}

service_codes! {
    BucketNotFound,
    ConcurrentObjectUpdate,
    IfNoneMatchFailed,
    IncorrectState,
    InsufficientServicePermissions,
    InternalServerError,
    InvalidParameter,
    InvalidUploadPart,
    LimitExceeded,
    LockConflict,
    NamespaceNotFound,
    NoEtagMatch,
    NotAuthenticated,
    NotAuthorizedOrNotFound,
    ObjectNotFound,
    QuotaExceeded,
    ServiceUnavailable,
    TooManyRequests,
}

/// `text` fit for a log line: no control characters, at most `limit` characters, and nothing
/// that could be a link.
pub(super) fn shown(text: &str, limit: usize) -> String {
    if text.contains("/p/") || text.contains("%2Fp%2F") {
        return "(withheld, for it may name a link)".to_owned();
    }
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(limit).collect()
}

impl ServiceError {
    /// Whether the same request may succeed later by itself, as Oracle's SDKs see it.
    fn passes(&self) -> bool {
        use ServiceCode::{ConcurrentObjectUpdate, IncorrectState, LockConflict};
        match self.status {
            408 | 429 => true,
            409 => matches!(
                self.code,
                IncorrectState | LockConflict | ConcurrentObjectUpdate
            ),
            501 => false,
            status => status >= 500,
        }
    }

    fn class(&self) -> Class {
        match self.retry_after {
            Some(wait) if self.passes() => Class::After(wait),
            _ if self.passes() => Class::Transient,
            _ => Class::Permanent,
        }
    }

    fn reason(&self) -> &'static str {
        match (self.code.known(), self.status) {
            (Some(code), _) => code,
            (None, 401) => "NotAuthenticated",
            (None, 429) => "TooManyRequests",
            (None, 408) => "StorageTimeout",
            (None, 501) => "StorageRefused",
            (None, status) if status >= 500 => "StorageUnavailable",
            (None, _) => "StorageRefused",
        }
    }
}

impl Error {
    /// How the error is to be answered.
    ///
    /// [`Error::ReplyLost`] is transient, but the next try starts with a look at what is there.
    pub fn class(&self) -> Class {
        match self {
            Self::InvalidName { .. }
            | Self::InvalidEndpoint { .. }
            | Self::ConfigUnreadable { .. }
            | Self::ConfigSyntax { .. }
            | Self::ProfileMissing { .. }
            | Self::SettingMissing { .. }
            | Self::SettingInvalid { .. }
            | Self::CredentialFileUnreadable { .. }
            | Self::PrivateKey { .. }
            | Self::Signing
            | Self::HttpClient(_) => Class::Permanent,
            Self::Service(service) => service.class(),
            Self::CredentialsRenewed { .. }
            | Self::Unreachable { .. }
            | Self::ConnectionLost { .. }
            | Self::Timeout { .. }
            | Self::Reply { .. }
            | Self::Body { .. }
            | Self::BodyLength { .. } => Class::Transient,
            Self::ReplyLost { source, .. } => match source.class() {
                Class::After(wait) => Class::After(wait),
                _ => Class::Transient,
            },
        }
    }

    /// A short word for metrics, events and conditions, out of a bounded set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidName { .. } => "InvalidName",
            Self::InvalidEndpoint { .. } => "InvalidEndpoint",
            Self::ConfigUnreadable { .. }
            | Self::ConfigSyntax { .. }
            | Self::ProfileMissing { .. }
            | Self::SettingMissing { .. }
            | Self::SettingInvalid { .. }
            | Self::CredentialFileUnreadable { .. }
            | Self::PrivateKey { .. }
            | Self::Signing => "CredentialsUnusable",
            Self::HttpClient(_) => "TlsUnusable",
            Self::Service(service) => service.reason(),
            Self::CredentialsRenewed { .. } => "CredentialsRenewed",
            Self::Unreachable { .. } => "StorageUnreachable",
            Self::ConnectionLost { .. } => "StorageConnectionLost",
            Self::Timeout { .. } => "StorageTimeout",
            Self::Reply { .. } => "StorageReplyInvalid",
            Self::ReplyLost { .. } => "StorageReplyLost",
            Self::Body { .. } | Self::BodyLength { .. } => "SourceFailed",
        }
    }

    /// The request may have been carried out although no reply says so, and repeating it is not
    /// harmless. The caller looks first: for an upload, in the list of uploads; for a commit or
    /// a single put, at the object; for a link, in the list of links.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::ReplyLost { .. })
    }

    /// The answer of the service, if it gave one.
    pub fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Service(service) => Some(service),
            Self::ReplyLost { source, .. } => source.service(),
            _ => None,
        }
    }

    /// The code of the service's answer, if it gave one.
    pub fn code(&self) -> Option<&ServiceCode> {
        self.service().map(|service| &service.code)
    }

    /// The service answered that the thing is not there, or hides it from these credentials:
    /// it does not say which.
    pub fn is_not_found(&self) -> bool {
        self.service().is_some_and(|service| service.status == 404)
    }

    pub(super) fn is_unauthenticated(&self) -> bool {
        self.service().is_some_and(|service| service.status == 401)
    }

    /// Sorts an error of the HTTP client that came instead of a reply.
    pub(super) fn from_http(operation: Operation, error: reqwest::Error, limit: Duration) -> Self {
        let source = error.without_url();
        if source.is_connect() {
            Self::Unreachable { operation, source }
        } else if source.is_timeout() {
            Self::Timeout {
                operation,
                waiting: Waiting::ForReply,
                after: limit,
            }
        } else {
            Self::ConnectionLost { operation, source }
        }
    }

    /// Whether the service may have carried out the request all the same. It has not when no
    /// connection was made, when it said no (a 5xx says only that something broke), and when
    /// the body was never complete.
    pub(super) fn leaves_doubt(&self) -> bool {
        match self {
            Self::ConnectionLost { .. } | Self::Timeout { .. } | Self::Reply { .. } => true,
            Self::Service(service) => service.status >= 500 && service.status != 501,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(status: u16, code: &str, retry_after: Option<u64>) -> Error {
        Error::Service(Box::new(ServiceError {
            operation: Operation::UploadPart,
            status,
            code: ServiceCode::parse(code),
            message: "words".into(),
            request_id: Some("abc".into()),
            retry_after: retry_after.map(Duration::from_secs),
        }))
    }

    #[test]
    fn answers_of_the_service_have_a_class_and_a_bounded_reason() {
        use Class::{After, Permanent, Transient};
        let table = [
            (400, "QuotaExceeded", None, Permanent, "QuotaExceeded"),
            (
                400,
                "InvalidUploadPart",
                None,
                Permanent,
                "InvalidUploadPart",
            ),
            (400, "NeverSeen", None, Permanent, "StorageRefused"),
            (401, "NotAuthenticated", None, Permanent, "NotAuthenticated"),
            (401, "", None, Permanent, "NotAuthenticated"),
            (404, "BucketNotFound", None, Permanent, "BucketNotFound"),
            (
                404,
                "NotAuthorizedOrNotFound",
                None,
                Permanent,
                "NotAuthorizedOrNotFound",
            ),
            (409, "IncorrectState", None, Transient, "IncorrectState"),
            (
                409,
                "BucketAlreadyExists",
                None,
                Permanent,
                "StorageRefused",
            ),
            (
                412,
                "IfNoneMatchFailed",
                Some(3),
                Permanent,
                "IfNoneMatchFailed",
            ),
            (429, "TooManyRequests", None, Transient, "TooManyRequests"),
            (
                429,
                "",
                Some(7),
                After(Duration::from_secs(7)),
                "TooManyRequests",
            ),
            (
                500,
                "InternalServerError",
                None,
                Transient,
                "InternalServerError",
            ),
            (501, "", None, Permanent, "StorageRefused"),
            (
                503,
                "",
                Some(2),
                After(Duration::from_secs(2)),
                "StorageUnavailable",
            ),
        ];
        for (status, code, retry_after, class, reason) in table {
            let error = service(status, code, retry_after);
            assert_eq!(error.class(), class, "{status} {code}");
            assert_eq!(error.reason(), reason, "{status} {code}");
        }
    }

    #[test]
    fn a_service_error_reads_well_and_names_the_request() {
        assert_eq!(
            service(404, "BucketNotFound", None).to_string(),
            "UploadPart: 404 BucketNotFound: words (opc-request-id abc)"
        );
    }

    #[test]
    fn words_of_the_service_are_cut_and_cleaned() {
        assert_eq!(shown("a\nb\u{7}c", 10), "abc");
        assert_eq!(shown(&"x".repeat(500), 300).len(), 300);
        assert!(!shown("DELETE /n/ns/b/b/p/TOKEN failed", 300).contains("TOKEN"));
    }
}
