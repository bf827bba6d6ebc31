//! The queue in Redis: order, fairness between users, delays, and live progress.
//!
//! Redis hands out no work and is no truth: [`Queue::next`] only looks, the caller writes what it
//! decides into the `TransferJob`, and then tells with [`Queue::admitted`]. All that is in Redis can
//! be made again from `TransferJob`s; a flush loses nothing and repeats nothing, and
//! [`Error::Lost`] says that it is time for [`Queue::sync`].
//!
//! A higher rank goes first. Within a rank turns go round: each user who waits has one, then each
//! has a second. Who comes anew is last in the round, and so is who has just had a turn. Nobody
//! waits longer than one turn of each other user, however many files they have; nobody saves
//! turns up by being away; and who is passed over for a while, at his limit, keeps one turn, not
//! all that he missed. With turns that all count the same this is what fair queueing by virtual
//! time comes to, without clocks to keep. A user's own entries go by age.
//!
//! Every change is one script over keys of one hash tag (`lua/`), so that it happens wholly or not
//! at all, and within one slot of a cluster. It takes Redis 6.0 or Valkey, and a user who may use
//! `~{prefix}:*`, `&{prefix}:*` and scripts. The module knows neither Kubernetes, Telegram nor
//! Object Storage.

mod entry;
mod error;
mod link;
mod progress;
mod settings;

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::Stream;
use jiff::Timestamp;
use redis::{Script, ScriptInvocation, ToRedisArgs};

pub use entry::{Entry, Rank, Ticket};
pub use error::{Error, Result};
pub use progress::{LiveProgress, TransferState};
pub use settings::{Password, Patience, Prefix, PrefixError, Settings, Tls};

use link::Link;

/// Entries that a script takes at a time: Redis does nothing else meanwhile.
const BATCH: usize = 500;

/// Delayed entries that become ready in one look, those due longest first.
const PROMOTED: usize = 1000;

/// The most that one look says.
const MOST_TICKETS: usize = 20_000;

/// How much the newest transfer counts in the pace.
const PACE_WEIGHT: f64 = 0.125;

/// The queue. Clones share one connection.
#[derive(Clone)]
pub struct Queue {
    link: Link,
    slots: u32,
    names: Arc<Names>,
    scripts: Arc<Scripts>,
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries that are ready, by rank: high, normal, low.
    pub ready: [u64; 3],
    /// Entries that wait for their time, or whose time nobody has noticed yet.
    pub delayed: u64,
    /// Since when the oldest of all exists.
    pub oldest: Option<Timestamp>,
}

/// How many are ready, by rank, and delayed; and the UID and creation of the oldest.
type Counts = (u64, u64, u64, u64, Vec<(String, i64)>);

/// Where in the order an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How many go before it, if nobody comes or goes.
    pub ahead: u64,
    /// How many are ready, itself included.
    pub of: u64,
    /// When it will begin, if all slots are busy; none until a transfer has been timed.
    pub estimate: Option<Duration>,
}

/// Names of keys, and of the channel.
struct Names {
    /// As `lua/common.lua` takes them.
    order: [String; 9],
    entries: String,
    pace: String,
    progress: Arc<str>,
}

struct Scripts {
    put: Script,
    remove: Script,
    next: Script,
    admitted: Script,
    begin: Script,
    seal: Script,
    place: Script,
    pace: Script,
}

