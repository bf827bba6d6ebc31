//! Message ids and sequence numbers: making our own, judging the other side's.
//!
//! Both are promises about order and time that the server checks and a client must check too.
//! This module holds the rules alone; whoever uses it passes the time in and acts on the verdict.
//! Specification: <https://core.telegram.org/mtproto/description#message-identifier-msg-id>.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::message::BadMsgCode;

/// A message's identifier: its Unix time in the upper 32 bits, the fraction of the second in the
/// lower ones, whose last two bits tell who wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgId(pub i64);

impl MsgId {
    /// The Unix time it claims, in whole seconds.
    pub const fn seconds(self) -> i64 {
        self.0 >> 32
    }

    /// Whether the two lowest bits are those of `kind`.
    pub const fn is(self, kind: IdKind) -> bool {
        self.0 & 3 == kind.bits()
    }
}

/// Who wrote a message and in answer to what; the two lowest bits of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// From the client.
    Client,
    /// From the server, in answer to a message of the client.
    Answer,
    /// From the server, unasked.
    Notice,
}

impl IdKind {
    const fn bits(self) -> i64 {
        match self {
            Self::Client => 0,
            Self::Answer => 1,
            Self::Notice => 3,
        }
    }
}

/// Makes strictly rising message ids.
#[derive(Debug, Default)]
pub struct MsgIds {
    last: i64,
}

impl MsgIds {
    /// The next id at `now`, the time since the Unix epoch *as the server counts it*. Should the
    /// clock stand or go back, ids still rise.
    pub fn next(&mut self, now: Duration, kind: IdKind) -> MsgId {
        let seconds = now.as_secs().cast_signed() << 32;
        let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
        let by_clock = (seconds | fraction.cast_signed()) & !3;
        let after_last = (self.last & !3) + 4;
        self.last = by_clock.max(after_last) | kind.bits();
        MsgId(self.last)
    }
}

/// Whether a message asks to be acknowledged, which decides its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Asks for an acknowledgement: calls, results, updates.
    Related,
    /// Does not: acknowledgements, containers, pings.
    Unrelated,
}

/// Makes sequence numbers: twice the count of content-related messages so far, plus one for a
/// message that is itself content-related.
#[derive(Debug, Default)]
pub struct SeqNos {
    related: i32,
}

impl SeqNos {
    /// The number of the next message, in the order in which messages are given ids.
    pub const fn next(&mut self, content: Content) -> i32 {
        let even = self.related.wrapping_mul(2);
        match content {
            Content::Unrelated => even,
            Content::Related => {
                self.related = self.related.wrapping_add(1);
                even | 1
            }
        }
    }
}

/// Whether the sequence number says "content-related", hence: to be acknowledged.
pub const fn wants_ack(seq_no: i32) -> bool {
    seq_no & 1 == 1
}

/// How many of the other side's ids are remembered.
pub const REMEMBERED: usize = 1000;

/// How far an id may lie behind the receiver's clock.
pub const MAX_AGE: Duration = Duration::from_mins(5);

/// How far an id may lie ahead of the receiver's clock.
pub const MAX_AHEAD: Duration = Duration::from_secs(30);

/// Judges the time an id claims against `now`, the time since the Unix epoch.
///
/// # Errors
/// [`BadMsgCode::IdTooLow`] or [`BadMsgCode::IdTooHigh`] outside -300..+30 seconds.
pub fn check_time(id: MsgId, now: Duration) -> Result<(), BadMsgCode> {
    let claimed = i128::from(id.0);
    let now = i128::from(now.as_secs()) << 32;
    let span = |limit: Duration| i128::from(limit.as_secs()) << 32;
    if claimed < now - span(MAX_AGE) {
        Err(BadMsgCode::IdTooLow)
    } else if claimed > now + span(MAX_AHEAD) {
        Err(BadMsgCode::IdTooHigh)
    } else {
        Ok(())
    }
}

/// What an id is to those already received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Not seen before.
    New,
    /// Seen before: acknowledge it again and drop it.
    Duplicate,
    /// Older than everything remembered: it cannot be told from a duplicate.
    TooOld,
}

/// The last [`REMEMBERED`] ids received in one session, with their sequence numbers.
#[derive(Debug, Default)]
pub struct Received {
    seen: BTreeMap<MsgId, i32>,
}

impl Received {
    /// What `id` is to those received, without noting it.
    pub fn freshness(&self, id: MsgId) -> Freshness {
        if self.seen.contains_key(&id) {
            return Freshness::Duplicate;
        }
        match self.seen.first_key_value() {
            Some((oldest, _)) if self.seen.len() >= REMEMBERED && id < *oldest => Freshness::TooOld,
            _ => Freshness::New,
        }
    }

