//! Stand-ins for Telegram and OCI Object Storage.
//!
//! They speak the real services' wire protocols, so that the product, and clients that nobody
//! here wrote, can be run against them. Each stand-in is a module of its own; [`Sim`] starts them
//! together, in a test's own process or under the binary `telestream-sim`:
//!
//! - [`telegram`]: MTProto data centres over one message store.
//! - [`bot_api`]: the Bot API over the same store.
//! - [`oci`]: the native API of Object Storage.
//! - [`content`]: the bytes of files, made up or from disk.
//! - `admin`: the HTTP interface by which tests and people provision them.
//! - [`http`]: a server that is owned; `connection`: its connections, which can be cut.
//! - `tls`: what makes Object Storage's connections as private as the real one's.
//!
//! Nothing here knows the product, and the product never links to it.

mod admin;
pub mod bot_api;
mod connection;
pub mod content;
pub mod http;
pub mod oci;
pub mod telegram;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::serve::ListenerExt as _;
use bot_api::{BotApi, BotServer};
use http::HttpServer;
use oci::ObjectStorage;
use telegram::{DataCentres, Telegram};
use tls::TlsListener;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// How long requests under way may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How the stand-ins are started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on.
    pub listen: IpAddr,
    /// The address that clients are told; it must lead to `listen`.
    pub advertise: Ipv4Addr,
    /// The admin interface's port; 0 lets the kernel pick one.
    pub admin_port: u16,
    /// The data centres.
    pub telegram: telegram::Options,
    /// The Bot API's port; 0 lets the kernel pick one.
    pub bot_api_port: u16,
    /// The Bot API.
    pub bot_api: bot_api::Options,
    /// The port of Object Storage; 0 lets the kernel pick one.
    pub oci_port: u16,
    /// Speaks TLS with a key of its own, whose certificate is written here for clients to trust.
    pub oci_certificate: Option<PathBuf>,
    /// Where buckets are kept.
    pub oci_folder: PathBuf,
    /// Object Storage.
    pub oci: oci::Options,
}

impl Options {
    /// Everything on the loopback interface, on ports the kernel picks, keeping things in
    /// `data_dir`.
    pub fn in_dir(data_dir: &Path) -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise: Ipv4Addr::LOCALHOST,
            admin_port: 0,
            telegram: telegram::Options::in_folder(data_dir.join("telegram")),
            bot_api_port: 0,
            bot_api: bot_api::Options::new(data_dir.join("telegram/bot-api.jsonl")),
            oci_port: 0,
            oci_certificate: None,
            oci_folder: data_dir.join("oci"),
            oci: oci::Options::default(),
        }
    }
}

/// Why the stand-ins cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data centres cannot.
    #[error("the Telegram stand-in cannot start")]
    Telegram(#[from] telegram::StartError),
    /// The Bot API cannot.
    #[error("the Bot API stand-in cannot start")]
    BotApi(#[from] bot_api::StartError),
    /// Object Storage cannot.
    #[error("the Object Storage stand-in cannot start")]
    Oci(#[from] oci::OpenError),
    /// Object Storage has no certificate.
    #[error("the Object Storage stand-in's certificate cannot be made")]
    OciCertificate(#[source] io::Error),
    /// Object Storage cannot listen.
    #[error("the Object Storage stand-in cannot listen on port {port}")]
    OciPort {
        /// Which port.
        port: u16,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The admin interface cannot.
    #[error("the admin interface cannot listen on port {port}")]
    Admin {
        /// Which port.
        port: u16,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The running stand-ins. End them with [`Sim::stop`]; dropping them ends them without waiting.
pub struct Sim {
    admin: HttpServer,
    data_centres: DataCentres,
    telegram: Telegram,
    bot_server: BotServer,
    bot: BotApi,
    oci: ObjectStorage,
    oci_server: OciServer,
}

/// The listener of Object Storage.
struct OciServer {
    address: SocketAddr,
    scheme: &'static str,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

impl Sim {
    /// Starts all stand-ins.
    ///
    /// # Errors
    /// [`StartError`] naming which cannot start, and why.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            listen,
            advertise,
            admin_port: port,
            telegram,
            bot_api_port,
            bot_api,
            oci_port,
            oci_certificate,
            oci_folder,
            oci,
        } = options;
        let (data_centres, telegram) = DataCentres::start(listen, advertise, &telegram).await?;
        let (bot_server, bot) =
            BotServer::start(listen, advertise, bot_api_port, telegram.clone(), bot_api).await?;
        let oci = ObjectStorage::open(oci_folder, oci)?;
        let oci_tls = oci_certificate
            .map(|path| tls::acceptor(advertise.into(), &path))
            .transpose()
            .map_err(StartError::OciCertificate)?;
        let oci_server = OciServer::start(&oci, listen, oci_port, oci_tls)
            .await
            .map_err(|source| StartError::OciPort {
                port: oci_port,
                source,
            })?;
        oci.set_public_url(oci_server.url(advertise.into()));
        let router = admin::router(telegram.clone(), bot.clone(), &oci);
        let admin = HttpServer::start(listen, port, router)
            .await
            .map_err(|source| StartError::Admin { port, source })?;
        Ok(Self {
            admin,
            data_centres,
            telegram,
            bot_server,
            bot,
            oci,
            oci_server,
        })
    }

    /// Where the admin interface listens.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The data centres.
    pub const fn telegram(&self) -> &Telegram {
        &self.telegram
    }

    /// The Bot API, and the users' side of it.
    pub fn bot(&self) -> BotApi {
        self.bot.clone()
    }

    /// Object Storage.
    pub const fn oci(&self) -> &ObjectStorage {
        &self.oci
    }

    /// Where Object Storage listens.
    pub const fn oci_address(&self) -> SocketAddr {
        self.oci_server.address
    }

    /// The URL of the address at which Object Storage listens.
    pub fn oci_url(&self) -> String {
        self.oci_server.url(self.oci_server.address.ip())
    }

    /// Ends everything and waits until it has ended.
    pub async fn stop(self) {
        // First, so that nobody who waits for an event keeps the admin interface waiting.
        self.bot_server.stop().await;
        self.admin.stop().await;
        self.data_centres.stop().await;
        self.oci_server.stop().await;
    }
}

impl OciServer {
    async fn start(
        oci: &ObjectStorage,
        listen: IpAddr,
        port: u16,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((listen, port)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        // A dropped sender stops it too.
        let stopped = async { drop(stopped.await) };
        let oci = oci.clone();
        let (scheme, serving) = if let Some(acceptor) = tls {
            let listener = TlsListener::new(listener, acceptor)?;
            let serving = tokio::spawn(async move { oci.serve(listener, stopped).await });
            ("https", serving)
        } else {
            let listener = listener.tap_io(http::no_delay);
            let serving = tokio::spawn(async move { oci.serve(listener, stopped).await });
            ("http", serving)
        };
        Ok(Self {
            address,
            scheme,
            stop,
            serving,
        })
    }

    fn url(&self, host: IpAddr) -> String {
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    async fn stop(self) {
        drop(self.stop);
        // A connection that is kept open would keep the server waiting.
        let abort = self.serving.abort_handle();
        if tokio::time::timeout(STOP_PATIENCE, self.serving)
            .await
            .is_err()
        {
            abort.abort();
        }
    }
}
