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
//! own connections. Read `schema.sql` first, then `handle`, which is all that callers can ask for,
//! and `store`, which is all that commands do; `writer` is how they are committed, `recovery` what
//! happens after a crash, `verify` the proof of it all.
//!
//! Never knows: text, models, HTTP, payment providers. Stored token ids are opaque bytes.

#![deny(clippy::float_arithmetic)]

mod backup;
mod checker;
mod clock;
mod dates;
mod directory;
mod errors;
mod export;
mod files;
mod handle;
mod hash;
mod keys;
#[doc(hidden)]
pub mod load;
mod lock;
mod people;
mod period;
mod reader;
mod receipt;
mod recovery;
mod reply;
mod restore;
mod sales;
mod scopes;
mod server_keys;
mod store;
mod types;
mod verify;
mod voucher_code;
mod watch;
mod writer;

pub use backup::{BackedUp, BackupError, ChainHead, backup};
pub use checker::{CheckStatus, Checked};
pub use clock::{Clock, SystemClock};
pub use dates::{Day, ParseDayError, rfc3339};
pub use errors::{
    AccountError, ChargeError, CloseError, GrantError, Invalid, InvitationError, KeyError,
    LedgerError, NoticeError, OpenError, SessionError, Unavailable, UsageError, UserError,
};
pub use export::{
    Export, ExportError, ExportFormat, ExportQuery, ExportWhat, UnknownWord, export_file,
    push_csv_text,
};
pub use keys::{SESSION_PREFIX, fresh_secret};
pub use people::{NewSecret, NewUser, Reach, SessionInfo, SignIn, UserInfo};
pub use reader::{
    AuditFilter, BadCursor, BooksFigures, GenerationPage, GenerationQuery, GenerationRow, KeyName,
    LowBalance, NoticeRecord, UnknownGrouping, Usage, UsageBy, UsageQuery, UsageRow, UsageSums,
};
pub use receipt::{
    ChargeReceipt, PurchaseReceipt, Receipt, ReceiptError, ReceiptRefused, SignedReceipt,
    check_receipt,
};
pub use reply::Reply;
pub use restore::{Replaced, Restore, RestoreError, Restored};
pub use sales::{
    BeginRefundError, BegunRefund, CheckedTopup, CorrectError, CreatedTopup, FinishRefundError,
    MadeVouchers, Mismatch, NewTopup, NewVouchers, PaidDay, PaidProof, ParseIdError, PayTopupError,
    PaymentEvent, PaymentEventInfo, RedeemError, Redeemed, RefundId, RefundInfo, RefundOutcome,
    RefundState, SettleMismatchError, TopupError, TopupFilter, TopupId, TopupInfo, TopupState,
    UnknownTopupState, VoucherBatch, VoucherError,
};
pub use scopes::{Role, Scope, Scopes, UnknownRole, UnknownScope};
pub use server_keys::{ParsePublicKeyError, PublicKey, ServerKeys, ServerKeysError};
pub(crate) use store::{
    MAX_AMOUNT, MAX_NAME_CHARS, MAX_NOTICE_URL_CHARS, MAX_PROVIDER_ID_CHARS, MAX_REASON_CHARS,
    MAX_USER_NAME_CHARS,
};
pub use types::{
    AccountId, AccountInfo, AccountTotals, AuditEntry, Balance, Charged, Closed, Credits, CutBy,
    GenerationRecord, KeyId, KeyInfo, KeyLimit, KeyUsage, LimitReset, MeterId, MeterRequest,
    MeterState, NewKey, NewKeyRequest, NoticeId, ParseMeterIdError, Purged, UnknownReset, UserId,
};
pub use verify::{Finding, Invariant, VerifyReport, verify_file};
pub use voucher_code::{ParseCodeError, VoucherCode};
pub use watch::Watch;
pub use writer::CommitTimes;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use checker::Checker;
use clock::bounded_ms;
use lock::Lock;
use reader::Readers;
use store::{Context, Outcome, connection};
use writer::{Changes, Durability, Gauges, Housekeeping, Message, Queue, Work, Writer, job};

