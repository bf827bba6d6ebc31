//! The admin interface and the binary, as a script would use them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `telestream-sim serve`.
struct Server {
    child: Child,
    announced: Value,
}

impl Server {
    async fn start(dir: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_telestream-sim"))
            .args(["serve", "--dc", "2", "--dc", "4", "--data-dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = timeout(PATIENCE, lines.next_line())
            .await
            .expect("ready in time");
        let line = line.expect("readable").expect("a line");
        Self {
            child,
            announced: serde_json::from_str(&line).expect("JSON"),
        }
    }

    /// Makes a request and returns status and body.
    async fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let admin = self.announced["admin"].as_str().expect("an address");
        let address = admin.strip_prefix("http://").expect("over HTTP");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("it reads");
        stream.write_all(body).await.expect("it reads");
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("an answer in time").expect("an answer");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .expect("a status")
            .parse()
            .expect("a number");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.request("POST", path, body.to_string().as_bytes())
            .await
    }

    /// Ends it as Kubernetes would.
    async fn terminate(mut self) {
        let pid = self.child.id().expect("it runs").to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(killed.expect("kill runs").success());
        let ended = timeout(PATIENCE, self.child.wait())
            .await
            .expect("ended in time");
        assert!(ended.expect("ended").success());
    }
}

#[tokio::test]
async fn a_script_provisions_sessions_messages_and_files() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(dir.path()).await;

    // Addresses
    assert_eq!(server.announced["telegram"]["homeDc"], 2);
    let (status, told) = server.request("GET", "/telegram", b"").await;
    assert_eq!((status, &told), (200, &server.announced["telegram"]));

    // A session has a key for each data centre
    let (status, session) = server
        .post("/telegram/sessions", json!({"identity": "bot"}))
        .await;
    assert_eq!((status, &session["homeDc"]), (201, &json!(2)));
    let dcs = session["dcs"].as_array().expect("data centres");
    assert_eq!(dcs.len(), 2);
    assert_eq!(dcs[0]["ipv4"], told["dcs"][0]["address"]);
    assert_eq!(dcs[0]["authKey"].as_str().map(str::len), Some(344));

    // A generated file; its hash was computed by OpenSSL
    let file = json!({"chatId": -1_001_000_000_001_i64, "name": "a.bin", "size": 5_000_000, "seed": 7, "dc": 4});
    let (status, first) = server.post("/telegram/messages", file.clone()).await;
    assert_eq!(
        (status, &first["messageId"], &first["size"], &first["dc"]),
        (201, &json!(1), &json!(5_000_000), &json!(4))
    );
    assert_eq!(
        first["sha256"],
        "944064519b275d53cca3be37c65ec75f8b8ab68f9feca29788f58c27053d7b4d"
    );
    let (_, second) = server.post("/telegram/messages", file).await;
    assert_eq!(
        (&second["messageId"], &second["sha256"]),
        (&json!(2), &first["sha256"])
    );

    // Text, and an uploaded file
    let (status, text) = server
        .post(
            "/telegram/messages",
            json!({"chatId": 5, "kind": "text", "text": "hi"}),
        )
        .await;
    assert_eq!((status, text), (201, json!({"chatId": 5, "messageId": 1})));
    let put = "/telegram/files?chatId=-1001000000001&name=b.txt&mimeType=text/plain";
    let (status, uploaded) = server.request("PUT", put, b"hello").await;
    assert_eq!((status, &uploaded["size"]), (201, &json!(5)));
    assert_eq!(
        uploaded["sha256"],
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );

    // Deleting
    let gone = "/telegram/messages/-1001000000001/1";
    assert_eq!(server.request("DELETE", gone, b"").await.0, 204);
    assert_eq!(server.request("DELETE", gone, b"").await.0, 404);

    // What is to go wrong
    let fault = json!({"methods": ["upload.getFile"], "times": 1, "effect": {"error": {"code": 420, "message": "FLOOD_WAIT_3"}}});
    assert_eq!(server.post("/telegram/faults", fault).await.0, 204);
    assert_eq!(
        server
            .post("/telegram/faults", json!({"effect": "close"}))
            .await
            .0,
        204
    );
    let (_, faults) = server.request("GET", "/telegram/faults", b"").await;
    assert_eq!(faults.as_array().map(Vec::len), Some(2));
    assert_eq!(
        server.request("DELETE", "/telegram/faults", b"").await.0,
        204
    );
    let (_, faults) = server.request("GET", "/telegram/faults", b"").await;
    assert_eq!(faults, json!([]));
    for (path, setting) in [
        ("/telegram/rate", json!({"bytesPerSecond": 1})),
        ("/telegram/latency", json!({"milliseconds": 1})),
        ("/telegram/clock", json!({"offsetSeconds": 1})),
        ("/telegram/key-sharing", json!("allow")),
        (
            "/telegram/doors",
            json!({"dc": 2, "door": "media", "conduct": "ignore"}),
        ),
    ] {
        let body = setting.to_string();
        let (status, answer) = server.request("PUT", path, body.as_bytes()).await;
        assert_eq!(status, 204, "{path}: {answer}");
    }
    let (_, traffic) = server.request("GET", "/telegram/traffic", b"").await;
    assert_eq!(traffic["files"], json!([]));
    let reset = server.request("DELETE", "/telegram/traffic", b"").await;
    assert_eq!(reset.0, 204);
    server.terminate().await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(dir.path()).await;
    assert_eq!(server.request("GET", "/healthz", b"").await.0, 200);
    for (path, body, status, word) in [
        ("/telegram/sessions", json!({"identity": "cat"}), 400, "cat"),
        ("/telegram/sessions", json!({}), 400, "identity"),
        (
            "/telegram/messages",
            json!({"chatId": -5, "kind": "text", "text": "x"}),
            400,
            "chatId",
        ),
        ("/telegram/messages", json!({"chatId": 5}), 400, "size"),
        (
            "/telegram/messages",
            json!({"chatId": 5, "kind": "text"}),
            400,
            "text",
        ),
        (
            "/telegram/messages",
            json!({"chatId": 5, "size": 1, "dc": 9}),
            400,
            "data centre 9",
        ),
        (
            "/telegram/messages",
            json!({"chatId": 5, "size": 1, "nmae": "x"}),
            400,
            "nmae",
        ),
        ("/nowhere", json!({}), 404, "path"),
        ("/healthz", json!({}), 405, "method"),
    ] {
        let (got, answer) = server.post(path, body).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(
            got == status && error.contains(word),
            "{path}: {got} {answer}"
        );
    }
    let (status, answer) = server.request("PUT", "/telegram/files?name=x", b"x").await;
    assert!(
        status == 400 && answer["error"].to_string().contains("chatId"),
        "{answer}"
    );
    let (status, _) = server
        .request("PUT", "/telegram/files?chatId=-5", b"x")
        .await;
    assert_eq!(status, 400);
    let left = std::fs::read_dir(dir.path().join("telegram/files"))
        .expect("a folder")
        .count();
    assert_eq!(left, 0, "a refused file is not kept");
    server.terminate().await;
}
