//! `Idempotency-Key`: the same request again is the same answer, for nothing.

use axum::http::Method;
use serde_json::{Value, json};

use super::{CHAT, chat};
use crate::support::server::{Answer, Server, Setup};

/// Sends `body` under an idempotency key.
async fn send(server: &Server, key: &str, body: &Value) -> Answer {
    let mut request = server.request(Method::POST, CHAT, Some(body));
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    server.send(request).await
}

#[tokio::test]
async fn the_same_body_gets_the_stored_answer_for_nothing() {
    let server = Server::start(Setup::saying(&["Hel", "lo", " there", " you"]));
    for more in [
        json!({}),
        json!({ "n": 2 }),
        json!({ "stop": "re y" }),
        // The first was what "there" was held back for, and the second ended it.
        json!({ "stop": ["there you go", " you"] }),
        json!({ "stop": ["there you go", "lo x", " you"], "n": 2 }),
        json!({ "max_tokens": 2 }),
    ] {
        let (body, key) = (chat(more.clone()), more.to_string());
        let first = send(&server, &key, &body).await;
        let balance = server.balance();
        let again = send(&server, &key, &body).await;
        assert_eq!(again.status, 200);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(first.header("idempotent-replayed"), None);
        assert_eq!(again.header("x-credits-charged"), Some("0"));
        let (first, again) = (first.json(), again.json());
        for name in ["id", "created", "model", "choices"] {
            assert_eq!(again[name], first[name], "{name}");
        }
        assert_eq!(again["usage"]["completion_tokens"], first["usage"]["completion_tokens"]);
        assert_eq!(again["usage"]["credits"], 0);
        assert_eq!(again["usage"]["balance"], balance);
        assert_eq!(server.balance(), balance);
    }
    server.verify_books();
}

#[tokio::test]
async fn a_stream_is_replayed_as_a_stream_and_a_cut_one_as_far_as_it_went() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    let body = chat(json!({ "stream": true }));
    let first = send(&server, "whole", &body).await;
    let again = send(&server, "whole", &body).await;
    assert_eq!(server.balance(), 4_997);
    assert!(first.text.ends_with("data: [DONE]\n\n"));
    assert!(again.text.contains("\"content\":\"abc\"") && again.text.ends_with("data: [DONE]\n\n"));

    server.allow(0);
    let mut request = server.request(Method::POST, CHAT, Some(&body));
    request.headers_mut().insert("idempotency-key", "cut".parse().unwrap());
    let mut stream = server.open(request).await;
    server.allow(2);
    while server.balance() != 4_995 {
        stream.next().await.unwrap();
    }
    drop(stream);
    while server.meters()[1].closed_ms.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let again = send(&server, "cut", &body).await;
    assert!(again.text.contains("\"content\":\"ab\""), "{}", again.text);
    assert!(again.text.contains("\"finish_reason\":\"length\""));
    assert_eq!(server.balance(), 4_995);
}

#[tokio::test]
async fn another_body_is_422_and_one_that_runs_is_409() {
    let server = Server::start(Setup::saying(&["a"]));
    send(&server, "k", &chat(json!({}))).await;
    let other = send(&server, "k", &chat(json!({ "n": 2 }))).await;
    assert_eq!(other.status, 422);
    assert_eq!(other.json()["error"]["code"], "idempotency_mismatch");

    server.allow(0);
    let body = chat(json!({ "stream": true }));
    let mut request = server.request(Method::POST, CHAT, Some(&body));
    request.headers_mut().insert("idempotency-key", "running".parse().unwrap());
    let stream = server.open(request).await;
    let twin = send(&server, "running", &body).await;
    assert_eq!(twin.status, 409);
    assert_eq!(twin.json()["error"]["code"], "idempotency_running");
    drop(stream);
}

#[tokio::test]
async fn a_request_that_was_not_answered_may_be_sent_again() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let body = chat(json!({}));
    server.fail_at(1);
    assert_eq!(send(&server, "k", &body).await.status, 500);
    server.fail_at(usize::MAX);
    let answer = send(&server, "k", &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["usage"]["credits"], 2);
    assert_eq!(server.balance(), 4_998);
}

#[tokio::test]
async fn an_answer_that_is_no_longer_stored_is_an_error_not_a_second_run() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let body = chat(json!({}));
    send(&server, "k", &body).await;
    let record = server.settled().await;
    server.ledger.purge_ids(record.closed_ms.unwrap() + 1).wait().unwrap();
    let again = send(&server, "k", &body).await;
    assert_eq!(again.status, 410);
    assert_eq!(again.json()["error"]["code"], "idempotency_expired");
    assert_eq!(server.balance(), 4_998);
}

#[tokio::test]
async fn keys_and_choices_have_bounds() {
    let server = Server::start(Setup::saying(&["a"]));
    assert_eq!(send(&server, &"k".repeat(256), &chat(json!({}))).await.status, 400);
    assert_eq!(send(&server, &"k".repeat(255), &chat(json!({}))).await.status, 200);
    assert_eq!(send(&server, "n", &chat(json!({ "n": 59 }))).await.status, 400);
    assert_eq!(send(&server, "n", &chat(json!({ "n": 58 }))).await.status, 200);
}

/// One key stands for one request, and the route is part of what was asked.
#[tokio::test]
async fn the_same_body_on_another_route_is_another_request() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let body = chat(json!({ "prompt": ["Go\n", "Go\n"] }));
    let keyed = |path| {
        let mut request = server.request(Method::POST, path, Some(&body));
        request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
        request
    };
    assert_eq!(server.send(keyed("/v1/completions")).await.status, 200);
    assert_eq!(server.send(keyed("/v1/chat/completions")).await.status, 422);
    // The two prefixes are one route.
    assert_eq!(server.send(keyed("/api/v1/completions")).await.status, 200);
}
