//! What can go wrong between us and Telegram.

use std::{sync::Arc, time::Duration};

use grammers_client::{InvocationError, sender::RpcError, tl::types};

use super::ConnectionError;
use crate::Class;

/// Our word for a transport's -404, which has none.
const UNKNOWN_KEY: &str = "AUTH_KEY_UNKNOWN";

/// What can go wrong between us and Telegram.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message is not there, or this identity may not see it.
    #[error("the message is gone, or this identity cannot see it")]
    MessageNotFound,
    /// The message is there and holds no file.
    #[error("the message holds no file")]
    NoMedia,
    /// The chat's id has no meaning.
    #[error("{0} is not the id of a chat")]
    InvalidChat(i64),
    /// The message now holds another file than before.
    #[error("the message was edited and now holds another file")]
    MediaChanged,
    /// A server asks to be left alone for a while.
    #[error("Telegram asks to wait {} s", .0.as_secs())]
    FloodWait(Duration),
    /// Telegram no longer accepts the session.
    #[error("Telegram no longer accepts the session ({name}): provide another session document")]
    SessionRefused {
        /// Telegram's own word for it.
        name: String,
    },
    /// The file is only on Telegram's CDN, which bots and we cannot read.
    #[error("Telegram offers this file through its CDN only")]
    CdnOnly,
    /// A reply had another length than was asked for.
    #[error("Telegram sent {got} bytes at offset {offset} instead of {expected}")]
    WrongLength {
        /// Where in the file.
        offset: u64,
        /// Bytes asked for.
        expected: usize,
        /// Bytes received.
        got: usize,
    },
    /// A reply was none of those that the method has.
    #[error("Telegram's answer to {0} makes no sense")]
    UnexpectedReply(&'static str),
    /// No answer in time.
    #[error("Telegram did not answer within {} s, as it never does if this clock is ahead", .0.as_secs())]
    Timeout(Duration),
    /// Telegram refused a request.
    #[error("Telegram refused the request: {0}")]
    Rpc(#[source] RpcError),
    /// The data centre that stores the file is out of reach.
    #[error("the Telegram data centre that stores the file is out of reach: {0}")]
    Unreachable(#[source] Arc<ConnectionError>),
    /// An address that Telegram gave for a data centre is of another one.
    #[error("an address that Telegram gave for a data centre is of another one")]
    WrongDataCentre,
    /// The connection failed.
    #[error("the connection to Telegram failed: {0}")]
    Connection(#[source] Box<InvocationError>),
}

impl Error {
    /// A data centre does not know the key that the session has for it.
    pub(super) fn unknown_key() -> Self {
        Self::SessionRefused {
            name: UNKNOWN_KEY.to_owned(),
        }
    }

    pub(super) fn is_unknown_key(&self) -> bool {
        matches!(self, Self::SessionRefused { name } if name == UNKNOWN_KEY)
    }

    /// The error that a server answered a call with: 420 and `FLOOD_WAIT_31`, for example.
    pub(super) fn from_rpc(code: i32, message: String) -> Self {
        Self::from(RpcError::from(types::RpcError {
            error_code: code,
            error_message: message,
        }))
    }

    /// What a caller may do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::MessageNotFound
            | Self::NoMedia
            | Self::InvalidChat(_)
            | Self::MediaChanged
            | Self::SessionRefused { .. }
            | Self::CdnOnly => Class::Permanent,
            Self::FloodWait(wait) => Class::After(*wait),
            Self::Rpc(error) if (400..500).contains(&error.code) => Class::Permanent,
            Self::WrongLength { .. }
            | Self::UnexpectedReply(_)
            | Self::Timeout(_)
            | Self::Rpc(_)
            | Self::Unreachable(_)
            | Self::WrongDataCentre
            | Self::Connection(_) => Class::Transient,
        }
    }

    /// Whether the file reference that was used has ended: the message has a new one.
    pub(super) fn is_of_the_file_reference(&self) -> bool {
        let Self::Rpc(RpcError { name, .. }) = self else {
            return false;
        };
        name.starts_with("FILE_REFERENCE_") || name == "FILEREF_UPGRADE_NEEDED"
    }

    /// One CamelCase word for metrics, events and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MessageNotFound => "MessageNotFound",
            Self::NoMedia => "NoMedia",
            Self::InvalidChat(_) => "InvalidChat",
            Self::MediaChanged => "MediaChanged",
            Self::FloodWait(_) => "TelegramFloodWait",
            Self::SessionRefused { .. } => "SessionRefused",
            Self::CdnOnly => "CdnOnly",
            Self::WrongLength { .. } | Self::UnexpectedReply(_) => "TelegramMisbehaved",
            Self::Timeout(_) => "TelegramTimeout",
            Self::Rpc(_) => "TelegramRefused",
            Self::Unreachable(_) | Self::Connection(_) => "TelegramUnavailable",
            Self::WrongDataCentre => "WrongDataCentre",
        }
    }
}

