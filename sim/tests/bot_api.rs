//! The Bot API: what bots are told and what they can do, by the rules of the real one.

mod bot;

use bot::{Bench, CHANNEL, GROUP, OTHER, PATIENCE, PRIVATE, USER};
use serde_json::{Value, json};
use telestream_sim::bot_api::events::{Author, Happened};
use telestream_sim::bot_api::people::{ChatKind, ChatProfile, Standing, Topic, UserProfile};
use telestream_sim::bot_api::player::{FileSource, UserFile, UserMessage};
use telestream_sim::telegram::details::{Happening, Special};
use telestream_sim::telegram::ids::ChatId;
use telestream_sim::telegram::store::{Look, MediaKind};

#[tokio::test]
async fn a_bot_is_told_who_it_is_and_strangers_nothing() {
    let bench = Bench::new().await;
    let me = bench.ok("getMe", json!({})).await;
    assert_eq!(me["id"], bench.bot.id());
    assert_eq!(
        (&me["is_bot"], &me["username"]),
        (&json!(true), &json!("telestream_sim_bot"))
    );
    // Names of methods may be written in any case, parameters come in the query too.
    let url = format!("{}/bot{}/GETME?x=1", bench.bot.url(), bench.bot.token());
    assert_eq!(
        bench
            .client
            .get(url)
            .send()
            .await
            .expect("an answer")
            .status(),
        200
    );
    assert_eq!(
        bench.refused("getMeToo", json!({})).await,
        (404, "Not Found".to_owned())
    );
    let url = format!("{}/bot123:wrong/getMe", bench.bot.url());
    let answer = bench.client.get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 401);
    let told: Value = answer.json().await.expect("JSON");
    assert_eq!(
        told,
        json!({"ok": false, "error_code": 401, "description": "Unauthorized"})
    );
}

