//! The controller dies between any two of its writes, or right after one whose reply it never gets.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::{Method, Request};
use kube::{api::DeleteParams, client::Body};
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    theatre::{Controller, Fate, Fates, Theatre},
    world::{MIB, World, eventually},
};

/// More writes than anything that is tried here takes.
const MANY: usize = 40;

/// When the controller dies: at which of its writes, and on which side of it.
#[derive(Clone, Copy, Debug)]
enum Death {
    Before(usize),
    After(usize),
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_may_die_at_any_write() {
    let world = World::install("crashes", json!({"worker": {"idleTimeout": "5m"}})).await;
    let theatre = Theatre::set(&world).await;
    for death in [Death::Before as fn(usize) -> Death, Death::After] {
        let mut jobs = 0;
        for number in 1..MANY {
            let name = format!("{}{number}", if jobs == 0 { "a" } else { "b" });
            let name = format!("{name}-{}", fastrand::u32(..));
            if !a_transfer_survives(&world, &theatre, &name, death(number)).await {
                break;
            }
            jobs += 1;
        }
        assert!(
            jobs >= 4,
            "a transfer takes at least so many writes: {jobs}"
        );
        for number in 1..MANY {
            let name = format!("d{number}-{}", fastrand::u32(..));
            if !a_deletion_survives(&world, &theatre, &name, death(number)).await {
                break;
            }
        }
    }
}

/// Whether the controller died at all.
async fn a_transfer_survives(world: &World, theatre: &Theatre, name: &str, death: Death) -> bool {
    let (killer, mut controller) = mortal(theatre, death).await;
    world.transfer(name, MIB).await;
    let died = died_or(&killer, &mut controller, world.labelled(name)).await;
    controller.end().await;
    let controller = theatre.play(Arc::new(())).await;
    let status = world.succeeded(name).await;
    assert!(status.failures == 0, "{death:?}: {status:#?}");
    world.labelled(name).await;
    eventually("no upload is open", async || {
        world.sim.oci().uploads().is_empty()
    })
    .await;
    assert_eq!(
        (world.objects_of(name), world.links_of(name)),
        (1, 1),
        "{death:?}"
    );
    controller.end().await;
    died
}

async fn a_deletion_survives(world: &World, theatre: &Theatre, name: &str, death: Death) -> bool {
    let controller = theatre.play(Arc::new(())).await;
    world.set_rate(Some(4 * MIB));
    world.transfer(name, 40 * MIB).await;
    world.under_way(name).await;
    controller.end().await;
    let (killer, mut controller) = mortal(theatre, death).await;
    let parameters = DeleteParams::default();
    world.jobs.delete(name, &parameters).await.unwrap();
    let died = died_or(&killer, &mut controller, world.gone(name)).await;
    controller.end().await;
    let controller = theatre.play(Arc::new(())).await;
    world.gone(name).await;
    world.set_rate(None);
    eventually("no upload is open", async || {
        world.sim.oci().uploads().is_empty()
    })
    .await;
    assert_eq!(
        (world.objects_of(name), world.links_of(name)),
        (0, 0),
        "{death:?}"
    );
    controller.end().await;
    died
}

/// A controller that is to die.
async fn mortal(theatre: &Theatre, death: Death) -> (Arc<Killer>, Controller) {
    let killer = Arc::new(Killer {
        death,
        writes: AtomicUsize::new(0),
        died: Notify::new(),
    });
    let controller = theatre.play(Arc::clone(&killer)).await;
    (killer, controller)
}

/// Waits until it dies, or something else has happened. Whether it died.
async fn died_or(
    killer: &Killer,
    controller: &mut Controller,
    other: impl Future<Output = ()>,
) -> bool {
    tokio::select! {
        biased;
        () = killer.died.notified() => {
            controller.kill();
            true
        }
        () = other => false,
    }
}

/// Stops the world at a write.
struct Killer {
    death: Death,
    writes: AtomicUsize,
    died: Notify,
}

impl Fates for Killer {
    fn of(&self, request: &Request<Body>) -> Fate {
        let path = request.uri().path();
        if *request.method() == Method::GET || path.contains("/leases/") {
            return Fate::Answered;
        }
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        match self.death {
            Death::Before(at) if number >= at => Fate::Held,
            Death::After(at) if number > at => Fate::Held,
            Death::After(at) if number == at => Fate::Unanswered,
            _ => Fate::Answered,
        }
    }

    fn struck(&self) {
        self.died.notify_one();
    }
}