impl From<InvocationError> for Error {
    fn from(error: InvocationError) -> Self {
        match error {
            InvocationError::Rpc(rpc) => Self::from(rpc),
            other => Self::Connection(Box::new(other)),
        }
    }
}

impl From<RpcError> for Error {
    fn from(error: RpcError) -> Self {
        match (error.code, error.name.as_str()) {
            (420, _) => {
                let seconds = error.value.unwrap_or(0).max(1);
                Self::FloodWait(Duration::from_secs(seconds.into()))
            }
            (401, name) if is_of_the_session(name) => Self::SessionRefused { name: error.name },
            (406, "AUTH_KEY_DUPLICATED") => Self::SessionRefused { name: error.name },
            (
                400 | 406,
                "CHANNEL_INVALID" | "CHANNEL_PRIVATE" | "MESSAGE_ID_INVALID" | "MSG_ID_INVALID"
                | "PEER_ID_INVALID",
            ) => Self::MessageNotFound,
            _ => Self::Rpc(error),
        }
    }
}

/// Whether a 401 of this name is about the session, and not about the one request.
fn is_of_the_session(name: &str) -> bool {
    let of_the_session = ["AUTH_KEY_", "SESSION_", "USER_DEACTIVATED"];
    of_the_session.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telegrams_errors_are_told_apart_by_code_and_name() {
        for (code, message, reason, class) in [
            (
                420,
                "FLOOD_WAIT_31",
                "TelegramFloodWait",
                Class::After(Duration::from_secs(31)),
            ),
            (
                420,
                "FLOOD_PREMIUM_WAIT_3",
                "TelegramFloodWait",
                Class::After(Duration::from_secs(3)),
            ),
            (
                420,
                "FLOOD_WAIT_0",
                "TelegramFloodWait",
                Class::After(Duration::from_secs(1)),
            ),
            (
                401,
                "AUTH_KEY_UNREGISTERED",
                "SessionRefused",
                Class::Permanent,
            ),
            (
                406,
                "AUTH_KEY_DUPLICATED",
                "SessionRefused",
                Class::Permanent,
            ),
            (401, "SESSION_REVOKED", "SessionRefused", Class::Permanent),
            (
                401,
                "USER_DEACTIVATED_BAN",
                "SessionRefused",
                Class::Permanent,
            ),
            (
                401,
                "ACTIVE_USER_REQUIRED",
                "TelegramRefused",
                Class::Permanent,
            ),
            (400, "CHANNEL_PRIVATE", "MessageNotFound", Class::Permanent),
            (406, "CHANNEL_PRIVATE", "MessageNotFound", Class::Permanent),
            (
                406,
                "FILEREF_UPGRADE_NEEDED",
                "TelegramRefused",
                Class::Permanent,
            ),
            (406, "TOPIC_CLOSED", "TelegramRefused", Class::Permanent),
            (400, "LOCATION_INVALID", "TelegramRefused", Class::Permanent),
            (500, "RPC_CALL_FAIL", "TelegramRefused", Class::Transient),
            (-503, "Timeout", "TelegramRefused", Class::Transient),
        ] {
            let error = Error::from_rpc(code, message.to_owned());
            assert_eq!(
                (error.reason(), error.class()),
                (reason, class),
                "{message}"
            );
        }
    }
}
