//! How fast the stand-ins serve by themselves, and at what cost: pieces of files from a data
//! centre, and parts put into Object Storage. The clients here do next to nothing: they neither
//! decrypt what they get nor make up what they send.
//!
//! ```console
//! $ cargo bench -p telestream-sim                                   # everything
//! $ cargo bench -p telestream-sim -- telegram --connections 4       # one of telegram, oci
//! $ cargo bench -p telestream-sim -- telegram --rate 6 --latency 80 # a slow and distant one
//! ```

#[path = "../tests/raw/mod.rs"]
mod raw;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream as StdStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Parser, ValueEnum};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use mtproto::Transport;
use raw::{CHANNEL_ID, Client, location};
use serde_json::{Value, json};
use telestream_sim::oci::ClientConfig;
use telestream_sim::telegram::keys::SessionDocument;
use tl::enums::InputFileLocation;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig as TlsConfig, RootCertStore};

use grammers_tl_types as tl;

const PIECE: i32 = 512 << 10;
const PART: usize = 16 << 20;

#[derive(Parser)]
struct Settings {
    /// What is measured; everything if nothing is named.
    what: Vec<What>,
    /// How many connections at once.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    connections: Vec<u64>,
    /// How many requests each data centre's connection has under way.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// How many MiB each run moves.
    #[arg(long, default_value_t = 2048)]
    size: u64,
    /// What each connection of a data centre is sent at most, in MiB a second.
    #[arg(long)]
    rate: Option<u64>,
    /// How late each answer of a data centre is, in milliseconds.
    #[arg(long)]
    latency: Option<u64>,
    /// The stand-in to be measured; the one of this build if not given.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_telestream-sim"))]
    program: PathBuf,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Telegram,
    Oci,
    OciTls,
}

/// The stand-in, in a process of its own, so that its time can be told from the client's.
struct Server {
    child: Child,
    announced: Value,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(program: &PathBuf, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(program)
            .arg("serve")
            .args(more)
            .arg("--data-dir")
            .arg(folder.path())
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the stand-in runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        Self {
            child,
            announced: serde_json::from_str(&line).expect("JSON"),
            folder,
        }
    }

    fn admin(&self, method: &str, path: &str, body: &Value) -> Value {
        let address = self.announced["admin"].as_str().expect("an address");
        let address = address.strip_prefix("http://").expect("over HTTP");
        let body = body.to_string();
        let mut stream = StdStream::connect(address).expect("it listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 2"), "{path}: {answer}");
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// Processor time it has taken so far, in seconds: Linux counts hundredths.
    fn processor_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).expect("Linux");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0)
            .sum()
    }

    /// Runs `moving` and prints what it cost.
    async fn measure(&self, label: &str, moving: impl Future<Output = u64>) {
        let (began, before) = (Instant::now(), self.processor_seconds());
        let bytes = moving.await;
        let (took, cost) = (began.elapsed(), self.processor_seconds() - before);
        let mib = mebibytes(bytes);
        println!(
            "{label:<28} {:>7.1} MiB/s   {:>5.2} processor-s/GiB",
            mib / took.as_secs_f64(),
            cost / (mib / 1024.0)
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is being thrown away either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[tokio::main]
async fn main() {
    let bench = Settings::parse();
    let asked = |what| bench.what.is_empty() || bench.what.contains(&what);
    if asked(What::Telegram) {
        telegram(&bench).await;
    }
    if asked(What::Oci) {
        oci(&bench, &[], "oci").await;
        oci(&bench, &["--oci-discard"], "oci, discarded").await;
    }
    if asked(What::OciTls) {
        oci(
            &bench,
            &["--oci-discard", "--oci-tls"],
            "oci, discarded, TLS",
        )
        .await;
    }
}

async fn telegram(bench: &Settings) {
    let server = Server::start(&bench.program, &[]);
    let published = server.admin(
        "POST",
        "/telegram/messages",
        &json!({"chatId": -1_000_000_000_000 - CHANNEL_ID, "name": "a", "size": 1 << 30}),
    );
    let session = json!({"identity": "bot"});
    let session = server.admin("POST", "/telegram/sessions", &session);
    let session: SessionDocument = serde_json::from_value(session).expect("a session");
    let key = || raw::key(&session, session.home_dc);
    let dcs = server.announced["telegram"]["dcs"]
        .as_array()
        .expect("a list");
    let dc = dcs.iter().find(|dc| dc["id"] == json!(session.home_dc));
    let address = |which: &str| -> SocketAddrV4 {
        let text = dc.expect("home")[which].as_str().expect("an address");
        text.parse().expect("an address")
    };
    let mut main = Client::connect(address("address"), key(), Transport::Intermediate).await;
    main.init().await;
    let id = published["messageId"].as_i64().expect("a number");
    let file = main.document(i32::try_from(id).expect("small")).await;
    let file: InputFileLocation = location(&file).into();
    if let Some(mib) = bench.rate {
        let rate = json!({"bytesPerSecond": mib << 20});
        server.admin("PUT", "/telegram/rate", &rate);
    }
    for &connections in &bench.connections {
        let mut clients = Vec::new();
        for number in 0..connections {
            let media = address("mediaAddress");
            let mut client = Client::connect(media, key(), Transport::Intermediate).await;
            client.session_id = i64::try_from(connections * 100 + number).expect("small");
            client.init().await;
            clients.push(client);
        }
        if let Some(milliseconds) = bench.latency {
            let latency = json!({"milliseconds": milliseconds});
            server.admin("PUT", "/telegram/latency", &latency);
        }
        let pieces = Arc::new(AtomicU64::new(bench.size * 2));
        let moving = async {
            let mut fetching = tokio::task::JoinSet::new();
            for client in clients {
                let (pieces, file) = (Arc::clone(&pieces), file.clone());
                fetching.spawn(fetch(client, file, pieces, bench.in_flight));
            }
            fetching.join_all().await;
            bench.size << 20
        };
        let label = format!("telegram, {connections} connections");
        server.measure(&label, moving).await;
        server.admin("PUT", "/telegram/latency", &json!({"milliseconds": 0}));
    }
}

/// Asks for pieces until there are none left, and reads the frames they come in.
async fn fetch(
    mut client: Client,
    file: InputFileLocation,
    pieces: Arc<AtomicU64>,
    in_flight: usize,
) {
    let take = || {
        let left = pieces.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        });
        left.ok()
    };
    let mut asked = 0;
    while asked < in_flight
        && let Some(number) = take()
    {
        ask(&mut client, &file, number).await;
        asked += 1;
    }
    let mut buffer = vec![0; 1 << 20];
    while asked > 0 {
        if frame(&mut client.stream, &mut buffer).await < PIECE.unsigned_abs() {
            continue;
        }
        asked -= 1;
        if let Some(number) = take() {
            ask(&mut client, &file, number).await;
            asked += 1;
        }
    }
}

