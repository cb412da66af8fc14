//! The check that runs beside the writer finds what the whole check finds, and says so.

use std::thread;
use std::time::{Duration, Instant};

use super::{Books, Ending, open, request, singles};

/// The first check that ends.
fn next_check(books: &Books) -> mizan::ledger::Checked {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(checked) = books.ledger.last_check() {
            return checked;
        }
        assert!(Instant::now() < deadline, "no check has ended");
        thread::yield_now();
    }
}

#[test]
fn books_in_use_are_found_right() {
    let books = Books::new();
    let account = books.account("alice", 100_000);
    let key = books.key(account, None);
    assert_eq!(books.ledger.last_check(), None);
    let watch = books.ledger.watch(Duration::ZERO, Duration::from_millis(1)).unwrap();
    for _ in 0..200 {
        books.used_meter(account, key, 2, Ending::Closed);
        books.used_meter(account, key, 1, Ending::Reversed);
    }
    let checked = next_check(&books);
    assert!(checked.is_ok);
    assert_eq!(checked.at_ms, super::MARCH);
    drop(watch);
    books.ledger.shutdown();
}

#[test]
fn every_damage_is_found_in_parts_too() {
    for sql in [
        "UPDATE transfer SET amount=amount+1 WHERE seq=2",
        "DELETE FROM transfer WHERE seq=2",
        "UPDATE meter SET used=used+2 WHERE rowid=1",
        "UPDATE account SET balance=balance+1 WHERE id=4",
        "UPDATE api_key SET used=used+1 WHERE id=1",
        "INSERT INTO charge VALUES(zeroblob(16),0,0,zeroblob(4))",
        "UPDATE api_key SET limit_credits=-1 WHERE id=1",
    ] {
        let books = Books::new();
        let account = books.account("alice", 1_000);
        let key = books.key(account, None);
        books.used_meter(account, key, 5, Ending::Closed);
        books.used_meter(account, key, 5, Ending::Closed);
        let conn = books.raw();
        for trigger in super::strings(&conn, "SELECT name FROM sqlite_schema WHERE type='trigger'")
        {
            conn.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
        conn.pragma_update(None, "foreign_keys", false).unwrap();
        conn.execute_batch(sql).unwrap();
        drop(conn);
        let _watch = books.ledger.watch(Duration::ZERO, Duration::from_secs(3_600)).unwrap();
        assert!(!next_check(&books).is_ok, "{sql}");
    }
}

#[test]
fn a_watch_ends_when_it_is_dropped() {
    let books = Books::new();
    let watch = books.ledger.watch(Duration::from_secs(3_600), Duration::from_secs(1)).unwrap();
    drop(watch);
    assert_eq!(books.ledger.last_check(), None);
}

#[test]
fn a_check_that_is_asked_for_is_one_at_a_time_and_ends_with_the_books() {
    let books = Books::new();
    let account = books.account("alice", 100_000);
    let key = books.key(account, None);
    for _ in 0..50 {
        books.used_meter(account, key, 2, Ending::Closed);
    }
    for _ in 0..8 {
        books.ledger.start_check().unwrap();
    }
    let checked = next_check(&books);
    assert!(checked.is_ok && checked.problem.is_none() && checked.damages == 0);
    assert_eq!(checked.transfers, 51);
    while books.ledger.check_status().is_running {
        thread::yield_now();
    }
    books.ledger.start_check().unwrap();
    books.ledger.shutdown();
    assert!(!books.ledger.check_status().is_running);
}

/// What the metrics show.
#[test]
fn commits_are_timed() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    let meter = open(&books.ledger, request(account, key, 1)).unwrap();
    books.ledger.charge(meter, 0, singles(1)).wait().unwrap();
    let stats = books.ledger.stats();
    assert_eq!(stats.commit_times.counts.iter().sum::<u64>(), stats.commits);
    assert!(stats.commit_times.sum_micros > 0 && books.ledger.wal_bytes() > 0);
}
