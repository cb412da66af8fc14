//! A generation's deliveries as server-sent events (WHATWG HTML, section 9.2), whatever a route
//! writes into them.
//! Promises: each delivery is written once and flushed at once; silence is broken, if at all, by
//! what the route says; nothing follows the end.
//! Never knows: what is charged, what the events hold.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_core::Stream;
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep};

use super::delivery::{Deliveries, Delivery, Failure, Release, Summary};
use super::error::ApiError;

/// How a route writes a stream's events. Whatever is appended to `frames` goes out together.
pub(super) trait Frames: Send + Unpin + 'static {
    /// What a route says before the first delivery.
    fn begin(&mut self, _frames: &mut String) {}

    /// Parts that are paid for.
    fn release(&mut self, releases: Vec<Release>, frames: &mut String);

    /// What has to happen before the end is written, if anything. Asked again when the context is
    /// woken, until it is ready.
    fn poll_end(
        &mut self,
        _summary: &Summary,
        _frames: &mut String,
        _context: &mut Context<'_>,
    ) -> Poll<()> {
        Poll::Ready(())
    }

    /// The end of the answer. The summary's receipt is confirmed by whoever calls.
    fn end(&mut self, summary: &Summary, frames: &mut String);

    /// The end without the rest of an answer.
    fn fail(&mut self, failure: &Failure, frames: &mut String);

    /// What breaks a silence: a comment, unless the route has an event for it.
    fn keep_alive(&mut self, frames: &mut String) {
        frames.push_str(": ping\n\n");
    }
}

/// The response that streams an admitted generation. `keep_alive`: how long a silence may be.
pub(super) fn event_stream(
    deliveries: Deliveries,
    keep_alive: Option<Duration>,
    frames: impl Frames,
) -> Response {
    let events = EventStream {
        deliveries,
        frames,
        keep_alive: keep_alive.map(|after| KeepAlive { after, timer: Box::pin(sleep(after)) }),
        has_begun: false,
        ending: None,
        has_ended: false,
    };
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx passes frames on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Appends a frame of one JSON object.
pub(super) fn data_frame(frames: &mut String, content: &impl Serialize) {
    let json = serde_json::to_string(content).expect("wire types have string keys only");
    frames.push_str("data: ");
    frames.push_str(&json);
    frames.push_str("\n\n");
}

/// Appends a frame of one JSON object with the name of its event.
pub(super) fn event_frame(frames: &mut String, event: &str, content: &impl Serialize) {
    frames.push_str("event: ");
    frames.push_str(event);
    frames.push('\n');
    data_frame(frames, content);
}

struct EventStream<F> {
    deliveries: Deliveries,
    frames: F,
    keep_alive: Option<KeepAlive>,
    has_begun: bool,
    /// The end of the answer, while something has to happen before it is written.
    ending: Option<Box<Summary>>,
    has_ended: bool,
}

/// Breaks silence, so that nobody between us and the caller takes it for a dead connection.
struct KeepAlive {
    after: Duration,
    timer: Pin<Box<Sleep>>,
}

impl<F: Frames> Stream for EventStream<F> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut frames = String::new();
        if !std::mem::replace(&mut this.has_begun, true) {
            this.frames.begin(&mut frames);
        }
        while frames.is_empty() && !this.has_ended {
            match this.poll_write(context, &mut frames) {
                Poll::Ready(()) => {}
                Poll::Pending if this.is_silent(context) => this.frames.keep_alive(&mut frames),
                Poll::Pending => return Poll::Pending,
            }
            // Tokens that are the syntax of a part are read here and break no silence.
            if let Some(keep_alive) = this.keep_alive.as_mut().filter(|_| !frames.is_empty()) {
                keep_alive.restart();
            }
        }
        Poll::Ready((!frames.is_empty()).then(|| Ok(frames.into())))
    }
}

impl KeepAlive {
    fn restart(&mut self) {
        self.timer.as_mut().reset(Instant::now() + self.after);
    }
}

impl<F: Frames> EventStream<F> {
    /// Whether nothing was sent for so long that something is due.
    fn is_silent(&mut self, context: &mut Context<'_>) -> bool {
        let Some(keep_alive) = &mut self.keep_alive else { return false };
        keep_alive.timer.as_mut().poll(context).is_ready()
    }

    /// Writes what comes next, if there is anything.
    fn poll_write(&mut self, context: &mut Context<'_>, frames: &mut String) -> Poll<()> {
        if self.ending.is_none() {
            match ready!(self.deliveries.poll_next(context)) {
                Some(Delivery::Ended(summary)) => self.ending = Some(summary),
                delivery => {
                    self.write(delivery, frames);
                    return Poll::Ready(());
                }
            }
        }
        let Some(summary) = &self.ending else { return Poll::Ready(()) };
        match self.frames.poll_end(summary, frames, context) {
            Poll::Ready(()) => self.frames.end(summary, frames),
            // What there is goes out meanwhile.
            Poll::Pending if frames.is_empty() => return Poll::Pending,
            Poll::Pending => return Poll::Ready(()),
        }
        if let Some(summary) = self.ending.take() {
            summary.receipt.confirm();
        }
        self.has_ended = true;
        Poll::Ready(())
    }

    fn write(&mut self, delivery: Option<Delivery>, frames: &mut String) {
        match delivery {
            Some(Delivery::Released(releases)) => return self.frames.release(releases, frames),
            Some(Delivery::Failed(failure)) => self.frames.fail(&failure, frames),
            // The generation's task broke; it can not say so itself.
            Some(Delivery::Admitted(_) | Delivery::Ended(_)) | None => {
                self.frames.fail(&ApiError::Internal.into(), frames)
            }
        }
        self.has_ended = true;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::delivery::Outlet;
    use super::*;

    /// Writes nothing of what is delivered, as if all tokens were syntax.
    struct Silent;

    impl Frames for Silent {
        fn release(&mut self, _: Vec<Release>, _: &mut String) {}
        fn end(&mut self, _: &Summary, _: &mut String) {}
        fn fail(&mut self, _: &Failure, _: &mut String) {}
    }

    #[tokio::test(start_paused = true)]
    async fn deliveries_without_a_frame_are_silence() {
        let (outlet, deliveries) = Outlet::new(Duration::from_secs(60));
        tokio::spawn(async move {
            while outlet.send(Delivery::Released(Vec::new())).await.is_ok() {
                sleep(Duration::from_secs(4)).await;
            }
        });
        let response = event_stream(deliveries, Some(Duration::from_secs(10)), Silent);
        let mut body = response.into_body().into_data_stream();
        let begun = Instant::now();
        for pings in 1..=2 {
            let frame = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await;
            assert_eq!(frame.and_then(Result::ok).as_deref(), Some(": ping\n\n".as_bytes()));
            assert_eq!(begun.elapsed().as_secs(), 10 * pings);
        }
    }
}
