//! Grammars that are meant to hurt: each is refused, or works, in bounded time.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use mizan::grammar::{Grammar, GrammarError, Piece};
use serde_json::{Map, Value, json};

use super::{json_piece, smollm2};
use crate::support::random::Random;

/// For compiling, and for a hundred masks after it. Generous: the machine does other things too.
const MAX_TIME: Duration = Duration::from_secs(30);

fn check(name: &str, grammar: &Grammar) {
    let begun = Instant::now();
    let vocabulary = smollm2();
    let outcome = vocabulary.compile(grammar);
    let compiled = begun.elapsed();
    let said = match outcome {
        Err(error) => format!("{error}"),
        Ok(mut at) => {
            let mut random = Random(7);
            let mut said = 0;
            let mut slowest = Duration::ZERO;
            while said < 100 {
                let begun = Instant::now();
                // A constraint that breaks its bounds ends its sequence, nothing else.
                let Ok(allowed) = at.allowed() else { break };
                slowest = slowest.max(begun.elapsed());
                if allowed.ids.iter().all(|word| *word == 0) {
                    break;
                }
                let id = vocabulary.pick(&allowed, &mut random);
                said += 1;
                if at.accept(id).is_err() {
                    break;
                }
            }
            format!("works: {said} ids, slowest mask {slowest:?}")
        }
    };
    println!("{name}: {compiled:?}, {:?}: {said}", begun.elapsed());
    assert!(begun.elapsed() < MAX_TIME, "{name}: {:?}", begun.elapsed());
}

fn schema(name: &str, schema: Value) {
    for strict in [true, false] {
        let schema = schema.clone();
        check(name, &Grammar::JsonSchema { schema, strict });
    }
}

/// `depth` schemas within one another.
fn nested(depth: usize, around: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(json!({"type": "null"}), |inner, _| around(inner))
}

fn definitions(count: usize, define: impl Fn(usize) -> Value) -> Map<String, Value> {
    (0..count).map(|number| (format!("d{number}"), define(number))).collect()
}

fn reference(number: usize) -> Value {
    json!({"$ref": format!("#/$defs/d{number}")})
}

#[test]
fn deep_schemas() {
    for depth in [20, 33, 49, 60, 1000] {
        let properties = |inner| json!({"type": "object", "properties": {"a": inner}});
        let name = format!("objects, {depth} deep");
        if depth < 100 {
            schema(&name, nested(depth, properties));
            schema(&name, nested(depth, |inner| json!({"anyOf": [inner, {"type": "string"}]})));
            schema(&name, nested(depth, |inner| json!({"allOf": [inner, {"type": "null"}]})));
        }
        let mut any = json!([]);
        for _ in 0..depth.min(500) {
            any = json!([any]);
        }
        schema(&format!("an enum, {depth} deep"), json!({ "enum": [any] }));
    }
}

#[test]
fn wide_schemas() {
    let words: Vec<String> = (0..20_000).map(|number| format!("w{number}")).collect();
    schema("an enum of 20,000", json!({ "enum": words }));
    let properties: Map<String, Value> =
        (0..8_000).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
    schema("8,000 optional properties", json!({"type": "object", "properties": properties}));
    let alternatives: Vec<Value> =
        (0..3_000).map(|n| json!({"type": "object", "properties": {"k": {"const": n}}})).collect();
    schema("anyOf of 3,000", json!({ "anyOf": alternatives }));
    schema("oneOf of 3,000", json!({ "oneOf": alternatives }));
    schema("too long", json!({ "enum": ["x".repeat(300_000)] }));
    schema("a long constant", json!({ "const": "x".repeat(200_000) }));
    let patterns: Map<String, Value> =
        (0..200).map(|n| (format!("^p{n}.*a"), json!({"type": "null"}))).collect();
    schema("200 pattern properties", json!({"type": "object", "patternProperties": patterns}));
}

