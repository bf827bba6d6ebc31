//! The worker pod's loop: next assignment, transfer, outcome.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use kube::{Client, ResourceExt as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use super::{
    assignments::{Assignments, StopCause, Task},
    contact::{self, ContactLost},
    meter::Meter,
    report::{Reporter, Told},
    transfer::{Delivery, Engine, History, Order, TransferError},
};
use crate::{
    Class,
    api::{self, OutcomeResult, StorageTier, TransferJob, names},
    oci::{self, BucketName, ObjectStorage, ParId},
    queue::Queue,
    telegram::{self, Account, MessageRef, Telegram},
    transfer::Window,
};

/// The first wait after Telegram could not be reached; it doubles up to a minute.
const CONNECT_BACKOFF: Duration = Duration::from_secs(1);

/// What a worker pod runs with.
pub struct WorkerSettings {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// Its slot's account.
    pub account: Account,
    /// The memory of a transfer.
    pub window: Window,
    /// Object Storage.
    pub storage: ObjectStorage,
    /// The bucket of jobs that name none.
    pub bucket: BucketName,
    /// What the names of all objects begin with.
    pub object_prefix: String,
    /// The key under which users' ids go into objects' names.
    pub object_name_key: hmac::Key,
    /// Where live progress is told, if anywhere.
    pub queue: Option<Queue>,
}

/// Why the worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Telegram does not accept the session, for good.
    #[error(transparent)]
    Telegram(#[from] telegram::Error),
    /// The API server has lost sight of this pod, or it of the API server.
    #[error(transparent)]
    Contact(#[from] ContactLost),
}

impl RunError {
    /// Whether the session is at fault, and so every other worker with it.
    pub fn is_session_refused(&self) -> bool {
        matches!(self, Self::Telegram(telegram::Error::SessionRefused { .. }))
    }
}

/// Serves assignments until `stop`.
///
/// # Errors
/// Telegram does not accept the session, or the API server does not know this pod any more.
pub async fn run(
    settings: WorkerSettings,
    client: Client,
    stop: CancellationToken,
) -> Result<(), RunError> {
    // Before anything else: whoever is not known must not use the session.
    tokio::select! {
        biased;
        lost = contact::lost(client.clone()) => Err(lost.into()),
        served = serve_all(settings, client, stop) => served,
    }
}

async fn serve_all(
    settings: WorkerSettings,
    client: Client,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let connected = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        connected = connect(&settings) => connected?,
    };
    let engine = Engine {
        telegram: connected,
        storage: settings.storage.clone(),
        window: settings.window,
    };
    let mut assignments = Assignments::watch(
        client.clone(),
        &settings.namespace,
        settings.pod_uid.clone(),
    );
    info!("ready for work");
    loop {
        let task = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            task = assignments.next() => task,
        };
        let span = info_span!(
            "transfer",
            job = task.job.name_any(),
            attempt = task.assignment.attempt
        );
        serve(&settings, &client, &engine, &mut assignments, &task, &stop)
            .instrument(span)
            .await?;
    }
}

async fn connect(settings: &WorkerSettings) -> Result<Arc<Telegram>, telegram::Error> {
    let mut backoff = CONNECT_BACKOFF;
    loop {
        let connected = Telegram::connect(settings.account.clone()).await;
        let Some((error, pause)) = pause(&connected, backoff) else {
            return connected;
        };
        warn!(%error, seconds = pause.as_secs(), "Telegram cannot be reached; trying again");
        sleep(pause).await;
        backoff = (backoff * 2).min(Duration::from_mins(1));
    }
}

/// For how long to wait before connecting again, and why; `None` if that would be of no use.
fn pause<T>(
    connected: &Result<T, telegram::Error>,
    backoff: Duration,
) -> Option<(&telegram::Error, Duration)> {
    let error = connected.as_ref().err()?;
    match error.class() {
        Class::Permanent => None,
        Class::After(asked) => Some((error, asked.max(backoff))),
        Class::Transient | Class::Interrupted => Some((error, backoff)),
    }
}

/// How a task came to its end.
enum End {
    Finished(Result<Delivery, TransferError>),
    Told(StopCause),
}

