//! Passwords, users, certificates, and a cluster.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use telestream::{
    Class,
    queue::{Error, LiveProgress, Password, Queue, Settings, Tls, TransferState},
};
use tempfile::TempDir;

use super::{at, drain, entry, support::redis_server::RedisServer, until_ok};

/// Everything that a queue does, once.
async fn works(settings: &Settings) {
    let queue = Queue::new(settings).unwrap();
    let entries = [entry("1-a", 1, 0), entry("2-a", 2, 1), entry("1-b", 1, 2)];
    queue.sync(&entries).await.unwrap();
    queue.put(&[entry("x", 3, 3)]).await.unwrap();
    queue.remove(&["uid-x"]).await.unwrap();
    queue
        .note_duration(std::time::Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(queue.place("uid-1-b").await.unwrap().unwrap().ahead, 2);
    assert_eq!(queue.stats().await.unwrap().ready, [0, 3, 0]);
    let progress = LiveProgress {
        attempt: 1,
        bytes: 1,
        total: None,
        bytes_per_second: 1,
        state: TransferState::Locating,
    };
    queue.publish_progress("uid-1-a", &progress).await.unwrap();
    assert_eq!(queue.progress("uid-1-a").await.unwrap(), Some(progress));
    assert_eq!(drain(&queue).await, ["1-a", "2-a", "1-b"]);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let server = RedisServer::start(&["--requirepass", "right"]);
    let mut settings = server.settings();
    for password in [Some("opensesame"), None] {
        settings.password = password.map(Password::new);
        let refused = Queue::new(&settings).unwrap().stats().await.unwrap_err();
        assert!(matches!(refused, Error::LoginRefused), "{refused:?}");
        assert_eq!(refused.class(), Class::Permanent);
        assert!(!format!("{refused} {refused:?}").contains("opensesame"));
    }
    settings.password = Some(Password::new("right"));
    works(&settings).await;
}

#[tokio::test]
async fn a_password_that_is_set_right_later_is_accepted() {
    let server = RedisServer::start(&[]);
    let admin = server.admin().await;
    admin.run::<()>("CONFIG SET requirepass old").await;
    let mut settings = server.settings();
    settings.password = Some(Password::new("new"));
    let queue = Queue::new(&settings).unwrap();
    let refused = queue.stats().await.unwrap_err();
    assert!(matches!(refused, Error::LoginRefused), "{refused:?}");
    admin.run::<()>("CONFIG SET requirepass new").await;
    until_ok("it logs in", async || queue.stats().await).await;
}

#[tokio::test]
async fn a_user_with_rights_to_the_queue_alone_is_enough() {
    let server = RedisServer::start(&[]);
    let admin = server.admin().await;
    admin
        .run::<()>("ACL SETUSER queue on >secret resetkeys resetchannels ~{test}:* &{test}:* +@all -@admin -@dangerous")
        .await;
    admin
        .run::<()>("ACL SETUSER stranger on >secret ~other:* +@all")
        .await;
    let mut settings = server.settings();
    settings.password = Some(Password::new("secret"));
    settings.username = Some("queue".to_owned());
    works(&settings).await;
    settings.username = Some("stranger".to_owned());
    let refused = Queue::new(&settings).unwrap().sync(&[]).await.unwrap_err();
    assert!(matches!(refused, Error::NotPermitted(_)), "{refused:?}");
}

struct Certificates {
    folder: TempDir,
    ca: PathBuf,
    other_ca: PathBuf,
}

impl Certificates {
    /// For localhost, by a root of its own; and another root.
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = || {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let write = |name: &str, pem: String| {
            let path = folder.path().join(name);
            fs::write(&path, pem).unwrap();
            path
        };
        let issuer = ca();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
        let server = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        write("server.pem", server.pem());
        write("server.key", key.serialize_pem());
        let ca_file = write("ca.pem", issuer.pem());
        let other_ca = write("other.pem", ca().pem());
        Self {
            ca: ca_file,
            other_ca,
            folder,
        }
    }

    fn server(&self) -> RedisServer {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let (certificate, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
        let options = [
            "--port",
            "0",
            "--tls-auth-clients",
            "no",
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
        ];
        RedisServer::start_at("--tls-port", &options)
    }
}

#[tokio::test]
async fn the_certificate_is_verified() {
    let certificates = Certificates::make();
    let server = certificates.server();
    let mut settings = server.settings();
    let mut trusting = |ca_file: Option<&PathBuf>| {
        settings.tls = Tls::On {
            ca_file: ca_file.cloned(),
        };
        settings.clone()
    };
    works(&trusting(Some(&certificates.ca))).await;
    for untrusted in [Some(&certificates.other_ca), None] {
        let queue = Queue::new(&trusting(untrusted)).unwrap();
        let refused = queue.stats().await.unwrap_err();
        assert!(matches!(refused, Error::Tls(_)), "{refused:?}");
        assert!(refused.to_string().contains("certificate"), "{refused}");
    }
    settings.tls = Tls::Off;
    let queue = Queue::new(&settings).unwrap();
    assert!(queue.stats().await.is_err());
}

#[tokio::test]
async fn every_script_stays_within_one_slot_of_a_cluster() {
    let server = RedisServer::start(&["--cluster-enabled", "yes"]);
    let admin = server.admin().await;
    let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
    admin
        .run::<()>(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")))
        .await;
    until_ok("the cluster is up", async || {
        let info: String = admin.run("CLUSTER INFO").await;
        info.contains("cluster_state:ok")
            .then_some(())
            .ok_or(Error::Lost)
    })
    .await;
    works(&server.settings()).await;
    let queue = Queue::new(&server.settings()).unwrap();
    queue
        .sync(&[entry("a", 1, 0), entry("b", 2, 0)])
        .await
        .unwrap();
    admin.run::<()>("DEL {test}:ages").await;
    queue.sync(&[entry("b", 2, 0)]).await.unwrap();
    assert_eq!(queue.next(9, at(0), &[]).await.unwrap().len(), 1);
}
