//! Answers that are not streamed: their shape, and what options do to them.

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, OPTIONAL, chat, completion, with};
use crate::support::scripted::HIDDEN;
use crate::support::server::{PREMIUM, STANDARD, Server, Setup};

/// Each letter can be read in more ways than the one before, until they are too many to follow.
#[tokio::test]
async fn a_grammar_that_becomes_too_much_is_the_callers_error_and_costs_nothing() {
    let server = Server::start(Setup::saying(&["x"; 300]));
    let grammar = "start: e\ne: \"x\" | e e | e e e | e e e e | e e e e e";
    let format = json!({ "structured_outputs": { "grammar": grammar }, "max_tokens": 300 });
    let answer = server.post(CHAT, &chat(format)).await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status.as_u16(), &error["code"]), (400, &json!("grammar_failed")));
    assert_eq!(server.balance(), 5_000);
    server.verify_books();
}

#[tokio::test]
async fn a_chat_completion_has_every_key_that_clients_require() {
    let server = Server::start(Setup::saying(&["Hel", "lo", " there"]));
    let answer = server.post(CHAT, &chat(json!({}))).await;
    assert_eq!(answer.status, 200);
    let json = answer.json();
    let id = json["id"].as_str().unwrap();
    assert!(id.starts_with("chatcmpl-") && id.len() == 9 + 32, "{id}");
    assert!(json["created"].as_i64().unwrap() > 1_700_000_000);
    let mut rest = json.clone();
    rest["id"] = Value::Null;
    rest["created"] = Value::Null;
    // "<|user|>", "H", "i", "<|assistant|>" are the prompt.
    let expected = json!({
        "id": null,
        "object": "chat.completion",
        "created": null,
        "model": STANDARD,
        "system_fingerprint": "mizan-abababab",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": "Hello there", "refusal": null },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 4,
            "completion_tokens": 3,
            "total_tokens": 7,
            "prompt_tokens_details": { "cached_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0 },
            "credits": 3,
            "credit_multiplier": 1,
            "balance": 4997,
            "credits_exhausted": false,
        },
    });
    assert_eq!(rest, expected);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-credits-charged"), Some("3"));
    assert_eq!(answer.header("x-credits-balance"), Some("4997"));
    assert_eq!(server.balance(), 4_997);
}

