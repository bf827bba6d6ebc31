//! Updates delivered to the bot: one after the other, again and again until it takes them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::methods::{self, Carry};
use super::state::Shared;
use super::updates::Update;

/// How long the bot may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// The header that carries the secret.
const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";

/// Where updates go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) secret: Option<String>,
    pub(super) max_connections: i64,
}

/// How deliveries went.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    pub(super) last_error: Option<DeliveryError>,
}

/// Why the last one that failed did.
#[derive(Clone, Debug)]
pub(super) struct DeliveryError {
    /// In Unix seconds.
    pub(super) date: u64,
    pub(super) message: String,
}

/// Delivers until told to stop.
pub(super) async fn deliver(shared: Arc<Shared>) {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .build()
        .expect("a client without options");
    let mut changes = shared.changes();
    let mut pause = shared.options.webhook_pause;
    while !shared.stopping.is_cancelled() {
        let next = shared.read(|view| {
            let webhook = view.state.webhook.clone();
            webhook.zip(view.state.queue.first().cloned())
        });
        let Some((webhook, update)) = next else {
            tokio::select! {
                _ = changes.changed() => continue,
                () = shared.stopping.cancelled() => return,
            }
        };
        let delivered = tokio::select! {
            delivered = attempt(&client, &webhook, &update) => delivered,
            () = shared.stopping.cancelled() => return,
        };
        match delivered {
            Ok(reply) => {
                taken(&shared, &webhook, update.id, reply);
                pause = shared.options.webhook_pause;
            }
            Err(message) => {
                failed(&shared, message);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = replaced(&shared, &webhook) => {}
                    () = shared.stopping.cancelled() => return,
                }
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

/// Waits until updates go elsewhere.
async fn replaced(shared: &Shared, webhook: &Webhook) {
    let mut changes = shared.changes();
    while shared.read(|view| view.state.webhook.as_ref() == Some(webhook)) {
        // The sender lives as long as what is shared.
        let _ = changes.changed().await;
    }
}

/// Delivers one update; what the bot replies, or why it was not delivered.
async fn attempt(
    client: &reqwest::Client,
    webhook: &Webhook,
    update: &Update,
) -> Result<Option<Value>, String> {
    let mut request = client.post(&webhook.url).json(&update.to_json());
    if let Some(secret) = &webhook.secret {
        request = request.header(SECRET_HEADER, secret);
    }
    let answer = request.send().await;
    let answer = answer.map_err(|error| {
        if error.is_timeout() {
            "Read timeout expired".to_owned()
        } else {
            "Connection refused".to_owned()
        }
    })?;
    let status = answer.status();
    if !status.is_success() {
        let reason = status.canonical_reason().unwrap_or_default();
        let code = status.as_u16();
        return Err(format!("Wrong response from the webhook: {code} {reason}"));
    }
    Ok(answer.json().await.ok())
}

/// Takes a delivered update from the queue, and makes the call that the bot may have replied with.
fn taken(shared: &Shared, webhook: &Webhook, update_id: i64, reply: Option<Value>) {
    let mut desk = shared.desk();
    if desk.state.webhook.as_ref() == Some(webhook)
        && let Some(before) = desk.state.queue.taken(update_id)
        && let Err(error) = desk.remember(&super::journal::Fact::Confirmed { before })
    {
        tracing::error!(%error, "a delivery cannot be remembered");
    }
    let Some(Value::Object(mut call)) = reply else {
        return;
    };
    let Some(Value::String(name)) = call.remove("method") else {
        return;
    };
    make_call(&mut desk, &name, call);
}

fn make_call(desk: &mut super::state::Desk<'_>, name: &str, call: Map<String, Value>) {
    let Some(method) = methods::find(name) else {
        return;
    };
    let Carry::Now(carry) = method.carry else {
        return;
    };
    let answered = carry(desk, &mut call.into());
    super::service::count(&mut desk.state, method.name, &answered);
}

fn failed(shared: &Shared, message: String) {
    let mut desk = shared.desk();
    let date = desk.now().as_secs();
    desk.state.delivery.last_error = Some(DeliveryError { date, message });
}
