//! Load for benchmarks: requests as the server makes them, timed, and books of any size to make
//! them on. Hidden from the documentation, as no server uses it.
//! Promises: every row is made by the functions that make it in earnest.

mod growth;

pub use growth::{GrowthError, grow};

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::{
    AccountId, Credits, KeyId, Ledger, LedgerError, LedgerOptions, MeterId, MeterRequest,
    NewKeyRequest, VerifyReport,
};

const NAME: &str = "bench";

/// Plenty for any number of one-credit tokens that a bench has the time for.
const CREDITS: Credits = Credits(1_000_000_000_000);

/// Books with an account that can pay for everything.
#[derive(Debug)]
pub struct Load {
    ledger: Ledger,
    account: AccountId,
    key: KeyId,
}

/// How long the operations of one workload took.
#[derive(Debug, Clone)]
pub struct Timed {
    /// Of each operation, shortest first.
    took: Vec<Duration>,
    /// Of all.
    elapsed: Duration,
    commands: u64,
    commits: u64,
}

impl Timed {
    /// Operations a second.
    pub fn per_second(&self) -> u64 {
        let count = self.took.len() as u128;
        let rate = count * 1_000_000_000 / self.elapsed.as_nanos().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// The time that so many percent of the operations took at most.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.took[(self.took.len() - 1) * percent / 100]
    }

    /// Commands in a commit, times ten.
    pub fn tenths_of_batch(&self) -> u64 {
        self.commands * 10 / self.commits.max(1)
    }
}

impl Load {
    /// Opens the books at `path`, or makes them.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let ledger = Ledger::open(path, LedgerOptions::default())?;
        let (account, key) = match ledger.accounts()?.first() {
            Some(account) => (account.id, ledger.keys(account.id)?[0].id),
            None => {
                let account =
                    ledger.create_account(NAME, "default", NAME).wait().expect("a new name");
                ledger.grant(account, CREDITS, NAME, NAME).wait().expect("a valid grant");
                let key = ledger.create_key(NewKeyRequest::new(account, NAME), NAME).wait();
                (account, key.expect("a valid key").id)
            }
        };
        Ok(Self { ledger, account, key })
    }

    /// `streams` requests at once; each waits for its charge of one token before it makes the next,
    /// as a generation does. Needs at least one charge for each stream.
    pub fn charges(&self, streams: usize, charges: usize) -> Timed {
        self.timed(|| {
            self.in_parallel(streams, || {
                let meter = self.open_meter();
                let took = (0..charges / streams).map(|_| self.charge_one(meter)).collect();
                self.close_meter(meter);
                took
            })
        })
    }

    /// All streams' charges of an engine step at once; the time of each is the whole step's.
    pub fn steps(&self, streams: usize, steps: usize) -> Timed {
        self.timed(|| {
            let meters: Vec<MeterId> = (0..streams).map(|_| self.open_meter()).collect();
            let step = || {
                let charge = |meter: &MeterId| self.ledger.charge(*meter, 0, vec![vec![1]]);
                let replies: Vec<_> = meters.iter().map(charge).collect();
                for reply in replies {
                    reply.wait().expect("there are credits");
                }
            };
            let took: Vec<Duration> = (0..steps).map(|_| timed(step)).collect();
            meters.iter().for_each(|meter| self.close_meter(*meter));
            took.into_iter().flat_map(|took| vec![took; streams]).collect()
        })
    }

    /// Whole requests of ten tokens.
    pub fn requests(&self, streams: usize, requests: usize) -> Timed {
        self.timed(|| {
            self.in_parallel(streams, || {
                let request = || {
                    let meter = self.open_meter();
                    for _ in 0..10 {
                        self.charge_one(meter);
                    }
                    self.close_meter(meter);
                };
                (0..requests.div_ceil(streams)).map(|_| timed(request)).collect()
            })
        })
    }

    /// One request after the other, with nobody to share a commit with: how long their opening,
    /// their one charge and their closing take.
    pub fn one_by_one(&self, requests: usize) -> [Timed; 3] {
        let mut took = [const { Vec::new() }; 3];
        let whole = self.timed(|| {
            for _ in 0..requests {
                let mut meter = None;
                took[0].push(timed(|| meter = Some(self.open_meter())));
                let meter = meter.expect("it was opened just now");
                took[1].push(self.charge_one(meter));
                took[2].push(timed(|| self.close_meter(meter)));
            }
            Vec::new()
        });
        took.map(|mut took| {
            took.sort_unstable();
            let elapsed = took.iter().sum();
            Timed { took, elapsed, ..whole.clone() }
        })
    }

    /// Grants, each of which survives a power cut.
    pub fn grants(&self, grants: usize) -> Timed {
        let grant = || {
            let reply = self.ledger.grant(self.account, Credits(1), NAME, NAME);
            reply.wait().expect("a valid grant");
        };
        self.timed(|| (0..grants).map(|_| timed(grant)).collect())
    }

    /// Proves the books.
    pub fn verify(&self) -> Result<VerifyReport, LedgerError> {
        self.ledger.verify()
    }

    fn open_meter(&self) -> MeterId {
        let request = request(self.account, self.key);
        self.ledger.open_meter(request).wait().expect("there are credits")
    }

    fn charge_one(&self, meter: MeterId) -> Duration {
        timed(|| {
            self.ledger.charge(meter, 0, vec![vec![1]]).wait().expect("there are credits");
        })
    }

    fn close_meter(&self, meter: MeterId) {
        self.ledger.close_meter(meter, "stop").wait().expect("it is open");
    }

    fn timed(&self, work: impl FnOnce() -> Vec<Duration>) -> Timed {
        let before = self.ledger.stats();
        let begun = Instant::now();
        let mut took = work();
        let elapsed = begun.elapsed();
        took.sort_unstable();
        let after = self.ledger.stats();
        let commands = after.commands - before.commands;
        Timed { took, elapsed, commands, commits: after.commits - before.commits }
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

fn request(account: AccountId, key: KeyId) -> MeterRequest {
    MeterRequest {
        account,
        key,
        model: NAME.to_owned(),
        model_digest: [0; 32],
        credits_per_token: 1,
        streamed: true,
        input_tokens: 30,
        idempotency_key: None,
        body_hash: [0; 32],
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}
