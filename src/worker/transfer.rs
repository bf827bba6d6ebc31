//! One transfer: locate, stream, commit, link.
//!
//! The same code runs in a worker pod and for `telestream transfer`. An attempt may find anything
//! that an earlier one left (an upload with parts, a whole object, a link whose reply was lost)
//! and goes on from there; it deletes nothing but links that it made itself.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum_combine};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::meter::Meter;
use crate::{
    Class,
    api::{self, file_name::SafeFileName, names},
    oci::{
        self, BucketName, Crc32c, Etag, Existing, NewObject, NewPar, ObjectName, ObjectStorage,
        PartNumber,
    },
    telegram::{self, MessageRef, RemoteFile, Telegram},
    transfer::{self, Layout, Part, PartBody, Progress, Sink, Source, StoredPart, Window},
};

/// How often a part is tried, and the longest pause in between that is waited out here.
const PART_TRIES: u32 = 6;
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

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
    /// Where in the bucket.
    pub placement: names::Placement,
    /// The tier, if not the bucket's own.
    pub storage_tier: Option<oci::StorageTier>,
    /// How long the link lives.
    pub link_ttl: Duration,
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
            Self::Checksum | Self::LinkLost => Class::Transient,
            Self::ObjectExists | Self::LinkTtl => Class::Permanent,
            Self::Stopped => Class::Interrupted,
        }
    }

    /// One CamelCase word for metrics, events and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Telegram(error) => error.reason(),
            Self::Storage(error) => error.reason(),
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
    /// Moves a file and makes its link.
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
        let media = self.telegram.locate(order.message).await?;
        let name = SafeFileName::new(order.file_name.as_deref().unwrap_or(&media.name));
        meter.found(name.to_string(), media.size);
        let content_type = content_type(&media.mime_type);
        let target = Target {
            object: ObjectName::new(target_name(order, &name))?,
            size: media.size,
            new: NewObject {
                content_type: Some(content_type.clone()),
                content_disposition: Some(attachment(&name)),
                storage_tier: order.storage_tier,
                metadata: BTreeMap::from([(names::OBJECT_UID_KEY.to_owned(), order.owner.clone())]),
            },
        };
        let file = RemoteFile::open(
            Arc::clone(&self.telegram),
            order.message,
            media,
            self.window.bytes(),
        );
        let stored = self
            .store(order, &target, file, journal, meter, stop)
            .await?;
        let link = self.link(order, &target.object).await?;
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

    /// Makes the object whole, or finds that it is.
    async fn store(
        &self,
        order: &Order,
        target: &Target,
        file: RemoteFile,
        journal: &impl Journal,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<Whole, TransferError> {
        if order.history != History::None
            && let Some(whole) = self.adopt(order, target).await?
        {
            info!("an earlier attempt had stored the object whole");
            meter.resumed(target.size);
            return Ok(whole);
        }
        let pump = Pump {
            source: Arc::new(TelegramSource(file)),
            window: self.window,
            meter: Arc::clone(meter),
            stop: stop.clone(),
        };
        let layout = Layout::new(target.size);
        let result = if layout.is_single() {
            self.put(order, target, &pump, layout).await
        } else {
            self.upload(order, target, &pump, layout, journal).await
        };
        match result {
            Err(TransferError::Storage(error)) if may_be_stored(&error) => {
                // The reply was lost, or somebody was first: perhaps it was us.
                let refused = error.code().is_some();
                match self.adopt(order, target).await? {
                    Some(whole) => Ok(whole),
                    None if refused => Err(TransferError::ObjectExists),
                    None => Err(error.into()),
                }
            }
            other => other,
        }
    }

    /// The object, if it is there, ours and whole.
    async fn adopt(&self, order: &Order, target: &Target) -> Result<Option<Whole>, TransferError> {
        let head = self
            .storage
            .head_object(&order.bucket, &target.object)
            .await?;
        Ok(head
            .filter(|head| {
                head.size == target.size
                    && head.metadata.get(names::OBJECT_UID_KEY) == Some(&order.owner)
            })
            .map(|head| Whole {
                etag: head.etag,
                crc32c: head.crc32c,
            }))
    }

    /// A file of at most one part: one request.
    async fn put(
        &self,
        order: &Order,
        target: &Target,
        pump: &Pump,
        layout: Layout,
    ) -> Result<Whole, TransferError> {
        let sink = ObjectSink {
            storage: &self.storage,
            bucket: &order.bucket,
            target,
        };
        let stored = pump.run(&sink, layout.parts().collect()).await?;
        let stored = stored.into_iter().next().ok_or(TransferError::Checksum)?;
        Ok(Whole {
            etag: Etag::new(stored.etag)?,
            crc32c: stored.crc32c.map(Crc32c::new),
        })
    }

    /// A larger file: parts that are not there yet, then the commit.
    async fn upload(
        &self,
        order: &Order,
        target: &Target,
        pump: &Pump,
        fresh: Layout,
        journal: &impl Journal,
    ) -> Result<Whole, TransferError> {
        let Begun {
            upload,
            layout,
            parts: listed,
        } = self.begin_upload(order, target, fresh, journal).await?;
        let (present, missing): (Vec<_>, Vec<_>) = layout.parts().partition(|part| {
            listed
                .get(&part.number)
                .is_some_and(|(size, _)| *size == part.len)
        });
        pump.meter
            .resumed(present.iter().map(|part| part.len).sum());
        let sink = PartSink {
            storage: &self.storage,
            upload: &upload,
        };
        let stored = pump.run(&sink, missing).await?;
        let expected = if present.is_empty() {
            combined_crc(layout, &stored)
        } else {
            None
        };

        let mut etags = BTreeMap::new();
        for part in present {
            etags.insert(part.number, listed[&part.number].1.clone());
        }
        for part in stored {
            etags.insert(part.number, Etag::new(part.etag)?);
        }
        let mut numbered = Vec::with_capacity(etags.len());
        for (number, etag) in &etags {
            numbered.push((PartNumber::new(u32::from(*number))?, etag));
        }
        let excluded = listed
            .keys()
            .filter(|number| !etags.contains_key(number))
            .map(|n| PartNumber::new(u32::from(*n)));
        let excluded = excluded.collect::<Result<Vec<_>, _>>()?;
        let whole = self
            .storage
            .commit_multipart_upload(&upload, numbered, excluded)
            .await?;
        match (expected, whole.crc32c) {
            (Some(expected), Some(crc)) if expected != crc.get() => Err(TransferError::Checksum),
            _ => Ok(Whole {
                etag: whole.etag,
                crc32c: whole.crc32c,
            }),
        }
    }

    /// The upload that an earlier attempt began, with what it has, or a new one.
    async fn begin_upload(
        &self,
        order: &Order,
        target: &Target,
        fresh: Layout,
        journal: &impl Journal,
    ) -> Result<Begun, TransferError> {
        if let Some(begun) = self.resume(order, target, fresh).await? {
            return Ok(begun);
        }
        let upload = match self
            .storage
            .create_multipart_upload(&order.bucket, &target.object, &target.new)
            .await
        {
            Err(error) if error.is_ambiguous() => {
                // It may have begun: go on with that one rather than leave it behind.
                self.find_upload(order, target).await?.ok_or(error)?
            }
            other => other?,
        };
        journal
            .upload_begun(&api::Upload {
                upload_id: upload.id.as_str().to_owned(),
                object_name: target.object.to_string(),
                part_size: i64::try_from(fresh.part_size()).unwrap_or(i64::MAX),
            })
            .await;
        Ok(Begun {
            upload,
            layout: fresh,
            parts: BTreeMap::new(),
        })
    }

    async fn resume(
        &self,
        order: &Order,
        target: &Target,
        fresh: Layout,
    ) -> Result<Option<Begun>, TransferError> {
        let History::Attempted(known) = &order.history else {
            return Ok(None);
        };
        let (upload, layout) = match known
            .as_ref()
            .filter(|known| known.object_name == target.object.as_str())
        {
            Some(known) => {
                let part_size = u64::try_from(known.part_size).unwrap_or_default();
                let Some(layout) = Layout::resume(target.size, part_size) else {
                    return Ok(None);
                };
                let id = oci::UploadId::new(&known.upload_id)?;
                (
                    oci::Upload {
                        bucket: order.bucket.clone(),
                        object: target.object.clone(),
                        id,
                    },
                    layout,
                )
            }
            None => match self.find_upload(order, target).await? {
                Some(upload) => (upload, fresh),
                None => return Ok(None),
            },
        };
        let parts = match self.storage.list_parts(&upload).await {
            Ok(parts) => parts,
            // A lifecycle rule may have aborted it: begin anew.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let parts: BTreeMap<u16, _> = parts
            .into_iter()
            .filter_map(|part| {
                Some((
                    u16::try_from(part.number.get()).ok()?,
                    (part.size, part.etag),
                ))
            })
            .collect();
        info!(parts = parts.len(), "going on with an earlier upload");
        Ok(Some(Begun {
            upload,
            layout,
            parts,
        }))
    }

    async fn find_upload(
        &self,
        order: &Order,
        target: &Target,
    ) -> Result<Option<oci::Upload>, TransferError> {
        let uploads = self
            .storage
            .list_uploads(&order.bucket, target.object.as_str())
            .await?;
        let ours = uploads
            .into_iter()
            .filter(|found| found.upload.object == target.object);
        Ok(ours
            .max_by_key(|found| found.created)
            .map(|found| found.upload))
    }

    /// Makes the link. Its URL is shown only once: if the reply is lost, what may have been made is
    /// deleted by its name, and another is made.
    async fn link(&self, order: &Order, object: &ObjectName) -> Result<api::Link, TransferError> {
        let ttl = SignedDuration::try_from(order.link_ttl).map_err(|_| TransferError::LinkTtl)?;
        let expires = Timestamp::now()
            .checked_add(ttl)
            .map_err(|_| TransferError::LinkTtl)?;
        let new = NewPar {
            name: order.link_name.clone(),
            object: object.clone(),
            expires,
        };
        for _ in 0..LINK_TRIES {
            match self.storage.create_par(&order.bucket, &new).await {
                Ok(par) => {
                    return Ok(api::Link {
                        id: par.id.as_str().to_owned(),
                        url: par.url.expose().to_owned(),
                        expires_at: Time(par.expires),
                    });
                }
                Err(error) if error.is_ambiguous() => {
                    warn!(%error, "the link's URL was lost; making another");
                    self.delete_own_links(order, object).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(TransferError::LinkLost)
    }

    async fn delete_own_links(
        &self,
        order: &Order,
        object: &ObjectName,
    ) -> Result<(), TransferError> {
        for par in self
            .storage
            .list_pars(&order.bucket, object.as_str())
            .await?
        {
            if par.name == order.link_name {
                self.storage.delete_par(&order.bucket, &par.id).await?;
            }
        }
        Ok(())
    }
}

/// The object that is to be.
struct Target {
    object: ObjectName,
    size: u64,
    new: NewObject,
}

/// An object that is whole.
struct Whole {
    etag: Etag,
    crc32c: Option<Crc32c>,
}

/// An upload that is open, and the sizes and tags of the parts it has.
struct Begun {
    upload: oci::Upload,
    layout: Layout,
    parts: BTreeMap<u16, (u64, Etag)>,
}

/// The source and what goes with it, for the engine.
struct Pump {
    source: Arc<TelegramSource>,
    window: Window,
    meter: Arc<Meter>,
    stop: CancellationToken,
}

impl Pump {
    async fn run(
        &self,
        sink: &impl Sink<Error = oci::Error>,
        parts: Vec<Part>,
    ) -> Result<Vec<StoredPart>, TransferError> {
        let progress = Arc::clone(&self.meter) as Arc<dyn Progress>;
        Ok(transfer::run(&self.source, sink, parts, self.window, progress, &self.stop).await?)
    }
}

struct TelegramSource(RemoteFile);

impl Source for TelegramSource {
    type Error = telegram::Error;

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Self::Error> {
        self.0.read(range.start).await
    }
}

/// Stores the only part of a small file as the object itself.
struct ObjectSink<'a> {
    storage: &'a ObjectStorage,
    bucket: &'a BucketName,
    target: &'a Target,
}

impl Sink for ObjectSink<'_> {
    type Error = oci::Error;

    async fn store(&self, part: Part, body: PartBody) -> Result<StoredPart, Self::Error> {
        let Target { object, new, .. } = self.target;
        let stored = self
            .storage
            .put_object(self.bucket, object, new, Existing::Keep, part.len, body)
            .await?;
        Ok(stored_part(part, &stored.etag, stored.crc32c))
    }

    fn again_after(&self, error: &oci::Error, tries: u32) -> Option<Duration> {
        // It may be there after all: then the caller looks.
        (!error.is_ambiguous())
            .then(|| pause(error, tries))
            .flatten()
    }
}

/// Stores parts of an upload.
struct PartSink<'a> {
    storage: &'a ObjectStorage,
    upload: &'a oci::Upload,
}

impl Sink for PartSink<'_> {
    type Error = oci::Error;

    async fn store(&self, part: Part, body: PartBody) -> Result<StoredPart, Self::Error> {
        let number = PartNumber::new(u32::from(part.number))?;
        let stored = self
            .storage
            .upload_part(self.upload, number, part.len, body)
            .await?;
        Ok(stored_part(part, &stored.etag, stored.crc32c))
    }

    fn again_after(&self, error: &oci::Error, tries: u32) -> Option<Duration> {
        // A part that is there after all is replaced.
        pause(error, tries)
    }
}

