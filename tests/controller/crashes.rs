//! The controller dies between any two of its writes, or right after one whose reply it never gets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, Request, StatusCode};
use kube::{api::DeleteParams, client::Body};
use serde_json::json;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_of_the_past_has_sent_does_no_harm_when_it_arrives() {
    let change = json!({"worker": {"slots": 1, "idleTimeout": "5m"}});
    let world = World::install("late", change).await;
    let theatre = Theatre::set(&world).await;
    let pod = "telestream-worker-0";
    // Given a leader that has asked for a pod, when another takes over
    let late = Late::of(Method::POST, "/pods");
    let past = theatre.play(Arc::clone(&late)).await;
    world.transfer("first", MIB).await;
    late.caught.notified().await;
    past.kill();
    let present = theatre.play(Arc::new(())).await;
    eventually("it leads", async || present.readiness().await == Some(200)).await;
    // Then its pod is the one, whenever it comes
    assert_eq!(late.arrive().await, StatusCode::CREATED);
    assert_eq!(world.succeeded("first").await.attempt, 1);
    assert_eq!(world.kubelet.started(pod).len(), 1);
    present.end().await;
    // Given one that has given a job to that pod
    let late = Late::of(Method::PATCH, "/transferjobs/second/status");
    let past = theatre.play(Arc::clone(&late)).await;
    world.set_rate(Some(MIB));
    world.transfer("second", 40 * MIB).await;
    late.caught.notified().await;
    past.kill();
    let present = theatre.play(Arc::new(())).await;
    world.under_way("second").await;
    // Then that of the other counts
    assert_eq!(late.arrive().await, StatusCode::CONFLICT);
    world.set_rate(None);
    let status = world.succeeded("second").await;
    assert_eq!((status.attempt, status.interruptions), (1, 0));
    let jobs = ["first", "second"].map(str::to_owned);
    world.assert_exactly(&jobs.into()).await;
    present.end().await;
}

/// Lets the first request of a kind arrive when it is told to.
struct Late {
    method: Method,
    path: &'static str,
    is_caught: AtomicBool,
    caught: Notify,
    go: Notify,
    answers: watch::Sender<Option<StatusCode>>,
}

impl Late {
    fn of(method: Method, path: &'static str) -> Arc<Self> {
        Arc::new(Self {
            method,
            path,
            is_caught: AtomicBool::new(false),
            caught: Notify::new(),
            go: Notify::new(),
            answers: watch::Sender::new(None),
        })
    }

    /// Now it arrives. How it is answered.
    async fn arrive(&self) -> StatusCode {
        self.go.notify_one();
        let mut answers = self.answers.subscribe();
        let answer = answers.wait_for(Option::is_some);
        let answer = timeout(Duration::from_secs(30), answer).await;
        answer.expect("it is answered").unwrap().unwrap()
    }
}

impl Fates for Late {
    fn of(&self, request: &Request<Body>) -> Fate {
        let is_one = *request.method() == self.method && request.uri().path().ends_with(self.path);
        if is_one && !self.is_caught.swap(true, Ordering::SeqCst) {
            Fate::Late
        } else {
            Fate::Answered
        }
    }

    fn struck(&self) {
        self.caught.notify_one();
    }

    async fn late(&self) {
        self.go.notified().await;
    }

    fn answered(&self, answer: StatusCode) {
        self.answers.send_replace(Some(answer));
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
