//! Paid ids that are not to be kept go in the transaction that closes their meter.

use std::sync::Arc;
use std::time::Duration;

use mizan::ledger::{Ledger, LedgerOptions, OpenError};

use super::{Books, open, options, request, singles};

/// Books that keep no ids.
fn forgetful(books: Books) -> Books {
    let Books { ledger, clock, folder } = books;
    ledger.shutdown();
    let path = folder.path().join("ledger.db");
    let options =
        LedgerOptions { retain_ids: Some(Duration::ZERO), ..options(&Arc::clone(&clock)) };
    let ledger = Ledger::open(&path, options).unwrap();
    Books { ledger, clock, folder }
}

#[test]
fn ids_go_with_their_meter_and_their_hash_stays() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    let books = forgetful(books);
    for name in ["a", "b"] {
        let idempotency_key = Some(name.to_owned());
        let asked = mizan::ledger::MeterRequest { idempotency_key, ..request(account, key, 1) };
        let meter = open(&books.ledger, asked.clone()).unwrap();
        books.ledger.charge(meter, 0, singles(3)).wait().unwrap();
        let ids = |books: &Books| books.ledger.generation(account, meter).unwrap().unwrap();
        assert!(ids(&books).token_ids.is_some(), "while it is open they are needed");
        books.ledger.close_meter(meter, "stop").wait().unwrap();
        let record = ids(&books);
        assert_eq!((record.token_ids, record.output_tokens), (None, 3));
        assert!(record.ids_sha256.is_some());
        // A repeat is known, and its answer is gone.
        assert_eq!(open(&books.ledger, asked), Err(OpenError::Replay(meter)));
    }
    books.assert_sound();
    let bounds = super::strings(&books.raw(), "SELECT 'x' FROM purge");
    assert_eq!(bounds.len(), 1, "one bound, however many requests");
    assert_eq!(books.ledger.verify().unwrap().token_ids, 0);
}

/// What was left open is closed at the next start, by the rule of that start.
#[test]
fn recovery_keeps_no_ids_either() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    let meter = open(&books.ledger, request(account, key, 1)).unwrap();
    books.ledger.charge(meter, 0, singles(3)).wait().unwrap();
    let books = forgetful(books);
    let record = books.ledger.generation(account, meter).unwrap().unwrap();
    assert_eq!((record.token_ids, record.output_tokens), (None, 3));
    books.assert_sound();
}
