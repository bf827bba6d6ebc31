//! A real redis-server on a free port, with a folder of its own; gone when dropped.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use telestream::queue::{Patience, Queue, Settings};
use tempfile::TempDir;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server.
pub struct RedisServer {
    /// Where it listens.
    pub port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk, unless `options` say otherwise.
    pub fn start(options: &[&str]) -> Self {
        Self::start_at("--port", options)
    }

    /// Starts one whose `port_option` is a free port.
    pub fn start_at(port_option: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = folder.path().to_str().unwrap();
        let own = format!(
            "--bind 127.0.0.1 --save  --dir {path} --logfile {path}/log {port_option} {port}"
        );
        let mut arguments: Vec<String> = own.split(' ').map(str::to_owned).collect();
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        let mut server = Self {
            port,
            child: spawn(&arguments),
            folder,
            arguments,
        };
        if is_ready(&server.folder, &mut server.child) {
            return server;
        }
        // Somebody else has taken the port meanwhile, or the options are wrong.
        let log = log(&server.folder);
        assert!(log.contains("Address already in use"), "{log}");
        Self::start_at(port_option, options)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub fn start_again(&mut self) {
        std::fs::remove_file(self.folder.path().join("log")).unwrap();
        self.child = spawn(&self.arguments);
        assert!(
            is_ready(&self.folder, &mut self.child),
            "{}",
            log(&self.folder)
        );
    }

    /// Settings that lead here.
    pub fn settings(&self) -> Settings {
        settings(self.port)
    }

    /// A queue that is here and empty.
    pub async fn queue(&self) -> Queue {
        let queue = Queue::new(&self.settings()).unwrap();
        queue.sync(&[]).await.unwrap();
        queue
    }

    /// A connection for what a queue does not do.
    pub async fn admin(&self) -> Admin {
        let client = redis::Client::open((Ipv4Addr::LOCALHOST.to_string(), self.port)).unwrap();
        Admin(client.get_multiplexed_async_connection().await.unwrap())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Settings for a server here. The deadline is one that a busy machine keeps.
pub fn settings(port: u16) -> Settings {
    let mut settings = Settings::new("localhost", "test".parse().unwrap());
    settings.port = port;
    settings.patience = Patience {
        deadline: Duration::from_secs(10),
        rest: Duration::from_millis(10),
        longest_rest: Duration::from_millis(50),
    };
    settings
}

#[derive(Clone)]
pub struct Admin(pub MultiplexedConnection);

impl Admin {
    /// Runs a command, given as one line.
    pub async fn run<T: redis::FromRedisValue>(&self, line: &str) -> T {
        self.try_run(line)
            .await
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    pub async fn try_run<T: redis::FromRedisValue>(&self, line: &str) -> redis::RedisResult<T> {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.0.clone()).await
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!(
                "there is no redis-server: `make test` installs it (dev/setup test does so alone)"
            ),
            _ => panic!("redis-server cannot be run: {error}"),
        })
}

/// Waits until it says that it is ready. False if it has ended.
fn is_ready(folder: &TempDir, child: &mut Child) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !log(folder).contains("Ready to accept connections") {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "redis-server is not ready");
        thread::sleep(Duration::from_millis(5));
    }
    true
}

fn log(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}
