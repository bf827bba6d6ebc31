//! The one message store behind all data centres: chats, who sees them, messages, files.
//!
//! It knows nothing of MTProto, so that other faces of Telegram can stand on it. What it accepts
//! is written to the journal first. Files themselves are never in memory.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use super::details::{Details, Happening, Special};
use super::ids::{ChatId, DcId, Identity, Peer};
use super::journal::{Fact, Journal, JournalError};
use crate::content::Content;

/// Why something cannot be published or deleted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The chat is no channel and no private chat.
    #[error("chatId {0} is neither a user (positive) nor a channel (-100…)")]
    Chat(ChatId),
    /// The named data centre does not exist here.
    #[error("there is no data centre {0}")]
    DataCentre(DcId),
    /// The message does not exist.
    #[error("there is no message {message_id} in chat {chat_id}")]
    NoMessage {
        /// In which chat.
        chat_id: ChatId,
        /// Which number.
        message_id: i32,
    },
    /// A file's content cannot be read.
    #[error("a file's content cannot be read")]
    Content(#[source] io::Error),
    /// It cannot be remembered.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What a channel is to its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChannelKind {
    /// Few write, all read.
    #[default]
    Broadcast,
    /// All write: a group.
    Supergroup,
}

/// Who sees a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The accounts that are members.
    pub members: Vec<Identity>,
    /// The chat's title; for a private chat the other side's name.
    pub title: String,
    /// What it is, if it is no private chat.
    #[serde(default)]
    pub kind: ChannelKind,
}

impl Membership {
    fn of_all() -> Self {
        Self {
            members: Identity::ALL.to_vec(),
            title: "Stand-in chat".to_owned(),
            kind: ChannelKind::default(),
        }
    }
}

/// A message as it was published.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The chat it stands in.
    pub chat_id: ChatId,
    /// Its number.
    pub id: i32,
    /// When it was sent, in Unix seconds.
    pub date: i64,
    /// Its text, or its media's caption.
    #[serde(default)]
    pub text: String,
    /// The album it belongs to.
    #[serde(default)]
    pub grouped_id: Option<i64>,
    /// What it is.
    pub body: MessageBody,
    /// What else it shows.
    #[serde(default)]
    pub details: Details,
}

/// What a message is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MessageBody {
    /// Words alone.
    Text,
    /// Something that happened in the chat.
    Service,
    /// A file.
    Media(Box<Media>),
    /// Neither words nor a file.
    Special(Special),
    /// Something that happened in the chat, told in full.
    Happening(Happening),
}

/// A file as a message carries it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Media {
    /// The document's or photo's id.
    pub file_id: i64,
    /// The data centre that has it.
    pub dc: DcId,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Where its bytes come from.
    pub origin: Origin,
    /// What it looks like to users.
    pub look: Look,
}

/// Where a file's bytes come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Made from this seed.
    Seed(u64),
    /// The file of this name in the store's folder.
    File(String),
}

/// The kinds of media there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MediaKind {
    /// Any file.
    #[default]
    Document,
    /// A video.
    Video,
    /// A piece of music.
    Audio,
    /// A voice message.
    Voice,
    /// A round video message.
    VideoNote,
    /// A silent video that repeats.
    Animation,
    /// A sticker.
    Sticker,
    /// A photo, in several sizes.
    Photo,
}

/// A medium's kind and attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Look {
    /// Its kind.
    pub kind: MediaKind,
    /// Its file name, if it has one.
    pub name: Option<String>,
    /// Its MIME type; one that fits the kind, if none is given.
    pub mime_type: Option<String>,
    /// Seconds, for what is played.
    pub duration: Option<f64>,
    /// Pixels.
    pub width: Option<i32>,
    /// Pixels.
    pub height: Option<i32>,
    /// For music.
    pub title: Option<String>,
    /// For music.
    pub performer: Option<String>,
}

impl Look {
    /// The MIME type, or the usual one of the kind.
    pub fn mime_type(&self) -> &str {
        self.mime_type.as_deref().unwrap_or(match self.kind {
            MediaKind::Document => "application/octet-stream",
            MediaKind::Video | MediaKind::VideoNote | MediaKind::Animation => "video/mp4",
            MediaKind::Audio => "audio/mpeg",
            MediaKind::Voice => "audio/ogg",
            MediaKind::Sticker => "image/webp",
            MediaKind::Photo => "image/jpeg",
        })
    }
}

