//! The stand-in for Object Storage where a client library cannot go: requests no library sends,
//! restarts, misbehaviour, and what is left on disk. Requests are written byte by byte here and
//! signed here; that the signing is right is shown by the official SDK (`oci_clients.rs`).

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Value, json};
use telestream_sim::oci::{
    ClientConfig, Effect, Fault, Keeping, ObjectStorage, Operation, Options, Permission,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// The service on a port of the loopback interface.
struct Service {
    storage: ObjectStorage,
    address: String,
    config: ClientConfig,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Service {
    async fn start(dir: &Path, options: Options) -> Self {
        let storage = ObjectStorage::open(dir, options).expect("the service opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
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
            config: storage.client_config(),
            storage,
            address,
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
    }

    /// Sends `request` and reads the answer; `None` if the connection ends without one.
    async fn send(&self, request: &[u8]) -> Option<Answer> {
        let mut stream = TcpStream::connect(&self.address).await.expect("it listens");
        stream.write_all(request).await.expect("it reads");
        let mut answer = Vec::new();
        // A reset is as good an end as any: the service may refuse a body it has not read.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("it answers in time");
        Answer::parse(&answer)
    }

    /// Signs and sends.
    async fn call(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.call_with(method, path, "", body).await
    }

    /// Signs and sends, with more header lines.
    async fn call_with(&self, method: &str, path: &str, more: &str, body: &[u8]) -> Answer {
        let head = self.signed(method, path, more, body);
        let answer = self.send(&[head.as_bytes(), body].concat()).await;
        answer.expect("an answer")
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body.to_string().as_bytes()).await
    }

    /// The head of a signed request.
    fn signed(&self, method: &str, path: &str, more: &str, body: &[u8]) -> String {
        let mut lines = vec![
            ("date".to_owned(), date(Timestamp::now())),
            (
                "(request-target)".to_owned(),
                format!("{} {path}", method.to_lowercase()),
            ),
            ("host".to_owned(), self.address.clone()),
        ];
        if method == "POST" {
            let sha256 = STANDARD.encode(digest(&SHA256, body));
            lines.push(("content-length".to_owned(), body.len().to_string()));
            lines.push(("content-type".to_owned(), "application/json".to_owned()));
            lines.push(("x-content-sha256".to_owned(), sha256));
        }
        let length = match method {
            "PUT" => format!("content-length: {}\r\n", body.len()),
            _ => String::new(),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nconnection: close\r\n{}{length}{more}\r\n",
            self.sign(&lines)
        )
    }

    /// Header lines, and the `Authorization` that signs them.
    fn sign(&self, lines: &[(String, String)]) -> String {
        let pem: String = self
            .config
            .private_key
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        let der = STANDARD.decode(pem).expect("a PEM document");
        let key = RsaKeyPair::from_pkcs8(&der).expect("a private key");
        let message: Vec<String> = lines
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            message.join("\n").as_bytes(),
            &mut signature,
        )
        .expect("a signature");
        let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
        let sent: Vec<&str> = message
            .iter()
            .filter(|line| !line.starts_with('('))
            .map(String::as_str)
            .collect();
        format!(
            "{}\r\nauthorization: Signature version=\"1\",keyId=\"{}/{}/{}\",\
             algorithm=\"rsa-sha256\",headers=\"{}\",signature=\"{}\"\r\n",
            sent.join("\r\n"),
            self.config.tenancy,
            self.config.user,
            self.config.fingerprint,
            names.join(" "),
            STANDARD.encode(signature)
        )
    }

    /// The path of what is called `name` in `collection` of the first bucket.
    fn path(&self, collection: &str, name: &str) -> String {
        let ClientConfig {
            namespace, bucket, ..
        } = &self.config;
        format!("/n/{namespace}/b/{bucket}/{collection}{name}")
    }

    /// Makes a link and returns its path and its id.
    async fn link(
        &self,
        access: &str,
        object: Option<&str>,
        listing: Option<&str>,
    ) -> (String, String) {
        let details = json!({
            "name": "link",
            "accessType": access,
            "objectName": object,
            "bucketListingAction": listing,
            "timeExpires": "2999-01-01T00:00:00Z",
        });
        let par = self.post(&self.path("p", ""), &details).await.json();
        let text = |field: &str| par[field].as_str().expect("a text").to_owned();
        (text("accessUri"), text("id"))
    }

    async fn get(&self, path: &str) -> Answer {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        );
        self.send(request.as_bytes()).await.expect("an answer")
    }
}

