//! Bodies and the messages that templates get of them, or the field that is refused.

use serde_json::{Value, json};

use super::super::super::conversation::{Prompt, ToolChoice};
use super::super::super::error::ApiError;
use super::super::super::fields::Fields;
use super::super::blocks::prompt_of;

fn read(body: &Value) -> Result<Prompt, ApiError> {
    prompt_of(&Fields::body(body.as_object().expect("an object")), 100)
}

fn prompt(body: Value) -> Prompt {
    read(&body).unwrap_or_else(|error| panic!("{error} in {body}"))
}

/// Expects these messages: each a role, a text or null, and further fields.
fn check(body: Value, expected: Value) {
    let messages: Vec<Value> = prompt(body)
        .messages
        .into_iter()
        .map(|message| match message.extra.is_empty() {
            true => json!([message.role, message.content]),
            false => json!([message.role, message.content, message.extra]),
        })
        .collect();
    assert_eq!(Value::from(messages), expected);
}

fn check_refused(body: Value, param: &str) -> String {
    match read(&body) {
        Err(ApiError::InvalidField { param: found, message }) => {
            assert_eq!(found, param, "{message}");
            message
        }
        other => panic!("{other:?} of {body}"),
    }
}

fn user(content: Value) -> Value {
    json!({ "messages": [{ "role": "user", "content": content }] })
}

#[test]
fn texts_and_systems() {
    check(user(json!("Hi")), json!([["user", "Hi"]]));
    let blocks = json!([
        { "type": "text", "text": "a", "cache_control": { "type": "ephemeral" } },
        { "type": "text", "text": "b" },
    ]);
    check(user(blocks.clone()), json!([["user", "a\nb"]]));
    check(user(json!([])), json!([["user", ""]]));
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    for (system, expected) in [
        (json!("be kind"), json!([["system", "be kind"], ["user", "Hi"]])),
        (blocks, json!([["system", "a\nb"], ["user", "Hi"]])),
        (json!([]), json!([["user", "Hi"]])),
        (Value::Null, json!([["user", "Hi"]])),
        (
            json!([
                { "type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=1a2b3;" },
                { "type": "text", "text": "be kind" },
            ]),
            json!([["system", "be kind"], ["user", "Hi"]]),
        ),
    ] {
        check(json!({ "system": system, "messages": messages }), expected);
    }
    // Templates take one system message.
    let more = json!([{ "role": "system", "content": "be brief" }, messages[0]]);
    let expected = json!([["system", "be kind\n\nbe brief"], ["user", "Hi"]]);
    check(json!({ "system": "be kind", "messages": more }), expected);
}

#[test]
fn turns_of_one_speaker_are_one_turn() {
    let body = json!({ "messages": [
        { "role": "user", "content": "a" },
        { "role": "user", "content": [{ "type": "text", "text": "b" }] },
        { "role": "assistant", "content": "c" },
        { "role": "assistant", "content": "d" },
        { "role": "system", "content": "be brief" },
        { "role": "user", "content": "e" },
    ] });
    let expected =
        json!([["user", "a\nb"], ["assistant", "c\nd"], ["system", "be brief"], ["user", "e"]]);
    check(body, expected);
}

