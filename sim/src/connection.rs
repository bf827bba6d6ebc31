//! The connections of an HTTP stand-in: paced if asked, and cut off where a reply must be lost.
//!
//! It is a listener for `axum::serve`, and knows nothing of what goes through.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes a second and direction that each connection carries; 0 is no limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate(Arc<AtomicU64>);

impl Rate {
    pub(crate) fn set(&self, bytes_per_second: Option<u64>) {
        self.0
            .store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
    }
}

/// A handle by which a request's connection can be closed without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Arc<AtomicBool>);

impl Connection {
    /// Nothing is written to the connection any more; the server then closes it.
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Accepts the service's connections.
#[derive(Debug)]
pub(crate) struct Paced<L> {
    listener: L,
    rate: Rate,
}

impl<L> Paced<L> {
    pub(crate) fn new(listener: L, rate: Rate) -> Self {
        Self { listener, rate }
    }
}

impl<L: Listener> Listener for Paced<L> {
    type Io = PacedStream<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = self.listener.accept().await;
        let stream = PacedStream {
            stream,
            rate: self.rate.clone(),
            reading: Pace::default(),
            writing: Pace::default(),
            cut: Connection(Arc::default()),
        };
        (stream, address)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

impl<L: Listener> Connected<IncomingStream<'_, Paced<L>>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Paced<L>>) -> Self {
        stream.io().cut.clone()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct PacedStream<S> {
    stream: S,
    rate: Rate,
    reading: Pace,
    writing: Pace,
    cut: Connection,
}

/// When the next bytes may pass in one direction.
#[derive(Debug, Default)]
struct Pace {
    waiting: Option<Pin<Box<Sleep>>>,
    free_at: Option<Instant>,
}

impl Pace {
    fn poll_free(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        Poll::Ready(())
    }

    fn passed(&mut self, bytes: usize, rate: &Rate) {
        let rate = rate.0.load(Ordering::Relaxed);
        if rate == 0 || bytes == 0 {
            return;
        }
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = Instant::now();
        let free_at = self.free_at.map_or(now, |free_at| free_at.max(now)) + cost;
        self.free_at = Some(free_at);
        self.waiting = Some(Box::pin(sleep_until(free_at)));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.reading.poll_free(context));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.reading
            .passed(buffer.filled().len() - before, &this.rate);
        Poll::Ready(Ok(()))
    }
}

impl<S> PacedStream<S> {
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.0.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        ready!(self.writing.poll_free(context));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_writable(context))?;
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        this.writing.passed(written, &this.rate);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_writable(context))?;
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, slices))?;
        this.writing.passed(written, &this.rate);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
