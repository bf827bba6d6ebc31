//! The tables, and the journal that lets them survive the process.
//!
//! Every change is decided under one lock, written as one line to the journal, then applied; the
//! journal is the state's only other form. At the start it is read back, written anew without
//! what is gone, and data files nobody refers to are removed. Lines are not synced to the disk:
//! they outlive the process, not the machine. Nothing here waits for the network.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use super::blob::{Blobs, Extent};
use super::error::ApiError;
use super::model::{Bucket, Object, Par, Part, Upload};
use super::names::ObjectName;

/// All buckets, by name.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) buckets: BTreeMap<String, Bucket>,
}

/// One change of the state: one line of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Change {
    BucketCreated {
        bucket: String,
        etag: String,
        created: Timestamp,
    },
    ObjectPut {
        bucket: String,
        object: Arc<Object>,
    },
    ObjectDeleted {
        bucket: String,
        name: ObjectName,
    },
    UploadCreated {
        bucket: String,
        upload: Upload,
    },
    PartPut {
        bucket: String,
        upload_id: String,
        part: Part,
    },
    /// The parts that are not among the object's extents are gone.
    UploadCommitted {
        bucket: String,
        upload_id: String,
        object: Arc<Object>,
    },
    UploadAborted {
        bucket: String,
        upload_id: String,
    },
    ParCreated {
        bucket: String,
        par: Par,
    },
    ParExpired {
        bucket: String,
        id: String,
        at: Timestamp,
    },
    ParDeleted {
        bucket: String,
        id: String,
    },
}

impl State {
    /// Applies `change` and returns the data files that it may have orphaned.
    fn apply(&mut self, change: Change) -> Vec<Arc<Extent>> {
        let (name, change) = match change {
            Change::BucketCreated {
                bucket,
                etag,
                created,
            } => {
                self.buckets.insert(bucket, Bucket::new(etag, created));
                return Vec::new();
            }
            other => (other.bucket().to_owned(), other),
        };
        match self.buckets.get_mut(&name) {
            Some(bucket) => bucket.apply(change),
            None => Vec::new(),
        }
    }

    /// The changes that make this state from nothing.
    fn into_changes(self) -> impl Iterator<Item = Change> {
        self.buckets.into_iter().flat_map(|(name, bucket)| {
            let created = Change::BucketCreated {
                bucket: name.clone(),
                etag: bucket.etag,
                created: bucket.created,
            };
            let named = move || name.clone();
            let (of_object, of_upload, of_par) = (named.clone(), named.clone(), named);
            let objects = bucket.objects.into_values();
            let uploads = bucket.uploads.into_values();
            let pars = bucket.pars.into_values();
            std::iter::once(created)
                .chain(objects.map(move |object| Change::ObjectPut {
                    bucket: of_object(),
                    object,
                }))
                .chain(uploads.map(move |upload| Change::UploadCreated {
                    bucket: of_upload(),
                    upload,
                }))
                .chain(pars.map(move |par| Change::ParCreated {
                    bucket: of_par(),
                    par: Arc::unwrap_or_clone(par),
                }))
        })
    }

    fn extents(&self) -> impl Iterator<Item = &Arc<Extent>> {
        self.buckets.values().flat_map(|bucket| {
            let objects = bucket.objects.values().flat_map(|object| &object.extents);
            let parts = bucket.uploads.values().flat_map(|upload| &upload.parts);
            objects.chain(parts.map(|(_, part)| &part.extent))
        })
    }
}

impl Change {
    fn bucket(&self) -> &str {
        match self {
            Self::BucketCreated { bucket, .. }
            | Self::ObjectPut { bucket, .. }
            | Self::ObjectDeleted { bucket, .. }
            | Self::UploadCreated { bucket, .. }
            | Self::PartPut { bucket, .. }
            | Self::UploadCommitted { bucket, .. }
            | Self::UploadAborted { bucket, .. }
            | Self::ParCreated { bucket, .. }
            | Self::ParExpired { bucket, .. }
            | Self::ParDeleted { bucket, .. } => bucket,
        }
    }
}

