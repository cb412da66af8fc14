//! Responses that are more than text: reasoning, tool calls, and formats, plain and streamed, and
//! what is charged for them.

use serde_json::{Value, json};

use super::super::parts::{CALLS, THINKING, check_counts, setup};
use super::{create, events, fetch, text};
use crate::support::server::{Server, Setup};

fn tools() -> Value {
    let city = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    json!([
        { "type": "function", "name": "weather", "description": "Tells it.", "parameters": city },
        { "type": "function", "name": "time", "parameters": { "type": "object" } },
    ])
}

/// Items without their ids, which differ from answer to answer.
fn items(response: &Value) -> Value {
    let mut items = response["output"].clone();
    for item in items.as_array_mut().unwrap() {
        for name in ["id", "call_id"] {
            item.as_object_mut().unwrap().shift_remove(name);
        }
    }
    items
}

/// The same items streamed, each told as it came.
async fn check_streamed(server: &Server, more: Value, plain: &Value, tokens: u32) {
    let events = events(server, more).await;
    let response = &events.last().unwrap()["response"];
    assert_eq!(items(response), items(plain));
    let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
    let done: Value = done.map(|event| event["item"].clone()).collect();
    assert_eq!(done, response["output"]);
    for item in response["output"].as_array().unwrap() {
        let deltas = events.iter().filter(|event| event["item_id"] == item["id"]);
        let said: String = deltas.filter_map(|event| event["delta"].as_str()).collect();
        let whole = item["arguments"].as_str().or(item["content"][0]["text"].as_str());
        assert_eq!(Some(said.as_str()), whole);
    }
    assert_eq!(fetch(server, response).await.json(), *response);
    check_counts(server, &response["usage"], tokens);
}

#[tokio::test]
async fn calls_are_items_of_their_own_and_their_results_go_on_from_them() {
    let server = Server::start(setup(&CALLS));
    let more = json!({ "tools": tools() });
    let plain = create(&server, more.clone()).await;
    check_counts(&server, &plain["usage"], 12);
    let generation = plain["id"].as_str().unwrap().strip_prefix("resp_").unwrap();
    let part =
        json!({ "type": "output_text", "text": "I see.", "annotations": [], "logprobs": [] });
    let call = |index: usize, name: &str, arguments: &str| {
        json!({ "type": "function_call", "id": format!("fc_{generation}_{}", index + 1),
            "call_id": format!("call_{generation}_0_{index}"), "name": name,
            "arguments": arguments, "status": "completed" })
    };
    let expected = json!([
        { "type": "message", "id": format!("msg_{generation}_0"), "status": "completed",
            "role": "assistant", "content": [part] },
        call(0, "weather", "{\"city\": \"Doha\"}"),
        call(1, "time", "{}"),
    ]);
    assert_eq!(plain["output"], expected);
    assert_eq!(plain["status"], "completed");
    check_streamed(&server, more, &plain, 12).await;

    let results = json!([
        { "type": "function_call_output", "call_id": expected[1]["call_id"], "output": "Hot" },
        { "type": "function_call_output", "call_id": expected[2]["call_id"], "output": "Noon" },
    ]);
    let more = json!({ "input": results, "previous_response_id": plain["id"], "tools": tools() });
    let next = create(&server, more).await;
    assert_eq!(next["status"], "completed");
    let path = format!("{}/input_items?order=asc", super::path(&next));
    let list = server.get(&path).await.json();
    let types = list["data"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap());
    let expected = [
        "message",
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ];
    assert_eq!(types.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn one_call_is_enough_where_parallel_ones_are_unwanted() {
    let server = Server::start(setup(&CALLS));
    let more = json!({ "tools": tools(), "parallel_tool_calls": false });
    let response = create(&server, more).await;
    let names = response["output"].as_array().unwrap().iter().filter_map(|i| i["name"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["weather"]);
    assert_eq!(response["parallel_tool_calls"], false);
}

#[tokio::test]
async fn a_call_that_is_cut_short_is_told_as_far_as_it_went() {
    let server = Server::start(setup(&CALLS));
    let more = json!({ "tools": tools(), "max_output_tokens": 5 });
    let plain = create(&server, more.clone()).await;
    assert_eq!(plain["status"], "incomplete");
    let [said, call] = plain["output"].as_array().unwrap().as_slice() else { panic!("{plain}") };
    assert_eq!((&said["status"], &call["status"]), (&json!("completed"), &json!("incomplete")));
    assert_eq!(call["name"], "weather");
    check_streamed(&server, more, &plain, 5).await;
}

#[tokio::test]
async fn reasoning_is_an_item_before_the_message_and_goes_back_as_it_is() {
    let script = ["<think>", "Let me", " see", "</think>", "Yes", "."];
    let server = Server::start(Setup { template: THINKING, ..setup(&script) });
    let plain = create(&server, json!({})).await;
    let [thought, said] = plain["output"].as_array().unwrap().as_slice() else { panic!("{plain}") };
    assert_eq!(thought["type"], "reasoning");
    let content = json!([{ "type": "reasoning_text", "text": "Let me see" }]);
    assert_eq!((&thought["summary"], &thought["content"]), (&json!([]), &content));
    assert_eq!(said["content"][0]["text"], "Yes.");
    assert!(plain["usage"]["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() >= 2);
    check_streamed(&server, json!({}), &plain, 6).await;

    let mut input = json!([{ "role": "user", "content": "Hi" }]);
    input.as_array_mut().unwrap().extend(plain["output"].as_array().unwrap().clone());
    input.as_array_mut().unwrap().push(json!({ "role": "user", "content": "So?" }));
    let sent_back = create(&server, json!({ "input": input })).await;
    let more = json!({ "input": "So?", "previous_response_id": plain["id"] });
    let gone_on = create(&server, more).await;
    assert_eq!(sent_back["usage"]["input_tokens"], gone_on["usage"]["input_tokens"]);
}

#[tokio::test]
async fn effort_none_is_no_reasoning() {
    let server = Server::start(Setup { template: THINKING, ..setup(&["Yes"]) });
    let tokens = async |effort: Value| {
        let response = create(&server, json!({ "reasoning": { "effort": effort } })).await;
        response["usage"]["input_tokens"].as_u64().unwrap()
    };
    let usual = tokens(Value::Null).await;
    assert!(tokens(json!("none")).await > usual, "the prompt says that there is none");
    assert_eq!(tokens(json!("high")).await, usual);
}

#[tokio::test]
async fn formats_are_kept_to() {
    let server = Server::start(setup(&["{", "\"a\"", ":", "1", "}"]));
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } },
        "required": ["a"], "additionalProperties": false });
    let asked = json!({ "type": "json_schema", "name": "n", "schema": schema, "strict": true });
    for format in [json!({ "type": "text" }), json!({ "type": "json_object" }), asked] {
        let response = create(&server, json!({ "text": { "format": format } })).await;
        assert_eq!(text(&response), "{\"a\":1}");
        assert_eq!(response["text"]["format"], format);
    }
}
