//! `getUpdates`: the one method that waits. Only one request may; a second one takes its place.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::error::Refusal;
use super::journal::Fact;
use super::methods::{Answer, Answered};
use super::params::Params;
use super::state::{Desk, Shared};
use super::updates::Update;

/// The longest that a request may wait, in seconds.
const MAX_TIMEOUT: i64 = 50;

/// The most updates of one answer.
const MAX_LIMIT: i64 = 100;

/// What a request that waits sees when it looks.
enum Sight {
    Updates(Vec<Update>),
    Nothing,
    Conflict(&'static str),
}

/// Carries out `getUpdates`.
pub(super) async fn get_updates(shared: &Shared, params: &Params) -> Answered {
    let limit = params.integer("limit").unwrap_or(MAX_LIMIT);
    let limit = usize::try_from(limit.clamp(1, MAX_LIMIT)).unwrap_or(1);
    let timeout = params.integer("timeout").unwrap_or(0).clamp(0, MAX_TIMEOUT);
    let deadline = Instant::now() + Duration::from_secs(timeout.unsigned_abs());
    let mut changes = shared.changes();
    let mut updates = begin(shared, params, limit)?;
    if !updates.is_empty() || timeout == 0 {
        return Ok(tell(&updates));
    }
    let turn = Turn::take(shared);
    while updates.is_empty() {
        tokio::select! {
            // The sender lives as long as what is shared.
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(deadline) => break,
            () = shared.stopping.cancelled() => return Err(Refusal::INTERNAL),
        }
        match look(shared, limit, turn.ticket) {
            Sight::Updates(found) => updates = found,
            Sight::Nothing => {}
            Sight::Conflict(why) => return Err(Refusal::conflict(why)),
        }
    }
    Ok(tell(&updates))
}

fn tell(updates: &[Update]) -> Answer {
    let told: Vec<Value> = updates.iter().map(Update::to_json).collect();
    Value::from(told).into()
}

/// The right to wait, until another request takes it, or this one ends.
struct Turn<'a> {
    shared: &'a Shared,
    ticket: u64,
}

impl<'a> Turn<'a> {
    /// Whoever waits already has to go.
    fn take(shared: &'a Shared) -> Self {
        let mut desk = shared.desk();
        desk.state.polls += 1;
        desk.state.waiting += 1;
        let ticket = desk.state.polls;
        Self { shared, ticket }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.desk().state.waiting -= 1;
    }
}

/// Confirms, and takes what is there.
fn begin(shared: &Shared, params: &Params, limit: usize) -> Result<Vec<Update>, Refusal> {
    let mut desk = shared.desk();
    if desk.state.webhook.is_some() {
        return Err(Refusal::conflict(
            "can't use getUpdates method while webhook is active; use deleteWebhook to delete the \
             webhook first",
        ));
    }
    allowed_updates(&mut desk, params)?;
    let offset = desk
        .state
        .queue
        .resolve(params.integer("offset").unwrap_or(0));
    desk.confirm_before(offset)?;
    let updates = desk.state.queue.take(limit);
    Ok(updates)
}

fn look(shared: &Shared, limit: usize, ticket: u64) -> Sight {
    let conflict = shared.read(|view| {
        if view.state.webhook.is_some() {
            Some("terminated by setWebhook request")
        } else if view.state.polls != ticket {
            Some("terminated by other getUpdates request; make sure that only one bot instance is running")
        } else {
            None
        }
    });
    if let Some(why) = conflict {
        return Sight::Conflict(why);
    }
    if shared.read(|view| view.state.queue.pending()) == 0 {
        return Sight::Nothing;
    }
    Sight::Updates(shared.desk().state.queue.take(limit))
}

/// Notes which kinds of updates the bot wants, if the call says so.
pub(super) fn allowed_updates(desk: &mut Desk<'_>, params: &Params) -> Result<(), Refusal> {
    let kinds: Option<Vec<String>> = params
        .json("allowed_updates")
        .map_err(|_| Refusal::bad("can't parse allowed_updates JSON object"))?;
    let Some(kinds) = kinds else { return Ok(()) };
    if kinds != desk.state.queue.allowed() {
        desk.remember(&Fact::Allowed {
            kinds: kinds.clone(),
        })?;
        desk.state.queue.set_allowed(kinds);
    }
    Ok(())
}
