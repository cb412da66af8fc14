//! Books that older versions wrote: `tests/data/ledger/vN.sql` is a dump of real ones for each
//! schema that was ever released. Opened, they become exactly the newest schema and lose nothing.

use std::fs;
use std::path::{Path, PathBuf};

use mizan::ledger::{AccountId, Ledger, LedgerError, LedgerOptions, RefundOutcome};
use rusqlite::Connection;
use tempfile::TempDir;

use super::sales::{proof, small_pack};
use super::strings;

/// Every dump there is, by version.
fn released() -> Vec<(i64, PathBuf)> {
    let folder = Path::new("tests/data/ledger");
    let mut found: Vec<(i64, PathBuf)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            (stem.strip_prefix('v').unwrap().parse().unwrap(), path)
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The books of a dump, in a folder of their own.
fn restore(dump: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&fs::read_to_string(dump).unwrap()).unwrap();
    (folder, path)
}

/// The schema without comments, spaces and quotes, which say nothing.
fn schema(path: &Path) -> Vec<String> {
    let conn = Connection::open(path).unwrap();
    let plain = |sql: &str| {
        let lines = sql.lines().map(|line| line.split("--").next().unwrap());
        lines.flat_map(str::chars).filter(|c| !c.is_whitespace() && *c != '"').collect::<String>()
    };
    let objects = strings(
        &conn,
        "SELECT type||' '||name||' '||coalesce(sql,'') FROM sqlite_schema
         WHERE name NOT LIKE 'sqlite_%' ORDER BY type,name",
    );
    objects.iter().map(|sql| plain(sql)).collect()
}

fn number(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// What no migration may change.
fn history(path: &Path, transfers: i64) -> Vec<String> {
    let conn = Connection::open(path).unwrap();
    [
        format!(
            "SELECT seq||hex(id)||kind||amount||hex(source)||actor||coalesce(reason,'')||at_ms||
               hex(hash) FROM transfer WHERE seq<={transfers} ORDER BY seq"
        ),
        "SELECT hex(id)||model||used||output_tokens||input_tokens||opened_ms||hex(body_hash)
           ||coalesce(idempotency_key,'') FROM meter ORDER BY rowid"
            .to_owned(),
        "SELECT id||account_id||label||prefix||hex(secret_hash)||coalesce(limit_credits,'')
           ||coalesce(limit_reset,'')||coalesce(revoked_ms,'') FROM api_key ORDER BY id"
            .to_owned(),
        "SELECT id||name||plan||coalesce(closed_ms,'')||credited FROM account
         WHERE kind='team' ORDER BY id"
            .to_owned(),
        "SELECT id||actor||action||detail||at_ms FROM audit ORDER BY id".to_owned(),
    ]
    .iter()
    .flat_map(|sql| strings(&conn, sql))
    .collect()
}

#[test]
fn every_released_schema_becomes_the_newest_and_loses_nothing() {
    let fresh_folder = tempfile::tempdir().unwrap();
    let fresh = fresh_folder.path().join("ledger.db");
    drop(Ledger::open(&fresh, LedgerOptions::default()).unwrap());
    let newest = number(&fresh, "PRAGMA user_version");
    let released = released();
    let versions: Vec<i64> = released.iter().map(|(version, _)| *version).collect();
    assert!(versions.iter().copied().eq(1..newest), "{versions:?}: a dump for each below {newest}");
    for (version, dump) in released {
        let (_folder, path) = restore(&dump);
        let transfers = number(&path, "SELECT max(seq) FROM transfer");
        let before = history(&path, transfers);
        assert!(before.len() > 20, "v{version}: a dump with something in it");
        let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
        let report = ledger.verify().unwrap();
        assert!(report.is_ok(), "v{version}: {report:#?}");
        ledger.shutdown();
        assert_eq!(number(&path, "PRAGMA user_version"), newest, "v{version}");
        assert_eq!(schema(&path), schema(&fresh), "v{version}");
        assert_eq!(history(&path, transfers), before, "v{version}");
        // The books as they were are beside the new ones.
        let kept = path.with_extension(format!("db.v{version}"));
        assert_eq!(number(&kept, "PRAGMA user_version"), version);
        assert_eq!(history(&kept, transfers), before, "v{version}");
        // Once is enough.
        fs::remove_file(&kept).unwrap();
        drop(Ledger::open(&path, LedgerOptions::default()).unwrap());
        assert!(!kept.exists());
    }
}

#[test]
fn books_that_can_not_be_migrated_are_left_as_they_were() {
    for (version, dump) in released() {
        let (_folder, path) = restore(&dump);
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "foreign_keys", false).unwrap();
        conn.execute_batch("INSERT INTO charge VALUES(zeroblob(16),0,0,zeroblob(4))").unwrap();
        drop(conn);
        let before = schema(&path);
        let refused = Ledger::open(&path, LedgerOptions::default()).unwrap_err();
        assert!(
            matches!(refused, LedgerError::Migration { found, .. } if found == version),
            "{refused}"
        );
        assert_eq!(schema(&path), before);
        assert_eq!(number(&path, "PRAGMA user_version"), version);
    }
}

/// In books of version 1 a team has the number that revenue has in fresh ones.
#[test]
fn a_sale_in_old_books_moves_no_teams_credits() {
    for (_, dump) in released() {
        let (_folder, path) = restore(&dump);
        let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
        let balances = || -> Vec<(AccountId, i64)> {
            let accounts = ledger.accounts().unwrap();
            accounts.iter().map(|account| (account.id, account.balance.0)).collect()
        };
        let before = balances();
        let buyer = ledger.create_account("buyer", "default", "test").wait().unwrap();
        let topup = ledger.create_topup(small_pack(buyer)).wait().unwrap().topup.id;
        ledger.pay_topup(topup, proof("chg_1", None)).wait().unwrap();
        assert_eq!(balances(), [before.clone(), vec![(buyer, 5_000)]].concat());
        let refund = ledger.begin_refund(topup, None, "asked", "test").wait().unwrap();
        let done = RefundOutcome::Done { provider_refund_id: None };
        ledger.finish_refund(refund.id, done, "test").wait().unwrap();
        assert_eq!(balances(), [before, vec![(buyer, 0)]].concat());
        let report = ledger.verify().unwrap();
        assert!(report.is_ok(), "{report:#?}");
    }
}
