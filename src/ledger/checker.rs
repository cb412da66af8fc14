//! The check of the whole books beside the writer: one at a time, whoever asks for it, and what the
//! last one came to.
//! Promises: takes at most a fifth of one processor, and no lock that a writer or reader waits for.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock::{Clock, bounded_ms};
use super::reader::Readers;
use super::{VerifyReport, verify};

/// For each part's time, so many times as long nothing is done.
const REST: u32 = 4;

/// What the last check of the whole books came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// When it ended, Unix milliseconds.
    pub at_ms: i64,
    /// Whether the books hold.
    pub is_ok: bool,
    /// Transfers that were read.
    pub transfers: u64,
    /// How long it took, its rests included.
    pub took: Duration,
    /// Contradictions in all.
    pub damages: u64,
    /// The first of them.
    pub problem: Option<String>,
}

/// How it stands with checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckStatus {
    /// Whether one is on its way.
    pub is_running: bool,
    /// The last that came to its end.
    pub last: Option<Checked>,
    /// Why a later one did not: the books could not be read.
    pub error: Option<String>,
}

/// Checks one ledger's books.
#[derive(Debug)]
pub(super) struct Checker {
    readers: Arc<Readers>,
    clock: Arc<dyn Clock>,
    status: Mutex<CheckStatus>,
    /// The check that somebody asked for, whether or not it is over.
    asked: Mutex<Option<Asked>>,
}

/// A thread for one check. It knows the checker only, so that it never keeps the books open.
#[derive(Debug)]
struct Asked {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// The turn to check; given back when it is dropped.
pub(super) struct Turn(Arc<Checker>);

impl Checker {
    pub(super) fn new(readers: Arc<Readers>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { readers, clock, status: Mutex::default(), asked: Mutex::default() })
    }

    pub(super) fn status(&self) -> CheckStatus {
        self.lock().clone()
    }

    /// The turn to check, unless another has it.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Turn> {
        let was_running = std::mem::replace(&mut self.lock().is_running, true);
        (!was_running).then(|| Turn(Arc::clone(self)))
    }

    /// Begins a check on a thread of its own, unless one runs.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(turn) = self.begin() else { return Ok(()) };
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("ledger check".to_owned());
        let thread = thread.spawn(move || {
            turn.check(&stopped);
        })?;
        // The one before is over: it had the turn.
        *asked = Some(Asked { stop, thread });
        Ok(())
    }

    /// Ends the check that [`Checker::start`] began, within one part of it.
    pub(super) fn stop(&self) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Asked { stop, thread }) = asked else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the check of the books had panicked");
        }
    }

    fn describe(&self, report: &VerifyReport, took: Duration) -> Checked {
        let (transfers, meters, damages) = (report.transfers, report.meters, report.damages);
        let problem = report.findings.first().map(ToString::to_string);
        match &problem {
            None => tracing::info!(transfers, meters, ?took, "the books are right"),
            Some(problem) => {
                tracing::error!(damages, "the books are damaged, first: {problem}");
            }
        }
        let at_ms = bounded_ms(&*self.clock);
        Checked { at_ms, is_ok: report.is_ok(), transfers, took, damages, problem }
    }

    fn lock(&self) -> MutexGuard<'_, CheckStatus> {
        // Whoever panicked did so between two whole changes.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Checks the whole books; false if it was stopped.
    pub(super) fn check(self, stopped: &Receiver<()>) -> bool {
        let checker = &*self.0;
        let begun = Instant::now();
        let checked = verify::in_parts(&checker.readers, |took| waits(stopped, took * REST));
        match checked {
            Ok(Some(report)) => {
                let checked = checker.describe(&report, begun.elapsed());
                let mut status = checker.lock();
                (status.last, status.error) = (Some(checked), None);
            }
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "the books could not be checked");
                checker.lock().error = Some(error.to_string());
            }
        }
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().is_running = false;
    }
}

/// Waits; false if the check is over.
pub(super) fn waits(stopped: &Receiver<()>, time: Duration) -> bool {
    matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}
