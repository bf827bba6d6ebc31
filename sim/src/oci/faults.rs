//! Misbehaviour on request: what the service does at its worst, so that clients can be tried.
//!
//! A [`Fault`] waits for requests it is about and spoils as many as it was told to. Every request
//! passes here once, after it was authenticated and before it is carried out; what it says of a
//! body is done by `mangle`, the rest in `service`. Nothing else in the stand-in misbehaves on
//! purpose.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::error::ApiError;
use super::request::Landing;
use super::route::{Call, Operation};

/// Something that will go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The operations it befalls; none given means all.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Only requests about an object whose name starts so.
    #[serde(default)]
    pub object_prefix: String,
    /// How many requests are spared first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests are spoilt; `None` means all that come.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub effect: Effect,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Effect {
    /// It is refused with this answer, and has no effect.
    Refuse {
        /// An HTTP status, 400 to 599.
        status: u16,
        /// The code in the body, such as `TooManyRequests`.
        code: String,
        /// The text in the body.
        #[serde(default)]
        message: String,
    },
    /// It is refused with this answer, which tells when to come again (`Retry-After`).
    Throttle {
        /// An HTTP status, 400 to 599.
        status: u16,
        /// The code in the body, such as `TooManyRequests`.
        code: String,
        /// After how many seconds.
        seconds: u32,
    },
    /// It is carried out, but only after so many milliseconds.
    Delay {
        /// How long.
        millis: u64,
    },
    /// It is carried out, and its connection is closed instead of the answer being sent.
    LoseReply,
    /// A PUT or POST is received, and takes effect so many milliseconds later, even if the client has
    /// given up and tried again in the meantime; sooner if [`super::ObjectStorage::land_now`] says so.
    LandLate {
        /// How long after the last byte of the body.
        millis: u64,
    },
    /// Its body is read at so many bytes a second.
    ReadSlowly {
        /// How many.
        bytes_per_second: NonZeroU64,
    },
    /// About so much of its body is read, then nothing any more, and nothing is answered; after a
    /// minute it is 408.
    StallBody {
        /// How many bytes.
        bytes: u64,
    },
    /// At most so much of its body is read, then the connection is closed.
    CutBody {
        /// How many bytes.
        bytes: u64,
    },
    /// A bit of its body is flipped on the way, as a checksum that the client sent will show.
    Garble,
    /// A bit of its body is flipped on the way, and what the client says of it is not looked at:
    /// the answer tells the checksums of what was stored.
    StoreGarbled,
    /// It is carried out well, and the answer tells wrong checksums.
    Misreport,
    /// It is carried out well, and the answer tells no checksums.
    Withhold,
}

impl Fault {
    /// A fault that befalls every request.
    pub const fn of(effect: Effect) -> Self {
        Self {
            operations: Vec::new(),
            object_prefix: String::new(),
            skip: 0,
            times: None,
            effect,
        }
    }
}

/// What befalls a body on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    Slow(NonZeroU64),
    Stall(u64),
    Cut(u64),
    Garble,
}

/// What befalls one request.
#[derive(Debug, Default)]
pub(super) struct Fate {
    pub(super) delay: Duration,
    pub(super) landing: Option<Landing>,
    pub(super) loses_reply: bool,
    pub(super) refusal: Option<ApiError>,
    pub(super) mishaps: Vec<Mishap>,
    /// What the client says of its body is not looked at.
    pub(super) unchecked: bool,
    pub(super) report: Report,
}

/// What an answer tells of checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Report {
    #[default]
    Right,
    Wrong,
    Nothing,
}

/// The faults that are waiting.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: Mutex<Vec<Fault>>,
    /// How many milliseconds every answer takes longer.
    latency: AtomicU64,
    /// Notified when what lands late is to land at once.
    late_lands: Arc<Notify>,
}

impl Faults {
    pub(super) fn land_now(&self) {
        self.late_lands.notify_waiters();
    }

