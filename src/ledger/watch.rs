//! Checks the books again and again while they are written to.
//! Never knows: how a check is done, and what the last came to (`checker`).

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::checker::waits;
use super::{CheckStatus, Checked, Ledger};

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
                    // One that somebody asked for does as well.
                    let Some(turn) = ledger.inner.checker.begin() else { continue };
                    if !turn.check(&stopped) {
                        return;
                    }
                }
            })?;
        Ok(Watch { stop: Some(stop), thread: Some(thread) })
    }

    /// Begins a check of the whole books now, unless one runs. It ends before the books are shut
    /// down, and [`Ledger::check_status`] tells what it came to.
    pub fn start_check(&self) -> std::io::Result<()> {
        self.inner.checker.start()
    }

    /// Whether the books are being checked, and what the last check came to.
    pub fn check_status(&self) -> CheckStatus {
        self.inner.checker.status()
    }

    /// The last check that was completed.
    pub fn last_check(&self) -> Option<Checked> {
        self.check_status().last
    }
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
