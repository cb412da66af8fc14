//! Texts in, parts out, however the text is split into tokens.

use std::sync::Arc;

use serde_json::json;

use super::super::byte_level;
use super::super::{
    AnswerFormat, OfferedTool, Segment, TokenType, Tokenizer, ToolOffer, ToolSyntax, Vocabulary,
};
use super::*;

/// Between these a text has a control token.
const CONTROL: char = '§';
const CONTROLS: [&str; 6] =
    ["[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "<think>", "</think>", "<|other|>"];

/// Templates that print tools and make models of these formats write calls.
fn template(syntax: ToolSyntax, reasons: bool) -> String {
    let marker = match syntax {
        ToolSyntax::Hermes => "<tool_call>",
        ToolSyntax::Llama => "<|python_tag|>",
        ToolSyntax::Mistral => "[TOOL_CALLS]",
        ToolSyntax::MistralNamed => "[TOOL_CALLS][ARGS]",
        ToolSyntax::Xml => "<function=<parameter=",
        ToolSyntax::Declared => "<start_function_call>",
    };
    let reasoning = if reasons { "{# </think> #}" } else { "" };
    format!("{{{{ tools }}}}{{# {marker} #}}{reasoning}{{{{ messages[0].content }}}}")
}

/// A text and how it is read.
struct Case {
    syntax: ToolSyntax,
    reasons: bool,
    opening: Opening,
    is_single: bool,
    has_tools: bool,
    stop: &'static [&'static str],
}

const HERMES: Case = Case {
    syntax: ToolSyntax::Hermes,
    reasons: false,
    opening: Opening::Turn,
    is_single: false,
    has_tools: true,
    stop: &[],
};
const THINKING: Case = Case { reasons: true, has_tools: false, ..HERMES };
const BOTH: Case = Case { reasons: true, ..HERMES };

fn of(syntax: ToolSyntax) -> Case {
    Case { syntax, ..HERMES }
}

/// Seeded numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Tokens of up to `longest` bytes, at random, or characters if it is 0; control tokens are whole.
fn split(text: &str, longest: usize, random: &mut Random) -> Vec<(Vec<u8>, bool)> {
    let mut tokens = Vec::new();
    for (index, part) in text.split(CONTROL).enumerate() {
        if index % 2 == 1 {
            tokens.push((part.as_bytes().to_vec(), true));
            continue;
        }
        let mut rest = part.as_bytes();
        while !rest.is_empty() {
            let len = match (longest, part.len() - rest.len()) {
                (0, start) => part[start..].chars().next().unwrap().len_utf8(),
                (longest, _) => (1 + random.below(longest)).min(rest.len()),
            };
            // A vocabulary spells no two tokens alike.
            let is_control = CONTROLS.iter().any(|control| control.as_bytes() == &rest[..len]);
            let len = len - usize::from(is_control);
            tokens.push((rest[..len].to_vec(), false));
            rest = &rest[len..];
        }
    }
    tokens
}

impl Case {
    fn stream(&self, tokens: &[(Vec<u8>, bool)]) -> (AnswerRules, Arc<Tokenizer>, Vec<u32>) {
        let mut spellings: Vec<String> = CONTROLS.map(str::to_owned).into();
        let mut ids = Vec::new();
        for (bytes, is_control) in tokens {
            let spelling = match is_control {
                true => String::from_utf8(bytes.clone()).unwrap(),
                false => bytes.iter().map(|byte| byte_level::alphabet()[*byte as usize]).collect(),
            };
            let known = spellings.iter().position(|known| *known == spelling);
            let known = known.unwrap_or_else(|| {
                spellings.push(spelling);
                spellings.len() - 1
            });
            ids.push(known as u32);
        }
        let mut token_types = vec![TokenType::Control; CONTROLS.len()];
        token_types.resize(spellings.len(), TokenType::Normal);
        let vocabulary = Vocabulary {
            model: "gpt2".into(),
            pre: Some("gpt-2".into()),
            tokens: spellings,
            token_types,
            ..Vocabulary::default()
        };
        let tokenizer = Arc::new(Tokenizer::from_vocabulary(vocabulary).unwrap());
        let source = template(self.syntax, self.reasons);
        let format = AnswerFormat::of_template(&source, true, &tokenizer);
        assert_eq!((format.syntax, format.reasons), (self.syntax, self.reasons));
        let schema = json!({"properties": {"days": {"type": "integer"}, "city": {"type": "string"},
            "where": {"type": ["object", "null"]}}});
        let offer = ToolOffer {
            syntax: self.syntax,
            tools: vec![OfferedTool::new("f", Some(&schema)), OfferedTool::new("now", None)],
            is_single: self.is_single,
        };
        let rules = format.rules(self.has_tools.then_some(offer), self.opening);
        (rules, tokenizer, ids)
    }

