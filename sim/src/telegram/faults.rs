//! What goes wrong on demand: errors, delays, lost answers, closed connections, slow links.
//!
//! Rules are matched against calls in the one place where a connection makes them; the rate is
//! asked for in the one place where it writes. Nothing else knows of faults.

use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::DcId;

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
    /// How many calls are spared first.
    #[serde(default)]
    pub skip: u32,
    /// How many calls are spoilt; `None` means all that come.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub effect: Effect,
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
    /// It is made, and its answer comes so much later. Other rules apply as well.
    Delay {
        /// How much.
        milliseconds: u64,
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
}

/// What the rules say about one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// By how much its answer is late.
    pub(super) delay: Duration,
    /// What happens instead of, or to, its answer; never [`Effect::Delay`].
    pub(super) effect: Option<Effect>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    rate: Option<NonZeroU64>,
    latency: Duration,
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

    /// Asks the rules, oldest first, about a call. Delays add up; of all else the first that
    /// matches decides, and later ones count neither as skipped nor as spent.
    pub(super) fn judge(&self, method: &str, dc: DcId) -> Verdict {
        let mut verdict = Verdict::default();
        for fault in &mut self.state().faults {
            let is_delay = matches!(fault.effect, Effect::Delay { .. });
            if (verdict.effect.is_some() && !is_delay) || !fault.strikes(method, dc) {
                continue;
            }
            match &fault.effect {
                Effect::Delay { milliseconds } => {
                    verdict.delay += Duration::from_millis(*milliseconds);
                }
                other => verdict.effect = Some(other.clone()),
            }
        }
        verdict
    }
}

impl Fault {
    fn strikes(&mut self, method: &str, dc: DcId) -> bool {
        let here = self.dcs.is_empty() || self.dcs.contains(&dc);
        let this = self.methods.is_empty() || self.methods.iter().any(|one| one == method);
        if !here || !this {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.times {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(effect: Effect) -> Fault {
        Fault {
            methods: vec!["upload.getFile".to_owned()],
            dcs: Vec::new(),
            skip: 0,
            times: None,
            effect,
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
            .map(|_| faults.judge("upload.getFile", DcId(2)).effect)
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
            faults.judge("upload.getFile", DcId(4)).effect,
            Some(Effect::Close)
        );
        assert_eq!(faults.judge("upload.getFile", DcId(2)).effect, None);
        assert_eq!(faults.judge("help.getConfig", DcId(4)).effect, None);
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
            faults.judge("upload.getFile", DcId(2)).delay.as_millis(),
            80
        );
        assert_eq!(effects(&faults, 2), [Some(flood()), None]);
        faults.clear();
        assert_eq!(faults.judge("upload.getFile", DcId(2)), Verdict::default());
    }
}
