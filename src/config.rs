//! The configuration of each command: read from environment variables, checked, and turned into
//! what the modules take. The only place that knows the variables' names.
//!
//! Every variable stands in `.env.example`; a test compares the two.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use aws_lc_rs::hmac;
use jiff::SignedDuration;

use crate::{
    api::{HumanDuration, ReclaimPolicy, names},
    bot::{
        BotSettings,
        access::{ByteCount, Door, Guests, Limits, UserIds},
        bot_api::BotToken,
        handler::{HandlerSettings, LinkPolicy},
        intake::Intake,
    },
    controller::{CleanUp, PodFactory, Policy, PoolSettings, pool::PoolSize},
    oci::{self, BucketName, Credentials, Endpoint, LinkBase, Namespace, ObjectStorage, Region},
    ops::{
        env::{ConfigError, Environment},
        logging::{LogFilter, LogFormat},
    },
    queue::{self, Queue},
    telegram::{Account, FileConnections},
    transfer::Window,
    worker::WorkerSettings,
};

/// The shortest secret that hides a user's id.
const MIN_SECRET_BYTES: usize = 16;

/// What the names of pods, Secrets and keys in Redis begin with.
const DEFAULT_PREFIX: &str = "telestream";

/// Transfers at the same time.
const DEFAULT_SLOTS: u16 = 3;

/// Transfers of one user at the same time.
const DEFAULT_RUNNING_PER_USER: u32 = 2;

/// How the process logs.
pub struct Logging {
    /// Text or JSON.
    pub format: LogFormat,
    /// Which lines.
    pub filter: LogFilter,
}

/// The Object Storage side.
pub struct Storage {
    /// The client.
    pub client: ObjectStorage,
    /// The bucket of transfers that name none.
    pub bucket: BucketName,
    /// What the names of all objects begin with.
    pub prefix: String,
}

/// What the controller is told about itself.
pub struct Controller {
    /// The namespace it looks after.
    pub namespace: String,
    /// Its own pod's name.
    pub instance: Option<String>,
    /// The Deployment that worker pods shall belong to.
    pub deployment: Option<String>,
    /// What the names of worker pods and session Secrets begin with.
    pub name_prefix: String,
    /// The worker pods' template, a file.
    pub template: PathBuf,
    /// The label selector of worker pods.
    pub worker_selector: String,
    /// How many.
    pub pool: PoolSettings,
    /// The `ConfigMap` that says which slots are held.
    pub slot_ledger: String,
    /// The Lease whose holder acts.
    pub lease: String,
    /// What is decided about all jobs.
    pub policy: Policy,
    /// Where health and metrics are served.
    pub http_address: SocketAddr,
}

impl Logging {
    /// Reads `LOG_FORMAT` and `LOG_LEVEL`.
    ///
    /// # Errors
    /// A variable is malformed.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            format: env.or("LOG_FORMAT", LogFormat::Text)?,
            filter: env.or("LOG_LEVEL", LogFilter::default())?,
        })
    }
}

/// The Telegram side: `API_ID`, the file that `SESSION_FILE` names, which has the `SESSION_HASH` if
/// one is given, and `TELEGRAM_CONNECTIONS`.
///
/// # Errors
/// A variable is missing or malformed, or its file cannot be used.
pub async fn account(env: &Environment) -> Result<Account, ConfigError> {
    let api_id = env.required("API_ID")?;
    let file_connections = env.or("TELEGRAM_CONNECTIONS", FileConnections::default())?;
    let path: PathBuf = env.required("SESSION_FILE")?;
    let text = read_file("SESSION_FILE", &path).await?;
    let session = text.parse().map_err(|error| {
        ConfigError::new(
            "SESSION_FILE",
            format!("names {}, which is {error}", path.display()),
        )
    })?;
    let hash = env.text("SESSION_HASH");
    if hash.is_some_and(|hash| hash != names::session_hash(text.as_bytes())) {
        return Err(ConfigError::new(
            "SESSION_HASH",
            format!("is not that of {}: it was replaced", path.display()),
        ));
    }
    Ok(Account {
        session,
        api_id,
        file_connections,
    })
}

