//! Conditions of a `TransferJob`, by the Kubernetes API conventions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// A worker has been assigned; false says what it waits for.
    Admitted,
    /// The object is whole and the link was made.
    Complete,
    /// It has been given up.
    Failed,
    /// The link can be used now.
    LinkReady,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
}

impl ConditionType {
    /// The name under `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "Admitted",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::LinkReady => "LinkReady",
        }
    }
}

impl ConditionStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
        }
    }
}

/// The condition of that type, if it is there.
pub fn find_condition(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// Sets a condition, keeping the time of its last transition unless its status changes.
///
/// `generation` is the `metadata.generation` that the condition was made from.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    status: ConditionStatus,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let since = find_condition(conditions, type_)
        .filter(|old| old.status == status.as_str())
        .map_or(Time(now), |old| old.last_transition_time.clone());
    let new = Condition {
        type_: type_.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions
        .iter_mut()
        .find(|condition| condition.type_ == new.type_)
    {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        let mut set = |status, reason, second| {
            set_condition(
                &mut conditions,
                ConditionType::Admitted,
                status,
                reason,
                "",
                Some(1),
                at(second),
            );
            (
                conditions.len(),
                conditions[0].reason.clone(),
                conditions[0].last_transition_time.0,
            )
        };
        assert_eq!(
            set(ConditionStatus::False, "Queued", 1),
            (1, "Queued".into(), at(1))
        );
        assert_eq!(
            set(ConditionStatus::False, "BackingOff", 2),
            (1, "BackingOff".into(), at(1))
        );
        assert_eq!(
            set(ConditionStatus::True, "Assigned", 3),
            (1, "Assigned".into(), at(3))
        );
    }
}
