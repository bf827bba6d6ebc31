//! The pump: parts stored a few at a time, each fed by its own read-ahead.

use std::{
    fmt::Debug,
    num::NonZeroUsize,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use tokio_util::sync::CancellationToken;

use super::{CHUNK_BYTES, Part};

/// Something that can be read by ranges.
pub trait Source: Send + Sync + 'static {
    /// What can go wrong.
    type Error: Debug + Send + 'static;

    /// Reads exactly that range: a whole chunk, or the file's last, shorter one.
    fn read(&self, range: Range<u64>) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;
}

/// Something that stores parts.
pub trait Sink: Send + Sync {
    /// What can go wrong.
    type Error: Debug + Send;

    /// Stores a part from its body, which has exactly `part.len` bytes unless it ends in an error.
    fn store(
        &self,
        part: Part,
        body: PartBody,
    ) -> impl Future<Output = Result<StoredPart, Self::Error>> + Send;
}

/// The bytes of a part as they arrive.
pub type PartBody = BoxStream<'static, Result<Bytes, BodyAborted>>;

/// The rest of a body will not come, for the source failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the source of the body failed")]
pub struct BodyAborted;

/// A part as the sink stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Its number.
    pub number: u16,
    /// The sink's tag of this content.
    pub etag: String,
    /// CRC32C as the sink computed it, if it did.
    pub crc32c: Option<u32>,
}

/// The memory of a transfer: how many parts are under way, and how many chunks each reads ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    parts: NonZeroUsize,
    chunks_per_part: NonZeroUsize,
}

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error<S: Debug, K: Debug> {
    /// The source failed.
    #[error("reading failed: {0:?}")]
    Source(S),
    /// The sink failed.
    #[error("storing failed: {0:?}")]
    Sink(K),
    /// The sink holds other bytes than were sent.
    #[error("part {0} was stored with another checksum than it was sent with")]
    Checksum(u16),
    /// The caller asked to stop.
    #[error("told to stop")]
    Stopped,
}

