//! Which worker pods should exist. Pure: no client, no clock.

use jiff::{SignedDuration, Timestamp};

/// A dead pod keeps its slot so long: its log can be read, and a worker that cannot start is not
/// started again without end.
const DEAD_POD_REST: SignedDuration = SignedDuration::from_secs(10);

/// A slot and what is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number.
    pub number: i32,
    /// What is on it.
    pub state: SlotState,
}

/// What is on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// No pod.
    Empty,
    /// A pod that does not run yet.
    Starting,
    /// A running pod without work.
    Idle {
        /// Since when.
        since: Timestamp,
        /// Made from an older template.
        outdated: bool,
    },
    /// A running pod at work.
    Busy,
    /// A pod that is going away.
    Leaving,
    /// A pod that has ended.
    Dead {
        /// Since when.
        since: Timestamp,
        /// Its attempt's end has not been recorded yet.
        unrecorded: bool,
    },
}

/// How the pool is sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Pods kept without work.
    pub standby: usize,
    /// How long an idle pod beyond those is kept.
    pub idle_timeout: SignedDuration,
}

/// What must happen to the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolPlan {
    /// Slots that get a pod.
    pub spawn: Vec<i32>,
    /// Slots whose pod is deleted.
    pub retire: Vec<i32>,
    /// When to look again, if nothing happens before.
    pub wake: Option<Timestamp>,
}

