//! What the controller costs and how fast it is.
//!
//! `make bench-controller`. On a real node, with real pods: how long a small file takes from apply to
//! link, and how many go through in a second. On a control plane alone, with the same programs as
//! processes: what thousands of waiting and finished jobs cost. Prints one line a figure, and with
//! `--output FILE` writes each as a line of JSON, of which `benches/controller.py` makes one document.

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/controller/world.rs"]
mod world;

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Write as _,
    net::IpAddr,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use support::Node;
use telestream::api::{TransferJob, TransferJobStatus};
use telestream_sim::Sim;
use tokio::time::sleep;
use world::{MIB, NAMESPACE, World, eventually};

/// How much is done of everything.
struct Extent {
    warm: usize,
    /// Jobs that go first while others wait, at most.
    first: usize,
    cold: usize,
    batch: usize,
    pod_each: usize,
    waiting: &'static [usize],
    finished: usize,
}

const FULL: Extent = Extent {
    warm: 300,
    first: 200,
    cold: 5,
    batch: 200,
    pod_each: 30,
    waiting: &[100, 1_000, 10_000],
    finished: 100_000,
};

const QUICK: Extent = Extent {
    warm: 20,
    first: 40,
    cold: 2,
    batch: 60,
    pod_each: 6,
    waiting: &[100, 1_000],
    finished: 5_000,
};

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let asked = |word: &str| arguments.iter().any(|argument| argument == word);
    let mut extent = if asked("--quick") { QUICK } else { FULL };
    if asked("--many-waiting") {
        extent.waiting = &[10_000];
    }
    let output = arguments.iter().position(|argument| argument == "--output");
    let output = output.and_then(|at| arguments.get(at + 1));
    let mut report = Report(output.map(|path| File::create(path).expect("it can be written")));
    if !asked("--cost-only") {
        speed(&extent, &mut report).await;
    }
    if !asked("--speed-only") {
        cost(&extent, &mut report).await;
    }
}

/// Where figures are written down.
struct Report(Option<File>);

/// What a figure is to be.
#[derive(Clone, Copy)]
enum Budget {
    None,
    AtMost(f64),
    AtLeast(f64),
}

use Budget::{AtLeast, AtMost};

impl Report {
    /// Tells a figure, and writes it down.
    fn tell(&mut self, part: &str, what: &str, value: f64, unit: &str, budget: Budget) {
        self.put(
            &json!({"part": part, "what": what, "value": value, "unit": unit}),
            budget,
        );
    }

    /// The same, of a controller that has so many jobs.
    fn tell_of(&mut self, jobs: &str, what: &str, value: f64, unit: &str, budget: Budget) {
        let figure =
            json!({"part": "cost", "jobs": jobs, "what": what, "value": value, "unit": unit});
        self.put(&figure, budget);
    }

    fn put(&mut self, figure: &Value, budget: Budget) {
        let mut figure = figure.clone();
        let limit = match budget {
            Budget::None => String::new(),
            AtMost(limit) => {
                figure["atMost"] = json!(limit);
                format!("<= {limit}")
            }
            AtLeast(limit) => {
                figure["atLeast"] = json!(limit);
                format!(">= {limit}")
            }
        };
        let text = |key: &str| figure[key].as_str().unwrap_or_default();
        let value = figure["value"].as_f64().unwrap_or_default();
        let what = [text("jobs"), text("what")].join(" ");
        println!(
            "{:<80} {value:>10.3} {:<8} {limit}",
            what.trim(),
            text("unit")
        );
        if let Some(file) = &mut self.0 {
            writeln!(file, "{figure}").expect("it can be written");
        }
    }
}

/// The given share of values lies below what is returned.
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((times.len() - 1) as f64 * share).round() as usize;
    times[at]
}

