//! Credits in SQLite: who has how many, what each request used, and why.
//!
//! The rule it keeps: a token is charged, and the charge committed, before the token is sent. So at
//! every commit
//!
//! ```text
//! balance = sum(journal) - sum(open meters) >= 0
//! ```
//!
//! Commands go through one writer thread and are answered once they are committed; reads have their
//! own connections. Read `schema.sql` first, then `store`, which is all that commands do; `writer`
//! is how they are committed, `recovery` what happens after a crash, `verify` the proof of it all.
//!
//! Never knows: text, models, HTTP, money. Stored token ids are opaque bytes.

#![deny(clippy::float_arithmetic)]

mod clock;
mod errors;
mod hash;
mod keys;
mod lock;
mod period;
mod reader;
mod recovery;
mod reply;
mod scopes;
mod store;
mod types;
mod verify;
mod writer;

pub use clock::{Clock, SystemClock};
pub use errors::{
    AccountError, ChargeError, CloseError, GrantError, Invalid, KeyError, LedgerError, OpenError,
    Unavailable,
};
pub use keys::fresh_secret;
pub use reply::Reply;
pub use scopes::{Role, Scope, Scopes, UnknownRole, UnknownScope};
pub use types::{
    AccountId, AccountInfo, AccountTotals, Balance, Charged, Closed, Credits, CutBy,
    GenerationRecord, KeyId, KeyInfo, KeyLimit, KeyUsage, LimitReset, MeterId, MeterRequest,
    MeterState, NewKey, ParseMeterIdError, Purged, UnknownReset,
};
pub use verify::{Finding, Invariant, VerifyReport, verify_file};

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use clock::bounded_ms;
use lock::Lock;
use reader::Readers;
use store::{Context, Grant, NewKeyRow, Outcome, connection};
use writer::{Durability, Gauges, Housekeeping, Message, Writer, job};

/// How a ledger is run.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Commands that may wait for the writer before new work is refused with
    /// [`Unavailable::Busy`]. Charges, closes and reversals are always taken: each belongs to a
    /// meter whose opening was new work, so there are never many more of them.
    pub queue: usize,
    /// How long paid ids are kept after their meter closed; `None`: for ever.
    pub retain_ids: Option<Duration>,
    /// Copy the WAL into the database when this many changed rows wait in it ...
    pub checkpoint_rows: u64,
    /// ... or when the writer had nothing to do for this long.
    pub idle: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            queue: 1_024,
            retain_ids: None,
            checkpoint_rows: 8_000,
            idle: Duration::from_millis(250),
        }
    }
}

impl LedgerOptions {
    /// The defaults, with paid ids kept for `retain_ids` after their meter closed.
    pub fn new(retain_ids: Duration) -> Self {
        Self { retain_ids: Some(retain_ids), ..Self::default() }
    }
}

/// What the writer has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerStats {
    /// Transactions committed.
    pub commits: u64,
    /// Commands in them, refused ones included.
    pub commands: u64,
}

/// The open books. Clones share them; the last one to go shuts them down.
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Sender<Message>,
    max_waiting: usize,
    gauges: Arc<Gauges>,
    readers: Readers,
    clock: Arc<dyn Clock>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Whether a command is taken when many wait. No command ever blocks its caller, which may be a
/// task on a runtime's thread.
#[derive(Debug, Clone, Copy)]
enum Admission {
    /// New work: refused when the queue is full.
    New,
    /// Work in flight that has to be charged or ended.
    InFlight,
}

impl Ledger {
    /// Opens the books at `path`, creating them if they are not there, and recovers what an earlier
    /// process left open. Refuses books that another process holds or that contradict themselves.
    pub fn open(path: &Path, options: LedgerOptions) -> Result<Self, LedgerError> {
        let lock = Lock::take(path)?;
        let mut conn = connection::writer(path)?;
        let clock = options.clock;
        let recovered = recovery::begin_boot(&mut conn, bounded_ms(&*clock))?;
        if recovered.closed > 0 {
            let recovery::Recovered { closed, reversed, .. } = recovered;
            tracing::warn!(closed, reversed, "closed meters that an earlier process left open");
        }
        let report = verify::at_start(&conn)?;
        if let Some(finding) = report.findings.into_iter().next() {
            return Err(LedgerError::Damaged(finding));
        }
        let housekeeping = Housekeeping {
            checkpoint_rows: options.checkpoint_rows,
            idle: options.idle,
            retain_ids_ms: options.retain_ids.map(millis),
        };
        let (sender, receiver) = channel();
        let writer =
            Writer::new(conn, lock, recovered.boot, Arc::clone(&clock), housekeeping, receiver);
        let gauges = writer.gauges();
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
        Ok(Self {
            inner: Arc::new(Inner {
                queue: sender,
                max_waiting: options.queue.max(1),
                gauges,
                readers: Readers::new(path.to_owned()),
                clock,
                writer: Mutex::new(Some(thread)),
            }),
        })
    }

