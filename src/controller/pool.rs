//! Which worker pods should exist. Pure: no client, no clock.

use jiff::{SignedDuration, Timestamp};

/// A pod that does not come to run in so long is tried anew.
const START_LIMIT: SignedDuration = SignedDuration::from_mins(10);

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
    /// No pod, and one may be made.
    Empty,
    /// No pod, and none may be made: the slot has no session, or is not wanted any more.
    Unusable,
    /// No pod, and its end is proven, but the ledger does not say so yet.
    Vacated,
    /// No pod, and nothing is known of the end of the one that was there: it may still be at work.
    Closed {
        /// It cannot after this time.
        until: Timestamp,
    },
    /// A pod that does not run yet.
    Starting {
        /// Since when.
        since: Timestamp,
        /// Made from an older template, or with an older session.
        outdated: bool,
    },
    /// A running pod without work.
    Idle {
        /// Since when.
        since: Timestamp,
        /// Made from an older template, or with an older session.
        outdated: bool,
    },
    /// A running pod at work.
    Busy,
    /// A pod that is going away.
    Leaving,
    /// A pod that has ended.
    Dead {
        /// It is left there until then: its log can be read, and a worker that cannot start is not
        /// started again without end.
        rest_until: Timestamp,
        /// Its attempt's end has not been recorded yet.
        unrecorded: bool,
    },
}

impl SlotState {
    /// All that [`Self::name`] returns.
    pub const NAMES: [&str; 9] = [
        "empty", "unusable", "vacated", "closed", "starting", "idle", "busy", "leaving", "dead",
    ];

    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unusable => "unusable",
            Self::Vacated => "vacated",
            Self::Closed { .. } => "closed",
            Self::Starting { .. } => "starting",
            Self::Idle { .. } => "idle",
            Self::Busy => "busy",
            Self::Leaving => "leaving",
            Self::Dead { .. } => "dead",
        }
    }
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
    /// Slots that the ledger says no more are held.
    pub release: Vec<i32>,
    /// When to look again, if nothing happens before.
    pub wake: Option<Timestamp>,
}

