//! Links: pre-authenticated requests (PARs) that let whoever has the URL read one object.
//!
//! The URL is told once, when the link is made, and is a bearer secret. A link works as long as
//! the identity that made it may read the object.

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::client::{Call, ObjectStorage};
use super::endpoint::{LinkTarget, link_url};
use super::error::{Error, Result};
use super::names::{BucketName, ObjectName, ParId, SecretUrl};
use super::objects::Removal;
use super::operation::Operation;
use super::uploads::json;

/// A link to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPar {
    /// Its name, by which it is found again; it need not be unique.
    pub name: String,
    /// The object it lets people read.
    pub object: ObjectName,
    /// When it ends, to the second.
    pub expires: Timestamp,
}

/// A link that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Par {
    /// What the service calls it.
    pub id: ParId,
    /// The URL that opens the object. It is told this once.
    pub url: SecretUrl,
    /// When it ends.
    pub expires: Timestamp,
}

/// A link as the service lists it: without its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParSummary {
    /// What the service calls it.
    pub id: ParId,
    /// The name it was given.
    pub name: String,
    /// The object it opens; absent if it opens the bucket.
    pub object: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateDetails<'a> {
    name: &'a str,
    object_name: &'a str,
    access_type: &'static str,
    time_expires: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateReply {
    id: String,
    access_uri: Option<String>,
    full_path: Option<String>,
    time_expires: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SummaryReply {
    id: String,
    name: String,
    object_name: Option<String>,
    time_expires: String,
}

impl ObjectStorage {
    /// Makes a link to an object.
    ///
    /// # Errors
    /// [`Error::ReplyLost`] if a link may have been made whose URL nobody knows: find it by its
    /// name in the list, delete it, and make another.
    pub async fn create_par(&self, bucket: &BucketName, new: &NewPar) -> Result<Par> {
        let expires = new.expires.as_second();
        let expires = Timestamp::from_second(expires).unwrap_or(new.expires);
        let call = Call {
            operation: Operation::CreatePreauthenticatedRequest,
            method: Method::POST,
            url: self.url(bucket, &["p"], &[]),
            headers: HeaderMap::new(),
            json: Some(json(&CreateDetails {
                name: &new.name,
                object_name: new.object.as_str(),
                access_type: "ObjectRead",
                time_expires: expires.to_string(),
            })),
        };
        let reply = self.call(call).await?;
        let made: CreateReply = reply.json()?;
        let target = LinkTarget {
            namespace: self.namespace(),
            bucket,
            object: &new.object,
        };
        let (full_path, access_uri) = (made.full_path.as_deref(), made.access_uri.as_deref());
        Ok(Par {
            id: ParId::new(made.id).map_err(|_| reply.invalid("has no id"))?,
            url: link_url(full_path, access_uri, self.link_base(), &target)
                .ok_or_else(|| reply.invalid("has no URL"))?,
            expires: made
                .time_expires
                .and_then(|time| time.parse().ok())
                .unwrap_or(expires),
        })
    }

    /// The links to objects whose names begin with `object_prefix`.
    ///
    /// # Errors
    /// Those of a request that may be repeated; see [`Error::class`].
    pub async fn list_pars(
        &self,
        bucket: &BucketName,
        object_prefix: &str,
    ) -> Result<Vec<ParSummary>> {
        let operation = Operation::ListPreauthenticatedRequests;
        let parse = |item: SummaryReply| -> Option<Result<ParSummary>> {
            let (Ok(id), Ok(expires)) = (ParId::new(item.id), item.time_expires.parse()) else {
                let why = "lists a link without a proper id or expiry";
                return Some(Err(Error::Reply { operation, why }));
            };
            Some(Ok(ParSummary {
                id,
                name: item.name,
                object: item.object_name,
                expires,
            }))
        };
        let query = [("objectNamePrefix", object_prefix)];
        let query = if object_prefix.is_empty() {
            &[][..]
        } else {
            &query[..]
        };
        let pars = self.pages(operation, bucket, &["p"], query, parse).await?;
        pars.into_iter().collect()
    }

    /// Ends a link. The object stays.
    ///
    /// # Errors
    /// Those of a request that may be repeated; see [`Error::class`].
    pub async fn delete_par(&self, bucket: &BucketName, id: &ParId) -> Result<Removal> {
        let call = Call {
            operation: Operation::DeletePreauthenticatedRequest,
            method: Method::DELETE,
            url: self.url(bucket, &["p", id.as_str()], &[]),
            headers: HeaderMap::new(),
            json: None,
        };
        Removal::of(self.call(call).await)
    }
}
