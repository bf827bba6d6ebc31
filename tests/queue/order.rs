//! Who goes first.

use std::time::Duration;

use telestream::queue::{Entry, Queue, Rank, Stats};

use super::{at, drain, entry, names, shares, support::redis_server::RedisServer};

#[tokio::test]
async fn a_higher_rank_goes_first_and_then_turns_go_round() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let ranked = |name: &str, user, second, rank| Entry {
        rank,
        ..entry(name, user, second)
    };
    queue
        .put(&[
            ranked("low", 9, 0, Rank::Low),
            ranked("1-b", 1, 2, Rank::Normal),
            ranked("1-a", 1, 2, Rank::Normal),
            ranked("1-old", 1, 1, Rank::Normal),
            ranked("2-a", 2, 7, Rank::Normal),
            ranked("2-b", 2, 8, Rank::Normal),
            ranked("high", 1, 9, Rank::High),
        ])
        .await
        .unwrap();
    let order = ["high", "1-old", "2-a", "1-a", "2-b", "1-b", "low"];

    let tickets = queue.next(100, at(0), &[]).await.unwrap();
    assert_eq!(names(&tickets), order);
    assert_eq!(drain(&queue).await, order);
}

#[tokio::test]
async fn a_user_with_50_000_files_delays_a_newcomer_by_one_turn() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let many: Vec<_> = (0..50_000)
        .map(|number| entry(&format!("1-{number:05}"), 1, number))
        .collect();
    queue.put(&many).await.unwrap();
    for number in 0..10 {
        queue.admitted(&format!("uid-1-{number:05}")).await.unwrap();
    }
    queue.put(&[entry("2-new", 2, 60_000)]).await.unwrap();
    let tickets = queue.next(4, at(0), &[]).await.unwrap();
    assert_eq!(names(&tickets), ["1-00010", "2-new", "1-00011", "1-00012"]);
    let place = queue.place("uid-2-new").await.unwrap().unwrap();
    assert_eq!((place.ahead, place.of), (1, 49_991));
}

#[tokio::test]
async fn nobody_starves_while_others_come_without_end() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let waiting: Vec<_> = (0..20)
        .map(|user| entry(&format!("{user}-first"), user, 50))
        .collect();
    queue.put(&waiting).await.unwrap();
    let mut firsts = 0;
    for newcomer in 0..20 {
        // Older than all, and of a user who sorts before them: it does not help him.
        queue
            .put(&[entry(&format!("new-{newcomer}"), -1 - newcomer, 0)])
            .await
            .unwrap();
        let tickets = queue.next(1, at(0), &[]).await.unwrap();
        firsts += usize::from(tickets[0].name.ends_with("first"));
        queue.admitted(&tickets[0].uid).await.unwrap();
    }
    assert_eq!(firsts, 20);
}

#[tokio::test]
async fn who_comes_back_each_time_has_no_more_turns_than_who_waits() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let many: Vec<_> = (0..20)
        .map(|number| entry(&format!("1-{number:02}"), 1, number))
        .collect();
    queue.put(&many).await.unwrap();
    let mut order = Vec::new();
    for number in 0..20 {
        queue
            .put(&[entry(&format!("2-{:02}", number / 2), 2, 0)])
            .await
            .unwrap();
        let tickets = queue.next(1, at(0), &[]).await.unwrap();
        queue.admitted(&tickets[0].uid).await.unwrap();
        order.extend(tickets);
    }
    let shares = shares(&order);
    assert_eq!((shares["1"], shares["2"]), (10, 10), "{order:?}");
}

#[tokio::test]
async fn jobs_of_nobody_share_one_turn() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let mut entries: Vec<_> = (0..3)
        .map(|number| Entry {
            user: None,
            ..entry(&format!("hand-{number}"), 0, number)
        })
        .collect();
    entries.push(entry("5-a", 5, 10));
    entries.push(entry("5-b", 5, 11));
    queue.put(&entries).await.unwrap();
    assert_eq!(
        drain(&queue).await,
        ["hand-0", "5-a", "hand-1", "5-b", "hand-2"]
    );
}

#[tokio::test]
async fn a_delayed_entry_is_ready_when_it_is_due() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let retry = Entry {
        not_before: Some(at(10)),
        ..entry("retry", 1, 0)
    };
    queue
        .put(&[retry.clone(), entry("other", 1, 5)])
        .await
        .unwrap();
    assert_eq!(names(&queue.next(9, at(9), &[]).await.unwrap()), ["other"]);
    assert_eq!(queue.place("uid-retry").await.unwrap(), None);
    assert_eq!(
        queue.stats().await.unwrap(),
        Stats {
            ready: [0, 1, 0],
            delayed: 1,
            oldest: Some(at(0))
        }
    );

    let due = queue.next(9, at(10), &[]).await.unwrap();
    assert_eq!(names(&due), ["retry", "other"]);
    // Told again as it was, it stays ready; put off again, it is not.
    queue.put(std::slice::from_ref(&retry)).await.unwrap();
    assert_eq!(queue.next(9, at(9), &[]).await.unwrap(), due);
    let later = Entry {
        not_before: Some(at(20)),
        ..retry
    };
    queue.put(&[later]).await.unwrap();
    assert_eq!(names(&queue.next(9, at(19), &[]).await.unwrap()), ["other"]);
}

