//! Opens large packets: decryption and verification, several at once.
//!
//! AES-IGE is a chain, so one packet alone leaves most of the cipher's unit idle. One thread takes
//! whatever is ready, up to as many as there are lanes, and opens it together. Batches form by
//! themselves when the processor is what limits; a lone packet never waits for company.

use std::{
    ops::Range,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use mtproto::{
    AuthKey, Envelope, Opened, Side,
    envelope::{OUTER, OpenError},
    ige::{self, Job, MAX_LANES},
};
use tokio::sync::mpsc;

use super::frame::Frame;

/// Packets that may wait: more than there are buffers.
const BACKLOG: usize = 1024;

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
    thread: Option<JoinHandle<()>>,
}

impl Opener {
    /// Starts it.
    ///
    /// # Panics
    /// If the system gives us no thread.
    pub fn start() -> Self {
        let (packets, waiting) = sync_channel(BACKLOG);
        let thread = Builder::new()
            .name("opener".to_owned())
            .spawn(move || run(&waiting))
            .expect("a thread can be started");
        Self {
            packets: Some(packets),
            thread: Some(thread),
        }
    }

    /// Hands a packet over; it comes back by its `done`.
    pub fn open(&self, sealed: Sealed) {
        if let Some(packets) = &self.packets {
            // Fails only if the thread has panicked; the connection then runs into its timeout.
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

fn run(waiting: &Receiver<Sealed>) {
    let mut batch = Vec::with_capacity(MAX_LANES);
    while let Ok(first) = waiting.recv() {
        batch.push(first);
        batch.extend(waiting.try_iter().take(MAX_LANES - 1));
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
