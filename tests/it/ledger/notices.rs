//! Low-balance notices: told once for each fall, in the transaction of the fall, whatever made it.
//! for it.

use std::sync::Barrier;
use std::thread;

use mizan::ledger::{AccountId, Credits, NoticeError, NoticeId, NoticeRecord};

use super::{Books, Ending, MARCH, open, request, singles};

const URL: Option<&str> = Some("https://example.com/hook");

impl Books {
    fn told(&self, account: AccountId) -> Vec<NoticeRecord> {
        self.ledger.notices(account, 100).unwrap()
    }

    /// Balances that were told, the newest first.
    fn told_at(&self, account: AccountId) -> Vec<i64> {
        self.told(account).iter().map(|notice| notice.balance.0).collect()
    }

    fn set(&self, account: AccountId, below: i64, url: Option<&str>) {
        self.ledger.set_notice(account, Some(Credits(below)), url, "test").wait().unwrap();
    }
}

#[test]
fn a_fall_is_told_once_and_again_after_a_rise() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    books.set(account, 50, URL);
    books.used_meter(account, key, 25, Ending::Closed); // 50: not below.
    assert!(books.told_at(account).is_empty());
    books.set_clock(MARCH + 7);
    books.used_meter(account, key, 1, Ending::Closed); // 48
    books.used_meter(account, key, 1, Ending::Closed); // 46
    let told = books.told(account);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].balance, told[0].threshold), (Credits(48), Credits(50)));
    assert_eq!((told[0].at_ms, told[0].next_try_ms), (MARCH + 7, Some(MARCH + 7)));
    assert_eq!((told[0].account_name.as_str(), told[0].url.as_deref()), ("alice", URL));
    let low = books.ledger.low_balance(account).unwrap().unwrap();
    assert_eq!((low.below, low.told_ms), (Some(Credits(50)), Some(MARCH + 7)));

    books.ledger.grant(account, Credits(3), "not enough", "test").wait().unwrap(); // 49
    books.used_meter(account, key, 2, Ending::Closed); // 45
    books.ledger.grant(account, Credits(5), "just enough", "test").wait().unwrap(); // 50
    assert_eq!(books.ledger.low_balance(account).unwrap().unwrap().told_ms, None);
    books.used_meter(account, key, 1, Ending::Closed); // 48
    assert_eq!(books.told_at(account), [48, 48]);
    books.assert_sound();
}

#[test]
fn a_reversal_arms_again_and_a_meter_that_is_cut_off_is_told() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    books.set(account, 50, None);
    books.used_meter(account, key, 30, Ending::Reversed); // 40, and 100 again.
    assert_eq!(books.ledger.low_balance(account).unwrap().unwrap().told_ms, None);
    books.used_meter(account, key, 40, Ending::Open); // 20
    assert_eq!(books.told_at(account), [20, 40]);
    let books = books.reopen();
    assert_eq!(books.told_at(account), [20, 40], "closing it moved no balance");
    // Without a URL there is nothing to send.
    assert_eq!(books.ledger.notices_waiting().unwrap(), 0);
    assert!(books.told(account).iter().all(|notice| notice.next_try_ms.is_none()));
    books.assert_sound();
}

#[test]
fn credits_that_are_taken_back_are_told_like_those_that_are_used() {
    let books = Books::new();
    let account = books.account("alice", 100);
    books.set(account, 50, URL);
    let correct = |credits, key| {
        books.ledger.correct(account, credits, "wrong", "test", Some(key)).wait().unwrap();
    };
    correct(-50, "a");
    assert!(books.told_at(account).is_empty());
    correct(-1, "b");
    correct(-1, "b"); // Repeated, it is done and told once.
    correct(-9, "c");
    assert_eq!(books.told_at(account), [49]);
    correct(60, "d");
    correct(-60, "e");
    assert_eq!(books.told_at(account), [40, 49]);
    books.assert_sound();
}

