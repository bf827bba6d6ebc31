//! Whether updates are fetched or delivered.

use serde_json::{Value, json};

use super::{Answer, Answered};
use crate::bot_api::error::Refusal;
use crate::bot_api::journal::Fact;
use crate::bot_api::params::Params;
use crate::bot_api::polling::allowed_updates;
use crate::bot_api::state::Desk;
use crate::bot_api::webhook::{Delivery, Webhook};

/// How many deliveries the real service makes at once, unless it is told.
const MAX_CONNECTIONS: i64 = 40;

/// `setWebhook`; an empty URL removes it.
pub(super) fn set_webhook(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let url = params.text("url").unwrap_or_default();
    if url.is_empty() {
        return delete_webhook(desk, params);
    }
    let parsed = reqwest::Url::parse(&url);
    if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        return Err(Refusal::bad("invalid webhook URL specified"));
    }
    let secret = params.text("secret_token").unwrap_or_default();
    if secret.len() > 256 {
        return Err(Refusal::bad("secret token is too long"));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !secret.bytes().all(allowed) {
        return Err(Refusal::bad("secret token contains unallowed characters"));
    }
    let webhook = Webhook {
        url: url.into_owned(),
        secret: Some(secret.into_owned()).filter(|secret| !secret.is_empty()),
        max_connections: params.integer("max_connections").unwrap_or(MAX_CONNECTIONS),
    };
    allowed_updates(desk, params)?;
    drop_pending(desk, params)?;
    if desk.state.webhook.as_ref() == Some(&webhook) {
        return Ok(done("Webhook is already set"));
    }
    change(desk, Some(webhook))?;
    Ok(done("Webhook was set"))
}

/// `deleteWebhook`.
pub(super) fn delete_webhook(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    drop_pending(desk, params)?;
    if desk.state.webhook.is_none() {
        return Ok(done("Webhook is already deleted"));
    }
    change(desk, None)?;
    Ok(done("Webhook was deleted"))
}

fn done(description: &'static str) -> Answer {
    Answer {
        result: json!(true),
        description: Some(description),
    }
}

fn change(desk: &mut Desk<'_>, webhook: Option<Webhook>) -> Result<(), Refusal> {
    desk.remember(&Fact::Webhook {
        webhook: webhook.clone(),
    })?;
    desk.state.webhook = webhook;
    desk.state.delivery = Delivery::default();
    Ok(())
}

fn drop_pending(desk: &mut Desk<'_>, params: &Params) -> Result<(), Refusal> {
    if params.wants("drop_pending_updates")
        && let Some(before) = desk.state.queue.drop_pending()
    {
        desk.remember(&Fact::Confirmed { before })?;
    }
    Ok(())
}

/// `getWebhookInfo`.
#[expect(clippy::unnecessary_wraps, reason = "all methods are of one kind")]
pub(super) fn get_webhook_info(desk: &mut Desk<'_>, _: &mut Params) -> Answered {
    let state = &desk.state;
    let mut info = json!({
        "url": "",
        "has_custom_certificate": false,
        "pending_update_count": state.queue.pending(),
    });
    if let Some(webhook) = &state.webhook {
        info["url"] = webhook.url.clone().into();
        info["max_connections"] = webhook.max_connections.into();
        if let Some(error) = &state.delivery.last_error {
            info["last_error_date"] = error.date.into();
            info["last_error_message"] = error.message.clone().into();
        }
    }
    if !state.queue.allowed().is_empty() {
        info["allowed_updates"] = Value::from(state.queue.allowed());
    }
    Ok(info.into())
}
