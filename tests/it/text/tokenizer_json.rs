//! Small `tokenizer.json` files with the steps of each family's, compared with Hugging Face's
//! `tokenizers` (`record_tokenizer_json.py`).

use mizan::text::{Segment, Specials, Tokenizer, TokenizerError};
use serde_json::{Value, json};

use super::json as load;

fn build(record: &Value) -> Tokenizer {
    let tokenizer = record["tokenizer"].to_string();
    let config = record["config"].to_string();
    Tokenizer::from_tokenizer_json(tokenizer.as_bytes(), Some(config.as_bytes())).unwrap()
}

fn check(family: &str) {
    let record = load(&format!("tokenizer_json/{family}.json"));
    let tokenizer = build(&record);
    let mut texts: Vec<String> = serde_json::from_value(load("tokenize/corpus.json")).unwrap();
    texts.extend(serde_json::from_value::<Vec<String>>(record["extra_texts"].clone()).unwrap());
    let rows: Vec<Option<Vec<u32>>> = serde_json::from_value(record["ids"].clone()).unwrap();
    assert_eq!(rows.len(), texts.len());
    let mut wrong = Vec::new();
    for (text, expected) in texts.iter().zip(&rows) {
        let Some(expected) = expected else { continue }; // the oracle's Unicode is too old
        let found = tokenizer.encode(text, Specials::Parse);
        if found != *expected {
            wrong.push(format!("{text:?}\n  {found:?}\n  {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{family}: {} texts differ:\n{}", wrong.len(), wrong.join("\n"));

    let bos = record["bos"].as_u64().map(|id| id as u32);
    assert_eq!(tokenizer.bos_prefix(), bos, "{family}");
    let prompt = tokenizer.encode_prompt(&[Segment::Template("hi".into())]);
    assert_eq!(prompt.first().copied().filter(|&id| Some(id) == bos), bos, "{family}");
    assert!(tokenizer.is_control(tokenizer.end_of_turn()[0]), "{family}");
    let plain = tokenizer.encode(tokenizer.eos_text(), Specials::Plain);
    assert!(!plain.iter().any(|&id| tokenizer.is_control(id)), "{family}");
}

#[test]
fn llama3_as_hugging_face() {
    check("llama3");
}

#[test]
fn qwen2_as_hugging_face() {
    check("qwen2");
}

#[test]
fn smollm_as_hugging_face() {
    check("smollm");
}

#[test]
fn gemma_as_hugging_face() {
    check("gemma");
}

#[test]
fn llama2_as_hugging_face() {
    check("llama2");
}

#[test]
fn mistral_as_hugging_face() {
    check("mistral");
}

#[test]
fn text_comes_back() {
    for family in ["llama3", "gemma", "llama2", "mistral"] {
        let tokenizer = build(&load(&format!("tokenizer_json/{family}.json")));
        for text in ["Hello world", "é 你好 😀\n\n x", "a<tool_call>b"] {
            let decoded = tokenizer.decode(&tokenizer.encode(text, Specials::Plain));
            // Llama 2 also puts a space after a special token, which nothing takes away again.
            let expected = match family {
                "llama2" => text.replace("<tool_call>", "<tool_call> "),
                _ => text.to_owned(),
            };
            assert_eq!(decoded, expected, "{family}");
        }
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let check = |path: &str, value: Value, expected: &str| {
        let mut record = load("tokenizer_json/qwen2.json");
        *record.pointer_mut(path).unwrap() = value;
        let file = record["tokenizer"].to_string();
        let error = Tokenizer::from_tokenizer_json(file.as_bytes(), None).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("/tokenizer/model/type", json!("Unigram"), "model \"Unigram\"");
    check("/tokenizer/normalizer", json!({"type": "Lowercase"}), "Lowercase");
    check("/tokenizer/pre_tokenizer", json!({"type": "BertPreTokenizer"}), "BertPreTokenizer");
    let lookahead = json!({"type": "Split", "pattern": {"Regex": r"\d(?=\d)"},
        "behavior": "Isolated", "invert": false});
    check("/tokenizer/pre_tokenizer", lookahead, r"\\d(?=\\d)");
    check("/tokenizer/model/merges/0", json!("ab"), "merge \"ab\"");
    check("/tokenizer/model/vocab", json!({"a": 4_000_000_000u32}), "4000000000");
    check("/tokenizer/added_tokens/0/single_word", json!(true), "single_word");
    let error = Tokenizer::from_tokenizer_json(b"{", None).unwrap_err();
    assert!(matches!(error, TokenizerError::InvalidJson { .. }), "{error}");
}

/// Embedding models end a text with a token of their post-processor, or with EOS as settings say.
#[test]
fn a_text_to_embed_ends_as_the_files_say() {
    let check = |post_processor: Value, settings: Value, expected: Option<u32>| {
        let file = json!({
            "added_tokens": [
                { "id": 0, "content": "<|end|>", "special": true },
                { "id": 1, "content": "<|pool|>", "special": true },
            ],
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false },
            "post_processor": post_processor,
            "model": { "type": "BPE", "vocab": { "a": 2 }, "merges": [] },
        });
        let settings = settings.to_string();
        let file = file.to_string();
        let tokenizer =
            Tokenizer::from_tokenizer_json(file.as_bytes(), Some(settings.as_bytes())).unwrap();
        assert_eq!(tokenizer.eos_suffix(), expected, "{post_processor} {settings}");
        assert_eq!(tokenizer.encode("a", Specials::Plain), [2]);
    };
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let pool = json!({ "SpecialToken": { "id": "<|pool|>", "type_id": 0 } });
    let template = json!({ "type": "TemplateProcessing", "single": [text, pool] });
    let eos = json!({ "eos_token": "<|end|>" });
    check(Value::Null, eos.clone(), None);
    check(template.clone(), eos.clone(), Some(1));
    let byte_level = json!({ "type": "ByteLevel" });
    let both = json!({ "type": "Sequence", "processors": [byte_level, template] });
    check(both, eos.clone(), Some(1));
    // What comes first is a BOS.
    check(json!({ "type": "TemplateProcessing", "single": [pool, text] }), eos, None);
    let adds = |adds: bool| json!({ "eos_token": "<|end|>", "add_eos_token": adds });
    check(Value::Null, adds(true), Some(0));
    check(Value::Null, adds(false), None);
}