impl Window {
    /// A window that holds at most `bytes` (but at least one chunk a part) for `parts` parts.
    pub fn new(bytes: u64, parts: NonZeroUsize) -> Self {
        let chunks = usize::try_from(bytes / CHUNK_BYTES).unwrap_or(usize::MAX) / parts;
        Self {
            parts,
            chunks_per_part: NonZeroUsize::new(chunks).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// Moves `parts` from source to sink, and returns them in the order of their numbers.
///
/// `progress` hears how many bytes have been handed over since it last heard. When this returns,
/// or is dropped, nothing of it goes on.
///
/// # Errors
/// The first error of source or sink, a checksum that differs, or [`Error::Stopped`].
pub async fn run<S: Source, K: Sink>(
    source: &Arc<S>,
    sink: &K,
    parts: Vec<Part>,
    window: Window,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
    stop: &CancellationToken,
) -> Result<Vec<StoredPart>, Error<S::Error, K::Error>> {
    let stores = parts
        .into_iter()
        .map(|part| store(source, sink, part, window, Arc::clone(&progress)));
    let all = stream::iter(stores)
        .buffer_unordered(window.parts.get())
        .try_collect::<Vec<_>>();
    let mut all_stored = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Error::Stopped),
        result = all => result?,
    };
    all_stored.sort_by_key(|part| part.number);
    Ok(all_stored)
}

/// What a body leaves behind when it has been read.
struct BodyEnd<E> {
    digest: Digest,
    error: Option<E>,
}

/// Stores one part, and checks that what was stored is what was read.
async fn store<S: Source, K: Sink>(
    source: &Arc<S>,
    sink: &K,
    part: Part,
    window: Window,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
) -> Result<StoredPart, Error<S::Error, K::Error>> {
    let end = Arc::new(Mutex::new(BodyEnd {
        digest: Digest::new(CrcAlgorithm::Crc32Iscsi),
        error: None,
    }));
    let body = body(Arc::clone(source), part, window, progress, Arc::clone(&end));
    let result = sink.store(part, body).await;
    let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
    // A sink whose body broke off fails too; the source knows why.
    if let Some(error) = end.error.take() {
        return Err(Error::Source(error));
    }
    let stored = result.map_err(Error::Sink)?;
    match stored.crc32c {
        Some(crc32c) if u64::from(crc32c) != end.digest.finalize() => {
            Err(Error::Checksum(part.number))
        }
        _ => Ok(stored),
    }
}

/// The chunks of a part in order, several of them being read ahead.
fn body<S: Source>(
    source: Arc<S>,
    part: Part,
    window: Window,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
    end: Arc<Mutex<BodyEnd<S::Error>>>,
) -> PartBody {
    let read = move |range| {
        let source = Arc::clone(&source);
        async move { source.read(range).await }
    };
    let finish = move |chunk: Result<Bytes, S::Error>| {
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        match chunk {
            Ok(chunk) => {
                end.digest.update(&chunk);
                progress(chunk.len() as u64);
                Ok(chunk)
            }
            Err(error) => {
                end.error = Some(error);
                Err(BodyAborted)
            }
        }
    };
    stream::iter(part.chunks())
        .map(read)
        .buffered(window.chunks_per_part.get())
        .map(finish)
        .boxed()
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "patterns of bytes")]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::transfer::Layout;

    const MIB: u64 = 1024 * 1024;

    /// Bytes that tell where they come from, with a count of the chunks that are out.
    #[derive(Default)]
    struct Pattern {
        fails_at: Option<u64>,
        out: Arc<AtomicUsize>,
        most_out: AtomicUsize,
    }

    /// A chunk that is counted until it is dropped.
    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Source for Pattern {
        type Error = &'static str;

        async fn read(&self, range: Range<u64>) -> Result<Bytes, Self::Error> {
            tokio::task::yield_now().await;
            if self.fails_at.is_some_and(|at| range.contains(&at)) {
                return Err("the disk is on fire");
            }
            self.most_out.fetch_max(
                self.out.fetch_add(1, Ordering::SeqCst) + 1,
                Ordering::SeqCst,
            );
            let bytes = range.map(|at| (at / 7 + at) as u8).collect();
            Ok(Bytes::from_owner(Counted(bytes, Arc::clone(&self.out))))
        }
    }

    /// Checks every byte; can lie about a checksum, or fall asleep.
    #[derive(Default)]
    struct Checker {
        wrong_crc: bool,
        hangs: bool,
    }

    impl Sink for Checker {
        type Error = &'static str;

        async fn store(&self, part: Part, mut body: PartBody) -> Result<StoredPart, Self::Error> {
            let mut at = part.offset;
            let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|_| "the body broke off")?;
                assert!(
                    chunk
                        .iter()
                        .zip(at..)
                        .all(|(byte, at)| *byte == (at / 7 + at) as u8)
                );
                at += chunk.len() as u64;
                digest.update(&chunk);
                if self.hangs {
                    std::future::pending::<()>().await;
                }
            }
            assert_eq!(at, part.offset + part.len);
            let crc32c = Some(digest.finalize() as u32 ^ u32::from(self.wrong_crc));
            Ok(StoredPart {
                number: part.number,
                etag: format!("e{}", part.number),
                crc32c,
            })
        }
    }

    async fn transfer(
        source: Pattern,
        sink: Checker,
        stop: CancellationToken,
    ) -> (
        Result<Vec<StoredPart>, Error<&'static str, &'static str>>,
        usize,
        u64,
    ) {
        let source = Arc::new(source);
        let moved = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&moved);
        let progress = Arc::new(move |bytes| {
            counter.fetch_add(bytes, Ordering::SeqCst);
        });
        let parts = Layout::new(40 * MIB + 1).parts().collect();
        let window = Window::new(4 * MIB, NonZeroUsize::new(2).unwrap());
        let result = run(&source, &sink, parts, window, progress, &stop).await;
        assert_eq!(source.out.load(Ordering::SeqCst), 0, "nothing is kept");
        (
            result,
            source.most_out.load(Ordering::SeqCst),
            moved.load(Ordering::SeqCst),
        )
    }

    #[tokio::test]
    async fn every_byte_arrives_once_within_the_window() {
        let (result, most_out, moved) = transfer(
            Pattern::default(),
            Checker::default(),
            CancellationToken::new(),
        )
        .await;
        let numbers: Vec<_> = result.unwrap().iter().map(|part| part.number).collect();
        assert_eq!((numbers, moved), (vec![1, 2, 3], 40 * MIB + 1));
        // The chunk that the sink is looking at has left the window.
        assert!(most_out <= 8 + 2, "{most_out} chunks at once");
    }

    #[tokio::test]
    async fn a_failing_source_is_named_and_not_the_sink_that_it_broke() {
        let source = Pattern {
            fails_at: Some(20 * MIB),
            ..Pattern::default()
        };
        let (result, ..) = transfer(source, Checker::default(), CancellationToken::new()).await;
        assert!(matches!(result, Err(Error::Source("the disk is on fire"))));
    }

    #[tokio::test]
    async fn a_part_stored_with_other_bytes_is_noticed() {
        let sink = Checker {
            wrong_crc: true,
            ..Checker::default()
        };
        let (result, ..) = transfer(Pattern::default(), sink, CancellationToken::new()).await;
        assert!(matches!(result, Err(Error::Checksum(_))));
    }

    #[tokio::test]
    async fn a_stop_ends_a_transfer_that_hangs() {
        let stop = CancellationToken::new();
        let sink = Checker {
            hangs: true,
            ..Checker::default()
        };
        let stopper = stop.clone();
        let (result, ()) = tokio::join!(transfer(Pattern::default(), sink, stop), async {
            tokio::task::yield_now().await;
            stopper.cancel();
        });
        assert!(matches!(result.0, Err(Error::Stopped)));
    }
}
