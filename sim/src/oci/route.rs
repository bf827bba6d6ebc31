//! Which operation a request is, read from its method and its path as sent.
//!
//! The path is taken raw: an object name may arrive as one segment (`a%2Fb`) or as many (`a/b`),
//! and nothing may be normalised on the way, because the signature covers it as sent.

use axum::http::Method;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::names::ObjectName;

/// An operation of the service, by the name the API reference gives it. The last five are what a
/// holder of a pre-authenticated request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the API reference")]
pub enum Operation {
    GetNamespace,
    GetBucket,
    HeadBucket,
    CreateMultipartUpload,
    ListMultipartUploads,
    UploadPart,
    ListMultipartUploadParts,
    CommitMultipartUpload,
    AbortMultipartUpload,
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    ListObjects,
    CreatePreauthenticatedRequest,
    ListPreauthenticatedRequests,
    GetPreauthenticatedRequest,
    DeletePreauthenticatedRequest,
    LinkGet,
    LinkHead,
    LinkPut,
    LinkList,
}

/// A request, as far as its method and path tell.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) namespace: String,
    pub(super) bucket: String,
    /// The object name or the id of a PAR; empty where the operation has neither.
    pub(super) name: String,
    /// The secret of the link, when the request came through one.
    pub(super) token: Option<String>,
}

impl Call {
    /// The call that `method` on `path` makes.
    pub(super) fn parse(method: &Method, path: &str) -> Result<Self, ApiError> {
        let (token, path) = match path.strip_prefix("/p/") {
            Some(rest) => {
                let (token, path) = rest.split_once('/').unwrap_or((rest, ""));
                (Some(decode(token)?), format!("/{path}"))
            }
            None => (None, path.to_owned()),
        };
        // "", "n", namespace, "b", bucket, collection, name (the rest, slashes and all)
        let mut segments = path.splitn(7, '/').skip(1);
        let mut next = || segments.next().filter(|segment| !segment.is_empty());
        if next() != Some("n") {
            return Err(ApiError::unknown_operation());
        }
        let Some(namespace) = next() else {
            return Self::of_namespace(method, token);
        };
        let (Some("b"), Some(bucket)) = (next(), next()) else {
            return Err(ApiError::unknown_operation());
        };
        let (collection, name) = (next(), next());
        let operation = operation(method, collection, name.is_some(), token.is_some())?;
        Ok(Self {
            operation,
            namespace: decode(namespace)?,
            bucket: decode(bucket)?,
            name: decode(name.unwrap_or_default())?,
            token,
        })
    }

    fn of_namespace(method: &Method, token: Option<String>) -> Result<Self, ApiError> {
        if token.is_some() {
            return Err(ApiError::unknown_operation());
        }
        if method != Method::GET {
            return Err(ApiError::method_not_allowed());
        }
        Ok(Self {
            operation: Operation::GetNamespace,
            namespace: String::new(),
            bucket: String::new(),
            name: String::new(),
            token,
        })
    }

    /// The name in the path, as that of an object.
    pub(super) fn object_name(&self) -> Result<ObjectName, ApiError> {
        ObjectName::parse(self.name.clone())
    }
}

fn operation(
    method: &Method,
    collection: Option<&str>,
    named: bool,
    through_link: bool,
) -> Result<Operation, ApiError> {
    use Operation as Op;
    let found = match (through_link, method.as_str(), collection, named) {
        (true, "GET", Some("o"), true) => Op::LinkGet,
        (true, "HEAD", Some("o"), true) => Op::LinkHead,
        (true, "PUT", Some("o"), true) => Op::LinkPut,
        (true, "GET", Some("o"), false) => Op::LinkList,
        (true, ..) => return Err(ApiError::unknown_operation()),
        (_, "GET", None, _) => Op::GetBucket,
        (_, "HEAD", None, _) => Op::HeadBucket,
        (_, "POST", Some("u"), false) => Op::CreateMultipartUpload,
        (_, "GET", Some("u"), false) => Op::ListMultipartUploads,
        (_, "PUT", Some("u"), true) => Op::UploadPart,
        (_, "GET", Some("u"), true) => Op::ListMultipartUploadParts,
        (_, "POST", Some("u"), true) => Op::CommitMultipartUpload,
        (_, "DELETE", Some("u"), true) => Op::AbortMultipartUpload,
        (_, "GET", Some("o"), false) => Op::ListObjects,
        (_, "PUT", Some("o"), true) => Op::PutObject,
        (_, "GET", Some("o"), true) => Op::GetObject,
        (_, "HEAD", Some("o"), true) => Op::HeadObject,
        (_, "DELETE", Some("o"), true) => Op::DeleteObject,
        (_, "POST", Some("p"), false) => Op::CreatePreauthenticatedRequest,
        (_, "GET", Some("p"), false) => Op::ListPreauthenticatedRequests,
        (_, "GET", Some("p"), true) => Op::GetPreauthenticatedRequest,
        (_, "DELETE", Some("p"), true) => Op::DeletePreauthenticatedRequest,
        (_, _, None | Some("u" | "o" | "p"), _) => return Err(ApiError::method_not_allowed()),
        _ => return Err(ApiError::unknown_operation()),
    };
    Ok(found)
}

fn decode(raw: &str) -> Result<String, ApiError> {
    percent_decode_str(raw)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| ApiError::invalid_parameter("The path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &Method, path: &str) -> Call {
        Call::parse(method, path).expect("a known path")
    }

    #[test]
    fn an_object_name_arrives_as_one_segment_or_as_many() {
        for path in ["/n/ns/b/bkt/o/a%2Fb%20c", "/n/ns/b/bkt/o/a/b%20c"] {
            let call = parse(&Method::PUT, path);
            assert_eq!(call.operation, Operation::PutObject);
            assert_eq!((call.bucket.as_str(), call.name.as_str()), ("bkt", "a/b c"));
        }
    }

    #[test]
    fn dots_and_doubled_slashes_in_a_name_are_left_alone() {
        let call = parse(&Method::GET, "/n/ns/b/bkt/o/a//../b/");
        assert_eq!(call.name, "a//../b/");
    }

    #[test]
    fn namespace_is_asked_for_with_and_without_the_slash() {
        for path in ["/n", "/n/"] {
            assert_eq!(parse(&Method::GET, path).operation, Operation::GetNamespace);
        }
    }

    #[test]
    fn a_link_reaches_objects_only() {
        let call = parse(&Method::GET, "/p/to-ken/n/ns/b/bkt/o/a%2Fb");
        assert_eq!(call.operation, Operation::LinkGet);
        assert_eq!(call.token.as_deref(), Some("to-ken"));
        assert_eq!(
            parse(&Method::GET, "/p/t/n/ns/b/bkt/o/").operation,
            Operation::LinkList
        );
        assert!(Call::parse(&Method::GET, "/p/t/n/ns/b/bkt/p").is_err());
        assert!(Call::parse(&Method::DELETE, "/p/t/n/ns/b/bkt/o/a").is_err());
    }

    #[test]
    fn the_id_of_a_par_may_hold_a_slash() {
        let call = parse(&Method::DELETE, "/n/ns/b/bkt/p/ab/c+d%3D:name");
        assert_eq!(call.operation, Operation::DeletePreauthenticatedRequest);
        assert_eq!(call.name, "ab/c+d=:name");
    }
}