/// Runs one task to its outcome.
async fn serve(
    settings: &WorkerSettings,
    client: &Client,
    engine: &Engine,
    assignments: &mut Assignments,
    task: &Task,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    info!("begins");
    let reporter = Reporter::new(
        client.clone(),
        &settings.namespace,
        settings.queue.clone(),
        task,
    );
    let meter = Arc::new(Meter::start());
    let work = async {
        let order = order(settings, &task.job, task.assignment.attempt)?;
        engine.run(&order, &reporter, &meter, stop).await
    };
    let end = tokio::select! {
        biased;
        cause = assignments.stop_cause(task) => End::Told(cause),
        result = work => End::Finished(result),
        never = reporter.follow(&meter) => match never {},
    };
    match end {
        End::Finished(result) => {
            if let Err(error) = &result {
                warn!(%error, reason = error.reason(), "failed");
            }
            let outcome = reporter.outcome(&result);
            let told = reporter.finish(&meter, outcome, result.as_ref().ok()).await;
            match result {
                Ok(delivery) if told == Told::Refused => take_back(settings, &delivery).await,
                Err(TransferError::Telegram(error @ telegram::Error::SessionRefused { .. })) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        End::Told(StopCause::Asked(why)) => {
            info!(why, "stopped");
            let outcome = reporter.ended(OutcomeResult::Stopped, "Stopped", why.to_owned());
            reporter.finish(&meter, outcome, None).await;
        }
        End::Told(StopCause::Lost) => warn!("no longer ours; dropped"),
    }
    Ok(())
}

/// Ends the link of an attempt that was not the last word: nobody will ever be told of it.
async fn take_back(settings: &WorkerSettings, delivery: &Delivery) {
    let bucket = BucketName::new(&delivery.object.bucket);
    let link = ParId::new(delivery.link.id.clone());
    let (Ok(bucket), Ok(link)) = (bucket, link) else {
        return;
    };
    match settings.storage.delete_par(&bucket, &link).await {
        Ok(_) => info!("took the link back"),
        // The controller ends the links of all attempts but the last.
        Err(error) => warn!(%error, "the link could not be taken back"),
    }
}

/// What the job asks for, with what it leaves out filled in.
fn order(settings: &WorkerSettings, job: &TransferJob, attempt: i32) -> Result<Order, oci::Error> {
    let spec = &job.spec;
    let bucket = spec
        .destination
        .bucket
        .as_deref()
        .map(BucketName::new)
        .transpose()?;
    let owner = job.uid().unwrap_or_default();
    let upload = job.status.as_ref().and_then(|status| status.upload.clone());
    let upload = upload.map(|upload| api::Upload {
        // The attempt in between was killed, and may have stored more.
        verified: upload.verified.filter(|told| told.attempt == attempt - 1),
        ..upload
    });
    Ok(Order {
        message: MessageRef {
            chat_id: spec.source.chat_id,
            message_id: spec.source.message_id,
        },
        file_name: spec.source.file_name.clone(),
        bucket: bucket.unwrap_or_else(|| settings.bucket.clone()),
        placement: names::placement(job, &settings.object_prefix, &settings.object_name_key),
        storage_tier: spec.destination.storage_tier.map(|tier| match tier {
            StorageTier::Standard => oci::StorageTier::Standard,
            StorageTier::InfrequentAccess => oci::StorageTier::InfrequentAccess,
        }),
        link_ttl: spec.link.ttl,
        link_name: names::link_name(&owner, attempt),
        owner,
        history: if attempt > 1 {
            History::Attempted(upload)
        } else {
            History::None
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_again_waits_for_as_long_as_telegram_asks() {
        let refused = telegram::Error::SessionRefused {
            name: "AUTH_KEY_UNKNOWN".into(),
        };
        let secs = Duration::from_secs;
        for (connected, expected) in [
            (Ok(()), None),
            (Err(refused), None),
            (
                Err(telegram::Error::FloodWait(secs(1400))),
                Some(secs(1400)),
            ),
            (Err(telegram::Error::FloodWait(secs(3))), Some(secs(8))),
            (Err(telegram::Error::Timeout(secs(30))), Some(secs(8))),
        ] {
            let waited = pause(&connected, secs(8)).map(|(_, pause)| pause);
            assert_eq!(waited, expected, "{connected:?}");
        }
    }
}