impl Queue {
    /// A queue that connects when it is first used. Needs no Redis.
    ///
    /// # Errors
    /// The settings, or the file with root certificates, cannot be used.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            link: Link::new(settings)?,
            slots: settings.slots.max(1),
            names: Arc::new(Names::new(&settings.prefix)),
            scripts: Arc::new(Scripts::new()),
        })
    }

    /// Adds entries, or moves those that changed; the same again changes nothing.
    ///
    /// # Errors
    /// Redis fails, perhaps after some were added.
    pub async fn put(&self, entries: &[Entry]) -> Result<()> {
        for batch in entries.chunks(BATCH) {
            let mut script = self.over_order(&self.scripts.put);
            for entry in batch {
                script
                    .arg(&entry.uid)
                    .arg(entry.record())
                    .arg(entry.created.as_microsecond())
                    .arg(entry.due().map_or(String::new(), |due| due.to_string()));
            }
            self.run::<()>(&script).await?;
        }
        Ok(())
    }

    /// Removes entries; those that are not there are not missed.
    ///
    /// # Errors
    /// Redis fails, perhaps after some were removed.
    pub async fn remove(&self, uids: &[&str]) -> Result<()> {
        for batch in uids.chunks(BATCH) {
            let mut script = self.over_order(&self.scripts.remove);
            script.arg(batch);
            self.run::<()>(&script).await?;
        }
        Ok(())
    }

    /// Looks who the next `count` (20,000 at most) are at the time `now`, in order; removes nothing. Delayed ones
    /// that are due become ready, at most a thousand at a time. Users in `full_users` are passed over.
    ///
    /// # Errors
    /// [`Error::Lost`] if `sync` is called for, and whatever else Redis fails with.
    pub async fn next(
        &self,
        count: usize,
        now: Timestamp,
        full_users: &[i64],
    ) -> Result<Vec<Ticket>> {
        let full: Vec<_> = full_users
            .iter()
            .map(|user| entry::user_key(Some(*user)))
            .collect();
        let mut script = self.over_order(&self.scripts.next);
        let members: Option<Vec<String>> = self
            .link
            .call(async |mut live| {
                script
                    .arg(&*live.epoch)
                    .arg(now.as_microsecond())
                    .arg(PROMOTED)
                    .arg(count.min(MOST_TICKETS))
                    .arg(full)
                    .invoke_async(&mut live.connection)
                    .await
            })
            .await?;
        let members = members.ok_or(Error::Lost)?;
        Ok(members
            .iter()
            .filter_map(|member| Ticket::parse(member))
            .collect())
    }

    /// The job has its assignment: its entry goes, and its user has had a turn. Told twice, it
    /// counts once.
    ///
    /// # Errors
    /// [`Error::Lost`] if `sync` is called for, and whatever else Redis fails with.
    pub async fn admitted(&self, uid: &str) -> Result<()> {
        let mut script = self.over_order(&self.scripts.admitted);
        let done: Option<i64> = self
            .link
            .call(async |mut live| {
                script
                    .arg(&*live.epoch)
                    .arg(uid)
                    .invoke_async(&mut live.connection)
                    .await
            })
            .await?;
        done.map(|_| ()).ok_or(Error::Lost)
    }

    /// Makes Redis hold exactly these entries. Users keep their turns, unless those were lost.
    ///
    /// What somebody else puts meanwhile may be taken for a stranger and go: it is to be put again
    /// when its `TransferJob` is seen.
    ///
    /// # Errors
    /// [`Error::Lost`] if Redis cannot keep what it is given (its memory is too small for the
    /// queue, and it evicts), and whatever else it fails with.
    pub async fn sync(&self, entries: &[Entry]) -> Result<()> {
        let begin = self.over_order(&self.scripts.begin);
        let epoch = self
            .link
            .call(async |mut live| {
                let _: () = begin.invoke_async(&mut live.connection).await?;
                Ok(live.epoch)
            })
            .await?;
        self.remove_strangers(entries).await?;
        // Users get their turns in the order of their oldest entries.
        let mut sorted = entries.to_vec();
        sorted.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        self.put(&sorted).await?;
        let mut seal = self.over_order(&self.scripts.seal);
        seal.arg(&*epoch);
        let sealed: Option<i64> = self.run(&seal).await?;
        sealed.map(|_| ()).ok_or(Error::Lost)
    }

    async fn remove_strangers(&self, entries: &[Entry]) -> Result<()> {
        let expected: HashSet<&str> = entries.iter().map(|entry| entry.uid.as_str()).collect();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&self.names.entries)
                .arg(cursor)
                .arg("COUNT")
                .arg(BATCH);
            let (next, page): (u64, Vec<(String, String)>) = self
                .link
                .call(async |mut live| scan.query_async(&mut live.connection).await)
                .await?;
            let strangers: Vec<&str> = page
                .iter()
                .map(|(uid, _)| uid.as_str())
                .filter(|uid| *uid != "epoch" && !expected.contains(uid))
                .collect();
            self.remove(&strangers).await?;
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Counts what waits.
    ///
    /// # Errors
    /// Redis fails.
    pub async fn stats(&self) -> Result<Stats> {
        let [_, delayed, ages, high, normal, low, ..] = &self.names.order;
        let mut counts = redis::pipe();
        for key in [high, normal, low, delayed] {
            counts.cmd("ZCARD").arg(key);
        }
        counts
            .cmd("ZRANGE")
            .arg(ages)
            .arg(0)
            .arg(0)
            .arg("WITHSCORES");
        let (high, normal, low, delayed, oldest): Counts = self
            .link
            .call(async |mut live| counts.query_async(&mut live.connection).await)
            .await?;
        let oldest = oldest.first();
        Ok(Stats {
            ready: [high, normal, low],
            delayed,
            oldest: oldest.and_then(|(_, created)| Timestamp::from_microsecond(*created).ok()),
        })
    }

    /// Where in the order an entry is; none if it is not there or waits for its time. Users at
    /// their limit are not known here, and so not passed over.
    ///
    /// # Errors
    /// Redis fails.
    pub async fn place(&self, uid: &str) -> Result<Option<Place>> {
        let mut script = self.over_order(&self.scripts.place);
        script.arg(uid);
        let get_pace = redis::Cmd::get(&self.names.pace);
        let (found, micros): (Option<(u64, u64)>, Option<u64>) = self
            .link
            .call(async |mut live| {
                let found = script.invoke_async(&mut live.connection).await?;
                Ok((found, get_pace.query_async(&mut live.connection).await?))
            })
            .await?;
        let pace = micros.map(Duration::from_micros);
        Ok(found.map(|(ahead, of)| Place {
            ahead,
            of,
            estimate: pace.map(|pace| self.estimate(pace, ahead)),
        }))
    }

    /// Of `slots` busy slots one is free every `pace / slots`; this one takes the one after those of
    /// the entries ahead.
    fn estimate(&self, pace: Duration, ahead: u64) -> Duration {
        let turns = u32::try_from(ahead + 1).unwrap_or(u32::MAX);
        pace.saturating_mul(turns) / self.slots
    }

    /// Tells how long a transfer held its slot: estimates are made of that.
    ///
    /// # Errors
    /// Redis fails.
    pub async fn note_duration(&self, took: Duration) -> Result<()> {
        let mut script = self.scripts.pace.key(&self.names.pace);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        script.arg(micros).arg(PACE_WEIGHT);
        self.run(&script).await
    }

    /// Tells all subscribers how far a transfer is, and keeps it for five minutes.
    ///
    /// # Errors
    /// Redis fails: nothing but this state is lost.
    pub async fn publish_progress(&self, uid: &str, progress: &LiveProgress) -> Result<()> {
        let message = progress::Message {
            uid: uid.to_owned(),
            progress,
        };
        let mut tell = redis::pipe();
        tell.cmd("SET")
            .arg(self.names.progress_of(uid))
            .arg(json(progress))
            .arg("EX")
            .arg(progress::LIFE.as_secs())
            .cmd("PUBLISH")
            .arg(&*self.names.progress)
            .arg(json(&message));
        self.link
            .call(async |mut live| tell.exec_async(&mut live.connection).await)
            .await
    }

    /// How far a transfer is, if its worker said so within five minutes.
    ///
    /// # Errors
    /// Redis fails.
    pub async fn progress(&self, uid: &str) -> Result<Option<LiveProgress>> {
        let get = redis::Cmd::get(self.names.progress_of(uid));
        let text: Option<String> = self
            .link
            .call(async |mut live| get.query_async(&mut live.connection).await)
            .await?;
        // What another version of us wrote and we cannot read is as good as nothing.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// How far all transfers are, as they tell it, each with its UID, over a connection of its
    /// own. The stream does not end: it connects when it is first polled, and again after a
    /// failure. What was told meanwhile is missed; `progress` has the newest.
    pub fn subscribe(&self) -> impl Stream<Item = (String, LiveProgress)> + Send + use<> {
        progress::subscribe(self.link.clone(), Arc::clone(&self.names.progress))
    }

    /// A script over the keys of the order.
    fn over_order<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for key in &self.names.order {
            invocation.key(key);
        }
        invocation
    }

    async fn run<T: redis::FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        self.link
            .call(async |mut live| script.invoke_async(&mut live.connection).await)
            .await
    }
}

