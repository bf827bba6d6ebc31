//! The session document: the keys under which Telegram knows an identity, one per data centre.
//!
//! It is what the Secret of a slot holds. Who has it *is* the identity, so it is never printed.

use std::{
    collections::HashMap,
    fmt,
    net::{SocketAddrV4, SocketAddrV6},
    str::FromStr,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use grammers_session::{SessionData, types::DcOption};
use serde::Deserialize;

/// A session: an identity, and a key for each data centre it is known to.
#[derive(Clone)]
pub struct Session {
    identity: Identity,
    home: i32,
    data_centres: HashMap<i32, DcOption>,
}

/// As whom the session acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// A bot, logged in with its token.
    Bot,
    /// A person.
    User,
}

/// The application's id at <https://my.telegram.org>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiId(i32);

/// The text is not an application's id.
#[derive(Debug, thiserror::Error)]
#[error("it must be the number that https://my.telegram.org shows as api_id")]
pub struct ApiIdError;

/// The text is not a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It is not JSON of the right shape. The source names a line, never the content.
    #[error("not a session document: {category} in line {line}")]
    Malformed {
        /// What kind of error.
        category: &'static str,
        /// Where.
        line: usize,
    },
    /// A key is not 256 bytes in base64.
    #[error("the authKey of data centre {0} is not the base64 of 256 bytes")]
    Key(i32),
    /// The home data centre has no entry.
    #[error("homeDc is {0}, but no entry under dcs has that id")]
    Home(i32),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    identity: Identity,
    home_dc: i32,
    dcs: Vec<DataCentre>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataCentre {
    id: i32,
    ipv4: SocketAddrV4,
    auth_key: String,
}

impl Session {
    /// As whom it acts.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The data centre that knows the identity.
    pub(super) fn home(&self) -> i32 {
        self.home
    }

    /// The SHA-256 of each of its keys, by which two sessions are known to share one.
    pub fn key_prints(&self) -> Vec<[u8; 32]> {
        let keys = self
            .data_centres
            .values()
            .filter_map(|dc| dc.auth_key.as_ref());
        keys.map(|key| {
            let print = digest(&SHA256, key);
            print.as_ref().try_into().unwrap_or_default()
        })
        .collect()
    }

    /// The form in which grammers takes it.
    pub(super) fn to_grammers(&self) -> SessionData {
        SessionData {
            home_dc: self.home,
            dc_options: self.data_centres.clone(),
            ..SessionData::default()
        }
    }
}

impl FromStr for Session {
    type Err = SessionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let document: Document =
            serde_json::from_str(text).map_err(|error| SessionError::Malformed {
                category: match error.classify() {
                    serde_json::error::Category::Data => "a field is missing or of the wrong type",
                    serde_json::error::Category::Eof => "the text ends too early",
                    _ => "no JSON",
                },
                line: error.line(),
            })?;
        let mut data_centres = HashMap::new();
        for dc in document.dcs {
            let key = BASE64
                .decode(&dc.auth_key)
                .ok()
                .and_then(|key| key.try_into().ok());
            let option = DcOption {
                id: dc.id,
                ipv4: dc.ipv4,
                ipv6: SocketAddrV6::new(dc.ipv4.ip().to_ipv6_mapped(), dc.ipv4.port(), 0, 0),
                auth_key: Some(key.ok_or(SessionError::Key(dc.id))?),
            };
            data_centres.insert(dc.id, option);
        }
        if !data_centres.contains_key(&document.home_dc) {
            return Err(SessionError::Home(document.home_dc));
        }
        Ok(Self {
            identity: document.identity,
            home: document.home_dc,
            data_centres,
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("identity", &self.identity)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

impl ApiId {
    pub(super) fn get(self) -> i32 {
        self.0
    }
}

impl FromStr for ApiId {
    type Err = ApiIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .ok()
            .filter(|id| *id > 0)
            .map(Self)
            .ok_or(ApiIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(key: &str, home: i32) -> String {
        format!(
            r#"{{"identity":"bot","homeDc":{home},"dcs":[{{"id":2,"ipv4":"127.0.0.1:443","authKey":"{key}"}}]}}"#
        )
    }

    #[test]
    fn a_session_is_read_and_never_printed() {
        let key = BASE64.encode([7_u8; 256]);
        let session: Session = document(&key, 2).parse().unwrap();
        assert_eq!((session.identity(), session.home()), (Identity::Bot, 2));
        assert!(!format!("{session:?}").contains("7, 7"));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_key() {
        let key = BASE64.encode([7_u8; 255]);
        let of = |text: &str| text.parse::<Session>().unwrap_err().to_string();
        assert_eq!(
            of(&document(&key, 2)),
            "the authKey of data centre 2 is not the base64 of 256 bytes"
        );
        assert_eq!(
            of(&document(&BASE64.encode([7_u8; 256]), 4)),
            "homeDc is 4, but no entry under dcs has that id"
        );
        assert_eq!(
            of("{}"),
            "not a session document: a field is missing or of the wrong type in line 1"
        );
        assert_eq!(
            of("BQANOTEuMTA4"),
            "not a session document: no JSON in line 1"
        );
    }
}
