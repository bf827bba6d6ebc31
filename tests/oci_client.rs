//! A file's way through Object Storage, as the worker takes it: the client of this crate against
//! the stand-in that Oracle's own SDK and rclone are also tried on.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use jiff::Timestamp;
use telestream::Class;
use telestream::oci::{
    ApiKey, BucketName, Crc32c, Credentials, Endpoint, Existing, Namespace, NewObject, NewPar,
    ObjectName, ObjectStorage, PartNumber, Removal, RetryPolicy, ServiceCode, Settings, UploadId,
};
use telestream_sim::oci::{Effect, Fault, Operation, Options, Permission};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const MIB: usize = 1 << 20;

/// The stand-in on a port of its own, and a client of it.
struct Service {
    sim: telestream_sim::oci::ObjectStorage,
    client: ObjectStorage,
    bucket: BucketName,
    serving: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Service {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            page_limit: 3,
            ..Options::default()
        };
        let sim = telestream_sim::oci::ObjectStorage::open(dir.path(), options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        sim.set_public_url(format!("http://{}", listener.local_addr().unwrap()));
        let serving = tokio::spawn({
            let sim = sim.clone();
            async move { sim.serve(listener, std::future::pending()).await.unwrap() }
        });

        let config = sim.client_config();
        let credentials = Credentials::from_api_key(&ApiKey {
            tenancy: config.tenancy,
            user: config.user,
            fingerprint: config.fingerprint,
            private_key: config.private_key,
            pass_phrase: None,
        })
        .unwrap();
        let mut settings = Settings::new(
            Endpoint::at(&config.endpoint).unwrap(),
            Namespace::new(config.namespace).unwrap(),
            credentials,
        );
        settings.retry = RetryPolicy {
            base: Duration::from_millis(1),
            ..RetryPolicy::default()
        };
        Self {
            sim,
            client: ObjectStorage::new(settings).unwrap(),
            bucket: BucketName::new(config.bucket).unwrap(),
            serving,
            _dir: dir,
        }
    }

    fn once(&self, operation: Operation, effect: Effect) {
        self.sim.add_fault(Fault {
            operations: vec![operation],
            object_prefix: String::new(),
            skip: 0,
            times: Some(1),
            effect,
        });
    }
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn number(number: u32) -> PartNumber {
    PartNumber::new(number).unwrap()
}

/// `size` bytes that no two places share, in chunks.
fn bytes(size: usize) -> Vec<u8> {
    (0..=250)
        .flat_map(|byte| [byte; 7])
        .cycle()
        .take(size)
        .collect()
}

fn chunks(bytes: &[u8]) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
    let chunks: Vec<_> = bytes
        .chunks(100_000)
        .map(Bytes::copy_from_slice)
        .map(Ok)
        .collect();
    stream::iter(chunks)
}

fn crc32c(bytes: &[u8]) -> Crc32c {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    Crc32c::new(u32::try_from(sum).unwrap())
}

fn uid() -> NewObject {
    NewObject {
        content_type: Some("video/mp4".into()),
        metadata: [("tj-uid".to_owned(), "uid-1".to_owned())].into(),
        ..NewObject::default()
    }
}

