//! Determinism on a real model: what else the engine does changes no bit of a sequence's logits.

use std::sync::Arc;

use mizan::engine::{
    EmbeddingRequest, Engine, EngineCore, EngineOptions, Event, FinishReason, Pooling,
    SPECULATIVE_ROWS, SampledToken, SamplingParams, SequenceRequest, TokenLogprobs, Turn,
};
use mizan::model::executor::cpu::CpuExecutor;
use mizan::model::{Decoder, DecoderShape, ExecutorLimits, Model};

use super::fake::read_all;
use crate::support::models;

const NUM_REQUESTS: usize = 8;
/// Long enough for every sequence to outgrow its first blocks by two.
const LONG: usize = 28;
/// Its beginning, where that shows as much.
const SHORT: usize = 8;
/// Enough for all requests at once.
const PLENTY: usize = 64;

/// How a run differs from one sequence alone in an empty engine.
struct Around {
    max_batch: usize,
    max_step_tokens: usize,
    num_blocks: usize,
    prefix_cache: bool,
    speculative_rows: usize,
}

const ALONE: Around = Around {
    max_batch: 1,
    max_step_tokens: 256,
    num_blocks: PLENTY,
    prefix_cache: false,
    speculative_rows: 0,
};

/// Stepped by hand, so that every run takes the same steps.
fn start(model: &Arc<Model>, around: &Around) -> (Engine, EngineCore) {
    let limits = ExecutorLimits {
        max_tokens: around.max_step_tokens,
        max_outputs: around.max_batch.max(around.speculative_rows),
        num_blocks: around.num_blocks,
        threads: 2,
    };
    let executor = CpuExecutor::new(Arc::clone(model), limits).expect("memory for an executor");
    let shape = DecoderShape::new(&model.config, &limits);
    let options = EngineOptions {
        max_batch: around.max_batch,
        max_step_tokens: around.max_step_tokens,
        max_waiting: 100,
        num_blocks: around.num_blocks,
        prefix_cache: around.prefix_cache,
        speculative_rows: around.speculative_rows,
        name: "determinism".to_owned(),
    };
    Engine::without_thread(Decoder::new(Box::new(executor), shape), options)
}

/// Prompts of 18 to 53 ids that start alike, greedy and sampled by turns.
fn requests(vocab_size: usize, max_tokens: usize) -> Vec<SequenceRequest> {
    let id = |random: usize| (random * 7919 % vocab_size) as u32;
    let request = |number: usize| SequenceRequest {
        lane: number as u64 % 3,
        prompt: (0..18 + 5 * number).map(|at| id(if at < 17 { at } else { at + number })).collect(),
        max_tokens,
        stop_ids: Arc::new([]),
        sampling: SamplingParams {
            temperature: if number.is_multiple_of(2) { 0.0 } else { 0.9 },
            top_p: 0.95,
            repetition_penalty: if number % 4 == 3 { 1.1 } else { 1.0 },
            seed: number as u64,
            // Equal to the last bit, so that a difference shows before it changes a token.
            top_logprobs: Some(2),
            ..SamplingParams::default()
        },
        constraint: None,
    };
    (0..NUM_REQUESTS).map(request).collect()
}

fn run_all(
    (engine, core): &mut (Engine, EngineCore),
    requests: &[SequenceRequest],
) -> Vec<Vec<SampledToken>> {
    let submit = |request: &SequenceRequest| engine.submit(request.clone()).expect("a place");
    let mut streams: Vec<_> = requests.iter().map(submit).collect();
    while core.step() == Turn::Ran {}
    let read = streams.iter_mut().map(|stream| {
        let (tokens, reason) = read_all(stream);
        assert_eq!(reason, FinishReason::Length);
        tokens
    });
    read.collect()
}

#[test]
fn the_same_request_gives_the_same_logits_whatever_else_runs() {
    let path = models::path("smollm2-135m-instruct");
    let model = Arc::new(Model::open(&path).expect("the model opens"));
    let [long, short] = [LONG, SHORT].map(|len| requests(model.config.vocab_size, len));
    let expected_long = run_all(&mut start(&model, &ALONE), &long);
    assert!(expected_long.iter().all(|tokens| tokens.len() == LONG));
    let expected: Vec<_> = expected_long.iter().map(|tokens| tokens[..SHORT].to_vec()).collect();

    let batch = Around { max_batch: NUM_REQUESTS, ..ALONE };
    assert_eq!(run_all(&mut start(&model, &batch), &short), expected, "in a batch");
    for max_step_tokens in [1, 7, 64] {
        let max_batch = NUM_REQUESTS.min(max_step_tokens);
        let chunked = Around { max_batch, max_step_tokens, ..ALONE };
        let tokens = run_all(&mut start(&model, &chunked), &short);
        assert_eq!(tokens, expected, "in chunks of {max_step_tokens}");
    }

    let tiny = Around { num_blocks: 8, ..batch };
    let mut engine = start(&model, &tiny);
    assert_eq!(run_all(&mut engine, &long), expected_long, "preempted");
    assert!(engine.0.stats().preemptions > 0, "the pool was large enough for all");

    let cached = Around { prefix_cache: true, ..batch };
    let mut engine = start(&model, &cached);
    for round in ["while others compute the prefix", "from the prefix cache"] {
        assert_eq!(run_all(&mut engine, &short), expected, "{round}");
    }
    assert!(engine.0.stats().cached_tokens as usize >= NUM_REQUESTS * 16);
}

