//! Authorization keys: which data centre knows which, and whose they are.
//!
//! Keys are shared beforehand, a session at a time, instead of being agreed on: clients have the
//! public keys of Telegram's own servers built in, so none could ever finish an exchange here.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mtproto::{AuthKey, KeyId};
use serde::{Deserialize, Serialize};

use super::ids::{DcId, Identity};
use super::journal::Fact;
use super::layer::Layer;
use super::session::ConnectionId;

/// A session as a client stores it: one key for each data centre.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDocument {
    /// Whose it is.
    pub identity: Identity,
    /// The data centre at which the account lives.
    pub home_dc: DcId,
    /// Every data centre there is.
    pub dcs: Vec<SessionDc>,
}

/// A session's part for one data centre.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDc {
    /// Which.
    pub id: DcId,
    /// Where it listens.
    pub ipv4: SocketAddrV4,
    /// The 256 bytes of the key, in base64.
    pub auth_key: String,
}

/// At which data centres a new session's keys are signed in already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignedIn {
    /// At all of them.
    #[default]
    All,
    /// At home alone; the others need an imported authorization.
    Home,
    /// Nowhere: a login is still to be made.
    None,
}

/// A key that one data centre knows.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) shared: AuthKey,
    pub(super) dc: DcId,
    owner: Mutex<Option<Identity>>,
    /// The layer named last: a further connection need not name one.
    layer: Mutex<Option<Layer>>,
    uses: Mutex<Uses>,
    /// Someone who has given the right login code and still owes the password.
    owes_password: Mutex<Option<Identity>>,
}

impl Key {
    /// Who is signed in with it.
    pub(super) fn owner(&self) -> Option<Identity> {
        *self.owner.lock().expect("only copied under the lock")
    }

    pub(super) fn set_owner(&self, owner: Identity) {
        *self.owner.lock().expect("only copied under the lock") = Some(owner);
        *self
            .owes_password
            .lock()
            .expect("only copied under the lock") = None;
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().expect("counting uses does not panic")
    }

    /// Begins to use it on a connection.
    pub(super) fn begin(self: &Arc<Self>, connection: ConnectionId) -> KeyUse {
        KeyUse {
            key: Arc::clone(self),
            connection,
        }
    }

    /// Whether it was used on two connections at once.
    pub(super) fn is_duplicated(&self) -> bool {
        self.uses().duplicated
    }

    /// The layer a client has named last under this key.
    pub(super) fn layer(&self) -> Option<Layer> {
        *self.layer.lock().expect("only copied under the lock")
    }

    pub(super) fn set_layer(&self, layer: Layer) {
        *self.layer.lock().expect("only copied under the lock") = Some(layer);
    }

    /// Who has come as far as the password.
    pub(super) fn owes_password(&self) -> Option<Identity> {
        *self
            .owes_password
            .lock()
            .expect("only copied under the lock")
    }

    pub(super) fn set_owes_password(&self, who: Identity) {
        *self
            .owes_password
            .lock()
            .expect("only copied under the lock") = Some(who);
    }
}

/// Which connections of a main door use a key.
#[derive(Debug, Default)]
struct Uses {
    open: HashSet<ConnectionId>,
    /// The one that used it last.
    last: Option<ConnectionId>,
    duplicated: bool,
}

/// A connection's use of a key, until it is dropped.
#[derive(Debug)]
pub(super) struct KeyUse {
    key: Arc<Key>,
    connection: ConnectionId,
}

impl KeyUse {
    /// Whether this is a use of that key.
    pub(super) fn is_of(&self, key: &Arc<Key>) -> bool {
        Arc::ptr_eq(&self.key, key)
    }

    /// Notes that a packet came. A key that two open connections use by turns is dead from then
    /// on; one that a client has merely moved to another connection is not.
    pub(super) fn packet(&self) {
        let mut uses = self.key.uses();
        let moved = uses.last.is_some_and(|last| last != self.connection);
        let is_back = !uses.open.insert(self.connection);
        let other_open = uses.last.is_some_and(|last| uses.open.contains(&last));
        uses.duplicated |= moved && is_back && other_open;
        uses.last = Some(self.connection);
    }
}

impl Drop for KeyUse {
    fn drop(&mut self) {
        self.key.uses().open.remove(&self.connection);
    }
}

/// All keys of all data centres.
#[derive(Debug, Default)]
pub(super) struct KeyRing {
    keys: RwLock<HashMap<(DcId, KeyId), Arc<Key>>>,
}

impl KeyRing {
    /// The key a packet at `dc` names.
    pub(super) fn get(&self, dc: DcId, id: KeyId) -> Option<Arc<Key>> {
        let keys = self.keys.read().expect("only looked up under the lock");
        keys.get(&(dc, id)).cloned()
    }

    /// Makes a key for `dc` and returns the fact to be remembered.
    pub(super) fn create(&self, dc: DcId, owner: Option<Identity>) -> Fact {
        let mut bytes = [0; 256];
        rand::fill(&mut bytes).expect("the system has random numbers");
        self.insert(dc, AuthKey::new(bytes), owner);
        Fact::Key {
            dc,
            auth_key: BASE64.encode(bytes),
            owner,
        }
    }

    /// Takes up a remembered key; `None` if it is not one.
    pub(super) fn restore(&self, dc: DcId, encoded: &str, owner: Option<Identity>) -> Option<()> {
        let bytes = BASE64.decode(encoded).ok()?.try_into().ok()?;
        self.insert(dc, AuthKey::new(bytes), owner);
        Some(())
    }

    fn insert(&self, dc: DcId, auth_key: AuthKey, owner: Option<Identity>) {
        let id = auth_key.id();
        let key = Arc::new(Key {
            shared: auth_key,
            dc,
            owner: Mutex::new(owner),
            layer: Mutex::new(None),
            uses: Mutex::default(),
            owes_password: Mutex::new(None),
        });
        let mut keys = self.keys.write().expect("only looked up under the lock");
        keys.insert((dc, id), key);
    }
}
