//! What the bot needs is away, one after the other, or asks for patience.

use std::time::Duration;

use serde_json::json;
use telestream_sim::bot_api::{
    faults::{Effect, Fault},
    player::UserMessage,
};
use tokio::time::sleep;

use crate::{
    chat::{ANN, BEN, EVE, Person, SMALL, download, install, install_with},
    world::{CHANNEL, MIB, World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_away_users_are_told_and_nothing_is_lost() {
    let mut world = install("bot-outages", json!({})).await;
    let ann = Person::new(&world, ANN);
    ann.ask("/start").await;
    refused_edits_delay_their_chat_alone(&world).await;
    the_bot_api_is_away(&world, &ann).await;
    edits_are_spaced(&world, &ann).await;
    the_api_server_is_away(&world, &ann).await;
    world.redis.kill();
    let before = ann.last_event();
    ann.send_file("without-redis.zip", SMALL).await;
    ann.gets(before, "without-redis.zip").await;
}

/// Telegram refuses edits for hours: results come all the same, and others notice nothing.
async fn refused_edits_delay_their_chat_alone(world: &World) {
    let (eve, ben) = (Person::new(world, EVE), Person::new(world, BEN));
    eve.ask("/start").await;
    ben.ask("/start").await;
    let bot = world.sim.bot();
    let mut fault = Fault::of_method(
        "editMessageText",
        1_000,
        Effect::TooManyRequests {
            retry_after: 54_000,
        },
    );
    fault.chat_id = Some(eve.chat_id());
    bot.add_fault(fault);
    let before = bot.last_event();
    world.set_rate(Some(2 * MIB));
    eve.send_file("flooded.zip", 20 * MIB).await;
    eve.sees(before, "flooded.zip").await;
    ben.send_file("calm.zip", 20 * MIB).await;
    ben.sees(before, "▰").await;
    world.set_rate(None);
    let result = eve.gets(before, "flooded.zip").await;
    assert_eq!(download(&Person::link(&result)).await, (200, 20 * MIB));
    ben.gets(before, "calm.zip").await;
    bot.clear_faults();
}

async fn the_bot_api_is_away(world: &World, ann: &Person) {
    let bot = world.sim.bot();
    let before = ann.last_event();
    // Given the Bot API breaks all connections while a file is under way
    world.set_rate(Some(2 * MIB));
    ann.send_file("through.zip", 12 * MIB).await;
    ann.sees(before, "through.zip").await;
    bot.add_fault(Fault::of(Effect::Close));
    world.set_rate(None);
    eventually("it is stored", async || {
        world
            .sim
            .oci()
            .objects()
            .iter()
            .any(|object| object.name.ends_with("through.zip"))
    })
    .await;
    // And somebody sends another meanwhile
    ann.send_file("meanwhile.zip", SMALL).await;
    sleep(Duration::from_secs(3)).await;
    bot.clear_faults();
    // Then both are told of
    eventually("both are told of", async || {
        ["through.zip", "meanwhile.zip"].iter().all(|name| {
            ann.messages()
                .iter()
                .any(|message| message.text.contains(name) && message.html.contains("http"))
        })
    })
    .await;
}

/// At most one edit in three seconds, however fast a file moves.
async fn edits_are_spaced(world: &World, ann: &Person) {
    let bot = world.sim.bot();
    let before = ann.last_event();
    world.set_rate(Some(MIB));
    ann.send_file("slowly.zip", 16 * MIB).await;
    ann.gets(before, "slowly.zip").await;
    world.set_rate(None);
    let events = bot.events(before);
    let edits: Vec<_> = events
        .iter()
        .filter(|event| event.chat_id == ann.chat_id())
        .filter(|event| {
            matches!(
                event.what,
                telestream_sim::bot_api::events::Happened::Edited { .. }
            )
        })
        .collect();
    assert!(edits.len() >= 3, "progress is shown");
    // The last one carries the result, and waits for nobody.
    for pair in edits[..edits.len() - 1].windows(2) {
        assert!(
            pair[1].time - pair[0].time >= 2_900,
            "{} ms",
            pair[1].time - pair[0].time
        );
    }
}

async fn the_api_server_is_away(world: &World, ann: &Person) {
    let before = ann.last_event();
    world.plane.stop("apiserver");
    // Given a file comes while nobody can take it
    ann.send_file("patience.zip", SMALL).await;
    ann.sees(before, "keep trying").await;
    ann.hears("/mylinks", "cannot reach the cluster").await;
    // When it is back, then the file goes its way
    world.plane.start_again("apiserver");
    ann.gets(before, "patience.zip").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_may_come_by_webhook() {
    let bot = json!({"groupId": CHANNEL, "webhook": {"url": "http://127.0.0.1:1/"}});
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut bot = bot;
    bot["webhook"]["url"] = json!(format!("http://127.0.0.1:{port}/"));
    let address =
        json!({"extraEnv": [{"name": "WEBHOOK_ADDRESS", "value": format!("127.0.0.1:{port}")}]});
    let world = install_with("bot-webhook", bot, address).await;
    let ann = Person::new(&world, ANN);
    let before = ann.last_event();
    ann.send_file("pushed.zip", SMALL).await;
    let result = ann.gets(before, "pushed.zip").await;
    assert_eq!(download(&Person::link(&result)).await, (200, SMALL));
    // Nobody else gets in there
    let forged = json!({"update_id": 999_999, "message": {
        "message_id": 1, "date": 1, "text": "/start", "chat": {"id": ANN, "type": "private", "first_name": "Ann"},
        "from": {"id": ANN, "is_bot": false, "first_name": "Ann"},
    }});
    let client = reqwest::Client::new();
    let knock = |secret: Option<&str>| {
        let request = client
            .post(format!("http://127.0.0.1:{port}/"))
            .json(&forged);
        match secret {
            Some(secret) => request.header("X-Telegram-Bot-Api-Secret-Token", secret),
            None => request,
        }
    };
    for secret in [None, Some("wrong"), Some("")] {
        assert_eq!(knock(secret).send().await.unwrap().status(), 403);
    }
    ann.send(UserMessage::text(ANN, "/help")).await;
    ann.sees(before, "/mylinks").await;
    assert!(
        !ann.messages()
            .iter()
            .any(|message| message.text.contains("👋"))
    );
}
