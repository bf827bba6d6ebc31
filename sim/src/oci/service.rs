//! The way of a request: parsed, authenticated, spoilt if that was asked for, allowed, carried
//! out, answered. Each step is here once, in this order, for all operations.

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde_json::json;

use super::ObjectStorage;
use super::auth::{self, BodyRule, Head};
use super::error::ApiError;
use super::faults::{Mishap, Report};
use super::mangle;
use super::names;
use super::objects::Reading;
use super::pars;
use super::request::{self, Request, headers, json_time};
use super::route::{Call, Operation};
use crate::connection::Connection;

/// What a client says of its body.
const CONTENT_MD5: &str = "content-md5";

/// What an answer says of a body.
const OPC_CONTENT_MD5: &str = "opc-content-md5";

/// What both say, if the client chose so.
const CHECKSUMS: [&str; 3] = [
    "opc-content-crc32c",
    "opc-content-sha256",
    "opc-content-sha384",
];

/// Answers one request.
pub(super) async fn serve(
    State(storage): State<ObjectStorage>,
    request: extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let connection = parts.extensions.get::<ConnectInfo<Connection>>();
    let connection = connection.map(|ConnectInfo(connection)| connection.clone());
    let method = parts.method.clone();
    let client_request_id = parts.headers.get("opc-client-request-id").cloned();
    let request_id = format!("{}:{}", storage.region(), names::hex_id());
    let response = storage.answer(parts, body, connection).await;
    let mut response = response.unwrap_or_else(IntoResponse::into_response);
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if method == Method::HEAD && refused {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    headers.insert("x-api-id", HeaderValue::from_static("native"));
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert("opc-request-id", id);
    }
    headers.insert(header::DATE, storage.http_date());
    if let Some(id) = client_request_id {
        headers.insert("opc-client-request-id", id);
    }
    response
}

/// What befalls a body, in turn.
fn befall(body: Body, mishaps: &[Mishap], connection: Option<&Connection>) -> Body {
    mishaps.iter().fold(body, |body, mishap| match *mishap {
        Mishap::Slow(rate) => mangle::slowed(body, rate),
        Mishap::Stall(after) => mangle::stalled(body, after),
        Mishap::Garble => mangle::garbled(body),
        Mishap::Cut(after) => {
            let connection = connection.cloned();
            let cut = move || connection.iter().for_each(Connection::cut);
            mangle::broken(body, after, cut)
        }
    })
}

/// Removes what is said of a body.
fn forget_claims(headers: &mut HeaderMap) {
    for name in [CONTENT_MD5, OPC_CONTENT_MD5].into_iter().chain(CHECKSUMS) {
        headers.remove(name);
    }
}

/// Replaces the checksums in an answer by others of the same length.
fn misreport(headers: &mut HeaderMap) {
    for name in [OPC_CONTENT_MD5].into_iter().chain(CHECKSUMS) {
        let Some(value) = headers.get_mut(name) else {
            continue;
        };
        let wrong: Vec<u8> = match value.as_bytes() {
            [b'A', rest @ ..] => [b"B", rest].concat(),
            [_, rest @ ..] => [b"A", rest].concat(),
            [] => Vec::new(),
        };
        if let Ok(wrong) = HeaderValue::from_bytes(&wrong) {
            *value = wrong;
        }
    }
}

impl ObjectStorage {
    async fn answer(
        &self,
        parts: Parts,
        body: Body,
        connection: Option<Connection>,
    ) -> Result<Response, ApiError> {
        let call = Call::parse(&parts.method, parts.uri.path())?;
        let operation = call.operation;
        self.traffic_ledger().request(operation);
        let answer = self.answer_call(parts, call, body, connection).await;
        let status = answer
            .as_ref()
            .map_or_else(ApiError::status, Response::status);
        self.traffic_ledger().answer(operation, status.as_u16());
        answer
    }

    async fn answer_call(
        &self,
        mut parts: Parts,
        call: Call,
        body: Body,
        connection: Option<Connection>,
    ) -> Result<Response, ApiError> {
        let body = self.authenticate(&parts, &call, body).await?;
        let fate = self.faults().consult(&call);
        tokio::time::sleep(fate.delay).await;
        if let Some(refusal) = fate.refusal {
            return Err(refusal);
        }
        self.allow(&call)?;
        let (entry, body) = self.traffic_ledger().body(&call, parts.uri.query(), body);
        let body = befall(body, &fate.mishaps, connection.as_ref());
        if fate.unchecked {
            forget_claims(&mut parts.headers);
        }
        let request = Request {
            call,
            uri: parts.uri,
            headers: parts.headers,
            body,
            landing: fate.landing,
        };
        let length = request.content_length().unwrap_or(0);
        let mut answer = self.carry_out_or_detach(request).await;
        if let (Ok(answer), Some(entry)) = (&answer, entry)
            && answer.status().is_success()
        {
            entry.taken(length);
        }
        if let Ok(answer) = &mut answer {
            match fate.report {
                Report::Right => {}
                Report::Wrong => misreport(answer.headers_mut()),
                Report::Nothing => forget_claims(answer.headers_mut()),
            }
        }
        match (fate.loses_reply, connection) {
            (false, _) => answer,
            (true, Some(connection)) => {
                connection.cut();
                answer
            }
            // Served without our listener: the nearest thing to no answer.
            (true, None) => Err(ApiError::internal(&"the reply was lost on request")),
        }
    }

