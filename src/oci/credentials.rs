//! Credentials: who signs, and what happens when the service refuses them.
//!
//! Today they come from a profile of an OCI configuration file (API key or session token) or are
//! given directly. Callers see [`Credentials`] alone, so that instance principals, resource
//! principals and OKE workload identity can join as further kinds of `Source`: each kind only has
//! to say how credentials are fetched anew, and when they are due.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config_file::Profile;
use super::endpoint::Region;
use super::error::{Error, Result};
use super::private_key;
use super::signer::Signer;

/// How often a session token's file is looked at: Oracle's tools replace it in place.
const TOKEN_LOOK: Duration = Duration::from_secs(5);

/// An API key that does not come from a file. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct ApiKey {
    /// The OCID of the tenancy.
    pub tenancy: String,
    /// The OCID of the user.
    pub user: String,
    /// The fingerprint of the public key, as the console shows it.
    pub fingerprint: String,
    /// The private key in PEM form.
    pub private_key: String,
    /// The pass phrase, if the key is encrypted.
    pub pass_phrase: Option<String>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// What signs the requests of a client, renewed as needed.
#[derive(Debug)]
pub struct Credentials {
    source: Source,
    region: Option<Region>,
    held: Mutex<Held>,
}

/// Where credentials come from.
#[derive(Debug)]
enum Source {
    /// They were given and stay as they are.
    Given,
    /// A profile of a configuration file.
    Profile { path: PathBuf, profile: String },
}

/// What was fetched last.
#[derive(Debug)]
struct Held {
    signer: Arc<Signer>,
    token: Option<Token>,
}

/// A session token that is kept in a file.
struct Token {
    file: PathBuf,
    content: String,
    looked_at: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What a renewal brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Other credentials than those that were refused.
    Changed,
    /// The same again.
    Unchanged,
}

impl Credentials {
    /// Reads a profile of an OCI configuration file. A profile with a `security_token_file` is a
    /// session, any other an API key.
    ///
    /// # Errors
    /// One that names the file, the profile and the setting that is missing or wrong.
    pub async fn from_profile(
        path: impl Into<PathBuf>,
        profile: impl Into<String>,
    ) -> Result<Self> {
        let (path, profile) = (path.into(), profile.into());
        let (held, region) = load(&path, &profile).await?;
        Ok(Self {
            source: Source::Profile { path, profile },
            region,
            held: Mutex::new(held),
        })
    }

    /// Takes an API key that does not come from a file.
    ///
    /// # Errors
    /// [`Error::PrivateKey`], and [`Error::InvalidName`] for an identity that is not one.
    pub fn from_api_key(key: &ApiKey) -> Result<Self> {
        let key_id = [&key.tenancy, &key.user, &key.fingerprint]
            .map(String::as_str)
            .join("/");
        if !header_safe(&key_id) || !is_fingerprint(&key.fingerprint) {
            return Err(Error::InvalidName {
                what: "API key",
                why: "tenancy, user and fingerprint must be as the console shows them",
            });
        }
        let pass_phrase = key.pass_phrase.as_deref();
        let private_key = private_key::parse(&key.private_key, pass_phrase).map_err(|source| {
            Error::PrivateKey {
                origin: "that was given".to_owned(),
                source,
            }
        })?;
        Ok(Self {
            source: Source::Given,
            region: None,
            held: Mutex::new(Held {
                signer: Arc::new(Signer::new(key_id, private_key)),
                token: None,
            }),
        })
    }

    /// The region the credentials belong to, if their source says.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// What signs now. A session token that changed on disk since is taken over; while its files
    /// cannot be used, the last one stays.
    pub async fn current(&self) -> Arc<Signer> {
        let mut held = self.held.lock().await;
        if held.token_changed().await
            && let Err(error) = self.refetch(&mut held).await
        {
            tracing::warn!(%error, "the new session token cannot be used; the last one is kept");
        }
        held.signer.clone()
    }

    /// Fetches the credentials anew because the service refused `refused` (a 401). If somebody
    /// else did so meanwhile, nothing is fetched.
    ///
    /// # Errors
    /// Those of the source; what was held is kept.
    pub async fn renew(&self, refused: &Signer) -> Result<Renewal> {
        let mut held = self.held.lock().await;
        if held.signer.is_same(refused) {
            self.refetch(&mut held).await?;
        }
        Ok(if held.signer.is_same(refused) {
            Renewal::Unchanged
        } else {
            Renewal::Changed
        })
    }

    async fn refetch(&self, held: &mut Held) -> Result<()> {
        match &self.source {
            Source::Given => {}
            Source::Profile { path, profile } => (*held, _) = load(path, profile).await?,
        }
        Ok(())
    }
}

