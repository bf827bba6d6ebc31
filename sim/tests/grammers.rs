//! grammers, the library the product itself uses for everything but the bytes of files, against
//! the stand-in: it downloads across data centres, carries authorizations there, and signs in.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use grammers_client::media::Media;
use grammers_client::message::Message as GrammersMessage;
use grammers_client::sender::SenderPoolHandle;
use grammers_client::tl::enums::Message as TlMessage;
use grammers_client::{Client, InvocationError, SenderPool, SignInError};
use grammers_session::SessionData;
use grammers_session::storages::MemorySession;
use grammers_session::types::{DcOption, PeerId, UpdatesState};
use telestream_sim::content::Content;
use telestream_sim::telegram::ids::{ChatId, DcId, Identity};
use telestream_sim::telegram::keys::{SessionDocument, SignedIn};
use telestream_sim::telegram::store::{Draft, DraftBody, Look, MediaKind, Origin};
use telestream_sim::{Options, Sim};
use tokio::task::JoinHandle;

const CHANNEL: ChatId = ChatId(-1_001_234_567_890);
const SIZE: u64 = 3 * (1 << 20) + 777;
const PATIENCE: Duration = Duration::from_mins(1);

/// A stand-in and a client of it.
struct Scene {
    _dir: tempfile::TempDir,
    sim: Sim,
    client: Client,
    handle: SenderPoolHandle,
    runner: JoinHandle<()>,
}

impl Scene {
    async fn new(identity: Identity, signed_in: SignedIn) -> Self {
        Self::with(identity, signed_in, |_| {}).await
    }

    async fn with(
        identity: Identity,
        signed_in: SignedIn,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut options = Options::in_dir(dir.path());
        change(&mut options);
        let sim = Sim::start(options).await.expect("the stand-in starts");
        let session = sim.telegram().create_session(identity, signed_in);
        let session = memory_session(&session.expect("a session"));
        let pool = SenderPool::new(Arc::new(session), 1);
        let handle = pool.handle.thin.clone();
        let client = Client::new(pool.handle);
        let runner = tokio::spawn(pool.runner.run());
        Self {
            _dir: dir,
            sim,
            client,
            handle,
            runner,
        }
    }

    /// Publishes a generated file and returns its message's number.
    async fn publish(&self, chat_id: ChatId, dc: DcId, kind: MediaKind) -> i32 {
        let draft = Draft {
            chat_id,
            members: None,
            chat_title: None,
            text: "caption".to_owned(),
            grouped_id: None,
            body: DraftBody::Media {
                dc,
                origin: Origin::Seed(9),
                size: SIZE,
                look: Look {
                    kind,
                    name: Some("file.bin".to_owned()),
                    ..Look::default()
                },
            },
        };
        self.sim
            .telegram()
            .publish(draft)
            .await
            .expect("published")
            .id
    }

    async fn message(&self, chat_id: ChatId, id: i32) -> Option<GrammersMessage> {
        let peer = PeerId::from_bot_api_dialog_id(chat_id.0)
            .expect("a chat")
            .to_ambient_ref();
        let found = self.client.get_messages_by_id(peer, &[id]).await;
        found.expect("messages").pop().flatten()
    }

    async fn download(&self, media: &Media) -> Vec<u8> {
        let mut download = self.client.iter_download(media);
        let mut bytes = Vec::new();
        while let Some(chunk) = download.next().await.expect("a chunk") {
            bytes.extend_from_slice(&chunk);
        }
        bytes
    }

    async fn stop(self) {
        self.handle.quit();
        let stopped = tokio::time::timeout(PATIENCE, self.runner).await;
        stopped
            .expect("grammers stops")
            .expect("grammers does not panic");
        self.sim.stop().await;
    }
}

fn memory_session(document: &SessionDocument) -> MemorySession {
    let options = document.dcs.iter().map(|dc| {
        let key = BASE64.decode(&dc.auth_key).expect("base64");
        let option = DcOption {
            id: dc.id.0,
            ipv4: dc.ipv4,
            ipv6: SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0),
            auth_key: Some(key.try_into().expect("256 bytes")),
        };
        (dc.id.0, option)
    });
    SessionData {
        home_dc: document.home_dc.0,
        dc_options: options.collect(),
        peer_infos: HashMap::new(),
        updates_state: UpdatesState::default(),
    }
    .into()
}

fn generated() -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(SIZE).expect("small")];
    Content::generated(9, SIZE)
        .read_at(0, &mut bytes)
        .expect("generated");
    bytes
}