/// What is to be published.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The chat.
    pub chat_id: ChatId,
    /// Changes who sees the chat from now on.
    pub members: Option<Vec<Identity>>,
    /// Changes the chat's title from now on.
    pub chat_title: Option<String>,
    /// Text or caption.
    pub text: String,
    /// The album.
    pub grouped_id: Option<i64>,
    /// What kind of message it is.
    pub body: DraftBody,
}

/// What kind of message is to be published.
#[derive(Clone, Debug)]
pub enum DraftBody {
    /// Words alone.
    Text,
    /// Something that happened in the chat.
    Service,
    /// A file.
    Media {
        /// The data centre to keep it at.
        dc: DcId,
        /// Where its bytes come from.
        origin: Origin,
        /// Its length; that of the file, for one on disk.
        size: u64,
        /// Its kind and attributes.
        look: Look,
    },
}

/// A message to be put into a chat, whose file is known already.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) chat_id: ChatId,
    pub(crate) text: String,
    pub(crate) grouped_id: Option<i64>,
    pub(crate) body: MessageBody,
    pub(crate) details: Details,
}

/// A file that data centres hand out.
#[derive(Debug)]
pub struct StoredFile {
    /// What messages say of it.
    pub media: Media,
    /// The data centre that has it.
    pub dc: DcId,
    /// When it was sent, in Unix seconds.
    pub date: i64,
    /// Its renditions: a photo has one for each size, a document the one without a name.
    pub renditions: Vec<Rendition>,
}

/// One form in which a file can be had.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// The size's letter, empty for a document.
    pub name: &'static str,
    /// How many times smaller than the original it is, in each direction.
    pub shrunk: i32,
    /// Its bytes.
    pub content: Arc<Content>,
}

#[derive(Debug)]
struct Chat {
    membership: Membership,
    messages: BTreeMap<i32, Message>,
    last_id: i32,
}

#[derive(Debug, Default)]
struct State {
    chats: HashMap<ChatId, Chat>,
    files: HashMap<i64, Arc<StoredFile>>,
    /// Private chats share one sequence of numbers, channels have their own each.
    last_private_id: i32,
}

/// The message store.
#[derive(Debug)]
pub struct Store {
    journal: Journal,
    folder: PathBuf,
    data_centres: Vec<DcId>,
    state: RwLock<State>,
}

impl Store {
    pub(super) fn new(journal: Journal, folder: PathBuf, data_centres: Vec<DcId>) -> Self {
        Self {
            journal,
            folder,
            data_centres,
            state: RwLock::default(),
        }
    }