/// The memory of a transfer: `TRANSFER_WINDOW`.
///
/// # Errors
/// The variable is malformed.
pub fn window(env: &Environment) -> Result<Window, ConfigError> {
    env.or("TRANSFER_WINDOW", Window::default())
}

impl Storage {
    /// Reads the `OCI_` variables and `OBJECT_PREFIX`.
    ///
    /// # Errors
    /// A variable is missing or malformed, or the credentials cannot be used.
    pub async fn read(env: &Environment) -> Result<Self, ConfigError> {
        let namespace: Namespace = env.required("OCI_NAMESPACE")?;
        let bucket = env.required("OCI_BUCKETNAME")?;
        let file = env
            .optional("OCI_CONFIG_FILE")?
            .or_else(oci::default_config_path);
        let file: PathBuf = file.ok_or_else(|| {
            ConfigError::new("OCI_CONFIG_FILE", "is not set, and there is no home folder")
        })?;
        let profile = env
            .text("OCI_CLI_PROFILE")
            .unwrap_or_else(|| "DEFAULT".to_owned());
        let credentials = Credentials::from_profile(file, profile)
            .await
            .map_err(|error| {
                ConfigError::new("OCI_CONFIG_FILE", format!("gives no credentials: {error}"))
            })?;
        let endpoint = endpoint(env, &credentials)?;
        let mut settings = oci::Settings::new(endpoint, namespace, credentials);
        settings.link_base = env
            .text("OCI_BASE_PAR_URL")
            .map(|url| LinkBase::new(&url))
            .transpose()
            .map_err(|error| ConfigError::malformed("OCI_BASE_PAR_URL", error))?;
        let client = ObjectStorage::new(settings)
            .map_err(|error| ConfigError::malformed("SSL_CERT_FILE", error))?;
        let prefix = env
            .text("OBJECT_PREFIX")
            .unwrap_or_else(|| "telegram".to_owned());
        Ok(Self {
            client,
            bucket,
            prefix,
        })
    }
}

/// `OCI_ENDPOINT`, or the public one of `OCI_REGION`, or of the credentials' region.
fn endpoint(env: &Environment, credentials: &Credentials) -> Result<Endpoint, ConfigError> {
    if let Some(url) = env.text("OCI_ENDPOINT") {
        return Endpoint::at(&url).map_err(|error| ConfigError::malformed("OCI_ENDPOINT", error));
    }
    let malformed = |error| ConfigError::malformed("OCI_REGION", error);
    let region = match env.text("OCI_REGION") {
        Some(name) => Region::new(&name).map_err(malformed)?,
        None => credentials.region().cloned().ok_or_else(|| {
            ConfigError::new(
                "OCI_REGION",
                "is not set, and the OCI configuration file names no region",
            )
        })?,
    };
    Endpoint::of_region(&region).map_err(malformed)
}

