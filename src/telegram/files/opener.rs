//! Opens large packets: decryption and verification, several at once.
//!
//! AES-IGE is a chain, so one packet alone leaves most of the cipher's unit idle. One thread takes
//! whatever is ready, up to as many as there are lanes, and opens it together. A packet waits for
//! company only while answers to other calls are to come, and never for long.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use mtproto::{
    AuthKey, Envelope, Opened, Side,
    envelope::{OUTER, OpenError},
    ige::{self, Job, MAX_LANES},
};
use tokio::sync::mpsc;
use tracing::warn;

use super::frame::Frame;

/// Packets that may wait: more than there are buffers.
const BACKLOG: usize = 1024;

/// The lanes that are worth waiting for: more together cost hardly less each.
const COMPANY: usize = 4;

/// The longest wait for company: short beside any way to Telegram, and the window hides it.
const COMPANY_PATIENCE: Duration = Duration::from_millis(5);

/// How many packets a connection expects, which others may wait for. None once it is dropped.
#[derive(Debug)]
pub struct Expected {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Expected {
    /// Now it is so many.
    pub fn set(&mut self, packets: usize) {
        self.all.fetch_add(packets, Ordering::Relaxed);
        self.all.fetch_sub(self.own, Ordering::Relaxed);
        self.own = packets;
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A packet as it came.
pub struct Sealed {
    /// What it lies in.
    pub frame: Frame,
    /// Where in the frame it lies.
    pub packet: Range<usize>,
    /// The key it should be sealed with.
    pub key: AuthKey,
    /// The session it should be of.
    pub session_id: i64,
    /// When its last byte came, since the Unix epoch.
    pub arrived: Duration,
    /// Who waits for it. There must be room for all that it waits for.
    pub done: mpsc::Sender<Opening>,
}

/// A packet that was opened, or was not to be.
pub struct Opening {
    /// What it lies in; only noise if it could not be opened.
    pub frame: Frame,
    /// Where in the frame it lies.
    pub packet: Range<usize>,
    /// When its last byte came, since the Unix epoch.
    pub arrived: Duration,
    /// What it holds.
    pub opened: Result<Opened, OpenError>,
}

/// The thread.
#[derive(Debug)]
pub struct Opener {
    /// None only while being dropped.
    packets: Option<SyncSender<Sealed>>,
    /// How many packets all connections expect.
    expected: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Opener {
    /// Starts it.
    ///
    /// # Panics
    /// If the system gives us no thread.
    pub fn start() -> Self {
        let (packets, waiting) = sync_channel(BACKLOG);
        let expected = Arc::new(AtomicUsize::new(0));
        let to_come = Arc::clone(&expected);
        let thread = Builder::new()
            .name("opener".to_owned())
            .spawn(move || run_on(&waiting, &to_come))
            .expect("a thread can be started");
        Self {
            packets: Some(packets),
            expected,
            thread: Some(thread),
        }
    }

    /// For a connection to say how many packets it expects. None at first.
    pub fn expected(&self) -> Expected {
        Expected {
            all: Arc::clone(&self.expected),
            own: 0,
        }
    }

    /// Hands a packet over; it comes back by its `done`.
    pub fn open(&self, sealed: Sealed) {
        if let Some(packets) = &self.packets {
            // Never fails: the thread is there until it is dropped.
            drop(packets.send(sealed));
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.packets = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A panic costs the packets that were being opened; their connections run into a timeout.
fn run_on(waiting: &Receiver<Sealed>, expected: &AtomicUsize) {
    let run = || run(waiting, expected);
    while catch_unwind(AssertUnwindSafe(run)).is_err() {
        warn!("the opener broke down; starting it anew");
    }
}

fn run(waiting: &Receiver<Sealed>, expected: &AtomicUsize) {
    let mut batch = Vec::with_capacity(MAX_LANES);
    while let Ok(first) = waiting.recv() {
        batch.push(first);
        batch.extend(waiting.try_iter().take(MAX_LANES - 1));
        wait_for_company(&mut batch, waiting, expected);
        let unlocked = decrypt(&mut batch);
        for (sealed, unlocked) in batch.drain(..).zip(unlocked) {
            let envelope = Envelope::new(&sealed.key, Side::Server).of_session(sealed.session_id);
            let opened =
                unlocked.and_then(|()| envelope.verify(&sealed.frame[sealed.packet.clone()]));
            let opening = Opening {
                frame: sealed.frame,
                packet: sealed.packet,
                arrived: sealed.arrived,
                opened,
            };
            // A connection that has ended wants it no more.
            drop(sealed.done.try_send(opening));
        }
    }
}

fn wait_for_company(batch: &mut Vec<Sealed>, waiting: &Receiver<Sealed>, expected: &AtomicUsize) {
    let until = Instant::now() + COMPANY_PATIENCE;
    while batch.len() < COMPANY && expected.load(Ordering::Relaxed) > 0 {
        let left = until.saturating_duration_since(Instant::now());
        match waiting.recv_timeout(left) {
            Ok(sealed) => batch.push(sealed),
            Err(_) => return,
        }
    }
}

/// Decrypts together the packets whose outside is right.
fn decrypt(batch: &mut [Sealed]) -> Vec<Result<(), OpenError>> {
    let mut jobs = Vec::with_capacity(batch.len());
    let mut unlocked = Vec::with_capacity(batch.len());
    for sealed in batch {
        let packet = &mut sealed.frame[sealed.packet.clone()];
        let key = Envelope::new(&sealed.key, Side::Server).unlock(packet);
        unlocked.push(key.map(|key| jobs.push(Job::new(key, &mut packet[OUTER..]))));
    }
    ige::decrypt_many(&mut jobs);
    unlocked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_no_more_than_the_packets_at_hand() {
        let opener = Opener::start();
        let open = |packet| {
            let (done, back) = mpsc::channel(1);
            opener.open(Sealed {
                frame: Frame::Unforeseen(vec![0; 8]),
                packet,
                key: AuthKey::new([42; 256]),
                session_id: 1,
                arrived: Duration::ZERO,
                done,
            });
            back
        };
        // It is said to lie where its frame has nothing.
        assert!(open(8..4096).recv().await.is_none());
        let opening = open(0..8).recv().await.unwrap();
        assert_eq!(opening.packet, 0..8);
        assert!(opening.opened.is_err());
    }
}
