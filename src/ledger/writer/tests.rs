//! What happens when a batch, a commit, the disk or a command fails.

use std::sync::mpsc::{Sender, channel};

use rusqlite::Connection;

use super::Durability;
use crate::ledger::errors::Unavailable;
use crate::ledger::reply::Reply;
use crate::ledger::store::Failure;
use crate::ledger::{
    AccountId, Admission, ChargeError, Credits, GrantError, Ledger, LedgerOptions, MeterId,
};

const FAILED: GrantError = GrantError::Unavailable(Unavailable::Failed);

struct Fixture {
    ledger: Ledger,
    account: AccountId,
    folder: tempfile::TempDir,
}

fn fixture(queue: usize) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let options = LedgerOptions { queue, ..LedgerOptions::default() };
    let ledger = Ledger::open(&folder.path().join("ledger.db"), options).unwrap();
    let account = ledger.create_account("alice", "default", "test").wait().unwrap();
    ledger.grant(account, Credits(100), "why", "test").wait().unwrap();
    Fixture { ledger, account, folder }
}

impl Fixture {
    fn grant(&self) -> Reply<Result<Credits, GrantError>> {
        self.ledger.grant(self.account, Credits(1), "why", "test")
    }

    /// A command that does what none of ours would.
    fn sql(&self, sql: &'static str) -> Reply<Result<(), Unavailable>> {
        self.ledger.submit(Durability::Kill, Admission::New, move |context| {
            context.conn.execute_batch(sql).map_err(Failure::Database)
        })
    }

    /// Holds the writer inside a command, so that what comes next makes one batch.
    fn hold(&self) -> (Sender<()>, Reply<Result<(), Unavailable>>) {
        let (release, held) = channel();
        let (entered, ready) = channel();
        let reply = self.ledger.submit(Durability::Kill, Admission::New, move |_| {
            entered.send(()).unwrap();
            held.recv().unwrap();
            Ok(())
        });
        ready.recv().unwrap();
        (release, reply)
    }

    /// Nothing more is taken, and reopened books hold what was committed before.
    fn assert_failed_closed(self) {
        assert!(!self.ledger.healthy());
        assert_eq!(self.grant().wait(), Err(FAILED));
        let charge = self.ledger.charge(MeterId([1; 16]), 0, vec![vec![1]]).wait();
        assert_eq!(charge, Err(ChargeError::Unavailable(Unavailable::Failed)));
        self.ledger.shutdown();
        let path = self.folder.path().join("ledger.db");
        let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
        assert!(ledger.verify().unwrap().is_ok());
        let totals = ledger.account_totals(self.account).unwrap().unwrap();
        assert_eq!(totals.balance, Credits(100));
    }
}

#[test]
fn what_arrives_during_a_commit_is_one_batch() {
    let fixture = fixture(64);
    let (release, held) = fixture.hold();
    let grants: Vec<_> = (0..20).map(|_| fixture.grant()).collect();
    let before = fixture.ledger.stats();
    release.send(()).unwrap();
    held.wait().unwrap();
    let balances: Vec<_> = grants.into_iter().map(|grant| grant.wait().unwrap().0).collect();
    assert_eq!(balances, (101..=120).collect::<Vec<_>>());
    let after = fixture.ledger.stats();
    assert_eq!(after.commits - before.commits, 2, "the held one, and the batch");
    assert_eq!(after.commands - before.commands, 21);
}

#[test]
fn a_failed_commit_fails_its_whole_batch_and_closes_the_ledger() {
    let fixture = fixture(64);
    let (release, held) = fixture.hold();
    let first = fixture.grant();
    let orphan = fixture.sql(
        "PRAGMA defer_foreign_keys=ON;
         INSERT INTO charge VALUES(zeroblob(16),0,0,zeroblob(4));",
    );
    let last = fixture.grant();
    release.send(()).unwrap();
    held.wait().unwrap();
    assert_eq!(first.wait(), Err(FAILED));
    assert_eq!(orphan.wait(), Err(Unavailable::Failed));
    assert_eq!(last.wait(), Err(FAILED));
    fixture.assert_failed_closed();
}

#[test]
fn a_transaction_that_sqlite_has_rolled_back_is_not_answered_as_done() {
    let fixture = fixture(64);
    let (release, held) = fixture.hold();
    let (first, lost, last) = (fixture.grant(), fixture.sql("ROLLBACK"), fixture.grant());
    release.send(()).unwrap();
    held.wait().unwrap();
    assert_eq!(first.wait(), Err(FAILED));
    assert_eq!(lost.wait(), Err(Unavailable::Failed));
    assert_eq!(last.wait(), Err(FAILED));
    fixture.assert_failed_closed();
}

