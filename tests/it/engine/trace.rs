//! What the scheduler does, step by step, as text.
//!
//! Setup: `blocks N`, `batch N`, `budget N` (rows in a step), `drafts N` (rows up to which ids are
//! drafted), `no cache`. Script: `add NAME PROMPT+OUTPUT [lane N] [like NAME] [says ID]`,
//! `step [N]`, `skip N` (steps that are not shown), `read NAME [N]`, `drop NAME`. The prompt of
//! `like NAME` starts with as many ids of that one's; who `says ID` outputs nothing else. Every
//! other step is a line.

use std::collections::HashMap;

use mizan::engine::{Action, EngineOptions, Event, FinishReason, SequenceStream, Turn};

use super::fake;

fn check(setup: &str, script: &str, expect: &str) {
    let (max_batch, max_step_tokens, speculative_rows) = (4, 16, 0);
    let mut options =
        EngineOptions { max_batch, max_step_tokens, speculative_rows, ..fake::options(8) };
    for part in setup.split(", ") {
        match part.split_once(' ').expect("a word and a value") {
            ("blocks", n) => options.num_blocks = n.parse().expect("a number"),
            ("batch", n) => options.max_batch = n.parse().expect("a number"),
            ("budget", n) => options.max_step_tokens = n.parse().expect("a number"),
            ("drafts", n) => options.speculative_rows = n.parse().expect("a number"),
            ("no", "cache") => options.prefix_cache = false,
            _ => panic!("setup: {part}"),
        }
    }
    let (engine, mut core) = fake::by_hand(options);
    let mut names: Vec<String> = Vec::new();
    let mut prompts: HashMap<String, Vec<u32>> = HashMap::new();
    let mut streams: HashMap<String, SequenceStream> = HashMap::new();
    let mut trace = Vec::new();
    for statement in script.split(';').map(str::trim).filter(|s| !s.is_empty()) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let count = |at: usize| words.get(at).map_or(1, |n| n.parse().expect("a number"));
        match words[0] {
            "add" => {
                let name = words[1];
                let (prompt_len, max_tokens) = words[2].split_once('+').expect("PROMPT+OUTPUT");
                let prompt_len = prompt_len.parse().expect("a number");
                let number = |key| {
                    let at = words.iter().position(|&word| word == key)?;
                    Some(words[at + 1])
                };
                let mut prompt = fake::prompt(names.len() as u32, prompt_len);
                if let Some(model) = number("like") {
                    let shared = prompts[model].iter().copied();
                    prompt.iter_mut().zip(shared).for_each(|(id, like)| *id = like);
                }
                let mut request = fake::request(prompt, max_tokens.parse().expect("a number"));
                request.lane = number("lane").map_or(0, |lane| lane.parse().expect("a number"));
                if let Some(id) = number("says") {
                    request.sampling = fake::only(&[id.parse().expect("a number")]);
                }
                names.push(name.to_owned());
                prompts.insert(name.to_owned(), request.prompt.clone());
                streams.insert(name.to_owned(), engine.submit(request).expect("a place"));
            }
            "skip" => {
                for _ in 0..count(1) {
                    assert_eq!(core.step(), Turn::Ran);
                    core.check();
                }
            }
            "step" => {
                for _ in 0..count(1) {
                    let turn = core.step();
                    core.check();
                    let mut line: Vec<String> =
                        core.actions().iter().map(|action| show(action, &names)).collect();
                    if turn == Turn::Idle {
                        line.push("idle".to_owned());
                    }
                    trace.push(line.join("; "));
                }
            }
            "read" => {
                for _ in 0..count(2) {
                    let event = streams.get_mut(words[1]).and_then(SequenceStream::try_next);
                    assert!(matches!(event, Some(Event::Token(_))), "{statement}: {event:?}");
                }
            }
            "drop" => drop(streams.remove(words[1])),
            _ => panic!("script: {statement}"),
        }
    }
    let expect: Vec<&str> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(trace, expect, "got:\n{}\n", trace.join("\n"));
}

fn show(action: &Action, names: &[String]) -> String {
    let name = |id: &u64| &names[*id as usize];
    match action {
        Action::Admit(id, 0) => format!("admit {}", name(id)),
        Action::Admit(id, cached) => format!("admit {} cached {cached}", name(id)),
        Action::CatchUp(id, computed) => format!("catch up {}[..{computed}]", name(id)),
        Action::Preempt(id) => format!("preempt {}", name(id)),
        Action::Pause(id) => format!("pause {}", name(id)),
        Action::Resume(id) => format!("resume {}", name(id)),
        Action::Abort(id) => format!("abort {}", name(id)),
        Action::Prefill(id, rows) => format!("prefill {}[{}..{}]", name(id), rows.start, rows.end),
        Action::Decode(id) => format!("decode {}", name(id)),
        Action::Draft(id, drafted) => format!("draft {} {drafted}", name(id)),
        Action::Accept(id, accepted) => format!("accept {} {accepted}", name(id)),
        Action::Presume(id) => format!("presume {}", name(id)),
        Action::Discard(id) => format!("discard {}", name(id)),
        Action::Finish(id, reason) => {
            let reason = match reason {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
                FinishReason::Aborted => "aborted",
                FinishReason::Failed => "failed",
                FinishReason::ConstraintFailed => "constraint_failed",
            };
            format!("finish {} {reason}", name(id))
        }
    }
}