#[tokio::test]
async fn offsets_confirm_updates() {
    let bench = Bench::new().await;
    for n in 0..4 {
        bench
            .bot
            .send(UserMessage::text(USER, &n.to_string()))
            .await
            .expect("sent");
    }
    let texts = async |params: Value| -> Vec<String> {
        let updates = bench.ok("getUpdates", params).await;
        let updates = updates.as_array().expect("updates").iter();
        updates
            .map(|one| one["message"]["text"].as_str().expect("text").to_owned())
            .collect()
    };
    let first = bench.bot.updates()[0]["update_id"]
        .as_i64()
        .expect("a number");
    assert_eq!(texts(json!({})).await, ["0", "1", "2", "3"]);
    assert_eq!(texts(json!({"limit": 2})).await, ["0", "1"]);
    assert_eq!(texts(json!({"offset": first + 1})).await, ["1", "2", "3"]);
    assert_eq!(
        texts(json!({})).await,
        ["1", "2", "3"],
        "the first one is forgotten"
    );
    assert_eq!(texts(json!({"offset": -2})).await, ["2", "3"]);
    assert_eq!(texts(json!({"offset": "0"})).await, ["2", "3"]);
    bench.bot.deliver_again(first).expect("it is known");
    assert_eq!(
        texts(json!({"offset": first + 4})).await,
        ["0"],
        "a second time"
    );
    assert_eq!(texts(json!({"offset": first + 4})).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_updates_and_a_second_one_takes_its_place() {
    let bench = Bench::new().await;
    let poll = |timeout: u32| {
        let url = format!("{}/bot{}/getUpdates", bench.bot.url(), bench.bot.token());
        let request = bench.client.post(url).json(&json!({"timeout": timeout}));
        tokio::spawn(async move {
            let answer = request.send().await.expect("an answer");
            answer.json::<Value>().await.expect("JSON")
        })
    };
    let calls = |code: u16| bench.bot.calls_of("getUpdates").refused.get(&code).copied();
    let older = poll(50);
    // The first one must be waiting, or the second one would be the older.
    bench
        .bot
        .wait_until(PATIENCE, |bot| (bot.waiting_polls() == 1).then_some(()))
        .await
        .expect("it waits");
    let newer = poll(50);
    let older = older.await.expect("answered");
    assert_eq!(
        (&older["error_code"], &older["description"]),
        (
            &json!(409),
            &json!(
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
            )
        )
    );
    assert_eq!(calls(409), Some(1));
    bench.bot.start(USER).await.expect("started");
    let newer = newer.await.expect("answered");
    assert_eq!(newer["result"][0]["message"]["text"], "/start");
    assert_eq!(
        newer["result"][0]["message"]["entities"][0]["type"],
        "bot_command"
    );

    // A webhook ends it as well.
    bench.updates().await;
    let waiting = poll(50);
    bench
        .bot
        .wait_until(PATIENCE, |bot| (bot.waiting_polls() == 1).then_some(()))
        .await
        .expect("it waits");
    bench
        .ok("setWebhook", json!({"url": "http://127.0.0.1:9/"}))
        .await;
    let waiting = waiting.await.expect("answered");
    assert_eq!(
        waiting["description"],
        "Conflict: terminated by setWebhook request"
    );
    assert_eq!(
        bench.refused("getUpdates", json!({})).await,
        (409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first".to_owned())
    );
    bench.sim.stop().await;
}

#[tokio::test]
async fn only_the_kinds_that_are_wanted_are_told() {
    let bench = Bench::new().await;
    bench
        .ok("getUpdates", json!({"allowed_updates": ["edited_message"]}))
        .await;
    let sent = bench.bot.start(USER).await.expect("started");
    bench
        .bot
        .edit_user_message(PRIVATE, sent.id, "other")
        .expect("changed");
    let updates = bench.updates().await;
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0]["edited_message"]["text"], "other");
    assert!(updates[0]["edited_message"]["edit_date"].is_i64());
    bench.ok("getUpdates", json!({"allowed_updates": []})).await;
    bench
        .bot
        .send(UserMessage::text(USER, "again"))
        .await
        .expect("sent");
    assert_eq!(bench.updates().await.len(), 1);
}

#[tokio::test]
async fn messages_are_sent_changed_and_deleted() {
    let bench = Bench::new().await;
    bench.bot.start(USER).await.expect("started");
    let keyboard = json!({"inline_keyboard": [[{"text": "Cancel", "callback_data": "c:1"}]]});
    let params = json!({
        "chat_id": USER, "text": "<b>1</b> &lt; 2", "parse_mode": "HTML", "reply_markup": keyboard,
        "link_preview_options": {"is_disabled": true}, "reply_parameters": {"message_id": 1},
    });
    let sent = bench.ok("sendMessage", params).await;
    assert_eq!(sent["text"], "1 < 2");
    assert_eq!(
        sent["entities"],
        json!([{"type": "bold", "offset": 0, "length": 1}])
    );
    assert_eq!(sent["from"]["id"], bench.bot.id());
    assert_eq!(
        sent["chat"],
        json!({"id": USER, "type": "private", "first_name": "User 7001"})
    );
    assert_eq!(sent["reply_to_message"]["text"], "/start");
    assert_eq!(sent["reply_markup"], keyboard);
    let id = sent["message_id"].clone();
    let edit = |text: &str, keyboard: Value| json!({"chat_id": USER, "message_id": id, "text": text, "parse_mode": "HTML", "reply_markup": keyboard});
    let (code, description) = bench
        .refused("editMessageText", edit("<b>1</b> &lt; 2", keyboard.clone()))
        .await;
    assert_eq!(code, 400);
    assert_eq!(
        description,
        "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message"
    );
    // The same words in another manner are another content.
    bench
        .ok("editMessageText", edit("1 &lt; 2", keyboard.clone()))
        .await;
    let edited = bench.ok("editMessageText", edit("3", Value::Null)).await;
    assert!(edited["edit_date"].is_i64() && edited["reply_markup"].is_null());
    let markup = json!({"chat_id": USER, "message_id": id, "reply_markup": keyboard});
    bench.ok("editMessageReplyMarkup", markup.clone()).await;
    assert_eq!(bench.refused("editMessageReplyMarkup", markup).await.0, 400);

    let shown = bench.bot.chat(PRIVATE);
    assert_eq!(shown.len(), 2);
    assert_eq!(
        (shown[1].author, shown[1].text.as_str(), shown[1].edits),
        (Author::Bot, "3", 3)
    );
    assert_eq!(
        shown[1].button("Cancel").map(|button| button.text.as_str()),
        Some("Cancel")
    );
    assert!(!shown[0].html.is_empty() && shown[1].reply_to == Some(1));

    bench
        .ok("deleteMessage", json!({"chat_id": USER, "message_id": id}))
        .await;
    for (method, description) in [
        ("deleteMessage", "Bad Request: message to delete not found"),
        ("editMessageText", "Bad Request: message to edit not found"),
    ] {
        let params = json!({"chat_id": USER, "message_id": id, "text": "x"});
        assert_eq!(
            bench.refused(method, params).await,
            (400, description.to_owned())
        );
    }
    let theirs = json!({"chat_id": USER, "message_id": 1, "text": "x"});
    assert_eq!(
        bench.refused("editMessageText", theirs).await.1,
        "Bad Request: message can't be edited"
    );
    let last = bench.bot.events(0).pop().expect("events");
    assert!(matches!(
        last.what,
        Happened::Deleted {
            by: Author::Bot,
            ..
        }
    ));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_in_the_words_of_the_real_service() {
    let bench = Bench::new().await.with_chats();
    bench.bot.start(USER).await.expect("started");
    bench.bot.add_user(UserProfile::new(OTHER)).expect("a user");
    let away = ChatProfile {
        bot: Standing::Absent,
        ..ChatProfile::new(ChatId(-1_005), ChatKind::Channel, "Away")
    };
    assert!(
        bench.bot.add_chat(away.clone()).is_err(),
        "a number of no channel"
    );
    let away = ChatProfile {
        id: ChatId(-1_009_999_999_999),
        ..away
    };
    bench.bot.add_chat(away).expect("a chat");
    let long = "\u{1f600}".repeat(2049);
    for (params, code, description) in [
        (
            json!({"chat_id": USER, "text": " \n"}),
            400,
            "Bad Request: message text is empty",
        ),
        (
            json!({"chat_id": USER}),
            400,
            "Bad Request: message text is empty",
        ),
        (
            json!({"chat_id": USER, "text": long}),
            400,
            "Bad Request: message is too long",
        ),
        (json!({"text": "x"}), 400, "Bad Request: chat_id is empty"),
        (
            json!({"chat_id": 12345, "text": "x"}),
            400,
            "Bad Request: chat not found",
        ),
        (
            json!({"chat_id": "@nobody", "text": "x"}),
            400,
            "Bad Request: chat not found",
        ),
        (
            json!({"chat_id": OTHER, "text": "x"}),
            403,
            "Forbidden: bot can't initiate conversation with a user",
        ),
        (
            json!({"chat_id": -1_009_999_999_999_i64, "text": "x"}),
            403,
            "Forbidden: bot is not a member of the channel chat",
        ),
        (
            json!({"chat_id": USER, "text": "<b>x", "parse_mode": "html"}),
            400,
            "Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"b\"",
        ),
        (
            json!({"chat_id": USER, "text": "x", "parse_mode": "TeX"}),
            400,
            "Bad Request: unsupported parse_mode",
        ),
        (
            json!({"chat_id": USER, "text": "x", "message_thread_id": 5}),
            400,
            "Bad Request: message thread not found",
        ),
        (
            json!({"chat_id": USER, "text": "x", "reply_parameters": {"message_id": 99}}),
            400,
            "Bad Request: message to be replied not found",
        ),
        (
            json!({"chat_id": USER, "text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a", "callback_data": "x".repeat(65)}]]}}),
            400,
            "Bad Request: BUTTON_DATA_INVALID",
        ),
    ] {
        let refused = bench.refused("sendMessage", params).await;
        assert_eq!(refused, (code, description.to_owned()));
    }
    let exactly = "<b>".to_owned() + &"\u{1f600}".repeat(2048) + "</b>";
    bench
        .ok(
            "sendMessage",
            json!({"chat_id": USER, "text": exactly, "parse_mode": "HTML"}),
        )
        .await;
}

