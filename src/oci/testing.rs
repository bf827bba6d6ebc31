//! What the tests of this module share: the signatures made by Oracle's own SDK, and a server
//! that follows a script, one connection after another, and remembers what it was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::credentials::{ApiKey, Credentials};

/// Signatures of Oracle's Python SDK, made with a throw-away key.
#[derive(Deserialize)]
pub(super) struct Vectors {
    pub(super) tenancy: String,
    pub(super) user: String,
    pub(super) fingerprint: String,
    pub(super) key_id: String,
    pub(super) private_key_pkcs1_pem: String,
    pub(super) private_key_pkcs8_pem: String,
    pub(super) private_key_pkcs8_encrypted_pem: String,
    pub(super) private_key_pkcs1_encrypted_pem: String,
    pub(super) passphrase: String,
    pub(super) public_key_pem: String,
    pub(super) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) body: Option<String>,
    pub(super) signed_headers: Vec<String>,
    pub(super) signing_string: String,
    pub(super) authorization: String,
    pub(super) sent_headers: BTreeMap<String, String>,
}

impl Case {
    /// The key id of the case: one of them is signed as a session.
    pub(super) fn key_id(&self, api_key: &str) -> String {
        let session = self.authorization.split_once("keyId=\"ST$");
        match session.and_then(|(_, rest)| rest.split_once('"')) {
            Some((token, _)) => format!("ST${token}"),
            None => api_key.to_owned(),
        }
    }
}

pub(super) fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../tests/data/oci-signing-vectors.json")).unwrap()
}

pub(super) fn api_key() -> Credentials {
    let vectors = vectors();
    Credentials::from_api_key(&ApiKey {
        tenancy: vectors.tenancy,
        user: vectors.user,
        fingerprint: vectors.fingerprint,
        private_key: vectors.private_key_pkcs1_pem,
        pass_phrase: None,
    })
    .unwrap()
}

/// What the server does with one connection.
pub(super) enum Act {
    /// Reads the request, answers, and closes.
    Reply(String),
    /// The same, after doing something.
    ReplyAfter(Box<dyn FnOnce() + Send>, String),
    /// Answers after the head, while the body still comes, and goes on reading.
    ReplyEarly(String),
    /// Reads the request and closes.
    Close,
    /// Reads the head and closes.
    CloseEarly,
    /// Reads the request and says nothing.
    Silence,
    /// Reads the head and nothing more.
    StopReading,
}

/// A reply with a status, extra header lines (each with its `\r\n`), and a body.
pub(super) fn reply(status: u16, headers: &str, body: &str) -> Act {
    Act::Reply(reply_text(status, headers, body))
}

pub(super) fn reply_text(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// A server with a script.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(run(listener, script, seen.clone()));
        Self {
            address,
            seen,
            task,
        }
    }

    /// The requests so far, each proven to be signed by the key of the vectors.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap().clone();
        seen.iter().for_each(Seen::assert_signed);
        seen
    }
}

async fn run(listener: TcpListener, script: Vec<Act>, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut left_open = Vec::new();
    for act in script {
        let (mut stream, _) = listener.accept().await.unwrap();
        let Some((mut request, body_begun)) = read_head(&mut stream).await else {
            continue;
        };
        if let Act::StopReading | Act::CloseEarly = act {
            seen.lock().unwrap().push(request);
            if let Act::StopReading = act {
                left_open.push(stream);
            }
            continue;
        }
        if let Act::ReplyEarly(text) = &act {
            stream.write_all(text.as_bytes()).await.unwrap();
        }
        request.body = body_begun;
        let length = request
            .headers
            .get("content-length")
            .map_or(0, |l| l.parse().unwrap());
        read_body(&mut stream, &mut request.body, length).await;
        seen.lock().unwrap().push(request);
        match act {
            Act::Reply(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Act::ReplyAfter(first, text) => {
                first();
                stream.write_all(text.as_bytes()).await.unwrap();
            }
            Act::Silence => left_open.push(stream),
            _ => {}
        }
    }
    // Whoever connects now was not foreseen, and is refused.
    drop(listener);
    std::future::pending::<()>().await;
}

/// Reads to the end of the head, if one comes. Returns it with what came of the body.
async fn read_head(stream: &mut TcpStream) -> Option<(Seen, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    let seen = Seen {
        method: first.next().unwrap().to_owned(),
        target: first.next().unwrap().to_owned(),
        headers: lines.map(header).collect(),
        body: Vec::new(),
    };
    Some((seen, bytes[end + 4..].to_vec()))
}

/// Reads until the body is whole or the client gives up.
async fn read_body(stream: &mut TcpStream, body: &mut Vec<u8>, length: usize) {
    while body.len() < length {
        match stream.read_buf(body).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Checks the signature as the service does, over what really came.
    fn assert_signed(&self) {
        let field = |name: &str| {
            let (_, rest) = self
                .header("authorization")
                .split_once(&format!("{name}=\""))
                .unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let names = field("headers");
        let lines = names.split(' ').map(|name| match name {
            "(request-target)" => {
                format!(
                    "{name}: {} {}",
                    self.method.to_ascii_lowercase(),
                    self.target
                )
            }
            _ => format!("{name}: {}", self.headers[name]),
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let pem = vectors().public_key_pem;
        let der: String = pem
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        let der = STANDARD.decode(der).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der)
            .verify(
                text.as_bytes(),
                &STANDARD.decode(field("signature")).unwrap(),
            )
            .unwrap_or_else(|_| panic!("bad signature of {self:?}"));

        if self.method == "POST" {
            assert!(names.ends_with("content-length content-type x-content-sha256"));
            let hash = digest::digest(&digest::SHA256, &self.body);
            assert_eq!(self.header("x-content-sha256"), STANDARD.encode(hash));
        }
    }
}
