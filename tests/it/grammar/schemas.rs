//! Random schemas: what is sampled at random within the masks is JSON that fits.

use mizan::grammar::{Grammar, GrammarError};
use serde_json::{Map, Value, json};

use super::fits::fits;
use super::{Vocabulary, smollm2, vocabularies};
use crate::support::random::Random;

/// Ids in an answer, at most; random ones go on for long.
const MAX_IDS: usize = 3000;

fn random_schema(random: &mut Random, depth: usize) -> Value {
    let simple = 9;
    match random.below(if depth == 0 { simple } else { simple + 7 }) {
        0 => json!({"type": random.pick(&["null", "boolean"])}),
        1 => {
            let low = random.below(400) as i64 - 200;
            json!({"type": "integer", "minimum": low, "maximum": low + random.below(300) as i64})
        }
        2 => {
            let low = random.below(40) as f64 / 4.0;
            json!({"type": "number", "minimum": low, "exclusiveMaximum": low + 2.5})
        }
        3 => {
            let min = random.below(5);
            json!({"type": "string", "minLength": min, "maxLength": min + random.below(20)})
        }
        4 => json!({"type": "string", "pattern": random.pick(&[
            "^[a-z]{2,5}-[0-9]+$", "^(cat|dog)s?$", "[A-Z]", "^\\d{3}$", "^[^a-z\"]{1,9}$",
        ])}),
        5 => json!({"type": "string", "format": random.pick(&["date", "uuid", "ipv4"])}),
        6 => {
            json!({"enum": ["red", "reddish", 7, null, true, "g\u{fc}n", "a \"quote\"", [1, "x"]]})
        }
        7 => json!({"const": random.pick(&["x", "\u{1f600}\n", ""])}),
        8 => json!({"type": ["string", "null"], "maxLength": 4}),
        9 | 10 => random_array(random, depth),
        11..=13 => random_object(random, depth),
        14 => {
            let options: Vec<Value> =
                (0..1 + random.below(3)).map(|_| random_schema(random, depth - 1)).collect();
            json!({ "anyOf": options })
        }
        _ => json!({"$ref": "#/$defs/shared"}),
    }
}

fn random_array(random: &mut Random, depth: usize) -> Value {
    let min = random.below(3);
    let mut array = json!({
        "type": "array",
        "items": random_schema(random, depth - 1),
        "minItems": min,
        "maxItems": min + random.below(3),
    });
    if random.below(3) == 0 {
        array["prefixItems"] = json!([random_schema(random, depth - 1)]);
    }
    array
}

fn random_object(random: &mut Random, depth: usize) -> Value {
    let names = ["name", "b", "\u{645}\u{64a}\u{632}", "a b", "quote\"", "x1", "x10"];
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for name in names.into_iter().take(random.below(names.len() + 1)) {
        properties.insert(name.to_owned(), random_schema(random, depth - 1));
        if random.below(2) == 0 {
            required.push(name);
        }
    }
    let mut object = json!({"type": "object", "properties": properties, "required": required});
    match random.below(3) {
        0 => {}
        1 => {
            object["additionalProperties"] = json!({"type": "integer", "minimum": 0, "maximum": 9})
        }
        _ => object["additionalProperties"] = json!(false),
    }
    object
}

/// How many of the schemas were answered to the end.
fn check(vocabulary: &Vocabulary, seeds: std::ops::Range<u64>) -> usize {
    let mut num_ended = 0;
    for seed in seeds {
        let mut random = Random(seed);
        let mut schema = random_object(&mut random, 3);
        schema["$defs"] = json!({"shared": random_schema(&mut random, 1)});
        if schema["$defs"]["shared"].to_string().contains("$ref") {
            schema["$defs"] = json!({"shared": {"type": "boolean"}});
        }
        let about = || format!("{}, seed {seed}: {schema}", vocabulary.name);
        let strict = random.below(2) == 0;
        let grammar = Grammar::JsonSchema { schema: schema.clone(), strict };
        let constraint =
            vocabulary.compile(&grammar).unwrap_or_else(|e| panic!("{e}; {}", about()));
        let said = vocabulary.say(constraint, &mut random, MAX_IDS);
        if !said.has_ended {
            continue;
        }
        num_ended += 1;
        let text = said.text;
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}; {}", about()));
        assert!(fits(&schema, &value, &schema), "{text} does not fit; {}", about());
        // Between two parts, or twice where there is nothing between brackets.
        let blank = text.lines().collect::<Vec<_>>();
        let is_blank = |lines: &[&str]| lines.iter().all(|line| line.trim().is_empty());
        assert!(!blank.windows(2).any(is_blank), "white space goes on: {text:?}");
    }
    num_ended
}