    /// Reads `tokens`: the pieces, and whether the answer ended before they did.
    fn read(&self, tokens: &[(Vec<u8>, bool)]) -> (Vec<AnswerPiece>, AnswerState) {
        let (rules, tokenizer, ids) = self.stream(tokens);
        let stop: Vec<String> = self.stop.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = AnswerStream::new(tokenizer.clone(), stop.clone(), &rules);
        let mut pieces = Vec::new();
        let mut state = AnswerState::Open;
        for id in &ids {
            state = stream.push(*id, &mut pieces);
        }
        stream.finish(&mut pieces);

        // Each token is released once, in order, and what is stored gives the same answer.
        let released: Vec<u32> = pieces.iter().flat_map(|piece| piece.ids.clone()).collect();
        let mut pushed = ids.iter();
        assert!(released.iter().all(|id| pushed.any(|pushed| pushed == id)), "{tokens:?}");
        let mut stored = AnswerStream::new(tokenizer.clone(), stop.clone(), &rules);
        let mut again = Vec::new();
        released.iter().for_each(|id| {
            stored.push(*id, &mut again);
        });
        match state {
            AnswerState::Stopped => {
                stored.finish_before(stream.stop_string().unwrap(), &mut again);
            }
            AnswerState::Open | AnswerState::Complete => stored.finish(&mut again),
        }
        assert_eq!(written(&again), written(&pieces), "{tokens:?}");

        // So does every part of it that the credits would have paid for.
        let is_by_character = tokens.iter().all(|(bytes, is_control)| {
            !is_control && std::str::from_utf8(bytes).is_ok_and(|text| text.chars().count() == 1)
        });
        let step = if is_by_character { 1 + pieces.len() / 40 } else { usize::MAX };
        for paid in (0..pieces.len()).step_by(step) {
            let mut cut = AnswerStream::new(tokenizer.clone(), stop.clone(), &rules);
            let mut again = Vec::new();
            for id in pieces[..paid].iter().flat_map(|piece| &piece.ids) {
                cut.push(*id, &mut again);
            }
            cut.finish_cut(&mut again);
            assert_eq!(written(&again), written(&pieces[..paid]), "{paid} of {pieces:?}");
        }
        (pieces, state)
    }
}

/// Parts as `content`, `(reasoning)` and `[tool arguments]`.
fn written(pieces: &[AnswerPiece]) -> String {
    let mut text = String::new();
    let mut last: Option<AnswerPart> = None;
    let parts = pieces.iter().flat_map(|piece| piece.parts.clone());
    let close = |last: &Option<AnswerPart>, text: &mut String| match last {
        Some(AnswerPart::Reasoning(_)) => text.push(')'),
        Some(AnswerPart::ToolCall { .. } | AnswerPart::ToolArguments { .. }) => text.push(']'),
        Some(AnswerPart::Content(_)) | None => {}
    };
    for part in parts {
        let goes_on = match (&last, &part) {
            (Some(AnswerPart::ToolCall { .. }), AnswerPart::ToolArguments { .. }) => true,
            (Some(last), part) => {
                let is_call = matches!(part, AnswerPart::ToolCall { .. });
                !is_call && std::mem::discriminant(last) == std::mem::discriminant(part)
            }
            (None, _) => false,
        };
        if !goes_on {
            close(&last, &mut text);
        }
        match &part {
            AnswerPart::Content(more) => text.push_str(more),
            AnswerPart::Reasoning(more) if goes_on => text.push_str(more),
            AnswerPart::Reasoning(more) => text += &format!("({more}"),
            AnswerPart::ToolCall { name, index } => text += &format!("[{index}:{name} "),
            AnswerPart::ToolArguments { json, .. } => text.push_str(json),
        }
        last = Some(part);
    }
    close(&last, &mut text);
    text
}

