//! What becomes of the parts of an answer, whole and as events.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use serde_json::{Map, Value, json};

use super::super::super::conversation::ToolUse;
use super::super::super::delivery::{Failure, Finish, Receipt, Release, ReleasedToken, Summary};
use super::super::super::error::ApiError;
use super::super::super::event_stream::Frames;
use super::super::super::fields::Fields;
use super::super::super::sample_parts::{USAGE, arguments, call, content, reasoning};
use super::super::answer::{Draft, finish_of};
use super::super::events::Event;
use super::super::output::Output;
use super::super::settings::Settings;
use super::super::stream::Events;
use crate::engine::TokenLogprobs;
use crate::ledger::SystemClock;
use crate::text::{AnswerPart, TokenType, Tokenizer, Vocabulary};

fn tokenizer() -> Arc<Tokenizer> {
    let vocabulary = Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens: ["a", "b", "c"].map(str::to_owned).to_vec(),
        token_types: vec![TokenType::Normal; 3],
        add_bos: Some(false),
        ..Vocabulary::default()
    };
    Arc::new(Tokenizer::from_vocabulary(vocabulary).expect("a vocabulary"))
}

fn draft() -> Draft {
    let body = Map::new();
    let mut settings = Settings::read(&Fields::body(&body), &ToolUse::default()).expect("defaults");
    settings.store = false;
    Draft {
        id: "resp_g".to_owned(),
        created_at: 5,
        model: "m".to_owned(),
        settings,
        output: Output::new("g".to_owned(), tokenizer()),
        clock: Arc::new(SystemClock),
        completed_at: OnceLock::new(),
    }
}

fn summary(finish: Finish) -> Summary {
    Summary {
        finishes: vec![finish],
        stop_strings: vec![None],
        usage: USAGE,
        receipt: Receipt::new().0,
    }
}

/// Events and their data: every event is named by its data's type, and their numbers rise by one.
fn read(frames: &str) -> Vec<Value> {
    let frames = frames.strip_suffix("\n\n").expect("a whole frame").split("\n\n");
    let read = |(number, frame): (usize, &str)| {
        let (event, data) = frame.split_once('\n').expect("two lines");
        let mut data: Value =
            serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(event.strip_prefix("event: "), data["type"].as_str(), "{frame}");
        assert_eq!(data["sequence_number"], number, "{frame}");
        data.as_object_mut().expect("an object").shift_remove("sequence_number");
        data
    };
    frames.enumerate().map(read).collect()
}

fn releases(parts: Vec<Vec<AnswerPart>>) -> Vec<Release> {
    parts.into_iter().map(|parts| Release { parts, ..Release::default() }).collect()
}

fn streamed(releases: Vec<Release>, summary: &Summary) -> Vec<Value> {
    let (mut events, mut frames) = (Events::new(draft(), None), String::new());
    events.begin(&mut frames);
    for release in releases {
        events.release(vec![release], &mut frames);
    }
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(events.poll_end(summary, &mut frames, &mut context), Poll::Ready(()));
    events.end(summary, &mut frames);
    read(&frames)
}

