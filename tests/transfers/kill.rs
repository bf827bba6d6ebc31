//! The kill matrix: the process dies at a step's boundary or anywhere in between, is run again, and
//! ends right.

use std::time::Duration;

use telestream::worker::Delivery;
use telestream_sim::{
    oci::{Effect as OciEffect, Fault as OciFault, Operation},
    telegram::faults::{Effect, Fault},
};
use tokio::{process::Child, time::sleep};

use crate::world::{CHUNK, HOME, MIB, PART, Sent, World, read_report, until};

const SIZE: u64 = 5 * PART - 12_345;

/// Parts under way at a time, and the chunks that may be asked for twice.
const UNDER_WAY: u64 = 3 * PART + 2 * CHUNK;

/// For how long a step is held back, which is when the process dies.
const HELD: Duration = Duration::from_secs(20);

/// When the process dies.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// While Telegram has not answered the first call of that method.
    Asking(&'static str),
    /// When so many requests of that kind have been answered and one more has come, which is not
    /// carried out.
    Before(Operation, u32),
    /// When so many requests of that kind have been carried out, whose replies are lost.
    After(Operation, u32),
    /// When a link's reply was lost and it is about to be deleted.
    Undoing,
    /// When so many bytes were fetched.
    Fetched(u64),
    /// When so many bytes are stored in parts.
    Stored(u64),
}

/// A file that is sent, and when the process dies that moves it, and the next one.
#[derive(Debug)]
struct Case {
    size: u64,
    deaths: Vec<Moment>,
}

/// Deaths at all steps' boundaries, then others anywhere: fifty cases.
fn cases() -> Vec<Case> {
    use Operation::{
        CommitMultipartUpload as Commit, CreateMultipartUpload as Create,
        CreatePreauthenticatedRequest as CreateLink, HeadObject as Head,
        ListMultipartUploadParts as ListParts, ListMultipartUploads as ListUploads,
        ListPreauthenticatedRequests as ListLinks, PutObject as Put, UploadPart,
    };
    let mut moments = vec![
        Moment::Asking("help.getConfig"),
        Moment::Asking("channels.getMessages"),
        Moment::Asking("upload.getFile"),
    ];
    let once = [Head, ListUploads, Create, Commit, ListLinks, CreateLink];
    moments.extend(once.map(|step| Moment::Before(step, 0)));
    moments.extend(once.map(|step| Moment::After(step, 0)));
    moments.push(Moment::Undoing);
    moments.extend((0..5).map(|part| Moment::Before(UploadPart, part)));
    moments.extend((0..5).map(|part| Moment::After(UploadPart, part)));
    let large = |death| Case {
        size: SIZE,
        deaths: vec![death],
    };
    let mut cases: Vec<_> = moments.into_iter().map(large).collect();

    // A file of at most one part is one request.
    let small = |death| Case {
        size: PART - 12_345,
        deaths: vec![death],
    };
    cases.extend(
        [
            Moment::Before(Put, 0),
            Moment::After(Put, 0),
            Moment::Fetched(PART / 2),
            Moment::Before(CreateLink, 0),
            Moment::After(CreateLink, 0),
        ]
        .map(small),
    );

    // Whoever goes on with what a dead process has left dies too.
    let twice = |death| Case {
        size: SIZE,
        deaths: vec![Moment::Stored(2 * PART), death],
    };
    cases.extend(
        [
            Moment::Before(Head, 0),
            Moment::Before(ListUploads, 0),
            Moment::Before(ListParts, 0),
            Moment::After(ListParts, 0),
            Moment::Before(UploadPart, 0),
            Moment::After(UploadPart, 1),
            Moment::Before(Commit, 0),
            Moment::After(Commit, 0),
            Moment::After(CreateLink, 0),
        ]
        .map(twice),
    );

    let mut random = fastrand::Rng::with_seed(4);
    while cases.len() < 50 {
        let bytes = random.u64(1..SIZE);
        cases.push(large(if cases.len() % 2 == 0 {
            Moment::Fetched(bytes)
        } else {
            Moment::Stored(bytes)
        }));
    }
    cases
}

