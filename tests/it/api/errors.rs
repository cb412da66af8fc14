//! Every refusal: status, headers, and OpenAI's shape with all four keys.

use axum::body::Body;
use axum::http::{Method, Request, header};
use mizan::ledger::NewKeyRequest;
use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, chat, completion};
use crate::support::server::{Answer, Server, Setup};

/// An answer's error is of this shape; returns its message.
pub(super) fn check(
    answer: &Answer,
    status: u16,
    kind: &str,
    code: Option<&str>,
    param: Option<&str>,
) -> String {
    let text = &answer.text;
    assert_eq!(answer.status.as_u16(), status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{text}");
    assert!(answer.header("x-request-id").is_some());
    let json = answer.json();
    let keys: Vec<&String> = json["error"].as_object().unwrap().keys().collect();
    assert_eq!(keys[..4], ["message", "type", "param", "code"], "{text}");
    assert_eq!(json["error"]["type"], kind, "{text}");
    assert_eq!(json["error"]["code"].as_str(), code, "{text}");
    assert_eq!(json["error"]["param"].as_str(), param, "{text}");
    json["error"]["message"].as_str().unwrap().to_owned()
}

const INVALID: &str = "invalid_request_error";

#[tokio::test]
async fn fields_out_of_bounds_or_unsupported_are_named() {
    let server = Server::start(Setup::saying(&["ok"]));
    for (more, param) in [
        (json!({ "model": 5 }), "model"),
        (json!({ "messages": null }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": "hi" }), "messages"),
        (json!({ "messages": ["hi"] }), "messages[0]"),
        (json!({ "messages": [{ "content": "x" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "boss", "content": "x" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "user", "content": 5 }] }), "messages[0].content"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            "messages[0].content[0].type",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text" }] }] }),
            "messages[0].content[0].text",
        ),
        (json!({ "temperature": 2.1 }), "temperature"),
        (json!({ "temperature": -0.1 }), "temperature"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "top_p": 1.5 }), "top_p"),
        (json!({ "frequency_penalty": 3 }), "frequency_penalty"),
        (json!({ "presence_penalty": -3 }), "presence_penalty"),
        (json!({ "repetition_penalty": 0 }), "repetition_penalty"),
        (json!({ "min_p": 2 }), "min_p"),
        (json!({ "top_k": -2 }), "top_k"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 129 }), "n"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_completion_tokens": -1 }), "max_completion_tokens"),
        (json!({ "seed": 1.5 }), "seed"),
        (json!({ "seed": 18446744073709551615_u64 }), "seed"),
        (json!({ "stop": 5 }), "stop"),
        (json!({ "stop": ["a", "b", "c", "d", "e"] }), "stop"),
        (json!({ "stop": [""] }), "stop[0]"),
        (json!({ "logit_bias": { "x": 1 } }), "logit_bias"),
        (json!({ "logit_bias": { "5": 101 } }), "logit_bias.5"),
        (json!({ "logit_bias": { "100000": 1 } }), "logit_bias"),
        (json!({ "logprobs": 3 }), "logprobs"),
        (json!({ "top_logprobs": 2 }), "top_logprobs"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs"),
        (json!({ "stream": "yes" }), "stream"),
        (json!({ "stream_options": { "include_usage": true } }), "stream_options"),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].function"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "a b" } }] }),
            "tools[0].function.name",
        ),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "functions": [{}] }), "functions"),
        (json!({ "response_format": { "type": "xml" } }), "response_format.type"),
        (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema"),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "a" } } }),
            "response_format.json_schema.schema",
        ),
        (
            json!({ "response_format": { "type": "json_object" }, "guided_regex": "a" }),
            "guided_regex",
        ),
        (json!({ "guided_json": "{" }), "guided_json"),
        (json!({ "guided_choice": ["a", 5] }), "guided_choice"),
        (json!({ "structured_outputs": { "regex": 5 } }), "structured_outputs.regex"),
        (json!({ "modalities": ["text", "audio"] }), "modalities"),
        (json!({ "include_reasoning": false }), "include_reasoning"),
        (json!({ "audio": {} }), "audio"),
    ] {
        for stream in [false, true] {
            let mut body = chat(more.clone());
            if stream && body["stream_options"].is_null() && body["stream"].is_null() {
                body["stream"] = true.into();
            }
            check(&server.post(CHAT, &body).await, 400, INVALID, None, Some(param));
        }
    }
    for (more, param) in [
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": [5, "x"] }), "prompt"),
        (json!({ "prompt": ["x", 5] }), "prompt[1]"),
        (json!({ "prompt": [100000] }), "prompt"),
        (json!({ "prompt": [-1] }), "prompt"),
        (json!({ "prompt": ["a", "b"], "n": 100 }), "n"),
        (json!({ "suffix": "end" }), "suffix"),
        (json!({ "echo": 1 }), "echo"),
        (json!({ "best_of": 2 }), "best_of"),
        (json!({ "logprobs": 6 }), "logprobs"),
        (json!({ "logprobs": true }), "logprobs"),
    ] {
        check(&server.post(COMPLETIONS, &completion(more)).await, 400, INVALID, None, Some(param));
    }
    assert!(server.meters().is_empty(), "nothing of this opened a meter");
    let message = check(
        &server.post(CHAT, &chat(json!({ "temperature": 9 }))).await,
        400,
        INVALID,
        None,
        Some("temperature"),
    );
    assert_eq!(message, "'temperature' is 9 and must be from 0 to 2");
}

