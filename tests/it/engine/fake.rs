//! A model whose keys and values are token ids.
//!
//! It writes what it knows of each row into the row's slot and reads all slots up to the row's
//! position back through the block table, in two layers: the second one's values depend on all that
//! was read in the first. Its logits are a hash of what it read at last. So any fault in blocks,
//! chunks, preemption or prefix cache is a wrong token, in microseconds, without weights.

use std::sync::Arc;

use mizan::engine::sampler::{Sampler, SamplerState};
use mizan::engine::{
    Allowed, EmbeddingRequest, Engine, EngineCore, EngineOptions, Event, FinishReason, Pooling,
    Progress, SPECULATIVE_ROWS, SampledToken, SamplingParams, SequenceRequest, SequenceStream,
    TokenLogprobs,
};
use mizan::model::{
    BLOCK_SIZE, Decoder, DecoderShape, Executor, ForwardBatch, ModelError, Outputs,
};

use crate::support::beside::Beside;
use crate::support::weightless::{slot, steps_of_weights};

pub(super) const VOCAB: usize = 61;
pub(super) const MAX_CONTEXT: usize = 4096;
const NUM_LAYERS: usize = 2;
const HIDDEN_SIZE: usize = 3;
const MAX_OUTPUTS: usize = 64;
/// A batch with this id fails, or panics.
pub(super) const FAILS: u32 = 59;
pub(super) const PANICS: u32 = 60;

#[derive(Debug)]
struct FakeExecutor {
    /// For each layer and slot: the position it was written for, and what.
    slots: Vec<Vec<(u32, u64)>>,
    hidden: Vec<u64>,
    logits: Vec<f32>,
    vectors: Vec<f32>,
}

/// A decoder of the fake model with this many blocks.
pub(super) fn decoder(num_blocks: usize) -> Decoder {
    decoder_with(num_blocks, MAX_OUTPUTS)
}

/// The same, of whose rows at most so many have logits in a step.
fn decoder_with(num_blocks: usize, max_outputs: usize) -> Decoder {
    Decoder::new(Box::new(executor(num_blocks)), shape(num_blocks, max_outputs))
}

fn executor(num_blocks: usize) -> FakeExecutor {
    let slots = vec![vec![(u32::MAX, 0); num_blocks * BLOCK_SIZE]; NUM_LAYERS];
    FakeExecutor { slots, hidden: Vec::new(), logits: Vec::new(), vectors: Vec::new() }
}

fn shape(num_blocks: usize, max_outputs: usize) -> DecoderShape {
    DecoderShape {
        num_layers: NUM_LAYERS,
        vocab_size: VOCAB,
        hidden_size: HIDDEN_SIZE,
        num_blocks,
        max_tokens: 4096,
        max_outputs,
        max_context: MAX_CONTEXT,
    }
}

/// Plenty of everything; a test takes away what it is about.
pub(super) fn options(num_blocks: usize) -> EngineOptions {
    EngineOptions {
        max_batch: 8,
        max_step_tokens: 64,
        max_waiting: 1000,
        num_blocks,
        prefix_cache: true,
        speculative_rows: SPECULATIVE_ROWS,
        name: "test".to_owned(),
    }
}

pub(super) fn start(options: EngineOptions) -> Engine {
    Engine::start(decoder(options.num_blocks), options).expect("a thread")
}

pub(super) fn by_hand(options: EngineOptions) -> (Engine, EngineCore) {
    Engine::without_thread(decoder(options.num_blocks), options)
}

/// The same with a bound on the rows that have logits in a step.
pub(super) fn by_hand_with(options: EngineOptions, max_outputs: usize) -> (Engine, EngineCore) {
    Engine::without_thread(decoder_with(options.num_blocks, max_outputs), options)
}