#[test]
fn products_of_alternatives() {
    let any: Vec<Value> = (0..20)
        .map(|n| {
            let options: Vec<Value> = (0..20)
                .map(|m| json!({"type": "object", "properties": {format!("p{n}"): {"const": m}}}))
                .collect();
            json!({ "anyOf": options })
        })
        .collect();
    schema("allOf of 20 anyOf of 20", json!({ "allOf": any }));
    // Each of these would be gigabytes.
    let names: Vec<String> = (0..10_000).map(|number| format!("n{number}")).collect();
    let options = vec![json!({"type": "object"}); 5_000];
    for much in [
        json!({"type": "object", "required": names, "anyOf": options}),
        json!({"anyOf": options, "required": names, "type": "object"}),
        json!({"allOf": [{"$ref": "#/$defs/all"}, {"anyOf": options}],
            "$defs": {"all": {"type": "object", "required": names}}}),
        json!({"anyOf": vec![json!({"type": "string"}); 5_000], "const": "x".repeat(100_000)}),
    ] {
        for strict in [true, false] {
            match smollm2().compile(&Grammar::JsonSchema { schema: much.clone(), strict }) {
                Err(GrammarError::TooComplex { why, .. }) => assert!(why.contains("MiB"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
    // As much as may be.
    schema(
        "200 times 10,000",
        json!({"type": "object", "required": names, "anyOf": options[..200]}),
    );
    let doubling = definitions(40, |n| match n {
        0 => json!({"type": "object", "properties": {"x": {"type": "string"}}}),
        n => json!({"allOf": [reference(n - 1), reference(n - 1)]}),
    });
    schema("allOf that doubles 40 times", json!({"$ref": "#/$defs/d39", "$defs": doubling}));
    let doubling = definitions(40, |n| match n {
        0 => json!({"type": "string"}),
        n => json!({"type": "object", "required": ["a", "b"],
            "properties": {"a": reference(n - 1), "b": reference(n - 1)}}),
    });
    schema("objects that double 40 times", json!({"$ref": "#/$defs/d39", "$defs": doubling}));
    let inlined = definitions(500, |n| match n {
        0 => json!({"type": "object"}),
        n => json!({"type": "object", "properties": {
            "a": {"allOf": [reference(n - 1), {"minProperties": 0}]}}}),
    });
    schema("500 definitions inlined", json!({"$ref": "#/$defs/d499", "$defs": inlined}));
}

#[test]
fn references() {
    let chain = |count: usize| {
        definitions(count, |n| if n == 0 { json!({"type": "null"}) } else { reference(n - 1) })
    };
    schema("a chain of 100", json!({"$ref": "#/$defs/d99", "$defs": chain(100)}));
    schema("a chain of 6,000", json!({"$ref": "#/$defs/d5999", "$defs": chain(6000)}));
    let objects = definitions(3000, |n| match n {
        0 => json!({"type": "null"}),
        n => json!({"type": "object", "properties": {"a": reference(n - 1)}}),
    });
    schema("3,000 objects in a chain", json!({"$ref": "#/$defs/d2999", "$defs": objects}));
    schema("itself", json!({"$ref": "#"}));
    schema(
        "a circle",
        json!({"$ref": "#/$defs/d0", "$defs": {
        "d0": {"$ref": "#/$defs/d1"}, "d1": {"$ref": "#/$defs/d0"}}}),
    );
    schema(
        "a circle with siblings",
        json!({"$ref": "#/$defs/d0", "type": "object", "$defs": {
        "d0": {"$ref": "#/$defs/d1", "type": "object"},
        "d1": {"$ref": "#/$defs/d0", "type": "object"}}}),
    );
    schema(
        "a list without an end",
        json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1}),
    );
    schema("elsewhere", json!({"$ref": "https://example.com/schema.json"}));
    schema("a file", json!({"$ref": "file:///etc/passwd"}));
    schema("elsewhere by id", json!({"$id": "https://example.com/a", "$ref": "b.json"}));
    schema("nowhere", json!({"$ref": "#/$defs/none"}));
}

#[test]
fn huge_numbers() {
    for count in [8192_u64, 8193, u64::MAX] {
        let text = json!({"type": "string"});
        schema("minItems", json!({"type": "array", "items": text, "minItems": count}));
        schema("maxItems", json!({"type": "array", "items": text, "maxItems": count}));
        schema("minLength", json!({"type": "string", "minLength": count}));
        schema("maxLength", json!({"type": "string", "maxLength": count}));
        schema("minProperties", json!({"type": "object", "minProperties": count}));
        schema("maxProperties", json!({"type": "object", "maxProperties": count}));
        schema("minimum", json!({"type": "integer", "minimum": count}));
    }
    for number in [1e-300, 5e-324, 1e300, 1.797e308, 123_456_789.123_456_78] {
        schema("multipleOf", json!({"type": "number", "multipleOf": number}));
        schema("minimum", json!({"type": "number", "minimum": number, "maximum": number * 1.01}));
        schema("maximum", json!({"type": "integer", "exclusiveMaximum": -number}));
    }
    let many: Vec<Value> = [7, 11, 13, 17, 4_294_967_291_u64, 4_294_967_279]
        .map(|n| json!({"type": "integer", "multipleOf": n}))
        .into();
    schema("many multiples", json!({ "allOf": many }));
}

#[test]
fn hostile_patterns() {
    for pattern in [
        "(a+)+$",
        "(a|a)*b",
        "((a{1,100}){1,100}){1,100}",
        "(a{1000}){1000}",
        "[a-z]{0,1000}.*[a-z]{0,1000}",
        ".*a.{500}b.{500}",
        "(.*a){30}",
        "(?=x)y",
        "(a)\\1",
        "[",
        "\\p{Lu}{1,200}\\p{Ll}{1,200}",
        "(?i:ſ){50}",
        "é\u{10ffff}",
        "^$",
        "",
        "\\",
        "a**",
        "(?P<a>b",
    ] {
        check(pattern, &Grammar::Regex(pattern.to_owned()));
        schema(pattern, json!({"type": "string", "pattern": pattern}));
    }
    check("deep", &Grammar::Regex(format!("{}a{}", "(".repeat(5000), ")".repeat(5000))));
    check("long", &Grammar::Regex("a|".repeat(30_000)));
    check("longer", &Grammar::Regex("a".repeat(70_000)));
    check("classes", &Grammar::Regex("[^a]".repeat(10_000)));
}

#[test]
fn hostile_schemas_of_any_shape() {
    for value in [json!(null), json!(false), json!(1), json!("x"), json!([]), json!([{}])] {
        schema("no schema", value);
    }
    for keyword in [
        "type",
        "enum",
        "const",
        "properties",
        "patternProperties",
        "additionalProperties",
        "required",
        "items",
        "prefixItems",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "if",
        "minItems",
        "maxLength",
        "minimum",
        "exclusiveMaximum",
        "multipleOf",
        "pattern",
        "format",
        "$ref",
        "$defs",
        "definitions",
        "$schema",
        "$id",
        "$anchor",
        "x-guidance",
        "uniqueItems",
    ] {
        for value in [
            json!(null),
            json!(true),
            json!(-1),
            json!(1.5),
            json!("\u{e9}\u{0}\u{7f}".repeat(60)),
            json!([]),
            json!([null]),
            json!({}),
            json!({"a": 1}),
        ] {
            schema(keyword, json!({ keyword: value }));
        }
    }
    let everything = json!({"x-guidance": {"whitespace_pattern": "x*", "lenient": true}});
    schema("options of the library", everything);
}

#[test]
fn hostile_grammars() {
    let lark = |name: &str, text: &str| check(name, &Grammar::Lark(text.to_owned()));
    lark("nothing", "");
    lark("no start", "a: \"b\"");
    lark("itself", "start: start");
    lark("left and right", "start: start start | \"a\" | ");
    lark("ambiguous", "start: a a a a a a a a\na: (\"a\" | \"a\"? b)*\nb: \"a\"* start?");
    lark("many times", "start: \"a\"{1000000,2000000}");
    lark("many times many", "start: (((\"a\"{1000}){1000}){1000}){1000}");
    lark("a terminal of itself", "start: A\nA: A \"a\"");
    lark("another file", "%import ../../etc/passwd\nstart: \"a\"");
    lark("another grammar", "start: @other");
    lark("a token of control", "start: <|im_end|> <|im_start|>");
    lark("a token that is not there", "start: <|nothing|>");
    lark("every token", "start: <[*]>*");
    lark("tokens out of range", "start: <[0-99999999]>");
    lark("json", "start: %json {\"type\": \"object\"}");
    lark("json of the wrong kind", "start: %json [1]");
    lark("bytes", "%llguidance {\"allow_invalid_utf8\": true}\nstart: /.*/");
    lark("an odd option", "%llguidance {\"nothing\": 1}\nstart: \"a\"");
    lark("deep", &format!("start: {}\"a\"{}", "(".repeat(20_000), ")".repeat(20_000)));
    lark("nots", &format!("start: A\nA: {}/a.*b/", "~".repeat(5_000)));
    let mut rules = String::from("start: r0\n");
    for number in 0..3000 {
        _ = writeln!(rules, "r{number}: r{} r{} | \"x\"", number + 1, number + 1);
    }
    rules.push_str("r3000: \"y\"");
    lark("rules that double", &rules);
    let mut terminals = String::from("start: T30\nT0: /[a-z]/\n");
    for number in 0..30 {
        _ = writeln!(terminals, "T{}: T{number} T{number}", number + 1);
    }
    lark("terminals that double", &terminals);
    check("choices", &Grammar::Choice((0..10_000).map(|n| format!("c{n}")).collect()));
    check("no choice", &Grammar::Choice(Vec::new()));
}

#[test]
fn hostile_pieces() {
    let pieces = |name: &str, pieces: Vec<Piece>| check(name, &Grammar::Sequence(pieces));
    let text = || Piece::Text("x".to_owned());
    pieces("none", Vec::new());
    pieces("nothing to choose", vec![Piece::OneOf(Vec::new())]);
    pieces("an unknown token", vec![Piece::Token(u32::MAX)]);
    let mut deep = vec![text()];
    for _ in 0..300 {
        deep = vec![Piece::OneOf(vec![deep])];
    }
    pieces("deep", deep);
    let doubled = |inner: Vec<Piece>| {
        let choice = Piece::OneOf(vec![[inner.clone(), vec![text()]].concat(), inner]);
        vec![Piece::Repeat { pieces: vec![choice], min: 0, max: Some(3) }]
    };
    let doubling = (0..12).fold(vec![text()], |inner, _| doubled(inner));
    pieces("doubled 12 times", [vec![Piece::FreeText], doubling].concat());
    let optional = || Piece::Repeat { pieces: vec![text()], min: 0, max: Some(1) };
    pieces("free text and 5,000 options", [vec![Piece::FreeText], vec![optional(); 5000]].concat());
    pieces("free text twice", vec![Piece::FreeText, Piece::FreeText]);
    let nothing = Piece::Repeat { pieces: Vec::new(), min: 0, max: None };
    pieces("nothing for ever", vec![Piece::FreeText, nothing]);
    let many = Piece::Repeat { pieces: vec![text()], min: 9_999, max: Some(10_000) };
    pieces("many", vec![Piece::FreeText, many]);
    pieces("too many", vec![Piece::Repeat { pieces: vec![text()], min: 5, max: Some(4) }]);
    pieces("too long", vec![Piece::Text("x".repeat(100_000))]);
    pieces("a bad schema", vec![json_piece(json!({"type": "nothing"}))]);
}
