//! One data centre: takes fetches, hands them to connections, and replaces what breaks.
//!
//! A task owns everything here. A fetch is answered once, however many connections it takes: those
//! that break or are refused give their fetches back, and one that is overdue while nothing can go
//! on without it is asked for twice. Telegram's wish to be left alone for a while is granted to the
//! connection that it was said on, and to the next one should that one end; only when all have to
//! rest is a fetch made to wait, and told so when that would be long.

use std::{
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use mtproto::{AuthKey, TransportCode, client::Server};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, info, warn};

use super::{
    LONGEST_WAIT,
    buffers::{Budget, Buffer},
    connection::{self, ConnectionError, DEPTH, Endpoint, Order, Reply, Report},
    doors::Doors,
    opener::Opener,
    pace::Pace,
};
use crate::telegram::Error;

/// How long nothing at all may be answered before the data centre counts as out of reach.
const PATIENCE: Duration = Duration::from_secs(45);

/// How long a connection may work without answering anything, whatever else it says, before it is
/// closed. Less than our patience, so that another one is tried.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// When a fetch is overdue: after so many times the usual, and not before this long.
const OVERDUE_FACTOR: u32 = 3;
const OVERDUE_AT_LEAST: Duration = Duration::from_millis(500);

/// What is taken for usual before anything was measured.
const USUAL_AT_FIRST: Duration = Duration::from_secs(1);

/// Refusals that come together count once.
const REFUSAL_SPAN: Duration = Duration::from_secs(1);

/// The pauses before connecting again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Connections without work are kept for so long.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// How often it is looked at what is due.
const TICK: Duration = Duration::from_millis(100);

/// Fetches that may wait to be taken; each holds a buffer, so there are never many.
const BACKLOG: usize = 64;

/// One data centre. Dropping it closes its connections.
#[derive(Debug)]
pub struct Centre {
    fetches: mpsc::Sender<Fetch>,
    task: JoinHandle<()>,
}

/// A chunk that is wanted.
struct Fetch {
    query: Box<[u8]>,
    buffer: Buffer,
    reply: oneshot::Sender<Reply>,
}

impl Centre {
    /// Takes a data centre into use. Connections are made when they are needed.
    pub fn new(doors: Doors, key: AuthKey, greeting: Box<[u8]>, opener: Arc<Opener>) -> Self {
        let (fetches, wanted) = mpsc::channel(BACKLOG);
        let dispatcher = Dispatcher::new(doors, key, greeting, opener);
        Self {
            fetches,
            task: tokio::spawn(dispatcher.run(wanted)),
        }
    }

    /// Whether it is of no use any more.
    pub fn is_broken(&self) -> bool {
        self.task.is_finished()
    }

