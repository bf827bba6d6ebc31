//! The admin interface: JSON over HTTP, by which tests and people provision the stand-ins.
//!
//! Each stand-in brings the paths under its own name; this module puts them together and gives
//! all errors one shape: `{"error": "what is wrong"}`.

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Json, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use crate::bot_api::BotApi;
use crate::oci::ObjectStorage;
use crate::telegram::Telegram;
use crate::telegram::journal::JournalError;
use crate::telegram::store::StoreError;

/// All paths of the admin interface. Each stand-in's router is merged here.
pub(crate) fn router(telegram: Telegram, bot: BotApi, oci: &ObjectStorage) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .merge(crate::telegram::admin::router(telegram))
        .merge(crate::bot_api::admin::router(bot))
        .nest("/oci", oci.admin_router())
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || ApiError {
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: "this path does not take this method".to_owned(),
        })
}

/// An error as a caller sees it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// 400: the request is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    /// 404: what it names does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
        }
    }

    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            message = format!("{message}: {error}");
            source = error.source();
        }
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Chat(_) | StoreError::DataCentre(_) => Self::bad(error.to_string()),
            StoreError::NoMessage { .. } => Self::not_found(error.to_string()),
            StoreError::Content(_) | StoreError::Journal(_) => Self::internal(&error),
        }
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        Self::internal(&error)
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(&error)
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

#[derive(Serialize)]
struct ErrorBody {
    error: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: self.message,
        };
        (self.status, Json(body)).into_response()
    }
}

/// A JSON body whose faults are told in our own shape.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(ApiError))]
pub(crate) struct ApiJson<T>(pub(crate) T);

/// A query string whose faults are told in our own shape.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(ApiError))]
pub(crate) struct ApiQuery<T>(pub(crate) T);
