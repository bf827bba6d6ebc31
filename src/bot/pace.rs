//! How often chats may be written to. Pure: the clock is passed in.
//!
//! Telegram counts edits and messages of a chat together, and answers too many with a wait that can
//! be hours. So edits that only show progress are spaced, further apart each time Telegram asks for
//! patience, and give way to what must be said: results have a share of the whole that progress
//! cannot use up.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Between two edits of progress in a chat.
const EDIT_INTERVAL: Duration = Duration::from_secs(3);

/// The longest that the interval grows to.
const LONGEST_INTERVAL: Duration = Duration::from_mins(2);

/// After so long without a complaint the interval is halved.
const CALM: Duration = Duration::from_mins(2);

/// Between two new messages in a chat.
const MESSAGE_INTERVAL: Duration = Duration::from_secs(1);

/// New messages that may come at once.
const MESSAGE_BURST: u32 = 3;

/// Edits of progress in all chats together, a second: the rest of Telegram's 30 is for results
/// and answers.
const EDITS_PER_SECOND: u32 = 20;

/// Chats that nothing has to be known of any more are forgotten when there are so many.
const MAX_CHATS: usize = 20_000;

/// What is known of all chats.
#[derive(Debug, Default)]
pub struct Pace {
    chats: HashMap<i64, ChatPace>,
    edits: Second,
}

#[derive(Debug)]
struct ChatPace {
    /// When the last edit of progress was.
    edited: Option<Instant>,
    interval: Duration,
    /// When the interval changed last.
    changed: Instant,
    /// When the messages so far are paid for.
    messages: Instant,
    /// Before that, Telegram does not want to hear of edits.
    edits_again: Option<Instant>,
    /// Before that, Telegram does not want to hear of messages.
    messages_again: Option<Instant>,
}

/// What was done in the current second.
#[derive(Debug, Default)]
struct Second {
    since: Option<Instant>,
    count: u32,
}

impl Pace {
    /// How long an edit of progress has to wait; none if it may be made now, and then it counts as
    /// made.
    pub fn edit(&mut self, chat: i64, now: Instant) -> Option<Duration> {
        let pace = self.chat(chat, now);
        let due = pace.edited.map_or(now, |edited| edited + pace.interval);
        let due = pace.edits_again.map_or(due, |again| due.max(again));
        if due > now {
            return Some(due - now);
        }
        if let Some(wait) = self.edits.take(now) {
            return Some(wait);
        }
        self.chat(chat, now).edited = Some(now);
        None
    }

    /// How long an edit that carries a result has to wait: only if Telegram said so.
    pub fn edit_of_result(&mut self, chat: i64, now: Instant) -> Option<Duration> {
        let pace = self.chat(chat, now);
        let again = pace.edits_again.filter(|again| *again > now);
        if again.is_none() {
            pace.edited = Some(now);
        }
        again.map(|again| again - now)
    }

    /// How long a new message has to wait; none if it may be sent now, and then it counts as sent.
    pub fn message(&mut self, chat: i64, now: Instant) -> Option<Duration> {
        let pace = self.chat(chat, now);
        if let Some(again) = pace.messages_again.filter(|again| *again > now) {
            return Some(again - now);
        }
        let paid = pace.messages.max(now);
        let burst = MESSAGE_INTERVAL * (MESSAGE_BURST - 1);
        let too_soon = paid.saturating_duration_since(now + burst);
        if !too_soon.is_zero() {
            return Some(too_soon);
        }
        pace.messages = paid + MESSAGE_INTERVAL;
        None
    }

    /// Telegram asked to wait with edits in a chat.
    pub fn edits_refused(&mut self, chat: i64, wait: Duration, now: Instant) {
        let pace = self.chat(chat, now);
        pace.edits_again = Some(now + wait);
        pace.interval = (pace.interval * 2).min(LONGEST_INTERVAL);
        pace.changed = now + wait;
    }

    /// Telegram asked to wait with messages in a chat.
    pub fn messages_refused(&mut self, chat: i64, wait: Duration, now: Instant) {
        self.chat(chat, now).messages_again = Some(now + wait);
    }

