//! The answer to a command: a future for tasks, a blocking wait for threads.
//! Promises: every reply resolves, also when the writer has died. Needs no runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::errors::Unavailable;

/// The answer to a command, once the commit that holds it is done.
///
/// Dropping a reply does not take the command back.
#[derive(Debug)]
#[must_use = "the answer says whether it was done; drop it to not wait for that"]
pub struct Reply<R> {
    shared: Arc<Shared<R>>,
}

/// The writer's end: answers once. Dropped without an answer, it answers `Unavailable::Stopped`.
#[derive(Debug)]
pub(super) struct Answer<R>(Arc<Shared<R>>);

#[derive(Debug)]
struct Shared<R> {
    slot: Mutex<Slot<R>>,
    answered: Condvar,
}

#[derive(Debug)]
enum Slot<R> {
    Waiting(Option<Waker>),
    Answered(R),
    /// The writer dropped its end.
    Gone,
    /// The answer was handed out.
    Taken,
}

/// A connected pair.
pub(super) fn reply<R>() -> (Answer<R>, Reply<R>) {
    let shared =
        Arc::new(Shared { slot: Mutex::new(Slot::Waiting(None)), answered: Condvar::new() });
    (Answer(Arc::clone(&shared)), Reply { shared })
}

impl<R> Shared<R> {
    /// A panic elsewhere cannot leave a slot half written, so poison says nothing here.
    fn lock(&self) -> MutexGuard<'_, Slot<R>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, outcome: Slot<R>) {
        let mut slot = self.lock();
        if let Slot::Waiting(waker) = &mut *slot {
            let waker = waker.take();
            *slot = outcome;
            drop(slot);
            self.answered.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<R> Answer<R> {
    pub(super) fn send(self, answer: R) {
        self.0.settle(Slot::Answered(answer));
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        self.0.settle(Slot::Gone);
    }
}

impl<T, E: From<Unavailable>> Reply<Result<T, E>> {
    /// Blocks the thread until the answer is there. Inside a task, `.await` the reply instead.
    pub fn wait(self) -> Result<T, E> {
        let mut slot = self.shared.lock();
        loop {
            match std::mem::replace(&mut *slot, Slot::Taken) {
                Slot::Waiting(waker) => *slot = Slot::Waiting(waker),
                Slot::Answered(answer) => return answer,
                Slot::Gone | Slot::Taken => return Err(Unavailable::Stopped.into()),
            }
            slot = self.shared.answered.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T, E: From<Unavailable>> Future for Reply<Result<T, E>> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.shared.lock();
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Waiting(_) => {
                *slot = Slot::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
            Slot::Answered(answer) => Poll::Ready(answer),
            Slot::Gone | Slot::Taken => Poll::Ready(Err(Unavailable::Stopped.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct CountWakes(AtomicUsize);
    impl Wake for CountWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_future_is_woken_once_and_a_dropped_writer_is_an_answer() {
        let wakes = Arc::new(CountWakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let (answer, mut pending) = reply::<Result<u8, Unavailable>>();
        assert!(Pin::new(&mut pending).poll(&mut context).is_pending());
        answer.send(Ok(7));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(Pin::new(&mut pending).poll(&mut context), Poll::Ready(Ok(7)));

        let (answer, abandoned) = reply::<Result<u8, Unavailable>>();
        let waiting = std::thread::spawn(move || abandoned.wait());
        drop(answer);
        assert_eq!(waiting.join().unwrap(), Err(Unavailable::Stopped));
    }
}
