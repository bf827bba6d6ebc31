//! Checks a request's signature: draft-cavage-http-signatures-08 with RSA-SHA256, as OCI asks for
//! it (signingrequests.htm). It reads the request; it never changes it.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, Method, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};

use super::error::ApiError;
use super::keys::Keyring;

/// How far the client's clock may be from the server's.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

const INCORRECT: &str =
    "The required information to complete authentication was not provided or was incorrect.";

/// What has to be signed besides date, target and host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyRule {
    /// Nothing: GET, HEAD and DELETE have no body, and those of `PutObject` and `UploadPart` are
    /// exempt ("Special Instructions for Object Storage PUT").
    Unsigned,
    /// `content-length`, `content-type` and `x-content-sha256`: every POST.
    Signed,
}

/// The head of a request, as far as a signature covers it.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

/// Checks signature and date. The body of a signed POST is checked by [`verify_body`], once it is
/// there.
pub(super) fn verify(
    head: &Head<'_>,
    rule: BodyRule,
    keys: &Keyring,
    now: Timestamp,
) -> Result<(), ApiError> {
    let authorization = header(head.headers, "authorization").ok_or_else(incorrect)?;
    let signature = Signature::parse(&authorization).ok_or_else(incorrect)?;
    check_date(head.headers, &signature, now)?;
    let mut required = vec!["(request-target)", "host"];
    if rule == BodyRule::Signed {
        required.extend(["content-length", "content-type", "x-content-sha256"]);
    }
    for name in required {
        if !signature.covers(name) {
            return Err(ApiError::not_authenticated(format!(
                "{INCORRECT} The header '{name}' is not signed."
            )));
        }
    }
    let message = signature.message(head).ok_or_else(incorrect)?;
    match keys.verify(&signature.key_id, message.as_bytes(), &signature.bytes) {
        Some(true) => Ok(()),
        Some(false) | None => Err(incorrect()),
    }
}

/// Checks a POST's body against the `x-content-sha256` that was signed.
pub(super) fn verify_body(headers: &HeaderMap, body: &[u8]) -> Result<(), ApiError> {
    let claimed = header(headers, "x-content-sha256").ok_or_else(incorrect)?;
    if STANDARD.encode(digest(&SHA256, body)) == claimed {
        Ok(())
    } else {
        Err(ApiError::not_authenticated(format!(
            "{INCORRECT} The body does not match x-content-sha256."
        )))
    }
}

fn incorrect() -> ApiError {
    ApiError::not_authenticated(INCORRECT)
}

/// `x-date` wins over `date`; the one that counts must be signed.
fn check_date(headers: &HeaderMap, signature: &Signature, now: Timestamp) -> Result<(), ApiError> {
    let name = if headers.contains_key("x-date") {
        "x-date"
    } else {
        "date"
    };
    let text = header(headers, name).ok_or_else(incorrect)?;
    if !signature.covers(name) {
        return Err(incorrect());
    }
    let date = DateTimeParser::new()
        .parse_timestamp(text.as_bytes())
        .map_err(|_| incorrect())?;
    if now.duration_since(date).abs() > MAX_SKEW {
        return Err(ApiError::not_authenticated(format!(
            "Date '{text}' is not within allowed clock skew. Current '{now}'"
        )));
    }
    Ok(())
}

/// The parsed `Authorization` header. The order of its parameters means nothing.
#[derive(Debug)]
struct Signature {
    key_id: String,
    headers: Vec<String>,
    bytes: Vec<u8>,
}

impl Signature {
    fn parse(authorization: &str) -> Option<Self> {
        let (scheme, parameters) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("signature") {
            return None;
        }
        let (mut key_id, mut headers, mut bytes) = (None, None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter.trim().split_once('=')?;
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            match name {
                "keyId" => key_id = Some(value.to_owned()),
                "algorithm" if !value.eq_ignore_ascii_case("rsa-sha256") => return None,
                "version" if value != "1" => return None,
                "headers" => headers = Some(value.split(' ').map(str::to_lowercase).collect()),
                "signature" => bytes = Some(STANDARD.decode(value).ok()?),
                _ => {}
            }
        }
        Some(Self {
            key_id: key_id?,
            headers: headers?,
            bytes: bytes?,
        })
    }

    fn covers(&self, name: &str) -> bool {
        self.headers.iter().any(|signed| signed == name)
    }

    /// The signing string, in the order the client chose; `None` if it names a header that was
    /// not sent.
    fn message(&self, head: &Head<'_>) -> Option<String> {
        let lines: Option<Vec<String>> = self
            .headers
            .iter()
            .map(|name| {
                let value = if name == "(request-target)" {
                    let target = head.uri.path_and_query().map_or("/", |sent| sent.as_str());
                    format!("{} {target}", head.method.as_str().to_lowercase())
                } else {
                    header(head.headers, name)?
                };
                Some(format!("{name}: {value}"))
            })
            .collect();
        Some(lines?.join("\n"))
    }
}

/// The value of a header; several are joined as RFC 9110 joins them.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Result<Vec<&str>, _> = headers
        .get_all(name)
        .iter()
        .map(axum::http::HeaderValue::to_str)
        .collect();
    values
        .ok()
        .filter(|values| !values.is_empty())
        .map(|values| values.join(", "))
}

#[cfg(test)]
mod tests;
