//! The order in plain Rust, and that Redis keeps it, whatever happens in whatever order.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use proptest::{prelude::*, test_runner::Config};
use telestream::queue::{Entry, Queue, Rank};

use super::{at, support::redis_server::RedisServer};

/// What the scripts in Redis are to do.
#[derive(Default)]
struct Model {
    /// By UID, with whether it is ready.
    entries: BTreeMap<String, (Entry, bool)>,
    /// Users who have a line in a rank, by whose turn is next.
    turns: [Vec<Option<i64>>; 3],
}

#[derive(Clone, Debug)]
enum Step {
    Put(Entry),
    Remove(String),
    Admit(usize),
    Later(i64),
}

impl Model {
    fn line(&self, rank: Rank, user: Option<i64>) -> Vec<&Entry> {
        let of_line =
            |(entry, ready): &&(Entry, bool)| *ready && entry.rank == rank && entry.user == user;
        let mut line: Vec<_> = self
            .entries
            .values()
            .filter(of_line)
            .map(|(entry, _)| entry)
            .collect();
        line.sort_by_key(|entry| (entry.created, &entry.name));
        line
    }

    fn stand_in_line(&mut self, uid: &str) {
        let (entry, ready) = self.entries.get_mut(uid).unwrap();
        *ready = true;
        let turns = &mut self.turns[entry.rank as usize];
        if !turns.contains(&entry.user) {
            turns.push(entry.user);
        }
    }

    fn put(&mut self, entry: &Entry) {
        if self
            .entries
            .get(&entry.uid)
            .is_some_and(|(old, _)| old == entry)
        {
            return;
        }
        let rank = entry.rank as usize;
        let turn = self.turns[rank].iter().position(|user| *user == entry.user);
        self.forget(&entry.uid);
        let uid = entry.uid.clone();
        self.entries.insert(uid.clone(), (entry.clone(), false));
        if entry.not_before.is_none() {
            if let Some(turn) = turn
                && !self.turns[rank].contains(&entry.user)
            {
                self.turns[rank].insert(turn, entry.user);
            }
            self.stand_in_line(&uid);
        }
    }

    fn forget(&mut self, uid: &str) -> Option<Entry> {
        let (entry, _) = self.entries.remove(uid)?;
        if self.line(entry.rank, entry.user).is_empty() {
            self.turns[entry.rank as usize].retain(|user| *user != entry.user);
        }
        Some(entry)
    }

    fn admitted(&mut self, uid: &str) {
        let Some(entry) = self.forget(uid) else {
            return;
        };
        let turns = &mut self.turns[entry.rank as usize];
        if let Some(turn) = turns.iter().position(|user| *user == entry.user) {
            turns.remove(turn);
            turns.push(entry.user);
        }
    }

    fn next(&mut self, count: usize, now: Timestamp, full: &[i64]) -> Vec<String> {
        let mut due: Vec<_> = self
            .entries
            .values()
            .filter(|(entry, ready)| !ready && entry.not_before.unwrap() <= now)
            .map(|(entry, _)| (entry.not_before, entry.uid.clone()))
            .collect();
        due.sort();
        for (_, uid) in due {
            self.stand_in_line(&uid);
        }
        let mut uids = Vec::new();
        for rank in Rank::ALL {
            let mut round: VecDeque<VecDeque<_>> = self.turns[rank as usize]
                .iter()
                .filter(|user| user.is_none_or(|user| !full.contains(&user)))
                .map(|user| self.line(rank, *user).into())
                .collect();
            while let Some(mut line) = round.pop_front() {
                if let Some(entry) = line.pop_front() {
                    uids.push(entry.uid.clone());
                    round.push_back(line);
                }
            }
        }
        uids.truncate(count);
        uids
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let rank = prop_oneof![Just(Rank::High), Just(Rank::Normal), Just(Rank::Low)];
    let user = prop::option::weighted(0.9, -2_i64..12);
    let delay = prop::option::weighted(0.3, 0_i64..100);
    (0..40_u32, user, rank, 0_i64..20, delay).prop_map(|(number, user, rank, age, delay)| Entry {
        name: format!("job-{number}"),
        uid: format!("uid-{number}"),
        user,
        rank,
        created: at(age),
        not_before: delay.map(at),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => entry().prop_map(Step::Put),
        1 => (0..40_u32).prop_map(|number| Step::Remove(format!("uid-{number}"))),
        3 => (0..4_usize).prop_map(Step::Admit),
        1 => (1..40_i64).prop_map(Step::Later),
    ]
}

/// Does the same to both, and compares the order after each step.
async fn compare(queue: &Queue, steps: Vec<Step>, full: Vec<i64>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut second = 0;
    for step in steps {
        match step {
            Step::Put(entry) => {
                model.put(&entry);
                queue.put(&[entry]).await.unwrap();
            }
            Step::Remove(uid) => {
                model.forget(&uid);
                queue.remove(&[&uid]).await.unwrap();
            }
            Step::Admit(number) => {
                let next = model.next(number + 1, at(second), &full);
                if let Some(uid) = next.last() {
                    model.admitted(uid);
                    queue.admitted(uid).await.unwrap();
                }
            }
            Step::Later(seconds) => second += seconds,
        }
        for count in [1, 3, 100] {
            let tickets = queue.next(count, at(second), &full).await.unwrap();
            let uids: Vec<_> = tickets.into_iter().map(|ticket| ticket.uid).collect();
            prop_assert_eq!(&uids, &model.next(count, at(second), &full));
        }
    }
    let order = model.next(usize::MAX, at(second), &[]);
    for (index, uid) in order.iter().enumerate() {
        let place = queue.place(uid).await.unwrap().unwrap();
        prop_assert_eq!((place.ahead, place.of), (index as u64, order.len() as u64));
    }
    let stats = queue.stats().await.unwrap();
    let ready = stats.ready.iter().sum::<u64>();
    prop_assert_eq!(ready, order.len() as u64);
    prop_assert_eq!(ready + stats.delayed, model.entries.len() as u64);
    let oldest = model.entries.values().map(|(entry, _)| entry.created).min();
    prop_assert_eq!(stats.oldest, oldest);
    Ok(())
}

#[test]
fn redis_keeps_the_order_of_the_model() {
    let server = RedisServer::start(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let queue = runtime.block_on(server.queue());
    let config = Config {
        cases: 100,
        failure_persistence: None,
        ..Config::default()
    };
    let inputs = (
        prop::collection::vec(step(), 1..80),
        prop::collection::vec(-2_i64..12, 0..3),
    );
    proptest!(config, |((steps, full) in inputs)| {
        runtime.block_on(async {
            queue.sync(&[]).await.unwrap();
            compare(&queue, steps, full).await
        })?;
    });
}
