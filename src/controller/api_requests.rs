//! Counts what is asked of the API server.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::{Method, Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use tower::{Layer, Service};

use crate::ops::metrics::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    pub(super) verb: &'static str,
    pub(super) resource: String,
    pub(super) code: u16,
}

pub(super) type Counts = Family<Labels, Counter>;

/// A client whose requests are counted in `metrics`.
///
/// # Errors
/// The configuration gives no client.
pub fn counted_client(config: Config, metrics: &Metrics) -> kube::Result<Client> {
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&Count(counts(metrics)))
        .build())
}

/// Counts that `metrics` tells.
pub(super) fn counts(metrics: &Metrics) -> Counts {
    let counts = Counts::default();
    metrics.register(|registry| {
        registry.register(
            "api_requests",
            "Requests to the API server; 0 is the code of those without a reply",
            counts.clone(),
        );
    });
    counts
}

#[derive(Clone)]
struct Count(Counts);

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            counts: self.0.clone(),
        }
    }
}

#[derive(Clone)]
struct Counted<S> {
    inner: S,
    counts: Counts,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let counts = self.counts.clone();
        let (resource, has_name) = resource(request.uri().path());
        let verb = verb(request.method(), request.uri().query(), has_name);
        let code = 0;
        let labels = Labels {
            verb,
            resource,
            code,
        };
        let mut asked = Asked { counts, labels };
        let reply = self.inner.call(request);
        Box::pin(async move {
            let reply = reply.await;
            if let Ok(reply) = &reply {
                asked.answered(reply.status().as_u16());
            }
            reply
        })
    }
}

/// A request, counted when it has ended, however it did.
struct Asked {
    counts: Counts,
    labels: Labels,
}

impl Asked {
    fn answered(&mut self, code: u16) {
        self.labels.code = code;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.counts.get_or_create(&self.labels).inc();
    }
}

/// The resource of a path, with its subresource, and whether the path names an object.
fn resource(path: &str) -> (String, bool) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    // /api/v1/... and /apis/GROUP/VERSION/...
    let depth = if parts.next() == Some("api") { 1 } else { 2 };
    let mut rest: Vec<_> = parts.skip(depth).collect();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    match rest[..] {
        [] => ("discovery".to_owned(), false),
        [resource] => (resource.to_owned(), false),
        [resource, _] => (resource.to_owned(), true),
        [resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
    }
}

fn verb(method: &Method, query: Option<&str>, has_name: bool) -> &'static str {
    let is_watch = query.is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    match *method {
        Method::GET if is_watch => "watch",
        Method::GET if has_name => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_ask_for() {
        let jobs = "/apis/telestream.io/v1alpha1/namespaces/n/transferjobs";
        for (method, path, query, expected) in [
            (
                Method::GET,
                jobs,
                Some("&limit=500"),
                ("list", "transferjobs"),
            ),
            (
                Method::GET,
                jobs,
                Some("&watch=true&x=y"),
                ("watch", "transferjobs"),
            ),
            (
                Method::GET,
                &format!("{jobs}/a"),
                None,
                ("get", "transferjobs"),
            ),
            (
                Method::PATCH,
                &format!("{jobs}/a/status"),
                None,
                ("patch", "transferjobs/status"),
            ),
            (
                Method::POST,
                "/api/v1/namespaces/n/pods",
                None,
                ("create", "pods"),
            ),
            (
                Method::GET,
                "/api/v1/namespaces/n",
                None,
                ("get", "namespaces"),
            ),
            (Method::GET, "/apis", None, ("list", "discovery")),
        ] {
            let (resource, has_name) = resource(path);
            let verb = verb(&method, query, has_name);
            assert_eq!((verb, resource.as_str()), expected, "{method} {path}");
        }
    }
}
