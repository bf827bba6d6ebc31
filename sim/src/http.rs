//! An HTTP server that is owned: it ends when its owner says so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, Paced, Rate};

/// How long requests in flight may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// A running server; dropping it ends it too, without waiting.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Serves `router` on `port`; 0 lets the kernel pick one.
    ///
    /// # Errors
    /// If the port cannot be had.
    pub async fn start(listen: IpAddr, port: u16, router: Router) -> io::Result<Self> {
        Self::serve(TcpListener::bind((listen, port)).await?, router)
    }

    /// Serves `router` on a port that is open already. Handlers may ask for the [`Connection`].
    ///
    /// # Errors
    /// If the port cannot be told.
    pub(crate) fn serve(listener: TcpListener, router: Router) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let listener = Paced::new(listener.tap_io(no_delay), Rate::default());
        let router = router.into_make_service_with_connect_info::<Connection>();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
            if let Err(error) = serving.await {
                tracing::error!(%error, "the HTTP server failed");
            }
        });
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; requests in flight get a few seconds.
    pub async fn stop(mut self) {
        self.end().await;
    }

    /// As [`HttpServer::stop`], for who cannot give it away.
    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Small writes are not to wait for acknowledgements.
pub(crate) fn no_delay(stream: &mut TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
}