/// Plans the pool for `waiting` jobs that no idle pod has taken.
pub fn decide(slots: &[Slot], waiting: usize, size: PoolSize, now: Timestamp) -> PoolPlan {
    let mut plan = PoolPlan::default();
    let count =
        |wanted: fn(SlotState) -> bool| slots.iter().filter(|slot| wanted(slot.state)).count();
    let busy = count(|state| matches!(state, SlotState::Busy));
    let coming = count(|state| {
        matches!(
            state,
            SlotState::Starting {
                outdated: false,
                ..
            }
        )
    });
    let mut idle = count(is_fresh_idle);

    for slot in slots {
        let retire_at = match slot.state {
            SlotState::Vacated => {
                plan.release.push(slot.number);
                continue;
            }
            SlotState::Idle { outdated: true, .. } | SlotState::Starting { outdated: true, .. } => {
                now
            }
            SlotState::Idle { since, .. } if idle > size.standby && waiting == 0 => {
                later(since, size.idle_timeout)
            }
            SlotState::Starting { since, .. } => later(since, START_LIMIT),
            SlotState::Dead {
                rest_until,
                unrecorded: false,
            } => rest_until,
            SlotState::Closed { until } => {
                plan.wake = plan.wake.into_iter().chain([until]).min();
                continue;
            }
            _ => continue,
        };
        if retire_at > now {
            plan.wake = plan.wake.into_iter().chain([retire_at]).min();
            continue;
        }
        plan.retire.push(slot.number);
        if is_fresh_idle(slot.state) {
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

fn is_fresh_idle(state: SlotState) -> bool {
    matches!(
        state,
        SlotState::Idle {
            outdated: false,
            ..
        }
    )
}

fn later(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
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
        use SlotState::{Busy, Closed, Dead, Empty, Leaving, Unusable, Vacated};
        let starting = SlotState::Starting {
            since: at(NOW - 1),
            outdated: false,
        };
        let start_limit = NOW - 1 + START_LIMIT.as_secs();
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
                vec![starting, Empty],
                1,
                SIZE,
                vec![],
                vec![],
                Some(start_limit),
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
                    rest_until: at(NOW + 1),
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
                    rest_until: at(NOW),
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
                    rest_until: at(0),
                    unrecorded: true,
                }],
                1,
                SIZE,
                vec![],
                vec![],
                None,
            ),
            (
                "a pod that does not start is tried anew",
                vec![SlotState::Starting {
                    since: at(NOW) - START_LIMIT,
                    outdated: false,
                }],
                1,
                SIZE,
                vec![],
                vec![0],
                None,
            ),
            (
                "one that cannot start goes when there is a newer template",
                vec![SlotState::Starting {
                    since: at(NOW),
                    outdated: true,
                }],
                1,
                SIZE,
                vec![],
                vec![0],
                None,
            ),
            (
                "a slot without a session or on which a stray may be gets none",
                vec![Unusable, Closed { until: at(NOW + 5) }, Leaving],
                3,
                SIZE,
                vec![],
                vec![],
                Some(NOW + 5),
            ),
        ] {
            let plan = decide(&slots(&states), waiting, size, at(NOW));
            assert_eq!(
                plan,
                PoolPlan {
                    spawn,
                    retire,
                    release: vec![],
                    wake: wake.map(at)
                },
                "{name}"
            );
        }
        let plan = decide(&slots(&[Vacated]), 1, SIZE, at(NOW));
        assert_eq!(
            (plan.release, plan.spawn),
            (vec![0], vec![]),
            "crossed out before it is used again"
        );
    }

    fn state() -> impl Strategy<Value = SlotState> {
        prop_oneof![
            Just(SlotState::Empty),
            Just(SlotState::Busy),
            Just(SlotState::Unusable),
            Just(SlotState::Vacated),
            (0..2 * NOW).prop_map(|until| SlotState::Closed { until: at(until) }),
            (0..2 * NOW, any::<bool>()).prop_map(|(since, outdated)| SlotState::Starting {
                since: at(since),
                outdated
            }),
            Just(SlotState::Leaving),
            (0..2 * NOW, any::<bool>()).prop_map(|(since, outdated)| SlotState::Idle {
                since: at(since),
                outdated
            }),
            (0..2 * NOW, any::<bool>()).prop_map(|(rest_until, unrecorded)| SlotState::Dead {
                rest_until: at(rest_until),
                unrecorded
            }),
        ]
    }

    /// The slots when all that was planned has been done, and nodes have not done anything yet.
    fn carry_out(slots: &mut [Slot], plan: &PoolPlan, now: Timestamp) {
        for slot in slots {
            if plan.spawn.contains(&slot.number) {
                slot.state = SlotState::Starting {
                    since: now,
                    outdated: false,
                };
            } else if plan.retire.contains(&slot.number) {
                slot.state = match slot.state {
                    // Its entry in the ledger goes first.
                    SlotState::Dead { .. } => SlotState::Empty,
                    _ => SlotState::Leaving,
                };
            } else if plan.release.contains(&slot.number) {
                slot.state = SlotState::Empty;
            }
        }
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
            let may_go = |state| matches!(
                state,
                SlotState::Idle { .. } | SlotState::Starting { .. } | SlotState::Dead { unrecorded: false, .. }
            );
            prop_assert!(plan.retire.iter().all(|slot| may_go(state_of(slot))));
        }

        #[test]
        fn following_the_plans_comes_to_rest(
            states in prop::collection::vec(state(), 0..6), waiting in 0_usize..8, standby in 0_usize..4,
        ) {
            let size = PoolSize { standby, ..SIZE };
            let mut slots = slots(&states);
            // A slot may be released or cleared, and then get a pod.
            for _ in 0..3 {
                let plan = decide(&slots, waiting, size, at(NOW));
                prop_assert_eq!(&plan, &decide(&slots, waiting, size, at(NOW)), "deciding twice decides the same");
                let before = slots.clone();
                carry_out(&mut slots, &plan, at(NOW));
                let again = decide(&slots, waiting, size, at(NOW));
                for slot in &before {
                    let number = &slot.number;
                    prop_assert!(!(plan.spawn.contains(number) && again.spawn.contains(number)));
                    prop_assert!(!(plan.retire.contains(number) && again.retire.contains(number)));
                    prop_assert!(!(plan.release.contains(number) && again.release.contains(number)));
                }
            }
            let rest = decide(&slots, waiting, size, at(NOW));
            prop_assert_eq!(&rest, &PoolPlan { wake: rest.wake, ..PoolPlan::default() });
        }

        #[test]
        fn whoever_waits_gets_a_pod_if_a_slot_can_have_one(
            states in prop::collection::vec(state(), 1..6), waiting in 0_usize..8, standby in 0_usize..4,
        ) {
            let size = PoolSize { standby, ..SIZE };
            let (mut slots, mut waiting, mut now) = (slots(&states), waiting, at(NOW));
            for _ in 0..20 {
                for slot in &mut slots {
                    match slot.state {
                        SlotState::Idle { outdated: false, .. } if waiting > 0 => {
                            waiting -= 1;
                            slot.state = SlotState::Busy;
                        }
                        // What nodes and the lifecycle do
                        SlotState::Leaving => slot.state = SlotState::Vacated,
                        SlotState::Starting { outdated: false, .. } => slot.state = idle(NOW),
                        SlotState::Dead { rest_until, .. } => {
                            slot.state = SlotState::Dead { rest_until, unrecorded: false };
                        }
                        SlotState::Closed { until } if until <= now => slot.state = SlotState::Vacated,
                        _ => {}
                    }
                }
                let plan = decide(&slots, waiting, size, now);
                now = plan.wake.map_or(now, |wake| wake.max(now));
                carry_out(&mut slots, &plan, now);
            }
            let are_used = slots.iter().all(|slot| matches!(slot.state, SlotState::Busy | SlotState::Unusable));
            prop_assert!(waiting == 0 || are_used, "{waiting} wait: {slots:?}");
            // Nor is more kept than is wanted.
            let spare = slots.iter().filter(|slot| is_fresh_idle(slot.state)).count();
            prop_assert!(waiting > 0 || spare <= standby, "{slots:?}");
        }
    }
}
