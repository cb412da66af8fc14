//! Reads: what they show, that they never get in the writer's way, and that they never fail busy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mizan::ledger::{
    Credits, KeyId, KeyLimit, Ledger, LedgerOptions, LimitReset, MeterState, NewKeyRequest,
    verify_file,
};

use super::{Books, MARCH, open, request, singles};

#[test]
fn a_key_is_found_by_its_secret_alone() {
    let books = Books::new();
    let account = books.account("alice", 10);
    let limit = KeyLimit { credits: Credits(5), reset: Some(LimitReset::Weekly) };
    let key = books
        .ledger
        .create_key(
            NewKeyRequest { limit: Some(limit), ..NewKeyRequest::new(account, "laptop") },
            "test",
        )
        .wait()
        .unwrap();
    let found = books.ledger.find_key(&key.secret).unwrap().unwrap();
    assert_eq!((found.id, found.account, found.limit), (key.id, account, Some(limit)));
    assert_eq!((found.account_name.as_str(), found.label.as_str()), ("alice", "laptop"));
    assert_eq!((found.plan.as_str(), found.prefix.as_str()), ("default", key.prefix.as_str()));
    assert!(!found.revoked && !found.account_closed && found.created_ms == MARCH);
    assert_eq!(books.ledger.keys(account).unwrap(), [found]);

    let mut other = key.secret.clone();
    other.pop();
    for wrong in ["", "mz-", key.prefix.as_str(), other.as_str(), "'; DROP TABLE account; --"] {
        assert_eq!(books.ledger.find_key(wrong).unwrap(), None, "{wrong}");
    }
    books.ledger.revoke_key(key.id, "test").wait().unwrap();
    books.ledger.close_account(account, "test").wait().unwrap();
    let found = books.ledger.find_key(&key.secret).unwrap().unwrap();
    assert!(found.revoked && found.account_closed);
    assert!(!books.dump().iter().any(|row| row.contains(&key.secret)), "the secret was stored");
    assert_eq!(books.ledger.key_usage(KeyId(99)).unwrap(), None);
}

#[test]
fn a_generation_shows_what_was_paid_for() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    let mut asked = request(account, key, 2);
    asked.idempotency_key = Some("once".to_owned());
    let meter = open(&books.ledger, asked.clone()).unwrap();
    books.ledger.charge(meter, 1, vec![vec![u32::MAX, 5]]).wait().unwrap();
    books.ledger.charge(meter, 0, vec![vec![3]]).wait().unwrap();
    books.ledger.charge(meter, 1, vec![vec![6], vec![7]]).wait().unwrap();
    let record = books.ledger.generation(account, meter).unwrap().unwrap();
    let ids = BTreeMap::from([(0, vec![3]), (1, vec![u32::MAX, 5, 6, 7])]);
    assert_eq!(record.token_ids, Some(ids.clone()));
    assert_eq!((record.state, record.finish_reason), (MeterState::Open, None));

    books.set_clock(MARCH + 5);
    books.ledger.close_meter(meter, "length").wait().unwrap();
    let record = books.ledger.generation(account, meter).unwrap().unwrap();
    assert_eq!(record.token_ids, Some(ids));
    assert_eq!((record.output_tokens, record.credits), (5, Credits(10)));
    assert_eq!((record.id, record.account, record.key), (meter, account, key));
    assert_eq!((record.model, record.model_digest), (asked.model, asked.model_digest));
    assert_eq!((record.credits_per_token, record.input_tokens), (2, 30));
    assert_eq!((record.idempotency_key, record.body_hash), (asked.idempotency_key, [1; 32]));
    assert_eq!((record.opened_ms, record.closed_ms), (MARCH, Some(MARCH + 5)));
    assert_eq!(
        (record.state, record.finish_reason.as_deref()),
        (MeterState::Closed, Some("length"))
    );
    assert!(record.ids_sha256.is_some() && record.streamed);

    assert!(books.ledger.purge_ids(MARCH + 5).wait().unwrap().meters == 0, "not old enough");
    assert!(books.ledger.purge_ids(MARCH + 6).wait().unwrap().meters == 1);
    let record = books.ledger.generation(account, meter).unwrap().unwrap();
    assert_eq!((record.token_ids, record.output_tokens), (None, 5));
    books.assert_sound();
}

