//! A node that runs the pods of a namespace as processes of this machine: the product's own program,
//! with the environment, the files and the token that a kubelet would give it. What no kubelet
//! does: its pods can be killed, frozen and cut off at will.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::TokenRequest,
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{ConfigMap, Container, Namespace, Node, Pod, Secret, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    config::Kubeconfig,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::clock;

/// What the node is called.
const NODE: &str = "node1";

/// How long a pod's grace period is at most.
const LONGEST_GRACE: Duration = Duration::from_secs(15);

/// How soon a container that has ended is started again.
const RESTART_DELAY: Duration = Duration::from_millis(300);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The node. When it is dropped, all its processes are killed.
pub struct Kubelet {
    node: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
}

struct State {
    client: Client,
    namespace: String,
    program: PathBuf,
    kubeconfig: Kubeconfig,
    folder: TempDir,
    logs: PathBuf,
    running: Mutex<HashMap<String, Running>>,
    /// Pods, by UID, that are not spoken of any more.
    lost: Mutex<HashSet<String>>,
    /// What keeps pods from starting.
    trouble: Mutex<Option<Trouble>>,
    /// By how many seconds the clocks of pods are fast whose names begin so.
    clocks: Mutex<BTreeMap<String, i64>>,
}

/// What keeps pods from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no node for them.
    Unschedulable,
    /// Their image cannot be had.
    ImagePullBackOff,
}

/// A pod that was started, by its UID.
struct Running {
    pod: String,
    process: Option<u32>,
    http: SocketAddr,
    grace: watch::Sender<Option<Duration>>,
}

/// What a process is started with.
struct Process {
    arguments: Vec<String>,
    env: BTreeMap<String, String>,
}

impl Kubelet {
    /// A node for the pods of that namespace, which run `program`. What they print is kept in
    /// `logs`.
    pub async fn start(
        client: Client,
        kubeconfig: &Path,
        namespace: &str,
        program: &str,
        logs: PathBuf,
    ) -> Self {
        fs::create_dir_all(&logs).expect("a folder for logs");
        let node = Arc::new(State {
            client,
            namespace: namespace.to_owned(),
            program: program.into(),
            kubeconfig: Kubeconfig::read_from(kubeconfig).expect("dev/cluster wrote a kubeconfig"),
            folder: tempfile::tempdir().expect("a temporary folder"),
            logs,
            running: Mutex::default(),
            lost: Mutex::default(),
            trouble: Mutex::default(),
            clocks: Mutex::default(),
        });
        node.register().await.expect("the node is registered");
        let tasks = vec![
            tokio::spawn(Arc::clone(&node).keep_alive()),
            tokio::spawn(Arc::clone(&node).follow()),
        ];
        Self { node, tasks }
    }

    /// The pods that have a process.
    pub fn pods(&self) -> Vec<String> {
        let running = self.node.running();
        let alive = running.values().filter(|pod| pod.process.is_some());
        alive.map(|running| running.pod.clone()).collect()
    }

    /// Where the newest pod of that name serves HTTP.
    pub fn http(&self, pod: &str) -> SocketAddr {
        let running = self.node.running();
        let found = running
            .values()
            .find(|running| running.pod == pod && running.process.is_some());
        found.unwrap_or_else(|| panic!("{pod} does not run")).http
    }

    /// The process of the pod of that name.
    pub fn process(&self, pod: &str) -> u32 {
        let running = self.node.running();
        let mut of_it = running.values().filter(|running| running.pod == pod);
        let process = of_it.find_map(|running| running.process);
        process.unwrap_or_else(|| panic!("{pod} does not run"))
    }

    /// Sends a signal, such as `KILL`, `STOP` or `CONT`, to the processes of the pods of that name.
    pub fn signal(&self, pod: &str, signal: &str) {
        for running in self.node.running().values() {
            if running.pod == pod
                && let Some(process) = running.process
            {
                send(signal, process);
            }
        }
    }

