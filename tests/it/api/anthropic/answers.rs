//! Plain answers: content, why they ended, what they cost; and what a prompt counts.

use serde_json::{Value, json};

use super::super::{CHAT, chat};
use super::{COUNT, MESSAGES, message, send};
use crate::support::scripted::Bounds;
use crate::support::server::{PREMIUM, Server, Setup};

const SCRIPT: [&str; 4] = ["Hel", "lo", " there", " you"];

#[tokio::test]
async fn a_message_is_what_clients_expect() {
    let server = Server::start(Setup::saying(&SCRIPT));
    for path in [MESSAGES, "/api/v1/messages", "/v1/messages?beta=true"] {
        let answer = server.post(path, &message(json!({ "model": PREMIUM }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let mut json = answer.json();
        assert!(json["id"].as_str().unwrap().starts_with("msg_"));
        json["id"] = "msg_".into();
        let expected = json!({
            "id": "msg_", "type": "message", "role": "assistant", "model": PREMIUM,
            "content": [{ "type": "text", "text": "Hello there you", "citations": null }],
            "stop_reason": "end_turn", "stop_sequence": null,
            "stop_details": null, "container": null,
            "usage": {
                "input_tokens": 4, "cache_creation": null, "server_tool_use": null,
                "service_tier": null, "inference_geo": null,
                "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": 4, "output_tokens_details": { "thinking_tokens": 0 },
                "credits": 8, "credit_multiplier": 2, "balance": server.balance(),
                "credits_exhausted": false,
            },
        });
        assert_eq!(json, expected);
        assert_eq!(answer.header("x-credits-charged"), Some("8"));
        assert_eq!(answer.header("x-credits-balance").unwrap(), server.balance().to_string());
        assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
    }
    assert_eq!(server.balance(), 5_000 - 3 * 8);
    server.verify_books();
}

#[tokio::test]
async fn a_generation_is_found_by_the_messages_id() {
    let server = Server::start(Setup::saying(&SCRIPT));
    let id = server.post(MESSAGES, &message(json!({}))).await.json()["id"].clone();
    let found = server.get(&format!("/api/v1/generations/{}", id.as_str().unwrap())).await;
    assert_eq!(found.status, 200, "{}", found.text);
    assert_eq!(found.json()["data"]["tokens_completion"], 4);
}

#[tokio::test]
async fn ends_are_told_and_four_numbers_agree() {
    for (more, reason, sequence, text, tokens) in [
        (json!({}), "end_turn", None, "Hello there you", 4),
        (json!({ "max_tokens": 2 }), "max_tokens", None, "Hello", 2),
        (json!({ "stop_sequences": ["x", "re y"] }), "stop_sequence", Some("re y"), "Hello the", 3),
        (json!({ "stop_sequences": ["you", "lo"] }), "stop_sequence", Some("lo"), "Hel", 1),
        (json!({ "stop_sequences": [] }), "end_turn", None, "Hello there you", 4),
        (json!({ "max_credits": 3 }), "max_tokens", None, "Hello there", 3),
    ] {
        let server = Server::start(Setup::saying(&SCRIPT));
        let json = server.post(MESSAGES, &message(more.clone())).await.json();
        assert_eq!(json["stop_reason"], reason, "{more}: {json}");
        assert_eq!(json["stop_sequence"].as_str(), sequence, "{more}");
        assert_eq!(json["content"][0]["text"], text, "{more}");
        assert_eq!(json["usage"]["output_tokens"], tokens, "{more}");
        assert_eq!(json["usage"]["credits"], tokens, "{more}");
        let record = server.settled().await;
        assert_eq!((record.output_tokens, record.credits.0), (tokens, i64::from(tokens)));
        let stored: usize = record.token_ids.unwrap().values().map(Vec::len).sum();
        assert_eq!(stored, tokens as usize);
        assert_eq!(server.balance(), 5_000 - i64::from(tokens));
        server.verify_books();
    }
}

#[tokio::test]
async fn a_context_that_is_full_is_told_from_the_callers_bound() {
    let script = ["ab"; 600];
    let server = Server::start(Setup::saying(&script));
    let json = server.post(MESSAGES, &message(json!({ "max_tokens": 32_000 }))).await.json();
    assert_eq!(json["stop_reason"], "model_context_window_exceeded");
    assert_eq!(json["usage"]["output_tokens"], 508, "the context less the prompt");
    let json = server.post(MESSAGES, &message(json!({ "max_tokens": 508 }))).await.json();
    assert_eq!(json["stop_reason"], "max_tokens");
}

#[tokio::test]
async fn a_balance_that_ends_ends_the_answer() {
    let server = Server::start(Setup { credits: 3, ..Setup::saying(&SCRIPT) });
    let json = server.post(MESSAGES, &message(json!({}))).await.json();
    assert_eq!(
        json["content"],
        json!([{ "type": "text", "text": "Hello there", "citations": null }])
    );
    assert_eq!(json["stop_reason"], "max_tokens");
    let usage = &json["usage"];
    assert_eq!((&usage["credits"], &usage["balance"]), (&json!(3), &json!(0)));
    assert_eq!(usage["credits_exhausted"], true);
    server.verify_books();
}

#[tokio::test]
async fn nothing_said_is_no_content() {
    let server = Server::start(Setup::saying(&[]));
    let json = server.post(MESSAGES, &message(json!({}))).await.json();
    assert_eq!(json["content"], json!([]));
    assert_eq!(json["usage"]["output_tokens"], 0);
    assert_eq!(server.balance(), 5_000);
}

#[tokio::test]
async fn a_key_may_come_as_anthropics_clients_send_it() {
    let server = Server::start(Setup::saying(&SCRIPT));
    let body = message(json!({}));
    let key = server.key.clone();
    let headers = [("authorization", ""), ("x-api-key", key.as_str())];
    assert_eq!(send(&server, MESSAGES, &headers, &body).await.status, 200);
    let headers = [headers[0], headers[1], ("anthropic-version", "2023-06-01")];
    assert_eq!(send(&server, MESSAGES, &headers, &body).await.status, 200);
    // One for all routes.
    assert_eq!(send(&server, CHAT, &headers, &chat(json!({}))).await.status, 200);
}

#[tokio::test]
async fn what_was_paid_for_is_given_again_for_nothing() {
    let server = Server::start(Setup::saying(&SCRIPT));
    for (key, more) in [
        ("a", json!({})),
        ("b", json!({ "max_tokens": 2 })),
        ("c", json!({ "stop_sequences": ["re y"] })),
    ] {
        let headers = [("idempotency-key", key)];
        let body = message(more);
        let first = send(&server, MESSAGES, &headers, &body).await;
        let balance = server.balance();
        let again = send(&server, MESSAGES, &headers, &body).await;
        assert_eq!(first.header("idempotent-replayed"), None);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        let (first, again) = (first.json(), again.json());
        for name in ["id", "model", "content", "stop_reason", "stop_sequence"] {
            assert_eq!(again[name], first[name], "{name}");
        }
        assert_eq!(again["usage"]["output_tokens"], first["usage"]["output_tokens"]);
        assert_eq!(again["usage"]["credits"], 0);
        assert_eq!(server.balance(), balance);
    }
}

/// A prompt with everything in it that templates may write out.
fn long_prompt() -> Value {
    json!({
        "system": [{ "type": "text", "text": "Be kind." }],
        "tools": [{ "name": "f", "description": "d", "input_schema": { "type": "object" } }],
        "thinking": { "type": "enabled", "budget_tokens": 1024 },
        "messages": [
            { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": [
                { "type": "text", "text": "So." },
                { "type": "tool_use", "id": "t", "name": "f", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t", "content": "7" },
                { "type": "text", "text": "And?" },
            ] },
        ],
    })
}

#[tokio::test]
async fn a_count_is_what_the_answer_counts() {
    let bounds = Bounds { context: 2_048, ..Bounds::default() };
    let server = Server::start(Setup { bounds, ..Setup::saying(&SCRIPT) });
    for more in [json!({}), json!({ "system": "Be kind." }), long_prompt()] {
        let body = message(more);
        let answer = server.post(MESSAGES, &body).await.json();
        let usage = &answer["usage"];
        let input = usage["input_tokens"].as_u64().unwrap();
        let cached = usage["cache_read_input_tokens"].as_u64().unwrap();
        let balance = server.balance();
        for path in [COUNT, "/api/v1/messages/count_tokens?beta=true"] {
            let count = server.post(path, &body).await;
            assert_eq!(count.json(), json!({ "input_tokens": input + cached }));
            assert!(count.header("request-id").is_some());
        }
        assert_eq!(server.balance(), balance, "it costs nothing");
        // What only an answer needs may be left out.
        let mut body = body;
        body.as_object_mut().unwrap().remove("max_tokens");
        assert_eq!(server.post(COUNT, &body).await.status, 200);
    }
    assert_eq!(server.meters().len(), 3);
}

#[tokio::test]
async fn the_same_conversation_is_the_same_prompt_on_either_api() {
    let server = Server::start(Setup::saying(&SCRIPT));
    let messages = json!([
        { "role": "user", "content": "Hi" },
        { "role": "assistant", "content": "So?" },
        { "role": "user", "content": "And?" },
    ]);
    let body = message(json!({ "system": "Be kind.", "messages": messages }));
    let ours = server.post(MESSAGES, &body).await.json();
    let mut turns = messages.as_array().unwrap().clone();
    turns.insert(0, json!({ "role": "system", "content": "Be kind." }));
    let theirs = server.post(CHAT, &chat(json!({ "messages": turns }))).await.json();
    assert_eq!(ours["usage"]["input_tokens"], theirs["usage"]["prompt_tokens"]);
    assert_eq!(ours["content"][0]["text"], theirs["choices"][0]["message"]["content"]);
}

#[tokio::test]
async fn null_is_absent_and_unknown_fields_are_ignored() {
    let server = Server::start(Setup::saying(&SCRIPT));
    let plain = server.post(MESSAGES, &message(json!({}))).await.json();
    let optional = [
        "system",
        "stop_sequences",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "metadata",
        "service_tier",
        "container",
        "mcp_servers",
        "context_management",
        "output_config",
        "output_format",
        "cache_control",
        "inference_geo",
        "speed",
        "max_credits",
    ];
    let nulls: serde_json::Map<_, _> =
        optional.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    let ignored = json!({
        "metadata": { "user_id": "x" },
        "service_tier": "auto",
        "context_management": { "edits": [{ "type": "clear_thinking_20251015" }] },
        "cache_control": { "type": "ephemeral" },
        "inference_geo": "eu",
        "speed": "fast",
        "diagnostics": {},
        "mcp_servers": [],
        "output_config": { "effort": "low", "format": null },
        "something": [1, 2],
    });
    for more in [Value::Object(nulls), ignored] {
        let answer = server.post(MESSAGES, &message(more)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["content"], plain["content"]);
    }
}
