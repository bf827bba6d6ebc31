//! A stand-in for Telegram's MTProto data centres.
//!
//! Several data centres listen over one message store, each with a door for everything and one
//! for files alone, and speak to any MTProto client that is given a session made here. The map,
//! from the socket inwards:
//!
//! - `connection`: frames and packets read; `writer`: what is sent when; `link`: how fast.
//! - `session`: which messages are accepted, which are answered by the protocol itself.
//! - `methods`: the API.
//! - [`details`]: what a message shows beside its text and its file.
//! - [`store`]: chats, messages and files; `journal`: what outlives a restart.
//! - [`faults`]: what goes wrong on demand, done by `spoil` and `forge`; [`traffic`]: what was served.
//! - `keys`, `salts`, `secret`, `srp`: keys, and what is made from them.
//! - `layer`: objects as clients of different ages know them.
//! - `admin`: the HTTP interface by which tests publish and provision.
//!
//! It answers as the documented service does, errors included. It never agrees on keys: they are
//! shared beforehand.

pub(crate) mod admin;
mod connection;
pub mod details;
pub mod faults;
mod forge;
pub mod ids;
pub mod journal;
pub mod keys;
mod layer;
mod link;
mod methods;
mod rpc;
mod salts;
mod secret;
mod session;
mod spoil;
mod srp;
pub mod store;
pub mod traffic;
mod world;
mod writer;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use connection::Place;
use faults::{DoorConduct, Fault, KeySharing};
use ids::{ChatId, DcId, Door, Identity};
use journal::JournalError;
use keys::{SessionDocument, SignedIn};
use session::ConnectionId;
use store::{Draft, Message, Store, StoreError};
use traffic::Traffic;
use world::{Centre, World};

/// How long to wait after `accept` has failed, which it does when there are no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the data centres are to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data centre at which both accounts live.
    pub home: DcId,
    /// The data centres; home is one of them.
    pub centres: Vec<CentreOptions>,
    /// Where keys, messages and uploaded files are kept.
    pub folder: PathBuf,
    /// The token with which the bot signs in; the number before the colon is its id.
    pub bot_token: String,
    /// The user's id.
    pub user_id: i64,
    /// The user's phone number.
    pub phone: String,
    /// The code that is "sent" to the phone.
    pub login_code: String,
    /// The password of two-step verification, if there is to be one.
    pub password: Option<String>,
    /// For how long a file reference serves.
    pub file_reference_ttl: Duration,
}

impl Options {
    /// Three data centres with 2 as home, on ports the kernel picks, keeping things in `folder`.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self {
            home: DcId(2),
            centres: [1, 2, 4].map(|id| CentreOptions::new(DcId(id))).to_vec(),
            folder,
            bot_token: "7000000001:stand-in-bot-token-of-35-characters".to_owned(),
            user_id: 5_000_000_001,
            phone: "+9996600001".to_owned(),
            login_code: "12345".to_owned(),
            password: None,
            file_reference_ttl: Duration::from_hours(1),
        }
    }
}

/// A data centre's number and ports; 0 lets the kernel pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CentreOptions {
    /// Its number.
    pub id: DcId,
    /// The port for everything.
    pub port: u16,
    /// The port for files alone.
    pub media_port: u16,
}

impl CentreOptions {
    /// A data centre on ports the kernel picks.
    pub const fn new(id: DcId) -> Self {
        Self {
            id,
            port: 0,
            media_port: 0,
        }
    }
}

