//! The sampler of GPUs against the host's: the same logits, parameters and random numbers give the
//! same token, or the same error, and the same log probabilities. Without the feature `cuda` it
//! runs on the emulator, threads taking turns in either order; with it on the GPU.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernels::cuda::{
    Buffer, CHOSEN_WORDS, Change, Choice, Choices, Chosen, Gpu, NO_LOGPROBS, NO_MASK, NOT_COUNTED,
    NoToken, Order, Sample,
};
use mizan::engine::sampler::{SampleError, Sampler, SamplerState, uniform};
use mizan::engine::{SamplingParams, TokenLogprobs};

use crate::support::gpu::gpu;
use crate::support::random::Random;

/// A row, and all that its choice depends on.
struct Case {
    logits: Vec<f32>,
    params: SamplingParams,
    stop_ids: Vec<u32>,
    prompt: Vec<u32>,
    output: Vec<u32>,
    mask: Option<Vec<u32>>,
}

/// The changed ids, in any order; each one's biases and counts are one.
fn changes(case: &Case) -> Vec<Change> {
    let Case { params, stop_ids, prompt, output, .. } = case;
    let mut changes = BTreeMap::new();
    let unchanged = |id| Change { id, count: NOT_COUNTED, bias: 0.0 };
    for &(id, bias) in &params.logit_bias {
        changes.entry(id).or_insert_with(|| unchanged(id)).bias = bias;
    }
    if params.ignore_stop_ids || output.len() < params.min_tokens {
        for &id in stop_ids.iter().filter(|id| (**id as usize) < case.logits.len()) {
            changes.entry(id).or_insert_with(|| unchanged(id)).bias = f32::NEG_INFINITY;
        }
    }
    let (repetition, frequency, presence) =
        (params.repetition_penalty, params.frequency_penalty, params.presence_penalty);
    let of_prompt: &[u32] = if repetition == 1.0 { &[] } else { prompt };
    let has_penalties = (repetition, frequency, presence) != (1.0, 0.0, 0.0);
    let of_output: &[u32] = if has_penalties { output } else { &[] };
    let counted = of_prompt.iter().map(|id| (*id, 0)).chain(of_output.iter().map(|id| (*id, 1)));
    for (id, more) in counted {
        let change = changes.entry(id).or_insert_with(|| unchanged(id));
        change.count = if change.count == NOT_COUNTED { more } else { change.count + more };
    }
    changes.into_values().collect()
}

/// Each row's token and log probabilities by the kernel.
fn on_gpu(gpu: &dyn Gpu, cases: &[Case]) -> Vec<Result<(u32, Option<TokenLogprobs>), NoToken>> {
    let vocab = cases[0].logits.len();
    let (mut logits, mut choices, mut all_changes, mut masks) = (vec![], vec![], vec![], vec![]);
    // The last row first: choices have an order of their own.
    for (row, case) in cases.iter().enumerate().rev() {
        let (params, changes) = (&case.params, changes(case));
        choices.push(Choice {
            random: uniform(params.seed, case.output.len() as u64),
            row: row as u32,
            temperature: params.temperature,
            top_k: params.top_k as u32,
            top_p: params.top_p,
            floor: params.min_p.ln(),
            repetition_penalty: params.repetition_penalty,
            frequency_penalty: params.frequency_penalty,
            presence_penalty: params.presence_penalty,
            first_change: all_changes.len() as u32,
            num_changes: changes.len() as u32,
            mask: case.mask.as_ref().map_or(NO_MASK, |_| (masks.len() / vocab.div_ceil(32)) as u32),
            num_top: params.top_logprobs.map_or(NO_LOGPROBS, |count| count as u32),
        });
        all_changes.extend(changes);
        masks.extend(case.mask.iter().flatten());
    }
    cases.iter().for_each(|case| logits.extend(&case.logits));
    let mut logits = Buffer::from_slice(gpu, &logits).expect("memory");
    let choices = Buffer::from_slice(gpu, &choices).expect("memory");
    let mut changes = Buffer::from_slice(gpu, &all_changes).expect("memory");
    let masks = Buffer::from_slice(gpu, &masks).expect("memory");
    let mut chosen = Buffer::zeros(gpu, cases.len() * CHOSEN_WORDS).expect("memory");
    Sample {
        logits: logits.view_mut(),
        vocab,
        // SAFETY: each choice has its own row, changes and mask, listed above; ids are below
        // `vocab`, and once among the changes of a choice.
        choices: unsafe {
            let changes = changes.view_mut();
            Choices::new(choices.view(), changes, masks.view(), [cases.len(), vocab])
        },
        chosen: chosen.view_mut(),
    }
    .run(gpu)
    .expect("a launch");
    let mut words = vec![0; chosen.len()];
    chosen.read(gpu, 0, &mut words).expect("it has run");
    let chosen = words.chunks(CHOSEN_WORDS).map(Chosen::new).rev();
    let tokens = cases.iter().zip(chosen).map(|(case, chosen)| {
        let logprobs = |_| TokenLogprobs { logprob: chosen.logprob(), top: chosen.top().collect() };
        Ok((chosen.token()?, case.params.top_logprobs.map(logprobs)))
    });
    tokens.collect()
}

