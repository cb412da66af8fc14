//! From logits to a token id.
//!
//! ```text
//! logits -> stop ids masked -> bias -> penalties -> constraint's mask
//!        -> highest                                                              (temperature 0)
//!        -> temperature -> min_p -> top_k -> top_p -> draw, in the order of ids
//! ```
//! Order and definitions are vLLM's; `repetition_penalty` is that of CTRL (arXiv 1909.05858), the
//! other penalties are OpenAI's.
//!
//! Promises: a pure function of the logits, the parameters and the ids so far; one random number
//! for each token, the n-th from seed and n; the same token as on a GPU, whose sampler
//! (`kernels/cuda/sampling.cu`) keeps the same order and sums; no input panics: NaN is an error.
//! Never knows: the batch, text.

mod random;
mod vector;

use std::collections::HashMap;
use std::sync::Arc;

use super::request::SamplingParams;
use crate::model::{Change, Choice, Choices, SampledToken, TokenLogprobs};
use vector::Weighting;

pub use crate::model::SampleError;
pub use random::uniform;

/// Candidates that are put in order; more are only told apart, in linear time.
const FEW: usize = 512;

/// What one sequence's next choice depends on besides the logits.
#[derive(Debug)]
pub struct SamplerState {
    params: SamplingParams,
    stop_ids: Arc<[u32]>,
    /// What is done to single ids: first to stop ids that may be masked, then to those with a bias
    /// and, with penalties, to those that count.
    changes: Vec<Change>,
    /// Where each id is in `changes`.
    places: HashMap<u32, usize>,
    num_maskable: usize,
    num_sampled: usize,
    /// The ids that may be sampled next, a bit for each; all without one.
    mask: Option<Vec<u32>>,
}

impl SamplerState {
    /// For a sequence that starts with `prompt`.
    pub fn new(params: SamplingParams, stop_ids: Arc<[u32]>, prompt: &[u32]) -> Self {
        let mut state = Self {
            params,
            stop_ids,
            changes: Vec::new(),
            places: HashMap::new(),
            num_maskable: 0,
            num_sampled: 0,
            mask: None,
        };
        if state.masks_stop_ids(0) {
            let stop_ids = Arc::clone(&state.stop_ids);
            stop_ids.iter().for_each(|&id| _ = state.change_of(id));
            state.num_maskable = state.changes.len();
        }
        for (id, bias) in state.params.logit_bias.clone() {
            state.change_of(id).bias += bias;
        }
        if state.params.repetition_penalty != 1.0 {
            prompt.iter().for_each(|&id| state.change_of(id).count = Some(0));
        }
        state
    }

    /// Notes an id that was sampled and emitted.
    pub fn push(&mut self, id: u32) {
        self.num_sampled += 1;
        if self.params.has_penalties() {
            let count = &mut self.change_of(id).count;
            *count = Some(count.unwrap_or(0) + 1);
        }
    }

    /// Whether sampling this id ends the sequence.
    pub fn is_stop(&self, id: u32) -> bool {
        self.stop_ids.contains(&id)
    }

    /// Has the next choice be among `mask`: one bit for each id, the lowest of the first word for
    /// id 0, those beyond refused. `None`: among all.
    pub fn set_mask(&mut self, mask: Option<Vec<u32>>) {
        self.mask = mask;
    }

    /// Adds how an id is chosen from this output of a step: the next one, or that which comes after
    /// as many `ahead` that are not pushed yet.
    pub fn describe(&self, output: usize, ahead: usize, choices: &mut Choices) {
        let Self { params, changes, num_maskable, mask, .. } = self;
        let (first_change, first_word) = (choices.changes.len(), choices.masks.len());
        let num_masked = if self.masks_stop_ids(ahead) { *num_maskable } else { 0 };
        choices.changes.extend(changes.iter().enumerate().filter_map(|(place, change)| {
            if place < num_masked {
                return Some(Change { bias: f32::NEG_INFINITY, ..*change });
            }
            (change.bias != 0.0 || change.count.is_some()).then_some(*change)
        }));
        choices.masks.extend_from_slice(mask.as_deref().unwrap_or_default());
        choices.list.push(Choice {
            output,
            random: uniform(params.seed, (self.num_sampled + ahead) as u64),
            temperature: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
            // p >= min_p * p_max, as exponents: (logit - max) / temperature >= ln(min_p).
            min_p_log: params.min_p.ln(),
            repetition_penalty: params.repetition_penalty,
            frequency_penalty: params.frequency_penalty,
            presence_penalty: params.presence_penalty,
            changes: first_change..choices.changes.len(),
            mask: mask.as_ref().map(|_| first_word..choices.masks.len()),
            top_logprobs: params.top_logprobs,
        });
    }

