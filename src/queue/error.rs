//! What can go wrong between us and Redis.

use std::{error::Error as _, io, path::PathBuf, sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::Class;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between us and Redis. No text holds a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis does not hold what this process put into it: it was flushed, evicted something, is
    /// another server than before, or another process has filled it. `sync` mends it.
    #[error("Redis no longer holds the queue as it was filled")]
    Lost,
    /// Redis failed a moment ago and is not asked before this time has passed.
    #[error("Redis failed just now and is left alone for {} ms", .0.as_millis())]
    Resting(Duration),
    /// No answer in time.
    #[error("Redis did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Redis is out of reach, is just starting, or is not the one that may be written to.
    #[error("Redis is unavailable: {0}")]
    Unavailable(#[source] RedisError),
    /// The server's certificate is not trusted, or it does not speak TLS.
    #[error("the TLS handshake with Redis failed: {0}")]
    Tls(#[source] RedisError),
    /// User name or password are wrong, or missing.
    #[error("Redis refuses the login: the user name or the password is wrong or missing")]
    LoginRefused,
    /// The user may not do this.
    #[error("Redis does not permit its user what the queue needs: {0}")]
    NotPermitted(#[source] RedisError),
    /// Redis has reached its limit of memory.
    #[error("Redis is out of memory")]
    OutOfMemory,
    /// Redis refused a command.
    #[error("Redis refused a command: {0}")]
    Refused(#[source] RedisError),
    /// The file with root certificates cannot be used.
    #[error("the root certificates in {path} cannot be used: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The client cannot be made of these settings.
    #[error("the client of Redis cannot be made: {0}")]
    Settings(#[source] RedisError),
}

impl Error {
    /// What a caller may do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Resting(left) => Class::After(*left),
            Self::Lost
            | Self::Timeout(_)
            | Self::Unavailable(_)
            | Self::OutOfMemory
            | Self::Refused(_) => Class::Transient,
            Self::Tls(_)
            | Self::LoginRefused
            | Self::NotPermitted(_)
            | Self::CaFile { .. }
            | Self::Settings(_) => Class::Permanent,
        }
    }

    /// One CamelCase word for metrics, events and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Lost => "QueueLost",
            Self::Resting(_) | Self::Unavailable(_) => "QueueUnavailable",
            Self::Timeout(_) => "QueueTimeout",
            Self::Tls(_) => "QueueTlsFailed",
            Self::LoginRefused => "QueueLoginRefused",
            Self::NotPermitted(_) => "QueueNotPermitted",
            Self::OutOfMemory => "QueueOutOfMemory",
            Self::Refused(_) => "QueueRefused",
            Self::CaFile { .. } | Self::Settings(_) => "QueueMisconfigured",
        }
    }

    /// Whether the connection is of no more use, and the next is not to be tried at once.
    pub(super) fn ends_the_connection(&self) -> bool {
        matches!(
            self,
            Self::Timeout(_) | Self::Unavailable(_) | Self::Tls(_) | Self::LoginRefused
        )
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        let code = code(&error);
        match (error.kind(), code.as_deref()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
                Self::LoginRefused
            }
            (_, Some("OOM")) => Self::OutOfMemory,
            (ErrorKind::Server(ServerErrorKind::NoPerm), _) => Self::NotPermitted(error),
            (ErrorKind::Io, _) if is_garbled(&error) => Self::Tls(error),
            (
                ErrorKind::Io
                | ErrorKind::Parse
                | ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                    | ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::TryAgain,
                ),
                _,
            ) => Self::Unavailable(error),
            _ => Self::Refused(error),
        }
    }
}

/// The first word of the server's answer; of several, of the first that failed.
fn code(error: &RedisError) -> Option<String> {
    let errors = error.clone().into_server_errors()?;
    errors.first().map(|(_, error)| error.code().to_owned())
}

/// As rustls tells of everything that is wrong with a handshake.
fn is_garbled(error: &RedisError) -> bool {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>())
        .and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_kind_and_code() {
        let io = |kind| RedisError::from(io::Error::from(kind));
        let server = |text: &str| {
            redis::parse_redis_value(format!("-{text}\r\n").as_bytes())
                .unwrap()
                .extract_error()
                .unwrap_err()
        };
        for (error, reason, class, ends) in [
            (
                io(io::ErrorKind::ConnectionRefused),
                "QueueUnavailable",
                Class::Transient,
                true,
            ),
            (
                io(io::ErrorKind::InvalidData),
                "QueueTlsFailed",
                Class::Permanent,
                true,
            ),
            (
                server("LOADING Redis is loading the dataset in memory"),
                "QueueUnavailable",
                Class::Transient,
                true,
            ),
            (
                server("READONLY You can't write against a read only replica."),
                "QueueUnavailable",
                Class::Transient,
                true,
            ),
            (
                server("NOAUTH Authentication required."),
                "QueueLoginRefused",
                Class::Permanent,
                true,
            ),
            (
                server("OOM command not allowed when used memory > 'maxmemory'."),
                "QueueOutOfMemory",
                Class::Transient,
                false,
            ),
            (
                server("NOPERM this user has no permissions"),
                "QueueNotPermitted",
                Class::Permanent,
                false,
            ),
            (
                server("MISCONF Redis is configured to save RDB snapshots"),
                "QueueRefused",
                Class::Transient,
                false,
            ),
        ] {
            let text = error.to_string();
            let error = Error::from(error);
            assert_eq!(
                (error.reason(), error.class(), error.ends_the_connection()),
                (reason, class, ends),
                "{text}"
            );
        }
    }
}
