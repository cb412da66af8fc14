//! The chunks of OpenAI's streams.
//! Promises: OpenAI's order for each choice (first text, text, finish), then usage, then `[DONE]`;
//! a failure is an `error` frame without `[DONE]`.
//! Never knows: what is charged. What arrives here is paid for.

use super::super::delivery::{Failure, Release, Summary};
use super::super::event_stream::{Frames, data_frame};
use super::request::StreamOptions;
use super::respond::Wire;
use super::types::{Envelope, Head, WireUsage};

/// Writes one answer's chunks.
pub(super) struct Chunks<W> {
    pub(super) wire: W,
    pub(super) head: Head,
    pub(super) options: StreamOptions,
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: u32,
}

impl<W: Wire> Frames for Chunks<W> {
    fn release(&mut self, releases: Vec<Release>, frames: &mut String) {
        for release in releases {
            self.completion_tokens += release.tokens;
            // Text may wait while its tokens are paid; an empty delta means nothing.
            let has_logprobs = !release.logprobs.is_empty() || release.prompt_logprobs.is_some();
            if !release.parts.is_empty() || has_logprobs {
                for choice in self.wire.chunks(release) {
                    self.chunk(frames, choice);
                }
            }
        }
    }

    fn end(&mut self, summary: &Summary, frames: &mut String) {
        for (index, finish) in summary.finishes.iter().enumerate() {
            if let Some(opening) = self.wire.opening(index) {
                self.chunk(frames, opening);
            }
            let choice = self.wire.finish(index, *finish);
            self.chunk(frames, choice);
        }
        if self.options.include_usage {
            let usage = Some(Some(WireUsage::from(&summary.usage)));
            let envelope = Envelope::<W::Chunk> { head: &self.head, choices: Vec::new(), usage };
            data_frame(frames, &envelope);
        }
        frames.push_str("data: [DONE]\n\n");
    }

    fn fail(&mut self, failure: &Failure, frames: &mut String) {
        data_frame(frames, &failure.error.body());
    }
}

impl<W: Wire> Chunks<W> {
    fn chunk(&self, frames: &mut String, choice: W::Chunk) {
        let usage = self.options.include_usage.then(|| {
            let so_far = || WireUsage::so_far(self.prompt_tokens, self.completion_tokens);
            self.options.continuous_usage.then(so_far)
        });
        data_frame(frames, &Envelope { head: &self.head, choices: vec![choice], usage });
    }
}