fn on_host(case: &Case) -> Result<(u32, Option<TokenLogprobs>), NoToken> {
    let stop_ids = Arc::from(&*case.stop_ids);
    let mut state = SamplerState::new(case.params.clone(), stop_ids, &case.prompt);
    case.output.iter().for_each(|&id| state.push(id));
    state.set_mask(case.mask.clone());
    let token = Sampler::default().sample(&case.logits, &state).map_err(|error| match error {
        SampleError::NotFinite => NoToken::NotFinite,
        SampleError::NothingAllowed => NoToken::NothingAllowed,
    })?;
    Ok((token.id, token.logprobs))
}

/// Logarithms are not rounded alike everywhere: a unit in the last place of an f32.
fn is_near(found: f32, right: f32) -> bool {
    (found - right).abs() <= 1e-6 + 2e-7 * right.abs()
}

fn are_near(found: &TokenLogprobs, right: &TokenLogprobs) -> bool {
    let mut top = found.top.iter().zip(&right.top);
    found.top.len() == right.top.len()
        && is_near(found.logprob, right.logprob)
        && top.all(|(a, b)| a.0 == b.0 && is_near(a.1, b.1))
}

/// Cases that the kernel and the host decide alike; returns what they decided.
#[track_caller]
fn check(cases: &[Case]) -> Vec<Result<u32, NoToken>> {
    let right: Vec<_> = cases.iter().map(on_host).collect();
    for gpu in gpus() {
        for ((found, right), case) in on_gpu(&*gpu, cases).iter().zip(&right).zip(cases) {
            let (tokens, logprobs) = match (found, right) {
                (Ok((found, of_found)), Ok((right, of_right))) => {
                    ((Ok(*found), Ok(*right)), of_found.as_ref().zip(of_right.as_ref()))
                }
                (found, right) => ((found.clone().map(|x| x.0), right.clone().map(|x| x.0)), None),
            };
            let told = || format!("{:?}, {:?} ids", case.params, case.logits.len());
            assert_eq!(tokens.0, tokens.1, "another token: {}", told());
            if let Some((found, right)) = logprobs {
                assert!(are_near(found, right), "{found:?} is not {right:?}: {}", told());
            }
        }
    }
    right.into_iter().map(|right| right.map(|(token, _)| token)).collect()
}

fn gpus() -> Vec<Box<dyn Gpu>> {
    vec![gpu(Order::Forwards), gpu(Order::Backwards)]
}

fn ids(random: &mut Random, vocab: usize, most: usize) -> Vec<u32> {
    (0..random.below(most + 1)).map(|_| random.below(vocab) as u32).collect()
}

/// A row of one of ten kinds.
fn logits(random: &mut Random, vocab: usize, kind: u64) -> Vec<f32> {
    let bell = |random: &mut Random| (0..4).map(|_| random.within(0.5)).sum::<f32>();
    let mut row: Vec<f32> = (0..vocab).map(|_| 6.0 * bell(random)).collect();
    let some = random.below(vocab);
    match kind {
        0 => row[some] += 5.0,
        1 => row.iter_mut().for_each(|logit| *logit *= 1e-3),
        2 => row.fill(-3.5),
        // Ties, and zeros of both signs.
        3 => row.iter_mut().for_each(|logit| *logit = (*logit / 2.0).round()),
        4 => row[some] = 40.0,
        5 => row.iter_mut().filter(|x| **x < 1.0).for_each(|logit| *logit = f32::NEG_INFINITY),
        // Only of some threads, and many of each.
        6 => {
            let of_others = row.iter_mut().zip(0..).filter(|(_, id)| id % 1024 >= 400);
            of_others.for_each(|(logit, _)| *logit = f32::NEG_INFINITY);
        }
        7 => row.iter_mut().for_each(|logit| *logit *= 1e37),
        8 => row[some] = random.pick(&[f32::NAN, f32::INFINITY, -f32::NAN]),
        _ => row.iter_mut().for_each(|logit| *logit -= 1e4),
    }
    row
}

