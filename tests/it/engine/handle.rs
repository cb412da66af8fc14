//! The engine with its thread: refusals, endings, faults, slow readers, sleep.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use mizan::engine::{
    EVENT_CAPACITY, Engine, EngineOptions, Event, FinishReason, SamplingParams, SubmitError, Turn,
};

use super::fake::{self, expected, prompt, read_all, request};

#[test]
fn what_can_not_run_is_refused_at_once() {
    let (engine, _core) = fake::by_hand(fake::options(4));
    assert_eq!(engine.max_sequence_len(), 64);
    let submit = |prompt: Vec<u32>| engine.submit(request(prompt, 5)).map(drop);
    assert_eq!(submit(vec![]), Err(SubmitError::EmptyPrompt));
    assert_eq!(submit(vec![1; 64]), Err(SubmitError::PromptTooLong { prompt: 64, max: 63 }));
    assert_eq!(submit(vec![1, 61]), Err(SubmitError::InvalidToken(61)));
    assert_eq!(submit(vec![1; 63]), Ok(()));

    let submit = |sampling: SamplingParams| {
        engine.submit(mizan::engine::SequenceRequest { sampling, ..request(vec![1], 5) }).map(drop)
    };
    let neutral = SamplingParams::default();
    assert_eq!(submit(neutral.clone()), Ok(()));
    let bias = vec![(61, 1.0)];
    let wrong = SamplingParams { logit_bias: bias, ..neutral.clone() };
    assert_eq!(submit(wrong), Err(SubmitError::InvalidToken(61)));
    for wrong in [
        SamplingParams { temperature: f32::NAN, ..neutral.clone() },
        SamplingParams { temperature: -0.1, ..neutral.clone() },
        SamplingParams { temperature: f32::INFINITY, ..neutral.clone() },
        SamplingParams { top_p: 1.1, ..neutral.clone() },
        SamplingParams { min_p: -0.1, ..neutral.clone() },
        SamplingParams { repetition_penalty: 0.0, ..neutral.clone() },
        SamplingParams { presence_penalty: f32::NEG_INFINITY, ..neutral.clone() },
        SamplingParams { logit_bias: vec![(1, f32::NAN)], ..neutral },
    ] {
        assert!(matches!(submit(wrong), Err(SubmitError::InvalidSampling { .. })));
    }
}

#[test]
fn a_full_queue_is_told_at_once_and_an_ending_makes_room() {
    let options = EngineOptions { max_batch: 1, max_waiting: 2, ..fake::options(8) };
    let engine = fake::start(options);
    // None of these can end while nobody reads them.
    let long = request(prompt(1, 3), 8 * 16 - 3);
    let submit = || engine.submit(long.clone());
    let mut streams = [(); 3].map(|()| submit().expect("a place"));
    assert_eq!(submit().map(drop), Err(SubmitError::QueueFull { max_waiting: 2 }));
    for stream in &mut streams {
        assert_eq!(read_all(stream), expected(&long));
        // Whoever has read the ending finds the place free.
        drop(submit().expect("room again"));
    }
}

#[test]
fn no_tokens_wanted_is_an_ending_and_too_many_are_cut_to_the_context() {
    let engine = fake::start(fake::options(4));
    let mut none = engine.submit(request(vec![1], 0)).expect("a place");
    assert_eq!(read_all(&mut none), (vec![], FinishReason::Length));
    let mut many = engine.submit(request(vec![1; 10], usize::MAX)).expect("a place");
    assert_eq!(read_all(&mut many), expected(&request(vec![1; 10], 64 - 10)));
}