fn date(time: Timestamp) -> String {
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .expect("a date")
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        if head.starts_with("HTTP/1.1 100") {
            return Self::parse(&bytes[end + 4..]);
        }
        Some(Self {
            status: head.split(' ').nth(1)?.parse().ok()?,
            body: bytes[end + 4..].to_vec(),
            head,
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and the code of a refusal.
    fn refusal(&self) -> (u16, String) {
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        (self.status, code)
    }

    #[track_caller]
    fn is_code(&self, code: &str) {
        assert_eq!(self.refusal().1, code, "{self:?}");
    }

    #[track_caller]
    fn is(&self, status: u16, code: &str) {
        assert_eq!(self.refusal(), (status, code.to_owned()), "{self:?}");
        assert!(self.header("opc-request-id").is_some(), "{self:?}");
    }
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("data"))
        .expect("the data folder")
        .count()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, met).await.is_ok(), "never: {what}");
}

async fn service() -> (tempfile::TempDir, Service) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let service = Service::start(dir.path(), Options::default()).await;
    (dir, service)
}

#[tokio::test]
async fn both_ways_of_writing_a_path_name_one_object() {
    let (_dir, service) = service().await;
    let put = service
        .call("PUT", &service.path("o/", "a/b%20c"), b"bytes")
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    let got = service
        .call("GET", &service.path("o/", "a%2Fb%20c"), b"")
        .await;
    assert_eq!((got.status, &got.body[..]), (200, &b"bytes"[..]));
    service.stop().await;
}

#[tokio::test]
async fn dots_in_a_path_are_not_resolved() {
    let (_dir, service) = service().await;
    let put = service
        .call("PUT", &service.path("o/", "a/../b"), b"bytes")
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(service.storage.objects()[0].name, "a/../b");
    for name in [".", "..", "%2E%2E"] {
        let put = service
            .call("PUT", &service.path("o/", name), b"bytes")
            .await;
        put.is(400, "InvalidObjectName");
    }
    service.stop().await;
}

#[tokio::test]
async fn chunked_bodies_are_refused() {
    let (dir, service) = service().await;
    let path = service.path("o/", "a");
    let head = service.signed("PUT", &path, "", b"");
    let chunked = head.replace("content-length: 0", "transfer-encoding: chunked");
    let answer = service
        .send(format!("{chunked}1\r\na\r\n0\r\n\r\n").as_bytes())
        .await;
    answer.expect("an answer").is(411, "ContentLengthRequired");
    let none = head.replace("content-length: 0\r\n", "");
    let answer = service.send(none.as_bytes()).await;
    answer.expect("an answer").is(411, "ContentLengthRequired");
    assert_eq!(files(dir.path()), 0);
    service.stop().await;
}

#[tokio::test]
async fn a_body_cut_short_leaves_nothing() {
    let (dir, service) = service().await;
    let head = service.signed("PUT", &service.path("o/", "a"), "", &vec![0; 100_000]);
    let mut stream = TcpStream::connect(&service.address)
        .await
        .expect("it listens");
    let half = [head.as_bytes(), &vec![0; 50_000]].concat();
    stream.write_all(&half).await.expect("it reads");
    until("the body is on its way", || files(dir.path()) == 1).await;
    drop(stream);
    until("the half body is gone", || files(dir.path()) == 0).await;
    assert_eq!(service.storage.objects(), []);
    service.stop().await;
}

