//! The body of an upload on its way out: chunks are passed on as they come, counted against the
//! declared length, and watched, so that a service that stopped taking them is noticed.
//!
//! The HTTP client asks for a chunk only when it has handed the last one to the socket. So a
//! service that stalls shows in that nobody asks, while a slow source shows in that the source
//! was asked and has not answered; only the former is a fault of the service.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::time::{Instant, sleep_until};

use super::error::{Deviation, Error, Waiting};
use super::operation::Operation;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The stream that is given to the HTTP client.
pub(super) struct WatchedBody<S>(Arc<Shared<S>>);

/// The other end of a [`WatchedBody`]. When it is dropped, so is the source: whatever became of
/// the request, the HTTP client reads nothing more, and closes the connection if it was not done.
pub(super) struct Watch<S>(Arc<Shared<S>>);

struct Shared<S> {
    operation: Operation,
    declared: u64,
    state: Mutex<State<S>>,
}

struct State<S> {
    /// Let go of as soon as nothing more is wanted of it.
    source: Option<Pin<Box<S>>>,
    given: u64,
    phase: Phase,
    /// Why the body failed. The HTTP client only learns that it did.
    failure: Option<Error>,
    /// Who asked and was told to wait.
    waiting: Option<Waker>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// The HTTP client has data to send, or has not begun, since then.
    Sending(Instant),
    /// The HTTP client asked and the source has nothing yet.
    AwaitingSource,
    /// All bytes were given to the HTTP client at that time.
    Given(Instant),
    /// The HTTP client was told to give up.
    Stopped,
}

/// Tells the HTTP client to give the request up; the reason is kept for the [`Watch`].
#[derive(Debug, thiserror::Error)]
#[error("the body ended before its time")]
pub(super) struct BodyStopped;

/// Joins a source of `declared` bytes to an upload.
pub(super) fn watched<S>(
    operation: Operation,
    declared: u64,
    source: S,
) -> (WatchedBody<S>, Watch<S>) {
    let now = Instant::now();
    let state = State {
        source: (declared > 0).then(|| Box::pin(source)),
        given: 0,
        phase: if declared > 0 {
            Phase::Sending(now)
        } else {
            Phase::Given(now)
        },
        failure: None,
        waiting: None,
    };
    let shared = Arc::new(Shared {
        operation,
        declared,
        state: Mutex::new(state),
    });
    (WatchedBody(shared.clone()), Watch(shared))
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what the source gave and compares it with what was declared.
    fn check<E>(&self, given: u64, next: Option<Result<Bytes, E>>) -> Result<(Bytes, u64), Error>
    where
        E: Into<BoxError>,
    {
        let wrong_length = |deviation| Error::BodyLength {
            operation: self.operation,
            declared: self.declared,
            deviation,
        };
        match next {
            Some(Err(error)) => Err(Error::Body {
                operation: self.operation,
                source: error.into(),
            }),
            Some(Ok(chunk)) => {
                let given = given + chunk.len() as u64;
                if given > self.declared {
                    return Err(wrong_length(Deviation::WentOn));
                }
                Ok((chunk, given))
            }
            None => Err(wrong_length(Deviation::Ended(given))),
        }
    }
}

impl<S, E> Stream for WatchedBody<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BodyStopped>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock();
        if let Phase::Given(_) | Phase::Stopped = state.phase {
            return Poll::Ready(None);
        }
        let Some(source) = &mut state.source else {
            state.phase = Phase::Stopped;
            return Poll::Ready(Some(Err(BodyStopped)));
        };

        let Poll::Ready(next) = source.as_mut().poll_next(context) else {
            state.phase = Phase::AwaitingSource;
            state.waiting = Some(context.waker().clone());
            return Poll::Pending;
        };
        match self.0.check(state.given, next) {
            Ok((chunk, given)) => {
                state.given = given;
                state.phase = Phase::Sending(Instant::now());
                if given == self.0.declared {
                    state.phase = Phase::Given(Instant::now());
                    state.source = None;
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Err(failure) => {
                state.phase = Phase::Stopped;
                state.source = None;
                state.failure = Some(failure);
                Poll::Ready(Some(Err(BodyStopped)))
            }
        }
    }
}

