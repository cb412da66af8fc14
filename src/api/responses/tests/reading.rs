//! Items as callers write them: what they say, how they are given back, which are refused.

use serde_json::{Value, json};

use super::super::super::conversation::ToolChoice;
use super::super::super::fields::Fields;
use super::super::input::{Input, Item, input_of, item_of};
use super::super::tools::tools_of;
use super::super::turns::messages_of;
use crate::text::ChatMessage;

fn read(input: &Value) -> Vec<Item> {
    let body = json!({ "input": input });
    let items = input_of(&Fields::body(body.as_object().unwrap())).unwrap();
    let item = |input| match input {
        Input::Item(item) => item,
        Input::Reference { id, .. } => panic!("a reference to {id}"),
    };
    items.into_iter().map(item).collect()
}

/// Messages in short: role, content and the rest.
fn messages(instructions: Option<&str>, input: &Value) -> Value {
    let short = |message: &ChatMessage| json!([message.role, message.content, message.extra]);
    messages_of(instructions, &read(input)).iter().map(short).collect()
}

#[test]
fn every_form_of_a_message_says_the_same() {
    let text = [json!("Hi"), json!([{ "type": "input_text", "text": "Hi" }])];
    for (role, says) in [("user", "user"), ("developer", "system"), ("system", "system")] {
        for content in &text {
            for kind in [json!(null), json!("message")] {
                let item = json!([{ "type": kind, "role": role, "content": content }]);
                assert_eq!(messages(None, &item), json!([[says, "Hi", {}]]));
                let part = json!({ "type": "input_text", "text": "Hi" });
                let given_back = json!({ "type": "message", "id": null, "status": "completed",
                    "role": role, "content": [part] });
                assert_eq!(read(&item)[0].json, given_back);
            }
        }
    }
    assert_eq!(messages(None, &json!("Hi")), json!([["user", "Hi", {}]]));
    let parts = json!([{ "type": "text", "text": "a" }, { "type": "input_text", "text": "b" }]);
    let item = json!([{ "role": "user", "content": parts }]);
    assert_eq!(messages(None, &item), json!([["user", "a\nb", {}]]));
}

#[test]
fn what_the_assistant_thought_said_and_called_is_one_turn() {
    let call = |id: &str, name: &str| {
        let kind = "function_call";
        json!({ "type": kind, "call_id": id, "name": name, "arguments": "{}" })
    };
    let result = |id: &str, output: Value| {
        let kind = "function_call_output";
        json!({ "type": kind, "call_id": id, "output": output })
    };
    let thought = json!({ "type": "reasoning", "id": "rs_1", "summary": [],
        "content": [{ "type": "reasoning_text", "text": "hm" }], "encrypted_content": "x" });
    let input = json!([
        { "role": "user", "content": "Go" },
        thought,
        { "type": "message", "role": "assistant",
            "content": [{ "type": "output_text", "text": "Well", "annotations": [] }] },
        call("1", "f"),
        call("2", "g"),
        result("1", json!("one")),
        result("2", json!([{ "type": "input_text", "text": "two" }])),
        { "role": "assistant", "content": "Done" },
        { "role": "assistant", "content": "Really" },
        call("3", "f"),
        { "role": "developer", "content": "Stop" },
    ]);
    let called = |id: &str, name: &str| {
        let function = json!({ "name": name, "arguments": "{}" });
        json!({ "id": id, "type": "function", "function": function })
    };
    let expected = json!([
        ["system", "Be brief", {}],
        ["user", "Go", {}],
        ["assistant", "Well",
            { "reasoning_content": "hm", "tool_calls": [called("1", "f"), called("2", "g")] }],
        ["tool", "one", { "tool_call_id": "1", "name": "f" }],
        ["tool", "two", { "tool_call_id": "2", "name": "g" }],
        ["assistant", "Done", {}],
        ["assistant", "Really", { "tool_calls": [called("3", "f")] }],
        ["system", "Stop", {}],
    ]);
    assert_eq!(messages(Some("Be brief"), &input), expected);
}

