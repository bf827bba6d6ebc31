//! The HTTP interface by which scripts and people play the users, under `/bot`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::BotApi;
use super::commands::BotCommand;
use super::events::{CallCount, ChatMessage, Event};
use super::faults::Fault;
use super::limits::Limits;
use super::people::{ChatProfile, Standing, UserProfile};
use super::player::{CallbackId, FileSource, PlayError, UserFile, UserMessage};
use crate::admin::{ApiError, ApiJson, ApiQuery};
use crate::telegram::admin::{new_file_name, store_body};
use crate::telegram::ids::{ChatId, DcId};
use crate::telegram::store::{Look, MediaKind};

/// The longest that a request for events may wait, in seconds.
const MAX_WAIT: u64 = 60;

/// The paths under `/bot`.
pub(crate) fn router(bot: BotApi) -> Router {
    Router::new()
        .route("/bot", get(told))
        .route("/bot/users", post(add_user))
        .route("/bot/users/{user_id}/start", post(start))
        .route("/bot/users/{user_id}/blocked", put(set_blocked))
        .route("/bot/chats", post(add_chat))
        .route("/bot/chats/{chat_id}", get(chat))
        .route("/bot/chats/{chat_id}/standing", put(set_standing))
        .route(
            "/bot/chats/{chat_id}/messages/{message_id}",
            get(message).patch(edit).delete(remove),
        )
        .route("/bot/messages", post(send))
        .route("/bot/files", put(upload))
        .route("/bot/presses", post(press))
        .route("/bot/presses/expire", post(expire_presses))
        .route("/bot/updates", get(updates))
        .route("/bot/updates/again", post(again))
        .route("/bot/events", get(events))
        .route("/bot/calls", get(calls))
        .route("/bot/commands", get(commands))
        .route(
            "/bot/faults",
            get(faults).post(add_fault).delete(clear_faults),
        )
        .route("/bot/limits", put(set_limits))
        .with_state(bot)
}

