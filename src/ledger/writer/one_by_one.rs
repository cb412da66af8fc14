//! Charges that are run together leave the same books, and are answered the same, as charges that
//! are run one by one. Seeded; a failure prints its seed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::Durability;
use crate::ledger::errors::Unavailable;
use crate::ledger::reply::Reply;
use crate::ledger::{
    AccountId, Admission, ChargeError, Charged, Clock, Credits, KeyId, KeyLimit, Ledger,
    LedgerOptions, LimitReset, MeterId, MeterRequest, NewKeyRequest,
};

const DAY_MS: i64 = 86_400_000;

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Numbers that a seed decides.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

struct Books {
    ledger: Ledger,
    clock: Arc<TestClock>,
    accounts: Vec<AccountId>,
    keys: Vec<(AccountId, KeyId)>,
    meters: Vec<MeterId>,
    folder: tempfile::TempDir,
}

/// Two teams, one of them soon told that it is poor; keys with and without limits.
fn books() -> Books {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock(AtomicI64::new(1_772_312_400_000)));
    let options = LedgerOptions { clock: clock.clone(), ..LedgerOptions::default() };
    let ledger = Ledger::open(&path(&folder), options).unwrap();
    let mut accounts = Vec::new();
    let mut keys = Vec::new();
    for (name, credits) in [("alice", 300), ("bob", 120)] {
        let account = ledger.create_account(name, "default", "test").wait().unwrap();
        ledger.grant(account, Credits(credits), "why", "test").wait().unwrap();
        ledger.set_notice(account, Some(Credits(100)), None, "test").wait().unwrap();
        let daily = KeyLimit { credits: Credits(60), reset: Some(LimitReset::Daily) };
        let plain = NewKeyRequest::new(account, "plain");
        let limited =
            NewKeyRequest { limit: Some(daily), ..NewKeyRequest::new(account, "limited") };
        let total = NewKeyRequest {
            total_limit: Some(Credits(90)),
            ..NewKeyRequest::new(account, "total")
        };
        for key in [plain, limited, total] {
            keys.push((account, ledger.create_key(key, "test").wait().unwrap().id));
        }
        accounts.push(account);
    }
    Books { ledger, clock, accounts, keys, meters: Vec::new(), folder }
}

fn path(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("ledger.db")
}

/// A charge: on which meter, of which choice, of which groups.
type Asked = (usize, u32, Vec<Vec<u32>>);

impl Books {
    fn open_meter(&mut self, key: usize, rate: i64) {
        let (account, key) = self.keys[key];
        let request = MeterRequest {
            account,
            key,
            model: "model".to_owned(),
            model_digest: [0; 32],
            credits_per_token: rate,
            streamed: true,
            input_tokens: 1,
            idempotency_key: None,
            body_hash: [0; 32],
        };
        let meter = MeterId((self.meters.len() as u128).to_be_bytes());
        self.meters.push(meter);
        // Refused when there is nothing left to pay with: then its charges are refused too.
        let _ = self.ledger.open_meter_as(meter, request).wait();
    }

    fn charge(&self, asked: &[Asked]) -> Vec<Reply<Result<Charged, ChargeError>>> {
        let charge = |(meter, choice, groups): &Asked| {
            self.ledger.charge(self.meters[*meter], *choice, groups.clone())
        };
        asked.iter().map(charge).collect()
    }

    /// All in one batch, now and then with a command between them that changes nothing.
    fn charge_at_once(&self, asked: &[Asked]) -> Vec<Result<Charged, ChargeError>> {
        let (release, held) = channel::<()>();
        let (entered, ready) = channel();
        let hold: Reply<Result<(), Unavailable>> =
            self.ledger.submit(Durability::Kill, Admission::New, move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap();
                Ok(())
            });
        ready.recv().unwrap();
        let (first, last) = asked.split_at(asked.len() / 2);
        let mut replies = self.charge(first);
        let between = asked.len().is_multiple_of(3).then(|| self.ledger.purge_ids(0));
        replies.extend(self.charge(last));
        release.send(()).unwrap();
        hold.wait().unwrap();
        if let Some(between) = between {
            between.wait().unwrap();
        }
        replies.into_iter().map(Reply::wait).collect()
    }

    fn charge_in_turn(&self, asked: &[Asked]) -> Vec<Result<Charged, ChargeError>> {
        let one = |charge| self.charge(&[charge]).remove(0).wait();
        // A command that may change anything makes the writer forget what it remembers.
        let forget = || self.ledger.set_plan(self.accounts[0], "default", "test").wait().unwrap();
        asked
            .iter()
            .cloned()
            .map(|charge| {
                forget();
                one(charge)
            })
            .collect()
    }

    fn rows(&self) -> Vec<Vec<Value>> {
        rows(&path(&self.folder))
    }
}

