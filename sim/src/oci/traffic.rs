//! What came in, counted: requests by operation, and the bytes of every object and part, those
//! thrown away included. Tests read here that nothing was sent twice without need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::request::query_value;
use super::route::{Call, Operation};

/// Everything counted since the start, or since it was reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Requests by operation.
    pub operations: BTreeMap<String, OperationTraffic>,
    /// Bodies of `PutObject`, `LinkPut` and `UploadPart`, by bucket, object and part.
    pub bodies: Vec<BodyTraffic>,
}

impl Traffic {
    /// How many requests asked for an operation.
    pub fn requests(&self, operation: Operation) -> u64 {
        let counted = self.operations.get(&format!("{operation:?}"));
        counted.map_or(0, |counted| counted.requests)
    }

    /// The bytes received for an object and all its parts, those thrown away included.
    pub fn received(&self, object: &str) -> u64 {
        let bodies = self.bodies.iter().filter(|body| body.object == object);
        bodies.map(|body| body.bytes).sum()
    }
}

/// The requests for one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationTraffic {
    /// How many came, unauthenticated ones included.
    pub requests: u64,
    /// How many were answered, or would have been, with each status.
    pub statuses: BTreeMap<u16, u64>,
}

/// What was received for one object, or one part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BodyTraffic {
    /// The bucket.
    pub bucket: String,
    /// The object.
    pub object: String,
    /// The part's number; none for an object put at once.
    pub part: Option<u16>,
    /// How many times it was sent, wholly or not.
    pub requests: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Bytes of these that took effect, be it to be replaced later.
    pub bytes_taken: u64,
}

/// The books.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    operations: BTreeMap<String, OperationTraffic>,
    bodies: BTreeMap<Key, Counts>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    bucket: String,
    object: String,
    part: Option<u16>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    bytes: u64,
    bytes_taken: u64,
}

/// A body whose bytes are counted.
#[derive(Debug)]
pub(super) struct Entry {
    ledger: Ledger,
    key: Key,
}

impl Ledger {
    /// Notes a request.
    pub(super) fn request(&self, operation: Operation) {
        self.operation(operation, |counted| counted.requests += 1);
    }

    /// Notes how a request was answered.
    pub(super) fn answer(&self, operation: Operation, status: u16) {
        self.operation(operation, |counted| {
            *counted.statuses.entry(status).or_default() += 1;
        });
    }

    /// The entry of a request that brings bytes, and its body, which is counted as it arrives.
    pub(super) fn body(
        &self,
        call: &Call,
        query: Option<&str>,
        body: Body,
    ) -> (Option<Entry>, Body) {
        let part = match call.operation {
            Operation::PutObject | Operation::LinkPut => None,
            Operation::UploadPart => {
                query_value(query, "uploadPartNum").and_then(|number| number.parse().ok())
            }
            _ => return (None, body),
        };
        let key = Key {
            bucket: call.bucket.clone(),
            object: call.name.clone(),
            part,
        };
        self.counts(&key, |counts| counts.requests += 1);
        let entry = Entry {
            ledger: self.clone(),
            key: key.clone(),
        };
        let ledger = self.clone();
        let counted = body.into_data_stream().inspect_ok(move |frame| {
            ledger.counts(&key, |counts| counts.bytes += frame.len() as u64);
        });
        (Some(entry), Body::from_stream(counted))
    }

    /// What was counted.
    pub(super) fn report(&self) -> Traffic {
        let state = self.lock();
        let bodies = state.bodies.iter();
        Traffic {
            operations: state.operations.clone(),
            bodies: bodies
                .map(|(key, counts)| BodyTraffic {
                    bucket: key.bucket.clone(),
                    object: key.object.clone(),
                    part: key.part,
                    requests: counts.requests,
                    bytes: counts.bytes,
                    bytes_taken: counts.bytes_taken,
                })
                .collect(),
        }
    }

    /// Counts from nothing again.
    pub(super) fn reset(&self) {
        *self.lock() = State::default();
    }

    fn operation(&self, operation: Operation, count: impl FnOnce(&mut OperationTraffic)) {
        let mut state = self.lock();
        count(
            state
                .operations
                .entry(format!("{operation:?}"))
                .or_default(),
        );
    }

    fn counts(&self, key: &Key, count: impl FnOnce(&mut Counts)) {
        let mut state = self.lock();
        match state.bodies.get_mut(key) {
            Some(counts) => count(counts),
            None => count(state.bodies.entry(key.clone()).or_default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// So many bytes took effect.
    pub(super) fn taken(&self, bytes: u64) {
        self.ledger
            .counts(&self.key, |counts| counts.bytes_taken += bytes);
    }
}
