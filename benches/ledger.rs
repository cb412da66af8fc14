//! What the ledger sustains: charges a second through the writer, as the server makes them.
//!
//! `cargo bench --bench ledger` runs the real sizes; `cargo test` small ones, and then only checks
//! that the books hold. They are in the system's temporary folder: its disk is what is measured.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use mizan::ledger::{
    AccountId, Credits, KeyId, Ledger, LedgerOptions, MeterId, MeterRequest, NewKeyRequest,
};

/// Concurrent requests in the larger workloads.
const STREAMS: usize = 32;

fn main() {
    let real = std::env::args().any(|argument| argument == "--bench");
    let charges = if real { 40_000 } else { 320 };
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!("books in {}, {} cores", folder.path().display(), cores());
    println!("{:<44} {:>9} {:>9} {:>9} {:>9}", "workload", "per s", "p50 us", "p99 us", "batch");
    let bench = Bench::new(&folder.path().join("ledger.db"));
    bench.report("charge 1 token, 1 stream", |bench| bench.charge(1, charges / 4));
    bench.report("charge 1 token, 32 streams", |bench| bench.charge(STREAMS, charges));
    bench.report("charge 1 token, 32 streams a step", |bench| bench.steps(charges / STREAMS));
    bench.report("open + 10 charges + close, 32 streams", |bench| bench.requests(charges / 16));
    bench.report("grant (fsync), 1 operator", |bench| bench.grants(charges / 80));
    let start = Instant::now();
    let report = bench.ledger.verify().expect("the books can be read");
    assert!(report.is_ok(), "{report:#?}");
    println!(
        "verified {} transfers, {} meters, {} token ids in {:.0?}",
        report.transfers,
        report.meters,
        report.token_ids,
        start.elapsed()
    );
}

struct Bench {
    ledger: Ledger,
    account: AccountId,
    key: KeyId,
}

impl Bench {
    fn new(path: &Path) -> Self {
        let ledger = Ledger::open(path, LedgerOptions::default()).expect("fresh books");
        let account =
            ledger.create_account("bench", "default", "bench").wait().expect("a new name");
        let credits = Credits(1_000_000_000);
        ledger.grant(account, credits, "bench", "bench").wait().expect("a valid grant");
        let key = ledger
            .create_key(NewKeyRequest::new(account, "bench"), "bench")
            .wait()
            .expect("a valid key")
            .id;
        Self { ledger, account, key }
    }

    /// Runs a workload that returns how long each of its operations took, and prints a line.
    fn report(&self, name: &str, work: impl FnOnce(&Self) -> Vec<Duration>) {
        let before = self.ledger.stats();
        let start = Instant::now();
        let mut took = work(self);
        let elapsed = start.elapsed();
        let after = self.ledger.stats();
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e6;
        println!(
            "{name:<44} {:>9.0} {:>9.0} {:>9.0} {:>9.1}",
            took.len() as f64 / elapsed.as_secs_f64(),
            at(50),
            at(99),
            (after.commands - before.commands) as f64 / (after.commits - before.commits) as f64
        );
    }

    fn open(&self) -> MeterId {
        let request = MeterRequest {
            account: self.account,
            key: self.key,
            model: "bench".to_owned(),
            model_digest: [0; 32],
            credits_per_token: 1,
            streamed: true,
            input_tokens: 30,
            idempotency_key: None,
            body_hash: [0; 32],
        };
        self.ledger.open_meter(request).wait().expect("there are credits")
    }

    fn charge_one(&self, meter: MeterId) -> Duration {
        timed(|| {
            self.ledger.charge(meter, 0, vec![vec![1]]).wait().expect("there are credits");
        })
    }

    /// Each stream waits for its charge before it makes the next, as a generation does.
    fn charge(&self, streams: usize, charges: usize) -> Vec<Duration> {
        self.in_parallel(streams, || {
            let meter = self.open();
            let took = (0..charges / streams).map(|_| self.charge_one(meter)).collect();
            self.ledger.close_meter(meter, "stop").wait().expect("it is open");
            took
        })
    }

    /// All streams' charges of an engine step at once; the time is the whole step's.
    fn steps(&self, steps: usize) -> Vec<Duration> {
        let meters: Vec<MeterId> = (0..STREAMS).map(|_| self.open()).collect();
        let step = || {
            let charge = |meter: &MeterId| self.ledger.charge(*meter, 0, vec![vec![1]]);
            let replies: Vec<_> = meters.iter().map(charge).collect();
            for reply in replies {
                reply.wait().expect("there are credits");
            }
        };
        let took: Vec<Duration> = (0..steps).map(|_| timed(step)).collect();
        for meter in meters {
            self.ledger.close_meter(meter, "stop").wait().expect("it is open");
        }
        // One entry for each charge, so that the rate is one of charges.
        took.into_iter().flat_map(|took| [took; STREAMS]).collect()
    }

    fn requests(&self, requests: usize) -> Vec<Duration> {
        self.in_parallel(STREAMS, || {
            let request = || {
                let meter = self.open();
                for _ in 0..10 {
                    self.charge_one(meter);
                }
                self.ledger.close_meter(meter, "stop").wait().expect("it is open");
            };
            (0..requests.div_ceil(STREAMS)).map(|_| timed(request)).collect()
        })
    }

    fn grants(&self, grants: usize) -> Vec<Duration> {
        let grant = || {
            let reply = self.ledger.grant(self.account, Credits(1), "bench", "bench");
            reply.wait().expect("a valid grant");
        };
        (0..grants).map(|_| timed(grant)).collect()
    }

    fn in_parallel(
        &self,
        threads: usize,
        work: impl Fn() -> Vec<Duration> + Sync,
    ) -> Vec<Duration> {
        let start = Barrier::new(threads);
        let run = || {
            start.wait();
            work()
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            let results = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            results.flatten().collect()
        })
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
