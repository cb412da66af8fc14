//! A generation's deliveries as server-sent events.
//! Promises: OpenAI's order for each choice (first text, text, finish), then usage, then `[DONE]`;
//! a failure is an `error` frame without `[DONE]`; silence is broken by comments, if at all.
//! Never knows: what is charged. What arrives here is paid for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_core::Stream;
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep};

use super::super::delivery::{Admitted, Deliveries, Delivery, Summary};
use super::super::error::ApiError;
use super::request::StreamOptions;
use super::respond::Wire;
use super::types::{Envelope, Head, WireUsage};

/// The frames of one answer.
struct EventStream<W> {
    deliveries: Deliveries,
    wire: W,
    head: Head,
    options: StreamOptions,
    prompt_tokens: usize,
    completion_tokens: u32,
    keep_alive: Option<KeepAlive>,
    ended: bool,
}

/// Breaks silence, so that nobody between us and the caller takes it for a dead connection.
struct KeepAlive {
    after: Duration,
    timer: Pin<Box<Sleep>>,
}

/// The response that streams an admitted generation.
pub(super) fn event_stream<W: Wire>(
    deliveries: Deliveries,
    admitted: &Admitted,
    head: Head,
    options: StreamOptions,
    keep_alive: Option<Duration>,
    wire: W,
) -> Response {
    let events = EventStream {
        deliveries,
        wire,
        head,
        options,
        prompt_tokens: admitted.prompt_tokens,
        completion_tokens: 0,
        keep_alive: keep_alive.map(|after| KeepAlive { after, timer: Box::pin(sleep(after)) }),
        ended: false,
    };
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx passes frames on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl<W: Wire> Stream for EventStream<W> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.ended {
            let frames = match this.deliveries.poll_next(context) {
                Poll::Ready(delivery) => this.write(delivery),
                Poll::Pending if this.is_silent(context) => ": ping\n\n".to_owned(),
                Poll::Pending => return Poll::Pending,
            };
            if let Some(keep_alive) = &mut this.keep_alive {
                keep_alive.restart();
            }
            if !frames.is_empty() {
                return Poll::Ready(Some(Ok(frames.into())));
            }
        }
        Poll::Ready(None)
    }
}

impl KeepAlive {
    fn restart(&mut self) {
        self.timer.as_mut().reset(Instant::now() + self.after);
    }
}

impl<W: Wire> EventStream<W> {
    /// Whether nothing was sent for so long that a comment is due.
    fn is_silent(&mut self, context: &mut Context<'_>) -> bool {
        match &mut self.keep_alive {
            Some(keep_alive) => keep_alive.timer.as_mut().poll(context).is_ready(),
            None => false,
        }
    }

    /// The frames of one delivery.
    fn write(&mut self, delivery: Option<Delivery>) -> String {
        let mut frames = String::new();
        match delivery {
            Some(Delivery::Released(releases)) => {
                for release in releases {
                    self.completion_tokens += release.tokens;
                    // Text may wait while its tokens are paid; an empty delta means nothing.
                    if !release.text.is_empty() || !release.logprobs.is_empty() {
                        let choice = self.wire.text(release);
                        self.chunk(&mut frames, choice);
                    }
                }
            }
            Some(Delivery::Ended(summary)) => self.end(&mut frames, *summary),
            Some(Delivery::Failed(error)) => self.fail(&mut frames, &error),
            // The generation's task broke; it can not say so itself.
            Some(Delivery::Admitted(_)) | None => self.fail(&mut frames, &ApiError::Internal),
        }
        frames
    }

    fn end(&mut self, frames: &mut String, summary: Summary) {
        for (index, finish) in summary.finishes.iter().enumerate() {
            if let Some(opening) = self.wire.opening(index) {
                self.chunk(frames, opening);
            }
            let choice = self.wire.finish(index, *finish);
            self.chunk(frames, choice);
        }
        if self.options.include_usage {
            let usage = Some(Some(WireUsage::from(&summary.usage)));
            frame(frames, &Envelope::<W::Chunk> { head: &self.head, choices: Vec::new(), usage });
        }
        frames.push_str("data: [DONE]\n\n");
        summary.receipt.confirm();
        self.ended = true;
    }

    fn fail(&mut self, frames: &mut String, error: &ApiError) {
        frame(frames, &error.body());
        self.ended = true;
    }

    fn chunk(&self, frames: &mut String, choice: W::Chunk) {
        let usage = self.options.include_usage.then(|| {
            let so_far = || WireUsage::so_far(self.prompt_tokens, self.completion_tokens);
            self.options.continuous_usage.then(so_far)
        });
        frame(frames, &Envelope { head: &self.head, choices: vec![choice], usage });
    }
}

fn frame(frames: &mut String, content: &impl Serialize) {
    let json = serde_json::to_string(content).expect("wire types have string keys only");
    frames.push_str("data: ");
    frames.push_str(&json);
    frames.push_str("\n\n");
}
