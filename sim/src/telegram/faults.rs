//! What goes wrong on demand: errors, delays, lost answers, closed connections, slow links, and
//! answers that come in an unusual manner, or that no client may believe.
//!
//! Rules are matched against calls in the one place where a connection makes them. What they say
//! of an answer's content is done by `spoil`, of its packet by `forge`; the rest is a [`Manner`],
//! carried out in the one place where a connection writes, which also asks here for rate and
//! latency. Nothing else knows of faults.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{DcId, Door};

/// Something that will go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The methods it befalls, such as `upload.getFile`; none given means all.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The data centres it befalls; none given means all.
    #[serde(default)]
    pub dcs: Vec<DcId>,
    /// The doors it befalls; none given means both.
    #[serde(default)]
    pub doors: Vec<Door>,
    /// How many calls are spared first.
    #[serde(default)]
    pub skip: u32,
    /// Of the calls that are left, each so-manieth is spoilt; 0 and 1 mean each.
    #[serde(default)]
    pub every: u32,
    /// How many calls are spoilt; `None` means all that come.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub effect: Effect,
}

impl Fault {
    /// A fault that befalls every call.
    pub const fn of(effect: Effect) -> Self {
        Self {
            methods: Vec::new(),
            dcs: Vec::new(),
            doors: Vec::new(),
            skip: 0,
            every: 1,
            times: None,
            effect,
        }
    }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Effect {
    /// It is not made but answered with this error, such as 420 `FLOOD_WAIT_3`.
    Error {
        /// Modelled on HTTP.
        code: i32,
        /// In capitals.
        message: String,
    },
    /// It is made, and its answer is never sent.
    Lose,
    /// The connection is closed instead.
    Close,
    /// The connection is refused instead, with a code such as -429.
    Refuse {
        /// Negative.
        code: i32,
    },
    /// It is not made but refused by the protocol itself: `bad_msg_notification`.
    BadMessage {
        /// Such as 20, for a message too old to be told from a repeated one.
        code: i32,
    },
    /// All salts given so far become worthless, then it is made.
    RotateSalts,
    /// The session is lost first, with what is unanswered and unacknowledged in it; the call is
    /// the first one of a new session.
    LoseSession,
    /// A piece of a file lacks its last bytes.
    Short {
        /// How many.
        bytes: u32,
    },
    /// A piece of a file has more bytes than were asked for.
    Long {
        /// How many more.
        bytes: u32,
    },
    /// A piece of a file has a wrong byte in it.
    WrongBytes,
    /// A piece of a file is to be had from a CDN.
    CdnRedirect,
    /// Messages with a document say this of it.
    Tell(Tale),

    /// Its answer comes so much later.
    Delay {
        /// How much.
        milliseconds: u64,
    },
    /// Its answer comes after so many later packets, but at most a second late.
    Hold {
        /// How many.
        packets: u32,
    },
    /// Its answer is packed, however little that saves.
    Pack,
    /// Its answer's packet has at least so many bytes of padding, at most 1024.
    Pad {
        /// How many; a packet is whole blocks, so up to 15 more.
        bytes: u32,
    },
    /// Its answer comes in a container, after these.
    Contain {
        /// In this order; none is a container with the answer alone.
        with: Vec<Companion>,
    },
    /// Before its answer come these, each in a packet of its own.
    Precede {
        /// In this order.
        by: Vec<Companion>,
    },
    /// Its answer comes twice: the same message in two packets.
    Twice,
    /// Its answer comes again after so long, unless it has been acknowledged.
    Redeliver {
        /// How long.
        milliseconds: u64,
    },
    /// Its answer is only announced, by `msg_detailed_info`: it comes when it is asked for by
    /// `msg_resend_req`, or when the call is repeated.
    Withhold,
    /// So much of its answer's frame is sent, then nothing any more. The connection stays open.
    Stall {
        /// How many bytes.
        #[serde(default)]
        bytes: u32,
    },
    /// So much of its answer's frame is sent, then the connection is closed.
    Cut {
        /// How many bytes.
        #[serde(default)]
        bytes: u32,
    },
    /// Its answer comes in a packet that no client may believe.
    Forge(Forgery),
}

/// A message that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Companion {
    /// `msgs_ack` of the call.
    Ack,
    /// `new_session_created`, with the call as its first message.
    NewSession,
    /// `updatesTooLong`.
    Update,
    /// `msgs_state_req` about the call.
    StateRequest,
    /// `msg_resend_req` of the call.
    ResendRequest,
    /// `msg_new_detailed_info` of a message that does not exist.
    DetailedInfo,
    /// `pong` to a ping that was never sent.
    Pong,
}

