//! Bytes on disk: one file for each body received, never joined and never rewritten.
//!
//! An object is a list of such files, so a commit copies nothing. A body is written and hashed on
//! a blocking thread while it arrives, through a bounded channel; memory does not grow with it. A
//! file is removed when the last holder of its [`Extent`] lets go after it was condemned, so a
//! download in progress outlives the deletion of its object.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;
use tokio::task;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::checksum::{Algorithm, Digests, Hasher};
use super::error::ApiError;
use super::md5_lanes::Md5Lanes;
use super::names;
use super::options::Keeping;
use super::request::BODY_TIMEOUT;

/// Frames of a body that may wait for the disk; hyper's frames have at most about 400 KiB.
const FRAMES_WAITING: usize = 2;
/// How much of a file is read at once.
const READ_SIZE: usize = 256 << 10;

/// The folder of the data files.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    dir: Arc<Path>,
    keeping: Keeping,
    lanes: Arc<Md5Lanes>,
}

/// One data file that the tables refer to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Extent {
    blob: String,
    pub(super) length: u64,
    #[serde(skip)]
    condemned: OnceLock<PathBuf>,
}

impl Extent {
    /// Whether its bytes were forgotten as they came.
    pub(super) fn is_forgotten(&self) -> bool {
        self.blob.is_empty()
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        if let Some(path) = self.condemned.get() {
            remove(path);
        }
    }
}

/// A body that is on disk but in no table yet; dropped before it is kept, it leaves nothing.
#[derive(Debug)]
pub(super) struct Received {
    file: Provisional,
    pub(super) digests: Digests,
}

impl Received {
    /// Hands the file over to the tables.
    pub(super) fn keep(self) -> Arc<Extent> {
        let length = self.file.length;
        Arc::new(Extent {
            blob: self.file.keep(),
            length,
            condemned: OnceLock::new(),
        })
    }

    /// Bytes received.
    pub(super) fn length(&self) -> u64 {
        self.file.length
    }
}

#[derive(Debug)]
struct Provisional {
    path: PathBuf,
    blob: String,
    length: u64,
    kept: bool,
}

impl Provisional {
    fn new(dir: &Path, blob: String, length: u64) -> Self {
        Self {
            path: dir.join(&blob),
            blob,
            length,
            kept: false,
        }
    }

    /// One without a file.
    fn forgotten(length: u64) -> Self {
        Self {
            path: PathBuf::new(),
            blob: String::new(),
            length,
            kept: true,
        }
    }

    fn create(&self) -> io::Result<Option<File>> {
        if self.blob.is_empty() {
            return Ok(None);
        }
        File::create_new(&self.path).map(Some)
    }

    fn keep(mut self) -> String {
        self.kept = true;
        std::mem::take(&mut self.blob)
    }
}

impl Drop for Provisional {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "a data file stays behind");
        }
        _ => {}
    }
}

impl Blobs {
    pub(super) fn open(dir: &Path, keeping: Keeping) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.into(),
            keeping,
            lanes: Arc::new(Md5Lanes::start()?),
        })
    }

    /// Has the file of `extent` removed once nobody reads it any more.
    pub(super) fn condemn(&self, extent: &Extent) {
        if extent.is_forgotten() {
            return;
        }
        let _ = extent.condemned.set(self.dir.join(&extent.blob));
    }

    /// Removes what no table refers to: bodies that were arriving when the process died.
    pub(super) fn remove_all_but<'a>(
        &self,
        extents: impl Iterator<Item = &'a Arc<Extent>>,
    ) -> io::Result<()> {
        let known: std::collections::HashSet<&str> =
            extents.map(|extent| extent.blob.as_str()).collect();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !known.contains(&*entry.file_name().to_string_lossy()) {
                remove(&entry.path());
            }
        }
        Ok(())
    }

    /// Writes and hashes `body`, which must have exactly `length` bytes.
    pub(super) async fn receive(
        &self,
        body: Body,
        length: u64,
        chosen: Option<Algorithm>,
    ) -> Result<Received, ApiError> {
        let file = match self.keeping {
            Keeping::Everything => Provisional::new(&self.dir, names::hex_id(), length),
            Keeping::Checksums => Provisional::forgotten(length),
        };
        let (frames, arriving) = mpsc::channel(FRAMES_WAITING);
        let target = file.create().map_err(|error| ApiError::internal(&error))?;
        // Ends by itself when `frames` is dropped, also if this future is.
        let hasher = Hasher::new(chosen, self.lanes.body());
        let writer = task::spawn_blocking(move || write(target.as_ref(), arriving, hasher));
        let forwarded = forward(body, length, &frames).await;
        drop(frames);
        let digests = writer
            .await
            .map_err(|error| ApiError::internal(&error))?
            .map_err(|error| ApiError::internal(&error))?;
        forwarded?;
        Ok(Received { file, digests })
    }

    /// `length` bytes from `start` of what `extents` hold in a row.
    pub(super) fn read(&self, extents: &[Arc<Extent>], start: u64, length: u64) -> Body {
        let mut skip = start;
        let mut left = length;
        let mut pieces = Vec::new();
        for extent in extents {
            if skip >= extent.length {
                skip -= extent.length;
                continue;
            }
            let take = left.min(extent.length - skip);
            if take == 0 {
                break;
            }
            pieces.push((Arc::clone(extent), skip, take));
            left -= take;
            skip = 0;
        }
        let dir = Arc::clone(&self.dir);
        let bytes = stream::iter(pieces)
            .then(move |(extent, start, length)| {
                let path = dir.join(&extent.blob);
                async move {
                    let mut file = tokio::fs::File::open(path).await?;
                    file.seek(io::SeekFrom::Start(start)).await?;
                    let bytes = ReaderStream::with_capacity(file.take(length), READ_SIZE);
                    // Holds the extent until its last byte is read.
                    Ok::<_, io::Error>(bytes.inspect(move |_| _ = &extent))
                }
            })
            .try_flatten();
        Body::from_stream(bytes)
    }
}

