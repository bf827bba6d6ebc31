//! Conditional requests (`if-match`, `if-none-match`) and byte ranges, after RFC 9110 where the
//! service's documentation is silent.

use axum::http::{HeaderMap, header};

use super::error::ApiError;
use super::model::Object;

/// What must hold for a write to take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WriteCondition {
    Always,
    /// There is an object and its `ETag` is this.
    Matches(String),
    /// There is no object (`if-none-match: *`).
    Absent,
}

impl WriteCondition {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        match (etag(headers, "if-match"), etag(headers, "if-none-match")) {
            (None, None) => Ok(Self::Always),
            (Some(etag), None) => Ok(Self::Matches(etag)),
            (None, Some(any)) if any == "*" => Ok(Self::Absent),
            (None, Some(_)) => Err(ApiError::invalid_parameter(
                "The only valid value of If-None-Match is '*'",
            )),
            (Some(_), Some(_)) => Err(ApiError::invalid_parameter(
                "If-Match and If-None-Match exclude each other",
            )),
        }
    }

    pub(super) fn check(&self, existing: Option<&Object>) -> Result<(), ApiError> {
        match (self, existing) {
            (Self::Always, _) | (Self::Absent, None) => Ok(()),
            (Self::Absent, Some(_)) => Err(ApiError::if_none_match_failed()),
            (Self::Matches(etag), Some(object)) if *etag == object.etag || etag == "*" => Ok(()),
            (Self::Matches(etag), _) => Err(ApiError::if_match_failed(etag)),
        }
    }
}

/// What a read finds out about the copy its client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadVerdict {
    Send,
    NotModified,
}

/// Compares the `ETag`s a GET or HEAD names with that of the entity.
pub(super) fn check_read(headers: &HeaderMap, actual: &str) -> Result<ReadVerdict, ApiError> {
    if let Some(wanted) = etag(headers, "if-match").filter(|etag| etag != actual && etag != "*") {
        return Err(ApiError::if_match_failed(&wanted));
    }
    match etag(headers, "if-none-match") {
        Some(known) if known == actual || known == "*" => Ok(ReadVerdict::NotModified),
        _ => Ok(ReadVerdict::Send),
    }
}

fn etag(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    Some(value.trim_matches('"').to_owned())
}

/// The bytes a GET or HEAD asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Whole,
    /// `length` bytes from `start`; never empty.
    Part {
        start: u64,
        length: u64,
    },
}

/// Reads `Range`. Several ranges, another unit or nonsense are ignored, as RFC 9110 allows; a
/// range outside the object is refused.
pub(super) fn span(headers: &HeaderMap, size: u64) -> Result<Span, ApiError> {
    let range = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = range else {
        return Ok(Span::Whole);
    };
    let (start, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), Ok(last)) if last >= start => (start, last.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if last.trim().is_empty() => (start, size),
        (Err(_), Ok(count)) if first.trim().is_empty() => (size.saturating_sub(count), size),
        _ => return Ok(Span::Whole),
    };
    if start < end {
        Ok(Span::Part {
            start,
            length: end - start,
        })
    } else {
        Err(ApiError::invalid_range(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        headers
    }

    #[test]
    fn ranges() {
        let part = |start, length| Some(Span::Part { start, length });
        for (range, size, expected) in [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=2-4", 10, part(2, 3)),
            ("bytes=5-", 10, part(5, 5)),
            ("bytes=-3", 10, part(7, 3)),
            ("bytes=-30", 10, part(0, 10)),
            ("bytes=8-99", 10, part(8, 2)),
            ("bytes=10-", 10, None),
            ("bytes=10-11", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
            ("bytes=4-2", 10, Some(Span::Whole)),
            ("bytes=0-1,3-4", 10, Some(Span::Whole)),
            ("lines=0-1", 10, Some(Span::Whole)),
            ("bytes=x-y", 10, Some(Span::Whole)),
        ] {
            assert_eq!(span(&with("range", range), size).ok(), expected, "{range}");
        }
        assert_eq!(span(&HeaderMap::new(), 10).ok(), Some(Span::Whole));
    }

    #[test]
    fn reads_compare_etags() {
        for (name, value, expected) in [
            ("if-match", "e", Some(ReadVerdict::Send)),
            ("if-match", "\"e\"", Some(ReadVerdict::Send)),
            ("if-match", "f", None),
            ("if-none-match", "e", Some(ReadVerdict::NotModified)),
            ("if-none-match", "*", Some(ReadVerdict::NotModified)),
            ("if-none-match", "f", Some(ReadVerdict::Send)),
        ] {
            assert_eq!(
                check_read(&with(name, value), "e").ok(),
                expected,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn only_a_star_may_follow_if_none_match_on_a_write() {
        let of = |name, value| WriteCondition::of(&with(name, value)).ok();
        assert_eq!(of("if-none-match", "*"), Some(WriteCondition::Absent));
        assert_eq!(of("if-none-match", "e"), None);
        assert_eq!(
            of("if-match", "e"),
            Some(WriteCondition::Matches("e".into()))
        );
        assert!(WriteCondition::Matches("e".into()).check(None).is_err());
    }
}