/// Reads `OBJECT_NAME_SECRET`.
fn object_name_key(env: &Environment) -> Result<hmac::Key, ConfigError> {
    let secret: String = env.required("OBJECT_NAME_SECRET")?;
    if secret.len() < MIN_SECRET_BYTES {
        return Err(ConfigError::new(
            "OBJECT_NAME_SECRET",
            format!("is shorter than {MIN_SECRET_BYTES} characters"),
        ));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
}

/// The worker's settings.
///
/// # Errors
/// A variable is missing or malformed, or a file that one names cannot be used.
pub async fn worker(env: &Environment) -> Result<WorkerSettings, ConfigError> {
    let namespace = env.required("POD_NAMESPACE")?;
    let pod_uid = env.required("POD_UID")?;
    let account = account(env).await?;
    let object_name_key = object_name_key(env)?;
    let Storage {
        client: storage,
        bucket,
        prefix: object_prefix,
    } = Storage::read(env).await?;
    Ok(WorkerSettings {
        namespace,
        pod_uid,
        account,
        window: window(env)?,
        storage,
        bucket,
        object_prefix,
        object_name_key,
        queue: queue(env)?,
    })
}

/// What the controller removes leftovers with.
///
/// # Errors
/// A variable is missing or malformed, or the credentials cannot be used.
pub async fn clean_up(env: &Environment) -> Result<CleanUp, ConfigError> {
    let object_name_key = object_name_key(env)?;
    let Storage {
        client: storage,
        bucket,
        prefix: object_prefix,
    } = Storage::read(env).await?;
    Ok(CleanUp::new(
        storage,
        bucket,
        object_prefix,
        object_name_key,
    ))
}

impl Controller {
    /// Reads the controller's own variables.
    ///
    /// # Errors
    /// A variable is missing or malformed.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        let slots: u16 = env.or("WORKER_SLOTS", DEFAULT_SLOTS)?;
        let running_per_user: u32 = env.or("LIMIT_RUNNING_PER_USER", DEFAULT_RUNNING_PER_USER)?;
        Ok(Self {
            namespace: env.required("POD_NAMESPACE")?,
            instance: env.text("POD_NAME"),
            deployment: env.text("CONTROLLER_DEPLOYMENT"),
            name_prefix: env
                .text("NAME_PREFIX")
                .unwrap_or_else(|| DEFAULT_PREFIX.to_owned()),
            template: env.required("WORKER_POD_TEMPLATE")?,
            worker_selector: env.required("WORKER_SELECTOR")?,
            pool: PoolSettings {
                slots: i32::from(slots),
                size: PoolSize {
                    standby: env.or("WORKER_STANDBY", 0)?,
                    idle_timeout: duration(env, "WORKER_IDLE_TIMEOUT", 300)?,
                },
                running_per_user: (running_per_user > 0).then_some(running_per_user),
            },
            slot_ledger: env.required("SLOT_LEDGER")?,
            lease: env.required("LEASE_NAME")?,
            policy: Policy {
                ttl_after_finished: duration(env, "JOB_TTL", 7 * 86_400)?,
                clean_up_patience: duration(env, "CLEAN_UP_PATIENCE", 3_600)?,
            },
            http_address: http_address(env)?,
        })
    }

    /// Reads the worker pods' template.
    ///
    /// # Errors
    /// The file cannot be read or is no usable template.
    pub async fn pod_factory(
        &self,
        owner: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>,
    ) -> Result<PodFactory, ConfigError> {
        let yaml = read_file("WORKER_POD_TEMPLATE", &self.template).await?;
        PodFactory::new(&yaml, self.name_prefix.clone(), owner).map_err(|error| {
            ConfigError::new(
                "WORKER_POD_TEMPLATE",
                format!("names {}, which {error}", self.template.display()),
            )
        })
    }
}

/// A duration; `0s` is none.
fn duration(
    env: &Environment,
    name: &'static str,
    default_seconds: u32,
) -> Result<SignedDuration, ConfigError> {
    if env.text(name).as_deref() == Some("0s") {
        return Ok(SignedDuration::ZERO);
    }
    let duration = env.or(name, HumanDuration::from_secs(default_seconds))?;
    SignedDuration::try_from(duration.get()).map_err(|error| ConfigError::malformed(name, error))
}

/// The queue in Redis: the `REDIS_` variables and `WORKER_SLOTS`. Without `REDIS_HOST` there is none.
///
/// # Errors
/// A variable is malformed, or a file that one names cannot be used.
pub fn queue(env: &Environment) -> Result<Option<Queue>, ConfigError> {
    let Some(host) = env.text("REDIS_HOST") else {
        return Ok(None);
    };
    let prefix: queue::Prefix =
        env.or("REDIS_PREFIX", DEFAULT_PREFIX.parse().expect("a prefix"))?;
    let mut settings = queue::Settings::new(host, prefix);
    settings.port = env.or("REDIS_PORT", settings.port)?;
    settings.username = env.text("REDIS_USERNAME");
    settings.password = env.text("REDIS_PASSWORD").map(queue::Password::new);
    settings.slots = env.or("WORKER_SLOTS", DEFAULT_SLOTS)?.into();
    let ca_file: Option<PathBuf> = env.optional("REDIS_CA_FILE")?;
    settings.tls = match (env.or("REDIS_TLS", false)?, ca_file) {
        (true, ca_file) => queue::Tls::On { ca_file },
        (false, None) => queue::Tls::Off,
        (false, Some(_)) => {
            return Err(ConfigError::new(
                "REDIS_CA_FILE",
                "is set, and REDIS_TLS is not true",
            ));
        }
    };
    Queue::new(&settings)
        .map(Some)
        .map_err(|error| ConfigError::malformed("REDIS_CA_FILE", error))
}

