//! The ledger, from outside: scripts, a simulation against a model, races, crashes, tampering.

#![allow(clippy::unwrap_used)] // A test's `unwrap` is an assertion.

mod copies;
mod crash;
mod exports;
mod hostile;
mod keys;
mod limits;
mod migrations;
mod model;
mod model_sales;
mod notices;
mod power_cut;
mod races;
mod reading;
mod receipts;
mod retention;
mod sales;
mod script;
mod script_sales;
mod simulation;
mod simulation_sales;
mod tampering;
mod tampering_sales;
mod usage;
mod users;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mizan::ledger::{
    AccountId, Clock, Credits, KeyId, KeyLimit, Ledger, LedgerOptions, MeterId, MeterRequest,
    NewKeyRequest, OpenError,
};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// 2026-03-01 00:00 in Kuwait, a Sunday.
const MARCH: i64 = 1_772_312_400_000;
const DAY_MS: i64 = 86_400_000;

/// A clock that goes where the test says.
#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Books in a folder of their own.
struct Books {
    ledger: Ledger,
    clock: Arc<TestClock>,
    folder: tempfile::TempDir,
}

impl Books {
    fn new() -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(MARCH)));
        // In memory where there is such a folder: these tests ask for no disk, only for its rules.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db"), options(&clock)).unwrap();
        Self { ledger, clock, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    fn account(&self, name: &str, credits: i64) -> AccountId {
        let account = self.ledger.create_account(name, "default", "test").wait().unwrap();
        if credits > 0 {
            self.ledger.grant(account, Credits(credits), "test", "test").wait().unwrap();
        }
        account
    }

    fn key(&self, account: AccountId, limit: Option<KeyLimit>) -> KeyId {
        self.key_like(NewKeyRequest { limit, ..NewKeyRequest::new(account, "key") })
    }

    fn key_like(&self, request: NewKeyRequest) -> KeyId {
        self.ledger.create_key(request, "test").wait().unwrap().id
    }

    fn balance(&self, account: AccountId) -> i64 {
        self.ledger.account_totals(account).unwrap().unwrap().balance.0
    }

    fn set_clock(&self, now_ms: i64) {
        self.clock.0.store(now_ms, Ordering::SeqCst);
    }

    /// Ends the process's hold on the books as a kill would leave them: open meters stay open.
    fn reopen(self) -> Self {
        let Self { ledger, clock, folder } = self;
        ledger.shutdown();
        drop(ledger);
        let ledger = Ledger::open(&folder.path().join("ledger.db"), options(&clock)).unwrap();
        Self { ledger, clock, folder }
    }

    /// A meter of 2 credits a token that charged `tokens` and ended, or goes on.
    fn used_meter(&self, account: AccountId, key: KeyId, tokens: usize, ending: Ending) -> MeterId {
        let meter = open(&self.ledger, request(account, key, 2)).unwrap();
        self.ledger.charge(meter, 0, singles(tokens)).wait().unwrap();
        match ending {
            Ending::Closed => drop(self.ledger.close_meter(meter, "stop").wait().unwrap()),
            Ending::Reversed => drop(self.ledger.reverse_meter(meter, "why").wait().unwrap()),
            Ending::Open => {}
        }
        meter
    }

    #[track_caller]
    fn assert_sound(&self) {
        let report = self.ledger.verify().unwrap();
        assert!(report.is_ok(), "{report:#?}");
    }

    /// Every row of every table, to compare states.
    fn dump(&self) -> Vec<String> {
        dump(&self.raw())
    }

    /// A connection around the ledger's back, without its protections.
    fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

/// What became of a meter.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Closed,
    Reversed,
    Open,
}

/// Never checkpoints by itself, so that the WAL holds all that was committed.
fn options(clock: &Arc<TestClock>) -> LedgerOptions {
    LedgerOptions {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        checkpoint_rows: u64::MAX,
        idle: Duration::from_secs(3_600),
        ..LedgerOptions::default()
    }
}

fn dump(conn: &Connection) -> Vec<String> {
    let tables = strings(conn, "SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name");
    let mut rows = Vec::new();
    for table in tables {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let found = statement.query_map(params_from_iter::<[i64; 0]>([]), |row| {
            (0..columns).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()
        });
        rows.extend(found.unwrap().map(|row| format!("{table} {:?}", row.unwrap())));
    }
    rows
}

fn strings(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// A streamed request at `credits_per_token`.
fn request(account: AccountId, key: KeyId, credits_per_token: i64) -> MeterRequest {
    MeterRequest {
        account,
        key,
        model: "test-model".to_owned(),
        model_digest: [7; 32],
        credits_per_token,
        streamed: true,
        input_tokens: 30,
        idempotency_key: None,
        body_hash: [1; 32],
    }
}

fn open(ledger: &Ledger, request: MeterRequest) -> Result<MeterId, OpenError> {
    ledger.open_meter(request).wait()
}

/// `count` tokens that can not be split.
fn group(count: usize) -> Vec<u32> {
    (0..u32::try_from(count).unwrap()).collect()
}

/// `count` tokens that can be paid one by one.
fn singles(count: usize) -> Vec<Vec<u32>> {
    group(count).into_iter().map(|id| vec![id]).collect()
}
