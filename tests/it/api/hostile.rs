//! Requests that nobody would write: whatever is in them, the answer is one of ours, and the books
//! stay right.

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, OPTIONAL, chat, completion};
use crate::support::random::Random;
use crate::support::server::{Server, Setup};

/// Any JSON, of the values that mean something somewhere more than chance would have.
fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 9 } else { 13 }) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(false),
        3 => json!(random.below(5) as i64 - 1),
        4 => json!(random.below(2_000) as f64 / 500.0 - 1.0),
        5 => [json!(i64::MIN), json!(u64::MAX), json!(1e300), json!(-0.0)][random.below(4)].clone(),
        6 => json!(random.pick(&["", "x", "scripted", "<|user|>", "\u{0}\u{FFFD}\u{1F600}"])),
        7 => json!(random.pick(&["none", "auto", "text", "user", "assistant", "tool"])),
        8 => json!("long ".repeat(random.below(400))),
        9 | 10 => (0..random.below(4)).map(|_| value(random, depth - 1)).collect(),
        _ => {
            let names =
                ["role", "content", "type", "text", "5", "include_usage", "tool_calls", "name"];
            let fields = (0..random.below(5))
                .map(|_| (random.pick(&names).to_owned(), value(random, depth - 1)));
            Value::Object(fields.collect())
        }
    }
}

#[tokio::test]
async fn no_request_makes_the_server_fail() {
    let server = Server::start(Setup { credits: 100_000, ..Setup::saying(&["a", "b"]) });
    let fields = [&OPTIONAL[..], &["model", "messages", "prompt"]].concat();
    for seed in 0..600 {
        let mut random = Random(seed);
        let (path, mut body) = match random.below(2) {
            0 => (CHAT, chat(json!({}))),
            _ => (COMPLETIONS, completion(json!({ "max_tokens": 4 }))),
        };
        for _ in 0..=random.below(4) {
            body[random.pick(&fields)] = value(&mut random, 3);
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