fn check(case: &Case, text: &str, expected: &str) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for longest in [0, 1, 2, 3, 5, 8, 13, 40, 1_000] {
        for _ in 0..if longest > 1 { 4 } else { 1 } {
            let tokens = split(text, longest, &mut random);
            let (pieces, _) = case.read(&tokens);
            assert_eq!(written(&pieces), expected, "{text:?} as {tokens:?}");
        }
    }
}

#[test]
fn text_without_syntax_is_content() {
    for case in [HERMES, THINKING, BOTH, of(ToolSyntax::Llama), of(ToolSyntax::Declared)] {
        for text in [
            "",
            "Hello",
            " \n Hello,  world \n\n",
            "a <b> <tool> c < d <tool_call",
            "é😀\u{FFFD}<",
            "```json\n{\"name\": \"nobody\", \"arguments\": {}}\n```",
            "{\"name\": \"f\", \"age\": 3}",
            "{\"arguments\": {}, \"name\": \"f\"}",
            "[1, 2]",
            "a { b",
        ] {
            check(&case, text, text);
        }
    }
    let space = "\n".repeat(300);
    check(&HERMES, &space, &space);
}

#[test]
fn hermes_calls() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, \"}\"]}}\n</tool_call>";
    let read = "[0:f {\"x\": [1, \"}\"]}]";
    check(&HERMES, call, read);
    check(&HERMES, &format!("Let me see.\n\n{call}"), &format!("Let me see.{read}"));
    check(&HERMES, &format!("{call}\n{call}"), &format!("{read}[1:f {{\"x\": [1, \"}}\"]}}]"));
    check(&HERMES, &format!("{call}\nDone. "), &format!("{read}Done. "));
    check(&HERMES, &format!("a <{call} b"), &format!("a <{read}b"));
    // Others' names and orders, and what is left out.
    for (text, expected) in [
        ("{\"name\":\"f\",\"parameters\":{}}", "[0:f {}]"),
        ("{\"arguments\": {\"a\": 1}, \"name\": \"f\"}", "[0:f {\"a\": 1}]"),
        ("{\"name\": \"f\"}", "[0:f {}]"),
        ("{\"name\": \"f\", \"arguments\": null}", "[0:f {}]"),
        (
            "{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": \\\"\\u00e9\\ud83d\\ude00\\\"}\"}",
            "[0:f {\"a\": \"é😀\"}]",
        ),
        (
            "{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {}}}",
            "[0:f {}]",
        ),
        ("[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"now\"}]", "[0:f {}][1:now {}]"),
        ("{\"name\": \"g\\u0061\", \"arguments\": {}}", "[0:ga {}]"),
    ] {
        check(&HERMES, &format!("<tool_call>{text}</tool_call>"), expected);
        check(&HERMES, &format!("<tool_call>\n\n{text}\n"), expected);
    }
}

#[test]
fn calls_in_a_fence_or_bare_name_an_offered_tool() {
    let call = "{\"name\": \"f\", \"arguments\": {\"a\": 1}}";
    check(&HERMES, call, "[0:f {\"a\": 1}]");
    check(&HERMES, &format!("```json\n{call}\n```"), "[0:f {\"a\": 1}]");
    check(&HERMES, &format!("So:\n```json\n{call}\n```\nOk"), "So:[0:f {\"a\": 1}]Ok");
    check(&HERMES, &format!("<tools>\n{call}\n</tools>"), "[0:f {\"a\": 1}]");
    check(&HERMES, &format!("{call}\n{call}"), "[0:f {\"a\": 1}][1:f {\"a\": 1}]");
    let text = format!("So: {call}");
    check(&HERMES, &text, &text);
}

