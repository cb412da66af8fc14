//! The channel between one sequence in the engine and whoever reads it.
//! Promises: the engine never waits for a reader; a stream always ends with one `Finished`; a
//! dropped stream is seen by the engine at its next step; nobody polls.
//! Never knows: why a sequence runs or waits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize, fence};

use tokio::sync::mpsc;

use super::Shared;
use super::request::{Event, FinishReason};

/// Events that wait for a reader, at most.
pub const EVENT_CAPACITY: usize = 64;

/// A paused sequence goes on when the reader has made this much room: waking it for each single
/// event would recompute its last block each time.
const RESUME_CAPACITY: usize = EVENT_CAPACITY / 2;

/// What both ends see besides the events.
#[derive(Debug, Default)]
struct Link {
    cached_tokens: AtomicUsize,
    is_paused: AtomicBool,
}

/// The tokens of one submitted sequence, as they are sampled.
///
/// Dropping it aborts the sequence within one step. A reader that falls [`EVENT_CAPACITY`] events
/// behind pauses the sequence until it has caught up.
pub struct SequenceStream {
    id: u64,
    events: mpsc::Receiver<Event>,
    link: Arc<Link>,
    shared: Arc<Shared>,
    is_finished: bool,
}

impl SequenceStream {
    /// The next event; `None` after [`Event::Finished`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        if self.is_finished {
            return None;
        }
        let event = self.events.recv().await;
        self.after(event)
    }

    /// The next event from a thread outside any asynchronous runtime (inside one it panics).
    pub fn blocking_next(&mut self) -> Option<Event> {
        if self.is_finished {
            return None;
        }
        let event = self.events.blocking_recv();
        self.after(event)
    }

    /// An event that is already there. `None`: none is, or the stream has ended.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.is_finished {
            return None;
        }
        match self.events.try_recv() {
            Ok(event) => self.after(Some(event)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => self.after(None),
        }
    }

    /// Ids of the prompt that the prefix cache had. Final once the first event is there.
    pub fn cached_tokens(&self) -> usize {
        self.link.cached_tokens.load(Relaxed)
    }

    /// The sequence's number in its engine, for logs and traces: 0, 1, .. in order of submission.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Notes an end, supplies the one that a dead engine could not send, and wakes the engine if
    /// this sequence is paused and there is room again.
    fn after(&mut self, event: Option<Event>) -> Option<Event> {
        let event = event.unwrap_or_else(|| {
            let is_failed = self.shared.is_failed.load(Acquire);
            Event::Finished(if is_failed { FinishReason::Failed } else { FinishReason::Aborted })
        });
        if matches!(event, Event::Finished(_)) {
            self.is_finished = true;
            return Some(event);
        }
        // Pairs with the fence in `Outlet::pause`: of "room was made" and "paused was set", at
        // least one side sees the other's, so the wake-up cannot be lost.
        fence(SeqCst);
        if self.link.is_paused.load(Relaxed) && self.events.capacity() >= RESUME_CAPACITY {
            self.shared.wake();
        }
        Some(event)
    }
}

impl Drop for SequenceStream {
    fn drop(&mut self) {
        if !self.is_finished {
            // Closed before the wake-up, so that the engine finds it closed.
            self.events.close();
            self.shared.wake();
        }
    }
}

impl fmt::Debug for SequenceStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SequenceStream").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The engine's end of a [`SequenceStream`].
///
/// The engine is the only sender, so room that it has seen cannot vanish: it samples for a sequence
/// only while there is room for a token and an ending, and no send ever finds the channel full.
#[derive(Debug)]
pub(super) struct Outlet {
    events: mpsc::Sender<Event>,
    link: Arc<Link>,
    place: Place,
}

/// Both ends of a new channel. `place` is given back when the sequence ends.
pub(super) fn channel(id: u64, shared: Arc<Shared>, place: Place) -> (Outlet, SequenceStream) {
    let (sender, events) = mpsc::channel(EVENT_CAPACITY);
    let link = Arc::new(Link::default());
    let outlet = Outlet { events: sender, link: Arc::clone(&link), place };
    (outlet, SequenceStream { id, events, link, shared, is_finished: false })
}

impl Outlet {
    /// Hands a token out, or what is there once. The caller has seen `has_room`; a reader that is
    /// gone is no error here.
    pub(super) fn send(&self, event: Event) {
        debug_assert!(self.has_room(), "something was computed that nobody has room for");
        // A closed channel is found at the next step, like one that closes just after this.
        let _ = self.events.try_send(event);
    }

    /// Sends the ending. The place is free before the reader can know, so that whoever waits for
    /// the ending can submit again at once.
    pub(super) fn finish(self, reason: FinishReason) {
        drop(self.place);
        let _ = self.events.try_send(Event::Finished(reason));
    }

    /// Whether the reader is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Tokens that there is room for, beside an ending.
    pub(super) fn room(&self) -> usize {
        self.events.capacity().saturating_sub(1)
    }

    /// Whether there is room for one more token and an ending.
    pub(super) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Asks the reader to wake the engine once it has caught up. False: it already has.
    pub(super) fn pause(&self) -> bool {
        self.link.is_paused.store(true, Relaxed);
        fence(SeqCst);
        !self.try_resume()
    }

    /// Ends the pause if the reader has caught up.
    pub(super) fn try_resume(&self) -> bool {
        let has_caught_up = self.events.capacity() >= RESUME_CAPACITY;
        if has_caught_up {
            self.link.is_paused.store(false, Relaxed);
        }
        has_caught_up
    }

    pub(super) fn add_cached_tokens(&self, cached_tokens: usize) {
        self.link.cached_tokens.fetch_add(cached_tokens, Relaxed);
    }
}

/// One of the places that bound how many sequences an engine holds; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place unless `max` are taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        taken.fetch_update(AcqRel, Acquire, |n| (n < max).then_some(n + 1)).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
    }
}