/// A whole response.
fn whole(releases: Vec<Release>, summary: &Summary) -> Value {
    let (mut draft, silent) = (draft(), &mut |_: Event<'_>| {});
    for release in releases {
        draft.output.take(release, silent);
    }
    draft.output.end(finish_of(summary), silent);
    serde_json::from_str(&draft.ended(summary).to_json()).expect("JSON")
}

/// The output is the same whole and streamed, in one release and in many.
fn check_output(parts: Vec<Vec<AnswerPart>>, finish: Finish, expected: &Value) {
    let summary = summary(finish);
    let one = vec![parts.iter().flatten().cloned().collect()];
    for parts in [parts, one] {
        assert_eq!(whole(releases(parts.clone()), &summary)["output"], *expected);
        let events = streamed(releases(parts), &summary);
        let last = events.last().expect("an event");
        assert_eq!(last["response"]["output"], *expected);
        // What is told on the way adds up to it.
        let done: Vec<&Value> =
            events.iter().filter(|e| e["type"] == "response.output_item.done").collect();
        let items: Value = done.iter().map(|event| event["item"].clone()).collect();
        assert_eq!(items, *expected);
        for (index, event) in done.iter().enumerate() {
            assert_eq!(event["output_index"], index);
        }
        check_deltas(&events);
    }
}

/// All deltas of an item are its text, and no item goes on after it ended.
fn check_deltas(events: &[Value]) {
    let mut open = None;
    let mut text = String::new();
    for event in events {
        match event["type"].as_str().expect("a type") {
            "response.output_item.added" => {
                assert_eq!(open, None, "one item at a time");
                assert_eq!(event["item"]["status"], "in_progress");
                open = Some(event["item"]["id"].clone());
                text.clear();
            }
            "response.output_item.done" => {
                assert_eq!(open.take(), Some(event["item"]["id"].clone()));
            }
            kind if kind.ends_with(".delta") => {
                assert_eq!(open.as_ref(), Some(&event["item_id"]));
                text.push_str(event["delta"].as_str().expect("a text"));
            }
            "response.output_text.done" | "response.reasoning_text.done" => {
                assert_eq!(event["text"], text.as_str());
            }
            "response.function_call_arguments.done" => {
                assert_eq!(event["arguments"], text.as_str());
            }
            _ => {}
        }
    }
    assert_eq!(open, None);
}

fn message(index: usize, text: &str, status: &str) -> Value {
    let part = json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] });
    json!({ "type": "message", "id": format!("msg_g_{index}"), "status": status,
        "role": "assistant", "content": [part] })
}

#[test]
fn parts_become_items_in_the_order_they_came() {
    let parts = vec![
        vec![reasoning("I "), reasoning("think")],
        vec![reasoning("."), content("It ")],
        vec![content("is:"), call(0, "f"), arguments(0, "{\"x\":")],
        vec![arguments(0, "1}"), call(1, "g"), arguments(1, "{}"), content("Done")],
    ];
    let thought = json!({ "type": "reasoning", "id": "rs_g_0", "summary": [],
        "content": [{ "type": "reasoning_text", "text": "I think." }], "status": "completed" });
    let f = json!({ "type": "function_call", "id": "fc_g_2", "call_id": "call_g_0_0",
        "name": "f", "arguments": "{\"x\":1}", "status": "completed" });
    let g = json!({ "type": "function_call", "id": "fc_g_3", "call_id": "call_g_0_1",
        "name": "g", "arguments": "{}", "status": "completed" });
    let before = [thought, message(1, "It is:", "completed"), f, g];
    let with_end = |status| {
        let end = [message(4, "Done", status)];
        before.iter().cloned().chain(end).collect::<Value>()
    };
    check_output(parts.clone(), Finish::EndOfTurn, &with_end("completed"));
    // What was cut is the last item only.
    check_output(parts, Finish::OutOfCredits, &with_end("incomplete"));
}

#[test]
fn a_call_without_arguments_and_an_answer_without_anything_are_items_too() {
    let call_item = json!({ "type": "function_call", "id": "fc_g_0", "call_id": "call_g_0_0",
        "name": "f", "arguments": "", "status": "completed" });
    check_output(vec![vec![call(0, "f")]], Finish::ToolCalls, &json!([call_item]));
    check_output(vec![], Finish::StopString, &json!([message(0, "", "completed")]));
    check_output(vec![vec![]], Finish::Length, &json!([message(0, "", "incomplete")]));
}

#[test]
fn the_order_of_events_is_openais() {
    let parts = vec![vec![reasoning("R"), content("A")], vec![content("B"), call(0, "f")]];
    let events = streamed(releases(parts), &summary(Finish::ToolCalls));
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds, expected);
    let delta = json!({ "type": "response.output_text.delta", "item_id": "msg_g_1",
        "output_index": 1, "content_index": 0, "delta": "A", "logprobs": [] });
    assert_eq!(events[10], delta);
    let added = json!({ "type": "response.content_part.added", "item_id": "rs_g_0",
        "output_index": 0, "content_index": 0, "part": { "type": "reasoning_text", "text": "" } });
    assert_eq!(events[3], added);
}

