//! Anthropic's events.
//! Promises: `message_start`, then blocks one after the other (start, deltas, stop), then
//! `message_delta` with the reason and the cost, then `message_stop`; a failure is an `error` event
//! and the last one; silence is broken by `ping`.
//! Never knows: what is charged. What arrives here is paid for.

use serde::Serialize;

use super::super::delivery::{Failure, Release, Summary};
use super::super::event_stream::{Frames, event_frame};
use super::answer::{Block, Ending, Message, WireUsage};
use super::errors;
use crate::text::AnswerPart;

/// Writes one message's events.
#[derive(Debug)]
pub(super) struct Events {
    /// The generation's id.
    pub(super) generation: String,
    pub(super) begun: Message,
    pub(super) is_bound_by_context: bool,
    pub(super) content: Content,
}

/// Where the content stands.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The block that goes on.
    open: Option<Block>,
    /// Blocks that are complete.
    ended: usize,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: &'a Message },
    ContentBlockStart { index: usize, content_block: &'a Block },
    ContentBlockDelta { index: usize, delta: Delta },
    ContentBlockStop { index: usize },
    MessageDelta { delta: Ending, usage: WireUsage },
    MessageStop,
    Ping,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "they are what the wire calls them")]
enum Delta {
    TextDelta { text: String },
    ThinkingDelta { thinking: String },
    SignatureDelta { signature: &'static str },
    InputJsonDelta { partial_json: String },
}

impl Event<'_> {
    fn write(&self, frames: &mut String) {
        let name = match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
            Self::Ping => "ping",
        };
        event_frame(frames, name, self);
    }
}

impl Frames for Events {
    fn begin(&mut self, frames: &mut String) {
        Event::MessageStart { message: &self.begun }.write(frames);
    }

    fn release(&mut self, releases: Vec<Release>, frames: &mut String) {
        for part in releases.into_iter().flat_map(|release| release.parts) {
            self.part(part, frames);
        }
    }

    fn end(&mut self, summary: &Summary, frames: &mut String) {
        self.content.end_block(frames);
        let delta = Ending::of(summary, self.is_bound_by_context);
        Event::MessageDelta { delta, usage: (&summary.usage).into() }.write(frames);
        Event::MessageStop.write(frames);
    }

    fn fail(&mut self, failure: &Failure, frames: &mut String) {
        event_frame(frames, "error", &errors::body(&failure.error));
    }

    fn keep_alive(&mut self, frames: &mut String) {
        Event::Ping.write(frames);
    }
}

impl Events {
    fn part(&mut self, part: AnswerPart, frames: &mut String) {
        let content = &mut self.content;
        if content.open.as_ref().is_none_or(|open| !open.goes_on_with(&part)) {
            content.end_block(frames);
            let block = Block::of(&part, &self.generation);
            let index = content.ended;
            Event::ContentBlockStart { index, content_block: &block }.write(frames);
            content.open = Some(block);
        }
        let delta = match part {
            AnswerPart::Content(text) => Delta::TextDelta { text },
            AnswerPart::Reasoning(thinking) => Delta::ThinkingDelta { thinking },
            AnswerPart::ToolArguments { json, .. } => Delta::InputJsonDelta { partial_json: json },
            AnswerPart::ToolCall { .. } => return,
        };
        content.delta(delta, frames);
    }
}

impl Content {
    fn delta(&self, delta: Delta, frames: &mut String) {
        Event::ContentBlockDelta { index: self.ended, delta }.write(frames);
    }

    fn end_block(&mut self, frames: &mut String) {
        let Some(block) = self.open.take() else { return };
        if let Block::Thinking { signature, .. } = block {
            // Some clients give thinking back only if they were sent this.
            self.delta(Delta::SignatureDelta { signature }, frames);
        }
        Event::ContentBlockStop { index: self.ended }.write(frames);
        self.ended += 1;
    }
}