/// The pause before a part is sent again, longer each time, and at least what the service asks
/// for.
fn pause(error: &oci::Error, tries: u32) -> Option<Duration> {
    let grown = Duration::from_millis(500)
        .saturating_mul(1 << tries.min(10))
        .mul_f64(0.5 + fastrand::f64() / 2.0);
    let pause = match error.class() {
        Class::Transient => grown,
        Class::After(wait) => wait.max(grown),
        Class::Permanent | Class::Interrupted => return None,
    };
    (tries < PART_TRIES && pause <= LONGEST_PAUSE).then_some(pause)
}

fn stored_part(part: Part, etag: &Etag, crc32c: Option<Crc32c>) -> StoredPart {
    StoredPart {
        number: part.number,
        etag: etag.to_string(),
        crc32c: crc32c.map(Crc32c::get),
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

/// Whether the object may be there in spite of this error: the reply was lost, or the condition
/// that nothing is there did not hold.
fn may_be_stored(error: &oci::Error) -> bool {
    error.is_ambiguous() || matches!(error.code(), Some(oci::ServiceCode::IfNoneMatchFailed))
}

/// CRC32C of the whole file, if every part has one.
fn combined_crc(layout: Layout, stored: &[StoredPart]) -> Option<u32> {
    let parts: BTreeMap<_, _> = stored
        .iter()
        .map(|part| (part.number, part.crc32c))
        .collect();
    let combined = layout.parts().try_fold(0_u64, |whole, part| {
        let crc = u64::from((*parts.get(&part.number)?)?);
        Some(if part.number == 1 {
            crc
        } else {
            checksum_combine(CrcAlgorithm::Crc32Iscsi, whole, crc, part.len)
        })
    })?;
    u32::try_from(combined).ok()
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
#[allow(clippy::cast_possible_truncation, reason = "patterns of bytes")]
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

    #[test]
    fn the_checksum_of_the_whole_follows_from_the_parts() {
        let layout = Layout::resume(1_200_000, 524_288).unwrap();
        let bytes: Vec<u8> = (0..1_200_000_u32).map(|at| (at / 3) as u8).collect();
        let crc = |bytes: &[u8]| crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32;
        let parts: Vec<_> = layout
            .parts()
            .map(|part| {
                let content = &bytes[part.offset as usize..(part.offset + part.len) as usize];
                StoredPart {
                    number: part.number,
                    etag: String::new(),
                    crc32c: Some(crc(content)),
                }
            })
            .collect();
        assert_eq!(combined_crc(layout, &parts), Some(crc(&bytes)));
        assert_eq!(combined_crc(layout, &parts[1..]), None);
    }
}
