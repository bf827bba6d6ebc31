//! Who may do what, and how much. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    str::FromStr,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::command::Audience;
use crate::api::{HumanDuration, human_bytes};

/// Who a user is to the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nobody who is known.
    Stranger,
    /// May send files.
    User,
    /// Looks after the bot, too.
    Admin,
}

/// Who is let in without being listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// Nobody.
    #[default]
    Listed,
    /// Everybody.
    Everyone,
}

/// What the configuration says of users.
#[derive(Clone, Debug, Default)]
pub struct Guests {
    /// Who is let in without being listed.
    pub door: Door,
    /// Who may send files.
    pub users: BTreeSet<i64>,
    /// Who looks after the bot. Nobody can shut them out in the chat.
    pub admins: BTreeSet<i64>,
}

/// What was decided and chosen at run time about one user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Member {
    /// Whether an admin has let them in or shut them out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// How the admin calls them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The language that they chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// How long their new links live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_ttl: Option<HumanDuration>,
    /// Files of theirs that may wait or run, instead of everybody's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<u32>,
    /// Bytes that they may send in 24 hours, instead of everybody's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
}

/// All that was decided at run time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// By user.
    pub users: BTreeMap<i64, Member>,
    /// Whether no more files are taken.
    pub is_drained: bool,
}

/// The most users that something is kept of.
pub const MAX_MEMBERS: usize = 4_000;

impl Role {
    /// Who that user is.
    pub fn of(user: i64, guests: &Guests, members: &Members) -> Self {
        if guests.admins.contains(&user) {
            return Self::Admin;
        }
        let decided = members.users.get(&user).and_then(|member| member.allowed);
        let is_in = decided
            .unwrap_or_else(|| guests.door == Door::Everyone || guests.users.contains(&user));
        if is_in { Self::User } else { Self::Stranger }
    }

    /// Whether they may use what is for that audience.
    pub fn is_of(self, audience: Audience) -> bool {
        self >= match audience {
            Audience::Users => Self::User,
            Audience::Admins => Self::Admin,
        }
    }
}

impl FromStr for Door {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "listed" => Ok(Self::Listed),
            "everyone" => Ok(Self::Everyone),
            _ => Err("is neither listed nor everyone"),
        }
    }
}

/// Ids of users, between commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserIds(pub BTreeSet<i64>);

impl FromStr for UserIds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split([',', ' '])
            .filter(|id| !id.is_empty())
            .map(|id| id.parse().ok().filter(|id| *id > 0))
            .collect::<Option<_>>()
            .map(Self)
            .ok_or("is not a list of user ids such as 123456789,987654321 (a name with @ is no id)")
    }
}

/// A number of bytes, written with the units KiB, MiB, GiB or TiB, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl FromStr for ByteCount {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = "is not a number of bytes such as 500MiB or 20GiB";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = text[..digits].parse().map_err(|_| error)?;
        let power = match text[digits..].trim() {
            "" | "B" => 0,
            "KiB" => 1,
            "MiB" => 2,
            "GiB" => 3,
            "TiB" => 4,
            _ => return Err(error),
        };
        count.checked_mul(1 << (10 * power)).map(Self).ok_or(error)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human_bytes(self.0))
    }
}

/// How much everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files of one user that run at the same time; none is as many as there are slots. The
    /// controller sees to it.
    pub running: Option<u32>,
    /// Files of one user that wait or run.
    pub queued: u32,
    /// Files of all users that wait or run.
    pub queued_of_all: u32,
    /// Bytes that one user may send in 24 hours.
    pub bytes_per_day: u64,
    /// Bytes of one file.
    pub file_size: u64,
    /// Messages and presses of one user in a minute.
    pub messages_per_minute: u32,
}

impl Limits {
    /// The limits of one user.
    #[must_use]
    pub fn of(&self, member: Option<&Member>) -> Self {
        let member = member.cloned().unwrap_or_default();
        Self {
            queued: member.queued.unwrap_or(self.queued),
            bytes_per_day: member.bytes_per_day.unwrap_or(self.bytes_per_day),
            ..*self
        }
    }
}

/// What a user has under way and behind them when another file comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Their files that wait or run.
    pub queued: u32,
    /// Files of all users that wait or run.
    pub queued_of_all: u32,
    /// Bytes that they have sent in the last 24 hours.
    pub bytes: u64,
    /// When enough of these are more than 24 hours ago for the file to fit.
    pub fits_at: Option<Timestamp>,
}

/// Why a file is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No more files are taken, from anybody.
    Drained,
    /// The file is larger than any may be.
    TooLarge,
    /// Too many of the user's files are under way.
    Queued,
    /// Too many files of everybody are.
    Full,
    /// The user has sent enough for a day; a file may fit at that time.
    Day(Option<Timestamp>),
}

