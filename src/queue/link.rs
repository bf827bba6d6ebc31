//! The connection to Redis: made when it is first needed, made anew after a failure, with a
//! deadline for every call and a rest after a failed one.
//!
//! Every connection has an epoch of its own. It is what `sync` leaves in Redis and what order is
//! asked for with: behind a new connection may be another server, or the same with older data,
//! so a queue that was filled over an earlier connection counts as lost.
//!
//! The client's own reconnecting connection is not used: it tries again behind the caller's
//! back, keeps a connection on which replies time out, and never recovers from a refused login.

use std::{
    future::Future,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisResult, TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tokio::time::{Instant, timeout};

use super::{
    error::{Error, Result},
    settings::{Patience, Settings, Tls},
};

/// A connection, and what the queue is marked with that was filled over it.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    pub(super) epoch: Arc<str>,
}

/// The way to Redis.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    client: Client,
    patience: Patience,
    live: Mutex<Option<Live>>,
    breaker: Mutex<Breaker>,
    /// One connects, the others wait for it.
    connecting: tokio::sync::Mutex<()>,
}

/// Remembers failures, and until when nothing is tried after them.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    until: Option<Instant>,
}

impl Link {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self(Arc::new(Shared {
            client: client(settings)?,
            patience: settings.patience,
            live: Mutex::default(),
            breaker: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })))
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(super) fn patience(&self) -> Patience {
        self.0.patience
    }

    /// Does `work` over the connection. A call that is given up may have had its effect.
    pub(super) async fn call<T, F>(&self, work: impl FnOnce(Live) -> F) -> Result<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let Shared {
            patience, breaker, ..
        } = &*self.0;
        if let Some(left) = lock(breaker).rest_left(Instant::now()) {
            return Err(Error::Resting(left));
        }
        let mut used = None;
        let answered = timeout(patience.deadline, async {
            let live = self.live().await?;
            used = Some(Arc::clone(&live.epoch));
            Ok(work(live).await?)
        });
        let result = answered
            .await
            .unwrap_or(Err(Error::Timeout(patience.deadline)));
        match &result {
            Err(error) if used.is_none() || error.ends_the_connection() => {
                self.hang_up(used.as_ref());
                lock(breaker).failed(patience, Instant::now());
            }
            _ => lock(breaker).succeeded(),
        }
        result
    }

    async fn live(&self) -> Result<Live> {
        if let Some(live) = lock(&self.0.live).clone() {
            return Ok(live);
        }
        let _turn = self.0.connecting.lock().await;
        if let Some(live) = lock(&self.0.live).clone() {
            return Ok(live);
        }
        // The deadline of the call is the only one.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connection = self
            .0
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let epoch = format!("{:032x}", fastrand::u128(..)).into();
        let live = Live { connection, epoch };
        *lock(&self.0.live) = Some(live.clone());
        Ok(live)
    }

    /// Closes the connection with this epoch, unless there is a newer one already.
    fn hang_up(&self, epoch: Option<&Arc<str>>) {
        lock(&self.0.live).take_if(|live| Some(&live.epoch) == epoch);
    }
}

impl Breaker {
    fn rest_left(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn failed(&mut self, patience: &Patience, now: Instant) {
        // Calls that were on their way together fail together, and count once.
        if self.rest_left(now).is_none() {
            let rest = patience
                .rest
                .saturating_mul(2_u32.saturating_pow(self.failures));
            self.until = Some(now + rest.min(patience.longest_rest));
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn client(settings: &Settings) -> Result<Client> {
    let host = settings.host.clone();
    let address = match &settings.tls {
        Tls::Off => ConnectionAddr::Tcp(host, settings.port),
        Tls::On { .. } => ConnectionAddr::TcpTls {
            host,
            port: settings.port,
            insecure: false,
            tls_params: None,
        },
    };
    let mut login = RedisConnectionInfo::default();
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    let info = address
        .into_connection_info()
        .map_err(Error::Settings)?
        .set_redis_settings(login)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    match &settings.tls {
        Tls::On {
            ca_file: Some(path),
        } => {
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(root_certificates(path)?),
            };
            Client::build_with_tls(info, certificates)
        }
        Tls::On { ca_file: None } | Tls::Off => Client::open(info),
    }
    .map_err(Error::Settings)
}

fn root_certificates(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let pem = std::fs::read(path)?;
        let begin = b"-----BEGIN CERTIFICATE-----";
        if pem.windows(begin.len()).any(|window| window == begin) {
            Ok(pem)
        } else {
            Err(std::io::Error::other("there is no certificate in it"))
        }
    };
    read().map_err(|source| Error::CaFile {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_with_failures_and_end_with_a_success() {
        let patience = Patience::default();
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        for seconds in [1, 2, 4, 5, 5] {
            assert_eq!(breaker.rest_left(now), None);
            breaker.failed(&patience, now);
            breaker.failed(&patience, now);
            let rest = Duration::from_secs(seconds);
            assert_eq!(breaker.rest_left(now), Some(rest));
            now += rest;
        }
        breaker.succeeded();
        breaker.failed(&patience, now);
        assert_eq!(breaker.rest_left(now), Some(patience.rest));
    }

    #[test]
    fn a_file_without_certificates_is_refused_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut settings = Settings::new("localhost", "t".parse().unwrap());
        settings.tls = Tls::On {
            ca_file: Some(file.path().to_owned()),
        };
        let refused = Link::new(&settings).err().unwrap();
        assert_eq!(refused.reason(), "QueueMisconfigured", "{refused}");
    }
}
