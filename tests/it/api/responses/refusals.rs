//! What is refused, and by what name.

use serde_json::{Value, json};

use super::super::parts::setup;
use super::{RESPONSES, create, request};
use crate::api::errors::check;
use crate::support::server::{Server, Setup};

const INVALID: &str = "invalid_request_error";

#[tokio::test]
async fn fields_out_of_bounds_or_unsupported_are_named() {
    let server = Server::start(setup(&["ok"]));
    let pairs = |n: usize| -> Value {
        (0..n).map(|n| (n.to_string(), json!("x"))).collect::<serde_json::Map<_, _>>().into()
    };
    let message = |content: Value| json!({ "input": [{ "role": "user", "content": content }] });
    let tool = |tool: Value| json!({ "tools": [tool] });
    let sound = json!({ "type": "function", "name": "f", "parameters": { "type": "object" } });
    let nonsense = json!({ "type": "function", "name": "g", "parameters": { "type": "nonsense" } });
    for (more, param) in [
        (json!({ "model": null }), "model"),
        (json!({ "input": null }), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": 5 }), "input"),
        (json!({ "input": ["hi"] }), "input[0]"),
        (json!({ "input": [{ "content": "x" }] }), "input[0].role"),
        (json!({ "input": [{ "role": "boss", "content": "x" }] }), "input[0].role"),
        (json!({ "input": [{ "role": "user" }] }), "input[0].content"),
        (message(json!(5)), "input[0].content"),
        (message(json!([{ "type": "input_image", "image_url": "x" }])), "input[0].content[0].type"),
        (message(json!([{ "type": "input_file", "file_id": "x" }])), "input[0].content[0].type"),
        (message(json!([{ "type": "input_text" }])), "input[0].content[0].text"),
        (message(json!(["x"])), "input[0].content[0]"),
        (json!({ "input": [{ "role": "user", "content": "x", "id": 5 }] }), "input[0].id"),
        (
            json!({ "input": [{ "role": "user", "content": "x", "id": "i".repeat(200) }] }),
            "input[0].id",
        ),
        (
            json!({ "input": [{ "role": "user", "content": "", "status": "new" }] }),
            "input[0].status",
        ),
        (json!({ "input": [{ "type": "computer_call" }] }), "input[0].type"),
        (json!({ "input": [{ "type": "function_call" }] }), "input[0].call_id"),
        (
            json!({ "input": [{ "type": "function_call", "call_id": "1", "name": "f",
            "arguments": {} }] }),
            "input[0].arguments",
        ),
        (
            json!({ "input": [{ "type": "function_call_output", "call_id": "1" }] }),
            "input[0].output",
        ),
        (
            json!({ "input": [{ "type": "function_call_output", "call_id": "1",
            "output": [{ "type": "input_image" }] }] }),
            "input[0].output[0].type",
        ),
        (
            json!({ "input": [{ "type": "reasoning", "summary": "x", "content": 5 }] }),
            "input[0].content",
        ),
        (json!({ "instructions": ["x"] }), "instructions"),
        (json!({ "background": true }), "background"),
        (json!({ "conversation": "conv_1" }), "conversation"),
        (json!({ "prompt": { "id": "p" } }), "prompt"),
        (json!({ "context_management": [{ "type": "compaction" }] }), "context_management"),
        (json!({ "moderation": {} }), "moderation"),
        (json!({ "truncation": "auto" }), "truncation"),
        (json!({ "truncation": 5 }), "truncation"),
        (json!({ "include": ["everything"] }), "include[0]"),
        (json!({ "include": [5] }), "include[0]"),
        (json!({ "include": "x" }), "include"),
        (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "max_tool_calls": "many" }), "max_tool_calls"),
        (json!({ "metadata": { "a": 5 } }), "metadata.a"),
        (json!({ "metadata": { "a": "x".repeat(513) } }), "metadata.a"),
        (json!({ "metadata": { "a".repeat(65): "x" } }), "metadata"),
        (json!({ "metadata": pairs(17) }), "metadata"),
        (json!({ "metadata": "x" }), "metadata"),
        (json!({ "parallel_tool_calls": 1 }), "parallel_tool_calls"),
        (json!({ "previous_response_id": 5 }), "previous_response_id"),
        (json!({ "reasoning": "low" }), "reasoning"),
        (json!({ "reasoning": { "effort": "enormous" } }), "reasoning.effort"),
        (json!({ "service_tier": 5 }), "service_tier"),
        (json!({ "store": "yes" }), "store"),
        (json!({ "stream": "yes" }), "stream"),
        (json!({ "stream_options": { "include_obfuscation": false } }), "stream_options"),
        (json!({ "temperature": 3 }), "temperature"),
        (json!({ "top_p": -1 }), "top_p"),
        (json!({ "top_logprobs": 21 }), "top_logprobs"),
        (json!({ "text": "json" }), "text"),
        (json!({ "text": { "format": { "type": "xml" } } }), "text.format.type"),
        (json!({ "text": { "format": {} } }), "text.format.type"),
        (
            json!({ "text": { "format": { "type": "json_schema", "name": "n" } } }),
            "text.format.schema",
        ),
        (
            json!({ "text": { "format": { "type": "json_object" } }, "guided_regex": "a" }),
            "guided_regex",
        ),
        (json!({ "text": { "verbosity": 5 } }), "text.verbosity"),
        (tool(json!({ "type": "web_search" })), "tools[0].type"),
        (tool(json!({ "type": "file_search", "vector_store_ids": [] })), "tools[0].type"),
        (tool(json!({ "type": "mcp", "server_label": "x" })), "tools[0].type"),
        (tool(json!({ "type": "function" })), "tools[0].name"),
        (tool(json!({ "type": "function", "function": { "name": "f" } })), "tools[0].name"),
        (tool(json!({ "type": "function", "name": "a b" })), "tools[0].name"),
        (tool(json!({ "type": "function", "name": "f", "parameters": 5 })), "tools[0].parameters"),
        (json!({ "tools": [sound, nonsense], "tool_choice": "required" }), "tools[1].parameters"),
        // Its place is the request's, whatever tools the choice leaves.
        (
            json!({ "tools": [sound, nonsense], "tool_choice": {
                "type": "allowed_tools", "mode": "required",
                "tools": [{ "type": "function", "name": "g" }],
            } }),
            "tools[1].parameters",
        ),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "tool_choice": { "type": "function", "name": "f" } }), "tool_choice"),
        (json!({ "tool_choice": { "type": "mcp" } }), "tool_choice.type"),
        (json!({ "user": 5 }), "user"),
        (json!({ "user": "u".repeat(513) }), "user"),
        (json!({ "max_credits": 0 }), "max_credits"),
        (json!({ "stop": [""] }), "stop[0]"),
    ] {
        for stream in [false, true] {
            let mut body = request(more.clone());
            if stream && body["stream_options"].is_null() && body["stream"].is_null() {
                body["stream"] = true.into();
            }
            check(&server.post(RESPONSES, &body).await, 400, INVALID, None, Some(param));
        }
    }
    assert_eq!(server.balance(), 5_000);
    assert_eq!(server.meters().len(), 0);
}

#[tokio::test]
async fn a_conversation_that_is_too_long_for_the_model_is_refused_by_its_length() {
    let server = Server::start(Setup::saying(&["a"]));
    let long = "x".repeat(300);
    let first = create(&server, json!({ "input": long })).await;
    let body = request(json!({ "input": long, "previous_response_id": first["id"] }));
    let answer = server.post(RESPONSES, &body).await;
    check(&answer, 400, INVALID, Some("context_length_exceeded"), Some("input"));
}

#[tokio::test]
async fn a_balance_without_a_credit_is_402_and_unknown_models_are_404() {
    let server = Server::start(Setup { credits: 0, ..Setup::saying(&["a"]) });
    let answer = server.post(RESPONSES, &request(json!({}))).await;
    let code = Some("credit_balance_exhausted");
    check(&answer, 402, "insufficient_quota", code, None);
    let answer = server.post(RESPONSES, &request(json!({ "model": "nobody" }))).await;
    check(&answer, 404, INVALID, Some("model_not_found"), Some("model"));
}