#[test]
fn a_prompt_is_computed_in_chunks_beside_those_that_decode() {
    check(
        "blocks 8, budget 16",
        "add a 10+4; step; add b 20+2; step 4",
        "admit a; prefill a[0..10]
         admit b; decode a; prefill b[0..15]
         decode a; prefill b[15..20]
         decode a; decode b; finish a length; finish b length
         idle",
    );
}

#[test]
fn a_sequence_of_one_id_and_one_token_is_one_step() {
    check("blocks 1", "add a 1+1; step 2", "admit a; prefill a[0..1]; finish a length\nidle");
}

#[test]
fn of_prompts_that_come_together_and_begin_alike_one_is_computed() {
    check(
        "blocks 16, budget 48",
        "add a 40+1; add b 40+1 like a; add c 33+1 like a; step 3",
        "admit a; admit b; prefill a[0..40]; prefill b[0..8]; finish a length
         admit c cached 32; catch up b[..32]; prefill c[32..33]; prefill b[32..40]; \
         finish b length; finish c length
         idle",
    );
}

#[test]
fn equal_prefixes_are_found_in_whole_blocks_and_the_last_id_is_computed() {
    check(
        "blocks 8, budget 64",
        "add a 40+1; step; add b 40+1 like a; step; add c 32+1 like a; step",
        "admit a; prefill a[0..40]; finish a length
         admit b cached 32; prefill b[32..40]; finish b length
         admit c cached 16; prefill c[16..32]; finish c length",
    );
}

#[test]
fn a_prefix_is_found_while_its_prompt_is_still_being_computed() {
    check(
        "blocks 8, budget 17",
        "add a 40+1; step; add b 20+1 lane 1 like a; step 2",
        // Of lanes that were served alike, the first one goes on; then it is the other's turn.
        "admit a; prefill a[0..17]
         admit b cached 16; prefill a[17..34]
         prefill b[16..20]; prefill a[34..40]; finish b length; finish a length",
    );
}

#[test]
fn without_a_prefix_cache_nothing_is_found() {
    check(
        "blocks 8, budget 64, no cache",
        "add a 40+1; step; add b 40+1 like a; step",
        "admit a; prefill a[0..40]; finish a length
         admit b; prefill b[0..40]; finish b length",
    );
}

#[test]
fn the_longest_unused_block_is_evicted_and_of_a_prefix_the_end() {
    check(
        "blocks 4, budget 64",
        // a leaves two full blocks; b needs three and evicts a's second one; a's first is found.
        "add a 33+1; step; add b 40+1; step; add a2 33+1 like a; step",
        "admit a; prefill a[0..33]; finish a length
         admit b; prefill b[0..40]; finish b length
         admit a2 cached 16; prefill a2[16..33]; finish a2 length",
    );
}

#[test]
fn admission_waits_for_blocks_and_spares_one_for_each_that_would_run() {
    check(
        "blocks 4, budget 64",
        "add a 20+3; step; add b 16+2; step; step; step",
        // a has two blocks; b needs one, and two are to be spared.
        "admit a; prefill a[0..20]
         decode a
         decode a; finish a length
         admit b; prefill b[0..16]",
    );
}

#[test]
fn whoever_was_admitted_last_is_preempted_and_computes_its_ids_again() {
    check(
        "blocks 5, budget 64, no cache",
        // Both have two blocks; with 33 ids each they need three, and there are five.
        "add a 15+40; add b 15+20; step; skip 17; step; skip 20; step 4",
        "admit a; admit b; prefill a[0..15]; prefill b[0..15]
         preempt b; decode a
         decode a; finish a length
         admit b; prefill b[0..33]
         decode b; finish b length
         idle",
    );
}

#[test]
fn with_a_prefix_cache_a_preempted_sequence_finds_what_was_not_taken() {
    check(
        "blocks 5, budget 64",
        "add a 15+33; add b 15+20; step; skip 17; step; skip 13; step 3",
        // a took b's last block, and the others stayed.
        "admit a; admit b; prefill a[0..15]; prefill b[0..15]
         preempt b; decode a
         decode a; finish a length
         admit b cached 32; decode b
         decode b; finish b length",
    );
}

