//! The threads that compute masks while models run, shared by all models of the process.
//! Promises: bounded threads, bounded queue; an owner in a hurry computes itself instead of
//! waiting for its turn.
//! Never knows: what a mask is for.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::constraint::Cursor;

/// Computing one mask takes a tenth of a millisecond, where a step of a model takes some: few
/// threads serve many sequences, and every one is taken from the model's own.
const MAX_THREADS: usize = 4;

/// Cursors that wait for a thread, at most; what does not fit is computed by its owner.
const MAX_QUEUED: usize = 1024;

/// A cursor that its owner and the pool share. It is away while a thread of the pool computes.
pub(super) struct Shared {
    cursor: Mutex<Option<Cursor>>,
    is_back: Condvar,
}

impl Shared {
    pub(super) fn new(cursor: Cursor) -> Arc<Self> {
        Arc::new(Self { cursor: Mutex::new(Some(cursor)), is_back: Condvar::new() })
    }

    /// Uses the cursor, once it is here.
    pub(super) fn with<T>(&self, usage: impl FnOnce(&mut Cursor) -> T) -> T {
        let cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.is_back.wait_while(cursor, |cursor| cursor.is_none());
        let mut cursor = waited.unwrap_or_else(PoisonError::into_inner);
        usage(cursor.as_mut().expect("it was waited for"))
    }

    fn is_computed(&self) -> bool {
        // Away: somebody is computing.
        self.lock().as_ref().is_none_or(Cursor::is_computed)
    }

    /// Computes in this thread, unless the owner is at it or has let go.
    fn compute(self: Arc<Self>) {
        if Arc::strong_count(&self) == 1 {
            return;
        }
        let Ok(mut slot) = self.cursor.try_lock() else { return };
        let Some(mut cursor) = slot.take_if(|cursor| !cursor.is_computed()) else { return };
        // Not under the lock: the next owner's question whether it is here must not wait.
        drop(slot);
        cursor.compute();
        *self.lock() = Some(cursor);
        self.is_back.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Cursor>> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Arc<Shared>>>,
    has_more: Condvar,
}

static QUEUE: LazyLock<&'static Queue> = LazyLock::new(|| {
    // For the life of the process, like its threads.
    let queue: &'static Queue = Box::leak(Box::default());
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    for number in 0..(cores / 4).clamp(1, MAX_THREADS) {
        let name = format!("grammar-{number}");
        // Without a thread the owners compute themselves.
        if let Err(error) = thread::Builder::new().name(name).spawn(|| work(queue)) {
            tracing::warn!(%error, "no thread for grammars: the engine computes their masks");
        }
    }
    queue
});

/// Has what may come at the cursor computed by the pool; returns at once.
pub(super) fn compute(cursor: &Arc<Shared>) {
    if cursor.is_computed() {
        return;
    }
    let mut waiting = QUEUE.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    if waiting.len() < MAX_QUEUED {
        waiting.push_back(Arc::clone(cursor));
        QUEUE.has_more.notify_one();
    }
}

fn work(queue: &Queue) {
    loop {
        let waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = queue.has_more.wait_while(waiting, |waiting| waiting.is_empty());
        let next = waited.unwrap_or_else(PoisonError::into_inner).pop_front();
        next.expect("it was waited for").compute();
    }
}
