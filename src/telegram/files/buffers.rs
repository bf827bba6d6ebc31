//! The memory of a transfer: buffers of one size, as many as the budget allows.
//!
//! A reply is read into a buffer, opened there, and leaves it as a chunk; when the last reader of
//! the chunk is done, the buffer is free again. Who waits for a buffer is served in order.

use std::{
    ops::{Deref, DerefMut, Range},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::CHUNK;

/// A chunk, and what an answer that carries one has around it: at most 1,100 bytes.
pub const BUFFER_BYTES: usize = CHUNK as usize + 4096;

/// The fewest buffers with which a transfer gets on.
const FEWEST: usize = 4;

/// Buffers, a bounded number of them.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    regular: Arc<Semaphore>,
    /// For asking twice for what is overdue.
    spare: Arc<Semaphore>,
    free: Mutex<Vec<Box<[u8]>>>,
}

/// Room for one reply.
#[derive(Debug)]
pub struct Buffer {
    /// Empty only while being dropped.
    memory: Box<[u8]>,
    budget: Budget,
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// Buffers for `bytes` of chunks.
    pub fn new(bytes: u64) -> Self {
        let count = usize::try_from(bytes / u64::from(CHUNK)).unwrap_or(FEWEST);
        Self(Arc::new(Shared {
            regular: Arc::new(Semaphore::new(count.clamp(FEWEST, Semaphore::MAX_PERMITS))),
            spare: Arc::new(Semaphore::new(1)),
            free: Mutex::default(),
        }))
    }

    /// A buffer, as soon as there is one.
    pub async fn reserve(&self) -> Buffer {
        let permit = Arc::clone(&self.0.regular).acquire_owned().await;
        self.buffer(permit.expect("the semaphore is never closed"))
    }

    /// The one buffer above the budget, unless it is in use.
    pub fn spare(&self) -> Option<Buffer> {
        let permit = Arc::clone(&self.0.spare).try_acquire_owned().ok()?;
        Some(self.buffer(permit))
    }

    fn buffer(&self, permit: OwnedSemaphorePermit) -> Buffer {
        let free = self.lock().pop();
        Buffer {
            memory: free.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice()),
            budget: self.clone(),
            _permit: permit,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Box<[u8]>>> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// Where it comes from.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// A part of it as a chunk. The buffer is free again when the last clone is dropped.
    pub fn into_chunk(self, range: Range<usize>) -> Bytes {
        Bytes::from_owner(self).slice(range)
    }

    /// A chunk of these bytes, which are copied. More than fit lie elsewhere but count as if
    /// they lay here.
    pub fn holding(mut self, content: &[u8]) -> Bytes {
        match self.memory.get_mut(..content.len()) {
            Some(room) => {
                room.copy_from_slice(content);
                self.into_chunk(0..content.len())
            }
            None => Bytes::from_owner(Elsewhere {
                content: content.to_vec(),
                _buffer: self,
            }),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Before the permit is given back, so that there are never more buffers than permits.
        let memory = std::mem::take(&mut self.memory);
        self.budget.lock().push(memory);
    }
}

struct Elsewhere {
    content: Vec<u8>,
    _buffer: Buffer,
}

impl AsRef<[u8]> for Elsewhere {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn there_are_as_many_buffers_as_the_budget_allows_and_they_come_back() {
        let budget = Budget::new(4 * u64::from(CHUNK));
        let mut buffers = Vec::new();
        for _ in 0..4 {
            buffers.push(budget.reserve().await);
        }
        assert!(budget.reserve().now_or_never().is_none());
        // The one above the budget does not count.
        let spare = budget.spare().unwrap();
        assert!(budget.spare().is_none());
        drop(spare);
        assert!(budget.reserve().now_or_never().is_none());
        // A chunk holds its buffer until its last clone is gone.
        let chunk = buffers.pop().unwrap().into_chunk(10..20);
        let part = chunk.slice(0..4);
        drop(chunk);
        assert!(budget.reserve().now_or_never().is_none());
        drop(part);
        let again = budget.reserve().await;
        // So does a chunk that was copied, even if it lies elsewhere.
        let elsewhere = again.holding(&vec![7; BUFFER_BYTES + 1]);
        assert_eq!(elsewhere.len(), BUFFER_BYTES + 1);
        assert!(budget.reserve().now_or_never().is_none());
        drop(elsewhere);
        assert_eq!(&budget.reserve().await.holding(b"abc")[..], b"abc");
        drop(budget.reserve().await);
        // One of the five is in use for each of the three that are held.
        assert_eq!(budget.lock().len(), 2);
    }
}
