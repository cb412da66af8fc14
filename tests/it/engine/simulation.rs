//! The engine under seeded arrivals, departures and slow readers, in pools too small for comfort:
//! whatever happens around it, a sequence yields the plain function of its ids.

use mizan::engine::sampler::uniform;
use mizan::engine::{
    Action, Constraint, EmbeddingRequest, EmbeddingStream, Engine, EngineCore, EngineOptions,
    Event, FinishReason, Pooling, SampledToken, SamplingParams, SequenceRequest, SequenceStream,
    Stats, SubmitError, TokenLogprobs, Turn,
};
use mizan::model::BLOCK_SIZE;

use super::constrained::Rules;
use super::fake::{self, VOCAB};

#[test]
fn every_output_is_the_plain_function_of_its_ids() {
    let Seen { presumed, .. } = simulate(fake::by_hand_with);
    assert_eq!(presumed, 0, "tokens that are chosen here are known");
}

/// Also where the next step is made before the last one's tokens are known.
#[test]
fn so_it_is_of_a_model_that_chooses_beside_the_engine() {
    let Seen { presumed, discarded, .. } = simulate(fake::by_hand_beside);
    assert!(presumed >= 5000, "only {presumed} tokens were presumed");
    assert!(discarded >= 50, "only {discarded} of them were none");
}

/// Makes an engine of a model with so many rows of logits in a step.
type Make = fn(EngineOptions, usize) -> (Engine, EngineCore);

fn simulate(make: Make) -> Seen {
    let mut seen = Seen::default();
    for seed in 0..200 {
        Simulation::new(seed, make).run(&mut seen);
    }
    // The simulation is worth something only if it reaches all this.
    let Seen { preemptions, cached, pauses, resumes, aborts, refused, stops, .. } = seen;
    let Seen { accepted, rejected, scored, embedded, .. } = seen;
    for (what, count) in [
        ("preemptions", preemptions),
        ("cached prompts", cached),
        ("pauses", pauses),
        ("resumes", resumes),
        ("aborts", aborts),
        ("refused for a full queue", refused),
        ("endings by a stop id", stops),
        ("drafted ids accepted", accepted),
        ("drafted ids rejected", rejected),
        ("scored prompts", scored),
        ("vectors", embedded),
    ] {
        assert!(count >= 50, "only {count} {what}");
    }
    seen
}

#[derive(Clone, Copy, Default)]
struct Seen {
    preemptions: usize,
    cached: usize,
    pauses: usize,
    resumes: usize,
    aborts: usize,
    refused: usize,
    stops: usize,
    accepted: usize,
    rejected: usize,
    scored: usize,
    embedded: usize,
    presumed: usize,
    discarded: usize,
}

struct Simulation {
    seed: u64,
    num_random: u64,
    engine: Engine,
    core: EngineCore,
    readers: Vec<Reader>,
    embeddings: Vec<(EmbeddingRequest, EmbeddingStream)>,
}

struct Reader {
    request: SequenceRequest,
    stream: SequenceStream,
    scores: Option<Vec<TokenLogprobs>>,
    tokens: Vec<SampledToken>,
    ending: Option<FinishReason>,
    is_slow: bool,
}

impl Simulation {
    fn new(seed: u64, make: Make) -> Self {
        let mut draws = 0;
        let mut draw = |low: usize, high: usize| {
            draws += 1;
            low + (uniform(seed, draws) * (high - low) as f64) as usize
        };
        let options = EngineOptions {
            max_batch: draw(1, 9),
            max_step_tokens: draw(1, 40),
            max_waiting: draw(1, 8),
            num_blocks: draw(2, 40),
            prefix_cache: draw(0, 3) > 0,
            speculative_rows: draw(0, 2) * draw(2, 20),
            ..fake::options(0)
        };
        let (engine, core) = make(options, draw(2, 40));
        let (readers, embeddings) = (Vec::new(), Vec::new());
        Self { seed, num_random: 1000, engine, core, readers, embeddings }
    }

    /// A number in `[low, high)`.
    fn draw(&mut self, low: usize, high: usize) -> usize {
        self.num_random += 1;
        low + (uniform(self.seed, self.num_random) * (high - low) as f64) as usize
    }

