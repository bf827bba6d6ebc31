//! What Object Storage does wrong.

use std::{
    convert::Infallible,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::stream;
use telestream::{
    Class,
    oci::{Credentials, Existing, NewObject, ObjectName, Timeouts},
    worker::{Engine, History, Meter, TransferError},
};
use telestream_sim::oci::{ClientConfig, Effect as OciEffect, Operation};
use tokio_util::sync::CancellationToken;

use crate::world::{CHANNEL, HOME, MIB, Nature, Notes, PART, World, credentials, storage, until};

/// They are to come again in two seconds.
fn throttle() -> OciEffect {
    OciEffect::Throttle {
        status: 429,
        code: "TooManyRequests".into(),
        seconds: 2,
    }
}

fn refusal(status: u16, code: &str) -> OciEffect {
    OciEffect::Refuse {
        status,
        code: code.into(),
        message: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_object_storage_does_wrong_is_got_over() {
    use Operation::{
        CommitMultipartUpload as Commit, CreateMultipartUpload as Create,
        CreatePreauthenticatedRequest as CreateLink, PutObject, UploadPart,
    };
    for (operation, size, times, effect) in [
        (UploadPart, 40 * MIB, 4, refusal(503, "ServiceUnavailable")),
        (UploadPart, 40 * MIB, 4, refusal(429, "TooManyRequests")),
        (UploadPart, 40 * MIB, 4, refusal(500, "InternalServerError")),
        (UploadPart, 40 * MIB, 2, OciEffect::LoseReply),
        (UploadPart, 40 * MIB, 1, throttle()),
        (
            UploadPart,
            40 * MIB,
            2,
            OciEffect::CutBody { bytes: 5_000_000 },
        ),
        (UploadPart, 40 * MIB, 2, OciEffect::StoreGarbled),
        (UploadPart, 40 * MIB, 1, OciEffect::Misreport),
        (PutObject, 3 * MIB, 1, OciEffect::StoreGarbled),
        (
            PutObject,
            3 * MIB,
            2,
            OciEffect::CutBody { bytes: 1_000_000 },
        ),
        (Create, 40 * MIB, 2, refusal(503, "ServiceUnavailable")),
        (Commit, 40 * MIB, 2, refusal(409, "ConcurrentObjectUpdate")),
        (Commit, 40 * MIB, 1, OciEffect::LoseReply),
        (CreateLink, 40 * MIB, 2, OciEffect::LoseReply),
        (CreateLink, 40 * MIB, 2, refusal(500, "InternalServerError")),
        (PutObject, 3 * MIB, 2, refusal(503, "ServiceUnavailable")),
        (PutObject, 3 * MIB, 1, OciEffect::LoseReply),
    ] {
        let world = World::start().await;
        let sent = world.send(size, HOME).await;
        world.spoil_oci(operation, 0, Some(times), effect.clone());
        let began = Instant::now();
        let delivery = world.transfer(&sent).await;
        let delivery = delivery.unwrap_or_else(|error| panic!("{operation:?} {effect:?}: {error}"));
        if let OciEffect::Throttle { seconds, .. } = effect {
            assert!(
                began.elapsed().as_secs() >= seconds.into(),
                "it came too early"
            );
        }
        let again = world.assert_arrived(&sent, &delivery).await;
        let sent_again = match operation {
            UploadPart => u64::from(times) * PART,
            PutObject => u64::from(times) * size,
            _ => 0,
        };
        assert!(again <= sent_again, "{operation:?} {effect:?}: {again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_noticed_though_the_reply_was_lost() {
    let world = World::start().await;
    let sent = world.send(3 * MIB, HOME).await;
    world.spoil_oci(Operation::PutObject, 0, Some(1), OciEffect::StoreGarbled);
    world.spoil_oci(Operation::PutObject, 0, Some(1), OciEffect::LoseReply);
    let delivery = world.transfer(&sent).await.unwrap();
    let again = world.assert_arrived(&sent, &delivery).await;
    assert!(again <= sent.size, "{again} bytes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_noticed_though_the_reply_tells_no_checksum() {
    use Operation::{PutObject, UploadPart};
    let world = World::start().await;
    let sent = world.send(3 * MIB, HOME).await;
    world.spoil_oci(PutObject, 0, Some(1), OciEffect::StoreGarbled);
    world.spoil_oci(PutObject, 0, None, OciEffect::Withhold);
    let delivery = world.transfer(&sent).await.unwrap();
    world.assert_arrived(&sent, &delivery).await;
    // Those of a part are noticed at the whole.
    let sent = world.send(40 * MIB, HOME).await;
    world.spoil_oci(UploadPart, 0, None, OciEffect::Withhold);
    world.spoil_oci(UploadPart, 1, Some(1), OciEffect::StoreGarbled);
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    let failed = world.attempt(&sent, History::None, &notes, &stop).await;
    assert_eq!(failed.unwrap_err().reason(), "ChecksumMismatch");
    assert_eq!(world.left_by(&sent), (0, 0, 0));
    let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
    world.assert_arrived(&sent, &delivery.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_that_land_after_their_repetition_began_are_noticed() {
    let world = World::with(impatient()).await;
    let sent = world.send(3 * MIB, HOME).await;
    world.spoil_oci(Operation::PutObject, 0, Some(1), OciEffect::StoreGarbled);
    let late = OciEffect::LandLate { millis: 60_000 };
    world.spoil_oci(Operation::PutObject, 0, Some(1), late);
    // The next one waits until the late one has landed, and is refused.
    let wait = OciEffect::Delay { millis: 1000 };
    world.spoil_oci(Operation::PutObject, 1, Some(1), wait);
    let oci = world.sim.oci();
    let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
        let puts = || oci.traffic().requests(Operation::PutObject);
        until("it is put again", || puts() == 2).await;
        oci.land_now();
    });
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert!(again <= 2 * sent.size, "{again} bytes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_beginning_was_lost_is_gone_on_with() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    world.spoil_oci(
        Operation::CreateMultipartUpload,
        0,
        Some(1),
        OciEffect::LoseReply,
    );
    let delivery = world.transfer(&sent).await.unwrap();
    assert_eq!(world.assert_arrived(&sent, &delivery).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_object_storage_refuses_for_good_is_a_reason() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    let mut order = world.order(&sent, History::None);
    order.bucket = "nowhere".parse().unwrap();
    let meter = Arc::new(Meter::start());
    let stop = CancellationToken::new();
    let failed = world
        .engine
        .run(&order, &Notes::default(), &meter, &stop)
        .await;
    let error = failed.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("BucketNotFound", Class::Permanent)
    );
    // Somebody else's object is left alone.
    let sent = world.send(3 * MIB, HOME).await;
    let delivery = world.transfer(&sent).await.unwrap();
    let mut order = world.order(&sent, History::None);
    order.owner = "another".into();
    let error = world
        .engine
        .run(&order, &Notes::default(), &meter, &stop)
        .await
        .unwrap_err();
    assert!(matches!(error, TransferError::ObjectExists), "{error:?}");
    world.assert_arrived(&sent, &delivery).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_service_holds_the_source_back() {
    let world = World::start().await;
    let sent = world.send(100 * MIB, HOME).await;
    world.sim.oci().set_connection_rate(Some(MIB));
    let reading = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.sim.telegram().traffic().file(sent.file_id).bytes
    };
    let fetched = tokio::select! {
        ended = world.transfer(&sent) => panic!("ended early: {ended:?}"),
        fetched = reading => fetched,
    };
    // The window, and what the sockets to Object Storage hold.
    assert!(
        fetched <= 16 * MIB + 3 * 8 * MIB,
        "{fetched} bytes were fetched"
    );
}

/// Somebody who does not wait for long.
fn impatient() -> Nature {
    Nature {
        timeouts: Timeouts {
            request: Duration::from_secs(5),
            stall: Duration::from_secs(2),
            reply: Duration::from_secs(2),
            ..Timeouts::default()
        },
        ..Nature::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_lands_after_its_repetition_is_committed_as_it_is_listed() {
    let world = World::with(impatient()).await;
    let sent = world.send(3 * PART, HOME).await;
    let late = OciEffect::LandLate { millis: 60_000 };
    world.spoil_oci(Operation::UploadPart, 1, Some(1), late);
    // The commit waits until the late part has landed.
    let wait = OciEffect::Delay { millis: 1000 };
    world.spoil_oci(Operation::CommitMultipartUpload, 0, Some(1), wait);
    let oci = world.sim.oci();
    let commits = || oci.traffic().requests(Operation::CommitMultipartUpload);
    let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
        until("a commit is asked for", || commits() == 1).await;
        oci.land_now();
    });
    assert_eq!(world.assert_arrived(&sent, &delivery.unwrap()).await, PART);
    assert_eq!(commits(), 2, "the first named the tag that was replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_carried_out_while_it_is_repeated_is_found() {
    use Operation::CommitMultipartUpload as Commit;
    // A service that looks at the object first, and one that looks at the upload first.
    for answer in [Some(refusal(412, "IfNoneMatchFailed")), None] {
        let world = World::with(impatient()).await;
        let sent = world.send(3 * PART, HOME).await;
        world.spoil_oci(Commit, 0, Some(1), OciEffect::LandLate { millis: 60_000 });
        world.spoil_oci(Commit, 1, Some(1), OciEffect::Delay { millis: 1000 });
        if let Some(answer) = answer {
            world.spoil_oci(Commit, 1, Some(1), answer);
        }
        let oci = world.sim.oci();
        let commits = || oci.traffic().requests(Commit);
        let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
            until("a second commit is asked for", || commits() == 2).await;
            oci.land_now();
        });
        let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
        assert!(again < PART, "{again} bytes again");
        assert_eq!(commits(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_request_makes_late_is_removed() {
    use Operation::{CreateMultipartUpload as Begin, CreatePreauthenticatedRequest as Link};
    for operation in [Begin, Link] {
        let world = World::with(impatient()).await;
        let sent = world.send(3 * PART, HOME).await;
        let late = OciEffect::LandLate { millis: 60_000 };
        world.spoil_oci(operation, 0, Some(1), late);
        let oci = world.sim.oci();
        let (delivery, left) = tokio::join!(world.transfer_once(&sent), async {
            let requests = || oci.traffic().requests(operation);
            until("it is asked for again", || requests() == 2).await;
            oci.land_now();
            until("both are there", || {
                oci.uploads().len() + oci.pars().len() == 2
            })
            .await;
            world.left_by(&sent)
        });
        assert_ne!(
            left,
            (1, 1, 0),
            "{operation:?}: nothing was left for a while"
        );
        let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
        assert!(again < PART, "{again} bytes again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_may_have_left_something_says_so() {
    use Operation::{CreateMultipartUpload as Begin, CreatePreauthenticatedRequest as Link};
    for (operation, effect, in_doubt) in [
        (Begin, OciEffect::LoseReply, false),
        (Link, OciEffect::LoseReply, false),
        // Whether it broke before or after, nobody can tell.
        (Begin, refusal(500, "InternalServerError"), true),
        (Link, refusal(500, "InternalServerError"), true),
    ] {
        let world = World::start().await;
        let sent = world.send(40 * MIB, HOME).await;
        world.spoil_oci(operation, 0, Some(1), effect.clone());
        let order = world.order(&sent, History::None);
        let (notes, meter) = (Notes::default(), Arc::new(Meter::start()));
        let stop = CancellationToken::new();
        let delivery = world.engine.run(&order, &notes, &meter, &stop).await;
        world.assert_arrived(&sent, &delivery.unwrap()).await;
        assert_eq!(meter.is_in_doubt(), in_doubt, "{operation:?} {effect:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_uploads_of_one_file_none_stays() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    // Given a transfer that is about to commit
    let wait = OciEffect::Delay { millis: 10_000 };
    world.spoil_oci(Operation::CommitMultipartUpload, 0, Some(1), wait);
    let oci = world.sim.oci();
    let commits = || oci.traffic().requests(Operation::CommitMultipartUpload);
    // When another that began a second upload is first
    let mut order = world.order(&sent, History::None);
    order.owner = format!("once-{CHANNEL}-{}", sent.message_id);
    let second = async {
        until("the first commits", || commits() == 1).await;
        let meter = Arc::new(Meter::start());
        let (notes, stop) = (Notes::default(), CancellationToken::new());
        world.engine.run(&order, &notes, &meter, &stop).await
    };
    let (first, second) = tokio::join!(world.transfer_once(&sent), second);
    // Then both have the object, each with its link, and neither upload is open
    assert_eq!(first.unwrap().object.etag, second.unwrap().object.etag);
    assert_eq!(world.left_by(&sent), (1, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_whose_place_is_taken_is_not_moved() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    // Given an upload that is open, and somebody else's object in its place
    let gone = refusal(400, "InvalidParameter");
    world.spoil_oci(Operation::CommitMultipartUpload, 0, Some(1), gone);
    world.transfer_once(&sent).await.unwrap_err();
    let oci = world.sim.oci();
    let object = ObjectName::new(oci.uploads()[0].object.clone()).unwrap();
    let (bucket, new) = (
        world.order(&sent, History::None).bucket,
        NewObject::default(),
    );
    let body = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"theirs")) });
    let storage = &world.engine.storage;
    let put = storage.put_object(&bucket, &object, &new, Existing::Keep, 6, body);
    put.await.unwrap();
    world.sim.telegram().reset_traffic();
    // When it is tried with and without knowledge of that upload
    let as_a_worker = world.transfer(&sent).await.unwrap_err();
    let error = world.transfer_once(&sent).await.unwrap_err();
    // Then nothing is read for it, and the upload is not left open where no controller is
    for error in [as_a_worker, error] {
        assert!(matches!(error, TransferError::ObjectExists), "{error:?}");
    }
    let read = world.sim.telegram().traffic().file(sent.file_id).bytes;
    assert_eq!((read, world.left_by(&sent)), (0, (1, 0, 0)));
    assert_eq!(oci.objects()[0].size, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_gone_is_told_from_one_that_is_forbidden() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    let hidden = refusal(404, "NotAuthorizedOrNotFound");
    let wait = OciEffect::Delay { millis: 3000 };
    world.spoil_oci(Operation::CommitMultipartUpload, 0, Some(1), wait);
    world.spoil_oci(Operation::CommitMultipartUpload, 0, Some(1), hidden);
    let oci = world.sim.oci();
    let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
        let commits = || oci.traffic().requests(Operation::CommitMultipartUpload);
        until("a commit is asked for", || commits() == 1).await;
        assert!(oci.expire_upload(&oci.uploads()[0].upload_id));
    });
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert!((sent.size..sent.size + PART).contains(&again), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_is_sent_again() {
    let world = World::with(impatient()).await;
    let sent = world.send(40 * MIB, HOME).await;
    let stall = OciEffect::StallBody { bytes: 3_000_000 };
    world.spoil_oci(Operation::UploadPart, 0, Some(2), stall);
    let delivery = world.transfer(&sent).await.unwrap();
    let again = world.assert_arrived(&sent, &delivery).await;
    assert!(again <= 2 * PART, "{again} bytes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_aborted_under_way_begins_anew() {
    let world = World::start().await;
    let sent = world.send(60 * MIB, HOME).await;
    world.set_telegram_rate(Some(8 * MIB));
    let (delivery, ()) = tokio::join!(world.transfer(&sent), async {
        until("a part is stored", || world.stored(&sent) >= PART).await;
        let oci = world.sim.oci();
        assert!(oci.expire_upload(&oci.uploads()[0].upload_id));
        world.set_telegram_rate(None);
    });
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert!(again > 0 && again <= sent.size, "{again} bytes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_aborted_between_attempts_begins_anew() {
    let world = World::start().await;
    let sent = world.send(60 * MIB, HOME).await;
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    let gone = refusal(400, "InvalidParameter");
    world.spoil_oci(Operation::CommitMultipartUpload, 0, Some(1), gone);
    let failed = world.attempt(&sent, History::None, &notes, &stop).await;
    assert_eq!(failed.unwrap_err().class(), Class::Permanent);
    let oci = world.sim.oci();
    assert!(oci.expire_upload(&oci.uploads()[0].upload_id));
    let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert_eq!(again, sent.size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_disabled_under_way_is_a_reason_and_its_return_goes_on() {
    let world = World::start().await;
    let sent = world.send(60 * MIB, HOME).await;
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    let config = world.sim.oci().client_config();
    let key = format!("{}/{}/{}", config.tenancy, config.user, config.fingerprint);
    world.set_telegram_rate(Some(8 * MIB));
    let (failed, ()) = tokio::join!(world.attempt(&sent, History::None, &notes, &stop), async {
        until("a part is stored", || world.stored(&sent) >= PART).await;
        world.sim.oci().disable_keys(&[&key]);
    });
    let error = failed.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("NotAuthenticated", Class::Permanent)
    );
    world.sim.oci().disable_keys(&[]);
    world.set_telegram_rate(None);
    let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert!(again <= 3 * PART, "{again} bytes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rotated_under_way_is_taken_up() {
    let world = World::start().await;
    let config = world.sim.oci().client_config();
    let profile = world.write_profile(&config);
    let credentials = Credentials::from_profile(&profile, "DEFAULT");
    let engine = Engine {
        storage: storage(&config, Timeouts::default(), credentials.await.unwrap()),
        ..world.engine.clone()
    };
    let sent = world.send(8 * PART, HOME).await;
    let (order, notes) = (world.order(&sent, History::None), Notes::default());
    let (meter, stop) = (Arc::new(Meter::start()), CancellationToken::new());
    world.set_telegram_rate(Some(8 * MIB));
    let (delivery, ()) = tokio::join!(engine.run(&order, &notes, &meter, &stop), async {
        until("a part is stored", || world.stored(&sent) >= PART).await;
        let new = another_key(&world, &config);
        world.write_profile(&new);
        let old = format!("{}/{}/{}", config.tenancy, config.user, config.fingerprint);
        world.sim.oci().disable_keys(&[&old]);
        world.set_telegram_rate(None);
    });
    let again = world.assert_arrived(&sent, &delivery.unwrap()).await;
    assert!(again <= 3 * PART, "{again} bytes again");
}

/// A second key of the same user, which Object Storage knows from now on.
fn another_key(world: &World, config: &ClientConfig) -> ClientConfig {
    let pem = |kind: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    };
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let new = ClientConfig {
        fingerprint: ["ab"; 16].join(":"),
        private_key: pem("PRIVATE KEY", private.as_ref()),
        ..config.clone()
    };
    let id = format!("{}/{}/{}", new.tenancy, new.user, new.fingerprint);
    let public = pem("PUBLIC KEY", public.as_ref());
    world.sim.oci().register_key(&id, &public).unwrap();
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_nobody_answers_for_is_a_reason() {
    let world = World::start().await;
    let sent = world.send(40 * MIB, HOME).await;
    let mut config = world.sim.oci().client_config();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    config.endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let engine = Engine {
        storage: storage(&config, Timeouts::default(), credentials(&config)),
        ..world.engine.clone()
    };
    let (order, notes) = (world.order(&sent, History::None), Notes::default());
    let (meter, stop) = (Arc::new(Meter::start()), CancellationToken::new());
    let error = engine.run(&order, &notes, &meter, &stop).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("StorageUnreachable", Class::Transient)
    );
    // Nothing was read for it.
    let read = world.sim.telegram().traffic().file(sent.file_id);
    assert_eq!((read.bytes, world.left_by(&sent)), (0, (0, 0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_given_a_wrong_part_is_given_up() {
    let world = World::start().await;
    let sent = world.send(60 * MIB, HOME).await;
    let (notes, stop) = (Notes::default(), CancellationToken::new());
    world.spoil_oci(Operation::UploadPart, 2, None, OciEffect::StoreGarbled);
    let failed = world.attempt(&sent, History::None, &notes, &stop).await;
    let error = failed.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        ("ChecksumMismatch", Class::Transient)
    );
    assert_eq!(world.left_by(&sent), (0, 0, 0));
    world.sim.oci().clear_faults();
    let delivery = world.attempt(&sent, notes.history(), &notes, &stop).await;
    world.assert_arrived(&sent, &delivery.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_last_are_reasons() {
    use Operation::{CreateMultipartUpload as Create, UploadPart};
    for (operation, status, code, class) in [
        (Create, 403, "ReadOnlyBucket", Class::Permanent),
        // A region knows nothing of the buckets of another.
        (Create, 404, "BucketNotFound", Class::Permanent),
        (Create, 404, "NamespaceNotFound", Class::Permanent),
        (Create, 400, "QuotaExceeded", Class::Permanent),
        (UploadPart, 400, "QuotaExceeded", Class::Permanent),
        (UploadPart, 404, "NotAuthorizedOrNotFound", Class::Permanent),
        (UploadPart, 500, "InternalServerError", Class::Transient),
    ] {
        let world = World::start().await;
        let sent = world.send(40 * MIB, HOME).await;
        world.spoil_oci(operation, 0, None, refusal(status, code));
        let error = world.transfer(&sent).await.unwrap_err();
        assert_eq!(error.class(), class, "{error:?}");
        assert!(error.to_string().contains(code), "{error}");
        // What has begun is gone on with by the next attempt, or removed by the controller.
        let uploads = usize::from(operation == UploadPart);
        assert_eq!(world.left_by(&sent), (0, 0, uploads), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_differs_from_object_storages_is_a_reason() {
    for ahead in [600, -600] {
        let world = World::start().await;
        let sent = world.send(3 * MIB, HOME).await;
        world.sim.oci().set_clock_offset(ahead);
        let error = world.transfer(&sent).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            ("NotAuthenticated", Class::Permanent)
        );
        // Ours is off by as much, the other way.
        let text = error.to_string();
        let (_, told) = text.split_once("clock is off by ").unwrap();
        let told: i64 = told.split(' ').next().unwrap().parse().unwrap();
        assert!((told + ahead).abs() < 60, "{text}");
        assert_eq!(world.left_by(&sent), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_gone_already_need_not_be_deleted() {
    let world = World::start().await;
    let sent = world.send(3 * MIB, HOME).await;
    let lost = OciEffect::LoseReply;
    world.spoil_oci(
        Operation::CreatePreauthenticatedRequest,
        0,
        Some(1),
        lost.clone(),
    );
    world.spoil_oci(Operation::DeletePreauthenticatedRequest, 0, Some(1), lost);
    let delivery = world.transfer(&sent).await.unwrap();
    world.assert_arrived(&sent, &delivery).await;
}