#[test]
fn calls_thinking_and_results_go_where_templates_have_them() {
    let body = json!({ "messages": [
        { "role": "user", "content": "What is the weather?" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "Two places.", "signature": "" },
            { "type": "redacted_thinking", "data": "xyz" },
            { "type": "text", "text": "Let me " },
            { "type": "text", "text": "see." },
            { "type": "tool_use", "id": "toolu_1", "name": "weather", "input": { "city": "Doha" } },
            { "type": "tool_use", "id": "toolu_2", "name": "time", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "text", "text": "Here." },
            { "type": "tool_result", "tool_use_id": "toolu_1", "content": "41" },
            { "type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [
                { "type": "text", "text": "no" }, { "type": "text", "text": "clock" },
            ] },
            { "type": "tool_result", "tool_use_id": "toolu_9" },
        ] },
        { "role": "assistant", "content": [
            { "type": "tool_use", "id": "toolu_3", "name": "weather", "input": null },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "toolu_3", "content": null },
        ] },
    ] });
    let call = |id: &str, name: &str, arguments: Value| {
        let function = json!({ "name": name, "arguments": arguments });
        json!({ "id": id, "type": "function", "function": function })
    };
    let calls =
        [call("toolu_1", "weather", json!({ "city": "Doha" })), call("toolu_2", "time", json!({}))];
    let expected = json!([
        ["user", "What is the weather?"],
        ["assistant", "Let me see.", { "reasoning_content": "Two places.", "tool_calls": calls }],
        ["tool", "41", { "tool_call_id": "toolu_1", "name": "weather" }],
        ["tool", "Error: no\nclock", { "tool_call_id": "toolu_2", "name": "time" }],
        ["tool", "", { "tool_call_id": "toolu_9" }],
        ["user", "Here."],
        ["assistant", null, { "tool_calls": [call("toolu_3", "weather", json!({}))] }],
        ["tool", "", { "tool_call_id": "toolu_3", "name": "weather" }],
    ]);
    check(body, expected);
}

#[test]
fn an_assistants_text_at_the_end_is_gone_on_with() {
    for (content, continues) in [
        (json!("The best answer is ("), true),
        (json!([{ "type": "text", "text": "(" }]), true),
        (json!(""), false),
        (json!([{ "type": "thinking", "thinking": "hm" }]), false),
        (
            json!([
                { "type": "text", "text": "a" },
                { "type": "tool_use", "id": "t", "name": "f", "input": {} },
            ]),
            false,
        ),
    ] {
        let user = json!({ "role": "user", "content": "Hi" });
        let messages = json!([user, { "role": "assistant", "content": content }]);
        assert_eq!(prompt(json!({ "messages": messages })).continues, continues, "{content}");
    }
    assert!(!prompt(user(json!("Hi"))).continues);
}