#[tokio::test]
async fn a_prompt_longer_than_the_context_is_refused_with_both_numbers() {
    let server = Server::start(Setup::saying(&["ok"]));
    let code = Some("context_length_exceeded");
    for long in [600, 20_000] {
        let text = "x".repeat(long);
        let messages = json!([{ "role": "user", "content": text }]);
        let answer = server.post(CHAT, &chat(json!({ "messages": messages }))).await;
        let message = check(&answer, 400, INVALID, code, Some("messages"));
        assert!(message.contains(&(long + 2).to_string()) && message.contains("512"), "{message}");
        let answer = server.post(COMPLETIONS, &completion(json!({ "prompt": text }))).await;
        check(&answer, 400, INVALID, code, Some("prompt"));
    }
    // One token of room is enough.
    let text = format!("{}\n", "x".repeat(510));
    let answer = server.post(COMPLETIONS, &completion(json!({ "prompt": text }))).await;
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(answer.json()["usage"]["completion_tokens"], 1);
}

#[tokio::test]
async fn keys_are_needed_and_checked() {
    let server = Server::start(Setup::saying(&["ok"]));
    let code = Some("invalid_api_key");
    for path in ["/v1/models", "/api/v1/models", "/api/v1/credits", "/api/v1/key"] {
        for (name, value) in [
            ("x-none", ""),
            ("authorization", ""),
            ("authorization", "Bearer mz-wrong"),
            ("authorization", "Basic mz-wrong"),
        ] {
            let request = Request::get(path).header(name, value).body(Body::empty()).unwrap();
            let answer = server.send(request).await;
            check(&answer, 401, INVALID, code, None);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let key = format!("bEARER {}", server.key);
        let request = Request::get(path).header("authorization", key).body(Body::empty()).unwrap();
        assert_eq!(server.send(request).await.status, 200);
    }
    // The key comes before the body.
    let request = Request::post(CHAT).body(Body::from("nonsense")).unwrap();
    check(&server.send(request).await, 401, INVALID, code, None);

    // A revoked key is refused at once, a closed account's key too.
    let other = server
        .ledger
        .create_key(NewKeyRequest::new(server.account, "second"), "test")
        .wait()
        .unwrap();
    let with_key = |secret: &str| {
        Request::get("/v1/models")
            .header("authorization", format!("Bearer {secret}"))
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(server.send(with_key(&other.secret)).await.status, 200);
    server.ledger.revoke_key(other.id, "test").wait().unwrap();
    check(&server.send(with_key(&other.secret)).await, 401, INVALID, code, None);
    server.ledger.close_account(server.account, "test").wait().unwrap();
    let answer = server.post(CHAT, &chat(json!({}))).await;
    check(&answer, 403, "permission_error", None, None);
}

#[tokio::test]
async fn bodies_that_can_not_be_read_are_refused_in_shape() {
    let settings = "max_body = \"16KiB\"";
    let server = Server::start(Setup { settings, ..Setup::saying(&["ok"]) });
    let send = |content_type: Option<&str>, body: String| {
        let mut request = server.request(Method::POST, CHAT, None);
        if let Some(content_type) = content_type {
            let value = content_type.parse().unwrap();
            request.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        *request.body_mut() = Body::from(body);
        server.send(request)
    };
    let json = Some("application/json");
    for broken in ["", "{", "{\"model\":}", "nonsense", "{\"a\":1,}", "\u{0}"] {
        let answer = send(json, broken.to_owned()).await;
        check(&answer, 400, INVALID, Some("invalid_json"), None);
    }
    check(&send(json, "[".repeat(10_000)).await, 400, INVALID, Some("invalid_json"), None);
    for not_object in ["[]", "5", "null", "\"x\""] {
        check(&send(json, not_object.to_owned()).await, 400, INVALID, None, None);
    }
    let body = chat(json!({})).to_string();
    for wrong in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        check(&send(wrong, body.clone()).await, 415, INVALID, None, None);
    }
    for right in ["application/json; charset=utf-8", "Application/JSON", "application/x+json"] {
        assert_eq!(send(Some(right), body.clone()).await.status, 200, "{right}");
    }
    let long = chat(json!({ "user": "x".repeat(16 * 1024) })).to_string();
    let message = check(&send(json, long).await, 413, INVALID, None, None);
    assert!(message.contains("16384"), "{message}");
}

#[tokio::test]
async fn routes_methods_and_models_that_do_not_exist() {
    let server = Server::start(Setup::saying(&["ok"]));
    for path in ["/v1", "/v1/nothing", "/v2/chat/completions", "/api/v1/nothing"] {
        check(&server.get(path).await, 404, INVALID, None, None);
    }
    for (method, path, allow) in [
        (Method::GET, CHAT, "POST"),
        (Method::DELETE, "/v1/models", "GET,HEAD"),
        (Method::POST, "/health", "GET,HEAD"),
    ] {
        let answer = server.send(server.request(method, path, None)).await;
        check(&answer, 405, INVALID, None, None);
        assert_eq!(answer.header("allow"), Some(allow));
    }
    let code = Some("model_not_found");
    let body = chat(json!({ "model": "nobody" }));
    check(&server.post(CHAT, &body).await, 404, INVALID, code, Some("model"));
    check(&server.get("/v1/models/nobody").await, 404, INVALID, code, Some("model"));
    check(&server.get("/v1/models/a/b").await, 404, INVALID, code, Some("model"));
    // Offered, and not here.
    let body = chat(json!({ "model": "elsewhere" }));
    let answer = server.post(CHAT, &body).await;
    check(&answer, 503, "server_error", Some("model_unavailable"), None);
    assert!(answer.header("retry-after").is_some());
    for unknown in ["nothing", "chatcmpl-00000000000000000000000000000000", "-", "é"] {
        let path = format!("/api/v1/generations/{}", unknown.replace('é', "%C3%A9"));
        check(&server.get(&path).await, 404, INVALID, None, None);
    }
}

#[tokio::test]
async fn retry_after_is_a_number_that_clients_heed() {
    let server = Server::start(Setup::saying(&["ok"]));
    let answer = server.post(CHAT, &chat(json!({ "model": "elsewhere" }))).await;
    let secs: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=120).contains(&secs));
}

#[tokio::test]
async fn a_ledger_that_takes_no_charges_stops_generation() {
    let server = Server::start(Setup::saying(&["ok"]));
    server.ledger.shutdown();
    let answer = server.post(CHAT, &chat(json!({}))).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(answer.json()["error"]["type"], "server_error");
    assert_eq!(server.get("/ready").await.status, 503);
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn request_ids_are_echoed_or_made() {
    let server = Server::start(Setup::saying(&["ok"]));
    let with_id = |id: &str| {
        let mut request = server.request(Method::GET, "/v1/nothing", None);
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        server.send(request)
    };
    assert_eq!(with_id("mine-1").await.header("x-request-id"), Some("mine-1"));
    for refused in ["", "a b", &"x".repeat(129)] {
        let answer = with_id(refused).await;
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"), "{refused:?}");
    }
    let made = [server.get("/health").await, server.get("/health").await];
    assert_ne!(made[0].header("x-request-id"), made[1].header("x-request-id"));
    let answer: Value = server.get("/health").await.json();
    assert_eq!(answer, json!({ "status": "ok" }));
}