#[test]
fn bounds_make_a_response_incomplete_and_usage_tells_what_it_cost() {
    for (finish, status) in [
        (Finish::EndOfTurn, "completed"),
        (Finish::StopString, "completed"),
        (Finish::ToolCalls, "completed"),
        (Finish::Length, "incomplete"),
        (Finish::OutOfCredits, "incomplete"),
        (Finish::MaxCredits, "incomplete"),
        (Finish::Deadline, "incomplete"),
    ] {
        let response = whole(releases(vec![vec![content("A")]]), &summary(finish));
        assert_eq!(response["status"], status, "{finish:?}");
        let details = match status {
            "incomplete" => json!({ "reason": "max_output_tokens" }),
            _ => Value::Null,
        };
        assert_eq!(response["incomplete_details"], details);
        let usage = json!({
            "input_tokens": 10,
            "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 0 },
            "output_tokens": 7,
            "output_tokens_details": { "reasoning_tokens": 2 },
            "total_tokens": 17,
            "credits": 14, "credit_multiplier": 2, "balance": 86, "credits_exhausted": false,
        });
        assert_eq!(response["usage"], usage);
        let events = streamed(Vec::new(), &summary(finish));
        assert_eq!(events.last().unwrap()["type"], format!("response.{status}"));
    }
}

#[test]
fn a_failure_is_a_flat_error_and_then_a_failed_response() {
    let (mut events, mut frames) = (Events::new(draft(), None), String::new());
    events.begin(&mut frames);
    events.release(releases(vec![vec![content("A")]]), &mut frames);
    let usage = Some(summary(Finish::Length).usage);
    events.fail(&Failure { error: ApiError::EngineFailed, usage }, &mut frames);
    let events = read(&frames);
    let [.., done, error, failed] = events.as_slice() else { panic!("{events:?}") };
    let message = ApiError::EngineFailed.to_string();
    assert_eq!(*error, json!({ "type": "error", "code": null, "message": message, "param": null }));
    assert_eq!(failed["type"], "response.failed");
    let response = &failed["response"];
    assert_eq!(
        (&response["status"], &response["usage"]["credits"]),
        (&json!("failed"), &json!(14))
    );
    assert_eq!(response["error"], json!({ "code": "server_error", "message": message }));
    let item = &response["output"][0];
    assert_eq!((&item["status"], &item["content"][0]["text"]), (&json!("incomplete"), &json!("A")));
    assert_eq!((&done["type"], &done["item"]), (&json!("response.output_item.done"), item));
}

#[test]
fn log_probabilities_are_those_of_the_text() {
    let token = |id: u32| ReleasedToken {
        id,
        logprobs: TokenLogprobs { logprob: -0.5, top: vec![(id, -0.5)] },
    };
    let release = |parts, ids: &[u32]| Release {
        parts,
        logprobs: ids.iter().map(|id| token(*id)).collect(),
        ..Release::default()
    };
    let releases = vec![
        release(vec![reasoning("r")], &[2]),
        // The text of the first token comes with the second.
        release(vec![], &[0]),
        release(vec![content("ab")], &[1]),
        release(vec![content("c"), call(0, "f")], &[2]),
    ];
    let summary = summary(Finish::ToolCalls);
    let response = whole(releases.clone(), &summary);
    let logprobs = &response["output"][1]["content"][0]["logprobs"];
    let tokens: Vec<&Value> = logprobs.as_array().unwrap().iter().map(|t| &t["token"]).collect();
    assert_eq!(tokens, ["a", "b", "c"]);
    let top = json!([{ "token": "a", "logprob": -0.5, "bytes": [97] }]);
    let first = json!({ "token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": top });
    assert_eq!(logprobs[0], first);
    let events = streamed(releases, &summary);
    let told: Value = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .flat_map(|event| event["logprobs"].as_array().unwrap().clone())
        .collect();
    assert_eq!(told, *logprobs);
    let done = events.iter().find(|event| event["type"] == "response.output_text.done");
    assert_eq!(done.unwrap()["logprobs"], *logprobs);
}
