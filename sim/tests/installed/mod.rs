//! Where the clients are that nobody here wrote.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

/// The folder with the clients, made now if nobody has made it.
pub async fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("TELESTREAM_CLIENTS") {
        return folder.into();
    }
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev/clients");
    let made = Command::new(&install)
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{} does not run: {error}", install.display()));
    assert!(
        made.status.success(),
        "{} failed: see above",
        install.display()
    );
    let path = String::from_utf8(made.stdout).expect("a path");
    PathBuf::from(path.trim_end())
}