#[tokio::test]
async fn a_file_is_uploaded_in_parts_shared_and_removed() {
    let service = Service::start().await;
    let (client, bucket) = (&service.client, &service.bucket);
    let object = name("dir/ein Film (1) é%20?.mp4");
    let file = bytes(5 * MIB / 2);

    // When its parts arrive in any order, and one of them twice,
    client.head_bucket(bucket).await.unwrap();
    let upload = client
        .create_multipart_upload(bucket, &object, &uid())
        .await
        .unwrap();
    for index in [2_usize, 0, 1, 2] {
        let part = &file[index * MIB..file.len().min((index + 1) * MIB)];
        let number = number(u32::try_from(index).unwrap() + 1);
        let stored = client
            .upload_part(&upload, number, part.len() as u64, chunks(part))
            .await
            .unwrap();
        assert_eq!(stored.crc32c, Some(crc32c(part)));
    }

    // then the service lists them, and makes one object of them.
    let parts = client.list_parts(&upload).await.unwrap();
    let sizes: Vec<_> = parts.iter().map(|part| part.size).collect();
    assert_eq!(sizes, [1 << 20, 1 << 20, 1 << 19]);
    let listed = client.list_uploads(bucket, "dir/").await.unwrap();
    assert_eq!(listed[0].upload, upload);
    let parts = parts.iter().map(|part| (part.number, &part.etag));
    let stored = client
        .commit_multipart_upload(&upload, parts, [])
        .await
        .unwrap();
    assert_eq!(stored.crc32c, Some(crc32c(&file)));
    let head = client.head_object(bucket, &object).await.unwrap().unwrap();
    assert_eq!((head.size, &head.etag), (file.len() as u64, &stored.etag));
    assert_eq!(head.metadata["tj-uid"], "uid-1");
    assert_eq!(head.crc32c, stored.crc32c);

    // The link opens it for anybody until it is ended.
    let new = NewPar {
        name: "tj-1".into(),
        object: object.clone(),
        expires: Timestamp::now() + Duration::from_hours(1),
    };
    let par = client.create_par(bucket, &new).await.unwrap();
    let get = || async { reqwest::get(par.url.expose()).await.unwrap() };
    assert_eq!(get().await.bytes().await.unwrap(), file);
    let links = client.list_pars(bucket, "dir/").await.unwrap();
    assert_eq!(
        (links.len(), &links[0].id, &*links[0].name),
        (1, &par.id, "tj-1")
    );
    assert_eq!(links[0].object.as_deref(), Some(object.as_str()));
    assert_eq!(
        client.delete_par(bucket, &par.id).await.unwrap(),
        Removal::Removed
    );
    assert_eq!(get().await.status(), 404);

    assert_eq!(
        client.delete_object(bucket, &object).await.unwrap(),
        Removal::Removed
    );
    assert_eq!(
        client.delete_object(bucket, &object).await.unwrap(),
        Removal::WasAbsent
    );
    assert_eq!(client.head_object(bucket, &object).await.unwrap(), None);
}

#[tokio::test]
async fn of_two_that_publish_one_object_the_second_is_told() {
    let service = Service::start().await;
    let (client, bucket) = (&service.client, &service.bucket);
    let object = name("one");
    let new = uid();
    let put = || client.put_object(bucket, &object, &new, Existing::Keep, 5, chunks(b"hello"));

    assert_eq!(put().await.unwrap().crc32c, Some(crc32c(b"hello")));
    let second = put().await.unwrap_err();
    assert_eq!(second.code(), Some(&ServiceCode::IfNoneMatchFailed));
    assert_eq!(second.class(), Class::Permanent);

    let upload = client
        .create_multipart_upload(bucket, &object, &uid())
        .await
        .unwrap();
    let part = client
        .upload_part(&upload, number(1), 5, chunks(b"other"))
        .await
        .unwrap();
    let commit = client
        .commit_multipart_upload(&upload, [(number(1), &part.etag)], [])
        .await;
    assert_eq!(
        commit.unwrap_err().code(),
        Some(&ServiceCode::IfNoneMatchFailed)
    );
    assert_eq!(
        client.abort_multipart_upload(&upload).await.unwrap(),
        Removal::Removed
    );
    assert!(client.list_parts(&upload).await.unwrap_err().is_not_found());

    let replaced = client.put_object(bucket, &object, &new, Existing::Replace, 0, chunks(b""));
    replaced.await.unwrap();
    assert_eq!(
        client
            .head_object(bucket, &object)
            .await
            .unwrap()
            .unwrap()
            .size,
        0
    );
}

