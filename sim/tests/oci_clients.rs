//! Clients that nobody here wrote, against the stand-in for Object Storage: the official OCI
//! Python SDK and rclone. They are why the stand-in is believed.
//!
//! They are found in the folder that `TELESTREAM_CLIENTS` names; `make clients` makes it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use telestream_sim::oci::{Effect, Fault, ObjectStorage, Operation, Options};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_mins(2);

/// A program of the clients' virtual environment.
fn client(program: &str) -> PathBuf {
    let folder = std::env::var_os("TELESTREAM_CLIENTS").expect(
        "TELESTREAM_CLIENTS does not name the folder of the independent clients; run `make clients`",
    );
    let program = PathBuf::from(folder).join("venv/bin").join(program);
    assert!(
        program.exists(),
        "{} is missing; run `make clients`",
        program.display()
    );
    program
}

/// The service on a port of the loopback interface, in a folder of its own.
struct Service {
    storage: ObjectStorage,
    dir: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Service {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let options = Options {
            page_limit: 3,
            ..Options::default()
        };
        let storage = ObjectStorage::open(dir.path(), options).expect("a new service");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        storage.set_public_url(format!("http://{address}"));
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn({
            let storage = storage.clone();
            async move {
                let stopped = async move { drop(stopped.await) };
                storage.serve(listener, stopped).await
            }
        });
        Self {
            storage,
            dir,
            stop,
            serving,
        }
    }

    async fn stop(self) {
        drop(self.stop);
        timeout(PATIENCE, self.serving)
            .await
            .expect("the service stops")
            .expect("the service does not panic")
            .expect("the service ends well");
        drop(self.dir);
    }

    /// Runs a scenario of `clients/oci/conformance.py`, which must end well.
    async fn conformance(&self, scenario: &str) {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/oci/conformance.py"
        );
        let config = serde_json::to_vec(&self.storage.client_config()).expect("JSON");
        let python = client("python");
        let probe = Command::new(&python)
            .args(["-c", "import oci, crc32c"])
            .status()
            .await
            .expect("the interpreter runs");
        assert!(
            probe.success(),
            "{} lacks the package oci; run `make clients`",
            python.display()
        );
        let mut running = Command::new(python)
            .args([script, scenario])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the interpreter runs");
        let mut input = running.stdin.take().expect("a pipe");
        input.write_all(&config).await.expect("the script reads");
        drop(input);
        let output = timeout(PATIENCE, running.wait_with_output())
            .await
            .expect("the scenario ends in time")
            .expect("the script runs");
        assert!(
            output.status.success(),
            "{scenario}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

async fn passes(scenario: &str) {
    let service = Service::start().await;
    service.conformance(scenario).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_uploads_a_file_in_parts() {
    passes("upload_file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_uploads_a_stream_in_parts() {
    passes("upload_stream").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_resumes_an_upload() {
    passes("resume").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_puts_reads_lists_and_deletes_objects() {
    passes("single_objects").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_lists_commits_and_aborts_uploads() {
    passes("parts_by_hand").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_commits_one_of_two_racing_uploads() {
    passes("racing_commits").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_makes_links_that_anyone_can_read() {
    passes("links").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_understands_the_refusals() {
    passes("errors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_rides_out_refusals_and_lost_replies() {
    let service = Service::start().await;
    for effect in [
        Effect::Refuse {
            status: 429,
            code: "TooManyRequests".into(),
            message: "User-rate limit exceeded.".into(),
        },
        Effect::Refuse {
            status: 503,
            code: "ServiceUnavailable".into(),
            message: String::new(),
        },
        Effect::LoseReply,
    ] {
        service.storage.add_fault(Fault {
            operations: vec![Operation::UploadPart],
            object_prefix: String::new(),
            skip: 0,
            times: Some(1),
            effect,
        });
    }
    service.conformance("rides_out_faults").await;
    assert_eq!(service.storage.waiting_faults(), []);
    service.stop().await;
}

/// rclone uploads a tree in parts with the Go SDK, and compares it by size and MD5.
#[tokio::test(flavor = "multi_thread")]
async fn rclone_uploads_and_checks() {
    let service = Service::start().await;
    let config = service.storage.client_config();
    let work = service.dir.path().join("rclone");
    let source = work.join("source/dir with space");
    std::fs::create_dir_all(&source).expect("a folder");
    let bytes: Vec<u8> = (0..13_000_000_u32)
        .map(|n| n.wrapping_mul(n).to_le_bytes()[1])
        .collect();
    std::fs::write(source.join("große Datei.bin"), &bytes).expect("a file");
    std::fs::write(work.join("source/small"), b"small").expect("a file");
    std::fs::write(work.join("key.pem"), &config.private_key).expect("a file");
    let profile = format!(
        "[DEFAULT]\ntenancy={}\nuser={}\nfingerprint={}\nregion={}\nkey_file={}\n",
        config.tenancy,
        config.user,
        config.fingerprint,
        config.region,
        work.join("key.pem").display()
    );
    std::fs::write(work.join("oci.conf"), profile).expect("a file");
    let remote = format!(
        "[sim]\ntype = oracleobjectstorage\nprovider = user_principal_auth\nnamespace = {}\n\
         compartment = {}\nregion = {}\nendpoint = {}\nconfig_file = {}\nconfig_profile = DEFAULT\n\
         no_check_bucket = true\n",
        config.namespace,
        config.tenancy,
        config.region,
        config.endpoint,
        work.join("oci.conf").display()
    );
    std::fs::write(work.join("rclone.conf"), remote).expect("a file");
    let target = format!("sim:{}/tree", config.bucket);
    for verb in [
        &[
            "copy",
            "--oos-upload-cutoff",
            "0",
            "--oos-chunk-size",
            "5Mi",
        ][..],
        &["check", "--download"],
        &["check"],
    ] {
        let run = Command::new(client("rclone"))
            .arg("--config")
            .arg(work.join("rclone.conf"))
            .args(["--retries", "1", "--low-level-retries", "1"])
            .args(verb)
            .arg(work.join("source"))
            .arg(&target)
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, run)
            .await
            .expect("rclone ends in time")
            .expect("rclone runs");
        assert!(
            output.status.success(),
            "rclone {verb:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let objects = service.storage.objects();
    let names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
    assert_eq!(names, ["tree/dir with space/große Datei.bin", "tree/small"]);
    assert!(objects[0].md5.ends_with("-3"), "in three parts");
    service.stop().await;
}
