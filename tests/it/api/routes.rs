//! The routes beside completions: models, account, native helpers, operations, CORS.

use axum::body::Body;
use axum::http::{Method, Request};
use mizan::ledger::NewKeyRequest;
use serde_json::{Value, json};

use super::{CHAT, chat};
use crate::support::server::{PREMIUM, STANDARD, Server, Setup};

#[tokio::test]
async fn models_are_listed_with_prices_where_asked() {
    let server = Server::start(Setup::saying(&["ok"]));
    let list = server.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let data = list["data"].as_array().unwrap();
    assert_eq!(data.len(), 2, "a model whose file is not here is not offered: {list}");
    let created = &data[0]["created"];
    let expected =
        json!({ "id": STANDARD, "object": "model", "created": created, "owned_by": "tests" });
    assert_eq!(data[0], expected);
    assert_eq!(server.get("/v1/models/scripted").await.json(), expected);
    // An alias is another name of the same model.
    assert_eq!(server.get("/v1/models/default").await.json(), expected);

    let list = server.get("/api/v1/models").await.json();
    for (model, tier, multiplier) in [(STANDARD, "standard", 1), (PREMIUM, "premium", 2)] {
        let entry = server.get(&format!("/api/v1/models/{model}")).await.json();
        assert!(list["data"].as_array().unwrap().contains(&entry));
        assert_eq!(entry["tier"], tier);
        assert_eq!(entry["credit_multiplier"], multiplier);
        assert_eq!(entry["context_length"], 512);
    }
}

#[tokio::test]
async fn both_prefixes_answer_alike() {
    let server = Server::start(Setup::saying(&["ok"]));
    let v1 = server.post("/v1/chat/completions", &chat(json!({}))).await.json();
    let api = server.post("/api/v1/chat/completions", &chat(json!({}))).await.json();
    assert_eq!(v1["choices"], api["choices"]);
    let prompt = json!({ "model": "default", "prompt": "Go\n" });
    assert_eq!(server.post("/api/v1/completions", &prompt).await.status, 200);
    // The model's own name is shown, also when it was called by another.
    assert_eq!(server.post("/v1/completions", &prompt).await.json()["model"], STANDARD);
}

#[tokio::test]
async fn a_key_shows_its_limit_and_its_use() {
    let server = Server::start(Setup { key_limit: Some(100), ..Setup::saying(&["a", "b"]) });
    server.post(CHAT, &chat(json!({}))).await;
    let expected = json!({
        "label": "first", "scopes": ["inference", "usage"], "expires_at": null,
        "limit": 100, "limit_reset": null, "limit_remaining": 98,
        "total_limit": null, "total_limit_remaining": null,
        "usage": 2, "usage_daily": 2, "usage_weekly": 2, "usage_monthly": 2, "is_free_tier": false,
    });
    assert_eq!(server.get("/api/v1/key").await.json(), json!({ "data": expected }));
}

#[tokio::test]
async fn a_generation_can_be_fetched_by_its_own_account_only() {
    let server = Server::start(Setup::saying(&["Hel", "lo"]));
    let answer = server.post(CHAT, &chat(json!({}))).await.json();
    let id = answer["id"].as_str().unwrap();
    let generation = server.get(&format!("/api/v1/generations/{id}")).await.json();
    let data = &generation["data"];
    assert_eq!(data["model"], STANDARD);
    assert_eq!(data["status"], "completed");
    assert_eq!(data["finish_reason"], "stop");
    assert_eq!((&data["tokens_prompt"], &data["tokens_completion"]), (&json!(4), &json!(2)));
    assert_eq!((&data["credits"], &data["credit_multiplier"]), (&json!(2), &json!(1)));
    assert_eq!(data["choices"][0]["text"], "Hello");
    assert_eq!(data["choices"][0]["token_ids"].as_array().unwrap().len(), 2);
    // Without the route's prefix it is the same.
    let bare = id.strip_prefix("chatcmpl-").unwrap();
    assert_eq!(server.get(&format!("/api/v1/generations/{bare}")).await.json(), generation);

    let other = server.ledger.create_account("others", "default", "test").wait().unwrap();
    let key = server.ledger.create_key(NewKeyRequest::new(other, "theirs"), "test").wait().unwrap();
    let request = Request::get(format!("/api/v1/generations/{id}"))
        .header("authorization", format!("Bearer {}", key.secret))
        .body(Body::empty())
        .unwrap();
    assert_eq!(server.send(request).await.status, 404);
}

