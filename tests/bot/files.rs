//! Files of every kind, alone and together, and where their links go.

use serde_json::json;
use telestream::api::Phase;
use telestream_sim::{
    bot_api::{
        events::Author,
        people::{ChatKind, ChatProfile, Topic},
        player::{FileSource, UserFile, UserMessage},
    },
    telegram::{
        details::Special,
        ids::ChatId,
        store::{Look, MediaKind},
    },
};

use crate::{
    chat::{ANN, BEN, Person, SMALL, download, install, install_with},
    world::{CHANNEL, MIB, World, eventually},
};

const GROUP: ChatId = ChatId(-1_002_000_000_001);
const FORUM: ChatId = ChatId(-1_002_000_000_002);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_holds_a_file_brings_a_link() {
    let world = install("bot-files", json!({})).await;
    let ann = Person::new(&world, ANN);
    every_kind_of_media(&world, &ann).await;
    what_is_no_file_gets_a_hint(&ann).await;
    a_caption_names_the_file(&ann).await;
    an_album_is_one_batch(&world, &ann).await;
    the_same_file_again_gets_its_link_at_once(&world, &ann).await;
    an_update_that_comes_twice_is_one_job(&world, &ann).await;
    protected_and_large_files_work(&world, &ann).await;
    in_a_group_the_link_is_private(&world).await;
    in_a_topic_it_is_answered_there(&world).await;
    a_failure_is_said_in_plain_words(&world, &ann).await;
    nothing_secret_is_logged(&world);
}

async fn every_kind_of_media(world: &World, ann: &Person) {
    for (index, kind) in [
        MediaKind::Document,
        MediaKind::Photo,
        MediaKind::Video,
        MediaKind::Audio,
        MediaKind::Voice,
        MediaKind::VideoNote,
        MediaKind::Animation,
        MediaKind::Sticker,
    ]
    .into_iter()
    .enumerate()
    {
        let look = Look {
            kind,
            duration: Some(3.0),
            width: Some(64),
            height: Some(64),
            ..Look::default()
        };
        let source = FileSource::Generated {
            size: 200_000 + index as u64,
            seed: index as u64,
        };
        let before = world.sim.bot().last_event();
        ann.send(UserMessage::file(ann.id, UserFile::of(look, source)))
            .await;
        let result = ann.sees(before, "CRC32C").await;
        let (status, length) = download(&Person::link(&result)).await;
        assert_eq!((status, length), (200, 200_000 + index as u64), "{kind:?}");
        assert!(!result.link_preview, "{kind:?}");
    }
    // Files are read from the channel that they were forwarded into.
    let jobs = world
        .jobs
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    assert!(jobs.iter().all(|job| job.spec.source.chat_id == CHANNEL));
}

async fn what_is_no_file_gets_a_hint(ann: &Person) {
    for message in [
        UserMessage::text(ann.id, "hello"),
        UserMessage::special(
            ann.id,
            Special::Contact {
                phone_number: "+1".into(),
                first_name: "Bob".into(),
            },
        ),
    ] {
        let before = ann.last_event();
        ann.send(message).await;
        assert!(
            ann.next_message(before)
                .await
                .text
                .contains("Send me a file")
        );
    }
}

async fn a_caption_names_the_file(ann: &Person) {
    let before = ann.last_event();
    let file = UserFile::generated("IMG_0001.pdf", SMALL, 31);
    ann.send(UserMessage::file(ann.id, file).with_caption("Invoice <May>"))
        .await;
    let result = ann.sees(before, "CRC32C").await;
    assert!(result.text.contains("Invoice <May>.pdf"), "{}", result.text);
    assert!(Person::link(&result).contains("Invoice"));
}

