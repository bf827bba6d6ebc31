//! What all data centres share: the store, the keys, the secret, the clock, the settings.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Options;
use super::StartError;
use super::faults::Faults;
use super::ids::{DcId, Identity};
use super::journal::{Fact, Journal, JournalError};
use super::keys::{KeyRing, SessionDc, SessionDocument, SignedIn};
use super::salts::Salts;
use super::secret::Secret;
use super::session::Sessions;
use super::srp::Verifier;
use super::store::Store;
use super::traffic::{Ledger, Traffic};

/// Where one data centre listens, as clients are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Centre {
    pub(super) id: DcId,
    pub(super) address: SocketAddrV4,
    pub(super) media_address: SocketAddrV4,
}

/// The accounts and settings that do not change.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) bot_token: String,
    pub(super) bot_id: i64,
    pub(super) user_id: i64,
    pub(super) phone: String,
    pub(super) login_code: String,
    pub(super) password: Option<Verifier>,
}

impl Accounts {
    /// The accounts there are to be.
    fn new(options: &Options) -> Result<Self, StartError> {
        let (id, _) = options
            .bot_token
            .split_once(':')
            .ok_or(StartError::BotToken)?;
        Ok(Self {
            bot_id: id.parse().map_err(|_| StartError::BotToken)?,
            bot_token: options.bot_token.clone(),
            user_id: options.user_id,
            phone: options.phone.clone(),
            login_code: options.login_code.clone(),
            password: options.password.as_deref().map(Verifier::new),
        })
    }

    pub(super) const fn id(&self, who: Identity) -> i64 {
        match who {
            Identity::Bot => self.bot_id,
            Identity::User => self.user_id,
        }
    }
}

/// What all data centres share.
pub(super) struct World {
    pub(super) home: DcId,
    pub(super) centres: Vec<Centre>,
    pub(super) accounts: Accounts,
    pub(super) store: Store,
    pub(super) keys: KeyRing,
    pub(super) sessions: Sessions,
    pub(super) faults: Faults,
    pub(super) traffic: Arc<Ledger>,
    pub(super) secret: Secret,
    pub(super) reference_ttl: Duration,
    /// How far the data centres' clock is ahead of the machine's, in seconds.
    clock_offset: AtomicI64,
    salt_epoch: AtomicU64,
    reference_generation: AtomicU32,
}

impl World {
    /// Reads what was remembered in `options.folder` and makes up what is missing.
    pub(super) fn open(options: &Options, centres: Vec<Centre>) -> Result<Self, StartError> {
        let files = options.folder.join("files");
        std::fs::create_dir_all(&files).map_err(|source| StartError::Folder {
            path: files.clone(),
            source,
        })?;
        let (journal, facts) = Journal::open(&options.folder.join("journal.jsonl"))?;
        let data_centres = centres.iter().map(|centre| centre.id).collect();
        let store = Store::new(journal, files, data_centres);
        let keys = KeyRing::default();
        let mut secret = None;
        for fact in facts {
            match fact {
                Fact::Secret { secret: kept } => secret = BASE64.decode(kept).ok(),
                Fact::Key {
                    dc,
                    auth_key,
                    owner,
                } => keys.restore(dc, &auth_key, owner).ok_or(StartError::Key)?,
                Fact::SignedIn { dc, key_id, owner } => {
                    if let Some(key) = keys.get(dc, mtproto::KeyId::from_bytes(key_id)) {
                        key.set_owner(owner);
                    }
                }
                other => store.restore(other)?,
            }
        }
        let secret = match secret {
            Some(kept) => kept,
            None => new_secret(&store)?,
        };
        Ok(Self {
            home: options.home,
            centres,
            accounts: Accounts::new(options)?,
            store,
            keys,
            sessions: Sessions::default(),
            faults: Faults::default(),
            traffic: Arc::default(),
            secret: Secret::new(&secret),
            reference_ttl: options.file_reference_ttl,
            clock_offset: AtomicI64::new(0),
            salt_epoch: AtomicU64::new(0),
            reference_generation: AtomicU32::new(0),
        })
    }

    /// The data centres' time, since the Unix epoch.
    pub(super) fn now(&self) -> Duration {
        let machine = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the machine's clock is past 1970");
        let offset = self.clock_offset.load(Ordering::Relaxed);
        let shift = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 {
            machine.saturating_sub(shift)
        } else {
            machine + shift
        }
    }

    /// The data centres' time in whole Unix seconds, as TL has it.
    pub(super) fn unix_time(&self) -> i32 {
        i32::try_from(self.now().as_secs()).unwrap_or(i32::MAX)
    }

    /// Sets the clock. Message ids tell the time and only ever rise, so sessions begin anew.
    pub(super) fn set_clock_offset(&self, seconds: i64) {
        self.sessions.forget();
        self.clock_offset.store(seconds, Ordering::Relaxed);
    }

    /// The salts of a key as of now.
    pub(super) fn salts<'k>(&self, key: &'k mtproto::AuthKey) -> Salts<'k> {
        Salts::new(key, self.salt_epoch.load(Ordering::Relaxed))
    }

    pub(super) fn rotate_salts(&self) {
        self.salt_epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reference_generation(&self) -> u32 {
        self.reference_generation.load(Ordering::Relaxed)
    }

    pub(super) fn expire_references(&self) {
        self.reference_generation.fetch_add(1, Ordering::Relaxed);
    }

    /// What was served so far.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            sessions: self.sessions.report(),
            ..self.traffic.report()
        }
    }

    /// Makes a session: a key for every data centre, remembered.
    pub(super) fn create_session(
        &self,
        identity: Identity,
        signed_in: SignedIn,
    ) -> Result<SessionDocument, JournalError> {
        let mut dcs = Vec::new();
        for centre in &self.centres {
            let owner = match signed_in {
                SignedIn::All => Some(identity),
                SignedIn::Home => (centre.id == self.home).then_some(identity),
                SignedIn::None => None,
            };
            let fact = self.keys.create(centre.id, owner);
            self.store.remember(&fact)?;
            if let Fact::Key { auth_key, .. } = fact {
                dcs.push(SessionDc {
                    id: centre.id,
                    ipv4: centre.address,
                    auth_key,
                });
            }
        }
        Ok(SessionDocument {
            identity,
            home_dc: self.home,
            dcs,
        })
    }
}

fn new_secret(store: &Store) -> Result<Vec<u8>, JournalError> {
    let mut secret = vec![0; 32];
    rand::fill(&mut secret).expect("the system has random numbers");
    store.remember(&Fact::Secret {
        secret: BASE64.encode(&secret),
    })?;
    Ok(secret)
}
