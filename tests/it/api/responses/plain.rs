//! Responses that are not streamed: their shape, what options do to them, what they cost.

use axum::http::Method;
use serde_json::{Value, json};

use super::{RESPONSES, create, fetch, request, text};
use crate::api::money::{check_closed, check_reversed};
use crate::support::scripted::Bounds;
use crate::support::server::{PREMIUM, STANDARD, Server, Setup};

#[tokio::test]
async fn a_response_has_every_key_that_clients_require() {
    let server = Server::start(Setup::saying(&["Hel", "lo", " there"]));
    let answer = server.post(RESPONSES, &request(json!({}))).await;
    assert_eq!(answer.status, 200);
    let json = answer.json();
    let id = json["id"].as_str().unwrap();
    assert!(id.starts_with("resp_") && id.len() == 5 + 32, "{id}");
    assert!(json["created_at"].as_i64().unwrap() > 1_700_000_000);
    assert!(json["completed_at"].as_i64().unwrap() >= json["created_at"].as_i64().unwrap());
    let item = format!("msg_{}_0", &id[5..]);
    let part =
        json!({ "type": "output_text", "text": "Hello there", "annotations": [], "logprobs": [] });
    // "<|user|>", "H", "i", "<|assistant|>" are the prompt.
    let mut expected = json!({
        "id": id,
        "object": "response",
        "created_at": json["created_at"],
        "status": "completed",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "model": STANDARD,
        "output": [{ "type": "message", "id": item, "status": "completed", "role": "assistant",
            "content": [part] }],
        "instructions": null,
        "max_output_tokens": null,
        "max_tool_calls": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "prompt_cache_key": null,
        "reasoning": { "effort": null, "summary": null },
        "safety_identifier": null,
        "service_tier": "default",
        "store": true,
        "temperature": 1.0,
        "text": { "format": { "type": "text" }, "verbosity": "medium" },
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": null,
        "usage": {
            "input_tokens": 4,
            "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": 3,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": 7,
            "credits": 3,
            "credit_multiplier": 1,
            "balance": 4997,
            "credits_exhausted": false,
        },
    });
    // One macro does not take them all.
    expected["completed_at"] = json["completed_at"].clone();
    expected["frequency_penalty"] = 0.0.into();
    expected["presence_penalty"] = 0.0.into();
    assert_eq!(json, expected);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-credits-charged"), Some("3"));
    assert_eq!(answer.header("x-credits-balance"), Some("4997"));
    check_closed(&server, 5_000, 3, "stop").await;
    // It is the same below the other prefix, and as a generation.
    assert_eq!(server.get(&format!("/api/v1/responses/{id}")).await.json(), json);
    let generation = server.get(&format!("/api/v1/generations/{id}")).await.json();
    assert_eq!(generation["data"]["choices"][0]["text"], "Hello there");
}

/// Room for a prompt that describes tools.
fn roomy() -> Setup {
    let bounds = Bounds { context: 2_048, ..Bounds::default() };
    Setup { bounds, ..Setup::saying(&["ok"]) }
}

#[tokio::test]
async fn a_response_says_again_what_was_asked() {
    let server = Server::start(roomy());
    let tool = json!({ "type": "function", "name": "f", "description": "d",
        "parameters": { "type": "object", "properties": {} }, "strict": true });
    let body = json!({
        "instructions": "Be brief",
        "max_output_tokens": 9,
        "max_tool_calls": 3,
        "metadata": { "a": "b" },
        "parallel_tool_calls": false,
        "prompt_cache_key": "k",
        "reasoning": { "effort": "low", "summary": "auto" },
        "safety_identifier": "s",
        "store": false,
        "temperature": 0.3,
        "text": { "format": { "type": "text" }, "verbosity": "low" },
        "tool_choice": "auto",
        "tools": [tool],
        "top_logprobs": 2,
        "top_p": 0.9,
        "truncation": "disabled",
        "user": "u",
    });
    let response = create(&server, body.clone()).await;
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(response[name], *value, "{name}");
    }
}

