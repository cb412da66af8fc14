//! OpenAI's Responses API, over the whole router.

mod kept;
mod parts;
mod plain;
mod refusals;
mod streamed;

use serde_json::{Value, json};

use super::with;
use crate::support::server::{Answer, Frames, STANDARD, Server};

const RESPONSES: &str = "/v1/responses";

/// A request with some fields more.
fn request(more: Value) -> Value {
    with(json!({ "model": STANDARD, "input": "Hi" }), more)
}

/// A response that was answered with 200.
async fn create(server: &Server, more: Value) -> Value {
    let answer = server.post(RESPONSES, &request(more)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn path(response: &Value) -> String {
    format!("{RESPONSES}/{}", response["id"].as_str().unwrap())
}

async fn fetch(server: &Server, response: &Value) -> Answer {
    server.get(&path(response)).await
}

/// The text of a response.
fn text(response: &Value) -> String {
    let items = response["output"].as_array().unwrap().iter();
    let parts = items.flat_map(|item| item["content"].as_array().into_iter().flatten());
    parts.filter_map(|part| part["text"].as_str()).collect()
}

/// The next event, which is named by its data's type; `None` at the end of the stream.
async fn next(stream: &mut Frames) -> Option<Value> {
    let frame = stream.next_raw().await?;
    let (event, data) = frame.split_once('\n').unwrap();
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event.strip_prefix("event: "), data["type"].as_str(), "{frame}");
    Some(data)
}

/// All events of a stream, whose numbers rise by one.
async fn events(server: &Server, more: Value) -> Vec<Value> {
    let mut stream =
        server.stream(RESPONSES, &request(with(more, json!({ "stream": true })))).await;
    let mut events = Vec::new();
    while let Some(event) = next(&mut stream).await {
        assert_eq!(event["sequence_number"], events.len());
        events.push(event);
    }
    events
}