#[tokio::test]
async fn a_user_who_blocks_the_bot_is_left_alone() {
    let bench = Bench::new().await;
    bench.bot.start(USER).await.expect("started");
    bench.updates().await;
    bench.bot.set_blocked(USER, true).expect("blocked");
    let blocked = (403, "Forbidden: bot was blocked by the user".to_owned());
    let params = json!({"chat_id": USER, "text": "x"});
    assert_eq!(bench.refused("sendMessage", params).await, blocked);
    assert!(bench.bot.send(UserMessage::text(USER, "x")).await.is_err());
    bench.bot.start(USER).await.expect("started anew");
    bench.say("x").await;
    let updates = bench.updates().await;
    let standing = |update: &Value| {
        let change = &update["my_chat_member"];
        (
            change["old_chat_member"]["status"].clone(),
            change["new_chat_member"]["status"].clone(),
        )
    };
    assert_eq!(standing(&updates[0]), (json!("member"), json!("kicked")));
    assert_eq!(standing(&updates[1]), (json!("kicked"), json!("member")));
    assert_eq!(updates[2]["message"]["text"], "/start");
    assert_eq!(updates.len(), 3);
}

#[tokio::test]
async fn pressed_buttons_are_told_and_answered() {
    let bench = Bench::new().await;
    bench.bot.start(USER).await.expect("started");
    let keyboard = json!({"inline_keyboard": [[
        {"text": "Cancel", "callback_data": "c:1"}, {"text": "Open", "url": "https://a.b/"},
    ]]});
    let sent = bench
        .ok(
            "sendMessage",
            json!({"chat_id": USER, "text": "x", "reply_markup": keyboard}),
        )
        .await;
    let id = i32::try_from(sent["message_id"].as_i64().expect("a number")).expect("small");
    bench.updates().await;
    let query = bench
        .bot
        .press(PRIVATE, id, USER, "Cancel")
        .expect("pressed");
    bench
        .bot
        .press(PRIVATE, id, USER, "c:1")
        .expect("by its data");
    assert!(
        bench.bot.press(PRIVATE, id, USER, "Open").is_err(),
        "it tells nobody"
    );
    bench
        .bot
        .press_forged(OTHER, PRIVATE, id, "c:2")
        .expect("forged");
    let updates = bench.updates().await;
    let told = |at: usize| &updates[at]["callback_query"];
    assert_eq!(
        (&told(0)["data"], &told(0)["from"]["id"]),
        (&json!("c:1"), &json!(USER))
    );
    assert_eq!(told(0)["id"], query.0);
    assert_eq!(told(0)["message"]["message_id"], id);
    assert_eq!(
        (&told(2)["data"], &told(2)["from"]["id"]),
        (&json!("c:2"), &json!(OTHER))
    );

    let before = bench.bot.last_event();
    let answer = json!({"callback_query_id": query.0, "text": "Done", "show_alert": true});
    bench.ok("answerCallbackQuery", answer.clone()).await;
    let told = bench
        .bot
        .wait_for(before, PATIENCE, |event| {
            matches!(event.what, Happened::Answered { .. })
        })
        .await
        .expect("answered");
    assert_eq!(
        told.what,
        Happened::Answered {
            user: USER,
            query: query.0,
            text: "Done".to_owned(),
            alert: true
        }
    );
    bench.bot.expire_callbacks();
    assert_eq!(
        bench.refused("answerCallbackQuery", answer).await,
        (
            400,
            "Bad Request: query is too old and response timeout expired or query ID is invalid"
                .to_owned()
        )
    );
}