    pub(super) fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// Makes every request take so much longer.
    pub(super) fn set_latency(&self, latency: Duration) {
        let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.latency.store(millis, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn waiting(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// What befalls `call`. Every fault that is about it counts it, whether it spares it or not.
    pub(super) fn consult(&self, call: &Call) -> Fate {
        let mut fate = Fate {
            delay: Duration::from_millis(self.latency.load(Ordering::Relaxed)),
            ..Fate::default()
        };
        let mut faults = self.lock();
        for fault in faults.iter_mut().filter(|fault| fault.concerns(call)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times = times.saturating_sub(1);
            }
            fate.suffer(&fault.effect, &self.late_lands);
        }
        faults.retain(|fault| fault.times != Some(0));
        fate
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    fn concerns(&self, call: &Call) -> bool {
        (self.operations.is_empty() || self.operations.contains(&call.operation))
            && call.name.starts_with(&self.object_prefix)
            && self.times != Some(0)
    }
}

impl Fate {
    fn suffer(&mut self, effect: &Effect, late_lands: &Arc<Notify>) {
        match effect {
            Effect::Refuse {
                status,
                code,
                message,
            } => {
                let status = StatusCode::from_u16(*status);
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                self.refusal = Some(ApiError::new(status, code, message));
            }
            Effect::Throttle {
                status,
                code,
                seconds,
            } => {
                let status = StatusCode::from_u16(*status);
                let status = status.unwrap_or(StatusCode::TOO_MANY_REQUESTS);
                let refusal = ApiError::new(status, code, "Come again later.");
                self.refusal = Some(refusal.with_retry_after(*seconds));
            }
            Effect::Delay { millis } => self.delay += Duration::from_millis(*millis),
            Effect::LoseReply => self.loses_reply = true,
            Effect::LandLate { millis } => {
                self.landing = Some(Landing {
                    delay: Duration::from_millis(*millis),
                    at_once: Arc::clone(late_lands),
                });
            }
            Effect::ReadSlowly { bytes_per_second } => {
                self.mishaps.push(Mishap::Slow(*bytes_per_second));
            }
            Effect::StallBody { bytes } => self.mishaps.push(Mishap::Stall(*bytes)),
            Effect::CutBody { bytes } => self.mishaps.push(Mishap::Cut(*bytes)),
            Effect::Garble => self.mishaps.push(Mishap::Garble),
            Effect::StoreGarbled => {
                self.mishaps.push(Mishap::Garble);
                self.unchecked = true;
            }
            Effect::Misreport => self.report = Report::Wrong,
            Effect::Withhold => self.report = Report::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    fn call(method: &Method, path: &str) -> Call {
        Call::parse(method, path).expect("a known path")
    }

    #[test]
    fn a_fault_spares_spoils_and_is_gone() {
        let faults = Faults::default();
        faults.add(Fault {
            operations: vec![Operation::GetObject],
            object_prefix: "a".into(),
            skip: 1,
            times: Some(2),
            effect: Effect::LoseReply,
        });
        let get = call(&Method::GET, "/n/ns/b/bkt/o/ab");
        for other in ["/n/ns/b/bkt/o/b", "/n/ns/b/bkt/o"] {
            assert!(!faults.consult(&call(&Method::GET, other)).loses_reply);
        }
        let fates: Vec<bool> = (0..4).map(|_| faults.consult(&get).loses_reply).collect();
        assert_eq!(fates, [false, true, true, false]);
        assert_eq!(faults.waiting(), []);
    }

    #[test]
    fn a_fault_is_written_as_json() {
        let json = r#"{"operations":["UploadPart"],"times":3,
            "effect":{"refuse":{"status":429,"code":"TooManyRequests"}}}"#;
        let fault: Fault = serde_json::from_str(json).expect("a fault");
        assert_eq!(fault.times, Some(3));
        let again = serde_json::to_value(&fault).expect("JSON");
        assert_eq!(
            serde_json::from_value::<Fault>(again).expect("a fault"),
            fault
        );
    }
}