/// Whether a file of `size` bytes is taken.
///
/// # Errors
/// It is not, and why.
pub fn admit(size: u64, limits: &Limits, usage: &Usage, is_drained: bool) -> Result<(), Refusal> {
    if is_drained {
        Err(Refusal::Drained)
    } else if size > limits.file_size {
        Err(Refusal::TooLarge)
    } else if usage.queued >= limits.queued {
        Err(Refusal::Queued)
    } else if usage.queued_of_all >= limits.queued_of_all {
        Err(Refusal::Full)
    } else if usage.bytes.saturating_add(size) > limits.bytes_per_day {
        Err(Refusal::Day(usage.fits_at))
    } else {
        Ok(())
    }
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What a user has sent in the last 24 hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day(VecDeque<(Timestamp, u64)>);

impl Day {
    /// Of files that were sent at these times.
    pub fn new(files: impl IntoIterator<Item = (Timestamp, u64)>) -> Self {
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_unstable();
        Self(files.into())
    }

    /// Another file was taken.
    pub fn add(&mut self, now: Timestamp, size: u64) {
        self.forget(now);
        self.0.push_back((now, size));
    }

    /// Bytes of the last 24 hours.
    pub fn bytes(&mut self, now: Timestamp) -> u64 {
        self.forget(now);
        self.0
            .iter()
            .fold(0, |sum, (_, size)| sum.saturating_add(*size))
    }

    /// When a file of that size fits below the limit; never, if it is larger than that.
    pub fn fits_at(&mut self, size: u64, limit: u64, now: Timestamp) -> Option<Timestamp> {
        let mut bytes = self.bytes(now);
        let room = limit.checked_sub(size)?;
        let mut at = now;
        for (time, sent) in &self.0 {
            if bytes <= room {
                break;
            }
            bytes = bytes.saturating_sub(*sent);
            at = time.saturating_add(DAY).unwrap_or(Timestamp::MAX);
        }
        Some(at)
    }

    fn forget(&mut self, now: Timestamp) {
        let begin = now.saturating_sub(DAY).unwrap_or(Timestamp::MIN);
        while self.0.front().is_some_and(|(time, _)| *time <= begin) {
            self.0.pop_front();
        }
    }
}

/// Counts what each user says, so that nobody keeps the bot busy alone. Bounded: of too many users,
/// those that have said nothing for the longest are forgotten.
#[derive(Debug, Default)]
pub struct Chatter {
    users: HashMap<i64, Spoken>,
}

#[derive(Debug)]
struct Spoken {
    /// What is left of this minute's words, in thousandths.
    left: u64,
    last: Timestamp,
    is_told: bool,
}

/// What becomes of something that a user said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It is heard.
    Heard,
    /// It is too much, and the user is told so.
    Hush,
    /// It is too much, and the user knows.
    Ignored,
}

/// The most users that are counted at a time.
const MAX_SPEAKERS: usize = 10_000;

impl Chatter {
    /// A user says something, of which a limit allows so many a minute.
    pub fn hear(&mut self, user: i64, per_minute: u32, now: Timestamp) -> Hearing {
        let full = u64::from(per_minute) * 1_000;
        self.make_room();
        let spoken = self.users.entry(user).or_insert(Spoken {
            left: full,
            last: now,
            is_told: false,
        });
        let since = now
            .as_millisecond()
            .saturating_sub(spoken.last.as_millisecond());
        let gained = u64::try_from(since)
            .unwrap_or_default()
            .saturating_mul(full)
            / 60_000;
        spoken.left = spoken.left.saturating_add(gained).min(full);
        spoken.last = now;
        if spoken.left >= 1_000 {
            spoken.left -= 1_000;
            spoken.is_told = false;
            Hearing::Heard
        } else if std::mem::replace(&mut spoken.is_told, true) {
            Hearing::Ignored
        } else {
            Hearing::Hush
        }
    }

