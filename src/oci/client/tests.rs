//! The client against a server that follows a script and checks every signature.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, stream};

use super::super::testing::{Act, Server, api_key, reply, reply_text};
use super::super::*;
use super::*;
use crate::Class;

type Chunk = Result<Bytes, io::Error>;

fn fast() -> (RetryPolicy, Timeouts) {
    let retry = RetryPolicy {
        base: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        request: Duration::from_secs(5),
        stall: Duration::from_millis(400),
        reply: Duration::from_millis(400),
    };
    (retry, timeouts)
}

fn client_with(
    server: &Server,
    credentials: Credentials,
    change: impl FnOnce(&mut Settings),
) -> ObjectStorage {
    let endpoint = Endpoint::at(&format!("http://{}", server.address)).unwrap();
    let mut settings = Settings::new(endpoint, Namespace::new("ns").unwrap(), credentials);
    (settings.retry, settings.timeouts) = fast();
    change(&mut settings);
    ObjectStorage::new(settings).unwrap()
}

fn client(server: &Server) -> ObjectStorage {
    client_with(server, api_key(), |_| {})
}

fn bucket() -> BucketName {
    BucketName::new("bkt").unwrap()
}

fn object() -> ObjectName {
    ObjectName::new("dir/a b.bin").unwrap()
}

fn upload() -> Upload {
    Upload {
        bucket: bucket(),
        object: object(),
        id: UploadId::new("up/1+2").unwrap(),
    }
}

fn chunks(sizes: &[usize]) -> impl Stream<Item = Chunk> + Send + 'static {
    let chunks: Vec<Chunk> = sizes
        .iter()
        .map(|size| Ok(Bytes::from(vec![7; *size])))
        .collect();
    stream::iter(chunks)
}

fn endless() -> impl Stream<Item = Chunk> + Send + 'static {
    let chunk = Bytes::from(vec![7; 65_536]);
    stream::repeat_with(move || Ok(chunk.clone()))
}

async fn put_part<S>(client: &ObjectStorage, length: u64, body: S) -> Result<StoredPart>
where
    S: Stream<Item = Chunk> + Send + 'static,
{
    let number = PartNumber::new(3).unwrap();
    timeout(
        Duration::from_secs(20),
        client.upload_part(&upload(), number, length, body),
    )
    .await
    .expect("an upload ends")
}

const STORED: &str = "etag: e1\r\nopc-content-crc32c: 4waSgw==\r\nopc-content-md5: m==\r\n";

#[tokio::test]
async fn a_part_is_streamed_with_its_length_and_unchunked() {
    let server = Server::start(vec![reply(200, STORED, "")]).await;

    let part = put_part(&client(&server), 70_000, chunks(&[65_536, 4_464]))
        .await
        .unwrap();

    let seen = &server.seen()[0];
    assert_eq!(seen.method, "PUT");
    assert_eq!(
        seen.target,
        "/n/ns/b/bkt/u/dir%2Fa%20b.bin?uploadId=up%2F1%2B2&uploadPartNum=3"
    );
    assert_eq!(seen.header("content-length"), "70000");
    assert_eq!(seen.header("transfer-encoding"), "");
    assert_eq!(seen.header("opc-checksum-algorithm"), "CRC32C");
    assert_eq!(seen.body, vec![7; 70_000]);
    assert_eq!(part.etag.as_str(), "e1");
    assert_eq!(part.crc32c, Some(Crc32c::new(0xE306_9283)));
    assert_eq!((part.md5.as_deref(), part.size), (Some("m=="), 70_000));
}