#[tokio::test]
async fn a_text_completion_has_its_own_shape() {
    let server = Server::start(Setup::saying(&["Hel", "lo", " there"]));
    let json = server.post(COMPLETIONS, &completion(json!({ "max_tokens": 2 }))).await.json();
    assert!(json["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(json["object"], "text_completion");
    let choice =
        json!([{ "text": "Hello", "index": 0, "logprobs": null, "finish_reason": "length" }]);
    assert_eq!(json["choices"], choice);
    assert_eq!(json["usage"]["completion_tokens"], 2);
    assert_eq!(json["usage"]["credits"], 2);
}

#[tokio::test]
async fn every_prompt_form_is_taken_and_choices_are_numbered_through() {
    let server = Server::start(Setup::saying(&["A", "B"]));
    let ids: Vec<u32> = b"Go\n".iter().map(|byte| u32::from(*byte)).collect();
    for (prompt, num_choices, prompt_tokens) in [
        (json!("Go\n"), 1, 3),
        (json!(["Go\n", "Again\n"]), 2, 9),
        (json!(ids), 1, 3),
        (json!([ids, ids]), 2, 6),
    ] {
        let body = completion(json!({ "prompt": prompt, "n": 2 }));
        let json = server.post(COMPLETIONS, &body).await.json();
        let choices = json["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 2 * num_choices, "{prompt}");
        for (index, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], index);
            assert_eq!(choice["text"], "AB");
            assert_eq!(choice["finish_reason"], "stop");
        }
        assert_eq!(json["usage"]["prompt_tokens"], prompt_tokens);
        assert_eq!(json["usage"]["completion_tokens"], 2 * 2 * num_choices);
    }
}

/// What a chat answer says, why it ended, and how many tokens it cost.
async fn check_chat(server: &Server, more: Value, content: &str, finish: &str, tokens: u32) {
    let answer = server.post(CHAT, &chat(more.clone())).await;
    let json = answer.json();
    assert_eq!(json["choices"][0]["message"]["content"], content, "{more} {json}");
    assert_eq!(json["choices"][0]["finish_reason"], finish, "{more}");
    assert_eq!(json["usage"]["completion_tokens"], tokens, "{more}");
    assert_eq!(json["usage"]["credits"], tokens, "{more}");
}

#[tokio::test]
async fn limits_and_stops_end_an_answer_and_only_released_tokens_count() {
    let server = Server::start(Setup::saying(&["one", " two", " th", "ree", " four"]));
    let all = "one two three four";
    check_chat(&server, json!({}), all, "stop", 5).await;
    check_chat(&server, json!({ "max_tokens": 1 }), "one", "length", 1).await;
    check_chat(&server, json!({ "max_completion_tokens": 2 }), "one two", "length", 2).await;
    // The newer name wins.
    let both = json!({ "max_tokens": 3, "max_completion_tokens": 1 });
    check_chat(&server, both, "one", "length", 1).await;
    // More than fits is what fits.
    check_chat(&server, json!({ "max_tokens": 1_000_000_000 }), all, "stop", 5).await;
    // A stop string over two tokens; the tokens of which nothing goes out are not charged.
    check_chat(&server, json!({ "stop": "three" }), "one two ", "stop", 3).await;
    check_chat(&server, json!({ "stop": [" three"] }), "one two", "stop", 2).await;
    check_chat(&server, json!({ "stop": ["none of it", "two"] }), "one ", "stop", 2).await;
    check_chat(&server, json!({ "stop": "one" }), "", "stop", 0).await;
    // The beginning of a stop string that does not come goes out at the end.
    check_chat(&server, json!({ "stop": " fourteen" }), all, "stop", 5).await;
    check_chat(&server, json!({ "stop": "three!", "max_tokens": 4 }), "one two three", "length", 4)
        .await;
    server.verify_books();
}

#[tokio::test]
async fn a_character_split_over_tokens_arrives_whole_and_each_token_counts() {
    let script: [&[u8]; 4] = [b"a", b"\xF0\x9F", b"\x98\x80", b"b"];
    let server = Server::start(Setup { script: script.to_vec(), ..Setup::saying(&[]) });
    check_chat(&server, json!({}), "a\u{1F600}b", "stop", 4).await;
    // Cut inside: lossy, and the token that began it is paid for.
    check_chat(&server, json!({ "max_tokens": 2 }), "a\u{FFFD}", "length", 2).await;
}

#[tokio::test]
async fn tokens_without_text_are_neither_shown_nor_charged() {
    let script: [&[u8]; 4] = [b"a", HIDDEN, b"b", HIDDEN];
    let server = Server::start(Setup { script: script.to_vec(), ..Setup::saying(&[]) });
    check_chat(&server, json!({}), "ab", "stop", 2).await;
    let json = server.post(CHAT, &chat(json!({ "logprobs": true }))).await.json();
    let tokens = json["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.iter().map(|t| t["token"].as_str().unwrap()).collect::<String>(), "ab");
}

#[tokio::test]
async fn ignore_eos_generates_exactly_as_many_tokens_as_asked_for() {
    let server = Server::start(Setup::saying(&["a"]));
    let body = chat(json!({ "ignore_eos": true, "max_tokens": 7, "temperature": 0 }));
    let json = server.post(CHAT, &body).await.json();
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["completion_tokens"], 7);
}

#[tokio::test]
async fn an_answer_of_no_tokens_is_empty_and_free() {
    let server = Server::start(Setup::saying(&[]));
    check_chat(&server, json!({}), "", "stop", 0).await;
    assert_eq!(server.balance(), 5_000);
    let record = server.settled().await;
    assert_eq!((record.output_tokens, record.credits.0), (0, 0));
}

#[tokio::test]
async fn several_choices_are_each_whole_and_each_paid_for() {
    let server = Server::start(Setup::saying(&["x", "y"]));
    let json = server.post(CHAT, &chat(json!({ "n": 3, "model": PREMIUM }))).await.json();
    let choices = json["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(
            (choice["index"].as_u64(), &choice["message"]["content"]),
            (Some(index as u64), &json!("xy"))
        );
    }
    assert_eq!(json["usage"]["prompt_tokens"], 4);
    assert_eq!(json["usage"]["completion_tokens"], 6);
    assert_eq!(json["usage"]["credits"], 12);
    assert_eq!(json["usage"]["credit_multiplier"], 2);
    let stored = server.settled().await.token_ids.unwrap();
    assert_eq!(stored.len(), 3);
    assert!(stored.values().all(|ids| ids.len() == 2));
}

