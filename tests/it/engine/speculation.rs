//! Drafts change how many steps an output takes, and nothing else.

use mizan::engine::{
    EVENT_CAPACITY, EngineOptions, Event, FinishReason, SampledToken, SamplingParams,
    SequenceRequest, Stats, Turn,
};
use mizan::model::BLOCK_SIZE;

use super::fake::{self, expected, only, prompt, read_all, request};

/// What one request yields in an engine of its own, with this many rows for drafts.
fn run_alone(
    request: &SequenceRequest,
    speculative_rows: usize,
) -> ((Vec<SampledToken>, FinishReason), Stats) {
    let options = EngineOptions { speculative_rows, ..fake::options(64) };
    let (engine, mut core) = fake::by_hand(options);
    let mut stream = engine.submit(request.clone()).expect("a place");
    let (mut tokens, mut ending) = (Vec::new(), None);
    while ending.is_none() {
        core.step();
        core.check();
        while let Some(event) = stream.try_next() {
            match event {
                Event::Token(token) => tokens.push(token),
                Event::Prompt(_) | Event::Vector(_) => panic!("nobody asked for {event:?}"),
                Event::Finished(reason) => ending = Some(reason),
            }
        }
    }
    ((tokens, ending.expect("the loop ends with it")), engine.stats())
}

#[test]
fn the_tokens_are_those_of_plain_decoding_however_they_are_chosen() {
    let drawn = SamplingParams { temperature: 1.0, seed: 5, ..SamplingParams::default() };
    let penalties = SamplingParams {
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        presence_penalty: 0.5,
        ..SamplingParams::default()
    };
    let logprobs = SamplingParams { top_logprobs: Some(3), top_p: 0.9, ..drawn.clone() };
    let min_tokens = SamplingParams { min_tokens: 40, ..drawn.clone() };
    for (what, sampling) in [
        ("greedy", SamplingParams::default()),
        ("drawn", drawn),
        ("with penalties", penalties),
        ("with logprobs", logprobs),
        ("without stop ids at first", min_tokens),
    ] {
        let (mut accepted, mut rejected, mut stopped) = (0, 0, 0);
        for number in 0..12 {
            let sampling = SamplingParams {
                // One to three ids, the third of which ends the sequence.
                logit_bias: only(&[7, 8, 9][..1 + number % 3]).logit_bias,
                ..sampling.clone()
            };
            let ask = SequenceRequest {
                sampling,
                stop_ids: [9].into(),
                ..request(prompt(number as u32, 20), 150)
            };
            let (plain, before) = run_alone(&ask, 0);
            let (drafted, after) = run_alone(&ask, 8);
            assert_eq!(plain, expected(&ask), "{what}, {number}");
            assert_eq!(drafted, plain, "{what}, {number}");
            assert_eq!((before.drafted_tokens, before.accepted_tokens), (0, 0));
            // An accepted id saves the step it would have been sampled in, and nothing else does.
            assert_eq!(before.steps - after.steps, after.accepted_tokens, "{what}, {number}");
            assert_eq!(before.generated_tokens, after.generated_tokens);
            accepted += after.accepted_tokens;
            rejected += after.drafted_tokens - after.accepted_tokens;
            stopped += usize::from(plain.1 == FinishReason::Stop);
        }
        assert!(accepted >= 100 && rejected >= 20 && stopped > 0, "{what}: {accepted}, {rejected}");
    }
}

#[test]
fn text_without_repeats_is_left_alone() {
    let (mut drafted, mut generated) = (0, 0);
    for number in 0..10 {
        // The fake model's own output: each id is as likely as any other after what came before.
        let (_, stats) = run_alone(&request(prompt(number, 20), 500), 8);
        drafted += stats.drafted_tokens;
        generated += stats.generated_tokens;
    }
    assert_eq!(generated, 5000);
    assert!(drafted <= generated / 10, "{drafted} rows for nothing");
}

#[test]
fn what_rejected_drafts_left_in_the_cache_is_never_read() {
    let (engine, mut core) = fake::by_hand(fake::options(40));
    let mut run = |ask: &SequenceRequest| {
        let mut stream = engine.submit(ask.clone()).expect("a place");
        while core.step() == Turn::Ran {
            core.check();
        }
        let cached = stream.cached_tokens();
        let read = read_all(&mut stream);
        assert_eq!(read, expected(ask));
        (read.0, cached)
    };
    for number in 0..20 {
        let sampling = only(&[7, 8]);
        let first = SequenceRequest { sampling, ..request(prompt(number, 21), 60) };
        let (tokens, _) = run(&first);
        // A conversation goes on: the next prompt holds the last answer. Its last id was never
        // computed, and that of the prompt that follows is not looked up.
        let mut ids = first.prompt;
        ids.extend(tokens.iter().map(|token| token.id));
        let kept = (ids.len() - 1) / BLOCK_SIZE * BLOCK_SIZE;
        ids.extend([1, 2, 3]);
        let sampling = only(&[8, 7, 6]);
        let (_, cached) = run(&SequenceRequest { sampling, ..request(ids, 40) });
        assert_eq!(cached, kept, "all that was computed, and nothing else");
    }
    let Stats { drafted_tokens, accepted_tokens, .. } = engine.stats();
    assert!(accepted_tokens > 100 && drafted_tokens - accepted_tokens > 100);
}

#[test]
fn no_more_is_sampled_than_a_slow_reader_has_room_for() {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let ask = SequenceRequest { sampling: only(&[7]), ..request(prompt(1, 10), 300) };
    let mut stream = engine.submit(ask.clone()).expect("a place");
    while core.step() == Turn::Ran {
        core.check();
    }
    let Stats { generated_tokens, paused, accepted_tokens, .. } = engine.stats();
    assert_eq!((generated_tokens, paused), (EVENT_CAPACITY as u64 - 1, 1));
    assert!(accepted_tokens > 30);
    let mut tokens = Vec::new();
    while tokens.len() < 300 {
        while let Some(event) = stream.try_next() {
            if let Event::Token(token) = event {
                tokens.push(token);
            }
        }
        core.step();
    }
    assert_eq!(tokens, expected(&ask).0);
}

#[test]
fn sequences_of_a_full_batch_are_decoded_without_drafts() {
    let options = EngineOptions { max_batch: 8, speculative_rows: 8, ..fake::options(64) };
    let (engine, mut core) = fake::by_hand(options);
    let ask = |number| SequenceRequest {
        lane: u64::from(number),
        sampling: only(&[7]),
        ..request(prompt(number, 10), 40)
    };
    let mut streams = Vec::from_iter((0..8).map(|n| engine.submit(ask(n)).expect("a place")));
    while core.step() == Turn::Ran {}
    for (number, stream) in streams.iter_mut().enumerate() {
        assert_eq!(read_all(stream), expected(&ask(number as u32)));
    }
    assert_eq!(engine.stats().drafted_tokens, 0);
    assert_eq!(engine.stats().steps, 2 + 39, "the prompts are more than one step");
}
