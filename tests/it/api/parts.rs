//! Answers that are more than text, and what is charged for them, for the routes whose wire tells
//! of them in items or blocks.

use serde_json::{Value, json};

use crate::support::scripted::Bounds;
use crate::support::server::{Server, Setup};

/// As the usual one, of a model that thinks.
pub(super) const THINKING: &str = "{% for m in messages %}\
    {% if m.role == 'assistant' %}<|assistant|>\
    {% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}\
    {% else %}<|user|>{% endif %}{{ m.content }}{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>\
    {% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}\
    {% endif %}";

/// Text and two calls.
pub(super) const CALLS: [&str; 12] = [
    "I ",
    "see.",
    "<tool_call>",
    "{\"name\": \"weather\", ",
    "\"arguments\": {\"city\": ",
    "\"Doha\"",
    "}}",
    "</tool_call>",
    "<tool_call>",
    "{\"name\": \"time\", \"arguments\": ",
    "{}}",
    "</tool_call>",
];

/// A server whose model says `script`, with room for a prompt that describes tools.
pub(super) fn setup(script: &[&'static str]) -> Setup {
    let bounds = Bounds { context: 2_048, ..Bounds::default() };
    Setup { bounds, ..Setup::saying(script) }
}

/// The charge, the count and the books of the newest answer are `tokens`.
pub(super) fn check_counts(server: &Server, usage: &Value, tokens: u32) {
    let record = server.meters().pop().unwrap();
    assert_eq!((record.output_tokens, record.credits.0), (tokens, i64::from(tokens)));
    assert_eq!((&usage["output_tokens"], &usage["credits"]), (&json!(tokens), &json!(tokens)));
    let stored: usize = record.token_ids.unwrap().values().map(Vec::len).sum();
    assert_eq!(stored, tokens as usize);
    server.verify_books();
}
