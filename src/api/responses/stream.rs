//! A response told as events.
//! Promises: `response.created` and `response.in_progress`, then items one after the other, then
//! the whole response, which is kept before that goes out; a failure ends the item that is open,
//! and is then an `error` event and `response.failed`, which says what was paid for. Numbers rise
//! by one.
//! Never knows: what is charged. What arrives here is paid for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::JoinHandle;

use super::super::delivery::{Failure, Release, Summary};
use super::super::event_stream::Frames;
use super::answer::{Draft, finish_of};
use super::events::{Event, Numbers};
use super::stored::Keeping;

/// Writes one response's events.
#[derive(Debug)]
pub(super) struct Events {
    draft: Draft,
    numbers: Numbers,
    /// How the response is kept, until that begins; `None`: it is not.
    keeping: Option<Keeping>,
    /// Tells whether it could be kept.
    kept: Option<JoinHandle<bool>>,
    has_ended: bool,
}

impl Events {
    pub(super) fn new(draft: Draft, keeping: Option<Keeping>) -> Self {
        Self { draft, numbers: Numbers::default(), keeping, kept: None, has_ended: false }
    }
}

impl Frames for Events {
    fn begin(&mut self, frames: &mut String) {
        let response = self.draft.in_progress();
        self.numbers.write(&Event::response("response.created", &response), frames);
        self.numbers.write(&Event::response("response.in_progress", &response), frames);
    }

    fn release(&mut self, releases: Vec<Release>, frames: &mut String) {
        for release in releases {
            self.draft.output.take(release, &mut |event| self.numbers.write(&event, frames));
        }
    }

    fn poll_end(
        &mut self,
        summary: &Summary,
        frames: &mut String,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if !std::mem::replace(&mut self.has_ended, true) {
            let tell = &mut |event: Event<'_>| self.numbers.write(&event, frames);
            self.draft.output.end(finish_of(summary), tell);
            let body = || self.draft.ended(summary).to_json();
            // Goes on if the caller hangs up now: the answer is whole, and paid for.
            self.kept = self.keeping.take().map(|keeping| keeping.begin(body()));
        }
        if let Some(kept) = &mut self.kept {
            let is_kept = ready!(Pin::new(kept).poll(context)).unwrap_or(false);
            self.draft.settings.store = is_kept;
            self.kept = None;
        }
        Poll::Ready(())
    }

    fn end(&mut self, summary: &Summary, frames: &mut String) {
        let response = self.draft.ended(summary);
        self.numbers.write(&Event::response(response.event(), &response), frames);
    }

    fn fail(&mut self, failure: &Failure, frames: &mut String) {
        self.draft.output.cut(&mut |event| self.numbers.write(&event, frames));
        self.numbers.write_error(&failure.error, frames);
        // What is not there at the end was not kept.
        self.draft.settings.store = false;
        let response = self.draft.failed(failure);
        self.numbers.write(&Event::response(response.event(), &response), frames);
    }
}