fn rows(path: &Path) -> Vec<Vec<Value>> {
    let conn = Connection::open(path).unwrap();
    let tables = [
        "SELECT id,balance,credited,noticed_ms FROM account ORDER BY id",
        "SELECT id,period_start_ms,period_used,used FROM api_key ORDER BY id",
        "SELECT id,output_tokens,used,period_start_ms,period_used,state,first_charge_ms,last_choice,
           last_ids FROM meter ORDER BY id",
        "SELECT meter_id,n,choice,token_ids FROM charge ORDER BY meter_id,n",
        "SELECT account_id,balance,threshold,at_ms FROM notice ORDER BY id",
    ];
    let mut all = Vec::new();
    for sql in tables {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let found = statement
            .query_map([], |row| (0..columns).map(|column| row.get(column)).collect())
            .unwrap();
        all.extend(found.map(Result::unwrap));
    }
    all
}

#[test]
fn charges_that_come_together_are_as_if_they_came_one_by_one() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let (mut together, mut alone) = (books(), books());
        for _ in 0..30 {
            let (key, rate) = (random.below(6) as usize, 1 + random.below(2) as i64);
            let later = if random.below(8) == 0 { DAY_MS } else { 1 };
            let grant = (random.below(10) == 0).then(|| random.below(2) as usize);
            for books in [&mut together, &mut alone] {
                books.clock.0.fetch_add(later, Ordering::SeqCst);
                books.open_meter(key, rate);
                if let Some(account) = grant {
                    let account = books.accounts[account];
                    books.ledger.grant(account, Credits(90), "why", "test").wait().unwrap();
                }
            }
            let meters = together.meters.len() as u64;
            let mut charge = || {
                let meter = (random.below(meters.min(8)) + meters.saturating_sub(8)) as usize;
                let size = 1 + random.below(2) as usize;
                (meter, random.below(2) as u32, vec![vec![7; size]; random.below(4) as usize])
            };
            for _ in 0..3 {
                let asked: Vec<Asked> = (0..1 + meters % 11).map(|_| charge()).collect();
                let answers = together.charge_at_once(&asked);
                assert_eq!(answers, alone.charge_in_turn(&asked), "seed {seed}: {asked:?}");
            }
            if random.below(3) == 0 {
                let meter = random.below(meters) as usize;
                for books in [&together, &alone] {
                    let _ = books.ledger.close_meter(books.meters[meter], "stop").wait();
                }
            }
        }
        assert_eq!(together.rows(), alone.rows(), "seed {seed}");
        for books in [together, alone] {
            let report = books.ledger.verify().unwrap();
            assert!(report.is_ok(), "seed {seed}: {report:?}");
        }
    }
}

/// The writer is the only one to write. If somebody does all the same, it finds the rows as they
/// are before it pays.
#[test]
fn a_row_that_is_not_as_remembered_is_read_again() {
    for (change, affordable) in [
        ("UPDATE account SET balance=5 WHERE name='alice'", 5),
        ("UPDATE api_key SET total_limit_credits=7 WHERE label='plain'", 7 - 3),
        (
            "INSERT INTO charge SELECT id,0,0,last_ids FROM meter;
             UPDATE meter SET state='closed',closed_ms=0,finish_reason='',ids_sha256=zeroblob(32),
               last_ids=x''",
            0,
        ),
    ] {
        let mut books = books();
        books.open_meter(0, 1);
        let one = || (0, 0, vec![vec![7]]);
        for answer in books.charge_at_once(&[one(), one(), one()]) {
            answer.unwrap();
        }
        Connection::open(path(&books.folder)).unwrap().execute_batch(change).unwrap();
        let answers = books.charge_at_once(&[(); 9].map(|()| one()));
        let paid = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(paid, affordable, "{change}: {answers:?}");
    }
}
