//! gotd's server, which nobody here wrote, understands our file connections, and they understand
//! it: files come byte for byte, and its errors are told apart. The stand-in for Telegram knows
//! the messages; the doors for files of its foreign data centres lead to gotd's server.
//!
//! What that can judge is the envelope: keys, padding, lengths and the wrapping of calls. It takes
//! any salt, sequence number, time and repetition; those are left to the stand-in.

use std::{
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use telestream::{
    Class,
    telegram::{Account, CHUNK, Error, MessageRef, RemoteFile, Telegram},
};
use telestream_sim::{
    Options, Sim,
    telegram::{
        faults::DoorConduct,
        ids::{ChatId, DcId, Door, Identity},
        keys::SignedIn,
        store::{Draft, DraftBody, Look, MessageBody, Origin},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

mod support;

const CHANNEL: i64 = -1_001_234_567_890;
const MIB: usize = 1024 * 1024;

/// The data centre that gotd's server is: the session has the key that it knows.
const ABROAD: DcId = DcId(4);

/// Another one that it is, but the session has a key that it does not know.
const ESTRANGED: DcId = DcId(1);

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// Reads under way at once: enough to keep all connections busy.
const READS: usize = 40;

/// The stand-in, and gotd's server behind some of its doors.
struct World {
    sim: Sim,
    gotd: Gotd,
    _data: TempDir,
}

/// gotd's server. It ends with its stdin, so also when this is dropped.
struct Gotd {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    serving: Serving,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Serving {
    address: SocketAddrV4,
    auth_key: String,
}

/// What was asked of it.
#[derive(Deserialize)]
struct Served {
    /// Sessions, one on each connection, that read files.
    sessions: usize,
}

/// A file in the channel, whose bytes gotd's server has.
struct Stored {
    content: Vec<u8>,
    data_centre: DcId,
    packed: bool,
    refusal: Option<Value>,
}

impl Stored {
    fn new(content: Vec<u8>) -> Self {
        Self {
            content,
            data_centre: ABROAD,
            packed: false,
            refusal: None,
        }
    }

    /// Its first calls are refused.
    fn refused(times: u32, code: i32, message: &str) -> Self {
        Self {
            refusal: Some(json!({"code": code, "message": message, "times": times})),
            ..Self::new(noise(MIB))
        }
    }
}

impl World {
    /// A world with these files, and the messages that hold them.
    async fn with(files: &[Stored]) -> (Self, Vec<MessageRef>) {
        let data = TempDir::new().unwrap();
        let sim = Sim::start(Options::in_dir(data.path())).await.unwrap();
        let (mut served, mut messages) = (Vec::new(), Vec::new());
        for file in files {
            let (message_id, file_id) = publish(&sim, file).await;
            let path = data.path().join(format!("{file_id}.served"));
            std::fs::write(&path, &file.content).unwrap();
            served.push(json!({
                "id": file_id,
                "path": path,
                "packed": file.packed,
                "refusal": file.refusal,
            }));
            messages.push(MessageRef {
                chat_id: CHANNEL,
                message_id,
            });
        }
        let gotd = Gotd::start(&json!({ "files": served })).await;
        for dc in [ABROAD, ESTRANGED] {
            let to = gotd.serving.address;
            let conduct = DoorConduct::PassOn { to };
            sim.telegram().set_door(dc, Door::Media, conduct);
        }
        let world = Self {
            sim,
            gotd,
            _data: data,
        };
        (world, messages)
    }

    async fn connect(&self, connections: usize) -> Arc<Telegram> {
        let session = self
            .sim
            .telegram()
            .create_session(Identity::Bot, SignedIn::All);
        let mut session = session.unwrap();
        let abroad = session.dcs.iter_mut().find(|dc| dc.id == ABROAD);
        abroad
            .unwrap()
            .auth_key
            .clone_from(&self.gotd.serving.auth_key);
        let account = Account {
            session: serde_json::to_string(&session).unwrap().parse().unwrap(),
            api_id: "1".parse().unwrap(),
            file_connections: connections.to_string().parse().unwrap(),
        };
        Telegram::connect(account).await.unwrap()
    }

    async fn end(self) -> Served {
        let served = self.gotd.end().await;
        self.sim.stop().await;
        served
    }
}

/// Makes a message that holds a file of that size. What the stand-in takes for its bytes is never
/// read.
async fn publish(sim: &Sim, file: &Stored) -> (i32, i64) {
    let draft = Draft {
        chat_id: ChatId(CHANNEL),
        members: None,
        chat_title: None,
        text: String::new(),
        grouped_id: None,
        body: DraftBody::Media {
            dc: file.data_centre,
            origin: Origin::Seed(1),
            size: u64::try_from(file.content.len()).unwrap(),
            look: Look::default(),
        },
    };
    let message = sim.telegram().publish(draft).await.unwrap();
    let MessageBody::Media(media) = message.body else {
        panic!("a file was published")
    };
    (message.id, media.file_id)
}

impl Gotd {
    async fn start(task: &Value) -> Self {
        let mut process = Command::new(gotd())
            .arg("serve")
            .arg(task.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            serving: said(&mut lines).await,
            process,
            lines,
        }
    }

    async fn end(mut self) -> Served {
        drop(self.process.stdin.take());
        let served = said(&mut self.lines).await;
        let status = timeout(PATIENCE, self.process.wait()).await.unwrap();
        assert!(status.unwrap().success());
        served
    }
}

/// The next thing that it says.
async fn said<T: DeserializeOwned>(lines: &mut Lines<BufReader<ChildStdout>>) -> T {
    let line = timeout(PATIENCE, lines.next_line()).await;
    let line = line.expect("it says something in time").unwrap();
    serde_json::from_str(&line.expect("it does not end: see above for why")).unwrap()
}

/// The program that `dev/clients` builds.
fn gotd() -> PathBuf {
    let folder = std::env::var("TELESTREAM_CLIENTS")
        .unwrap_or_else(|_| support::dev("clients", &[]).trim_end().to_owned());
    Path::new(&folder).join("gotd")
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// Finds a file and reads all of it.
async fn read(telegram: &Arc<Telegram>, message: MessageRef) -> Result<Vec<u8>, Error> {
    let media = telegram.locate(message).await?;
    let size = media.size;
    let window = u64::from(CHUNK) * u64::try_from(READS).unwrap();
    let remote = RemoteFile::open(Arc::clone(telegram), message, media, window);
    let chunks = stream::iter((0..size).step_by(CHUNK as usize));
    chunks
        .map(|offset| remote.read(offset))
        .buffered(READS)
        .try_fold(Vec::new(), |mut content, chunk| async move {
            content.extend_from_slice(&chunk);
            Ok(content)
        })
        .await
}

/// Reads files, each of which comes as it is.
async fn assert_readable(telegram: &Arc<Telegram>, files: &[Stored], messages: &[MessageRef]) {
    for (at, (file, message)) in files.iter().zip(messages).enumerate() {
        let content = read(telegram, *message).await;
        let content = content.unwrap_or_else(|error| panic!("file {at}: {error}"));
        assert!(content == file.content, "file {at} has other bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_byte_for_byte_over_one_connection_and_over_eight() {
    for connections in [1, 2, 8] {
        let files = [Stored::new(noise(40 * MIB + 12_345))];
        let (world, messages) = World::with(&files).await;
        let telegram = world.connect(connections).await;
        assert_readable(&telegram, &files, &messages).await;
        assert_eq!(world.end().await.sessions, connections);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_size_are_understood_packed_or_not() {
    let chunk = CHUNK as usize;
    let mut files = Vec::new();
    for packed in [false, true] {
        for content in [
            noise(1),
            noise(253),
            noise(254),
            noise(4000),
            noise(chunk - 1),
            noise(chunk + 1),
            vec![7; 2 * chunk],
        ] {
            files.push(Stored {
                packed,
                ..Stored::new(content)
            });
        }
    }
    let (world, messages) = World::with(&files).await;
    let telegram = world.connect(1).await;
    assert_readable(&telegram, &files, &messages).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_for_a_while_is_got_over() {
    let files = [
        Stored::refused(2, 420, "FLOOD_WAIT_1"),
        Stored::refused(2, 420, "FLOOD_PREMIUM_WAIT_1"),
        Stored::refused(2, 500, "RPC_CALL_FAIL"),
        Stored::refused(2, -503, "Timeout"),
        Stored::refused(2, 400, "FILE_REFERENCE_EXPIRED"),
    ];
    let (world, messages) = World::with(&files).await;
    let telegram = world.connect(2).await;
    assert_readable(&telegram, &files, &messages).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_for_good_is_told_apart() {
    let always = u32::MAX;
    let files = [
        Stored::refused(always, 400, "LOCATION_INVALID"),
        Stored::refused(always, 401, "SESSION_REVOKED"),
        Stored::refused(always, 406, "AUTH_KEY_DUPLICATED"),
        // By the transport's -404.
        Stored {
            data_centre: ESTRANGED,
            ..Stored::new(noise(MIB))
        },
    ];
    let (world, messages) = World::with(&files).await;
    let telegram = world.connect(2).await;
    let mut errors = Vec::new();
    for message in messages {
        errors.push(read(&telegram, message).await.unwrap_err());
    }
    let is_refused =
        |error: &Error, why: &str| matches!(error, Error::SessionRefused { name } if name == why);
    assert!(matches!(&errors[0], Error::Rpc(error) if error.is("LOCATION_INVALID")));
    assert!(is_refused(&errors[1], "SESSION_REVOKED"));
    assert!(is_refused(&errors[2], "AUTH_KEY_DUPLICATED"));
    assert!(is_refused(&errors[3], "AUTH_KEY_UNKNOWN"));
    for error in errors {
        assert_eq!(error.class(), Class::Permanent, "{error:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_handed_up() {
    let (world, messages) = World::with(&[Stored::refused(u32::MAX, 420, "FLOOD_WAIT_1400")]).await;
    let telegram = world.connect(2).await;
    let error = read(&telegram, messages[0]).await.unwrap_err();
    let Error::FloodWait(wait) = error else {
        panic!("{error:?}")
    };
    assert!((1_300..=1_400).contains(&wait.as_secs()), "{wait:?}");
    world.end().await;
}