#[tokio::test]
async fn what_is_replaced_or_removed_leaves_the_disk() {
    let (dir, service) = service().await;
    let path = service.path("o/", "a");
    service.call("PUT", &path, b"first").await;
    service.call("PUT", &path, b"second").await;
    until("1 files are left", || files(dir.path()) == 1).await;
    let upload = service
        .post(&service.path("u", ""), &json!({"object": "b"}))
        .await
        .json();
    let id = upload["uploadId"].as_str().expect("an id");
    let part = service.path("u/", &format!("b?uploadId={id}&uploadPartNum=1"));
    service.call("PUT", &part, b"part").await;
    service.call("PUT", &part, b"again").await;
    until("2 files are left", || files(dir.path()) == 2).await;
    let aborted = service
        .call(
            "DELETE",
            &service.path("u/", &format!("b?uploadId={id}")),
            b"",
        )
        .await;
    assert_eq!(aborted.status, 204);
    until("1 files are left", || files(dir.path()) == 1).await;
    assert_eq!(service.call("DELETE", &path, b"").await.status, 204);
    until("0 files are left", || files(dir.path()) == 0).await;
    service.stop().await;
}

#[tokio::test]
async fn everything_survives_a_restart() {
    // Given an object of parts, an upload under way, a link, and a body nobody finished
    let (dir, first) = service().await;
    let upload = async |service: &Service, object: &str| {
        let details = json!({"object": object, "contentType": "video/mp4"});
        let upload = service.post(&service.path("u", ""), &details).await.json();
        upload["uploadId"].as_str().expect("an id").to_owned()
    };
    let put = async |service: &Service, object: &str, id: &str, number: u16, bytes: &[u8]| {
        let path = format!("{object}?uploadId={id}&uploadPartNum={number}");
        let answer = service.call("PUT", &service.path("u/", &path), bytes).await;
        answer.header("etag").expect("an ETag").to_owned()
    };
    let whole = upload(&first, "whole").await;
    let parts = json!([
        {"partNum": 2, "etag": put(&first, "whole", &whole, 2, b"world").await},
        {"partNum": 1, "etag": put(&first, "whole", &whole, 1, b"hello ").await},
    ]);
    let commit = json!({"partsToCommit": parts, "progress": {"ignored": true}});
    let path = first.path("u/", &format!("whole?uploadId={whole}"));
    assert_eq!(first.post(&path, &commit).await.status, 200);
    let open = upload(&first, "open").await;
    let etag = put(&first, "open", &open, 7, b"seven").await;
    let (link, _) = first.link("ObjectRead", Some("whole"), None).await;
    let before = (
        first.storage.objects(),
        first.storage.uploads(),
        first.storage.pars(),
    );
    first.stop().await;
    std::fs::write(dir.path().join("data/unfinished"), b"half").expect("a file");
    let journal = dir.path().join("journal.jsonl");
    let torn = [
        std::fs::read(&journal).expect("the journal"),
        b"{\"torn".to_vec(),
    ]
    .concat();
    std::fs::write(&journal, torn).expect("the journal");

    // When it starts again
    let second = Service::start(dir.path(), Options::default()).await;

    // Then all is there but the unfinished body
    let after = (
        second.storage.objects(),
        second.storage.uploads(),
        second.storage.pars(),
    );
    assert_eq!(after, before);
    assert_eq!(files(dir.path()), 3);
    let read = second.get(&link).await;
    assert_eq!((read.status, &read.body[..]), (200, &b"hello world"[..]));
    assert_eq!(read.header("content-type"), Some("video/mp4"));
    let commit = json!({"partsToCommit": [{"partNum": 7, "etag": etag}]});
    let path = second.path("u/", &format!("open?uploadId={open}"));
    assert_eq!(second.post(&path, &commit).await.status, 200);
    second.stop().await;
}

#[tokio::test]
async fn unsigned_and_half_signed_requests_are_refused() {
    let (_dir, service) = service().await;
    service.get("/n/").await.is(401, "NotAuthenticated");
    let path = service.path("u", "");
    let body = br#"{"object":"a"}"#;
    let head = service.signed("POST", &path, "", body);
    let other = br#"{"object":"b"}"#;
    let swapped = service.send(&[head.as_bytes(), other].concat()).await;
    swapped.expect("an answer").is(401, "NotAuthenticated");
    let lines = [
        ("date".to_owned(), date(Timestamp::now())),
        ("(request-target)".to_owned(), format!("post {path}")),
        ("host".to_owned(), service.address.clone()),
    ];
    let head = format!(
        "POST {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n{}\r\n",
        body.len(),
        service.sign(&lines)
    );
    let half = service.send(&[head.as_bytes(), body].concat()).await;
    half.expect("an answer").is(401, "NotAuthenticated");
    assert_eq!(service.storage.uploads(), []);
    service.stop().await;
}