#[test]
fn broken_calls_lose_no_text() {
    for text in [
        "<tool_call>",
        "<tool_call>\nno\n</tool_call>",
        "<tool_call>{\"name\": 5}</tool_call>",
        "<tool_call>{\"name\": \"f",
        "<tool_call>{\"arguments\": {\"a\": 1",
        "<tool_call>{}</tool_call>",
        "<tool_call>{\"name\": \"\"}",
    ] {
        check(&HERMES, text, text);
    }
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>";
    check(&HERMES, &format!("<tool_call>{call}"), "<tool_call>[0:f {\"a\": 1}]");
    // Once it is a call it stays one.
    check(&HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"b", "[0:f {\"a\": \"b]");
    check(&HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {}\n</tool_call>.", "[0:f {}].");
    check(&HERMES, "<tool_call>{\"name\": \"f\"} tail", "[0:f {}]tail");
    check(&HERMES, "<tool_call>{\"name\": \"f\", 5", "[0:f ]5");
    check(&HERMES, "<tool_call>{\"name\": \"f\"}\n</tool", "[0:f {}]");
}

#[test]
fn what_is_held_is_bounded() {
    let huge = "x".repeat(6_000);
    let text = format!("<tool_call>{{\"arguments\": {{\"a\": \"{huge}");
    let (pieces, _) = HERMES.read(&split(&text, 7, &mut Random(1)));
    assert_eq!(written(&pieces), text);
    let call = format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": \"{huge}");
    let (pieces, _) = HERMES.read(&split(&call, 7, &mut Random(1)));
    let longest = pieces.iter().map(|piece| piece.ids.len()).max();
    assert!(longest < Some(40), "arguments go out as they come");
}

#[test]
fn reasoning_is_told_from_content() {
    check(&THINKING, "<think>\nHm.\n</think>\n\nHi. ", "(Hm.)Hi. ");
    check(&THINKING, "\n<think> a <b> \n c</think>d", "(a <b> \n c)d");
    check(&THINKING, "<think>\n\n</think>\n\nHi", "Hi");
    check(&THINKING, "<think>Hm.\n", "(Hm.)");
    check(&THINKING, "<think>Hm.</thi", "(Hm.</thi)");
    check(&THINKING, "Say <think>x</think>", "Say <think>x</think>");
    check(&THINKING, "§<think>§Hm.§</think>§\nHi", "(Hm.)Hi");
    check(&THINKING, "<think>a<think>b</think>c", "(a<think>b)c");
    // The prompt has begun it.
    let inside = Case { opening: Opening::Reasoning, ..THINKING };
    check(&inside, "Hm.\n</think>\n\nHi", "(Hm.)Hi");
    check(&inside, "<think>\nHm.\n</think>\n\nHi", "(Hm.)Hi");
    check(&inside, "\nHm", "(Hm)");
    let inside_text = Case { opening: Opening::Content, ..THINKING };
    check(&inside_text, "<think>x</think>", "<think>x</think>");
    let behind = Case { opening: Opening::Reasoned, ..THINKING };
    check(&behind, "\nHi", "Hi");
    // A model that does not reason.
    let other = Case { reasons: false, ..HERMES };
    check(&other, "<think>\nHm.\n</think>\n\nHi.", "<think>\nHm.\n</think>\n\nHi.");
}

#[test]
fn calls_come_behind_reasoning() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    check(&BOTH, &format!("<think>\nA call.\n</think>\n\n{call}"), "(A call.)[0:f {}]");
    check(&BOTH, &format!("<think>{call}</think>{call}"), &format!("({call})[0:f {{}}]"));
    check(&BOTH, "<think>x</think>\n{\"name\": \"f\", \"arguments\": {}}", "(x)[0:f {}]");
}

