//! One transfer: locate, stream, commit, link.
//!
//! The same code runs in a worker pod and for `telestream transfer`. An attempt may find anything
//! that an earlier one left (an upload with parts, a whole object, a link whose reply was lost)
//! and goes on from there. What is in its way it removes: links of its own name, uploads of its own
//! object that are of another file or hold wrong bytes, and that object if its bytes are wrong. The
//! rest is the controller's, or `once`'s where there is none.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    meter::Meter,
    upload::{Pump, Target, Upload, own_uploads},
};
use crate::{
    Class,
    api::{self, file_name::SafeFileName, names},
    oci::{self, BucketName, NewObject, NewPar, ObjectName, ObjectStorage},
    telegram::{self, MessageRef, RemoteFile, Telegram},
    transfer::{self, Window},
};

/// How long a transfer may go on when told to stop. A pod has 60 s to go
/// (`terminationGracePeriodSeconds` of the chart's worker template): in the first 20 parts under way
/// may end, in 5 more a commit and a link, and in the rest the outcome is written, for which a call
/// of the API server may take 10.
const STOP_PATIENCE: Duration = transfer::STOP_PATIENCE.saturating_add(Duration::from_secs(5));

/// How often a link is made anew when the reply with its URL was lost.
const LINK_TRIES: u32 = 4;

/// Object Storage serves what has no better type as this.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// The two ends of every transfer, connected once.
#[derive(Clone)]
pub struct Engine {
    /// Where files come from.
    pub telegram: Arc<Telegram>,
    /// Where they go.
    pub storage: ObjectStorage,
    /// The memory of a transfer.
    pub window: Window,
}

/// What is to be moved, and where.
#[derive(Clone, Debug)]
pub struct Order {
    /// The message that holds the file.
    pub message: MessageRef,
    /// A name that replaces the file's own.
    pub file_name: Option<String>,
    /// The bucket.
    pub bucket: BucketName,
    /// Where in the bucket. A folder is this order's own: nobody else puts anything there.
    pub placement: names::Placement,
    /// The tier, if not the bucket's own.
    pub storage_tier: Option<oci::StorageTier>,
    /// How long the link lives.
    pub link_ttl: api::HumanDuration,
    /// What the link is called: no other attempt makes one of that name.
    pub link_name: String,
    /// Written into the object, so that it is known again: the UID of the job.
    pub owner: String,
    /// What an earlier attempt may have left.
    pub history: History,
}

/// What an earlier attempt may have left.
#[derive(Clone, Debug, PartialEq)]
pub enum History {
    /// This is the first attempt.
    None,
    /// There was one; this is the upload that it wrote down, if it did.
    Attempted(Option<api::Upload>),
}

/// What a transfer ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The whole object.
    pub object: api::StoredObject,
    /// Its link.
    pub link: api::Link,
}

/// Where a transfer writes down what a later attempt needs.
pub trait Journal: Sync {
    /// A multipart upload has begun.
    fn upload_begun(&self, upload: &api::Upload) -> impl Future<Output = ()> + Send;
}

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Telegram's side.
    #[error(transparent)]
    Telegram(#[from] telegram::Error),
    /// Object Storage's side.
    #[error(transparent)]
    Storage(#[from] oci::Error),
    /// The upload was aborted, or committed by somebody else, again and again.
    #[error("the upload was ended by somebody: {0}")]
    UploadGone(#[source] oci::Error),
    /// Parts that were stored are there no more, or others instead.
    #[error("parts of the upload were replaced by others")]
    PartsChanged,
    /// The object has other bytes than were sent.
    #[error("Object Storage has other bytes than were sent")]
    Checksum,
    /// There is an object of that name already, and it is not ours.
    #[error("there is already another object of that name")]
    ObjectExists,
    /// The link's URL was lost again and again.
    #[error("the link's URL could not be had")]
    LinkLost,
    /// The link would end at a time that cannot be written.
    #[error("the link would live for too long")]
    LinkTtl,
    /// The process is going away.
    #[error("the worker is going away")]
    Stopped,
}

impl TransferError {
    /// What a caller may do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Telegram(error) => error.class(),
            Self::Storage(error) => error.class(),
            Self::UploadGone(_) | Self::PartsChanged | Self::Checksum | Self::LinkLost => {
                Class::Transient
            }
            Self::ObjectExists | Self::LinkTtl => Class::Permanent,
            Self::Stopped => Class::Interrupted,
        }
    }

    /// Whether the session is at fault, and not the job.
    pub fn is_session_refused(&self) -> bool {
        matches!(self, Self::Telegram(telegram::Error::SessionRefused { .. }))
    }

    /// One CamelCase word for metrics, events and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Telegram(error) => error.reason(),
            Self::Storage(error) => error.reason(),
            Self::UploadGone(_) => "UploadGone",
            Self::PartsChanged => "PartsChanged",
            Self::Checksum => "ChecksumMismatch",
            Self::ObjectExists => "ObjectExists",
            Self::LinkLost => "LinkLost",
            Self::LinkTtl => "InvalidLinkTTL",
            Self::Stopped => "WorkerStopped",
        }
    }
}