#[tokio::test]
async fn an_object_is_put_with_what_it_is_and_never_over_another() {
    let server = Server::start(vec![reply(200, STORED, ""), reply(200, STORED, "")]).await;
    let client = client(&server);
    let new = NewObject {
        content_type: Some("video/mp4".into()),
        content_disposition: Some("attachment".into()),
        storage_tier: Some(StorageTier::InfrequentAccess),
        metadata: [("tj-uid".to_owned(), "u-1".to_owned())].into(),
    };

    let (bucket, object) = (bucket(), object());
    let stored = client
        .put_object(&bucket, &object, &new, Existing::Keep, 5, chunks(&[5]))
        .await;
    assert_eq!(stored.unwrap().crc32c, Some(Crc32c::new(0xE306_9283)));
    let empty = NewObject::default();
    let stored = client
        .put_object(&bucket, &object, &empty, Existing::Replace, 0, chunks(&[]))
        .await;
    assert!(stored.is_ok());

    let seen = server.seen();
    assert_eq!(seen[0].target, "/n/ns/b/bkt/o/dir%2Fa%20b.bin");
    for (name, value) in [
        ("content-type", "video/mp4"),
        ("content-disposition", "attachment"),
        ("storage-tier", "InfrequentAccess"),
        ("opc-meta-tj-uid", "u-1"),
        ("if-none-match", "*"),
        ("opc-checksum-algorithm", "CRC32C"),
        ("content-length", "5"),
    ] {
        assert_eq!(seen[0].header(name), value, "{name}");
    }
    assert_eq!(seen[1].header("content-length"), "0");
    assert_eq!(seen[1].header("transfer-encoding"), "");
    assert_eq!(seen[1].header("if-none-match"), "");
}

#[tokio::test]
async fn metadata_that_no_header_can_hold_is_refused_here() {
    let server = Server::start(vec![]).await;
    let new = NewObject {
        metadata: [("uid".to_owned(), "a\r\nb".to_owned())].into(),
        ..NewObject::default()
    };
    let put = client(&server)
        .put_object(&bucket(), &object(), &new, Existing::Keep, 0, chunks(&[]))
        .await;
    assert_eq!(put.unwrap_err().reason(), "InvalidName");
}

