//! gotd's server, which nobody here wrote, understands our file connections, and they understand
//! it: files come byte for byte, and its errors are told apart.
//!
//! What it can judge is the envelope: keys, padding, lengths and the wrapping of calls. It takes
//! any salt, sequence number, time and repetition; those are left to the stand-in for Telegram.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use telestream::{
    Class,
    telegram::{Account, CHUNK, Error, MediaFile, MessageRef, RemoteFile, Telegram},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

mod support;

const CHANNEL: i64 = -1_001_234_567_890;
const HOME: i32 = 2;
const ABROAD: i32 = 4;
const MIB: usize = 1024 * 1024;

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads under way at once: enough to keep all connections busy.
const READS: usize = 40;

/// gotd's server. It ends with its stdin, so also when this is dropped.
struct Server {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    serving: Serving,
    data: TempDir,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Serving {
    address: String,
    auth_key: String,
}

/// What was asked of it.
#[derive(Deserialize)]
struct Served {
    /// Sessions, one on each connection, that read files.
    sessions: usize,
}

/// A file that it has, with the number of its message.
struct Stored {
    id: i32,
    content: Vec<u8>,
    data_centre: i32,
    packed: bool,
    refusal: Option<Value>,
}

impl Stored {
    fn new(id: i32, content: Vec<u8>) -> Self {
        Self {
            id,
            content,
            data_centre: HOME,
            packed: false,
            refusal: None,
        }
    }

    /// Its first calls are refused.
    fn refused(id: i32, times: u32, code: i32, message: &str) -> Self {
        Self {
            refusal: Some(json!({"code": code, "message": message, "times": times})),
            ..Self::new(id, noise(MIB))
        }
    }

    fn message(&self) -> MessageRef {
        MessageRef {
            chat_id: CHANNEL,
            message_id: self.id,
        }
    }
}

impl Server {
    async fn start(files: &[Stored]) -> Self {
        let data = TempDir::new().unwrap();
        let describe = |file: &Stored| {
            let path = data.path().join(file.id.to_string());
            std::fs::write(&path, &file.content).unwrap();
            json!({
                "id": file.id,
                "path": path,
                "dc": file.data_centre,
                "packed": file.packed,
                "refusal": file.refusal,
            })
        };
        let files: Vec<_> = files.iter().map(describe).collect();
        let mut process = Command::new(gotd())
            .arg("serve")
            .arg(json!({ "files": files }).to_string())
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
            data,
        }
    }

    /// An account with the key that the server knows, and one for the other data centre that it
    /// does not.
    async fn connect(&self, connections: usize) -> Arc<Telegram> {
        let data_centre =
            |id, key: &str| json!({"id": id, "ipv4": self.serving.address, "authKey": key});
        let session = json!({
            "identity": "bot",
            "homeDc": HOME,
            "dcs": [
                data_centre(HOME, &self.serving.auth_key),
                data_centre(ABROAD, &BASE64.encode(noise(256))),
            ],
        });
        let account = Account {
            session: session.to_string().parse().unwrap(),
            api_id: "1".parse().unwrap(),
            file_connections: connections.to_string().parse().unwrap(),
        };
        Telegram::connect(account).await.unwrap()
    }

