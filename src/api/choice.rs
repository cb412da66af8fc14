//! One of a request's answers while it is generated: the engine's events become text, and text
//! that is paid for becomes a release.
//! Promises: what `pieces` holds has not been released; ending a choice aborts its sequence.
//! Never knows: credits, who reads.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::delivery::{Finish, Release, ReleasedToken};
use crate::engine::{Event, FinishReason, SampledToken, SequenceStream, TokenLogprobs};
use crate::text::{AnswerPart, AnswerPiece, AnswerState, AnswerStream};

/// One of a request's answers while it is generated.
#[derive(Debug)]
pub(super) struct Choice {
    /// `None` once it ended; dropping it aborts it.
    sequence: Option<SequenceStream>,
    text: AnswerStream,
    /// Sampled with log probabilities and not released yet.
    sampled: VecDeque<SampledToken>,
    /// Of the prompt's ids, where they were asked for and are not released yet.
    prompt_logprobs: Option<Vec<TokenLogprobs>>,
    /// Released by `text` and not charged yet.
    pub(super) pieces: Vec<AnswerPiece>,
    /// Whether a tool call was released.
    has_called: bool,
    finish: Option<Finish>,
    /// Prompt tokens that the engine had already, once it ended.
    cached_tokens: usize,
}

/// What ends all choices at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The engine was stopped.
    Stopped,
    /// The engine failed.
    Failed,
    /// What the answer has to keep to gave no next token.
    Unconstrainable,
}

impl Choice {
    /// A choice that nothing is known of yet.
    pub(super) fn new(sequence: SequenceStream, text: AnswerStream) -> Self {
        Self {
            sequence: Some(sequence),
            text,
            sampled: VecDeque::new(),
            prompt_logprobs: None,
            pieces: Vec::new(),
            has_called: false,
            finish: None,
            cached_tokens: 0,
        }
    }

    /// Takes what the engine said. A fault ends the whole request.
    pub(super) fn take(&mut self, event: Event) -> Result<(), Fault> {
        let finish = match event {
            Event::Prompt(logprobs) => {
                self.prompt_logprobs = Some(logprobs);
                return Ok(());
            }
            Event::Token(token) => {
                let state = self.text.push(token.id, &mut self.pieces);
                if token.logprobs.is_some() {
                    self.sampled.push_back(token);
                }
                match state {
                    AnswerState::Open => return Ok(()),
                    AnswerState::Stopped => Finish::StopString,
                    AnswerState::Complete => Finish::EndOfTurn,
                }
            }
            Event::Finished(FinishReason::Stop) => Finish::EndOfTurn,
            Event::Finished(FinishReason::Length) => Finish::Length,
            Event::Finished(FinishReason::Aborted) => return Err(Fault::Stopped),
            Event::Finished(FinishReason::ConstraintFailed) => return Err(Fault::Unconstrainable),
            Event::Finished(FinishReason::Failed) | Event::Vector(_) => return Err(Fault::Failed),
        };
        if finish != Finish::StopString {
            self.text.finish(&mut self.pieces);
        }
        self.end(finish);
        Ok(())
    }

    fn end(&mut self, finish: Finish) {
        self.finish = Some(finish);
        if let Some(sequence) = self.sequence.take() {
            self.cached_tokens = sequence.cached_tokens();
        }
    }

    /// Whether there is something to release, paid for or free.
    pub(super) fn has_news(&self) -> bool {
        !self.pieces.is_empty() || self.has_prompt_news()
    }

    /// Whether what is known of the prompt is to be released, which is free.
    pub(super) fn has_prompt_news(&self) -> bool {
        self.prompt_logprobs.is_some()
    }

    /// Whether more may come.
    pub(super) fn is_open(&self) -> bool {
        self.sequence.is_some()
    }

    /// Why it ended; `cut` is what ended the answer while some of it was open or unpaid.
    pub(super) fn conclude(&mut self, cut: Finish) -> Finish {
        if self.is_open() || !self.pieces.is_empty() {
            self.end(cut);
        }
        match self.finish {
            Some(Finish::EndOfTurn) if self.has_called => Finish::ToolCalls,
            finish => finish.unwrap_or(cut),
        }
    }

    /// Prompt tokens that the engine had already.
    pub(super) fn cached_tokens(&self) -> usize {
        self.sequence.as_ref().map_or(self.cached_tokens, SequenceStream::cached_tokens)
    }

    /// The stop string that was found, whether or not the text before it could be paid for.
    pub(super) fn stop_string(&self) -> Option<String> {
        self.text.stop_string().map(str::to_owned)
    }

    /// The parts of pieces that are paid for, and their tokens; with the first of them what was
    /// asked of the prompt.
    pub(super) fn release(&mut self, choice: usize, paid: Vec<AnswerPiece>) -> Release {
        let prompt_logprobs = self.prompt_logprobs.take();
        let mut release = Release { choice, prompt_logprobs, ..Release::default() };
        for piece in paid {
            release.tokens += piece.ids.len() as u32;
            release.logprobs.extend(piece.ids.iter().filter_map(|id| self.sampled(*id)));
            self.has_called |= piece.parts.iter().any(|p| matches!(p, AnswerPart::ToolCall { .. }));
            release.take(piece);
        }
        release
    }

    /// The log probabilities of a token that is released. Tokens without text are sampled too,
    /// and never released.
    fn sampled(&mut self, id: u32) -> Option<ReleasedToken> {
        while let Some(token) = self.sampled.pop_front() {
            if token.id == id {
                return token.logprobs.map(|logprobs| ReleasedToken { id, logprobs });
            }
        }
        None
    }
}

/// The next event of any choice; pending while none has one.
pub(super) async fn next_event(choices: &mut [Choice]) -> (usize, Event) {
    poll_fn(|context| {
        for (index, choice) in choices.iter_mut().enumerate() {
            let Some(sequence) = &mut choice.sequence else { continue };
            if let Poll::Ready(event) = pin!(sequence.next()).poll(context) {
                // An ended sequence is not kept, so there is always an event.
                let event = event.unwrap_or(Event::Finished(FinishReason::Failed));
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// Takes what all choices have at hand, up to the first fault.
pub(super) fn take_ready(choices: &mut [Choice]) -> Result<(), Fault> {
    for choice in choices {
        while let Some(sequence) = &mut choice.sequence
            && let Some(event) = sequence.try_next()
        {
            choice.take(event)?;
        }
    }
    Ok(())
}
