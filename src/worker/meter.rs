//! How far a transfer has come: counted where bytes flow, read where it is told.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    api,
    oci::Crc32c,
    transfer::{Progress, StoredPart, Verified},
};

/// The counters of one transfer.
#[derive(Debug)]
pub struct Meter {
    started: Instant,
    file: OnceLock<File>,
    stored_before: AtomicU64,
    moved: AtomicU64,
    told: Mutex<Told>,
    upload: Mutex<Option<(api::Upload, Option<Verified>)>>,
    in_doubt: AtomicBool,
}

#[derive(Debug)]
struct File {
    name: String,
    size: u64,
}

/// What was told last.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    bytes: u64,
}

/// A reading of the meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The file's name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes stored, earlier attempts included.
    pub bytes: u64,
    /// Bytes per second in this attempt.
    pub rate: u64,
}

impl Meter {
    /// A meter that starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            file: OnceLock::new(),
            stored_before: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            told: Mutex::new(Told { at: now, bytes: 0 }),
            upload: Mutex::default(),
            in_doubt: AtomicBool::new(false),
        }
    }

    /// A request that makes an upload or a link got no reply, and what it may have made, or may make
    /// yet, was not found: it may be left.
    pub fn doubt(&self) {
        self.in_doubt.store(true, Ordering::Relaxed);
    }

    /// Whether something may be left that nobody knows of.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }

    /// The file is known. Only the first call counts.
    pub fn found(&self, name: String, size: u64) {
        self.file.get_or_init(|| File { name, size });
    }

    /// So many bytes need not be moved: an earlier attempt stored them.
    pub fn resumed(&self, bytes: u64) {
        self.stored_before.store(bytes, Ordering::Relaxed);
    }

    /// The parts of that upload are under way; these are verified already, unless there are others
    /// of which that is not known.
    pub fn uploading(&self, upload: api::Upload, verified: Option<Verified>) {
        *self.upload() = Some((upload, verified));
    }

    /// The upload that was under way when that attempt ended, with the parts of it that are
    /// verified.
    pub fn read_upload(&self, attempt: i32) -> Option<api::Upload> {
        let upload = self.upload();
        let (upload, verified) = upload.as_ref()?;
        let told = verified.as_ref().map(|verified| api::VerifiedParts {
            attempt,
            through: verified.through(),
            missing: verified.missing().collect(),
            crc32c: Crc32c::new(verified.crc32c()).to_string(),
        });
        let fits =
            |told: &api::VerifiedParts| told.missing.len() <= api::VerifiedParts::MOST_MISSING;
        Some(api::Upload {
            verified: told.filter(fits),
            ..upload.clone()
        })
    }

    fn upload(&self) -> MutexGuard<'_, Option<(api::Upload, Option<Verified>)>> {
        self.upload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing of what was moved counts any more.
    pub fn begun_anew(&self) {
        *self.upload() = None;
        self.stored_before.store(0, Ordering::Relaxed);
        self.moved.store(0, Ordering::Relaxed);
    }

    /// The state now, once the file is known.
    pub fn read(&self) -> Option<Reading> {
        let file = self.file.get()?;
        let moved = self.moved.load(Ordering::Relaxed);
        let millis = u64::try_from(self.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        Some(Reading {
            name: file.name.clone(),
            size: file.size,
            bytes: (self.stored_before.load(Ordering::Relaxed) + moved).min(file.size),
            rate: moved.saturating_mul(1_000) / millis,
        })
    }

    /// A reading that is worth telling: a tenth of the file, or 30 s, after the last one.
    pub fn read_if_due(&self) -> Option<Reading> {
        let reading = self.read()?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let step = reading.size.div_ceil(10).max(1);
        let due = reading.bytes >= told.bytes + step || told.at.elapsed().as_secs() >= 30;
        due.then(|| {
            *told = Told {
                at: Instant::now(),
                bytes: reading.bytes,
            };
            reading
        })
    }
}

impl Progress for Meter {
    fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    fn lost(&self, bytes: u64) {
        self.moved.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn stored(&self, part: &StoredPart) {
        if let (Some((_, Some(verified))), Some(crc32c)) = (&mut *self.upload(), part.crc32c) {
            verified.add(part.number, crc32c);
        }
    }
}

/// `bytes` of `total` in whole percent, 100 only at the end.
pub fn percent(bytes: u64, total: u64) -> u64 {
    if bytes >= total {
        100
    } else {
        bytes.saturating_mul(100) / total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_percent_is_the_end_and_nothing_less() {
        assert_eq!(
            [
                percent(0, 3),
                percent(999, 1_000),
                percent(3, 3),
                percent(0, 0)
            ],
            [0, 99, 100, 100]
        );
    }

    #[test]
    fn each_tenth_is_told_once_and_what_was_stored_before_counts() {
        let meter = Meter::start();
        assert_eq!(meter.read_if_due(), None, "nothing is known of the file");
        meter.found("a".into(), 1_000);
        meter.resumed(500);
        assert_eq!(meter.read_if_due().map(|reading| reading.bytes), Some(500));
        meter.moved(99);
        assert_eq!(meter.read_if_due(), None);
        meter.moved(1);
        assert_eq!(meter.read_if_due().map(|reading| reading.bytes), Some(600));
    }
}
