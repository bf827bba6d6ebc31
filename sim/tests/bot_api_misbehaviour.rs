//! The Bot API at its worst: deliveries that fail, limits, and faults on demand.

mod bot;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bot::{Bench, PATIENCE, PRIVATE, USER};
use serde_json::{Value, json};
use telestream_sim::bot_api::faults::{Effect, Fault};
use telestream_sim::bot_api::limits::{Limits, Rate};
use telestream_sim::bot_api::player::UserMessage;
use telestream_sim::telegram::ids::ChatId;
use tokio::net::TcpListener;

/// The secret and the update.
type Delivery = (Option<String>, Value);

/// What a webhook has got, and what it is to answer.
#[derive(Clone, Default)]
struct Hook {
    got: Arc<Mutex<Vec<Delivery>>>,
    answers: Arc<Mutex<VecDeque<(StatusCode, Value)>>>,
}

impl Hook {
    /// Serves it until the test ends; its URL.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/hook", post(take))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/hook")
    }

    fn texts(&self) -> Vec<String> {
        let got = self.got.lock().expect("not poisoned");
        let texts = got
            .iter()
            .map(|(_, update)| update["message"]["text"].as_str());
        texts
            .map(|text| text.unwrap_or_default().to_owned())
            .collect()
    }
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, Json(update): Json<Value>) -> Response {
    let secret = headers.get("x-telegram-bot-api-secret-token");
    let secret = secret
        .and_then(|secret| secret.to_str().ok())
        .map(str::to_owned);
    hook.got
        .lock()
        .expect("not poisoned")
        .push((secret, update));
    let answer = hook.answers.lock().expect("not poisoned").pop_front();
    let (status, body) = answer.unwrap_or((StatusCode::OK, json!({})));
    (status, Json(body)).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_brought_updates_in_order_until_it_takes_them() {
    let bench = Bench::new().await;
    let hook = Hook::default();
    hook.answers.lock().expect("not poisoned").extend([
        (StatusCode::INTERNAL_SERVER_ERROR, json!({})),
        (StatusCode::BAD_GATEWAY, json!({})),
        (
            StatusCode::OK,
            json!({"method": "sendMessage", "chat_id": USER, "text": "by reply"}),
        ),
    ]);
    let url = hook.serve().await;
    bench.bot.start(USER).await.expect("started");
    let set = json!({"url": url, "secret_token": "abc_DEF-1"});
    let answer = bench.call("setWebhook", set.clone()).await;
    assert_eq!(
        answer,
        json!({"ok": true, "result": true, "description": "Webhook was set"})
    );
    assert_eq!(
        bench.call("setWebhook", set).await["description"],
        "Webhook is already set"
    );
    for text in ["one", "two"] {
        bench
            .bot
            .send(UserMessage::text(USER, text))
            .await
            .expect("sent");
    }
    let all_taken = bench
        .bot
        .wait_until(PATIENCE, |bot| (bot.pending_updates() == 0).then_some(()));
    all_taken.await.expect("taken");
    assert_eq!(hook.texts(), ["/start", "/start", "/start", "one", "two"]);
    let secrets = hook.got.lock().expect("not poisoned").clone();
    assert!(
        secrets
            .iter()
            .all(|(secret, _)| secret.as_deref() == Some("abc_DEF-1"))
    );
    let replied = bench
        .bot
        .chat(PRIVATE)
        .into_iter()
        .any(|message| message.text == "by reply");
    assert!(replied, "an answer may be a call");
    let info = bench.ok("getWebhookInfo", json!({})).await;
    assert_eq!(
        (&info["url"], &info["pending_update_count"]),
        (&json!(url), &json!(0))
    );
    assert_eq!(
        info["last_error_message"],
        "Wrong response from the webhook: 502 Bad Gateway"
    );

    // It can be told again, and removed with what waits
    bench.bot.deliver_last_again(1);
    bench
        .bot
        .wait_until(PATIENCE, |_| (hook.texts().len() == 6).then_some(()))
        .await
        .expect("again");
    bench
        .ok("setWebhook", json!({"url": "http://127.0.0.1:9/"}))
        .await;
    bench
        .bot
        .send(UserMessage::text(USER, "lost"))
        .await
        .expect("sent");
    bench
        .ok("deleteWebhook", json!({"drop_pending_updates": true}))
        .await;
    assert_eq!(bench.updates().await, [Value::Null; 0]);
    let wrong = json!({"url": "https://a.b/", "secret_token": "a b"});
    assert_eq!(bench.refused("setWebhook", wrong).await.0, 400);
    bench.sim.stop().await;
}

#[tokio::test]
async fn who_sends_too_much_is_told_to_wait() {
    let bench = Bench::new().await;
    bench.bot.start(USER).await.expect("started");
    let say = || json!({"chat_id": USER, "text": "x"});
    for _ in 0..10 {
        bench.ok("sendMessage", say()).await;
    }
    bench.bot.set_limits(Limits {
        chat: Some(Rate {
            messages: 1,
            milliseconds: 3_600_000,
        }),
        ..Limits::off()
    });
    let first = bench.ok("sendMessage", say()).await;
    let answer = bench.call("sendMessage", say()).await;
    let wait = answer["parameters"]["retry_after"]
        .as_u64()
        .expect("seconds");
    assert!((3590..=3600).contains(&wait), "{wait}");
    assert_eq!(answer["error_code"], 429);
    assert_eq!(
        answer["description"],
        format!("Too Many Requests: retry after {wait}")
    );
    let edit = json!({"chat_id": USER, "message_id": first["message_id"], "text": "y"});
    assert_eq!(
        bench.refused("editMessageText", edit).await.0,
        429,
        "a change counts too"
    );
    bench.bot.set_limits(Limits::off());
    bench.ok("sendMessage", say()).await;
}

#[tokio::test]
async fn calls_go_wrong_on_demand() {
    let bench = Bench::new().await;
    bench.bot.start(USER).await.expect("started");
    let say = |text: &str| json!({"chat_id": USER, "text": text});
    let texts = || -> Vec<String> {
        let shown = bench.bot.chat(PRIVATE).into_iter().skip(1);
        shown.map(|message| message.text).collect()
    };
    let once = |effect| Fault::of_method("sendMessage", 1, effect);

    bench.bot.add_fault(once(Effect::TooManyRequests {
        retry_after: 54_000,
    }));
    let answer = bench.call("sendMessage", say("a")).await;
    assert_eq!(answer["parameters"], json!({"retry_after": 54_000}));
    let description = "Internal Server Error".to_owned();
    bench.bot.add_fault(once(Effect::Status {
        code: 500,
        description: description.clone(),
    }));
    assert_eq!(
        bench.refused("sendMessage", say("b")).await,
        (500, description)
    );

    // Lost is what was done, and closed what was not
    bench.bot.add_fault(once(Effect::Lose));
    assert!(bench.try_call("sendMessage", say("lost")).await.is_err());
    bench.bot.add_fault(once(Effect::Close));
    assert!(bench.try_call("sendMessage", say("closed")).await.is_err());
    assert_eq!(texts(), ["lost"]);

    bench.bot.add_fault(Fault {
        chat_id: Some(ChatId(1)),
        ..Fault::of(Effect::Close)
    });
    bench.bot.add_fault(once(Effect::Delay { milliseconds: 1 }));
    bench.ok("sendMessage", say("late")).await;
    assert_eq!(bench.bot.faults().len(), 1);
    bench.bot.clear_faults();

    bench.bot.add_fault(once(Effect::Hang));
    let silent = bench.try_call("sendMessage", say("silent"));
    tokio::select! {
        answer = silent => panic!("{answer:?}"),
        hung = bench.bot.wait_until(PATIENCE, |bot| (bot.calls_of("sendMessage").unanswered == 3).then_some(())) => hung.expect("it hangs"),
    }
    assert_eq!(texts(), ["lost", "late"]);
    let calls = bench.bot.calls_of("sendMessage");
    assert_eq!(
        (
            calls.ok,
            calls.refused[&429],
            calls.refused[&500],
            calls.total()
        ),
        (1, 1, 1, 6)
    );
    tokio::time::timeout(Duration::from_secs(4), bench.sim.stop())
        .await
        .expect("it does not wait");
}