#[tokio::test]
async fn text_becomes_tokens_and_back() {
    let server = Server::start(Setup::saying(&["ok"]));
    let ids = json!([72, 105, 32, 60]);
    for (body, tokens) in [
        (json!({ "content": "Hi <" }), ids.clone()),
        (json!({ "content": "Hi <", "model": STANDARD }), ids.clone()),
        (json!({ "content": "" }), json!([])),
    ] {
        assert_eq!(server.post("/tokenize", &body).await.json(), json!({ "tokens": tokens }));
    }
    // Control tokens are text unless they are asked for.
    let length = async |parse: bool| {
        let body = json!({ "content": "<|user|>", "parse_special": parse });
        let answer: Value = server.post("/tokenize", &body).await.json();
        answer["tokens"].as_array().unwrap().len()
    };
    assert_eq!((length(false).await, length(true).await), (8, 1));
    let body = json!({ "content": "é", "with_pieces": true });
    let pieces = json!([{ "id": 0xc3, "piece": [0xc3] }, { "id": 0xa9, "piece": [0xa9] }]);
    assert_eq!(server.post("/tokenize", &body).await.json(), json!({ "tokens": pieces }));

    let body = json!({ "tokens": ids });
    assert_eq!(server.post("/detokenize", &body).await.json(), json!({ "content": "Hi <" }));
    for (body, param) in [
        (json!({ "tokens": [1, "x"] }), "tokens[1]"),
        (json!({ "tokens": [100_000] }), "tokens[0]"),
        (json!({ "tokens": [-1] }), "tokens[0]"),
        (json!({}), "tokens"),
    ] {
        let answer = server.post("/detokenize", &body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["param"], param);
    }
}

#[tokio::test]
async fn long_texts_are_read_off_the_serving_threads() {
    let server = Server::start(Setup::saying(&["ok"]));
    let text = "x".repeat(100_000);
    let tokens = server.post("/tokenize", &json!({ "content": text })).await.json();
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 100_000);
    let answer = server.post("/detokenize", &tokens).await.json();
    assert_eq!(answer["content"], text);
}

#[tokio::test]
async fn operations_need_no_key_and_metrics_count() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    server.post(CHAT, &chat(json!({}))).await;
    server.post(CHAT, &chat(json!({ "model": "nobody" }))).await;
    server.get("/made/up/by/a/caller").await;
    for path in ["/health", "/ready", "/metrics"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(server.send(request).await.status, 200, "{path}");
    }
    // An answer is counted once its task knows that it was taken, after the caller has it.
    let mut metrics = server.get("/metrics").await.text;
    while !metrics.contains("mizan_generations_total{") {
        tokio::task::yield_now().await;
        metrics = server.get("/metrics").await.text;
    }
    for line in [
        "mizan_generations_total{model=\"scripted\",finish_reason=\"stop\"} 1",
        "mizan_credits_charged_total{model=\"scripted\"} 2",
        "mizan_generation_tokens_total{model=\"scripted\"} 2",
        "mizan_time_to_first_token_seconds_count{model=\"scripted\"} 1",
        "mizan_http_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1",
        "mizan_http_requests_total{route=\"/v1/chat/completions\",status=\"404\"} 1",
        "mizan_http_requests_total{route=\"none\",status=\"404\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line:?} in\n{metrics}");
    }
}

#[tokio::test]
async fn pages_of_configured_origins_may_call() {
    let settings = "cors_origins = [\"https://chat.example.com\"]";
    let server = Server::start(Setup { settings, ..Setup::saying(&["ok"]) });
    let preflight = |origin: &str| {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri(CHAT)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization, x-stainless-lang")
            .body(Body::empty());
        server.send(request.unwrap())
    };
    let answer = preflight("https://chat.example.com").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://chat.example.com"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("x-stainless-lang"));
    let answer = preflight("https://evil.example.com").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);

    // Errors too can be read by the page, with the headers it needs.
    let mut request = server.request(Method::GET, "/v1/nothing", None);
    request.headers_mut().insert("origin", "https://chat.example.com".parse().unwrap());
    let answer = server.send(request).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://chat.example.com"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    let ours = ["x-request-id", "retry-after", "x-credits-charged", "x-credits-balance"];
    let limits = ["limit", "remaining", "reset"]
        .map(|figure| ["requests", "tokens"].map(|what| format!("x-ratelimit-{figure}-{what}")));
    for name in limits.iter().flatten().map(String::as_str).chain(ours) {
        assert!(exposed.contains(name), "{exposed}");
    }
}