#[tokio::test]
async fn every_optional_field_may_be_null() {
    let server = Server::start(roomy());
    let fields = [
        "background",
        "context_management",
        "conversation",
        "include",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "max_credits",
        "stop_token_ids",
        "n",
        "chat_template_kwargs",
        "guided_json",
    ];
    let mut body = request(json!({ "unheard_of": { "x": [1] } }));
    for name in fields {
        body[name] = Value::Null;
    }
    let answer = server.post(RESPONSES, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let nested = json!({
        "reasoning": { "effort": null, "summary": null, "generate_summary": null },
        "text": { "format": null, "verbosity": null },
        "tools": [{ "type": "function", "name": "f", "description": null, "parameters": null,
            "strict": null }],
        "input": [{ "type": null, "id": null, "status": null, "role": "user",
            "content": [{ "type": "input_text", "text": "Hi" }] }],
    });
    assert_eq!(text(&create(&server, nested).await), "ok");
}

/// What a response says, how it ended, and how many tokens it cost.
async fn check(setup: Setup, more: Value, said: &str, reason: &str, tokens: usize) {
    let credits = setup.credits;
    let server = Server::start(setup);
    let response = create(&server, more.clone()).await;
    assert_eq!(text(&response), said, "{more}");
    let is_whole = reason.starts_with("stop");
    let status = if is_whole { "completed" } else { "incomplete" };
    assert_eq!(response["status"], status, "{more}");
    assert_eq!(response["output"][0]["status"], status, "{more}");
    let details = if is_whole { json!(null) } else { json!({ "reason": "max_output_tokens" }) };
    assert_eq!(response["incomplete_details"], details, "{more}");
    assert_eq!(response["usage"]["output_tokens"], tokens, "{more}");
    let exhausted = reason == "out_of_credits";
    assert_eq!(response["usage"]["credits_exhausted"], exhausted, "{more}");
    assert_eq!(server.tokens_in(said.len()), tokens, "released");
    check_closed(&server, credits, tokens, reason).await;
    // Incomplete ones are kept, too.
    assert_eq!(fetch(&server, &response).await.json(), response);
}

#[tokio::test]
async fn every_ending_with_an_answer_charges_what_it_says() {
    let setup = || Setup::saying(&["one", " two", " three"]);
    let poor = |credits| Setup { credits, ..setup() };
    check(setup(), json!({}), "one two three", "stop", 3).await;
    check(setup(), json!({ "max_output_tokens": 2 }), "one two", "length", 2).await;
    check(setup(), json!({ "stop": "two" }), "one ", "stop_string", 2).await;
    check(setup(), json!({ "max_credits": 1 }), "one", "max_credits", 1).await;
    check(poor(2), json!({}), "one two", "out_of_credits", 2).await;
    let premium = json!({ "model": PREMIUM });
    check(Setup { credits: 5, ..setup() }, premium, "one two", "out_of_credits", 2).await;
}

#[tokio::test]
async fn log_probabilities_come_when_they_are_included() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let include = json!(["message.output_text.logprobs", "reasoning.encrypted_content"]);
    let with_top = json!({ "include": include, "top_logprobs": 2 });
    let response = create(&server, with_top).await;
    let logprobs = response["output"][0]["content"][0]["logprobs"].as_array().unwrap().clone();
    assert_eq!(logprobs.len(), 2);
    assert_eq!((&logprobs[0]["token"], &logprobs[0]["bytes"]), (&json!("a"), &json!([97])));
    assert_eq!(logprobs[0]["top_logprobs"].as_array().unwrap().len(), 2);
    let response = create(&server, json!({ "include": include })).await;
    assert_eq!(response["output"][0]["content"][0]["logprobs"][1]["top_logprobs"], json!([]));
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_is_the_same_response_for_nothing() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let send = async |body: &Value| {
        let mut request = server.request(Method::POST, RESPONSES, Some(body));
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        server.send(request).await
    };
    let first = send(&request(json!({}))).await;
    let again = send(&request(json!({}))).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("x-credits-charged"), Some("0"));
    let (first, again) = (first.json(), again.json());
    for name in ["id", "created_at", "output", "status"] {
        assert_eq!(again[name], first[name], "{name}");
    }
    assert_eq!(again["usage"]["credits"], 0);
    // What was kept is what was paid for.
    assert_eq!(fetch(&server, &first).await.json(), first);
    assert_eq!(send(&request(json!({ "stop": "b" }))).await.status, 422);
    assert_eq!(server.balance(), 4_998);
    server.verify_books();
}

#[tokio::test]
async fn a_plain_response_that_was_not_sent_is_reversed_and_not_kept() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    server.allow(1);
    let call = tokio::spawn({
        let (router, request) = (
            server.router.clone(),
            server.request(Method::POST, RESPONSES, Some(&request(json!({})))),
        );
        async move { tower::ServiceExt::oneshot(router, request).await }
    });
    while server.balance() == 5_000 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    call.abort();
    check_reversed(&server, 5_000).await;
    let id = format!("resp_{}", server.meters()[0].id);
    server.allow(usize::MAX);
    assert_eq!(server.get(&format!("{RESPONSES}/{id}")).await.status, 404);
}

#[tokio::test]
async fn an_engine_that_fails_is_an_error_and_nothing_is_kept() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    server.fail_at(1);
    let answer = server.post(RESPONSES, &request(json!({}))).await;
    assert_eq!(answer.status, 500);
    check_reversed(&server, 5_000).await;
}
