//! Choosing tokens (`sampling.cu`).

use super::{Parameters, run, to_u32};
use crate::cuda::memory::{Gpu, GpuError, View, ViewMut, Word};

const THREADS: u32 = 1024;

/// A [`Choice`] among all ids.
pub const NO_MASK: u32 = u32::MAX;
/// A [`Choice`] of which no log probabilities are asked for.
pub const NO_LOGPROBS: u32 = u32::MAX;
/// Most of the most likely ids that a [`Choice`] names.
pub const MAX_TOP_LOGPROBS: usize = 32;
/// A [`Change`] without penalties.
pub const NOT_COUNTED: u32 = u32::MAX;
/// Words of a [`Chosen`]: token, log probability, number of the most likely ids, and these.
pub const CHOSEN_WORDS: usize = 3 + 2 * MAX_TOP_LOGPROBS;

/// Instead of a token.
const NOT_FINITE: u32 = u32::MAX;
const NOTHING_ALLOWED: u32 = u32::MAX - 1;

/// Ids of the largest vocabulary: the sum of their weights is exact in an f64.
const MAX_VOCAB: usize = 1 << 19;

/// How one token is chosen.
///
/// The row's logits are changed ([`Change`]), then those of the ids that the mask lacks are minus
/// infinity. Then the highest is taken, the lowest id among equals, or one is drawn: by its weight
/// `exp((logit - highest) / temperature)`, among the ids that `floor`, `top_k` and `top_p` keep.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Choice {
    /// In `[0, 1)`: where in the sum of the weights, in the order of ids, the drawn one lies.
    pub random: f64,
    /// Row of the logits.
    pub row: u32,
    /// 0: the highest logit.
    pub temperature: f32,
    /// Keep so many best ids; 0: all.
    pub top_k: u32,
    /// Keep the fewest best ids whose weights reach this share of them all, in `[0, 1]`.
    pub top_p: f32,
    /// Keep ids whose weight's exponent is at least this: `ln(min_p)`, minus infinity for all.
    pub floor: f32,
    /// Counted ids: positive logits are divided by it, others multiplied. Above 0.
    pub repetition_penalty: f32,
    /// Taken off an id's logit once for each time it is counted.
    pub frequency_penalty: f32,
    /// Taken off an id's logit if it is counted at least once.
    pub presence_penalty: f32,
    /// Where its changes begin.
    pub first_change: u32,
    /// Changes.
    pub num_changes: u32,
    /// Which mask, or [`NO_MASK`].
    pub mask: u32,
    /// [`NO_LOGPROBS`], or how many of the most likely ids are named beside the chosen one.
    pub num_top: u32,
}

// SAFETY: one field of 8 bytes, then twelve of 4: no padding, no invalid bits.
unsafe impl Word for Choice {}

/// What is done to one id's logit before a choice: bias first, then penalties.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// The id.
    pub id: u32,
    /// [`NOT_COUNTED`]: no penalties. Else how often it is in the output; 0: in the prompt only.
    pub count: u32,
    /// Added to the logit; minus infinity: the id is masked, whatever its logit is.
    pub bias: f32,
}

// SAFETY: three fields of 4 bytes.
unsafe impl Word for Change {}

/// Choices, on the device, and what they refer to.
#[derive(Debug)]
pub struct Choices<'a> {
    choices: View<'a, Choice>,
    changes: ViewMut<'a, Change>,
    masks: View<'a, u32>,
    rows: usize,
    vocab: usize,
}

impl<'a> Choices<'a> {
    /// `masks` are `[..][vocab.div_ceil(32)]`: the lowest bit of the first word is for id 0.
    ///
    /// `changes` belong to the launch: of a choice with log probabilities, each one's `bias` is
    /// overwritten.
    ///
    /// # Safety
    /// When a launch that is given this runs: the choices' rows are below `rows`, and different;
    /// their changes are among `changes`, and those of choices with log probabilities are no other
    /// choice's; the ids that a choice changes are below `vocab`, and different; masks are
    /// [`NO_MASK`] or among `masks`.
    pub unsafe fn new(
        choices: View<'a, Choice>,
        changes: ViewMut<'a, Change>,
        masks: View<'a, u32>,
        [rows, vocab]: [usize; 2],
    ) -> Self {
        Self { choices, changes, masks, rows, vocab }
    }
}

/// From logits to tokens, one for each choice.
#[derive(Debug)]
pub struct Sample<'a> {
    /// `[rows][vocab]`; those of rows that are chosen from are changed in place.
    pub logits: ViewMut<'a, f32>,
    /// Logits in a row.
    pub vocab: usize,
    /// How.
    pub choices: Choices<'a>,
    /// `[choices][CHOSEN_WORDS]`: what [`Chosen`] reads.
    pub chosen: ViewMut<'a, u32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Block {
    logits: u64,
    choices: u64,
    changes: u64,
    masks: u64,
    chosen: u64,
    vocab: u32,
    padding: u32,
}

// SAFETY: five fields of 8 bytes, then two of 4.
unsafe impl Parameters for Block {}

impl Sample<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together, or there are more than 524,288 ids.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Sample { logits, vocab, choices, chosen } = self;
        let count = choices.choices.len();
        assert!(0 < vocab && vocab <= MAX_VOCAB, "a vocabulary of {vocab}");
        assert_eq!(vocab, choices.vocab, "choices among as many ids");
        assert!(
            count > 0 && logits.len() >= choices.rows * vocab,
            "logits of {} rows",
            choices.rows
        );
        assert!(chosen.len() >= count * CHOSEN_WORDS, "room for {count} choices");
        let block = Block {
            logits: logits.address,
            choices: choices.choices.address,
            changes: choices.changes.address,
            masks: choices.masks.address,
            chosen: chosen.address,
            vocab: to_u32(vocab),
            padding: 0,
        };
        // SAFETY: the block is this kernel's; there is a choice and room for a block of each, and
        // where the choices point to has been vouched for.
        unsafe { run(gpu, "sample", [count, 1], THREADS, &block) }
    }
}

/// Why no token could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoToken {
    /// A logit is NaN, or the highest one is infinite.
    NotFinite,
    /// Every id is masked.
    NothingAllowed,
}

/// One choice's words, as they are read back.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a>(&'a [u32]);

impl<'a> Chosen<'a> {
    /// # Panics
    /// If there are not [`CHOSEN_WORDS`] of them.
    pub fn new(words: &'a [u32]) -> Self {
        assert_eq!(words.len(), CHOSEN_WORDS, "the words of one choice");
        Self(words)
    }

    /// The token.
    pub fn token(self) -> Result<u32, NoToken> {
        match self.0[0] {
            NOT_FINITE => Err(NoToken::NotFinite),
            NOTHING_ALLOWED => Err(NoToken::NothingAllowed),
            token => Ok(token),
        }
    }

    /// The token's log probability, by the logits before any change. Of a token whose choice asked
    /// for it.
    pub fn logprob(self) -> f32 {
        f32::from_bits(self.0[1])
    }

    /// The most likely ids by the same, as many as were asked for and are possible, with their log
    /// probabilities: best first, the lowest id first among equals.
    pub fn top(self) -> impl Iterator<Item = (u32, f32)> + 'a {
        let count = (self.0[2] as usize).min(MAX_TOP_LOGPROBS);
        let (pairs, _) = self.0[3..].as_chunks::<2>();
        pairs[..count].iter().map(|&[id, logprob]| (id, f32::from_bits(logprob)))
    }
}
