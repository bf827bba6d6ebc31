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
use telestream::api::{Phase, TransferJobStatus};
use telestream_sim::oci::{Effect, Fault, Operation};
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

/// What happens to a job while its controller is mortal, after its first attempt has begun or ended.
#[derive(Clone, Copy, Debug)]
enum Course {
    /// An attempt fails, and the next succeeds.
    Retried,
    /// It fails for ever, with an upload open.
    Failed,
    /// It is suspended under way.
    Suspended,
    /// It gets another link.
    Renewed,
    /// Its link is taken back.
    Revoked,
    /// It has been kept for long enough.
    Outlived,
}

impl Course {
    /// All, each with how many writes it takes at least.
    const ALL: [(Self, usize); 6] = [
        (Self::Retried, 6),
        (Self::Failed, 5),
        (Self::Suspended, 1),
        (Self::Renewed, 4),
        (Self::Revoked, 3),
        (Self::Outlived, 2),
    ];

    /// What happens before, under a controller that lives.
    async fn prepare(self, world: &World, name: &str) {
        match self {
            Self::Retried | Self::Failed => {}
            Self::Suspended => {
                world.set_rate(Some(4 * MIB));
                world.transfer(name, 40 * MIB).await;
                world.under_way(name).await;
            }
            Self::Renewed | Self::Revoked | Self::Outlived => {
                world.transfer(name, MIB).await;
                world.labelled(name).await;
            }
        }
    }

    async fn begin(self, world: &World, name: &str) {
        let refuse = |operation, status, code: &str| {
            world.sim.oci().add_fault(Fault {
                operations: vec![operation],
                ..Fault::of(Effect::Refuse {
                    status,
                    code: code.into(),
                    message: String::new(),
                })
            });
        };
        match self {
            Self::Retried => {
                refuse(Operation::PutObject, 503, "ServiceUnavailable");
                let message = world.send(MIB).await;
                let patient = json!({"retry": {"limit": 20, "backoff": "1s"}});
                world.apply(name, message, patient).await;
            }
            Self::Failed => {
                refuse(Operation::CommitMultipartUpload, 400, "InvalidParameter");
                world.transfer(name, 17 * MIB).await;
            }
            Self::Suspended => world.change(name, json!({"suspend": true})).await,
            Self::Renewed => world.change(name, json!({"link": {"ttl": "30d"}})).await,
            Self::Revoked => world.change(name, json!({"link": {"revoked": true}})).await,
            Self::Outlived => {
                let soon = json!({"ttlSecondsAfterFinished": 1});
                world.change(name, soon).await;
            }
        }
    }

    /// Waits until all is done that the controller has to do. What it must have done then is right.
    async fn end(self, world: &World, name: &str) {
        match self {
            Self::Retried => {
                let has_failed = |status: &TransferJobStatus| status.failures > 0;
                let status = world.until(name, "failed once", has_failed).await;
                world.sim.oci().clear_faults();
                world.labelled(name).await;
                let ended = world.succeeded(name).await;
                assert!(status.failures <= ended.failures);
                // Each attempt has counted, and each once.
                assert_eq!(
                    (ended.attempt, ended.interruptions),
                    (ended.failures + 1, 0),
                    "{ended:#?}"
                );
            }
            Self::Failed => {
                world.labelled(name).await;
                world.sim.oci().clear_faults();
                let status = world.finished(name).await;
                assert_eq!(status.phase, Phase::Failed, "{status:#?}");
            }
            Self::Suspended => {
                let is_suspended = |status: &TransferJobStatus| {
                    status.assignment.is_none() && status.reason.as_deref() == Some("Suspended")
                };
                let status = world.until(name, "suspended", is_suspended).await;
                let counts = (status.attempt, status.failures, status.interruptions);
                assert_eq!(counts, (1, 0, 0), "{status:#?}");
            }
            Self::Renewed => {
                let is_renewed = |status: &TransferJobStatus| {
                    let mut conditions = status.conditions.iter();
                    conditions.any(|condition| condition.reason == "Renewed")
                };
                world.until(name, "renewed", is_renewed).await;
                world.labelled(name).await;
            }
            Self::Revoked => {
                let is_revoked = |status: &TransferJobStatus| status.link.is_none();
                world.until(name, "revoked", is_revoked).await;
                world.labelled(name).await;
            }
            Self::Outlived => world.gone(name).await,
        }
    }

    /// Objects and links of it that are there then.
    fn leaves(self) -> (usize, usize) {
        match self {
            Self::Retried | Self::Renewed => (1, 1),
            Self::Failed | Self::Suspended => (0, 0),
            Self::Revoked | Self::Outlived => (1, 0),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_job_its_controller_may_die_at_any_write() {
    let world = World::install("courses", json!({"worker": {"idleTimeout": "5m"}})).await;
    let theatre = Theatre::set(&world).await;
    let mut controller = theatre.play(Arc::new(())).await;
    for (course, least) in Course::ALL {
        for death in [Death::Before as fn(usize) -> Death, Death::After] {
            let mut deaths = 0;
            loop {
                let died;
                let at = death(deaths + 1);
                (controller, died) =
                    a_course_is_run(&world, &theatre, controller, course, at).await;
                if !died {
                    break;
                }
                deaths += 1;
                assert!(deaths < MANY, "{course:?} never ends");
            }
            assert!(deaths >= least, "{course:?}: only {deaths} writes");
        }
    }
    controller.end().await;
}

/// Returns the controller that has done the rest, and whether the mortal one died at all.
async fn a_course_is_run(
    world: &World,
    theatre: &Theatre,
    controller: Controller,
    course: Course,
    death: Death,
) -> (Controller, bool) {
    let name = format!("{course:?}-{}", fastrand::u32(..)).to_lowercase();
    course.prepare(world, &name).await;
    controller.end().await;
    let (killer, mut controller) = mortal(theatre, death).await;
    course.begin(world, &name).await;
    let died = died_or(&killer, &mut controller, course.end(world, &name)).await;
    controller.end().await;
    let controller = theatre.play(Arc::new(())).await;
    course.end(world, &name).await;
    if !matches!(course, Course::Suspended) {
        eventually("no upload is open", async || {
            world.sim.oci().uploads().is_empty()
        })
        .await;
    }
    let left = (world.objects_of(&name), world.links_of(&name));
    assert_eq!(left, course.leaves(), "{course:?}, {death:?}");
    if matches!(course, Course::Renewed) {
        let link = world.succeeded(&name).await.link.unwrap();
        let mut links = world.sim.oci().pars().into_iter();
        assert!(links.any(|par| par.id == link.id), "its link works");
    }
    world.set_rate(None);
    let parameters = DeleteParams::default();
    drop(world.jobs.delete(&name, &parameters).await);
    world.gone(&name).await;
    (controller, died)
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
    let world = World::install("past", change).await;
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
