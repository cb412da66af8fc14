//! What becomes of the parts of an answer, whole and as events.

use serde_json::{Value, json};

use super::super::super::delivery::{Finish, Receipt, Release, Summary};
use super::super::super::error::ApiError;
use super::super::super::event_stream::Frames;
use super::super::super::sample_parts::{USAGE, arguments, call, content, reasoning};
use super::super::answer::{Ending, Message, blocks_of};
use super::super::stream::{Content, Events};
use crate::text::AnswerPart;

fn summary(finish: Finish, stop_string: Option<&str>) -> Summary {
    Summary {
        finishes: vec![finish],
        stop_strings: vec![stop_string.map(str::to_owned)],
        usage: USAGE,
        receipt: Receipt::new().0,
    }
}

fn events() -> Events {
    Events {
        generation: "g".to_owned(),
        begun: Message::begun("g", "m", 10),
        is_bound_by_context: false,
        content: Content::default(),
    }
}

/// Events and their data; every event is named by its data's type.
fn read(frames: &str) -> Vec<Value> {
    let frames = frames.strip_suffix("\n\n").expect("a whole frame").split("\n\n");
    let read = |frame: &str| {
        let (event, data) = frame.split_once('\n').expect("two lines");
        let data: Value =
            serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(event.strip_prefix("event: "), data["type"].as_str(), "{frame}");
        data
    };
    frames.map(read).collect()
}

fn streamed(releases: Vec<Vec<AnswerPart>>, summary: &Summary) -> Vec<Value> {
    let (mut events, mut frames) = (events(), String::new());
    events.begin(&mut frames);
    for parts in releases {
        events.release(vec![Release { parts, ..Release::default() }], &mut frames);
    }
    events.end(summary, &mut frames);
    read(&frames)
}

/// A whole answer's content.
fn whole(parts: Vec<AnswerPart>) -> Value {
    serde_json::to_value(blocks_of(parts, "g")).expect("JSON")
}

fn start(index: usize, block: Value) -> Value {
    json!({ "type": "content_block_start", "index": index, "content_block": block })
}

fn delta(index: usize, delta: Value) -> Value {
    json!({ "type": "content_block_delta", "index": index, "delta": delta })
}

fn tool(id: &str, name: &str, input: Value) -> Value {
    json!({ "type": "tool_use", "id": id, "name": name, "input": input,
        "caller": { "type": "direct" } })
}

#[test]
fn a_stream_of_every_kind_of_block() {
    let frames = streamed(
        vec![
            vec![reasoning("Hm")],
            vec![],
            vec![reasoning("m."), content("I ")],
            vec![content("see.")],
            vec![call(0, "weather"), arguments(0, "{\"city\":")],
            vec![arguments(0, "\"Doha\"}"), call(1, "time")],
        ],
        &summary(Finish::ToolCalls, None),
    );
    let stop = |index: usize| json!({ "type": "content_block_stop", "index": index });
    let expected = json!([
        { "type": "message_start", "message": {
            "id": "msg_g", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null,
            "stop_details": null, "container": null,
            "usage": { "input_tokens": 10, "cache_creation": null, "server_tool_use": null,
                "service_tier": null, "inference_geo": null,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0, "output_tokens": 0 },
        } },
        start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "Hm" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "m." })),
        delta(0, json!({ "type": "signature_delta", "signature": "" })),
        stop(0),
        start(1, json!({ "type": "text", "text": "", "citations": null })),
        delta(1, json!({ "type": "text_delta", "text": "I " })),
        delta(1, json!({ "type": "text_delta", "text": "see." })),
        stop(1),
        start(2, tool("toolu_g_0", "weather", json!({}))),
        delta(2, json!({ "type": "input_json_delta", "partial_json": "{\"city\":" })),
        delta(2, json!({ "type": "input_json_delta", "partial_json": "\"Doha\"}" })),
        stop(2),
        start(3, tool("toolu_g_1", "time", json!({}))),
        stop(3),
        { "type": "message_delta",
            "delta": { "stop_reason": "tool_use", "stop_sequence": null,
                "stop_details": null, "container": null },
            "usage": { "input_tokens": 6, "cache_creation": null, "server_tool_use": null,
                "service_tier": null, "inference_geo": null,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 4, "output_tokens": 7,
                "output_tokens_details": { "thinking_tokens": 2 }, "credits": 14,
                "credit_multiplier": 2, "balance": 86, "credits_exhausted": false } },
        { "type": "message_stop" },
    ]);
    assert_eq!(Value::from(frames), expected);
}

#[test]
fn nothing_generated_is_no_block() {
    let frames = streamed(vec![], &summary(Finish::EndOfTurn, None));
    let types: Vec<&str> = frames.iter().filter_map(|frame| frame["type"].as_str()).collect();
    assert_eq!(types, ["message_start", "message_delta", "message_stop"]);
    assert_eq!(whole(vec![]), json!([]));
}

#[test]
fn silence_and_failure_are_events() {
    let mut frames = String::new();
    events().keep_alive(&mut frames);
    assert_eq!(frames, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    frames.clear();
    events().fail(&ApiError::ShuttingDown.into(), &mut frames);
    let error = &read(&frames)[0]["error"];
    assert_eq!(error["type"], "overloaded_error");
    assert_eq!(error["message"], ApiError::ShuttingDown.to_string());
}

#[test]
fn a_whole_answer_has_its_blocks_in_order() {
    let parts = vec![
        reasoning("Hm."),
        content("I see."),
        call(0, "weather"),
        arguments(0, "{\"city\": \"Doha\", \"n\": 1}"),
        call(1, "time"),
        call(2, "again"),
        arguments(2, "{\"a\": "),
        call(3, "list"),
        arguments(3, "[1]"),
    ];
    let expected = json!([
        { "type": "thinking", "thinking": "Hm.", "signature": "" },
        { "type": "text", "text": "I see.", "citations": null },
        tool("toolu_g_0", "weather", json!({ "city": "Doha", "n": 1 })),
        tool("toolu_g_1", "time", json!({})),
        tool("toolu_g_2", "again", json!({ "_raw": "{\"a\": " })),
        tool("toolu_g_3", "list", json!({ "_raw": "[1]" })),
    ]);
    assert_eq!(whole(parts), expected);
}

#[test]
fn every_end_has_anthropics_word() {
    let ending = |finish, stop_string, is_bound| {
        serde_json::to_value(Ending::of(&summary(finish, stop_string), is_bound)).expect("JSON")
    };
    for (finish, word) in [
        (Finish::EndOfTurn, "end_turn"),
        (Finish::ToolCalls, "tool_use"),
        (Finish::Length, "max_tokens"),
        (Finish::OutOfCredits, "max_tokens"),
        (Finish::MaxCredits, "max_tokens"),
        (Finish::Deadline, "max_tokens"),
    ] {
        let expected = json!({ "stop_reason": word, "stop_sequence": null,
            "stop_details": null, "container": null });
        assert_eq!(ending(finish, None, false), expected);
        // It was found, but what came before it was not paid for.
        assert_eq!(ending(finish, Some("STOP"), false), expected);
    }
    let stopped = json!({ "stop_reason": "stop_sequence", "stop_sequence": "STOP",
        "stop_details": null, "container": null });
    assert_eq!(ending(Finish::StopString, Some("STOP"), true), stopped);
    let full = json!({ "stop_reason": "model_context_window_exceeded", "stop_sequence": null,
        "stop_details": null, "container": null });
    assert_eq!(ending(Finish::Length, None, true), full);
}