async fn ask(client: &mut Client, file: &InputFileLocation, number: u64) {
    let offset = i64::try_from(number % 2048).expect("small") * i64::from(PIECE);
    client.ask(file, offset, PIECE).await;
}

/// Reads a frame and says how long it was.
async fn frame(stream: &mut TcpStream, buffer: &mut [u8]) -> u32 {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.expect("a frame");
    let len = u32::from_le_bytes(head);
    let mut left = usize::try_from(len).expect("small");
    while left > 0 {
        let most = left.min(buffer.len());
        let read = stream.read(&mut buffer[..most]).await.expect("a frame");
        assert!(read > 0, "the stand-in closed the connection");
        left -= read;
    }
    len
}

async fn oci(bench: &Settings, options: &[&str], label: &str) {
    let server = Server::start(&bench.program, options);
    let config = server.admin("GET", "/oci/config", &Value::Null);
    let config: ClientConfig = serde_json::from_value(config).expect("a configuration");
    let signer = Arc::new(Signer::new(config));
    let url = server.announced["oci"].as_str().expect("a URL");
    let (scheme, address) = url.split_once("://").expect("a URL");
    let tls = (scheme == "https").then(|| connector(&server));
    for &connections in &bench.connections {
        let parts = Arc::new(AtomicU64::new((bench.size << 20) / PART as u64));
        let moving = async {
            let mut putting = tokio::task::JoinSet::new();
            for number in 0..connections {
                let (parts, signer) = (Arc::clone(&parts), Arc::clone(&signer));
                let stream = TcpStream::connect(address).await.expect("it listens");
                stream.set_nodelay(true).expect("a socket");
                match tls.clone() {
                    None => drop(putting.spawn(put(stream, signer, parts, number))),
                    Some(tls) => {
                        let name = ServerName::try_from("localhost").expect("a name");
                        let stream = tls.connect(name, stream).await.expect("a handshake");
                        putting.spawn(put(stream, signer, parts, number));
                    }
                }
            }
            putting.join_all().await;
            bench.size << 20
        };
        let label = format!("{label}, {connections}");
        server.measure(&label, moving).await;
    }
}

fn connector(server: &Server) -> TlsConnector {
    let path = server.folder.path().join("oci-certificate.pem");
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(path).expect("a certificate");
    roots.add(certificate).expect("a root");
    let config = TlsConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Puts the same object until there are no parts left.
async fn put(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    signer: Arc<Signer>,
    parts: Arc<AtomicU64>,
    number: u64,
) {
    let body = vec![0x5a; PART];
    let take = |left: u64| left.checked_sub(1);
    while parts
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let head = signer.put(&format!("object-{number}"), body.len());
        stream.write_all(head.as_bytes()).await.expect("it reads");
        stream.write_all(&body).await.expect("it reads");
        stream.flush().await.expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let read = tokio::time::timeout(Duration::from_mins(1), stream.read_buf(&mut answer));
            let read = read.await.expect("in time").expect("an answer");
            assert!(read > 0, "the stand-in closed the connection");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "it is stored");
    }
}

/// Signs requests as Object Storage wants it.
struct Signer {
    config: ClientConfig,
    key: RsaKeyPair,
}

impl Signer {
    fn new(config: ClientConfig) -> Self {
        let lines = config.private_key.lines();
        let text: String = lines.filter(|line| !line.starts_with("---")).collect();
        let der = BASE64.decode(text).expect("a PEM document");
        Self {
            key: RsaKeyPair::from_pkcs8(&der).expect("a private key"),
            config,
        }
    }

    /// The head of a PUT.
    fn put(&self, object: &str, length: usize) -> String {
        let ClientConfig {
            tenancy,
            user,
            fingerprint,
            namespace,
            bucket,
            ..
        } = &self.config;
        let path = format!("/n/{namespace}/b/{bucket}/o/{object}");
        let date = DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&Timestamp::now())
            .expect("a date");
        let message = format!("date: {date}\n(request-target): put {path}\nhost: localhost");
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &random,
                message.as_bytes(),
                &mut signature,
            )
            .expect("a signature");
        let signature = BASE64.encode(signature);
        format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\ndate: {date}\r\n\
             content-length: {length}\r\nauthorization: Signature version=\"1\",\
             keyId=\"{tenancy}/{user}/{fingerprint}\",algorithm=\"rsa-sha256\",\
             headers=\"date (request-target) host\",signature=\"{signature}\"\r\n\r\n"
        )
    }
}
