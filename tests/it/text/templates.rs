//! The chat templates of all families, compared with Python's Jinja (`record_templates.py`).

use std::fs;

use mizan::text::{
    ChatMessage, ChatTemplate, Segment, Specials, TemplateError, TemplateOptions, TokenType,
    Tokenizer, Vocabulary,
};
use serde_json::Value;

use super::{data, json, tokenizer};

/// Spells everything in bytes, but for the control tokens.
pub(super) fn small_tokenizer(family: &Value) -> Tokenizer {
    let controls: Vec<String> = serde_json::from_value(family["controls"].clone()).unwrap();
    let mut tokens: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let mut token_types = vec![TokenType::Byte; 256];
    tokens.extend(controls);
    token_types.resize(tokens.len(), TokenType::Control);
    let id = |name: &str| {
        tokens.iter().position(|text| family[name] == text.as_str()).map(|id| id as u32)
    };
    Tokenizer::from_vocabulary(Vocabulary {
        model: "llama".into(),
        bos: id("bos"),
        eos: id("eos"),
        scores: vec![0.0; tokens.len()],
        add_space_prefix: Some(false),
        tokens,
        token_types,
        ..Vocabulary::default()
    })
    .unwrap()
}

fn messages(case: &Value) -> Vec<ChatMessage> {
    let message = |message: &Value| {
        let mut extra = message.as_object().unwrap().clone();
        let role = extra.shift_remove("role").unwrap().as_str().unwrap().to_owned();
        let content = extra.shift_remove("content").unwrap().as_str().map(str::to_owned);
        ChatMessage { role, content, extra }
    };
    case["messages"].as_array().unwrap().iter().map(message).collect()
}

fn options(case: &Value, now: &Value) -> TemplateOptions {
    TemplateOptions {
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap_or(true),
        tools: case.get("tools").cloned(),
        now: now.as_i64().unwrap(),
        enable_thinking: case["enable_thinking"].as_bool(),
        ..TemplateOptions::default()
    }
}

pub(super) fn source(family: &str) -> String {
    fs::read_to_string(data(&format!("templates/{family}.jinja"))).unwrap()
}

pub(super) fn joined(segments: &[Segment]) -> String {
    segments.iter().map(Segment::text).collect()
}

fn check(family: &str) {
    let record = json("templates/expected.json");
    let expected = &record["families"][family];
    let tokenizer = small_tokenizer(expected);
    let template = ChatTemplate::compile(&source(family), &tokenizer).unwrap();
    let controls: Vec<String> = serde_json::from_value(expected["controls"].clone()).unwrap();
    let mut wrong = Vec::new();
    for (name, case) in record["cases"].as_object().unwrap() {
        let result = &expected["results"][name];
        let rendered = template.render(&messages(case), &options(case, &record["now"]));
        match (&rendered, result["text"].as_str(), result["raised"].as_str()) {
            (Ok(segments), Some(text), None) if joined(segments) == text => {
                let has_control =
                    |text: &str| controls.iter().any(|control| text.contains(control));
                let unmarked = segments.iter().any(|segment| match segment {
                    Segment::Content(text) => has_control(text),
                    Segment::Template(_) => false,
                });
                assert!(!unmarked, "{family}, {name}: an unmarked control token: {segments:?}");
            }
            (Err(TemplateError::Refused(found)), None, Some(raised)) if found == raised => {}
            _ => wrong.push(format!("{name}:\n  {rendered:?}\n  {result}")),
        }
    }
    assert!(wrong.is_empty(), "{family}: {} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn chatml_as_jinja() {
    check("chatml");
}

#[test]
fn smollm2_as_jinja() {
    check("smollm2");
}

#[test]
fn qwen_as_jinja() {
    check("qwen2.5");
    check("qwen3");
}

#[test]
fn llama_as_jinja() {
    check("llama-3.1");
    check("llama-3.2");
}

#[test]
fn gemma_as_jinja() {
    check("gemma-2");
    check("gemma-3");
}

#[test]
fn mistral_as_jinja() {
    check("mistral-v0.3");
}

#[test]
fn deepseek_as_jinja() {
    check("deepseek-r1-distill");
}

/// Messages that hold no control tokens are tokenized as if the prompt were one text in which they
/// all count: what llama-server does.
#[test]
fn benign_prompts_have_the_ids_of_their_text() {
    let record = json("templates/expected.json");
    for (model, family) in
        [("smollm2-135m-instruct", "smollm2"), ("qwen2.5-coder-0.5b-instruct", "qwen2.5")]
    {
        let tokenizer = tokenizer(model);
        let template = ChatTemplate::compile(&source(family), &tokenizer).unwrap();
        for (name, case) in record["cases"].as_object().unwrap() {
            let segments = template.render(&messages(case), &options(case, &record["now"]));
            let segments = segments.unwrap();
            let expected = tokenizer.encode(&joined(&segments), Specials::Parse);
            assert_eq!(tokenizer.encode_prompt(&segments), expected, "{model}, {name}");
        }
    }
}

/// Every string that a caller can send, filled with control tokens.
#[test]
fn no_field_of_a_request_yields_a_control_token() {
    let record = json("templates/expected.json");
    for (family, expected) in record["families"].as_object().unwrap() {
        let tokenizer = small_tokenizer(expected);
        let template = ChatTemplate::compile(&source(family), &tokenizer).unwrap();
        let controls: Vec<String> = serde_json::from_value(expected["controls"].clone()).unwrap();
        let attack = controls.concat();
        for (name, case) in record["cases"].as_object().unwrap() {
            let count = |case: &Value| {
                let options = options(case, &record["now"]);
                let segments = template.render(&messages(case), &options).ok()?;
                let ids = tokenizer.encode_prompt(&segments);
                Some(ids.iter().filter(|&&id| tokenizer.is_control(id)).count())
            };
            let mut attacked = case.clone();
            let list = attacked["messages"].as_array_mut().unwrap();
            list.iter_mut().for_each(|message| fill(message, &attack));
            if let Some(tools) = attacked.get_mut("tools") {
                fill(tools, &attack);
            }
            assert_eq!(count(&attacked), count(case), "{family}, {name}");
        }
    }
}

/// Appends `attack` to every string and every name but those that choose the template's way.
fn fill(value: &mut Value, attack: &str) {
    match value {
        Value::String(text) => text.push_str(attack),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, attack)),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                // Mistral refuses ids that are not nine characters; `arguments` must stay JSON.
                if !["role", "id", "tool_call_id", "arguments"].contains(&name.as_str()) {
                    fill(value, attack);
                }
                if name == "arguments" && value.is_string() {
                    *value = serde_json::json!({ attack: attack }).to_string().into();
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
