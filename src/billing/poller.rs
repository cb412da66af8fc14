//! Orders whose callback never came: asked about again and again, ever more rarely.
//!
//! Promises: one order's trouble does not keep the others waiting; a round is bounded.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Billing;
use super::error::CheckError;
use crate::ledger::{CheckedTopup, LedgerError, TopupInfo, TopupState};

/// How often the waiting orders are looked through.
const EVERY: Duration = Duration::from_secs(20);

/// Orders that failed or expired are asked about for so long: banks capture late.
const LATE_MS: i64 = 3 * 86_400_000;

/// Orders that are still open so long after their time are given up.
const GRACE_MS: i64 = 3_600_000;

/// Orders asked about in one round.
const MAX_ORDERS: usize = 50;

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Orders asked about.
    pub asked: usize,
    /// Of these, paid.
    pub paid: usize,
    /// Of these, not answered or not fitting.
    pub failed: usize,
}

impl Billing {
    /// Asks about every order that is due at `now_ms`.
    pub fn poll(&self, now_ms: i64) -> Result<Round, LedgerError> {
        let mut round = Round::default();
        let waiting = self.ledger.topups_waiting(now_ms - LATE_MS)?;
        let due = waiting.iter().filter(|topup| is_due(topup, now_ms));
        for topup in due.take(MAX_ORDERS) {
            round.asked += 1;
            match self.check(topup.id) {
                Ok(topup) if topup.state == TopupState::Paid => round.paid += 1,
                Ok(topup) => self.give_up(&topup, now_ms, GRACE_MS),
                Err(CheckError::NotEnabled(provider)) => {
                    round.failed += 1;
                    tracing::debug!(topup = %topup.id, %provider, "its provider is not enabled");
                    self.give_up(topup, now_ms, LATE_MS);
                }
                Err(error) => {
                    round.failed += 1;
                    tracing::warn!(topup = %topup.id, %error, "an order could not be checked");
                    self.give_up(topup, now_ms, LATE_MS);
                }
            }
        }
        Ok(round)
    }
}

impl Billing {
    /// An order that nobody has decided for so long after its time is taken for given up.
    fn give_up(&self, topup: &TopupInfo, now_ms: i64, after_ms: i64) {
        let is_open = matches!(topup.state, TopupState::Created | TopupState::Pending);
        if !is_open || now_ms - topup.expires_ms < after_ms {
            return;
        }
        if let Err(error) = self.ledger.topup_checked(topup.id, CheckedTopup::Expired).wait() {
            tracing::error!(topup = %topup.id, %error, "an order could not be given up");
        }
    }
}

/// An order is asked about after a quarter of its age has passed since the last time, at least
/// twenty seconds and at most an hour.
fn is_due(topup: &TopupInfo, now_ms: i64) -> bool {
    let age_ms = (now_ms - topup.created_ms).max(0);
    let last_ms = topup.checked_ms.unwrap_or(topup.created_ms);
    now_ms - last_ms >= (age_ms / 4).clamp(20_000, 3_600_000)
}

/// The thread that polls; it ends when this is dropped.
#[derive(Debug)]
pub struct Poller {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Starts to poll, unless no provider is enabled.
    pub fn start(
        billing: Billing,
        now_ms: impl Fn() -> i64 + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(1);
        if billing.providers().is_empty() {
            return Ok(Self { stop: None, thread: None });
        }
        let run = move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = billing.poll(now_ms()) {
                    tracing::error!(%error, "the waiting orders could not be read");
                }
            }
        };
        let thread = std::thread::Builder::new().name("payments".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A call to a provider that is under way ends within its time-out.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the payments thread had panicked");
        }
    }
}