/// Plans the pool for `waiting` jobs that no idle pod has taken.
pub fn decide(slots: &[Slot], waiting: usize, size: PoolSize, now: Timestamp) -> PoolPlan {
    let mut plan = PoolPlan::default();
    let count =
        |wanted: fn(SlotState) -> bool| slots.iter().filter(|slot| wanted(slot.state)).count();
    let busy = count(|state| matches!(state, SlotState::Busy));
    let coming = count(|state| matches!(state, SlotState::Starting));
    let mut idle = count(|state| {
        matches!(
            state,
            SlotState::Idle {
                outdated: false,
                ..
            }
        )
    });

    for slot in slots {
        let retire_at = match slot.state {
            SlotState::Idle { outdated: true, .. } => now,
            SlotState::Idle {
                since,
                outdated: false,
            } if idle > size.standby && waiting == 0 => {
                since.checked_add(size.idle_timeout).unwrap_or(now)
            }
            SlotState::Dead {
                since,
                unrecorded: false,
            } => since.checked_add(DEAD_POD_REST).unwrap_or(now),
            _ => continue,
        };
        if retire_at > now {
            plan.wake = plan.wake.into_iter().chain([retire_at]).min();
            continue;
        }
        plan.retire.push(slot.number);
        if matches!(
            slot.state,
            SlotState::Idle {
                outdated: false,
                ..
            }
        ) {
            idle -= 1;
        }
    }

    let wanted = (busy + waiting).max(size.standby);
    let missing = wanted.saturating_sub(busy + coming + idle);
    let empty = slots
        .iter()
        .filter(|slot| slot.state == SlotState::Empty)
        .map(|slot| slot.number);
    plan.spawn = empty.take(missing).collect();
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_000;
    const SIZE: PoolSize = PoolSize {
        standby: 0,
        idle_timeout: SignedDuration::from_secs(300),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn idle(since: i64) -> SlotState {
        SlotState::Idle {
            since: at(since),
            outdated: false,
        }
    }

    fn slots(states: &[SlotState]) -> Vec<Slot> {
        (0..)
            .zip(states)
            .map(|(number, state)| Slot {
                number,
                state: *state,
            })
            .collect()
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn pods_follow_the_work() {
        use SlotState::{Busy, Dead, Empty, Leaving, Starting};
        let standby = PoolSize { standby: 1, ..SIZE };
        let old = SlotState::Idle {
            since: at(NOW),
            outdated: true,
        };
        for (name, states, waiting, size, spawn, retire, wake) in [
            (
                "nothing waits",
                vec![Empty, Empty],
                0,
                SIZE,
                vec![],
                vec![],
                None,
            ),
            (
                "one waits",
                vec![Empty, Empty],
                1,
                SIZE,
                vec![0],
                vec![],
                None,
            ),
            (
                "more wait than slots",
                vec![Empty, Empty],
                9,
                SIZE,
                vec![0, 1],
                vec![],
                None,
            ),
            (
                "one is coming already",
                vec![Starting, Empty],
                1,
                SIZE,
                vec![],
                vec![],
                None,
            ),
            (
                "the busy one stays busy",
                vec![Busy, Empty, Empty],
                1,
                SIZE,
                vec![1],
                vec![],
                None,
            ),
            (
                "a slot is not free before its pod is gone",
                vec![Leaving],
                1,
                SIZE,
                vec![],
                vec![],
                None,
            ),
            (
                "standby is kept warm",
                vec![Empty, Empty],
                0,
                standby,
                vec![0],
                vec![],
                None,
            ),
            (
                "idle for long",
                vec![idle(NOW - 300), Empty],
                0,
                SIZE,
                vec![],
                vec![0],
                None,
            ),
            (
                "idle not yet for long",
                vec![idle(NOW - 299)],
                0,
                SIZE,
                vec![],
                vec![],
                Some(NOW + 1),
            ),
            (
                "the last is kept on standby",
                vec![idle(0), idle(0)],
                0,
                standby,
                vec![],
                vec![0],
                None,
            ),
            (
                "an old template goes at once",
                vec![old],
                0,
                SIZE,
                vec![],
                vec![0],
                None,
            ),
            (
                "a dead pod rests",
                vec![Dead {
                    since: at(NOW - 9),
                    unrecorded: false,
                }],
                1,
                SIZE,
                vec![],
                vec![],
                Some(NOW + 1),
            ),
            (
                "then it goes",
                vec![Dead {
                    since: at(NOW - 10),
                    unrecorded: false,
                }],
                1,
                SIZE,
                vec![],
                vec![0],
                None,
            ),
            (
                "but not unrecorded",
                vec![Dead {
                    since: at(0),
                    unrecorded: true,
                }],
                1,
                SIZE,
                vec![],
                vec![],
                None,
            ),
        ] {
            let plan = decide(&slots(&states), waiting, size, at(NOW));
            assert_eq!(
                plan,
                PoolPlan {
                    spawn,
                    retire,
                    wake: wake.map(at)
                },
                "{name}"
            );
        }
    }

    fn state() -> impl Strategy<Value = SlotState> {
        prop_oneof![
            Just(SlotState::Empty),
            Just(SlotState::Starting),
            Just(SlotState::Busy),
            Just(SlotState::Leaving),
            (0..2 * NOW, any::<bool>()).prop_map(|(since, outdated)| SlotState::Idle {
                since: at(since),
                outdated
            }),
            (0..2 * NOW, any::<bool>()).prop_map(|(since, unrecorded)| SlotState::Dead {
                since: at(since),
                unrecorded
            }),
        ]
    }

    proptest! {
        #[test]
        fn no_pod_is_made_beside_another_and_no_work_is_killed(
            states in prop::collection::vec(state(), 0..6), waiting in 0_usize..8, standby in 0_usize..4,
        ) {
            let slots = slots(&states);
            let plan = decide(&slots, waiting, PoolSize { standby, ..SIZE }, at(NOW));
            let state_of = |number: &i32| slots.iter().find(|slot| slot.number == *number).unwrap().state;
            prop_assert!(plan.spawn.iter().all(|slot| state_of(slot) == SlotState::Empty));
            let may_go = |state| matches!(state, SlotState::Idle { .. } | SlotState::Dead { unrecorded: false, .. });
            prop_assert!(plan.retire.iter().all(|slot| may_go(state_of(slot))));
        }
    }
}