#[tokio::test]
async fn a_refused_head_has_no_body_and_requests_are_traced() {
    let (_dir, service) = service().await;
    let traced = "opc-client-request-id: mine\r\n";
    let path = service.path("o/", "missing");
    let answer = service.call_with("HEAD", &path, traced, b"").await;
    assert_eq!((answer.status, answer.body.len()), (404, 0));
    assert_eq!(answer.header("opc-client-request-id"), Some("mine"));
    assert!(answer.header("opc-request-id").is_some());
    service.stop().await;
}

#[tokio::test]
async fn malformed_bodies_are_refused_by_name() {
    let (_dir, service) = service().await;
    let not_json = service.call("POST", &service.path("p", ""), b"{").await;
    not_json.is(400, "CannotParseRequest");
    let details = json!({"name": "p", "accessType": "ObjectRead", "objectName": "a"});
    let answer = service.post(&service.path("p", ""), &details).await;
    answer.is(400, "InvalidParameter");
    assert!(answer.json()["message"].to_string().contains("timeExpires"));
    service
        .call("PATCH", &service.path("o/", "a"), b"")
        .await
        .is(405, "MethodNotAllowed");
    service
        .get("/n/ns/nonsense")
        .await
        .is(404, "NotAuthorizedOrNotFound");
    service.stop().await;
}

#[tokio::test]
async fn links_do_what_their_type_says() {
    let (_dir, service) = service().await;
    for name in ["in/a", "in/b", "out"] {
        service
            .call("PUT", &service.path("o/", name), name.as_bytes())
            .await;
    }
    let put = async |path: &str| {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 3\r\n\r\nnew",
            service.address
        );
        service
            .send(head.as_bytes())
            .await
            .expect("an answer")
            .status
    };
    let (reads, _) = service.link("ObjectRead", Some("in/a"), None).await;
    assert_eq!(
        (service.get(&reads).await.status, put(&reads).await),
        (200, 404)
    );
    assert_eq!(
        service.get(&reads.replace("in%2Fa", "in%2Fb")).await.status,
        404
    );
    let (writes, _) = service.link("ObjectWrite", Some("in/a"), None).await;
    assert_eq!(
        (put(&writes).await, service.get(&writes).await.status),
        (200, 404)
    );
    assert_eq!(service.get(&reads).await.body, b"new");
    let (any, _) = service
        .link("AnyObjectRead", Some("in/"), Some("ListObjects"))
        .await;
    assert!(any.ends_with("/o/"), "{any}");
    assert_eq!(service.get(&format!("{any}in/b")).await.status, 200);
    assert_eq!(service.get(&format!("{any}out")).await.status, 404);
    let listed = service.get(&any).await.json();
    let names: Vec<&Value> = listed["objects"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|object| &object["name"])
        .collect();
    assert_eq!(names, ["in/a", "in/b"]);
    let (silent, _) = service.link("AnyObjectRead", None, None).await;
    service.get(&silent).await.is(404, "BucketNotFound");
    service.stop().await;
}

#[tokio::test]
async fn a_link_dies_by_expiry_and_with_its_makers_permission() {
    let (_dir, service) = service().await;
    service
        .call("PUT", &service.path("o/", "a"), b"bytes")
        .await;
    let (link, id) = service.link("ObjectRead", Some("a"), None).await;
    service.storage.withhold(&[Permission::ObjectRead]);
    service.get(&link).await.is(404, "BucketNotFound");
    service.storage.withhold(&[]);
    assert_eq!(service.get(&link).await.status, 200);
    assert!(service.storage.expire_par(&id));
    service.get(&link).await.is(404, "BucketNotFound");
    assert_eq!(
        service.storage.pars().len(),
        1,
        "an expired PAR stays listed"
    );
    service.stop().await;
}