/// What a message says of its document, whatever is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Tale {
    /// It has so many bytes.
    Size {
        /// How many.
        bytes: i64,
    },
    /// It is another document, as if the message had been edited.
    Document {
        /// Which.
        id: i64,
    },
    /// It is kept at another data centre.
    DataCentre {
        /// Which.
        dc: DcId,
    },
    /// It is not to be passed on or saved.
    Protected,
    /// Its message was edited.
    Edited {
        /// When, in Unix seconds.
        date: i32,
    },
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Forgery {
    /// It names another key.
    KeyId,
    /// A bit of the ciphertext is flipped, so its message key does not match.
    MsgKey,
    /// The ciphertext is not whole blocks.
    Blocks,
    /// It belongs to another session.
    Session,
    /// The body's length is negative.
    NegativeLength,
    /// The body's length is no multiple of four.
    UnevenLength,
    /// The body's length is beyond the packet.
    LongLength,
    /// There are eight bytes of padding.
    ShortPadding,
    /// There are more than 1024 bytes of padding.
    LongPadding,
    /// Its message id is even, as a client's.
    ClientId,
    /// Its message id is ten minutes old.
    OldId,
    /// Its message id is two minutes ahead.
    FutureId,
    /// It holds a container in a container.
    NestedContainer,
    /// Its result unpacks to 64 MiB.
    GzipBomb,
    /// Its frame announces 5 MiB, more than any client may take.
    HugeFrame,
    /// A quick acknowledgement comes in its place (with Full, which has none, as bare bytes).
    QuickAck,
}

/// What a door does with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DoorConduct {
    /// They are served.
    #[default]
    Serve,
    /// They are closed at once.
    Close,
    /// They stay open, and nothing is ever read or sent.
    Ignore,
    /// They are closed at once, and `help.getConfig` does not tell of the door: as of data centres
    /// that have none for files.
    Hide,
    /// They are passed on to another server.
    PassOn {
        /// Where it listens.
        to: SocketAddrV4,
    },
}

/// Whether a key may be used on several connections of a main door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeySharing {
    /// A key that two connections use by turns is dead: 406 `AUTH_KEY_DUPLICATED` for ever.
    #[default]
    Punish,
    /// It may.
    Allow,
}

/// How an answer is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) hold: u32,
    pub(super) packed: bool,
    pub(super) pad: Option<usize>,
    pub(super) contain: Option<Vec<Companion>>,
    pub(super) precede: Vec<Companion>,
    pub(super) twice: bool,
    pub(super) redeliver: Option<Duration>,
    pub(super) withhold: bool,
    pub(super) forgery: Option<Forgery>,
    pub(super) breakage: Option<Breakage>,
}

/// What becomes of the connection once so many bytes of a frame are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breakage {
    Stall(usize),
    Cut(usize),
}

impl Manner {
    /// Whether it is none at all.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// What the rules say about one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// By how much its answer is late.
    pub(super) delay: Duration,
    /// How its answer is sent.
    pub(super) manner: Manner,
    /// What happens instead of, or to, its answer; never what the other two say.
    pub(super) effect: Option<Effect>,
}