#[allow(clippy::cast_precision_loss, reason = "a count")]
fn each_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn job(name: &str, message: i32, change: Value) -> TransferJob {
    let mut spec = json!({"source": {"chatId": world::CHANNEL, "messageId": message}});
    for (key, value) in change.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob", "metadata": {"name": name}, "spec": spec,
    }))
    .expect("a TransferJob")
}

/// From creating the job until its status is as wanted, as a watch tells.
async fn time_until(
    jobs: &Api<TransferJob>,
    job: &TransferJob,
    wanted: impl Fn(&TransferJobStatus) -> bool,
) -> Duration {
    let field = format!("metadata.name={}", job.name_any());
    let parameters = WatchParams::default().fields(&field);
    let begun = Instant::now();
    let made = jobs
        .create(&PostParams::default(), job)
        .await
        .expect("it is taken");
    let version = made.resource_version().expect("it has a version");
    let mut changes = jobs
        .watch(&parameters, &version)
        .await
        .expect("a watch")
        .boxed();
    while let Some(change) = changes.try_next().await.expect("a watch goes on") {
        if let WatchEvent::Modified(job) = change
            && job.status.as_ref().is_some_and(&wanted)
        {
            return begun.elapsed();
        }
    }
    panic!("the watch has ended");
}

fn has_link(status: &TransferJobStatus) -> bool {
    status.link.is_some()
}

async fn create_all(jobs: &Api<TransferJob>, all: Vec<TransferJob>) {
    stream::iter(all)
        .map(async |job| {
            jobs.create(&PostParams::default(), &job)
                .await
                .expect("it is taken")
        })
        .buffer_unordered(32)
        .for_each(async |_| {})
        .await;
}

/// Waits until all these have a link.
async fn all_linked(jobs: &Api<TransferJob>, prefix: &str, count: usize) {
    let deadline = Instant::now() + Duration::from_mins(15);
    loop {
        let found = jobs
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items;
        let linked = found
            .iter()
            .filter(|job| job.name_any().starts_with(prefix))
            .filter(|job| job.status.as_ref().is_some_and(has_link))
            .count();
        if linked == count {
            return;
        }
        assert!(Instant::now() < deadline, "{linked} of {count} have a link");
        sleep(Duration::from_millis(200)).await;
    }
}

// --- Speed, on a node ------------------------------------------------------------------------

/// The product on a node of its own.
struct Installed {
    node: Node,
    sim: Sim,
    jobs: Api<TransferJob>,
    pods: Api<Pod>,
    _data: tempfile::TempDir,
}

async fn install() -> Installed {
    let node = Node::start("bench");
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut options = telestream_sim::Options::in_dir(data.path());
    options.listen = IpAddr::V4(node.host_address);
    options.advertise = node.host_address;
    let sim = Sim::start(options).await.expect("the stand-ins start");
    let mut values = world::values(&sim);
    let (repository, tag) = node.image.split_once(':').expect("a tag");
    values["image"] = json!({"repository": repository, "tag": tag});
    values["limits"] = json!({"runningPerUser": 0});
    let file = data.path().join("values.json");
    std::fs::write(&file, values.to_string()).expect("it can be written");
    let chart = support::root().join("charts/telestream");
    node.run(
        "helm",
        &[
            "install",
            "telestream",
            chart.to_str().expect("UTF-8"),
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--values",
            file.to_str().expect("UTF-8"),
            "--wait",
            "--timeout",
            "2m",
        ],
    );
    let client = node.client().await;
    Installed {
        node,
        sim,
        jobs: Api::namespaced(client.clone(), NAMESPACE),
        pods: Api::namespaced(client, NAMESPACE),
        _data: data,
    }
}

impl Installed {
    async fn workers(&self) -> usize {
        let workers = ListParams::default().labels("app.kubernetes.io/component=worker");
        self.pods.list(&workers).await.expect("a list").items.len()
    }