#[test]
fn llama_calls() {
    let llama = of(ToolSyntax::Llama);
    let call = "{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}";
    check(&llama, call, "[0:f {\"a\": \"b\"}]");
    check(&llama, &format!("\n\n{call}"), "[0:f {\"a\": \"b\"}]");
    check(&llama, &format!("§<|python_tag|>§{call}"), "[0:f {\"a\": \"b\"}]");
    check(&llama, &format!("<|python_tag|>{call}"), "[0:f {\"a\": \"b\"}]");
    // Never shown, whatever follows it.
    check(&llama, "§<|python_tag|>§print(1)", "print(1)");
    check(&llama, "§<|other|>§x", "x");
    let quiet = Case { has_tools: false, ..llama };
    check(&quiet, "§<|python_tag|>§print(1)", "print(1)");
    check(&quiet, call, call);
}

#[test]
fn mistral_calls() {
    let calls = "[{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}, \
                 {\"name\": \"g\", \"arguments\": {}}]";
    for syntax in [ToolSyntax::Mistral, ToolSyntax::MistralNamed] {
        for marker in ["[TOOL_CALLS]", "§[TOOL_CALLS]§", "Ok. §[TOOL_CALLS]§ "] {
            let text = if marker.starts_with("Ok") { "Ok." } else { "" };
            let expected = format!("{text}[0:f {{\"a\": 1}}][1:g {{}}]");
            check(&of(syntax), &format!("{marker}{calls}"), &expected);
        }
        let named = "§[TOOL_CALLS]§f§[ARGS]§{\"a\": 1}";
        check(&of(syntax), named, "[0:f {\"a\": 1}]");
        check(&of(syntax), &format!("{named}{named}"), "[0:f {\"a\": 1}][1:f {\"a\": 1}]");
        check(&of(syntax), "[TOOL_CALLS]f{\"a\": 1}", "[0:f {\"a\": 1}]");
        check(&of(syntax), "[TOOL_CALLS]f[CALL_ID]ab12[ARGS]{}", "[0:f {}]");
        check(&of(syntax), "§[TOOL_CALLS]§ what?", " what?");
        check(&of(syntax), "§[TOOL_CALLS]§", "");
    }
    let bare = "[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]";
    check(&of(ToolSyntax::Mistral), bare, "[0:f {\"a\": 1}]");
    check(&of(ToolSyntax::Mistral), "[{\"name\": \"x\"}]", "[{\"name\": \"x\"}]");
}

#[test]
fn calls_in_tags() {
    let call = "<tool_call>\n<function=f>\n<parameter=city>\nKu\"wait\n<b>\n</parameter>\n\
                <parameter=days>\n3\n</parameter>\n<parameter=where>{\"a\": [1]}</parameter>\n\
                </function>\n</tool_call>";
    let read = r#"f {"city": "Ku\"wait\n<b>", "days": 3, "where": {"a": [1]}}]"#;
    let xml = of(ToolSyntax::Xml);
    check(&xml, call, &format!("[0:{read}"));
    check(&xml, &format!("Now\n{call}\n{call}"), &format!("Now[0:{read}[1:{read}"));
    check(&xml, "<function=now>\n</function>\n</tool_call>", "[0:now {}]");
    check(&xml, "<tool_call>\n<function>", "<tool_call>\n<function>");
    check(&xml, "<tool_call>{\"name\": \"f\"}</tool_call>", "[0:f {}]");
    // Small Hermes models copy what they have seen.
    check(&HERMES, call, &format!("[0:{read}"));
}

#[test]
fn declared_calls() {
    let gemma = of(ToolSyntax::Declared);
    let call = "<start_function_call>call:f{city:<escape>Ku\"wait <b><escape>,days:3,\
                where:{a:[1,<escape>x<escape>,[]],b:true}}<end_function_call>";
    let read =
        r#"[0:f {"city": "Ku\"wait <b>", "days": 3, "where": {"a": [1, "x", []], "b": true}}]"#;
    check(&gemma, call, read);
    check(&gemma, &format!("Ok {call}."), &format!("Ok{read}."));
    check(&gemma, "<start_function_call>call:now{}<end_function_call>", "[0:now {}]");
    check(&gemma, "<start_function_call>f", "<start_function_call>f");
}