/// Why the data centres cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be had.
    #[error("data centre {dc} cannot listen on port {port}")]
    Listen {
        /// Which data centre.
        dc: DcId,
        /// Which port.
        port: u16,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Home is not among the data centres.
    #[error("home is data centre {0}, which is not among the data centres")]
    Home(DcId),
    /// Two data centres have one number.
    #[error("data centre {0} is named twice")]
    Twice(DcId),
    /// The folder cannot be made.
    #[error("the folder {} cannot be made", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The bot's token does not begin with its number and a colon.
    #[error("the bot token does not begin with a number and a colon")]
    BotToken,
    /// A remembered key is none.
    #[error("the journal holds a key that is none")]
    Key,
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A remembered message cannot be taken up.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a data centre listens, as clients are told.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CentreAddress {
    /// Its number.
    pub id: DcId,
    /// The door for everything.
    pub address: SocketAddrV4,
    /// The door for files alone.
    pub media_address: SocketAddrV4,
}

/// A handle on the running data centres; clones are the same.
#[derive(Clone)]
pub struct Telegram {
    world: Arc<World>,
}

impl Telegram {
    /// Where the data centres listen.
    pub fn addresses(&self) -> Vec<CentreAddress> {
        let centres = self.world.centres.iter();
        centres
            .map(|centre| CentreAddress {
                id: centre.id,
                address: centre.address,
                media_address: centre.media_address,
            })
            .collect()
    }

    /// The data centre at which both accounts live.
    pub fn home(&self) -> DcId {
        self.world.home
    }

    /// The numbers of an account.
    pub fn account_id(&self, identity: Identity) -> i64 {
        self.world.accounts.id(identity)
    }

    /// The chats, messages and files.
    pub(crate) fn store(&self) -> &Store {
        &self.world.store
    }

    /// The token with which the bot signs in.
    pub(crate) fn bot_token(&self) -> &str {
        &self.world.accounts.bot_token
    }

    /// The time of all of Telegram, since the Unix epoch.
    pub(crate) fn now(&self) -> Duration {
        self.world.now()
    }

    /// Makes a session: a fresh key for every data centre.
    ///
    /// # Errors
    /// If it cannot be remembered.
    pub fn create_session(
        &self,
        identity: Identity,
        signed_in: SignedIn,
    ) -> Result<SessionDocument, JournalError> {
        self.world.create_session(identity, signed_in)
    }

    /// Publishes a message. A file is hashed first, which takes its time.
    ///
    /// # Errors
    /// [`StoreError`] naming what is wrong with the draft.
    pub async fn publish(&self, draft: Draft) -> Result<Message, StoreError> {
        let world = Arc::clone(&self.world);
        let publishing = move || world.store.publish(draft, world.now());
        tokio::task::spawn_blocking(publishing)
            .await
            .expect("publishing does not panic")
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// [`StoreError::NoMessage`] if it is not there.
    pub fn delete(&self, chat_id: ChatId, message_id: i32) -> Result<(), StoreError> {
        self.world.store.delete(chat_id, message_id)
    }

    /// Makes every file reference issued so far worthless.
    pub fn expire_file_references(&self) {
        self.world.expire_references();
    }

    /// Makes every salt given so far worthless.
    pub fn rotate_salts(&self) {
        self.world.rotate_salts();
    }

    /// Makes something go wrong from now on, after the faults that are in force already.
    pub fn add_fault(&self, fault: Fault) {
        self.world.faults.add(fault);
    }

    /// The faults in force, with what is left of their counts.
    pub fn faults(&self) -> Vec<Fault> {
        self.world.faults.list()
    }

    /// Lets nothing go wrong any more.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// Limits what each connection is sent, in bytes a second.
    pub fn set_rate(&self, rate: Option<NonZeroU64>) {
        self.world.faults.set_rate(rate);
    }

    /// Delays every answer, by a connection's whole round trip, without limiting how many are on
    /// their way.
    pub fn set_latency(&self, latency: Duration) {
        self.world.faults.set_latency(latency);
    }

    /// What a data centre's door does with connections from now on.
    pub fn set_door(&self, dc: DcId, door: Door, conduct: DoorConduct) {
        self.world.faults.set_door(dc, door, conduct);
    }

    /// Whether a key may be used on several connections of a main door.
    pub fn set_key_sharing(&self, sharing: KeySharing) {
        self.world.faults.set_key_sharing(sharing);
    }

    /// What was served so far.
    pub fn traffic(&self) -> Traffic {
        self.world.traffic()
    }

    /// Counts from nothing again what is served.
    pub fn reset_traffic(&self) {
        self.world.traffic.reset();
        self.world.sessions.reset_counts();
    }

    /// Forgets all MTProto sessions, with what was not acknowledged in them. Keys stay.
    pub fn forget_sessions(&self) {
        self.world.sessions.forget();
    }

    /// Sets the data centres' clock ahead of the machine's (or behind it, if negative), which
    /// loses all MTProto sessions.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.world.set_clock_offset(seconds);
    }
}

/// The running data centres; whoever holds this ends them by [`DataCentres::stop`] or by
/// dropping it.
pub struct DataCentres {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl DataCentres {
    /// Listens on `listen` and lets clients know the data centres under `advertise`.
    ///
    /// # Errors
    /// [`StartError`] naming what is in the way.
    pub async fn start(
        listen: IpAddr,
        advertise: Ipv4Addr,
        options: &Options,
    ) -> Result<(Self, Telegram), StartError> {
        check(options)?;
        let mut doors = Vec::new();
        let mut centres = Vec::new();
        for centre in &options.centres {
            let main = bind(listen, centre.id, centre.port).await?;
            let media = bind(listen, centre.id, centre.media_port).await?;
            let bound = Centre {
                id: centre.id,
                address: SocketAddrV4::new(advertise, main.1),
                media_address: SocketAddrV4::new(advertise, media.1),
            };
            centres.push(bound);
            doors.push((main.0, bound, Door::Main));
            doors.push((media.0, bound, Door::Media));
        }
        let world = Arc::new(World::open(options, centres)?);
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen_all(doors, Arc::clone(&world), stop.clone()));
        Ok((Self { stop, task }, Telegram { world }))
    }

    /// Closes all connections and waits until they are closed.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // It has been told to end; that it was aborted or panicked changes nothing now.
        let _ = (&mut self.task).await;
    }
}

