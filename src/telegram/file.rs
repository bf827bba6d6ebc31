//! Ranged reads of one file.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use grammers_client::tl::enums::InputFileLocation;
use tokio::{sync::Mutex as AsyncMutex, time::sleep};
use tracing::debug;

use super::{
    CHUNK, Error, MediaFile, MessageRef, Telegram,
    files::{Budget, Buffer, Reply, query},
};

/// How often one read is tried before its error counts.
const TRIES: u32 = 5;

/// The file of a message, open for reading.
pub struct RemoteFile {
    telegram: Arc<Telegram>,
    message: MessageRef,
    media: MediaFile,
    budget: Budget,
    data_centre: AtomicI32,
    location: Mutex<InputFileLocation>,
    /// Held while the message is fetched again, so that many failing reads fetch it once.
    refresh: AsyncMutex<()>,
}

impl RemoteFile {
    /// Opens the file that was found in a message.
    ///
    /// At most `window` bytes of it are in memory at a time, the last reader's included.
    pub fn open(
        telegram: Arc<Telegram>,
        message: MessageRef,
        media: MediaFile,
        window: u64,
    ) -> Self {
        Self {
            budget: Budget::new(window),
            data_centre: AtomicI32::new(media.data_centre),
            location: Mutex::new(media.location.clone()),
            refresh: AsyncMutex::new(()),
            telegram,
            message,
            media,
        }
    }

    /// Reads the chunk at `offset`, a multiple of [`CHUNK`]: [`CHUNK`] bytes, or what is left of
    /// the file.
    ///
    /// Short flood waits, moved files, expired file references and lost connections are dealt with
    /// here. The last chunk comes only if the file ends where the message says.
    ///
    /// # Errors
    /// What remains after that.
    pub async fn read(&self, offset: u64) -> Result<Bytes, Error> {
        let left = self.media.size.saturating_sub(offset);
        let expected = left.min(u64::from(CHUNK));
        let bytes = self.read_exactly(offset, expected).await?;
        if left == expected {
            self.check_end().await?;
        }
        Ok(bytes)
    }

    /// Checks that nothing follows what the message says is the end. An answer that is shorter than
    /// what was asked for shows that by itself; where the last one is not, or none is asked for,
    /// more than the file is asked for.
    ///
    /// # Errors
    /// [`Error::WrongLength`] if something follows; what remains of others.
    pub async fn check_end(&self) -> Result<(), Error> {
        let size = self.media.size;
        if !size.is_multiple_of(u64::from(CHUNK)) {
            return Ok(());
        }
        match self.read_exactly(size, 0).await {
            Err(Error::Rpc(rpc)) if rpc.name == "OFFSET_INVALID" => Ok(()),
            nothing => nothing.map(drop),
        }
    }

    async fn read_exactly(&self, offset: u64, expected: u64) -> Result<Bytes, Error> {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        let mut reserved = None;
        let mut tries = 0;
        loop {
            // Held through all tries, so that what comes later in the file cannot take it.
            let buffer = match reserved.take() {
                Some(buffer) => buffer,
                None => self.budget.reserve().await,
            };
            let location = self.location();
            let error = match self.read_once(&location, offset, buffer).await {
                Ok(bytes) if bytes.len() == expected => return Ok(bytes),
                Ok(bytes) => Error::WrongLength {
                    offset,
                    expected,
                    got: bytes.len(),
                },
                Err((error, buffer)) => {
                    reserved = buffer;
                    error
                }
            };
            tries += 1;
            if tries == TRIES {
                return Err(error);
            }
            self.recover(error, &location, tries).await?;
        }
    }

    async fn read_once(&self, location: &InputFileLocation, offset: u64, buffer: Buffer) -> Reply {
        let Ok(at) = i64::try_from(offset) else {
            return Err((Error::UnexpectedReply("getMessages"), Some(buffer)));
        };
        let data_centre = self.data_centre.load(Ordering::Relaxed);
        self.telegram
            .fetch(data_centre, query(location, at), buffer)
            .await
    }

    /// Does what lets the next try succeed, or hands the error back.
    async fn recover(
        &self,
        error: Error,
        used: &InputFileLocation,
        tries: u32,
    ) -> Result<(), Error> {
        match &error {
            // Their waits and their tries are behind them.
            Error::FloodWait(_) | Error::Unreachable(_) => return Err(error),
            Error::Rpc(rpc) if rpc.name == "FILE_MIGRATE" => {
                let data_centre = rpc.value.and_then(|dc| i32::try_from(dc).ok());
                self.data_centre
                    .store(data_centre.ok_or(error)?, Ordering::Relaxed);
            }
            _ if error.is_of_the_file_reference() => self.refresh(used).await?,
            Error::SessionRefused { name } if name == "AUTH_KEY_UNREGISTERED" => {
                self.telegram
                    .authorize(self.data_centre.load(Ordering::Relaxed))
                    .await?;
            }
            _ if error.class() == crate::Class::Transient => {
                debug!(%error, tries, "reading a chunk again");
                sleep(Duration::from_millis(200 << tries)).await;
            }
            _ => return Err(error),
        }
        Ok(())
    }

    /// Fetches the message again for a new file reference, unless another read has done so.
    async fn refresh(&self, used: &InputFileLocation) -> Result<(), Error> {
        let _guard = self.refresh.lock().await;
        if self.location() != *used {
            return Ok(());
        }
        let media = self.telegram.locate(self.message).await?;
        if media.file_id != self.media.file_id || media.size != self.media.size {
            return Err(Error::MediaChanged);
        }
        *self.location.lock().unwrap_or_else(PoisonError::into_inner) = media.location;
        Ok(())
    }

    fn location(&self) -> InputFileLocation {
        self.location
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