#[test]
fn thirty_two_streams_fall_below_once() {
    for round in 0..5 {
        let books = Books::new();
        let account = books.account("alice", 3_200);
        let key = books.key(account, None);
        books.set(account, 1_601 - round, URL);
        let start = Barrier::new(32);
        thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let meter = open(&books.ledger, request(account, key, 1)).unwrap();
                    start.wait();
                    for _ in 0..25 {
                        books.ledger.charge(meter, 0, singles(4)).wait().unwrap();
                    }
                    books.ledger.close_meter(meter, "stop").wait().unwrap();
                });
            }
        });
        assert_eq!(books.balance(account), 0);
        let told = books.told_at(account);
        assert!(told.len() == 1 && told[0] < 1_601 - round && told[0] >= 1_597 - round, "{told:?}");
        books.assert_sound();
    }
}

#[test]
fn settings_are_checked_and_the_threshold_moves() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    let set = |below: Option<i64>, url| {
        books.ledger.set_notice(account, below.map(Credits), url, "test").wait()
    };
    assert!(matches!(set(Some(0), None), Err(NoticeError::Invalid(_))));
    assert!(matches!(set(None, URL), Err(NoticeError::Invalid(_))));
    assert!(matches!(set(Some(1), Some("a\nb")), Err(NoticeError::Invalid(_))));
    let nobody = books.ledger.set_notice(AccountId(77), None, None, "test").wait();
    assert_eq!(nobody, Err(NoticeError::UnknownAccount(AccountId(77))));
    let house = books.ledger.set_notice(AccountId(1), Some(Credits(5)), None, "test").wait();
    assert!(matches!(house, Err(NoticeError::UnknownAccount(_))));

    // A threshold above the balance is no fall; the next one is told.
    set(Some(500), URL).unwrap();
    books.used_meter(account, key, 5, Ending::Closed); // 90
    assert!(books.told_at(account).is_empty());
    set(Some(80), URL).unwrap();
    books.used_meter(account, key, 10, Ending::Closed); // 70
    set(Some(80), Some("https://example.org")).unwrap(); // The same fall.
    books.used_meter(account, key, 1, Ending::Closed);
    assert_eq!(books.told_at(account), [70]);
    set(Some(60), URL).unwrap();
    books.used_meter(account, key, 10, Ending::Closed); // 48
    assert_eq!(books.told_at(account), [48, 70]);
    set(None, None).unwrap();
    let low = books.ledger.low_balance(account).unwrap().unwrap();
    assert_eq!((low.below, low.url, low.told_ms), (None, None, None));
}

#[test]
fn a_notice_waits_until_it_is_sent_or_given_up() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    books.set(account, 50, URL);
    books.used_meter(account, key, 30, Ending::Closed);
    let ledger = &books.ledger;
    let due = |now_ms| ledger.notices_due(now_ms, 10).unwrap();
    assert_eq!(due(MARCH - 1), []);
    let notice = due(MARCH)[0].id;
    ledger.notice_failed(notice, "answered 500", Some(MARCH + 60)).wait().unwrap();
    assert_eq!(due(MARCH + 59), []);
    let tried = due(MARCH + 60);
    assert_eq!((tried[0].tries, tried[0].error.as_deref()), (1, Some("answered 500")));
    assert_eq!(ledger.notices_waiting().unwrap(), 1);

    // It follows the team to its new address, and starts again there.
    books.set(account, 50, Some("https://example.org"));
    let moved = &due(MARCH)[0];
    assert_eq!((moved.url.as_deref(), moved.tries), (Some("https://example.org"), 0));
    ledger.notice_sent(notice).wait().unwrap();
    ledger.notice_sent(notice).wait().unwrap();
    let sent = &books.told(account)[0];
    assert_eq!((sent.tries, sent.sent_ms, sent.next_try_ms), (1, Some(MARCH), None));
    // A try that ends after the notice was sent, or after its URL went, changes nothing.
    ledger.notice_failed(notice, "late", Some(MARCH)).wait().unwrap();
    assert_eq!(books.told(account)[0], *sent);
    let missing = ledger.notice_sent(NoticeId(9)).wait();
    assert_eq!(missing, Err(NoticeError::UnknownNotice(NoticeId(9))));

    ledger.grant(account, Credits(60), "why", "test").wait().unwrap();
    books.used_meter(account, key, 30, Ending::Closed);
    books.set(account, 50, None);
    assert_eq!(ledger.notices_waiting().unwrap(), 0);
    books.assert_sound();
}
