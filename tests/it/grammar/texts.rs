//! Regular expressions, choices, grammars and pieces: what each takes and refuses.

use mizan::grammar::{Grammar, GrammarError, Piece};
use mizan::text::Specials;
use serde_json::json;

use super::{Vocabulary, is_allowed, json_piece, smollm2, vocabularies};
use crate::support::random::Random;

fn check(grammar: &Grammar, taken: &[&str], refused: &[&str]) {
    for vocabulary in vocabularies() {
        let name = vocabulary.name;
        let constraint = vocabulary.compile(grammar).unwrap_or_else(|e| panic!("{e}: {grammar:?}"));
        for text in taken {
            assert!(vocabulary.takes(&*constraint, text), "{name} refuses {text:?}: {grammar:?}");
        }
        for text in refused {
            assert!(!vocabulary.takes(&*constraint, text), "{name} takes {text:?}: {grammar:?}");
        }
    }
}

#[test]
fn regular_expressions() {
    let regex = |pattern: &str| Grammar::Regex(pattern.to_owned());
    check(&regex("[0-9]{3}-[a-z]+"), &["123-a", "000-xyz"], &["12-a", "123-", "123-A", " 123-a"]);
    check(&regex("^(yes|no)$"), &["yes", "no"], &["", "yesno", "maybe"]);
    check(&regex("a/b\\$"), &["a/b$"], &["a/b"]);
    check(&regex("\u{645}.*\u{1f600}?"), &["\u{645}", "\u{645}x\u{1f600}"], &["x"]);
    check(&regex("\\d+(?:\\.\\d{2})?"), &["7", "10.25"], &["10.2", ".5"]);
    for (pattern, expected) in [("(a", "unclosed group"), ("", "empty"), ("a(?=b)", "look-")] {
        match smollm2().compile(&regex(pattern)) {
            Err(GrammarError::Regex(why)) => assert!(why.contains(expected), "{pattern}: {why}"),
            other => panic!("{pattern}: {other:?}"),
        }
    }
}

#[test]
fn choices() {
    let choice = |texts: &[&str]| Grammar::Choice(texts.iter().map(|&t| t.to_owned()).collect());
    check(&choice(&["positive", "negative"]), &["positive", "negative"], &["posi", "neutral", ""]);
    check(&choice(&["a", "ab", "abc"]), &["a", "ab", "abc"], &["b", "abcd"]);
    let odd = ["\"\\\n\u{7f}\u{0}", "<|im_end|>", "\u{1f600}", "i", ""];
    check(&choice(&odd), &odd, &["<"]);
    let none = smollm2().compile(&choice(&[]));
    assert_eq!(none.err(), Some(GrammarError::NoChoice));
    // Every choice is drawn sooner or later, and nothing else.
    let constraint = smollm2().compile(&choice(&["red", "green", "blue"])).unwrap();
    let mut random = Random(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let said = smollm2().say(constraint.boxed_clone(), &mut random, 100);
        assert!(said.has_ended);
        seen.insert(said.text);
    }
    assert!(seen.into_iter().eq(["blue", "green", "red"]));
}

#[test]
fn grammars_in_lark() {
    let sums = "start: sum\nsum: product (\"+\" product)*\nproduct: atom (\"*\" atom)*\n\
                atom: NUMBER | \"(\" sum \")\"\nNUMBER: /[0-9]+/\n";
    let sums = Grammar::Lark(sums.to_owned());
    check(&sums, &["1", "1+2*(3+4)", "((7))"], &["", "1+", "(1", "1 + 2"]);
    for (lark, expected) in
        [("start: other", "other"), ("begin: \"a\"", "start"), ("start: \"", "")]
    {
        match smollm2().compile(&Grammar::Lark(lark.to_owned())) {
            Err(GrammarError::Lark(why)) => assert!(why.contains(expected), "{lark}: {why}"),
            other => panic!("{lark}: {other:?}"),
        }
    }
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

/// The schema of a call of the tool `name` with one whole number.
fn call(name: &str) -> Piece {
    json_piece(json!({
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": {
            "type": "object", "properties": {"x": {"type": "integer"}},
            "required": ["x"], "additionalProperties": false}},
        "required": ["name", "arguments"],
        "additionalProperties": false,
    }))
}

fn calls(min: usize, max: Option<usize>) -> Piece {
    let either = Piece::OneOf(vec![vec![call("f")], vec![call("g")]]);
    let pieces = vec![text("<tool_call>\n"), either, text("\n</tool_call>\n")];
    Piece::Repeat { pieces, min, max }
}

const F: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>\n";
const G: &str = "<tool_call>\n{\"name\":\"g\",\"arguments\":{\"x\":-20}}\n</tool_call>\n";
const H: &str = "<tool_call>\n{\"name\":\"h\",\"arguments\":{\"x\":1}}\n</tool_call>\n";