impl Verdict {
    fn suffer(&mut self, effect: &Effect) {
        let manner = &mut self.manner;
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        match effect {
            Effect::Delay { milliseconds } => self.delay += Duration::from_millis(*milliseconds),
            Effect::Hold { packets } => manner.hold = *packets,
            Effect::Pack => manner.packed = true,
            Effect::Pad { bytes } => manner.pad = Some(size(*bytes)),
            Effect::Contain { with } => manner.contain = Some(with.clone()),
            Effect::Precede { by } => manner.precede.clone_from(by),
            Effect::Twice => manner.twice = true,
            Effect::Redeliver { milliseconds } => {
                manner.redeliver = Some(Duration::from_millis(*milliseconds));
            }
            Effect::Withhold => manner.withhold = true,
            Effect::Stall { bytes } => manner.breakage = Some(Breakage::Stall(size(*bytes))),
            Effect::Cut { bytes } => manner.breakage = Some(Breakage::Cut(size(*bytes))),
            Effect::Forge(forgery) => manner.forgery = Some(*forgery),
            other => self.effect = Some(other.clone()),
        }
    }
}

impl Effect {
    /// Whether it is about how an answer comes rather than about what happens to the call.
    const fn combines(&self) -> bool {
        !matches!(
            self,
            Self::Error { .. }
                | Self::Lose
                | Self::Close
                | Self::Refuse { .. }
                | Self::BadMessage { .. }
                | Self::RotateSalts
                | Self::LoseSession
                | Self::Short { .. }
                | Self::Long { .. }
                | Self::WrongBytes
                | Self::CdnRedirect
                | Self::Tell(_)
        )
    }
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    rate: Option<NonZeroU64>,
    latency: Duration,
    doors: HashMap<(DcId, Door), DoorConduct>,
    key_sharing: KeySharing,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    state: Mutex<State>,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("matching rules does not panic")
    }

    pub(super) fn add(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        self.state().faults.clone()
    }

    pub(super) fn clear(&self) {
        self.state().faults.clear();
    }

    /// What each connection may be sent, in bytes a second; `None` for as much as it takes.
    pub(super) fn rate(&self) -> Option<NonZeroU64> {
        self.state().rate
    }

    pub(super) fn set_rate(&self, rate: Option<NonZeroU64>) {
        self.state().rate = rate;
    }

    /// By how much every answer is late.
    pub(super) fn latency(&self) -> Duration {
        self.state().latency
    }

    pub(super) fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// What a door does with connections.
    pub(super) fn door(&self, dc: DcId, door: Door) -> DoorConduct {
        let state = self.state();
        state.doors.get(&(dc, door)).copied().unwrap_or_default()
    }

    pub(super) fn set_door(&self, dc: DcId, door: Door, conduct: DoorConduct) {
        self.state().doors.insert((dc, door), conduct);
    }

    /// Whether a key may be used on several connections of a main door.
    pub(super) fn key_sharing(&self) -> KeySharing {
        self.state().key_sharing
    }

    pub(super) fn set_key_sharing(&self, sharing: KeySharing) {
        self.state().key_sharing = sharing;
    }

    /// Asks the rules, oldest first, about a call. Delays add up and manners combine; of all else
    /// the first that matches decides, and later ones count neither as skipped nor as spent.
    pub(super) fn judge(&self, method: &str, dc: DcId, door: Door) -> Verdict {
        let mut verdict = Verdict::default();
        for fault in &mut self.state().faults {
            let counts = fault.effect.combines() || verdict.effect.is_none();
            if counts && fault.strikes(method, dc, door) {
                verdict.suffer(&fault.effect);
            }
        }
        verdict
    }
}