impl Held {
    async fn token_changed(&mut self) -> bool {
        let Some(token) = &mut self.token else {
            return false;
        };
        if token.looked_at.elapsed() < TOKEN_LOOK {
            return false;
        }
        token.looked_at = Instant::now();
        match tokio::fs::read_to_string(&token.file).await {
            Ok(content) => content != token.content,
            Err(error) => {
                tracing::warn!(%error, "the session token cannot be read; the last one is kept");
                false
            }
        }
    }
}

/// Reads everything a profile names, off the runtime's threads: opening an encrypted key is made
/// slow on purpose.
async fn load(path: &Path, profile: &str) -> Result<(Held, Option<Region>)> {
    let (path, profile) = (path.to_owned(), profile.to_owned());
    tokio::task::spawn_blocking(move || load_blocking(&path, &profile))
        .await
        .unwrap_or_else(|gone| std::panic::resume_unwind(gone.into_panic()))
}

fn load_blocking(path: &Path, profile: &str) -> Result<(Held, Option<Region>)> {
    let profile_name = profile;
    let profile = Profile::read(path, profile)?;
    let region = match profile.get("region") {
        None => None,
        Some(region) => Some(
            Region::new(region)
                .map_err(|_| profile.invalid("region", "it is not the name of a region"))?,
        ),
    };

    // A profile with a user of its own does not take over the session of [DEFAULT].
    let own_token = profile.get_own("security_token_file").is_some();
    let is_session = profile.get("security_token_file").is_some()
        && (own_token || profile.get_own("user").is_none());
    let (key_id, token) = if is_session {
        let (key_id, token) = session(&profile)?;
        (key_id, Some(token))
    } else {
        (api_key_id(&profile)?, None)
    };

    let key_text = profile.file_content("key_file")?;
    let key = private_key::parse(&key_text, profile.get("pass_phrase")).map_err(|source| {
        Error::PrivateKey {
            origin: format!(
                "that `key_file` names in profile [{profile_name}] of {}",
                path.display()
            ),
            source,
        }
    })?;
    let signer = Arc::new(Signer::new(key_id, key));
    Ok((Held { signer, token }, region))
}

fn api_key_id(profile: &Profile) -> Result<String> {
    let fingerprint = profile.require("fingerprint")?;
    if !is_fingerprint(fingerprint) {
        return Err(profile.invalid(
            "fingerprint",
            "16 pairs of hex digits with colons are expected",
        ));
    }
    for setting in ["tenancy", "user"] {
        if !header_safe(profile.require(setting)?) {
            return Err(profile.invalid(setting, "it is not an OCID"));
        }
    }
    let (tenancy, user) = (profile.require("tenancy")?, profile.require("user")?);
    Ok(format!("{tenancy}/{user}/{fingerprint}"))
}

fn session(profile: &Profile) -> Result<(String, Token)> {
    let content = profile.file_content("security_token_file")?;
    if !header_safe(content.trim()) {
        return Err(profile.invalid("security_token_file", "the file does not hold a token"));
    }
    let key_id = format!("ST${}", content.trim());
    let token = Token {
        file: profile.file("security_token_file")?,
        content,
        looked_at: Instant::now(),
    };
    Ok((key_id, token))
}

fn header_safe(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
}

