//! Whose grammar is compiled now.
//!
//! Compiling can not be interrupted, so that what is given up goes on until it ends by itself. It
//! gives its place to others then, and keeps its lane: whoever sends what takes for ever waits for
//! himself.
//!
//! Promises: few compile at once, one of each lane, in the order they came; threads are bounded.
//! Never knows: what is compiled, who a lane is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Grammars that somebody waits for and that are compiled at the same time, at most: every thread
/// is taken from the models' own.
const MAX_AWAITED: usize = 2;

/// Those that nobody waits for any more included.
const MAX_THREADS: usize = 8;

/// The turns of one process.
pub(super) struct Turns {
    /// One place each, for as long as somebody has it or waits for it.
    lanes: Mutex<HashMap<u64, Weak<Semaphore>>>,
    threads: Arc<Semaphore>,
    awaited: Arc<Semaphore>,
}

/// A turn to compile.
pub(super) struct Turn {
    /// Held as long as the thread runs.
    pub(super) work: Work,
    /// Held as long as somebody waits for it.
    _awaited: OwnedSemaphorePermit,
}

/// A thread that compiles.
pub(super) struct Work {
    _lane: OwnedSemaphorePermit,
    _thread: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        let (threads, awaited) = (semaphore(MAX_THREADS), semaphore(MAX_AWAITED));
        Self { lanes: Mutex::default(), threads, awaited }
    }
}

impl Turns {
    /// Waits for a turn. Cancel safe.
    pub(super) async fn wait(&self, lane: u64) -> Turn {
        // In this order: of each lane one waits for the rest.
        let lane = acquire(self.lane(lane)).await;
        let thread = acquire(self.threads.clone()).await;
        let awaited = acquire(self.awaited.clone()).await;
        Turn { work: Work { _lane: lane, _thread: thread }, _awaited: awaited }
    }

    fn lane(&self, lane: u64) -> Arc<Semaphore> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|_, semaphore| semaphore.strong_count() > 0);
        if let Some(semaphore) = lanes.get(&lane).and_then(Weak::upgrade) {
            return semaphore;
        }
        let semaphore = Arc::new(Semaphore::new(1));
        lanes.insert(lane, Arc::downgrade(&semaphore));
        semaphore
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.acquire_owned().await.expect("it is never closed")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn turn(turns: &Turns, lane: u64) -> Option<Turn> {
        timeout(Duration::from_secs(1), turns.wait(lane)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_holds_up_its_own_lane_only() {
        let turns = Turns::default();
        let first = turn(&turns, 1).await.unwrap();
        let second = turn(&turns, 2).await.unwrap();
        assert!(turn(&turns, 3).await.is_none(), "both places are taken");
        let works = [first, second].map(|turn| turn.work);
        assert!(turn(&turns, 1).await.is_none() && turn(&turns, 2).await.is_none());
        assert!(turn(&turns, 3).await.is_some(), "nobody waits for the others any more");
        drop(works);
        assert!(turn(&turns, 1).await.is_some());
        assert!(turn(&turns, 4).await.is_some());
        let lanes = turns.lanes.lock().unwrap();
        assert!(lanes.len() <= 1, "lanes are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn threads_are_bounded() {
        let turns = Turns::default();
        let mut works = Vec::new();
        for lane in 0..MAX_THREADS as u64 {
            works.push(turn(&turns, lane).await.unwrap().work);
        }
        assert!(turn(&turns, 100).await.is_none());
        works.pop();
        assert!(turn(&turns, 100).await.is_some());
    }
}
