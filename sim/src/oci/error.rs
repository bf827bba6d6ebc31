//! What the service answers when it refuses: a status, a code, and a text for people.
//!
//! The codes are those the documentation names (apierrors.htm) or that clients of the real
//! service have reported; `README-oci.md` says which is which. A body is
//! `{"code":...,"message":...}`; the answer to HEAD has none.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal. Made by the constructors below, so that one condition has one status and one code.
#[derive(Debug, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub(super) struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
    /// The `Content-Range` of a 416.
    content_range: Option<HeaderValue>,
    /// The `Retry-After` of a 429 or 503, in seconds.
    retry_after: Option<u32>,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            content_range: None,
            retry_after: None,
        }
    }

    pub(super) fn with_retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// The HTTP status it is answered with.
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::bad_request("InvalidParameter", message)
    }

    pub(super) fn missing_parameter(name: &str) -> Self {
        Self::invalid_parameter(format!("The required parameter '{name}' is missing"))
    }

    pub(super) fn unparsable(detail: &dyn std::fmt::Display) -> Self {
        Self::bad_request(
            "CannotParseRequest",
            format!("The request is incorrectly formatted: {detail}"),
        )
    }

    pub(super) fn invalid_object_name(why: &str) -> Self {
        Self::bad_request(
            "InvalidObjectName",
            format!("The object name is not valid: {why}"),
        )
    }

    pub(super) fn invalid_upload_part(message: impl Into<String>) -> Self {
        Self::bad_request("InvalidUploadPart", message)
    }

    pub(super) fn invalid_content_md5(value: &str) -> Self {
        Self::bad_request(
            "InvalidContentMD5",
            format!("The value of the Content-MD5 header '{value}' is not a base64-encoded MD5"),
        )
    }

    /// `name` is `MD5`, `CRC32C`, `SHA256` or `SHA384`; `header` is where the client put its own.
    pub(super) fn unmatched_checksum(
        name: &str,
        header: &str,
        actual: &str,
        claimed: &str,
    ) -> Self {
        Self::bad_request(
            &format!("UnmatchedContent{name}"),
            format!(
                "The computed {name} of the request body ({actual}) does not match the {header} \
                 header ({claimed})"
            ),
        )
    }

    pub(super) fn incomplete_body() -> Self {
        Self::bad_request(
            "InvalidContentLength",
            "The request body ended before Content-Length bytes were received",
        )
    }

    pub(super) fn not_authenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "NotAuthenticated", detail)
    }

    pub(super) fn namespace_not_found(namespace: &str) -> Self {
        Self::not_found(
            "NamespaceNotFound",
            format!(
                "You do not have authorization to perform this request, or the requested resource could not be found: namespace '{namespace}'"
            ),
        )
    }

    /// Also the mask of a missing permission, and of a dead link.
    pub(super) fn bucket_not_found(namespace: &str, bucket: &str) -> Self {
        Self::not_found(
            "BucketNotFound",
            format!(
                "Either the bucket named '{bucket}' does not exist in the namespace \
                 '{namespace}' or you are not authorized to access it"
            ),
        )
    }

    pub(super) fn object_not_found(bucket: &str, name: &str) -> Self {
        Self::not_found(
            "ObjectNotFound",
            format!("The object '{name}' was not found in the bucket '{bucket}'"),
        )
    }

    pub(super) fn upload_not_found(upload_id: &str) -> Self {
        Self::not_found(
            "UploadNotFound",
            format!("The upload '{upload_id}' was not found"),
        )
    }

    pub(super) fn par_not_found(id: &str) -> Self {
        Self::not_found(
            "PreauthenticatedRequestNotFound",
            format!("The pre-authenticated request '{id}' was not found"),
        )
    }

    pub(super) fn unknown_operation() -> Self {
        Self::not_found(
            "NotAuthorizedOrNotFound",
            "Authorization failed or requested resource not found.",
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The method is not allowed on this resource",
        )
    }

    pub(super) fn length_required() -> Self {
        Self::new(
            StatusCode::LENGTH_REQUIRED,
            "ContentLengthRequired",
            "The Content-Length header is required; chunked transfer encoding is not supported",
        )
    }

    pub(super) fn request_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "RequestTimeout",
            "The body did not arrive in time",
        )
    }

    pub(super) fn too_large(limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("The body is larger than {limit} bytes"),
        )
    }

    pub(super) fn if_match_failed(given: &str) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "IfMatchFailed",
            format!("The If-Match header is '{given}', but the ETag of the entity is different"),
        )
    }

    pub(super) fn if_none_match_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "IfNoneMatchFailed",
            "The If-None-Match header is '*', but there is an existing entity",
        )
    }

    pub(super) fn bucket_exists(name: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "BucketAlreadyExists",
            format!("The bucket '{name}' already exists"),
        )
    }

    pub(super) fn invalid_range(size: u64) -> Self {
        Self {
            content_range: HeaderValue::try_from(format!("bytes */{size}")).ok(),
            ..Self::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "InvalidRange",
                format!("The range is outside the {size} bytes of the object"),
            )
        }
    }

    pub(super) fn internal(detail: &dyn std::fmt::Display) -> Self {
        tracing::error!(%detail, "the stand-in itself failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "An internal server error occurred.",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "code": self.code, "message": self.message }));
        let mut response = (self.status, body).into_response();
        if let Some(range) = self.content_range {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        if let Some(seconds) = self.retry_after {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