    fn set_idle_timeout(&self, time: &str) {
        let chart = support::root().join("charts/telestream");
        self.node.run(
            "helm",
            &[
                "upgrade",
                "telestream",
                chart.to_str().expect("UTF-8"),
                "--namespace",
                NAMESPACE,
                "--reuse-values",
                "--set-string",
                &format!("worker.idleTimeout={time}"),
                "--wait",
                "--timeout",
                "2m",
            ],
        );
    }

    async fn batch(&self, prefix: &str, messages: &[i32], count: usize) -> Duration {
        let all = (0..count).map(|number| {
            let message = messages[number % messages.len()];
            job(&format!("{prefix}-{number}"), message, json!({}))
        });
        let begun = Instant::now();
        create_all(&self.jobs, all.collect()).await;
        all_linked(&self.jobs, prefix, count).await;
        begun.elapsed()
    }
}

/// Until a pod runs that has nothing but what every pod has by default, its account's token.
async fn bare_pod(installed: &Installed, name: &str) -> Duration {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        // It ends at once, for it is told nothing.
        "containers": [{"name": "main", "image": installed.node.image, "args": ["controller"], "imagePullPolicy": "Never"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let begun = Instant::now();
    installed
        .pods
        .create(&PostParams::default(), &pod)
        .await
        .expect("it is taken");
    loop {
        let found = installed.pods.get(name).await.expect("it is there");
        let status = found.status.unwrap_or_default();
        let started = status
            .container_statuses
            .iter()
            .flatten()
            .filter_map(|container| container.state.as_ref())
            .any(|state| state.running.is_some() || state.terminated.is_some());
        if started {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    let now = DeleteParams::default().grace_period(0);
    installed.pods.delete(name, &now).await.expect("it goes");
    took
}

async fn speed(extent: &Extent, report: &mut Report) {
    println!("On a node, with real pods:");
    let installed = install().await;
    let small = world::send(&installed.sim, MIB).await;
    // One for the worker to be warm.
    time_until(&installed.jobs, &job("warm-up", small, json!({})), has_link).await;
    let mut times = Vec::new();
    for number in 0..extent.warm {
        let job = job(&format!("warm-{number}"), small, json!({}));
        times.push(time_until(&installed.jobs, &job, has_link).await);
    }
    let mut tell = |what: &str, value: f64, unit: &str, budget: Budget| {
        report.tell("speed", what, value, unit, budget);
    };
    let what = "1 MiB, warm worker, from apply to the link in status";
    let p50 = quantile(&mut times, 0.5).as_secs_f64();
    tell(&format!("{what}: p50"), p50, "s", AtMost(0.5));
    let p99 = quantile(&mut times, 0.99).as_secs_f64();
    tell(&format!("{what}: p99"), p99, "s", Budget::None);

    let took = installed.batch("batch", &[small], extent.batch).await;
    tell(
        &format!("{} files of 1 MiB", extent.batch),
        each_second(extent.batch, took),
        "files/s",
        AtLeast(10.0),
    );
    let mut mixed = vec![small];
    for size in [0, 100_000, 5 * MIB, 20 * MIB, 50 * MIB] {
        mixed.push(world::send(&installed.sim, size).await);
    }
    let took = installed.batch("mixed", &mixed, extent.batch / 2).await;
    tell(
        &format!(
            "{} files of 0 to 50 MiB, 13 MiB on average",
            extent.batch / 2
        ),
        each_second(extent.batch / 2, took),
        "files/s",
        Budget::None,
    );

    installed.set_idle_timeout("2s");
    let (mut cold, mut bare) = (Vec::new(), Vec::new());
    for number in 0..extent.cold {
        eventually("no worker is left", async || installed.workers().await == 0).await;
        bare.push(bare_pod(&installed, &format!("bare-{number}")).await);
        let job = job(&format!("cold-{number}"), small, json!({}));
        cold.push(time_until(&installed.jobs, &job, has_link).await);
    }
    let (cold, bare) = (quantile(&mut cold, 0.5), quantile(&mut bare, 0.5));
    let (cold, bare) = (cold.as_secs_f64(), bare.as_secs_f64());
    let what =
        "a pod of the same image with nothing but its account's token, from create to running: p50";
    tell(what, bare, "s", Budget::None);
    let what = "1 MiB, no worker there, from apply to the link in status: p50";
    tell(what, cold, "s", Budget::None);
    let what = "the same, in starts of such a pod";
    tell(what, cold / bare, "", AtMost(1.5));

    installed.set_idle_timeout("0s");
    eventually("no worker is left", async || installed.workers().await == 0).await;
    let took = installed.batch("each", &[small], extent.pod_each).await;
    tell(
        &format!(
            "{} files of 1 MiB, a pod for each (`worker.idleTimeout: 0s`)",
            extent.pod_each
        ),
        each_second(extent.pod_each, took),
        "files/s",
        Budget::None,
    );
    installed.sim.stop().await;
}

// --- Cost, on a control plane ----------------------------------------------------------------

async fn cost(extent: &Extent, report: &mut Report) {
    println!("On a control plane, with pods as processes:");
    let change = json!({"limits": {"runningPerUser": 0}, "worker": {"idleTimeout": "10m"}, "log": {"level": "warn"}});
    let world = World::install("bench", change).await;
    let message = world.send(1_000).await;
    scale(&world, 0).await;
    let begun = Instant::now();
    let links = make_finished(&world, message, extent.finished).await;
    eprintln!(
        "made {} finished jobs in {:.0?}",
        extent.finished,
        begun.elapsed()
    );
    // The bot's part: it tells users of what has ended, and says so.
    let bot = tokio::spawn(tell_users(world.jobs.clone()));
    for &count in extent.waiting {
        let begun = Instant::now();
        let all = (0..count).map(|number| {
            let user = i64::try_from(number % 50).expect("small") + 1;
            job(
                &format!("w{count}-{number}"),
                message,
                json!({"requester": {"userId": user, "chatId": user}}),
            )
        });
        create_all(&world.jobs, all.collect()).await;
        eprintln!("made {count} waiting jobs in {:.0?}", begun.elapsed());
        with_waiting(&world, count, extent, message, report).await;
    }
    bot.abort();
    // Links of finished jobs are revoked as soon as a controller leads, and later.
    scale(&world, 1).await;
    let first = revoke(&world, &links[0]).await;
    let jobs = format!("{} finished", extent.finished);
    let mut tell = |what: &str, time: Duration| {
        report.tell_of(&jobs, what, time.as_secs_f64(), "s", AtMost(5.0));
    };
    tell("a revoke right after the start acts within", first);
    let later = revoke(&world, &links[1]).await;
    tell("a revoke acts within", later);
}

/// How long it takes from revoking a finished job's link until it is gone.
async fn revoke(world: &World, name: &str) -> Duration {
    let begun = Instant::now();
    world.change(name, json!({"link": {"revoked": true}})).await;
    let is_revoked = async || {
        let job = world.jobs.get(name).await.expect("it is there");
        job.status.expect("it has a status").link.is_none()
    };
    eventually("it is revoked", is_revoked).await;
    begun.elapsed()
}

/// Says of each job that has ended that its user knows.
async fn tell_users(jobs: Api<TransferJob>) {
    let open = watcher::Config::default().labels("!telestream.io/finished");
    let ended = watcher(jobs.clone(), open)
        .default_backoff()
        .applied_objects()
        .filter_map(async |job| job.ok())
        .filter(|job| {
            let status = job.status.as_ref();
            let is_ended = status.is_some_and(|status| {
                status.completion_time.is_some() && status.notified.is_none()
            });
            future::ready(is_ended)
        });
    ended
        .for_each_concurrent(8, async |job| {
            let told =
                Patch::Merge(json!({"status": {"notified": {"time": "2026-11-01T00:00:00Z"}}}));
            let (name, parameters) = (job.name_any(), PatchParams::default());
            drop(jobs.patch_status(&name, &parameters, &told).await);
        })
        .await;
}

async fn with_waiting(
    world: &World,
    count: usize,
    extent: &Extent,
    message: i32,
    report: &mut Report,
) {
    let jobs = format!("{count} unfinished, {} finished", extent.finished);
    let mut tell = |what: &str, value: f64, unit: &str, budget: Budget| {
        report.tell_of(&jobs, what, value, unit, budget);
    };
    let before = requests(world).await;
    let begun = Instant::now();
    scale(world, 1).await;
    let pod = world.controllers().remove(0);
    let ready = format!("http://{}/readyz", world.kubelet.http(&pod));
    eventually("it leads and is ready", async || {
        let is_ready = reqwest::get(&ready)
            .await
            .is_ok_and(|reply| reply.status().is_success());
        is_ready && world.figure(&pod, "telestream_leader").await > 0.5
    })
    .await;
    let took = begun.elapsed().as_secs_f64();
    tell("start to ready", took, "s", AtMost(30.0));
    // Jobs that go first, while others still wait: few enough for that.
    let first = extent.first.min(count / 5);
    let mut times = Vec::new();
    for number in 0..first {
        let job = job(
            &format!("p{count}-{number}"),
            message,
            json!({"priority": "High", "requester": {"userId": 51, "chatId": 51}}),
        );
        let assigned = |status: &TransferJobStatus| status.start_time.is_some();
        times.push(time_until(&world.jobs, &job, assigned).await);
    }
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        let what = format!("a job that goes first, from create to assignment: {name}");
        let time = quantile(&mut times, share).as_secs_f64();
        tell(&what, time, "s", Budget::None);
    }
    let (mut at, mut done) = (
        Instant::now(),
        world.figure(&pod, "telestream_attempts_total").await,
    );
    let (begun, had) = (at, done);
    while done < f64::from(u32::try_from(count + first).expect("small")) {
        assert!(
            at.elapsed() < Duration::from_mins(2),
            "nothing is admitted any more"
        );
        sleep(Duration::from_millis(100)).await;
        let now = world.figure(&pod, "telestream_attempts_total").await;
        if now > done {
            (at, done) = (Instant::now(), now);
        }
    }
    let rate = (done - had) / (at - begun).as_secs_f64();
    tell("admissions", rate, "/s", Budget::None);
    let prefix = format!("w{count}-");
    all_linked(&world.jobs, &prefix, count).await;
    let memory = memory(world, &pod);
    tell("memory at most (VmHWM)", memory, "MiB", AtMost(64.0));
    sleep(Duration::from_secs(2)).await;
    let after = requests(world).await;
    // The creation of each was asked for as well: by us, in the bot's place.
    let transfers = count + first;
    let mut total = 1.0;
    let mut parts = Vec::new();
    for (request, number) in &after {
        let more = number - before.get(request).copied().unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "a count")]
        let each = more / transfers as f64;
        if each >= 0.05 {
            parts.push(format!("{request} {each:.2}"));
        }
        total += each;
    }
    tell("requests for a transfer", total, "", AtMost(8.0));
    println!("    create 1.00, {}", parts.join(", "));
    scale(world, 0).await;
    // All go, so that the next number is what it says.
    let unfinished = ListParams::default().labels("!telestream.io/finished");
    let nobody = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let left = world.jobs.list(&unfinished).await.expect("a list").items;
    stream::iter(left)
        .map(async |job: TransferJob| {
            let name = job.name_any();
            let parameters = PatchParams::default();
            drop(world.jobs.patch_metadata(&name, &parameters, &nobody).await);
            drop(world.jobs.delete(&name, &DeleteParams::default()).await);
        })
        .buffer_unordered(32)
        .for_each(async |()| {})
        .await;
}

async fn scale(world: &World, replicas: usize) {
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let parameters = PatchParams::default();
    deployments
        .patch("telestream-controller", &parameters, &patch)
        .await
        .expect("it is taken");
    eventually("so many controllers run", async || {
        world.controllers().len() == replicas
    })
    .await;
}

/// Makes finished jobs, as they are after a success; the names of two.
async fn make_finished(world: &World, message: i32, count: usize) -> [String; 2] {
    let status = json!({"status": {
        "observedGeneration": 1, "phase": "Succeeded", "attempt": 1, "reason": "Succeeded",
        "conditions": [
            {"type": "Admitted", "status": "True", "reason": "Assigned", "message": "A worker runs it", "lastTransitionTime": "2026-11-01T00:00:00Z"},
            {"type": "Complete", "status": "True", "reason": "Succeeded", "message": "The object is stored", "lastTransitionTime": "2026-11-01T00:00:00Z"},
            {"type": "LinkReady", "status": "True", "reason": "Created", "message": "The link can be used", "lastTransitionTime": "2026-11-01T00:00:00Z"}],
        "object": {"name": "telegram/x/202611/job/name.mp4", "bucket": "files", "size": 1_048_576, "etag": "e", "crc32c": "AAAAAA==", "contentType": "video/mp4"},
        "link": {"id": "par", "url": "https://objectstorage.example/p/secret/n/ns/b/files/o/name.mp4", "expiresAt": "2036-11-01T00:00:00Z", "ttl": "7d"},
        "outcome": {"attempt": 1, "result": "Succeeded", "reason": "Succeeded", "message": ""},
        "startTime": "2026-11-01T00:00:00Z", "completionTime": "2036-11-01T00:00:00Z",
    }});
    let patch = Patch::Merge(status);
    stream::iter(0..count)
        .map(async |number| {
            let mut job = job(&format!("f{number}"), message, json!({}));
            job.labels_mut()
                .insert("telestream.io/finished".into(), "1".into());
            job.finalizers_mut().push("telestream.io/clean-up".into());
            world
                .jobs
                .create(&PostParams::default(), &job)
                .await
                .expect("it is taken");
            let (name, parameters) = (job.name_any(), PatchParams::default());
            world
                .jobs
                .patch_status(&name, &parameters, &patch)
                .await
                .expect("it is taken");
        })
        .buffer_unordered(32)
        .for_each(async |()| {})
        .await;
    [count / 3, count / 2].map(|number| format!("f{number}"))
}

/// The highest the controller's memory has been, in MiB.
fn memory(world: &World, pod: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.kubelet.process(pod)));
    let status = status.expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("it is told");
    let kib: f64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    kib / 1024.0
}

