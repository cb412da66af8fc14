//! Limits of keys and their periods, and clocks that jump.

use mizan::ledger::{ChargeError, Credits, KeyLimit, LimitReset, OpenError};

use super::{Books, DAY_MS, MARCH, group, open, request, singles};

fn limit(credits: i64, reset: LimitReset) -> Option<KeyLimit> {
    Some(KeyLimit { credits: Credits(credits), reset: Some(reset) })
}

#[test]
fn a_limit_starts_again_at_midnight_in_kuwait() {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let key = books.key(account, limit(10, LimitReset::Daily));
    let meter = open(&books.ledger, request(account, key, 1)).unwrap();
    let remaining = || books.ledger.key_usage(key).unwrap().unwrap().limit_remaining.unwrap().0;

    let charged = books.ledger.charge(meter, 0, singles(12)).wait().unwrap();
    assert_eq!(charged.groups, 10);
    assert_eq!(
        open(&books.ledger, request(account, key, 1)),
        Err(OpenError::KeyLimit {
            needed: Credits(1),
            remaining: Credits(0),
            resets_ms: Some(MARCH + DAY_MS)
        })
    );
    books.set_clock(MARCH + DAY_MS - 1);
    let refused = books.ledger.charge(meter, 0, singles(1)).wait();
    let (needed, zero) = (Credits(1), Credits(0));
    assert_eq!(refused, Err(ChargeError::KeyLimit { needed, remaining: zero }));
    assert_eq!(remaining(), 0);

    // The same meter goes on, and what it used yesterday no longer counts.
    books.set_clock(MARCH + DAY_MS);
    assert_eq!(remaining(), 10);
    books.ledger.charge(meter, 0, singles(4)).wait().unwrap();
    assert_eq!(remaining(), 6);
    books.assert_sound();

    // Giving it back frees only today's part of it.
    books.ledger.reverse_meter(meter, "not sent").wait().unwrap();
    assert_eq!(remaining(), 10);
    assert_eq!(books.balance(account), 1_000);
    books.assert_sound();
}

#[test]
fn a_reversal_of_yesterdays_request_gives_today_nothing() {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let key = books.key(account, limit(10, LimitReset::Daily));
    let old = open(&books.ledger, request(account, key, 1)).unwrap();
    books.ledger.charge(old, 0, singles(7)).wait().unwrap();
    books.set_clock(MARCH + DAY_MS);
    let new = open(&books.ledger, request(account, key, 1)).unwrap();
    books.ledger.charge(new, 0, singles(5)).wait().unwrap();
    books.ledger.reverse_meter(old, "not sent").wait().unwrap();
    let usage = books.ledger.key_usage(key).unwrap().unwrap();
    assert_eq!((usage.usage.0, usage.limit_remaining), (5, Some(Credits(5))));
    books.assert_sound();
}

#[test]
fn usage_is_shown_by_day_week_and_month() {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let key = books.key(account, None);
    // In order: February; Saturday, the last of February; Sunday, the first of March; now, Monday.
    for (before_days, tokens) in [(20, 1), (2, 10), (1, 100), (0, 500)] {
        books.set_clock(MARCH + DAY_MS - before_days * DAY_MS);
        let meter = open(&books.ledger, request(account, key, 1)).unwrap();
        books.ledger.charge(meter, 0, vec![group(tokens)]).wait().unwrap();
    }
    let usage = books.ledger.key_usage(key).unwrap().unwrap();
    let figures = (usage.usage.0, usage.daily.0, usage.weekly.0, usage.monthly.0);
    assert_eq!(figures, (611, 500, 500, 600));
    assert_eq!(usage.limit_remaining, None);
    books.set_clock(MARCH);
    let usage = books.ledger.key_usage(key).unwrap().unwrap();
    assert_eq!(usage.weekly.0, 610);
}

/// Jumping around midnight must not hand out a period twice.
#[test]
fn a_clock_that_jumps_back_opens_no_period_again() {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let key = books.key(account, limit(10, LimitReset::Daily));
    let meter = open(&books.ledger, request(account, key, 1)).unwrap();
    books.set_clock(MARCH + DAY_MS);
    books.ledger.charge(meter, 0, vec![group(10)]).wait().unwrap();
    for now_ms in [MARCH, MARCH + DAY_MS, MARCH - 40 * DAY_MS, 0, i64::MIN] {
        books.set_clock(now_ms);
        let refused = books.ledger.charge(meter, 0, vec![group(1)]).wait();
        assert!(matches!(refused, Err(ChargeError::KeyLimit { .. })), "{now_ms}: {refused:?}");
        books.assert_sound();
    }
    books.ledger.close_meter(meter, "stop").wait().unwrap();
    books.assert_sound();
}

#[test]
fn the_books_hold_whatever_the_clock_says() {
    let mut books = Books::new();
    let account = books.account("alice", 1_000);
    let key = books.key(account, limit(500, LimitReset::Monthly));
    for now_ms in [i64::MAX, i64::MIN, -1, MARCH, i64::MAX, MARCH] {
        books.set_clock(now_ms);
        let meter = open(&books.ledger, request(account, key, 1)).unwrap();
        books.ledger.charge(meter, 0, singles(3)).wait().unwrap();
        books.ledger.key_usage(key).unwrap().unwrap();
        books = books.reopen();
        books.assert_sound();
    }
    assert_eq!(books.balance(account), 1_000 - 18);
}
