//! Constraints: what they refuse is not said, they end where they may, and batches, drafts and
//! preemption change nothing about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use mizan::engine::{
    Allowed, Constraint, ConstraintError, EngineOptions, FinishReason, Progress, SamplingParams,
    SequenceRequest, SubmitError, Turn,
};

use super::fake::{self, FAILS, expected, only, prompt, read_all, request};

/// A constraint by numbers.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Allowed are those of these ids ..
    pub(super) ids: Vec<u32>,
    /// .. which divide so together with all that was said: 1 allows all of them.
    pub(super) divisor: u32,
    /// It may end from so many ids on,
    pub(super) min: usize,
    /// and must after so many.
    pub(super) max: usize,
    /// Whether it says so as soon as it must end, or only when asked what comes next.
    pub(super) tells_end: bool,
    /// It is broken after so many.
    pub(super) breaks_at: usize,
    pub(super) said: Vec<u32>,
    pub(super) prepared: Arc<AtomicUsize>,
}

impl Rules {
    /// Allows these ids for ever.
    pub(super) fn among(ids: &[u32]) -> Self {
        Self {
            ids: ids.to_vec(),
            divisor: 1,
            min: usize::MAX,
            max: usize::MAX,
            tells_end: true,
            breaks_at: usize::MAX,
            said: Vec::new(),
            prepared: Arc::default(),
        }
    }

    /// Allows all that the fake model may say.
    pub(super) fn any() -> Self {
        Self::among(&Vec::from_iter(0..FAILS))
    }

    pub(super) fn boxed(&self) -> Option<Box<dyn Constraint>> {
        Some(Box::new(self.clone()))
    }
}

impl Constraint for Rules {
    fn prepare(&mut self) {
        self.prepared.fetch_add(1, SeqCst);
    }

    fn allowed(&mut self) -> Result<Allowed, ConstraintError> {
        let len = self.said.len();
        if len >= self.breaks_at {
            return Err(ConstraintError::Broken("this is a test".to_owned()));
        }
        let sum: u32 = self.said.iter().sum();
        let mut ids = vec![0; 2];
        for &id in self.ids.iter().filter(|_| len < self.max) {
            if (id + 7 * sum + len as u32).is_multiple_of(self.divisor) {
                ids[id as usize / 32] |= 1 << (id % 32);
            }
        }
        Ok(Allowed { ids, may_end: len >= self.min || len >= self.max })
    }

    fn accept(&mut self, id: u32) -> Result<Progress, ConstraintError> {
        let ids = self.allowed()?.ids;
        assert!(ids[id as usize / 32] >> (id % 32) & 1 == 1, "{id} was refused: {self:?}");
        self.said.push(id);
        let is_over = self.tells_end && self.said.len() == self.max;
        Ok(if is_over { Progress::Complete } else { Progress::Open })
    }

