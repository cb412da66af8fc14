//! The answer to a command: a future for tasks, a blocking wait for threads.
//! Promises: every reply resolves, also when the writer has died. Needs no runtime.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::errors::Unavailable;
use super::writer::Queue;

/// The answer to a command, once the commit that holds it is done.
///
/// Dropping a reply does not take the command back.
#[derive(Debug)]
#[must_use = "the answer says whether it was done; drop it to not wait for that"]
pub struct Reply<R> {
    shared: Arc<Shared<R>>,
    bell: Option<Bell>,
}

/// How the writer learns that somebody waits, when it was not rung for at once.
#[derive(Debug)]
enum Bell {
    /// Tasks that are ready may be about to ask for something too: they go first.
    AfterOthers(Queue),
    Now(Queue),
}

/// The writer's end: answers once. Dropped without an answer, it answers `Unavailable::Stopped`.
#[derive(Debug)]
pub(super) struct Answer<R>(Arc<Shared<R>>);

#[derive(Debug)]
struct Shared<R> {
    slot: Mutex<Slot<R>>,
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
    let shared = Arc::new(Shared { slot: Mutex::new(Slot::Waiting(None)) });
    (Answer(Arc::clone(&shared)), Reply { shared, bell: None })
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

impl<R> Reply<R> {
    /// A reply to what was pushed to `queue` and not rung for.
    pub(super) fn rings(mut self, queue: &Queue) -> Self {
        self.bell = Some(Bell::AfterOthers(queue.clone()));
        self
    }

    fn ring(&mut self) {
        if let Some(Bell::AfterOthers(queue) | Bell::Now(queue)) = self.bell.take() {
            queue.ring();
        }
    }

    /// The first time, lets the tasks run that are ready; then rings.
    fn ring_after_others(&mut self, context: &Context<'_>) {
        if let Some(Bell::AfterOthers(queue)) = self.bell.take_if(|bell| bell.yields()) {
            self.bell = Some(Bell::Now(queue));
            context.waker().wake_by_ref();
        } else {
            self.ring();
        }
    }
}

impl Bell {
    fn yields(&self) -> bool {
        matches!(self, Self::AfterOthers(_))
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        self.ring();
    }
}

impl<T, E: From<Unavailable>> Reply<Result<T, E>> {
    /// Blocks the thread until the answer is there. Inside a task, `.await` the reply instead.
    pub fn wait(mut self) -> Result<T, E> {
        self.ring();
        let waker = Waker::from(Arc::new(Parked(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut reply = pin!(self);
        loop {
            match reply.as_mut().poll(&mut context) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => thread::park(),
            }
        }
    }
}

/// A thread that waits.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<T, E: From<Unavailable>> Future for Reply<Result<T, E>> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = self.get_mut();
        let mut slot = reply.shared.lock();
        let answer = match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Waiting(_) => {
                *slot = Slot::Waiting(Some(context.waker().clone()));
                drop(slot);
                reply.ring_after_others(context);
                return Poll::Pending;
            }
            Slot::Answered(answer) => answer,
            Slot::Gone | Slot::Taken => Err(Unavailable::Stopped.into()),
        };
        drop(slot);
        reply.bell = None; // Somebody else's ring was enough.
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::writer::{Message, queue};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[derive(Default)]
    struct CountWakes(AtomicUsize);
    impl Wake for CountWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// So that the streams of one step, which are ready together, are charged together.
    #[test]
    fn a_charge_lets_others_ask_first_and_then_rings() {
        let (queue, inbox) = queue();
        let rung = || !inbox.take(1, Duration::ZERO).is_empty();
        let pushed = || {
            assert!(queue.push_unrung(Message::Stop).is_ok());
            let (answer, pending) = reply::<Result<u8, Unavailable>>();
            (answer, pending.rings(&queue))
        };
        let wakes = Arc::new(CountWakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let (answer, mut pending) = pushed();
        assert!(Pin::new(&mut pending).poll(&mut context).is_pending());
        assert_eq!((wakes.0.load(Ordering::SeqCst), queue.is_rung()), (1, false));
        assert!(Pin::new(&mut pending).poll(&mut context).is_pending());
        assert_eq!((wakes.0.load(Ordering::SeqCst), queue.is_rung()), (1, true));
        assert!(rung() && !queue.is_rung());
        answer.send(Ok(7));
        assert_eq!(Pin::new(&mut pending).poll(&mut context), Poll::Ready(Ok(7)));
        drop(pending);
        assert!(!queue.is_rung(), "an answered one is not waited for");

        let (_answer, abandoned) = pushed();
        drop(abandoned);
        assert!(queue.is_rung(), "what nobody waits for is done too");
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
