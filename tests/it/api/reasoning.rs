//! Models that reason: what they think is told from what they say, in both shapes of an answer.

use serde_json::{Value, json};

use super::money::check_closed;
use super::{CHAT, chat, with};
use crate::support::server::{STANDARD, Server, Setup};

/// Reasons unless it is told not to.
const TEMPLATE: &str = "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>\
    {% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}\
    {% else %}<|user|>{% endif %}{{ m.content }}{% endfor %}<|assistant|>\
    {% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}\
    {% if reasoning_effort %}{{ reasoning_effort }}{% endif %}";

/// Begins the reasoning itself.
const OPEN: &str = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|><think>";

const THOUGHT: [&str; 6] = ["<think>", "\nHm", "m.\n", "</think>", "\n\n", "Hi"];

fn thinking(template: &'static str, script: &[&'static str]) -> Server {
    Server::start(Setup { template, ..Setup::saying(script) })
}

#[tokio::test]
async fn reasoning_is_a_field_of_its_own() {
    let server = thinking(TEMPLATE, &THOUGHT);
    let json = server.post(CHAT, &chat(json!({}))).await.json();
    let message = json!({
        "role": "assistant", "content": "Hi", "refusal": null,
        "reasoning_content": "Hmm.", "reasoning": "Hmm.",
    });
    assert_eq!(json["choices"][0]["message"], message);
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert_eq!(json["usage"]["completion_tokens"], 6);
    assert_eq!(json["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    check_closed(&server, 5_000, 6, "stop").await;
}

#[tokio::test]
async fn reasoning_is_streamed_before_the_text() {
    let server = thinking(TEMPLATE, &THOUGHT);
    server.allow(2);
    let mut stream = server.stream(CHAT, &chat(json!({ "stream": true }))).await;
    let delta = |frame: Option<Value>| frame.unwrap()["choices"][0]["delta"].clone();
    let first = json!({
        "role": "assistant", "content": null, "reasoning_content": "Hm", "reasoning": "Hm",
    });
    assert_eq!(delta(stream.next().await), first);
    server.allow(5);
    let more = json!({ "reasoning_content": "m.", "reasoning": "m." });
    assert_eq!(delta(stream.next().await), more);
    server.allow(usize::MAX);
    assert_eq!(delta(stream.next().await), json!({ "content": "Hi" }));
    assert_eq!(stream.next().await.unwrap()["choices"][0]["finish_reason"], "stop");
    check_closed(&server, 5_000, 6, "stop").await;
}

#[tokio::test]
async fn reasoning_that_the_prompt_begins_or_the_length_cuts() {
    // A script goes on from its marker: the first seven tokens are the prompt's own.
    let server =
        thinking(OPEN, &["<", "t", "h", "i", "n", "k", ">", "Hm", "m.", "\n</think>\n", "Hi"]);
    let message = |json: Value| json["choices"][0]["message"].clone();
    let json = server.post(CHAT, &chat(json!({}))).await.json();
    assert_eq!(message(json.clone())["reasoning_content"], "Hmm.", "{json}");
    assert_eq!(message(json)["content"], "Hi");
    let json = server.post(CHAT, &chat(json!({ "max_tokens": 2 }))).await.json();
    assert_eq!(json["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(message(json.clone())["reasoning"], "Hmm.");
    assert_eq!(message(json)["content"], "");
}

#[tokio::test]
async fn a_model_that_does_not_reason_may_write_the_marks() {
    let server = Server::start(Setup::saying(&["<think>", "a</think>b"]));
    let json = server.post(CHAT, &chat(json!({}))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "<think>a</think>b");
    assert_eq!(json["choices"][0]["message"].get("reasoning"), None);
}

#[tokio::test]
async fn requests_say_how_much_to_reason() {
    let server = thinking(TEMPLATE, &["Hi"]);
    let render = async |more: Value| {
        let user = json!({ "messages": [{ "role": "user", "content": "U" }], "model": STANDARD });
        let answer = server.post("/apply-template", &with(user, more)).await;
        answer.json()["prompt"].as_str().unwrap().to_owned()
    };
    let off = "<|user|>U<|assistant|><think>\n\n</think>\n\n";
    let start = "<|user|>U<|assistant|>";
    for (more, expected) in [
        (json!({}), start.to_owned()),
        (json!({ "enable_thinking": false }), off.to_owned()),
        (json!({ "chat_template_kwargs": { "enable_thinking": false } }), off.to_owned()),
        (json!({ "reasoning_effort": "none" }), format!("{off}none")),
        (json!({ "reasoning": { "effort": "none" } }), format!("{off}none")),
        (json!({ "reasoning_effort": "high" }), format!("{start}high")),
        (json!({ "reasoning_effort": "xhigh" }), format!("{start}high")),
        (json!({ "reasoning_effort": null }), start.to_owned()),
        (json!({ "reasoning_effort": "low", "enable_thinking": false }), format!("{off}low")),
    ] {
        assert_eq!(render(more.clone()).await, expected, "{more}");
    }
    let wrong = server.post(CHAT, &chat(json!({ "reasoning_effort": "much" }))).await;
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.json()["error"]["param"], "reasoning_effort");
    // Told not to, its text is text from the start. (The prompt's end is 19 tokens.)
    let mut script = vec!["."; 19];
    script.push("Hi");
    let server = thinking(TEMPLATE, &script);
    let json = server.post(CHAT, &chat(json!({ "enable_thinking": false }))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "Hi");
    assert_eq!(json["choices"][0]["message"].get("reasoning"), None);
}

#[tokio::test]
async fn a_format_is_of_what_comes_behind_the_reasoning() {
    let format = json!({ "response_format": { "type": "json_object" } });
    let message = async |server: &Server, more: Value| {
        let json = server.post(CHAT, &chat(with(format.clone(), more))).await.json();
        json["choices"][0]["message"].clone()
    };
    // Begun by the prompt, whose end is seven tokens.
    let server =
        thinking(OPEN, &["<", "t", "h", "i", "n", "k", ">", "Hm", "m.", "</think>", "\n\n", "{}"]);
    let found = message(&server, json!({})).await;
    assert_eq!((&found["reasoning"], &found["content"]), (&json!("Hmm."), &json!("{}")));
    // Or by the model, if it likes.
    let server = thinking(TEMPLATE, &["<think>", "\nHm", "m.\n", "</think>", "\n\n", "{}"]);
    let found = message(&server, json!({})).await;
    assert_eq!((&found["reasoning"], &found["content"]), (&json!("Hmm."), &json!("{}")));
    let server = thinking(TEMPLATE, &["{", "}"]);
    let found = message(&server, json!({})).await;
    assert_eq!((found.get("reasoning"), &found["content"]), (None, &json!("{}")));
    // A pattern that ends the reasoning itself is one of the whole answer.
    let pattern = json!({ "structured_outputs": { "regex": "<think>no</think>\\n\\n(yes|no)" } });
    let server = thinking(TEMPLATE, &["<think>", "Hm", "m.\n", "</think>", "\n\n", "{}"]);
    let json = server.post(CHAT, &chat(with(pattern, json!({ "max_tokens": 40 })))).await.json();
    let found = &json["choices"][0]["message"];
    assert_eq!(found["reasoning"], "no", "{json}");
    assert!(["yes", "no"].map(Value::from).contains(&found["content"]), "{json}");
}
