//! The sampler against distributions and penalties computed by hand.

use std::sync::Arc;

use mizan::engine::sampler::{SampleError, Sampler, SamplerState, uniform};
use mizan::engine::{SampledToken, SamplingParams};

const NO_STOPS: [u32; 0] = [];

fn greedy() -> SamplingParams {
    SamplingParams::default()
}

fn hot() -> SamplingParams {
    SamplingParams { temperature: 1.0, ..greedy() }
}

fn sample(logits: &[f32], params: SamplingParams) -> Result<SampledToken, SampleError> {
    let state = SamplerState::new(params, Arc::new(NO_STOPS), &[]);
    Sampler::default().sample(logits, &state)
}

/// How often each id is sampled with `num` different seeds.
fn histogram(logits: &[f32], params: &SamplingParams, num: u64) -> Vec<u64> {
    let mut counts = vec![0; logits.len()];
    let mut sampler = Sampler::default();
    for seed in 0..num {
        let params = SamplingParams { seed, ..params.clone() };
        let state = SamplerState::new(params, Arc::new(NO_STOPS), &[]);
        counts[sampler.sample(logits, &state).expect("finite logits").id as usize] += 1;
    }
    counts
}

/// Asserts that the samples could come from `weights` (which need not sum to 1): chi-square below
/// its mean by no more than five standard deviations above, and nothing where the weight is 0.
fn check_distribution(logits: &[f32], params: &SamplingParams, weights: &[f64]) {
    let num = 20_000;
    let counts = histogram(logits, params, num);
    let total: f64 = weights.iter().sum();
    let mut chi_square = 0.0;
    let mut freedom = -1.0;
    for (id, (&count, weight)) in counts.iter().zip(weights).enumerate() {
        let expected = weight / total * num as f64;
        if *weight == 0.0 {
            assert_eq!(count, 0, "id {id} can not be sampled: {counts:?}");
            continue;
        }
        assert!(expected >= 5.0, "too rare for the test: id {id}");
        chi_square += (count as f64 - expected).powi(2) / expected;
        freedom += 1.0;
    }
    let bound = freedom + 5.0 * f64::max(2.0 * freedom, 1.0).sqrt();
    assert!(chi_square <= bound, "chi-square {chi_square} above {bound}: {counts:?}");
}

/// Logits of these probabilities, shifted: only differences matter.
fn logits_of(probabilities: &[f64]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() as f32 + 3.0).collect()
}

const P: [f64; 6] = [0.05, 0.4, 0.1, 0.25, 0.15, 0.05];

#[test]
fn greedy_takes_the_highest_and_of_equals_the_lowest() {
    assert_eq!(sample(&logits_of(&P), greedy()).map(|t| t.id), Ok(1));
    assert_eq!(sample(&[1.0, 2.0, 2.0, 2.0], greedy()).map(|t| t.id), Ok(1));
    assert_eq!(sample(&[f32::NEG_INFINITY, -1e30], greedy()).map(|t| t.id), Ok(1));
    let top_1 = SamplingParams { top_k: 1, ..hot() };
    assert_eq!(histogram(&[1.0, 2.0, 2.0], &top_1, 50), [0, 50, 0]);
}

#[test]
fn samples_follow_the_softmax_of_the_temperature() {
    check_distribution(&logits_of(&P), &hot(), &P);
    let cold = SamplingParams { temperature: 0.5, ..greedy() };
    check_distribution(&logits_of(&P), &cold, &P.map(|p| p * p));
    let hotter = SamplingParams { temperature: 2.0, ..greedy() };
    check_distribution(&logits_of(&P), &hotter, &P.map(f64::sqrt));
}

#[test]
fn one_seed_draws_anew_for_each_token() {
    let mut state = SamplerState::new(hot(), Arc::new(NO_STOPS), &[]);
    let mut sampler = Sampler::default();
    let mut counts = [0u64; 6];
    for _ in 0..6000 {
        let token = sampler.sample(&logits_of(&P), &state).expect("finite logits");
        counts[token.id as usize] += 1;
        state.push(token.id);
    }
    for (count, p) in counts.into_iter().zip(P) {
        assert!((count as f64 - 6000.0 * p).abs() < 200.0, "{counts:?}");
    }
}