fn is_fingerprint(text: &str) -> bool {
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(':').count() == 16 && text.split(':').all(is_pair)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::vectors;
    use super::*;
    use crate::Class;

    /// A folder with `config`, `key.pem` and `token`.
    struct Home(tempfile::TempDir);

    impl Home {
        fn new(config: &str) -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            home.write(
                "config",
                &config.replace("HOME", home.0.path().to_str().unwrap()),
            );
            home.write("key.pem", &vectors().private_key_pkcs8_pem);
            home
        }

        fn api_key() -> Self {
            let vectors = vectors();
            Self::new(&format!(
                "[DEFAULT]\nuser={}\ntenancy={}\nfingerprint={}\nregion=eu-frankfurt-1\n\
                 key_file=HOME/key.pem\n[S]\nsecurity_token_file=HOME/token\n",
                vectors.user, vectors.tenancy, vectors.fingerprint
            ))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, content: &str) {
            fs::write(self.path(name), content).unwrap();
        }

        async fn load(&self, profile: &str) -> Result<Credentials> {
            Credentials::from_profile(self.path("config"), profile).await
        }
    }

    #[tokio::test]
    async fn an_api_key_profile_names_tenancy_user_and_fingerprint() {
        let home = Home::api_key();

        let credentials = home.load("DEFAULT").await.unwrap();

        assert_eq!(credentials.current().await.key_id(), vectors().key_id);
        assert_eq!(credentials.region().unwrap().as_str(), "eu-frankfurt-1");
    }

    #[tokio::test]
    async fn an_encrypted_key_needs_its_pass_phrase() {
        let home = Home::api_key();
        home.write("key.pem", &vectors().private_key_pkcs8_encrypted_pem);
        let error = home.load("DEFAULT").await.unwrap_err();
        assert!(error.to_string().contains("[DEFAULT]"), "{error}");
        assert!(matches!(
            error,
            Error::PrivateKey {
                source: private_key::PrivateKeyError::PassPhraseMissing,
                ..
            }
        ));

        let config = fs::read_to_string(home.path("config")).unwrap();
        let phrase = format!("[DEFAULT]\npass_phrase={}", vectors().passphrase);
        home.write("config", &config.replace("[DEFAULT]", &phrase));
        assert!(home.load("DEFAULT").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_token_is_taken_over_when_its_file_changes() {
        let home = Home::api_key();
        home.write("token", "first\n");
        let credentials = home.load("S").await.unwrap();
        assert_eq!(credentials.current().await.key_id(), "ST$first");

        home.write("token", "second\n");
        assert_eq!(credentials.current().await.key_id(), "ST$first");
        tokio::time::advance(TOKEN_LOOK).await;
        assert_eq!(credentials.current().await.key_id(), "ST$second");

        fs::remove_file(home.path("token")).unwrap();
        tokio::time::advance(TOKEN_LOOK).await;
        assert_eq!(credentials.current().await.key_id(), "ST$second");
    }

    #[tokio::test]
    async fn refused_credentials_are_read_anew_once_for_all_who_were_refused() {
        let home = Home::api_key();
        home.write("token", "first");
        let credentials = home.load("S").await.unwrap();
        let refused = credentials.current().await;
        assert_eq!(
            credentials.renew(&refused).await.unwrap(),
            Renewal::Unchanged
        );

        home.write("token", "second");
        assert_eq!(credentials.renew(&refused).await.unwrap(), Renewal::Changed);
        home.write("token", "third");
        assert_eq!(credentials.renew(&refused).await.unwrap(), Renewal::Changed);
        assert_eq!(credentials.current().await.key_id(), "ST$second");
    }

    #[tokio::test]
    async fn a_failed_renewal_keeps_what_was_held() {
        let home = Home::api_key();
        let credentials = home.load("DEFAULT").await.unwrap();
        let signer = credentials.current().await;
        fs::remove_file(home.path("key.pem")).unwrap();

        assert!(credentials.renew(&signer).await.is_err());
        assert!(credentials.current().await.is_same(&signer));
    }

    #[tokio::test]
    async fn a_given_key_signs_under_its_identity() {
        let vectors = vectors();
        let mut key = ApiKey {
            tenancy: vectors.tenancy.clone(),
            user: vectors.user.clone(),
            fingerprint: vectors.fingerprint.clone(),
            private_key: vectors.private_key_pkcs1_pem.clone(),
            pass_phrase: None,
        };
        let credentials = Credentials::from_api_key(&key).unwrap();
        assert_eq!(credentials.current().await.key_id(), vectors.key_id);

        key.fingerprint = "80:b1".into();
        assert!(Credentials::from_api_key(&key).is_err());
        key.fingerprint = vectors.fingerprint.clone();
        key.user = "a\"b".into();
        assert!(Credentials::from_api_key(&key).is_err());
    }

    #[tokio::test]
    async fn errors_name_what_is_wrong_and_show_no_secret() {
        let secrets = "pass_phrase=SECRET\nfingerprint=SECRET\nregion=eu-frankfurt-1\n";
        let table = [
            ("[P]\nregion=SE CRET\n".to_owned(), "`region`"),
            (format!("[P]\n{secrets}"), "`fingerprint`"),
            (
                "[P]\nuser=SEC RET\ntenancy=t\nfingerprint=".to_owned(),
                "`fingerprint`",
            ),
            (
                format!(
                    "[P]\nuser=SEC RET\ntenancy=t\nfingerprint={}",
                    vectors().fingerprint
                ),
                "`user`",
            ),
            (
                "[P]\nsecurity_token_file=HOME/none\n".to_owned(),
                "`security_token_file`",
            ),
            (
                "[P]\nsecurity_token_file=HOME/token\n".to_owned(),
                "`security_token_file`",
            ),
        ];
        for (config, setting) in table {
            let home = Home::new(&config);
            home.write("token", "SECRET TOKEN WITH BLANKS");

            let error = home.load("P").await.unwrap_err();

            let text = format!("{error} {error:?}");
            assert!(text.contains(setting) && text.contains("config"), "{text}");
            assert!(
                !text.contains("SECRET") && !text.contains("SE CRET"),
                "{text}"
            );
            assert_eq!(error.class(), Class::Permanent);
            assert_eq!(error.reason(), "CredentialsUnusable");
        }
    }

    #[tokio::test]
    async fn debug_shows_where_credentials_come_from_and_nothing_of_them() {
        let home = Home::api_key();
        home.write("token", "SECRETTOKEN");
        let credentials = home.load("S").await.unwrap();
        let shown = format!("{credentials:?}");
        assert!(
            shown.contains("config") && !shown.contains("SECRETTOKEN"),
            "{shown}"
        );
    }
}
