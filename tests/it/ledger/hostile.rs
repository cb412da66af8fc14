//! SQL and arguments that must not get through: the database refuses what the code would never ask.

use mizan::ledger::{
    AccountError, AccountId, Credits, GrantError, KeyError, KeyId, KeyLimit, Ledger, LedgerError,
    NewKeyRequest, OpenError, Unavailable,
};
use rusqlite::Connection;

use super::{Books, Ending, open, options, request};

/// Books with a closed, a reversed and an open meter.
fn used_books() -> (Books, AccountId) {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let key = books.key(account, None);
    books.used_meter(account, key, 10, Ending::Closed);
    books.used_meter(account, key, 20, Ending::Reversed);
    // More ids than there is room for beside it, and then some.
    let open = books.used_meter(account, key, 70, Ending::Open);
    books.ledger.charge(open, 0, vec![vec![7; 5]]).wait().unwrap();
    books.assert_sound();
    (books, account)
}

/// Every statement fails, on a connection as the ledger's own, and changes nothing.
#[test]
fn the_database_refuses_to_rewrite_history() {
    let (books, _) = used_books();
    let conn = books.raw();
    conn.pragma_update(None, "recursive_triggers", true).unwrap();
    conn.pragma_update(None, "foreign_keys", true).unwrap();
    let before = books.dump();
    for sql in [
        "UPDATE transfer SET amount=1 WHERE seq=1",
        "UPDATE transfer SET reason='x'",
        "DELETE FROM transfer WHERE seq=(SELECT max(seq) FROM transfer)",
        "INSERT OR REPLACE INTO transfer SELECT * FROM transfer WHERE seq=1",
        "REPLACE INTO transfer SELECT * FROM transfer ORDER BY seq DESC LIMIT 1",
        "INSERT INTO transfer SELECT seq+10,randomblob(16),kind,from_id,to_id,amount,randomblob(16),
           NULL,actor,reason,at_ms,prev_hash,randomblob(32) FROM transfer WHERE seq=1",
        "INSERT INTO transfer SELECT (SELECT max(seq)+1 FROM transfer),randomblob(16),kind,from_id,
           to_id,amount,randomblob(16),NULL,actor,reason,at_ms,zeroblob(32),randomblob(32)
           FROM transfer WHERE seq=1",
        "UPDATE account SET balance=-1 WHERE kind='team'",
        "UPDATE account SET balance=balance+1000000 WHERE kind='team'",
        "UPDATE account SET balance=1.5 WHERE kind='team'",
        "UPDATE account SET kind='paid' WHERE kind='team'",
        "DELETE FROM account",
        "INSERT INTO account(kind,name,plan,created_ms) VALUES('paid','second house','',0)",
        "UPDATE meter SET used=0,output_tokens=0",
        "UPDATE meter SET used=used+2,output_tokens=output_tokens+1 WHERE state<>'open'",
        "UPDATE meter SET used=used+1 WHERE state='open'",
        "UPDATE meter SET state='open',closed_ms=NULL,finish_reason=NULL,ids_sha256=NULL
           WHERE state='closed'",
        "UPDATE meter SET state='closed' WHERE state='reversed'",
        "UPDATE meter SET state='closed' WHERE state='open'",
        "UPDATE meter SET credits_per_token=1",
        "UPDATE meter SET account_id=1",
        "DELETE FROM meter",
        "UPDATE meter SET last_ids=x'' WHERE state='open'",
        "UPDATE meter SET last_ids=zeroblob(20) WHERE state='open'",
        "UPDATE meter SET last_choice=1 WHERE state='open'",
        "UPDATE meter SET last_ids=zeroblob(4) WHERE state='closed'",
        "UPDATE meter SET last_ids=CAST(last_ids||x'00' AS BLOB) WHERE state='open'",
        "INSERT OR REPLACE INTO meter SELECT * FROM meter WHERE state='closed'",
        "UPDATE charge SET token_ids=zeroblob(4)",
        "DELETE FROM charge WHERE meter_id IN (SELECT id FROM meter WHERE state='open')",
        "INSERT INTO charge VALUES((SELECT id FROM meter LIMIT 1),99,0,zeroblob(3))",
        "INSERT INTO charge VALUES(zeroblob(16),0,0,zeroblob(4))",
        "UPDATE api_key SET secret_hash=zeroblob(32)",
        "UPDATE api_key SET period_used=-1",
        "DELETE FROM api_key",
        "UPDATE audit SET actor='nobody'",
        "DELETE FROM audit",
    ] {
        let refused = conn.execute_batch(sql);
        assert!(refused.is_err(), "went through: {sql}");
        assert_eq!(books.dump(), before, "{sql}");
    }
    books.assert_sound();
}

/// Without the pragma `INSERT OR REPLACE` deletes behind the triggers' back. Then `verify` has to
/// find it; this is why every connection of ours sets it.
#[test]
fn a_replaced_transfer_is_found_by_its_hash() {
    let (books, _) = used_books();
    let conn = books.raw();
    conn.pragma_update(None, "recursive_triggers", false).unwrap();
    conn.execute_batch("DROP TRIGGER transfer_in_order").unwrap();
    conn.execute_batch(
        "INSERT OR REPLACE INTO transfer SELECT seq,id,kind,from_id,to_id,amount*2,source,reverses,
           actor,reason,at_ms,prev_hash,hash FROM transfer WHERE seq=1",
    )
    .unwrap();
    let report = books.ledger.verify().unwrap();
    assert_eq!(report.findings[0].place, "transfer 1");
}