/// How a ledger is run.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Commands that may wait for the writer before new work is refused with
    /// [`Unavailable::Busy`]. Charges, closes and reversals are always taken: each belongs to a
    /// meter whose opening was new work, so there are never many more of them.
    pub queue: usize,
    /// How long paid ids are kept after their meter closed; `None`: for ever. Zero: they go in the
    /// transaction that closes it.
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
    /// How long they took.
    pub commit_times: CommitTimes,
}

/// The open books. Clones share them; the last one to go shuts them down.
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    max_waiting: usize,
    gauges: Arc<Gauges>,
    readers: Arc<Readers>,
    keys: ServerKeys,
    checker: Arc<Checker>,
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
        let keeps_ids = options.retain_ids != Some(Duration::ZERO);
        let recovered = recovery::begin_boot(&mut conn, bounded_ms(&*clock), keeps_ids)?;
        if recovered.closed > 0 {
            let recovery::Recovered { closed, reversed, .. } = recovered;
            tracing::warn!(closed, reversed, "closed meters that an earlier process left open");
        }
        let keys_path = ServerKeys::path_beside(path);
        if recovered.boot > 1 && !keys_path.exists() {
            tracing::warn!(
                "made new server keys, as there is no {}: vouchers and receipts that were made \
                 with others no longer check; put that file back if there was one",
                keys_path.display()
            );
        }
        let keys = ServerKeys::open(&keys_path)?;
        let report = verify::at_start(&conn)?;
        if let Some(finding) = report.findings.into_iter().next() {
            return Err(LedgerError::Damaged(finding));
        }
        let last_seq = backup::chain_head(&conn)?.seq;
        let housekeeping = Housekeeping {
            checkpoint_rows: options.checkpoint_rows,
            idle: options.idle,
            retain_ids_ms: options.retain_ids.map(millis),
        };
        let (queue, inbox) = writer::queue();
        let writer =
            Writer::new(conn, lock, recovered.boot, Arc::clone(&clock), housekeeping, inbox);
        let gauges = writer.gauges();
        // Recovery ended with a commit that survives a power cut, and all before it with it.
        gauges.durable_seq.store(last_seq, Ordering::SeqCst);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
        let readers = Arc::new(Readers::new(path.to_owned()));
        Ok(Self {
            inner: Arc::new(Inner {
                queue,
                max_waiting: options.queue.max(1),
                gauges,
                checker: Checker::new(Arc::clone(&readers), Arc::clone(&clock)),
                readers,
                keys,
                clock,
                writer: Mutex::new(Some(thread)),
            }),
        })
    }

    /// The server's secrets.
    pub fn server_keys(&self) -> &ServerKeys {
        &self.inner.keys
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
            commit_times: self.inner.gauges.commit_times.read(),
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
        let (work, reply) = job(durability, Changes::Any, run);
        self.queue_up(admission, work);
        reply
    }

    /// Queues a command, or answers it at once.
    fn queue_up(&self, admission: Admission, work: Work) {
        if let Admission::New = admission
            && self.inner.gauges.waiting() >= self.inner.max_waiting
        {
            return work.answer(Err(Unavailable::Busy));
        }
        self.push(work, Queue::push);
    }

    fn push(&self, work: Work, push: fn(&Queue, Message) -> Result<(), Message>) {
        let message = Message::Run(work, Gauges::queue_up(&self.inner.gauges));
        if let Err(Message::Run(work, _)) = push(&self.inner.queue, message) {
            work.answer(Err(Unavailable::Stopped));
        }
    }
}

impl Inner {
    fn shutdown(&self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = writer.take() else { return };
        // The writer's connection has to be the last one: it alone can put the WAL away.
        self.checker.stop();
        self.readers.close_idle();
        // An error means that the writer is gone already.
        let _ = self.queue.push(Message::Stop);
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
