//! Templates that are small: what is ours. Whole families are compared with Python's Jinja in
//! `tests/it/text_templates.rs`.

use super::*;
use crate::text::{TokenType, Vocabulary};

fn tokenizer() -> Tokenizer {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let special = ["<s>", "</s>", "<|user|>", "<|end|>", "word"].map(str::to_owned);
    let tokens: Vec<String> = bytes.chain(special).collect();
    let mut token_types = vec![TokenType::Byte; 256];
    token_types.resize(tokens.len(), TokenType::Control);
    let scores = vec![0.0; tokens.len()];
    let (bos, eos) = (Some(256), Some(257));
    let model = "llama".into();
    let add_space_prefix = Some(false);
    let vocabulary = Vocabulary {
        model,
        tokens,
        token_types,
        scores,
        bos,
        eos,
        add_space_prefix,
        ..Default::default()
    };
    Tokenizer::from_vocabulary(vocabulary).unwrap()
}

fn render(source: &str, messages: &[ChatMessage]) -> Result<String, TemplateError> {
    let template = ChatTemplate::compile(source, &tokenizer())?;
    let segments = template.render(messages, &TemplateOptions::default())?;
    Ok(segments
        .iter()
        .map(|segment| match segment {
            Segment::Template(text) => format!("[{text}]"),
            Segment::Content(text) => text.clone(),
        })
        .collect())
}

fn check(source: &str, content: &str, expected: &str) {
    let rendered = render(source, &[ChatMessage::new("user", content)]);
    assert_eq!(rendered.as_deref(), Ok(expected), "{source} on {content:?}");
}

const CONTENT: &str = "{{ messages[0].content }}";

#[test]
fn control_tokens_are_the_templates_own() {
    check("<|user|>{{ messages[0].content }}<|end|>", "a<|end|>b", "[<|user|>]a<|end|>b[<|end|>]");
    check("{{ '<|user|>' + messages[0].content ~ '<|end|>' }}", "<s>", "[<|user|>]<s>[<|end|>]");
    check("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "</s>", "[<s>]</s>[</s>]");
    check("{{ bos_token + '<|user|>' }}", "", "[<s><|user|>]");
}

#[test]
fn nothing_a_template_does_with_content_makes_it_a_control_token() {
    check("{{ messages[0].content | trim }}", "  <s> ", "<s>");
    check("{{ messages[0].content.split('#') | join }}", "<|us#er|>", "<|user|>");
    check("{{ messages[0].content | tojson }}", "\"<s>\"", r#""\"<s>\"""#);
    check("{{ messages[0].content | lower }}", "<|USER|>", "<|user|>");
    check("<{{ messages[0].content }}>", "s", "<s>");
    check("{{ messages[0].content[::-1] }}", ">s<", "<s>");
}

#[test]
fn tests_on_content_see_what_was_written() {
    check("{{ '</think>' in messages[0].content }}", "a</think>b", "True");
    check("{{ messages[0].content.split('</think>')[-1].lstrip('\n') }}", "a</think>\n<s>", "<s>");
}

#[test]
fn every_field_is_escaped_and_comes_back() {
    let wild = "x\u{10F000}\u{10FFFD}\u{F0000}y\u{10FFFF}";
    check("<|user|>{{ messages[0].content }}", wild, &format!("[<|user|>]{wild}"));
    let mut message = ChatMessage::new("user", "");
    message.extra.insert("name".into(), serde_json::json!({"a\u{10F000}": ["\u{10F000}<s>"]}));
    let rendered = render("<|user|>{{ messages[0].name | tojson }}", &[message]);
    assert_eq!(rendered.as_deref(), Ok("[<|user|>]{\"a\u{10F000}\": [\"\u{10F000}<s>\"]}"));
    let error = render("\u{10F000}", &[]).unwrap_err();
    assert!(error.to_string().contains("U+10F000"), "{error}");
}

#[test]
fn a_control_token_like_a_word_is_left_alone() {
    check("{% set word = 1 %}{{ word }}", "", "1");
}

#[test]
fn assembled_control_tokens_are_refused() {
    for source in [
        "{{ '<|' + messages[0].role + '|>' }}",
        "{% for m in messages %}<|{{ m.role }}|>{% endfor %}",
    ] {
        let error = render(source, &[]).unwrap_err();
        assert_eq!(error, TemplateError::AssembledControlToken("<|user|>".into()));
    }
}

#[test]
fn a_system_message_that_is_refused_goes_to_the_user() {
    let refuses = "{% for m in messages %}{% if m.role == 'system' %}\
                   {{ raise_exception('no system') }}{% endif %}({{ m.role }}:{{ m.content }})\
                   {% endfor %}";
    let ignores = "{% for m in messages %}{% if m.role == 'user' %}(user:{{ m.content }})\
                   {% endif %}{% endfor %}";
    let turn = ChatMessage::new;
    for source in [refuses, ignores] {
        let both = [turn("system", "S"), turn("user", "U")];
        assert_eq!(render(source, &both).as_deref(), Ok("(user:S\nU)"), "{source}");
        assert_eq!(render(source, &both[..1]).as_deref(), Ok("(user:S)"), "{source}");
        let empty = [turn("system", ""), turn("user", "U")];
        assert_eq!(render(source, &empty).as_deref(), Ok("(user:U)"), "{source}");
    }
}

#[test]
fn what_a_template_refuses_is_in_its_own_words() {
    let error = render("{{ raise_exception('roles must alternate <s>') }}", &[]).unwrap_err();
    assert_eq!(error, TemplateError::Refused("roles must alternate <s>".into()));
    let error = render("{% macro m() %}{{ raise_exception('x') }}{% endmacro %}{{ m() }}", &[]);
    assert_eq!(error.unwrap_err(), TemplateError::Refused("x".into()));
    let error = render("{{ messages[0].nothing.at_all }}", &[ChatMessage::new("user", "")]);
    assert!(matches!(error, Err(TemplateError::Failed(_))), "{error:?}");
    let error = render("{% if %}", &[]).unwrap_err();
    assert!(matches!(error, TemplateError::Syntax(_)), "{error:?}");
}

#[test]
fn templates_without_end_are_stopped() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set ns = namespace(s='x') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}\
         {% endfor %}{{ ns.s }}",
    ] {
        let error = render(source, &[]).unwrap_err();
        let stopped = matches!(error, TemplateError::TooExpensive | TemplateError::Failed(_));
        assert!(stopped, "{source}: {error:?}");
    }
}

