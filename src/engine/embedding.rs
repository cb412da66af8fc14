//! One vector for a text's ids: a sequence that is only prefilled.
//!
//! It waits, is batched, preempted and aborted like any other, and counts as service to its lane.
//! Promises: the vector is the same to the bit alone or in any batch, if the executor's rows are.
//! Never knows: text, what vectors are compared with; they are not scaled here.

use super::request::{Event, FinishReason};
use super::stream::SequenceStream;
use crate::model::Pooling;

/// A text to make a vector of.
#[derive(Clone, Debug)]
pub struct EmbeddingRequest {
    /// Who is served, for fairness only, as in [`super::SequenceRequest`].
    pub lane: u64,
    /// The text's ids; at least one, each below the vocabulary size, as many as the context holds.
    pub prompt: Vec<u32>,
    /// Which of its hidden states count.
    pub pooling: Pooling,
}

/// A vector that is being made. Dropping it aborts that within one step.
#[derive(Debug)]
pub struct EmbeddingStream(SequenceStream);

impl EmbeddingStream {
    pub(super) fn new(events: SequenceStream) -> Self {
        Self(events)
    }

    /// The vector, or why there is none: the engine stopped or failed. Cancel safe.
    pub async fn vector(&mut self) -> Result<Vec<f32>, FinishReason> {
        loop {
            let event = self.0.next().await;
            if let Some(outcome) = outcome(event) {
                return outcome;
            }
        }
    }

    /// The same, from a thread outside any asynchronous runtime.
    pub fn blocking_vector(&mut self) -> Result<Vec<f32>, FinishReason> {
        loop {
            let event = self.0.blocking_next();
            if let Some(outcome) = outcome(event) {
                return outcome;
            }
        }
    }

    /// Ids that the prefix cache had. Final once the vector is there.
    pub fn cached_tokens(&self) -> usize {
        self.0.cached_tokens()
    }
}

fn outcome(event: Option<Event>) -> Option<Result<Vec<f32>, FinishReason>> {
    match event {
        Some(Event::Vector(vector)) => Some(Ok(vector)),
        Some(Event::Finished(reason)) => Some(Err(reason)),
        // Nothing else is sent to one who asked for a vector.
        Some(Event::Token(_) | Event::Prompt(_)) => None,
        None => Some(Err(FinishReason::Failed)),
    }
}
