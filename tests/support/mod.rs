//! What the tests of this folder share: a real control plane, started by `dev/cluster`.

use std::{path::PathBuf, process::Command};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

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

/// etcd, kube-apiserver and kube-controller-manager of a test's own; gone when dropped.
pub struct ControlPlane {
    name: String,
    kubeconfig: PathBuf,
}

impl ControlPlane {
    /// Starts one. `name` tells the tests of one process apart.
    pub fn start(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        dev("cluster", &["up", "--name", &name, "--control-plane"]);
        let env = dev("cluster", &["env", "--name", &name]);
        let kubeconfig = env
            .lines()
            .find_map(|line| line.strip_prefix("KUBECONFIG="));
        let kubeconfig = kubeconfig
            .expect("the cluster's environment names its kubeconfig")
            .into();
        Self { name, kubeconfig }
    }

    /// A client with all rights.
    pub async fn client(&self) -> Client {
        let kubeconfig =
            Kubeconfig::read_from(&self.kubeconfig).expect("dev/cluster wrote a kubeconfig");
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        Client::try_from(config.expect("the kubeconfig is whole"))
            .expect("the kubeconfig gives a client")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        dev("cluster", &["down", "--name", &self.name]);
    }
}
