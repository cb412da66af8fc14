//! Backups beside a busy writer, and what a restore keeps, compares and refuses.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mizan::ledger::{
    BackupError, Credits, Ledger, LedgerError, LedgerOptions, Replaced, Restore, RestoreError,
    ServerKeys, backup, verify_file,
};
use rusqlite::Connection;

use super::{Books, Ending, open, options, request, singles};

/// Books with a grant, a closed request and an open one.
fn used_books() -> Books {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let key = books.key(account, None);
    books.used_meter(account, key, 5, Ending::Closed);
    books.used_meter(account, key, 2, Ending::Open);
    books
}

#[test]
fn a_backup_of_books_in_use_is_one_whole_file() {
    let books = used_books();
    let file = books.folder.path().join("copy.db");
    let made = backup(&books.path(), &file).unwrap();
    assert_eq!(made.head, books.ledger.chain_head().unwrap());
    assert_eq!((made.head.seq, made.report.meters, made.report.open_meters), (2, 2, 1));
    assert_eq!(super::dump(&Connection::open(&file).unwrap()), books.dump());
    let names: Vec<String> = fs::read_dir(books.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("copy"))
        .collect();
    assert_eq!(names.len(), 2, "the copy and the keys, nothing left over: {names:?}");
    let keys = ServerKeys::read(&made.keys.unwrap()).unwrap();
    assert_eq!(keys.public_key(), books.ledger.server_keys().public_key());

    let again = backup(&books.path(), &file);
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    let nothing = backup(&books.folder.path().join("none.db"), &file.with_extension("2"));
    assert!(matches!(nothing, Err(BackupError::NoBooks(_))), "{nothing:?}");
}

#[test]
fn a_busy_writer_and_its_backups_do_not_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
    let account = ledger.create_account("alice", "default", "test").wait().unwrap();
    ledger.grant(account, Credits(1_000_000), "why", "test").wait().unwrap();
    let key = ledger.create_key(account, "key", None, "test").wait().unwrap().id;
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            while writing.load(Ordering::SeqCst) {
                let meter = open(&ledger, request(account, key, 1)).unwrap();
                for _ in 0..10 {
                    ledger.charge(meter, 0, singles(3)).wait().unwrap();
                }
                ledger.close_meter(meter, "stop").wait().unwrap();
            }
        });
        let mut last = 0;
        for number in 0..8 {
            let made = backup(&path, &folder.path().join(format!("{number}.db"))).unwrap();
            assert!(made.head.seq >= last);
            last = made.head.seq;
        }
        writing.store(false, Ordering::SeqCst);
    });
    assert!(ledger.healthy() && ledger.verify().unwrap().is_ok());
}

