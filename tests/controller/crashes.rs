//! The controller dies between any two of its writes, or right after one whose reply it never gets.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{Method, Request, Response};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api, Config,
    api::{DeleteParams, Patch, PatchParams},
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use telestream::{
    config,
    controller::{self, ControllerSettings},
    ops::{env::Environment, http::Health, metrics::Metrics},
};
use tempfile::TempDir;
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use crate::world::{MIB, NAMESPACE, World, eventually};

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
    let mut controller = theatre.play(Some(death)).await;
    world.transfer(name, MIB).await;
    let died = controller.died_or(world.labelled(name)).await;
    controller.end().await;
    let controller = theatre.play(None).await;
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
    let controller = theatre.play(None).await;
    world.set_rate(Some(4 * MIB));
    world.transfer(name, 40 * MIB).await;
    world.under_way(name).await;
    controller.end().await;
    let mut controller = theatre.play(Some(death)).await;
    let parameters = DeleteParams::default();
    world.jobs.delete(name, &parameters).await.unwrap();
    let died = controller.died_or(world.gone(name)).await;
    controller.end().await;
    let controller = theatre.play(None).await;
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

impl World {
    /// Waits until nobody has anything left to do for a job.
    async fn labelled(&self, name: &str) {
        eventually(&format!("{name} is labelled"), async || {
            let job = self.jobs.get(name).await.unwrap();
            let labels = job.metadata.labels.unwrap_or_default();
            labels.contains_key("telestream.io/finished")
        })
        .await;
    }
}

/// Where controllers run in this process.
struct Theatre {
    kubeconfig: Kubeconfig,
    env: Environment,
    _folder: TempDir,
}

struct Controller {
    running: JoinHandle<()>,
    died: Arc<Notify>,
    stop: CancellationToken,
}

impl Theatre {
    /// Ends the controllers that the chart has installed.
    async fn set(world: &World) -> Self {
        let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), NAMESPACE);
        let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
        let parameters = PatchParams::default();
        deployments
            .patch("telestream-controller", &parameters, &none)
            .await
            .unwrap();
        eventually("no controller is left", async || {
            world.controllers().is_empty()
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), NAMESPACE);
        let template = maps.get("telestream-worker").await.unwrap().data.unwrap();
        std::fs::write(file("template.yaml"), &template["template.yaml"]).unwrap();
        let config = world.sim.oci().client_config();
        std::fs::write(file("key.pem"), &config.private_key).unwrap();
        let profile = format!(
            "[DEFAULT]\nuser={}\nfingerprint={}\ntenancy={}\nregion={}\nkey_file={}\n",
            config.user,
            config.fingerprint,
            config.tenancy,
            config.region,
            file("key.pem").display()
        );
        std::fs::write(file("config"), profile).unwrap();
        let path = |name: &str| file(name).display().to_string();
        let env = Environment::table([
            ("POD_NAMESPACE", NAMESPACE),
            ("POD_NAME", "telestream-controller-here"),
            ("NAME_PREFIX", "telestream"),
            ("WORKER_POD_TEMPLATE", &path("template.yaml")),
            (
                "WORKER_SELECTOR",
                "app.kubernetes.io/instance=telestream,app.kubernetes.io/component=worker",
            ),
            ("SLOT_LEDGER", "telestream-slots"),
            ("LEASE_NAME", "telestream-controller"),
            ("OBJECT_NAME_SECRET", &object_name_secret(world).await),
            ("OCI_CONFIG_FILE", &path("config")),
            ("OCI_NAMESPACE", &config.namespace),
            ("OCI_BUCKETNAME", &config.bucket),
            ("OCI_ENDPOINT", &config.endpoint),
        ]);
        Self {
            kubeconfig: Kubeconfig::read_from(&world.plane.kubeconfig).unwrap(),
            env,
            _folder: folder,
        }
    }

    /// Starts a controller, which may be to die.
    async fn play(&self, death: Option<Death>) -> Controller {
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(self.kubeconfig.clone(), &options);
        let died = Arc::new(Notify::new());
        let killer = Killer {
            death,
            writes: Arc::default(),
            died: Arc::clone(&died),
        };
        let client = ClientBuilder::try_from(config.await.unwrap())
            .unwrap()
            .with_layer(&killer)
            .build();
        let settings = settings(&self.env).await;
        let stop = CancellationToken::new();
        let running = controller::run(
            settings,
            client,
            Metrics::default(),
            Health::default(),
            stop.clone(),
        );
        Controller {
            running: tokio::spawn(async move { running.await.unwrap() }),
            died,
            stop,
        }
    }
}

async fn object_name_secret(world: &World) -> String {
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(world.client.clone(), NAMESPACE);
    let data = secrets.get("telestream").await.unwrap().data.unwrap();
    String::from_utf8(data["OBJECT_NAME_SECRET"].0.clone()).unwrap()
}

async fn settings(env: &Environment) -> ControllerSettings {
    let config = config::Controller::read(env).unwrap();
    let factory = config.pod_factory(None).await.unwrap();
    ControllerSettings {
        namespace: config.namespace,
        instance: config.instance,
        worker_selector: config.worker_selector,
        factory,
        pool: config.pool,
        clean_up: config::clean_up(env).await.unwrap(),
        policy: config.policy,
        slot_ledger: config.slot_ledger,
        lease: config.lease,
        queue: None,
    }
}

impl Controller {
    /// Waits until it dies, or something else has happened. Whether it died.
    async fn died_or(&mut self, other: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = self.died.notified() => {
                self.running.abort();
                true
            }
            () = other => false,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        // One that was killed is not waited for: it cannot tell.
        drop(timeout(Duration::from_secs(10), self.running).await);
    }
}

/// Stops the world at a write.
#[derive(Clone)]
struct Killer {
    death: Option<Death>,
    writes: Arc<AtomicUsize>,
    died: Arc<Notify>,
}

impl<S> Layer<S> for Killer {
    type Service = Deadly<S>;

    fn layer(&self, inner: S) -> Deadly<S> {
        Deadly {
            inner,
            killer: self.clone(),
        }
    }
}

#[derive(Clone)]
struct Deadly<S> {
    inner: S,
    killer: Killer,
}

impl<S, B> Service<Request<Body>> for Deadly<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let killer = self.killer.clone();
        let path = request.uri().path();
        let is_write = *request.method() != Method::GET && !path.contains("/leases/");
        let number = killer
            .writes
            .fetch_add(usize::from(is_write), Ordering::SeqCst)
            + 1;
        let dies = |death: Option<Death>| match death {
            _ if !is_write => (false, false),
            Some(Death::Before(at)) => (number >= at, false),
            Some(Death::After(at)) => (number > at, number == at),
            None => (false, false),
        };
        let (before, after) = dies(killer.death);
        if before {
            return Box::pin(async move { match killer.die().await {} });
        }
        let reply = self.inner.call(request);
        Box::pin(async move {
            let reply = reply.await;
            if after {
                match killer.die().await {}
            }
            reply
        })
    }
}

impl Killer {
    /// Nothing comes after this.
    async fn die(&self) -> Infallible {
        self.died.notify_one();
        std::future::pending().await
    }
}