impl Moment {
    /// Makes the stand-ins hold still when it comes.
    fn prepare(self, world: &World) {
        let fault = |operation, skip, effect| OciFault {
            operations: vec![operation],
            skip,
            times: Some(1),
            ..OciFault::of(effect)
        };
        let millis = u64::try_from(HELD.as_millis()).unwrap();
        match self {
            Self::Asking(method) => world.sim.telegram().add_fault(Fault {
                methods: vec![method.into()],
                ..Fault::of(Effect::Lose)
            }),
            Self::Before(operation, skip) => {
                let held = OciEffect::Delay { millis };
                world.sim.oci().add_fault(fault(operation, skip, held));
            }
            Self::After(operation, skip) => {
                let lost = OciEffect::LoseReply;
                world.sim.oci().add_fault(fault(operation, skip, lost));
            }
            Self::Undoing => {
                Self::After(Operation::CreatePreauthenticatedRequest, 0).prepare(world);
                Self::Before(Operation::DeletePreauthenticatedRequest, 0).prepare(world);
            }
            Self::Fetched(_) | Self::Stored(_) => {}
        }
    }

    /// Waits for it.
    async fn comes(self, world: &World, sent: &Sent) {
        let oci = world.sim.oci();
        let telegram = world.sim.telegram();
        let what = format!("{self:?}");
        match self {
            Self::Asking(method) => {
                until(&what, || {
                    let traffic = telegram.traffic();
                    traffic.doors.iter().any(|door| door.calls_of(method) > 0)
                })
                .await;
            }
            Self::Before(operation, count) => {
                let come = || oci.traffic().requests(operation) > u64::from(count);
                until(&what, come).await;
                // It is on its way to be carried out, but for the delay.
                sleep(Duration::from_millis(5)).await;
            }
            Self::Undoing => {
                let undoing = Operation::DeletePreauthenticatedRequest;
                until(&what, || oci.traffic().requests(undoing) > 0).await;
            }
            Self::After(_, _) => until(&what, || oci.waiting_faults().is_empty()).await,
            Self::Fetched(bytes) => {
                until(&what, || {
                    telegram.traffic().file(sent.file_id).bytes >= bytes
                })
                .await;
            }
            Self::Stored(bytes) => {
                let stored =
                    || world.stored(sent) >= bytes.min(4 * PART) || world.left_by(sent).0 > 0;
                until(&what, stored).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_at_any_moment_ends_right_when_it_is_run_again() {
    for case in cases() {
        let world = World::start().await;
        let sent = world.send(case.size, HOME).await;
        world.sim.telegram().reset_traffic();
        world.set_telegram_rate(Some(32 * MIB));
        for moment in &case.deaths {
            world.sim.oci().reset_traffic();
            moment.prepare(&world);
            let mut process = world.process(&sent).spawn().unwrap();
            tokio::select! {
                () = moment.comes(&world, &sent) => {}
                ended = process.wait() => panic!("{case:?}: it ended before: {ended:?}"),
            }
            process.kill().await.unwrap();
            world.sim.telegram().clear_faults();
            world.sim.oci().clear_faults();
        }
        let delivery = run(world.process(&sent).spawn().unwrap(), &case).await;
        let again = world.assert_arrived(&sent, &delivery).await;
        let under_way = UNDER_WAY.min(case.size + 2 * CHUNK);
        let allowed = under_way * case.deaths.len() as u64;
        assert!(again <= allowed, "{case:?}: {again} bytes again");
    }
}

/// Runs it to its end.
async fn run(process: Child, case: &Case) -> Delivery {
    let output = process.wait_with_output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case:?}: {told}");
    read_report(&output.stdout)
}
