//! How far a running transfer is: the newest state under a key that expires, and every state on
//! a channel. Seen by many, kept by nobody: what is lost here is lost.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use redis::{
    AsyncConnectionConfig, FromRedisValue as _, ProtocolVersion, PushInfo, PushKind, RedisResult,
    aio::MultiplexedConnection,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::debug;

use super::link::Link;

/// How long the newest state of a transfer is kept.
pub(super) const LIFE: Duration = Duration::from_mins(5);

/// States that wait for a subscriber. Those that come while so many wait are dropped.
const BACKLOG: usize = 1024;

/// After so long without a message the connection is tried.
const SILENCE: Duration = Duration::from_secs(15);

/// How far a running transfer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveProgress {
    /// The attempt that says so.
    pub attempt: i32,
    /// Bytes that are stored.
    pub bytes: u64,
    /// Bytes of the file, once they are known.
    pub total: Option<u64>,
    /// Bytes a second, lately.
    pub bytes_per_second: u64,
    /// What the worker does.
    pub state: TransferState,
}

/// What the worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferState {
    /// It looks for the message and its file.
    Locating,
    /// Chunks flow.
    Streaming,
    /// All parts are stored, and become an object.
    Committing,
    /// It makes the link.
    Linking,
}

/// What goes over the channel.
#[derive(Serialize, Deserialize)]
pub(super) struct Message<P> {
    pub(super) uid: String,
    pub(super) progress: P,
}

/// A subscription that survives its connections.
struct Subscription {
    link: Link,
    channel: Arc<str>,
    open: Option<Open>,
    failures: u32,
}

struct Open {
    connection: MultiplexedConnection,
    pushes: mpsc::Receiver<PushInfo>,
}

/// All states that are published from now on, without end. What is published while there is no
/// connection, or while nobody takes, is missed.
pub(super) fn subscribe(
    link: Link,
    channel: Arc<str>,
) -> impl Stream<Item = (String, LiveProgress)> + Send + 'static {
    let subscription = Subscription {
        link,
        channel,
        open: None,
        failures: 0,
    };
    stream::unfold(subscription, async |mut subscription| {
        let message = subscription.next().await;
        Some((message, subscription))
    })
}

impl Subscription {
    async fn next(&mut self) -> (String, LiveProgress) {
        loop {
            let Some(open) = &mut self.open else {
                self.connect().await;
                continue;
            };
            match timeout(SILENCE, open.pushes.recv()).await {
                Ok(Some(push)) if push.kind == PushKind::Message => {
                    if let Some(message) = parse(&push) {
                        return message;
                    }
                }
                Ok(Some(push)) if push.kind != PushKind::Disconnection => {}
                Ok(_) => self.open = None,
                Err(_) => {
                    if !open.is_alive(self.link.patience().deadline).await {
                        self.open = None;
                    }
                }
            }
        }
    }

    /// Connects, or waits a while if that fails.
    async fn connect(&mut self) {
        let patience = self.link.patience();
        match timeout(patience.deadline, open(&self.link, &self.channel)).await {
            Ok(Ok(open)) => {
                self.open = Some(open);
                self.failures = 0;
            }
            failed => {
                if let Ok(Err(error)) = failed {
                    debug!(%error, "subscribing to live progress failed; trying again");
                }
                let rest = patience
                    .rest
                    .saturating_mul(2_u32.saturating_pow(self.failures));
                self.failures = self.failures.saturating_add(1);
                sleep(rest.min(patience.longest_rest)).await;
            }
        }
    }
}

impl Open {
    async fn is_alive(&mut self, deadline: Duration) -> bool {
        let ping = redis::cmd("PING");
        let answer = timeout(deadline, ping.exec_async(&mut self.connection)).await;
        matches!(answer, Ok(Ok(())))
    }
}

async fn open(link: &Link, channel: &str) -> RedisResult<Open> {
    let (pushes_tx, pushes) = mpsc::channel(BACKLOG);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        // The sender goes with the connection, and then there is nothing more to receive.
        .set_push_sender(move |push| match pushes_tx.try_send(push) {
            Err(mpsc::error::TrySendError::Closed(_)) => Err(redis::aio::SendError),
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
        });
    let info = link.client().get_connection_info().clone();
    let login = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let client = redis::Client::open(info.set_redis_settings(login))?;
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    connection.subscribe(channel).await?;
    Ok(Open { connection, pushes })
}

/// What another version of us may publish, and we cannot read, is passed over.
fn parse(push: &PushInfo) -> Option<(String, LiveProgress)> {
    let text = String::from_redis_value_ref(push.data.get(1)?).ok()?;
    let message: Message<LiveProgress> = serde_json::from_str(&text).ok()?;
    Some((message.uid, message.progress))
}