impl Names {
    fn new(prefix: &Prefix) -> Self {
        let ready = Rank::ALL.map(|rank| prefix.key(&format!("ready:{}", rank.word())));
        let turns = Rank::ALL.map(|rank| prefix.key(&format!("turns:{}", rank.word())));
        let [ready_high, ready_normal, ready_low] = ready;
        let [turns_high, turns_normal, turns_low] = turns;
        let entries = prefix.key("entries");
        Self {
            order: [
                entries.clone(),
                prefix.key("delayed"),
                prefix.key("ages"),
                ready_high,
                ready_normal,
                ready_low,
                turns_high,
                turns_normal,
                turns_low,
            ],
            entries,
            pace: prefix.key("pace"),
            progress: prefix.key("progress").into(),
        }
    }

    fn progress_of(&self, uid: &str) -> String {
        format!("{}:{uid}", self.progress)
    }
}

impl Scripts {
    fn new() -> Self {
        let over_order = |body: &str| Script::new(&[include_str!("lua/common.lua"), body].concat());
        Self {
            put: over_order(include_str!("lua/put.lua")),
            remove: over_order(include_str!("lua/remove.lua")),
            next: over_order(include_str!("lua/next.lua")),
            admitted: over_order(include_str!("lua/admitted.lua")),
            begin: over_order(include_str!("lua/begin.lua")),
            seal: over_order(include_str!("lua/seal.lua")),
            place: over_order(include_str!("lua/place.lua")),
            pace: Script::new(include_str!("lua/pace.lua")),
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> impl ToRedisArgs + use<T> {
    serde_json::to_string(value).expect("numbers and words are always JSON")
}