#[test]
fn random_answers_fit_random_schemas() {
    let ended = check(&vocabularies()[0], 0..300);
    assert!(ended >= 250, "{ended}");
    let ended = check(&vocabularies()[1], 1000..1080);
    assert!(ended >= 60, "{ended}");
    let ended = check(&vocabularies()[2], 2000..2080);
    assert!(ended >= 60, "{ended}");
}

#[test]
fn patterns_keep_quotes_out_and_line_breaks_in() {
    for (pattern, taken, refused) in [
        ("^[^a-z\"]{1,9}$", "A\\n\\tB\\\\", "A\\\"B"),
        ("^[^\\n\\\\]+$", "a\\tb\\\"", "a\\\\b"),
        ("^[^\\n\\\\]+$", "\u{1f600}", "a\\nb"),
        ("^\\P{P}+$", "a\\nb", "a\\\"b"),
        ("^[\\x00-\\x1f]+$", "\\t\\n", "\\t\\\""),
        ("^[a[^\"]]+$", "b\\r", "\\\""),
        ("^.*$", "\\\"\\\\", "\\n"),
        ("^\\W\\S\\D$", "\\\"\\\"\\\"", "1"),
    ] {
        for vocabulary in vocabularies() {
            let name = vocabulary.name;
            let check = |schema: Value, before: &str, after: &str| {
                let schema = json!({"type": "object", "additionalProperties": false,
                    "required": ["k"], "properties": {"k": schema}});
                let grammar = Grammar::JsonSchema { schema, strict: true };
                let at = vocabulary.compile(&grammar).unwrap();
                let write = |text: &str| format!("{{\"k\":{before}{text}{after}}}");
                assert!(vocabulary.takes(&*at, &write(taken)), "{name}, {pattern}: {taken}");
                assert!(!vocabulary.takes(&*at, &write(refused)), "{name}, {pattern}: {refused}");
            };
            check(json!({"type": "string", "pattern": pattern}), "\"", "\"");
            let named = json!({"type": "object", "additionalProperties": false,
                "patternProperties": {pattern: {"type": "null"}}});
            check(named, "{\"", "\":null}");
        }
    }
}

#[test]
fn any_object_is_an_object() {
    for vocabulary in vocabularies() {
        for seed in 0..10 {
            let constraint = vocabulary.compile(&Grammar::JsonObject).unwrap();
            let said = vocabulary.say(constraint, &mut Random(seed), MAX_IDS);
            if said.has_ended {
                let parsed: Result<Map<String, Value>, _> = serde_json::from_str(&said.text);
                let is_number =
                    |error: &serde_json::Error| error.to_string().contains("out of range");
                assert!(parsed.as_ref().err().is_none_or(is_number), "{parsed:?}: {}", said.text);
            }
        }
    }
}

#[test]
fn the_same_draws_say_the_same_whoever_computes() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let grammar = Grammar::JsonSchema { schema, strict: false };
    let vocabulary = smollm2();
    let constraint = vocabulary.compile(&grammar).unwrap();
    let first = vocabulary.say(constraint.boxed_clone(), &mut Random(5), 500);
    for _ in 0..3 {
        // Of a cached grammar, and of a clone that was on its way already.
        let cached = vocabulary.compile(&grammar).unwrap();
        assert_eq!(vocabulary.say(cached, &mut Random(5), 500), first);
    }
    let mut ahead = constraint.boxed_clone();
    ahead.prepare();
    assert_eq!(vocabulary.say(ahead.boxed_clone(), &mut Random(5), 500), first);
}