/// What a file of this kind looks like in the tests.
fn look(kind: MediaKind) -> Look {
    Look {
        kind,
        name: Some("a.bin".to_owned()),
        duration: Some(3.7),
        width: Some(320),
        height: Some(240),
        title: Some("Title".to_owned()),
        ..Look::default()
    }
}

/// 5000 bytes of this kind.
fn media(kind: MediaKind) -> UserMessage {
    let source = FileSource::Generated {
        size: 5000,
        seed: 1,
    };
    UserMessage::file(USER, UserFile::of(look(kind), source))
}

#[tokio::test]
async fn every_kind_of_file_has_the_fields_of_the_real_one() {
    let bench = Bench::new().await;
    for (kind, field, fields) in [
        (
            MediaKind::Document,
            "document",
            json!({"file_name": "a.bin", "mime_type": "application/octet-stream"}),
        ),
        (
            MediaKind::Video,
            "video",
            json!({"file_name": "a.bin", "duration": 3, "width": 320, "height": 240}),
        ),
        (
            MediaKind::Audio,
            "audio",
            json!({"file_name": "a.bin", "duration": 3, "title": "Title"}),
        ),
        (
            MediaKind::Voice,
            "voice",
            json!({"duration": 3, "mime_type": "audio/ogg"}),
        ),
        (
            MediaKind::VideoNote,
            "video_note",
            json!({"duration": 3, "length": 320}),
        ),
        (
            MediaKind::Animation,
            "animation",
            json!({"file_name": "a.bin", "duration": 3, "width": 320}),
        ),
        (
            MediaKind::Sticker,
            "sticker",
            json!({"type": "regular", "is_animated": false, "width": 320}),
        ),
    ] {
        let message = media(kind).with_caption("why");
        bench.bot.send(message).await.expect("sent");
        let told = bench.updates().await[0]["message"].clone();
        assert_eq!(told["caption"], "why");
        let file = &told[field];
        assert_eq!(file["file_size"], 5000, "{told}");
        for (name, value) in fields.as_object().expect("fields") {
            assert_eq!(&file[name], value, "{field}.{name}");
        }
        assert_eq!(
            told["document"].is_object(),
            ["document", "animation"].contains(&field)
        );
    }
}

