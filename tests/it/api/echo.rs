//! `echo` on text completions, and how likely the prompt's tokens were.

use serde_json::{Value, json};

use super::errors::check;
use super::{COMPLETIONS, completion};
use crate::support::server::{Server, Setup};

fn server() -> Server {
    Server::start(Setup::saying(&["A", "BC"]))
}

async fn choices(server: &Server, more: Value) -> Vec<Value> {
    let answer = server.post(COMPLETIONS, &completion(more)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["choices"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_prompt_comes_before_each_answer_and_is_free() {
    let server = server();
    let body = completion(json!({ "echo": true, "prompt": ["Go\n", "Now\n"], "n": 2 }));
    let json = server.post(COMPLETIONS, &body).await.json();
    let texts: Vec<&str> =
        json["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Go\nABC", "Go\nABC", "Now\nABC", "Now\nABC"]);
    assert_eq!(json["usage"]["completion_tokens"], 8);
    assert_eq!(json["usage"]["credits"], 8);
    // Ids are echoed as the text that they stand for.
    let ids: Vec<u32> = b"Go\n".iter().map(|byte| u32::from(*byte)).collect();
    let choices = choices(&server, json!({ "echo": true, "prompt": ids })).await;
    assert_eq!(choices[0]["text"], "Go\nABC");
    assert_eq!(choices[0]["logprobs"], Value::Null);
    server.verify_books();
}

#[tokio::test]
async fn log_probabilities_of_the_prompt_begin_with_null() {
    let server = server();
    let found = choices(&server, json!({ "echo": true, "logprobs": 1 })).await;
    let logprobs = &found[0]["logprobs"];
    assert_eq!(found[0]["text"], "Go\nABC");
    assert_eq!(logprobs["tokens"], json!(["G", "o", "\n", "A", "BC"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3, 4]));
    // The scripted model is certain of "A" after anything but a line break and an "A".
    let token_logprobs = json!([null, -1000.0, -1000.0, 0.0, 0.0]);
    assert_eq!(logprobs["token_logprobs"], token_logprobs);
    let certain = json!([null, { "A": 0.0 }, { "A": 0.0 }, { "A": 0.0 }, { "BC": 0.0 }]);
    assert_eq!(logprobs["top_logprobs"], certain);
    // With none of the alternatives.
    let found = choices(&server, json!({ "echo": true, "logprobs": 0 })).await;
    assert_eq!(found[0]["logprobs"]["token_logprobs"], token_logprobs);
    assert_eq!(found[0]["logprobs"]["top_logprobs"], json!([null, {}, {}, {}, {}]));
}

/// As `lm-evaluation-harness` asks: of many prompts how likely they were, and nothing more.
#[tokio::test]
async fn a_prompt_is_scored_without_an_answer_for_nothing() {
    let server = server();
    let body = completion(json!({
        "echo": true, "logprobs": 1, "max_tokens": 0, "prompt": ["Go\n", "x"],
    }));
    let json = server.post(COMPLETIONS, &body).await.json();
    for (choice, (text, num_tokens)) in
        json["choices"].as_array().unwrap().iter().zip([("Go\n", 3), ("x", 1)])
    {
        assert_eq!(choice["text"], text);
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(choice["logprobs"]["tokens"].as_array().unwrap().len(), num_tokens);
        assert_eq!(choice["logprobs"]["token_logprobs"][0], Value::Null);
    }
    assert_eq!(json["usage"]["completion_tokens"], 0);
    assert_eq!(json["usage"]["credits"], 0);
    assert_eq!(server.balance(), 5_000);
    // Without log probabilities it is only given back.
    let found = choices(&server, json!({ "echo": true, "max_tokens": 0 })).await;
    assert_eq!((&found[0]["text"], &found[0]["logprobs"]), (&json!("Go\n"), &Value::Null));
    server.verify_books();
}

/// Programs that score ask for one token and cut it off: there has to be one.
#[tokio::test]
async fn one_token_follows_a_scored_prompt_even_where_the_model_would_end() {
    let server = Server::start(Setup::saying(&[]));
    let more = json!({ "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0 });
    let found = choices(&server, more).await;
    assert_eq!(found[0]["logprobs"]["tokens"].as_array().unwrap().len(), 3 + 1);
    let plain = choices(&server, json!({ "max_tokens": 1, "temperature": 0 })).await;
    assert_eq!(plain[0]["text"], "");
}

#[tokio::test]
async fn a_stream_begins_with_the_prompt() {
    let server = server();
    for (more, num_logprobs) in [
        (json!({}), None),
        (json!({ "logprobs": 1 }), Some(5)),
        (json!({ "max_tokens": 0 }), None),
        (json!({ "max_tokens": 0, "logprobs": 2 }), Some(3)),
    ] {
        let mut body = completion(json!({ "echo": true, "stream": true }));
        body = super::with(body, more.clone());
        let frames = server.stream(COMPLETIONS, &body).await.rest().await;
        let first = &frames[0]["choices"][0];
        assert!(first["text"].as_str().unwrap().starts_with("Go\n"), "{more}: {first}");
        assert_eq!(first["finish_reason"], Value::Null);
        let chunks = frames.iter().filter(|frame| frame["choices"].is_array());
        let choices: Vec<&Value> = chunks.map(|frame| &frame["choices"][0]).collect();
        let text: String = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
        let expected = if more["max_tokens"] == 0 { "Go\n" } else { "Go\nABC" };
        assert_eq!(text, expected, "{more}");
        let of_choice = |choice: &&Value| choice["logprobs"]["tokens"].as_array().map(Vec::len);
        let total = choices.iter().filter_map(of_choice).reduce(|a, b| a + b);
        assert_eq!(total, num_logprobs, "{more}");
        assert_eq!(frames.last(), Some(&json!("[DONE]")));
    }
    server.verify_books();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let server = server();
    let invalid = "invalid_request_error";
    for (more, param) in [
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "echo": false, "max_tokens": 0 }), "max_tokens"),
        (json!({ "echo": "yes" }), "echo"),
        (json!({ "echo": true, "max_tokens": -1 }), "max_tokens"),
        (json!({ "echo": true, "suffix": "end" }), "suffix"),
    ] {
        let answer = server.post(COMPLETIONS, &completion(more)).await;
        check(&answer, 400, invalid, None, Some(param));
    }
    let answer = server.post(COMPLETIONS, &completion(json!({ "suffix": "end" }))).await;
    let message = check(&answer, 400, invalid, None, Some("suffix"));
    assert!(message.contains("fill in"), "{message}");
}

#[tokio::test]
async fn a_character_that_spans_tokens_is_one() {
    let server = server();
    // Each byte of the prompt is a token.
    let prompt = "\u{1f600}a\n";
    let body = json!({ "echo": true, "logprobs": 0, "prompt": prompt, "max_tokens": 1 });
    let found = choices(&server, body).await;
    assert_eq!(found[0]["text"], format!("{prompt}A"));
    assert_eq!(found[0]["logprobs"]["text_offset"], json!([0, 1, 1, 1, 1, 2, 3]));
}
