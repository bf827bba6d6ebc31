//! The bot dies at any time, and its users notice nothing: no file is lost, no result is told twice.

use std::time::Duration;

use serde_json::json;
use telestream::api::TransferJob;
use telestream_sim::bot_api::{
    events::Author,
    faults::{Effect, Fault},
};
use tokio::time::sleep;

use crate::{
    access::bot_pod,
    chat::{ANN, Person, SMALL, download, install},
    world::{World, eventually},
};

/// How often it is killed at random.
const DEATHS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_dies_loses_nothing_and_repeats_nothing() {
    let world = install("bot-deaths", json!({"worker": {"standby": 1}})).await;
    let ann = Person::new(&world, ANN);
    ann.ask("/start").await;
    it_dies_at_every_call_of_the_bot_api(&world, &ann).await;
    it_dies_at_random(&world, &ann).await;
    every_file_has_one_job_and_one_link(&world, &ann).await;
}

/// Each call is made, its answer is lost, and the bot dies before it can do anything about that.
async fn it_dies_at_every_call_of_the_bot_api(world: &World, ann: &Person) {
    for (number, method) in [
        "forwardMessage",
        "sendMessage",
        "editMessageText",
        "sendMessage",
    ]
    .into_iter()
    .enumerate()
    {
        let bot = world.sim.bot();
        let done = bot.calls_of(method).total();
        let mut fault = Fault::of_method(method, 1, Effect::Lose);
        // The second message to the user is the one that rings.
        fault.skip = u32::from(number == 3);
        let skipped = u64::from(fault.skip);
        bot.add_fault(fault);
        let name = format!("call{number}.zip");
        ann.send_file(&name, SMALL).await;
        eventually("the call is made", async || {
            bot.calls_of(method).total() > done + skipped
        })
        .await;
        world.kubelet.signal(&bot_pod(world).await, "KILL");
        told(world, ann, &name).await;
        bot.clear_faults();
    }
}

async fn it_dies_at_random(world: &World, ann: &Person) {
    for death in 0..DEATHS {
        let name = format!("random{death}.zip");
        ann.send_file(&name, SMALL).await;
        // From before its update is seen to after all is said.
        sleep(Duration::from_millis(death * 90)).await;
        world.kubelet.signal(&bot_pod(world).await, "KILL");
        told(world, ann, &name).await;
    }
}

/// Waits until the user has the link of a file.
async fn told(world: &World, ann: &Person, name: &str) {
    eventually(&format!("{name} is told of"), async || {
        ann.messages().iter().any(|message| {
            message.author == Author::Bot
                && message.text.contains(name)
                && message.html.contains("http")
        })
    })
    .await;
    eventually("its job knows", async || {
        let jobs = world
            .jobs
            .list(&kube::api::ListParams::default())
            .await
            .unwrap();
        let of_it = |job: &&TransferJob| job.spec.source.file_name.as_deref() == Some(name);
        let of_it: Vec<_> = jobs.iter().filter(of_it).collect();
        let is_told = |job: &TransferJob| {
            let notified = job
                .status
                .as_ref()
                .and_then(|status| status.notified.as_ref());
            notified.is_some()
        };
        matches!(of_it[..], [job] if is_told(job))
    })
    .await;
}

async fn every_file_has_one_job_and_one_link(world: &World, ann: &Person) {
    let jobs = world
        .jobs
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let files = 4 + usize::try_from(DEATHS).unwrap();
    assert_eq!(jobs.items.len(), files);
    for job in &jobs {
        let name = job.spec.source.file_name.clone().unwrap();
        let messages = ann.messages();
        let rings = messages
            .iter()
            .filter(|message| message.author == Author::Bot && message.text.contains(&name))
            .filter(|message| message.text.contains("CRC32C"))
            .count();
        assert!(rings <= 1, "{name} rings {rings} times");
        let linked = messages
            .iter()
            .filter(|message| message.author == Author::Bot && message.text.contains(&name))
            .find(|message| message.html.contains("http"))
            .unwrap();
        assert_eq!(
            download(&Person::link(linked)).await,
            (200, SMALL),
            "{name}"
        );
    }
    assert_eq!(
        (
            world.sim.oci().objects().len(),
            world.sim.oci().pars().len()
        ),
        (files, files)
    );
    assert!(ann.rings() >= files / 2, "most of them ring");
}