    /// Whether the next choice but one can be described before the next is known, as far as it
    /// depends on this.
    pub(super) fn is_independent(&self) -> bool {
        !self.params.has_penalties()
    }

    pub(super) fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Whether stop ids are masked for the choice after `ahead` more.
    pub(super) fn masks_stop_ids(&self, ahead: usize) -> bool {
        self.params.ignore_stop_ids || self.num_sampled + ahead < self.params.min_tokens
    }

    fn change_of(&mut self, id: u32) -> &mut Change {
        let next = self.changes.len();
        let place = *self.places.entry(id).or_insert(next);
        if place == next {
            self.changes.push(Change { id, bias: 0.0, count: None });
        }
        &mut self.changes[place]
    }
}

/// Chooses tokens; holds the buffers for it.
#[derive(Debug, Default)]
pub struct Sampler {
    choices: Choices,
    changed: Vec<f32>,
    candidates: Vec<(f32, u32)>,
    chunk_sums: Vec<f64>,
}

impl Sampler {
    /// The next token of a sequence. `logits: [vocab_size]`
    pub fn sample(
        &mut self,
        logits: &[f32],
        state: &SamplerState,
    ) -> Result<SampledToken, SampleError> {
        let mut choices = std::mem::take(&mut self.choices);
        choices.clear();
        state.describe(0, 0, &mut choices);
        let token = self.choose(logits, &choices, 0);
        self.choices = choices;
        token
    }

    /// The token that the n-th of `choices` takes from its output. `logits: [vocab_size]`
    pub fn choose(
        &mut self,
        logits: &[f32],
        choices: &Choices,
        nth: usize,
    ) -> Result<SampledToken, SampleError> {
        let choice = &choices.list[nth];
        let (changes, mask) = (choices.changes_of(choice), choices.mask_of(choice));
        let mut changed = std::mem::take(&mut self.changed);
        let id = if changes.is_empty() && mask.is_none() {
            self.draw_from(logits, choice)
        } else {
            changed.clear();
            changed.extend_from_slice(logits);
            changes.iter().for_each(|change| change_logit(&mut changed, choice, change));
            // Last, so that nothing above makes an id possible again.
            if let Some(mask) = mask {
                vector::keep(mask, &mut changed);
            }
            self.draw_from(&changed, choice)
        };
        self.changed = changed;
        let id = id?;
        let logprobs = match choice.top_logprobs {
            Some(count) => Some(self.logprobs(logits, id, count)?),
            None => None,
        };
        Ok(SampledToken { id, logprobs })
    }

