//! Lists that come in pages: all of them are read, and what is not wanted is dropped page by page.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use super::client::{Call, ObjectStorage};
use super::error::Result;
use super::names::BucketName;
use super::operation::Operation;

/// The most the service gives in one page.
const PAGE: &str = "1000";

impl ObjectStorage {
    /// Reads every page of a list and keeps what `keep` makes of its items.
    pub(super) async fn pages<T, U>(
        &self,
        operation: Operation,
        bucket: &BucketName,
        segments: &[&str],
        query: &[(&str, &str)],
        mut keep: impl FnMut(T) -> Option<U>,
    ) -> Result<Vec<U>>
    where
        T: DeserializeOwned,
    {
        let mut kept = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE));
            if let Some(page) = &page {
                query.push(("page", page));
            }
            let reply = self
                .call(Call {
                    operation,
                    method: Method::GET,
                    url: self.url(bucket, segments, &query),
                    headers: HeaderMap::new(),
                    json: None,
                })
                .await?;

            kept.extend(reply.json::<Vec<T>>()?.into_iter().filter_map(&mut keep));
            let next = reply
                .header("opc-next-page")
                .filter(|next| !next.is_empty());
            if next.is_none() {
                return Ok(kept);
            }
            if next == page.as_deref() {
                return Err(reply.invalid("names itself as the next page"));
            }
            page = next.map(str::to_owned);
        }
    }
}