impl From<PlayError> for ApiError {
    fn from(error: PlayError) -> Self {
        match error {
            PlayError::Store(error) => error.into(),
            PlayError::Journal(error) => error.into(),
            PlayError::NoChat(_)
            | PlayError::NoMessage { .. }
            | PlayError::NoFile(_)
            | PlayError::NoUpdate(_) => Self::not_found(error.to_string()),
            PlayError::Blocked(_) | PlayError::NotOwn(_) | PlayError::NoButton { .. } => {
                Self::bad(error.to_string())
            }
        }
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

/// What a path names, whose faults are told in our own shape.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(ApiError))]
struct ApiPath<T>(T);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    url: String,
    token: String,
    id: i64,
    username: String,
    webhook_url: Option<String>,
    pending_updates: usize,
    waiting_polls: usize,
    last_event: u64,
}

async fn told(State(bot): State<BotApi>) -> Json<Told> {
    Json(Told {
        url: bot.url(),
        token: bot.token().to_owned(),
        id: bot.id(),
        username: bot.username().to_owned(),
        webhook_url: bot.webhook_url(),
        pending_updates: bot.pending_updates(),
        waiting_polls: bot.waiting_polls(),
        last_event: bot.last_event(),
    })
}

async fn add_user(
    State(bot): State<BotApi>,
    ApiJson(profile): ApiJson<UserProfile>,
) -> Result<StatusCode, ApiError> {
    bot.add_user(profile)?;
    Ok(StatusCode::CREATED)
}

async fn add_chat(
    State(bot): State<BotApi>,
    ApiJson(profile): ApiJson<ChatProfile>,
) -> Result<StatusCode, ApiError> {
    bot.add_chat(profile)?;
    Ok(StatusCode::CREATED)
}

/// What was sent.
type Sent = Result<(StatusCode, Json<ChatMessage>), ApiError>;

async fn start(State(bot): State<BotApi>, ApiPath(user_id): ApiPath<i64>) -> Sent {
    let sent = bot.start(user_id).await?;
    Ok((StatusCode::CREATED, Json(bot.shown(&sent))))
}

async fn send(State(bot): State<BotApi>, ApiJson(message): ApiJson<UserMessage>) -> Sent {
    let sent = bot.send(message).await?;
    Ok((StatusCode::CREATED, Json(bot.shown(&sent))))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileQuery {
    from: i64,
    chat_id: Option<ChatId>,
    #[serde(default)]
    kind: MediaKind,
    name: Option<String>,
    mime_type: Option<String>,
    #[serde(default)]
    caption: String,
    reply_to: Option<i32>,
    thread_id: Option<i32>,
    media_group_id: Option<i64>,
    dc: Option<DcId>,
}

impl FileQuery {
    fn message(self, stored: String) -> UserMessage {
        let look = Look {
            kind: self.kind,
            name: self.name,
            mime_type: self.mime_type,
            ..Look::default()
        };
        let file = UserFile {
            dc: self.dc,
            ..UserFile::of(look, FileSource::Stored { stored })
        };
        UserMessage {
            chat_id: self.chat_id,
            reply_to: self.reply_to,
            thread_id: self.thread_id,
            media_group_id: self.media_group_id,
            ..UserMessage::file(self.from, file).with_caption(&self.caption)
        }
    }
}

async fn upload(
    State(bot): State<BotApi>,
    ApiQuery(query): ApiQuery<FileQuery>,
    body: Body,
) -> Sent {
    let name = new_file_name();
    let path = bot.shared.telegram.store().folder().join(&name);
    let sent = match store_body(&path, body).await {
        Ok(()) => bot.send(query.message(name)).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    if sent.is_err() {
        // Nobody refers to the file. That it cannot be removed is no more than litter.
        let _ = tokio::fs::remove_file(&path).await;
    }
    Ok((StatusCode::CREATED, Json(bot.shown(&sent?))))
}

async fn set_blocked(
    State(bot): State<BotApi>,
    ApiPath(user_id): ApiPath<i64>,
    ApiJson(blocked): ApiJson<bool>,
) -> Result<StatusCode, ApiError> {
    bot.set_blocked(user_id, blocked)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StandingChange {
    by: i64,
    standing: Standing,
}

async fn set_standing(
    State(bot): State<BotApi>,
    ApiPath(chat_id): ApiPath<ChatId>,
    ApiJson(change): ApiJson<StandingChange>,
) -> Result<StatusCode, ApiError> {
    bot.set_standing(chat_id, change.by, change.standing)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn chat(
    State(bot): State<BotApi>,
    ApiPath(chat_id): ApiPath<ChatId>,
) -> Json<Vec<ChatMessage>> {
    Json(bot.chat(chat_id))
}

async fn message(
    State(bot): State<BotApi>,
    ApiPath((chat_id, message_id)): ApiPath<(ChatId, i32)>,
) -> Result<Json<ChatMessage>, ApiError> {
    let message = bot.message(chat_id, message_id);
    let message = message.ok_or_else(|| ApiError::not_found("there is no such message"))?;
    Ok(Json(message))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewText {
    text: String,
}

async fn edit(
    State(bot): State<BotApi>,
    ApiPath((chat_id, message_id)): ApiPath<(ChatId, i32)>,
    ApiJson(new): ApiJson<NewText>,
) -> Result<Json<ChatMessage>, ApiError> {
    let edited = bot.edit_user_message(chat_id, message_id, &new.text)?;
    Ok(Json(bot.shown(&edited)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct By {
    by: i64,
}

async fn remove(
    State(bot): State<BotApi>,
    ApiPath((chat_id, message_id)): ApiPath<(ChatId, i32)>,
    ApiQuery(By { by }): ApiQuery<By>,
) -> Result<StatusCode, ApiError> {
    bot.delete_message(by, chat_id, message_id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which button is pressed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Pressed {
    /// The one with this label or callback data.
    Button(String),
    /// None there is: the client is no honest one.
    Forged(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Press {
    from: i64,
    chat_id: ChatId,
    message_id: i32,
    #[serde(flatten)]
    pressed: Pressed,
}

async fn press(
    State(bot): State<BotApi>,
    ApiJson(press): ApiJson<Press>,
) -> Result<(StatusCode, Json<CallbackId>), ApiError> {
    let Press {
        from,
        chat_id,
        message_id,
        pressed,
    } = press;
    let query = match pressed {
        Pressed::Button(button) => bot.press(chat_id, message_id, from, &button)?,
        Pressed::Forged(data) => bot.press_forged(from, chat_id, message_id, &data)?,
    };
    Ok((StatusCode::CREATED, Json(query)))
}

async fn expire_presses(State(bot): State<BotApi>) -> StatusCode {
    bot.expire_callbacks();
    StatusCode::NO_CONTENT
}

async fn updates(State(bot): State<BotApi>) -> Json<Vec<serde_json::Value>> {
    Json(bot.updates())
}

/// Which updates are told a second time.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Again {
    /// The one of this number.
    UpdateId(i64),
    /// The last so many.
    Last(usize),
}

async fn again(
    State(bot): State<BotApi>,
    ApiJson(again): ApiJson<Again>,
) -> Result<StatusCode, ApiError> {
    match again {
        Again::UpdateId(id) => bot.deliver_again(id)?,
        Again::Last(count) => bot.deliver_last_again(count),
    }
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventQuery {
    #[serde(default)]
    after: u64,
    chat_id: Option<ChatId>,
    #[serde(default)]
    wait_seconds: u64,
}

/// The events after a number, as soon as there are any, or none when the time is up.
async fn events(
    State(bot): State<BotApi>,
    ApiQuery(query): ApiQuery<EventQuery>,
) -> Json<Vec<Event>> {
    let look = |bot: &BotApi| {
        let mut events = bot.events(query.after);
        events.retain(|event| query.chat_id.is_none_or(|chat_id| event.chat_id == chat_id));
        (!events.is_empty()).then_some(events)
    };
    let wait = Duration::from_secs(query.wait_seconds.min(MAX_WAIT));
    let found = tokio::select! {
        found = bot.wait_until(wait, look) => found,
        () = bot.shared.stopping.cancelled() => Ok(Vec::new()),
    };
    Json(found.unwrap_or_default())
}

async fn calls(State(bot): State<BotApi>) -> Json<std::collections::BTreeMap<String, CallCount>> {
    Json(bot.calls())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CommandQuery {
    scope: Option<String>,
    #[serde(default)]
    language: String,
}

async fn commands(
    State(bot): State<BotApi>,
    ApiQuery(query): ApiQuery<CommandQuery>,
) -> Json<Vec<BotCommand>> {
    let scope = query.scope.as_deref().unwrap_or("default");
    Json(bot.commands(scope, &query.language))
}

async fn faults(State(bot): State<BotApi>) -> Json<Vec<Fault>> {
    Json(bot.faults())
}

async fn add_fault(State(bot): State<BotApi>, ApiJson(fault): ApiJson<Fault>) -> StatusCode {
    bot.add_fault(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(bot): State<BotApi>) -> StatusCode {
    bot.clear_faults();
    StatusCode::NO_CONTENT
}

/// The documented limits by name, or others.
#[derive(Deserialize)]
#[serde(untagged)]
enum LimitSetting {
    Named(NamedLimits),
    Own(Limits),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum NamedLimits {
    Real,
    Off,
}

async fn set_limits(
    State(bot): State<BotApi>,
    ApiJson(setting): ApiJson<LimitSetting>,
) -> StatusCode {
    bot.set_limits(match setting {
        LimitSetting::Named(NamedLimits::Real) => Limits::real(),
        LimitSetting::Named(NamedLimits::Off) => Limits::off(),
        LimitSetting::Own(limits) => limits,
    });
    StatusCode::NO_CONTENT
}
