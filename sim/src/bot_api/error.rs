//! Refusals, in the words of the real Bot API.

use std::borrow::Cow;

use serde::Serialize;

use crate::telegram::journal::JournalError;
use crate::telegram::store::StoreError;

/// Why a call is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) description: Cow<'static, str>,
    pub(super) parameters: Option<Parameters>,
}

/// What a client may act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Parameters {
    /// After how many seconds the call may be repeated.
    pub(super) retry_after: u64,
}

impl Refusal {
    const fn new(code: u16, description: Cow<'static, str>) -> Self {
        Self {
            code,
            description,
            parameters: None,
        }
    }

    /// 400; the description without its `Bad Request: `.
    pub(super) fn bad(what: impl std::fmt::Display) -> Self {
        Self::new(400, Cow::Owned(format!("Bad Request: {what}")))
    }

    /// 403; the description without its `Forbidden: `.
    pub(super) fn forbidden(what: impl std::fmt::Display) -> Self {
        Self::new(403, Cow::Owned(format!("Forbidden: {what}")))
    }

    /// 409; the description without its `Conflict: `.
    pub(super) fn conflict(what: impl std::fmt::Display) -> Self {
        Self::new(409, Cow::Owned(format!("Conflict: {what}")))
    }

    /// 429.
    pub(super) fn too_many(retry_after: u64) -> Self {
        let description = format!("Too Many Requests: retry after {retry_after}");
        Self {
            parameters: Some(Parameters { retry_after }),
            ..Self::new(429, Cow::Owned(description))
        }
    }

    /// 401: it is not this bot's token.
    pub(super) const UNAUTHORIZED: Self = Self::new(401, Cow::Borrowed("Unauthorized"));

    /// 404: there is no such method.
    pub(super) const NOT_FOUND: Self = Self::new(404, Cow::Borrowed("Not Found"));

    /// 500: it is the stand-in's own fault.
    pub(super) const INTERNAL: Self = Self::new(500, Cow::Borrowed("Internal Server Error"));

    /// Whatever a fault says.
    pub(super) fn on_demand(code: u16, description: String) -> Self {
        Self::new(code, Cow::Owned(description))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Chat(_) => Self::bad("chat not found"),
            StoreError::NoMessage { .. } => Self::bad("message not found"),
            error => {
                tracing::error!(%error, "a call of the Bot API failed");
                Self::INTERNAL
            }
        }
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        tracing::error!(%error, "a call of the Bot API cannot be remembered");
        Self::INTERNAL
    }
}
