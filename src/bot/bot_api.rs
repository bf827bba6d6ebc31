//! The Bot API as the bot uses it: each call under a deadline, each error by what can be done about
//! it. No error here tells the token, which stands in the URL of every request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use teloxide::{
    ApiError, Bot, RequestError,
    payloads::{
        AnswerCallbackQuerySetters as _, EditMessageTextSetters as _, GetUpdatesSetters as _,
        SendMessageSetters as _, SetMyCommandsSetters as _, SetWebhookSetters as _,
    },
    requests::Requester as _,
    types::{
        AllowedUpdate, BotCommand, BotCommandScope, CallbackQueryId, ChatId, InlineKeyboardMarkup,
        LinkPreviewOptions, MessageId, ParseMode, ReplyParameters, ThreadId, Update,
    },
};
use tokio::time::{sleep, timeout};

use super::{
    metrics::{BotMetrics, Call},
    pace::Pace,
};
use crate::Class;

/// A call that takes longer is given up. Teloxide itself sits out 10 s after a server's error.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);

/// How long Telegram holds a request for updates open when there are none.
const POLL_SECONDS: u32 = 10;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that an answer waits for its turn in a chat.
const LONGEST_TURN: Duration = Duration::from_mins(1);

/// The token with which the bot signs in. It is not shown.
#[derive(Clone)]
pub struct BotToken(String);

impl BotToken {
    /// The bot's id, which the token begins with.
    pub fn bot_id(&self) -> i64 {
        let (id, _) = self.0.split_once(':').unwrap_or_default();
        id.parse().unwrap_or_default()
    }
}

impl std::str::FromStr for BotToken {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_token = text.split_once(':').is_some_and(|(id, secret)| {
            id.parse::<i64>().is_ok_and(|id| id > 0) && !secret.is_empty()
        });
        if is_token && !text.contains(char::is_whitespace) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is no token as @BotFather gives them: a number, a colon and letters")
        }
    }
}

impl std::fmt::Debug for BotToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BotToken(…)")
    }
}

/// Why a call to the Bot API failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChatError {
    /// Telegram asks for patience.
    #[error("Telegram asks to wait {} s", .0.as_secs())]
    Flooded(Duration),
    /// The chat does not take messages of the bot: it is blocked, was removed, or never started.
    #[error("the chat does not take messages of the bot: {0}")]
    Unreachable(String),
    /// The message is not there any more, or cannot be changed any more.
    #[error("the message is gone or can no longer be changed: {0}")]
    Gone(String),
    /// What is in the chat may not be forwarded.
    #[error("the message may not be forwarded")]
    Protected,
    /// The token is not, or no longer, that of a bot.
    #[error("Telegram does not know the bot's token")]
    InvalidToken,
    /// Somebody else fetches the bot's updates.
    #[error("another process fetches the updates of this bot")]
    Conflict,
    /// Telegram refuses, and would refuse again.
    #[error("Telegram refuses: {0}")]
    Refused(String),
    /// No answer, or none that makes sense.
    #[error("Telegram cannot be reached: {0}")]
    Unavailable(&'static str),
}

impl ChatError {
    /// What a caller may do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Flooded(wait) => Class::After(*wait),
            Self::Unavailable(_) | Self::Conflict => Class::Transient,
            Self::Unreachable(_)
            | Self::Gone(_)
            | Self::Protected
            | Self::InvalidToken
            | Self::Refused(_) => Class::Permanent,
        }
    }

    /// One word for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Flooded(_) => "Flooded",
            Self::Unreachable(_) => "Unreachable",
            Self::Gone(_) => "Gone",
            Self::Protected => "Protected",
            Self::InvalidToken => "InvalidToken",
            Self::Conflict => "Conflict",
            Self::Refused(_) => "Refused",
            Self::Unavailable(_) => "Unavailable",
        }
    }
}

