//! The HTTP interface of the data centres: sessions, messages, files, and what goes wrong.

use std::num::NonZeroU64;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio_util::io::StreamReader;

use super::faults::{DoorConduct, Fault, KeySharing};
use super::ids::{ChatId, DcId, Door, Identity};
use super::keys::{SessionDocument, SignedIn};
use super::store::{Draft, DraftBody, Look, MediaKind, Message, MessageBody, Origin};
use super::traffic::Traffic;
use super::{CentreAddress, Telegram};
use crate::admin::{ApiError, ApiJson, ApiQuery};
use crate::content::hex;

/// The paths under `/telegram`.
pub(crate) fn router(telegram: Telegram) -> Router {
    Router::new()
        .route("/telegram", get(addresses))
        .route("/telegram/sessions", post(create_session))
        .route("/telegram/messages", post(publish))
        .route("/telegram/messages/{chat_id}/{message_id}", delete(remove))
        .route("/telegram/files", put(upload))
        .route("/telegram/file-references/expire", post(expire_references))
        .route("/telegram/salts/rotate", post(rotate_salts))
        .route("/telegram/sessions/forget", post(forget_sessions))
        .route(
            "/telegram/faults",
            get(faults).post(add_fault).delete(clear_faults),
        )
        .route("/telegram/rate", put(set_rate))
        .route("/telegram/latency", put(set_latency))
        .route("/telegram/doors", put(set_door))
        .route("/telegram/key-sharing", put(set_key_sharing))
        .route("/telegram/traffic", get(traffic).delete(reset_traffic))
        .route("/telegram/clock", put(set_clock))
        .with_state(telegram)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Addresses {
    home_dc: DcId,
    dcs: Vec<CentreAddress>,
}

async fn addresses(State(telegram): State<Telegram>) -> Json<Addresses> {
    Json(Addresses {
        home_dc: telegram.home(),
        dcs: telegram.addresses(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SessionRequest {
    identity: Identity,
    #[serde(default)]
    signed_in: SignedIn,
}

async fn create_session(
    State(telegram): State<Telegram>,
    ApiJson(request): ApiJson<SessionRequest>,
) -> Result<(StatusCode, Json<SessionDocument>), ApiError> {
    let session = telegram.create_session(request.identity, request.signed_in)?;
    Ok((StatusCode::CREATED, Json(session)))
}

/// What kind of message is to be published.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Text,
    Service,
    #[default]
    Document,
    Video,
    Audio,
    Voice,
    VideoNote,
    Animation,
    Sticker,
    Photo,
}

impl Kind {
    /// The kind of medium; `None` for what has none.
    const fn media(self) -> Option<MediaKind> {
        match self {
            Self::Text | Self::Service => None,
            Self::Document => Some(MediaKind::Document),
            Self::Video => Some(MediaKind::Video),
            Self::Audio => Some(MediaKind::Audio),
            Self::Voice => Some(MediaKind::Voice),
            Self::VideoNote => Some(MediaKind::VideoNote),
            Self::Animation => Some(MediaKind::Animation),
            Self::Sticker => Some(MediaKind::Sticker),
            Self::Photo => Some(MediaKind::Photo),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageRequest {
    chat_id: ChatId,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    text: String,
    name: Option<String>,
    mime_type: Option<String>,
    size: Option<u64>,
    seed: Option<u64>,
    dc: Option<DcId>,
    duration: Option<f64>,
    width: Option<i32>,
    height: Option<i32>,
    title: Option<String>,
    performer: Option<String>,
    grouped_id: Option<i64>,
    members: Option<Vec<Identity>>,
    chat_title: Option<String>,
}

impl MessageRequest {
    /// The body of a message whose file comes from `origin`, or is generated if there is none.
    fn body(&mut self, home: DcId, origin: Option<Origin>) -> Result<DraftBody, ApiError> {
        let Some(kind) = self.kind.media() else {
            return match self.kind {
                Kind::Service => Ok(DraftBody::Service),
                _ if self.text.is_empty() => Err(ApiError::bad("a text message needs text")),
                _ => Ok(DraftBody::Text),
            };
        };
        let size = match &origin {
            Some(_) => 0,
            None => self
                .size
                .ok_or(ApiError::bad("a generated file needs size, in bytes"))?,
        };
        Ok(DraftBody::Media {
            dc: self.dc.unwrap_or(home),
            origin: origin.unwrap_or(Origin::Seed(self.seed.unwrap_or(0))),
            size,
            look: Look {
                kind,
                name: self.name.take(),
                mime_type: self.mime_type.take(),
                duration: self.duration,
                width: self.width,
                height: self.height,
                title: self.title.take(),
                performer: self.performer.take(),
            },
        })
    }

    fn draft(mut self, home: DcId, origin: Option<Origin>) -> Result<Draft, ApiError> {
        Ok(Draft {
            body: self.body(home, origin)?,
            chat_id: self.chat_id,
            members: self.members,
            chat_title: self.chat_title,
            text: self.text,
            grouped_id: self.grouped_id,
        })
    }
}

/// What was published.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    chat_id: ChatId,
    message_id: i32,
    #[serde(flatten)]
    file: Option<PublishedFile>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublishedFile {
    file_id: i64,
    size: u64,
    sha256: String,
    dc: DcId,
}

impl From<Message> for Published {
    fn from(message: Message) -> Self {
        let file = match message.body {
            MessageBody::Media(media) => Some(PublishedFile {
                file_id: media.file_id,
                size: media.size,
                sha256: hex(&media.sha256),
                dc: media.dc,
            }),
            _ => None,
        };
        Self {
            chat_id: message.chat_id,
            message_id: message.id,
            file,
        }
    }
}

async fn publish(
    State(telegram): State<Telegram>,
    ApiJson(request): ApiJson<MessageRequest>,
) -> Result<(StatusCode, Json<Published>), ApiError> {
    let draft = request.draft(telegram.home(), None)?;
    let message = telegram.publish(draft).await?;
    Ok((StatusCode::CREATED, Json(message.into())))
}

async fn upload(
    State(telegram): State<Telegram>,
    ApiQuery(request): ApiQuery<FileQuery>,
    body: Body,
) -> Result<(StatusCode, Json<Published>), ApiError> {
    let request = MessageRequest::from(request);
    let name = new_file_name();
    let path = telegram.world.store.folder().join(&name);
    let draft = request.draft(telegram.home(), Some(Origin::File(name)))?;
    let stored = store_body(&path, body).await;
    let published = match stored {
        Ok(()) => telegram.publish(draft).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    if published.is_err() {
        // Nobody refers to the file. That it cannot be removed is no more than litter.
        let _ = tokio::fs::remove_file(&path).await;
    }
    Ok((StatusCode::CREATED, Json(published?.into())))
}

/// A name in the store's folder that no file has.
pub(crate) fn new_file_name() -> String {
    let mut number = [0; 8];
    aws_lc_rs::rand::fill(&mut number).expect("the system has random numbers");
    format!("{:016x}", u64::from_le_bytes(number))
}

/// Streams a request's body to disk.
pub(crate) async fn store_body(path: &std::path::Path, body: Body) -> Result<(), ApiError> {
    let stream = body.into_data_stream().map_err(std::io::Error::other);
    let mut reader = StreamReader::new(stream);
    let mut file = tokio::fs::File::create_new(path).await?;
    tokio::io::copy(&mut reader, &mut file).await?;
    Ok(file.flush().await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileQuery {
    chat_id: ChatId,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    text: String,
    name: Option<String>,
    mime_type: Option<String>,
    dc: Option<DcId>,
}

impl From<FileQuery> for MessageRequest {
    fn from(query: FileQuery) -> Self {
        Self {
            chat_id: query.chat_id,
            kind: query.kind,
            text: query.text,
            name: query.name,
            mime_type: query.mime_type,
            size: None,
            seed: None,
            dc: query.dc,
            duration: None,
            width: None,
            height: None,
            title: None,
            performer: None,
            grouped_id: None,
            members: None,
            chat_title: None,
        }
    }
}

async fn remove(
    State(telegram): State<Telegram>,
    path: Result<Path<(ChatId, i32)>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, ApiError> {
    let Path((chat_id, message_id)) = path.map_err(|error| ApiError::bad(error.body_text()))?;
    telegram.delete(chat_id, message_id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn expire_references(State(telegram): State<Telegram>) -> StatusCode {
    telegram.expire_file_references();
    StatusCode::NO_CONTENT
}

async fn rotate_salts(State(telegram): State<Telegram>) -> StatusCode {
    telegram.rotate_salts();
    StatusCode::NO_CONTENT
}

async fn forget_sessions(State(telegram): State<Telegram>) -> StatusCode {
    telegram.forget_sessions();
    StatusCode::NO_CONTENT
}

async fn faults(State(telegram): State<Telegram>) -> Json<Vec<Fault>> {
    Json(telegram.faults())
}

async fn add_fault(State(telegram): State<Telegram>, ApiJson(fault): ApiJson<Fault>) -> StatusCode {
    telegram.add_fault(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(telegram): State<Telegram>) -> StatusCode {
    telegram.clear_faults();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rate {
    bytes_per_second: Option<NonZeroU64>,
}

async fn set_rate(State(telegram): State<Telegram>, ApiJson(rate): ApiJson<Rate>) -> StatusCode {
    telegram.set_rate(rate.bytes_per_second);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Latency {
    milliseconds: u64,
}

async fn set_latency(
    State(telegram): State<Telegram>,
    ApiJson(latency): ApiJson<Latency>,
) -> StatusCode {
    telegram.set_latency(Duration::from_millis(latency.milliseconds));
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DoorSetting {
    dc: DcId,
    door: Door,
    conduct: DoorConduct,
}

async fn set_door(
    State(telegram): State<Telegram>,
    ApiJson(setting): ApiJson<DoorSetting>,
) -> StatusCode {
    telegram.set_door(setting.dc, setting.door, setting.conduct);
    StatusCode::NO_CONTENT
}

async fn set_key_sharing(
    State(telegram): State<Telegram>,
    ApiJson(sharing): ApiJson<KeySharing>,
) -> StatusCode {
    telegram.set_key_sharing(sharing);
    StatusCode::NO_CONTENT
}

async fn traffic(State(telegram): State<Telegram>) -> Json<Traffic> {
    Json(telegram.traffic())
}

async fn reset_traffic(State(telegram): State<Telegram>) -> StatusCode {
    telegram.reset_traffic();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Clock {
    offset_seconds: i64,
}

async fn set_clock(State(telegram): State<Telegram>, ApiJson(clock): ApiJson<Clock>) -> StatusCode {
    telegram.set_clock_offset(clock.offset_seconds);
    StatusCode::NO_CONTENT
}