    /// Ends it.
    async fn end(mut self) -> Served {
        drop(self.process.stdin.take());
        let served = said(&mut self.lines).await;
        let status = timeout(PATIENCE, self.process.wait()).await.unwrap();
        assert!(status.unwrap().success());
        self.data.close().unwrap();
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
async fn read(telegram: &Arc<Telegram>, file: &Stored) -> Result<Vec<u8>, Error> {
    let media = telegram.locate(file.message()).await?;
    read_located(telegram, file, media).await
}

async fn read_located(
    telegram: &Arc<Telegram>,
    file: &Stored,
    media: MediaFile,
) -> Result<Vec<u8>, Error> {
    let size = media.size;
    let window = u64::from(CHUNK) * u64::try_from(READS).unwrap();
    let remote = RemoteFile::open(Arc::clone(telegram), file.message(), media, window);
    let chunks = stream::iter((0..size).step_by(CHUNK as usize));
    let content = chunks
        .map(|offset| remote.read(offset))
        .buffered(READS)
        .try_fold(Vec::new(), |mut content, chunk| async move {
            content.extend_from_slice(&chunk);
            Ok(content)
        });
    content.await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_byte_for_byte_over_one_connection_and_over_eight() {
    for connections in [1, 2, 8] {
        let file = Stored::new(1, noise(40 * MIB + 12_345));
        let server = Server::start(std::slice::from_ref(&file)).await;
        let telegram = server.connect(connections).await;
        let content = read(&telegram, &file).await.unwrap();
        assert!(
            content == file.content,
            "other bytes, {connections} connections"
        );
        assert_eq!(server.end().await.sessions, connections);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_size_are_understood_packed_or_not() {
    let chunk = CHUNK as usize;
    let mut files = Vec::new();
    for content in [
        noise(1),
        noise(253),
        noise(254),
        noise(4000),
        noise(chunk - 1),
        noise(chunk + 1),
        vec![7; 2 * chunk],
    ] {
        for packed in [false, true] {
            let id = i32::try_from(files.len()).unwrap() + 1;
            files.push(Stored {
                packed,
                ..Stored::new(id, content.clone())
            });
        }
    }
    let server = Server::start(&files).await;
    let telegram = server.connect(1).await;
    for file in &files {
        let content = read(&telegram, file).await.unwrap();
        assert!(content == file.content, "file {} has other bytes", file.id);
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_for_a_while_is_got_over() {
    let files = [
        Stored::refused(1, 2, 420, "FLOOD_WAIT_1"),
        Stored::refused(2, 2, 420, "FLOOD_PREMIUM_WAIT_1"),
        Stored::refused(3, 2, 500, "RPC_CALL_FAIL"),
        Stored::refused(4, 2, -503, "Timeout"),
    ];
    let server = Server::start(&files).await;
    let telegram = server.connect(2).await;
    for file in &files {
        let content = read(&telegram, file).await;
        assert!(content.unwrap() == file.content, "{:?}", file.refusal);
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_reference_that_expires_is_renewed() {
    let file = Stored::new(1, noise(3 * MIB));
    let server = Server::start(std::slice::from_ref(&file)).await;
    let telegram = server.connect(2).await;
    let media = telegram.locate(file.message()).await.unwrap();
    // Only the reference that was issued last is good.
    telegram.locate(file.message()).await.unwrap();
    let content = read_located(&telegram, &file, media).await.unwrap();
    assert!(content == file.content);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_for_good_is_told_apart() {
    let always = u32::MAX;
    let files = [
        Stored::refused(1, always, 400, "LOCATION_INVALID"),
        Stored::refused(2, always, 401, "AUTH_KEY_UNREGISTERED"),
        Stored::refused(3, always, 406, "AUTH_KEY_DUPLICATED"),
        Stored {
            data_centre: ABROAD,
            ..Stored::new(4, noise(MIB))
        },
    ];
    let server = Server::start(&files).await;
    let telegram = server.connect(2).await;
    let mut errors = Vec::new();
    for file in &files {
        errors.push(read(&telegram, file).await.unwrap_err());
    }
    let is_refused =
        |error: &Error, why: &str| matches!(error, Error::SessionRefused { name } if name == why);
    assert!(matches!(&errors[0], Error::Rpc(error) if error.is("LOCATION_INVALID")));
    assert!(is_refused(&errors[1], "AUTH_KEY_UNREGISTERED"));
    assert!(is_refused(&errors[2], "AUTH_KEY_DUPLICATED"));
    // By the transport's -404: the server does not know the other data centre's key.
    assert!(is_refused(&errors[3], "AUTH_KEY_UNKNOWN"));
    for error in errors {
        assert_eq!(error.class(), Class::Permanent, "{error:?}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_handed_up() {
    let file = Stored::refused(1, u32::MAX, 420, "FLOOD_WAIT_1400");
    let server = Server::start(std::slice::from_ref(&file)).await;
    let telegram = server.connect(2).await;
    let error = read(&telegram, &file).await.unwrap_err();
    let Error::FloodWait(wait) = error else {
        panic!("{error:?}")
    };
    assert!((1_300..=1_400).contains(&wait.as_secs()), "{wait:?}");
    server.end().await;
}
