//! The identity at Telegram: calls through grammers, and the data centres that files come from.

use std::{collections::HashMap, mem::replace, sync::Arc, time::Duration};

use grammers_client::{
    InvocationError, SenderPool,
    sender::{ConnectionParams, NoRetries, SenderPoolHandle},
    tl::{self, Deserializable as _, RemoteCall},
};
use grammers_mtproto::transport;
use tokio::{
    sync::Mutex,
    task::{self, JoinHandle},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use super::{
    ApiId, Error, Session,
    files::{LONGEST_WAIT, Opener},
    key_ring::{KeyRing, KeyRingError},
    source::Source,
};

/// A call that takes longer is given up, and all connections of grammers with it.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause before a call is tried again on another connection.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// For how long a data centre that was made to know the identity is not told again.
const AUTHORIZATION_SPAN: Duration = Duration::from_mins(1);

/// Whom Telegram is used as, and how.
#[derive(Clone, Debug)]
pub struct Account {
    /// The identity and its keys.
    pub session: Session,
    /// The application's id.
    pub api_id: ApiId,
    /// The most connections that a file is read with.
    pub file_connections: FileConnections,
}

/// An account in use. There is one per process: Telegram ends a session that is used twice.
pub struct Telegram {
    pub(super) account: Account,
    keys: Arc<KeyRing>,
    pool: Mutex<Pool>,
    /// What Telegram says of where its data centres are, once it was asked.
    pub(super) addresses: Mutex<Option<Arc<[tl::types::DcOption]>>>,
    pub(super) sources: Mutex<HashMap<i32, Arc<Source>>>,
    /// What came of making foreign data centres know the identity.
    authorizations: Mutex<HashMap<i32, Authorization>>,
    pub(super) opener: Arc<Opener>,
}

/// What came of making a data centre know the identity.
#[derive(Clone, Copy, Debug)]
enum Authorization {
    /// It has known it since then.
    Made(Instant),
    /// Telegram does not want to be asked before then.
    Forbidden(Instant),
}

/// How many connections a file may be read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileConnections(usize);

/// The text is no number of connections.
#[derive(Debug, thiserror::Error)]
#[error("it must be a number from 1 to {}", FileConnections::MOST)]
pub struct FileConnectionsError;

/// A running sender pool. grammers ends the whole pool when one of its connections panics.
struct Pool {
    handle: SenderPoolHandle,
    runner: JoinHandle<()>,
}

impl FileConnections {
    /// More than Telegram's own apps use.
    const MOST: usize = 8;

    pub(super) fn get(self) -> usize {
        self.0
    }
}

impl Default for FileConnections {
    fn default() -> Self {
        Self(Self::MOST)
    }
}

impl std::str::FromStr for FileConnections {
    type Err = FileConnectionsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .ok()
            .filter(|connections| (1..=Self::MOST).contains(connections))
            .map(Self)
            .ok_or(FileConnectionsError)
    }
}

impl Telegram {
    /// Takes the account into use and checks that Telegram accepts it.
    ///
    /// # Errors
    /// [`Error::SessionRefused`] if it does not; otherwise what keeps us from asking.
    pub async fn connect(account: Account) -> Result<Arc<Self>, Error> {
        let keys = Arc::new(KeyRing::new(&account.session));
        let telegram = Arc::new(Self {
            pool: Mutex::new(Pool::start(&account, &keys)),
            keys,
            account,
            addresses: Mutex::default(),
            sources: Mutex::default(),
            authorizations: Mutex::default(),
            opener: Arc::new(Opener::start()),
        });
        telegram
            .call_home(&tl::functions::updates::GetState {})
            .await?;
        Ok(telegram)
    }

    /// Calls a method at the data centre that knows the identity.
    pub(super) async fn call_home<R: RemoteCall>(&self, request: &R) -> Result<R::Return, Error> {
        self.call(self.account.session.home(), request).await
    }

    /// Calls a method at a data centre. If Telegram asks to wait, and not for long, it is called
    /// again.
    async fn call<R: RemoteCall>(&self, data_centre: i32, request: &R) -> Result<R::Return, Error> {
        let mut patience = LONGEST_WAIT;
        let reply = loop {
            match self.call_raw(data_centre, &request.to_bytes()).await {
                Err(Error::FloodWait(wait)) if wait <= patience => {
                    info!(seconds = wait.as_secs(), "Telegram asks to wait");
                    patience -= wait;
                    sleep(wait).await;
                }
                reply => break reply?,
            }
        };
        Ok(R::Return::from_bytes(&reply).map_err(InvocationError::from)?)
    }

