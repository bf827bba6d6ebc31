//! `telestream transfer`: one transfer here, without a cluster.

use std::{convert::Infallible, io::IsTerminal as _, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    meter::Meter,
    transfer::{Engine, History, Journal, Order, TransferError},
};
use crate::{
    api::{self, file_name::SafeFileName, names},
    oci::{BucketName, ObjectName},
    telegram::MessageRef,
};

/// How often the bar is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// How long a request is waited for whose reply was lost, and which may be carried out yet.
const LANDING_TIME: Duration = Duration::from_secs(5);

/// What is to be moved, as the flags say it.
#[derive(Clone, Debug)]
pub struct TransferRequest {
    /// The message that holds the file.
    pub message: MessageRef,
    /// A name that replaces the file's own.
    pub file_name: Option<String>,
    /// The bucket.
    pub bucket: BucketName,
    /// The object's whole name, or the folder that its file's name is put into.
    pub placement: names::Placement,
    /// How long the link lives.
    pub link_ttl: api::HumanDuration,
}

/// What a transfer ended with, for machines.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferReport {
    /// The whole object.
    pub object: api::StoredObject,
    /// Its link.
    pub link: api::Link,
}

/// Moves one file, showing progress if standard error is a terminal.
///
/// # Errors
/// What ended the transfer. What it stored stays; running it again goes on from there.
pub async fn transfer_once(
    engine: &Engine,
    request: TransferRequest,
    stop: &CancellationToken,
) -> Result<TransferReport, TransferError> {
    // There is no job to be told from: the message makes a name of its own, by which a second
    // run knows what the first has left.
    let owner = format!(
        "once-{}-{}",
        request.message.chat_id, request.message.message_id
    );
    let order = Order {
        message: request.message,
        file_name: request.file_name,
        bucket: request.bucket,
        placement: request.placement,
        storage_tier: None,
        link_ttl: request.link_ttl,
        link_name: names::link_name(&owner, 1),
        owner,
        history: History::Attempted(None),
    };
    let meter = Arc::new(Meter::start());
    let result = tokio::select! {
        result = engine.run(&order, &Forgetful, &meter, stop) => result,
        never = draw(&meter) => match never {},
    };
    let is_taken = matches!(result, Err(TransferError::ObjectExists));
    if is_taken || result.is_ok() && meter.is_in_doubt() {
        let kept = result.as_ref().ok().map(|delivery| &delivery.link);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tidy(engine, &order, &meter, kept) => {}
        }
    }
    let delivery = result?;
    Ok(TransferReport {
        object: delivery.object,
        link: delivery.link,
    })
}

/// There is no later attempt to write anything down for.
struct Forgetful;

impl Journal for Forgetful {
    async fn upload_begun(&self, _: &api::Upload) {}
}

/// Removes what may be left beside the object: nobody else will. If it cannot be removed, the file
/// has arrived all the same.
async fn tidy(engine: &Engine, order: &Order, meter: &Meter, kept: Option<&api::Link>) {
    if meter.is_in_doubt() {
        sleep(LANDING_TIME).await;
    }
    let file = meter.read().map(|reading| SafeFileName::new(&reading.name));
    let object = file.and_then(|file| ObjectName::new(order.placement.object_name(&file)).ok());
    if let Some(object) = object
        && let Err(error) = engine.tidy(order, &object, kept).await
    {
        warn!(%error, "an open upload or a second link may be left");
    }
}

async fn draw(meter: &Meter) -> Infallible {
    if !std::io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let style = "{wide_bar} {percent}%  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
    let bar = ProgressBar::no_length();
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    loop {
        if let Some(reading) = meter.read() {
            bar.set_length(reading.size);
            bar.set_position(reading.bytes);
        }
        sleep(DRAW_INTERVAL).await;
    }
}