    /// Where uploaded files are kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn remember(&self, fact: &Fact) -> Result<(), JournalError> {
        self.journal.append(fact)
    }

    /// Takes up a remembered fact about chats.
    pub(super) fn restore(&self, fact: Fact) -> Result<(), StoreError> {
        match fact {
            Fact::Chat {
                chat_id,
                membership,
            } => self.write(|state| state.chat(chat_id).membership = membership),
            Fact::Published(message) | Fact::Edited(message) => {
                let file = self.file_of(&message)?;
                self.write(|state| state.insert(message, file));
            }
            Fact::Deleted {
                chat_id,
                message_id,
            } => self.write(|state| {
                state.chat(chat_id).messages.remove(&message_id);
            }),
            Fact::Secret { .. } | Fact::Key { .. } | Fact::SignedIn { .. } => {}
        }
        Ok(())
    }

    /// Publishes a message at `now` (since the Unix epoch). Hashes a file's content, so call it
    /// where blocking is allowed.
    ///
    /// # Errors
    /// [`StoreError`] naming what is wrong with the draft.
    pub fn publish(&self, draft: Draft, now: Duration) -> Result<Message, StoreError> {
        draft
            .chat_id
            .peer()
            .ok_or(StoreError::Chat(draft.chat_id))?;
        let body = match draft.body {
            DraftBody::Text => MessageBody::Text,
            DraftBody::Service => MessageBody::Service,
            DraftBody::Media {
                dc,
                origin,
                size,
                look,
            } => MessageBody::Media(Box::new(self.media(dc, origin, size, look)?)),
        };
        if draft.members.is_some() || draft.chat_title.is_some() {
            self.change_chat(draft.chat_id, draft.members, draft.chat_title)?;
        }
        let post = Post {
            chat_id: draft.chat_id,
            text: draft.text,
            grouped_id: draft.grouped_id,
            body,
            details: Details::default(),
        };
        self.post(post, now)
    }

    /// Puts a message into a chat at `now` (since the Unix epoch). Reads no file.
    pub(crate) fn post(&self, post: Post, now: Duration) -> Result<Message, StoreError> {
        let peer = post.chat_id.peer();
        let peer = peer.ok_or(StoreError::Chat(post.chat_id))?;
        let id = self.write(|state| state.next_id(post.chat_id, peer));
        let message = Message {
            chat_id: post.chat_id,
            id,
            date: now.as_secs().cast_signed(),
            text: post.text,
            grouped_id: post.grouped_id,
            body: post.body,
            details: post.details,
        };
        let file = self.file_of(&message)?;
        self.journal.append(&Fact::Published(message.clone()))?;
        self.write(|state| state.insert(message.clone(), file));
        Ok(message)
    }

    /// Puts `message` in the place of the one with its number.
    pub(crate) fn replace(&self, message: &Message) -> Result<(), StoreError> {
        let file = self.file_of(message)?;
        self.journal.append(&Fact::Edited(message.clone()))?;
        self.write(|state| state.insert(message.clone(), file));
        Ok(())
    }

    /// Deletes a message; its number is not used again.
    ///
    /// # Errors
    /// [`StoreError::NoMessage`] if it is not there.
    pub fn delete(&self, chat_id: ChatId, message_id: i32) -> Result<(), StoreError> {
        if self.message(chat_id, message_id).is_none() {
            return Err(StoreError::NoMessage {
                chat_id,
                message_id,
            });
        }
        self.journal.append(&Fact::Deleted {
            chat_id,
            message_id,
        })?;
        self.write(|state| state.chat(chat_id).messages.remove(&message_id));
        Ok(())
    }

    /// A message, unless it was deleted or never there.
    pub fn message(&self, chat_id: ChatId, id: i32) -> Option<Message> {
        self.read().chats.get(&chat_id)?.messages.get(&id).cloned()
    }

    /// What stands in a chat, oldest first.
    pub fn messages(&self, chat_id: ChatId) -> Vec<Message> {
        let state = self.read();
        let chat = state.chats.get(&chat_id);
        chat.map_or_else(Vec::new, |chat| chat.messages.values().cloned().collect())
    }

    /// The private message of this number that `who` sees.
    pub fn private_message(&self, who: Identity, id: i32) -> Option<Message> {
        self.read()
            .chats
            .iter()
            .filter(|(chat_id, _)| matches!(chat_id.peer(), Some(Peer::User(_))))
            .filter(|(_, chat)| chat.membership.members.contains(&who))
            .find_map(|(_, chat)| chat.messages.get(&id).cloned())
    }

    /// Who sees a chat; `None` if there is no such chat.
    pub fn membership(&self, chat_id: ChatId) -> Option<Membership> {
        let state = self.read();
        state
            .chats
            .get(&chat_id)
            .map(|chat| chat.membership.clone())
    }

    /// The chats that `who` is a member of, with what they are and their last messages.
    pub fn chats_of(&self, who: Identity) -> Vec<(ChatId, Membership, Option<Message>)> {
        let state = self.read();
        let mut chats: Vec<_> = state
            .chats
            .iter()
            .filter(|(_, chat)| chat.membership.members.contains(&who))
            .map(|(id, chat)| {
                let last = chat.messages.last_key_value().map(|(_, last)| last.clone());
                (*id, chat.membership.clone(), last)
            })
            .collect();
        chats.sort_by_key(|(id, ..)| *id);
        chats
    }

    /// A file by its id.
    pub fn file(&self, file_id: i64) -> Option<Arc<StoredFile>> {
        self.read().files.get(&file_id).cloned()
    }

    fn change_chat(
        &self,
        chat_id: ChatId,
        members: Option<Vec<Identity>>,
        title: Option<String>,
    ) -> Result<(), StoreError> {
        let mut membership = self.membership(chat_id).unwrap_or_else(Membership::of_all);
        membership.members = members.unwrap_or(membership.members);
        membership.title = title.unwrap_or(membership.title);
        self.set_membership(chat_id, membership)
    }

    /// Says what a chat is and who sees it.
    pub(crate) fn set_membership(
        &self,
        chat_id: ChatId,
        membership: Membership,
    ) -> Result<(), StoreError> {
        self.journal.append(&Fact::Chat {
            chat_id,
            membership: membership.clone(),
        })?;
        self.write(|state| state.chat(chat_id).membership = membership);
        Ok(())
    }

    /// Makes a file known. Hashes its content, so call it where blocking is allowed.
    pub(crate) fn media(
        &self,
        dc: DcId,
        origin: Origin,
        size: u64,
        look: Look,
    ) -> Result<Media, StoreError> {
        if !self.data_centres.contains(&dc) {
            return Err(StoreError::DataCentre(dc));
        }
        let content = self.content(&origin, size).map_err(StoreError::Content)?;
        let mut file_id = [0; 8];
        rand::fill(&mut file_id).expect("the system has random numbers");
        Ok(Media {
            file_id: i64::from_le_bytes(file_id) & i64::MAX,
            dc,
            size: content.len(),
            sha256: content.sha256().map_err(StoreError::Content)?,
            origin,
            look,
        })
    }

    fn content(&self, origin: &Origin, size: u64) -> io::Result<Content> {
        match origin {
            Origin::Seed(seed) => Ok(Content::generated(*seed, size)),
            Origin::File(name) => Content::stored(self.folder.join(name)),
        }
    }

    fn file_of(&self, message: &Message) -> Result<Option<(i64, StoredFile)>, StoreError> {
        let MessageBody::Media(media) = &message.body else {
            return Ok(None);
        };
        let content = self
            .content(&media.origin, media.size)
            .map_err(StoreError::Content)?
            .with_sha256(media.sha256);
        let file = StoredFile {
            media: Media::clone(media),
            dc: media.dc,
            date: message.date,
            renditions: renditions(media, content),
        };
        Ok(Some((media.file_id, file)))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state
            .read()
            .expect("changes to the store do not panic")
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(
            &mut self
                .state
                .write()
                .expect("changes to the store do not panic"),
        )
    }
}

