//! The one thread that writes: drains its queue, runs everything in one transaction, commits, then
//! answers everyone. Group commit comes by itself: what arrives during a commit is the next batch.
//!
//! Promises: nothing is answered before it is committed; a refusal undoes only its own command;
//! when writing fails, nothing of the batch is answered as done and nothing more is written.

mod commit_times;
#[cfg(test)]
mod failpoints;
mod job;
#[cfg(test)]
mod one_by_one;
mod queue;
#[cfg(test)]
mod tests;

pub use commit_times::CommitTimes;
pub(super) use job::{Changes, Durability, Message, Work, charge, job};
pub(super) use queue::{Inbox, Queue, queue};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::backup::chain_head;
use super::clock::{Clock, bounded_ms};
use super::errors::Unavailable;
use super::lock::Lock;
use super::store::{self, Context, Remembered};

/// The most commands in one commit: bounds how long the first one waits for the last.
const MAX_BATCH: usize = 512;

/// Meters whose ids are looked at in one purge: a few milliseconds.
pub(super) const PURGE_BATCH: usize = 64;

/// How often old ids are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// What the handles can see of the writer.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) failed: AtomicBool,
    waiting: AtomicUsize,
    pub(super) commits: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) commit_times: commit_times::Counts,
    /// Transfers up to this one survive a power cut.
    pub(super) durable_seq: AtomicI64,
}

impl Gauges {
    /// Commands in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A place in the queue, counted until it is dropped: also when the queue itself is.
    pub(super) fn queue_up(gauges: &Arc<Self>) -> Place {
        gauges.waiting.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(gauges))
    }
}

