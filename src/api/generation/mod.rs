//! One answer: the task that owns its sequences, its texts and its meter, and has one exit.
//! Promises: what is delivered was charged and committed before; the meter is closed once, however
//! the request ends; a caller who hangs up stops the engine within one step.
//! Never knows: JSON, HTTP, which route asked.
//!
//! ```text
//! begin: meter opens, sequences are submitted
//! drive: [ engine events -> text releases pieces -> room? -> charge -> deliver ]
//! finish: sequences end, meter closes, last delivery
//! ```
//!
//! The handler that asked may vanish at any await, so it owns nothing: it reads [`Deliveries`],
//! and dropping them is how a disconnect looks from here.

mod begin;
mod drive;
mod finish;

use std::sync::Arc;

use super::AppState;
use super::auth::Caller;
use super::delivery::{Admitted, Deliveries, End, Finish};
use super::error::ApiError;
use super::limits::Admission;
use crate::engine::{Constraint, SamplingParams};
use crate::metering::Price;
use crate::registry::LoadedModel;
use crate::text::{AnswerRules, AnswerStream};

/// What to generate, for whom.
#[derive(Debug)]
pub(super) struct GenerationRequest {
    pub(super) model: Arc<LoadedModel>,
    pub(super) caller: Caller,
    /// Its place among the account's requests, until the answer is made.
    pub(super) admission: Admission,
    /// Each non-empty and short enough to leave room for a token.
    pub(super) prompts: Vec<Vec<u32>>,
    /// Answers to each prompt.
    pub(super) choices_per_prompt: usize,
    /// `None`: as many as the context holds.
    pub(super) max_tokens: Option<usize>,
    pub(super) sampling: SamplingParams,
    /// What every answer keeps to, at its beginning.
    pub(super) constraint: Option<Box<dyn Constraint>>,
    /// How the text of the answers is read.
    pub(super) answers: AnswerRules,
    /// Strings that end an answer and are not part of it.
    pub(super) stop: Vec<String>,
    /// Ids that end an answer, besides those that end the model's turn.
    pub(super) stop_ids: Vec<u32>,
    /// Credits that all answers together may cost; they pay for one token at least.
    pub(super) max_credits: Option<i64>,
    /// Whether text goes out while it is generated.
    pub(super) streamed: bool,
    pub(super) idempotency_key: Option<String>,
    pub(super) body_sha256: [u8; 32],
}

/// A generation that runs: whatever can be refused has been checked.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) model: Arc<LoadedModel>,
    pub(super) num_choices: usize,
    pub(super) admitted: Admitted,
    /// What follows the admission.
    pub(super) deliveries: Deliveries,
}

/// Starts a generation, or says why not.
pub(super) async fn start(
    state: &AppState,
    request: GenerationRequest,
) -> Result<Started, ApiError> {
    let (model, num_choices) = (request.model.clone(), request.num_choices());
    let mut deliveries = begin::spawn(state, request)?;
    let admitted = deliveries.admitted().await?;
    Ok(Started { model, num_choices, admitted, deliveries })
}

/// What this model's tokens cost.
pub(super) fn price(model: &LoadedModel) -> Price {
    Price::of(&model.entry.tier, &model.tier)
}

/// Tokens that prompt and answer may have together: the model's bound, or the memory's.
pub(super) fn context_length(model: &LoadedModel) -> usize {
    model.context_length.min(model.engine.max_sequence_len())
}

impl GenerationRequest {
    /// What makes parts of a choice's ids.
    pub(super) fn answer_stream(&self) -> AnswerStream {
        AnswerStream::new(self.model.tokenizer.clone(), self.stop.clone(), &self.answers)
    }

    /// The end of a choice, in which `stop` was found.
    fn end(&self, finish: Finish, stop: &Option<String>) -> End {
        let found = stop.as_ref().filter(|_| finish == Finish::StopString);
        let place = found.and_then(|found| self.stop.iter().position(|stop| stop == found));
        End { finish, stop: place.unwrap_or(0) }
    }

    pub(super) fn num_choices(&self) -> usize {
        self.prompts.len() * self.choices_per_prompt
    }

    /// Tokens of all prompts; one that several choices continue counts once.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(Vec::len).sum()
    }
}
