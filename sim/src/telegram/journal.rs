//! What a stand-in must still know after a restart, one JSON line a fact, appended as it happens
//! and read back at the start. A line that a crash cut short is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ids::{ChatId, DcId, Identity};
use super::store::{Membership, Message};

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal {} cannot be used", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A whole line is not one of ours.
    #[error("line {line} of the journal {} makes no sense", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// One fact.
#[derive(Debug, Serialize, Deserialize)]
#[serde(
    tag = "fact",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(super) enum Fact {
    /// The secret from which access hashes and file references are made.
    Secret { secret: String },
    /// A data centre knows a key from now on.
    Key {
        dc: DcId,
        auth_key: String,
        owner: Option<Identity>,
    },
    /// A key has been signed in.
    SignedIn {
        dc: DcId,
        key_id: [u8; 8],
        owner: Identity,
    },
    /// Who sees a chat, and its title.
    Chat {
        chat_id: ChatId,
        membership: Membership,
    },
    /// A message was sent.
    Published(Message),
    /// A message was changed into this.
    Edited(Message),
    /// A message was deleted.
    Deleted { chat_id: ChatId, message_id: i32 },
}

/// The file of facts.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens or creates the journal at `path` and hands over what it says, oldest first.
    pub(crate) fn open<F: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<F>), JournalError> {
        let io = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        let mut text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io(error)),
        };
        let whole = text
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        text.truncate(whole);
        let facts = text
            .split_inclusive(|b| *b == b'\n')
            .enumerate()
            .map(|(index, line)| {
                serde_json::from_slice(line).map_err(|source| JournalError::Line {
                    path: path.to_owned(),
                    line: index + 1,
                    source,
                })
            })
            .collect::<Result<_, _>>()?;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        file.set_len(whole as u64).map_err(io)?;
        let journal = Self {
            path: path.to_owned(),
            file: Mutex::new(file),
        };
        Ok((journal, facts))
    }

    /// Appends a fact. A line is short and goes to the page cache, so this does not block.
    pub(crate) fn append(&self, fact: &impl Serialize) -> Result<(), JournalError> {
        let io = |source| JournalError::Io {
            path: self.path.clone(),
            source,
        };
        let mut line = serde_json::to_vec(fact).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        let mut file = self.file.lock().expect("appending does not panic");
        file.write_all(&line).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(message_id: i32) -> Fact {
        Fact::Deleted {
            chat_id: ChatId(1),
            message_id,
        }
    }

    #[test]
    fn facts_survive_and_a_torn_line_does_not_matter() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("journal");
        let (journal, facts) = Journal::open::<Fact>(&path).expect("new");
        assert!(facts.is_empty());
        journal.append(&deleted(1)).expect("writable");
        drop(journal);
        let mut text = std::fs::read(&path).expect("written");
        text.extend_from_slice(b"{\"fact\":\"dele");
        std::fs::write(&path, text).expect("writable");

        let (journal, facts) = Journal::open::<Fact>(&path).expect("torn");
        assert_eq!(facts.len(), 1);
        journal.append(&deleted(2)).expect("writable");
        let (_, facts) = Journal::open(&path).expect("whole again");
        assert!(matches!(
            facts[..],
            [_, Fact::Deleted { message_id: 2, .. }]
        ));
    }

    #[test]
    fn a_strange_line_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("journal");
        std::fs::write(
            &path,
            "{\"fact\":\"deleted\",\"chatId\":1,\"messageId\":2}\nnoise\n",
        )
        .expect("writable");
        let error = Journal::open::<Fact>(&path).expect_err("noise");
        assert!(
            matches!(error, JournalError::Line { line: 2, .. }),
            "{error}"
        );
    }
}
