//! The connection to Telegram: grammers' sender pool, kept running, and calls with a deadline.

use std::{sync::Arc, time::Duration};

use grammers_client::{
    SenderPool,
    sender::{ConnectionParams, NoRetries, SenderPoolHandle},
    tl::{self, RemoteCall},
};
use grammers_session::storages::MemorySession;
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};
use tracing::warn;

use super::{ApiId, Error, Session};

/// A call that takes longer is given up, and its connection with it.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A session in use. There is one per process: Telegram ends a session that is used twice.
pub struct Telegram {
    session: Session,
    api_id: ApiId,
    pool: Mutex<Pool>,
}

/// A running sender pool. grammers ends the whole pool when one of its connections panics.
struct Pool {
    handle: SenderPoolHandle,
    runner: JoinHandle<()>,
}

impl Telegram {
    /// Takes the session into use and checks that Telegram accepts it.
    ///
    /// # Errors
    /// [`Error::SessionRefused`] if it does not; otherwise what keeps us from asking.
    pub async fn connect(session: Session, api_id: ApiId) -> Result<Arc<Self>, Error> {
        let pool = Mutex::new(Pool::start(&session, api_id));
        let telegram = Arc::new(Self {
            session,
            api_id,
            pool,
        });
        telegram
            .call_home(&tl::functions::updates::GetState {})
            .await?;
        Ok(telegram)
    }

    /// Calls a method at the data centre that knows the identity.
    pub(super) async fn call_home<R: RemoteCall>(&self, request: &R) -> Result<R::Return, Error> {
        self.call(self.session.home(), request).await
    }

    /// Calls a method at a data centre, once, under a deadline.
    pub(super) async fn call<R: RemoteCall>(
        &self,
        data_centre: i32,
        request: &R,
    ) -> Result<R::Return, Error> {
        let handle = self.pool().await;
        let Ok(reply) = timeout(CALL_TIMEOUT, handle.invoke_in_dc(data_centre, request)).await
        else {
            // A connection that does not answer may be half open: the next call gets a new one.
            handle.disconnect_from_dc(data_centre);
            return Err(Error::Timeout(CALL_TIMEOUT));
        };
        Ok(reply?)
    }

    /// Makes a foreign data centre know the identity. Telegram limits how often this may be done.
    pub(super) async fn authorize(&self, data_centre: i32) -> Result<(), Error> {
        if data_centre == self.session.home() {
            return Err(Error::SessionRefused {
                name: "AUTH_KEY_UNREGISTERED".to_owned(),
            });
        }
        let export = tl::functions::auth::ExportAuthorization { dc_id: data_centre };
        let tl::enums::auth::ExportedAuthorization::Authorization(exported) =
            self.call_home(&export).await?;
        let import = tl::functions::auth::ImportAuthorization {
            id: exported.id,
            bytes: exported.bytes,
        };
        self.call(data_centre, &import).await.map(drop)
    }

    async fn pool(&self) -> SenderPoolHandle {
        let mut pool = self.pool.lock().await;
        if pool.runner.is_finished() {
            warn!("the Telegram connections broke down; starting them anew");
            *pool = Pool::start(&self.session, self.api_id);
        }
        pool.handle.clone()
    }
}

impl Pool {
    fn start(session: &Session, api_id: ApiId) -> Self {
        let memory = Arc::new(MemorySession::from(session.to_grammers()));
        let params = ConnectionParams {
            retry_policy: Box::new(NoRetries),
            ..ConnectionParams::default()
        };
        // Updates are dropped: a worker answers to nobody in Telegram.
        let SenderPool {
            runner,
            handle,
            updates: _,
        } = SenderPool::with_configuration(memory, api_id.get(), params);
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