    /// From now on nothing is said of the pods of that name, nor done with them, as if their node
    /// were out of reach. Their processes go on.
    pub fn lose(&self, pod: &str) {
        let running = self.node.running();
        let uids = running.iter().filter(|(_, running)| running.pod == pod);
        self.node.lost().extend(uids.map(|(uid, _)| uid.clone()));
    }

    /// From now on this keeps pods from starting; or nothing any more.
    pub async fn set_trouble(&self, trouble: Option<Trouble>) {
        *lock(&self.node.trouble) = trouble;
        let pods = self.node.pods().list(&ListParams::default()).await;
        for pod in pods.expect("the API server answers") {
            self.node.observe(pod).await;
        }
    }

    /// The clocks of containers that start from now on are so many seconds fast, in pods whose names
    /// begin so.
    pub fn set_clock(&self, pods: &str, seconds: i64) {
        lock(&self.node.clocks).insert(pods.to_owned(), seconds);
    }

    /// The UIDs of all pods of that name that were ever started.
    pub fn started(&self, pod: &str) -> Vec<String> {
        let running = self.node.running();
        let of_it = running.iter().filter(|(_, running)| running.pod == pod);
        of_it.map(|(uid, _)| uid.clone()).collect()
    }

    /// What the pods of a name have printed.
    pub fn log(&self, pod: &str) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(&self.node.logs).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(pod) {
                text += &fs::read_to_string(&path).unwrap_or_default();
            }
        }
        text
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        for running in self.node.running().values() {
            if let Some(process) = running.process {
                send("KILL", process);
            }
        }
    }
}

