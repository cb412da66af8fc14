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

use super::request::{SampledToken, SamplingParams, TokenLogprobs};
use vector::Weighting;

pub use random::uniform;

/// Candidates that are put in order; more are only told apart, in linear time.
const FEW: usize = 512;

/// What one sequence's next choice depends on besides the logits.
#[derive(Debug)]
pub struct SamplerState {
    params: SamplingParams,
    stop_ids: Arc<[u32]>,
    /// How often each id is in the output; 0: only in the prompt. Empty without penalties.
    counts: HashMap<u32, u32>,
    num_sampled: usize,
    /// The ids that may be sampled next, a bit for each; all without one.
    mask: Option<Vec<u32>>,
}

impl SamplerState {
    /// For a sequence that starts with `prompt`.
    pub fn new(params: SamplingParams, stop_ids: Arc<[u32]>, prompt: &[u32]) -> Self {
        let needs_prompt = params.repetition_penalty != 1.0;
        let counts = if needs_prompt { prompt } else { &[] };
        let counts = counts.iter().map(|&id| (id, 0)).collect();
        Self { params, stop_ids, counts, num_sampled: 0, mask: None }
    }

    /// Notes an id that was sampled and emitted.
    pub fn push(&mut self, id: u32) {
        self.num_sampled += 1;
        if self.params.has_penalties() {
            *self.counts.entry(id).or_insert(0) += 1;
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

    pub(super) fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    pub(super) fn masks_stop_ids(&self) -> bool {
        self.params.ignore_stop_ids || self.num_sampled < self.params.min_tokens
    }

    fn changes_logits(&self) -> bool {
        let Self { params, stop_ids, mask, .. } = self;
        mask.is_some()
            || (self.masks_stop_ids() && !stop_ids.is_empty())
            || !params.logit_bias.is_empty()
            || params.has_penalties()
    }

    fn change(&self, logits: &mut [f32]) {
        let Self { params, stop_ids, counts, mask, .. } = self;
        if self.masks_stop_ids() {
            for &id in stop_ids.iter() {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        for &(id, bias) in &params.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
        for (&id, &count) in counts {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            let penalty = params.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            if count > 0 {
                *logit -= params.frequency_penalty * count as f32 + params.presence_penalty;
            }
        }
        // Last, so that nothing above makes an id possible again.
        if let Some(mask) = mask {
            vector::keep(mask, logits);
        }
    }
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

/// Chooses tokens; holds the buffers for it.
#[derive(Debug, Default)]
pub struct Sampler {
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
        let mut changed = std::mem::take(&mut self.changed);
        let id = if state.changes_logits() {
            changed.clear();
            changed.extend_from_slice(logits);
            state.change(&mut changed);
            self.choose(&changed, state)
        } else {
            self.choose(logits, state)
        };
        self.changed = changed;
        let id = id?;
        let logprobs = match state.params.top_logprobs {
            Some(count) => Some(self.logprobs(logits, id, count)?),
            None => None,
        };
        Ok(SampledToken { id, logprobs })
    }

    fn choose(&mut self, logits: &[f32], state: &SamplerState) -> Result<u32, SampleError> {
        let params = &state.params;
        let (best, max) = find_max(logits)?;
        if params.temperature == 0.0 || params.top_k == 1 {
            return Ok(best as u32);
        }
        // p >= min_p * p_max, as exponents: (logit - max) / temperature >= ln(min_p).
        let floor = params.min_p.ln();
        let weighting = Weighting { max, temperature: params.temperature, floor };
        let random = uniform(params.seed, state.num_sampled as u64);
        let limited = params.top_k > 0 && params.top_k < logits.len();
        let top_p = f64::from(params.top_p);
        let candidates = &mut self.candidates;
        let chosen = if limited && params.top_k <= FEW {
            vector::top(logits, params.top_k, candidates);
            let target = top_p * weighting.sum_of(candidates);
            draw_few(nucleus(candidates, weighting, target), weighting, random)
        } else if limited {
            vector::select_top(logits, params.top_k, candidates);
            let target = top_p * weighting.sum_of(candidates);
            weighting.reach(target, candidates);
            vector::put_in_order(logits, candidates);
            draw(candidates, weighting, random)
        } else if params.top_p < 1.0 {
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
