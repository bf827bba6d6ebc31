//! Buttons do what they say, for whom they are.

use serde_json::json;
use telestream_sim::telegram::ids::ChatId;

use crate::{
    chat::{ANN, BEN, MALLORY, Person, SMALL, download, install},
    world::{MIB, World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn links_and_transfers_obey_their_owner_alone() {
    let world = install("bot-buttons", json!({})).await;
    a_transfer_is_stopped(&world).await;
    a_link_is_extended_and_revoked(&world).await;
    links_are_listed_page_by_page(&world).await;
    commands_do_the_same(&world).await;
}

async fn a_transfer_is_stopped(world: &World) {
    let (ann, ben) = (Person::new(world, ANN), Person::new(world, BEN));
    world.set_rate(Some(MIB));
    let before = ann.last_event();
    ann.send_file("long.zip", 40 * MIB).await;
    let status = ann.sees(before, "long.zip").await;
    // Nobody else can stop it
    ben.ask("/help").await;
    assert!(
        ann.press_as(BEN, &status, "Cancel")
            .await
            .contains("überholt")
    );
    assert!(
        ann.press_as(MALLORY, &status, "Cancel")
            .await
            .contains("not for you")
    );
    let moving = ann.sees(before, "▰").await;
    assert!(moving.text.contains("MiB/s"), "{}", moving.text);
    assert_eq!(ann.press(&moving, "Cancel").await, "Stopping …");
    ann.sees(before, "cancelled").await;
    eventually("nothing is left", async || {
        let jobs = world
            .jobs
            .list(&kube::api::ListParams::default())
            .await
            .unwrap();
        jobs.items.is_empty() && world.sim.oci().uploads().is_empty()
    })
    .await;
    world.set_rate(None);
    assert_eq!(
        ann.press(&moving, "Cancel").await,
        "This button is out of date."
    );
    assert_eq!(ann.rings(), 0, "whoever stops a file needs no bell");
}

async fn a_link_is_extended_and_revoked(world: &World) {
    let ann = Person::new(world, ANN);
    let before = ann.last_event();
    ann.send_file("kept.zip", SMALL).await;
    let result = ann.sees(before, "CRC32C").await;
    let first = Person::link(&result);
    // Somebody else who has the link cannot touch it, with no client
    for data in ["Revoke", "Extend"] {
        let pressed = result.button(data).unwrap();
        let telestream_sim::telegram::details::ButtonAction::CallbackData(data) = &pressed.action
        else {
            panic!("{pressed:?}");
        };
        let said = ann.press_as(BEN, &result, data).await;
        assert!(said.contains("überholt"), "{said}");
    }
    for forged in [
        "r:tj-00000000000000000000",
        "x:",
        "rr:tj-0:0",
        "c:kube-system",
        "\u{0}",
    ] {
        assert_eq!(
            ann.press(&result, forged).await,
            "This button is out of date."
        );
    }
    assert_eq!(download(&first).await.0, 200);
    // Extended, it is another link, and the old one ends
    let before = ann.last_event();
    let said = ann.press(&result, "Extend").await;
    assert!(said.contains("lives longer"), "{said}");
    let extended = ann.sees(before, "for 14 d").await;
    let second = Person::link(&extended);
    assert_ne!(first, second);
    assert_eq!(download(&second).await, (200, SMALL));
    eventually("the old link has ended", async || {
        download(&first).await.0 == 404
    })
    .await;
    // Revoked, nobody can download any more; but it is asked first
    ann.press(&extended, "Revoke").await;
    let asked = ann.sees(before, "Take this link back?").await;
    assert_eq!(download(&second).await.0, 200);
    ann.press(&asked, "Keep").await;
    ann.press(&extended, "Revoke").await;
    let asked = ann.sees(before, "Take this link back?").await;
    assert_eq!(
        ann.press(&asked, "Yes, revoke").await,
        "The link is taken back."
    );
    eventually("the link has ended", async || {
        download(&second).await.0 == 404
    })
    .await;
    let shown = world
        .sim
        .bot()
        .message(ChatId(ANN), asked.message_id)
        .unwrap();
    assert!(!shown.html.contains("http"), "{}", shown.html);
}

async fn links_are_listed_page_by_page(world: &World) {
    let ann = Person::new(world, ANN);
    for number in 0..6 {
        ann.send_file(&format!("page{number}.zip"), 100_000).await;
    }
    eventually("all are told of", async || {
        let jobs = world
            .jobs
            .list(&kube::api::ListParams::default())
            .await
            .unwrap();
        let told = jobs
            .iter()
            .filter_map(|job| job.status.as_ref()?.notified.as_ref());
        told.count() == 7
    })
    .await;
    let before = ann.last_event();
    let first = ann.hears("/mylinks", "Links that work").await;
    assert!(
        first.text.contains("Links that work: 6") && first.text.contains("page 1 of 2"),
        "{}",
        first.text
    );
    ann.press(&first, "›").await;
    let second = ann.sees(before, "page 2 of 2").await;
    assert_eq!(second.message_id, first.message_id);
    // Other users see none of them
    let ben = Person::new(world, BEN);
    assert!(ben.ask("/mylinks").await.text.contains("keiner"));
    assert!(
        ann.press_as(BEN, &second, "‹").await.is_empty() || !ann.transcript().contains("keiner")
    );
}

async fn commands_do_the_same(world: &World) {
    let ann = Person::new(world, ANN);
    ann.hears("/status", "Nothing of yours").await;
    ann.hears("/cancel", "Nothing of yours").await;
    ann.hears("/retry", "has failed").await;
    ann.hears("/revoke", "Which one?").await;
    ann.hears("/revoke nonsense", "No link of yours").await;
    let links = ann.hears("/mylinks", "Links that work").await;
    let id = links.text.lines().nth(4).unwrap().trim().to_owned();
    ann.hears(&format!("/extend {id}"), "CRC32C").await;
    ann.hears(&format!("/revoke {id}"), "taken back").await;
    ann.hears(&format!("/revoke {id}"), "No link of yours")
        .await;
    ann.hears("/queue", "0 of them yours").await;
    world.set_rate(Some(MIB));
    let before = ann.last_event();
    ann.send_file("queued.zip", 20 * MIB).await;
    ann.sees(before, "▰").await;
    ann.hears("/status", "queued.zip").await;
    ann.hears("/queue", "1 of them yours").await;
    ann.hears("/cancel", "Stopping it").await;
    world.set_rate(None);
    ann.sees(before, "cancelled").await;
}
