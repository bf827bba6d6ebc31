//! The pump: parts stored a few at a time, each fed by its own read-ahead.

use std::{
    fmt::Debug,
    ops::Range,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use futures::{StreamExt as _, stream, stream::BoxStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Part, Window};

/// How often a part is stored before another checksum than ours is believed.
const CHECKSUM_TRIES: u32 = 3;

/// How long parts under way may take to end when told to stop.
pub const STOP_PATIENCE: Duration = Duration::from_secs(20);

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

    /// Removes a part that was stored with other bytes than it was sent with.
    fn discard(&self, part: Part) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// After which pause a part may be stored again that was tried so often, if at all.
    fn again_after(&self, error: &Self::Error, tries: u32) -> Option<Duration>;
}

/// Who wants to know how far it has come.
pub trait Progress: Send + Sync {
    /// So many more bytes were handed over.
    fn moved(&self, bytes: u64);

    /// So many bytes that were handed over have to be moved again.
    fn lost(&self, bytes: u64);

    /// A part is stored, and its checksum was compared if the sink has told one.
    fn stored(&self, part: &StoredPart);
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
    /// CRC32C of what is there, as the sink computed it, or, where it tells none, of what was sent.
    pub crc32c: Option<u32>,
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

/// Moves `parts` from source to sink, and returns them in the order of their numbers.
///
/// When told to stop it begins no more parts, and gives those under way a while to end. When this
/// returns, or is dropped, nothing of it goes on.
///
/// # Errors
/// The first error of source or sink that trying again does not help, a checksum that differs
/// again and again, or [`Error::Stopped`].
pub async fn run<S: Source, K: Sink>(
    source: &Arc<S>,
    sink: &K,
    parts: Vec<Part>,
    window: Window,
    progress: Arc<dyn Progress>,
    stop: &CancellationToken,
) -> Result<Vec<StoredPart>, Error<S::Error, K::Error>> {
    let wanted = parts.len();
    let transfer = Transfer {
        source: Arc::clone(source),
        sink,
        window,
        progress,
    };
    let mut under_way = pin!(
        stream::iter(parts)
            .take_until(stop.cancelled())
            .map(|part| transfer.store(part))
            .buffer_unordered(Window::PARTS.get())
    );
    let mut patience = pin!(async {
        stop.cancelled().await;
        sleep(STOP_PATIENCE).await;
    });
    let mut stored = Vec::with_capacity(wanted);
    loop {
        tokio::select! {
            part = under_way.next() => match part {
                Some(part) => stored.push(part?),
                None => break,
            },
            () = &mut patience => return Err(Error::Stopped),
        }
    }
    if stored.len() < wanted {
        return Err(Error::Stopped);
    }
    stored.sort_by_key(|part| part.number);
    Ok(stored)
}

/// What all parts have in common.
struct Transfer<'a, S, K> {
    source: Arc<S>,
    sink: &'a K,
    window: Window,
    progress: Arc<dyn Progress>,
}

/// What a body leaves behind when it has been read.
struct BodyEnd<E> {
    digest: Digest,
    moved: u64,
    error: Option<E>,
}

