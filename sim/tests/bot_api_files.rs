//! One store behind two faces: what a chat of the Bot API shows, a data centre hands out.

mod bot;
mod raw;

use bot::{Bench, CHANNEL, USER};
use grammers_tl_types as tl;
use mtproto::Transport;
use serde_json::json;
use telestream_sim::bot_api::player::{UserFile, UserMessage};
use telestream_sim::telegram::keys::SignedIn;
use tl::enums::{Message, MessageMedia, Peer};

/// Asks for messages of private chats.
async fn private(client: &mut raw::Client, ids: &[i32]) -> (Vec<Message>, Vec<i64>) {
    let ids = ids.iter();
    let query = tl::functions::messages::GetMessages {
        id: ids
            .map(|id| tl::types::InputMessageId { id: *id }.into())
            .collect(),
    };
    let found = client.call(&query).await.expect("messages");
    let tl::enums::messages::Messages::Messages(found) = found else {
        panic!("private messages");
    };
    let users = found.users.iter().map(tl::enums::User::id).collect();
    (found.messages, users)
}

fn plain(message: &Message) -> &tl::types::Message {
    match message {
        Message::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn document(media: Option<&MessageMedia>) -> tl::types::Document {
    match media {
        Some(MessageMedia::Document(tl::types::MessageMediaDocument {
            document: Some(tl::enums::Document::Document(document)),
            ..
        })) => document.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_a_user_sends_and_the_bot_forwards_is_one_file_at_the_data_centres() {
    // Given a file that was sent to the bot, which forwards and copies it into its channel
    let bench = Bench::new().await.with_chats();
    let file = UserFile::generated("a.bin", 10_000, 6);
    let sent = UserMessage::file(USER, file).with_caption("why");
    let sent = bench.bot.send(sent).await.expect("sent");
    for method in ["forwardMessage", "copyMessage"] {
        let params = json!({"chat_id": CHANNEL, "from_chat_id": USER, "message_id": sent.id});
        bench.ok(method, params).await;
    }
    bench
        .bot
        .send(UserMessage::text(USER, "secret").protected())
        .await
        .expect("sent");
    let said = bench.say("queued").await;

    // When the bot's account asks the data centres for these messages
    let session = raw::session(&bench.sim, SignedIn::All);
    let home = bench.sim.telegram().home();
    let (address, key) = (raw::address(&bench.sim, home), raw::key(&session, home));
    let mut client = raw::Client::connect(address, key, Transport::Full).await;
    client.init().await;
    let said = i32::try_from(said).expect("small");
    let (messages, users) = private(&mut client, &[sent.id, said - 1, said]).await;

    // Then they are as they were written
    let (theirs, secret, own) = (
        plain(&messages[0]),
        plain(&messages[1]),
        plain(&messages[2]),
    );
    let peer = |id: i64| Some(Peer::User(tl::types::PeerUser { user_id: id }));
    assert_eq!((theirs.message.as_str(), theirs.out), ("why", false));
    assert_eq!(theirs.from_id, peer(USER));
    assert!(secret.noforwards && !theirs.noforwards);
    assert_eq!((own.message.as_str(), own.out), ("queued", true));
    assert_eq!(own.from_id, peer(bench.bot.id()));
    assert_eq!(users, [USER, bench.bot.id()]);

    // And the file is the same one everywhere
    let original = document(theirs.media.as_ref());
    for id in [1, 2] {
        let there = client.document(id).await;
        assert_eq!((there.id, there.size), (original.id, 10_000));
        let bytes = client
            .file(raw::location(&there).into(), 0, 65_536)
            .await
            .expect("bytes");
        let first = client
            .file(raw::location(&original).into(), 0, 65_536)
            .await
            .expect("bytes");
        assert_eq!(bytes.len(), 10_000);
        assert_eq!(bytes, first);
    }
    bench.sim.stop().await;
}

#[tokio::test]
async fn a_document_that_the_bot_uploads_is_a_file_like_any_other() {
    let bench = Bench::new().await.with_chats();
    let parts = upload();
    let url = format!("{}/bot{}/sendDocument", bench.bot.url(), bench.bot.token());
    let request = bench
        .client
        .post(url)
        .header("content-type", "multipart/form-data; boundary=x");
    let answer = request.body(parts).send().await.expect("an answer");
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    let told = &answer["result"]["document"];
    assert_eq!(
        (&told["file_name"], &told["file_size"]),
        (&json!("a.txt"), &json!(5)),
        "{answer}"
    );
    let again = json!({"chat_id": CHANNEL, "document": told["file_id"], "caption": "again"});
    let again = bench.ok("sendDocument", again).await;
    assert_eq!(again["document"], *told);

    let session = raw::session(&bench.sim, SignedIn::All);
    let mut client = raw::Client::ready(&bench.sim, &session).await;
    for id in [1, 2] {
        let there = client.document(id).await;
        let bytes = client.file(raw::location(&there).into(), 0, 4096).await;
        assert_eq!(bytes.expect("bytes"), b"hello");
    }
    bench.sim.stop().await;
}

/// A body in parts, as browsers make it.
fn upload() -> String {
    format!(
        "--x\r\ncontent-disposition: form-data; name=\"chat_id\"\r\n\r\n{CHANNEL}\r\n\
         --x\r\ncontent-disposition: form-data; name=\"document\"; filename=\"a.txt\"\r\n\
         content-type: text/plain\r\n\r\nhello\r\n--x--\r\n"
    )
}