#[test]
fn damaged_books_make_no_backup() {
    let books = used_books();
    books.raw().execute_batch("UPDATE account SET balance=balance+1 WHERE id=4").unwrap();
    let file = books.folder.path().join("copy.db");
    let refused = backup(&books.path(), &file);
    assert!(matches!(refused, Err(BackupError::Damaged(_))), "{refused:?}");
    let left = fs::read_dir(books.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> =
        left.filter(|name| name.to_str().is_some_and(|name| name.contains("copy"))).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_restore_brings_the_books_back_and_keeps_the_others() {
    let books = used_books();
    let file = books.folder.path().join("copy.db");
    let before = backup(&books.path(), &file).unwrap();
    let locked = Restore::prepare(&books.path(), &file);
    assert!(matches!(locked, Err(RestoreError::Ledger(LedgerError::Locked(_)))), "{locked:?}");

    let alice = books.ledger.accounts().unwrap()[0].id;
    books.ledger.grant(alice, Credits(7), "later", "test").wait().unwrap();
    books.ledger.shutdown();
    let later = verify_file(&books.path()).unwrap();
    let restore = Restore::prepare(&books.path(), &file).unwrap();
    assert_eq!(restore.replaces, Replaced::Same { transfers: 1, operations: 1 });
    assert!(restore.replaces.is_loss());
    // Dropped, it has changed nothing.
    drop(restore);
    assert_eq!(verify_file(&books.path()).unwrap(), later);

    let restore = Restore::prepare(&books.path(), &file).unwrap();
    let restored = restore.carry_out(super::MARCH).unwrap();
    let kept = restored.kept.unwrap();
    assert!(kept.to_str().unwrap().ends_with("ledger.db.before-restore-20260301-000000"));
    assert_eq!(verify_file(&kept).unwrap(), later);
    assert!(restored.has_keys && restored.kept_keys.is_none(), "they are the same keys");
    let ledger = Ledger::open(&books.path(), options(&books.clock)).unwrap();
    let report = ledger.verify().unwrap();
    assert!(report.is_ok() && report.open_meters == 0, "the open request is closed: {report:?}");
    assert_eq!(report.transfers, before.report.transfers + 1);
}

/// A killed server leaves its last commits in the WAL. They belong to the books put aside, and
/// never to the backup.
#[test]
fn the_wal_goes_with_its_books() {
    let books = used_books();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("copy.db");
    backup(&books.path(), &file).unwrap();
    let alice = books.ledger.accounts().unwrap()[0].id;
    books.ledger.grant(alice, Credits(7), "later", "test").wait().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let path = killed.path().join("ledger.db");
    fs::copy(books.path(), &path).unwrap();
    fs::copy(books.path().with_extension("db-wal"), path.with_extension("db-wal")).unwrap();
    let restore = Restore::prepare(&path, &file).unwrap();
    assert_eq!(restore.replaces, Replaced::Same { transfers: 1, operations: 1 });
    let restored = restore.carry_out(super::MARCH).unwrap();
    assert_eq!(super::dump(&Connection::open(restored.kept.unwrap()).unwrap()), books.dump());
    assert_eq!(verify_file(&path).unwrap().transfers, 2);

    // Books that SQLite can not read at all are put aside as they are.
    fs::write(&path, "not a database, and long enough to be taken for one").unwrap();
    fs::write(path.with_extension("db-wal"), "nor is this a WAL").unwrap();
    let restore = Restore::prepare(&path, &file).unwrap();
    assert!(matches!(restore.replaces, Replaced::Unreadable(_)), "{:?}", restore.replaces);
    let kept = restore.carry_out(super::MARCH + 1_000).unwrap().kept.unwrap();
    assert!(fs::read(&kept).unwrap().starts_with(b"not a database"));
    assert_eq!(verify_file(&path).unwrap().transfers, 2);
}

#[test]
fn other_books_and_damaged_backups_are_told() {
    let books = used_books();
    let file = books.folder.path().join("copy.db");
    backup(&books.path(), &file).unwrap();

    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().join("ledger.db");
    let restore = Restore::prepare(&path, &file).unwrap();
    assert_eq!(restore.replaces, Replaced::Nothing);
    assert!(restore.carry_out(super::MARCH).unwrap().kept.is_none());
    assert_eq!(verify_file(&path).unwrap().transfers, 2);

    let others = Books::new();
    others.account("bob", 5);
    let theirs = others.ledger.server_keys().public_key();
    others.ledger.shutdown();
    let restore = Restore::prepare(&others.path(), &file).unwrap();
    assert_eq!(restore.replaces, Replaced::Other { transfers: 1 });
    let restored = restore.carry_out(super::MARCH).unwrap();
    let kept = ServerKeys::read(&restored.kept_keys.unwrap()).unwrap();
    assert_eq!(kept.public_key(), theirs);
    let restored = ServerKeys::read(&ServerKeys::path_beside(&others.path())).unwrap();
    assert_eq!(restored.public_key(), books.ledger.server_keys().public_key());

    let conn = Connection::open(&file).unwrap();
    conn.execute_batch("UPDATE account SET balance=balance+1 WHERE id=4").unwrap();
    drop(conn);
    let refused = Restore::prepare(&path, &file);
    assert!(matches!(refused, Err(RestoreError::Damaged(_))), "{refused:?}");
    let nothing = Restore::prepare(&path, &file.with_extension("none"));
    assert!(matches!(nothing, Err(RestoreError::NoBackup(_))), "{nothing:?}");
}

/// An old backup is brought to the newest schema on its way; nothing of that is left over.
#[test]
fn a_backup_of_an_older_version_is_brought_up_to_date() {
    let old = tempfile::tempdir().unwrap();
    let file = old.path().join("copy.db");
    let dump = fs::read_to_string("tests/data/ledger/v1.sql").unwrap();
    Connection::open(&file).unwrap().execute_batch(&dump).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().join("ledger.db");
    let restore = Restore::prepare(&path, &file).unwrap();
    let head = restore.head;
    restore.carry_out(super::MARCH).unwrap();
    let names = |folder: &std::path::Path| {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(empty.path()), ["ledger.db", "ledger.db.lock"]);
    let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
    assert!(ledger.verify().unwrap().is_ok());
    assert!(ledger.chain_head().unwrap().seq >= head.seq);
}
