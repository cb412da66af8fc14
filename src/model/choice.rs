//! How tokens are chosen from a step's logits, told as numbers: what an executor needs that chooses
//! where its logits are.
//!
//! Promises: whoever follows it on the same logits chooses the same token, on any device.
//! Never knows: sequences, seeds, what came before.

use std::ops::Range;

/// Most likely ids that a token can come with, at most.
pub const MAX_TOP_LOGPROBS: usize = 32;

/// Choices from one step's logits. Its memory is reused from step to step.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// One for each token that is wanted.
    pub list: Vec<Choice>,
    /// What is done to logits before they are chosen from, those of each choice in one piece.
    pub changes: Vec<Change>,
    /// For each masked choice one bit for each id of the vocabulary, the lowest of the first word
    /// for id 0; masks begin at whole words.
    pub masks: Vec<u32>,
}

impl Choices {
    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.list.clear();
        self.changes.clear();
        self.masks.clear();
    }

    /// The changes of one of them.
    pub fn changes_of(&self, choice: &Choice) -> &[Change] {
        &self.changes[choice.changes.clone()]
    }

    /// The mask of one of them.
    pub fn mask_of(&self, choice: &Choice) -> Option<&[u32]> {
        choice.mask.clone().map(|mask| &self.masks[mask])
    }
}

/// How one token is chosen. Order: changes, penalties, mask, temperature, `min_p`, `top_k`,
/// `top_p`, draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Which of the batch's outputs it is chosen from.
    pub output: usize,
    /// Uniform in `[0, 1)`.
    pub random: f64,
    /// 0: the highest logit, the lowest id among equals.
    pub temperature: f32,
    /// As many most likely ids are left; 0: all.
    pub top_k: usize,
    /// The smallest set of most likely ids whose probability reaches this is left.
    pub top_p: f32,
    /// The logarithm of `min_p`: minus infinity leaves all.
    pub min_p_log: f32,
    /// Divides logits of counted ids above 0, multiplies the others.
    pub repetition_penalty: f32,
    /// Taken off once for each time that an id was counted.
    pub frequency_penalty: f32,
    /// Taken off ids that were counted at least once.
    pub presence_penalty: f32,
    /// Its part of [`Choices::changes`].
    pub changes: Range<usize>,
    /// Its part of [`Choices::masks`]; `None` allows every id. Ids beyond it are refused.
    pub mask: Option<Range<usize>>,
    /// `Some(n)`: log probabilities are wanted, of the id and of the n most likely ones.
    pub top_logprobs: Option<usize>,
}

/// What is done to one id's logit, before a mask. An id is in a choice's changes once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The id.
    pub id: u32,
    /// Added first; minus infinity forbids the id, whatever its logit is.
    pub bias: f32,
    /// `Some(n)`: penalties apply, and the id is in the output n times.
    pub count: Option<u32>,
}

/// A token that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledToken {
    /// Its id.
    pub id: u32,
    /// If they were asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// How likely an id was, and which were the most likely ones.
///
/// Natural log probabilities of the model's own distribution: log-softmax of the logits as the
/// model gave them, before bias, penalties and temperature (as OpenAI and vLLM report).
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Of the id itself.
    pub logprob: f32,
    /// The most likely ids, best first, the lowest id first among equals.
    pub top: Vec<(u32, f32)>,
}

/// Why no token could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The model, or a bias, yielded what is not a number.
    #[error("the logits hold NaN or infinity")]
    NotFinite,
    /// Every id is masked.
    #[error("every token id is masked")]
    NothingAllowed,
}