#[test]
fn calls_between_markers() {
    let [fg, free_f, broken] =
        [format!("{F}{G}"), format!("Let me see. {F}"), format!("Let me see. {H}")];
    let required = Grammar::Sequence(vec![calls(1, None)]);
    check(&required, &[F, G, &fg], &["", "no", H, &free_f, "<tool_call>\n"]);
    let single = Grammar::Sequence(vec![calls(1, Some(1))]);
    check(&single, &[F, G], &[&fg, ""]);
    let auto = Grammar::Sequence(vec![Piece::FreeText, calls(0, None)]);
    let tags = "<tool_cal> and <tool_call> are no calls\n";
    let taken = [F, &fg, &free_f, "", "No call.", "\u{1f600} <tool", tags];
    check(&auto, &taken, &[H, &broken, "a <tool_call>\n{}", "<tool_call>\nx"]);
    let must_call = Grammar::Sequence(vec![Piece::FreeText, calls(1, Some(2))]);
    check(&must_call, &[F, &fg, &free_f], &["", "No call.", &broken]);
}

#[test]
fn free_text_before_several_markers() {
    // Either a call, or an answer that names its source.
    let grammar = Grammar::Sequence(vec![
        Piece::FreeText,
        Piece::OneOf(vec![
            vec![text("CALL "), call("f")],
            vec![text("SOURCE "), json_piece(json!({"type": "integer"})), text(".")],
            vec![],
        ]),
    ]);
    let f = "CALL {\"name\":\"f\",\"arguments\":{\"x\":1}}";
    let after = format!("So: {f}");
    let taken = [f, &after, "plain", "", "x SOURCE 12.", "CAL L"];
    check(&grammar, &taken, &["CALL x", "SOURCE .", "a CALL SOURCE 1.", "SOURCE 1"]);
    // Free text in the middle and at the end.
    let grammar = Grammar::Sequence(vec![
        text("<think>"),
        Piece::FreeText,
        text("</think>"),
        Piece::FreeText,
    ]);
    check(&grammar, &["<think></think>", "<think>a<b</think>c</think>"], &["<think>a", "a"]);
    // A choice whose alternatives end in free text knows what follows them.
    let grammar = Grammar::Sequence(vec![
        Piece::OneOf(vec![vec![text("A"), Piece::FreeText], vec![text("B")]]),
        text("|"),
        json_piece(json!({"type": "boolean"})),
    ]);
    check(&grammar, &["A|true", "Aab|false", "B|true"], &["A", "Bb|true", "Aa|b|true"]);
}

#[test]
fn grammars_within_pieces() {
    // Reasoning, or none, then what any other grammar describes.
    let behind_reasoning = |grammar| {
        let end = text("</think>\n\n");
        let reasoning = vec![text("<think>"), Piece::FreeText, end];
        Grammar::Sequence(vec![Piece::OneOf(vec![reasoning, vec![]]), Piece::Grammar(grammar)])
    };
    let regex = behind_reasoning(Grammar::Regex("^[0-9]{2}$".to_owned()));
    check(
        &regex,
        &["12", "<think>Hm < 3</think>\n\n12"],
        &["123", "<think>12", "<think></think>12"],
    );
    let choice = behind_reasoning(Grammar::Choice(vec!["yes".to_owned(), "no".to_owned()]));
    check(&choice, &["yes", "<think></think>\n\nno"], &["maybe", "<think>yes"]);
    let lark = behind_reasoning(Grammar::Lark("start: A B\nA: /a+/\nB: \"b\"".to_owned()));
    check(&lark, &["aab", "<think>?</think>\n\nab"], &["b", "a"]);
    let object = behind_reasoning(Grammar::JsonObject);
    check(&object, &["{}", "<think>{}</think>\n\n{\"a\": [1]}"], &["[]", "<think>{}"]);
    // A call, or an answer: both are JSON.
    let call = json!({"type": "object", "required": ["name", "parameters"],
        "properties": {"name": {"const": "f"}, "parameters": {"$ref": "#/$defs/none"}},
        "additionalProperties": false, "$defs": {"none": {"type": "object", "maxProperties": 0}}});
    let answer = json!({"type": "object", "required": ["name", "age"],
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "additionalProperties": false});
    let either = Piece::OneOf(vec![vec![json_piece(call)], vec![json_piece(answer)]]);
    let [f, named_f, g] =
        ["\"f\",\"parameters\":{}", "\"f\", \"age\": 3", "\"g\",\"parameters\":{}"]
            .map(|rest| format!("{{\"name\":{rest}}}"));
    check(&Grammar::Sequence(vec![either]), &[&f, &named_f], &[&g, "{}"]);
    // What is wrong in one of them is told, and pieces are none.
    let strict = json!({"type": "array", "uniqueItems": true});
    let strict = Piece::Grammar(Grammar::JsonSchema { schema: strict, strict: true });
    match smollm2().compile(&Grammar::Sequence(vec![strict])) {
        Err(GrammarError::Schema { at, .. }) => assert_eq!(at, "/uniqueItems"),
        other => panic!("{other:?}"),
    }
    let nested = Grammar::Sequence(vec![Piece::Grammar(Grammar::Sequence(vec![text("a")]))]);
    assert!(matches!(smollm2().compile(&nested), Err(GrammarError::Pieces(_))));
}

