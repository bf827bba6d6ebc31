//! MD5 of many bodies at once, on one thread.
//!
//! MD5 is a chain: one body keeps one thread busy at some 700 MiB/s, and it would be half of what
//! the stand-in costs. Bodies that arrive together are hashed together instead, up to eight side
//! by side in the lanes of vector registers, block after block. Batches form by themselves: while
//! one is hashed, the frames of the next gather. A lone body is hashed alone, at once.

mod compress;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use axum::body::Bytes;

use compress::{BLOCK, INITIAL, compress_lanes, compress_one};

/// How many bodies are hashed side by side.
const LANES: usize = 8;
/// Frames of one body that may wait; its writer then waits too.
const FRAMES_WAITING: usize = 2;

/// The thread that hashes. It ends when this and all bodies are dropped.
#[derive(Debug)]
pub(super) struct Md5Lanes(Arc<Shared>);

impl Md5Lanes {
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        thread::Builder::new().name("md5-lanes".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.hash_until_stopped()
        })?;
        Ok(Self(shared))
    }

    /// A body that is about to arrive.
    pub(super) fn body(&self) -> BodyMd5 {
        let mut queues = self.0.lock();
        let id = queues.next_id;
        queues.next_id += 1;
        queues.bodies.insert(id, Queue::default());
        BodyMd5 {
            shared: Arc::clone(&self.0),
            id,
        }
    }
}

impl Drop for Md5Lanes {
    fn drop(&mut self) {
        self.0.lock().stopping = true;
        self.0.work.notify_one();
    }
}

/// One body's place among those being hashed. Its methods block; dropping it gives it up.
#[derive(Debug)]
pub(super) struct BodyMd5 {
    shared: Arc<Shared>,
    id: u64,
}

impl BodyMd5 {
    /// Hands over the next bytes; waits while too many are waiting already.
    pub(super) fn update(&self, frame: Bytes) {
        let full = |queues: &mut Queues| queues.body(self.id).frames.len() >= FRAMES_WAITING;
        let queues = self.shared.lock();
        let waited = self.shared.progress.wait_while(queues, full);
        let mut queues = waited.unwrap_or_else(PoisonError::into_inner);
        queues.body(self.id).frames.push_back(frame);
        drop(queues);
        self.shared.work.notify_one();
    }

    /// The digest of all that was handed over.
    pub(super) fn finish(self) -> [u8; 16] {
        let busy = |queues: &mut Queues| !queues.body(self.id).is_idle();
        let queues = self.shared.lock();
        let waited = self.shared.progress.wait_while(queues, busy);
        let mut queues = waited.unwrap_or_else(PoisonError::into_inner);
        let hashing = queues.body(self.id).hashing.take();
        drop(queues);
        hashing.unwrap_or_default().finish()
    }
}

impl Drop for BodyMd5 {
    fn drop(&mut self) {
        self.shared.lock().bodies.remove(&self.id);
        self.shared.work.notify_one();
    }
}

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<Queues>,
    /// There are frames to hash, or a body less.
    work: Condvar,
    /// Frames were taken, or were hashed.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct Queues {
    bodies: BTreeMap<u64, Queue>,
    next_id: u64,
    /// The last body that was hashed; the others come first.
    last: u64,
    stopping: bool,
}

impl Queues {
    /// Whether nobody will hand over anything any more.
    fn is_over(&self) -> bool {
        self.stopping && self.bodies.is_empty()
    }

    fn body(&mut self, id: u64) -> &mut Queue {
        self.bodies.entry(id).or_default()
    }

    /// Takes out as many bodies with bytes to hash as there are lanes, in turn.
    fn take_batch(&mut self) -> Vec<(u64, Hashing)> {
        let (first, then) = (self.last + 1.., ..=self.last);
        let ids: Vec<u64> = self
            .bodies
            .range(first)
            .chain(self.bodies.range(then))
            .filter(|(_, queue)| queue.has_work())
            .map(|(id, _)| *id)
            .take(LANES)
            .collect();
        self.last = ids.last().copied().unwrap_or(self.last);
        let take = |id| {
            let queue = self.body(id);
            let mut hashing = queue.hashing.take()?;
            if hashing.rest.is_empty() {
                hashing.rest = queue.frames.pop_front()?;
            }
            Some((id, hashing))
        };
        ids.into_iter().filter_map(take).collect()
    }
}

