//! Every kind of damage is found, and the first wrong row is named.

use mizan::ledger::Invariant;

use super::{Books, Ending};

/// Accounts 4 and 5 with keys 1 and 2; transfers 1 and 2 are their grants. Account 4 has, in this
/// order, a closed meter of 10 credits (transfer 3), a reversed one of 8 (4 and 5), a closed one of
/// 6 (6) and an open one of 2.
fn damaged_books(sql: &str) -> Books {
    let books = Books::new();
    let (alice, bob) = (books.account("alice", 1_000), books.account("bob", 500));
    let key = books.key(alice, None);
    books.key(bob, None);
    books.used_meter(alice, key, 5, Ending::Closed);
    books.used_meter(alice, key, 4, Ending::Reversed);
    books.used_meter(alice, key, 3, Ending::Closed);
    books.used_meter(alice, key, 1, Ending::Open);
    books.assert_sound();
    let conn = books.raw();
    // Somebody with the file in an editor: no trigger, no constraint, no reference holds them.
    let triggers = super::strings(&conn, "SELECT name FROM sqlite_schema WHERE type='trigger'");
    for trigger in triggers {
        conn.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    conn.execute_batch(sql).unwrap();
    books
}

/// The first finding names `place` and breaks `invariant`.
#[track_caller]
fn check(sql: &str, invariant: Invariant, place: &str) {
    let books = damaged_books(sql);
    let report = books.ledger.verify().unwrap();
    let Some(first) = report.findings.first() else { panic!("not found: {sql}") };
    let meters =
        super::strings(&books.raw(), "SELECT lower(hex(id)) FROM meter ORDER BY rowid").into_iter();
    let place = meters.enumerate().fold(place.to_owned(), |place, (index, id)| {
        place.replace(&format!("meter #{}", index + 1), &format!("meter {id}"))
    });
    assert_eq!((first.invariant, &first.place), (invariant, &place), "{sql}\n{report:#?}");
}

const THIRD: &str = "(SELECT id FROM meter WHERE rowid=3)";

#[test]
fn a_changed_transfer() {
    for column in [
        "amount=amount+1",
        "from_id=6",
        "to_id=6",
        "kind='grant',reason='x'",
        "source=randomblob(16)",
        "id=randomblob(16)",
        "actor='nobody'",
        "reason='x'",
        "at_ms=at_ms+1",
        "hash=randomblob(32)",
    ] {
        check(&format!("UPDATE transfer SET {column} WHERE seq=3"), Invariant::Chain, "transfer 3");
    }
    check("UPDATE transfer SET reverses=3 WHERE seq=5", Invariant::Chain, "transfer 5");
    check("UPDATE transfer SET prev_hash=zeroblob(32) WHERE seq=2", Invariant::Chain, "transfer 2");
}

#[test]
fn a_missing_or_added_transfer() {
    check("DELETE FROM transfer WHERE seq=1", Invariant::Chain, "transfer 1");
    check("DELETE FROM transfer WHERE seq=3", Invariant::Chain, "transfer 3");
    // The end of the chain holds without its last link; its meter misses it.
    check("DELETE FROM transfer WHERE seq=6", Invariant::Transfers, "meter #3");
    check(
        "INSERT INTO transfer SELECT 7,randomblob(16),kind,from_id,to_id,amount,randomblob(16),NULL,
           actor,reason,at_ms,hash,randomblob(32) FROM transfer WHERE seq=6",
        Invariant::Chain,
        "transfer 7",
    );
    check("UPDATE transfer SET seq=9 WHERE seq=6", Invariant::Chain, "transfer 6");
}

#[test]
fn a_changed_account() {
    check("UPDATE account SET balance=balance+1 WHERE id=5", Invariant::Balance, "account 5");
    check("UPDATE account SET balance=-1 WHERE id=6", Invariant::Balance, "account 6");
    check("UPDATE account SET credited=credited+1 WHERE id=5", Invariant::Balance, "account 5");
    check("UPDATE account SET balance=balance-1 WHERE id=3", Invariant::Balance, "account 3");
    // Two that cancel out in the sum.
    check(
        "UPDATE account SET balance=balance+iif(id=5,-9,9) WHERE id IN(5,6)",
        Invariant::Balance,
        "account 5",
    );
    check("DELETE FROM account WHERE id=6", Invariant::Transfers, "transfer 2");
    check("UPDATE account SET kind='nobody' WHERE id=6", Invariant::Transfers, "transfer 2");
}

#[test]
fn a_changed_meter() {
    let third = |sql: &str| format!("UPDATE meter SET {sql} WHERE rowid=3");
    check(&third("used=used+2"), Invariant::Transfers, "transfer 6");
    check(&third("output_tokens=2,used=4"), Invariant::Transfers, "transfer 6");
    check(&third("output_tokens=2"), Invariant::Tokens, "meter #3");
    check(&third("credits_per_token=1"), Invariant::Tokens, "meter #3");
    check(&third("credits_per_token=1,output_tokens=6"), Invariant::Tokens, "meter #3");
    check(&third("account_id=6"), Invariant::Transfers, "transfer 6");
    check(&third("key_id=2"), Invariant::KeyUsage, "meter #3");
    check(&third("state='open'"), Invariant::Transfers, "transfer 6");
    check(&third("state='reversed'"), Invariant::Transfers, "meter #3");
    check(&third("ids_sha256=zeroblob(32)"), Invariant::Tokens, "meter #3");
    check("UPDATE meter SET state='closed' WHERE rowid=2", Invariant::Transfers, "transfer 5");
    check("UPDATE meter SET boot=boot-1 WHERE rowid=4", Invariant::OpenMeters, "meter #4");
    check("UPDATE meter SET output_tokens=0,used=0 WHERE rowid=4", Invariant::Tokens, "meter #4");
    check("DELETE FROM meter WHERE rowid=1", Invariant::Transfers, "transfer 3");
    check("DELETE FROM meter WHERE rowid=4", Invariant::Balance, "account 5");
}

#[test]
fn changed_ids() {
    let third = |sql: &str| sql.replace("THIRD", THIRD);
    check(&third("DELETE FROM charge WHERE meter_id=THIRD"), Invariant::Tokens, "meter #3");
    check(
        &third("UPDATE charge SET token_ids=zeroblob(12) WHERE meter_id=THIRD"),
        Invariant::Tokens,
        "meter #3",
    );
    check(
        &third("UPDATE charge SET token_ids=zeroblob(16) WHERE meter_id=THIRD"),
        Invariant::Tokens,
        "meter #3",
    );
    check(&third("UPDATE charge SET choice=1 WHERE meter_id=THIRD"), Invariant::Tokens, "meter #3");
    check(&third("UPDATE charge SET n=1 WHERE meter_id=THIRD"), Invariant::Tokens, "meter #3");
    check(
        &third("INSERT INTO charge VALUES(THIRD,1,0,zeroblob(4))"),
        Invariant::Tokens,
        "meter #3",
    );
    check(
        "INSERT INTO charge SELECT id,0,0,zeroblob(16) FROM meter WHERE rowid=2",
        Invariant::Transfers,
        "meter #2",
    );
    check("INSERT INTO charge VALUES(zeroblob(16),0,0,zeroblob(4))", Invariant::Storage, "charge");
    let last = |ids: &str, row| format!("UPDATE meter SET last_ids={ids} WHERE rowid={row}");
    check(&last("x''", 4), Invariant::Tokens, "meter #4");
    check(&last("zeroblob(4)", 3), Invariant::Tokens, "meter #3");
}

#[test]
fn a_changed_key() {
    check("UPDATE api_key SET used=used+1 WHERE id=1", Invariant::KeyUsage, "key 1");
    check("UPDATE api_key SET period_used=0 WHERE id=1", Invariant::KeyUsage, "key 1");
    check("UPDATE api_key SET account_id=6 WHERE id=1", Invariant::KeyUsage, "meter #1");
    check("DELETE FROM api_key WHERE id=1", Invariant::KeyUsage, "meter #1");
}

/// Constraints that hold while the row is written are checked again when it is read.
#[test]
fn a_value_no_constraint_allows() {
    check("UPDATE account SET credited=1 WHERE id=1", Invariant::Storage, "database");
    check("UPDATE api_key SET scopes='' WHERE id=1", Invariant::Storage, "database");
}

#[test]
fn a_key_that_passed_its_limits() {
    for column in ["limit_credits", "total_limit_credits"] {
        let sql = format!("UPDATE api_key SET {column}=1 WHERE id=1");
        check(&sql, Invariant::KeyUsage, "key 1");
    }
}

/// Whoever can write the file can rewrite a hash too, but not only one.
#[test]
fn a_rewritten_link_breaks_the_next() {
    let books = damaged_books(
        "UPDATE transfer SET hash=zeroblob(32) WHERE seq=3;
         UPDATE transfer SET prev_hash=zeroblob(32) WHERE seq=4;",
    );
    let report = books.ledger.verify().unwrap();
    let places: Vec<&str> = report.findings.iter().map(|finding| finding.place.as_str()).collect();
    assert_eq!(places, ["transfer 3", "transfer 4"]);
}

/// A start proves the sum and the end of the chain, and refuses to serve on broken books.
#[test]
fn damaged_books_are_not_opened() {
    for sql in [
        "UPDATE account SET balance=balance+1 WHERE id=5",
        "UPDATE transfer SET amount=11 WHERE seq=3",
        "DELETE FROM transfer WHERE seq=4",
    ] {
        let books = damaged_books(sql);
        books.ledger.shutdown();
        let refused = mizan::ledger::Ledger::open(&books.path(), super::options(&books.clock));
        let Err(error) = refused else { panic!("opened after {sql}") };
        assert!(matches!(error, mizan::ledger::LedgerError::Damaged(_)), "{error}");
    }
}

/// A flood of damage is counted whole and told in part.
#[test]
fn many_findings_are_counted() {
    let books = Books::new();
    for index in 0..30 {
        books.account(&format!("team {index}"), 0);
    }
    books.raw().execute_batch("UPDATE account SET credited=7,balance=7 WHERE kind='team'").unwrap();
    let report = books.ledger.verify().unwrap();
    assert_eq!((report.findings.len(), report.damages), (20, 61));
}
