//! Anthropic's Messages API, over the whole router.

mod answers;
mod events;
mod parts;
mod refusals;

use axum::http::{HeaderName, Method};
use serde_json::{Value, json};

use super::with;
use crate::support::server::{Answer, STANDARD, Server};

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

/// A request with some fields more.
fn message(more: Value) -> Value {
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    with(json!({ "model": STANDARD, "max_tokens": 100, "messages": messages }), more)
}

/// Sends `body` with headers of its own, and the account's key where they have none.
async fn send(server: &Server, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = server.request(Method::POST, path, Some(body));
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        if value.is_empty() {
            request.headers_mut().remove(name);
        } else {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    server.send(request).await
}
