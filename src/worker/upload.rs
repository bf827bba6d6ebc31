//! From a file to a whole object: one request for a small file, a multipart upload for a larger
//! one, resumed if an earlier attempt began it.
//!
//! The parts that Object Storage lists are the truth about what is there. It lists no checksums,
//! so what an attempt has compared is written down at its end, beside the upload's id, for the
//! next one; of an attempt that was killed, the parts are taken as they are. An object is ours if
//! it carries the job's UID and the id of the very file that was asked for.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    meter::Meter,
    transfer::{History, Journal, Order, TransferError},
};
use crate::{
    Class,
    api::{self, names},
    oci::{
        self, BucketName, Crc32c, Etag, Existing, NewObject, ObjectName, ObjectStorage, PartNumber,
        ServiceCode,
    },
    telegram::{self, RemoteFile},
    transfer::{
        self, Layout, Part, PartBody, Progress, Sink, Source, StoredPart, Verified, Window,
    },
};

/// How often a part is tried, and the longest pause in between that is waited out here.
const PART_TRIES: u32 = 6;
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How often an upload is begun: a lifecycle rule may abort one that is under way.
const UPLOAD_TRIES: u32 = 3;

/// How often a commit is tried whose parts were replaced meanwhile.
const COMMIT_TRIES: u32 = 3;

/// What is said of an object that was delivered all the same.
const UNCOMPARED: &str = "Object Storage tells no checksum of the object, so none was compared";

/// By how much the clocks of Telegram and Object Storage may differ.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// The object that is to be.
pub(super) struct Target {
    /// Its name.
    pub object: ObjectName,
    /// Its size in bytes.
    pub size: u64,
    /// Telegram's id of the file.
    pub file_id: i64,
    /// When its message was edited last: before that it may have held another file.
    pub edited: Option<Timestamp>,
    /// What it is stored with.
    pub new: NewObject,
}

/// An object that is whole.
pub(super) struct Whole {
    /// Its entity tag.
    pub etag: Etag,
    /// CRC32C of its content, as Object Storage computed it.
    pub crc32c: Option<Crc32c>,
}

/// What is there under the object's name.
enum Found {
    Nothing,
    /// The object, whole.
    Ours(Whole),
    /// An object of somebody else, or of another file.
    Others,
}

/// The making of one object.
pub(super) struct Upload<'a, J> {
    pub storage: &'a ObjectStorage,
    pub order: &'a Order,
    pub target: &'a Target,
    pub pump: Pump,
    pub journal: &'a J,
}

/// An upload that is open, and the parts it has.
struct Begun {
    upload: oci::Upload,
    layout: Layout,
    parts: Parts,
    /// The same parts, if their checksums are known.
    verified: Option<Verified>,
}

/// Size and tag by part number.
type Parts = BTreeMap<u16, (u64, Etag)>;