impl<S: Source, K: Sink> Transfer<'_, S, K> {
    /// Stores one part, as often as it takes.
    async fn store(&self, part: Part) -> Result<StoredPart, Error<S::Error, K::Error>> {
        let mut tries = 0;
        let mut sent = None;
        loop {
            let (error, moved) = match self.store_once(part, &mut sent).await {
                Ok(stored) => {
                    self.progress.stored(&stored);
                    return Ok(stored);
                }
                Err(failure) => failure,
            };
            tries += 1;
            if let Error::Checksum(_) = error {
                self.sink.discard(part).await.map_err(Error::Sink)?;
            }
            let pause = match &error {
                Error::Sink(error) => self.sink.again_after(error, tries),
                Error::Checksum(_) if tries < CHECKSUM_TRIES => Some(Duration::ZERO),
                _ => None,
            };
            let Some(pause) = pause else {
                return Err(error);
            };
            debug!(part = part.number, tries, ?error, "storing a part again");
            self.progress.lost(moved);
            sleep(pause).await;
        }
    }

    /// Stores one part, and checks that what was stored is what was read: the sink may find that
    /// an earlier try stored it, so the checksum of what was `sent` whole is kept from try to try.
    /// A failure comes with the bytes that were moved in vain.
    async fn store_once(
        &self,
        part: Part,
        sent: &mut Option<u32>,
    ) -> Result<StoredPart, (Error<S::Error, K::Error>, u64)> {
        let end = Arc::new(Mutex::new(BodyEnd {
            digest: Digest::new(CrcAlgorithm::Crc32Iscsi),
            moved: 0,
            error: None,
        }));
        let result = self.sink.store(part, self.body(part, &end)).await;
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        // A sink whose body broke off fails too; the source knows why.
        if let Some(error) = end.error.take() {
            return Err((Error::Source(error), end.moved));
        }
        if end.moved == part.len {
            *sent = u32::try_from(end.digest.finalize()).ok();
        }
        let mut stored = result.map_err(|error| (Error::Sink(error), end.moved))?;
        match (*sent, stored.crc32c) {
            (Some(sent), Some(told)) if sent != told => {
                Err((Error::Checksum(part.number), end.moved))
            }
            (sent, told) => {
                stored.crc32c = told.or(sent);
                Ok(stored)
            }
        }
    }

    /// The chunks of a part in order, several of them being read ahead.
    fn body(&self, part: Part, end: &Arc<Mutex<BodyEnd<S::Error>>>) -> PartBody {
        let source = Arc::clone(&self.source);
        let read = move |range| {
            let source = Arc::clone(&source);
            async move { source.read(range).await }
        };
        let end = Arc::clone(end);
        let progress = Arc::clone(&self.progress);
        let finish = move |chunk: Result<Bytes, S::Error>| {
            let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
            match chunk {
                Ok(chunk) => {
                    end.digest.update(&chunk);
                    end.moved += chunk.len() as u64;
                    progress.moved(chunk.len() as u64);
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
            .buffered(self.window.chunks_per_part())
            .map(finish)
            .boxed()
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "patterns of bytes")]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

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

    /// Checks every byte; can lie about checksums, break off, or fall asleep.
    #[derive(Default)]
    struct Checker {
        lies: AtomicU32,
        breaks: AtomicU32,
        hangs: bool,
        stored: AtomicU32,
        discarded: AtomicU32,
    }

    /// Whether there was one more.
    fn one_of(count: &AtomicU32) -> bool {
        let less = |count: u32| count.checked_sub(1);
        count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }

    impl Sink for Checker {
        type Error = &'static str;

        async fn store(&self, part: Part, mut body: PartBody) -> Result<StoredPart, Self::Error> {
            let mut at = part.offset;
            let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|_| "the body broke off")?;
                let is_right = |(byte, at): (&u8, u64)| *byte == (at / 7 + at) as u8;
                assert!(chunk.iter().zip(at..).all(is_right));
                at += chunk.len() as u64;
                digest.update(&chunk);
                if self.hangs {
                    std::future::pending::<()>().await;
                }
                if at >= part.offset + part.len / 2 && one_of(&self.breaks) {
                    return Err("the wire broke");
                }
            }
            assert_eq!(at, part.offset + part.len);
            self.stored.fetch_add(1, Ordering::SeqCst);
            let crc32c = Some(digest.finalize() as u32 ^ u32::from(one_of(&self.lies)));
            Ok(StoredPart {
                number: part.number,
                etag: format!("e{}", part.number),
                crc32c,
            })
        }

        async fn discard(&self, _: Part) -> Result<(), Self::Error> {
            self.discarded.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }

        fn again_after(&self, error: &Self::Error, tries: u32) -> Option<Duration> {
            (*error == "the wire broke" && tries < 3).then_some(Duration::from_secs(1))
        }
    }

    #[derive(Default)]
    struct Counter(AtomicU64);

    impl Progress for Counter {
        fn moved(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::SeqCst);
        }

        fn lost(&self, bytes: u64) {
            self.0.fetch_sub(bytes, Ordering::SeqCst);
        }

        fn stored(&self, _: &StoredPart) {}
    }

    /// What is known after a transfer.
    struct After {
        result: Result<Vec<StoredPart>, Error<&'static str, &'static str>>,
        moved: u64,
        most_out: usize,
        stored: u32,
        discarded: u32,
    }

    const SIZE: u64 = 80 * MIB + 1;

    async fn transfer(source: Pattern, sink: Checker, stop: CancellationToken) -> After {
        let source = Arc::new(source);
        let counter = Arc::new(Counter::default());
        let progress = Arc::clone(&counter) as Arc<dyn Progress>;
        let parts = Layout::new(SIZE).parts().collect();
        let window = "6".parse().unwrap();
        let result = run(&source, &sink, parts, window, progress, &stop).await;
        assert_eq!(source.out.load(Ordering::SeqCst), 0, "nothing is kept");
        After {
            result,
            moved: counter.0.load(Ordering::SeqCst),
            most_out: source.most_out.load(Ordering::SeqCst),
            stored: sink.stored.load(Ordering::SeqCst),
            discarded: sink.discarded.load(Ordering::SeqCst),
        }
    }

    async fn undisturbed(source: Pattern, sink: Checker) -> After {
        transfer(source, sink, CancellationToken::new()).await
    }

    #[tokio::test]
    async fn every_byte_arrives_once_within_the_window() {
        let after = undisturbed(Pattern::default(), Checker::default()).await;
        let numbers: Vec<_> = after
            .result
            .unwrap()
            .iter()
            .map(|part| part.number)
            .collect();
        assert_eq!((numbers, after.moved), ((1..=6).collect(), SIZE));
        // The chunks that the sink is looking at have left the window.
        assert!(after.most_out <= 12 + 3, "{} at once", after.most_out);
    }

    #[tokio::test]
    async fn a_failing_source_is_named_and_not_the_sink_that_it_broke() {
        let source = Pattern {
            fails_at: Some(20 * MIB),
            ..Pattern::default()
        };
        let after = undisturbed(source, Checker::default()).await;
        assert!(matches!(
            after.result,
            Err(Error::Source("the disk is on fire"))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_breaks_off_is_read_and_stored_again() {
        let sink = Checker {
            breaks: 2.into(),
            ..Checker::default()
        };
        let after = undisturbed(Pattern::default(), sink).await;
        assert_eq!((after.result.unwrap().len(), after.moved), (6, SIZE));
        // Up to the number of tries that the sink allows.
        let sink = Checker {
            breaks: 100.into(),
            ..Checker::default()
        };
        let after = undisturbed(Pattern::default(), sink).await;
        assert!(matches!(after.result, Err(Error::Sink("the wire broke"))));
    }

    #[tokio::test]
    async fn a_part_stored_with_other_bytes_is_stored_again() {
        let sink = Checker {
            lies: 2.into(),
            ..Checker::default()
        };
        let after = undisturbed(Pattern::default(), sink).await;
        assert_eq!(
            (after.result.unwrap().len(), after.stored, after.discarded),
            (6, 8, 2)
        );
        assert_eq!(after.moved, SIZE);
        let sink = Checker {
            lies: 100.into(),
            ..Checker::default()
        };
        let after = undisturbed(Pattern::default(), sink).await;
        assert!(matches!(after.result, Err(Error::Checksum(_))));
    }

    #[tokio::test]
    async fn a_stop_lets_parts_under_way_end_and_begins_no_more() {
        let stop = CancellationToken::new();
        let stopper = stop.clone();
        let (after, ()) = tokio::join!(
            transfer(Pattern::default(), Checker::default(), stop),
            async {
                tokio::task::yield_now().await;
                stopper.cancel();
            }
        );
        assert!(matches!(after.result, Err(Error::Stopped)));
        assert_eq!(after.stored, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_a_transfer_that_hangs() {
        let stop = CancellationToken::new();
        let sink = Checker {
            hangs: true,
            ..Checker::default()
        };
        let stopper = stop.clone();
        let (after, ()) = tokio::join!(transfer(Pattern::default(), sink, stop), async {
            tokio::task::yield_now().await;
            stopper.cancel();
        });
        assert!(matches!(after.result, Err(Error::Stopped)));
    }
}