#[test]
fn instructions_and_the_first_system_message_are_one() {
    let input = json!([
        { "role": "system", "content": "B" },
        { "role": "developer", "content": "C" },
        { "role": "user", "content": "D" },
        { "role": "system", "content": "E" },
    ]);
    let expected = json!([["system", "A\n\nB\n\nC", {}], ["user", "D", {}], ["system", "E", {}]]);
    assert_eq!(messages(Some("A"), &input), expected);
}

#[test]
fn what_is_given_back_reads_as_what_was_sent() {
    let input = json!([
        { "role": "user", "content": "Go" },
        { "role": "assistant", "content": [{ "type": "refusal", "refusal": "No" }] },
        { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "s" }] },
        { "type": "function_call", "id": "fc_9", "call_id": "1", "name": "f", "arguments": "{" },
        { "type": "function_call_output", "call_id": "1", "output": "", "status": null },
    ]);
    for (index, item) in read(&input).into_iter().enumerate() {
        let item = item.with_id("g", index);
        let again = item_of(&Fields::at(&item.json, "item".to_owned()).unwrap()).unwrap();
        assert_eq!(again, item);
        let prefixes = ["msg_g_i0", "msg_g_i1", "rs_g_i2", "fc_9", "fco_g_i4"];
        assert_eq!(item.id(), Some(prefixes[index]));
    }
}

#[test]
fn references_have_a_long_and_a_short_form() {
    let body = json!({ "input": [{ "type": "item_reference", "id": "a" }, { "id": "b" }] });
    let inputs = input_of(&Fields::body(body.as_object().unwrap())).unwrap();
    let reference = |id: &str, index: usize| Input::Reference {
        id: id.to_owned(),
        path: format!("input[{index}].id"),
    };
    assert_eq!(inputs, [reference("a", 0), reference("b", 1)]);
}

fn choose(choice: Value) -> Result<(Vec<String>, ToolChoice), String> {
    let tool = |name: &str| json!({ "type": "function", "name": name, "parameters": null });
    let body = json!({ "tools": [tool("f"), tool("g")], "tool_choice": choice });
    let tools = tools_of(&Fields::body(body.as_object().unwrap()));
    let tools = tools.map_err(|error| error.to_string())?;
    Ok((tools.tools.into_iter().map(|tool| tool.name).collect(), tools.choice))
}

#[test]
fn tool_choices_are_obeyed_or_refused() {
    let both = || vec!["f".to_owned(), "g".to_owned()];
    assert_eq!(choose(Value::Null), Ok((both(), ToolChoice::Auto)));
    assert_eq!(choose(json!("required")), Ok((both(), ToolChoice::Required)));
    let named = json!({ "type": "function", "name": "g" });
    assert_eq!(choose(named), Ok((both(), ToolChoice::Named("g".to_owned()))));
    let allowed = |mode: &str, names: &[&str]| {
        let tools: Value =
            names.iter().map(|name| json!({ "type": "function", "name": name })).collect();
        choose(json!({ "type": "allowed_tools", "mode": mode, "tools": tools }))
    };
    assert_eq!(allowed("auto", &["g"]), Ok((vec!["g".to_owned()], ToolChoice::Auto)));
    assert_eq!(allowed("required", &["g"]), Ok((vec!["g".to_owned()], ToolChoice::Required)));
    assert_eq!(allowed("auto", &[]), Ok((vec![], ToolChoice::Auto)));
    for refused in [
        allowed("required", &[]),
        allowed("auto", &["h"]),
        allowed("any", &["g"]),
        choose(json!({ "type": "function", "name": "h" })),
        choose(json!({ "type": "web_search_preview" })),
        choose(json!("any")),
        choose(json!(5)),
    ] {
        assert!(refused.is_err(), "{refused:?}");
    }
}