impl From<RequestError> for ChatError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::RetryAfter(wait) => Self::Flooded(wait.duration()),
            RequestError::MigrateToChatId(_) => {
                Self::Unreachable("the group has become another one".to_owned())
            }
            RequestError::Network(error) if error.is_timeout() => {
                Self::Unavailable("no answer in time")
            }
            RequestError::Network(error) if error.is_connect() => {
                Self::Unavailable("no connection")
            }
            RequestError::Network(_) => Self::Unavailable("the connection broke"),
            RequestError::InvalidJson { .. } => Self::Unavailable("an answer that is no JSON"),
            RequestError::Io(_) => Self::Unavailable("a file could not be read"),
            RequestError::Api(error) => Self::of_api(error),
        }
    }
}

impl ChatError {
    fn of_api(error: ApiError) -> Self {
        match &error {
            ApiError::BotBlocked
            | ApiError::ChatNotFound
            | ApiError::UserDeactivated
            | ApiError::BotKicked
            | ApiError::BotKickedFromSupergroup
            | ApiError::BotKickedFromChannel
            | ApiError::GroupDeactivated
            | ApiError::CantInitiateConversation => Self::Unreachable(error.to_string()),
            ApiError::MessageToEditNotFound
            | ApiError::MessageCantBeEdited
            | ApiError::MessageIdInvalid
            | ApiError::MessageToForwardNotFound => Self::Gone(error.to_string()),
            ApiError::InvalidToken => Self::InvalidToken,
            ApiError::TerminatedByOtherGetUpdates | ApiError::CantGetUpdates => Self::Conflict,
            // Descriptions are all that the Bot API tells these apart by.
            ApiError::Unknown(text) => Self::of_description(text),
            _ => Self::Refused(error.to_string()),
        }
    }

    fn of_description(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if says(&["protected content", "chat_forwards_restricted"]) {
            Self::Protected
        } else if lower.starts_with("conflict") {
            Self::Conflict
        } else if lower.starts_with("forbidden") || says(&["chat not found", "not enough rights"]) {
            Self::Unreachable(text.to_owned())
        } else if says(&[
            "message to edit not found",
            "message can't be edited",
            "message thread not found",
        ]) {
            Self::Gone(text.to_owned())
        } else if says(&[
            "internal server error",
            "bad gateway",
            "gateway timeout",
            "restart",
        ]) {
            Self::Unavailable("a failure of its own")
        } else {
            Self::Refused(text.to_owned())
        }
    }
}

/// What is said in a chat.
#[derive(Clone, Debug, Default)]
pub struct Post {
    /// HTML.
    pub html: String,
    /// Its buttons.
    pub keyboard: Option<InlineKeyboardMarkup>,
}

/// Where something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The chat.
    pub chat: i64,
    /// The forum topic.
    pub thread: Option<i32>,
    /// The message that is answered.
    pub reply_to: Option<i32>,
}

impl Place {
    /// A chat, without answering anything.
    pub const fn chat(chat: i64) -> Self {
        Self {
            chat,
            thread: None,
            reply_to: None,
        }
    }
}

/// The Bot API. Clones share their connections and their pace.
#[derive(Clone)]
pub struct BotApi {
    bot: Bot,
    pace: Arc<Mutex<Pace>>,
    metrics: BotMetrics,
}

impl BotApi {
    /// Signs requests with `token`. Talks to nobody yet.
    ///
    /// # Errors
    /// No roots of trust can be had for TLS.
    pub fn new(
        token: &BotToken,
        url: Option<&str>,
        metrics: BotMetrics,
    ) -> Result<Self, teloxide_http::Error> {
        // Of an earlier call there is one already.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = teloxide_http::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .tcp_nodelay(true)
            .build()?;
        let mut bot = Bot::with_client(token.0.clone(), client);
        if let Some(url) = url.and_then(|url| teloxide_http::Url::parse(url).ok()) {
            bot = bot.set_api_url(url);
        }
        Ok(Self {
            bot,
            pace: Arc::default(),
            metrics,
        })
    }