    // ----- Commands of operators: survive a power cut once they are answered.

    /// Creates an account without credits.
    pub fn create_account(
        &self,
        name: &str,
        plan: &str,
        actor: &str,
    ) -> Reply<Result<AccountId, AccountError>> {
        let (name, plan, actor) = (name.to_owned(), plan.to_owned(), actor.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::create_account(context, &name, &plan, &actor)
        })
    }

    /// Closes an account: it opens no meters any more. Open ones may finish. Idempotent.
    pub fn close_account(
        &self,
        account: AccountId,
        actor: &str,
    ) -> Reply<Result<(), AccountError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::close_account(context, account, &actor)
        })
    }

    /// Makes a key. The answer is the only place its secret is ever seen.
    pub fn create_key(
        &self,
        account: AccountId,
        label: &str,
        limit: Option<KeyLimit>,
        actor: &str,
    ) -> Reply<Result<NewKey, KeyError>> {
        let secret = keys::fresh_secret();
        let prefix = keys::prefix(&secret);
        let row = NewKeyRow {
            account,
            label: label.to_owned(),
            limit,
            prefix: prefix.clone(),
            secret_hash: keys::secret_hash(&secret),
        };
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::create_key(context, &row, &actor).map(|id| NewKey { id, secret, prefix })
        })
    }

    /// Revokes a key: it opens no meters any more. Open ones may finish. Idempotent.
    pub fn revoke_key(&self, key: KeyId, actor: &str) -> Reply<Result<(), KeyError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::revoke_key(context, key, &actor)
        })
    }

    /// Gives credits. Each call is a grant of its own; see [`Ledger::grant_once`].
    pub fn grant(
        &self,
        account: AccountId,
        credits: Credits,
        reason: &str,
        actor: &str,
    ) -> Reply<Result<Balance, GrantError>> {
        let command = keys::fresh_id(bounded_ms(&*self.inner.clock));
        self.submit_grant(account, credits, reason, actor, command)
    }

    /// Gives credits once for each `idempotency_key`: repeated, it answers and gives nothing.
    pub fn grant_once(
        &self,
        idempotency_key: &str,
        account: AccountId,
        credits: Credits,
        reason: &str,
        actor: &str,
    ) -> Reply<Result<Balance, GrantError>> {
        self.submit_grant(account, credits, reason, actor, hash::command_id(idempotency_key))
    }

    fn submit_grant(
        &self,
        account: AccountId,
        credits: Credits,
        reason: &str,
        actor: &str,
        command: [u8; 16],
    ) -> Reply<Result<Balance, GrantError>> {
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        let grant = Grant { account, credits, reason, actor, command };
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::grant(context, &grant)
        })
    }

    // ----- The life of a meter: survives a kill of the process once it is answered.

    /// Opens a meter if the balance and the key's limit can pay one token. Nothing is held.
    pub fn open_meter(&self, request: MeterRequest) -> Reply<Result<MeterId, OpenError>> {
        let meter = MeterId(keys::fresh_id(bounded_ms(&*self.inner.clock)));
        self.submit(Durability::Kill, Admission::New, move |context| {
            store::open_meter(context, meter, &request)
        })
    }

    /// Pays the longest prefix of `groups` that balance and key limit afford, and stores its ids.
    /// What it paid may be sent once this is answered, and nothing else. A group is paid whole or
    /// not at all; if not even the first can be paid, that is the error.
    ///
    /// Every call is a charge of its own: do not repeat one that was answered.
    pub fn charge(
        &self,
        meter: MeterId,
        choice: u32,
        groups: Vec<Vec<u32>>,
    ) -> Reply<Result<Charged, ChargeError>> {
        self.submit(Durability::Kill, Admission::InFlight, move |context| {
            store::charge(context, meter, choice, &groups)
        })
    }

    /// Ends a meter: what it used is spent. Idempotent; `finish_reason` is cut to 64 characters.
    pub fn close_meter(
        &self,
        meter: MeterId,
        finish_reason: &str,
    ) -> Reply<Result<Closed, CloseError>> {
        let finish_reason = finish_reason.to_owned();
        self.submit(Durability::Kill, Admission::InFlight, move |context| {
            store::close_meter(context, meter, &finish_reason)
        })
    }

    /// Ends a meter, if it is open, and gives back what it used: for an answer that was not sent.
    /// Its ids are deleted and its idempotency key is free. Idempotent; `reason` is cut to 200
    /// characters.
    pub fn reverse_meter(&self, meter: MeterId, reason: &str) -> Reply<Result<Closed, CloseError>> {
        let reason = reason.to_owned();
        self.submit(Durability::Kill, Admission::InFlight, move |context| {
            store::reverse_meter(context, meter, &reason)
        })
    }

    /// Removes the ids of some meters that closed before `before_ms`; call again while there is
    /// more. The writer does this by itself when `retain_ids` is set.
    pub fn purge_ids(&self, before_ms: i64) -> Reply<Result<Purged, Unavailable>> {
        self.submit(Durability::Kill, Admission::New, move |context| {
            store::purge_ids(context, before_ms, writer::PURGE_BATCH)
        })
    }

    // ----- Reads: block for the moment they take.

    /// The key with this secret, revoked or not.
    pub fn find_key(&self, secret: &str) -> Result<Option<KeyInfo>, LedgerError> {
        self.inner.readers.read(|conn| reader::find_key(conn, secret))
    }

    /// An account's keys.
    pub fn keys(&self, account: AccountId) -> Result<Vec<KeyInfo>, LedgerError> {
        self.inner.readers.read(|conn| reader::keys(conn, account))
    }

    /// What a key has spent; `None`: there is no such key.
    pub fn key_usage(&self, key: KeyId) -> Result<Option<KeyUsage>, LedgerError> {
        let now_ms = bounded_ms(&*self.inner.clock);
        self.inner.readers.read(|conn| reader::key_usage(conn, key, now_ms))
    }

    /// Every account but the house's.
    pub fn accounts(&self) -> Result<Vec<AccountInfo>, LedgerError> {
        self.inner.readers.read(reader::accounts)
    }

    /// One account.
    pub fn account(&self, account: AccountId) -> Result<Option<AccountInfo>, LedgerError> {
        self.inner.readers.read(|conn| reader::account(conn, account))
    }

    /// What an account has had and has; `None`: there is no such account.
    pub fn account_totals(&self, account: AccountId) -> Result<Option<AccountTotals>, LedgerError> {
        self.inner.readers.read(|conn| reader::account_totals(conn, account))
    }

    /// One generation, if it is this account's.
    pub fn generation(
        &self,
        account: AccountId,
        meter: MeterId,
    ) -> Result<Option<GenerationRecord>, LedgerError> {
        self.inner.readers.read(|conn| reader::generation(conn, account, meter))
    }

    /// Proves every invariant on every row. Reads the whole of the books: not for a task.
    pub fn verify(&self) -> Result<VerifyReport, LedgerError> {
        self.inner.readers.read(verify::everything)
    }

    /// Whether commands are still taken: false once writing failed or the books were shut down.
    pub fn healthy(&self) -> bool {
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let running = writer.as_ref().is_some_and(|thread| !thread.is_finished());
        running && !self.inner.gauges.failed.load(Ordering::SeqCst)
    }

    /// What the writer has done.
    pub fn stats(&self) -> LedgerStats {
        LedgerStats {
            commits: self.inner.gauges.commits.load(Ordering::Relaxed),
            commands: self.inner.gauges.commands.load(Ordering::Relaxed),
        }
    }

    /// Finishes what is queued, checkpoints, closes and unlocks the books. Later commands answer
    /// [`Unavailable::Stopped`]. Blocks until it is done; again, it does nothing.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }

    fn submit<T, E, F>(
        &self,
        durability: Durability,
        admission: Admission,
        run: F,
    ) -> Reply<Result<T, E>>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        F: FnOnce(&Context<'_>) -> Outcome<T, E> + Send + 'static,
    {
        let (job, reply) = job(durability, run);
        if let Admission::New = admission
            && self.inner.gauges.waiting() >= self.inner.max_waiting
        {
            job.answer(Err(Unavailable::Busy));
            return reply;
        }
        let place = Gauges::queue_up(&self.inner.gauges);
        if let Err(refused) = self.inner.queue.send(Message::Run(job, place))
            && let Message::Run(job, _) = refused.0
        {
            job.answer(Err(Unavailable::Stopped));
        }
        reply
    }
}

impl Inner {
    fn shutdown(&self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = writer.take() else { return };
        // The writer's connection has to be the last one: it alone can put the WAL away.
        self.readers.close_idle();
        // An error means that the writer is gone already.
        let _ = self.queue.send(Message::Stop);
        if thread.join().is_err() {
            tracing::error!("the ledger's writer had panicked; reopening the books recovers");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
