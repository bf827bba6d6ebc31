//! The way of a request: its token and method found, its parameters read, spoilt if that was asked
//! for, carried out, counted, answered.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State as Extract};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;

use super::error::Refusal;
use super::faults::Mishap;
use super::file_ids;
use super::methods::{self, Answered, Carry, Method};
use super::params::Params;
use super::polling::get_updates;
use super::state::{Shared, State};
use crate::connection::Connection;
use crate::content::Content;
use crate::telegram::store::{Look, Origin};

/// How much of a file is read at once.
const STEP: usize = 64 << 10;

/// Answers one request.
pub(super) async fn serve(
    Extract(shared): Extract<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let token = shared.telegram.bot_token().to_owned();
    if let Some(rest) = path.strip_prefix("/file/bot") {
        return match rest.split_once('/') {
            Some((given, name)) if unescaped(given) == token => file(&shared, name),
            _ => respond(Err(Refusal::UNAUTHORIZED)),
        };
    }
    let Some((given, name)) = path
        .strip_prefix("/bot")
        .and_then(|rest| rest.split_once('/'))
    else {
        return respond(Err(Refusal::NOT_FOUND));
    };
    if unescaped(given) != token {
        return respond(Err(Refusal::UNAUTHORIZED));
    }
    let Some(method) = methods::find(name) else {
        tracing::warn!(method = name, "the Bot API has no such method here");
        return respond(Err(Refusal::NOT_FOUND));
    };
    let params = Params::read(request, shared.telegram.store().folder()).await;
    match params {
        Ok(params) => call(&shared, method, params, &connection).await,
        Err(refusal) => {
            let answered = Err(refusal);
            count(&mut shared.desk().state, method.name, &answered);
            respond(answered)
        }
    }
}

/// Clients may escape the token's colon.
fn unescaped(text: &str) -> String {
    let text = percent_encoding::percent_decode_str(text);
    text.decode_utf8_lossy().into_owned()
}

async fn call(
    shared: &Shared,
    method: Method,
    mut params: Params,
    connection: &Connection,
) -> Response {
    let chat_id = params.chat_id();
    let fate = shared.desk().state.faults.consult(method.name, chat_id);
    tokio::time::sleep(fate.delay).await;
    match fate.mishap {
        None => {
            let answered = carry_out(shared, method, &mut params).await;
            count(&mut shared.desk().state, method.name, &answered);
            respond(answered)
        }
        Some(Mishap::Refuse(refusal)) => {
            let answered = Err(refusal);
            count(&mut shared.desk().state, method.name, &answered);
            respond(answered)
        }
        Some(Mishap::Lose) => {
            let answered = carry_out(shared, method, &mut params).await;
            count_unanswered(shared, method);
            connection.cut();
            respond(answered)
        }
        Some(Mishap::Close) => {
            count_unanswered(shared, method);
            connection.cut();
            respond(Err(Refusal::INTERNAL))
        }
        Some(Mishap::Hang) => {
            count_unanswered(shared, method);
            shared.stopping.cancelled().await;
            connection.cut();
            respond(Err(Refusal::INTERNAL))
        }
    }
}

async fn carry_out(shared: &Shared, method: Method, params: &mut Params) -> Answered {
    match method.carry {
        Carry::Poll => get_updates(shared, params).await,
        Carry::Now(carry) => {
            if method.name == "sendDocument" {
                take_upload(shared, params).await?;
            }
            carry(&mut shared.desk(), params)
        }
    }
}

/// Makes an uploaded file known to the store, which takes the time of reading it.
async fn take_upload(shared: &Shared, params: &mut Params) -> Result<(), Refusal> {
    let Some(upload) = params.upload("document") else {
        return Ok(());
    };
    let look = Look {
        name: upload.name.clone(),
        mime_type: upload.mime_type.clone(),
        ..Look::default()
    };
    let origin = Origin::File(upload.stored.clone());
    upload.take();
    let telegram = shared.telegram.clone();
    let home = telegram.home();
    let hashing = move || telegram.store().media(home, origin, 0, look);
    let media = tokio::task::spawn_blocking(hashing)
        .await
        .expect("hashing does not panic")?;
    params.set_media(media);
    Ok(())
}

/// Counts how a call ended.
pub(super) fn count(state: &mut State, method: &str, answered: &Answered) {
    let count = state.calls.entry(method.to_owned()).or_default();
    match answered {
        Ok(_) => count.ok += 1,
        Err(refusal) => *count.refused.entry(refusal.code).or_default() += 1,
    }
}

fn count_unanswered(shared: &Shared, method: Method) {
    let calls = &mut shared.desk().state.calls;
    calls.entry(method.name.to_owned()).or_default().unanswered += 1;
}

fn respond(answered: Answered) -> Response {
    match answered {
        Ok(answer) => {
            let mut body = json!({"ok": true, "result": answer.result});
            if let Some(description) = answer.description {
                body["description"] = description.into();
            }
            Json(body).into_response()
        }
        Err(refusal) => {
            let mut body = json!({
                "ok": false,
                "error_code": refusal.code,
                "description": refusal.description,
            });
            if let Some(parameters) = refusal.parameters {
                body["parameters"] = json!(parameters);
            }
            let status = StatusCode::from_u16(refusal.code);
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(body)).into_response()
        }
    }
}

/// The bytes of a file, by the `file_path` that `getFile` gave.
fn file(shared: &Shared, path: &str) -> Response {
    let named = path.strip_prefix("files/").and_then(file_ids::parse);
    let content = named.and_then(|named| {
        let file = shared.telegram.store().file(named.file_id)?;
        let mut renditions = file.renditions.iter();
        let found = renditions.find(|one| one.name == named.rendition)?;
        Some(Arc::clone(&found.content))
    });
    let Some(content) = content else {
        return respond(Err(Refusal::NOT_FOUND));
    };
    let len = content.len();
    let pieces =
        futures::stream::iter((0..len).step_by(STEP)).map(move |offset| piece(&content, offset));
    let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
    let len = (header::CONTENT_LENGTH, len.to_string());
    ([kind, len], Body::from_stream(pieces)).into_response()
}

fn piece(content: &Content, offset: u64) -> std::io::Result<Bytes> {
    let len = (STEP as u64).min(content.len() - offset);
    let mut out = Vec::new();
    content.append_to(&mut out, offset, usize::try_from(len).unwrap_or(0))?;
    Ok(out.into())
}
