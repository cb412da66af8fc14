//! Errors: every way to be refused, in Anthropic's shape on its routes and nowhere else.

use axum::body::Body;
use axum::http::{Method, Request, header};
use mizan::ledger::{NewKeyRequest, Scope, Scopes};
use serde_json::{Value, json};

use super::super::panics::BrokenClock;
use super::super::parts::setup;
use super::super::{CHAT, chat};
use super::{COUNT, MESSAGES, message, send};
use crate::support::scripted::Bounds;
use crate::support::server::{Answer, Server, Setup};

/// An answer's error is of this shape; returns its message.
fn check(answer: &Answer, status: u16, kind: &str) -> String {
    let text = &answer.text;
    assert_eq!(answer.status.as_u16(), status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{text}");
    let json = answer.json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["type", "error", "request_id"], "{text}");
    assert_eq!(keys(&json["error"]), ["type", "message"], "{text}");
    assert_eq!(json["type"], "error");
    assert_eq!(json["error"]["type"], kind, "{text}");
    assert_eq!(json["request_id"].as_str(), answer.header("request-id"), "{text}");
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"), "{text}");
    if let Some(length) = answer.header("content-length") {
        assert_eq!(length, text.len().to_string());
    }
    json["error"]["message"].as_str().unwrap().to_owned()
}

const INVALID: &str = "invalid_request_error";

#[tokio::test]
async fn fields_are_refused_by_name() {
    let server = Server::start(setup(&["ok"]));
    for (more, named) in [
        (json!({ "max_tokens": null }), "'max_tokens' is required"),
        (json!({ "max_tokens": 0 }), "'max_tokens' is 0 and must be at least 1"),
        (json!({ "model": null }), "'model' is required"),
        (json!({ "messages": [] }), "'messages'"),
        (json!({ "temperature": 1.5 }), "'temperature' is 1.5 and must be from 0 to 1"),
        (json!({ "top_p": 2 }), "'top_p'"),
        (json!({ "top_k": -2 }), "'top_k'"),
        (json!({ "stop_sequences": "x" }), "'stop_sequences'"),
        (json!({ "stop_sequences": [5] }), "'stop_sequences'"),
        (json!({ "stop_sequences": ["a", ""] }), "'stop_sequences[1]'"),
        (json!({ "stop_sequences": vec!["x"; 65] }), "65 strings and may have 64"),
        (json!({ "stream": "yes" }), "'stream'"),
        (json!({ "mcp_servers": [{}] }), "'mcp_servers'"),
        (json!({ "container": "x" }), "'container'"),
        (
            json!({ "output_config": { "format": { "type": "json_schema" } } }),
            "'output_config.format.schema' is required",
        ),
        (json!({ "output_format": { "type": "xml" } }), "output_format.type: "),
        (json!({ "tools": [{ "type": "bash_20250124", "name": "bash" }] }), "tools[0].type: "),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image" }] }] }),
            "messages[0].content[0].type: blocks of type 'image'",
        ),
        (
            json!({ "tools": [{ "name": "f", "input_schema": { "type": "nonsense" } }],
                "tool_choice": { "type": "any" } }),
            "tools[0].input_schema",
        ),
        (json!({ "max_credits": 0 }), "'max_credits'"),
    ] {
        for stream in [false, true] {
            let mut body = message(more.clone());
            if stream && body["stream"].is_null() {
                body["stream"] = true.into();
            }
            let refusal = check(&server.post(MESSAGES, &body).await, 400, INVALID);
            assert!(refusal.contains(named), "{more}: {refusal}");
        }
    }
    assert!(server.meters().is_empty(), "nothing of this opened a meter");
}