    fn boxed_clone(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

/// Runs `ask` alone, checks it against the plain function of its ids, and returns what it says.
fn run(ask: &SequenceRequest) -> (Vec<u32>, FinishReason) {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let mut stream = engine.submit(ask.clone()).expect("a place");
    while core.step() == Turn::Ran {
        core.check();
    }
    let (tokens, ending) = read_all(&mut stream);
    if ending != FinishReason::ConstraintFailed {
        assert_eq!((tokens.clone(), ending), expected(ask), "{ask:?}");
    }
    (tokens.iter().map(|token| token.id).collect(), ending)
}

#[test]
fn nothing_lifts_a_masked_id() {
    let rules = Rules { divisor: 5, ..Rules::any() };
    for sampling in [
        SamplingParams::default(),
        SamplingParams { temperature: 2.0, seed: 3, ..SamplingParams::default() },
        SamplingParams { temperature: 1.0, top_k: 2, top_p: 0.5, ..SamplingParams::default() },
        SamplingParams {
            logit_bias: (0..FAILS).filter(|id| id % 2 == 0).map(|id| (id, 90.0)).collect(),
            ..SamplingParams::default()
        },
        SamplingParams {
            frequency_penalty: -1e30,
            presence_penalty: -1e30,
            repetition_penalty: 0.01,
            ..SamplingParams::default()
        },
    ] {
        // `Rules::accept` asserts that each id was allowed.
        let ask =
            SequenceRequest { sampling, constraint: rules.boxed(), ..request(prompt(1, 10), 40) };
        let (ids, ending) = run(&ask);
        assert_eq!((ids.len(), ending), (40, FinishReason::Length));
    }
}

#[test]
fn logprobs_are_the_models_own() {
    let sampling = SamplingParams { top_logprobs: Some(3), ..SamplingParams::default() };
    let free = SequenceRequest { sampling, ..request(prompt(1, 10), 1) };
    let first = &expected(&free).0[0];
    let others: Vec<u32> = (0..FAILS).filter(|id| *id != first.id).collect();
    let ask = SequenceRequest { constraint: Rules::among(&others).boxed(), ..free };
    run(&ask);
    let token = &expected(&ask).0[0];
    let logprobs = |token: &mizan::engine::SampledToken| token.logprobs.clone().expect("asked for");
    assert_ne!(token.id, first.id);
    assert_eq!(logprobs(token).top, logprobs(first).top);
    assert!(logprobs(token).logprob < logprobs(first).logprob);
}

#[test]
fn it_ends_where_it_may_and_where_it_must() {
    let likes_stop = || only(&[9]);
    let plain = SamplingParams::default;
    let ignoring = SamplingParams { ignore_stop_ids: true, ..likes_stop() };
    let waiting = SamplingParams { min_tokens: 6, ..likes_stop() };
    let rules = |min, max| Rules { min, max, ..Rules::any() };
    let late = |min, max| Rules { tells_end: false, ..rules(min, max) };
    use FinishReason::{ConstraintFailed, Length, Stop};
    for (what, rules, sampling, stop_ids, max_tokens, expected) in [
        ("a stop id where it may end", rules(3, 99), likes_stop(), &[9][..], 20, (3, Stop)),
        ("never a stop id before", rules(99, 99), likes_stop(), &[9], 20, (20, Length)),
        ("all said", rules(5, 5), plain(), &[9], 20, (5, Stop)),
        ("all said, seen later", late(5, 5), plain(), &[9], 20, (5, Stop)),
        ("all said, no stop id", late(5, 5), plain(), &[], 20, (5, Stop)),
        ("all said, stop ids ignored", rules(5, 5), ignoring.clone(), &[9], 20, (5, Stop)),
        ("all said, ignored, later", late(5, 5), ignoring.clone(), &[9], 20, (5, Stop)),
        ("may end, stop ids ignored", rules(3, 99), ignoring, &[9], 20, (20, Length)),
        ("may end, but not so soon", rules(3, 99), waiting.clone(), &[9], 20, (6, Stop)),
        ("all said too soon", late(3, 3), waiting, &[9], 20, (3, Stop)),
        ("all said at the last token", rules(5, 5), plain(), &[9], 5, (5, Stop)),
        ("cut at the last token", late(6, 6), plain(), &[9], 5, (5, Length)),
        ("nothing to say", late(0, 0), plain(), &[9], 5, (0, Stop)),
        ("only a stop id of the caller's", Rules::among(&[7]), plain(), &[7], 5, (0, Stop)),
        ("nothing allowed", Rules::among(&[]), plain(), &[9], 5, (0, ConstraintFailed)),
        ("broken", Rules { breaks_at: 4, ..Rules::any() }, plain(), &[], 9, (4, ConstraintFailed)),
    ] {
        let ask = SequenceRequest {
            sampling,
            stop_ids: stop_ids.into(),
            constraint: rules.boxed(),
            ..request(prompt(2, 10), max_tokens)
        };
        let (ids, ending) = run(&ask);
        assert_eq!((ids.len(), ending), expected, "{what}");
    }
}

#[test]
fn a_broken_one_ends_its_own_sequence_only() {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let broken = Rules { breaks_at: 3, ..Rules::any() }.boxed();
    let asks = [
        request(prompt(1, 10), 20),
        SequenceRequest { constraint: broken, ..request(prompt(2, 10), 20) },
        SequenceRequest { constraint: Rules::any().boxed(), ..request(prompt(3, 10), 20) },
    ];
    let mut streams = asks.each_ref().map(|ask| engine.submit(ask.clone()).expect("a place"));
    while core.step() == Turn::Ran {
        core.check();
    }
    let [first, second, third] = streams.each_mut().map(read_all);
    assert_eq!(first, expected(&asks[0]));
    assert_eq!((second.0.len(), second.1), (3, FinishReason::ConstraintFailed));
    assert_eq!(third, expected(&asks[2]));
}

#[test]
fn drafts_stay_within_it_and_are_still_accepted() {
    for (ids, divisor) in [(&[7][..], 1), (&[7, 8], 1), (&[3, 4, 5, 6, 7], 3)] {
        let mut accepted = 0;
        for seed in 0..8 {
            let rules = Rules { divisor, min: 30, max: 55, ..Rules::among(ids) };
            let sampling = SamplingParams { temperature: 1.0, seed, ..SamplingParams::default() };
            // A divisor may leave nothing; then it fails, and that is not what this is about.
            let rules =
                if divisor == 1 { rules } else { Rules { ids: (0..FAILS).collect(), ..rules } };
            let ask = SequenceRequest {
                sampling,
                stop_ids: [9].into(),
                constraint: rules.boxed(),
                ..request(prompt(4, 20), 60)
            };
            let mut all = Vec::new();
            for speculative_rows in [0, 8] {
                let options = EngineOptions { speculative_rows, ..fake::options(64) };
                let (engine, mut core) = fake::by_hand(options);
                let mut stream = engine.submit(ask.clone()).expect("a place");
                while core.step() == Turn::Ran {
                    core.check();
                }
                all.push(read_all(&mut stream));
                accepted += engine.stats().accepted_tokens;
            }
            assert_eq!(all[0], expected(&ask), "{ids:?}, {seed}");
            assert_eq!(all[1], all[0], "{ids:?}, {seed}");
        }
        assert!(ids.len() > 2 || accepted > 50, "{accepted} of {ids:?}");
    }
}

#[test]
fn the_next_mask_is_asked_for_before_it_is_needed() -> Result<(), SubmitError> {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let rules = Rules::any();
    let constraint = rules.boxed();
    let _stream = engine.submit(SequenceRequest { constraint, ..request(prompt(1, 100), 20) })?;
    assert_eq!(rules.prepared.load(SeqCst), 1, "while the prompt is computed");
    let mut steps = 0;
    while engine.stats().generated_tokens < 5 {
        core.step();
        steps += usize::from(engine.stats().generated_tokens > 0);
        assert_eq!(rules.prepared.load(SeqCst), 1 + steps);
    }
    Ok(())
}