fn random_case(random: &mut Random, vocab: usize, kind: u64) -> Case {
    let logits = logits(random, vocab, kind);
    let mut biased = BTreeSet::new();
    let mut logit_bias = vec![];
    if random.below(3) == 0 {
        for id in ids(random, vocab, 20).into_iter().filter(|id| biased.insert(*id)) {
            logit_bias.push((id, random.pick(&[-100.0, -1.0, 0.3, 2.0, 100.0])));
        }
    }
    let has_penalties = random.below(3) == 0;
    let penalty = |random: &mut Random, values: &[f32], none: f32| {
        if has_penalties { random.pick(values) } else { none }
    };
    let half = vocab / 2;
    let params = SamplingParams {
        temperature: random.pick(&[0.0, 0.3, 0.7, 1.0, 1.0, 1.3, 20.0, f32::MAX, 1e-38]),
        top_k: random.pick(&[0, 0, 0, 1, 2, 40, 511, 512, 513, half, vocab - 1, vocab]),
        top_p: random.pick(&[1.0, 1.0, 0.0, 0.1, 0.5, 0.9, 0.95, 0.999, 0.999_999_9]),
        min_p: random.pick(&[0.0, 0.0, 0.0, 0.02, 0.5, 1.0]),
        repetition_penalty: penalty(random, &[1.0, 1.1, 0.7, 3.0], 1.0),
        frequency_penalty: penalty(random, &[0.0, 0.3, -1.7], 0.0),
        presence_penalty: penalty(random, &[0.0, 0.7, -0.1], 0.0),
        seed: random.next(),
        logit_bias,
        top_logprobs: random.pick(&[None, None, Some(0), Some(1), Some(20), Some(32)]),
        ignore_stop_ids: random.below(4) == 0,
        min_tokens: random.below(20),
        ..SamplingParams::default()
    };
    let mask = (random.below(3) == 0).then(|| {
        let is_sparse = random.below(2) == 0;
        let mut word = || {
            let bits = random.next() as u32;
            if is_sparse { 1u32.checked_shl(bits % 40).unwrap_or(0) } else { bits }
        };
        (0..vocab.div_ceil(32)).map(|_| word()).collect()
    });
    let [prompt, output] = [2000, 30].map(|most| ids(random, vocab, most));
    // One of them is no id.
    let stop_ids = [ids(random, vocab, 3), vec![vocab as u32 + 7]].concat();
    Case { logits, params, stop_ids, prompt, output, mask }
}

#[test]
fn a_gpu_chooses_what_the_host_chooses() {
    let mut random = Random(41);
    for (vocab, count) in [(1, 6), (2, 6), (33, 20), (700, 40), (1024, 20), (5003, 60)] {
        let cases: Vec<Case> =
            (0..count).map(|nth| random_case(&mut random, vocab, nth % 10)).collect();
        let decided = check(&cases);
        // Not because nothing could be chosen.
        let chosen: BTreeSet<u32> = decided.iter().filter_map(|token| token.ok()).collect();
        assert!(vocab < 700 || chosen.len() > count as usize / 3, "{decided:?}");
    }
}

/// Ids beyond what is listed at once, where the sums are over thousands: wherever a draw falls.
#[test]
fn large_nuclei_are_drawn_from_alike() {
    let mut random = Random(42);
    let vocab = 9001;
    let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    let mut cases = vec![];
    for (top_k, top_p) in [(0, 1.0), (0, 0.6), (0, 0.97), (3000, 1.0), (3000, 0.7), (8999, 0.999)] {
        for kind in [1, 2, 3, 9] {
            let logits = logits(&mut random, vocab, kind);
            let params = SamplingParams { top_k, top_p, seed: random.next(), ..params.clone() };
            cases.push(plain(logits, params));
        }
    }
    let chosen: BTreeSet<_> = check(&cases).into_iter().map(Result::unwrap).collect();
    assert!(chosen.len() > 20, "{chosen:?}");
}

fn plain(logits: Vec<f32>, params: SamplingParams) -> Case {
    let (stop_ids, prompt, output) = (vec![], vec![], vec![]);
    Case { logits, params, stop_ids, prompt, output, mask: None }
}

/// Draws so near to the edge between two ids that a weight's last bit decides.
#[test]
fn weights_are_equal_to_the_last_bit() {
    let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    let mut cases = vec![];
    for seed in (0..200).filter(|seed| (0.1..0.5).contains(&uniform(*seed, 0))) {
        let random = uniform(seed, 0);
        // The first of the two has this share of the weight; the other one's is 1.
        let edge = (random / (1.0 - random)).ln() as f32;
        for logit in [edge.next_down(), edge, edge.next_up()] {
            cases.push(plain(vec![logit, 0.0], SamplingParams { seed, ..params.clone() }));
        }
    }
    let firsts = check(&cases).into_iter().filter(|token| *token == Ok(0)).count();
    assert!(cases.len() / 4 < firsts && firsts < cases.len() / 4 * 3, "{firsts} on one side");
}

/// The highest of two that are one, if both are rounded alike: the first.
#[test]
fn changed_logits_are_equal_to_the_last_bit() {
    let mut random = Random(43);
    let mut cases = vec![];
    for _ in 0..60 {
        let [logit, bias, frequency, presence] = [9.0; 4].map(|bound| random.within(bound));
        let params = SamplingParams {
            repetition_penalty: 1.1,
            frequency_penalty: frequency,
            presence_penalty: presence,
            ..SamplingParams::default()
        };
        let biased = logit + bias;
        let repeated = if biased > 0.0 { biased / 1.1 } else { biased * 1.1 };
        let changed = repeated - (frequency * 3.0 + presence);
        for (id, logits) in [(0, vec![logit, changed]), (1, vec![changed, logit])] {
            let params = SamplingParams { logit_bias: vec![(id, bias)], ..params.clone() };
            let output = vec![id; 3];
            cases.push(Case { output, ..plain(logits, params) });
        }
    }
    assert!(check(&cases).into_iter().all(|token| token == Ok(0)));
}