/// Passes the frames of `body` on to the writer; stops early if the writer failed, which then
/// tells why.
async fn forward(body: Body, length: u64, frames: &mpsc::Sender<Bytes>) -> Result<(), ApiError> {
    let mut body = body.into_data_stream();
    let mut received = 0;
    while let Some(frame) = timeout(BODY_TIMEOUT, body.next())
        .await
        .map_err(|_| ApiError::request_timeout())?
    {
        let frame = frame.map_err(|_| ApiError::incomplete_body())?;
        received += frame.len() as u64;
        if frames.send(frame).await.is_err() {
            return Ok(());
        }
    }
    if received == length {
        Ok(())
    } else {
        Err(ApiError::incomplete_body())
    }
}

fn write(
    file: Option<&File>,
    mut arriving: mpsc::Receiver<Bytes>,
    mut hasher: Hasher,
) -> io::Result<Digests> {
    while let Some(frame) = arriving.blocking_recv() {
        if let Some(mut file) = file {
            file.write_all(&frame)?;
        }
        hasher.update(frame);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn receive(blobs: &Blobs, bytes: &'static [u8]) -> Arc<Extent> {
        blobs
            .receive(Body::from(bytes), bytes.len() as u64, None)
            .await
            .expect("a whole body")
            .keep()
    }

    async fn read(blobs: &Blobs, extents: &[Arc<Extent>], start: u64, length: u64) -> Vec<u8> {
        let body = blobs.read(extents, start, length);
        axum::body::to_bytes(body, usize::MAX)
            .await
            .expect("readable files")
            .to_vec()
    }

    #[tokio::test]
    async fn any_range_of_several_files_is_read() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(dir.path(), Keeping::Everything).expect("a folder");
        let mut extents = Vec::new();
        for bytes in [b"abc".as_slice(), b"", b"defg", b"h"] {
            extents.push(receive(&blobs, bytes).await);
        }
        let whole = b"abcdefgh";
        for start in 0..whole.len() {
            for end in start..=whole.len() {
                let bytes = read(&blobs, &extents, start as u64, (end - start) as u64).await;
                assert_eq!(bytes, whole[start..end]);
            }
        }
    }

    #[tokio::test]
    async fn a_body_cut_short_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(dir.path(), Keeping::Everything).expect("a folder");
        assert!(blobs.receive(Body::from("ab"), 3, None).await.is_err());
        drop(blobs.receive(Body::from("abc"), 3, None).await);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn a_condemned_file_lives_until_its_last_reader_is_done() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(dir.path(), Keeping::Everything).expect("a folder");
        let extent = receive(&blobs, b"abc").await;
        let body = blobs.read(std::slice::from_ref(&extent), 0, 3);
        blobs.condemn(&extent);
        drop(extent);
        let bytes = axum::body::to_bytes(body, 3).await.expect("still there");
        assert_eq!(&bytes[..], b"abc");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }
}