/// The bot's settings.
///
/// # Errors
/// A variable is missing or malformed.
pub fn bot(env: &Environment) -> Result<BotSettings, ConfigError> {
    let token: BotToken = env.required("BOT_TOKEN")?;
    let bytes = |name, default: u64| env.or(name, ByteCount(default)).map(|count| count.0);
    let running: u32 = env.or("LIMIT_RUNNING_PER_USER", DEFAULT_RUNNING_PER_USER)?;
    let limits = Limits {
        running: (running > 0).then_some(running),
        queued: env.or("LIMIT_QUEUED_PER_USER", 20)?,
        queued_of_all: env.or("LIMIT_QUEUED", 5_000)?,
        bytes_per_day: bytes("LIMIT_BYTES_PER_DAY", 20 << 30)?,
        file_size: bytes("LIMIT_FILE_SIZE", 4_000 << 20)?,
        messages_per_minute: env.or("LIMIT_MESSAGES_PER_MINUTE", 30)?,
    };
    let guests = Guests {
        door: env.or("BOT_ACCESS", Door::default())?,
        users: env.or("ALLOWED_USERS", UserIds::default())?.0,
        admins: env.or("ADMIN_USERS", UserIds::default())?.0,
    };
    Ok(BotSettings {
        namespace: env.required("POD_NAMESPACE")?,
        api_url: bot_api_url(env)?,
        intake: bot_intake(env)?,
        members: env.required("USERS_CONFIGMAP")?,
        handler: HandlerSettings {
            bot_id: token.bot_id(),
            channel: channel(env)?,
            guests,
            limits,
            links: link_policy(env)?,
            reclaim: reclaim_policy(env)?,
        },
        token,
        queue: queue(env)?,
    })
}

/// Where `/livez`, `/readyz` and `/metrics` are served: `HTTP_ADDRESS`.
///
/// # Errors
/// The variable is malformed.
pub fn http_address(env: &Environment) -> Result<SocketAddr, ConfigError> {
    env.or("HTTP_ADDRESS", SocketAddr::from(([0, 0, 0, 0], 8080)))
}

/// `BOT_API_URL`: an address, without the token.
fn bot_api_url(env: &Environment) -> Result<Option<String>, ConfigError> {
    let url = env.text("BOT_API_URL");
    match url.as_deref().map(reqwest::Url::parse) {
        Some(Err(error)) => Err(ConfigError::malformed("BOT_API_URL", error)),
        Some(Ok(parsed)) if !matches!(parsed.scheme(), "http" | "https") => {
            Err(ConfigError::new("BOT_API_URL", "is neither http nor https"))
        }
        _ => Ok(url),
    }
}

/// `TG_GROUP_ID`: a channel.
fn channel(env: &Environment) -> Result<Option<i64>, ConfigError> {
    const LAST: i64 = -1_000_000_000_000;
    let channel: Option<i64> = env.optional("TG_GROUP_ID")?;
    if channel.is_some_and(|id| id >= LAST) {
        return Err(ConfigError::new(
            "TG_GROUP_ID",
            "is no channel or supergroup: their ids begin with -100",
        ));
    }
    Ok(channel)
}

fn link_policy(env: &Environment) -> Result<LinkPolicy, ConfigError> {
    let policy = LinkPolicy {
        ttl: env.or("LINK_TTL", HumanDuration::from_days(7))?,
        longest: env.or("LINK_TTL_MAX", HumanDuration::from_days(30))?,
    };
    if policy.ttl > policy.longest {
        return Err(ConfigError::new("LINK_TTL", "is longer than LINK_TTL_MAX"));
    }
    Ok(policy)
}

fn reclaim_policy(env: &Environment) -> Result<ReclaimPolicy, ConfigError> {
    match env.text("RECLAIM_POLICY").as_deref() {
        None | Some("Retain") => Ok(ReclaimPolicy::Retain),
        Some("Delete") => Ok(ReclaimPolicy::Delete),
        Some(_) => Err(ConfigError::new(
            "RECLAIM_POLICY",
            "is neither Retain nor Delete",
        )),
    }
}

