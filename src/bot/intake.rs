//! Updates come in: fetched, or sent to a webhook. Either way one is confirmed only after it was
//! dealt with. Those of one chat are taken one after the other; one that has to wait, for the API
//! server is away, holds up no other.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::constant_time;
use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    routing::post,
};
use bytes::Bytes;
use teloxide::types::{Update, UpdateKind};
use tokio::{
    net::TcpListener,
    sync::Mutex as AsyncMutex,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    bot_api::{BotApi, ChatError},
    handler::{Handler, Turn},
};
use crate::ops::http::Health;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The first wait between two tries.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How often it is looked for more while something is postponed.
const HASTY_INTERVAL: Duration = Duration::from_secs(1);

/// How long Telegram is kept waiting for the answer to a webhook; then it asks again.
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(50);

/// The largest update that is read.
const MAX_UPDATE_BYTES: usize = 1 << 20;

/// Updates that are remembered as dealt with.
const MAX_REMEMBERED: usize = 1_000;

/// What was begun may take so long to end.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// The header that a webhook's secret comes in.
const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";

/// How updates come in.
#[derive(Clone, Debug)]
pub enum Intake {
    /// They are fetched.
    Polling,
    /// Telegram sends them.
    Webhook {
        /// Where to, from outside.
        url: String,
        /// What they are known by.
        secret: Secret,
        /// Where they arrive.
        address: SocketAddr,
    },
}

/// A word that is not shown.
#[derive(Clone)]
pub struct Secret(String);

impl std::str::FromStr for Secret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if is_plain && (16..=256).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not 16 to 256 letters, digits, _ and -")
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// No update can come in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The token is refused.
    #[error("Telegram does not know the token in BOT_TOKEN: ask @BotFather for it")]
    InvalidToken,
    /// The address cannot be listened on.
    #[error("WEBHOOK_ADDRESS {address} cannot be listened on: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Takes updates in until `stop`.
///
/// # Errors
/// None can come in, and trying again would not help.
pub async fn run(
    intake: &Intake,
    api: BotApi,
    handler: Handler,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), IntakeError> {
    match intake {
        Intake::Polling => poll(api, handler, health, stop).await,
        Intake::Webhook {
            url,
            secret,
            address,
        } => listen(api, handler, url, secret, *address, health, stop).await,
    }
}

/// Which updates were fetched, and which of them are dealt with. Pure.
#[derive(Debug, Default)]
struct Ledger {
    /// The next one that is not dealt with, or not seen.
    offset: u32,
    open: BTreeSet<u32>,
    closed: BTreeSet<u32>,
}

impl Ledger {
    /// Whether an update is seen for the first time.
    fn is_new(&mut self, update: u32) -> bool {
        update >= self.offset && !self.closed.contains(&update) && self.open.insert(update)
    }

    /// An update is dealt with.
    fn close(&mut self, update: u32) {
        self.open.remove(&update);
        self.closed.insert(update);
        self.advance();
    }

    /// Everything before the first that is open is confirmed with the next request.
    fn advance(&mut self) {
        let first_open = self.open.first().copied();
        let last_closed = self.closed.last().map_or(0, |last| last.saturating_add(1));
        self.offset = self.offset.max(first_open.unwrap_or(last_closed));
        self.closed.retain(|update| *update >= self.offset);
    }
}

async fn poll(
    api: BotApi,
    handler: Handler,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), IntakeError> {
    // A webhook of former days would keep updates away.
    if let Err(ChatError::InvalidToken) = persist(stop, || api.delete_webhook()).await {
        return Err(IntakeError::InvalidToken);
    }
    let mut ledger = Ledger::default();
    let mut chats: HashMap<i64, VecDeque<Update>> = HashMap::new();
    let mut working = JoinSet::new();
    let mut failures = 0;
    while !stop.is_cancelled() {
        health.beat();
        let is_hasty = !ledger.open.is_empty();
        let fetched = tokio::select! {
            () = stop.cancelled() => break,
            fetched = api.updates(ledger.offset, is_hasty) => fetched,
        };
        match fetched {
            Ok(updates) => {
                failures = 0;
                for update in updates {
                    if ledger.is_new(update.id.0) {
                        let chat = chat_of(&update);
                        let queue = chats.entry(chat).or_default();
                        queue.push_back(update);
                        if queue.len() == 1 {
                            begin(&mut working, &handler, queue, chat);
                        }
                    }
                }
            }
            Err(ChatError::InvalidToken) => return Err(IntakeError::InvalidToken),
            Err(error) => {
                let wait = backoff(failures, &error);
                failures += 1;
                warn!(%error, "updates could not be fetched; trying again");
                rest(wait, stop).await;
            }
        }
        let pause = if ledger.open.is_empty() {
            Duration::ZERO
        } else {
            HASTY_INTERVAL
        };
        let wake = sleep(pause);
        tokio::pin!(wake);
        // What is dealt with, or has to wait, makes room for what its chat has sent since.
        loop {
            tokio::select! {
                biased;
                Some(ended) = working.join_next() => {
                    let Ok((attempt, chat)) = ended else { continue };
                    match attempt {
                        Attempt::Done(update) => ledger.close(update),
                        Attempt::Abandoned => {}
                        Attempt::Postponed { update, wait } => {
                            let (handler, stop) = (handler.clone(), stop.clone());
                            working.spawn(async move {
                                (try_again(&handler, &update, wait, &stop).await, None)
                            });
                        }
                    }
                    let Some(chat) = chat else { continue };
                    if let Some(queue) = chats.get_mut(&chat) {
                        queue.pop_front();
                        begin(&mut working, &handler, queue, chat);
                        if queue.is_empty() {
                            chats.remove(&chat);
                        }
                    }
                    if ledger.open.is_empty() {
                        break;
                    }
                }
                () = &mut wake => break,
            }
        }
    }
    let ended = async { while working.join_next().await.is_some() {} };
    if timeout(STOP_PATIENCE, ended).await.is_err() {
        info!("some updates were not dealt with; Telegram brings them again");
    }
    Ok(())
}

