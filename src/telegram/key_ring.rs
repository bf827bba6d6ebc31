//! What grammers keeps between connections: as its own memory does, but a key that is there stays.
//!
//! A server that does not know a key (-404) makes grammers agree on another one and store that. The
//! account is not known by it, and the one that is would be lost.

use grammers_session::{
    BoxFuture, Session,
    storages::{MemorySession, MemorySessionError},
    types::{DcOption, PeerId, PeerInfo, UpdateState, UpdatesState},
};

use super::session;

/// The keys, one per data centre, and what else grammers wants to remember.
pub struct KeyRing(MemorySession);

/// Why something is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// It would replace a key.
    #[error("data centre {0} has another key already")]
    Replaced(i32),
    /// grammers' own reason.
    #[error(transparent)]
    Memory(#[from] MemorySessionError),
}

impl KeyRing {
    /// The keys of a session.
    pub fn new(session: &session::Session) -> Self {
        Self(MemorySession::from(session.to_grammers()))
    }

    /// The key that a data centre knows: the session's own, or one that was agreed on since.
    pub fn key(&self, data_centre: i32) -> Option<[u8; 256]> {
        self.0.dc_option(data_centre).ok()??.auth_key
    }
}

impl Session for KeyRing {
    type Error = KeyRingError;

    fn home_dc_id(&self) -> Result<i32, KeyRingError> {
        Ok(self.0.home_dc_id()?)
    }

    fn set_home_dc_id(&self, dc_id: i32) -> BoxFuture<'_, Result<(), KeyRingError>> {
        Box::pin(async move { Ok(self.0.set_home_dc_id(dc_id).await?) })
    }

    fn dc_option(&self, dc_id: i32) -> Result<Option<DcOption>, KeyRingError> {
        Ok(self.0.dc_option(dc_id)?)
    }

    fn set_dc_option(&self, dc_option: &DcOption) -> BoxFuture<'_, Result<(), KeyRingError>> {
        let dc_option = dc_option.clone();
        Box::pin(async move {
            let key = self.key(dc_option.id);
            if key.is_some() && key != dc_option.auth_key {
                return Err(KeyRingError::Replaced(dc_option.id));
            }
            Ok(self.0.set_dc_option(&dc_option).await?)
        })
    }

    fn peer(&self, peer: PeerId) -> BoxFuture<'_, Result<Option<PeerInfo>, KeyRingError>> {
        Box::pin(async move { Ok(self.0.peer(peer).await?) })
    }

    fn cache_peer(&self, peer: PeerInfo) -> BoxFuture<'_, Result<(), KeyRingError>> {
        Box::pin(async move { Ok(self.0.cache_peer(peer).await?) })
    }

    fn updates_state(&self) -> BoxFuture<'_, Result<UpdatesState, KeyRingError>> {
        Box::pin(async move { Ok(self.0.updates_state().await?) })
    }

    fn set_update_state(&self, update: UpdateState) -> BoxFuture<'_, Result<(), KeyRingError>> {
        Box::pin(async move { Ok(self.0.set_update_state(update).await?) })
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

    use super::*;

    #[tokio::test]
    async fn a_key_that_is_there_stays() {
        let document = format!(
            r#"{{"identity":"bot","homeDc":2,"dcs":[{{"id":2,"ipv4":"127.0.0.1:443","authKey":"{}"}}]}}"#,
            BASE64.encode([7_u8; 256])
        );
        let ring = KeyRing::new(&document.parse().unwrap());
        let option = |key| DcOption {
            ipv4: "127.0.0.1:444".parse().unwrap(),
            auth_key: key,
            ..ring.dc_option(2).unwrap().unwrap()
        };
        for other in [Some([8; 256]), None] {
            let refused = ring.set_dc_option(&option(other)).await;
            assert!(matches!(refused, Err(KeyRingError::Replaced(2))));
        }
        let kept = ring.dc_option(2).unwrap().unwrap();
        assert_eq!((kept.auth_key, kept.ipv4.port()), (Some([7; 256]), 443));

        // Where it is reached may change.
        ring.set_dc_option(&option(Some([7; 256]))).await.unwrap();
        assert_eq!(ring.dc_option(2).unwrap().unwrap().ipv4.port(), 444);

        // Where there was none, one is welcome.
        assert_eq!(ring.key(4), None);
        let abroad = DcOption {
            id: 4,
            ..option(Some([9; 256]))
        };
        ring.set_dc_option(&abroad).await.unwrap();
        assert_eq!(ring.key(4), Some([9; 256]));
    }
}
