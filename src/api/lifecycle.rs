//! When the server takes work, finishes it, and ends it.
//! Promises: after `drain`, nothing new begins; `idle` returns when the last generation has closed
//! its meter.
//! Never knows: what the work is.

use std::sync::Arc;

use tokio::sync::watch;

/// Where the server is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Stopping,
}

/// The server's phase and the count of generations in flight; clones share both.
#[derive(Clone, Debug)]
pub(super) struct Lifecycle {
    phase: Arc<watch::Sender<Phase>>,
    running: Arc<watch::Sender<usize>>,
}

/// A generation in flight; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    count: Arc<watch::Sender<usize>>,
    phase: watch::Receiver<Phase>,
}

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Serving)),
            running: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Begins a generation, unless the server is on its way out.
    pub(super) fn begin(&self) -> Option<Running> {
        // Counted before the phase is read: a drain that starts in between waits for this one.
        self.running.send_modify(|count| *count += 1);
        let running = Running { count: self.running.clone(), phase: self.phase.subscribe() };
        self.serving().then_some(running)
    }

    /// Whether new work is taken.
    pub(super) fn serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Takes no new work from here on.
    pub(super) fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Tells what still runs to end now.
    pub(super) fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// Returns when nothing is in flight.
    pub(super) async fn idle(&self) {
        let idle = self.running.subscribe().wait_for(|count| *count == 0).await.is_ok();
        debug_assert!(idle, "the sender is in self");
    }

    /// Generations in flight.
    pub(super) fn running(&self) -> usize {
        *self.running.borrow()
    }

    fn advance(&self, to: Phase) {
        self.phase.send_modify(|phase| *phase = to.max(*phase));
    }
}

impl Running {
    /// Returns when this generation has to end.
    pub(super) async fn stopping(&mut self) {
        // An error is a server that is gone, which is a reason to end as well.
        let _ = self.phase.wait_for(|phase| *phase == Phase::Stopping).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}
