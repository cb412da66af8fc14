//! Grammars in the engine, on the real default model: always valid at the end, and the same alone
//! as with others.

use std::sync::Arc;

use mizan::engine::{
    Engine, EngineOptions, Event, FinishReason, SPECULATIVE_ROWS, SamplingParams, SequenceRequest,
};
use mizan::grammar::Grammar;
use mizan::model::executor::cpu::CpuExecutor;
use mizan::model::{Decoder, DecoderShape, ExecutorLimits, Model};
use mizan::text::Specials;
use serde_json::{Value, json};

use super::smollm2;
use crate::support::{all_cores, models};

fn start(speculative_rows: usize) -> Engine {
    let model = Arc::new(Model::open(&models::path("smollm2-135m-instruct")).unwrap());
    let limits = ExecutorLimits { max_tokens: 128, max_outputs: 8, num_blocks: 256, threads: 2 };
    let executor = CpuExecutor::new(Arc::clone(&model), limits).unwrap();
    let shape = DecoderShape::new(&model.config, &limits);
    let options = EngineOptions {
        max_batch: 8,
        max_step_tokens: 128,
        max_waiting: 100,
        num_blocks: 256,
        prefix_cache: true,
        speculative_rows,
        name: "grammar".to_owned(),
    };
    Engine::start(Decoder::new(Box::new(executor), shape), options).unwrap()
}

fn ask(grammar: Option<&Grammar>, seed: u64, max_tokens: usize) -> SequenceRequest {
    let vocabulary = smollm2();
    let prompt = "<|im_start|>user\nDescribe a person as JSON.<|im_end|>\n<|im_start|>assistant\n";
    let temperature = if seed == 0 { 0.0 } else { 0.9 };
    SequenceRequest {
        lane: seed,
        prompt: vocabulary.tokenizer.encode(prompt, Specials::Parse),
        max_tokens,
        stop_ids: vocabulary.tokenizer.end_of_turn().into(),
        sampling: SamplingParams { temperature, seed, ..SamplingParams::default() },
        constraint: grammar.map(|grammar| vocabulary.compile(grammar).unwrap()),
    }
}

fn run(engine: &Engine, asks: Vec<SequenceRequest>) -> Vec<(Vec<u32>, FinishReason)> {
    let mut streams: Vec<_> = asks.into_iter().map(|ask| engine.submit(ask).unwrap()).collect();
    let read = |stream: &mut mizan::engine::SequenceStream| {
        let mut ids = Vec::new();
        loop {
            match stream.blocking_next().unwrap() {
                Event::Token(token) => ids.push(token.id),
                Event::Finished(reason) => return (ids, reason),
                Event::Prompt(_) | Event::Vector(_) => panic!("nobody asked for it"),
            }
        }
    };
    streams.iter_mut().map(read).collect()
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 30},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "hobbies": {"type": "array", "items": {"type": "string", "maxLength": 20},
                "minItems": 1, "maxItems": 4},
            "married": {"type": "boolean"},
        },
        "required": ["name", "age", "hobbies", "married"],
        "additionalProperties": false,
    })
}

#[test]
fn a_model_says_json_that_fits_alone_and_with_others() {
    let _cores = all_cores();
    let schema = person();
    let grammar = Grammar::JsonSchema { schema: schema.clone(), strict: true };
    let engine = start(SPECULATIVE_ROWS);
    let asks = || (0..6).map(|seed| ask(Some(&grammar), seed, 200));
    let together = run(&engine, asks().collect());
    for (seed, (ids, ending)) in together.iter().enumerate() {
        let text = smollm2().text(ids);
        assert_eq!(*ending, FinishReason::Stop, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(super::fits::fits(&schema, &value, &schema), "{text}");
        let alone = run(&start(0), vec![ask(Some(&grammar), seed as u64, 200)]);
        assert_eq!(alone[0], (ids.clone(), *ending), "seed {seed}");
    }
}
