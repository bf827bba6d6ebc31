//! The worker's engine between both stand-ins, in this process.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use futures::StreamExt as _;
use telestream::{
    api::{self, HumanDuration, names},
    oci::{
        ApiKey, Credentials, Endpoint, Namespace, ObjectStorage, RetryPolicy, Settings, Timeouts,
    },
    telegram::{self, Account, FileConnections, MessageRef, Telegram},
    transfer::Window,
    worker::{
        Delivery, Engine, History, Journal, Meter, Order, TransferError, TransferRequest,
        transfer_once,
    },
};
use telestream_sim::{
    Options, Sim, oci,
    telegram::{
        faults,
        ids::{ChatId, DcId, Identity},
        keys::SignedIn,
        store::{Draft, DraftBody, Look, MessageBody, Origin},
    },
};
use tempfile::TempDir;
use tokio::{process::Command, time::sleep};
use tokio_util::sync::CancellationToken;

pub const CHANNEL: i64 = -1_001_234_567_890;

/// Where the bot lives, and where another data centre is.
pub const HOME: DcId = DcId(2);
pub const ABROAD: DcId = DcId(4);

pub const MIB: u64 = 1024 * 1024;
pub const CHUNK: u64 = 512 * 1024;
pub const PART: u64 = 16 * MIB;

/// What some of Oracle's documents say that parts must have.
const MINIMUM_PART_SIZE: u64 = 10 * MIB;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

/// Both stand-ins and an engine that is connected to them.
pub struct World {
    pub sim: Sim,
    pub engine: Engine,
    bucket: String,
    data: TempDir,
}

/// In what way a world differs from the usual one.
pub struct Nature {
    /// Which data centres know the bot.
    pub signed_in: SignedIn,
    /// How patient we are with Object Storage.
    pub timeouts: Timeouts,
    /// What Object Storage keeps.
    pub keeping: oci::Keeping,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            signed_in: SignedIn::All,
            timeouts: Timeouts::default(),
            keeping: oci::Keeping::Everything,
        }
    }
}

/// A file that stands in the channel.
#[derive(Clone, Debug)]
pub struct Sent {
    pub message_id: i32,
    pub file_id: i64,
    pub size: u64,
    pub sha256: [u8; 32],
}

/// What an attempt wrote down.
#[derive(Default)]
pub struct Notes(Mutex<Option<api::Upload>>);

impl Journal for Notes {
    async fn upload_begun(&self, upload: &api::Upload) {
        *self.0.lock().unwrap() = Some(upload.clone());
    }
}

impl Notes {
    /// An attempt begins. Should it be cut off, nobody knows what it has verified.
    fn begin(&self) {
        if let Some(upload) = &mut *self.0.lock().unwrap() {
            upload.verified = None;
        }
    }

    /// An attempt has ended by itself.
    fn end(&self, meter: &Meter) {
        if let Some(upload) = meter.read_upload(1) {
            *self.0.lock().unwrap() = Some(upload);
        }
    }

    /// What the next attempt is told.
    pub fn history(&self) -> History {
        History::Attempted(self.0.lock().unwrap().clone())
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with(Nature::default()).await
    }

    pub async fn with(nature: Nature) -> Self {
        let data = TempDir::new().unwrap();
        let mut options = Options::in_dir(data.path());
        options.oci.keeping = nature.keeping;
        options.oci.minimum_part_size = Some(MINIMUM_PART_SIZE);
        let sim = Sim::start(options).await.unwrap();
        let session = new_session(&sim, nature.signed_in);
        fs::write(data.path().join("session.json"), &session).unwrap();
        let config = sim.oci().client_config();
        let engine = Engine {
            telegram: Telegram::connect(account(&session)).await.unwrap(),
            storage: storage(&config, nature.timeouts, credentials(&config)),
            window: Window::default(),
        };
        Self {
            sim,
            engine,
            bucket: config.bucket,
            data,
        }
    }

    /// A bot that nobody else is, in use from now on.
    pub async fn connect_anew(&self) -> Result<Arc<Telegram>, telegram::Error> {
        Telegram::connect(account(&new_session(&self.sim, SignedIn::All))).await
    }

    /// Writes an OCI configuration file, or another in its place.
    pub fn write_profile(&self, config: &oci::ClientConfig) -> PathBuf {
        let file = |name: &str| self.data.path().join(name);
        fs::write(file("key.pem"), &config.private_key).unwrap();
        let profile = format!(
            "[DEFAULT]\nuser={}\nfingerprint={}\ntenancy={}\nregion={}\nkey_file={}\n",
            config.user,
            config.fingerprint,
            config.tenancy,
            config.region,
            file("key.pem").display()
        );
        fs::write(file("oci-config"), profile).unwrap();
        file("oci-config")
    }