/// What became of dealing with an update.
enum Attempt {
    /// It is dealt with.
    Done(u32),
    /// It is to be tried again after a while. Its chat does not wait for it.
    Postponed { update: Box<Update>, wait: Duration },
    /// There was no time for it: it comes again.
    Abandoned,
}

/// Begins with the first update that waits in a chat.
fn begin(
    working: &mut JoinSet<(Attempt, Option<i64>)>,
    handler: &Handler,
    queue: &VecDeque<Update>,
    chat: i64,
) {
    let Some(update) = queue.front().cloned() else {
        return;
    };
    let handler = handler.clone();
    working.spawn(async move {
        let attempt = match first_try(&handler, &update).await {
            None => Attempt::Done(update.id.0),
            Some(wait) => Attempt::Postponed {
                update: Box::new(update),
                wait,
            },
        };
        (attempt, Some(chat))
    });
}

/// Deals with an update that is new; how long to wait if it has to be tried again, of which its user
/// is told.
async fn first_try(handler: &Handler, update: &Update) -> Option<Duration> {
    let postponed = handler.handle(update, Turn::First).await.err()?;
    warn!(error = %postponed, update = update.id.0, "an update is postponed");
    if postponed.wait().is_none() {
        handler.say_postponed(update).await;
    }
    Some(postponed.wait().unwrap_or(FIRST_WAIT))
}

/// Deals with an update that was postponed, however long it takes.
async fn try_again(
    handler: &Handler,
    update: &Update,
    first_wait: Duration,
    stop: &CancellationToken,
) -> Attempt {
    let mut wait = first_wait;
    loop {
        rest(wait, stop).await;
        if stop.is_cancelled() {
            return Attempt::Abandoned;
        }
        let Err(postponed) = handler.handle(update, Turn::Again).await else {
            return Attempt::Done(update.id.0);
        };
        warn!(error = %postponed, update = update.id.0, "an update is postponed again");
        wait = postponed
            .wait()
            .unwrap_or((wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT));
    }
}

struct Webhook {
    handler: Handler,
    secret: Secret,
    stop: CancellationToken,
    /// A lock for each chat with an update under way.
    chats: Mutex<HashMap<i64, Arc<AsyncMutex<()>>>>,
    done: Mutex<BTreeSet<u32>>,
}

async fn listen(
    api: BotApi,
    handler: Handler,
    url: &str,
    secret: &Secret,
    address: SocketAddr,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), IntakeError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| IntakeError::Listen { address, source })?;
    let state = Arc::new(Webhook {
        handler,
        secret: secret.clone(),
        stop: stop.clone(),
        chats: Mutex::default(),
        done: Mutex::default(),
    });
    let router = Router::new()
        .route("/", post(receive))
        .fallback(post(receive))
        .layer(DefaultBodyLimit::max(MAX_UPDATE_BYTES))
        .with_state(state);
    let serving = tokio::spawn(
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future(),
    );
    if let Err(ChatError::InvalidToken) = persist(stop, || api.set_webhook(url, &secret.0)).await {
        return Err(IntakeError::InvalidToken);
    }
    info!("updates come in by webhook");
    while !stop.is_cancelled() {
        health.beat();
        rest(Duration::from_secs(30), stop).await;
    }
    match timeout(STOP_PATIENCE, serving).await {
        Ok(Ok(Err(error))) => error!(%error, "serving the webhook failed"),
        Ok(_) => {}
        Err(_) => info!("some updates were not dealt with; Telegram brings them again"),
    }
    Ok(())
}