impl Bucket {
    fn apply(&mut self, change: Change) -> Vec<Arc<Extent>> {
        match change {
            Change::BucketCreated { .. } => Vec::new(),
            Change::ObjectPut { object, .. } => self.put(object),
            Change::ObjectDeleted { name, .. } => extents_of(self.objects.remove(&name)),
            Change::UploadCreated { upload, .. } => {
                self.uploads.insert(upload.id.clone(), upload);
                Vec::new()
            }
            Change::PartPut {
                upload_id, part, ..
            } => match self.uploads.get_mut(&upload_id) {
                Some(upload) => {
                    let replaced = upload.parts.insert(part.number, part);
                    replaced.map(|part| part.extent).into_iter().collect()
                }
                None => Vec::new(),
            },
            Change::UploadCommitted {
                upload_id, object, ..
            } => {
                let mut orphans = self.end_upload(&upload_id);
                let kept: HashSet<_> = object.extents.iter().map(Arc::as_ptr).collect();
                orphans.retain(|part| !kept.contains(&Arc::as_ptr(part)));
                orphans.extend(self.put(object));
                orphans
            }
            Change::UploadAborted { upload_id, .. } => self.end_upload(&upload_id),
            Change::ParCreated { par, .. } => {
                self.par_tokens.insert(par.token.clone(), par.id.clone());
                self.pars.insert(par.id.clone(), Arc::new(par));
                Vec::new()
            }
            Change::ParExpired { id, at, .. } => {
                if let Some(par) = self.pars.get_mut(&id) {
                    Arc::make_mut(par).expires = at;
                }
                Vec::new()
            }
            Change::ParDeleted { id, .. } => {
                if let Some(par) = self.pars.remove(&id) {
                    self.par_tokens.remove(&par.token);
                }
                Vec::new()
            }
        }
    }

    fn put(&mut self, object: Arc<Object>) -> Vec<Arc<Extent>> {
        extents_of(self.objects.insert(object.name.clone(), object))
    }

    fn end_upload(&mut self, upload_id: &str) -> Vec<Arc<Extent>> {
        self.uploads
            .remove(upload_id)
            .into_iter()
            .flat_map(|upload| upload.parts.into_values().map(|part| part.extent))
            .collect()
    }
}

fn extents_of(object: Option<Arc<Object>>) -> Vec<Arc<Extent>> {
    object.map_or_else(Vec::new, |object| object.extents.clone())
}

/// The state behind its lock, with its journal.
#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<(State, File)>,
    blobs: Blobs,
    tasks: TaskTracker,
}

impl Store {
    pub(super) fn open(dir: &Path, blobs: Blobs, tasks: TaskTracker) -> io::Result<Self> {
        let path = dir.join("journal.jsonl");
        let mut state = State::default();
        if path.exists() {
            replay(&path, &mut state)?;
        }
        blobs.remove_all_but(state.extents())?;
        // A new journal replaces the old one at once, so that a death in between loses nothing.
        let fresh = dir.join("journal.new");
        let mut journal = File::create(&fresh)?;
        let mut compacted = State::default();
        let mut lines = Vec::new();
        for change in state.into_changes() {
            write_line(&mut lines, &change)?;
            compacted.apply(change);
        }
        journal.write_all(&lines)?;
        fs::rename(&fresh, &path)?;
        Ok(Self {
            inner: Mutex::new((compacted, journal)),
            blobs,
            tasks,
        })
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().0)
    }

    /// Lets `decide` look at the state and change it by the change it returns.
    pub(super) fn write<T>(
        &self,
        decide: impl FnOnce(&State) -> Result<(Change, T), ApiError>,
    ) -> Result<T, ApiError> {
        let mut guard = self.lock();
        let (state, journal) = &mut *guard;
        let (change, answer) = decide(state)?;
        let mut line = Vec::new();
        write_line(&mut line, &change)
            .and_then(|()| journal.write_all(&line))
            .map_err(|error| ApiError::internal(&error))?;
        let orphans = state.apply(change);
        drop(guard);
        self.remove(orphans);
        Ok(answer)
    }

    /// Removes data files in the background: gigabytes take a while.
    fn remove(&self, orphans: Vec<Arc<Extent>>) {
        if orphans.is_empty() {
            return;
        }
        for extent in &orphans {
            self.blobs.condemn(extent);
        }
        self.tasks.spawn_blocking(move || drop(orphans));
    }

    fn lock(&self) -> MutexGuard<'_, (State, File)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_line(out: &mut Vec<u8>, change: &Change) -> io::Result<()> {
    serde_json::to_writer(&mut *out, change)?;
    out.push(b'\n');
    Ok(())
}

/// Applies the lines of a journal. The last one may be torn: its change was never answered.
fn replay(path: &Path, state: &mut State) -> io::Result<()> {
    let mut journal = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while journal.read_until(b'\n', &mut line)? > 0 {
        if line.last() == Some(&b'\n') {
            state.apply(serde_json::from_slice(&line)?);
        }
        line.clear();
    }
    Ok(())
}
