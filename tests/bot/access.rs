//! Who is let in, and how much they may do.

use serde_json::json;
use telestream_sim::bot_api::player::{UserFile, UserMessage};

use crate::{
    chat::{ANN, BEN, EVE, MALLORY, Person, SMALL, install},
    world::{MIB, World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_listed_gets_in_and_only_so_far() {
    let limits = json!({"limits": {
        "queuedPerUser": 3, "bytesPerDay": "40MiB", "fileSize": "30MiB", "messagesPerMinute": 12,
    }});
    let world = install("bot-access", limits).await;
    a_stranger_learns_their_id_and_nothing_else(&world).await;
    an_admin_lets_in_and_shuts_out(&world).await;
    commands_are_listed_for_whom_they_are(&world).await;
    limits_are_said_with_when_they_free(&world).await;
    nobody_keeps_the_bot_busy_alone(&world).await;
    a_drained_bot_takes_no_files(&world).await;
    a_user_chooses_a_language(&world).await;
}

async fn jobs(world: &World) -> usize {
    let jobs = world.jobs.list(&kube::api::ListParams::default()).await;
    jobs.unwrap().items.len()
}

async fn a_stranger_learns_their_id_and_nothing_else(world: &World) {
    let mallory = Person::new(world, MALLORY);
    let answer = mallory.ask("/start").await;
    assert!(
        answer.text.contains(&MALLORY.to_string()),
        "{}",
        answer.text
    );
    let before = mallory.last_event();
    mallory.send_file("virus.exe", SMALL).await;
    mallory.say("/stats").await;
    mallory.say("/users").await;
    eventually("all updates are taken", async || {
        world.sim.bot().pending_updates() == 0
    })
    .await;
    // An answer to somebody else comes after all that could be said to them.
    Person::new(world, ANN).ask("/help").await;
    let said = world.sim.bot().events(before);
    let to_mallory = said
        .iter()
        .any(|event| event.chat_id == mallory.chat_id() && event.what.by_bot().is_some());
    assert!(!to_mallory);
    assert_eq!(jobs(world).await, 0);
}

async fn an_admin_lets_in_and_shuts_out(world: &World) {
    let (eve, mallory, ann) = (
        Person::new(world, EVE),
        Person::new(world, MALLORY),
        Person::new(world, ANN),
    );
    // Users are no admins
    assert!(
        ann.ask(&format!("/allow {MALLORY}"))
            .await
            .text
            .contains("do not know that command")
    );
    // Given an admin lets somebody in
    let answer = eve.ask(&format!("/allow {MALLORY} Mal <i>x</i>")).await;
    assert!(answer.text.contains("is let in"), "{}", answer.text);
    let users = eve.ask("/users").await;
    assert!(users.text.contains("Mal <i>x</i>"), "{}", users.html);
    let before = mallory.last_event();
    mallory.send_file("fine.zip", SMALL).await;
    mallory.sees(before, "CRC32C").await;
    // When they are shut out while something runs
    world.set_rate(Some(MIB));
    mallory.send_file("slow.zip", 20 * MIB).await;
    mallory.sees(before, "slow.zip").await;
    eve.ask(&format!("/deny {MALLORY}")).await;
    // Then it is stopped
    mallory.sees(before, "cancelled").await;
    world.set_rate(None);
    eventually("its job is gone", async || jobs(world).await == 1).await;
    // And a restart of the bot forgets nothing of that
    let pod = bot_pod(world).await;
    world.kubelet.signal(&pod, "KILL");
    let before = mallory.last_event();
    eventually("the bot fetches updates again", async || {
        world.sim.bot().waiting_polls() > 0
    })
    .await;
    mallory.send_file("again.zip", SMALL).await;
    ann.ask("/help").await;
    let said = world.sim.bot().events(before);
    let to_mallory = said
        .iter()
        .filter(|event| event.chat_id == mallory.chat_id());
    let said: Vec<_> = to_mallory.filter_map(|event| event.what.by_bot()).collect();
    assert!(
        said.iter().all(|message| !message.text.contains("queued")),
        "{said:?}"
    );
    // Whoever looks after the bot cannot be shut out in the chat
    assert!(
        eve.ask(&format!("/deny {EVE}"))
            .await
            .text
            .contains("admins are changed")
    );
}

/// The bot's pod, when it runs.
pub async fn bot_pod(world: &World) -> String {
    let find = || {
        world
            .kubelet
            .pods()
            .into_iter()
            .find(|pod| pod.contains("-bot-"))
    };
    eventually("the bot runs", async || find().is_some()).await;
    find().expect("it runs")
}

async fn commands_are_listed_for_whom_they_are(world: &World) {
    let bot = world.sim.bot();
    let listed = |scope: &str, language: &str| -> Vec<String> {
        let commands = bot.commands(scope, language);
        commands
            .into_iter()
            .map(|command| command.command)
            .collect()
    };
    let admins = format!("chat:{EVE}");
    eventually("commands are registered", async || {
        listed(&admins, "de").len() == 17
    })
    .await;
    assert_eq!(listed("all_private_chats", "").len(), 11);
    assert!(!listed("all_private_chats", "").contains(&"allow".to_owned()));
    let german = bot.commands("all_private_chats", "de");
    assert!(
        german
            .iter()
            .any(|command| command.description.contains("Links"))
    );
    let help = Person::new(world, ANN).ask("/help").await;
    assert!(help.text.contains("/mylinks") && !help.text.contains("/drain"));
    let help = Person::new(world, EVE).ask("/help").await;
    assert!(help.text.contains("/drain"));
}

async fn limits_are_said_with_when_they_free(world: &World) {
    let ben = Person::new(world, BEN);
    let before = ben.last_event();
    ben.send_file("huge.iso", 31 * MIB).await;
    let refused = ben.sees(before, "huge.iso").await;
    assert!(refused.text.contains("30.0 MiB"), "{}", refused.text);
    // Given three files of theirs are under way
    world.set_rate(Some(1));
    for name in ["one.zip", "two.zip", "three.zip"] {
        ben.send_file(name, 5 * MIB).await;
    }
    let before = ben.last_event();
    ben.send_file("four.zip", 5 * MIB).await;
    let refused = ben.sees(before, "four.zip").await;
    assert!(
        refused.text.contains("3 Dateien unterwegs"),
        "{}",
        refused.text
    );
    let answer = ben.ask("/cancel all").await;
    assert!(answer.text.contains('3'), "{}", answer.text);
    world.set_rate(None);
    eventually("nothing is under way", async || jobs(world).await == 1).await;
    // What was taken counts for a day, and it is said when it fits
    let before = ben.last_event();
    ben.send_file("five.zip", 28 * MIB).await;
    let refused = ben.sees(before, "five.zip").await;
    assert!(
        refused.text.contains("24 Stunden") && refused.text.contains("In 23 h"),
        "{}",
        refused.text
    );
    let quota = ben.ask("/quota").await;
    assert!(
        quota.text.contains("15.0 MiB von 40.0 MiB"),
        "{}",
        quota.text
    );
    // An admin may allow more
    let eve = Person::new(world, EVE);
    let set = eve.ask(&format!("/limits {BEN} bytes 1GiB")).await;
    assert!(set.text.contains("1.0 GiB"), "{}", set.text);
    let before = ben.last_event();
    ben.send_file("five.zip", 28 * MIB).await;
    ben.sees(before, "CRC32C").await;
}

async fn nobody_keeps_the_bot_busy_alone(world: &World) {
    let ann = Person::new(world, ANN);
    let before = ann.last_event();
    for _ in 0..30 {
        ann.say("hello").await;
    }
    ann.sees(before, "a lot at once").await;
    eventually("all updates are taken", async || {
        world.sim.bot().pending_updates() == 0
    })
    .await;
    Person::new(world, EVE).ask("/stats").await;
    let events = world.sim.bot().events(before);
    let answers = events
        .iter()
        .filter(|event| event.chat_id == ann.chat_id() && event.what.by_bot().is_some());
    // 12 are answered, those that a minute allows while answers wait for their turn in the chat, and
    // one that says that it is enough.
    assert!(answers.count() <= 20);
}

async fn a_drained_bot_takes_no_files(world: &World) {
    let (eve, ben) = (Person::new(world, EVE), Person::new(world, BEN));
    assert!(eve.ask("/drain on").await.text.contains("No more files"));
    let before = ben.last_event();
    ben.send_file("late.zip", SMALL).await;
    ben.sees(before, "gewartet").await;
    assert!(eve.ask("/drain off").await.text.contains("taken again"));
    let before = ben.last_event();
    ben.send(UserMessage::file(
        BEN,
        UserFile::generated("late2.zip", SMALL, 3),
    ))
    .await;
    ben.sees(before, "CRC32C").await;
}

async fn a_user_chooses_a_language(world: &World) {
    let ben = Person::new(world, BEN);
    let settings = ben.ask("/settings").await;
    assert!(
        settings.text.contains("Sprache: Deutsch"),
        "{}",
        settings.text
    );
    let before = ben.last_event();
    assert_eq!(ben.press(&settings, "English").await, "Gemerkt.");
    ben.sees(before, "Language: English").await;
    let answer = ben.ask("/nonsense").await;
    assert!(answer.text.contains("do not know"), "{}", answer.text);
}
