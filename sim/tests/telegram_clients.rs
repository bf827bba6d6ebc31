//! MTProto clients that nobody here wrote, against the stand-in for Telegram: they are why it is
//! believed. Each downloads a file byte for byte.
//!
//! They are found in the folder that `TELESTREAM_CLIENTS` names, or that `dev/clients` makes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use telestream_sim::content::hex;
use telestream_sim::telegram::ids::{ChatId, Identity};
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
    me: String,
    size: u64,
    sha256: String,
    text: String,
    name: String,
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The folder with the clients, made now if nobody has made it.
async fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("TELESTREAM_CLIENTS") {
        return folder.into();
    }
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev/clients");
    let made = Command::new(&install)
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{} does not run: {error}", install.display()));
    assert!(
        made.status.success(),
        "{} failed: see above",
        install.display()
    );
    let path = String::from_utf8(made.stdout).expect("a path");
    PathBuf::from(path.trim_end())
}

/// Publishes a file, lets a client download it, and compares what came.
async fn downloads(program: &str, script: &str, transport: &str, identity: Identity) {
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
    });
    let program = match program {
        "python" => folder.join("venv/bin/python"),
        other => PathBuf::from(other),
    };
    let mut running = Command::new(&program);
    running
        .arg(scripts().join(script))
        .arg(task.to_string())
        .kill_on_drop(true);
    let ran = tokio::time::timeout(PATIENCE, running.output())
        .await
        .unwrap_or_else(|_| panic!("{script} takes longer than {PATIENCE:?}"))
        .unwrap_or_else(|error| panic!("{} does not run: {error}", program.display()));

    // Then it gets exactly that
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{script} failed:\n{errors}");
    let last = ran
        .stdout
        .split(|b| *b == b'\n')
        .rfind(|line| !line.is_empty());
    let got: Got = serde_json::from_slice(last.unwrap_or_default())
        .unwrap_or_else(|error| panic!("{script} said nothing useful: {error}\n{errors}"));
    let expected = Got {
        me: telegram.account_id(identity).to_string(),
        size: SIZE,
        sha256: hex(&media.sha256),
        text: "a caption".to_owned(),
        name: "générated.bin".to_owned(),
    };
    assert_eq!(got, expected);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gramjs_downloads_a_file() {
    downloads("node", "gramjs/download.js", "full", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telethon_downloads_a_file_over_full() {
    downloads("python", "download_telethon.py", "full", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telethon_downloads_a_file_over_intermediate() {
    downloads(
        "python",
        "download_telethon.py",
        "intermediate",
        Identity::Bot,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telethon_downloads_a_file_over_abridged_as_a_user() {
    downloads("python", "download_telethon.py", "abridged", Identity::User).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_downloads_a_file_over_full() {
    downloads("python", "download_kurigram.py", "full", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_downloads_a_file_over_intermediate() {
    downloads(
        "python",
        "download_kurigram.py",
        "intermediate",
        Identity::Bot,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_downloads_a_file_over_padded_intermediate() {
    downloads("python", "download_kurigram.py", "padded", Identity::Bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_downloads_a_file_over_abridged() {
    downloads("python", "download_kurigram.py", "abridged", Identity::Bot).await;
}