#[test]
fn a_failed_step_ends_its_sequences_and_the_engine_goes_on() {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let submit = |prompt: Vec<u32>| engine.submit(request(prompt, 20)).expect("a place");
    let mut together = submit(prompt(1, 40));
    core.step();
    let mut broken = submit(vec![1, fake::FAILS, 2]);
    core.step();
    core.check();
    let mut after = submit(prompt(1, 40));
    while core.step() == Turn::Ran {}
    core.check();
    assert_eq!(read_all(&mut broken), (vec![], FinishReason::Failed));
    let (tokens, ending) = read_all(&mut together);
    assert_eq!((tokens.len(), ending), (1, FinishReason::Failed));
    assert_eq!(after.cached_tokens(), 32, "what was computed before the failure is still good");
    assert_eq!(read_all(&mut after), expected(&request(prompt(1, 40), 20)));
    assert_eq!(engine.stats().failed_steps, 1);
}

#[test]
fn logits_that_are_no_numbers_end_one_sequence_only() {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let mut good = engine.submit(request(prompt(1, 4), 3)).expect("a place");
    let all_masked = mizan::engine::SequenceRequest {
        stop_ids: (0..61).collect(),
        sampling: SamplingParams { ignore_stop_ids: true, ..SamplingParams::default() },
        ..request(prompt(2, 4), 3)
    };
    let mut bad = engine.submit(all_masked).expect("a place");
    while core.step() == Turn::Ran {}
    assert_eq!(read_all(&mut bad), (vec![], FinishReason::Failed));
    assert_eq!(read_all(&mut good), expected(&request(prompt(1, 4), 3)));
}

#[test]
fn a_panic_ends_every_stream_and_the_engine() {
    let options = EngineOptions { max_batch: 2, ..fake::options(64) };
    let engine = fake::start(options);
    let mut streams: Vec<_> = (0..5)
        .map(|number| engine.submit(request(prompt(number, 3), 1000)).expect("a place"))
        .collect();
    // A lane of its own, so that it is next.
    let mut panics = request(vec![fake::PANICS], 5);
    panics.lane = 1;
    drop(streams.remove(0));
    let mut panics = engine.submit(panics).expect("a place");
    assert_eq!(read_all(&mut panics).1, FinishReason::Failed);
    for stream in &mut streams {
        assert_eq!(read_all(stream).1, FinishReason::Failed);
    }
    engine.join();
    assert!(!engine.is_running());
    assert_eq!(engine.submit(request(vec![1], 1)).map(drop), Err(SubmitError::Stopped));
}

#[test]
fn stopping_aborts_what_is_open() {
    let engine = fake::start(EngineOptions { max_batch: 1, ..fake::options(300) });
    let submit = || engine.submit(request(prompt(1, 3), 4000)).expect("a place");
    let mut streams = [submit(), submit()];
    assert!(matches!(streams[0].blocking_next(), Some(Event::Token(_))));
    engine.stop();
    engine.join();
    for stream in &mut streams {
        assert_eq!(read_all(stream).1, FinishReason::Aborted);
    }
    assert_eq!(engine.submit(request(vec![1], 1)).map(drop), Err(SubmitError::Stopped));
    assert_eq!(engine.stats().blocks.owned, 0);
}

#[test]
fn dropping_the_last_handle_stops_the_engine() {
    let engine = fake::start(fake::options(300));
    let clone = engine.clone();
    let mut stream = engine.submit(request(prompt(1, 3), 4000)).expect("a place");
    drop(engine);
    assert!(matches!(stream.blocking_next(), Some(Event::Token(_))));
    drop(clone);
    assert_eq!(read_all(&mut stream).1, FinishReason::Aborted);
}

#[test]
fn slow_readers_are_paused_woken_and_lose_nothing() {
    let engine = fake::start(EngineOptions { max_batch: 3, ..fake::options(64) });
    let ask = |number: u32| request(prompt(number, 10), 5 * EVENT_CAPACITY);
    let readers: Vec<_> = (0..8)
        .map(|number| {
            let mut stream = engine.submit(ask(number)).expect("a place");
            // Each one waits for the engine, the engine for each one: a lost wake-up is a hang.
            thread::spawn(move || (number, read_all(&mut stream)))
        })
        .collect();
    let mut lazy = engine.submit(ask(50)).expect("a place");
    for reader in readers {
        let (number, read) = reader.join().expect("no panic");
        assert_eq!(read, expected(&ask(number)));
    }
    // Meanwhile nobody read this one; it stood aside and is all there.
    assert_eq!(read_all(&mut lazy), expected(&ask(50)));
}