async fn an_album_is_one_batch(world: &World, ann: &Person) {
    let before = ann.last_event();
    for number in 0..3 {
        let file = UserFile::generated(&format!("page{number}.jpg"), 300_000, 40 + number);
        ann.send(UserMessage::file(ann.id, file).in_album(77)).await;
    }
    let result = ann.sees(before, "3 of 3 files are stored").await;
    for number in 0..3 {
        assert!(
            result.text.contains(&format!("page{number}.jpg")),
            "{}",
            result.text
        );
    }
    let new = world.sim.bot().events(before);
    let sent = new
        .iter()
        .filter(|event| event.chat_id == ann.chat_id())
        .filter(|event| {
            matches!(&event.what, telestream_sim::bot_api::events::Happened::Sent { message, .. } if message.author == Author::Bot)
        })
        .count();
    assert!(
        sent <= 2,
        "one message shows progress, if there is time for it, and one tells of the end"
    );
}

async fn the_same_file_again_gets_its_link_at_once(world: &World, ann: &Person) {
    let before = ann.last_event();
    ann.send_file("twice.zip", SMALL).await;
    let first = ann.sees(before, "CRC32C").await;
    let file_id = ann
        .messages()
        .iter()
        .rev()
        .find_map(|message| message.file.as_ref().map(|file| file.file_id))
        .unwrap();
    let jobs = count(world).await;
    let before = ann.last_event();
    let again = UserFile::of(
        Look {
            name: Some("twice.zip".into()),
            ..Look::default()
        },
        FileSource::Again { file_id },
    );
    ann.send(UserMessage::file(ann.id, again.clone())).await;
    let second = ann.sees(before, "You have sent me").await;
    assert_eq!(Person::link(&first), Person::link(&second));
    assert_eq!(count(world).await, jobs);
    // For somebody else it is another file.
    let ben = Person::new(world, BEN);
    let before = ben.last_event();
    ben.send(UserMessage::file(BEN, again)).await;
    let other = ben.sees(before, "CRC32C").await;
    assert_ne!(Person::link(&first), Person::link(&other));
    assert!(
        other.text.contains("Gilt bis"),
        "Ben reads German: {}",
        other.text
    );
}

async fn count(world: &World) -> usize {
    let jobs = world.jobs.list(&kube::api::ListParams::default()).await;
    jobs.unwrap().items.len()
}

async fn an_update_that_comes_twice_is_one_job(world: &World, ann: &Person) {
    let (before, jobs, rings) = (ann.last_event(), count(world).await, ann.rings());
    ann.send_file("once.zip", SMALL).await;
    world.sim.bot().deliver_last_again(1);
    ann.sees(before, "CRC32C").await;
    world.sim.bot().deliver_last_again(1);
    eventually("all updates are taken", async || {
        world.sim.bot().pending_updates() == 0
    })
    .await;
    assert_eq!(count(world).await, jobs + 1);
    assert_eq!(ann.rings(), rings + 1);
}

async fn protected_and_large_files_work(world: &World, ann: &Person) {
    let before = ann.last_event();
    let file = UserFile::generated("secret plan.bin", 25 * MIB, 50);
    ann.send(UserMessage::file(ann.id, file).protected()).await;
    let result = ann.sees(before, "CRC32C").await;
    assert_eq!(download(&Person::link(&result)).await, (200, 25 * MIB));
    let jobs = world
        .jobs
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let direct = jobs
        .iter()
        .filter(|job| job.spec.source.chat_id == ANN)
        .count();
    assert_eq!(
        direct, 1,
        "what may not be forwarded is read where it stands"
    );
}

async fn in_a_group_the_link_is_private(world: &World) {
    let bot = world.sim.bot();
    bot.add_chat(ChatProfile {
        members: vec![ANN, BEN],
        ..ChatProfile::new(GROUP, ChatKind::Supergroup, "Friends")
    })
    .unwrap();
    let ann = Person::new(world, ANN);
    let before = bot.last_event();
    let file = UserFile::generated("party.mp4", SMALL, 60);
    ann.send(UserMessage::file(ANN, file).in_chat(GROUP)).await;
    let result = ann.sees(before, "CRC32C").await;
    assert_eq!(download(&Person::link(&result)).await.0, 200);
    eventually("the group is told", async || {
        let group = bot.chat(GROUP);
        group
            .iter()
            .any(|message| message.text.contains("private chat with me"))
    })
    .await;
    assert!(
        bot.chat(GROUP)
            .iter()
            .all(|message| !message.html.contains("http"))
    );
    // Whoever has never started the bot is told how to get at it.
    let stranger_to_private = 1_003;
    let ben_alone = Person::new(world, stranger_to_private);
    let eve = Person::new(world, crate::chat::EVE);
    eve.ask(&format!("/allow {stranger_to_private} Cid")).await;
    let file = UserFile::generated("cid.mp4", SMALL, 61);
    ben_alone
        .send(UserMessage::file(stranger_to_private, file).in_chat(GROUP))
        .await;
    eventually("the group is told how", async || {
        let group = bot.chat(GROUP);
        group
            .iter()
            .any(|message| message.text.contains("press Start"))
    })
    .await;
}

