//! What was served, counted: bytes of files, calls, connections. Tests read here what a client
//! cannot say of itself, such as that no byte was fetched twice.
//!
//! A piece counts once its last byte was given to the socket, each time it is; an answer that was
//! lost, broken off or forged on demand does not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::ids::{DcId, Door};
use super::session::ConnectionId;

/// Connections that are closed are remembered up to this many.
const CLOSED_REMEMBERED: usize = 1000;

/// Everything counted since the start, or since it was reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// The files of which something was served.
    pub files: Vec<FileTraffic>,
    /// Each door that was ever opened.
    pub doors: Vec<DoorTraffic>,
    /// The connections, oldest first; of the closed ones the last thousand.
    pub connections: Vec<ConnectionTraffic>,
    /// The MTProto sessions that are remembered.
    pub sessions: Vec<SessionTraffic>,
}

impl Traffic {
    /// What was served of a document.
    pub fn file(&self, file_id: i64) -> FileTraffic {
        let found = self
            .files
            .iter()
            .find(|file| file.file_id == file_id && file.thumb_size.is_empty());
        found.cloned().unwrap_or_else(|| FileTraffic {
            file_id,
            ..FileTraffic::default()
        })
    }

    /// What came in by a door.
    pub fn door(&self, dc: DcId, door: Door) -> DoorTraffic {
        let found = self
            .doors
            .iter()
            .find(|one| (one.dc, one.door) == (dc, door));
        found
            .cloned()
            .unwrap_or_else(|| DoorTraffic::nothing(dc, door))
    }
}

/// What was served of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileTraffic {
    /// The document's or photo's id.
    pub file_id: i64,
    /// Which size of a photo; empty for a document.
    pub thumb_size: String,
    /// How many pieces, repeated ones included.
    pub pieces: u64,
    /// How many bytes, repeated ones included.
    pub bytes: u64,
    /// How many of them had been served before.
    pub bytes_again: u64,
}

/// What came in by one door of a data centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoorTraffic {
    /// The data centre.
    pub dc: DcId,
    /// Which of its doors.
    pub door: Door,
    /// Connections that are open.
    pub open: usize,
    /// The most that were open at once.
    pub most_open: usize,
    /// Connections opened.
    pub opened: u64,
    /// Calls by method, repetitions of one message not included.
    pub calls: BTreeMap<String, u64>,
    /// Bytes sent, frames and all.
    pub bytes: u64,
}

impl DoorTraffic {
    fn nothing(dc: DcId, door: Door) -> Self {
        Self {
            dc,
            door,
            open: 0,
            most_open: 0,
            opened: 0,
            calls: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// How often a method was called.
    pub fn calls_of(&self, method: &str) -> u64 {
        self.calls.get(method).copied().unwrap_or(0)
    }
}

/// What went over one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionTraffic {
    /// Counted from 0, over all doors.
    pub id: u64,
    /// The data centre.
    pub dc: DcId,
    /// Which of its doors.
    pub door: Door,
    /// Whether it is open.
    pub open: bool,
    /// Calls of `upload.getFile`.
    pub get_file: u64,
    /// Bytes sent, frames and all.
    pub bytes: u64,
}

/// How a session's client keeps its side of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionTraffic {
    /// The data centre.
    pub dc: DcId,
    /// The session's id, chosen by the client.
    pub session_id: i64,
    /// Messages sent that ask for an acknowledgement and have none.
    pub unacknowledged: usize,
    /// How many of the client's messages were refused, by code; 48 is a wrong salt.
    pub refused: BTreeMap<i32, u64>,
}

/// A range of a file that was served.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) file_id: i64,
    pub(super) thumb_size: &'static str,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<(i64, &'static str), File>,
    doors: BTreeMap<(DcId, Door), DoorTraffic>,
    open: BTreeMap<u64, ConnectionTraffic>,
    closed: VecDeque<ConnectionTraffic>,
}

#[derive(Debug, Default)]
struct File {
    pieces: u64,
    bytes: u64,
    bytes_again: u64,
    ranges: Ranges,
}

impl Ledger {
    /// Notes a connection, which is open until the entry is dropped.
    pub(super) fn open(self: &Arc<Self>, id: ConnectionId, dc: DcId, door: Door) -> Entry {
        let mut state = self.state();
        let at = state.door(dc, door);
        at.opened += 1;
        at.open += 1;
        at.most_open = at.most_open.max(at.open);
        let connection = ConnectionTraffic {
            id: id.0,
            dc,
            door,
            open: true,
            get_file: 0,
            bytes: 0,
        };
        state.open.insert(id.0, connection);
        Entry {
            ledger: Arc::clone(self),
            id: id.0,
        }
    }