/// The same of a model that chooses its tokens itself, beside the engine.
pub(super) fn by_hand_beside(options: EngineOptions, max_outputs: usize) -> (Engine, EngineCore) {
    let executor = Beside::new(executor(options.num_blocks), VOCAB);
    let shape = shape(options.num_blocks, max_outputs);
    Engine::without_thread(Decoder::new(Box::new(executor), shape), options)
}

/// A greedy request in lane 0.
pub(super) fn request(prompt: Vec<u32>, max_tokens: usize) -> SequenceRequest {
    SequenceRequest {
        lane: 0,
        prompt,
        max_tokens,
        stop_ids: Arc::new([]),
        sampling: SamplingParams::default(),
        constraint: None,
    }
}

/// A prompt that has no block in common with another number's.
pub(super) fn prompt(number: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (number * 7 + i * (number + 1)) % 53).collect()
}

/// Greedy, and only these ids: the fewer they are, the more the output repeats itself.
pub(super) fn only(ids: &[u32]) -> SamplingParams {
    let logit_bias = ids.iter().map(|&id| (id, 80.0)).collect();
    SamplingParams { logit_bias, ..SamplingParams::default() }
}

/// What the request must yield, as a plain function of its ids.
pub(super) fn expected(request: &SequenceRequest) -> (Vec<SampledToken>, FinishReason) {
    let SequenceRequest { prompt, max_tokens, stop_ids, sampling, .. } = request;
    let mut state = SamplerState::new(sampling.clone(), Arc::clone(stop_ids), prompt);
    let mut sampler = Sampler::default();
    let mut constraint = request.constraint.clone();
    let (mut ids, mut tokens) = (prompt.clone(), Vec::new());
    while tokens.len() < *max_tokens {
        if let Some(constraint) = &mut constraint {
            let allowed = constraint.allowed().expect("a constraint that works");
            match mask(&allowed, request, tokens.len()) {
                Some(mask) => state.set_mask(Some(mask)),
                None => return (tokens, FinishReason::Stop),
            }
        }
        let token = sampler.sample(&logits_after(&ids), &state).expect("finite logits");
        if state.is_stop(token.id) {
            return (tokens, FinishReason::Stop);
        }
        state.push(token.id);
        ids.push(token.id);
        let progress = constraint.as_mut().map(|constraint| constraint.accept(token.id));
        tokens.push(token);
        if progress == Some(Ok(Progress::Complete)) {
            return (tokens, FinishReason::Stop);
        }
    }
    (tokens, FinishReason::Length)
}

/// The ids that may come after `num_sampled`; `None`: the end. Stop ids may where the end may.
fn mask(allowed: &Allowed, request: &SequenceRequest, num_sampled: usize) -> Option<Vec<u32>> {
    let SequenceRequest { stop_ids, sampling, .. } = request;
    let is_stop = |id: u32| stop_ids.contains(&id);
    let may_stop =
        allowed.may_end && !sampling.ignore_stop_ids && num_sampled >= sampling.min_tokens;
    let is_said = |id: u32| allowed.ids[id as usize / 32] >> (id % 32) & 1 == 1 && !is_stop(id);
    if !(0..VOCAB as u32).any(is_said) {
        return None;
    }
    let mut mask = vec![0; VOCAB.div_ceil(32)];
    for id in (0..VOCAB as u32).filter(|&id| is_said(id) || (may_stop && is_stop(id))) {
        mask[id as usize / 32] |= 1 << (id % 32);
    }
    Some(mask)
}

/// All that is left in a stream; panics if it does not end.
pub(super) fn read_all(stream: &mut SequenceStream) -> (Vec<SampledToken>, FinishReason) {
    let mut tokens = Vec::new();
    loop {
        let event = stream.blocking_next().expect("a stream ends with `Finished`");
        match event {
            Event::Token(token) => tokens.push(token),
            Event::Prompt(_) | Event::Vector(_) => panic!("nobody asked for {event:?}"),
            Event::Finished(reason) => {
                assert_eq!(stream.blocking_next(), None);
                return (tokens, reason);
            }
        }
    }
}

