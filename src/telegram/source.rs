//! Where the files of a data centre are read: over connections of our own to its doors for files,
//! or, where it has none, over the one connection that grammers has there. A second one with the
//! same key might cost the key.

use std::sync::{Arc, Mutex, PoisonError};

use grammers_client::tl::{self, types::DcOption};
use mtproto::AuthKey;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{
    Error, Telegram,
    files::{Buffer, Centre, DEPTH, Doors, LONGEST_WAIT, Reply, content, greeting},
};

/// The way to the files of a data centre.
#[derive(Debug)]
pub enum Source {
    /// Connections of our own.
    Doors(Centre),
    /// The connection that grammers has.
    MainDoor(MainDoor),
}

/// The door of a data centre that everything goes through.
#[derive(Debug)]
pub struct MainDoor {
    /// As many calls as one connection takes at a time.
    turns: Semaphore,
    /// Telegram wants to be left alone until then.
    rests_until: Mutex<Instant>,
}

impl Telegram {
    /// Makes a call whose answer is an `upload.file`, and returns the file's bytes in the buffer;
    /// it comes back with an error, unless it is still waited for.
    pub(super) async fn fetch(&self, data_centre: i32, query: Box<[u8]>, buffer: Buffer) -> Reply {
        let source = match self.source(data_centre).await {
            Ok(source) => source,
            Err(error) => return Err((error, Some(buffer))),
        };
        let reply = match &*source {
            Source::Doors(centre) => centre.fetch(query, buffer).await,
            Source::MainDoor(door) => {
                let _turn = door.turns.acquire().await;
                self.fetch_by(door, data_centre, &query, buffer).await
            }
        };
        if let Err((Error::WrongDataCentre, _)) = &reply {
            self.forget(data_centre, &source).await;
        }
        reply
    }

    async fn fetch_by(
        &self,
        door: &MainDoor,
        data_centre: i32,
        query: &[u8],
        buffer: Buffer,
    ) -> Reply {
        let reply = loop {
            if let Err(error) = door.rest().await {
                break Err(error);
            }
            match self.call_raw(data_centre, query).await {
                Err(Error::FloodWait(wait)) => door.rest_for(wait),
                reply => break reply,
            }
        };
        match reply.and_then(|reply| Ok((content(&reply)?, reply))) {
            Ok((content, reply)) => Ok(buffer.holding(&reply[content])),
            Err(error) => Err((error, Some(buffer))),
        }
    }

    /// The way to the files that a data centre stores.
    async fn source(&self, data_centre: i32) -> Result<Arc<Source>, Error> {
        let mut sources = self.sources.lock().await;
        if let Some(source) = sources.get(&data_centre)
            && !source.is_broken()
        {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(match self.doors(data_centre).await? {
            Some(doors) => Source::Doors(Centre::new(
                doors,
                AuthKey::new(self.key(data_centre).await?),
                greeting(self.account.api_id),
                Arc::clone(&self.opener),
            )),
            None => Source::MainDoor(MainDoor::new()),
        });
        sources.insert(data_centre, Arc::clone(&source));
        Ok(source)
    }

    /// Forgets where a data centre is, unless that was looked up again since `source` was in use:
    /// the next read asks Telegram.
    async fn forget(&self, data_centre: i32, source: &Arc<Source>) {
        let mut sources = self.sources.lock().await;
        let used = sources.get(&data_centre);
        if used.is_some_and(|used| Arc::ptr_eq(used, source)) {
            sources.remove(&data_centre);
            *self.addresses.lock().await = None;
        }
    }

    /// Where a data centre is reached for files, as Telegram says. `None` if it is not.
    async fn doors(&self, data_centre: i32) -> Result<Option<Doors>, Error> {
        let mut addresses = self.addresses.lock().await;
        let options = if let Some(options) = &*addresses {
            Arc::clone(options)
        } else {
            let tl::enums::Config::Config(config) =
                self.call_home(&tl::functions::help::GetConfig {}).await?;
            let option = |tl::enums::DcOption::Option(option)| option;
            let options: Arc<[DcOption]> = config.dc_options.into_iter().map(option).collect();
            Arc::clone(addresses.insert(options))
        };
        Ok(Doors::among(
            &options,
            data_centre,
            self.account.file_connections.get(),
        ))
    }
}

impl Source {
    fn is_broken(&self) -> bool {
        matches!(self, Self::Doors(centre) if centre.is_broken())
    }
}

impl MainDoor {
    fn new() -> Self {
        Self {
            turns: Semaphore::new(DEPTH),
            rests_until: Mutex::new(Instant::now()),
        }
    }

    /// Waits until Telegram may be asked again.
    ///
    /// # Errors
    /// [`Error::FloodWait`] if that would be long.
    async fn rest(&self) -> Result<(), Error> {
        let until = *self.lock();
        let left = until.saturating_duration_since(Instant::now());
        if left > LONGEST_WAIT {
            return Err(Error::FloodWait(left));
        }
        sleep_until(until).await;
        Ok(())
    }

    fn rest_for(&self, wait: std::time::Duration) {
        let mut until = self.lock();
        *until = until.max(Instant::now() + wait);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