    fn run(mut self, seen: &mut Seen) {
        for _ in 0..300 {
            match self.draw(0, 60) {
                0..=14 => self.submit(seen),
                15 => self.drop_one(),
                16 | 17 => self.embed(),
                _ => {}
            }
            self.step(seen);
            for index in 0..self.readers.len() {
                let is_reading = !self.readers[index].is_slow || self.draw(0, 250) == 0;
                if is_reading {
                    let most = self.draw(1, 100);
                    self.readers[index].read(most);
                }
            }
        }
        // Now everyone reads, and everything ends.
        for _ in 0..20_000 {
            if self.step(seen) == Turn::Idle && self.readers.iter().all(|r| r.ending.is_some()) {
                break;
            }
            for reader in &mut self.readers {
                reader.read(usize::MAX);
            }
        }
        for reader in &self.readers {
            let (tokens, ending) = fake::expected(&reader.request);
            assert_eq!(reader.ending, Some(ending), "seed {}, {:?}", self.seed, reader.request);
            assert_eq!(reader.tokens, tokens, "seed {}, {:?}", self.seed, reader.request);
            reader.check_scores(self.seed);
            seen.scored += usize::from(reader.scores.is_some());
            seen.cached += usize::from(reader.stream.cached_tokens() > 0);
            seen.stops += usize::from(ending == FinishReason::Stop);
        }
        for (request, stream) in &mut self.embeddings {
            let expected = fake::expected_vector(request);
            assert_eq!(stream.blocking_vector(), Ok(expected), "seed {}, {request:?}", self.seed);
            seen.embedded += 1;
        }
        let Stats { blocks, drafted_tokens, accepted_tokens, .. } = self.engine.stats();
        seen.accepted += accepted_tokens as usize;
        seen.rejected += (drafted_tokens - accepted_tokens) as usize;
        assert_eq!(blocks.owned, 0);
        assert_eq!(blocks.free + blocks.cached, blocks.total);
    }

    fn step(&mut self, seen: &mut Seen) -> Turn {
        let turn = self.core.step();
        self.core.check();
        for action in self.core.actions() {
            match action {
                Action::Preempt(_) => seen.preemptions += 1,
                Action::Pause(_) => seen.pauses += 1,
                Action::Resume(_) => seen.resumes += 1,
                Action::Abort(_) => seen.aborts += 1,
                Action::Presume(_) => seen.presumed += 1,
                Action::Discard(_) => seen.discarded += 1,
                _ => {}
            }
        }
        turn
    }

    fn draw_prompt(&mut self) -> Vec<u32> {
        let prompt_len = self.draw(1, self.engine.max_sequence_len());
        // Few families of prompts, so that many start alike and part somewhere.
        let family = self.draw(0, 3) as u32;
        let mut prompt = fake::prompt(family, prompt_len);
        let parting = self.draw(0, 2 * prompt_len);
        for id in prompt.iter_mut().skip(parting) {
            *id = (*id + 1) % 50;
        }
        prompt
    }

    /// One in five is dropped before its vector is there, perhaps.
    fn embed(&mut self) {
        let prompt = self.draw_prompt();
        let pooling = [Pooling::Mean, Pooling::First, Pooling::Last][self.draw(0, 3)];
        let request = EmbeddingRequest { lane: self.draw(0, 3) as u64, prompt, pooling };
        let Ok(stream) = self.engine.embed(request.clone()) else { return };
        self.embeddings.push((request, stream));
        if self.draw(0, 5) == 0 {
            let index = self.draw(0, self.embeddings.len());
            self.embeddings.swap_remove(index);
        }
    }

