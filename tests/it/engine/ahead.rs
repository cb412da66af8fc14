//! The engine on a GPU's executor, which chooses tokens itself and runs ahead, against the same one
//! step by step, its logits read and sampled on the host: the same tokens, whatever is asked.
//! Without the feature `cuda` the GPU is the emulator.

use std::sync::Arc;

use kernels::cuda::Order;
use mizan::engine::{
    Action, Engine, EngineCore, EngineOptions, Event, FinishReason, SampledToken, SamplingParams,
    SequenceRequest, SequenceStream, Turn,
};
use mizan::model::executor::cuda::{CudaExecutor, KvType};
use mizan::model::{
    Decoder, DecoderShape, Executor, ExecutorLimits, ForwardBatch, Model, ModelError, Outputs,
};

use tempfile::TempDir;

use super::constrained::Rules;
use super::fake;
use crate::support::gpu::gpu;
use crate::support::random::Random;
use crate::support::tiny_models::{self, Storage, TinyModel, VOCAB_SIZE};

/// An executor whose logits are read, as if it could not choose.
#[derive(Debug)]
struct StepByStep(CudaExecutor);

impl Executor for StepByStep {
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.0.embed(batch)
    }

    fn norm_qkv(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.0.norm_qkv(layer, batch)
    }

    fn attention(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.0.attention(layer, batch)
    }

    fn attention_output(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.0.attention_output(layer, batch)
    }

    fn gate_up(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.0.gate_up(layer, batch)
    }

    fn down(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.0.down(layer, batch)
    }

    fn outputs(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        self.0.outputs(batch)
    }
}

const LIMITS: ExecutorLimits =
    ExecutorLimits { max_tokens: 24, max_outputs: 8, num_blocks: 24, threads: 1 };

/// A model, and the folder of its files.
fn open() -> (TempDir, Arc<Model>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tiny = TinyModel { storage: Storage::BF16, ..tiny_models::qwen3().with_heads_of(64) };
    tiny.write_folder(folder.path(), 1);
    let model = Arc::new(Model::open(folder.path()).expect("sound"));
    (folder, model)
}

fn start(model: &Arc<Model>, is_ahead: bool) -> (Engine, EngineCore) {
    let executor = CudaExecutor::new(gpu(Order::Forwards), Arc::clone(model), LIMITS, KvType::Bf16)
        .expect("it fits");
    let executor: Box<dyn Executor> =
        if is_ahead { Box::new(executor) } else { Box::new(StepByStep(executor)) };
    let decoder = Decoder::new(executor, DecoderShape::new(&model.config, &LIMITS));
    let options = EngineOptions {
        max_batch: 6,
        max_step_tokens: LIMITS.max_tokens,
        num_blocks: LIMITS.num_blocks,
        // Few sequences draft; these go ahead from the second on.
        speculative_rows: 2,
        ..fake::options(LIMITS.num_blocks)
    };
    Engine::without_thread(decoder, options)
}

fn prompt(number: u32, len: usize) -> Vec<u32> {
    fake::prompt(number, len).into_iter().map(|id| id % VOCAB_SIZE as u32).collect()
}

