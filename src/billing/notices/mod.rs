//! Sends the notices that the ledger wrote: a thread that posts each to its team's own server.
//!
//! A notice lies in the books from the commit that it tells of until it was taken, so a crash or a
//! restart loses none. One that was taken just before a crash is sent again, with the same
//! `webhook-id`: receivers take each id once.
//!
//! Promises: a server that is slow or away holds back nobody else's notices for longer than a
//! time-out; what it answers is never read beyond its head.
//! Never knows: when a balance is low; the ledger decides that.

mod outbound;
mod signature;

pub use outbound::{BadUrl, Outbound};
pub use signature::{Secret, secret};

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use crate::ledger::{Clock, Ledger, LedgerError, NoticeRecord};

/// How long after each failed try the next one is: about what the Standard Webhooks specification
/// proposes. After the last one it is given up.
const RETRY_AFTER_MS: [i64; 5] = [60_000, 300_000, 1_800_000, 7_200_000, 43_200_000];

/// Notices that are sent at the same time.
const AT_ONCE: u32 = 16;

/// How often the books are asked for notices. The index of those that wait is nearly always empty.
const INTERVAL: Duration = Duration::from_secs(1);

/// What became of tries since the server started.
#[derive(Debug, Default)]
pub struct NoticeCounts {
    sent: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
}

impl NoticeCounts {
    /// Notices that were taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Tries that failed, the last ones included.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Notices that will not be tried again.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Relaxed)
    }
}

/// Sends what is due.
#[derive(Debug)]
pub struct Sender {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    outbound: Outbound,
    counts: Arc<NoticeCounts>,
}

impl Sender {
    /// A sender of the notices of `ledger`, whose clock it shares.
    pub fn new(
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        outbound: Outbound,
        counts: Arc<NoticeCounts>,
    ) -> Self {
        Self { ledger, clock, outbound, counts }
    }

    /// Sends until the answer is dropped.
    pub fn start(self) -> io::Result<Sending> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("notices".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                if let Err(error) = self.send_due() {
                    tracing::error!(%error, "notices could not be read");
                }
            }
        })?;
        Ok(Sending { stop: Some(stop), thread: Some(thread) })
    }

    /// Tries the notices that are due, and says how many that were.
    pub fn send_due(&self) -> Result<usize, LedgerError> {
        let due = self.ledger.notices_due(self.clock.now_ms(), AT_ONCE)?;
        thread::scope(|scope| {
            for notice in &due {
                scope.spawn(|| self.send(notice));
            }
        });
        Ok(due.len())
    }

    fn send(&self, notice: &NoticeRecord) {
        let Some(url) = &notice.url else { return };
        let id = format!("notice_{}", notice.id);
        let body = json!({
            "id": id,
            "type": "balance.low",
            "created": notice.at_ms / 1_000,
            "data": {
                "account": notice.account_name,
                "balance": notice.balance.0,
                "threshold": notice.threshold.0,
            },
        })
        .to_string();
        let timestamp = self.clock.now_ms() / 1_000;
        let signature = secret(&self.ledger, notice.account, url).sign(&id, timestamp, &body);
        let timestamp = timestamp.to_string();
        let headers = [
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", timestamp.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        let recorded = match self.outbound.post(url, &headers, &body) {
            Ok(()) => {
                self.counts.sent.fetch_add(1, Relaxed);
                self.ledger.notice_sent(notice.id).wait()
            }
            Err(error) => {
                let tries = usize::try_from(notice.tries).unwrap_or(usize::MAX);
                let wait = RETRY_AFTER_MS.get(tries);
                self.counts.failed.fetch_add(1, Relaxed);
                if wait.is_none() {
                    self.counts.given_up.fetch_add(1, Relaxed);
                }
                let account = &notice.account_name;
                tracing::warn!(%account, notice = %notice.id, %error, "a notice was not taken");
                let next_try_ms = wait.map(|wait| self.clock.now_ms().saturating_add(*wait));
                self.ledger.notice_failed(notice.id, &error.to_string(), next_try_ms).wait()
            }
        };
        if let Err(error) = recorded {
            tracing::error!(notice = %notice.id, %error, "a notice will be sent again");
        }
    }
}

/// A sender at work. Dropping it ends it, once the tries that run have ended.
#[derive(Debug)]
pub struct Sending {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sender of notices had panicked; they wait in the books");
        }
    }
}
