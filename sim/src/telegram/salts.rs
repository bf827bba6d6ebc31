//! Server salts: short-lived numbers that every packet of a client must carry, so that an old
//! packet cannot be replayed. They follow from key and time, so a restart changes none.

use std::time::Duration;

use aws_lc_rs::digest;
use mtproto::AuthKey;
use mtproto::message::FutureSalt;

/// How long a salt is the current one, in seconds.
const PERIOD: i64 = 3600;

/// How long it is still accepted afterwards, in seconds.
const GRACE: i64 = 1800;

/// The salts of one key.
pub(super) struct Salts<'k> {
    key: &'k AuthKey,
    /// Changed to make all salts given so far worthless.
    epoch: u64,
}

impl<'k> Salts<'k> {
    pub(super) const fn new(key: &'k AuthKey, epoch: u64) -> Self {
        Self { key, epoch }
    }

    fn number(&self, index: i64) -> FutureSalt {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"salt");
        context.update(self.key.as_bytes());
        context.update(&index.to_le_bytes());
        context.update(&self.epoch.to_le_bytes());
        let hash = context.finish();
        let (head, _) = hash.as_ref().split_first_chunk().expect("32 bytes");
        FutureSalt {
            valid_since: seconds(index * PERIOD),
            valid_until: seconds((index + 1) * PERIOD + GRACE),
            salt: i64::from_le_bytes(*head),
        }
    }

    /// The salt to use at `now` (since the Unix epoch).
    pub(super) fn current(&self, now: Duration) -> i64 {
        self.number(index(now)).salt
    }

    /// Whether a packet may carry `salt` at `now`.
    pub(super) fn accepts(&self, salt: i64, now: Duration) -> bool {
        let current = index(now);
        let graced = index(now.saturating_sub(Duration::from_secs(GRACE.unsigned_abs())));
        salt == self.number(current).salt || salt == self.number(graced).salt
    }

    /// The current salt and those to come, `count` in all.
    pub(super) fn future(&self, now: Duration, count: i64) -> Vec<FutureSalt> {
        let first = index(now);
        (first..first + count).map(|n| self.number(n)).collect()
    }
}

fn index(now: Duration) -> i64 {
    now.as_secs().cast_signed() / PERIOD
}

fn seconds(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::new(1_800_000_000 / 3600 * 3600, 0);

    #[test]
    fn a_salt_is_accepted_for_a_while_after_its_hour() {
        let key = AuthKey::new([1; 256]);
        let salts = Salts::new(&key, 0);
        let salt = salts.current(NOON);
        let after = |seconds| salts.accepts(salt, NOON + Duration::from_secs(seconds));
        assert!(after(0) && after(3599) && after(3600 + 1799));
        assert!(!after(3600 + 1800));
        assert!(!salts.accepts(0, NOON));
    }

    #[test]
    fn announced_salts_are_the_ones_used_later() {
        let key = AuthKey::new([1; 256]);
        let salts = Salts::new(&key, 0);
        let announced = salts.future(NOON, 3);
        assert_eq!(announced.len(), 3);
        assert_eq!(
            announced[2].salt,
            salts.current(NOON + Duration::from_hours(2))
        );
        assert!(i64::from(announced[0].valid_since) <= NOON.as_secs().cast_signed());
    }

    #[test]
    fn a_new_epoch_makes_old_salts_worthless() {
        let key = AuthKey::new([1; 256]);
        let old = Salts::new(&key, 0).current(NOON);
        assert!(!Salts::new(&key, 1).accepts(old, NOON));
    }
}