#[test]
fn an_answer_with_one_call_ends_with_it() {
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}";
    for longest in [0, 1, 3, 9] {
        let case = Case { is_single: true, ..HERMES };
        let text = format!("{call}\n</tool_call>\n{call}");
        let (pieces, state) = case.read(&split(&text, longest, &mut Random(7)));
        assert_eq!((written(&pieces).as_str(), state), ("[0:f {}]", AnswerState::Complete));
    }
}

#[test]
fn stop_strings_end_answers_of_all_kinds() {
    let case = Case { stop: &["\nUser:", "END"], ..BOTH };
    check(&case, "Hi\nUser: you", "Hi");
    check(&case, "<think>a END b</think>", "(a)");
    check(&case, "a<tool_END", "a<tool_");
    check(&case, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"END", "[0:f {\"a\": \"]");
    check(&case, "<tool_call>{\"name\": \"END", "<tool_call>{\"name\": \"");
}

/// Random sequences of pieces of syntax: however they are split, the answer is the same.
#[test]
fn any_split_gives_the_same_parts() {
    const PARTS: [&str; 28] = [
        "<tool_call>",
        "</tool_call>",
        "{\"name\": \"f\", ",
        "\"arguments\": ",
        "{\"a\": \"é😀\"}",
        "}",
        "{",
        "\n",
        " ",
        "<think>",
        "</think>",
        "text",
        "<",
        "[TOOL_CALLS]",
        "[",
        "]",
        ",",
        "```json\n",
        "```",
        "<function=f>",
        "<parameter=city>",
        "</parameter>",
        "</function>",
        "<start_function_call>call:f{",
        "city:<escape>",
        "<escape>",
        "\"",
        "END",
    ];
    let syntaxes = [
        ToolSyntax::Hermes,
        ToolSyntax::Llama,
        ToolSyntax::Mistral,
        ToolSyntax::MistralNamed,
        ToolSyntax::Xml,
        ToolSyntax::Declared,
    ];
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    for round in 0..600 {
        let count = 1 + random.below(24);
        let text: String = (0..count).map(|_| PARTS[random.below(PARTS.len())]).collect();
        let case = Case {
            syntax: syntaxes[round % syntaxes.len()],
            reasons: random.below(2) == 0,
            is_single: random.below(4) == 0,
            // What one of several held back, ids do not tell where another has ended the answer.
            stop: if random.below(3) == 0 { &["END"] } else { &[] },
            ..HERMES
        };
        let (pieces, _) = case.read(&split(&text, 0, &mut random));
        let expected = written(&pieces);
        for longest in [1, 2, 4, 9, 30] {
            let tokens = split(&text, longest, &mut random);
            let (pieces, _) = case.read(&tokens);
            assert_eq!(written(&pieces), expected, "{:?}: {text:?} as {tokens:?}", case.syntax);
        }
    }
}

#[test]
fn a_prompt_says_where_its_answer_begins() {
    let content = |text: &str| Segment::Content(text.to_owned());
    let marker = Segment::Template("<|assistant|>".to_owned());
    let check = |prompt: &[Segment], prefill: Option<&str>, expected: Opening| {
        assert_eq!(Opening::of_prompt(prompt, prefill), expected, "{prompt:?}");
    };
    check(&[], None, Opening::Turn);
    check(&[content("<think>"), marker.clone(), content("\n")], None, Opening::Turn);
    check(&[marker.clone(), content("<think>\n")], None, Opening::Reasoning);
    check(&[marker.clone(), content("<think>\n\n</think>\n\n")], None, Opening::Reasoned);
    let think = Segment::Template("<think>".to_owned());
    check(&[marker.clone(), think, content("\n")], None, Opening::Reasoning);
    check(&[content("<think>\nHm")], Some("<think>\nHm"), Opening::Reasoning);
    check(&[content("Hi")], Some("<think>Hm</think>Hi"), Opening::Content);
}