/// What a caller may ask for, one kind after the other.
fn requests() -> Vec<SequenceRequest> {
    let greedy = SamplingParams::default();
    let hot = |seed| SamplingParams { temperature: 1.3, seed, ..SamplingParams::default() };
    let last = VOCAB_SIZE as u32 - 1;
    let sampling = [
        greedy.clone(),
        hot(1),
        SamplingParams { top_k: 7, ..hot(2) },
        SamplingParams { top_p: 0.7, min_p: 0.01, top_logprobs: Some(3), ..hot(3) },
        SamplingParams { repetition_penalty: 1.4, frequency_penalty: 0.3, ..hot(4) },
        SamplingParams { presence_penalty: 0.8, top_logprobs: Some(0), ..greedy.clone() },
        SamplingParams { logit_bias: vec![(3, 50.0), (last, 49.0)], ..hot(5) },
        SamplingParams { prompt_logprobs: Some(2), ..greedy.clone() },
        SamplingParams { min_tokens: 4, ..hot(6) },
        SamplingParams { ignore_stop_ids: true, ..hot(7) },
    ];
    let mut requests: Vec<SequenceRequest> = (1..)
        .zip(sampling)
        .map(|(number, sampling)| SequenceRequest {
            lane: u64::from(number % 3),
            // Every fourth id, so that some of them end.
            stop_ids: if number % 2 == 0 { (0..last).step_by(4).collect() } else { [].into() },
            sampling,
            ..fake::request(prompt(number, 1 + 5 * number as usize), 9)
        })
        .collect();
    let constraint = Rules { min: 2, max: 8, ..Rules::any() }.boxed();
    requests.push(SequenceRequest { constraint, ..fake::request(prompt(20, 4), 9) });
    requests
}

#[derive(Default)]
struct Seen {
    outputs: Vec<(Vec<SampledToken>, FinishReason)>,
    presumed: usize,
    discarded: usize,
    generated: u64,
}

/// One request more with every step.
fn run(model: &Arc<Model>, is_ahead: bool) -> Seen {
    let (engine, mut core) = start(model, is_ahead);
    let mut requests = requests().into_iter();
    let (mut streams, mut seen) = (Vec::new(), Seen::default());
    loop {
        streams.extend(requests.next().map(|request| engine.submit(request).expect("a place")));
        let turn = core.step();
        core.check();
        let count = |is: fn(&Action) -> bool| core.actions().iter().filter(|a| is(a)).count();
        seen.presumed += count(|action| matches!(action, Action::Presume(_)));
        seen.discarded += count(|action| matches!(action, Action::Discard(_)));
        if turn == Turn::Idle && requests.len() == 0 {
            break;
        }
    }
    seen.outputs = streams.iter_mut().map(read).collect();
    seen.generated = engine.stats().generated_tokens;
    seen
}

#[test]
fn tokens_chosen_on_a_gpu_ahead_of_the_engine_are_those_of_steps_one_by_one() {
    let (_folder, model) = open();
    let (ahead, by_step) = (run(&model, true), run(&model, false));
    assert_eq!((by_step.presumed, by_step.discarded), (0, 0));
    assert!(ahead.presumed > 10 && ahead.discarded > 0, "{} presumed", ahead.presumed);
    assert_eq!(ahead.generated, by_step.generated);
    let all = ahead.outputs.iter().zip(&by_step.outputs).enumerate();
    for (nth, ((tokens, reason), (expected, expected_reason))) in all {
        assert_eq!(reason, expected_reason, "request {nth}");
        assert_eq!(ids(tokens), ids(expected), "request {nth}");
        for (token, expected) in tokens.iter().zip(expected) {
            assert_eq!(token.logprobs.is_some(), expected.logprobs.is_some(), "request {nth}");
            let (Some(got), Some(right)) = (&token.logprobs, &expected.logprobs) else { continue };
            // The sum's logarithm may differ in its last bit.
            let is_near = |a: f32, b: f32| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
            assert!(is_near(got.logprob, right.logprob), "{got:?} is not {right:?}");
            assert_eq!(got.top.len(), right.top.len());
            let top = got.top.iter().zip(&right.top);
            assert!(top.clone().all(|(a, b)| a.0 == b.0 && is_near(a.1, b.1)), "{got:?}");
        }
    }
}