impl Drop for DataCentres {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn check(options: &Options) -> Result<(), StartError> {
    let mut numbers: Vec<DcId> = options.centres.iter().map(|centre| centre.id).collect();
    if !numbers.contains(&options.home) {
        return Err(StartError::Home(options.home));
    }
    numbers.sort();
    match numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(StartError::Twice(pair[0])),
        None => Ok(()),
    }
}

async fn bind(listen: IpAddr, dc: DcId, port: u16) -> Result<(TcpListener, u16), StartError> {
    let failed = |source| StartError::Listen { dc, port, source };
    let listener = TcpListener::bind((listen, port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// Serves all doors until told to stop; owns every connection.
async fn listen_all(
    doors: Vec<(TcpListener, Centre, Door)>,
    world: Arc<World>,
    stop: CancellationToken,
) {
    let connections = Arc::new(AtomicU64::new(0));
    let mut listening = JoinSet::new();
    for (listener, centre, door) in doors {
        let world = Arc::clone(&world);
        let connections = Arc::clone(&connections);
        let stop = stop.clone();
        listening.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => break,
                    stream = accept(&listener) => stream,
                    Some(_) = open.join_next() => continue,
                };
                let place = Place {
                    world: Arc::clone(&world),
                    centre,
                    door,
                    id: ConnectionId(connections.fetch_add(1, Ordering::Relaxed)),
                };
                open.spawn(serve(stream, place));
            }
            open.shutdown().await;
        });
    }
    while listening.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, place: Place) {
    let id = place.id;
    match place.world.faults.door(place.centre.id, place.door) {
        DoorConduct::Serve => {}
        DoorConduct::Close | DoorConduct::Hide => return,
        DoorConduct::Ignore => return ignore(&mut stream).await,
        DoorConduct::PassOn { to } => return pass_on(&mut stream, to).await,
    }
    if let Err(ended) = connection::serve(stream, place).await {
        let source = std::error::Error::source(&ended).map(ToString::to_string);
        tracing::debug!(connection = id.0, %ended, source, "connection ended");
    }
}

/// Keeps a connection open until the client closes it, and gives it nothing.
async fn ignore(stream: &mut TcpStream) {
    let gone = tokio::io::copy(stream, &mut tokio::io::sink()).await;
    tracing::debug!(?gone, "an ignored connection ended");
}

/// Lets a client talk to another server, until either ends the connection.
async fn pass_on(stream: &mut TcpStream, to: SocketAddrV4) {
    let passed = match TcpStream::connect(to).await {
        Ok(mut other) => tokio::io::copy_bidirectional(stream, &mut other).await,
        Err(error) => Err(error),
    };
    tracing::debug!(?passed, %to, "a connection that was passed on ended");
}