#[test]
fn the_way_through_many_ids_is_the_same_distribution() {
    // More than one chunk; a third of it can not be sampled.
    let weights: Vec<f64> = (0..3900).map(|id| [0.0, 1.0, 2.0][id % 3]).collect();
    let logits: Vec<f32> = weights.iter().map(|w| w.ln() as f32).collect();
    let folded = |counts: Vec<u64>| {
        let mut sums = [0; 3];
        counts.iter().enumerate().for_each(|(id, count)| sums[id % 3] += count);
        sums
    };
    for params in [
        hot(),
        SamplingParams { top_p: 0.999_999_9, ..hot() },
        SamplingParams { top_k: 3899, ..hot() },
    ] {
        let [none, once, twice] = folded(histogram(&logits, &params, 9000));
        assert_eq!(none, 0);
        assert!((2800..=3200).contains(&once), "{once} of 9000, {twice} for the other");
    }
    // The nucleus is larger than what is looked at first: half of the weight is in 975 ids.
    let params = SamplingParams { top_p: 0.5, ..hot() };
    let counts = histogram(&logits, &params, 9000);
    let num_kept = counts.iter().filter(|&&count| count > 0).count();
    assert!((970..=976).contains(&num_kept), "{num_kept}");
    assert!(counts.iter().skip(1).step_by(3).all(|&count| count == 0));
    // Of the 1300 best, which are all alike, half.
    let params = SamplingParams { top_k: 1300, top_p: 0.5, ..hot() };
    let counts = histogram(&logits, &params, 9000);
    let num_kept = counts.iter().filter(|&&count| count > 0).count();
    assert!((640..=650).contains(&num_kept), "{num_kept}");
    assert!((0..2).all(|rest| counts.iter().skip(rest).step_by(3).all(|&count| count == 0)));
}

#[test]
fn top_k_keeps_exactly_k() {
    let params = SamplingParams { top_k: 3, ..hot() };
    check_distribution(&logits_of(&P), &params, &[0.0, 0.4, 0.0, 0.25, 0.15, 0.0]);
    // Equal logits: the lowest ids.
    check_distribution(&[0.0; 5], &params, &[1.0, 1.0, 1.0, 0.0, 0.0]);
    for no_limit in [0, 6, 7, usize::MAX] {
        check_distribution(&logits_of(&P), &SamplingParams { top_k: no_limit, ..hot() }, &P);
    }
}

