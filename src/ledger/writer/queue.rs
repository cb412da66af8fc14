//! The commands that wait for the writer. Most ring for it; a charge first lets others be asked for
//! that are about to be, so that the streams of one engine step share a commit.
//!
//! Promises: what was pushed is taken in that order, once somebody has rung; what is pushed after
//! the writer has gone comes back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Message;

/// Both ends' share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    /// Somebody waits for what was pushed.
    is_rung: bool,
    /// The writer sleeps: waking one that does not is a system call for nothing.
    is_asleep: bool,
    is_closed: bool,
}

/// Where commands are pushed.
#[derive(Clone)]
pub(in crate::ledger) struct Queue(Arc<Shared>);

/// The writer's end. Dropped, it drops what nobody took, so that every reply resolves.
pub(in crate::ledger) struct Inbox(Arc<Shared>);

impl fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.lock().messages.len();
        formatter.debug_struct("Queue").field("waiting", &waiting).finish()
    }
}

/// A connected pair.
pub(in crate::ledger) fn queue() -> (Queue, Inbox) {
    let shared = Arc::new(Shared::default());
    (Queue(Arc::clone(&shared)), Inbox(shared))
}

impl Shared {
    /// A panic elsewhere cannot leave the state half written, so poison says nothing here.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, mut state: MutexGuard<'_, State>) {
        state.is_rung = true;
        let wakes = std::mem::take(&mut state.is_asleep);
        drop(state);
        if wakes {
            self.rung.notify_one();
        }
    }
}

impl Queue {
    /// Pushes a command and rings.
    pub(in crate::ledger) fn push(&self, message: Message) -> Result<(), Message> {
        let state = self.push_quietly(message)?;
        self.0.ring(state);
        Ok(())
    }

    /// Pushes a command that somebody rings for later.
    pub(in crate::ledger) fn push_unrung(&self, message: Message) -> Result<(), Message> {
        self.push_quietly(message).map(drop)
    }

    fn push_quietly(&self, message: Message) -> Result<MutexGuard<'_, State>, Message> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(message);
        }
        state.messages.push_back(message);
        Ok(state)
    }

    #[cfg(test)]
    pub(in crate::ledger) fn is_rung(&self) -> bool {
        self.0.lock().is_rung
    }

    /// Says that what was pushed is waited for.
    pub(in crate::ledger) fn ring(&self) {
        self.0.ring(self.0.lock());
    }
}

impl Inbox {
    /// Waits until somebody rings, then takes up to `max` commands; none if nobody does for so
    /// long.
    pub(in crate::ledger) fn take(&self, max: usize, patience: Duration) -> VecDeque<Message> {
        let deadline = Instant::now().checked_add(patience);
        let mut state = self.0.lock();
        while !state.is_rung {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.unwrap_or(patience);
            if left.is_zero() {
                break; // What nobody has rung for by now is taken all the same.
            }
            state.is_asleep = true;
            let waited = self.0.rung.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_asleep = false;
        }
        let taken = max.min(state.messages.len());
        let rest = state.messages.split_off(taken);
        state.is_rung = !rest.is_empty();
        std::mem::replace(&mut state.messages, rest)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let left = std::mem::take(&mut state.messages);
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_is_not_rung_for_waits_for_the_next_that_is() {
        let (queue, inbox) = queue();
        thread::scope(|scope| {
            let taken = scope.spawn(|| inbox.take(9, LONG).len());
            assert!(queue.push_unrung(Message::Stop).is_ok());
            thread::sleep(20 * SOON);
            assert!(!taken.is_finished());
            assert!(queue.push(Message::Stop).is_ok());
            assert_eq!(taken.join().unwrap(), 2);
        });
        assert!(inbox.take(9, SOON).is_empty());
        assert!(queue.push_unrung(Message::Stop).is_ok());
        assert_eq!(inbox.take(9, SOON).len(), 1, "whom nobody rings for is not forgotten");
    }

    #[test]
    fn what_is_too_much_for_one_batch_is_the_next() {
        let (queue, inbox) = queue();
        for _ in 0..5 {
            assert!(queue.push_unrung(Message::Stop).is_ok());
        }
        queue.ring();
        assert_eq!([2, 2, 1], [(); 3].map(|()| inbox.take(2, LONG).len()));
    }

    #[test]
    fn nothing_is_pushed_to_a_writer_that_has_gone() {
        let (queue, inbox) = queue();
        drop(inbox);
        assert!(queue.push(Message::Stop).is_err());
        queue.ring();
    }
}