    fn make_room(&mut self) {
        if self.users.len() < MAX_SPEAKERS {
            return;
        }
        let mut last: Vec<_> = self.users.values().map(|spoken| spoken.last).collect();
        last.sort_unstable();
        let median = last[last.len() / 2];
        self.users.retain(|_, spoken| spoken.last > median);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn nobody_is_let_in_who_is_not_listed() {
        let mut guests = Guests {
            users: [1].into(),
            admins: [9].into(),
            ..Guests::default()
        };
        let mut members = Members::default();
        let mut decide = |user, allowed| {
            members.users.entry(user).or_default().allowed = Some(allowed);
        };
        decide(2, true);
        decide(3, false);
        decide(9, false);
        let role = |user, guests: &Guests, members: &Members| Role::of(user, guests, members);
        for (user, expected) in [
            (1, Role::User),
            (2, Role::User),
            (3, Role::Stranger),
            (4, Role::Stranger),
            (9, Role::Admin),
        ] {
            assert_eq!(role(user, &guests, &members), expected, "{user}");
        }
        members.users.entry(1).or_default().allowed = Some(false);
        assert_eq!(role(1, &guests, &members), Role::Stranger);
        guests.door = Door::Everyone;
        assert_eq!(role(4, &guests, &members), Role::User);
        assert_eq!(role(3, &guests, &members), Role::Stranger);
        assert!(Role::Admin.is_of(Audience::Users) && !Role::User.is_of(Audience::Admins));
        assert!(!Role::Stranger.is_of(Audience::Users));
    }

    const LIMITS: Limits = Limits {
        running: Some(2),
        queued: 3,
        queued_of_all: 10,
        bytes_per_day: 100,
        file_size: 60,
        messages_per_minute: 30,
    };

    #[test]
    fn a_file_is_taken_within_all_limits() {
        let usage = |queued, queued_of_all, bytes| Usage {
            queued,
            queued_of_all,
            bytes,
            fits_at: Some(at(5)),
        };
        for (size, usage, expected) in [
            (60, usage(2, 9, 40), Ok(())),
            (61, usage(0, 0, 0), Err(Refusal::TooLarge)),
            (1, usage(3, 3, 0), Err(Refusal::Queued)),
            (1, usage(0, 10, 0), Err(Refusal::Full)),
            (60, usage(0, 0, 41), Err(Refusal::Day(Some(at(5))))),
            (1, usage(0, 0, u64::MAX), Err(Refusal::Day(Some(at(5))))),
        ] {
            assert_eq!(
                admit(size, &LIMITS, &usage, false),
                expected,
                "{size} {usage:?}"
            );
        }
        assert_eq!(
            admit(1, &LIMITS, &Usage::default(), true),
            Err(Refusal::Drained)
        );
        let member = Member {
            queued: Some(1),
            ..Member::default()
        };
        let limits = LIMITS.of(Some(&member));
        assert_eq!((limits.queued, limits.bytes_per_day), (1, 100));
    }

    #[test]
    fn a_day_ends_file_by_file() {
        let mut day = Day::new([(at(200), 30), (at(100), 50)]);
        assert_eq!(day.bytes(at(300)), 80);
        assert_eq!(day.fits_at(20, 100, at(300)), Some(at(300)));
        assert_eq!(day.fits_at(60, 100, at(300)), Some(at(86_500)));
        assert_eq!(day.fits_at(90, 100, at(300)), Some(at(86_600)));
        assert_eq!(day.fits_at(101, 100, at(300)), None);
        assert_eq!(day.bytes(at(86_500)), 30);
        day.add(at(86_600), 5);
        assert_eq!(day.bytes(at(86_601)), 5);
    }

    #[test]
    fn who_says_too_much_is_told_once() {
        let mut chatter = Chatter::default();
        let heard = (0..3)
            .map(|_| chatter.hear(1, 2, at(0)))
            .collect::<Vec<_>>();
        assert_eq!(heard, [Hearing::Heard, Hearing::Heard, Hearing::Hush]);
        assert_eq!(chatter.hear(1, 2, at(1)), Hearing::Ignored);
        assert_eq!(chatter.hear(2, 2, at(1)), Hearing::Heard);
        assert_eq!(chatter.hear(1, 2, at(31)), Hearing::Heard);
    }

    #[test]
    fn many_speakers_take_no_more_memory() {
        let mut chatter = Chatter::default();
        for user in 0..30_000 {
            chatter.hear(user, 2, at(user));
            assert!(chatter.users.len() <= MAX_SPEAKERS);
        }
    }

    #[test]
    fn what_is_configured_is_read_or_refused() {
        assert_eq!("1, 2".parse(), Ok(UserIds([1, 2].into())));
        for wrong in ["@ann", "1,x", "-5", "1;2", "0"] {
            assert!(wrong.parse::<UserIds>().is_err(), "{wrong}");
        }
        for (text, bytes) in [("5", 5), ("20GiB", 20 << 30), ("1 MiB", 1 << 20)] {
            assert_eq!(text.parse(), Ok(ByteCount(bytes)));
        }
        for wrong in ["", "GiB", "1GB", "-1", "99999999999TiB"] {
            assert!(wrong.parse::<ByteCount>().is_err(), "{wrong}");
        }
        assert!("open".parse::<Door>().is_err());
    }

    proptest! {
        #[test]
        fn a_file_fits_when_it_is_said_to(
            files in prop::collection::vec((0_i64..86_400, 0_u64..50), 0..20),
            size in 0_u64..120,
        ) {
            let now = at(86_399);
            let mut day = Day::new(files.iter().map(|(time, size)| (at(*time), *size)));
            if let Some(time) = day.fits_at(size, 100, now) {
                prop_assert!(day.bytes(time) + size <= 100);
            } else {
                prop_assert!(size > 100);
            }
        }
    }
}