#[tokio::test]
async fn bodies_keys_routes_and_methods() {
    let settings = "max_body = \"16KiB\"";
    let server = Server::start(Setup { settings, ..Setup::saying(&["ok"]) });
    let long = "x".repeat(17 * 1024);
    for path in [MESSAGES, COUNT, "/api/v1/messages", "/api/v1/messages/count_tokens"] {
        let raw = async |content_type: &str, body: &str| {
            let mut request = server.request(Method::POST, path, None);
            let value = content_type.parse().unwrap();
            request.headers_mut().insert(header::CONTENT_TYPE, value);
            *request.body_mut() = Body::from(body.to_owned());
            server.send(request).await
        };
        check(&raw("application/json", "{").await, 400, INVALID);
        check(&raw("application/json", "[]").await, 400, INVALID);
        check(&raw("text/plain", "{}").await, 415, INVALID);
        let long = message(json!({ "metadata": { "x": long } }));
        check(&server.post(path, &long).await, 413, "request_too_large");
        for key in ["mz-wrong", ""] {
            let headers = [("authorization", ""), ("x-api-key", key)];
            let answer = send(&server, path, &headers, &message(json!({}))).await;
            check(&answer, 401, "authentication_error");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let answer = server.get(path).await;
        check(&answer, 405, INVALID);
        assert_eq!(answer.header("allow"), Some("POST"));
        let unknown = message(json!({ "model": "claude-opus" }));
        check(&server.post(path, &unknown).await, 404, "not_found_error");
        let elsewhere = message(json!({ "model": "elsewhere" }));
        let answer = server.post(path, &elsewhere).await;
        check(&answer, 503, "overloaded_error");
        assert!(answer.header("retry-after").is_some());
    }
    for path in ["/v1/messages/batches", "/v1/messages/", "/api/v1/messages/x/y"] {
        check(&server.get(path).await, 404, "not_found_error");
    }
    // An id of the caller's is told again.
    let headers = [("x-request-id", "mine")];
    let answer = send(&server, MESSAGES, &headers, &json!({})).await;
    check(&answer, 400, INVALID);
    assert_eq!(answer.header("request-id"), Some("mine"));
}

#[tokio::test]
async fn scopes_prompts_credits_and_limits() {
    let server = Server::start(Setup::saying(&["ok"]));
    let usage_only = NewKeyRequest {
        scopes: Scopes::of(&[Scope::Usage]),
        ..NewKeyRequest::new(server.account, "usage")
    };
    let usage_only = server.ledger.create_key(usage_only, "test").wait().unwrap().secret;
    let headers = [("authorization", ""), ("x-api-key", usage_only.as_str())];
    for path in [MESSAGES, COUNT] {
        let answer = send(&server, path, &headers, &message(json!({}))).await;
        check(&answer, 403, "permission_error");
    }
    let long = json!([{ "role": "user", "content": "x".repeat(600) }]);
    let answer = server.post(MESSAGES, &message(json!({ "messages": long }))).await;
    let refusal = check(&answer, 400, INVALID);
    assert_eq!(refusal, "prompt is too long: 602 tokens > 512 maximum; shorten the prompt");

    let server = Server::start(Setup { credits: 0, ..Setup::saying(&["ok"]) });
    for stream in [false, true] {
        let answer = server.post(MESSAGES, &message(json!({ "stream": stream }))).await;
        let refusal = check(&answer, 402, "billing_error");
        assert!(refusal.contains("balance of 0 credits"), "{refusal}");
    }
    assert_eq!(server.post(COUNT, &message(json!({}))).await.status, 200, "counting is free");

    let plan = "max_prompt_tokens = 3";
    let server = Server::start(Setup { plan, ..Setup::saying(&["ok"]) });
    let refusal = check(&server.post(MESSAGES, &message(json!({}))).await, 400, INVALID);
    assert!(refusal.starts_with("prompt is too long: ") && refusal.contains("3"), "{refusal}");

    let plan = "max_requests_per_minute = 2";
    let server = Server::start(Setup { plan, ..Setup::saying(&["ok"]) });
    assert_eq!(server.post(MESSAGES, &message(json!({}))).await.status, 200);
    assert_eq!(server.post(COUNT, &message(json!({}))).await.status, 200);
    for path in [MESSAGES, COUNT] {
        let answer = server.post(path, &message(json!({}))).await;
        check(&answer, 429, "rate_limit_error");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
    }
}

#[tokio::test]
async fn replays_queues_failures_and_panics() {
    let server = Server::start(Setup::saying(&["ok"]));
    let headers = [("idempotency-key", "k")];
    send(&server, MESSAGES, &headers, &message(json!({}))).await;
    let answer = send(&server, MESSAGES, &headers, &message(json!({ "top_k": 1 }))).await;
    check(&answer, 422, INVALID);

    server.fail_at(0);
    check(&server.post(MESSAGES, &message(json!({}))).await, 500, "api_error");

    let bounds = Bounds { max_batch: 1, max_waiting: 1, ..Bounds::default() };
    let server = Server::start(Setup { bounds, ..Setup::saying(&["ok"]) });
    server.allow(0);
    let stream = message(json!({ "stream": true }));
    let _running = [server.stream(MESSAGES, &stream).await, server.stream(MESSAGES, &stream).await];
    let answer = server.post(MESSAGES, &message(json!({}))).await;
    check(&answer, 503, "overloaded_error");
    assert!(answer.header("retry-after").is_some());
    drop(server);

    let settings = "cors_origins = [\"https://a.example\"]";
    let mut server = Server::start(Setup { settings, ..Setup::saying(&["ok"]) });
    BrokenClock::put_into(&mut server).panic_after(0);
    let origin = [("origin", "https://a.example")];
    let answer = send(&server, MESSAGES, &origin, &message(json!({}))).await;
    check(&answer, 500, "api_error");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    assert!(exposed.split(',').any(|name| name == "request-id"), "{exposed}");
}

#[tokio::test]
async fn models_are_told_in_the_shape_of_who_asks() {
    let server = Server::start(Setup::saying(&["ok"]));
    let get = async |path: &str, is_theirs: bool| {
        let mut request = Request::get(path).header("x-api-key", &server.key);
        if is_theirs {
            request = request.header("anthropic-version", "2023-06-01");
        }
        server.send(request.body(Body::empty()).unwrap()).await
    };
    for path in ["/v1/models", "/api/v1/models"] {
        let list = get(path, true).await.json();
        let keys: Vec<_> = list.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["data", "has_more", "first_id", "last_id"]);
        let models = list["data"].as_array().unwrap();
        assert_eq!(list["first_id"], models[0]["id"]);
        assert_eq!(list["last_id"], models.last().unwrap()["id"]);
        assert_eq!(list["has_more"], false);
        let one = get(&format!("{path}/scripted"), true).await.json();
        assert_eq!(models.iter().find(|model| model["id"] == "scripted"), Some(&one));
        assert_eq!((&one["type"], &one["display_name"]), (&json!("model"), &json!("scripted")));
        assert_eq!(one["max_input_tokens"], 512);
        assert!(one["created_at"].as_str().unwrap().contains('T'));
        assert_eq!(get(path, false).await.json()["object"], "list");
        let unknown = format!("{path}/nobody");
        check(&get(&unknown, true).await, 404, "not_found_error");
        assert_eq!(get(&unknown, false).await.json()["error"]["code"], "model_not_found");
    }
    // Elsewhere a header changes nothing.
    let headers = [("anthropic-version", "2023-06-01")];
    let answer = send(&server, CHAT, &headers, &chat(json!({ "n": 0 }))).await;
    assert_eq!(answer.json()["error"]["param"], "n");
    assert_eq!(answer.header("request-id"), None);
}