/// A command's place in the queue.
pub(super) struct Place(Arc<Gauges>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How the writer keeps house.
#[derive(Debug, Clone)]
pub(super) struct Housekeeping {
    /// Checkpoint once this many changed rows wait in the WAL ...
    pub(super) checkpoint_rows: u64,
    /// ... or when nothing was asked for this long.
    pub(super) idle: Duration,
    /// Remove paid ids this long after their meter closed; `None`: never.
    pub(super) retain_ids_ms: Option<i64>,
}

/// The thread's state.
pub(super) struct Writer {
    conn: Connection,
    inbox: Inbox,
    gauges: Arc<Gauges>,
    clock: Arc<dyn Clock>,
    boot: i64,
    housekeeping: Housekeeping,
    /// The level `synchronous` has now.
    durability: Option<Durability>,
    /// The connection's count of changed rows when the WAL was last checkpointed. A changed row
    /// dirties about one page, so what came since tells how long the WAL is.
    checkpointed_at: u64,
    last_purge: Instant,
    purge_again: bool,
    /// What the last charges left.
    remembered: Remembered,
    /// Let go of after the connection is closed: fields drop in order.
    _lock: Lock,
}

/// What the queue gave.
enum Received {
    Batch,
    Stop,
    Idle,
}

impl Writer {
    pub(super) fn new(
        conn: Connection,
        lock: Lock,
        boot: i64,
        clock: Arc<dyn Clock>,
        housekeeping: Housekeeping,
        inbox: Inbox,
    ) -> Self {
        Self {
            conn,
            inbox,
            gauges: Arc::default(),
            clock,
            boot,
            housekeeping,
            durability: None,
            checkpointed_at: 0, // What recovery wrote counts as waiting.
            last_purge: Instant::now(),
            purge_again: true, // The last run may have stopped long ago.
            remembered: Remembered::default(),
            _lock: lock,
        }
    }

    /// What the handles watch.
    pub(super) fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.gauges)
    }

    /// Runs until told to stop, or until every handle is gone.
    pub(super) fn run(mut self) {
        #[cfg(test)]
        failpoints::arm(&self.conn);
        let mut batch = Vec::new();
        loop {
            let received = self.receive(&mut batch);
            let done = match received {
                Received::Batch | Received::Stop => self.commit(&mut batch),
                Received::Idle => self.keep_house(),
            };
            if let Err(error) = done {
                return self.fail(&error, batch);
            }
            if let Received::Stop = received {
                break;
            }
            // A ledger that is never idle keeps its house between batches.
            if self.purge_is_due()
                && self.last_purge.elapsed() >= self.housekeeping.idle
                && let Err(error) = self.keep_house()
            {
                return self.fail(&error, batch);
            }
            if self.waiting_rows() >= self.housekeeping.checkpoint_rows {
                self.checkpoint("PASSIVE");
            }
        }
        self.checkpoint("TRUNCATE");
    }

    /// Waits for a command, then takes what else is there.
    fn receive(&self, batch: &mut Vec<Work>) -> Received {
        let patience = if self.waiting_rows() > 0 || self.purge_is_due() {
            self.housekeeping.idle
        } else {
            PURGE_EVERY
        };
        for message in self.inbox.take(MAX_BATCH, patience) {
            match message {
                Message::Run(work, place) => {
                    drop(place);
                    batch.push(work);
                }
                Message::Stop => return Received::Stop,
            }
        }
        if batch.is_empty() { Received::Idle } else { Received::Batch }
    }

    /// One transaction for the whole batch; answers it only when that is committed.
    fn commit(&mut self, batch: &mut Vec<Work>) -> rusqlite::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let durable = batch.iter().any(|job| job.durability() == Durability::PowerCut);
        self.synchronous(if durable { Durability::PowerCut } else { Durability::Kill })?;
        let now_ms = bounded_ms(&*self.clock);
        let mut remembered = std::mem::take(&mut self.remembered);
        let context = self.context(now_ms);
        let written_before = self.conn.total_changes();
        let begun = Instant::now();
        self.step("BEGIN IMMEDIATE")?;
        job::run(batch, &context, &mut remembered)?;
        self.step("COMMIT")?;
        self.gauges.commit_times.add(begun.elapsed());
        self.remembered = remembered;
        // A commit without a change writes nothing, and so makes nothing before it last either.
        if durable && self.conn.total_changes() > written_before {
            let last_seq = chain_head(&self.conn)?.seq;
            self.gauges.durable_seq.store(last_seq, Ordering::SeqCst);
        }
        self.gauges.commits.fetch_add(1, Ordering::Relaxed);
        self.gauges.commands.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.drain(..).for_each(|work| work.answer(Ok(())));
        Ok(())
    }

    /// Has to happen before BEGIN: inside a transaction the pragma is an error.
    fn synchronous(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.durability != Some(durability) {
            let level = match durability {
                Durability::Kill => "NORMAL",
                Durability::PowerCut => "FULL",
            };
            self.conn.pragma_update(None, "synchronous", level)?;
            self.durability = Some(durability);
        }
        Ok(())
    }

    fn context(&self, now_ms: i64) -> Context<'_> {
        let keeps_ids = self.housekeeping.retain_ids_ms != Some(0);
        Context { conn: &self.conn, now_ms, boot: self.boot, keeps_ids }
    }

    fn step(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    /// Fails closed: what the disk did not take was not done, and what comes later is refused, as
    /// the books can no longer say what was paid. Reopening them recovers.
    fn fail(self, error: &rusqlite::Error, batch: Vec<Work>) {
        tracing::error!(%error, "the ledger could not write and takes no more commands");
        self.gauges.failed.store(true, Ordering::SeqCst);
        // SQLite may have rolled back already, and a ROLLBACK would then fail itself.
        if !self.conn.is_autocommit()
            && let Err(error) = self.step("ROLLBACK")
        {
            tracing::error!(%error, "rolling back failed too; closing does it");
        }
        batch.into_iter().for_each(|work| work.answer(Err(Unavailable::Failed)));
        loop {
            for message in self.inbox.take(MAX_BATCH, PURGE_EVERY) {
                let Message::Run(work, place) = message else { return };
                drop(place);
                work.answer(Err(Unavailable::Failed));
            }
        }
    }

    /// Something to do while nobody waits.
    fn keep_house(&mut self) -> rusqlite::Result<()> {
        if self.purge_is_due() {
            self.purge()?;
        }
        if self.waiting_rows() > 0 {
            self.checkpoint("PASSIVE");
        }
        Ok(())
    }

    fn purge_is_due(&self) -> bool {
        self.housekeeping.retain_ids_ms.is_some()
            && (self.purge_again || self.last_purge.elapsed() >= PURGE_EVERY)
    }

    /// One small batch of ids past their age.
    fn purge(&mut self) -> rusqlite::Result<()> {
        let Some(retain_ids_ms) = self.housekeeping.retain_ids_ms else { return Ok(()) };
        let now_ms = bounded_ms(&*self.clock);
        let before_ms = now_ms.saturating_sub(retain_ids_ms);
        self.synchronous(Durability::Kill)?;
        let context = self.context(now_ms);
        self.step("BEGIN IMMEDIATE")?;
        let purged = store::command(&context, |context| {
            store::purge_ids::<Unavailable>(context, before_ms, PURGE_BATCH)
        })?;
        self.step("COMMIT")?;
        self.purge_again = purged.is_ok_and(|purged| purged.more);
        self.last_purge = Instant::now();
        Ok(())
    }

    fn waiting_rows(&self) -> u64 {
        self.conn.total_changes().saturating_sub(self.checkpointed_at)
    }

    /// Copies the WAL into the database. A failure loses nothing: the WAL stays for the next time.
    fn checkpoint(&mut self, mode: &str) {
        self.checkpointed_at = self.conn.total_changes();
        if let Err(error) = self.conn.pragma(None, "wal_checkpoint", mode, |_| Ok(())) {
            tracing::warn!(%error, mode, "the ledger's checkpoint failed");
        }
    }
}