impl<S> Drop for Watch<S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let (source, waiting) = (state.source.take(), state.waiting.take());
        drop(state);
        drop(source);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<S> Watch<S> {
    /// Whether the HTTP client was given every byte, so that the service may have them all.
    pub(super) fn is_given(&self) -> bool {
        matches!(self.0.lock().phase, Phase::Given(_))
    }

    /// Why the body failed, if it did.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.0.lock().failure.take()
    }

    /// Resolves when the service has taken no chunk for `stall`, or has not replied for `reply`
    /// since it was sent the last one. The source's own waits do not count.
    pub(super) async fn stalled(&self, stall: Duration, reply: Duration) -> (Waiting, Duration) {
        loop {
            let now = Instant::now();
            let phase = self.0.lock().phase;
            let due = match phase {
                Phase::Sending(since) => since + stall,
                Phase::Given(since) => since + reply,
                // Whatever follows cannot be due before this.
                Phase::AwaitingSource | Phase::Stopped => now + stall.min(reply),
            };
            match phase {
                Phase::Sending(_) if due <= now => return (Waiting::ToSend, stall),
                Phase::Given(_) if due <= now => return (Waiting::ForReply, reply),
                _ => sleep_until(due).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures::{StreamExt, stream};
    use tokio::time::timeout;

    use super::*;

    type Item = Result<Bytes, io::Error>;

    fn chunk(length: usize) -> Bytes {
        Bytes::from(vec![7; length])
    }

    async fn read(declared: u64, items: Vec<Item>) -> (u64, Option<Error>, bool) {
        let (body, watch) = watched(Operation::UploadPart, declared, stream::iter(items));
        let read = body
            .map(|item| item.map_or(0, |chunk| chunk.len() as u64))
            .fold(0, |sum, length| async move { sum + length })
            .await;
        (read, watch.take_failure(), watch.is_given())
    }

    #[tokio::test]
    async fn a_body_of_the_declared_length_passes() {
        let (read_bytes, failure, given) =
            read(5, vec![Ok(chunk(2)), Ok(chunk(0)), Ok(chunk(3))]).await;
        assert!(read_bytes == 5 && failure.is_none() && given);
        let (read_bytes, failure, given) = read(0, vec![]).await;
        assert!(read_bytes == 0 && failure.is_none() && given);
    }

    #[tokio::test]
    async fn a_body_that_is_too_short_too_long_or_broken_fails() {
        let (_, short, given) = read(5, vec![Ok(chunk(2))]).await;
        assert!(!given);
        assert_eq!(
            short.unwrap().to_string(),
            "UploadPart: 5 bytes were declared, but the data ended after 2"
        );

        let (_, long, given) = read(5, vec![Ok(chunk(6))]).await;
        assert!(!given);
        assert!(long.unwrap().to_string().ends_with("the data went on"));

        let (_, broken, given) = read(5, vec![Ok(chunk(2)), Err(io::Error::other("torn"))]).await;
        assert!(!given);
        let broken = broken.unwrap();
        assert_eq!(
            std::error::Error::source(&broken).unwrap().to_string(),
            "torn"
        );
    }

    const STALL: Duration = Duration::from_mins(1);
    const REPLY: Duration = Duration::from_secs(90);

    async fn noticed<S>(watch: &Watch<S>) -> (Waiting, Duration) {
        let stalled = watch.stalled(STALL, REPLY);
        timeout(REPLY * 2, stalled).await.expect("it is noticed")
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_takes_nothing_or_never_replies_is_noticed_in_time() {
        let begun = Instant::now();
        let source = stream::iter([Item::Ok(chunk(2)), Ok(chunk(3))]);
        let (mut body, watch) = watched(Operation::UploadPart, 5, source);

        assert_eq!(noticed(&watch).await, (Waiting::ToSend, STALL));
        assert_eq!(begun.elapsed(), STALL);
        body.next().await;
        assert_eq!(noticed(&watch).await, (Waiting::ToSend, STALL));
        assert_eq!(begun.elapsed(), STALL * 2);
        body.next().await;
        assert_eq!(noticed(&watch).await, (Waiting::ForReply, REPLY));
        assert_eq!(begun.elapsed(), STALL * 2 + REPLY);
    }

    #[tokio::test]
    async fn a_body_nobody_watches_any_more_stops_at_once() {
        let (mut body, watch) = watched(Operation::UploadPart, 5, stream::pending::<Item>());
        let stopped = tokio::spawn(async move { (body.next().await, body.next().await) });
        tokio::task::yield_now().await;
        drop(watch);
        let ended = timeout(Duration::from_secs(20), stopped).await;
        let (first, second) = ended.expect("it stops").unwrap();
        assert!(matches!(first, Some(Err(BodyStopped))) && second.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_source_is_no_stall() {
        let source = stream::once(async {
            tokio::time::sleep(STALL * 10).await;
            Item::Ok(chunk(5))
        });
        let (mut body, watch) = watched(Operation::UploadPart, 5, Box::pin(source));

        tokio::select! {
            _ = body.next() => {}
            stalled = watch.stalled(STALL, REPLY) => panic!("{stalled:?}"),
        }
        assert!(watch.is_given());
    }
}