impl<J: Journal> Upload<'_, J> {
    /// Makes the object whole, or finds that it is.
    pub async fn run(&self) -> Result<Whole, TransferError> {
        let layout = Layout::new(self.target.size);
        let mut history = self.order.history.clone();
        // A larger file is not moved in vain if its place is taken.
        if (history != History::None || !layout.is_single())
            && let Some(whole) = self.adopt().await?
        {
            info!("an earlier attempt had stored the object whole");
            self.pump.meter.resumed(self.target.size);
            return Ok(whole);
        }
        if layout.is_single() {
            return self.put(layout).await;
        }
        let mut tries = 1;
        loop {
            match self.multipart(layout, &history).await {
                Err(TransferError::UploadGone(error)) if tries < UPLOAD_TRIES => {
                    // Its commit may have been what ended it.
                    if let Some(whole) = self.adopt().await? {
                        return Ok(whole);
                    }
                    warn!(%error, "the upload was aborted by somebody; beginning anew");
                    self.pump.meter.begun_anew();
                    history = History::None;
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// The object, if it is there, ours and whole. Somebody else's is left alone.
    async fn adopt(&self) -> Result<Option<Whole>, TransferError> {
        match find(self.storage, &self.order.bucket, self.target).await? {
            Found::Nothing => Ok(None),
            Found::Ours(whole) => Ok(Some(whole)),
            Found::Others => Err(TransferError::ObjectExists),
        }
    }

    /// The object after a commit that may have made it whole. None if it may be tried again, which
    /// does no harm: whichever comes second is refused.
    async fn settle(&self, error: oci::Error, tries: u32) -> Result<Option<Whole>, TransferError> {
        if let Some(whole) = self.adopt().await? {
            return Ok(Some(whole));
        }
        if is_taken(&error) {
            return Err(TransferError::ObjectExists);
        }
        let pause = pause(&error, tries).ok_or(error)?;
        sleep(pause).await;
        Ok(None)
    }

    /// A file of at most one part: one request.
    async fn put(&self, layout: Layout) -> Result<Whole, TransferError> {
        let sink = ObjectSink {
            storage: self.storage,
            order: self.order,
            target: self.target,
        };
        match self.pump.run(&sink, layout.parts().collect()).await {
            Ok(stored) => {
                let stored = stored.into_iter().next().ok_or(TransferError::Checksum)?;
                Ok(Whole {
                    etag: Etag::new(stored.etag)?,
                    crc32c: stored.crc32c.map(Crc32c::new),
                })
            }
            Err(TransferError::Storage(error)) if is_taken(&error) => {
                Err(TransferError::ObjectExists)
            }
            Err(error) => Err(error),
        }
    }

    /// A larger file: an upload that is gone on with, or a new one.
    async fn multipart(&self, fresh: Layout, history: &History) -> Result<Whole, TransferError> {
        let begun = self.begin(fresh, history).await?;
        let upload = begun.upload.clone();
        match self.complete(begun).await {
            Err(TransferError::Storage(error)) if self.is_gone(&upload, &error).await => {
                Err(TransferError::UploadGone(error))
            }
            result => result,
        }
    }

    /// Stores the parts that are not there yet, and commits them.
    async fn complete(&self, begun: Begun) -> Result<Whole, TransferError> {
        let Begun {
            upload,
            layout,
            parts: mut listed,
            mut verified,
        } = begun;
        let journalled = self.journalled(&upload, layout);
        self.pump.meter.uploading(journalled, verified.clone());
        let (present, missing): (Vec<_>, Vec<_>) =
            layout.parts().partition(|part| has(&listed, *part));
        self.pump
            .meter
            .resumed(present.iter().map(|part| part.len).sum());
        let sink = PartSink {
            storage: self.storage,
            upload: &upload,
        };
        let stored = match self.pump.run(&sink, missing).await {
            Err(TransferError::Checksum) => {
                // It holds a part that is wrong, which only its size would tell another attempt.
                self.abort(&upload).await?;
                self.pump.meter.begun_anew();
                return Err(TransferError::Checksum);
            }
            stored => stored?,
        };
        for part in stored {
            if let (Some(verified), Some(crc32c)) = (&mut verified, part.crc32c) {
                verified.add(part.number, crc32c);
            }
            let size = layout.part(part.number).len;
            listed.insert(part.number, (size, Etag::new(part.etag)?));
        }
        let whole = self.commit(&upload, layout, listed).await?;
        let expected = verified.and_then(|verified| verified.whole());
        if expected.is_none() {
            info!(
                "the object has parts of an attempt that was killed: not all checksums are known"
            );
        }
        if whole.crc32c.is_none() {
            warn!(UNCOMPARED);
        }
        match (expected, whole.crc32c) {
            (Some(expected), Some(crc)) if expected != crc.get() => {
                self.discard().await?;
                Err(TransferError::Checksum)
            }
            _ => Ok(whole),
        }
    }

    /// Commits the parts. One whose reply was lost and that landed after its repetition has
    /// another tag than we know: then those that are listed count.
    async fn commit(
        &self,
        upload: &oci::Upload,
        layout: Layout,
        mut parts: Parts,
    ) -> Result<Whole, TransferError> {
        let mut tries = 1;
        loop {
            if !layout.parts().all(|part| has(&parts, part)) {
                return Err(TransferError::PartsChanged);
            }
            let (wanted, excluded): (Vec<_>, Vec<_>) = parts
                .iter()
                .partition(|(number, _)| **number <= layout.count());
            let numbered = wanted
                .into_iter()
                .map(|(number, (_, etag))| Ok((PartNumber::new(u32::from(*number))?, etag)))
                .collect::<Result<Vec<_>, oci::Error>>()?;
            let excluded = excluded
                .into_iter()
                .map(|(number, _)| PartNumber::new(u32::from(*number)))
                .collect::<Result<Vec<_>, _>>()?;
            let committed = self
                .storage
                .commit_multipart_upload(upload, numbered, excluded)
                .await;
            match committed {
                Ok(whole) => {
                    return Ok(Whole {
                        etag: whole.etag,
                        crc32c: whole.crc32c,
                    });
                }
                Err(error)
                    if error.code() == Some(&ServiceCode::InvalidUploadPart)
                        && tries < COMMIT_TRIES =>
                {
                    warn!("a part was replaced meanwhile; committing what is listed");
                    parts = self.list(upload).await?;
                    tries += 1;
                }
                Err(error) if may_be_stored(&error) => {
                    if let Some(whole) = self.settle(error, tries).await? {
                        // It may have come from another upload.
                        self.pump.meter.doubt();
                        return Ok(whole);
                    }
                    tries += 1;
                }
                Err(error) if self.is_gone(upload, &error).await => {
                    // A try before may have been carried out after we looked.
                    let whole = self.adopt().await?;
                    return whole.ok_or(TransferError::UploadGone(error));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The upload that an earlier attempt began, with what it has, or a new one.
    async fn begin(&self, fresh: Layout, history: &History) -> Result<Begun, TransferError> {
        if let History::Attempted(known) = history
            && let Some(begun) = self.resume(fresh, known.as_ref()).await?
        {
            return Ok(begun);
        }
        let upload = self.create().await?;
        let journalled = self.journalled(&upload, fresh);
        self.journal.upload_begun(&journalled).await;
        Ok(Begun {
            upload,
            layout: fresh,
            parts: Parts::new(),
            verified: Some(Verified::none(fresh)),
        })
    }

    /// What a later attempt needs to know of an upload.
    fn journalled(&self, upload: &oci::Upload, layout: Layout) -> api::Upload {
        api::Upload {
            upload_id: upload.id.as_str().to_owned(),
            object_name: self.target.object.to_string(),
            part_size: i64::try_from(layout.part_size()).unwrap_or(i64::MAX),
            file_id: self.target.file_id,
            verified: None,
        }
    }

    /// A new upload. One whose reply was lost may have begun: it is gone on with rather than left
    /// behind.
    async fn create(&self) -> Result<oci::Upload, TransferError> {
        let Target { object, new, .. } = self.target;
        let bucket = &self.order.bucket;
        let mut tries = 1;
        loop {
            let created = self
                .storage
                .create_multipart_upload(bucket, object, new)
                .await;
            match created {
                Err(error) if error.is_ambiguous() => {
                    for found in self.own_uploads().await? {
                        if self.list(&found.upload).await?.is_empty() {
                            return Ok(found.upload);
                        }
                    }
                    // It may begin yet.
                    self.pump.meter.doubt();
                    let pause = pause(&error, tries).ok_or(error)?;
                    sleep(pause).await;
                    tries += 1;
                }
                created => return Ok(created?),
            }
        }
    }

    async fn resume(
        &self,
        fresh: Layout,
        known: Option<&api::Upload>,
    ) -> Result<Option<Begun>, TransferError> {
        let found = match known {
            Some(known) => self.known(known).await?,
            None => self.find().await?.map(|upload| (upload, fresh)),
        };
        let Some((upload, layout)) = found else {
            return Ok(None);
        };
        let mut parts = match self.list(&upload).await {
            Ok(parts) => parts,
            // A lifecycle rule may have aborted it: begin anew.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        info!(parts = parts.len(), "going on with an earlier upload");
        let told = known.and_then(|known| known.verified.as_ref());
        let verified = told.and_then(|told| verified(layout, told, &parts));
        if let Some(verified) = &verified {
            // Others may have been found wrong, or not have been looked at: they are stored again.
            parts.retain(|number, _| *number > layout.count() || verified.has(*number));
        }
        let is_empty = !layout.parts().any(|part| has(&parts, part));
        Ok(Some(Begun {
            upload,
            layout,
            parts,
            verified: verified.or(is_empty.then(|| Verified::none(layout))),
        }))
    }

    /// The upload that was written down, if it is of this very object and file. Otherwise the
    /// message was edited, and it is aborted.
    async fn known(
        &self,
        known: &api::Upload,
    ) -> Result<Option<(oci::Upload, Layout)>, TransferError> {
        let Target {
            object,
            size,
            file_id,
            ..
        } = self.target;
        let upload = oci::Upload {
            bucket: self.order.bucket.clone(),
            object: ObjectName::new(&known.object_name)?,
            id: oci::UploadId::new(&known.upload_id)?,
        };
        let part_size = u64::try_from(known.part_size).unwrap_or_default();
        let is_of_this = upload.object == *object && known.file_id == *file_id;
        match Layout::resume(*size, part_size) {
            Some(layout) if is_of_this => Ok(Some((upload, layout))),
            _ => {
                warn!("an earlier attempt's upload is of another file; it is aborted");
                self.abort(&upload).await?;
                Ok(None)
            }
        }
    }

    /// The last upload of that name, if the message held this file by then. All others of that
    /// name are of no use to anybody, and aborted.
    async fn find(&self) -> Result<Option<oci::Upload>, TransferError> {
        let is_of_this_file = |created: Option<Timestamp>| match (self.target.edited, created) {
            (None, _) => true,
            (Some(edited), Some(created)) => created.duration_since(edited) > CLOCK_MARGIN,
            (Some(_), None) => false,
        };
        let mut last = None;
        for found in self.own_uploads().await? {
            if last.is_none() && is_of_this_file(found.created) {
                last = Some(found.upload);
            } else {
                self.abort(&found.upload).await?;
            }
        }
        Ok(last)
    }

    /// Gives an upload up, unless it is no more.
    async fn abort(&self, upload: &oci::Upload) -> Result<(), TransferError> {
        match self.storage.abort_multipart_upload(upload).await {
            Err(error) if !self.is_gone(upload, &error).await => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether an error means that the upload is no more, and not the bucket. What may as well mean
    /// a missing permission is settled by what is listed.
    async fn is_gone(&self, upload: &oci::Upload, error: &oci::Error) -> bool {
        if !error.is_not_found() {
            return false;
        }
        match error.code() {
            Some(ServiceCode::BucketNotFound | ServiceCode::NamespaceNotFound) => false,
            Some(ServiceCode::NotAuthorizedOrNotFound) => {
                let name = upload.object.as_str();
                let listed = self.storage.list_uploads(&upload.bucket, name).await;
                listed.is_ok_and(|listed| listed.iter().all(|found| found.upload != *upload))
            }
            _ => true,
        }
    }

    async fn own_uploads(&self) -> Result<Vec<oci::UploadSummary>, oci::Error> {
        own_uploads(self.storage, self.order, &self.target.object).await
    }

    async fn list(&self, upload: &oci::Upload) -> Result<Parts, oci::Error> {
        let parts = self.storage.list_parts(upload).await?;
        let by_number = |part: oci::PartSummary| {
            let number = u16::try_from(part.number.get()).ok()?;
            Some((number, (part.size, part.etag)))
        };
        Ok(parts.into_iter().filter_map(by_number).collect())
    }

    /// Removes an object of ours that has other bytes than were sent.
    async fn discard(&self) -> Result<(), TransferError> {
        let Target { object, .. } = self.target;
        self.storage
            .delete_object(&self.order.bucket, object)
            .await?;
        Ok(())
    }
}

/// Open uploads that can only be of this order, the last one first: none if somebody else may have
/// been told the same name.
pub(super) async fn own_uploads(
    storage: &ObjectStorage,
    order: &Order,
    object: &ObjectName,
) -> Result<Vec<oci::UploadSummary>, oci::Error> {
    let names::Placement::Folder(_) = order.placement else {
        return Ok(Vec::new());
    };
    let mut uploads = storage.list_uploads(&order.bucket, object.as_str()).await?;
    uploads.retain(|found| found.upload.object == *object);
    uploads.sort_by_key(|found| std::cmp::Reverse(found.created));
    Ok(uploads)
}

/// The source and what goes with it, for the engine.
pub(super) struct Pump {
    source: Arc<TelegramSource>,
    window: Window,
    pub meter: Arc<Meter>,
    stop: CancellationToken,
}

impl Pump {
    /// Reads from `file`, tells `meter`, and ends early at `stop`.
    pub fn new(
        file: RemoteFile,
        window: Window,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            source: Arc::new(TelegramSource(file)),
            window,
            meter: Arc::clone(meter),
            stop: stop.clone(),
        }
    }

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
    order: &'a Order,
    target: &'a Target,
}

impl Sink for ObjectSink<'_> {
    type Error = oci::Error;

    async fn store(&self, part: Part, body: PartBody) -> Result<StoredPart, Self::Error> {
        let Target { object, new, .. } = self.target;
        let bucket = &self.order.bucket;
        let put = self
            .storage
            .put_object(bucket, object, new, Existing::Keep, part.len, body);
        match put.await {
            Ok(stored) if stored.crc32c.is_some() => {
                Ok(stored_part(part, &stored.etag, stored.crc32c))
            }
            Ok(stored) => {
                let crc32c = match find(self.storage, bucket, self.target).await? {
                    Found::Ours(whole) => whole.crc32c,
                    Found::Nothing | Found::Others => None,
                };
                if crc32c.is_none() {
                    warn!(UNCOMPARED);
                }
                Ok(stored_part(part, &stored.etag, crc32c))
            }
            // What is there is compared like what is told at once.
            Err(error) if may_be_stored(&error) => {
                match find(self.storage, bucket, self.target).await? {
                    Found::Ours(whole) => Ok(stored_part(part, &whole.etag, whole.crc32c)),
                    Found::Nothing | Found::Others => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn discard(&self, _: Part) -> Result<(), Self::Error> {
        let Target { object, .. } = self.target;
        let removed = self.storage.delete_object(&self.order.bucket, object).await;
        removed.map(drop)
    }

    fn again_after(&self, error: &oci::Error, tries: u32) -> Option<Duration> {
        // If it is there after all, the next try is refused and finds it.
        pause(error, tries)
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

    async fn discard(&self, _: Part) -> Result<(), Self::Error> {
        // The next try replaces it.
        Ok(())
    }

    fn again_after(&self, error: &oci::Error, tries: u32) -> Option<Duration> {
        // A part that is there after all is replaced.
        pause(error, tries)
    }
}

/// The pause before a part is sent again, longer each time, and at least what the service asks
/// for.
fn pause(error: &oci::Error, tries: u32) -> Option<Duration> {
    let grown = Duration::from_millis(250)
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

fn has(parts: &Parts, part: Part) -> bool {
    parts
        .get(&part.number)
        .is_some_and(|(size, _)| *size == part.len)
}

/// What an earlier attempt knew, if the parts that it is of are still there.
fn verified(layout: Layout, told: &api::VerifiedParts, listed: &Parts) -> Option<Verified> {
    let crc32c: Crc32c = told.crc32c.parse().ok()?;
    let missing = told.missing.iter().copied();
    let verified = Verified::of(layout, told.through, missing, crc32c.get())?;
    let are_listed = verified.parts().all(|part| has(listed, part));
    are_listed.then_some(verified)
}

/// Whether the condition that nothing is there did not hold.
fn is_taken(error: &oci::Error) -> bool {
    error.code() == Some(&ServiceCode::IfNoneMatchFailed)
}

/// Whether the object may be there in spite of this error: the reply was lost, or somebody was
/// first, which may have been ourselves.
fn may_be_stored(error: &oci::Error) -> bool {
    error.is_ambiguous() || is_taken(error)
}

/// Looks at the object.
async fn find(storage: &ObjectStorage, bucket: &BucketName, target: &Target) -> oci::Result<Found> {
    let Some(head) = storage.head_object(bucket, &target.object).await? else {
        return Ok(Found::Nothing);
    };
    let mut ours = target.new.metadata.iter();
    let is_ours =
        head.size == target.size && ours.all(|(key, value)| head.metadata.get(key) == Some(value));
    if !is_ours {
        return Ok(Found::Others);
    }
    Ok(Found::Ours(Whole {
        etag: head.etag,
        crc32c: head.crc32c,
    }))
}