    /// `telestream transfer` of that message, in a process of its own.
    pub fn process(&self, sent: &Sent) -> Command {
        let config = self.sim.oci().client_config();
        let mut command = Command::new(env!("CARGO_BIN_EXE_telestream"));
        command
            .env_clear()
            .env("API_ID", "1")
            .env("SESSION_FILE", self.data.path().join("session.json"))
            .env("OCI_CONFIG_FILE", self.write_profile(&config))
            .env("OCI_NAMESPACE", config.namespace)
            .env("OCI_BUCKETNAME", config.bucket)
            .env("OCI_ENDPOINT", config.endpoint)
            .env("OBJECT_PREFIX", "test")
            .args(["transfer", "--link-ttl", "1h"])
            .arg(format!("--chat={CHANNEL}"))
            .arg(format!("--message={}", sent.message_id))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn send(&self, size: u64, dc: DcId) -> Sent {
        let look = Look {
            name: Some("film.mkv".into()),
            ..Look::default()
        };
        self.send_as(look, size, dc).await
    }

    pub async fn send_as(&self, look: Look, size: u64, dc: DcId) -> Sent {
        let draft = Draft {
            chat_id: ChatId(CHANNEL),
            members: None,
            chat_title: None,
            text: String::new(),
            grouped_id: None,
            body: DraftBody::Media {
                dc,
                origin: Origin::Seed(size),
                size,
                look,
            },
        };
        let message = self.sim.telegram().publish(draft).await.unwrap();
        let MessageBody::Media(media) = message.body else {
            panic!("no file was published")
        };
        Sent {
            message_id: message.id,
            file_id: media.file_id,
            size: media.size,
            sha256: media.sha256,
        }
    }

    pub fn order(&self, sent: &Sent, history: History) -> Order {
        let owner = format!("job-{}", sent.message_id);
        Order {
            message: MessageRef {
                chat_id: CHANNEL,
                message_id: sent.message_id,
            },
            file_name: None,
            bucket: self.bucket.parse().unwrap(),
            placement: names::folder_of_message("test", CHANNEL, sent.message_id),
            storage_tier: None,
            link_ttl: HumanDuration::from_secs(3_600),
            link_name: format!("{owner}-link"),
            owner,
            history,
        }
    }

    /// One attempt.
    pub async fn attempt(
        &self,
        sent: &Sent,
        history: History,
        notes: &Notes,
        stop: &CancellationToken,
    ) -> Result<Delivery, TransferError> {
        let meter = Arc::new(Meter::start());
        let order = self.order(sent, history);
        notes.begin();
        let result = self.engine.run(&order, notes, &meter, stop).await;
        notes.end(&meter);
        result
    }

    /// A first attempt that nobody stops.
    pub async fn transfer(&self, sent: &Sent) -> Result<Delivery, TransferError> {
        let stop = CancellationToken::new();
        self.attempt(sent, History::None, &Notes::default(), &stop)
            .await
    }

    /// `telestream transfer` of that message, in this process.
    pub async fn transfer_once(&self, sent: &Sent) -> Result<Delivery, TransferError> {
        let order = self.order(sent, History::None);
        let request = TransferRequest {
            message: order.message,
            file_name: None,
            bucket: order.bucket,
            placement: order.placement,
            link_ttl: order.link_ttl,
        };
        let stop = CancellationToken::new();
        let report = transfer_once(&self.engine, request, &stop).await?;
        Ok(Delivery {
            object: report.object,
            link: report.link,
        })
    }

    /// Asserts that the file has arrived: the same bytes behind the link, one object, one link,
    /// no upload left open. Returns how many bytes were fetched again.
    pub async fn assert_arrived(&self, sent: &Sent, delivery: &Delivery) -> u64 {
        let digest = download(&delivery.link.url).await;
        assert_eq!(digest, sent.sha256, "other bytes");
        assert_eq!(delivery.object.size.cast_unsigned(), sent.size);
        assert_eq!(self.left_by(sent), (1, 1, 0), "objects, links, uploads");
        let objects = self.sim.oci().objects();
        let object = objects
            .iter()
            .find(|object| object.name == delivery.object.name)
            .unwrap();
        assert_eq!(object.crc32c, delivery.object.crc32c);
        self.sim.telegram().traffic().file(sent.file_id).bytes_again
    }

    /// Objects, links and open uploads of a file.
    pub fn left_by(&self, sent: &Sent) -> (usize, usize, usize) {
        let ours = folder(sent);
        let oci = self.sim.oci();
        let is_ours = |name: &str| name.starts_with(&ours);
        let objects = oci.objects();
        let pars = oci.pars();
        let uploads = oci.uploads();
        (
            objects
                .iter()
                .filter(|object| is_ours(&object.name))
                .count(),
            pars.iter()
                .filter(|par| par.object_name.as_deref().is_some_and(is_ours))
                .count(),
            uploads.iter().filter(|one| is_ours(&one.object)).count(),
        )
    }

    /// Bytes that are stored in parts of a file's upload.
    pub fn stored(&self, sent: &Sent) -> u64 {
        let ours = folder(sent);
        let uploads = self.sim.oci().uploads();
        let parts = uploads
            .iter()
            .filter(|upload| upload.object.starts_with(&ours))
            .flat_map(|upload| &upload.parts);
        parts.map(|part| part.size).sum()
    }

    /// Befalls calls of `upload.getFile`.
    pub fn spoil_telegram(&self, skip: u32, times: Option<u32>, effect: faults::Effect) {
        self.sim.telegram().add_fault(faults::Fault {
            methods: vec!["upload.getFile".into()],
            skip,
            times,
            ..faults::Fault::of(effect)
        });
    }

    /// Lets messages say something of their files that is not so.
    pub fn tell(&self, tale: faults::Tale) {
        self.sim.telegram().add_fault(faults::Fault {
            methods: vec!["channels.getMessages".into()],
            ..faults::Fault::of(faults::Effect::Tell(tale))
        });
    }

    /// Befalls requests of one operation.
    pub fn spoil_oci(
        &self,
        operation: oci::Operation,
        skip: u32,
        times: Option<u32>,
        effect: oci::Effect,
    ) {
        self.sim.oci().add_fault(oci::Fault {
            operations: vec![operation],
            skip,
            times,
            ..oci::Fault::of(effect)
        });
    }

    /// Slows down what each connection to Telegram is sent.
    pub fn set_telegram_rate(&self, bytes_per_second: Option<u64>) {
        let rate = bytes_per_second.and_then(std::num::NonZeroU64::new);
        self.sim.telegram().set_rate(rate);
    }
}

/// A session's document.
fn new_session(sim: &Sim, signed_in: SignedIn) -> String {
    let session = sim.telegram().create_session(Identity::Bot, signed_in);
    serde_json::to_string(&session.unwrap()).unwrap()
}

fn account(session: &str) -> Account {
    Account {
        session: session.parse().unwrap(),
        api_id: "1".parse().unwrap(),
        file_connections: FileConnections::default(),
    }
}

/// What the names of a file's objects begin with.
fn folder(sent: &Sent) -> String {
    names::folder_of_message("test", CHANNEL, sent.message_id)
        .prefix()
        .to_owned()
}

/// What `telestream transfer` printed.
pub fn read_report(stdout: &[u8]) -> Delivery {
    let report: serde_json::Value = serde_json::from_slice(stdout).unwrap();
    Delivery {
        object: serde_json::from_value(report["object"].clone()).unwrap(),
        link: serde_json::from_value(report["link"].clone()).unwrap(),
    }
}

/// SHA-256 of what is behind a link.
pub async fn download(url: &str) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    let reply = reqwest::get(url).await.unwrap();
    let mut body = reply.error_for_status().unwrap().bytes_stream();
    while let Some(chunk) = body.next().await {
        digest.update(&chunk.unwrap());
    }
    digest.finish().as_ref().try_into().unwrap()
}

/// What signs with the key of that configuration.
pub fn credentials(config: &oci::ClientConfig) -> Credentials {
    Credentials::from_api_key(&ApiKey {
        tenancy: config.tenancy.clone(),
        user: config.user.clone(),
        fingerprint: config.fingerprint.clone(),
        private_key: config.private_key.clone(),
        pass_phrase: None,
    })
    .unwrap()
}

/// A client of Object Storage.
pub fn storage(
    config: &oci::ClientConfig,
    timeouts: Timeouts,
    credentials: Credentials,
) -> ObjectStorage {
    let mut settings = Settings::new(
        Endpoint::at(&config.endpoint).unwrap(),
        Namespace::new(config.namespace.clone()).unwrap(),
        credentials,
    );
    settings.retry = RetryPolicy {
        base: Duration::from_millis(10),
        ..RetryPolicy::default()
    };
    settings.timeouts = timeouts;
    ObjectStorage::new(settings).unwrap()
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
