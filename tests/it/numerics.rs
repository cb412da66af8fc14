//! The forward pass on the real files, against what llama.cpp computes from the same files.
//!
//! The figures in `tests/data/greedy` and `tests/data/kld` were recorded by
//! `tests/data/record_greedy.py`, whose docstring describes the formats. All three files hold 4-bit
//! weights, whose activations both sides quantize to 8 bits in their own way, so logits differ by
//! rounding: a wrong rope, mask, norm or block layout is orders of magnitude outside these bounds.
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

use std::path::PathBuf;
use std::sync::Arc;

use mizan::model::executor::ExecutorLimits;
use mizan::model::executor::cpu::CpuExecutor;
use mizan::model::{BLOCK_SIZE, BatchSequence, Decoder, DecoderShape, ForwardBatch, Model};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::support::{self, models};

/// A step may pick another token than llama.cpp if llama.cpp's own logits are this close. Measured:
/// at most 0.30 over 1,855 steps. Both sides round activations to 8 bits, and once one rounding
/// falls the other way, all later ones are independent: either is as far from f32 as from the
/// other.
const NEAR_TIE: f32 = 0.4;
/// Share of positions with the same most likely token. Measured: 0.961 and more.
const MIN_TOP1_AGREEMENT: f64 = 0.95;
/// Absolute difference of the mean negative log-likelihoods: the log of the ratio of perplexities.
/// Measured: at most 0.009 over 511 tokens.
const MAX_LOG_PERPLEXITY_RATIO: f64 = 0.015;

/// Rows in a forward pass: prompts of the fixtures take one to four passes.
const CHUNK: usize = 128;
const NUM_BLOCKS: usize = 40;
/// In a record of `kld/*.bin`, `-log(p)` is an integer in units of one over this.
const NLL_UNITS: f64 = 2048.0;

#[derive(Deserialize)]
struct GreedyFixture {
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    name: String,
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
    /// For each id of `ids`, llama.cpp's best candidates with their logits, best first.
    steps: Vec<Vec<(u32, f32)>>,
}

#[derive(Deserialize)]
struct KldFixture {
    positions: usize,
    top: usize,
    ids: Vec<u32>,
    nll: Vec<f64>,
}

#[test]
fn smollm2_matches_llama_cpp() {
    check("smollm2-135m-instruct", 5e-3); // Measured: 3.6e-3
}

#[test]
fn gemma_3_matches_llama_cpp() {
    check("gemma-3-270m", 2.5e-2); // Measured: 1.75e-2
}

#[test]
fn qwen2_5_coder_matches_llama_cpp() {
    check("qwen2.5-coder-0.5b-instruct", 2e-3); // Measured: 1.1e-3
}

/// `max_mean_kld`: mean Kullback-Leibler divergence from llama.cpp's distribution, in nats.
fn check(model: &str, max_mean_kld: f64) {
    let _alone = support::all_cores();
    let mut runner = Runner::open(model);
    let distributions = std::fs::read(data(&format!("kld/{model}.bin"))).unwrap();
    check_kld(&mut runner, &fixture(&format!("kld/{model}.json")), &distributions, max_mean_kld);
    check_greedy(&mut runner, &fixture(&format!("greedy/{model}.json")));
}

/// Feeds llama.cpp's own continuation, so that one near-tie does not hide what follows it, and
/// compares the choice at every step. Then generates freely, which must take the same path.
fn check_greedy(runner: &mut Runner, fixture: &GreedyFixture) {
    let (mut steps, mut equal, mut widest) = (0, 0, 0.0_f32);
    for prompt in &fixture.prompts {
        let given = [&prompt.prompt_ids[..], &prompt.ids[..prompt.ids.len() - 1]].concat();
        let mut chosen = Vec::new();
        let first_output = prompt.prompt_ids.len() - 1;
        runner.forward_all(&given, first_output, |_, logits| chosen.push(argmax(logits)));
        assert_eq!(chosen.len(), prompt.steps.len());
        for (step, (&ours, theirs)) in chosen.iter().zip(&prompt.steps).enumerate() {
            let gap = theirs.iter().find(|(id, _)| *id == ours).map(|(_, at)| theirs[0].1 - at);
            let (name, prompt) = (&runner.name, &prompt.name);
            let gap = gap.unwrap_or_else(|| {
                panic!("{name}, `{prompt}` step {step}: {ours} is not among {theirs:?}")
            });
            assert!(
                gap < NEAR_TIE,
                "{name}, `{prompt}` step {step}: {ours} is {gap} behind in {theirs:?}"
            );
            steps += 1;
            equal += usize::from(ours == theirs[0].0);
            widest = widest.max(gap);
        }
        let same =
            chosen.iter().zip(&prompt.ids).take_while(|(ours, theirs)| ours == theirs).count();
        let freely = runner.generate(&prompt.prompt_ids, (same + 1).min(chosen.len()));
        assert_eq!(freely, chosen[..freely.len()], "{}, `{}` generated", runner.name, prompt.name);
    }
    let agreement = equal as f64 / steps as f64;
    println!("{}: {equal} of {steps} greedy steps equal, widest gap {widest:.3}", runner.name);
    assert!(agreement >= MIN_TOP1_AGREEMENT, "{}: {equal} of {steps} steps equal", runner.name);
}