#[tokio::test]
async fn a_missing_permission_looks_like_a_missing_bucket() {
    let (_dir, service) = service().await;
    service.storage.withhold(&[Permission::ParManage]);
    let answer = service.post(&service.path("p", ""), &json!({})).await;
    answer.is(404, "BucketNotFound");
    assert_eq!(
        service
            .call("PUT", &service.path("o/", "a"), b"1")
            .await
            .status,
        200
    );
    service.stop().await;
}

fn fault(operation: Operation, effect: Effect) -> Fault {
    Fault {
        operations: vec![operation],
        times: Some(1),
        ..Fault::of(effect)
    }
}

/// `Content-MD5` of "bytes", by RFC 1321.
const MD5_OF_BYTES: &str = "content-md5: SzpiGLs+OnMD6KFxpg/Pkg==\r\n";

#[tokio::test]
async fn requests_and_bytes_are_counted_also_those_thrown_away() {
    let (_dir, service) = service().await;
    let upload = service
        .post(&service.path("u", ""), &json!({"object": "a"}))
        .await
        .json();
    let id = upload["uploadId"].as_str().expect("an id");
    let part = |number| service.path("u/", &format!("a?uploadId={id}&uploadPartNum={number}"));
    service
        .storage
        .add_fault(fault(Operation::UploadPart, Effect::Garble));
    let first = part(1);
    let refused = service.call_with("PUT", &first, MD5_OF_BYTES, b"bytes");
    refused.await.is(400, "UnmatchedContentMD5");
    for number in [1, 2] {
        let part = part(number);
        let put = service
            .call_with("PUT", &part, MD5_OF_BYTES, b"bytes")
            .await;
        assert_eq!(put.status, 200);
    }
    let traffic = service.storage.traffic();
    assert_eq!(traffic.requests(Operation::UploadPart), 3);
    let statuses = &traffic.operations["UploadPart"].statuses;
    assert_eq!((statuses[&200], statuses[&400]), (2, 1));
    assert_eq!(traffic.received("a"), 15);
    let bodies: Vec<_> = traffic
        .bodies
        .iter()
        .map(|body| (body.part, body.requests, body.bytes, body.bytes_taken))
        .collect();
    assert_eq!(bodies, [(Some(1), 2, 10, 5), (Some(2), 1, 5, 5)]);
    service.storage.reset_traffic();
    assert_eq!(service.storage.traffic().received("a"), 0);
    service.stop().await;
}

#[tokio::test]
async fn bytes_are_spoilt_on_the_way_or_misreported() {
    let (_dir, service) = service().await;
    let path = service.path("o/", "a");
    let put = async |effect| {
        service
            .storage
            .add_fault(fault(Operation::PutObject, effect));
        service
            .call_with("PUT", &path, MD5_OF_BYTES, b"bytes")
            .await
    };
    put(Effect::Garble).await.is(400, "UnmatchedContentMD5");

    let stored = put(Effect::StoreGarbled).await;
    let told = stored.header("opc-content-md5").expect("an MD5");
    assert!(!MD5_OF_BYTES.contains(told));
    assert_eq!(service.call("GET", &path, b"").await.body, b"cytes");

    let stored = put(Effect::Misreport).await;
    let told = stored.header("opc-content-md5").expect("an MD5");
    assert!(!MD5_OF_BYTES.contains(told) && told.len() == 24);
    assert_eq!(service.call("GET", &path, b"").await.body, b"bytes");
    service.stop().await;
}

