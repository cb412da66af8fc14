//! Streamed answers, event by event.

use axum::http::Method;
use serde_json::{Value, json};

use super::{MESSAGES, message};
use crate::support::server::{Frames, STANDARD, Server, Setup};

/// The next event, which is named by its data's type; `None` at the end of the stream.
async fn next(stream: &mut Frames) -> Option<Value> {
    let frame = stream.next_raw().await?;
    let (event, data) = frame.split_once('\n').unwrap();
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event.strip_prefix("event: "), data["type"].as_str(), "{frame}");
    Some(data)
}

async fn rest(mut stream: Frames) -> Vec<Value> {
    let mut events = Vec::new();
    while let Some(event) = next(&mut stream).await {
        events.push(event);
    }
    events
}

pub(super) async fn events(server: &Server, more: Value) -> Vec<Value> {
    let mut body = message(more);
    body["stream"] = true.into();
    rest(server.stream(MESSAGES, &body).await).await
}

/// The text that all events add up to.
fn text(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect()
}

#[tokio::test]
async fn a_stream_is_what_clients_expect() {
    let server = Server::start(Setup::saying(&["Hel", "lo", " there"]));
    // One token at a time, so that none go out together.
    server.allow(0);
    let mut stream = server.stream(MESSAGES, &message(json!({ "stream": true }))).await;
    let mut start = next(&mut stream).await.unwrap();
    let id = start["message"]["id"].take();
    assert!(id.as_str().unwrap().starts_with("msg_"));
    let message = json!({
        "id": null, "type": "message", "role": "assistant", "model": STANDARD, "content": [],
        "stop_reason": null, "stop_sequence": null,
        "stop_details": null, "container": null,
        "usage": { "input_tokens": 4, "cache_creation": null, "server_tool_use": null,
            "service_tier": null, "inference_geo": null,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "output_tokens": 0 },
    });
    assert_eq!(start, json!({ "type": "message_start", "message": message }));
    server.allow(1);
    let block = json!({ "type": "text", "text": "", "citations": null });
    let start = json!({ "type": "content_block_start", "index": 0, "content_block": block });
    assert_eq!(next(&mut stream).await.unwrap(), start);
    for (tokens, text) in [(1, "Hel"), (2, "lo"), (3, " there")] {
        server.allow(tokens);
        let delta = json!({ "type": "text_delta", "text": text });
        let event = json!({ "type": "content_block_delta", "index": 0, "delta": delta });
        assert_eq!(next(&mut stream).await.unwrap(), event);
    }
    server.allow(4);
    let events = rest(stream).await;
    let expected = json!([
        { "type": "content_block_stop", "index": 0 },
        { "type": "message_delta",
            "delta": { "stop_reason": "end_turn", "stop_sequence": null,
                "stop_details": null, "container": null },
            "usage": { "input_tokens": 4, "cache_creation": null, "server_tool_use": null,
                "service_tier": null, "inference_geo": null,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0, "output_tokens": 3,
                "output_tokens_details": { "thinking_tokens": 0 }, "credits": 3,
                "credit_multiplier": 1, "balance": 4_997, "credits_exhausted": false } },
        { "type": "message_stop" },
    ]);
    assert_eq!(Value::from(events), expected);
    server.verify_books();
}

#[tokio::test]
async fn a_stream_says_what_a_plain_answer_says() {
    let script = ["Hel", "lo", " there", " you"];
    for more in [
        json!({}),
        json!({ "max_tokens": 2 }),
        json!({ "stop_sequences": ["x", "re y"] }),
        json!({ "max_credits": 1 }),
    ] {
        let server = Server::start(Setup::saying(&script));
        let plain = server.post(MESSAGES, &message(more.clone())).await.json();
        let events = events(&server, more.clone()).await;
        assert_eq!(text(&events), plain["content"][0]["text"].as_str().unwrap());
        let [.., delta, stop] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(stop["type"], "message_stop");
        for name in ["stop_reason", "stop_sequence"] {
            assert_eq!(delta["delta"][name], plain[name], "{more}");
        }
        for name in ["input_tokens", "output_tokens", "credits", "credits_exhausted"] {
            assert_eq!(delta["usage"][name], plain["usage"][name], "{more}");
        }
        let tokens: Vec<u32> = server.meters().iter().map(|meter| meter.output_tokens).collect();
        assert_eq!(tokens[0], tokens[1]);
        server.verify_books();
    }
}

#[tokio::test]
async fn a_balance_that_ends_ends_the_stream_well() {
    let server = Server::start(Setup { credits: 2, ..Setup::saying(&["a", "b", "c"]) });
    let events = events(&server, json!({})).await;
    assert_eq!(text(&events), "ab");
    let delta = &events[events.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], "max_tokens");
    assert_eq!(delta["usage"]["credits_exhausted"], true);
    assert_eq!(delta["usage"]["balance"], 0);
}

#[tokio::test]
async fn silence_is_broken_by_pings() {
    let settings = "keep_alive_secs = 1";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a"]) });
    server.allow(0);
    let mut stream = server.stream(MESSAGES, &message(json!({ "stream": true }))).await;
    assert_eq!(next(&mut stream).await.unwrap()["type"], "message_start");
    assert_eq!(next(&mut stream).await.unwrap(), json!({ "type": "ping" }));
    server.allow(2);
    assert_eq!(text(&rest(stream).await), "a");
}

#[tokio::test]
async fn a_failure_is_the_last_event() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    server.fail_at(2);
    let events = events(&server, json!({})).await;
    assert_eq!(text(&events), "ab");
    let error = events.last().unwrap();
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], "api_error");
    assert!(error["error"]["message"].is_string());
}

#[tokio::test]
async fn headers_and_replays() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let body = message(json!({ "stream": true }));
    let send = async || {
        let mut request = server.request(Method::POST, MESSAGES, Some(&body));
        request.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        server.send(request).await
    };
    let first = send().await;
    assert_eq!(first.header("content-type"), Some("text/event-stream"));
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    assert!(first.header("request-id").is_some());
    let again = send().await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert!(again.text.contains("\"text\":\"ab\"") && again.text.contains("\"credits\":0"));
    assert!(again.text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    assert_eq!(server.balance(), 4_998);
}