#[tokio::test]
async fn a_photo_has_sizes_and_is_the_same_when_it_is_sent_again() {
    let bench = Bench::new().await;
    let photo = bench.bot.send(media(MediaKind::Photo)).await.expect("sent");
    let told = bench.updates().await[0]["message"]["photo"].clone();
    let sizes: Vec<_> = told
        .as_array()
        .expect("sizes")
        .iter()
        .map(|size| (&size["width"], &size["file_size"]))
        .collect();
    assert_eq!(
        sizes,
        [
            (&json!(80), &json!(312)),
            (&json!(160), &json!(1250)),
            (&json!(320), &json!(5000))
        ]
    );

    // Its name stays with the bytes.
    let shown = bench.bot.message(PRIVATE, photo.id).expect("there");
    let again = FileSource::Again {
        file_id: shown.file.expect("a file").file_id,
    };
    bench
        .bot
        .send(UserMessage::file(
            OTHER,
            UserFile::of(Look::default(), again),
        ))
        .await
        .expect("sent");
    let again = bench.updates().await[0]["message"]["photo"].clone();
    assert_eq!(again, told, "the same file");
}

#[tokio::test]
async fn what_is_neither_words_nor_a_file_is_told_too() {
    let bench = Bench::new().await;
    for special in [
        Special::Contact {
            phone_number: "+1".to_owned(),
            first_name: "A".to_owned(),
        },
        Special::Location {
            latitude: 1.5,
            longitude: 2.5,
        },
        Special::Poll {
            question: "?".to_owned(),
            options: vec!["a".to_owned()],
        },
    ] {
        let message = UserMessage::special(USER, special);
        bench.bot.send(message).await.expect("sent");
    }
    let told = bench.updates().await;
    assert_eq!(told[0]["message"]["contact"]["phone_number"], "+1");
    assert_eq!(told[1]["message"]["location"]["latitude"], 1.5);
    assert_eq!(told[2]["message"]["poll"]["options"][0]["text"], "a");
}

#[tokio::test]
async fn files_are_fetched_if_they_are_small() {
    let bench = Bench::new().await;
    for (size, fits) in [(20 << 20, true), ((20 << 20) + 1, false)] {
        let file = UserFile::generated("a.bin", size, 3);
        bench
            .bot
            .send(UserMessage::file(USER, file))
            .await
            .expect("sent");
        let told = bench.updates().await[0]["message"]["document"].clone();
        let params = json!({"file_id": told["file_id"]});
        if !fits {
            let big = (400, "Bad Request: file is too big".to_owned());
            assert_eq!(bench.refused("getFile", params).await, big);
            continue;
        }
        let file = bench.ok("getFile", params).await;
        let path = file["file_path"].as_str().expect("a path");
        let url = format!("{}/file/bot{}/{path}", bench.bot.url(), bench.bot.token());
        let bytes = bench
            .client
            .get(url)
            .send()
            .await
            .expect("an answer")
            .bytes()
            .await
            .expect("bytes");
        assert_eq!(bytes.len() as u64, size);
    }
}

