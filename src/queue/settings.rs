//! Where Redis is, and how long it may take.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

/// What a [`Queue`](super::Queue) is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The ACL user; none is Redis's `default`.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Password>,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// What all keys begin with.
    pub prefix: Prefix,
    /// How many transfers run at the same time; only estimates need it.
    pub slots: u32,
    /// How long Redis is waited for.
    pub patience: Patience,
}

/// A password. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// Whether the connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It is not.
    Off,
    /// It is, and the server shows a certificate.
    On {
        /// A PEM file of the root certificates that are trusted; none is those of the system.
        ca_file: Option<PathBuf>,
    },
}

/// What all keys begin with, in braces: the hash tag that keeps them in one slot of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// A text is no [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 1 to 128 letters, digits, dots, dashes, underscores or colons")]
pub struct PrefixError;

/// How long Redis is waited for: it must never hold up what can go on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a call may take, connecting included.
    pub deadline: Duration,
    /// How long calls fail at once after a failed one. Each further failure doubles it.
    pub rest: Duration,
    /// The most that it grows to.
    pub longest_rest: Duration,
}

impl Settings {
    /// A server on its usual port, without login and encryption.
    pub fn new(host: impl Into<String>, prefix: Prefix) -> Self {
        Self {
            host: host.into(),
            port: 6379,
            username: None,
            password: None,
            tls: Tls::Off,
            prefix,
            slots: 1,
            patience: Patience::default(),
        }
    }
}

impl Password {
    /// Hides `password`.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

impl Prefix {
    /// The key, or channel, `name` of this queue.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.0)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
        if (1..=128).contains(&text.len()) && text.chars().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PrefixError)
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(500),
            rest: Duration::from_secs(1),
            longest_rest: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_shows_the_password() {
        let mut settings = Settings::new("redis", "telestream".parse().unwrap());
        settings.password = Some(Password::new("opensesame"));
        assert!(!format!("{settings:?}").contains("opensesame"));
    }

    #[test]
    fn a_prefix_cannot_break_the_hash_tag() {
        let prefix: Prefix = "team-1.telestream".parse().unwrap();
        assert_eq!(prefix.key("ages"), "{team-1.telestream}:ages");
        for text in ["", "a}b", "{a", "a b", "ä", "x".repeat(129).as_str()] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError), "{text}");
        }
    }
}
