//! What the bot has not been told yet: the queue of updates, who asks for it, which kinds it
//! wants. Rules of <https://core.telegram.org/bots/api#getupdates>; no I/O.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The number of the first update there ever is.
const FIRST_ID: i64 = 700_000_001;

/// What kind of update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateKind {
    /// Somebody wrote.
    Message,
    /// Somebody changed what was written.
    EditedMessage,
    /// Something stands in a channel.
    ChannelPost,
    /// It was changed.
    EditedChannelPost,
    /// Somebody pressed a button.
    CallbackQuery,
    /// The bot is something else in a chat.
    MyChatMember,
}

impl UpdateKind {
    /// The Bot API's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::EditedMessage => "edited_message",
            Self::ChannelPost => "channel_post",
            Self::EditedChannelPost => "edited_channel_post",
            Self::CallbackQuery => "callback_query",
            Self::MyChatMember => "my_chat_member",
        }
    }
}

/// An update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Its number.
    pub id: i64,
    /// What kind it is.
    pub kind: UpdateKind,
    /// What the bot is told.
    pub payload: Value,
}

impl Update {
    /// As the bot gets it.
    pub fn to_json(&self) -> Value {
        let mut told = json!({ "update_id": self.id });
        told[self.kind.word()] = self.payload.clone();
        told
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Everything there ever was, in order; none is ever removed.
    all: Vec<Update>,
    /// How many of them are confirmed, from the beginning.
    confirmed: usize,
    /// What is to be told once more, whatever is confirmed.
    again: VecDeque<Update>,
    /// The kinds that are wanted; none are named: all.
    allowed: Vec<String>,
}

impl Queue {
    /// Whether the bot wants updates of this kind.
    pub(super) fn wants(&self, kind: UpdateKind) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|one| one == kind.word())
    }

    pub(super) fn allowed(&self) -> &[String] {
        &self.allowed
    }

    pub(super) fn set_allowed(&mut self, allowed: Vec<String>) {
        self.allowed = allowed;
    }

    /// The number of the next update.
    pub(super) fn next_id(&self) -> i64 {
        self.all.last().map_or(FIRST_ID, |last| last.id + 1)
    }

    pub(super) fn push(&mut self, update: Update) {
        self.all.push(update);
    }

    /// Forgets what comes before the update `id`, and gives the new first id to remember, if that
    /// changed anything.
    pub(super) fn confirm_before(&mut self, id: i64) -> Option<i64> {
        let confirmed = self.all.partition_point(|update| update.id < id);
        if confirmed <= self.confirmed {
            return None;
        }
        self.confirmed = confirmed;
        Some(id)
    }

    /// The `offset` of a request: negative ones count from the end.
    pub(super) fn resolve(&self, offset: i64) -> i64 {
        if offset >= 0 {
            return offset;
        }
        let from_end = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        let first = self.all.len().saturating_sub(from_end);
        self.all.get(first).map_or(0, |update| update.id)
    }

    /// The next updates, at most `limit`. What is to be told once more is told now.
    pub(super) fn take(&mut self, limit: usize) -> Vec<Update> {
        let again = self.again.len().min(limit);
        let mut taken: Vec<_> = self.again.drain(..again).collect();
        let rest = self.all[self.confirmed..].iter();
        taken.extend(rest.take(limit - again).cloned());
        taken
    }

    /// The next update, without telling it.
    pub(super) fn first(&self) -> Option<&Update> {
        self.again.front().or(self.all.get(self.confirmed))
    }

    /// The update that was the first one was taken; gives the new first id to remember.
    pub(super) fn taken(&mut self, id: i64) -> Option<i64> {
        if self.again.pop_front_if(|again| again.id == id).is_some() {
            return None;
        }
        self.confirm_before(id + 1)
    }

    /// How many wait.
    pub(super) fn pending(&self) -> usize {
        self.all.len() - self.confirmed + self.again.len()
    }

    /// Forgets all that wait.
    pub(super) fn drop_pending(&mut self) -> Option<i64> {
        self.again.clear();
        self.confirm_before(self.next_id())
    }

    /// Lets an update be told once more.
    pub(super) fn again(&mut self, id: i64) -> bool {
        let found = self.all.iter().find(|update| update.id == id).cloned();
        let is_there = found.is_some();
        self.again.extend(found);
        is_there
    }

    /// The numbers of the last `count` updates.
    pub(super) fn last_ids(&self, count: usize) -> Vec<i64> {
        let first = self.all.len().saturating_sub(count);
        self.all[first..].iter().map(|update| update.id).collect()
    }

    pub(super) fn all(&self) -> &[Update] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(count: i64) -> Queue {
        let mut queue = Queue::default();
        for n in 0..count {
            let id = queue.next_id();
            queue.push(Update {
                id,
                kind: UpdateKind::Message,
                payload: json!(n),
            });
        }
        queue
    }

    /// What a request gets, counted from the first update.
    fn ask(queue: &mut Queue, offset: i64, limit: usize) -> Vec<i64> {
        queue.confirm_before(queue.resolve(offset));
        let taken = queue.take(limit);
        taken.iter().map(|update| update.id - FIRST_ID).collect()
    }

    #[test]
    fn an_offset_confirms_what_is_before_it() {
        let mut queue = queue(5);
        assert_eq!(ask(&mut queue, 0, 100), [0, 1, 2, 3, 4]);
        assert_eq!(ask(&mut queue, 0, 2), [0, 1]);
        assert_eq!(ask(&mut queue, FIRST_ID + 2, 100), [2, 3, 4]);
        assert_eq!(ask(&mut queue, 0, 100), [2, 3, 4], "they are forgotten");
        assert_eq!(ask(&mut queue, FIRST_ID, 100), [2, 3, 4]);
        assert_eq!(ask(&mut queue, FIRST_ID + 5, 100), [0; 0]);
        assert_eq!(queue.pending(), 0);
    }

    #[test]
    fn a_negative_offset_counts_from_the_end() {
        let mut queue = queue(5);
        assert_eq!(ask(&mut queue, -2, 100), [3, 4]);
        assert_eq!(ask(&mut queue, 0, 100), [3, 4], "the others are forgotten");
        assert_eq!(ask(&mut queue, -100, 100), [3, 4]);
        assert_eq!(queue.drop_pending(), Some(FIRST_ID + 5));
        assert_eq!(
            ask(&mut queue, -1, 100),
            [0; 0],
            "what is confirmed stays so"
        );
    }

    #[test]
    fn an_update_can_be_told_again() {
        let mut queue = queue(3);
        queue.confirm_before(FIRST_ID + 2);
        assert!(queue.again(FIRST_ID));
        assert!(!queue.again(FIRST_ID + 9));
        assert_eq!(ask(&mut queue, FIRST_ID + 2, 100), [0, 2]);
        assert_eq!(ask(&mut queue, FIRST_ID + 3, 100), [0; 0]);
    }
}