/// Compares the distributions over one text.
///
/// Only llama.cpp's best candidates are recorded; the rest of the vocabulary counts as one event,
/// which can only lower the divergence, by little: the recorded ones hold nearly all probability.
fn check_kld(runner: &mut Runner, fixture: &KldFixture, distributions: &[u8], max_mean_kld: f64) {
    assert_eq!(distributions.len(), fixture.positions * fixture.top * 6);
    let mut records = distributions.chunks_exact(fixture.top * 6);
    let (mut kld, mut agreed, mut nll) = (0.0, 0.0, 0.0);
    runner.forward_all(&fixture.ids, 0, |position, logits| {
        let log_sum = log_sum_exp(logits);
        let log_q = |id: u32| f64::from(logits[id as usize]) - log_sum;
        let (ids, probabilities) = records.next().unwrap().split_at(fixture.top * 4);
        let (mut rest_p, mut rest_q) = (1.0, 1.0);
        for (id, negative_log) in ids.chunks_exact(4).zip(probabilities.chunks_exact(2)) {
            let log_q = log_q(u32::from_le_bytes(id.try_into().unwrap()));
            let units = u16::from_le_bytes(negative_log.try_into().unwrap());
            let log_p = -f64::from(units) / NLL_UNITS;
            kld += log_p.exp() * (log_p - log_q);
            rest_p -= log_p.exp();
            rest_q -= log_q.exp();
        }
        if rest_p > 1e-6 && rest_q > 1e-6 {
            kld += rest_p * (rest_p / rest_q).ln();
        }
        let best = u32::from_le_bytes(ids[..4].try_into().unwrap());
        agreed += f64::from(u8::from(argmax(logits) == best));
        if let Some(&next) = fixture.ids.get(position + 1) {
            nll -= log_q(next);
        }
    });
    let mean_kld = kld / fixture.positions as f64;
    let agreement = agreed / fixture.positions as f64;
    let log_ratio = (nll - fixture.nll.iter().sum::<f64>()) / fixture.nll.len() as f64;
    let figures = format!(
        "{}: mean KLD {mean_kld:.6}, top-1 agreement {agreement:.4}, \
         log perplexity ratio {log_ratio:.5}",
        runner.name
    );
    println!("{figures}");
    assert!(mean_kld.abs() <= max_mean_kld, "{figures}");
    assert!(agreement >= MIN_TOP1_AGREEMENT, "{figures}");
    assert!(log_ratio.abs() <= MAX_LOG_PERPLEXITY_RATIO, "{figures}");
}

/// A decoder with one sequence in it.
struct Runner {
    name: String,
    decoder: Decoder,
    batch: ForwardBatch,
}

impl Runner {
    fn open(name: &str) -> Self {
        let model = Arc::new(Model::open(&models::path(name)).unwrap());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let limits = ExecutorLimits {
            max_tokens: CHUNK,
            max_outputs: CHUNK,
            num_blocks: NUM_BLOCKS,
            threads,
        };
        let shape = DecoderShape::new(&model.config, &limits);
        let executor = CpuExecutor::new(model, limits).unwrap();
        let decoder = Decoder::new(Box::new(executor), shape);
        Self { name: name.to_owned(), decoder, batch: ForwardBatch::default() }
    }

    /// Runs `tokens` at positions `start..`; logits of those from position `first_output` on.
    fn forward(&mut self, tokens: &[u32], start: usize, first_output: usize) -> &[f32] {
        let end = start + tokens.len();
        let batch = &mut self.batch;
        batch.clear();
        // Blocks in falling order: nothing may depend on a sequence lying in one piece.
        let table = (0..NUM_BLOCKS as u32).rev().take(end.div_ceil(BLOCK_SIZE));
        batch.block_tables.extend(table);
        for (row, &token) in tokens.iter().enumerate() {
            let position = start + row;
            let block = batch.block_tables[position / BLOCK_SIZE] as usize;
            batch.tokens.push(token);
            batch.positions.push(position as u32);
            batch.slots.push((block * BLOCK_SIZE + position % BLOCK_SIZE) as u32);
            if position >= first_output {
                batch.outputs.push(row as u32);
            }
        }
        batch.sequences.push(BatchSequence {
            rows: 0..tokens.len() as u32,
            blocks: 0..batch.block_tables.len() as u32,
            context_len: end as u32,
        });
        self.decoder.forward(&self.batch).unwrap()
    }

    /// Runs a whole sequence in chunks; `each` gets the position and its logits, from `first` on.
    fn forward_all(&mut self, tokens: &[u32], first: usize, mut each: impl FnMut(usize, &[f32])) {
        let vocab_size = self.decoder.shape().vocab_size;
        for (index, chunk) in tokens.chunks(CHUNK).enumerate() {
            let start = index * CHUNK;
            let logits = self.forward(chunk, start, first);
            for (row, logits) in logits.chunks_exact(vocab_size).enumerate() {
                each(start.max(first) + row, logits);
            }
        }
    }

    /// Continues `prompt` greedily, one token a step.
    fn generate(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut ids = Vec::with_capacity(count);
        self.forward_all(prompt, prompt.len() - 1, |_, logits| ids.push(argmax(logits)));
        while ids.len() < count {
            let position = prompt.len() + ids.len() - 1;
            let newest = ids[ids.len() - 1];
            ids.push(argmax(self.forward(&[newest], position, position)));
        }
        ids
    }
}

/// The id of the highest logit, the lowest id among equals.
fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let peak = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    peak + logits.iter().map(|&logit| (f64::from(logit) - peak).exp()).sum::<f64>().ln()
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn fixture<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(data(name)).unwrap()).unwrap()
}
