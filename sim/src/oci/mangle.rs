//! What faults do to a request's body on its way in: read slowly, not to the end, or wrongly.
//!
//! Whether anything is to be done is decided by `faults`; the operations never learn of it.

use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use tokio::time::{Instant, sleep_until};

/// A body of which no more than so many bytes are read; whoever waits for more waits for ever.
pub(super) fn stalled(body: Body, after: u64) -> Body {
    let (mut left, mut done) = (after, false);
    let begun = body.into_data_stream().take_while(move |frame| {
        let read = !done;
        done |= frame.as_ref().is_ok_and(|frame| frame.len() as u64 >= left);
        left = left.saturating_sub(frame.as_ref().map_or(0, |frame| frame.len() as u64));
        future::ready(read && after > 0)
    });
    Body::from_stream(begun.chain(stream::pending()))
}

/// A body that breaks off after so many bytes; `on_break` is told.
pub(super) fn broken(body: Body, after: u64, on_break: impl Fn() + Send + 'static) -> Body {
    let mut left = after;
    let begun = body.into_data_stream().map(move |frame| {
        let frame = frame.map_err(io::Error::other)?;
        if let Some(rest) = left.checked_sub(frame.len() as u64) {
            left = rest;
            Ok(frame)
        } else {
            on_break();
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    });
    Body::from_stream(begun)
}

/// A body that is read at so many bytes a second.
pub(super) fn slowed(body: Body, rate: NonZeroU64) -> Body {
    let mut free = Instant::now();
    let slowed = body.into_data_stream().then(move |frame| {
        let len = frame.as_ref().map_or(0, |frame| frame.len() as u64);
        free += Duration::from_nanos(len.saturating_mul(1_000_000_000) / rate);
        let until = free;
        async move {
            sleep_until(until).await;
            frame
        }
    });
    Body::from_stream(slowed)
}

/// A body whose first byte has a flipped bit.
pub(super) fn garbled(body: Body) -> Body {
    let mut first = true;
    let garbled = body.into_data_stream().map_ok(move |frame| {
        if !std::mem::take(&mut first) || frame.is_empty() {
            return frame;
        }
        let mut bytes = frame.to_vec();
        bytes[0] ^= 1;
        Bytes::from(bytes)
    });
    Body::from_stream(garbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        let frames = [&b"abc"[..], b"def", b"ghi"].map(|frame| Ok::<_, io::Error>(frame.into()));
        Body::from_stream(stream::iter(frames.map(|frame: Result<Bytes, _>| frame)))
    }

    async fn read(body: Body) -> Result<Bytes, axum::Error> {
        axum::body::to_bytes(body, 100).await
    }

    #[tokio::test]
    async fn a_garbled_body_differs_by_a_bit() {
        assert_eq!(read(garbled(body())).await.expect("whole"), "`bcdefghi");
    }

    #[tokio::test]
    async fn a_broken_body_breaks_once() {
        assert_eq!(
            read(broken(body(), 9, || {})).await.expect("whole"),
            "abcdefghi"
        );
        assert!(read(broken(body(), 8, || {})).await.is_err());
    }

    #[tokio::test]
    async fn a_stalled_body_begins_and_never_ends() {
        let mut stream = stalled(body(), 4).into_data_stream();
        for expected in ["abc", "def"] {
            assert_eq!(
                stream.next().await.expect("a frame").expect("good"),
                expected
            );
        }
        let silence = Duration::from_millis(20);
        assert!(tokio::time::timeout(silence, stream.next()).await.is_err());
        let mut nothing = stalled(body(), 0).into_data_stream();
        assert!(tokio::time::timeout(silence, nothing.next()).await.is_err());
    }
}