fn with(more: Value) -> Value {
    let mut body = user(json!("Hi"));
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

#[test]
fn thinking_and_effort_are_the_templates() {
    for (thinking, expected) in [
        (json!({ "type": "enabled", "budget_tokens": 2048 }), Some(true)),
        (json!({ "type": "adaptive" }), Some(true)),
        (json!({ "type": "disabled" }), Some(false)),
        (Value::Null, None),
    ] {
        assert_eq!(prompt(with(json!({ "thinking": thinking }))).enable_thinking, expected);
    }
    let wrong = with(json!({ "thinking": { "type": "between_tools" } }));
    check_refused(wrong, "thinking.type");
    for (effort, expected) in [("low", "low"), ("high", "high"), ("max", "high")] {
        let prompt = prompt(with(json!({ "output_config": { "effort": effort } })));
        assert_eq!(prompt.variables["reasoning_effort"], expected);
    }
    check_refused(with(json!({ "output_config": { "effort": "some" } })), "output_config.effort");
}

#[test]
fn tools_are_read_and_chosen_from() {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tools = json!([
        { "name": "weather", "description": "Tells it.", "input_schema": schema, "strict": true },
        { "type": "custom", "name": "mcp__clock__time", "description": null,
          "input_schema": { "type": "object" }, "cache_control": { "type": "ephemeral" } },
    ]);
    for (choice, expected, is_single) in [
        (Value::Null, ToolChoice::Auto, false),
        (json!({ "type": "auto" }), ToolChoice::Auto, false),
        (json!({ "type": "auto", "disable_parallel_tool_use": true }), ToolChoice::Auto, true),
        (json!({ "type": "any" }), ToolChoice::Required, false),
        (json!({ "type": "none" }), ToolChoice::None, false),
        (
            json!({ "type": "tool", "name": "weather", "disable_parallel_tool_use": true }),
            ToolChoice::Named("weather".to_owned()),
            true,
        ),
    ] {
        let prompt = prompt(with(json!({ "tools": tools, "tool_choice": choice })));
        assert_eq!((prompt.tools.choice, prompt.tools.is_single), (expected, is_single));
        let [weather, time] = prompt.tools.tools.as_slice() else { panic!("{choice}") };
        assert_eq!(weather.name, "weather");
        assert_eq!(weather.description.as_deref(), Some("Tells it."));
        assert_eq!((weather.parameters.as_ref(), weather.strict), (Some(&schema), true));
        assert_eq!((time.name.as_str(), time.strict), ("mcp__clock__time", false));
    }
    assert_eq!(prompt(with(json!({ "tools": null }))).tools.tools, []);
}

#[test]
fn what_can_not_be_read_is_refused_by_its_place() {
    for kind in ["image", "document", "server_tool_use", "thinking", "search_result"] {
        let message = check_refused(user(json!([{ "type": kind }])), "messages[0].content[0].type");
        assert!(message.contains(kind), "{message}");
    }
    let result = json!([{ "type": "tool_result", "tool_use_id": "t",
        "content": [{ "type": "text", "text": "a" }, { "type": "image", "source": {} }] }]);
    check_refused(user(result), "messages[0].content[0].content[1].type");
    check_refused(user(json!([{ "type": "tool_result" }])), "messages[0].content[0].tool_use_id");
    check_refused(user(json!([{ "text": "a" }])), "messages[0].content[0].type");
    check_refused(user(json!([{ "type": "text" }])), "messages[0].content[0].text");
    check_refused(user(json!(5)), "messages[0].content");
    check_refused(user(Value::Null), "messages[0].content");
    check_refused(json!({ "messages": [] }), "messages");
    check_refused(json!({ "messages": null }), "messages");
    check_refused(json!({ "messages": ["Hi"] }), "messages[0]");
    let other = json!({ "messages": [{ "role": "tool", "content": "x" }] });
    check_refused(other, "messages[0].role");
    let assistant = |content| json!({ "messages": [{ "role": "assistant", "content": content }] });
    let path = "messages[0].content[0]";
    check_refused(assistant(json!([{ "type": "tool_result" }])), &format!("{path}.type"));
    check_refused(assistant(json!([{ "type": "tool_use", "id": "t" }])), &format!("{path}.name"));
    let input = json!([{ "type": "tool_use", "id": "t", "name": "f", "input": "{}" }]);
    check_refused(assistant(input), &format!("{path}.input"));
    check_refused(with(json!({ "system": [{ "type": "image" }] })), "system[0].type");

    let tool = |more: Value| {
        let mut tool = json!({ "name": "f", "input_schema": {} });
        for (name, value) in more.as_object().expect("an object") {
            tool[name] = value.clone();
        }
        with(json!({ "tools": [tool] }))
    };
    let message = check_refused(tool(json!({ "type": "web_search_20250305" })), "tools[0].type");
    assert!(message.contains("web_search_20250305"), "{message}");
    check_refused(tool(json!({ "input_schema": null })), "tools[0].input_schema");
    for name in ["", "a b", "a.b", "ф", &"x".repeat(129)] {
        check_refused(tool(json!({ "name": name })), "tools[0].name");
    }
    let twice = json!({ "name": "f", "input_schema": {} });
    check_refused(with(json!({ "tools": [twice, twice] })), "tools");
    check_refused(with(json!({ "tool_choice": { "type": "any" } })), "tool_choice.type");
    check_refused(with(json!({ "tool_choice": { "type": "some" } })), "tool_choice.type");
    let named = json!({ "tool_choice": { "type": "tool", "name": "g" } });
    check_refused(with(named), "tool_choice.name");
    check_refused(with(json!({ "tool_choice": "auto" })), "tool_choice");
}
