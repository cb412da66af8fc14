//! While two lanes have sequences waiting, neither is served much more than the other.

use mizan::engine::{EngineOptions, SequenceStream, Turn};
use mizan::model::BLOCK_SIZE;

use super::fake;

#[test]
fn lanes_that_wait_are_served_alike_whatever_they_ask_for() {
    let num_blocks = 24;
    let options = EngineOptions { max_batch: 6, max_step_tokens: 32, ..fake::options(num_blocks) };
    let (engine, mut core) = fake::by_hand(options);
    // Lane 1: long prompts. Lane 2: long answers. Lane 3: small talk, and lots of it.
    let asks = [(1, 90, 3), (2, 4, 90), (3, 5, 5)];
    let mut streams: Vec<(u64, SequenceStream)> = Vec::new();
    let mut number = 0;
    let mut widest = 0;
    for _ in 0..20_000 {
        for (lane, prompt_len, max_tokens) in asks {
            let per_lane = if lane == 3 { 40 } else { 10 };
            while streams.iter().filter(|(of, _)| *of == lane).count() < per_lane {
                number += 1;
                let prompt = fake::prompt(number, prompt_len);
                let mut request = fake::request(prompt, max_tokens);
                request.lane = lane;
                streams.push((lane, engine.submit(request).expect("a place")));
            }
        }
        assert_eq!(core.step(), Turn::Ran);
        let services = [1, 2, 3].map(|lane| core.service(lane));
        let most = services.iter().max().expect("three");
        let least = services.iter().min().expect("three");
        widest = widest.max(most - least);
        streams.retain_mut(|(_, stream)| {
            std::iter::from_fn(|| stream.try_next())
                .all(|event| matches!(event, mizan::engine::Event::Token(_)))
        });
    }
    // The bound of arXiv 2401.00588: twice the larger of the longest prompt and of what the memory
    // holds if all of it were output, which counts twice.
    let bound = 2 * u64::max(90, 2 * (num_blocks * BLOCK_SIZE) as u64);
    let total = core.service(1);
    assert!(widest <= bound, "{widest} apart, at most {bound}");
    assert!(total > 20 * bound, "too short a run to tell: {total}");
}

#[test]
fn a_newcomer_is_not_kept_waiting_by_a_crowd() {
    let options = EngineOptions { max_batch: 2, ..fake::options(64) };
    let (engine, mut core) = fake::by_hand(options);
    let crowd: Vec<SequenceStream> = (0..100)
        .map(|number| engine.submit(fake::request(fake::prompt(number, 20), 10)).expect("a place"))
        .collect();
    core.step();
    let mut request = fake::request(fake::prompt(200, 20), 10);
    request.lane = 1;
    let mut newcomer = engine.submit(request).expect("a place");
    let mut num_steps = 0;
    while newcomer.try_next().is_none() {
        core.step();
        num_steps += 1;
    }
    assert!(num_steps <= 11, "as soon as one of the two in the batch is done, not {num_steps}");
    drop(crowd);
}
