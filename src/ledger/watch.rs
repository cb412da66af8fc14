//! Checks the books again and again while they are written to, and remembers what came of it.
//! Promises: takes at most a fifth of one processor, and no lock that a writer or reader waits for.

use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock::bounded_ms;
use super::{Ledger, LedgerError, VerifyReport, verify};

/// For each part's time, so many times as long nothing is done.
const REST: u32 = 4;

/// What the last check of the whole books came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// When it ended, Unix milliseconds.
    pub at_ms: i64,
    /// Whether the books hold.
    pub is_ok: bool,
}

/// A thread that checks the books; dropped, it ends within one part of a check.
#[derive(Debug)]
#[must_use = "dropped, it checks nothing any more"]
pub struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Checks the whole books after `delay`, and then every time that `every` has passed.
    pub fn watch(&self, delay: Duration, every: Duration) -> std::io::Result<Watch> {
        let ledger = self.clone();
        let (stop, stopped) = channel();
        let thread =
            std::thread::Builder::new().name("ledger check".to_owned()).spawn(move || {
                let mut wait = delay;
                while waits(&stopped, wait) {
                    wait = every;
                    let begun = Instant::now();
                    match ledger.check_in_parts(&stopped) {
                        Ok(Some(report)) => ledger.checked(&report, begun.elapsed()),
                        Ok(None) => return,
                        Err(error) => tracing::error!(%error, "the books could not be checked"),
                    }
                }
            })?;
        Ok(Watch { stop: Some(stop), thread: Some(thread) })
    }

    /// The last check that a [`Watch`] completed.
    pub fn last_check(&self) -> Option<Checked> {
        *self.inner.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_in_parts(&self, stopped: &Receiver<()>) -> Result<Option<VerifyReport>, LedgerError> {
        verify::in_parts(&self.inner.readers, |took| waits(stopped, took * REST))
    }

    fn checked(&self, report: &VerifyReport, took: Duration) {
        let (transfers, meters) = (report.transfers, report.meters);
        match report.findings.first() {
            None => tracing::info!(transfers, meters, ?took, "the books are right"),
            Some(finding) => {
                let damages = report.damages;
                tracing::error!(damages, "the books are damaged, first: {finding}");
            }
        }
        let at_ms = bounded_ms(&*self.inner.clock);
        let checked = Checked { at_ms, is_ok: report.is_ok() };
        *self.inner.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked);
    }
}

/// Waits; false if the watch is over.
fn waits(stopped: &Receiver<()>, time: Duration) -> bool {
    matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the check of the books had panicked");
        }
    }
}
