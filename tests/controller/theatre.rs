//! Controllers in this process, whose requests to the API server can be held up or lost.

use std::{
    future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body as Stream, Bytes, HttpBody},
    http::{Request, Response, StatusCode},
};
use futures::StreamExt as _;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api, Config,
    api::{Patch, PatchParams},
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use telestream::{
    config,
    controller::{self, ControllerSettings},
    ops::{self, env::Environment, http::Health, metrics::Metrics},
};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use crate::{
    support::kubelet::free_address,
    world::{NAMESPACE, World, eventually},
};

/// Where controllers run in this process.
pub struct Theatre {
    kubeconfig: Kubeconfig,
    env: Environment,
    _folder: TempDir,
}

/// One of them.
pub struct Controller {
    running: JoinHandle<()>,
    stop: CancellationToken,
    /// Where it serves HTTP.
    pub http: SocketAddr,
}

impl Theatre {
    /// Ends the controllers that the chart has installed.
    pub async fn set(world: &World) -> Self {
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

    /// Starts a controller whose requests to the API server have these fates.
    pub async fn play(&self, fates: Arc<impl Fates>) -> Controller {
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(self.kubeconfig.clone(), &options);
        let client = ClientBuilder::try_from(config.await.unwrap())
            .unwrap()
            .with_layer(&Fateful(fates))
            .build();
        let settings = settings(&self.env).await;
        let (stop, health, metrics) = (
            CancellationToken::new(),
            Health::default(),
            Metrics::default(),
        );
        let http = free_address();
        let serving = ops::http::serve(http, health.clone(), metrics.clone(), stop.clone());
        let running = controller::run(settings, client, metrics, health, stop.clone());
        let running = async move {
            tokio::select! {
                ended = running => ended.unwrap(),
                served = serving => served.unwrap(),
            }
        };
        Controller {
            running: tokio::spawn(running),
            stop,
            http,
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
    /// Ends it in the middle of whatever it does.
    pub fn kill(&self) {
        self.running.abort();
    }

    /// Tells it to end, and waits until it has.
    pub async fn end(self) {
        self.stop.cancel();
        // One that was killed is not waited for: it cannot tell.
        drop(timeout(Duration::from_secs(10), self.running).await);
    }

    /// What it answers to `/readyz`.
    pub async fn readiness(&self) -> Option<u16> {
        let reply = reqwest::get(format!("http://{}/readyz", self.http)).await;
        reply.ok().map(|reply| reply.status().as_u16())
    }
}

/// What becomes of a request to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent and answered.
    Answered,
    /// It is never sent.
    Held,
    /// It is sent, and its answer never comes.
    Unanswered,
    /// It is sent, and each piece of its answer's body comes so much later.
    Slow(Duration),
    /// It is never sent, and answered with this status.
    Refused(u16),
    /// It is sent when [`Fates::late`] says so, whatever has become of who made it.
    Late,
}

/// What becomes of each request.
pub trait Fates: Send + Sync + 'static {
    /// What becomes of this one.
    fn of(&self, request: &Request<Body>) -> Fate;

    /// One has come to an end that is not an answer.
    fn struck(&self) {}

    /// Waits until late requests are sent.
    fn late(&self) -> impl Future<Output = ()> + Send {
        future::ready(())
    }

    /// A late request was answered so.
    fn answered(&self, _: StatusCode) {}
}

/// Nothing happens to any.
impl Fates for () {
    fn of(&self, _: &Request<Body>) -> Fate {
        Fate::Answered
    }
}

struct Fateful<F>(Arc<F>);

impl<S, F> Layer<S> for Fateful<F> {
    type Service = FatefulService<S, F>;

    fn layer(&self, inner: S) -> FatefulService<S, F> {
        let fates = Arc::clone(&self.0);
        FatefulService { inner, fates }
    }
}

struct FatefulService<S, F> {
    inner: S,
    fates: Arc<F>,
}

impl<S, F, B> Service<Request<Body>> for FatefulService<S, F>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    F: Fates,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Stream>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Stream>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fates = Arc::clone(&self.fates);
        let fate = fates.of(&request);
        if fate == Fate::Late {
            // It is on its way, also when nobody waits for it any more.
            let (reply, on_its_way) = (self.inner.call(request), Arc::clone(&fates));
            tokio::spawn(async move {
                on_its_way.late().await;
                if let Ok(answer) = reply.await {
                    on_its_way.answered(answer.status());
                }
            });
            return Box::pin(async move {
                fates.struck();
                future::pending().await
            });
        }
        let is_sent = !matches!(fate, Fate::Held | Fate::Refused(_));
        let reply = is_sent.then(|| self.inner.call(request));
        Box::pin(async move {
            let answer = match reply {
                Some(reply) => Some(reply.await?.map(Stream::new)),
                None => None,
            };
            match (answer, fate) {
                (Some(answer), Fate::Answered) => Ok(answer),
                (Some(answer), Fate::Slow(by)) => Ok(answer.map(|body| slowly(body, by))),
                (_, Fate::Refused(status)) => Ok(refusal(status)),
                _ => {
                    fates.struck();
                    future::pending().await
                }
            }
        })
    }
}

/// A body each piece of which comes so much later.
fn slowly(body: Stream, by: Duration) -> Stream {
    let (pieces_tx, pieces) = mpsc::unbounded_channel();
    // It ends with the body, or when nobody listens.
    tokio::spawn(async move {
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            if pieces_tx.send((Instant::now() + by, piece)).is_err() {
                return;
            }
        }
    });
    let pieces = UnboundedReceiverStream::new(pieces).then(|(due, piece)| async move {
        sleep_until(due).await;
        piece
    });
    Stream::from_stream(pieces)
}

/// What the API server says when it refuses.
fn refusal(status: u16) -> Response<Stream> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
        "message": "refused on the way", "reason": "Refused"});
    let mut refusal = Response::new(Stream::from(body.to_string()));
    *refusal.status_mut() = StatusCode::from_u16(status).unwrap();
    refusal
}