#[tokio::test]
async fn a_body_is_read_slowly_or_not_to_the_end() {
    let (_dir, service) = service().await;
    let path = service.path("o/", "a");
    let rate = std::num::NonZeroU64::new(1000).expect("more than nothing");
    let slowly = Effect::ReadSlowly {
        bytes_per_second: rate,
    };
    service
        .storage
        .add_fault(fault(Operation::PutObject, slowly));
    let began = std::time::Instant::now();
    assert_eq!(service.call("PUT", &path, &[7; 300]).await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(290));

    let cut = Effect::CutBody { bytes: 10 };
    service.storage.add_fault(fault(Operation::PutObject, cut));
    let head = service.signed("PUT", &path, "", &[7; 300]);
    let answer = service.send(&[head.as_bytes(), &[7; 300]].concat()).await;
    assert!(answer.is_none(), "{answer:?}");

    let stall = Effect::StallBody { bytes: 10 };
    service
        .storage
        .add_fault(fault(Operation::PutObject, stall));
    let stalled = service.call("PUT", &path, &[7; 300]);
    let silence = Duration::from_millis(300);
    assert!(timeout(silence, stalled).await.is_err());
    assert_eq!(service.call("PUT", &path, b"1").await.status, 200);
    service.stop().await;
}

#[tokio::test]
async fn a_busy_service_tells_when_to_come_again() {
    let (_dir, service) = service().await;
    let busy = Effect::Throttle {
        status: 503,
        code: "ServiceUnavailable".into(),
        seconds: 3,
    };
    service.storage.add_fault(fault(Operation::PutObject, busy));
    let answer = service.call("PUT", &service.path("o/", "a"), b"1").await;
    answer.is(503, "ServiceUnavailable");
    assert_eq!(answer.header("retry-after"), Some("3"));
    service.storage.set_latency(Duration::from_millis(200));
    let began = std::time::Instant::now();
    service.call("PUT", &service.path("o/", "a"), b"1").await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    service.stop().await;
}

#[tokio::test]
async fn an_upload_is_ended_by_a_rule() {
    let (_dir, service) = service().await;
    let upload = service
        .post(&service.path("u", ""), &json!({"object": "a"}))
        .await
        .json();
    let id = upload["uploadId"].as_str().expect("an id");
    assert!(service.storage.expire_upload(id));
    assert!(!service.storage.expire_upload(id));
    let path = service.path("u/", &format!("a?uploadId={id}&uploadPartNum=1"));
    service
        .call("PUT", &path, b"part")
        .await
        .is(404, "UploadNotFound");
    service.stop().await;
}

#[tokio::test]
async fn clocks_that_differ_and_disabled_keys_are_refused() {
    let (_dir, service) = service().await;
    let path = service.path("o/", "a");
    for (seconds, status) in [(299, 200), (301, 401), (-301, 401), (0, 200)] {
        service.storage.set_clock_offset(seconds);
        let put = service.call("PUT", &path, b"1").await;
        assert_eq!(put.status, status, "{seconds}");
        let told = put.header("date").expect("the service's time");
        let told = jiff::fmt::rfc2822::parse(told).expect("a date").timestamp();
        let ahead = told.duration_since(Timestamp::now()).as_secs();
        assert!((ahead - seconds).abs() < 5, "{ahead}");
    }
    let ClientConfig {
        tenancy,
        user,
        fingerprint,
        ..
    } = &service.config;
    let key_id = format!("{tenancy}/{user}/{fingerprint}");
    service.storage.disable_keys(&[&key_id]);
    let refused = service.call("PUT", &path, b"1").await;
    refused.is(401, "NotAuthenticated");
    service.storage.disable_keys(&[]);
    assert_eq!(service.call("PUT", &path, b"1").await.status, 200);
    service.stop().await;
}

#[tokio::test]
async fn bytes_are_checked_and_forgotten_if_asked() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = || Options {
        keeping: Keeping::Checksums,
        ..Options::default()
    };
    let first = Service::start(dir.path(), options()).await;
    let path = first.path("o/", "a");
    let put = first.call_with("PUT", &path, MD5_OF_BYTES, b"bytes").await;
    assert_eq!(put.status, 200);
    let wrong = first.call_with("PUT", &path, MD5_OF_BYTES, b"bites").await;
    wrong.is(400, "UnmatchedContentMD5");
    let summary = first.storage.objects()[0].clone();
    assert_eq!((summary.size, files(dir.path())), (5, 0));
    assert!(MD5_OF_BYTES.contains(&summary.md5));
    assert_eq!(first.call("HEAD", &path, b"").await.status, 200);
    first
        .call("GET", &path, b"")
        .await
        .is(404, "ObjectNotFound");
    first.stop().await;
    // Also after a restart, and it can be removed
    let second = Service::start(dir.path(), options()).await;
    assert_eq!(second.storage.objects(), [summary]);
    let path = second.path("o/", "a");
    assert_eq!(second.call("DELETE", &path, b"").await.status, 204);
    second.stop().await;
}

