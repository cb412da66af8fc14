//! Log probabilities of prompts: the plain function of the prompt's ids, before any token.

use mizan::engine::{
    Action, Engine, EngineCore, EngineOptions, Event, FinishReason, SamplingParams,
    SequenceRequest, SequenceStream, SubmitError, TokenLogprobs, Turn,
};
use mizan::model::BLOCK_SIZE;

use super::fake;

fn scored(prompt: Vec<u32>, max_tokens: usize, num_top: usize) -> SequenceRequest {
    let sampling = SamplingParams { prompt_logprobs: Some(num_top), ..SamplingParams::default() };
    SequenceRequest { sampling, ..fake::request(prompt, max_tokens) }
}

/// The scores, which have to come first, and once.
fn scores(stream: &mut SequenceStream) -> Vec<TokenLogprobs> {
    match stream.blocking_next() {
        Some(Event::Prompt(scores)) => scores,
        other => panic!("{other:?} instead of the prompt's log probabilities"),
    }
}

/// Runs all of `requests` at once and compares.
fn check((engine, core): &mut (Engine, EngineCore), requests: &[SequenceRequest], what: &str) {
    let submit = |request: &SequenceRequest| engine.submit(request.clone()).expect("a place");
    let mut streams: Vec<_> = requests.iter().map(submit).collect();
    while core.step() == Turn::Ran {
        core.check();
    }
    for (stream, request) in streams.iter_mut().zip(requests) {
        if let Some(num_top) = request.sampling.prompt_logprobs {
            let expected = fake::expected_scores(&request.prompt, num_top);
            assert_eq!(scores(stream), expected, "{what}: {request:?}");
        }
        assert_eq!(fake::read_all(stream), fake::expected(request), "{what}: {request:?}");
    }
}

fn requests() -> Vec<SequenceRequest> {
    let scored = (0..6).map(|n| scored(fake::prompt(n as u32 % 2, 1 + 13 * n), 9 * (n % 3), n % 3));
    let plain = (0..3).map(|n| fake::request(fake::prompt(n, 20), 60));
    plain.chain(scored).collect()
}

#[test]
fn a_prompts_scores_are_the_same_alone_in_a_batch_in_chunks_and_preempted() {
    let requests = requests();
    let mut plenty = fake::by_hand(fake::options(64));
    for alone in &requests {
        check(&mut plenty, std::slice::from_ref(alone), "alone");
    }
    for round in ["at once", "again"] {
        check(&mut plenty, &requests, round);
    }
    for (max_step_tokens, max_outputs) in [(1, 1), (5, 3), (64, 8), (64, 9), (200, 11)] {
        let options = EngineOptions { max_step_tokens, ..fake::options(64) };
        let mut engine = fake::by_hand_with(options, max_outputs);
        check(&mut engine, &requests, &format!("{max_step_tokens} rows, {max_outputs} outputs"));
    }
    let tiny = EngineOptions { max_step_tokens: 8, ..fake::options(8) };
    let mut engine = fake::by_hand(tiny);
    check(&mut engine, &requests, "preempted");
    assert!(engine.0.stats().preemptions > 0, "the pool was large enough for all");
}

#[test]
fn no_row_comes_from_the_cache_until_the_prompt_is_scored() {
    let mut engine = fake::by_hand(fake::options(64));
    let prompt = fake::prompt(1, 3 * BLOCK_SIZE);
    check(&mut engine, &[fake::request(prompt.clone(), 1)], "plain");
    check(&mut engine, &[scored(prompt.clone(), 1, 0)], "scored");
    assert_eq!(engine.0.stats().cached_tokens, 0);
    check(&mut engine, &[fake::request(prompt, 1)], "plain again");
    assert_eq!(engine.0.stats().cached_tokens, 2 * BLOCK_SIZE as u64);
}

#[test]
fn who_decodes_gets_a_token_in_each_step_while_a_prompt_is_scored() {
    let (engine, mut core) = fake::by_hand_with(fake::options(64), 8);
    let _decoding = [1, 2, 3].map(|n| engine.submit(fake::request(vec![n], 60)).expect("a place"));
    core.step();
    let mut stream = engine.submit(scored(fake::prompt(1, 40), 0, 1)).expect("a place");
    let mut parts = Vec::new();
    while engine.stats().running > 3 || parts.is_empty() {
        let before = engine.stats().generated_tokens;
        core.step();
        assert!(engine.stats().generated_tokens >= before + 3);
        parts.extend(core.actions().iter().filter_map(|action| match action {
            Action::Prefill(_, rows) => Some(rows.len()),
            _ => None,
        }));
    }
    // Of eight rows with logits, three are theirs.
    assert_eq!(parts, [5; 8]);
    assert_eq!(scores(&mut stream), fake::expected_scores(&fake::prompt(1, 40), 1));
}

#[test]
fn a_prompt_that_is_only_scored_may_fill_the_context() {
    let (engine, mut core) = fake::by_hand(fake::options(4));
    let prompt = fake::prompt(1, 4 * BLOCK_SIZE);
    let mut stream = engine.submit(scored(prompt.clone(), 0, 0)).expect("it fits");
    while core.step() == Turn::Ran {}
    assert_eq!(scores(&mut stream).len(), 4 * BLOCK_SIZE - 1);
    assert_eq!(fake::read_all(&mut stream), (Vec::new(), FinishReason::Length));
    let (prompt_len, max) = (prompt.len(), prompt.len() - 1);
    let too_long = SubmitError::PromptTooLong { prompt: prompt_len, max };
    assert_eq!(engine.submit(scored(prompt, 1, 0)).err(), Some(too_long));
}

#[test]
fn a_prompt_of_one_id_has_no_scores() {
    let mut engine = fake::by_hand(fake::options(4));
    for max_tokens in [0, 3] {
        check(&mut engine, &[scored(vec![7], max_tokens, 2)], "one id");
    }
}