#[tokio::test]
async fn after_a_lost_reply_what_is_there_can_be_found_out() {
    let service = Service::start().await;
    let (client, bucket) = (&service.client, &service.bucket);
    let object = name("dir/a");

    service.once(Operation::CreateMultipartUpload, Effect::LoseReply);
    let lost = client
        .create_multipart_upload(bucket, &object, &uid())
        .await
        .unwrap_err();
    assert!(lost.is_ambiguous(), "{lost:?}");
    let upload = client
        .list_uploads(bucket, "dir/a")
        .await
        .unwrap()
        .remove(0)
        .upload;

    let part = client
        .upload_part(&upload, number(1), 5, chunks(b"hello"))
        .await
        .unwrap();
    service.once(Operation::CommitMultipartUpload, Effect::LoseReply);
    let commit = client
        .commit_multipart_upload(&upload, [(number(1), &part.etag)], [])
        .await;
    assert!(commit.unwrap_err().is_ambiguous());
    let head = client.head_object(bucket, &object).await.unwrap().unwrap();
    assert_eq!((head.size, &*head.metadata["tj-uid"]), (5, "uid-1"));

    let new = NewPar {
        name: "tj-1".into(),
        object: object.clone(),
        expires: Timestamp::now() + Duration::from_hours(1),
    };
    service.once(Operation::CreatePreauthenticatedRequest, Effect::LoseReply);
    assert!(
        client
            .create_par(bucket, &new)
            .await
            .unwrap_err()
            .is_ambiguous()
    );
    let par = client.list_pars(bucket, "dir/a").await.unwrap().remove(0);
    assert_eq!(par.name, "tj-1");
    service.once(Operation::DeletePreauthenticatedRequest, Effect::LoseReply);
    assert_eq!(
        client.delete_par(bucket, &par.id).await.unwrap(),
        Removal::WasAbsent
    );
}

#[tokio::test]
async fn many_uploads_are_listed_over_many_pages() {
    let service = Service::start().await;
    let (client, bucket) = (&service.client, &service.bucket);
    for index in 0..7 {
        let object = name(&format!(
            "{}/{index}",
            if index % 2 == 0 { "mine" } else { "theirs" }
        ));
        client
            .create_multipart_upload(bucket, &object, &NewObject::default())
            .await
            .unwrap();
    }

    let mine = client.list_uploads(bucket, "mine/").await.unwrap();

    let mut names: Vec<_> = mine
        .iter()
        .map(|found| found.upload.object.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["mine/0", "mine/2", "mine/4", "mine/6"]);
    assert!(mine.iter().all(|found| found.created.is_some()));
    let unknown = UploadId::new("unknown").unwrap();
    let upload = telestream::oci::Upload {
        id: unknown,
        ..mine[0].upload.clone()
    };
    assert_eq!(
        client.abort_multipart_upload(&upload).await.unwrap(),
        Removal::WasAbsent
    );
}

#[tokio::test]
async fn a_busy_service_is_asked_again_and_a_missing_permission_is_final() {
    let service = Service::start().await;
    let (client, bucket) = (&service.client, &service.bucket);
    let busy = Effect::Refuse {
        status: 429,
        code: "TooManyRequests".into(),
        message: "User-rate limit exceeded.".into(),
    };
    service.once(Operation::CreateMultipartUpload, busy.clone());
    let upload = client
        .create_multipart_upload(bucket, &name("a"), &uid())
        .await
        .unwrap();

    service.once(Operation::UploadPart, busy);
    let part = client
        .upload_part(&upload, number(1), 5, chunks(b"hello"))
        .await;
    let error = part.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("TooManyRequests", Class::Transient)
    );

    service.sim.withhold(&[Permission::ParManage]);
    let new = NewPar {
        name: "tj-1".into(),
        object: name("a"),
        expires: Timestamp::now() + Duration::from_hours(1),
    };
    let error = client.create_par(bucket, &new).await.unwrap_err();
    assert_eq!(error.class(), Class::Permanent, "{error}");
    assert!(!error.is_ambiguous());

    let nowhere = BucketName::new("nowhere").unwrap();
    let error = client.head_bucket(&nowhere).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("BucketNotFound", Class::Permanent)
    );
}
