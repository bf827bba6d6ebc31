//! MTProto clients that nobody here wrote, against the stand-in for Telegram: they are why it is
//! believed. Each downloads a file byte for byte.
//!
//! They are found in the folder that `TELESTREAM_CLIENTS` names, or that `dev/clients` makes.

mod installed;

use std::path::Path;
use std::time::Duration;

use installed::folder;
use serde::Deserialize;
use telestream_sim::content::hex;
use telestream_sim::telegram::ids::{ChatId, Door, Identity};
use telestream_sim::telegram::keys::SignedIn;
use telestream_sim::telegram::store::{Draft, DraftBody, Look, MessageBody, Origin};
use telestream_sim::{Options, Sim};
use tokio::process::Command;

const CHANNEL: i64 = 1_234_567_890;
const SIZE: u64 = 20 * (1 << 20) + 12_345;
const PATIENCE: Duration = Duration::from_mins(3);

/// What a client says it got.
#[derive(Debug, Deserialize, PartialEq)]
struct Got {
    size: u64,
    sha256: String,
    name: String,
    #[serde(flatten)]
    around: Option<Around>,
}

/// What stands around the file. gotd speaks layer 170, where users and messages look otherwise.
#[derive(Debug, Deserialize, PartialEq)]
struct Around {
    me: String,
    text: String,
}

/// What is run, and with which arguments before the task.
enum Client {
    Gramjs,
    Telethon,
    Kurigram,
    Gotd,
}

impl Client {
    fn command(&self, folder: &Path) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let script = |program: &Path, script: &str| {
            let mut command = Command::new(program);
            command.arg(scripts.join(script));
            command
        };
        let python = folder.join("venv/bin/python");
        match self {
            Self::Gramjs => script(Path::new("node"), "gramjs/download.js"),
            Self::Telethon => script(&python, "download_telethon.py"),
            Self::Kurigram => script(&python, "download_kurigram.py"),
            Self::Gotd => {
                let mut command = Command::new(folder.join("gotd"));
                command.arg("download");
                command
            }
        }
    }

    /// Whether it can tell what stands around the file.
    fn sees_around(&self) -> bool {
        !matches!(self, Self::Gotd)
    }
}

/// Publishes a file, lets a client download it, and compares what came.
async fn downloads(client: Client, transport: &str, identity: Identity) {
    // Given a file in a channel
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sim = Sim::start(Options::in_dir(dir.path()))
        .await
        .expect("the stand-in starts");
    let telegram = sim.telegram();
    let look = Look {
        name: Some("générated.bin".to_owned()),
        ..Look::default()
    };
    let draft = Draft {
        chat_id: ChatId::of_channel(CHANNEL),
        members: None,
        chat_title: None,
        text: "a caption".to_owned(),
        grouped_id: None,
        body: DraftBody::Media {
            dc: telegram.home(),
            origin: Origin::Seed(42),
            size: SIZE,
            look,
        },
    };
    let message = telegram.publish(draft).await.expect("published");
    let MessageBody::Media(media) = &message.body else {
        panic!("a file was published");
    };
    let session = telegram
        .create_session(identity, SignedIn::All)
        .expect("a session");
    let addresses = telegram.addresses();
    let home = addresses
        .iter()
        .find(|dc| dc.id == telegram.home())
        .expect("home");

    // When a client downloads it
    let folder = folder().await;
    let task = serde_json::json!({
        "folder": folder,
        "session": session,
        "mediaAddress": home.media_address,
        "channelId": CHANNEL,
        "messageId": message.id,
        "transport": transport,
        "connections": 4,
    });
    let mut running = client.command(&folder);
    running.arg(task.to_string()).kill_on_drop(true);
    let ran = tokio::time::timeout(PATIENCE, running.output())
        .await
        .unwrap_or_else(|_| panic!("{running:?} takes longer than {PATIENCE:?}"))
        .unwrap_or_else(|error| panic!("{running:?} does not run: {error}"));

    // Then it gets exactly that
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "it failed:\n{errors}");
    let last = ran
        .stdout
        .split(|b| *b == b'\n')
        .rfind(|line| !line.is_empty());
    let got: Got = serde_json::from_slice(last.unwrap_or_default())
        .unwrap_or_else(|error| panic!("it said nothing useful: {error}\n{errors}"));
    let expected = Got {
        size: SIZE,
        sha256: hex(&media.sha256),
        name: "générated.bin".to_owned(),
        around: client.sees_around().then(|| Around {
            me: telegram.account_id(identity).to_string(),
            text: "a caption".to_owned(),
        }),
    };
    assert_eq!(got, expected);
    if matches!(client, Client::Gotd) {
        let door = telegram.traffic().door(telegram.home(), Door::Media);
        assert!(door.most_open > 2, "it has a pool: {door:?}");
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gramjs_downloads_a_file() {
    downloads(Client::Gramjs, "full", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telethon_downloads_a_file_over_full() {
    downloads(Client::Telethon, "full", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telethon_downloads_a_file_over_intermediate() {
    downloads(Client::Telethon, "intermediate", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telethon_downloads_a_file_over_abridged_as_a_user() {
    downloads(Client::Telethon, "abridged", Identity::User).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_downloads_a_file_over_full() {
    downloads(Client::Kurigram, "full", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_downloads_a_file_over_intermediate() {
    downloads(Client::Kurigram, "intermediate", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_downloads_a_file_over_padded_intermediate() {
    downloads(Client::Kurigram, "padded", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_downloads_a_file_over_abridged() {
    downloads(Client::Kurigram, "abridged", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gotd_downloads_a_file_over_full() {
    downloads(Client::Gotd, "full", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gotd_downloads_a_file_over_intermediate() {
    downloads(Client::Gotd, "intermediate", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gotd_downloads_a_file_over_padded_intermediate() {
    downloads(Client::Gotd, "padded", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gotd_downloads_a_file_over_abridged() {
    downloads(Client::Gotd, "abridged", Identity::Bot).await;
}