#[test]
fn top_p_keeps_the_id_that_reaches_it() {
    let check = |top_p, kept: [f64; 6]| {
        check_distribution(&logits_of(&P), &SamplingParams { top_p, ..hot() }, &kept);
    };
    check(0.0, [0.0, 0.4, 0.0, 0.0, 0.0, 0.0]);
    check(0.39, [0.0, 0.4, 0.0, 0.0, 0.0, 0.0]);
    check(0.41, [0.0, 0.4, 0.0, 0.25, 0.0, 0.0]);
    check(0.7, [0.0, 0.4, 0.0, 0.25, 0.15, 0.0]);
    check(0.85, [0.0, 0.4, 0.1, 0.25, 0.15, 0.0]);
    check(0.94, [0.05, 0.4, 0.1, 0.25, 0.15, 0.0]);
    check(1.0, P);
    // Of the temperature's distribution: squared, the first has 0.16 of 0.265.
    let params = SamplingParams { top_p: 0.59, temperature: 0.5, ..greedy() };
    check_distribution(&logits_of(&P), &params, &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    // After top_k: of 0.4 and 0.25, the first has 0.615.
    let params = SamplingParams { top_p: 0.61, top_k: 2, ..hot() };
    check_distribution(&logits_of(&P), &params, &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let params = SamplingParams { top_p: 0.62, top_k: 2, ..hot() };
    check_distribution(&logits_of(&P), &params, &[0.0, 0.4, 0.0, 0.25, 0.0, 0.0]);
}

#[test]
fn min_p_is_relative_to_the_most_likely() {
    let kept = [0.0, 0.4, 0.1, 0.25, 0.15, 0.0];
    for params in [
        SamplingParams { min_p: 0.2, ..hot() },
        SamplingParams { min_p: 0.2, top_k: 5, ..hot() },
        SamplingParams { min_p: 0.2, top_p: 0.999, ..hot() },
    ] {
        check_distribution(&logits_of(&P), &params, &kept);
    }
    let only = SamplingParams { min_p: 1.0, ..hot() };
    check_distribution(&[2.0, 1.0, 2.0], &only, &[1.0, 0.0, 1.0]);
    // Before top_p: of 0.4 and 0.25, 0.61 is in the first.
    let params = SamplingParams { min_p: 0.5, top_p: 0.61, ..hot() };
    check_distribution(&logits_of(&P), &params, &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

/// However many ids are kept, and however they were found.
#[test]
fn a_higher_random_number_draws_a_higher_id() {
    // Some twenty different ones, each of many ids.
    let logits: Vec<f32> =
        (0..4000).map(|id| (uniform(5, id) * 20.0).floor() as f32 / 8.0).collect();
    let mut seeds: Vec<u64> = (0..400).collect();
    seeds.sort_by(|a, b| uniform(*a, 0).total_cmp(&uniform(*b, 0)));
    for (top_k, top_p) in
        [(0, 1.0), (300, 1.0), (300, 0.7), (1700, 1.0), (1700, 0.8), (0, 0.1), (0, 0.8)]
    {
        let ids = seeds.iter().map(|&seed| {
            let params = SamplingParams { top_k, top_p, seed, ..hot() };
            sample(&logits, params).expect("finite logits").id
        });
        let ids: Vec<u32> = ids.collect();
        assert!(ids.is_sorted(), "top_k {top_k}, top_p {top_p}: {ids:?}");
        assert!(ids[0] < 400 && ids[399] > 3000, "from all parts: {ids:?}");
    }
}

#[test]
fn extreme_temperatures_are_greedy_and_uniform() {
    let icy = SamplingParams { temperature: f32::MIN_POSITIVE, ..greedy() };
    assert_eq!(histogram(&[0.0, 1e-3, -5.0], &icy, 50), [0, 50, 0]);
    let blazing = SamplingParams { temperature: f32::MAX, ..greedy() };
    check_distribution(&[-50.0, 0.0, 50.0], &blazing, &[1.0; 3]);
}

/// What the logits come to, read off the log of the odds of a bias that would make ids equal:
/// greedy picks id 1 over id 0 exactly if its changed logit is higher.
fn beats(params: &SamplingParams, prompt: &[u32], output: &[u32], logits: [f32; 2]) -> bool {
    let mut state = SamplerState::new(params.clone(), Arc::new(NO_STOPS), prompt);
    output.iter().for_each(|&id| state.push(id));
    // A third id keeps the row from being all the same.
    let row = [logits[0], logits[1], -1e9];
    Sampler::default().sample(&row, &state).expect("finite logits").id == 1
}

#[test]
fn penalties_are_those_of_openai_and_ctrl() {
    // Frequency: 0.5 for each time in the output, none for the prompt.
    let params = SamplingParams { frequency_penalty: 0.5, ..greedy() };
    assert!(beats(&params, &[1, 1, 1], &[], [0.99, 1.0]));
    assert!(beats(&params, &[], &[1, 1, 1], [-0.51, 1.0]));
    assert!(!beats(&params, &[], &[1, 1, 1], [-0.49, 1.0]));
    // Presence: once.
    let params = SamplingParams { presence_penalty: 0.5, ..greedy() };
    assert!(beats(&params, &[1], &[], [0.99, 1.0]));
    assert!(beats(&params, &[], &[1, 1, 1], [0.49, 1.0]));
    assert!(!beats(&params, &[], &[1, 1, 1], [0.51, 1.0]));
    // Negative ones favour what was said.
    let params = SamplingParams { presence_penalty: -0.5, ..greedy() };
    assert!(beats(&params, &[], &[1], [1.49, 1.0]));
    // Repetition: prompt and output alike, once, towards less likely on either side of 0.
    let params = SamplingParams { repetition_penalty: 2.0, ..greedy() };
    for (prompt, output) in [(vec![1], vec![]), (vec![], vec![1]), (vec![1, 1], vec![1, 1])] {
        assert!(beats(&params, &prompt, &output, [0.49, 1.0]));
        assert!(!beats(&params, &prompt, &output, [0.51, 1.0]));
        assert!(beats(&params, &prompt, &output, [-2.01, -1.0]));
        assert!(!beats(&params, &prompt, &output, [-1.99, -1.0]));
    }
    // All of them: (1 + 3) / 2 - 2 * 0.25 - 0.125 = 1.375; the bias comes first.
    let params = SamplingParams {
        repetition_penalty: 2.0,
        frequency_penalty: 0.25,
        presence_penalty: 0.125,
        logit_bias: vec![(1, 3.0)],
        ..greedy()
    };
    assert!(beats(&params, &[], &[1, 1], [1.37, 1.0]));
    assert!(!beats(&params, &[], &[1, 1], [1.38, 1.0]));
}

#[test]
fn a_bias_of_100_bans_and_forces() {
    let ban = SamplingParams { logit_bias: vec![(1, -100.0)], ..hot() };
    check_distribution(&logits_of(&P), &ban, &[0.05, 0.0, 0.1, 0.25, 0.15, 0.05]);
    let force = SamplingParams { logit_bias: vec![(5, 100.0)], ..hot() };
    check_distribution(&logits_of(&P), &force, &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let twice = SamplingParams { logit_bias: vec![(0, 1.0), (0, 1.0)], ..greedy() };
    assert_eq!(sample(&[0.0, 1.5], twice).map(|t| t.id), Ok(0), "biases of one id add up");
}

#[test]
fn stop_ids_are_masked_until_min_tokens_or_for_good() {
    let logits = [0.0, 3.0, 2.0, 1.0];
    let stops: Arc<[u32]> = [1, 2, 99].into();
    let ids = |params: SamplingParams| {
        let mut state = SamplerState::new(params, Arc::clone(&stops), &[]);
        let mut sampler = Sampler::default();
        [(); 4].map(|()| {
            let token = sampler.sample(&logits, &state).expect("finite logits");
            state.push(token.id);
            token.id
        })
    };
    assert_eq!(ids(greedy()), [1, 1, 1, 1]);
    assert_eq!(ids(SamplingParams { min_tokens: 2, ..greedy() }), [3, 3, 1, 1]);
    assert_eq!(ids(SamplingParams { ignore_stop_ids: true, ..greedy() }), [3, 3, 3, 3]);
}

#[test]
fn logprobs_are_of_the_models_own_distribution() {
    let params = SamplingParams {
        top_logprobs: Some(3),
        logit_bias: vec![(2, 100.0)],
        frequency_penalty: 1.0,
        temperature: 0.3,
        top_k: 2,
        ..greedy()
    };
    let token = sample(&logits_of(&P), params).expect("finite logits");
    let logprobs = token.logprobs.expect("they were asked for");
    let near = |got: f32, p: f64| assert!((f64::from(got) - p.ln()).abs() < 1e-5, "{got}, {p}");
    assert_eq!(token.id, 2);
    near(logprobs.logprob, 0.1);
    let ids: Vec<u32> = logprobs.top.iter().map(|&(id, _)| id).collect();
    assert_eq!(ids, [1, 3, 4]);
    logprobs.top.iter().zip([0.4, 0.25, 0.15]).for_each(|(&(_, got), p)| near(got, p));
    assert_eq!(sample(&[1.0, 2.0], greedy()).map(|token| token.logprobs), Ok(None));
    let none = SamplingParams { top_logprobs: Some(0), ..greedy() };
    let token = sample(&[5.0, 5.0], none).expect("finite logits");
    near(token.logprobs.expect("they were asked for").logprob, 0.5);
}

#[test]
fn all_logprobs_sum_to_one() {
    let logits: Vec<f32> = (0..50_000).map(|id| (uniform(3, id) * 30.0 - 15.0) as f32).collect();
    let params = SamplingParams { top_logprobs: Some(usize::MAX), ..greedy() };
    let top = sample(&logits, params).expect("finite logits").logprobs.expect("asked for").top;
    assert_eq!(top.len(), logits.len());
    assert!(top.is_sorted_by(|a, b| a.1 >= b.1));
    let sum: f64 = top.iter().map(|&(_, logprob)| f64::from(logprob).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn what_is_no_number_is_an_error() {
    for params in [greedy(), hot(), SamplingParams { top_k: 2, ..hot() }] {
        for nan_at in [0, 40, 700] {
            let mut logits = vec![0.5; 701];
            logits[nan_at] = f32::NAN;
            assert_eq!(sample(&logits, params.clone()), Err(SampleError::NotFinite));
            logits[nan_at] = f32::INFINITY;
            assert_eq!(sample(&logits, params.clone()), Err(SampleError::NotFinite));
        }
        let masked = [f32::NEG_INFINITY; 9];
        assert_eq!(sample(&masked, params.clone()), Err(SampleError::NothingAllowed));
        assert_eq!(sample(&[], params), Err(SampleError::NotFinite));
    }
    let params = SamplingParams { top_logprobs: Some(1), logit_bias: vec![(0, 1.0)], ..greedy() };
    assert_eq!(sample(&[f32::NAN, 1.0], params), Err(SampleError::NotFinite));
}

#[test]
fn a_random_number_depends_on_seed_and_index_only() {
    // Recorded: a change would change every seeded answer.
    let recorded = [
        (0, 0, 0.6524484863740322),
        (0, 1, 0.7012121095215252),
        (1, 0, 0.36818951565166946),
        (u64::MAX, u64::MAX, 0.2668471864940366),
    ];
    for (seed, index, random) in recorded {
        assert_eq!(uniform(seed, index), random);
    }
    let mut buckets = [0; 64];
    let num = 64_000;
    for i in 0..num {
        // Neighbouring seeds and neighbouring indices alike.
        let random = uniform(i % 8, i / 8);
        assert!((0.0..1.0).contains(&random));
        buckets[(random * 64.0) as usize] += 1;
    }
    let chi_square: f64 = buckets.iter().map(|&n| f64::from(n - 1000).powi(2) / 1000.0).sum();
    assert!(chi_square < 63.0 + 5.0 * 126f64.sqrt(), "{chi_square}");
    let product = |i| (uniform(7, i) - 0.5) * (uniform(7, i + 1) - 0.5);
    let correlation = (0..num).map(product).sum::<f64>() / num as f64 * 12.0;
    assert!(correlation.abs() < 0.02, "neighbours are related: {correlation}");
}