async fn in_a_topic_it_is_answered_there(world: &World) {
    let bot = world.sim.bot();
    bot.add_chat(ChatProfile {
        members: vec![ANN],
        topics: vec![Topic {
            id: 5,
            name: "Files".into(),
        }],
        ..ChatProfile::new(FORUM, ChatKind::Forum, "Forum")
    })
    .unwrap();
    let ann = Person::new(world, ANN);
    let before = bot.last_event();
    let file = UserFile::generated("topic.mp4", SMALL, 70);
    ann.send(UserMessage::file(ANN, file).in_chat(FORUM).in_thread(5))
        .await;
    ann.sees(before, "CRC32C").await;
    let answers: Vec<_> = bot
        .chat(FORUM)
        .into_iter()
        .filter(|message| message.author == Author::Bot)
        .collect();
    assert!(
        !answers.is_empty() && answers.iter().all(|message| message.thread_id == Some(5)),
        "{answers:?}"
    );
}

async fn a_failure_is_said_in_plain_words(world: &World, ann: &Person) {
    // Given a file whose message goes before its turn comes
    world.scale("telestream-controller", 0).await;
    let before = ann.last_event();
    ann.send_file("gone.zip", SMALL).await;
    ann.sees(before, "gone.zip").await;
    let jobs = world
        .jobs
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let job = jobs
        .iter()
        .find(|job| job.spec.source.file_name.as_deref() == Some("gone.zip"))
        .unwrap();
    let source = &job.spec.source;
    world
        .sim
        .telegram()
        .delete(ChatId(source.chat_id), source.message_id)
        .unwrap();
    world.scale("telestream-controller", 1).await;
    // Then its user is told, and may try again
    let failed = ann.sees(before, "was deleted").await;
    assert!(failed.text.contains("MessageNotFound"), "{}", failed.text);
    assert!(
        !failed.text.contains("MESSAGE_ID"),
        "no raw error: {}",
        failed.text
    );
    let said = ann.press(&failed, "Retry").await;
    assert_eq!(said, "Trying again.");
    assert_eq!(
        ann.press(&failed, "Retry").await,
        "It is being tried again already."
    );
    let status = world
        .until(&job_name(job), "failed", |status| {
            status.phase == Phase::Failed
        })
        .await;
    assert_eq!(status.reason.as_deref(), Some("MessageNotFound"));
}

fn job_name(job: &telestream::api::TransferJob) -> String {
    job.metadata.name.clone().unwrap()
}

fn nothing_secret_is_logged(world: &World) {
    let token = world.sim.bot().token().to_owned();
    let log = world.kubelet.log("telestream");
    assert!(log.contains("a file was taken"), "the bot's log was read");
    let secret = token.split_once(':').unwrap().1;
    for canary in [secret, "/p/", "twice.zip", "Invoice", "secret plan", "Ann"] {
        assert!(!log.contains(canary), "the logs hold {canary:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_channel_workers_read_the_users_own_message() {
    let world = install_with("bot-direct", json!({}), json!({})).await;
    let ann = Person::new(&world, ANN);
    let before = ann.last_event();
    ann.send_file("direct.zip", SMALL).await;
    let result = ann.sees(before, "CRC32C").await;
    assert_eq!(download(&Person::link(&result)).await, (200, SMALL));
}