fn rpc_error(error: &InvocationError) -> &str {
    match error {
        InvocationError::Rpc(error) => &error.name,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_downloads_from_home_and_from_another_data_centre() {
    let scene = Scene::new(Identity::Bot, SignedIn::All).await;
    for dc in [DcId(2), DcId(4)] {
        let id = scene.publish(CHANNEL, dc, MediaKind::Document).await;
        let message = scene.message(CHANNEL, id).await.expect("published");
        assert_eq!(message.text(), "caption");
        let media = message.media().expect("a document");
        assert!(
            scene.download(&media).await == generated(),
            "other bytes from {dc}"
        );
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_is_carried_to_the_files_data_centre() {
    let scene = Scene::new(Identity::User, SignedIn::Home).await;
    let id = scene.publish(ChatId(77), DcId(4), MediaKind::Video).await;
    let message = scene.message(ChatId(77), id).await.expect("published");
    let media = message.media().expect("a video");
    assert!(scene.download(&media).await == generated());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_is_downloaded_in_its_largest_size() {
    let scene = Scene::new(Identity::Bot, SignedIn::All).await;
    let id = scene.publish(CHANNEL, DcId(2), MediaKind::Photo).await;
    let message = scene.message(CHANNEL, id).await.expect("published");
    let media = message.media().expect("a photo");
    assert!(scene.download(&media).await == generated());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_message_is_not_found() {
    let scene = Scene::new(Identity::Bot, SignedIn::All).await;
    let id = scene.publish(CHANNEL, DcId(2), MediaKind::Document).await;
    let message = scene.message(CHANNEL, id).await.expect("published");
    scene.sim.telegram().delete(CHANNEL, id).expect("deleted");
    // grammers hands an empty message on as a message.
    let found = scene.message(CHANNEL, id).await.expect("an empty message");
    assert!(matches!(found.raw, TlMessage::Empty(_)));
    let media = message.media().expect("a document");
    let late = scene.client.iter_download(&media).next().await;
    assert_eq!(
        rpc_error(&late.expect_err("its references died")),
        "FILE_REFERENCE_EXPIRED"
    );
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_signs_in_by_its_token() {
    let scene = Scene::new(Identity::Bot, SignedIn::None).await;
    assert!(!scene.client.is_authorized().await.expect("an answer"));
    let wrong = scene.client.bot_sign_in("1:wrong", "hash").await;
    assert_eq!(
        rpc_error(&wrong.expect_err("a wrong token")),
        "ACCESS_TOKEN_INVALID"
    );
    let token = telestream_sim::telegram::Options::in_folder("unused".into()).bot_token;
    let bot = scene
        .client
        .bot_sign_in(&token, "hash")
        .await
        .expect("the token is right");
    assert!(bot.is_bot());
    assert!(scene.client.is_authorized().await.expect("an answer"));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_by_code_and_password() {
    let with_password = |options: &mut Options| {
        options.telegram.password = Some("correct horse".to_owned());
    };
    let scene = Scene::with(Identity::User, SignedIn::None, with_password).await;
    let client = &scene.client;
    let token = client
        .request_login_code("+999 66 00001", "hash")
        .await
        .expect("a code");
    let wrong = client.sign_in(&token, "00000").await;
    assert!(matches!(wrong, Err(SignInError::InvalidCode)));
    let Err(SignInError::PasswordRequired(password)) = client.sign_in(&token, "12345").await else {
        panic!("there is a password");
    };
    let wrong = client.check_password(password, "wrong horse").await;
    let Err(SignInError::InvalidPassword(password)) = wrong else {
        panic!("the password is wrong");
    };
    let user = client
        .check_password(password, "correct horse")
        .await
        .expect("the password is right");
    assert_eq!(user.phone(), Some("+9996600001"));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_channel_is_invalid_and_a_foreign_one_private() {
    let scene = Scene::new(Identity::Bot, SignedIn::All).await;
    let draft = Draft {
        chat_id: CHANNEL,
        members: Some(vec![Identity::User]),
        chat_title: None,
        text: "secret".to_owned(),
        grouped_id: None,
        body: DraftBody::Text,
    };
    scene
        .sim
        .telegram()
        .publish(draft)
        .await
        .expect("published");
    for (chat_id, error) in [
        (CHANNEL, "CHANNEL_PRIVATE"),
        (ChatId(-1_001_111_111_111), "CHANNEL_INVALID"),
    ] {
        let peer = PeerId::from_bot_api_dialog_id(chat_id.0)
            .expect("a chat")
            .to_ambient_ref();
        let found = scene.client.get_messages_by_id(peer, &[1]).await;
        assert_eq!(rpc_error(&found.expect_err("not for the bot")), error);
    }
    scene.stop().await;
}
