//! Orders whose callback never came: asked about again and again, ever more rarely.
//!
//! Promises: neither one order's trouble nor one provider's silence keeps the others waiting; a
//! round is bounded.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::CheckError;
use super::{Billing, MANUAL};
use crate::ledger::{CheckedTopup, LedgerError, TopupInfo, TopupState};
use crate::payments::ProviderError;

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
        self.poll_while(now_ms, || true)
    }

    fn poll_while(&self, now_ms: i64, go_on: impl Fn() -> bool) -> Result<Round, LedgerError> {
        let mut round = Round::default();
        // A provider that lets calls wait until they time out is asked once in a round.
        let mut silent: Vec<&str> = Vec::new();
        let waiting = self.ledger.topups_waiting(now_ms - LATE_MS)?;
        for topup in waiting.iter().filter(|topup| is_due(topup, now_ms)) {
            if round.asked == MAX_ORDERS || !go_on() {
                break;
            }
            let provider = topup.provider.as_str();
            if !self.can_tell(provider) {
                self.give_up(topup, now_ms, if provider == MANUAL { GRACE_MS } else { LATE_MS });
                continue;
            }
            if silent.contains(&provider) {
                continue;
            }
            round.asked += 1;
            match self.check(topup.id) {
                Ok(topup) if topup.state == TopupState::Paid => round.paid += 1,
                Ok(topup) => self.give_up(&topup, now_ms, GRACE_MS),
                Err(error) => {
                    round.failed += 1;
                    tracing::warn!(topup = %topup.id, %error, "an order could not be checked");
                    self.give_up(topup, now_ms, LATE_MS);
                    if is_silence(&error) {
                        silent.push(provider);
                    }
                }
            }
        }
        Ok(round)
    }

    /// Whether asking may bring news: of a bank transfer only the operator knows.
    fn can_tell(&self, provider: &str) -> bool {
        provider != MANUAL && self.provider(provider).is_some()
    }

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

fn is_silence(error: &CheckError) -> bool {
    use ProviderError::{Unanswered, Unreachable};
    matches!(error, CheckError::Provider(Unanswered { .. } | Unreachable { .. }))
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
                let go_on = || stopped.try_recv() == Err(TryRecvError::Empty);
                if let Err(error) = billing.poll_while(now_ms(), go_on) {
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
        // Waits for one call at most, which ends within its provider's time-out.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the payments thread had panicked");
        }
    }
}