#[test]
fn tokens_that_steer_are_named_by_id() {
    for (vocabulary, spelling) in
        vocabularies().iter().zip(["<|im_start|>", "<|im_start|>", "<start_of_turn>"])
    {
        let ids = vocabulary.tokenizer.encode(spelling, Specials::Parse);
        let [marker] = ids[..] else { panic!("{spelling}: {ids:?}") };
        let grammar = Grammar::Sequence(vec![
            Piece::FreeText,
            Piece::Repeat {
                pieces: vec![Piece::Token(marker), call("f"), Piece::Token(marker)],
                min: 0,
                max: Some(2),
            },
        ]);
        let mut at = vocabulary.compile(&grammar).unwrap();
        assert!(at.allowed().unwrap().may_end);
        let mut say = |text: &str, marker: Option<u32>| {
            let ids = vocabulary.tokenizer.encode(text, Specials::Plain);
            // The space that some tokenizers put in front is no part of a JSON value.
            let ids = ids.into_iter().filter(|id| vocabulary.tokenizer.token_bytes(*id) != b" ");
            for id in ids.chain(marker) {
                assert!(is_allowed(&at.allowed().unwrap(), id), "{id} in {text:?}");
                at.accept(id).unwrap();
            }
            at.allowed().unwrap()
        };
        assert!(!is_allowed(&say("free", Some(marker)), marker));
        let open = say("{\"name\":\"f\",\"arguments\":{\"x\":1}}", None);
        assert!(is_allowed(&open, marker) && !open.may_end);
        let closed = say("", Some(marker));
        assert!(is_allowed(&closed, marker) && closed.may_end);
        assert_eq!(count(&closed.ids), 1, "nothing but another call or the end");
    }
}

fn count(ids: &[u32]) -> u32 {
    ids.iter().map(|word| word.count_ones()).sum()
}

#[test]
fn a_token_that_is_text_is_its_text() {
    let check = |vocabulary: &Vocabulary| {
        let ids = vocabulary.tokenizer.encode("hello", Specials::Plain);
        let grammar = Grammar::Sequence(vec![Piece::FreeText, Piece::Token(*ids.last().unwrap())]);
        let text = vocabulary.text(&[*ids.last().unwrap()]);
        let constraint = vocabulary.compile(&grammar).unwrap();
        assert!(vocabulary.takes(&*constraint, &format!("so {text}")));
        assert!(!vocabulary.takes(&*constraint, "so"));
    };
    vocabularies().iter().for_each(check);
}

#[test]
fn pieces_that_cannot_follow_one_another() {
    let nothing = Piece::Repeat { pieces: vec![], min: 0, max: None };
    let free = Piece::Repeat { pieces: vec![text("a"), Piece::FreeText], min: 1, max: None };
    for (pieces, expected) in [
        (vec![Piece::FreeText, call("f")], "a text or a token"),
        (vec![Piece::FreeText, Piece::FreeText], "a text or a token"),
        (vec![nothing], "must not be nothing"),
        (vec![free], "cannot be the end"),
        (vec![Piece::OneOf(vec![])], "nothing to choose"),
        (vec![Piece::Token(u32::MAX)], "no token"),
    ] {
        match smollm2().compile(&Grammar::Sequence(pieces)) {
            Err(GrammarError::Pieces(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn random_answers_keep_to_the_pieces() {
    let grammar = Grammar::Sequence(vec![Piece::FreeText, calls(1, Some(3))]);
    for vocabulary in vocabularies() {
        let constraint = vocabulary.compile(&Grammar::Sequence(vec![calls(1, Some(3))])).unwrap();
        for seed in 0..10 {
            let said = vocabulary.say(constraint.boxed_clone(), &mut Random(seed), 2000);
            let calls: Vec<&str> = said.text.split("<tool_call>\n").skip(1).collect();
            assert!(said.has_ended && (1..=3).contains(&calls.len()), "{}", said.text);
            for call in calls {
                let json = call.strip_suffix("\n</tool_call>\n").unwrap();
                let value: serde_json::Value = serde_json::from_str(json).unwrap();
                assert!(value["arguments"]["x"].is_i64() || value["arguments"]["x"].is_number());
            }
        }
        vocabulary.compile(&grammar).unwrap();
    }
}
