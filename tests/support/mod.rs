//! What the tests of this folder share: a real control plane or node, started by `dev/cluster`.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod clock;
pub mod forwarder;
pub mod kubelet;
pub mod redis_server;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of `dev/`, and returns what it printed.
///
/// # Panics
/// It fails: the test cannot go on, and what the script said is shown.
pub fn dev(script: &str, arguments: &[&str]) -> String {
    let output = Command::new(root().join("dev").join(script))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("dev/{script} cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "dev/{script} {arguments:?} failed:\n{said}"
    );
    String::from_utf8(output.stdout).expect("scripts print UTF-8")
}

/// etcd and kube-apiserver of a test's own, and maybe kube-controller-manager; gone when dropped.
pub struct ControlPlane {
    name: String,
    /// Where the API server is told from.
    pub kubeconfig: PathBuf,
    path: String,
}

impl ControlPlane {
    /// Starts one, with or without kube-controller-manager. `name` tells the tests of one process
    /// apart.
    pub fn start(name: &str) -> Self {
        Self::up(name, &["--control-plane"])
    }

    /// Starts one that has a kube-controller-manager.
    pub fn start_whole(name: &str) -> Self {
        Self::up(name, &["--control-plane", "--controller-manager"])
    }

    fn up(name: &str, options: &[&str]) -> Self {
        let name = format!("{name}-{}", std::process::id());
        dev("cluster", &[&["up", "--name", &name], options].concat());
        let env = Variables::of(&name);
        Self {
            kubeconfig: env.value("KUBECONFIG=").into(),
            path: env.path(),
            name,
        }
    }

    /// A client with all rights.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }

    /// Runs `helm` or `kubectl` against it, and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        run(&self.path, &self.kubeconfig, program, arguments)
    }

    /// Makes etcd forget all that was before now: whoever watches from then on is told that it is
    /// too late.
    pub async fn compact(&self) {
        let env = Variables::of(&self.name);
        let etcd = env.value("ETCD=");
        let ask = async |path: &str, question: Value| {
            let url = format!("{etcd}/v3/kv/{path}");
            let reply = reqwest::Client::new().post(url).json(&question).send();
            let reply = reply.await.and_then(reqwest::Response::error_for_status);
            let answer = reply.expect("etcd answers").json::<Value>().await;
            answer.expect("etcd speaks JSON")
        };
        let now = ask("range", json!({"key": "AA==", "limit": 1})).await;
        let revision = now["header"]["revision"].clone();
        ask(
            "compaction",
            json!({"revision": revision, "physical": true}),
        )
        .await;
    }

    /// Ends one of its processes, such as `apiserver`.
    pub fn stop(&self, component: &str) {
        dev("cluster", &["stop", "--name", &self.name, component]);
    }

    /// Kills it.
    pub fn kill(&self, component: &str) {
        dev(
            "cluster",
            &["stop", "--name", &self.name, component, "KILL"],
        );
    }

    /// Starts it again.
    pub fn start_again(&self, component: &str) {
        dev("cluster", &["start", "--name", &self.name, component]);
    }
}

/// What `dev/cluster env` prints.
struct Variables(String);

impl Variables {
    fn of(cluster: &str) -> Self {
        Self(dev("cluster", &["env", "--name", cluster]))
    }

    fn value(&self, key: &str) -> String {
        let found = self.0.lines().find_map(|line| line.strip_prefix(key));
        found
            .unwrap_or_else(|| panic!("the cluster's environment lacks {key}"))
            .to_owned()
    }

    fn path(&self) -> String {
        let own = std::env::var("PATH").unwrap_or_default();
        self.value("PATH=").replace("$PATH", &own)
    }
}

fn run(path: &str, kubeconfig: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new("env")
        .arg(format!("PATH={path}"))
        .arg(program)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed:\n{said}"
    );
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("dev/cluster wrote a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("the kubeconfig is whole"))
        .expect("the kubeconfig gives a client")
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        dev("cluster", &["down", "--name", &self.name]);
    }
}

/// A node with the product's image, and an address by which its pods reach this process.
pub struct Node {
    name: String,
    /// Where the API server is told from.
    pub kubeconfig: PathBuf,
    /// An address of this machine that pods reach.
    pub host_address: Ipv4Addr,
    /// The image of the product, as the node knows it.
    pub image: String,
    path: String,
}

impl Node {
    /// Starts one and gives it the image, which is built if need be.
    pub fn start(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let image = dev("image", &[]).trim().to_owned();
        dev("cluster", &["up", "--name", &name]);
        let archive = root().join("target/image/telestream.tar");
        dev(
            "cluster",
            &[
                "load",
                "--name",
                &name,
                archive.to_str().expect("a path in UTF-8"),
            ],
        );
        let env = Variables::of(&name);
        Self {
            kubeconfig: env.value("KUBECONFIG=").into(),
            host_address: env.value("HOST_ADDRESS=").parse().expect("an address"),
            path: env.path(),
            image,
            name,
        }
    }

    /// A client with all rights.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }

    /// Runs `helm` or `kubectl` against it, and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        run(&self.path, &self.kubeconfig, program, arguments)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        dev("cluster", &["down", "--name", &self.name]);
    }
}
