//! Authorization keys: which data centre knows which, and whose they are.
//!
//! Keys are shared beforehand, a session at a time, instead of being agreed on: clients have the
//! public keys of Telegram's own servers built in, so none could ever finish an exchange here.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, RwLock};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mtproto::{AuthKey, KeyId};
use serde::{Deserialize, Serialize};

use super::ids::{DcId, Identity};
use super::journal::Fact;
use super::layer::Layer;

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
            owes_password: Mutex::new(None),
        });
        let mut keys = self.keys.write().expect("only looked up under the lock");
        keys.insert((dc, id), key);
    }
}