/// Takes one update. Only with 200 Telegram does not send it again.
async fn receive(
    State(webhook): State<Arc<Webhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let given = headers.get(SECRET_HEADER).map(HeaderValue::as_bytes);
    let is_telegram = given.is_some_and(|given| {
        constant_time::verify_slices_are_equal(given, webhook.secret.0.as_bytes()).is_ok()
    });
    if !is_telegram {
        return StatusCode::FORBIDDEN;
    }
    let update: Update = match serde_json::from_slice(&body) {
        Ok(update) => update,
        Err(error) => {
            // It would be the same the next time.
            warn!(
                line = error.line(),
                "an update cannot be read and is passed over"
            );
            return StatusCode::OK;
        }
    };
    let lock = Arc::clone(
        webhook
            .chats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(chat_of(&update))
            .or_default(),
    );
    let dealing = async {
        let _turn = lock.lock().await;
        if webhook.done().contains(&update.id.0) {
            return true;
        }
        let is_done = match first_try(&webhook.handler, &update).await {
            None => true,
            Some(wait) => {
                let tried = try_again(&webhook.handler, &update, wait, &webhook.stop).await;
                matches!(tried, Attempt::Done(_))
            }
        };
        if is_done {
            webhook.remember(update.id.0);
        }
        is_done
    };
    let is_done = timeout(WEBHOOK_PATIENCE, dealing).await.unwrap_or(false);
    drop(lock);
    webhook.tidy();
    if is_done {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

impl Webhook {
    fn done(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, update: u32) {
        let mut done = self.done();
        done.insert(update);
        while done.len() > MAX_REMEMBERED {
            done.pop_first();
        }
    }

    fn tidy(&self) {
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        chats.retain(|_, lock| Arc::strong_count(lock) > 1);
    }
}

/// Tries a call until it succeeds, or can never.
async fn persist<T>(
    stop: &CancellationToken,
    call: impl AsyncFn() -> Result<T, ChatError>,
) -> Result<(), ChatError> {
    let mut failures = 0;
    while !stop.is_cancelled() {
        match call().await {
            Ok(_) => return Ok(()),
            Err(ChatError::InvalidToken) => return Err(ChatError::InvalidToken),
            Err(error) => {
                warn!(%error, "Telegram could not be told how updates come in; trying again");
                rest(backoff(failures, &error), stop).await;
                failures += 1;
            }
        }
    }
    Ok(())
}

fn backoff(failures: u32, error: &ChatError) -> Duration {
    match error {
        ChatError::Flooded(wait) => *wait,
        _ => FIRST_WAIT
            .saturating_mul(2_u32.saturating_pow(failures))
            .min(LONGEST_WAIT),
    }
}

async fn rest(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(time) => {}
    }
}

/// Whose turn an update takes: that of its chat.
fn chat_of(update: &Update) -> i64 {
    match &update.kind {
        // A press is dealt with at once, whatever is postponed in its chat.
        UpdateKind::CallbackQuery(query) => -i64::try_from(query.from.id.0).unwrap_or_default(),
        _ => update.chat().map_or(0, |chat| chat.id.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_confirmed_before_it_is_dealt_with() {
        let mut ledger = Ledger::default();
        for update in [10, 11, 12] {
            assert!(ledger.is_new(update));
        }
        ledger.close(11);
        assert_eq!(ledger.offset, 10);
        assert!(
            !ledger.is_new(11) && !ledger.is_new(10),
            "they come again until they are confirmed"
        );
        ledger.close(10);
        assert_eq!(ledger.offset, 12);
        assert!(!ledger.is_new(10));
        ledger.close(12);
        assert_eq!(ledger.offset, 13);
        assert!(ledger.closed.is_empty());
    }

    proptest! {
        #[test]
        fn each_is_dealt_with_once_and_confirmed_in_the_end(
            order in Just((1_u32..30).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut ledger = Ledger::default();
            for update in 1..30 {
                prop_assert!(ledger.is_new(update));
            }
            for (count, update) in order.iter().enumerate() {
                ledger.close(*update);
                let open = order[count + 1..].iter().min();
                prop_assert_eq!(ledger.offset, open.copied().unwrap_or(30));
                prop_assert!(ledger.closed.len() <= count + 1);
            }
        }
    }

    #[test]
    fn a_secret_is_checked_and_not_shown() {
        let secret: Secret = "0123456789abcdef_-".parse().unwrap();
        assert!(!format!("{secret:?}").contains("0123"));
        for wrong in ["short", "has spaces in it 12345"] {
            assert!(wrong.parse::<Secret>().is_err());
        }
    }
}