#[tokio::test]
async fn a_burst_of_retries_becomes_ready_in_parts_and_whole() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let burst: Vec<_> = (0..9_000)
        .map(|number| Entry {
            not_before: Some(at(1)),
            ..entry(&format!("{number:04}"), number % 7, 0)
        })
        .collect();
    queue.put(&burst).await.unwrap();
    for looks in 1..=9 {
        queue.next(1, at(1), &[]).await.unwrap();
        let stats = queue.stats().await.unwrap();
        assert_eq!(
            (stats.ready[1], stats.delayed),
            (looks * 1000, 9_000 - looks * 1000)
        );
    }
    assert_eq!(queue.next(20_000, at(1), &[]).await.unwrap().len(), 9_000);
}

#[tokio::test]
async fn users_at_their_limit_are_passed_over_and_keep_one_turn() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let entries: Vec<_> = (0..30)
        .map(|number| entry(&format!("{}-{number:02}", number % 3), number % 3, number))
        .collect();
    queue.put(&entries).await.unwrap();
    for _ in 0..4 {
        let tickets = queue.next(2, at(0), &[0]).await.unwrap();
        assert_eq!(shares(&tickets).len(), 2, "{tickets:?}");
        assert!(!shares(&tickets).contains_key("0"));
        for ticket in tickets {
            queue.admitted(&ticket.uid).await.unwrap();
        }
    }
    let tickets = queue.next(6, at(0), &[]).await.unwrap();
    assert!(tickets[0].name.starts_with("0-"), "{tickets:?}");
    assert!(
        shares(&tickets).values().all(|turns| *turns == 2),
        "{tickets:?}"
    );
    assert!(queue.next(9, at(0), &[0, 1, 2]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_changed_rank_moves_an_entry() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    queue
        .put(&[entry("a", 1, 0), entry("b", 2, 1)])
        .await
        .unwrap();
    let raised = Entry {
        rank: Rank::High,
        ..entry("b", 2, 1)
    };
    queue.put(&[raised]).await.unwrap();
    assert_eq!(drain(&queue).await, ["b", "a"]);
    assert_eq!(queue.stats().await.unwrap(), Stats::default());
}

#[tokio::test]
async fn doing_it_twice_changes_nothing() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let mut entries: Vec<_> = (0..12)
        .map(|number| entry(&format!("{number:02}"), number % 3, number))
        .collect();
    entries.push(Entry {
        not_before: Some(at(99)),
        ..entry("late", 1, 0)
    });
    queue.put(&entries).await.unwrap();
    queue.admitted("uid-00").await.unwrap();
    entries.remove(0);
    let before = contents(&server).await;
    let order = queue.next(99, at(0), &[]).await.unwrap();

    queue.put(&entries).await.unwrap();
    assert_eq!(contents(&server).await, before, "put");
    queue.admitted("uid-00").await.unwrap();
    assert_eq!(contents(&server).await, before, "admitted");
    queue.remove(&["uid-00", "unknown"]).await.unwrap();
    assert_eq!(contents(&server).await, before, "remove");
    queue.sync(&entries).await.unwrap();
    assert_eq!(contents(&server).await, before, "sync");
    assert_eq!(queue.next(99, at(0), &[]).await.unwrap(), order);
}

/// Everything that is in Redis.
async fn contents(server: &RedisServer) -> Vec<(String, Vec<u8>)> {
    let admin = server.admin().await;
    let mut keys: Vec<String> = admin.run("KEYS *").await;
    keys.sort();
    let mut contents = Vec::new();
    for key in keys {
        contents.push((key.clone(), admin.run(&format!("DUMP {key}")).await));
    }
    contents
}

#[tokio::test]
async fn sync_adds_what_lacks_and_removes_strangers() {
    let server = RedisServer::start(&[]);
    let queue = server.queue().await;
    let old: Vec<_> = (0..3_000)
        .map(|number| entry(&format!("old-{number}"), number % 5, number))
        .collect();
    queue.put(&old).await.unwrap();
    let mut wanted = old[2_990..].to_vec();
    wanted.push(entry("new", 77, 0));
    queue.sync(&wanted).await.unwrap();
    let mut held = drain(&queue).await;
    held.sort();
    let mut expected: Vec<_> = wanted.into_iter().map(|entry| entry.name).collect();
    expected.sort();
    assert_eq!(held, expected);
}

#[tokio::test]
async fn estimates_follow_the_pace_of_transfers() {
    let server = RedisServer::start(&[]);
    let mut settings = server.settings();
    settings.slots = 2;
    let queue = Queue::new(&settings).unwrap();
    let entries: Vec<_> = (0..4)
        .map(|number| entry(&number.to_string(), number, number))
        .collect();
    queue.put(&entries).await.unwrap();
    let estimate = async || queue.place("uid-3").await.unwrap().unwrap().estimate;
    assert_eq!(estimate().await, None);
    queue.note_duration(Duration::from_secs(8)).await.unwrap();
    // The fourth of two slots.
    assert_eq!(estimate().await, Some(Duration::from_secs(16)));
    queue.note_duration(Duration::from_secs(16)).await.unwrap();
    assert_eq!(estimate().await, Some(Duration::from_secs(18)));
}
