//! The way to a client: a socket's sending half, as fast as the link is said to be.

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

/// A client that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// A slow link is fed about so often a second.
const FEEDS: u64 = 200;

/// The least and the most it is fed at once, in bytes.
const FED: (u64, u64) = (1 << 10, 64 << 10);

/// What a link that was fed too late may make up for: timers are milliseconds late, as is a
/// machine that has other things to do.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Why nothing more can be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the socket failed")]
    Socket(#[from] io::Error),
    #[error("the client took nothing for too long")]
    Stuck,
}

/// The sending half of a connection.
pub(super) struct Link {
    half: OwnedWriteHalf,
    /// When a slow link has carried what was sent.
    free: Instant,
}

impl Link {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self {
            half,
            free: Instant::now(),
        }
    }

    /// Sends all of it at `rate` bytes a second, or as fast as it is taken.
    pub(super) async fn send(
        &mut self,
        bytes: &[u8],
        rate: Option<NonZeroU64>,
    ) -> Result<(), LinkError> {
        let Some(rate) = rate else {
            return self.write(bytes).await;
        };
        // After a pause the link is free from now on; else it goes on where it was.
        if self.free.elapsed() > CATCH_UP {
            self.free = Instant::now();
        }
        let (least, most) = FED;
        let fed = (rate.get() / FEEDS).clamp(least, most);
        for piece in bytes.chunks(usize::try_from(fed).expect("not much")) {
            tokio::time::sleep_until(self.free.into()).await;
            self.write(piece).await?;
            let cost = Duration::from_nanos(piece.len() as u64 * 1_000_000_000 / rate);
            let earliest = Instant::now().checked_sub(CATCH_UP);
            self.free = earliest.map_or(self.free, |earliest| self.free.max(earliest)) + cost;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let written = timeout(WRITE_TIMEOUT, self.half.write_all(bytes)).await;
        Ok(written.map_err(|_| LinkError::Stuck)??)
    }
}