impl Fault {
    fn strikes(&mut self, method: &str, dc: DcId, door: Door) -> bool {
        let here = self.dcs.is_empty() || self.dcs.contains(&dc);
        let by = self.doors.is_empty() || self.doors.contains(&door);
        let this = self.methods.is_empty() || self.methods.iter().any(|one| one == method);
        if !here || !by || !this || self.times == Some(0) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.skip = self.every.saturating_sub(1);
        if let Some(left) = &mut self.times {
            *left -= 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(effect: Effect) -> Fault {
        Fault {
            methods: vec!["upload.getFile".to_owned()],
            ..Fault::of(effect)
        }
    }

    fn flood() -> Effect {
        Effect::Error {
            code: 420,
            message: "FLOOD_WAIT_3".to_owned(),
        }
    }

    fn effects(faults: &Faults, calls: usize) -> Vec<Option<Effect>> {
        (0..calls)
            .map(|_| faults.judge("upload.getFile", DcId(2), Door::Main).effect)
            .collect()
    }

    #[test]
    fn a_rule_spares_some_calls_and_spoils_some() {
        let faults = Faults::default();
        faults.add(Fault {
            skip: 1,
            times: Some(2),
            ..fault(flood())
        });
        let spoilt = Some(flood());
        assert_eq!(effects(&faults, 4), [None, spoilt.clone(), spoilt, None]);
    }

    #[test]
    fn a_rule_befalls_its_methods_and_data_centres_alone() {
        let faults = Faults::default();
        faults.add(Fault {
            dcs: vec![DcId(4)],
            ..fault(Effect::Close)
        });
        assert_eq!(
            faults.judge("upload.getFile", DcId(4), Door::Main).effect,
            Some(Effect::Close)
        );
        assert_eq!(
            faults.judge("upload.getFile", DcId(2), Door::Main).effect,
            None
        );
        assert_eq!(
            faults.judge("help.getConfig", DcId(4), Door::Main).effect,
            None
        );
    }

    #[test]
    fn delays_add_up_and_the_first_of_the_others_decides() {
        let faults = Faults::default();
        faults.add(fault(Effect::Delay { milliseconds: 30 }));
        faults.add(Fault {
            times: Some(1),
            ..fault(Effect::Lose)
        });
        faults.add(Fault {
            times: Some(1),
            ..fault(flood())
        });
        faults.add(fault(Effect::Delay { milliseconds: 50 }));
        assert_eq!(
            faults
                .judge("upload.getFile", DcId(2), Door::Main)
                .delay
                .as_millis(),
            80
        );
        assert_eq!(effects(&faults, 2), [Some(flood()), None]);
        faults.clear();
        assert_eq!(
            faults.judge("upload.getFile", DcId(2), Door::Main),
            Verdict::default()
        );
    }

    #[test]
    fn manners_combine_and_each_so_manieth_call_is_befallen() {
        let faults = Faults::default();
        faults.add(Fault {
            every: 3,
            times: Some(2),
            ..fault(Effect::Pack)
        });
        faults.add(Fault {
            doors: vec![Door::Media],
            ..fault(Effect::Twice)
        });
        let manners = (0..9).map(|_| {
            let manner = faults.judge("upload.getFile", DcId(2), Door::Media).manner;
            (manner.packed, manner.twice)
        });
        let befallen: Vec<_> = manners.map(|(packed, twice)| packed && twice).collect();
        assert_eq!(
            befallen,
            [true, false, false, true, false, false, false, false, false]
        );
        let main = faults.judge("upload.getFile", DcId(2), Door::Main);
        assert!(main.manner.is_plain());
    }

    #[test]
    fn effects_are_written_as_json() {
        for (json, effect) in [
            (r#""twice""#, Effect::Twice),
            (r#"{"stall":{}}"#, Effect::Stall { bytes: 0 }),
            (r#"{"forge":"msgKey"}"#, Effect::Forge(Forgery::MsgKey)),
            (
                r#"{"contain":{"with":["ack","newSession"]}}"#,
                Effect::Contain {
                    with: vec![Companion::Ack, Companion::NewSession],
                },
            ),
        ] {
            assert_eq!(serde_json::from_str::<Effect>(json).expect(json), effect);
        }
    }
}