#[test]
fn a_full_disk_fails_closed() {
    let fixture = fixture(64);
    // SQLite takes a limit below the present size as the present size.
    fixture.sql("PRAGMA max_page_count=1").wait().unwrap();
    let refused = fixture
        .sql("INSERT INTO audit(actor,action,detail,at_ms) VALUES('a','b',zeroblob(100000),0)");
    assert_eq!(refused.wait(), Err(Unavailable::Broken), "a blob in a column of text");
    let refused = fixture
        .sql("INSERT INTO audit(actor,action,detail,at_ms) VALUES('a','b',hex(zeroblob(99999)),0)");
    assert_eq!(refused.wait(), Err(Unavailable::Failed));
    fixture.assert_failed_closed();
}

#[test]
fn a_broken_rule_undoes_its_own_command_alone() {
    let fixture = fixture(64);
    let (release, held) = fixture.hold();
    let first = fixture.grant();
    let broken = fixture
        .sql("INSERT INTO purge VALUES(1,1); UPDATE account SET balance=-1 WHERE kind='team';");
    let last = fixture.grant();
    release.send(()).unwrap();
    held.wait().unwrap();
    assert_eq!(first.wait(), Ok(Credits(101)));
    assert_eq!(broken.wait(), Err(Unavailable::Broken));
    assert_eq!(last.wait(), Ok(Credits(102)));
    assert!(fixture.ledger.healthy() && fixture.ledger.verify().unwrap().is_ok());
    let conn = Connection::open(fixture.folder.path().join("ledger.db")).unwrap();
    let left = conn.query_row("SELECT count(*) FROM purge", [], |row| row.get::<_, i64>(0));
    assert_eq!(left, Ok(0), "what it did before it broke the rule is undone too");
}

/// The writer's own connection has `recursive_triggers`, without which this would go through.
#[test]
fn a_replaced_row_is_a_deleted_row() {
    let fixture = fixture(64);
    fixture.sql("INSERT INTO audit VALUES(9,'a','b','c',0)").wait().unwrap();
    for sql in [
        "REPLACE INTO audit VALUES(9,'a','b','c',1)",
        "REPLACE INTO account(id,kind,name,plan,created_ms) VALUES(5,'team','alice','default',0)",
    ] {
        assert_eq!(fixture.sql(sql).wait(), Err(Unavailable::Broken), "{sql}");
    }
}

#[test]
fn a_full_queue_refuses_new_work_and_keeps_work_in_flight() {
    let fixture = fixture(1);
    let (release, held) = fixture.hold();
    let queued = fixture.grant();
    assert_eq!(fixture.grant().wait(), Err(GrantError::Unavailable(Unavailable::Busy)));
    // Taken at once, though the writer does not move: a task that charges must not block.
    let charge = fixture.ledger.charge(MeterId([1; 16]), 0, vec![vec![1]]);
    release.send(()).unwrap();
    assert_eq!(charge.wait(), Err(ChargeError::UnknownMeter));
    held.wait().unwrap();
    assert_eq!(queued.wait(), Ok(Credits(101)));
}

/// Without checkpoints this WAL would have five or six pages for each grant.
#[test]
fn checkpoints_keep_the_wal_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let options = LedgerOptions { checkpoint_rows: 20, ..LedgerOptions::default() };
    let ledger = Ledger::open(&path, options).unwrap();
    let account = ledger.create_account("alice", "default", "test").wait().unwrap();
    for _ in 0..200 {
        ledger.grant(account, Credits(1), "why", "test").wait().unwrap();
    }
    let pages = std::fs::metadata(path.with_extension("db-wal")).unwrap().len() / 4_096;
    assert!(pages < 120, "{pages} pages");
}

#[test]
fn a_panicking_command_leaves_no_one_waiting() {
    let fixture = fixture(64);
    let (release, held) = fixture.hold();
    let first = fixture.grant();
    let bug = fixture.ledger.submit(Durability::Kill, Admission::New, |_| panic!("a bug"));
    let bug: Reply<Result<(), Unavailable>> = bug;
    release.send(()).unwrap();
    held.wait().unwrap();
    assert_eq!(first.wait(), Err(GrantError::Unavailable(Unavailable::Stopped)));
    assert_eq!(bug.wait(), Err(Unavailable::Stopped));
    fixture.ledger.shutdown();
    assert!(!fixture.ledger.healthy());
    let path = fixture.folder.path().join("ledger.db");
    let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
    let totals = ledger.account_totals(fixture.account).unwrap().unwrap();
    assert_eq!(totals.balance, Credits(100));
}