    /// What was counted, but for the sessions, which count for themselves.
    pub(super) fn report(&self) -> Traffic {
        let state = self.state();
        let files = state.files.iter();
        let connections = state.closed.iter().chain(state.open.values());
        let mut connections: Vec<_> = connections.cloned().collect();
        connections.sort_by_key(|one| one.id);
        Traffic {
            files: files
                .map(|((file_id, thumb_size), file)| FileTraffic {
                    file_id: *file_id,
                    thumb_size: (*thumb_size).to_owned(),
                    pieces: file.pieces,
                    bytes: file.bytes,
                    bytes_again: file.bytes_again,
                })
                .collect(),
            doors: state.doors.values().cloned().collect(),
            connections,
            sessions: Vec::new(),
        }
    }

    /// Counts from nothing again; what is open stays open.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        state.files.clear();
        state.closed.clear();
        for at in state.doors.values_mut() {
            *at = DoorTraffic {
                open: at.open,
                most_open: at.open,
                ..DoorTraffic::nothing(at.dc, at.door)
            };
        }
        for connection in state.open.values_mut() {
            connection.get_file = 0;
            connection.bytes = 0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("counting does not panic")
    }
}

impl State {
    fn door(&mut self, dc: DcId, door: Door) -> &mut DoorTraffic {
        let at = self.doors.entry((dc, door));
        at.or_insert_with(|| DoorTraffic::nothing(dc, door))
    }
}

/// A connection's place in the books.
#[derive(Debug)]
pub(super) struct Entry {
    ledger: Arc<Ledger>,
    id: u64,
}

impl Entry {
    /// A method was called.
    pub(super) fn called(&self, method: &str) {
        let mut state = self.ledger.state();
        let Some(connection) = state.open.get_mut(&self.id) else {
            return;
        };
        connection.get_file += u64::from(method == "upload.getFile");
        let (dc, door) = (connection.dc, connection.door);
        let calls = &mut state.door(dc, door).calls;
        match calls.get_mut(method) {
            Some(count) => *count += 1,
            None => drop(calls.insert(method.to_owned(), 1)),
        }
    }

    /// So many bytes were sent, with these pieces of files in them.
    pub(super) fn sent(&self, bytes: usize, pieces: &[Served]) {
        let mut state = self.ledger.state();
        let Some(connection) = state.open.get_mut(&self.id) else {
            return;
        };
        connection.bytes += bytes as u64;
        let (dc, door) = (connection.dc, connection.door);
        state.door(dc, door).bytes += bytes as u64;
        for piece in pieces {
            let file = state.files.entry((piece.file_id, piece.thumb_size));
            let file = file.or_default();
            file.pieces += 1;
            file.bytes += piece.len;
            file.bytes_again += file.ranges.add(piece.offset, piece.offset + piece.len);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.ledger.state();
        let Some(mut connection) = state.open.remove(&self.id) else {
            return;
        };
        connection.open = false;
        state.door(connection.dc, connection.door).open -= 1;
        state.closed.push_back(connection);
        if state.closed.len() > CLOSED_REMEMBERED {
            state.closed.pop_front();
        }
    }
}

/// Ranges that never touch, by their beginning.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `start..end` and says how much of it was there already.
    fn add(&mut self, start: u64, end: u64) -> u64 {
        let (mut from, mut to, mut again) = (start, end, 0);
        while let Some((begin, finish)) = self.0.range(..=to).next_back().map(|(b, f)| (*b, *f))
            && finish >= from
        {
            again += finish.min(end).saturating_sub(begin.max(start));
            from = from.min(begin);
            to = to.max(finish);
            self.0.remove(&begin);
        }
        if from < to {
            self.0.insert(from, to);
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tell_what_they_had_before() {
        let mut ranges = Ranges::default();
        for (start, end, again) in [
            (0, 10, 0),
            (20, 30, 0),
            (10, 20, 0),
            (5, 25, 20),
            (40, 50, 0),
            (25, 45, 10),
            (0, 60, 50),
            (7, 7, 0),
        ] {
            assert_eq!(ranges.add(start, end), again, "{start}..{end}");
        }
        assert_eq!(ranges.0, BTreeMap::from([(0, 60)]));
    }

    #[test]
    fn connections_are_counted_while_they_are_open_and_remembered_afterwards() {
        let ledger = Arc::new(Ledger::default());
        let open = |id| ledger.open(ConnectionId(id), DcId(2), Door::Media);
        let (first, second) = (open(0), open(1));
        first.called("upload.getFile");
        drop(first);
        let traffic = ledger.report();
        let door = traffic.door(DcId(2), Door::Media);
        assert_eq!((door.open, door.most_open, door.opened), (1, 2, 2));
        assert_eq!(door.calls_of("upload.getFile"), 1);
        let connections: Vec<_> = traffic
            .connections
            .iter()
            .map(|one| (one.id, one.open, one.get_file))
            .collect();
        assert_eq!(connections, [(0, false, 1), (1, true, 0)]);
        ledger.reset();
        let door = ledger.report().door(DcId(2), Door::Media);
        assert_eq!((door.open, door.most_open, door.opened), (1, 1, 0));
        drop(second);
        assert_eq!(ledger.report().door(DcId(2), Door::Media).open, 0);
    }
}
