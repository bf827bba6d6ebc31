//! Stand-ins for Telegram and OCI Object Storage.
//!
//! They speak the real services' wire protocols, so that the product, and clients that nobody
//! here wrote, can be run against them. Each stand-in is a module of its own; [`Sim`] starts them
//! together, in a test's own process or under the binary `telestream-sim`:
//!
//! - [`telegram`]: MTProto data centres over one message store.
//! - [`content`]: the bytes of files, made up or from disk.
//! - `admin`: the HTTP interface by which tests and people provision them.
//! - [`http`]: a server that is owned.
//!
//! Nothing here knows the product, and the product never links to it.

mod admin;
pub mod content;
pub mod http;
pub mod telegram;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use http::HttpServer;
use telegram::{DataCentres, Telegram};

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
        }
    }
}

/// Why the stand-ins cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data centres cannot.
    #[error("the Telegram stand-in cannot start")]
    Telegram(#[from] telegram::StartError),
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
        } = options;
        let (data_centres, telegram) = DataCentres::start(listen, advertise, &telegram).await?;
        let admin = HttpServer::start(listen, port, admin::router(telegram.clone()))
            .await
            .map_err(|source| StartError::Admin { port, source })?;
        Ok(Self {
            admin,
            data_centres,
            telegram,
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

    /// Ends everything and waits until it has ended.
    pub async fn stop(self) {
        self.admin.stop().await;
        self.data_centres.stop().await;
    }
}
