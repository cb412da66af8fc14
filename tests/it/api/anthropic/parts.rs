//! Answers that are more than text: thinking and tool calls, plain and streamed, and what is
//! charged for them.

use serde_json::{Value, json};

use super::super::parts::{CALLS, THINKING, check_counts, setup};
use super::events::events;
use super::{MESSAGES, message};
use crate::support::server::{Server, Setup};

fn tools() -> Value {
    let city = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    json!([
        { "name": "weather", "description": "Tells it.", "input_schema": city },
        { "name": "time", "input_schema": { "type": "object" } },
    ])
}

/// A block of text.
fn said(text: &str) -> Value {
    json!({ "type": "text", "text": text, "citations": null })
}

/// The content that events add up to, as clients join it.
fn joined(events: &[Value]) -> Value {
    let (mut blocks, mut inputs): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
    let mut is_open = false;
    for event in events {
        let delta = &event["delta"];
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert!(!is_open, "blocks do not interleave");
                is_open = true;
                assert_eq!(event["index"], blocks.len());
                blocks.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                assert!(is_open);
                assert_eq!(event["index"], blocks.len() - 1);
                let block = blocks.last_mut().unwrap();
                for name in ["text", "thinking"] {
                    if let Some(more) = delta[name].as_str() {
                        block[name] = format!("{}{more}", block[name].as_str().unwrap()).into();
                    }
                }
                inputs.last_mut().unwrap().push_str(delta["partial_json"].as_str().unwrap_or(""));
            }
            "content_block_stop" => {
                assert_eq!(event["index"], blocks.len() - 1);
                is_open = false;
            }
            _ => assert!(!is_open),
        }
    }
    for (block, input) in blocks.iter_mut().zip(inputs).filter(|(_, input)| !input.is_empty()) {
        block["input"] = serde_json::from_str(&input).unwrap();
    }
    blocks.into()
}

#[tokio::test]
async fn calls_are_blocks_of_their_own() {
    let server = Server::start(setup(&CALLS));
    let more = json!({ "tools": tools() });
    let plain = server.post(MESSAGES, &message(more.clone())).await.json();
    let blocks = plain["content"].as_array().unwrap();
    let [text, weather, time] = blocks.as_slice() else { panic!("{plain}") };
    assert_eq!(text, &said("I see."));
    let id = plain["id"].as_str().unwrap().replace("msg_", "toolu_");
    let called = |index: usize, name: &str, input: Value| {
        let id = format!("{id}_{index}");
        let caller = json!({ "type": "direct" });
        json!({ "type": "tool_use", "id": id, "name": name, "input": input, "caller": caller })
    };
    assert_eq!(weather, &called(0, "weather", json!({ "city": "Doha" })));
    assert_eq!(time, &called(1, "time", json!({})));
    assert_eq!(plain["stop_reason"], "tool_use");
    check_counts(&server, &plain["usage"], 12);

    let events = events(&server, more).await;
    let delta = &events[events.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], "tool_use");
    check_counts(&server, &delta["usage"], 12);
    let mut content = joined(&events);
    for (streamed, plain) in content.as_array_mut().unwrap().iter_mut().zip(blocks).skip(1) {
        assert!(streamed["id"].as_str().unwrap().starts_with("toolu_"));
        streamed["id"] = plain["id"].clone();
    }
    assert_eq!(&content, &plain["content"]);
}

#[tokio::test]
async fn one_call_is_enough_where_parallel_ones_are_unwanted() {
    let server = Server::start(setup(&CALLS));
    let choice = json!({ "type": "auto", "disable_parallel_tool_use": true });
    let body = message(json!({ "tools": tools(), "tool_choice": choice }));
    let json = server.post(MESSAGES, &body).await.json();
    let names = json["content"].as_array().unwrap().iter().filter_map(|b| b["name"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["weather"]);
    assert_eq!(json["stop_reason"], "tool_use");
}

#[tokio::test]
async fn a_call_that_is_cut_short_is_told_as_far_as_it_went() {
    let server = Server::start(setup(&CALLS));
    let body = message(json!({ "tools": tools(), "max_tokens": 5 }));
    let json = server.post(MESSAGES, &body).await.json();
    assert_eq!(json["stop_reason"], "max_tokens");
    let call = &json["content"][1];
    assert_eq!(call["name"], "weather");
    assert!(call["input"]["_raw"].as_str().unwrap().starts_with("{\"city\":"), "{call}");
    check_counts(&server, &json["usage"], 5);
}

#[tokio::test]
async fn results_go_back_to_the_model() {
    let server = Server::start(setup(&["41"]));
    let messages = json!([
        { "role": "user", "content": "The weather?" },
        { "role": "assistant", "content": [
            { "type": "tool_use", "id": "t", "name": "weather", "input": { "city": "Doha" } },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t", "content": "41 degrees" },
        ] },
    ]);
    let body = message(json!({ "messages": messages, "tools": tools() }));
    let json = server.post(MESSAGES, &body).await.json();
    assert_eq!(json["content"], json!([said("41")]));
    assert_eq!(json["stop_reason"], "end_turn");
}

#[tokio::test]
async fn thinking_is_a_block_of_its_own() {
    let script = ["<think>", "Hm", "m.", "</think>", "Yes", "."];
    let server = Server::start(Setup { template: THINKING, ..setup(&script) });
    let plain = server.post(MESSAGES, &message(json!({}))).await.json();
    let expected = json!([
        { "type": "thinking", "thinking": "Hmm.", "signature": "" },
        said("Yes."),
    ]);
    assert_eq!(plain["content"], expected);
    let thinking = plain["usage"]["output_tokens_details"]["thinking_tokens"].as_u64().unwrap();
    assert!((2..=4).contains(&thinking), "{plain}");
    check_counts(&server, &plain["usage"], 6);

    let events = events(&server, json!({})).await;
    assert_eq!(joined(&events), expected);
    let usage = &events[events.len() - 2]["usage"];
    assert_eq!(usage["output_tokens_details"]["thinking_tokens"], thinking);
    check_counts(&server, usage, 6);

    // It comes back as it went, and may be turned off.
    let answer = json!({ "role": "assistant", "content": expected });
    let user = json!({ "role": "user", "content": "Hi" });
    let messages = json!([user, answer, user]);
    let count = async |more: Value| {
        let count = server.post(super::COUNT, &message(more)).await.json();
        count["input_tokens"].as_u64().unwrap()
    };
    let without = json!([user, { "role": "assistant", "content": "Yes." }, user]);
    let more = count(json!({ "messages": messages })).await;
    let fewer = count(json!({ "messages": without })).await;
    assert!(more > fewer, "{more} and {fewer}");
    let off = json!({ "thinking": { "type": "disabled" } });
    assert!(count(off).await > count(json!({})).await, "the template closes it at once");
}
