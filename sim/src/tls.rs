//! TLS for the stand-ins: a certificate that the client is told to trust, and connections that
//! have shaken hands.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::http::no_delay;

/// A name that the certificate is also for, so that a name server can lead clients here.
pub const NAME: &str = "objectstorage.sim.internal";

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that have shaken hands and wait to be served.
const BACKLOG: usize = 16;

/// Makes a key, and writes its certificate, which is its own root, to `certificate` as PEM.
///
/// # Errors
/// If the certificate cannot be written.
pub fn acceptor(address: IpAddr, certificate: &Path) -> io::Result<TlsAcceptor> {
    let names = [
        NAME.to_owned(),
        "localhost".to_owned(),
        Ipv4Addr::LOCALHOST.to_string(),
        address.to_string(),
    ];
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(names).map_err(io::Error::other)?;
    std::fs::write(certificate, cert.pem())?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections and shakes hands with many at once.
#[derive(Debug)]
pub struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Accepts from `listener` until dropped.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn new(mut listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            loop {
                let (mut stream, peer) = tokio::select! {
                    accepted = Listener::accept(&mut listener) => accepted,
                    () = sender.closed() => return,
                };
                no_delay(&mut stream);
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                        Ok(Err(error)) => debug!(%peer, %error, "no handshake"),
                        Err(_) => debug!(%peer, "no handshake in time"),
                    }
                });
            }
        });
        Ok(Self { ready, address })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