impl State {
    fn chat(&mut self, chat_id: ChatId) -> &mut Chat {
        self.chats.entry(chat_id).or_insert_with(|| Chat {
            membership: Membership::of_all(),
            messages: BTreeMap::new(),
            last_id: 0,
        })
    }

    fn next_id(&mut self, chat_id: ChatId, peer: Peer) -> i32 {
        let last = match peer {
            Peer::User(_) => &mut self.last_private_id,
            Peer::Channel(_) => &mut self.chat(chat_id).last_id,
        };
        *last += 1;
        *last
    }

    fn insert(&mut self, message: Message, file: Option<(i64, StoredFile)>) {
        if let Some((id, file)) = file {
            // A file that is sent again stays what it was.
            self.files.entry(id).or_insert_with(|| Arc::new(file));
        }
        if let Some(Peer::User(_)) = message.chat_id.peer() {
            self.last_private_id = self.last_private_id.max(message.id);
        }
        let chat = self.chat(message.chat_id);
        chat.last_id = chat.last_id.max(message.id);
        chat.messages.insert(message.id, message);
    }
}

/// A photo comes in three sizes, the smaller ones made up; anything else in one.
fn renditions(media: &Media, content: Content) -> Vec<Rendition> {
    let whole = Rendition {
        name: if media.look.kind == MediaKind::Photo {
            "y"
        } else {
            ""
        },
        shrunk: 1,
        content: Arc::new(content),
    };
    if media.look.kind != MediaKind::Photo {
        return vec![whole];
    }
    let smaller = |name, shrunk: u8| {
        let len = (media.size / u64::from(shrunk).pow(2)).max(1);
        let seed = media.file_id.unsigned_abs() ^ u64::from(shrunk);
        Rendition {
            name,
            shrunk: shrunk.into(),
            content: Arc::new(Content::generated(seed, len)),
        }
    };
    vec![smaller("m", 4), smaller("x", 2), whole]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: ChatId = ChatId(-1_001_000_000_001);
    const NOW: Duration = Duration::new(1_800_000_000, 0);

    fn open(dir: &Path) -> Store {
        let (journal, facts) = Journal::open(&dir.join("journal")).expect("a journal");
        let store = Store::new(journal, dir.to_owned(), vec![DcId(2)]);
        for fact in facts {
            store.restore(fact).expect("our own facts");
        }
        store
    }

    fn draft(chat_id: ChatId, body: DraftBody) -> Draft {
        Draft {
            chat_id,
            members: None,
            chat_title: None,
            text: "words".to_owned(),
            grouped_id: None,
            body,
        }
    }

    fn media(kind: MediaKind, dc: DcId) -> DraftBody {
        DraftBody::Media {
            dc,
            origin: Origin::Seed(1),
            size: 5000,
            look: Look {
                kind,
                ..Look::default()
            },
        }
    }

    #[test]
    fn what_was_published_is_there_after_a_restart() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = open(dir.path());
        let body = media(MediaKind::Document, DcId(2));
        let sent = store.publish(draft(CHANNEL, body), NOW).expect("published");
        let gone = store
            .publish(draft(CHANNEL, DraftBody::Text), NOW)
            .expect("published");
        store.delete(CHANNEL, gone.id).expect("deleted");
        let alone = Draft {
            members: Some(vec![Identity::User]),
            ..draft(ChatId(5), DraftBody::Text)
        };
        store.publish(alone, NOW).expect("published");
        drop(store);

        let store = open(dir.path());
        assert_eq!(store.message(CHANNEL, sent.id).expect("kept").text, "words");
        assert!(store.message(CHANNEL, gone.id).is_none());
        assert!(store.private_message(Identity::User, 1).is_some());
        assert!(store.private_message(Identity::Bot, 1).is_none());
        let MessageBody::Media(media) = sent.body else {
            panic!("a document was published");
        };
        assert_eq!(
            store.file(media.file_id).expect("kept").renditions[0]
                .content
                .len(),
            5000
        );
        let next = store
            .publish(draft(CHANNEL, DraftBody::Text), NOW)
            .expect("published");
        assert!(
            next.id > gone.id,
            "a deleted message's number is not used again"
        );
    }

    #[test]
    fn channels_number_their_own_messages_and_private_chats_share() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = open(dir.path());
        let id = |chat| {
            store
                .publish(draft(chat, DraftBody::Text), NOW)
                .expect("published")
                .id
        };
        assert_eq!(
            [id(CHANNEL), id(CHANNEL), id(ChatId(5)), id(ChatId(6))],
            [1, 2, 1, 2]
        );
    }

    #[test]
    fn a_photo_has_sizes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = open(dir.path());
        let sent = store
            .publish(draft(CHANNEL, media(MediaKind::Photo, DcId(2))), NOW)
            .expect("published");
        let MessageBody::Media(photo) = sent.body else {
            panic!("a photo was published");
        };
        let file = store.file(photo.file_id).expect("kept");
        let sizes: Vec<_> = file
            .renditions
            .iter()
            .map(|r| (r.name, r.content.len()))
            .collect();
        assert_eq!(sizes, [("m", 312), ("x", 1250), ("y", 5000)]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = open(dir.path());
        let group = store.publish(draft(ChatId(-5), DraftBody::Text), NOW);
        assert!(matches!(group, Err(StoreError::Chat(ChatId(-5)))));
        let nowhere = store.publish(draft(CHANNEL, media(MediaKind::Video, DcId(9))), NOW);
        assert!(matches!(nowhere, Err(StoreError::DataCentre(DcId(9)))));
        assert!(matches!(
            store.delete(CHANNEL, 1),
            Err(StoreError::NoMessage { .. })
        ));
    }
}