#[test]
fn a_paused_sequence_keeps_nobody_awake() {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let mut stream = engine.submit(request(prompt(1, 3), 200)).expect("a place");
    while core.step() == Turn::Ran {}
    let stats = engine.stats();
    assert_eq!((stats.paused, stats.running, stats.waiting), (1, 0, 0));
    assert_eq!(stats.blocks.owned, 0);
    assert_eq!(stats.generated_tokens, EVENT_CAPACITY as u64 - 1);
    // Half of the room must be free: 63 are there.
    for _ in 0..EVENT_CAPACITY / 2 - 2 {
        stream.try_next().expect("a token");
        assert_eq!(core.step(), Turn::Idle);
    }
    stream.try_next().expect("a token");
    assert_eq!(core.step(), Turn::Ran);
}

#[test]
fn an_idle_engine_does_not_turn() {
    let idle = fake::start(fake::options(300));
    let mut stream = idle.submit(request(prompt(1, 20), 10)).expect("a place");
    assert_eq!(read_all(&mut stream), expected(&request(prompt(1, 20), 10)));
    let paused = fake::start(fake::options(300));
    let _unread = paused.submit(request(prompt(1, 20), 1000)).expect("a place");
    // Meanwhile another engine makes thousands of tokens.
    let busy = fake::start(fake::options(300));
    for number in 0..10 {
        let mut stream = busy.submit(request(prompt(number, 20), 300)).expect("a place");
        assert_eq!(read_all(&mut stream).0.len(), 300);
    }
    for engine in [&idle, &paused] {
        let stats = engine.stats();
        // A turn at the start, one for each wake-up (one was: the submission), one to lie down.
        assert!(stats.turns <= stats.steps + 3, "{stats:?}");
    }
}

/// Many threads submit, read, and go away at any moment.
#[test]
fn callers_in_many_threads_get_their_own_tokens() {
    let engine = fake::start(EngineOptions { max_batch: 4, ..fake::options(20) });
    thread::scope(|scope| {
        for caller in 0..8u32 {
            let engine: &Engine = &engine;
            scope.spawn(move || {
                for round in 0..10 {
                    let ask = request(prompt((caller + round) % 4, 40), 100);
                    let mut stream = engine.submit(ask.clone()).expect("a place");
                    if (caller + round) % 3 == 0 {
                        stream.blocking_next();
                        continue;
                    }
                    assert_eq!(read_all(&mut stream), expected(&ask));
                }
            });
        }
    });
}

struct Counter(std::sync::atomic::AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn next_is_pending_until_there_is_an_event_and_may_be_cancelled() {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let mut stream = engine.submit(request(prompt(1, 3), 2)).expect("a place");
    let counter = Arc::new(Counter(0.into()));
    let waker = Waker::from(Arc::clone(&counter));
    let mut context = Context::from_waker(&waker);
    for _ in 0..2 {
        assert_eq!(pin!(stream.next()).as_mut().poll(&mut context), Poll::Pending);
    }
    core.step();
    assert_eq!(counter.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    core.step();
    let (tokens, _) = expected(&request(prompt(1, 3), 2));
    let mut next = || pin!(stream.next()).as_mut().poll(&mut context);
    assert_eq!(next(), Poll::Ready(Some(Event::Token(tokens[0].clone()))));
    assert_eq!(next(), Poll::Ready(Some(Event::Token(tokens[1].clone()))));
    assert_eq!(next(), Poll::Ready(Some(Event::Finished(FinishReason::Length))));
    assert_eq!(next(), Poll::Ready(None));
}