    /// The bot's user name.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn user_name(&self) -> Result<String, ChatError> {
        let me = self.call(Call::GetMe, self.bot.get_me()).await?;
        Ok(me.username().to_owned())
    }

    /// The updates from `offset` on, which confirms those before it. Waits a while if there are
    /// none, unless `is_hasty`.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn updates(&self, offset: u32, is_hasty: bool) -> Result<Vec<Update>, ChatError> {
        let seconds = if is_hasty { 0 } else { POLL_SECONDS };
        let request = self
            .bot
            .get_updates()
            .offset(offset.cast_signed())
            .timeout(seconds)
            .allowed_updates(allowed_updates());
        self.call(Call::GetUpdates, request).await
    }

    /// Has updates sent to `url`, with `secret` in their header.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn set_webhook(&self, url: &str, secret: &str) -> Result<(), ChatError> {
        let url = teloxide_http::Url::parse(url)
            .map_err(|error| ChatError::Refused(error.to_string()))?;
        let request = self
            .bot
            .set_webhook(url)
            .secret_token(secret)
            .allowed_updates(allowed_updates());
        self.call(Call::SetWebhook, request).await.map(drop)
    }

    /// Has updates kept until they are fetched.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn delete_webhook(&self) -> Result<(), ChatError> {
        self.call(Call::SetWebhook, self.bot.delete_webhook())
            .await
            .map(drop)
    }

    /// Lets users see these commands when they type a slash.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn set_commands(
        &self,
        commands: Vec<BotCommand>,
        scope: BotCommandScope,
        language: Option<&str>,
    ) -> Result<(), ChatError> {
        let mut request = self.bot.set_my_commands(commands).scope(scope);
        if let Some(language) = language {
            request = request.language_code(language);
        }
        self.call(Call::SetMyCommands, request).await.map(drop)
    }

    /// Says something new; the number of the message. Waits for the chat's turn.
    ///
    /// # Errors
    /// [`ChatError`]; [`ChatError::Flooded`] also if the turn is too far off.
    pub async fn send(&self, place: Place, post: &Post) -> Result<i32, ChatError> {
        self.turn(place.chat).await?;
        let mut request = self
            .bot
            .send_message(ChatId(place.chat), post.html.clone())
            .parse_mode(ParseMode::Html)
            .link_preview_options(no_preview());
        if let Some(thread) = place.thread {
            request = request.message_thread_id(ThreadId(MessageId(thread)));
        }
        if let Some(message) = place.reply_to {
            // The user may have deleted it.
            let reply = ReplyParameters::new(MessageId(message)).allow_sending_without_reply();
            request = request.reply_parameters(reply);
        }
        if let Some(keyboard) = &post.keyboard {
            request = request.reply_markup(keyboard.clone());
        }
        let sent = self.call(Call::SendMessage, request).await;
        if let Err(ChatError::Flooded(wait)) = &sent {
            self.pace()
                .messages_refused(place.chat, *wait, Instant::now());
        }
        sent.map(|message| message.id.0)
    }

    /// Changes a message. That it says so already is as good.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn edit(&self, chat: i64, message: i32, post: &Post) -> Result<(), ChatError> {
        let mut request = self
            .bot
            .edit_message_text(ChatId(chat), MessageId(message), post.html.clone())
            .parse_mode(ParseMode::Html)
            .link_preview_options(no_preview());
        if let Some(keyboard) = &post.keyboard {
            request = request.reply_markup(keyboard.clone());
        }
        let call = timeout(CALL_TIMEOUT, async { request.await }).await;
        let edited = match call {
            Err(_) => Err(ChatError::Unavailable("no answer in time")),
            Ok(Err(RequestError::Api(ApiError::MessageNotModified)) | Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
        };
        self.metrics
            .called(Call::EditMessageText, edited.as_ref().err());
        if let Err(ChatError::Flooded(wait)) = &edited {
            self.pace().edits_refused(chat, *wait, Instant::now());
        }
        edited
    }

    /// Puts a message into another chat as well; its number there.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn forward(&self, from: i64, message: i32, to: i64) -> Result<i32, ChatError> {
        let request = self
            .bot
            .forward_message(ChatId(to), ChatId(from), MessageId(message));
        let forwarded = self.call(Call::ForwardMessage, request).await?;
        Ok(forwarded.id.0)
    }

    /// Answers a press of a button: without words it only stops the waiting.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn answer(
        &self,
        query: &CallbackQueryId,
        text: Option<&str>,
    ) -> Result<(), ChatError> {
        let mut request = self.bot.answer_callback_query(query.clone());
        if let Some(text) = text {
            request = request.text(text.chars().take(200).collect::<String>());
        }
        self.call(Call::AnswerCallbackQuery, request)
            .await
            .map(drop)
    }

    /// What is known of how often chats may be written to.
    pub fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the chat may have another message.
    async fn turn(&self, chat: i64) -> Result<(), ChatError> {
        loop {
            let wait = self.pace().message(chat, Instant::now());
            match wait {
                None => return Ok(()),
                Some(wait) if wait > LONGEST_TURN => return Err(ChatError::Flooded(wait)),
                Some(wait) => sleep(wait).await,
            }
        }
    }

    async fn call<T>(
        &self,
        call: Call,
        request: impl IntoFuture<Output = Result<T, RequestError>>,
    ) -> Result<T, ChatError> {
        let result = match timeout(CALL_TIMEOUT, request.into_future()).await {
            Err(_) => Err(ChatError::Unavailable("no answer in time")),
            Ok(result) => result.map_err(ChatError::from),
        };
        self.metrics.called(call, result.as_ref().err());
        result
    }
}