#[test]
fn a_copy_takes_a_fraction_of_the_steps_and_its_logits_are_the_same() {
    let path = models::path("smollm2-135m-instruct");
    let model = Arc::new(Model::open(&path).expect("the model opens"));
    // Twenty ids of no meaning, three times: the model, greedy, goes on with a fourth.
    let prompt: Vec<u32> = (0..60).map(|at| 1000 + at % 20 * 2111).collect();
    let asks: Vec<_> = requests(model.config.vocab_size, 60)
        .into_iter()
        .take(2)
        .map(|ask| SequenceRequest { prompt: prompt.clone(), ..ask })
        .collect();
    let mut plain = start(&model, &ALONE);
    let mut ahead = start(&model, &Around { speculative_rows: SPECULATIVE_ROWS, ..ALONE });
    for (what, ask, max_steps) in [("greedy", &asks[..1], 20), ("drawn", &asks[1..], 60)] {
        let before = ahead.0.stats();
        let expected = run_all(&mut plain, ask);
        assert_eq!(run_all(&mut ahead, ask), expected, "{what}");
        let after = ahead.0.stats();
        let steps = after.steps - before.steps;
        let accepted = after.accepted_tokens - before.accepted_tokens;
        assert_eq!(steps + accepted, 60, "an accepted draft saves a step");
        assert!(steps <= max_steps, "{what}: {steps} steps");
    }
    assert_eq!(plain.0.stats().steps, 120);
}

/// What a prompt gives beside tokens: how likely its ids are, and vectors.
type Beside = (Vec<TokenLogprobs>, [Vec<f32>; 2]);

/// Everything at once, beside the requests themselves, which decode meanwhile.
fn beside(around: &Around, model: &Arc<Model>, requests: &[SequenceRequest]) -> Vec<Beside> {
    let (engine, mut core) = start(model, around);
    let decoding: Vec<_> =
        requests.iter().map(|request| engine.submit(request.clone()).expect("a place")).collect();
    let mut streams = Vec::new();
    for request in requests {
        let SequenceRequest { lane, prompt, .. } = request.clone();
        let embed = |pooling| {
            let prompt = prompt.clone();
            engine.embed(EmbeddingRequest { lane, prompt, pooling }).expect("a place")
        };
        let vectors = [Pooling::Mean, Pooling::Last].map(embed);
        let sampling = SamplingParams { prompt_logprobs: Some(2), ..SamplingParams::default() };
        let scored = SequenceRequest { max_tokens: 0, sampling, ..request.clone() };
        streams.push((engine.submit(scored).expect("a place"), vectors));
    }
    while core.step() == Turn::Ran {}
    drop(decoding);
    let read = streams.iter_mut().map(|(scored, vectors)| {
        let Some(Event::Prompt(scores)) = scored.blocking_next() else { panic!("no scores") };
        (scores, vectors.each_mut().map(|stream| stream.blocking_vector().expect("a vector")))
    });
    read.collect()
}

#[test]
fn scores_and_vectors_are_the_same_whatever_else_runs() {
    let path = models::path("smollm2-135m-instruct");
    let model = Arc::new(Model::open(&path).expect("the model opens"));
    let requests = requests(model.config.vocab_size, SHORT);
    let expected: Vec<Beside> =
        requests.iter().flat_map(|one| beside(&ALONE, &model, std::slice::from_ref(one))).collect();
    for (what, around) in [
        ("in a batch", Around { max_batch: 24, ..ALONE }),
        ("in chunks of 7", Around { max_batch: 7, max_step_tokens: 7, ..ALONE }),
        ("cached, few blocks", Around { max_batch: 8, num_blocks: 9, prefix_cache: true, ..ALONE }),
    ] {
        assert!(beside(&around, &model, &requests) == expected, "{what}");
    }
}