    /// Makes a call whose answer is an `upload.file`, and returns the file's bytes. The buffer is
    /// what the answer is read into; it comes back with an error, unless it is still waited for.
    pub async fn fetch(&self, query: Box<[u8]>, buffer: Buffer) -> Reply {
        let (reply, answer) = oneshot::channel();
        let fetch = Fetch {
            query,
            buffer,
            reply,
        };
        let gone = || Err((Error::UnexpectedReply("upload.getFile"), None));
        if self.fetches.send(fetch).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection, as the dispatcher sees it.
struct Link {
    /// None once it is to end.
    orders: Option<mpsc::Sender<Order>>,
    /// Since when it has been working on which fetches.
    under_way: BTreeMap<u64, Instant>,
    /// Telegram wants it to be quiet until then.
    rests_until: Instant,
    /// When it answered last.
    idle_since: Instant,
}

/// A fetch that is not answered.
struct Active {
    query: Box<[u8]>,
    /// While it waits for a connection.
    buffer: Option<Buffer>,
    budget: Budget,
    reply: oneshot::Sender<Reply>,
    /// How many connections work on it.
    asked: usize,
}

struct Dispatcher {
    doors: Doors,
    key: AuthKey,
    greeting: Box<[u8]>,
    opener: Arc<Opener>,
    server: Server,
    pace: Pace,
    links: BTreeMap<u64, Link>,
    /// Until when connections that have gone were to rest: those in their place have to.
    rests: BinaryHeap<Instant>,
    tasks: JoinSet<()>,
    made: u64,
    fetches: BTreeMap<u64, Active>,
    numbered: u64,
    /// Fetches that wait for a connection, the oldest first.
    queue: VecDeque<u64>,
    reports_sender: mpsc::Sender<(u64, Report)>,
    reports: mpsc::Receiver<(u64, Report)>,
    /// Connections that broke since something was answered.
    failures: u32,
    failed: Option<ConnectionError>,
    /// The last connection that had been begun when Telegram first said that it does not know the
    /// key, if it has said so since something was answered.
    unknown_key_since: Option<u64>,
    connect_at: Instant,
    last_progress: Instant,
    last_refusal: Option<Instant>,
    usual: Duration,
}

impl Dispatcher {
    fn new(doors: Doors, key: AuthKey, greeting: Box<[u8]>, opener: Arc<Opener>) -> Self {
        let (reports_sender, reports) = mpsc::channel(BACKLOG);
        let now = Instant::now();
        Self {
            pace: Pace::new(doors.connections),
            doors,
            key,
            greeting,
            opener,
            server: Server::default(),
            links: BTreeMap::new(),
            rests: BinaryHeap::new(),
            tasks: JoinSet::new(),
            made: 0,
            fetches: BTreeMap::new(),
            numbered: 0,
            queue: VecDeque::new(),
            reports_sender,
            reports,
            failures: 0,
            failed: None,
            unknown_key_since: None,
            connect_at: now,
            last_progress: now,
            last_refusal: None,
            usual: USUAL_AT_FIRST,
        }
    }

    async fn run(mut self, mut wanted: mpsc::Receiver<Fetch>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_busy = !self.fetches.is_empty();
            let idle_deadline = self.idle_deadline();
            tokio::select! {
                fetch = wanted.recv() => match fetch {
                    None => return,
                    Some(fetch) => self.want(fetch),
                },
                Some((number, report)) = self.reports.recv() => self.hear(number, report),
                _ = ticks.tick(), if is_busy => self.look_after(),
                () = sleep_until(idle_deadline), if !is_busy => self.close_idle(),
                Some(_) = self.tasks.join_next() => {}
            }
            self.assign();
        }
    }

    fn want(&mut self, fetch: Fetch) {
        if self.fetches.is_empty() {
            self.last_progress = Instant::now();
        }
        self.numbered += 1;
        let active = Active {
            query: fetch.query,
            budget: fetch.buffer.budget().clone(),
            buffer: Some(fetch.buffer),
            reply: fetch.reply,
            asked: 0,
        };
        self.fetches.insert(self.numbered, active);
        self.queue.push_back(self.numbered);
    }

    /// Gives waiting fetches to connections that have room, making connections as needed.
    fn assign(&mut self) {
        self.forget_unwanted();
        self.connect();
        while let Some(number) = self.queue.front().copied() {
            let Some(link) = self.idlest(None) else {
                return self.hand_up_long_waits();
            };
            self.queue.pop_front();
            let buffer = self
                .fetches
                .get_mut(&number)
                .and_then(|fetch| fetch.buffer.take());
            if let Some(buffer) = buffer {
                self.order(link, number, buffer);
            }
        }
    }

    /// Drops waiting fetches whose callers have gone.
    fn forget_unwanted(&mut self) {
        let fetches = &mut self.fetches;
        self.queue.retain(|number| {
            let is_wanted = fetches
                .get(number)
                .is_some_and(|fetch| !fetch.reply.is_closed());
            if !is_wanted {
                fetches.remove(number);
            }
            is_wanted
        });
    }

    fn connect(&mut self) {
        let now = Instant::now();
        let useful = self.pace.connections().min(self.fetches.len());
        while self.links.len() < useful && !self.queue.is_empty() && now >= self.connect_at {
            self.made += 1;
            let index = usize::try_from(self.made).unwrap_or(0) % self.doors.addresses.len();
            let endpoint = Endpoint {
                address: self.doors.addresses[index],
                key: self.key.clone(),
                greeting: self.greeting.clone(),
            };
            let (orders, taken) = mpsc::channel(DEPTH);
            self.tasks.spawn(connection::run(
                self.made,
                endpoint,
                self.server,
                taken,
                self.reports_sender.clone(),
                Arc::clone(&self.opener),
            ));
            let link = Link {
                orders: Some(orders),
                under_way: BTreeMap::new(),
                rests_until: self.rests.pop().unwrap_or(now),
                idle_since: now,
            };
            self.links.insert(self.made, link);
            if self.failures > 0 {
                // One at a time until one works.
                self.connect_at = now + BACKOFF.0;
            }
        }
    }

    /// The connection with the most room, other than `except`.
    fn idlest(&self, except: Option<u64>) -> Option<u64> {
        let now = Instant::now();
        self.links
            .iter()
            .filter(|(_, link)| link.orders.is_some() && link.rests_until <= now)
            .take(self.pace.connections())
            .filter(|(number, link)| Some(**number) != except && link.under_way.len() < DEPTH)
            .min_by_key(|(_, link)| link.under_way.len())
            .map(|(number, _)| *number)
    }

    fn order(&mut self, link_number: u64, number: u64, buffer: Buffer) {
        let (Some(link), Some(fetch)) = (
            self.links.get_mut(&link_number),
            self.fetches.get_mut(&number),
        ) else {
            return;
        };
        let order = Order {
            fetch: number,
            query: fetch.query.clone(),
            buffer,
        };
        let sent = link.orders.as_ref().map(|orders| orders.try_send(order));
        match sent {
            Some(Ok(())) => {
                fetch.asked += 1;
                link.under_way.insert(number, Instant::now());
            }
            Some(Err(error)) => {
                // It has just ended, and will say so.
                link.orders = None;
                let (mpsc::error::TrySendError::Closed(order)
                | mpsc::error::TrySendError::Full(order)) = error;
                self.put_back(number, Some(order.buffer));
            }
            None => {}
        }
    }

    /// A fetch needs another connection, unless one still works on it.
    fn put_back(&mut self, number: u64, buffer: Option<Buffer>) {
        let Some(fetch) = self.fetches.get_mut(&number) else {
            return;
        };
        if fetch.asked > 0 {
            return;
        }
        match buffer {
            Some(buffer) => {
                fetch.buffer = Some(buffer);
                let at = self.queue.partition_point(|waiting| *waiting < number);
                self.queue.insert(at, number);
            }
            None => self.fail(number, Error::UnexpectedReply("upload.getFile")),
        }
    }

    fn hear(&mut self, link_number: u64, report: Report) {
        match report {
            Report::Answered { fetch, reply } => self.answered(link_number, fetch, reply),
            Report::Ended {
                why,
                server,
                unanswered,
                mut buffers,
            } => {
                let gone = self.links.remove(&link_number);
                let rest = gone.map(|link| link.rests_until);
                self.rests
                    .extend(rest.filter(|until| *until > Instant::now()));
                self.server = server;
                if let Some(why) = why {
                    self.broke(link_number, why);
                }
                for number in unanswered {
                    if let Some(fetch) = self.fetches.get_mut(&number) {
                        fetch.asked = fetch.asked.saturating_sub(1);
                        self.put_back(number, buffers.pop());
                    }
                }
            }
        }
    }

    fn answered(&mut self, link_number: u64, number: u64, reply: Reply) {
        let now = Instant::now();
        if let Some(link) = self.links.get_mut(&link_number) {
            link.idle_since = now;
            if let Some(begun) = link.under_way.remove(&number) {
                self.usual = (self.usual * 7 + (now - begun)) / 8;
            }
        }
        self.last_progress = now;
        self.failures = 0;
        self.failed = None;
        self.unknown_key_since = None;
        if let Some(fetch) = self.fetches.get_mut(&number) {
            fetch.asked = fetch.asked.saturating_sub(1);
        }
        match reply {
            Ok(bytes) => {
                self.pace.brought(self.fetches.len(), DEPTH);
                if let Some(fetch) = self.fetches.remove(&number) {
                    drop(fetch.reply.send(Ok(bytes)));
                }
            }
            Err((Error::FloodWait(wait), buffer)) => {
                self.refused(now);
                if let Some(link) = self.links.get_mut(&link_number) {
                    link.rests_until = link.rests_until.max(now + wait);
                }
                info!(seconds = wait.as_secs(), "Telegram asks to wait");
                self.put_back(number, buffer);
            }
            Err(error) => {
                if let Some(fetch) = self.fetches.remove(&number) {
                    drop(fetch.reply.send(Err(error)));
                }
            }
        }
    }

    /// Telegram says that it is too much.
    fn refused(&mut self, now: Instant) {
        let is_news = self
            .last_refusal
            .is_none_or(|last| now - last >= REFUSAL_SPAN);
        if is_news {
            self.last_refusal = Some(now);
            self.pace.refused();
        }
    }

    /// If all connections rest, and for long, nobody shall wait for that.
    fn hand_up_long_waits(&mut self) {
        let now = Instant::now();
        let open = self.links.values().filter(|link| link.orders.is_some());
        let rest = open.map(|link| link.rests_until).min();
        if let Some(rest) = rest.filter(|rest| *rest > now + LONGEST_WAIT) {
            for number in std::mem::take(&mut self.queue) {
                self.fail(number, Error::FloodWait(rest - now));
            }
        }
    }

    fn broke(&mut self, link_number: u64, why: ConnectionError) {
        debug!(error = %why, failures = self.failures, "a connection to Telegram broke");
        let now = Instant::now();
        self.failures += 1;
        if let ConnectionError::Refused(code) = why {
            if code == TransportCode::UNKNOWN_KEY && self.is_confirmed(link_number) {
                warn!("Telegram does not know the session's key");
                return self.fail_all(Error::unknown_key);
            }
            if code == TransportCode::WRONG_DC {
                // It would say so each time: whoever knows where it is has to look anew.
                warn!("an address is not of the data centre that it was given for");
                return self.fail_all(|| Error::WrongDataCentre);
            }
            if code == TransportCode::FLOOD {
                self.refused(now);
                self.failures += 1;
            }
        }
        if self.failures > 1 {
            let doubled = BACKOFF.0 * 2_u32.saturating_pow(self.failures - 2).min(1000);
            let pause = doubled.min(BACKOFF.1).mul_f64(0.5 + fastrand::f64() / 2.0);
            self.connect_at = now + pause;
        }
        self.failed = Some(why);
    }

    /// Telegram does not know the key. Whether it says so again, on a connection that was begun
    /// after it said so first.
    fn is_confirmed(&mut self, link_number: u64) -> bool {
        link_number > *self.unknown_key_since.get_or_insert(self.made)
    }

    /// What is due: fetches that take too long, and a data centre that is out of reach.
    fn look_after(&mut self) {
        let now = Instant::now();
        if self.links.values().any(|link| link.rests_until > now) {
            self.last_progress = now;
        }
        if now - self.last_progress > PATIENCE {
            // Whoever asks next shall not wait for these.
            for link in self.links.values_mut() {
                link.orders = None;
            }
            let why = self.failed.take();
            let why = Arc::new(why.unwrap_or(ConnectionError::Silence(PATIENCE)));
            return self.fail_all(|| Error::Unreachable(Arc::clone(&why)));
        }
        for link in self.links.values_mut() {
            let oldest = link.under_way.values().min();
            let working_since = oldest.map(|begun| link.idle_since.max(*begun));
            if working_since.is_some_and(|since| now - since > ANSWER_TIMEOUT) {
                link.orders = None;
            }
        }
        self.ask_twice(now);
    }

    /// The oldest fetch holds up everything behind it: if it is overdue, another connection is
    /// asked as well.
    fn ask_twice(&mut self, now: Instant) {
        let Some((&number, fetch)) = self.fetches.first_key_value() else {
            return;
        };
        let asked: Vec<_> = self
            .links
            .iter()
            .filter_map(|(link, state)| Some((*link, *state.under_way.get(&number)?)))
            .collect();
        let [(asked, begun)] = asked[..] else { return };
        let patience = (self.usual * OVERDUE_FACTOR).max(OVERDUE_AT_LEAST);
        if now - begun < patience || fetch.asked != 1 {
            return;
        }
        if let Some(link) = self.idlest(Some(asked))
            && let Some(buffer) = fetch.budget.spare()
        {
            debug!("a chunk is overdue; asking for it twice");
            self.order(link, number, buffer);
        }
    }

    fn idle_deadline(&self) -> Instant {
        let open = self.links.values().filter(|link| link.orders.is_some());
        let idle = open.map(|link| link.idle_since).min();
        idle.unwrap_or_else(Instant::now) + IDLE_TIMEOUT
    }

    fn close_idle(&mut self) {
        let now = Instant::now();
        for link in self.links.values_mut() {
            if link.idle_since + IDLE_TIMEOUT <= now {
                link.orders = None;
            }
        }
    }

    fn fail(&mut self, number: u64, error: Error) {
        if let Some(fetch) = self.fetches.remove(&number) {
            drop(fetch.reply.send(Err((error, fetch.buffer))));
        }
    }

    fn fail_all(&mut self, error: impl Fn() -> Error) {
        self.queue.clear();
        let numbers: Vec<_> = self.fetches.keys().copied().collect();
        for number in numbers {
            self.fail(number, error());
        }
    }
}

#[cfg(test)]
mod tests;