impl From<transfer::Error<telegram::Error, oci::Error>> for TransferError {
    fn from(error: transfer::Error<telegram::Error, oci::Error>) -> Self {
        match error {
            transfer::Error::Source(error) => Self::Telegram(error),
            transfer::Error::Sink(error) => Self::Storage(error),
            transfer::Error::Checksum(_) => Self::Checksum,
            transfer::Error::Stopped => Self::Stopped,
        }
    }
}

impl Engine {
    /// Moves a file and makes its link. When told to stop, it ends soon, whatever it waits for.
    ///
    /// # Errors
    /// What ended the attempt. What it stored stays for the next.
    pub async fn run(
        &self,
        order: &Order,
        journal: &impl Journal,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<Delivery, TransferError> {
        let patience = async {
            stop.cancelled().await;
            sleep(STOP_PATIENCE).await;
        };
        tokio::select! {
            result = self.transfer(order, journal, meter, stop) => result,
            () = patience => Err(TransferError::Stopped),
        }
    }

    async fn transfer(
        &self,
        order: &Order,
        journal: &impl Journal,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<Delivery, TransferError> {
        let media = match self.telegram.locate(order.message).await {
            // The message is gone; an earlier attempt may have stored its file all the same.
            Err(error) if error.class() == Class::Permanent && order.history != History::None => {
                return self.adopt(order, error, meter).await;
            }
            media => media?,
        };
        let name = SafeFileName::new(order.file_name.as_deref().unwrap_or(&media.name));
        meter.found(name.to_string(), media.size);
        let content_type = content_type(&media.mime_type);
        let target = Target {
            object: ObjectName::new(target_name(order, &name))?,
            size: media.size,
            file_id: media.file_id,
            edited: media.edited,
            new: NewObject {
                content_type: Some(content_type.clone()),
                content_disposition: Some(attachment(&name)),
                storage_tier: order.storage_tier,
                metadata: BTreeMap::from([
                    (names::OBJECT_UID_KEY.to_owned(), order.owner.clone()),
                    (names::OBJECT_FILE_KEY.to_owned(), media.file_id.to_string()),
                ]),
            },
        };
        let file = RemoteFile::open(
            Arc::clone(&self.telegram),
            order.message,
            media,
            self.window.bytes(),
        );
        if target.size == 0 {
            // Nothing is read that could show that there is something after all.
            file.check_end().await?;
        }
        if stop.is_cancelled() {
            return Err(TransferError::Stopped);
        }
        let upload = Upload {
            storage: &self.storage,
            order,
            target: &target,
            pump: Pump::new(file, self.window, meter, stop),
            journal,
        };
        let stored = upload.run().await?;
        let link = self.link(order, &target.object, meter).await?;
        let object = api::StoredObject {
            name: target.object.to_string(),
            bucket: order.bucket.to_string(),
            size: i64::try_from(target.size).unwrap_or(i64::MAX),
            etag: stored.etag.to_string(),
            crc32c: stored.crc32c.map(|crc| crc.to_string()).unwrap_or_default(),
            content_type,
        };
        Ok(Delivery { object, link })
    }

    /// Delivers the whole object that an earlier attempt stored, or fails with `otherwise`.
    async fn adopt(
        &self,
        order: &Order,
        otherwise: telegram::Error,
        meter: &Meter,
    ) -> Result<Delivery, TransferError> {
        let prefix = order.placement.prefix();
        for name in self.storage.list_objects(&order.bucket, prefix).await? {
            if !order.placement.holds(name.as_str()) {
                continue;
            }
            let Some(head) = self.storage.head_object(&order.bucket, &name).await? else {
                continue;
            };
            if head.metadata.get(names::OBJECT_UID_KEY) == Some(&order.owner) {
                let object = api::StoredObject {
                    name: name.to_string(),
                    bucket: order.bucket.to_string(),
                    size: i64::try_from(head.size).unwrap_or(i64::MAX),
                    etag: head.etag.to_string(),
                    crc32c: head.crc32c.map(|crc| crc.to_string()).unwrap_or_default(),
                    content_type: content_type(head.content_type.as_deref().unwrap_or_default()),
                };
                let link = self.link(order, &name, meter).await?;
                return Ok(Delivery { object, link });
            }
        }
        Err(otherwise.into())
    }

    /// Makes the link. Its URL is shown only once: if the reply is lost, what may have been made is
    /// deleted by its name, and another is made.
    async fn link(
        &self,
        order: &Order,
        object: &ObjectName,
        meter: &Meter,
    ) -> Result<api::Link, TransferError> {
        let ttl =
            SignedDuration::try_from(order.link_ttl.get()).map_err(|_| TransferError::LinkTtl)?;
        let expires = Timestamp::now()
            .checked_add(ttl)
            .map_err(|_| TransferError::LinkTtl)?;
        let new = NewPar {
            name: order.link_name.clone(),
            object: object.clone(),
            expires,
        };
        if order.history != History::None {
            // An earlier attempt may have made one of this name, and not have come to tell it.
            self.delete_own_links(order, object, None).await?;
        }
        for _ in 0..LINK_TRIES {
            match self.storage.create_par(&order.bucket, &new).await {
                Ok(par) => {
                    return Ok(api::Link {
                        id: par.id.as_str().to_owned(),
                        url: par.url.expose().to_owned(),
                        expires_at: Time(par.expires),
                        ttl: order.link_ttl,
                    });
                }
                Err(error) if error.is_ambiguous() => {
                    warn!(%error, "the link's URL was lost; making another");
                    if self.delete_own_links(order, object, None).await? == 0 {
                        // It may be made yet.
                        meter.doubt();
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(TransferError::LinkLost)
    }

    /// Removes what requests that got no reply may have left, for whoever has no controller: links
    /// but the one that is `kept`, and uploads, of which none is of use any more.
    ///
    /// # Errors
    /// Object Storage cannot be reached or refuses.
    pub(super) async fn tidy(
        &self,
        order: &Order,
        object: &ObjectName,
        kept: Option<&api::Link>,
    ) -> Result<(), TransferError> {
        let kept = kept.map(|link| link.id.as_str());
        self.delete_own_links(order, object, kept).await?;
        for found in own_uploads(&self.storage, order, object).await? {
            self.storage.abort_multipart_upload(&found.upload).await?;
        }
        Ok(())
    }

    /// Ends the links of this attempt but the one that is `kept`. Returns how many there were.
    async fn delete_own_links(
        &self,
        order: &Order,
        object: &ObjectName,
        kept: Option<&str>,
    ) -> Result<usize, TransferError> {
        let name = object.as_str();
        let mut pars = self.storage.list_pars(&order.bucket, name).await?;
        pars.retain(|par| par.name == order.link_name && Some(par.id.as_str()) != kept);
        for par in &pars {
            self.storage.delete_par(&order.bucket, &par.id).await?;
        }
        Ok(pars.len())
    }
}

/// The name that an earlier attempt chose, or the one that follows from the file's name.
fn target_name(order: &Order, file: &SafeFileName) -> String {
    match &order.history {
        History::Attempted(Some(upload)) if order.placement.holds(&upload.object_name) => {
            upload.object_name.clone()
        }
        _ => order.placement.object_name(file),
    }
}

/// A media type that can stand in a header.
fn content_type(mime_type: &str) -> String {
    let fits = |c: char| c.is_ascii_graphic() || c == ' ';
    let usable = mime_type.contains('/') && mime_type.len() <= 255 && mime_type.chars().all(fits);
    if usable {
        mime_type.to_owned()
    } else {
        DEFAULT_CONTENT_TYPE.to_owned()
    }
}

/// RFC 6266: a browser saves the file under its own name and never renders it.
fn attachment(name: &SafeFileName) -> String {
    let encoded: String = name
        .as_str()
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("attachment; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_gets_the_files_own_name() {
        let header = attachment(&SafeFileName::new("Übersicht 1;2.pdf"));
        assert_eq!(
            header,
            "attachment; filename*=UTF-8''%C3%9Cbersicht%201%3B2.pdf"
        );
    }

    #[test]
    fn a_media_type_that_is_none_becomes_the_default() {
        for (told, served) in [
            ("video/mp4", "video/mp4"),
            ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
            ("", DEFAULT_CONTENT_TYPE),
            ("video", DEFAULT_CONTENT_TYPE),
            ("a/b\r\nX: y", DEFAULT_CONTENT_TYPE),
        ] {
            assert_eq!(content_type(told), served);
        }
    }
}