#[tokio::test]
async fn a_lost_reply_has_taken_effect() {
    let (_dir, service) = service().await;
    service
        .storage
        .add_fault(fault(Operation::PutObject, Effect::LoseReply));
    let head = service.signed("PUT", &service.path("o/", "a"), "", b"bytes");
    let answer = service.send(format!("{head}bytes").as_bytes()).await;
    assert!(answer.is_none(), "{answer:?}");
    assert_eq!(service.storage.objects().len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_part_that_lands_late_replaces_the_one_sent_again() {
    // Given a part whose client gives up after sending it
    let (_dir, service) = service().await;
    let upload = service
        .post(&service.path("u", ""), &json!({"object": "a"}))
        .await
        .json();
    let id = upload["uploadId"].as_str().expect("an id");
    let late = Effect::LandLate { millis: 300 };
    service
        .storage
        .add_fault(fault(Operation::UploadPart, late));
    let path = service.path("u/", &format!("a?uploadId={id}&uploadPartNum=1"));
    let head = service.signed("PUT", &path, "", b"first");
    let mut stream = TcpStream::connect(&service.address)
        .await
        .expect("it listens");
    stream
        .write_all(format!("{head}first").as_bytes())
        .await
        .expect("it reads");
    until("the fault has struck", || {
        service.storage.waiting_faults().is_empty()
    })
    .await;
    drop(stream);

    // When it is sent again and the first one lands after all
    let again = service.call("PUT", &path, b"second").await;
    let etag = again.header("etag").expect("an ETag").to_owned();
    let stored = || service.storage.uploads()[0].parts[0].clone();
    assert_eq!(stored().etag, etag);
    until("the first one lands", || stored().etag != etag).await;

    // Then the ETag the client knows is stale
    let commit = json!({"partsToCommit": [{"partNum": 1, "etag": etag}]});
    let path = service.path("u/", &format!("a?uploadId={id}"));
    service
        .post(&path, &commit)
        .await
        .is(400, "InvalidUploadPart");
    service.stop().await;
}

#[tokio::test]
async fn refusals_come_as_often_as_they_were_ordered() {
    let (_dir, service) = service().await;
    service.storage.add_fault(fault(
        Operation::PutObject,
        Effect::Refuse {
            status: 429,
            code: "TooManyRequests".into(),
            message: "User-rate limit exceeded.".into(),
        },
    ));
    let path = service.path("o/", "a");
    service
        .call("PUT", &path, b"1")
        .await
        .is(429, "TooManyRequests");
    assert_eq!(service.call("PUT", &path, b"1").await.status, 200);
    service.stop().await;
}

#[tokio::test]
async fn a_minimum_part_size_spares_the_last_part() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = Options {
        minimum_part_size: Some(4),
        ..Options::default()
    };
    let service = Service::start(dir.path(), options).await;
    for (parts, expected) in [([&b"four"[..], b"x"], 200), ([b"one", b"four"], 400)] {
        let upload = service
            .post(&service.path("u", ""), &json!({"object": "a"}))
            .await
            .json();
        let id = upload["uploadId"].as_str().expect("an id");
        let mut chosen = Vec::new();
        for (number, bytes) in (1..).zip(parts) {
            let path = service.path("u/", &format!("a?uploadId={id}&uploadPartNum={number}"));
            let put = service.call("PUT", &path, bytes).await;
            chosen.push(json!({"partNum": number, "etag": put.header("etag")}));
        }
        let path = service.path("u/", &format!("a?uploadId={id}"));
        let committed = service.post(&path, &json!({"partsToCommit": chosen})).await;
        assert_eq!(committed.status, expected, "{committed:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn the_admin_api_shows_and_arranges() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let storage = ObjectStorage::open(dir.path(), Options::default()).expect("a new service");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    storage.set_public_url(format!("http://{address}/"));
    let router = axum::Router::new()
        .nest("/oci", storage.admin_router())
        .merge(storage.router());
    let serving = tokio::spawn(axum::serve(listener, router).into_future());
    let service = Service {
        config: storage.client_config(),
        storage,
        address,
        stop: oneshot::channel().0,
        serving: tokio::spawn(async { Ok(()) }),
    };
    let send = async |method: &str, path: &str, body: &str| {
        let request = format!(
            "{method} /oci/{path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        service.send(request.as_bytes()).await.expect("an answer")
    };
    let config = send("GET", "config", "").await.json();
    assert_eq!(config["endpoint"], format!("http://{}", service.address));
    assert!(
        config["privateKey"]
            .as_str()
            .expect("PEM")
            .contains("BEGIN PRIVATE KEY")
    );
    assert_eq!(
        send("POST", "buckets", r#"{"name":"more"}"#).await.status,
        201
    );
    send("POST", "buckets", r#"{"name":"more"}"#)
        .await
        .is_code("BucketAlreadyExists");
    send("POST", "buckets", r#"{"name":"a/b"}"#)
        .await
        .is_code("InvalidParameter");
    let path = format!("/n/{}/b/more/o/a", service.config.namespace);
    assert_eq!(service.call("PUT", &path, b"123456789").await.status, 200);
    let objects = send("GET", "objects", "").await.json();
    assert_eq!(
        (&objects[0]["bucket"], &objects[0]["crc32c"]),
        (&json!("more"), &json!("4waSgw=="))
    );
    let (link, id) = service.link("ObjectRead", Some("a"), None).await;
    let pars = send("GET", "pars", "").await.json();
    assert_eq!(pars[0]["id"], id);
    assert!(
        !pars
            .to_string()
            .contains(link.split('/').nth(2).expect("a token"))
    );
    let expire = json!({ "id": id }).to_string();
    assert_eq!(send("POST", "pars/expire", &expire).await.status, 204);
    let fault = r#"{"effect":{"refuse":{"status":503,"code":"ServiceUnavailable"}}}"#;
    assert_eq!(send("POST", "faults", fault).await.status, 201);
    service
        .call("GET", &path, b"")
        .await
        .is(503, "ServiceUnavailable");
    assert_eq!(send("DELETE", "faults", "").await.status, 204);
    assert_eq!(send("GET", "faults", "").await.json(), json!([]));
    assert_eq!(
        send("PUT", "permissions/withheld", r#"["OBJECT_READ"]"#)
            .await
            .status,
        204
    );
    service
        .call("GET", &path, b"")
        .await
        .is(404, "BucketNotFound");
    assert_eq!(send("GET", "uploads", "").await.json(), json!([]));
    let rate = r#"{"bytesPerSecond":1000}"#;
    assert_eq!(send("PUT", "connection-rate", rate).await.status, 204);
    let latency = r#"{"milliseconds":1}"#;
    assert_eq!(send("PUT", "latency", latency).await.status, 204);
    let clock = r#"{"offsetSeconds":1}"#;
    assert_eq!(send("PUT", "clock", clock).await.status, 204);
    assert_eq!(send("PUT", "keys/disabled", "[]").await.status, 204);
    send("POST", "uploads/expire", r#"{"uploadId":"none"}"#)
        .await
        .is_code("UploadNotFound");
    let traffic = send("GET", "traffic", "").await.json();
    assert_eq!(traffic["bodies"][0]["bytes"], 9);
    assert_eq!(traffic["operations"]["PutObject"]["requests"], 1);
    assert_eq!(send("DELETE", "traffic", "").await.status, 204);
    serving.abort();
}

#[tokio::test]
async fn connections_are_paced() {
    let (_dir, service) = service().await;
    service.storage.set_connection_rate(Some(1_000_000));
    let body = vec![7; 500_000];
    let start = std::time::Instant::now();
    let put = service.call("PUT", &service.path("o/", "a"), &body).await;
    assert_eq!(put.status, 200);
    // What arrives last is not waited for: a rate can only be undershot.
    assert!(
        start.elapsed() > Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
    service.stop().await;
}
