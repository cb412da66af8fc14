//! What the engine is asked for and what it answers with.
//! Promises: a request that passed `submit` cannot make the engine panic, whatever it holds.
//! Never knows: text, accounts, tensors.

use std::sync::Arc;

use super::constraint::Constraint;
use crate::model::{MAX_TOP_LOGPROBS, SampledToken, TokenLogprobs};

/// One stream of token ids to generate.
#[derive(Clone, Debug)]
pub struct SequenceRequest {
    /// Who is served, for fairness only: any number that is the same for the same caller.
    pub lane: u64,
    /// The ids to continue; at least one, each below the vocabulary size.
    pub prompt: Vec<u32>,
    /// Most ids to sample; shortened to what the context has room for, and then the ending is
    /// [`FinishReason::Length`].
    pub max_tokens: usize,
    /// Ids that end the sequence when sampled. They are not emitted.
    pub stop_ids: Arc<[u32]>,
    /// How to choose among the model's predictions.
    pub sampling: SamplingParams,
    /// Decides what may be said, at its beginning; `None` allows everything.
    pub constraint: Option<Box<dyn Constraint>>,
}

/// How a token is chosen from the logits; the default is plain greedy.
///
/// Applied in vLLM's order: stop ids masked, `logit_bias`, repetition, frequency and presence
/// penalty, the constraint's mask, then `temperature`, `min_p`, `top_k`, `top_p`. Definitions are
/// OpenAI's and vLLM's.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy: the highest logit, the lowest id among equals.
    pub temperature: f32,
    /// Keep this many most likely ids; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of most likely ids whose probability reaches this, in `[0, 1]`;
    /// 0 keeps one id, 1 keeps all.
    pub top_p: f32,
    /// Keep ids at least this times as likely as the most likely one, in `[0, 1]`; 0 keeps all.
    pub min_p: f32,
    /// Ids in the prompt or output: positive logits are divided by it, negative ones multiplied.
    /// Above 0; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken off an id's logit once for each time it is in the output.
    pub frequency_penalty: f32,
    /// Taken off an id's logit if it is in the output.
    pub presence_penalty: f32,
    /// The n-th random number of a sequence depends on this and n only.
    pub seed: u64,
    /// Added to the logits of these ids.
    pub logit_bias: Vec<(u32, f32)>,
    /// `Some(n)`: each token carries its log probability and those of the n most likely ids, at
    /// most [`MAX_TOP_LOGPROBS`].
    pub top_logprobs: Option<usize>,
    /// `Some(n)`: the same of the prompt's ids, in [`Event::Prompt`]. No row of the prompt is then
    /// taken from the prefix cache, and `max_tokens` may be 0.
    pub prompt_logprobs: Option<usize>,
    /// Stop ids are never sampled: the sequence runs to its length, or until its constraint can
    /// only end.
    pub ignore_stop_ids: bool,
    /// Stop ids are not sampled before this many ids were.
    pub min_tokens: usize,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: 0,
            logit_bias: Vec::new(),
            top_logprobs: None,
            prompt_logprobs: None,
            ignore_stop_ids: false,
            min_tokens: 0,
        }
    }
}

impl SamplingParams {
    /// Whether any penalty needs to know which ids came before.
    pub(super) fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.frequency_penalty != 0.0
            || self.presence_penalty != 0.0
    }

    /// Refuses values that have no meaning, so that the sampler need not think of them.
    pub(super) fn validate(&self, vocab_size: usize) -> Result<(), SubmitError> {
        let checks = [
            ("temperature", self.temperature, 0.0, f32::MAX),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, f32::MIN_POSITIVE, f32::MAX),
            ("frequency_penalty", self.frequency_penalty, f32::MIN, f32::MAX),
            ("presence_penalty", self.presence_penalty, f32::MIN, f32::MAX),
        ];
        for (name, value, min, max) in checks {
            // Written so that NaN fails too.
            if !(min <= value && value <= max) {
                return Err(SubmitError::InvalidSampling { name, value });
            }
        }
        let top_logprobs = self.top_logprobs.unwrap_or(0);
        if top_logprobs > MAX_TOP_LOGPROBS {
            let (name, value) = ("top_logprobs", top_logprobs as f32);
            return Err(SubmitError::InvalidSampling { name, value });
        }
        for &(id, bias) in &self.logit_bias {
            if id as usize >= vocab_size {
                return Err(SubmitError::InvalidToken(id));
            }
            if !bias.is_finite() {
                return Err(SubmitError::InvalidSampling { name: "logit_bias", value: bias });
            }
        }
        Ok(())
    }
}

/// Why a request was not taken. Nothing was queued.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// As many sequences are open as the engine holds; try again later.
    #[error("the engine's queue of {max_waiting} sequences is full; try again later")]
    QueueFull {
        /// The bound on waiting sequences.
        max_waiting: usize,
    },
    /// The prompt leaves no room for a single token.
    #[error("the prompt has {prompt} tokens; at most {max} fit")]
    PromptTooLong {
        /// Ids in the prompt.
        prompt: usize,
        /// The longest prompt that this engine takes.
        max: usize,
    },
    /// There is nothing to continue.
    #[error("the prompt has no tokens; send at least one")]
    EmptyPrompt,
    /// An id in the prompt or in the logit bias is outside the vocabulary.
    #[error("token id {0} is not in the vocabulary")]
    InvalidToken(u32),
    /// A sampling parameter is not a number or out of range.
    #[error("{name} can not be {value}")]
    InvalidSampling {
        /// The field of [`SamplingParams`].
        name: &'static str,
        /// What was sent.
        value: f32,
    },
    /// The engine was stopped, or ended by a fault that its log tells.
    #[error("the engine is stopped")]
    Stopped,
}

/// What a sequence yields: any number of tokens, then exactly one ending.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// How likely each id of the prompt was after those before it, from the second id on: before
    /// the first token, if [`SamplingParams::prompt_logprobs`] asked for it.
    Prompt(Vec<TokenLogprobs>),
    /// The next token.
    Token(SampledToken),
    /// The prompt's vector, which is all that an [`super::EmbeddingRequest`] yields.
    Vector(Vec<f32>),
    /// The end; nothing follows.
    Finished(FinishReason),
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop id was sampled, or the constraint's output is complete.
    Stop,
    /// `max_tokens` were sampled, or the context is full; or nothing was to be sampled.
    Length,
    /// The engine was stopped.
    Aborted,
    /// The model failed on this sequence's batch; the engine's log says why.
    Failed,
    /// Its constraint could not say what may come next; the engine's log says why.
    ConstraintFailed,
}
