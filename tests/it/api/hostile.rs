//! Requests that nobody would write: whatever is in them, the answer is one of ours, and the books
//! stay right.

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, chat, completion};
use crate::support::server::{Server, Setup};

const FIELDS: [&str; 33] = [
    "model",
    "messages",
    "prompt",
    "stream",
    "stream_options",
    "n",
    "stop",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logit_bias",
    "min_tokens",
    "ignore_eos",
    "max_tokens",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "modalities",
    "chat_template_kwargs",
    "suffix",
    "echo",
    "best_of",
    "user",
];

/// A small generator of numbers (SplitMix64), so that a failure can be had again by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 9 } else { 13 }) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(false),
            3 => json!(self.below(5) as i64 - 1),
            4 => json!(self.below(2_000) as f64 / 500.0 - 1.0),
            5 => {
                [json!(i64::MIN), json!(u64::MAX), json!(1e300), json!(-0.0)][self.below(4)].clone()
            }
            6 => json!(["", "x", "scripted", "<|user|>", "\u{0}\u{FFFD}\u{1F600}"][self.below(5)]),
            7 => json!(["none", "auto", "text", "user", "assistant", "tool"][self.below(6)]),
            8 => json!("long ".repeat(self.below(400))),
            9 | 10 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let names =
                    ["role", "content", "type", "text", "5", "include_usage", "tool_calls", "name"];
                let fields = (0..self.below(5))
                    .map(|_| (names[self.below(names.len())].to_owned(), self.value(depth - 1)));
                Value::Object(fields.collect())
            }
        }
    }
}

#[tokio::test]
async fn no_request_makes_the_server_fail() {
    let server = Server::start(Setup { credits: 100_000, ..Setup::saying(&["a", "b"]) });
    for seed in 0..600 {
        let mut random = Random(seed);
        let (path, mut body) = match random.below(2) {
            0 => (CHAT, chat(json!({}))),
            _ => (COMPLETIONS, completion(json!({ "max_tokens": 4 }))),
        };
        for _ in 0..=random.below(4) {
            body[FIELDS[random.below(FIELDS.len())]] = random.value(3);
        }
        let answer = server.post(path, &body).await;
        let status = answer.status.as_u16();
        assert!([200, 400, 404].contains(&status), "seed {seed}: {status} {} {body}", answer.text);
        if status != 200 {
            let error = &answer.json()["error"];
            let keys: Vec<_> = error.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["message", "type", "param", "code"], "seed {seed}");
            assert!(error["param"].is_string(), "seed {seed}: which field? {error}");
        }
    }
    let charged: i64 = server.meters().iter().map(|meter| meter.credits.0).sum();
    assert_eq!(server.balance(), 100_000 - charged);
    server.verify_books();
}
