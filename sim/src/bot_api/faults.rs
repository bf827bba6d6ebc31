//! What goes wrong on demand: refusals, delays, lost answers, closed connections, silence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Refusal;
use crate::telegram::ids::ChatId;

/// Something that will go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The methods it befalls, such as `sendMessage`; none given means all.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The chat it befalls; none given means all, and calls without a chat.
    #[serde(default)]
    pub chat_id: Option<ChatId>,
    /// How many calls are spared first.
    #[serde(default)]
    pub skip: u32,
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
            chat_id: None,
            skip: 0,
            times: None,
            effect,
        }
    }

    /// A fault that befalls one method, `times` times.
    pub fn of_method(method: &str, times: u32, effect: Effect) -> Self {
        Self {
            methods: vec![method.to_owned()],
            times: Some(times),
            ..Self::of(effect)
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
    /// It is refused: 429 with `retry_after`, in seconds.
    TooManyRequests {
        /// After so many seconds it may be repeated.
        retry_after: u64,
    },
    /// It is refused with this error.
    Status {
        /// The HTTP status and `error_code`.
        code: u16,
        /// The whole `description`.
        description: String,
    },
    /// It is made, and the connection is closed without an answer.
    Lose,
    /// It is not made, and the connection is closed.
    Close,
    /// It is not made, and never answered.
    Hang,
    /// It is made so much later. Goes with any other effect.
    Delay {
        /// How much.
        milliseconds: u64,
    },
}

/// What befalls one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) delay: Duration,
    pub(super) mishap: Option<Mishap>,
}

/// What becomes of a call instead of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    Refuse(Refusal),
    Lose,
    Close,
    Hang,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        self.0.clone()
    }

    /// What befalls a call, counted as it is asked. Of the faults that match, the first decides;
    /// delays add up.
    pub(super) fn consult(&mut self, method: &str, chat_id: Option<ChatId>) -> Fate {
        let mut fate = Fate::default();
        for fault in &mut self.0 {
            let named = fault
                .methods
                .iter()
                .any(|one| one.eq_ignore_ascii_case(method));
            if !(fault.methods.is_empty() || named)
                || (fault.chat_id.is_some() && fault.chat_id != chat_id)
                || fault.times == Some(0)
            {
                continue;
            }
            let delays = matches!(fault.effect, Effect::Delay { .. });
            if fate.mishap.is_some() && !delays {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
            let mishap = match &fault.effect {
                Effect::Delay { milliseconds } => {
                    fate.delay += Duration::from_millis(*milliseconds);
                    continue;
                }
                Effect::TooManyRequests { retry_after } => {
                    Mishap::Refuse(Refusal::too_many(*retry_after))
                }
                Effect::Status { code, description } => {
                    Mishap::Refuse(Refusal::on_demand(*code, description.clone()))
                }
                Effect::Lose => Mishap::Lose,
                Effect::Close => Mishap::Close,
                Effect::Hang => Mishap::Hang,
            };
            fate.mishap = Some(mishap);
        }
        self.0.retain(|fault| fault.times != Some(0));
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_befalls_what_it_names_as_often_as_it_says() {
        let mut faults = Faults::default();
        faults.add(Fault {
            skip: 1,
            chat_id: Some(ChatId(5)),
            ..Fault::of_method("sendMessage", 2, Effect::Lose)
        });
        faults.add(Fault::of(Effect::Delay { milliseconds: 3 }));
        faults.add(Fault::of_method("getMe", 1, Effect::Close));
        let mut mishap = |method, chat| {
            let fate = faults.consult(method, chat);
            assert_eq!(fate.delay, Duration::from_millis(3));
            fate.mishap
        };
        let (here, there) = (Some(ChatId(5)), Some(ChatId(6)));
        assert_eq!(mishap("sendMessage", here), None, "spared");
        assert_eq!(mishap("sendMessage", there), None);
        assert_eq!(mishap("sendMessage", None), None);
        assert_eq!(mishap("sendmessage", here), Some(Mishap::Lose));
        assert_eq!(mishap("sendMessage", here), Some(Mishap::Lose));
        assert_eq!(mishap("sendMessage", here), None, "used up");
        assert_eq!(mishap("getMe", None), Some(Mishap::Close));
        assert_eq!(faults.list().len(), 1);
    }
}