fn bot_intake(env: &Environment) -> Result<Intake, ConfigError> {
    let Some(url) = env.text("WEBHOOK_URL") else {
        return Ok(Intake::Polling);
    };
    if let Err(error) = reqwest::Url::parse(&url) {
        return Err(ConfigError::malformed("WEBHOOK_URL", error));
    }
    Ok(Intake::Webhook {
        url,
        secret: env.required("WEBHOOK_SECRET")?,
        address: env.or("WEBHOOK_ADDRESS", SocketAddr::from(([0, 0, 0, 0], 8443)))?,
    })
}

async fn read_file(variable: &'static str, path: &PathBuf) -> Result<String, ConfigError> {
    tokio::fs::read_to_string(path).await.map_err(|error| {
        ConfigError::new(
            variable,
            format!("names {}, which cannot be read: {error}", path.display()),
        )
    })
}

/// The bucket that a flag or `OCI_BUCKETNAME` names.
///
/// # Errors
/// It is no name of a bucket.
pub fn bucket_from_flag(flag: Option<&str>, storage: &Storage) -> Result<BucketName, oci::Error> {
    flag.map_or_else(|| Ok(storage.bucket.clone()), BucketName::from_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_host_there_is_no_queue() {
        let set = |variables| queue(&Environment::table(variables));
        assert!(
            set([("REDIS_PORT", "x"), ("REDIS_HOST", "")])
                .unwrap()
                .is_none()
        );
        assert!(
            set([("REDIS_HOST", "redis"), ("REDIS_TLS", "true")])
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn what_is_wrong_with_the_queue_is_named() {
        for (variable, value) in [
            ("REDIS_PORT", "tcp://10.0.0.1:6379"),
            ("REDIS_PREFIX", "{x}"),
            ("REDIS_TLS", "yes"),
            ("REDIS_CA_FILE", "/ca.pem"),
        ] {
            let env = Environment::table([("REDIS_HOST", "redis"), (variable, value)]);
            let refused = queue(&env).err().expect(variable);
            assert_eq!(refused.variable, variable);
        }
    }

    #[test]
    fn what_is_wrong_with_the_bot_is_named() {
        let token = ("BOT_TOKEN", "7000000001:secret");
        let namespace = ("POD_NAMESPACE", "telestream");
        let users = ("USERS_CONFIGMAP", "users");
        let read = |table: &[(&str, &str)]| {
            let found = |name: &str| table.iter().rev().find(|(known, _)| *known == name);
            let env = Environment::table(BOT_VARIABLES.map(|name| {
                let value = found(name).map_or("", |(_, value)| *value);
                (name, value)
            }));
            bot(&env).map(drop)
        };
        let whole = [token, namespace, users];
        read(&whole).unwrap();
        for missing in whole {
            let rest: Vec<_> = whole.into_iter().filter(|pair| *pair != missing).collect();
            assert_eq!(read(&rest).unwrap_err().variable, missing.0);
        }
        for (variable, value) in [
            ("BOT_TOKEN", "secret"),
            ("TG_GROUP_ID", "-42"),
            ("TG_GROUP_ID", "@channel"),
            ("BOT_ACCESS", "open"),
            ("ALLOWED_USERS", "@ann"),
            ("ADMIN_USERS", "1;2"),
            ("LIMIT_QUEUED_PER_USER", "many"),
            ("LIMIT_QUEUED", "-1"),
            ("LIMIT_BYTES_PER_DAY", "20GB"),
            ("LIMIT_FILE_SIZE", "4 gigabytes"),
            ("LIMIT_MESSAGES_PER_MINUTE", "x"),
            ("LINK_TTL", "60d"),
            ("LINK_TTL_MAX", "for ever"),
            ("RECLAIM_POLICY", "delete"),
            ("BOT_API_URL", "ftp://example.com"),
            ("WEBHOOK_URL", "bot.example.com"),
        ] {
            let refused = read(&[token, namespace, users, (variable, value)]).unwrap_err();
            assert_eq!(refused.variable, variable, "{value}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        let url = ("WEBHOOK_URL", "https://bot.example.com/");
        for secret in ["", "short"] {
            let refused = read(&[token, namespace, users, url, ("WEBHOOK_SECRET", secret)]);
            assert_eq!(refused.unwrap_err().variable, "WEBHOOK_SECRET");
        }
    }

    const BOT_VARIABLES: [&str; 19] = [
        "BOT_TOKEN",
        "POD_NAMESPACE",
        "USERS_CONFIGMAP",
        "TG_GROUP_ID",
        "BOT_ACCESS",
        "ALLOWED_USERS",
        "ADMIN_USERS",
        "LIMIT_QUEUED_PER_USER",
        "LIMIT_QUEUED",
        "LIMIT_BYTES_PER_DAY",
        "LIMIT_FILE_SIZE",
        "LIMIT_MESSAGES_PER_MINUTE",
        "LINK_TTL",
        "LINK_TTL_MAX",
        "RECLAIM_POLICY",
        "BOT_API_URL",
        "WEBHOOK_URL",
        "WEBHOOK_SECRET",
        "WEBHOOK_ADDRESS",
    ];

    /// What a command reads.
    #[derive(Clone, Copy, Debug)]
    enum Command {
        Worker,
        Controller,
        Transfer,
    }

    use Command::{Controller as C, Transfer as T, Worker as W};

    /// Reads all that a command reads, as `main` does.
    async fn read(command: Command, env: &Environment) -> Result<(), ConfigError> {
        match command {
            W => worker(env).await.map(drop),
            C => {
                let controller = Controller::read(env)?;
                controller.pod_factory(None).await?;
                clean_up(env).await.map(drop)
            }
            T => {
                account(env).await?;
                window(env)?;
                Storage::read(env).await.map(drop)
            }
        }
    }

    const TEMPLATE: &str = "
spec:
  containers: [{name: worker}]
  volumes: [{name: session, secret: {secretName: replaced}}]
";

    /// The files that variables name.
    fn files() -> tempfile::TempDir {
        use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let key = BASE64.encode([7; 256]);
        write(
            "session.json",
            &format!(
                r#"{{"identity": "bot", "homeDc": 2, "dcs": [{{"id": 2, "ipv4": "127.0.0.1:443", "authKey": "{key}"}}]}}"#
            ),
        );
        write("template.yaml", TEMPLATE);
        let vectors = include_str!("../tests/data/oci-signing-vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        write(
            "key.pem",
            vectors["private_key_pkcs8_pem"].as_str().unwrap(),
        );
        let profile = |region: &str| {
            format!(
                "user=ocid1.user.u\ntenancy=ocid1.tenancy.t\nfingerprint={}\n{region}key_file={}\n",
                ["aa"; 16].join(":"),
                folder.path().join("key.pem").display(),
            )
        };
        write(
            "config",
            &format!(
                "[HERE]\n{}[ELSEWHERE]\n{}",
                profile("region=eu-frankfurt-1\n"),
                profile(""),
            ),
        );
        folder
    }

    #[tokio::test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    async fn what_is_missing_or_malformed_is_named() {
        let folder = files();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (session, template) = (path("session.json"), path("template.yaml"));
        let hash = names::session_hash(&std::fs::read(&session).unwrap());
        let (config, absent) = (path("config"), path("absent"));
        let whole = [
            ("API_ID", "1"),
            ("SESSION_FILE", session.as_str()),
            ("SESSION_HASH", hash.as_str()),
            ("TELEGRAM_CONNECTIONS", "8"),
            ("TRANSFER_WINDOW", "16"),
            ("OCI_NAMESPACE", "ns"),
            ("OCI_BUCKETNAME", "files"),
            ("OCI_CONFIG_FILE", config.as_str()),
            ("OCI_CLI_PROFILE", "HERE"),
            ("OCI_REGION", ""),
            ("OCI_ENDPOINT", ""),
            ("OCI_BASE_PAR_URL", ""),
            ("OBJECT_NAME_SECRET", "0123456789abcdef"),
            ("POD_NAMESPACE", "telestream"),
            ("POD_UID", "uid"),
            ("WORKER_POD_TEMPLATE", template.as_str()),
            ("WORKER_SELECTOR", "a=b"),
            ("WORKER_SLOTS", "3"),
            ("WORKER_STANDBY", "0"),
            ("WORKER_IDLE_TIMEOUT", "5m"),
            ("LIMIT_RUNNING_PER_USER", "2"),
            ("SLOT_LEDGER", "slots"),
            ("LEASE_NAME", "lease"),
            ("JOB_TTL", "7d"),
            ("CLEAN_UP_PATIENCE", "0s"),
            ("HTTP_ADDRESS", "127.0.0.1:8080"),
        ];
        let with = |variable: &str, value: &str| {
            assert!(
                whole.iter().any(|(name, _)| *name == variable),
                "{variable}"
            );
            let replaced = |(name, usual)| (name, if name == variable { value } else { usual });
            Environment::table(whole.map(replaced))
        };
        for command in [W, C, T] {
            read(command, &with("OCI_REGION", "")).await.unwrap();
        }
        // Empty is missing
        for (variable, value, commands) in [
            ("API_ID", "", &[W, T][..]),
            ("API_ID", "one", &[W, T]),
            ("SESSION_FILE", "", &[W, T]),
            ("SESSION_FILE", &absent, &[W, T]),
            ("SESSION_FILE", &template, &[W, T]),
            ("SESSION_HASH", "of another one", &[W, T]),
            ("TELEGRAM_CONNECTIONS", "0", &[W, T]),
            ("TELEGRAM_CONNECTIONS", "9", &[W, T]),
            ("TRANSFER_WINDOW", "3", &[W, T]),
            ("TRANSFER_WINDOW", "16MiB", &[W, T]),
            ("OCI_NAMESPACE", "", &[W, C, T]),
            ("OCI_NAMESPACE", "a/b", &[W, C, T]),
            ("OCI_BUCKETNAME", "", &[W, C, T]),
            ("OCI_BUCKETNAME", "a/b", &[W, C, T]),
            ("OCI_CONFIG_FILE", &absent, &[W, C, T]),
            ("OCI_CONFIG_FILE", &template, &[W, C, T]),
            ("OCI_CLI_PROFILE", "NOBODY", &[W, C, T]),
            ("OCI_CLI_PROFILE", "ELSEWHERE", &[W, C, T]),
            ("OCI_REGION", "some where", &[W, C, T]),
            ("OCI_ENDPOINT", "objectstorage", &[W, C, T]),
            ("OCI_BASE_PAR_URL", "objectstorage", &[W, C, T]),
            ("OBJECT_NAME_SECRET", "", &[W, C]),
            ("OBJECT_NAME_SECRET", "hunter2", &[W, C]),
            ("POD_NAMESPACE", "", &[W, C]),
            ("POD_UID", "", &[W]),
            ("WORKER_POD_TEMPLATE", "", &[C]),
            ("WORKER_POD_TEMPLATE", &absent, &[C]),
            ("WORKER_POD_TEMPLATE", &session, &[C]),
            ("WORKER_SELECTOR", "", &[C]),
            ("WORKER_SLOTS", "many", &[C]),
            ("WORKER_STANDBY", "-1", &[C]),
            ("WORKER_IDLE_TIMEOUT", "300", &[C]),
            ("LIMIT_RUNNING_PER_USER", "-1", &[C]),
            ("SLOT_LEDGER", "", &[C]),
            ("LEASE_NAME", "", &[C]),
            ("JOB_TTL", "forever", &[C]),
            ("CLEAN_UP_PATIENCE", "soon", &[C]),
            ("HTTP_ADDRESS", "8080", &[C]),
        ] {
            for command in commands {
                let refused = read(*command, &with(variable, value)).await;
                let Err(error) = refused else {
                    panic!("{command:?} takes {variable}={value}")
                };
                // Which profile is used, and which region, is said of the file that has them.
                let named = match variable {
                    "OCI_CLI_PROFILE" if value == "NOBODY" => "OCI_CONFIG_FILE",
                    "OCI_CLI_PROFILE" => "OCI_REGION",
                    variable => variable,
                };
                assert_eq!(
                    error.variable, named,
                    "{command:?}, {variable}={value}: {error}"
                );
                let secret = variable == "OBJECT_NAME_SECRET" && !value.is_empty();
                assert!(!(secret && error.to_string().contains(value)), "{error}");
            }
        }
    }
}