/// The writer purges and checkpoints when it has nothing to do.
#[test]
fn old_ids_go_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let options = || LedgerOptions {
        idle: Duration::from_millis(1),
        ..LedgerOptions::new(Duration::from_secs(0))
    };
    let ledger = Ledger::open(&path, options()).unwrap();
    let account = ledger.create_account("alice", "default", "test").wait().unwrap();
    ledger.grant(account, Credits(1_000), "why", "test").wait().unwrap();
    let key = ledger.create_key(NewKeyRequest::new(account, "key"), "test").wait().unwrap().id;
    let meters: Vec<_> =
        (0..100).map(|_| open(&ledger, request(account, key, 1)).unwrap()).collect();
    for meter in &meters {
        ledger.charge(*meter, 0, singles(2)).wait().unwrap();
        ledger.close_meter(*meter, "stop").wait().unwrap();
    }
    ledger.shutdown();
    // A fresh start looks for old ids at once; the two batches it takes are watched from outside.
    let ledger = Ledger::open(&path, options()).unwrap();
    let left = || {
        let has_ids =
            |meter| ledger.generation(account, meter).unwrap().unwrap().token_ids.is_some();
        meters.iter().filter(|meter| has_ids(**meter)).count()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while left() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} meters still have ids", left());
        thread::yield_now();
    }
    let report = ledger.verify().unwrap();
    assert!(report.is_ok() && report.token_ids == 0, "{report:?}");
}

/// 64 readers, checkpoints and a verification beside a busy writer: nobody is ever told "busy".
#[test]
fn readers_and_the_writer_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let options = LedgerOptions {
        checkpoint_rows: 200,
        idle: Duration::from_millis(1),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::open(&path, options).unwrap();
    let account = ledger.create_account("alice", "default", "test").wait().unwrap();
    ledger.grant(account, Credits(1_000_000), "why", "test").wait().unwrap();
    let key = ledger.create_key(NewKeyRequest::new(account, "key"), "test").wait().unwrap();
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while writing.load(Ordering::SeqCst) {
                    let totals = ledger.account_totals(account).unwrap().unwrap();
                    assert_eq!(totals.total_credits.0 - totals.total_usage.0, totals.balance.0);
                    ledger.find_key(&key.secret).unwrap().unwrap();
                    ledger.key_usage(key.id).unwrap().unwrap();
                }
            });
        }
        scope.spawn(|| {
            while writing.load(Ordering::SeqCst) {
                assert!(ledger.verify().unwrap().is_ok());
                assert!(verify_file(&path).unwrap().is_ok());
            }
        });
        for _ in 0..50 {
            let meter = open(&ledger, request(account, key.id, 1)).unwrap();
            for _ in 0..10 {
                ledger.charge(meter, 0, singles(3)).wait().unwrap();
            }
            ledger.close_meter(meter, "stop").wait().unwrap();
        }
        writing.store(false, Ordering::SeqCst);
    });
    assert_eq!(ledger.account_totals(account).unwrap().unwrap().total_usage, Credits(1_500));
    assert!(ledger.healthy());
}

/// `mizan ledger verify` works on the books of a running server, of a stopped one and of a killed
/// one, and changes none of them.
#[test]
fn books_are_verified_from_outside() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    let meter = open(&books.ledger, request(account, key, 1)).unwrap();
    books.ledger.charge(meter, 0, singles(3)).wait().unwrap();
    let report = verify_file(&books.path()).unwrap();
    assert!(report.is_ok(), "{report:?}");
    assert_eq!((report.meters, report.open_meters, report.token_ids), (1, 1, 3));
    assert_eq!((report.transfers, report.accounts, report.keys), (1, 5, 1));

    let killed = tempfile::tempdir().unwrap();
    let copy = killed.path().join("ledger.db");
    std::fs::copy(books.path(), &copy).unwrap();
    std::fs::copy(books.path().with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
    let before = std::fs::read(copy.with_extension("db-wal")).unwrap();
    assert_eq!(verify_file(&copy).unwrap(), report);
    assert_eq!(std::fs::read(copy.with_extension("db-wal")).unwrap(), before);

    books.ledger.shutdown();
    assert_eq!(verify_file(&books.path()).unwrap(), report);
    assert!(verify_file(&killed.path().join("nothing.db")).is_err());
}