/// What the API server was asked about jobs, by everybody, but for creations, and for watches and
/// lists: no transfer begins one.
async fn requests(world: &World) -> BTreeMap<String, f64> {
    let request = axum::http::Request::get("/metrics")
        .body(Vec::new())
        .expect("a request");
    let text = world.client.request_text(request).await.expect("metrics");
    let mut found = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{"))
    {
        let (labels, number) = line.rsplit_once(' ').expect("a figure");
        let labels: HashMap<_, _> = labels
            .trim_start_matches("apiserver_request_total{")
            .trim_end_matches('}')
            .split("\",")
            .filter_map(|label| label.split_once("=\""))
            .map(|(name, value)| (name, value.trim_end_matches('"')))
            .collect();
        let label = |name: &str| labels.get(name).copied().unwrap_or_default();
        let ours = ["transferjobs", "events", "configmaps"].contains(&label("resource"));
        if !ours || ["WATCH", "LIST"].contains(&label("verb")) {
            continue;
        }
        // Jobs are created by us, in the bot's place.
        if label("resource") == "transferjobs" && label("verb") == "POST" {
            continue;
        }
        let subresource = label("subresource");
        let name = format!(
            "{} {}{}{subresource}",
            label("verb"),
            label("resource"),
            if subresource.is_empty() { "" } else { "/" }
        );
        *found.entry(name).or_default() += number.parse::<f64>().expect("a number");
    }
    found
}
