//! What the chat templates of all families say about the answers of their models.

use mizan::text::{ChatMessage, ChatTemplate, TemplateOptions, ToolSyntax};
use serde_json::json;

use super::templates::{joined, small_tokenizer, source};
use super::{json, tokenizer};

/// Its own format, or `None`; and whether the model reasons.
fn check(family: &str, own: Option<ToolSyntax>, reasons: bool) {
    let expected = &json("templates/expected.json")["families"][family];
    let template = ChatTemplate::compile(&source(family), &small_tokenizer(expected)).unwrap();
    let format = template.format();
    assert_eq!(format.knows_tools, own.is_some(), "{family}");
    assert_eq!(format.syntax, own.unwrap_or(ToolSyntax::Hermes), "{family}");
    assert_eq!(format.reasons, reasons, "{family}");
}

#[test]
fn templates_tell_the_format_of_calls() {
    check("chatml", None, false);
    check("smollm2", None, false);
    check("gemma-2", None, false);
    check("gemma-3", None, false);
    check("qwen2.5", Some(ToolSyntax::Hermes), false);
    check("qwen3", Some(ToolSyntax::Hermes), true);
    check("llama-3.1", Some(ToolSyntax::Llama), false);
    check("llama-3.2", Some(ToolSyntax::Llama), false);
    check("mistral-v0.3", Some(ToolSyntax::Mistral), false);
    // It prints calls, and tells the model of no tools.
    check("deepseek-r1-distill", None, true);
}

#[test]
fn so_do_those_of_the_shipped_models() {
    for (model, family, knows) in [
        ("smollm2-135m-instruct", "smollm2", false),
        ("qwen2.5-coder-0.5b-instruct", "qwen2.5", true),
        ("gemma-3-270m", "gemma-3", false),
    ] {
        let template = ChatTemplate::compile(&source(family), &tokenizer(model)).unwrap();
        let format = template.format();
        assert_eq!((format.syntax, format.knows_tools), (ToolSyntax::Hermes, knows), "{model}");
        assert!(!format.reasons, "{model}");
    }
}

/// A conversation about tools renders with every template: with one that knows none, as text.
#[test]
fn every_template_renders_calls_and_results() {
    let record = json("templates/expected.json");
    let turn = |role: &str, content: &str| ChatMessage::new(role, content);
    let call = json!([{"id": "call_1_0_0", "type": "function",
        "function": {"name": "get_price", "arguments": "{\"item\": \"dates\"}"}}]);
    let mut calling = ChatMessage { content: None, ..turn("assistant", "") };
    calling.extra.insert("tool_calls".into(), call);
    let mut result = turn("tool", "the result");
    result.extra.insert("tool_call_id".into(), "call_1_0_0".into());
    let messages = [turn("system", "S"), turn("user", "U"), calling, result];
    let options = TemplateOptions {
        add_generation_prompt: true,
        tools: Some(record["cases"]["tools"]["tools"].clone()),
        ..TemplateOptions::default()
    };
    for (family, expected) in record["families"].as_object().unwrap() {
        let tokenizer = small_tokenizer(expected);
        let template = ChatTemplate::compile(&source(family), &tokenizer).unwrap();
        let rendered = template.render_with_tools(&messages, &options);
        let rendered = joined(&rendered.unwrap_or_else(|error| panic!("{family}: {error}")));
        for text in ["get_price", "dates", "the result", "coffee ☕"] {
            assert!(rendered.contains(text), "{family}: no {text} in {rendered}");
        }
    }
}