fn allowed_updates() -> [AllowedUpdate; 3] {
    [
        AllowedUpdate::Message,
        AllowedUpdate::CallbackQuery,
        AllowedUpdate::MyChatMember,
    ]
}

/// A preview would make Telegram fetch the link.
fn no_preview() -> LinkPreviewOptions {
    LinkPreviewOptions {
        is_disabled: true,
        url: None,
        prefer_small_media: false,
        prefer_large_media: false,
        show_above_text: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_checked_and_not_shown() {
        let token: BotToken = "7000000001:AAF-secret".parse().unwrap();
        assert_eq!(token.bot_id(), 7_000_000_001);
        assert!(!format!("{token:?}").contains("secret"));
        for wrong in ["", "secret", "x:y", ":y", "7:", "7:a b", "-7:x"] {
            assert!(wrong.parse::<BotToken>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn errors_are_told_apart_by_what_can_be_done() {
        let class = |text: &str| {
            let error: ApiError = serde_json::from_value(serde_json::json!(text)).unwrap();
            ChatError::of_api(error).reason()
        };
        for (text, reason) in [
            ("Forbidden: bot was blocked by the user", "Unreachable"),
            (
                "Forbidden: bot can't initiate conversation with a user",
                "Unreachable",
            ),
            (
                "Forbidden: bot is not a member of the channel chat",
                "Unreachable",
            ),
            ("Bad Request: chat not found", "Unreachable"),
            ("Bad Request: message to edit not found", "Gone"),
            ("Bad Request: message can't be edited", "Gone"),
            (
                "Bad Request: message has protected content and can't be forwarded",
                "Protected",
            ),
            ("Bad Request: can't parse entities: unclosed tag", "Refused"),
            ("Bad Request: message is too long", "Refused"),
            (
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
                "Conflict",
            ),
            (
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                "Conflict",
            ),
            ("Unauthorized", "InvalidToken"),
            ("Internal Server Error", "Unavailable"),
        ] {
            assert_eq!(class(text), reason, "{text}");
        }
    }
}