#[tokio::test]
async fn a_small_request_is_tried_again_until_it_passes() {
    let server = Server::start(vec![
        reply(503, "", ""),
        Act::Close,
        reply(409, "", r#"{"code":"IncorrectState","message":"m"}"#),
        reply(
            429,
            "retry-after: 0\r\n",
            r#"{"code":"TooManyRequests","message":"m"}"#,
        ),
        reply(200, "", "[]"),
    ])
    .await;

    let parts = client(&server).list_parts(&upload()).await.unwrap();

    assert_eq!(server.seen().len(), 5);
    assert_eq!(parts, []);
}

#[tokio::test]
async fn tries_end_with_the_last_error() {
    let script = (0..5)
        .map(|_| reply(500, "opc-request-id: r-1\r\n", ""))
        .collect();
    let server = Server::start(script).await;

    let error = client(&server).head_bucket(&bucket()).await.unwrap_err();

    assert_eq!(server.seen().len(), 5);
    assert_eq!(error.service().unwrap().request_id.as_deref(), Some("r-1"));
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn a_retry_after_is_waited_for_and_the_next_try_is_signed_anew() {
    let server = Server::start(vec![
        reply(429, "retry-after: 2\r\n", ""),
        reply(200, "", ""),
    ])
    .await;
    let begun = Instant::now();

    client(&server).head_bucket(&bucket()).await.unwrap();

    assert!(begun.elapsed() >= Duration::from_secs(2));
    let seen = server.seen();
    assert_ne!(seen[0].header("date"), seen[1].header("date"));
    assert_ne!(
        seen[0].header("authorization"),
        seen[1].header("authorization")
    );
}

#[tokio::test]
async fn nobody_there_is_told_from_a_lost_connection() {
    let server = Server::start(vec![]).await;
    tokio::task::yield_now().await;
    let client = client_with(&server, api_key(), |settings| settings.retry.tries = 2);

    let error = client.create_par(&bucket(), &new_par()).await.unwrap_err();

    assert_eq!(error.reason(), "StorageUnreachable");
    assert!(!error.is_ambiguous());
}

#[tokio::test]
async fn a_silent_service_times_out_each_try() {
    let server = Server::start(vec![Act::Silence, Act::Silence]).await;
    let client = client_with(&server, api_key(), |settings| {
        settings.retry.tries = 2;
        settings.timeouts.request = Duration::from_millis(200);
    });

    let error = client.head_bucket(&bucket()).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "HeadBucket: Object Storage did not reply for 0.2 s"
    );
    assert_eq!(server.seen().len(), 2);
}

fn new_par() -> NewPar {
    NewPar {
        name: "tj-1".into(),
        object: object(),
        expires: "2034-01-06T21:31:40.5Z".parse().unwrap(),
    }
}

#[tokio::test]
async fn a_lost_reply_is_the_callers_to_answer_where_repeating_is_not_harmless() {
    let lost = || vec![Act::Close];
    let broken = || vec![reply(500, "", "")];
    let garbled = || vec![reply(200, "etag: \r\n", "{")];
    for script in [lost, broken, garbled] {
        let server = Server::start(script()).await;
        let error = client(&server)
            .create_par(&bucket(), &new_par())
            .await
            .unwrap_err();
        assert!(error.is_ambiguous(), "{error:?}");
        assert_eq!(server.seen().len(), 1);

        let server = Server::start(script()).await;
        let create = client(&server)
            .create_multipart_upload(&bucket(), &object(), &NewObject::default())
            .await;
        assert!(create.unwrap_err().is_ambiguous());

        let server = Server::start(script()).await;
        let commit = client(&server)
            .commit_multipart_upload(&upload(), [], [])
            .await;
        assert!(commit.unwrap_err().is_ambiguous());

        let server = Server::start(script()).await;
        let put = client(&server)
            .put_object(
                &bucket(),
                &object(),
                &NewObject::default(),
                Existing::Keep,
                5,
                chunks(&[5]),
            )
            .await;
        assert!(put.unwrap_err().is_ambiguous());
    }
}

#[tokio::test]
async fn a_put_whose_body_never_arrived_is_not_in_doubt() {
    let server = Server::start(vec![Act::CloseEarly]).await;
    let put = client(&server)
        .put_object(
            &bucket(),
            &object(),
            &NewObject::default(),
            Existing::Keep,
            1 << 30,
            endless(),
        )
        .await;
    assert_eq!(put.unwrap_err().reason(), "StorageConnectionLost");
}

#[tokio::test]
async fn refused_credentials_are_renewed_once_and_used() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name);
    let shown = home.path().display();
    let config = format!("[S]\nsecurity_token_file={shown}/token\nkey_file={shown}/key.pem\n");
    std::fs::write(file("config"), config).unwrap();
    std::fs::write(
        file("key.pem"),
        super::super::testing::vectors().private_key_pkcs8_pem,
    )
    .unwrap();
    std::fs::write(file("token"), "old").unwrap();
    let credentials = Credentials::from_profile(file("config"), "S")
        .await
        .unwrap();
    let replace = |token: &'static str| {
        let path = file("token");
        Box::new(move || std::fs::write(path, token).unwrap())
    };
    let refusal = || reply_text(401, "", r#"{"code":"NotAuthenticated","message":"m"}"#);
    let server = Server::start(vec![
        Act::ReplyAfter(replace("new"), refusal()),
        reply(200, "", ""),
        Act::ReplyAfter(replace("newer"), refusal()),
        Act::Reply(refusal()),
        Act::Reply(refusal()),
        Act::Reply(refusal()),
    ])
    .await;
    let client = client_with(&server, credentials, |_| {});

    client.head_bucket(&bucket()).await.unwrap();
    let part = put_part(&client, 5, chunks(&[5])).await.unwrap_err();
    assert_eq!(
        (part.reason(), part.class()),
        ("CredentialsRenewed", Class::Transient)
    );
    let part = put_part(&client, 5, chunks(&[5])).await.unwrap_err();
    assert_eq!(
        (part.reason(), part.class()),
        ("NotAuthenticated", Class::Permanent)
    );
    let bucket = client.head_bucket(&bucket()).await.unwrap_err();
    assert_eq!(
        (bucket.reason(), bucket.class()),
        ("NotAuthenticated", Class::Permanent)
    );

    let keys = [
        "ST$old", "ST$new", "ST$new", "ST$newer", "ST$newer", "ST$newer",
    ];
    let seen = server.seen();
    assert_eq!(seen.len(), keys.len());
    for (seen, key) in seen.iter().zip(keys) {
        assert!(
            seen.header("authorization")
                .contains(&format!("keyId=\"{key}\""))
        );
    }
}

