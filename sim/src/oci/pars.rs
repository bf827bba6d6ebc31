//! Pre-authenticated requests: made, listed, looked up, deleted, and what their holders may do.
//!
//! The secret is told once, in the answer to the creation; no listing shows it.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ObjectStorage;
use super::error::ApiError;
use super::model::{AccessType, Bucket, BucketListing, Par};
use super::names::{self, ObjectName, segment};
use super::request::{self, Page, Request, json_time};
use super::route::{Call, Operation};
use super::store::Change;

/// The longest link, object name included.
const MAX_LINK: usize = 3500;

/// The body of `CreatePreauthenticatedRequest`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Creation {
    name: Option<String>,
    access_type: Option<String>,
    time_expires: Option<String>,
    object_name: Option<String>,
    bucket_listing_action: Option<String>,
}

impl Creation {
    fn into_par(self) -> Result<Par, ApiError> {
        let required = |value: Option<String>, name| {
            let value = value.filter(|value| !value.is_empty());
            value.ok_or_else(|| ApiError::missing_parameter(name))
        };
        let name = required(self.name, "name")?;
        let access: AccessType = named(&required(self.access_type, "accessType")?, "accessType")?;
        let expires = required(self.time_expires, "timeExpires")?;
        let expires: Timestamp = expires.parse().map_err(|_| {
            ApiError::invalid_parameter(format!("timeExpires '{expires}' is not RFC 3339"))
        })?;
        let now = Timestamp::now();
        if expires <= now {
            return Err(ApiError::invalid_parameter(
                "timeExpires must be in the future",
            ));
        }
        let listing = self
            .bucket_listing_action
            .map(|action| named(&action, "bucketListingAction"));
        let listing = listing.transpose()?;
        if listing == Some(BucketListing::ListObjects) && !(access.any() && access.reads()) {
            return Err(ApiError::invalid_parameter(
                "bucketListingAction needs the accessType AnyObjectRead or AnyObjectReadWrite",
            ));
        }
        let object_name = if access.any() {
            self.object_name.filter(|prefix| !prefix.is_empty())
        } else {
            let name = required(self.object_name, "objectName")?;
            Some(ObjectName::parse(name)?.as_str().to_owned())
        };
        Ok(Par {
            id: names::par_id(object_name.as_deref()),
            name,
            token: names::link_token(),
            access,
            listing,
            object_name,
            created: now,
            expires,
        })
    }
}

/// The variant of an enumeration that `text` names.
fn named<T: DeserializeOwned>(text: &str, parameter: &str) -> Result<T, ApiError> {
    serde_json::from_value(json!(text)).map_err(|_| {
        ApiError::invalid_parameter(format!("The {parameter} '{text}' is not one of the known"))
    })
}

impl AccessType {
    fn reads(self) -> bool {
        !matches!(self, Self::ObjectWrite | Self::AnyObjectWrite)
    }

    fn writes(self) -> bool {
        !matches!(self, Self::ObjectRead | Self::AnyObjectRead)
    }

    /// Whether it is about the bucket rather than one object.
    fn any(self) -> bool {
        matches!(
            self,
            Self::AnyObjectRead | Self::AnyObjectWrite | Self::AnyObjectReadWrite
        )
    }
}

impl Par {
    /// Whether the holder may do `operation` to the object called `name`.
    fn allows(&self, operation: Operation, name: &str) -> bool {
        let access = self.access;
        let permitted = match operation {
            Operation::LinkGet | Operation::LinkHead => access.reads(),
            Operation::LinkPut => access.writes(),
            Operation::LinkList => return self.listing == Some(BucketListing::ListObjects),
            _ => false,
        };
        let about = self.object_name.as_deref().unwrap_or_default();
        permitted
            && if access.any() {
                name.starts_with(about)
            } else {
                name == about
            }
    }

    /// As it is shown, without its secret.
    pub(super) fn summary(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "objectName": self.object_name,
            "accessType": self.access,
            "bucketListingAction": self.listing,
            "timeCreated": json_time(self.created),
            "timeExpires": json_time(self.expires),
        })
    }

    fn access_uri(&self, namespace: &str, bucket: &str) -> String {
        let object = match &self.object_name {
            Some(name) if !self.access.any() => segment(name),
            _ => String::new(),
        };
        format!(
            "/p/{}/n/{}/b/{}/o/{object}",
            self.token,
            segment(namespace),
            segment(bucket)
        )
    }
}

/// The link of a request that came through one, if it is alive and allows what is asked. Dead,
/// unknown and insufficient links are answered alike, so that a guess learns nothing.
pub(super) fn admit(bucket: &Bucket, call: &Call, token: &str) -> Result<Arc<Par>, ApiError> {
    let id = bucket.par_tokens.get(token);
    let par = id
        .and_then(|id| bucket.pars.get(id))
        .filter(|par| par.expires > Timestamp::now() && par.allows(call.operation, &call.name));
    par.cloned()
        .ok_or_else(|| ApiError::bucket_not_found(&call.namespace, &call.bucket))
}

