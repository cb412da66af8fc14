//! Many threads on one balance, one key, one idempotency key.

use std::sync::Barrier;
use std::thread;

use mizan::ledger::{ChargeError, Credits, KeyLimit, MeterId, OpenError};

use super::{Books, group, open, request, singles};

/// Runs `work(index)` on `count` threads at once.
pub(super) fn race<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(count);
    let run = |index| {
        start.wait();
        work(index)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|index| scope.spawn(move || run(index))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// `threads` unsplittable charges of `size` on `credits`: exactly as many pass as can be paid.
fn check_overdraft(threads: usize, size: usize, credits: i64, passing: usize) {
    let books = Books::new();
    let account = books.account("alice", credits);
    let key = books.key(account, None);
    let meters: Vec<MeterId> =
        (0..threads).map(|_| open(&books.ledger, request(account, key, 1)).unwrap()).collect();
    let answers =
        race(threads, |index| books.ledger.charge(meters[index], 0, vec![group(size)]).wait());
    let size = i64::try_from(size).unwrap();
    let left = credits - size * i64::try_from(passing).unwrap();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), passing);
    for refusal in answers.into_iter().filter_map(Result::err) {
        let (needed, balance) = (Credits(size), Credits(left));
        assert_eq!(refusal, ChargeError::Insufficient { needed, balance });
    }
    assert_eq!(books.balance(account), left);
    books.assert_sound();
}

/// Stigg's figures.
#[test]
fn twenty_charges_of_75_on_500_are_six() {
    check_overdraft(20, 75, 500, 6);
}

/// new-api's issue 5690.
#[test]
fn fifty_charges_of_100_on_1000_are_ten() {
    check_overdraft(50, 100, 1_000, 10);
    check_overdraft(50, 100, 500, 5);
}

#[test]
fn a_hundred_threads_on_one_balance() {
    check_overdraft(100, 7, 333, 47);
}

/// As streams of single tokens all of it is spent, and every stream that was cut knows.
#[test]
fn twenty_streams_spend_exactly_what_there_is() {
    let books = Books::new();
    let account = books.account("alice", 500);
    let key = books.key(account, None);
    // All are open before the first one spends: the last would find nothing left otherwise.
    let meters: Vec<MeterId> =
        (0..20).map(|_| open(&books.ledger, request(account, key, 1)).unwrap()).collect();
    let charged = race(20, |index| {
        let meter = meters[index];
        let mut tokens = 0;
        let mut cut = false;
        while tokens < 75 && !cut {
            match books.ledger.charge(meter, 0, singles(2)).wait() {
                Ok(charged) => {
                    tokens += charged.tokens;
                    cut = charged.cut_by.is_some();
                }
                Err(ChargeError::Insufficient { .. }) => cut = true,
                Err(other) => panic!("{other}"),
            }
        }
        books.ledger.close_meter(meter, "stop").wait().unwrap();
        (tokens, cut)
    });
    assert_eq!(charged.iter().map(|(tokens, _)| tokens).sum::<u32>(), 500);
    assert!(charged.iter().all(|(tokens, cut)| *cut || *tokens >= 75), "{charged:?}");
    assert_eq!(books.balance(account), 0);
    books.assert_sound();
}

#[test]
fn a_hundred_threads_on_one_keys_limit() {
    let books = Books::new();
    let account = books.account("alice", 10_000);
    let key = books.key(account, Some(KeyLimit { credits: Credits(333), reset: None }));
    let meters: Vec<MeterId> =
        (0..100).map(|_| open(&books.ledger, request(account, key, 1)).unwrap()).collect();
    let answers = race(100, |index| books.ledger.charge(meters[index], 0, vec![group(7)]).wait());
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 47);
    assert_eq!(books.balance(account), 10_000 - 47 * 7);
    books.assert_sound();
}

#[test]
fn a_hundred_threads_with_one_idempotency_key_run_once() {
    let books = Books::new();
    let account = books.account("alice", 10);
    let key = books.key(account, None);
    let answers = race(100, |_| {
        let mut request = request(account, key, 1);
        request.idempotency_key = Some("once".to_owned());
        open(&books.ledger, request)
    });
    let opened: Vec<MeterId> = answers.iter().filter_map(|answer| answer.clone().ok()).collect();
    let &[meter] = opened.as_slice() else { panic!("{opened:?}") };
    let running = Err(OpenError::StillRunning(meter));
    assert_eq!(answers.iter().filter(|answer| **answer == running).count(), 99);
    books.assert_sound();
}

#[test]
fn a_hundred_threads_with_one_grant_give_it_once() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let answers = race(100, |_| {
        books.ledger.grant_once("once", account, Credits(5_000), "why", "test").wait()
    });
    assert!(answers.iter().all(|answer| *answer == Ok(Credits(5_000))), "{answers:?}");
    books.assert_sound();
}

#[test]
fn a_hundred_threads_close_and_reverse_one_meter() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    let meter = open(&books.ledger, request(account, key, 1)).unwrap();
    books.ledger.charge(meter, 0, singles(40)).wait().unwrap();
    race(100, |index| match index % 2 {
        0 => drop(books.ledger.close_meter(meter, "stop").wait()),
        _ => drop(books.ledger.reverse_meter(meter, "not sent").wait()),
    });
    assert_eq!(books.balance(account), 100);
    books.assert_sound();
}
