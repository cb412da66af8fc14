//! The whole of the HTTP side in memory: real router, ledger, engine, tokenizer; a scripted model.
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

mod access;
mod admin;
mod anthropic;
mod books;
mod connections;
mod dashboard;
mod echo;
mod embeddings;
mod errors;
mod extensions;
mod hostile;
mod idempotency;
mod keys;
mod limits;
mod machine;
mod money;
mod openapi;
mod panics;
mod parts;
mod plain;
mod reasoning;
mod responses;
mod routes;
mod sales;
mod sessions;
mod shutdown;
mod streamed;
mod tools;
mod tools_real;
mod transcripts;
mod usage;
mod users;

use axum::body::Body;
use axum::http::{Method, Request, header};
use mizan::api::{self, OperatorKey};
use serde_json::{Value, json};

use crate::support::server::{Answer, STANDARD, Server};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

const OPERATORS_KEY: &str = "the operator's own secret";

/// The same server, with an operator's key.
fn operated(mut server: Server) -> Server {
    server.state = server.state.clone().with_operator_key(OperatorKey::of(OPERATORS_KEY));
    server.router = api::router(server.state.clone());
    server
}

/// A request of whoever holds `secret`, below `/api/v1`.
async fn call(server: &Server, secret: &str, line: &str, body: Option<Value>) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    if !secret.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
    }
    let request = match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    server.send(request.unwrap()).await
}

/// Fields that a request may have or not: of both routes, understood here or not.
const OPTIONAL: [&str; 36] = [
    "stream",
    "stream_options",
    "n",
    "stop",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logit_bias",
    "min_tokens",
    "ignore_eos",
    "max_tokens",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "modalities",
    "audio",
    "web_search_options",
    "parallel_tool_calls",
    "user",
    "store",
    "metadata",
    "service_tier",
    "suffix",
    "echo",
    "best_of",
    "chat_template_kwargs",
];

/// A chat request with some fields more.
fn chat(more: Value) -> Value {
    let body = json!({ "model": STANDARD, "messages": [{ "role": "user", "content": "Hi" }] });
    with(body, more)
}

/// A text completion of a prompt that the scripted model answers, with some fields more.
fn completion(more: Value) -> Value {
    with(json!({ "model": STANDARD, "prompt": "Go\n" }), more)
}

fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}