/// Requests that come and go, a third of them given up, on a real GPU for thousands of steps: what
/// each one yields is what it yields alone, step by step.
///
/// Prompts of fewer than 16 ids: rows that go to attention together may differ by rounding.
#[test]
fn a_soak_of_requests_and_aborts() {
    let num_steps = if gpu(Order::Forwards).name() == "emulated GPU" { 40 } else { 5_000 };
    let (_folder, model) = open();
    let mut random = Random(7);
    let kinds: Vec<SequenceRequest> = requests()
        .into_iter()
        .map(|request| SequenceRequest {
            prompt: prompt(random.below(40) as u32, 2 + random.below(14)),
            ..request
        })
        .collect();
    let (alone, mut alone_core) = start(&model, false);
    let expected: Vec<_> = kinds
        .iter()
        .map(|request| {
            let mut stream = alone.submit(request.clone()).expect("a place");
            while alone_core.step() == Turn::Ran {}
            read(&mut stream)
        })
        .collect();
    let (engine, mut core) = start(&model, true);
    let mut open: Vec<(usize, SequenceStream, Vec<u32>)> = Vec::new();
    let (mut num_whole, mut num_aborted) = (0, 0);
    for step in 0.. {
        if step < num_steps && open.len() < 9 {
            let kind = random.below(kinds.len());
            let stream = engine.submit(kinds[kind].clone()).expect("a place");
            open.push((kind, stream, Vec::new()));
        }
        if step < num_steps && random.below(6) == 0 && !open.is_empty() {
            open.swap_remove(random.below(open.len()));
            num_aborted += 1;
        }
        let turn = core.step();
        core.check();
        open.retain_mut(|(kind, stream, tokens)| {
            let (all, ending) = &expected[*kind];
            while let Some(event) = stream.try_next() {
                match event {
                    Event::Token(token) => tokens.push(token.id),
                    Event::Finished(reason) => {
                        assert_eq!((&*tokens, reason), (&ids(all), *ending), "request {kind}");
                        num_whole += 1;
                        return false;
                    }
                    _ => {}
                }
            }
            assert_eq!(*tokens, ids(all)[..tokens.len()], "request {kind}");
            true
        });
        if step >= num_steps && turn == Turn::Idle {
            break;
        }
    }
    assert!(num_whole > num_steps / 8 && num_aborted > num_steps / 20, "{num_whole} whole");
    assert!(open.is_empty(), "every stream has ended");
    assert_eq!(engine.stats().blocks.owned, 0);
}

/// A step that can not be run ends who is in it, those too whose last id was presumed; what is
/// asked for afterwards finds all memory free.
#[test]
fn a_batch_that_fails_while_the_engine_is_ahead_ends_its_own_sequences() {
    let options = EngineOptions { speculative_rows: 0, ..fake::options(32) };
    let (engine, mut core) = fake::by_hand_beside(options, 8);
    let ask = |number| fake::request(fake::prompt(number, 20), 30);
    let submit = |request| engine.submit(request).expect("a place");
    let mut first: Vec<_> = (0..3).map(|number| submit(ask(number))).collect();
    for _ in 0..5 {
        assert_eq!(core.step(), Turn::Ran);
    }
    assert!(core.actions().iter().any(|action| matches!(action, Action::Presume(_))));
    let mut failing = submit(fake::request(vec![1, fake::FAILS], 3));
    let mut waiting = {
        assert_eq!(core.step(), Turn::Ran);
        core.check();
        submit(ask(9))
    };
    while core.step() == Turn::Ran {
        core.check();
    }
    assert_eq!(read(&mut failing), (Vec::new(), FinishReason::Failed));
    for (number, stream) in (0..).zip(&mut first) {
        let (tokens, reason) = read(stream);
        assert_eq!(reason, FinishReason::Failed);
        // Of five steps the last one's token was not known yet.
        assert_eq!(tokens, fake::expected(&ask(number)).0[..4]);
    }
    assert_eq!(read(&mut waiting), fake::expected(&ask(9)));
    assert_eq!(engine.stats().blocks.owned, 0);
}

fn read(stream: &mut SequenceStream) -> (Vec<SampledToken>, FinishReason) {
    let mut tokens = Vec::new();
    loop {
        match stream.blocking_next() {
            Some(Event::Token(token)) => tokens.push(token),
            Some(Event::Finished(reason)) => return (tokens, reason),
            Some(Event::Prompt(scores)) => assert!(!scores.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}

fn ids(tokens: &[SampledToken]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}