    fn draw_from(&mut self, logits: &[f32], choice: &Choice) -> Result<u32, SampleError> {
        let (best, max) = find_max(logits)?;
        if choice.temperature == 0.0 || choice.top_k == 1 {
            return Ok(best as u32);
        }
        let Choice { temperature, min_p_log: floor, random, .. } = *choice;
        let weighting = Weighting { max, temperature, floor };
        let limited = choice.top_k > 0 && choice.top_k < logits.len();
        let top_p = f64::from(choice.top_p);
        let candidates = &mut self.candidates;
        let chosen = if limited && choice.top_k <= FEW {
            vector::top(logits, choice.top_k, candidates);
            let target = top_p * weighting.sum_of(candidates);
            draw_few(nucleus(candidates, weighting, target), weighting, random)
        } else if limited {
            vector::select_top(logits, choice.top_k, candidates);
            let target = top_p * weighting.sum_of(candidates);
            weighting.reach(target, candidates);
            vector::put_in_order(logits, candidates);
            draw(candidates, weighting, random)
        } else if choice.top_p < 1.0 {
            let target = top_p * weighting.sum(logits);
            // Few ids hold most of the probability, mostly.
            vector::top(logits, FEW, candidates);
            let kept = nucleus(candidates, weighting, target);
            if kept.len() < FEW {
                draw_few(kept, weighting, random)
            } else {
                vector::select_top(logits, logits.len(), candidates);
                weighting.reach(target, candidates);
                vector::put_in_order(logits, candidates);
                draw(candidates, weighting, random)
            }
        } else {
            weighting.chunk_sums(logits, &mut self.chunk_sums);
            let total: f64 = self.chunk_sums.iter().sum();
            weighting.find(logits, &self.chunk_sums, random * total).map(|index| index as u32)
        };
        // A random number is below 1, so something was chosen if sums are exact: they are, of up to
        // half a million ids.
        Ok(chosen.unwrap_or(best as u32))
    }

    /// How likely `id` is, and which `count` ids are the most likely ones. `logits: [vocab_size]`
    pub fn logprobs(
        &mut self,
        logits: &[f32],
        id: u32,
        count: usize,
    ) -> Result<TokenLogprobs, SampleError> {
        let (_, max) = find_max(logits)?;
        let plain = Weighting { max, temperature: 1.0, floor: f32::NEG_INFINITY };
        let log_sum = plain.sum(logits).ln();
        let logprob = |logit: f32| (f64::from(logit) - f64::from(max) - log_sum) as f32;
        vector::top(logits, count, &mut self.candidates);
        let top = self.candidates.iter().map(|&(logit, id)| (id, logprob(logit))).collect();
        Ok(TokenLogprobs { logprob: logprob(logits[id as usize]), top })
    }
}

fn change_logit(logits: &mut [f32], choice: &Choice, change: &Change) {
    let Some(logit) = logits.get_mut(change.id as usize) else { return };
    if change.bias == f32::NEG_INFINITY {
        *logit = change.bias;
        return;
    }
    *logit += change.bias;
    let Some(count) = change.count else { return };
    let penalty = choice.repetition_penalty;
    *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
    if count > 0 {
        *logit -= choice.frequency_penalty * count as f32 + choice.presence_penalty;
    }
}

fn find_max(logits: &[f32]) -> Result<(usize, f32), SampleError> {
    match vector::argmax(logits) {
        Some((_, f32::NEG_INFINITY)) => Err(SampleError::NothingAllowed),
        Some((_, f32::INFINITY)) | None => Err(SampleError::NotFinite),
        Some(found) => Ok(found),
    }
}

/// The shortest run of the best candidates whose weights reach `target`, and at least one; all if
/// they do not reach it.
fn nucleus(candidates: &mut [(f32, u32)], weighting: Weighting, target: f64) -> &mut [(f32, u32)] {
    let mut sum = 0.0;
    let reached = candidates.iter().position(|&(logit, _)| {
        sum += weighting.weight(logit);
        sum >= target
    });
    let count = reached.map_or(candidates.len(), |index| index + 1);
    &mut candidates[..count]
}

/// Draws one of these, in the order of their ids.
fn draw_few(candidates: &mut [(f32, u32)], weighting: Weighting, random: f64) -> Option<u32> {
    candidates.sort_unstable_by_key(|&(_, id)| id);
    draw(candidates, weighting, random)
}

/// The candidate at which the running sum of weights passes `random` of their total.
fn draw(candidates: &[(f32, u32)], weighting: Weighting, random: f64) -> Option<u32> {
    let target = random * weighting.sum_of(candidates);
    let mut sum = 0.0;
    let passed = candidates.iter().find(|&&(logit, _)| {
        sum += weighting.weight(logit);
        sum > target
    });
    passed.map(|&(_, id)| id)
}