impl ObjectStorage {
    pub(super) async fn create_par(&self, request: Request) -> Result<Response, ApiError> {
        let host = request.header("host").unwrap_or_default();
        let creation: Creation = request::json(request.body).await?;
        let par = creation.into_par()?;
        let uri = par.access_uri(&request.call.namespace, &request.call.bucket);
        let full_path = format!("{}{uri}", self.public_url(&host));
        if full_path.len() > MAX_LINK {
            return Err(ApiError::invalid_parameter(format!(
                "The link would be longer than {MAX_LINK} bytes"
            )));
        }
        let mut answer = par.summary();
        answer["accessUri"] = json!(uri);
        answer["fullPath"] = json!(full_path);
        request::late(request.landing.as_ref()).await;
        self.change_bucket(&request.call, |_, name| {
            let bucket = name.to_owned();
            Ok((Change::ParCreated { bucket, par }, ()))
        })?;
        Ok(Json(answer).into_response())
    }

    /// The objects that the link of the request is about.
    pub(super) fn list_through_link(&self, request: &Request) -> Result<Response, ApiError> {
        let token = request.call.token.as_deref().unwrap_or_default();
        let par = self.bucket(&request.call, |bucket| admit(bucket, &request.call, token))??;
        self.list_objects(request, par.object_name.as_deref().unwrap_or_default())
    }

    pub(super) fn list_pars(&self, request: &Request) -> Result<Response, ApiError> {
        let limit = request.limit(self.page_limit())?;
        let after = request.page()?;
        let prefix = request.query("objectNamePrefix").unwrap_or_default();
        let page = self.bucket(&request.call, |bucket| {
            let pars = bucket.pars.values().filter(|par| {
                let object = par.object_name.as_deref().unwrap_or_default();
                par.id > after && object.starts_with(&prefix)
            });
            Page::of(pars.cloned(), limit, |par| par.id.clone())
        })?;
        let summaries: Vec<Value> = page.items.iter().map(|par| par.summary()).collect();
        Ok((page.headers(), Json(summaries)).into_response())
    }

    pub(super) fn get_par(&self, request: &Request) -> Result<Response, ApiError> {
        let id = &request.call.name;
        let par = self.bucket(&request.call, |bucket| bucket.pars.get(id).cloned())?;
        let par = par.ok_or_else(|| ApiError::par_not_found(id))?;
        Ok(Json(par.summary()).into_response())
    }

    pub(super) fn delete_par(&self, request: &Request) -> Result<Response, ApiError> {
        let id = request.call.name.clone();
        self.change_bucket(&request.call, |bucket, name| {
            if !bucket.pars.contains_key(&id) {
                return Err(ApiError::par_not_found(&id));
            }
            let bucket = name.to_owned();
            Ok((Change::ParDeleted { bucket, id }, ()))
        })?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creation(access: &str, object: Option<&str>) -> Creation {
        Creation {
            name: Some("p".into()),
            access_type: Some(access.into()),
            time_expires: Some("2999-01-01T00:00:00+02:00".into()),
            object_name: object.map(Into::into),
            bucket_listing_action: None,
        }
    }

    #[test]
    fn a_link_allows_what_its_type_says_and_no_more() {
        use Operation::{LinkGet, LinkHead, LinkList, LinkPut};
        for (access, object, allowed) in [
            (
                "ObjectRead",
                Some("a"),
                &[(LinkGet, "a"), (LinkHead, "a")][..],
            ),
            ("ObjectWrite", Some("a"), &[(LinkPut, "a")]),
            (
                "ObjectReadWrite",
                Some("a"),
                &[(LinkGet, "a"), (LinkHead, "a"), (LinkPut, "a")],
            ),
            (
                "AnyObjectRead",
                Some("a"),
                &[
                    (LinkGet, "a"),
                    (LinkGet, "ab"),
                    (LinkHead, "a"),
                    (LinkHead, "ab"),
                ],
            ),
            (
                "AnyObjectWrite",
                None,
                &[(LinkPut, "a"), (LinkPut, "ab"), (LinkPut, "b")],
            ),
        ] {
            let par = creation(access, object).into_par().expect("a PAR");
            for operation in [LinkGet, LinkHead, LinkPut, LinkList] {
                for name in ["a", "ab", "b"] {
                    let expected = allowed.contains(&(operation, name));
                    assert_eq!(
                        par.allows(operation, name),
                        expected,
                        "{access} {operation:?} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        type Spoil = fn(&mut Creation);
        let spoils: [(&str, Spoil); 8] = [
            ("name", |creation| creation.name = None),
            ("accessType", |creation| creation.access_type = None),
            ("accessType", |creation| {
                creation.access_type = Some("Root".into());
            }),
            ("timeExpires", |creation| creation.time_expires = None),
            ("timeExpires", |creation| {
                creation.time_expires = Some("soon".into());
            }),
            ("timeExpires", |creation| {
                creation.time_expires = Some("2001-01-01T00:00:00Z".into());
            }),
            ("objectName", |creation| creation.object_name = None),
            ("bucketListingAction", |creation| {
                creation.bucket_listing_action = Some("ListObjects".into());
            }),
        ];
        for (parameter, spoil) in spoils {
            let mut creation = creation("ObjectRead", Some("a"));
            spoil(&mut creation);
            let error = creation.into_par().expect_err(parameter).to_string();
            assert!(error.contains("InvalidParameter"), "{error}");
            assert!(error.contains(parameter), "{error}");
        }
    }
}
