//! A way to a server that can be held up, and led elsewhere.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Forwards connections; ends when dropped.
pub struct Forwarder {
    pub port: u16,
    target: watch::Sender<u16>,
    held: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Forwarder {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (target, target_rx) = watch::channel(port);
        let (held, held_rx) = watch::channel(false);
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(forward(stream, target_rx.clone(), held_rx.clone()));
            }
        });
        Self {
            port,
            target,
            held,
            task,
        }
    }

    /// Cuts all connections, and leads new ones to another server.
    pub fn lead_to(&self, port: u16) {
        self.target.send_replace(port);
    }

    /// From now on no reply arrives; or all do, those held up too.
    pub fn hold_replies(&self, held: bool) {
        self.held.send_replace(held);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    mut stream: TcpStream,
    mut target: watch::Receiver<u16>,
    mut held: watch::Receiver<bool>,
) {
    let port = *target.borrow_and_update();
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    let (mut from_client, mut to_client) = stream.split();
    let (mut from_server, mut to_server) = server.split();
    let replies = async {
        let mut buffer = vec![0; 65536];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if held.wait_for(|held| !held).await.is_err() {
                return;
            }
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = replies => {}
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = target.changed() => {}
    }
}