pub(super) fn logits_after(ids: &[u32]) -> Vec<f32> {
    logits(*values(ids).last().expect("ids")).collect()
}

/// What a request for the prompt's log probabilities must yield before any token.
pub(super) fn expected_scores(prompt: &[u32], num_top: usize) -> Vec<TokenLogprobs> {
    let mut sampler = Sampler::default();
    let score = |(value, id): (&u64, &u32)| {
        let logits: Vec<f32> = logits(*value).collect();
        sampler.logprobs(&logits, *id, num_top).expect("finite logits")
    };
    values(prompt).iter().zip(&prompt[1..]).map(score).collect()
}

/// The vector that a request must yield.
pub(super) fn expected_vector(request: &EmbeddingRequest) -> Vec<f32> {
    let values = values(&request.prompt);
    let wanted = match request.pooling {
        Pooling::Mean => &values[..],
        Pooling::First => &values[..1],
        Pooling::Last => &values[values.len() - 1..],
    };
    let mean = |at: usize| {
        let sum: f64 = wanted.iter().map(|value| f64::from(vector(*value)[at])).sum();
        (sum / wanted.len() as f64) as f32
    };
    (0..HIDDEN_SIZE).map(mean).collect()
}

/// What the model has read after each id.
fn values(ids: &[u32]) -> Vec<u64> {
    let mut values: Vec<u64> = ids.iter().map(|&id| u64::from(id)).collect();
    for layer in 0..NUM_LAYERS {
        let mut read = START;
        for value in &mut values {
            read = fold(read, *value);
            *value = read ^ layer as u64;
        }
    }
    values
}

/// The hidden state of a row that has read this.
fn vector(value: u64) -> [f32; HIDDEN_SIZE] {
    [2, 3, 4].map(|salt| (fold(value, salt) >> 40) as f32 / (1 << 23) as f32 - 1.0)
}

const START: u64 = 0x6d69_7a61_6e00;

fn fold(hash: u64, value: u64) -> u64 {
    let mixed = (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}

fn logits(hash: u64) -> impl Iterator<Item = f32> {
    (0..VOCAB as u64).map(move |id| {
        let random = fold(fold(hash, id), 1) >> 40;
        // The two ids that break the model are never predicted.
        if id >= u64::from(FAILS) { -100.0 } else { random as f32 / (1 << 24) as f32 * 9.0 }
    })
}

impl Executor for FakeExecutor {
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        assert!(!batch.tokens.contains(&PANICS), "this is a test of panics");
        if batch.tokens.contains(&FAILS) {
            return Err(ModelError::Executor("this is a test of errors".to_owned()));
        }
        self.hidden.clear();
        self.hidden.extend(batch.tokens.iter().map(|&id| u64::from(id)));
        Ok(())
    }

    fn norm_qkv(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        for (row, &slot) in batch.slots.iter().enumerate() {
            self.slots[layer][slot as usize] = (batch.positions[row], self.hidden[row]);
        }
        Ok(())
    }

    fn attention(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        for sequence in &batch.sequences {
            for row in sequence.rows.clone() {
                let mut read = START;
                for position in 0..=batch.positions[row as usize] {
                    let slot = slot(batch, sequence, position);
                    let (written_for, value) = self.slots[layer][slot];
                    assert_eq!(written_for, position, "slot {slot} was written for another place");
                    read = fold(read, value);
                }
                self.hidden[row as usize] = read ^ layer as u64;
            }
        }
        Ok(())
    }

    steps_of_weights!();

    fn outputs(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        self.logits.clear();
        for &row in &batch.outputs {
            self.logits.extend(logits(self.hidden[row as usize]));
        }
        self.vectors.clear();
        for &row in &batch.hidden {
            self.vectors.extend(vector(self.hidden[row as usize]));
        }
        Ok(Outputs { logits: &self.logits, hidden: &self.vectors })
    }
}
