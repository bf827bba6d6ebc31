//! What waits, and how it is written into Redis. Pure.

use jiff::Timestamp;

/// Which of those that wait go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Before all others.
    High,
    /// The rule.
    Normal,
    /// When nothing else waits.
    Low,
}

/// A job that waits for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The job's name.
    pub name: String,
    /// Its UID, by which the queue knows it.
    pub uid: String,
    /// Whose turn it takes. Jobs of nobody, made by hand, share one turn.
    pub user: Option<i64>,
    /// Which of those that wait go first.
    pub rank: Rank,
    /// Since when it exists: a user's own jobs go by age, then by name.
    pub created: Timestamp,
    /// It is not ready before this time.
    pub not_before: Option<Timestamp>,
}

/// A job whose turn is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The job's name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Rank {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The lower-case word in the names of keys.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    fn digit(self) -> u8 {
        match self {
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }
}

impl Entry {
    /// Sorts a user's entries by its bytes; see `lua/common.lua`.
    fn member(&self) -> String {
        // Times before 1970 too are to sort by their digits.
        let created = i128::from(self.created.as_microsecond()) + i128::from(i64::MAX);
        let user = user_key(self.user);
        format!("{user}/{created:020}/{}/{}", self.name, self.uid)
    }

    /// Everything that decides about the entry's place: the same record is the same place.
    pub(super) fn record(&self) -> String {
        let due = self.due().map_or(String::new(), |due| due.to_string());
        format!("{}{due}/{}", self.rank.digit(), self.member())
    }

    /// Microseconds of the time before which it is not ready.
    pub(super) fn due(&self) -> Option<i64> {
        self.not_before.map(Timestamp::as_microsecond)
    }
}

impl Ticket {
    /// Of a member. Names have slashes only if they are no names of Kubernetes, UIDs never.
    pub(super) fn parse(member: &str) -> Option<Self> {
        let (rest, uid) = member.rsplit_once('/')?;
        let name = rest.splitn(3, '/').nth(2)?;
        Some(Self {
            name: name.to_owned(),
            uid: uid.to_owned(),
        })
    }
}

/// How a user is called in Redis.
pub(super) fn user_key(user: Option<i64>) -> String {
    user.map_or_else(|| "-".to_owned(), |user| user.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let second = -2_000_000_000_i64..4_000_000_000;
        ("[a-z0-9.-]{1,12}", "[a-f0-9-]{8}", second).prop_map(|(name, uid, second)| Entry {
            name,
            uid,
            user: Some(1),
            rank: Rank::Normal,
            created: Timestamp::from_second(second).unwrap(),
            not_before: None,
        })
    }

    proptest! {
        #[test]
        fn members_sort_by_age_and_name_and_name_the_job(one in entry(), other in entry()) {
            if (one.created, &one.name) < (other.created, &other.name) && !other.name.starts_with(&one.name) {
                prop_assert!(one.member() < other.member());
            }
            let ticket = Ticket::parse(&one.member());
            prop_assert_eq!(ticket, Some(Ticket { name: one.name, uid: one.uid }));
        }
    }

    #[test]
    fn a_record_tells_rank_and_time() {
        let mut entry = Entry {
            name: "tj-1".into(),
            uid: "u1".into(),
            user: None,
            rank: Rank::Low,
            created: Timestamp::UNIX_EPOCH,
            not_before: None,
        };
        assert_eq!(entry.record(), "3/-/09223372036854775807/tj-1/u1");
        entry.not_before = Some(Timestamp::from_second(2).unwrap());
        assert_eq!(entry.record(), "32000000/-/09223372036854775807/tj-1/u1");
    }
}