/// Notices that it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[tokio::test]
async fn a_service_that_stops_reading_is_given_up_and_the_body_let_go() {
    let server = Server::start(vec![Act::StopReading]).await;
    let gone = Arc::new(AtomicBool::new(false));
    let held = Dropped(gone.clone());
    let chunk = Bytes::from(vec![7; 524_288]);
    let endless = stream::repeat_with(move || {
        let _held = &held;
        Ok(chunk.clone())
    });
    let begun = Instant::now();

    let error = put_part(&client(&server), 1 << 30, endless)
        .await
        .unwrap_err();

    assert_eq!(
        error.to_string(),
        "UploadPart: Object Storage took no data for 0.4 s"
    );
    assert_eq!(
        (error.reason(), error.class()),
        ("StorageTimeout", Class::Transient)
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    while !gone.load(Ordering::Acquire) {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "the body is still held"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_service_that_never_replies_to_an_upload_is_given_up() {
    let server = Server::start(vec![Act::Silence]).await;
    let error = put_part(&client(&server), 5, chunks(&[5]))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "UploadPart: Object Storage did not reply for 0.4 s"
    );
}

#[tokio::test]
async fn a_source_slower_than_the_stall_timeout_is_waited_for() {
    let server = Server::start(vec![reply(200, STORED, "")]).await;
    let slow = chunks(&[2, 3]).then(|chunk| async {
        sleep(Duration::from_millis(700)).await;
        chunk
    });
    let begun = Instant::now();

    assert_eq!(put_part(&client(&server), 5, slow).await.unwrap().size, 5);

    assert!(begun.elapsed() >= Duration::from_millis(1400));
}

#[tokio::test]
async fn a_failing_or_short_source_fails_the_upload_with_its_own_error() {
    let server = Server::start(vec![Act::Close, Act::Close]).await;
    let client = client(&server);

    let torn = chunks(&[2]).chain(stream::iter([Err(io::Error::other("torn"))]));
    let error = put_part(&client, 5, torn).await.unwrap_err();
    assert!(matches!(&error, Error::Body { source, .. } if source.to_string() == "torn"));
    assert_eq!(
        (error.reason(), error.class()),
        ("SourceFailed", Class::Transient)
    );

    let error = put_part(&client, 5, chunks(&[2])).await.unwrap_err();
    assert!(matches!(error, Error::BodyLength { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_sent_is_heard() {
    let slow_down = reply_text(
        429,
        "retry-after: 7\r\n",
        r#"{"code":"TooManyRequests","message":"m"}"#,
    );
    let server = Server::start(vec![
        Act::ReplyEarly(slow_down),
        Act::ReplyEarly(reply_text(200, STORED, "")),
    ])
    .await;
    let client = client(&server);

    let error = put_part(&client, 1 << 30, endless()).await.unwrap_err();
    assert_eq!(error.class(), Class::After(Duration::from_secs(7)));

    let error = put_part(&client, 1 << 30, endless()).await.unwrap_err();
    assert_eq!(error.reason(), "StorageReplyInvalid", "{error:?}");
}

#[tokio::test]
async fn an_upload_is_begun_committed_and_aborted_as_the_api_says() {
    let begun = r#"{"namespace":"ns","bucket":"bkt","object":"dir/a b.bin","uploadId":"up-9"}"#;
    let server = Server::start(vec![
        reply(200, "", begun),
        reply(
            200,
            "etag: e9\r\nopc-content-crc32c: 4waSgw==\r\nopc-multipart-md5: m==-2\r\n",
            "",
        ),
        reply(204, "", ""),
    ])
    .await;
    let client = client(&server);
    let new = NewObject {
        content_type: Some("video/mp4".into()),
        metadata: [("tj-uid".to_owned(), "u-1".to_owned())].into(),
        ..NewObject::default()
    };

    let upload = client
        .create_multipart_upload(&bucket(), &object(), &new)
        .await
        .unwrap();
    assert_eq!((upload.id.as_str(), &upload.object), ("up-9", &object()));
    let (e1, e2) = (Etag::new("e1").unwrap(), Etag::new("e2").unwrap());
    let number = |n| PartNumber::new(n).unwrap();
    let parts = [(number(2), &e2), (number(1), &e1)];
    let stored = client
        .commit_multipart_upload(&upload, parts, [number(7)])
        .await
        .unwrap();
    assert_eq!(stored.etag.as_str(), "e9");
    assert_eq!(stored.crc32c, Some(Crc32c::new(0xE306_9283)));
    assert_eq!(stored.md5.as_deref(), Some("m==-2"));
    assert_eq!(
        client.abort_multipart_upload(&upload).await.unwrap(),
        Removal::Removed
    );

    let seen = server.seen();
    let json = |n: usize| serde_json::from_slice::<serde_json::Value>(&seen[n].body).unwrap();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].target.as_str()),
        ("POST", "/n/ns/b/bkt/u")
    );
    assert_eq!(seen[0].header("opc-checksum-algorithm"), "CRC32C");
    assert_eq!(
        json(0),
        serde_json::json!({
            "object": "dir/a b.bin", "contentType": "video/mp4", "metadata": {"opc-meta-tj-uid": "u-1"},
        })
    );
    assert_eq!(
        seen[1].target,
        "/n/ns/b/bkt/u/dir%2Fa%20b.bin?uploadId=up-9"
    );
    assert_eq!(seen[1].header("if-none-match"), "*");
    assert_eq!(
        json(1),
        serde_json::json!({
            "partsToCommit": [{"partNum": 1, "etag": "e1"}, {"partNum": 2, "etag": "e2"}],
            "partsToExclude": [7],
        })
    );
    assert_eq!(seen[2].method, "DELETE");
}

#[tokio::test]
async fn all_pages_of_a_list_are_read() {
    let page = |objects: &[&str]| {
        let items = objects
            .iter()
            .map(|o| format!(r#"{{"object":"{o}","uploadId":"u-{}"}}"#, o.len()));
        format!("[{}]", items.collect::<Vec<_>>().join(","))
    };
    let server = Server::start(vec![
        reply(
            200,
            "opc-next-page: a/b\r\n",
            &page(&["mine/1", "other/1", "mine/.."]),
        ),
        reply(200, "", &page(&["mine/22"])),
    ])
    .await;

    let uploads = client(&server)
        .list_uploads(&bucket(), "mine/")
        .await
        .unwrap();

    let names: Vec<_> = uploads.iter().map(|u| u.upload.object.as_str()).collect();
    assert_eq!(names, ["mine/1", "mine/22"]);
    assert_eq!(
        server.seen()[1].target,
        "/n/ns/b/bkt/u?limit=1000&page=a%2Fb"
    );
}

#[tokio::test]
async fn a_list_that_runs_in_a_circle_ends() {
    let page = || reply(200, "opc-next-page: x\r\n", "[]");
    let server = Server::start(vec![page(), page()]).await;
    let error = client(&server)
        .list_uploads(&bucket(), "")
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "StorageReplyInvalid");
}

#[tokio::test]
async fn parts_are_listed_in_order() {
    let parts = r#"[{"etag":"e2","md5":"m","size":5,"partNumber":2},{"etag":"e1","size":7,"partNumber":1}]"#;
    let missing = r#"{"code":"NoSuchUpload","message":"m"}"#;
    let server = Server::start(vec![reply(200, "", parts), reply(404, "", missing)]).await;
    let client = client(&server);

    let parts = client.list_parts(&upload()).await.unwrap();
    let short: Vec<_> = parts
        .iter()
        .map(|p| (p.number.get(), p.size, p.etag.as_str()))
        .collect();
    assert_eq!(short, [(1, 7, "e1"), (2, 5, "e2")]);
    assert_eq!(
        server.seen()[0].target,
        "/n/ns/b/bkt/u/dir%2Fa%20b.bin?uploadId=up%2F1%2B2&limit=1000"
    );
    assert!(
        client
            .list_parts(&upload())
            .await
            .unwrap_err()
            .is_not_found()
    );
}

#[tokio::test]
async fn an_object_is_described_by_its_head() {
    let head = "HTTP/1.1 200 X\r\ncontent-length: 12345678901\r\nconnection: close\r\netag: e1\r\n\
        content-type: video/mp4\r\nopc-content-crc32c: 4waSgw==\r\nopc-meta-tj-uid: u-1\r\n\r\n";
    let server = Server::start(vec![Act::Reply(head.into()), reply(404, "", "")]).await;
    let client = client(&server);

    let head = client
        .head_object(&bucket(), &object())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.size, 12_345_678_901);
    assert_eq!(head.crc32c, Some(Crc32c::new(0xE306_9283)));
    assert_eq!(head.content_type.as_deref(), Some("video/mp4"));
    assert_eq!(
        head.metadata,
        [("tj-uid".to_owned(), "u-1".to_owned())].into()
    );
    assert_eq!(
        client.head_object(&bucket(), &object()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_missing_bucket_is_named_although_a_head_has_no_body() {
    let server = Server::start(vec![reply(404, "", "")]).await;
    let error = client(&server).head_bucket(&bucket()).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("BucketNotFound", Class::Permanent)
    );
}

#[tokio::test]
async fn removing_what_is_gone_is_fine_but_a_hidden_thing_proves_nothing() {
    let answer = |code: &str| reply(404, "", &format!(r#"{{"code":"{code}","message":"m"}}"#));
    let server = Server::start(vec![
        reply(204, "", ""),
        answer("ObjectNotFound"),
        answer("NotAuthorizedOrNotFound"),
        answer("BucketNotFound"),
        reply(404, "", "<html>"),
    ])
    .await;
    let client = client(&server);
    let (bucket, object) = (bucket(), object());

    assert_eq!(
        client.delete_object(&bucket, &object).await.unwrap(),
        Removal::Removed
    );
    assert_eq!(
        client.delete_object(&bucket, &object).await.unwrap(),
        Removal::WasAbsent
    );
    for _ in 0..3 {
        assert!(
            client
                .delete_object(&bucket, &object)
                .await
                .unwrap_err()
                .is_not_found()
        );
    }
}

#[tokio::test]
async fn a_link_is_made_listed_and_ended() {
    let made = r#"{"id":"id=/1","name":"tj-1","accessUri":"/p/tok/n/ns/b/bkt/o/dir/a b.bin",
        "objectName":"dir/a b.bin","accessType":"ObjectRead","timeExpires":"2034-01-06T21:31:40Z"}"#;
    let listed = r#"[{"id":"id=/1","name":"tj-1","objectName":"dir/a b.bin","timeExpires":"2034-01-06T21:31:40Z"},
        {"id":"id2","name":"bucket","objectName":null,"timeExpires":"2034-01-06T21:31:40Z"}]"#;
    let server = Server::start(vec![
        reply(200, "", made),
        reply(200, "", listed),
        reply(204, "", ""),
    ])
    .await;
    let client = client(&server);

    let par = client.create_par(&bucket(), &new_par()).await.unwrap();
    let url = format!(
        "http://{}/p/tok/n/ns/b/bkt/o/dir%2Fa%20b.bin",
        server.address
    );
    assert_eq!(par.url.expose(), url);
    assert!(!format!("{par:?}").contains("tok"));
    let pars = client.list_pars(&bucket(), "dir/").await.unwrap();
    assert_eq!((pars.len(), pars[0].name.as_str()), (2, "tj-1"));
    assert_eq!((&pars[0].id, &pars[1].object), (&par.id, &None));
    assert_eq!(
        client.delete_par(&bucket(), &par.id).await.unwrap(),
        Removal::Removed
    );

    let seen = server.seen();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&seen[0].body).unwrap(),
        serde_json::json!({
            "name": "tj-1", "objectName": "dir/a b.bin", "accessType": "ObjectRead",
            "timeExpires": "2034-01-06T21:31:40Z",
        })
    );
    assert_eq!(
        seen[1].target,
        "/n/ns/b/bkt/p?objectNamePrefix=dir%2F&limit=1000"
    );
    assert_eq!(seen[2].target, "/n/ns/b/bkt/p/id%3D%2F1");
}

/// An error and everything behind it, in both forms, as a log could show it.
fn everything(error: &dyn std::error::Error) -> String {
    let behind = error.source().map(everything).unwrap_or_default();
    format!("{error} {error:?} {behind}")
}

#[tokio::test]
async fn no_error_shows_a_link_its_id_or_a_signature() {
    let echo =
        r#"{"code":"InternalError /p/CANARY","message":"DELETE /n/ns/b/bkt/p/CANARY failed"}"#;
    let script = vec![
        Act::Close,
        Act::Silence,
        reply(500, "opc-request-id: /p/CANARY\r\n", echo),
        reply(404, "", echo),
        reply(302, "location: http://elsewhere/p/CANARY\r\n", ""),
        reply(500, "", "<html>/p/CANARY</html>"),
    ];
    let count = script.len();
    let server = Server::start(script).await;
    let client = client_with(&server, api_key(), |settings| {
        settings.retry.tries = 1;
        settings.timeouts.request = Duration::from_millis(300);
    });
    let id = ParId::new("CANARY").unwrap();

    let mut texts = Vec::new();
    for _ in 0..=count {
        if let Err(error) = client.delete_par(&bucket(), &id).await {
            texts.push(everything(&error));
        }
    }
    // The 404 with an unknown code says that the link is gone; the last try finds nobody.
    assert_eq!(texts.len(), count);
    for text in texts {
        assert!(!text.contains("CANARY"), "{text}");
        assert!(
            !text.contains("Signature") && !text.contains("rsa-sha256"),
            "{text}"
        );
    }
}

#[test]
fn the_wait_a_service_asks_for_is_seconds_or_a_date() {
    assert_eq!(retry_after("17"), Some(Duration::from_secs(17)));
    assert_eq!(
        retry_after("Thu, 05 Jan 2006 21:31:40 GMT"),
        Some(Duration::ZERO)
    );
    let wait = retry_after("Thu, 05 Jan 2090 21:31:40 GMT").unwrap();
    assert!(wait > Duration::from_hours(24));
    assert_eq!(retry_after("soon"), None);
}

#[test]
fn a_wrong_clock_is_named() {
    assert_eq!(clock_skew(&http_date()), None);
    assert!(clock_skew("Thu, 05 Jan 2006 21:31:40 GMT").unwrap() > 240);
    assert_eq!(http_date().len(), "Thu, 05 Jan 2034 21:31:40 GMT".len());
}
