//! How much a bot may send, see <https://core.telegram.org/bots/faq>. Off unless it is asked for.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::telegram::ids::ChatId;

/// So many messages in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub messages: usize,
    /// In how many milliseconds.
    pub milliseconds: u64,
}

/// What the bot may send: messages, and changes of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// To one chat.
    pub chat: Option<Rate>,
    /// To one group or channel.
    pub group: Option<Rate>,
    /// To all chats together.
    pub overall: Option<Rate>,
}

impl Limits {
    /// None.
    pub const fn off() -> Self {
        Self {
            chat: None,
            group: None,
            overall: None,
        }
    }

    /// The documented ones: one message a second to a chat, of which a few may come at once; 20 a
    /// minute to a group; 30 a second in all.
    pub const fn real() -> Self {
        Self {
            chat: Some(Rate {
                messages: 5,
                milliseconds: 5000,
            }),
            group: Some(Rate {
                messages: 20,
                milliseconds: 60_000,
            }),
            overall: Some(Rate {
                messages: 30,
                milliseconds: 1000,
            }),
        }
    }
}

/// What was sent lately.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    limits: Limits,
    chats: HashMap<ChatId, VecDeque<Instant>>,
    overall: VecDeque<Instant>,
}

impl Limiter {
    pub(super) fn set(&mut self, limits: Limits) {
        *self = Self {
            limits,
            ..Self::default()
        };
    }

    /// Counts `count` messages to a chat; if they are too many, none of them, and gives the
    /// seconds after which they are not.
    pub(super) fn admit(&mut self, chat_id: ChatId, count: usize, now: Instant) -> Result<(), u64> {
        let limits = self.limits;
        if limits == Limits::off() {
            return Ok(());
        }
        let group = limits.group.filter(|_| chat_id.0 < 0);
        let chat = self.chats.entry(chat_id).or_default();
        let wait = [
            limits.chat.map(|rate| wait_for(rate, chat, count, now)),
            group.map(|rate| wait_for(rate, chat, count, now)),
            limits
                .overall
                .map(|rate| wait_for(rate, &self.overall, count, now)),
        ];
        let wait = wait.into_iter().flatten().max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait
                .as_millis()
                .div_ceil(1000)
                .try_into()
                .unwrap_or(u64::MAX));
        }
        for sent in [chat, &mut self.overall] {
            sent.extend(std::iter::repeat_n(now, count));
            while sent.front().is_some_and(|at| now - *at > FORGOTTEN_AFTER) {
                sent.pop_front();
            }
        }
        Ok(())
    }
}

/// No rate looks back further.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

/// How long until `count` more keep to a rate.
fn wait_for(rate: Rate, sent: &VecDeque<Instant>, count: usize, now: Instant) -> Duration {
    let within = Duration::from_millis(rate.milliseconds);
    let lately: Vec<_> = sent.iter().filter(|at| now - **at < within).collect();
    let over = (lately.len() + count).saturating_sub(rate.messages.max(1));
    let last_in_the_way = over.checked_sub(1).map(|last| lately.get(last));
    match last_in_the_way {
        None => Duration::ZERO,
        Some(Some(at)) => within.saturating_sub(now - **at),
        // So many never keep to it; one message always does.
        Some(None) => within,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_limits_hold() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for _ in 0..100 {
            assert_eq!(limiter.admit(ChatId(1), 1, start), Ok(()), "off");
        }
        limiter.set(Limits::real());
        for n in 0..5 {
            assert_eq!(limiter.admit(ChatId(1), 1, at(n)), Ok(()));
        }
        assert_eq!(limiter.admit(ChatId(1), 1, at(10)), Err(5));
        assert_eq!(limiter.admit(ChatId(1), 1, at(4500)), Err(1));
        assert_eq!(limiter.admit(ChatId(1), 1, at(5000)), Ok(()));
        for chat in 2..26 {
            assert_eq!(limiter.admit(ChatId(chat), 1, at(5001)), Ok(()));
        }
        assert_eq!(limiter.admit(ChatId(-5), 5, at(5001)), Ok(()));
        assert_eq!(
            limiter.admit(ChatId(99), 1, at(5002)),
            Err(1),
            "31 in a second"
        );
        for second in 2..5 {
            let now = at(5001 + second * 5000);
            assert_eq!(limiter.admit(ChatId(-5), 5, now), Ok(()));
        }
        assert_eq!(
            limiter.admit(ChatId(-5), 1, at(45_000)),
            Err(21),
            "20 in a minute"
        );
    }
}
