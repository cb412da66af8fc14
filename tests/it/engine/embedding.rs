//! Vectors: the plain function of the text's ids, whatever the engine does around them.

use mizan::engine::{
    EmbeddingRequest, Engine, EngineCore, EngineOptions, FinishReason, Pooling, Stats, SubmitError,
    Turn,
};
use mizan::model::BLOCK_SIZE;

use super::fake::{self, FAILS, MAX_CONTEXT};

const POOLINGS: [Pooling; 3] = [Pooling::Mean, Pooling::First, Pooling::Last];

fn request(prompt: Vec<u32>, pooling: Pooling) -> EmbeddingRequest {
    EmbeddingRequest { lane: 0, prompt, pooling }
}

/// Embeds all of `requests` at once and compares.
fn check((engine, core): &mut (Engine, EngineCore), requests: &[EmbeddingRequest], what: &str) {
    let submit = |request: &EmbeddingRequest| engine.embed(request.clone()).expect("a place");
    let mut streams: Vec<_> = requests.iter().map(submit).collect();
    while core.step() == Turn::Ran {
        core.check();
    }
    for (stream, request) in streams.iter_mut().zip(requests) {
        let vector = stream.blocking_vector();
        assert_eq!(vector, Ok(fake::expected_vector(request)), "{what}: {request:?}");
    }
    assert_eq!(engine.stats().generated_tokens, 0);
    assert_eq!(engine.stats().blocks.owned, 0);
}

#[test]
fn a_vector_is_the_same_alone_in_a_batch_in_chunks_preempted_and_cached() {
    let requests: Vec<EmbeddingRequest> =
        (0..9).map(|n| request(fake::prompt(n as u32 % 2, 1 + 11 * n), POOLINGS[n % 3])).collect();
    let mut plenty = fake::by_hand(fake::options(64));
    for alone in &requests {
        check(&mut plenty, std::slice::from_ref(alone), "alone");
    }
    for round in ["at once", "again"] {
        check(&mut plenty, &requests, round);
    }
    for max_step_tokens in [1, 5, 64] {
        let options = EngineOptions { max_step_tokens, ..fake::options(64) };
        check(&mut fake::by_hand(options), &requests, &format!("{max_step_tokens} a step"));
    }
}

#[test]
fn a_vector_survives_that_its_blocks_are_taken_away() {
    // Three texts that fit, beside two that decode and grow until nothing fits any more.
    let options = EngineOptions { max_step_tokens: 8, ..fake::options(10) };
    let (engine, mut core) = fake::by_hand(options);
    let growing = [0, 1].map(|n| fake::request(fake::prompt(n, 4), 100));
    let mut growing = growing.map(|request| engine.submit(request).expect("a place"));
    for _ in 0..20 {
        core.step();
    }
    let requests = POOLINGS.map(|pooling| request(fake::prompt(3, 40), pooling));
    let mut streams = requests.clone().map(|request| engine.embed(request).expect("a place"));
    while core.step() == Turn::Ran {
        core.check();
        growing.iter_mut().for_each(|stream| while stream.try_next().is_some() {});
    }
    for (stream, request) in streams.iter_mut().zip(&requests) {
        assert_eq!(stream.blocking_vector(), Ok(fake::expected_vector(request)), "{request:?}");
    }
}

#[test]
fn only_a_last_state_may_come_after_rows_that_were_not_computed() {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let text = fake::prompt(1, 5 * BLOCK_SIZE);
    for (pooling, num_cached) in [
        (Pooling::Last, 0),
        (Pooling::Last, 4 * BLOCK_SIZE),
        (Pooling::Mean, 0),
        (Pooling::First, 0),
    ] {
        let mut stream = engine.embed(request(text.clone(), pooling)).expect("a place");
        while core.step() == Turn::Ran {}
        stream.blocking_vector().expect("a vector");
        assert_eq!(stream.cached_tokens(), num_cached, "{pooling:?}");
    }
    let Stats { prompt_tokens, cached_tokens, .. } = engine.stats();
    assert_eq!((prompt_tokens, cached_tokens), (20 * BLOCK_SIZE as u64, 4 * BLOCK_SIZE as u64));
}

#[test]
fn texts_are_taken_as_long_as_the_context_and_refused_beyond() {
    let (engine, _core) = fake::by_hand(fake::options(MAX_CONTEXT / BLOCK_SIZE));
    let embed = |len: usize| engine.embed(request(vec![1; len], Pooling::Mean));
    assert!(embed(MAX_CONTEXT).is_ok());
    let (prompt, max) = (MAX_CONTEXT + 1, MAX_CONTEXT);
    assert_eq!(embed(prompt).err(), Some(SubmitError::PromptTooLong { prompt, max }));
    assert_eq!(embed(0).err(), Some(SubmitError::EmptyPrompt));
    let unknown = engine.embed(request(vec![1, 99], Pooling::Mean));
    assert_eq!(unknown.err(), Some(SubmitError::InvalidToken(99)));
}

#[test]
fn there_is_no_vector_where_the_model_fails_or_the_engine_stops() {
    let engine = fake::start(fake::options(64));
    let mut failing = engine.embed(request(vec![1, FAILS], Pooling::Mean)).expect("a place");
    assert_eq!(failing.blocking_vector(), Err(FinishReason::Failed));
    let mut sound = engine.embed(request(vec![1, 2], Pooling::Mean)).expect("a place");
    assert!(sound.blocking_vector().is_ok());
    assert_eq!(sound.blocking_vector(), Err(FinishReason::Length), "there is only one");

    let (engine, mut core) = fake::by_hand(fake::options(64));
    let mut open = engine.embed(request(vec![1, 2], Pooling::Mean)).expect("a place");
    core.abort_all();
    assert_eq!(open.blocking_vector(), Err(FinishReason::Aborted));
}

#[test]
fn a_dropped_stream_ends_within_one_step() {
    let options = EngineOptions { max_step_tokens: 4, ..fake::options(64) };
    let (engine, mut core) = fake::by_hand(options);
    let stream = engine.embed(request(fake::prompt(1, 100), Pooling::Mean)).expect("a place");
    core.step();
    assert_eq!(engine.stats().running, 1);
    drop(stream);
    assert_eq!(core.step(), Turn::Idle);
    assert_eq!((engine.stats().running, engine.stats().blocks.owned), (0, 0));
}

#[test]
fn texts_are_service_and_share_steps_with_those_who_decode() {
    let options = EngineOptions { max_step_tokens: 8, ..fake::options(64) };
    let (engine, mut core) = fake::by_hand(options);
    let _decoding = engine.submit(fake::request(vec![1], 50)).expect("a place");
    core.step();
    let text = EmbeddingRequest { lane: 7, ..request(fake::prompt(1, 70), Pooling::Mean) };
    let mut stream = engine.embed(text).expect("a place");
    for _ in 0..10 {
        let before = engine.stats().generated_tokens;
        core.step();
        assert!(engine.stats().generated_tokens > before, "who decodes waits for nobody");
    }
    assert!(stream.blocking_vector().is_ok());
    // The lane began with what the other had had by then: a few ids.
    assert!((70..80).contains(&core.service(7)), "{}", core.service(7));
}