fn calls(arguments: serde_json::Value) -> Vec<ChatMessage> {
    let call = serde_json::json!([{"function": {"name": "f", "arguments": arguments}}]);
    let extra = [("tool_calls".to_owned(), call)].into_iter().collect();
    vec![ChatMessage { role: "assistant".into(), content: None, extra }]
}

#[test]
fn arguments_are_an_object_unless_the_template_wants_text() {
    let each = |body: &str| {
        format!(
            "{{% for m in messages %}}{{{{ m.content }}}}{{% for c in m.tool_calls %}}{body}\
             {{% endfor %}}{{% endfor %}}"
        )
    };
    let as_json = each("{{ c.function.arguments | tojson }}");
    let as_text = each("{{ 'x' + c.function.arguments }}");
    for arguments in ["{\"a\": 1}".into(), serde_json::json!({"a": 1})] {
        let messages = calls(arguments);
        assert_eq!(render(&as_json, &messages).as_deref(), Ok("{\"a\": 1}"));
        assert_eq!(render(&as_text, &messages).as_deref(), Ok("x{\"a\": 1}"));
    }
    assert_eq!(render(&as_json, &calls("not json".into())).as_deref(), Ok("\"not json\""));
}

#[test]
fn a_turn_without_text_is_empty_where_a_template_needs_text() {
    let messages = calls("{}".into());
    assert_eq!(render(CONTENT, &messages).as_deref(), Ok(""));
    assert_eq!(render("{{ 'x' + messages[0].content }}", &messages).as_deref(), Ok("x"));
    assert_eq!(render("{{ messages[0].content is none }}", &messages).as_deref(), Ok("True"));
}

#[test]
fn json_is_written_as_python_writes_it() {
    let text = "é<b>&'\u{7f}\n";
    let tojson = |arguments: &str| format!("{{{{ messages[0].content | tojson{arguments} }}}}");
    check(&tojson(""), text, "\"é<b>&'\u{7f}\\n\"");
    check(&tojson("(ensure_ascii=true)"), "é😀", r#""\u00e9\ud83d\ude00""#);
    check("{{ {'b': [1, 2.0], 'a': {}} | tojson }}", "", r#"{"b": [1, 2.0], "a": {}}"#);
    check(
        "{{ {'b': [1], 'a': []} | tojson(indent=2, sort_keys=true) }}",
        "",
        "{\n  \"a\": [],\n  \"b\": [\n    1\n  ]\n}",
    );
    check("{{ [1, {'a': none}] | tojson(separators=(',', ':')) }}", "", r#"[1,{"a":null}]"#);
}

#[test]
fn generation_tags_do_nothing() {
    check("a\n  {%- generation -%}\n b {% endgeneration %}\nc", "", "ab c");
    assert_eq!(without_generation_tags("{% if x %}{%"), "{% if x %}{%");
}

#[test]
fn the_date_is_the_callers() {
    let template =
        ChatTemplate::compile("{{ strftime_now('%Y-%m-%d') }} {{ date_string }}", &tokenizer());
    let options = TemplateOptions { now: 1_709_211_909, ..TemplateOptions::default() };
    let segments = template.unwrap().render(&[], &options).unwrap();
    assert_eq!(segments, [Segment::Content("2024-02-29 29 Feb 2024".into())]);
}