    /// Judges the order of a new message's sequence number: it must not be below that of an
    /// older message nor above that of a younger one.
    ///
    /// # Errors
    /// [`BadMsgCode::SeqTooLow`] or [`BadMsgCode::SeqTooHigh`].
    pub fn check_seq(&self, id: MsgId, seq_no: i32) -> Result<(), BadMsgCode> {
        // Two content-related messages never share a number; others may repeat it.
        let clash = |other: i32| other == seq_no && wants_ack(seq_no);
        if let Some((_, before)) = self.seen.range(..id).next_back()
            && (*before > seq_no || clash(*before))
        {
            return Err(BadMsgCode::SeqTooLow);
        }
        if let Some((_, after)) = self.seen.range(id..).next()
            && (*after < seq_no || clash(*after))
        {
            return Err(BadMsgCode::SeqTooHigh);
        }
        Ok(())
    }

    /// Remembers a message, forgetting the oldest one beyond [`REMEMBERED`].
    pub fn note(&mut self, id: MsgId, seq_no: i32) {
        self.seen.insert(id, seq_no);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::new(1_800_000_000, 0);

    fn at(seconds: i64) -> MsgId {
        MsgId((1_800_000_000 + seconds) << 32)
    }

    proptest! {
        #[test]
        fn ids_rise_whatever_the_clock_does(
            steps in proptest::collection::vec((any::<u32>(), 0_u32..1_000_000_000, 0..3), 1..200),
        ) {
            let mut ids = MsgIds::default();
            let mut last = MsgId(i64::MIN);
            for (seconds, nanos, kind) in steps {
                let kind = [IdKind::Client, IdKind::Answer, IdKind::Notice][usize::try_from(kind).expect("0..3")];
                let id = ids.next(Duration::new(seconds.into(), nanos), kind);
                prop_assert!(id > last);
                prop_assert!(id.is(kind));
                last = id;
            }
        }
    }

    #[test]
    fn an_id_carries_the_fraction_of_the_second() {
        let id = MsgIds::default().next(Duration::new(10, 500_000_000), IdKind::Client);
        assert_eq!(id.0, 10 << 32 | 1 << 31);
        assert_eq!(id.seconds(), 10);
    }

    #[test]
    fn sequence_numbers_count_content() {
        let mut seq = SeqNos::default();
        let made = [
            Content::Unrelated,
            Content::Related,
            Content::Unrelated,
            Content::Related,
        ]
        .map(|content| seq.next(content));
        assert_eq!(made, [0, 1, 2, 3]);
    }

    #[test]
    fn time_is_judged_at_both_ends() {
        assert_eq!(check_time(at(0), NOW), Ok(()));
        assert_eq!(check_time(at(-300), NOW), Ok(()));
        assert_eq!(check_time(at(30), NOW), Ok(()));
        assert_eq!(check_time(at(-301), NOW), Err(BadMsgCode::IdTooLow));
        assert_eq!(check_time(at(31), NOW), Err(BadMsgCode::IdTooHigh));
        assert_eq!(check_time(MsgId(i64::MIN), NOW), Err(BadMsgCode::IdTooLow));
        assert_eq!(check_time(MsgId(i64::MAX), NOW), Err(BadMsgCode::IdTooHigh));
    }

    #[test]
    fn a_repeated_id_is_a_duplicate_and_an_ancient_one_too_old() {
        let mut received = Received::default();
        for n in 0..REMEMBERED {
            let id = MsgId(i64::try_from(n).expect("small") * 4 + 4);
            assert_eq!(received.freshness(id), Freshness::New);
            received.note(id, 0);
        }
        assert_eq!(received.freshness(MsgId(4)), Freshness::Duplicate);
        assert_eq!(received.freshness(MsgId(0)), Freshness::TooOld);
        received.note(MsgId(1 << 40), 0);
        assert_eq!(received.freshness(MsgId(4)), Freshness::TooOld);
        assert_eq!(received.freshness(MsgId(9)), Freshness::New);
    }

    #[test]
    fn sequence_numbers_must_rise_with_ids() {
        let mut received = Received::default();
        received.note(MsgId(40), 5);
        assert_eq!(received.check_seq(MsgId(80), 7), Ok(()));
        assert_eq!(received.check_seq(MsgId(80), 6), Ok(()));
        assert_eq!(received.check_seq(MsgId(80), 5), Err(BadMsgCode::SeqTooLow));
        assert_eq!(received.check_seq(MsgId(80), 3), Err(BadMsgCode::SeqTooLow));
        assert_eq!(received.check_seq(MsgId(20), 3), Ok(()));
        assert_eq!(
            received.check_seq(MsgId(20), 5),
            Err(BadMsgCode::SeqTooHigh)
        );
        assert_eq!(
            received.check_seq(MsgId(20), 7),
            Err(BadMsgCode::SeqTooHigh)
        );
    }
}