    /// Calls a method at a data centre. It takes and returns bytes: a function of the API, and an
    /// object.
    pub(super) async fn call_raw(&self, data_centre: i32, query: &[u8]) -> Result<Vec<u8>, Error> {
        let (mut was_unknown, mut was_dropped) = (false, false);
        loop {
            let reply = self.call_once(data_centre, query).await;
            // Both are tried again once, on another connection: a key that does not seem to be
            // known, and what a connection took with it at its end.
            let is_repeated = match &reply {
                Err(error) if error.is_unknown_key() => replace(&mut was_unknown, true),
                Err(Error::Connection(error)) if is_dropped(error) => {
                    replace(&mut was_dropped, true)
                }
                _ => true,
            };
            if is_repeated {
                return reply;
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    /// The same, under a deadline.
    async fn call_once(&self, data_centre: i32, query: &[u8]) -> Result<Vec<u8>, Error> {
        let has_key = self.keys.key(data_centre).is_some();
        let (handle, runner) = self.pool().await;
        let call = handle.raw_invoke_in_dc(data_centre, query.to_vec());
        let Ok(reply) = timeout(CALL_TIMEOUT, call).await else {
            self.start_anew(runner).await;
            return Err(Error::Timeout(CALL_TIMEOUT));
        };
        match reply {
            Err(error) if has_key && tells_of_unknown_key(&error) => {
                warn!(data_centre, "Telegram does not know the session's key");
                Err(Error::unknown_key())
            }
            reply => Ok(reply?),
        }
    }

    /// Makes a foreign data centre know the identity. Telegram limits how often this may be done:
    /// of many reads that want it at a time, the first one does it for all.
    ///
    /// # Errors
    /// [`Error::SessionRefused`] at home, where nobody else vouches for us; otherwise what keeps
    /// us from it.
    pub(super) async fn authorize(&self, data_centre: i32) -> Result<(), Error> {
        if data_centre == self.account.session.home() {
            return Err(Error::SessionRefused {
                name: "AUTH_KEY_UNREGISTERED".to_owned(),
            });
        }
        let mut authorizations = self.authorizations.lock().await;
        match authorizations.get(&data_centre) {
            Some(Authorization::Made(at)) if at.elapsed() < AUTHORIZATION_SPAN => return Ok(()),
            Some(Authorization::Forbidden(until)) if *until > Instant::now() => {
                return Err(Error::FloodWait(*until - Instant::now()));
            }
            _ => {}
        }
        let carried = self.carry_authorization(data_centre).await;
        let now = Instant::now();
        let outcome = match &carried {
            Ok(()) => Some(Authorization::Made(now)),
            Err(Error::FloodWait(wait)) => Some(Authorization::Forbidden(now + *wait)),
            Err(_) => None,
        };
        if let Some(outcome) = outcome {
            authorizations.insert(data_centre, outcome);
        }
        carried
    }

    async fn carry_authorization(&self, data_centre: i32) -> Result<(), Error> {
        let export = tl::functions::auth::ExportAuthorization { dc_id: data_centre };
        let tl::enums::auth::ExportedAuthorization::Authorization(exported) =
            self.call_home(&export).await?;
        let import = tl::functions::auth::ImportAuthorization {
            id: exported.id,
            bytes: exported.bytes,
        };
        self.call(data_centre, &import).await.map(drop)
    }

    /// The key of a data centre: the session's own, or else one that is agreed on now.
    pub(super) async fn key(&self, data_centre: i32) -> Result<[u8; 256], Error> {
        if let Some(key) = self.keys.key(data_centre) {
            return Ok(key);
        }
        self.authorize(data_centre).await?;
        self.keys
            .key(data_centre)
            .ok_or(Error::UnexpectedReply("auth.importAuthorization"))
    }

    async fn pool(&self) -> (SenderPoolHandle, task::Id) {
        let mut pool = self.pool.lock().await;
        if pool.runner.is_finished() {
            warn!("the Telegram connections broke down; starting them anew");
            *pool = Pool::start(&self.account, &self.keys);
        }
        (pool.handle.clone(), pool.runner.id())
    }

    /// Leaves the connections of a pool, one of which may be half open. All of them: grammers makes
    /// one at a time, without a deadline, and whatever is called meanwhile waits for that.
    async fn start_anew(&self, runner: task::Id) {
        let mut pool = self.pool.lock().await;
        if pool.runner.id() == runner {
            *pool = Pool::start(&self.account, &self.keys);
        }
    }
}

fn is_dropped(error: &InvocationError) -> bool {
    matches!(error, InvocationError::Dropped(_))
}

/// Whether a call to a data centre that the session has a key for failed because it does not know
/// that key. grammers has then tried to agree on another one: that may have failed, or succeeded.
fn tells_of_unknown_key(error: &InvocationError) -> bool {
    const UNKNOWN_KEY: u32 = 404;
    match error {
        InvocationError::Transport(transport::Error::BadStatus { status }) => {
            *status == UNKNOWN_KEY
        }
        InvocationError::Authentication(_) => true,
        InvocationError::Session(error) => {
            matches!(error.downcast_ref(), Some(KeyRingError::Replaced(_)))
        }
        _ => false,
    }
}

impl Pool {
    fn start(account: &Account, keys: &Arc<KeyRing>) -> Self {
        let params = ConnectionParams {
            retry_policy: Box::new(NoRetries),
            ..ConnectionParams::default()
        };
        // Updates are dropped: a worker answers to nobody in Telegram.
        let SenderPool {
            runner,
            handle,
            updates: _,
        } = SenderPool::with_configuration(Arc::clone(keys), account.api_id.get(), params);
        Self {
            handle: handle.thin,
            runner: tokio::spawn(runner.run()),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.runner.abort();
    }
}