#[tokio::test]
async fn logprobs_have_one_entry_for_each_token_and_their_bytes_are_the_text() {
    let script: [&[u8]; 4] = [b"a", b"\xF0\x9F", b"\x98\x80", b"b"];
    let server = Server::start(Setup { script: script.to_vec(), ..Setup::saying(&[]) });
    let body = chat(json!({ "logprobs": true, "top_logprobs": 2 }));
    let json = server.post(CHAT, &body).await.json();
    let logprobs = &json["choices"][0]["logprobs"];
    assert_eq!(logprobs["refusal"], Value::Null);
    let content = logprobs["content"].as_array().unwrap();
    assert_eq!(content.len(), 4);
    let bytes: Vec<u8> = content
        .iter()
        .flat_map(|token| token["bytes"].as_array().unwrap())
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect();
    assert_eq!(bytes, "a\u{1F600}b".as_bytes());
    let keys: Vec<_> = content[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["token", "logprob", "bytes", "top_logprobs"]);
    assert_eq!(content[0]["logprob"], 0.0);
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);

    let body = completion(json!({ "logprobs": 1 }));
    let json = server.post(COMPLETIONS, &body).await.json();
    let logprobs = &json["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 4);
    assert_eq!(logprobs["token_logprobs"], json!([0.0, 0.0, 0.0, 0.0]));
    assert_eq!(logprobs["top_logprobs"].as_array().unwrap().len(), 4);
    assert_eq!(logprobs["text_offset"][0], 0);
    assert_eq!(logprobs["text_offset"][1], 1);
}

#[tokio::test]
async fn null_is_absent_for_every_optional_field() {
    let server = Server::start(Setup::saying(&["ok"]));
    for path in [CHAT, COMPLETIONS] {
        let body = if path == CHAT { chat(json!({})) } else { completion(json!({})) };
        let nulls: Value = OPTIONAL.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        let answer = server.post(path, &with(body.clone(), nulls)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        for name in OPTIONAL {
            let body = with(body.clone(), json!({ name: null }));
            assert_eq!(server.post(path, &body).await.status, 200, "{path} {name}");
        }
    }
    let nested = json!({
        "stream": true,
        "stream_options": { "include_usage": null, "continuous_usage_stats": null },
        "logit_bias": { "65": null },
        "messages": [
            { "role": "user", "content": "x", "name": null, "tool_calls": null },
            { "role": "assistant", "content": null, "refusal": null },
            { "role": "user", "content": [{ "type": "text", "text": "y", "image_url": null }] },
        ],
    });
    assert_eq!(server.post(CHAT, &chat(nested)).await.status, 200);
}

#[tokio::test]
async fn unknown_fields_and_hints_are_ignored() {
    let server = Server::start(Setup::saying(&["ok"]));
    let body = chat(json!({
        "user": "u", "store": true, "metadata": { "a": "b" }, "service_tier": "auto",
        "verbosity": "low", "prompt_cache_key": "k", "safety_identifier": "s",
        "cache_prompt": true, "made_up": [1, 2, 3], "parallel_tool_calls": true,
        "response_format": { "type": "text" }, "tool_choice": "none", "tools": [],
        "logit_bias": { "65": -100 }, "seed": -1, "top_k": -1, "n": 1,
    }));
    assert_eq!(server.post(CHAT, &body).await.status, 200);
    let body = completion(json!({ "best_of": 1, "echo": false, "suffix": "" }));
    assert_eq!(server.post(COMPLETIONS, &body).await.status, 200);
}

#[tokio::test]
async fn messages_take_every_role_and_parts_of_text() {
    let server = Server::start(Setup::saying(&["ok"]));
    let messages = json!([
        { "role": "developer", "content": "Be kind." },
        { "role": "user", "content": [
            { "type": "text", "text": "one" },
            { "type": "text", "text": "two" },
        ] },
        { "role": "assistant", "content": null },
        { "role": "tool", "content": "42", "tool_call_id": "call_1" },
    ]);
    let body = json!({ "messages": messages });
    let prompt = server.post("/apply-template", &body).await.json();
    // This template knows of no tools: what one gave is told in the user's turn.
    let expected = "<|system|>Be kind.<|user|>one\ntwo<|assistant|>\
                    <|user|><tool_response>\n42\n</tool_response><|assistant|>";
    assert_eq!(prompt, json!({ "prompt": expected }));
    assert_eq!(server.post(CHAT, &chat(body)).await.status, 200);
}