#[test]
fn the_best_served_lane_pays_for_memory_not_the_last_admitted() {
    check(
        "blocks 5, budget 64, no cache",
        // Lane 1 has had the longer prompt, but b, of lane 2, was admitted last.
        "add a 16+40 lane 1; add b 14+40 lane 2; step; skip 18; step 2",
        "admit a; admit b; prefill a[0..16]; prefill b[0..14]
         preempt a; decode b
         decode b",
    );
}

#[test]
fn the_next_sequence_is_of_the_least_served_lane() {
    check(
        "blocks 8, batch 1",
        "add a 10+1 lane 1; add b 10+1 lane 1; add c 4+1 lane 2; add d 4+1 lane 2; step 4",
        "admit a; prefill a[0..10]; finish a length
         admit c; prefill c[0..4]; finish c length
         admit d; prefill d[0..4]; finish d length
         admit b; prefill b[0..10]; finish b length",
    );
}

#[test]
fn a_long_prompt_does_not_hold_up_a_lane_that_is_behind() {
    check(
        "blocks 8, budget 10",
        "add a 60+1 lane 1; add b 12+1 lane 1; step; add c 12+1 lane 2; step 4",
        // b waits for its lane's turn; c shares the step with a.
        "admit a; prefill a[0..10]
         admit c; prefill a[10..20]
         prefill c[0..10]
         prefill a[20..30]
         prefill c[10..12]; prefill a[30..38]; finish c length",
    );
}

#[test]
fn a_dropped_stream_is_gone_at_the_next_step_wherever_its_sequence_is() {
    check(
        "blocks 8, batch 1",
        "add a 10+9; add b 10+9; step; drop b; step; drop a; step; add c 1+1; drop c; step",
        "admit a; prefill a[0..10]
         abort b; decode a
         abort a; idle
         abort c; idle",
    );
}

#[test]
fn a_sequence_whose_reader_is_behind_owns_nothing_until_it_has_caught_up() {
    check(
        "blocks 8, budget 64",
        // 63 of 64 events: the last place is for the ending.
        "add a 10+100; add b 10+1 lane 1; skip 62; step 2; add c 100+1 lane 2; step; \
         read a 30; step; read a; step 2; drop a; step",
        "decode a; pause a
         idle
         admit c; prefill c[0..64]
         prefill c[64..100]; finish c length
         resume a; admit a cached 16; prefill a[16..73]
         decode a
         abort a; idle",
    );
}

#[test]
fn repeats_are_drafted_and_no_further_than_what_may_be_sampled() {
    check(
        "blocks 8, drafts 8",
        // Two ids must have come before, and one after them.
        "add a 10+20 says 55; step 6",
        "admit a; prefill a[0..10]
         decode a
         decode a
         decode a; draft a 3; accept a 3
         decode a; draft a 6; accept a 6
         decode a; draft a 5; accept a 5; finish a length",
    );
}

#[test]
fn drafts_share_the_rows_that_few_sequences_leave() {
    check(
        "blocks 8, drafts 8",
        "add a 6+30 says 55; add b 5+30 says 56; add c 5+30 says 57; skip 4; step",
        "decode a; decode b; decode c; draft a 2; draft b 2; draft c 1; \
         accept a 2; accept b 2; accept c 1",
    );
}

#[test]
fn nothing_is_drafted_beside_a_prompt_or_where_others_take_the_rows() {
    check(
        "blocks 8, drafts 2",
        "add a 10+20 says 55; skip 3; step; add b 6+4 says 56; step 4; add c 20+1; step 3",
        "decode a; draft a 1; accept a 1
         admit b; decode a; prefill b[0..6]
         decode a; decode b
         decode a; decode b
         decode a; decode b; finish b length
         admit c; decode a; prefill c[0..15]
         decode a; prefill c[15..20]; finish c length
         decode a; draft a 1; accept a 1",
    );
}

#[test]
fn a_draft_takes_no_block_that_a_sequence_may_need() {
    check(
        "blocks 2, drafts 8",
        // The other block is the last: no draft goes into it before the next id does.
        "add a 11+21 says 55; skip 3; step 4",
        "decode a; draft a 2; accept a 2
         decode a; draft a 5; accept a 5
         decode a; draft a 7; accept a 7
         decode a; finish a length",
    );
    check(
        "blocks 3, drafts 8",
        "add a 11+21 says 55; skip 3; step 3",
        "decode a; draft a 3; accept a 3
         decode a; draft a 6; accept a 6
         decode a; draft a 6; accept a 6; finish a length",
    );
}