    fn chat(&mut self, chat: i64, now: Instant) -> &mut ChatPace {
        if self.chats.len() >= MAX_CHATS && !self.chats.contains_key(&chat) {
            self.chats.retain(|_, pace| pace.matters(now));
        }
        let pace = self.chats.entry(chat).or_insert(ChatPace {
            edited: None,
            interval: EDIT_INTERVAL,
            changed: now,
            messages: now,
            edits_again: None,
            messages_again: None,
        });
        while pace.interval > EDIT_INTERVAL && now.saturating_duration_since(pace.changed) >= CALM {
            pace.interval = (pace.interval / 2).max(EDIT_INTERVAL);
            pace.changed += CALM;
        }
        pace
    }
}

impl ChatPace {
    fn matters(&self, now: Instant) -> bool {
        let is_ahead = |time: Option<Instant>| time.is_some_and(|time| time > now);
        is_ahead(self.edits_again)
            || is_ahead(self.messages_again)
            || self.messages > now
            || is_ahead(self.edited.map(|edited| edited + self.interval))
    }
}

impl Second {
    fn take(&mut self, now: Instant) -> Option<Duration> {
        const SECOND: Duration = Duration::from_secs(1);
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= SECOND {
            self.since = Some(now);
            self.count = 0;
        } else if self.count >= EDITS_PER_SECOND {
            return Some(SECOND.saturating_sub(elapsed));
        }
        self.count += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn edits_of_a_chat_are_three_seconds_apart() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.edit(1, now), None);
        assert_eq!(pace.edit(1, now + secs(1)), Some(secs(2)));
        assert_eq!(
            pace.edit(2, now + secs(1)),
            None,
            "chats do not wait for each other"
        );
        assert_eq!(pace.edit(1, now + secs(3)), None);
    }

    #[test]
    fn a_refusal_spaces_them_and_calm_brings_them_together_again() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.edits_refused(1, secs(10), now);
        assert_eq!(pace.edit(1, now), Some(secs(10)));
        assert_eq!(pace.edit(1, now + secs(10)), None);
        assert_eq!(pace.edit(1, now + secs(13)), Some(secs(3)));
        assert_eq!(pace.edit(1, now + secs(16)), None);
        let calm = now + secs(10) + CALM;
        assert_eq!(pace.edit(1, calm), None);
        assert_eq!(pace.edit(1, calm + secs(3)), None);
    }

    #[test]
    fn hours_of_refused_edits_delay_no_message_and_no_other_chat() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.edits_refused(1, secs(54_000), now);
        assert_eq!(pace.edit_of_result(1, now), Some(secs(54_000)));
        assert_eq!(pace.message(1, now), None);
        assert_eq!(pace.edit(2, now), None);
    }

    #[test]
    fn messages_come_one_a_second_after_a_few() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let waits: Vec<_> = (0..4).map(|_| pace.message(1, now)).collect();
        assert_eq!(waits, [None, None, None, Some(secs(1))]);
        assert_eq!(pace.message(1, now + secs(1)), None);
        pace.messages_refused(1, secs(9), now);
        assert_eq!(pace.message(1, now + secs(2)), Some(secs(7)));
    }

    #[test]
    fn progress_leaves_room_for_results() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let made = (0..100)
            .filter(|chat| pace.edit(*chat, now).is_none())
            .count();
        assert_eq!(made, 20);
        assert_eq!(pace.edit_of_result(99, now), None);
        assert_eq!(pace.edit(99, now + secs(3)), None);
    }

    #[test]
    fn many_chats_take_no_more_memory() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for chat in 0..60_000 {
            let later = now + Duration::from_millis(chat);
            pace.message(chat.cast_signed(), later);
            assert!(pace.chats.len() <= MAX_CHATS);
        }
    }

    proptest! {
        #[test]
        fn whoever_waits_as_long_as_told_may_go(steps in prop::collection::vec((0_i64..3, 0_u64..5_000, 0_u8..4), 1..60)) {
            let (mut pace, mut now) = (Pace::default(), Instant::now());
            for (chat, millis, deed) in steps {
                now += Duration::from_millis(millis);
                match deed {
                    0 => pace.edits_refused(chat, Duration::from_millis(millis), now),
                    1 => pace.messages_refused(chat, Duration::from_millis(millis), now),
                    2 => if let Some(wait) = pace.message(chat, now) {
                        now += wait;
                        prop_assert_eq!(pace.message(chat, now), None);
                    },
                    _ => if let Some(wait) = pace.edit(chat, now) {
                        now += wait;
                        let again = pace.edit(chat, now);
                        // All chats together may have had their share.
                        prop_assert!(again.is_none_or(|again| again <= Duration::from_secs(1)));
                    },
                }
            }
        }
    }
}