    /// Checks the signature, unless the request comes through a link. A signed body is read whole
    /// and handed on.
    async fn authenticate(&self, parts: &Parts, call: &Call, body: Body) -> Result<Body, ApiError> {
        if call.token.is_some() {
            return Ok(body);
        }
        let rule = match parts.method {
            Method::POST => BodyRule::Signed,
            _ => BodyRule::Unsigned,
        };
        let head = Head {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
        };
        auth::verify(&head, rule, self.keys(), self.clock())?;
        match rule {
            BodyRule::Unsigned => Ok(body),
            BodyRule::Signed => {
                let bytes = request::collect(body).await?;
                auth::verify_body(&parts.headers, &bytes)?;
                Ok(Body::from(bytes))
            }
        }
    }

    /// Whether the caller may do it at all: the right namespace, the permissions, a living link.
    fn allow(&self, call: &Call) -> Result<(), ApiError> {
        if call.operation != Operation::GetNamespace && call.namespace != self.namespace() {
            return Err(ApiError::namespace_not_found(&call.namespace));
        }
        self.policy().check(call)?;
        match &call.token {
            None => Ok(()),
            Some(token) => self
                .bucket(call, |bucket| pars::admit(bucket, call, token))?
                .map(drop),
        }
    }

    /// What lands late lands also if the connection is gone by then, so it has a task of its own.
    async fn carry_out_or_detach(&self, request: Request) -> Result<Response, ApiError> {
        if request.landing.is_none() {
            return self.carry_out(request).await;
        }
        let storage = self.clone();
        self.tasks()
            .spawn(async move { storage.carry_out(request).await })
            .await
            .map_err(|error| ApiError::internal(&error))?
    }

    async fn carry_out(&self, request: Request) -> Result<Response, ApiError> {
        use Operation as Op;
        match request.call.operation {
            Op::GetNamespace => Ok(Json(json!(self.namespace())).into_response()),
            Op::GetBucket | Op::HeadBucket => self.get_bucket(&request),
            Op::CreateMultipartUpload => self.create_upload(request).await,
            Op::ListMultipartUploads => self.list_uploads(&request),
            Op::UploadPart => self.upload_part(request).await,
            Op::ListMultipartUploadParts => self.list_parts(&request),
            Op::CommitMultipartUpload => self.commit_upload(request).await,
            Op::AbortMultipartUpload => self.abort_upload(&request),
            Op::PutObject | Op::LinkPut => self.put_object(request).await,
            Op::GetObject | Op::LinkGet => self.get_object(&request, Reading::Bytes),
            Op::HeadObject | Op::LinkHead => self.get_object(&request, Reading::Head),
            Op::DeleteObject => self.delete_object(&request),
            Op::ListObjects => self.list_objects(&request, ""),
            Op::LinkList => self.list_through_link(&request),
            Op::CreatePreauthenticatedRequest => self.create_par(request).await,
            Op::ListPreauthenticatedRequests => self.list_pars(&request),
            Op::GetPreauthenticatedRequest => self.get_par(&request),
            Op::DeletePreauthenticatedRequest => self.delete_par(&request),
        }
    }

    fn get_bucket(&self, request: &Request) -> Result<Response, ApiError> {
        let call = &request.call;
        let (etag, created) = self.bucket(call, |bucket| (bucket.etag.clone(), bucket.created))?;
        let answer = json!({
            "namespace": call.namespace,
            "name": call.bucket,
            "compartmentId": self.tenancy(),
            "createdBy": self.user(),
            "metadata": {},
            "timeCreated": json_time(created),
            "etag": etag,
            "publicAccessType": "NoPublicAccess",
            "storageTier": "Standard",
            "objectEventsEnabled": false,
            "versioning": "Disabled",
            "replicationEnabled": false,
            "isReadOnly": false,
            "autoTiering": "Disabled",
        });
        Ok((headers([("etag", Some(etag))]), Json(answer)).into_response())
    }
}
