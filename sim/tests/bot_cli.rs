//! `telestream-sim chat` and `say`, as people and scripts use them, and the admin interface below.

mod bot;

use std::process::{Output, Stdio};

use bot::{Bench, CHANNEL, PATIENCE, PRIVATE, USER};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::task::JoinHandle;

/// Runs the program as the user, with lines to read.
async fn run(bench: &Bench, command: &str, arguments: &[&str], typed: &str) -> Output {
    let admin = format!("http://{}", bench.sim.admin_address());
    let mut child = Command::new(env!("CARGO_BIN_EXE_telestream-sim"))
        .args([command, "--admin", &admin, "--user", &USER.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    // It may be done without reading.
    let _ = stdin.write_all(typed.as_bytes()).await;
    drop(stdin);
    let ran = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    ran.expect("it ends").expect("it runs")
}

/// A bot that answers each message with a button, and each press with an edit.
fn obliging(bench: &Bench) -> JoinHandle<()> {
    let root = format!("{}/bot{}", bench.bot.url(), bench.bot.token());
    let client = bench.client.clone();
    tokio::spawn(async move {
        let call = async |method: &str, params: Value| -> Value {
            let request = client.post(format!("{root}/{method}")).json(&params);
            let answer = request.send().await.expect("an answer");
            answer.json().await.expect("JSON")
        };
        let mut offset = 0;
        loop {
            let updates = call("getUpdates", json!({"offset": offset, "timeout": 30})).await;
            for update in updates["result"].as_array().into_iter().flatten() {
                offset = update["update_id"].as_i64().expect("a number") + 1;
                let query = &update["callback_query"];
                if query.is_null() {
                    let name = &update["message"]["document"]["file_name"];
                    let text = format!("got {}", name.as_str().unwrap_or("words"));
                    let keyboard =
                        json!({"inline_keyboard": [[{"text": "Link", "callback_data": "l"}]]});
                    call(
                        "sendMessage",
                        json!({"chat_id": USER, "text": text, "reply_markup": keyboard}),
                    )
                    .await;
                } else {
                    let id = &query["message"]["message_id"];
                    call(
                        "answerCallbackQuery",
                        json!({"callback_query_id": query["id"], "text": "soon"}),
                    )
                    .await;
                    call(
                        "editMessageText",
                        json!({"chat_id": USER, "message_id": id, "text": "https://example.org/x"}),
                    )
                    .await;
                }
            }
        }
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_sends_a_file_and_waits_for_the_link() {
    let bench = Bench::new().await;
    let bot = obliging(&bench);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("report.pdf");
    std::fs::write(&path, vec![7; 300_000]).expect("written");
    let path = path.to_str().expect("a path");

    let said = run(
        &bench,
        "say",
        &["--file", path, "--name", "Ada", "--until", "got report.pdf"],
        "",
    )
    .await;
    assert!(said.status.success(), "{}", text(&said.stderr));
    let lines = text(&said.stdout);
    assert!(
        lines.contains("you #1: [Document report.pdf, 300000 bytes]"),
        "{lines}"
    );
    assert!(
        lines.contains("bot #2: got report.pdf\n    [1] Link"),
        "{lines}"
    );
    let said = run(
        &bench,
        "say",
        &["--generate", "5000", "--until", "got generated.bin"],
        "",
    )
    .await;
    assert!(said.status.success(), "{}", text(&said.stderr));
    let pressed = run(&bench, "say", &["--press", "1", "--until", "https://"], "").await;
    let lines = text(&pressed.stdout);
    assert!(
        lines.contains("you press \"Link\" of #4") && lines.contains("bot answers: soon"),
        "{lines}"
    );
    assert!(
        lines.contains("bot #4 (edited 1): https://example.org/x"),
        "{lines}"
    );

    let never = run(
        &bench,
        "say",
        &["--text", "x", "--until", "never", "--timeout", "1"],
        "",
    )
    .await;
    assert!(!never.status.success());
    assert!(
        text(&never.stderr).contains("said nothing that matches"),
        "{}",
        text(&never.stderr)
    );
    bot.abort();
    bench.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_can_be_typed() {
    let bench = Bench::new().await;
    let bot = obliging(&bench);
    let typed = "help\n/start\nwait got words\npress 1\nwait example\nsend /nowhere/at-all\nquit\nnever read\n";
    let ran = run(&bench, "chat", &["--name", "Ada"], typed).await;
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let lines = text(&ran.stdout);
    for expected in [
        "press N",
        "you #1: /start",
        "bot #2: got words\n    [1] Link",
        "you press \"Link\" of #2",
        "bot #2 (edited 1): https://example.org/x",
        "! /nowhere/at-all cannot be opened",
    ] {
        assert!(lines.contains(expected), "{expected:?} is not in {lines}");
    }
    assert_eq!(bench.bot.chat(PRIVATE).len(), 2);
    let ran = run(&bench, "chat", &[], "thanks").await;
    assert!(
        text(&ran.stdout).contains("you #3: thanks"),
        "what was sent last"
    );
    bot.abort();
    bench.sim.stop().await;
}

/// Makes a request of the admin interface; status and body.
async fn admin(bench: &Bench, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("http://{}{path}", bench.sim.admin_address());
    let method = method.parse().expect("a method");
    let request = bench.client.request(method, url);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

/// Makes requests, each of which is to get this status.
async fn all(bench: &Bench, requests: &[(&str, &str, Value, u16)]) {
    for (method, path, body, status) in requests {
        let body = Some(body.clone()).filter(|body| !body.is_null());
        let answer = admin(bench, method, path, body.clone()).await;
        assert_eq!(answer.0, *status, "{method} {path} {body:?}: {}", answer.1);
    }
}

async fn get(bench: &Bench, path: &str) -> Value {
    let (status, answer) = admin(bench, "GET", path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

#[tokio::test]
async fn messages_can_be_played_over_http() {
    let bench = Bench::new().await;
    let told = get(&bench, "/bot").await;
    assert_eq!(
        (&told["url"], &told["token"]),
        (&json!(bench.bot.url()), &json!(bench.bot.token()))
    );
    let contact = json!({"contact": {"phoneNumber": "1", "firstName": "A"}});
    let file = json!({"name": "a", "size": 5, "kind": "video"});
    let nowhere = json!({"from": USER, "chatId": -1_005_000_000_000_i64});
    all(
        &bench,
        &[
            (
                "POST",
                "/bot/users",
                json!({"id": USER, "firstName": "Ada"}),
                201,
            ),
            ("POST", "/bot/users/7001/start", Value::Null, 201),
            (
                "POST",
                "/bot/messages",
                json!({"from": USER, "text": "hi"}),
                201,
            ),
            (
                "POST",
                "/bot/messages",
                json!({"from": USER, "file": file}),
                201,
            ),
            (
                "POST",
                "/bot/messages",
                json!({"from": USER, "special": contact}),
                201,
            ),
            ("POST", "/bot/messages", nowhere, 404),
            (
                "PATCH",
                "/bot/chats/7001/messages/2",
                json!({"text": "hello"}),
                200,
            ),
            (
                "PATCH",
                "/bot/chats/7001/messages/99",
                json!({"text": "hello"}),
                404,
            ),
            (
                "DELETE",
                "/bot/chats/7001/messages/3?by=7001",
                Value::Null,
                204,
            ),
            ("GET", "/bot/chats/7001/messages/3", Value::Null, 404),
            ("GET", "/bot/chats/x", Value::Null, 400),
        ],
    )
    .await;
    let shown = get(&bench, "/bot/chats/7001").await;
    assert_eq!(shown[1]["text"], "hello");
    assert_eq!(shown.as_array().map(Vec::len), Some(3));
    let events = get(&bench, "/bot/events?after=2&chatId=7001").await;
    assert_eq!(
        (&events[0]["seq"], &events[0]["event"]),
        (&json!(3), &json!("sent"))
    );
    assert_eq!(get(&bench, "/bot/events?after=99").await, json!([]));
    assert_eq!(
        get(&bench, "/bot/updates").await[0]["message"]["text"],
        "/start"
    );
    bench.sim.stop().await;
}

#[tokio::test]
async fn everything_else_can_be_played_over_http() {
    let bench = Bench::new().await;
    let chat = json!({"id": CHANNEL, "kind": "channel", "title": "Files"});
    let press = |named: &str| json!({"from": USER, "chatId": USER, "messageId": 1, named: "x"});
    let kicked = json!({"by": USER, "standing": "kicked"});
    let effect = json!({"tooManyRequests": {"retryAfter": 3}});
    let fault = json!({"methods": ["getMe"], "times": 1, "effect": effect});
    let limits = json!({"group": {"messages": 1, "milliseconds": 1}});
    all(
        &bench,
        &[
            ("POST", "/bot/chats", chat, 201),
            ("PUT", "/bot/chats/-1001234567890/standing", kicked, 204),
            ("POST", "/bot/users/7001/start", Value::Null, 201),
            ("POST", "/bot/presses", press("button"), 400),
            ("POST", "/bot/presses", press("forged"), 201),
            ("POST", "/bot/presses/expire", Value::Null, 204),
            ("POST", "/bot/updates/again", json!({"last": 2}), 204),
            ("POST", "/bot/updates/again", json!({"updateId": 1}), 404),
            ("PUT", "/bot/users/7001/blocked", json!(true), 204),
            ("POST", "/bot/faults", fault, 204),
            ("POST", "/bot/faults", json!({"effect": "lose"}), 204),
            ("PUT", "/bot/limits", json!("real"), 204),
            ("PUT", "/bot/limits", limits, 204),
        ],
    )
    .await;
    let faults = get(&bench, "/bot/faults").await;
    assert_eq!(faults.as_array().map(Vec::len), Some(2));
    assert_eq!(admin(&bench, "DELETE", "/bot/faults", None).await.0, 204);
    bench.ok("getMe", json!({})).await;
    assert_eq!(get(&bench, "/bot/calls").await["getMe"]["ok"], 1);
    assert_eq!(get(&bench, "/bot/commands?scope=default").await, json!([]));
    bench.sim.stop().await;
}