#[tokio::test]
async fn an_album_is_several_messages_of_one_number() {
    let bench = Bench::new().await.with_chats();
    for n in 0..3 {
        let file = UserFile::generated(&format!("{n}.bin"), 100, n);
        bench
            .bot
            .send(UserMessage::file(USER, file).in_album(42))
            .await
            .expect("sent");
    }
    let updates = bench.updates().await;
    let messages: Vec<_> = updates.iter().map(|update| &update["message"]).collect();
    assert!(
        messages
            .iter()
            .all(|message| message["media_group_id"] == "42")
    );
    let ids: Vec<_> = messages
        .iter()
        .map(|message| message["message_id"].clone())
        .collect();
    let params = json!({"chat_id": CHANNEL, "from_chat_id": USER, "message_ids": ids});
    let sent = bench.ok("forwardMessages", params).await;
    assert_eq!(sent.as_array().map(Vec::len), Some(3));
    let shown = bench.bot.chat(CHANNEL);
    let album = shown[0].media_group_id.expect("an album");
    assert!(album != 42 && shown.iter().all(|one| one.media_group_id == Some(album)));
    let backwards = json!({"chat_id": CHANNEL, "from_chat_id": USER, "message_ids": [2, 1]});
    assert_eq!(bench.refused("forwardMessages", backwards).await.0, 400);
}

#[tokio::test]
async fn messages_go_from_chat_to_chat() {
    let bench = Bench::new().await.with_chats();
    let file = UserMessage::file(USER, UserFile::generated("a.bin", 100, 1)).with_caption("why");
    let sent = bench.bot.send(file).await.expect("sent");
    let from = |to: ChatId, id: i32| json!({"chat_id": to, "from_chat_id": USER, "message_id": id});
    let forwarded = bench.ok("forwardMessage", from(CHANNEL, sent.id)).await;
    assert_eq!(forwarded["forward_origin"]["type"], "user");
    assert_eq!(forwarded["forward_origin"]["sender_user"]["id"], USER);
    assert_eq!(
        (&forwarded["chat"]["type"], &forwarded["from"]),
        (&json!("channel"), &Value::Null)
    );
    let told = bench.updates().await;
    assert_eq!(told.len(), 1, "a bot is not told what it does itself");
    assert_eq!(forwarded["document"], told[0]["message"]["document"]);
    let copied = bench.ok("copyMessage", from(GROUP, sent.id)).await;
    assert_eq!(copied, json!({"message_id": 1}));
    let copy = &bench.bot.chat(GROUP)[0];
    assert_eq!(
        (copy.text.as_str(), &copy.forwarded, copy.author),
        ("why", &None, Author::Bot)
    );
    // Forwarded on, it still comes from where it came from.
    let on = json!({"chat_id": GROUP, "from_chat_id": CHANNEL, "message_id": 1});
    let on = bench.ok("forwardMessage", on).await;
    assert_eq!(on["forward_origin"], forwarded["forward_origin"]);

    let missing = bench.refused("forwardMessage", from(CHANNEL, 99)).await;
    assert_eq!(missing.1, "Bad Request: message to forward not found");
    let missing = bench.refused("copyMessage", from(CHANNEL, 99)).await;
    assert_eq!(missing.1, "Bad Request: message to copy not found");
    let secret = bench
        .bot
        .send(UserMessage::text(USER, "x").protected())
        .await
        .expect("sent");
    for (method, word) in [("forwardMessage", "forwarded"), ("copyMessage", "copied")] {
        let refused = bench.refused(method, from(CHANNEL, secret.id)).await;
        assert_eq!(
            refused.1,
            format!("Bad Request: message has protected content and can't be {word}")
        );
    }
    assert_eq!(
        bench.updates().await[0]["message"]["has_protected_content"],
        true
    );
}