    fn submit(&mut self, seen: &mut Seen) {
        let prompt = self.draw_prompt();
        let max_more = self.engine.max_sequence_len() - prompt.len();
        let has_stops = self.draw(0, 2) == 0;
        let request = SequenceRequest {
            lane: self.draw(0, 3) as u64,
            max_tokens: self.draw(1, 200).min(max_more),
            stop_ids: if has_stops { [3, 17].into() } else { [].into() },
            sampling: self.draw_repeats(),
            constraint: self.draw_constraint(),
            prompt,
        };
        match self.engine.submit(request.clone()) {
            Ok(stream) => {
                let is_slow = self.draw(0, 2) == 0;
                let (scores, tokens, ending) = (None, Vec::new(), None);
                self.readers.push(Reader { request, stream, scores, tokens, ending, is_slow });
            }
            Err(SubmitError::QueueFull { .. }) => seen.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }

    /// Every other request says only a few ids, so that drafts are right, half right and wrong.
    fn draw_repeats(&mut self) -> SamplingParams {
        let mut sampling = self.draw_sampling();
        if self.draw(0, 5) == 0 {
            sampling.prompt_logprobs = Some(self.draw(0, 3));
        }
        if self.draw(0, 2) == 0 {
            return sampling;
        }
        let first = self.draw(0, 18) as u32;
        let ids: Vec<u32> = (first..).take(self.draw(1, 4)).collect();
        SamplingParams { logit_bias: fake::only(&ids).logit_bias, ..sampling }
    }

    fn draw_sampling(&mut self) -> SamplingParams {
        let greedy = SamplingParams::default();
        match self.draw(0, 4) {
            0 => greedy,
            1 => SamplingParams { temperature: 1.0, seed: self.draw(0, 9) as u64, ..greedy },
            2 => SamplingParams {
                temperature: 0.8,
                top_k: self.draw(0, VOCAB + 2),
                top_p: 0.9,
                seed: self.draw(0, 9) as u64,
                top_logprobs: Some(self.draw(0, 4)),
                ..greedy
            },
            _ => SamplingParams {
                repetition_penalty: 1.3,
                frequency_penalty: 0.4,
                presence_penalty: 0.2,
                logit_bias: vec![(5, 2.0), (6, -100.0)],
                min_tokens: self.draw(0, 30),
                ignore_stop_ids: self.draw(0, 2) == 0,
                ..greedy
            },
        }
    }

    /// A third has rules: few ids or many, an end soon, late or never.
    fn draw_constraint(&mut self) -> Option<Box<dyn Constraint>> {
        if self.draw(0, 3) > 0 {
            return None;
        }
        let (min, tells_end) = (self.draw(0, 60), self.draw(0, 2) == 0);
        let max = min + self.draw(0, 60);
        let few = self.draw(0, 50) as u32;
        let rules = match self.draw(0, 2) {
            0 => Rules::among(&[few, few + 1]),
            _ => Rules { divisor: self.draw(1, 8) as u32, ..Rules::any() },
        };
        Rules { min, max, tells_end, ..rules }.boxed()
    }

    /// Drops a stream; what it had yielded must be right too.
    fn drop_one(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let index = self.draw(0, self.readers.len());
        let reader = self.readers.swap_remove(index);
        let (tokens, _) = fake::expected(&reader.request);
        assert_eq!(reader.tokens, tokens[..reader.tokens.len()], "seed {}", self.seed);
        if reader.scores.is_some() || !reader.tokens.is_empty() {
            reader.check_scores(self.seed);
        }
    }
}

impl Reader {
    fn check_scores(&self, seed: u64) {
        let Self { request, scores, .. } = self;
        let num_top = request.sampling.prompt_logprobs;
        let expected = num_top.map(|top| fake::expected_scores(&request.prompt, top));
        assert_eq!(*scores, expected, "seed {seed}, {request:?}");
    }

    fn read(&mut self, most: usize) {
        for _ in 0..most {
            match self.stream.try_next() {
                Some(Event::Prompt(scores)) => self.scores = Some(scores),
                Some(Event::Vector(vector)) => panic!("nobody asked for {vector:?}"),
                Some(Event::Token(token)) => self.tokens.push(token),
                Some(Event::Finished(reason)) => self.ending = Some(reason),
                None => break,
            }
        }
    }
}

#[test]
fn memory_is_owned_by_those_who_run_and_shared_by_equal_prefixes() {
    let (engine, mut core) = fake::by_hand(fake::options(64));
    let shared = fake::prompt(1, 10 * BLOCK_SIZE);
    let mut streams = Vec::new();
    for last in 0..4 {
        let mut prompt = shared.clone();
        prompt.push(last);
        streams.push(engine.submit(fake::request(prompt, 100)).expect("a place"));
        while engine.stats().generated_tokens == u64::from(last) {
            core.step();
            core.check();
        }
    }
    // Ten blocks together, and one each.
    assert_eq!(engine.stats().blocks.owned, 10 + 4);
    assert_eq!(engine.stats().cached_tokens, 3 * 10 * BLOCK_SIZE as u64);
    assert_eq!(streams[3].cached_tokens(), 10 * BLOCK_SIZE);
    drop(streams);
    assert_eq!(core.step(), Turn::Idle);
    assert_eq!(engine.stats().blocks.owned, 0);
}

#[test]
fn equal_prompts_computed_together_end_up_in_the_same_blocks() {
    let options = EngineOptions { max_step_tokens: 1000, ..fake::options(64) };
    let (engine, mut core) = fake::by_hand(options);
    let submit =
        || engine.submit(fake::request(fake::prompt(1, 5 * BLOCK_SIZE + 1), 9)).expect("a place");
    let mut streams = [submit(), submit(), submit()];
    core.step();
    core.check();
    assert_eq!(engine.stats().blocks.owned, 5 + 3);
    while core.step() == Turn::Ran {
        core.check();
    }
    let all = streams.each_mut().map(fake::read_all);
    assert_eq!(all[0], fake::expected(&fake::request(fake::prompt(1, 5 * BLOCK_SIZE + 1), 9)));
    assert!(all[1] == all[0] && all[2] == all[0]);
}