impl State {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        lock(&self.running)
    }

    fn lost(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.lost)
    }

    fn is_lost(&self, uid: &str) -> bool {
        self.lost().contains(uid)
    }

    fn trouble(&self) -> Option<Trouble> {
        *lock(&self.trouble)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn register(&self) -> Result<()> {
        let now = Timestamp::now().to_string();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}});
        let parameters = PostParams::default();
        nodes
            .create(&parameters, &serde_json::from_value(node)?)
            .await?;
        let status = json!({
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready",
                "lastHeartbeatTime": now, "lastTransitionTime": now}]},
        });
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&status));
        nodes.patch_status(NODE, &parameters, &patch).await?;
        // Of leases, the control plane takes notice in this namespace alone.
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        while namespaces.get_opt("kube-node-lease").await?.is_none() {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Says again and again that the node is there.
    async fn keep_alive(self: Arc<Self>) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        loop {
            let lease = Lease {
                metadata: kube::api::ObjectMeta {
                    name: Some(NODE.to_owned()),
                    ..Default::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(NODE.to_owned()),
                    lease_duration_seconds: Some(40),
                    renew_time: Some(MicroTime(Timestamp::now())),
                    ..LeaseSpec::default()
                }),
            };
            let parameters = PatchParams::apply("kubelet").force();
            // The API server may be away: then nobody misses the node either.
            drop(leases.patch(NODE, &parameters, &Patch::Apply(&lease)).await);
            sleep(Duration::from_secs(5)).await;
        }
    }

    /// Does with each pod what its object says.
    async fn follow(self: Arc<Self>) {
        let changes = watcher(self.pods(), watcher::Config::default()).default_backoff();
        let mut changes = std::pin::pin!(changes);
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    self.observe(pod).await;
                }
                Ok(watcher::Event::Delete(pod)) => self.end(&pod, Duration::ZERO),
                _ => {}
            }
        }
    }

    async fn observe(self: &Arc<Self>, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let is_new = !self.running().contains_key(&uid);
        if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
            let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
            if is_new {
                drop(self.remove(&pod).await);
            } else {
                self.end(&pod, grace);
            }
        } else if node.is_none() && self.trouble() == Some(Trouble::Unschedulable) {
            let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/1 nodes are available", "lastTransitionTime": Timestamp::now()});
            let status = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
            let (name, parameters) = (pod.name_any(), PatchParams::default());
            let patch = Patch::Strategic(&status);
            // If it has changed meanwhile, it is seen again.
            drop(self.pods().patch_status(&name, &parameters, &patch).await);
        } else if node.is_none() {
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any()},
                "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}});
            let (name, parameters) = (pod.name_any(), PostParams::default());
            let bound: kube::Result<Value> = self
                .pods()
                .create_subresource("binding", &name, &parameters, &binding)
                .await;
            // If it has changed meanwhile, it is seen again.
            drop(bound);
        } else if is_new && !has_ended(&pod) {
            let (grace, told) = watch::channel(None);
            let running = Running {
                pod: pod.name_any(),
                process: None,
                http: free_address(),
                grace,
            };
            self.running().insert(uid, running);
            tokio::spawn(Arc::clone(self).run(pod, told));
        }
    }

    /// Ends a pod's process, if it has one.
    fn end(&self, pod: &Pod, grace: Duration) {
        let uid = pod.uid().unwrap_or_default();
        if !self.is_lost(&uid)
            && let Some(running) = self.running().get(&uid)
        {
            running.grace.send_replace(Some(grace.min(LONGEST_GRACE)));
        }
    }

    /// Runs a pod to its end.
    async fn run(self: Arc<Self>, pod: Pod, mut told: watch::Receiver<Option<Duration>>) {
        let uid = pod.uid().unwrap_or_default();
        let is_restarted = pod.spec.as_ref().is_none_or(|spec| {
            spec.restart_policy
                .as_deref()
                .is_none_or(|policy| policy == "Always")
        });
        let mut restarts = 0;
        loop {
            if self.trouble() == Some(Trouble::ImagePullBackOff) {
                let waiting =
                    json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
                self.report(&pod, "Pending", &waiting, restarts).await;
                if self.pause(&mut told, Duration::from_secs(1)).await {
                    break;
                }
                continue;
            }
            let container = match self.container(&pod).await {
                Ok(container) => container,
                Err(error) => {
                    let waiting = json!({"waiting": {"reason": "CreateContainerConfigError", "message": error.to_string()}});
                    self.report(&pod, "Pending", &waiting, restarts).await;
                    if self.pause(&mut told, Duration::from_secs(1)).await {
                        break;
                    }
                    continue;
                }
            };
            let mut child = self.spawn(&pod, &container, restarts);
            self.set_process(&uid, child.id());
            let started = json!({"running": {"startedAt": Timestamp::now()}});
            self.report(&pod, "Running", &started, restarts).await;
            let ended = tokio::select! {
                ended = child.wait() => Some(ended),
                _ = told.wait_for(Option::is_some) => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => terminate(&mut child, &told).await,
            };
            self.set_process(&uid, None);
            let ended = ended.expect("a process can be waited for");
            let is_told = told.borrow().is_some();
            let state = terminated(ended);
            if is_restarted && !is_told {
                restarts += 1;
                let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
                self.report(&pod, "Running", &waiting, restarts).await;
                if self.pause(&mut told, RESTART_DELAY).await {
                    break;
                }
                continue;
            }
            let phase = if ended.success() {
                "Succeeded"
            } else {
                "Failed"
            };
            self.report(&pod, phase, &state, restarts).await;
            break;
        }
        // It stays where it is until somebody deletes it.
        drop(told.wait_for(Option::is_some).await);
        while !self.is_lost(&uid) && self.remove(&pod).await.is_err() {
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits; whether the pod was told to end meanwhile.
    async fn pause(&self, told: &mut watch::Receiver<Option<Duration>>, time: Duration) -> bool {
        timeout(time, told.wait_for(Option::is_some)).await.is_ok()
    }

    fn set_process(&self, uid: &str, process: Option<u32>) {
        if let Some(running) = self.running().get_mut(uid) {
            running.process = process;
        }
    }

    fn spawn(&self, pod: &Pod, container: &Process, restarts: i32) -> Child {
        let log = self.logs.join(format!(
            "{}-{}-{restarts}.log",
            pod.name_any(),
            pod.uid().unwrap_or_default()
        ));
        let log = File::create(log).expect("a log can be written");
        Command::new(&self.program)
            .args(&container.arguments)
            .env_clear()
            .envs(&container.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the program can be run")
    }

    async fn report(&self, pod: &Pod, phase: &str, state: &Value, restarts: i32) {
        let uid = pod.uid().unwrap_or_default();
        let is_ready = phase == "Running" && state.get("running").is_some();
        let now = Timestamp::now();
        let ready = if is_ready { "True" } else { "False" };
        let condition =
            |kind: &str| json!({"type": kind, "status": ready, "lastTransitionTime": now});
        let status = json!({"metadata": {"uid": uid}, "status": {
            "phase": phase, "startTime": now,
            "conditions": [condition("Ready"), condition("ContainersReady")],
            "containerStatuses": [{
                "name": "main", "image": "image", "imageID": "image", "ready": is_ready, "restartCount": restarts, "state": state,
            }],
        }});
        for _ in 0..600 {
            if self.is_lost(&uid) {
                return;
            }
            let (name, parameters) = (pod.name_any(), PatchParams::default());
            let patch = Patch::Strategic(&status);
            match self.pods().patch_status(&name, &parameters, &patch).await {
                Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => return,
                Err(_) => sleep(Duration::from_millis(200)).await,
                Ok(_) => return,
            }
        }
    }

    /// Says that nothing of a pod is left, so that its object goes.
    async fn remove(&self, pod: &Pod) -> kube::Result<()> {
        let preconditions = Preconditions {
            uid: pod.uid(),
            resource_version: None,
        };
        let parameters = DeleteParams::default()
            .grace_period(0)
            .preconditions(preconditions);
        match self.pods().delete(&pod.name_any(), &parameters).await {
            Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// The pod's only container, with its volumes as files.
    async fn container(&self, pod: &Pod) -> Result<Process> {
        let spec = pod.spec.as_ref().ok_or("it has no spec")?;
        let container = spec.containers.first().ok_or("it has no container")?;
        let folder = self.folder.path().join(pod.uid().unwrap_or_default());
        // Where the volumes are to be, and where they are.
        let mut places = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let Some(files) = self.volume(pod, &mount.name).await? else {
                continue;
            };
            let place = folder.join(&mount.name);
            fs::create_dir_all(&place)?;
            places.push((mount.mount_path.clone(), place.display().to_string()));
            for (name, content) in files {
                fs::write(place.join(name), content)?;
            }
        }
        // The configuration of OCI names its key by a path.
        for (_, place) in &places {
            let config = Path::new(place).join("config");
            if let Ok(text) = fs::read_to_string(&config) {
                fs::write(&config, moved(&text, &places))?;
            }
        }
        let mut env = self.environment(pod, container).await?;
        for value in env.values_mut() {
            *value = moved(value, &places);
        }
        let kubeconfig = folder.join("kubeconfig");
        fs::create_dir_all(&folder)?;
        fs::write(&kubeconfig, self.kubeconfig_of(pod).await?.to_string())?;
        env.insert("KUBECONFIG".to_owned(), kubeconfig.display().to_string());
        let http = self.running()[&pod.uid().unwrap_or_default()].http;
        env.insert("HTTP_ADDRESS".to_owned(), http.to_string());
        let clocks = lock(&self.clocks).clone();
        let clock = clocks
            .iter()
            .find(|(pods, _)| pod.name_any().starts_with(*pods));
        if let Some((_, seconds)) = clock {
            env.extend(clock::variables(*seconds));
        }
        Ok(Process {
            arguments: container.args.clone().unwrap_or_default(),
            env,
        })
    }

    async fn volume(&self, pod: &Pod, name: &str) -> Result<Option<Vec<(String, Vec<u8>)>>> {
        let volumes = pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        let volume = volumes.into_iter().find(|volume| volume.name == name);
        let Some(volume) = volume else {
            return Err(format!("it has no volume {name}").into());
        };
        if let Some(source) = &volume.secret {
            let name = source.secret_name.clone().unwrap_or_default();
            let data = self.secret(&name).await?;
            return Ok(Some(
                data.into_iter()
                    .map(|(key, value)| (key, value.0))
                    .collect(),
            ));
        }
        if let Some(source) = &volume.config_map {
            let data = self.config_map(&source.name).await?;
            return Ok(Some(
                data.into_iter()
                    .map(|(key, value)| (key, value.into_bytes()))
                    .collect(),
            ));
        }
        Ok(None)
    }

    async fn environment(
        &self,
        pod: &Pod,
        container: &Container,
    ) -> Result<BTreeMap<String, String>> {
        let mut env = BTreeMap::new();
        for source in container.env_from.iter().flatten() {
            if let Some(map) = &source.config_map_ref {
                env.extend(self.config_map(&map.name).await?);
            }
            if let Some(secret) = &source.secret_ref {
                let data = self.secret(&secret.name).await?;
                for (key, value) in data {
                    env.insert(key, String::from_utf8(value.0)?);
                }
            }
        }
        for variable in container.env.iter().flatten() {
            let source = variable.value_from.as_ref();
            let value = if let Some(value) = &variable.value {
                value.clone()
            } else if let Some(field) = source.and_then(|source| source.field_ref.as_ref()) {
                match field.field_path.as_str() {
                    "metadata.name" => pod.name_any(),
                    "metadata.namespace" => self.namespace.clone(),
                    "metadata.uid" => pod.uid().unwrap_or_default(),
                    other => return Err(format!("{other} is not known here").into()),
                }
            } else if let Some(key) = source.and_then(|source| source.secret_key_ref.as_ref()) {
                match self.secret(&key.name).await?.remove(&key.key) {
                    Some(value) => String::from_utf8(value.0)?,
                    None => continue,
                }
            } else {
                String::new()
            };
            env.insert(variable.name.clone(), value);
        }
        Ok(env)
    }

    async fn secret(&self, name: &str) -> Result<BTreeMap<String, ByteString>> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(secrets.get(name).await?.data.unwrap_or_default())
    }

    async fn config_map(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(maps.get(name).await?.data.unwrap_or_default())
    }

    /// The way to the API server, with a token that is bound to the pod.
    async fn kubeconfig_of(&self, pod: &Pod) -> Result<Value> {
        let spec = pod.spec.as_ref().ok_or("it has no spec")?;
        let account = spec.service_account_name.as_deref().unwrap_or("default");
        let request: TokenRequest = serde_json::from_value(json!({"spec": {
            "audiences": [], "expirationSeconds": 7200,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()},
        }}))?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let granted = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await?;
        let token = granted.status.ok_or("no token was granted")?.token;
        let cluster = self.kubeconfig.clusters.first().ok_or("no cluster")?;
        Ok(json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [cluster],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": cluster.name, "user": "u"}}],
        }))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A text in which the paths of volumes are those of this machine.
fn moved(text: &str, places: &[(String, String)]) -> String {
    places
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

async fn terminate(
    child: &mut Child,
    told: &watch::Receiver<Option<Duration>>,
) -> std::io::Result<ExitStatus> {
    if let Some(process) = child.id() {
        send("TERM", process);
    }
    let grace = told.borrow().unwrap_or_default();
    if let Ok(ended) = timeout(grace, child.wait()).await {
        return ended;
    }
    child.start_kill()?;
    child.wait().await
}

fn terminated(ended: ExitStatus) -> Value {
    use std::os::unix::process::ExitStatusExt as _;
    let code = ended
        .code()
        .unwrap_or_else(|| 128 + ended.signal().unwrap_or_default());
    let reason = if code == 0 { "Completed" } else { "Error" };
    json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": Timestamp::now()}})
}

fn send(signal: &str, process: u32) {
    // It may have ended meanwhile. The shell has the command built in.
    drop(
        std::process::Command::new("sh")
            .args(["-c", &format!("kill -{signal} {process}")])
            .stderr(Stdio::null())
            .status(),
    );
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it has an address")
}