#[tokio::test]
async fn a_bot_that_does_not_run_a_group_reads_what_is_meant_for_it() {
    let bench = Bench::new().await;
    let group = ChatProfile {
        bot: Standing::Member,
        members: vec![USER],
        topics: vec![Topic {
            id: 5,
            name: "Files".to_owned(),
        }],
        ..ChatProfile::new(GROUP, ChatKind::Forum, "Friends")
    };
    bench.bot.add_chat(group).expect("a group");
    let in_topic = |text: &str| UserMessage::text(USER, text).in_chat(GROUP).in_thread(5);
    for text in [
        "hello",
        "/help",
        "/help@other_bot",
        "/help@telestream_sim_bot",
        "ask @telestream_sim_bot",
    ] {
        bench.bot.send(in_topic(text)).await.expect("sent");
    }
    let joined = UserMessage::happening(OTHER, GROUP, Happening::NewMembers { users: vec![OTHER] });
    bench.bot.send(joined).await.expect("sent");
    let told = bench.updates().await;
    let texts: Vec<_> = told
        .iter()
        .map(|one| one["message"]["text"].clone())
        .collect();
    assert_eq!(
        texts[..3],
        [
            json!("/help"),
            json!("/help@telestream_sim_bot"),
            json!("ask @telestream_sim_bot")
        ]
    );
    assert_eq!(told[3]["message"]["new_chat_members"][0]["id"], OTHER);
    let first = &told[0]["message"];
    assert_eq!(
        (&first["message_thread_id"], &first["is_topic_message"]),
        (&json!(5), &json!(true))
    );
    assert_eq!(first["chat"]["is_forum"], true);
    let answer = |thread: i32| json!({"chat_id": GROUP, "text": "x", "message_thread_id": thread});
    assert_eq!(
        bench.ok("sendMessage", answer(5)).await["message_thread_id"],
        5
    );
    let reply = json!({"chat_id": GROUP, "text": "x", "reply_parameters": {"message_id": 2}});
    let reply = bench.ok("sendMessage", reply).await;
    assert_eq!(reply["message_thread_id"], 5, "where it is answered");
    for thread in [1, 6] {
        let refused = bench.refused("sendMessage", answer(thread)).await;
        assert_eq!(refused.1, "Bad Request: message thread not found");
    }
    let theirs = json!({"chat_id": GROUP, "message_id": 1});
    assert_eq!(
        bench.refused("deleteMessage", theirs).await.1,
        "Bad Request: message can't be deleted"
    );
    let member = bench
        .ok("getChatMember", json!({"chat_id": GROUP, "user_id": USER}))
        .await;
    assert_eq!(member["status"], "member");
    assert_eq!(
        bench.ok("getChat", json!({"chat_id": GROUP})).await["title"],
        "Friends"
    );
}

#[tokio::test]
async fn commands_are_kept_by_scope_and_language() {
    let bench = Bench::new().await;
    let commands = json!([{"command": "start", "description": "Begin"}]);
    let private = json!({"type": "all_private_chats"});
    let set = json!({"commands": commands, "scope": private, "language_code": "de"});
    bench.ok("setMyCommands", set).await;
    assert_eq!(
        bench.bot.commands("all_private_chats", "de")[0].command,
        "start"
    );
    assert_eq!(bench.ok("getMyCommands", json!({})).await, json!([]));
    let get = json!({"scope": private, "language_code": "de"});
    assert_eq!(bench.ok("getMyCommands", get.clone()).await, commands);
    bench.ok("deleteMyCommands", get.clone()).await;
    assert_eq!(bench.ok("getMyCommands", get).await, json!([]));
    let wrong = json!({"commands": [{"command": "Start", "description": "x"}]});
    assert_eq!(
        bench.refused("setMyCommands", wrong).await.1,
        "Bad Request: BOT_COMMAND_INVALID"
    );
}

#[tokio::test]
async fn it_goes_on_where_it_was_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bench = Bench::in_dir(dir.path()).await.with_chats();
    bench
        .bot
        .add_user(UserProfile {
            first_name: "Ada".to_owned(),
            ..UserProfile::new(USER)
        })
        .expect("a user");
    bench.bot.start(USER).await.expect("started");
    let edited = bench.say("before").await;
    let edit = json!({"chat_id": USER, "message_id": edited, "text": "after"});
    bench.ok("editMessageText", edit).await;
    bench.updates().await;
    bench
        .bot
        .send(UserMessage::text(USER, "not yet taken"))
        .await
        .expect("sent");
    let last = bench.bot.updates().pop().expect("updates");
    bench.sim.stop().await;

    let bench = Bench::in_dir(dir.path()).await;
    let told = bench.updates().await;
    assert_eq!(told, std::slice::from_ref(&last));
    assert_eq!(told[0]["message"]["from"]["first_name"], "Ada");
    let shown = bench.bot.chat(PRIVATE);
    assert_eq!((shown[1].text.as_str(), shown[1].edits), ("after", 1));
    bench.say("she is no stranger").await;
    bench
        .bot
        .send(UserMessage::text(USER, "next"))
        .await
        .expect("sent");
    let next = bench.updates().await[0]["update_id"].as_i64();
    assert_eq!(next, last["update_id"].as_i64().map(|id| id + 1));
    assert_eq!(
        bench.ok("getChat", json!({"chat_id": CHANNEL})).await["title"],
        "Files"
    );
}
