//! The whole of the HTTP side in memory: real router, ledger, engine, tokenizer; a scripted model.
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

mod admin;
mod errors;
mod hostile;
mod idempotency;
mod money;
mod plain;
mod routes;
mod shutdown;
mod streamed;

use serde_json::{Value, json};

use crate::support::server::STANDARD;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A chat request with some fields more.
fn chat(more: Value) -> Value {
    let body = json!({ "model": STANDARD, "messages": [{ "role": "user", "content": "Hi" }] });
    with(body, more)
}

/// A text completion of a prompt that the scripted model answers, with some fields more.
fn completion(more: Value) -> Value {
    with(json!({ "model": STANDARD, "prompt": "Go\n" }), more)
}

fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}