#[test]
fn arguments_out_of_bounds_are_refused_and_change_nothing() {
    let (books, account) = used_books();
    let ledger = &books.ledger;
    let before = books.dump();
    for credits in [-1, i64::MIN, i64::MAX, 1_000_000_000_001] {
        let grant = ledger.grant(account, Credits(credits), "why", "test").wait();
        assert!(matches!(grant, Err(GrantError::Invalid(_))), "{credits}: {grant:?}");
        let limit = Some(KeyLimit { credits: Credits(credits), reset: None });
        let key = ledger
            .create_key(NewKeyRequest { limit, ..NewKeyRequest::new(account, "key") }, "test")
            .wait();
        assert!(matches!(key, Err(KeyError::Invalid(_))), "{credits}: {key:?}");
        let meter = open(ledger, request(account, KeyId(1), credits));
        assert!(matches!(meter, Err(OpenError::Invalid(_))), "{credits}: {meter:?}");
    }
    let long = "x".repeat(1_000_000);
    for text in ["", " ", " x", "x ", "a\nb", "a\u{0}b", long.as_str()] {
        let named = ledger.create_account(text, "default", "test").wait();
        assert!(matches!(named, Err(AccountError::Invalid(_))), "{text:.20}");
        let plan = ledger.create_account("new", text, "test").wait();
        assert!(matches!(plan, Err(AccountError::Invalid(_))), "{text:.20}");
        let label = ledger.create_key(NewKeyRequest::new(account, text), "test").wait();
        assert!(matches!(label, Err(KeyError::Invalid(_))), "{text:.20}");
        let actor = ledger.revoke_key(KeyId(1), text).wait();
        assert!(matches!(actor, Err(KeyError::Invalid(_))), "{text:.20}");
        let reason = ledger.grant(account, Credits(1), text, "test").wait();
        assert!(matches!(reason, Err(GrantError::Invalid(_))), "{text:.20}");
        let mut with_key = request(account, KeyId(1), 1);
        with_key.idempotency_key = Some(text.to_owned());
        let meter = open(ledger, with_key);
        assert!(matches!(meter, Err(OpenError::Invalid(_))), "{text:.20}");
    }
    let house = ledger.create_account("house:paid", "default", "test").wait();
    assert!(matches!(house, Err(AccountError::Invalid(_))));
    let taken = ledger.create_account("alice", "default", "test").wait();
    assert_eq!(taken, Err(AccountError::NameTaken("alice".to_owned())));
    assert_eq!(books.dump(), before);
}

/// The house's accounts are no one's: no credits, keys or meters for them.
#[test]
fn the_houses_accounts_are_not_teams() {
    let (books, _) = used_books();
    let before = books.dump();
    for house in [1, 2, 3, 999].map(AccountId) {
        let grant = books.ledger.grant(house, Credits(1), "why", "test").wait();
        assert_eq!(grant, Err(GrantError::UnknownAccount(house)));
        let key = books.ledger.create_key(NewKeyRequest::new(house, "key"), "test").wait();
        assert_eq!(key.map(|key| key.id), Err(KeyError::UnknownAccount(house)));
        let close = books.ledger.close_account(house, "test").wait();
        assert_eq!(close, Err(AccountError::UnknownAccount(house)));
        assert_eq!(books.ledger.account_totals(house).unwrap(), None);
        let opened = open(&books.ledger, request(house, KeyId(1), 1));
        assert_eq!(opened, Err(OpenError::UnknownKey));
    }
    assert_eq!(books.dump(), before);
}

/// A million grants of the largest size would reach the bound on all of them together; the balance
/// of the house is set there by hand instead.
#[test]
fn no_sum_of_grants_can_overflow() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let conn = books.raw();
    let almost = 1_000_000_000_000_000_000_i64 - 5;
    conn.execute("UPDATE account SET balance=-?1 WHERE kind='granted'", [almost]).unwrap();
    let refused = books.ledger.grant(account, Credits(6), "why", "test").wait();
    assert!(matches!(refused, Err(GrantError::TooMuchInAll { .. })), "{refused:?}");
    assert_eq!(books.ledger.grant(account, Credits(5), "why", "test").wait(), Ok(Credits(5)));
}

#[test]
fn books_that_are_not_ours_or_in_use_are_left_alone() {
    let books = Books::new();
    let path = books.path();
    let Err(LedgerError::Locked(lock)) = Ledger::open(&path, options(&books.clock)) else {
        panic!("opened twice")
    };
    assert_eq!(lock, books.folder.path().join("ledger.db.lock"));
    let message = LedgerError::Locked(lock).to_string();
    assert!(message.contains("another mizan process"), "{message}");

    let conn = books.raw();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    books.ledger.shutdown();
    let refused = Ledger::open(&path, options(&books.clock));
    assert!(matches!(refused, Err(LedgerError::NewerSchema { found: 99, .. })), "{refused:?}");

    let other = books.folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine(x)").unwrap();
    let refused = Ledger::open(&other, options(&books.clock));
    assert!(matches!(refused, Err(LedgerError::NotALedger(_))), "{refused:?}");

    let text = books.folder.path().join("text.db");
    std::fs::write(&text, "dear diary, ".repeat(100)).unwrap();
    let refused = Ledger::open(&text, options(&books.clock));
    assert!(matches!(refused, Err(LedgerError::NotALedger(_))), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&text).unwrap().len(), 1_200);
}

#[test]
fn a_shut_down_ledger_answers_and_can_be_opened_again() {
    let (books, account) = used_books();
    books.ledger.shutdown();
    assert!(!books.ledger.healthy());
    let refused = books.ledger.grant(account, Credits(1), "why", "test").wait();
    assert_eq!(refused, Err(GrantError::Unavailable(Unavailable::Stopped)));
    books.ledger.shutdown();
    assert!(!books.folder.path().join("ledger.db-wal").exists(), "all is in the one file");
    let books = books.reopen();
    assert!(books.ledger.healthy());
    books.assert_sound();
}