/// What waits of one body.
#[derive(Debug)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// Absent while it is being hashed.
    hashing: Option<Hashing>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            hashing: Some(Hashing::default()),
        }
    }
}

impl Queue {
    fn has_work(&self) -> bool {
        let unhashed = |hashing: &Hashing| !hashing.rest.is_empty() || !self.frames.is_empty();
        self.hashing.as_ref().is_some_and(unhashed)
    }

    fn is_idle(&self) -> bool {
        self.hashing.is_some() && !self.has_work()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash_until_stopped(&self) {
        loop {
            let idle = |queues: &mut Queues| {
                !queues.is_over() && !queues.bodies.values().any(Queue::has_work)
            };
            let waited = self.work.wait_while(self.lock(), idle);
            let mut queues = waited.unwrap_or_else(PoisonError::into_inner);
            if queues.is_over() {
                return;
            }
            let mut batch = queues.take_batch();
            drop(queues);
            self.progress.notify_all();
            hash(&mut batch);
            let mut queues = self.lock();
            for (id, hashing) in batch {
                // A body that was given up meanwhile has no place any more.
                if let Some(queue) = queues.bodies.get_mut(&id) {
                    queue.hashing = Some(hashing);
                }
            }
            drop(queues);
            self.progress.notify_all();
        }
    }
}

/// The MD5 of a body so far.
#[derive(Debug)]
struct Hashing {
    state: [u32; 4],
    /// Bytes hashed or in `partial`.
    length: u64,
    /// The beginning of a block that is not whole yet.
    partial: Vec<u8>,
    /// Bytes at hand, to be hashed next.
    rest: Bytes,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            state: INITIAL,
            length: 0,
            partial: Vec::with_capacity(2 * BLOCK),
            rest: Bytes::new(),
        }
    }
}

impl Hashing {
    /// Completes the block begun before; leaves whole blocks, if any, at the start of `rest`.
    fn align(&mut self) {
        if self.partial.is_empty() && self.rest.len() >= BLOCK {
            return;
        }
        let missing = (BLOCK - self.partial.len()).min(self.rest.len());
        self.length += missing as u64;
        self.partial.extend_from_slice(&self.rest.split_to(missing));
        if self.partial.len() == BLOCK {
            compress_one(&mut self.state, &self.partial, 1);
            self.partial.clear();
        }
    }

    fn whole_blocks(&self) -> usize {
        self.rest.len() / BLOCK
    }

    fn hashed(&mut self, blocks: usize) {
        let bytes = blocks * BLOCK;
        self.length += bytes as u64;
        let _ = self.rest.split_to(bytes);
    }

    /// Pads and ends (RFC 1321, 3.1 and 3.2).
    fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        self.partial.push(0x80);
        while self.partial.len() % BLOCK != BLOCK - 8 {
            self.partial.push(0);
        }
        self.partial.extend_from_slice(&bits.to_le_bytes());
        compress_one(&mut self.state, &self.partial, self.partial.len() / BLOCK);
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }
}

/// Hashes what the bodies have at hand, as far as the shortest goes.
fn hash(batch: &mut [(u64, Hashing)]) {
    for (_, hashing) in batch.iter_mut() {
        hashing.align();
    }
    let mut ready: Vec<&mut Hashing> = batch
        .iter_mut()
        .map(|(_, hashing)| hashing)
        .filter(|hashing| hashing.whole_blocks() > 0)
        .collect();
    let shortest = ready.iter().map(|hashing| hashing.whole_blocks()).min();
    let blocks = shortest.unwrap_or_default();
    match &mut ready[..] {
        [] => {}
        [alone] => compress_one(&mut alone.state, &alone.rest, blocks),
        several => {
            let mut states: Vec<[u32; 4]> = several.iter().map(|one| one.state).collect();
            let bytes: Vec<&[u8]> = several.iter().map(|one| &one.rest[..]).collect();
            compress_lanes(&mut states, &bytes, blocks);
            for (one, state) in several.iter_mut().zip(states) {
                one.state = state;
            }
        }
    }
    for hashing in ready {
        hashing.hashed(blocks);
    }
}

#[cfg(test)]
mod tests;