#[test]
fn a_bad_schema_is_told_where_it_is_bad() {
    for (schema, strict, expected_at, expected_why) in [
        (json!(3), false, "", "an object"),
        (json!(false), false, "", "an object"),
        (json!({"type": "text"}), false, "/type", "one of null, boolean"),
        (json!({"type": []}), false, "/type", "one of null, boolean"),
        (
            json!({"properties": {"a/b~": {"items": 5}}}),
            false,
            "/properties/a~1b~0/items",
            "object",
        ),
        (json!({"properties": []}), false, "/properties", "an object of schemas"),
        (json!({"anyOf": [{}, {"enum": []}]}), false, "/anyOf/1/enum", "at least one"),
        (json!({"allOf": []}), false, "/allOf", "at least one schema"),
        (json!({"$defs": {"x": {"minLength": -1}}}), false, "/$defs/x/minLength", "whole number"),
        (json!({"minItems": 5, "maxItems": 4}), false, "/minItems", "above maxItems, which is 4"),
        (json!({"required": "a"}), false, "/required", "names"),
        (json!({"minimum": "a"}), false, "/minimum", "a number"),
        (json!({"multipleOf": 0}), false, "/multipleOf", "above 0"),
        (json!({"items": {"pattern": "(a"}}), false, "/items/pattern", "regex"),
        (json!({"patternProperties": {"[": {}}}), false, "/patternProperties", "regex"),
        (json!({"$ref": "#/$defs/a"}), false, "/$ref", "there is no \"#/$defs/a\""),
        (json!({"$ref": "https://x.y/z"}), false, "/$ref", "is elsewhere"),
        (json!({"items": {"uniqueItems": true}}), true, "/items/uniqueItems", "cannot be enforced"),
        (json!({"not": {"type": "null"}}), true, "/not", "cannot be enforced"),
    ] {
        let about = schema.to_string();
        let grammar = Grammar::JsonSchema { schema, strict };
        match smollm2().compile(&grammar) {
            Err(GrammarError::Schema { at, why }) => {
                assert_eq!(at, expected_at, "{about}: {why}");
                assert!(why.contains(expected_why), "{about}: {why}");
            }
            other => panic!("{about}: {other:?}"),
        }
    }
    // What cannot be enforced is let go where it is not asked for.
    let schema = json!({"type": "array", "items": {"type": "null"}, "uniqueItems": true});
    let grammar = Grammar::JsonSchema { schema, strict: false };
    assert!(smollm2().takes(&*smollm2().compile(&grammar).unwrap(), "[null, null]"));
}

#[test]
fn what_a_schema_takes() {
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {
        "type": "object",
        "properties": {
            "v": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        },
        "required": ["v", "next"], "additionalProperties": false}}});
    let odd = json!({"$ref": "#/$defs/a%20~0b", "$defs": {"a ~b": {"const": 1}}});
    let union = json!({"oneOf": [
        {"type": "object", "required": ["kind", "x"],
            "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}},
        {"type": "object", "required": ["kind", "y"],
            "properties": {"kind": {"const": "b"}, "y": {"type": "null"}}},
    ]});
    for vocabulary in vocabularies() {
        let check = |schema: &Value, text: &str, takes: bool| {
            let grammar = Grammar::JsonSchema { schema: schema.clone(), strict: true };
            let constraint = vocabulary.compile(&grammar).unwrap();
            assert_eq!(vocabulary.takes(&*constraint, text), takes, "{}: {text}", vocabulary.name);
        };
        check(&tree, r#"{"v":1,"next":{"v":-2,"next":null}}"#, true);
        check(
            &tree,
            "{\n  \"v\": 1,\n  \"next\": {\n    \"v\": 2,\n    \"next\": null\n  }\n}",
            true,
        );
        check(&tree, r#"{"v":1}"#, false);
        check(&tree, r#"{"v":1.5,"next":null}"#, false);
        check(&tree, r#"{"v":1,"next":null,"z":1}"#, false);
        check(&tree, "{\n\n\"v\":1,\"next\":null}", false);
        check(&tree, "{     \"v\":1,\"next\":null}", false);
        check(&tree, " {\"v\":1,\"next\":null}", false);
        check(&odd, "1", true);
        check(&union, r#"{"kind":"b","y":null}"#, true);
        check(&union, r#"{"kind":"b","x":1}"#, false);
        check(&json!({"type": "string"}), "\"\u{1f600} \u{645}\\n\\\"\"", true);
        check(&json!({"type": "string"}), "\"a\nb\"", false);
        check(&json!({"type": "string"}), "\"\\u0041\"", false);
        check(&json!({"type": "number"}), "-12.5e3", true);
        check(&json!({"type": "number"}), "012", false);
        check(&json!(true), "[{}]", true);
    }
}
