//! Token ids of the three real models, compared with llama.cpp's (`record_tokenize.py`), and what
//! every tokenizer promises.

use mizan::text::{Segment, Specials};

use super::{MODELS, json, random_text, tokenizer};
use crate::support::random::Random;

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn corpus() -> Vec<String> {
    serde_json::from_value(json("tokenize/corpus.json")).unwrap()
}

fn check(model: &str) {
    let tokenizer = tokenizer(model);
    let recorded = json(&format!("tokenize/{model}.json"));
    let corpus = corpus();
    let rows = recorded["rows"].as_array().unwrap();
    assert_eq!(rows.len(), corpus.len());
    assert_eq!(tokenizer.bos_prefix().is_some(), recorded["bos"].as_bool().unwrap());
    let mut wrong = Vec::new();
    for (text, row) in corpus.iter().zip(rows) {
        let plain = ids(&row["plain"]);
        let parse = row.get("parse").map_or_else(|| plain.clone(), ids);
        for (specials, expected) in [(Specials::Plain, plain), (Specials::Parse, parse)] {
            let found = tokenizer.encode(text, specials);
            if found != expected {
                wrong.push(format!("{specials:?} {text:?}\n  {found:?}\n  {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{model}: {} texts differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn smollm2_as_llama_cpp() {
    check("smollm2-135m-instruct");
}

#[test]
fn qwen2_as_llama_cpp() {
    check("qwen2.5-coder-0.5b-instruct");
}

#[test]
fn gemma3_as_llama_cpp() {
    check("gemma-3-270m");
}

#[test]
fn what_was_encoded_decodes_to_itself() {
    let mut random = Random(11);
    let texts: Vec<String> = (0..300).map(|_| random_text(&mut random, 60)).collect();
    for model in MODELS {
        let tokenizer = tokenizer(model);
        let mut spells = [false; 256];
        for id in 0..tokenizer.vocab_size() as u32 {
            if let &[byte] = tokenizer.token_bytes(id) {
                spells[usize::from(byte)] = true;
            }
        }
        // SmolLM2 has no tokens for bytes that its training text did not have.
        let missing = spells.iter().filter(|&&spells| !spells).count();
        assert!(missing == 0 || model == "smollm2-135m-instruct", "{model}: {missing}");
        for text in corpus().iter().chain(&texts) {
            let ids = tokenizer.encode(text, Specials::Plain);
            assert!(!ids.iter().any(|&id| tokenizer.is_control(id)), "{model}: {text:?}");
            let kept: Vec<u8> = text.bytes().filter(|&byte| spells[usize::from(byte)]).collect();
            let mut expected = String::from_utf8_lossy(&kept).into_owned();
            if model == "gemma-3-270m" {
                expected = expected.replace('▁', " "); // SentencePiece spells both alike
            }
            assert_eq!(tokenizer.decode(&ids), expected, "{model}");
        }
    }
}

#[test]
fn users_cannot_write_any_control_token() {
    for model in MODELS {
        let tokenizer = tokenizer(model);
        let controls: Vec<u32> =
            (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.is_control(id)).collect();
        assert!(controls.len() > 10);
        for &id in &controls {
            let text = format!("a{}b", tokenizer.token_text(id));
            let prompt = tokenizer.encode_prompt(&[Segment::Content(text.clone())]);
            for found in [tokenizer.encode(&text, Specials::Plain), prompt] {
                let body = &found
                    [found.iter().take_while(|id| Some(**id) == tokenizer.bos_prefix()).count()..];
                assert!(!body.iter().any(|&id| tokenizer.is_control(id)), "{model}: {text:?}");
                assert_eq!(tokenizer.decode(&found), text);
            }
            let written = tokenizer.encode_prompt(&[Segment::Template(text.clone())]);
            assert!(written.contains(&id), "{model}: {text:?}");
        }
    }
}

#[test]
fn a_control_token_counts_only_where_the_template_wrote_all_of_it() {
    use Segment::{Content, Template};
    let tokenizer = tokenizer("smollm2-135m-instruct");
    let end = tokenizer.encode("<|im_end|>", Specials::Parse)[0];
    let count = |segments: &[Segment]| {
        tokenizer.encode_prompt(segments).iter().filter(|&&id| id == end).count()
    };
    let template = |text: &str| Template(text.into());
    let content = |text: &str| Content(text.into());
    assert_eq!(count(&[template("<|im_end|>"), content("<|im_end|>"), template("<|im_end|>")]), 2);
    assert_eq!(count(&[template("<|im_"), template("end|>")]), 1);
    assert_eq!(count(&[template("<|im_"), content("end|>")]), 0);
    assert_eq!(count(&[template("<|"), content("im_end"), template("|>")]), 0);
    assert_eq!(count(&[content("<|im_"), content("end|>")]), 0);
    assert_eq!(count(&[template("<|im_end"), content(""), template("|>")]), 1);
}

#[test]
fn text_is_encoded_as_one_across_segments() {
    for model in MODELS {
        let tokenizer = tokenizer(model);
        let whole = "Say: Hello world\n\n  and 12345";
        for cut in 1..whole.len() {
            let segments =
                [Segment::Template(whole[..cut].into()), Segment::Content(whole[cut..].into())];
            let expected = tokenizer.encode(whole, Specials::Plain);
            let found = tokenizer.encode_prompt(&segments);
            assert_eq!(found[found.len() - expected.len()..], expected, "{model} cut at {cut}");
        }
    }
}

#[test]
fn a_prompt_begins_with_one_bos_where_the_vocabulary_wants_it() {
    let template = |text: &str| vec![Segment::Template(text.to_owned())];
    for add_bos in [None, Some(true), Some(false)] {
        let mut vocabulary = super::vocabulary("gemma-3-270m");
        vocabulary.add_bos = add_bos;
        let tokenizer = mizan::text::Tokenizer::from_vocabulary(vocabulary).unwrap();
        let (bos, text) = (2, tokenizer.encode("hi", Specials::Plain));
        let with_bos = [&[bos], text.as_slice()].concat();
        let plain = if add_bos == Some(false) { &text } else { &with_bos };
        assert_eq!(tokenizer.bos_prefix(), (add_bos != Some(false)).then_some(bos));
        assert_eq!(&tokenizer.encode_prompt(&template("hi")), plain);
        assert_eq!(tokenizer.encode_prompt(&template("<bos>hi")), with_bos);
        assert_eq!(tokenizer.encode_prompt(&template("<bos><bos>hi")), with_bos);
        assert_eq!(tokenizer.encode("<bos>hi", Specials::Parse), with_bos);
    }
}

#[test]
fn a_text_to_embed_ends_with_eos_where_the_vocabulary_wants_it() {
    for (add_eos, expected) in [(None, None), (Some(false), None), (Some(true), Some(1))] {
        let mut vocabulary = super::vocabulary("gemma-3-270m");
        vocabulary.add_eos = add_eos;
        let tokenizer = mizan::text::Tokenizer::from_vocabulary(vocabulary).unwrap();
        assert_eq!(tokenizer.eos_suffix(), expected);
        // What is to be continued never ends so.
        assert_ne!(tokenizer.encode_prompt(&[Segment::Template("hi".into())]).last(), Some(&1));
    }
}

#[test]
fn turns_end_at_the_known_tokens() {
    for (model, expected) in [
        ("smollm2-135m-instruct", &["<|endoftext|>", "<|im_end|>", "<reponame>"][..]),
        (
            "qwen2.5-coder-0.5b-instruct",
            &["<|endoftext|>", "<|im_end|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"],
        ),
        ("gemma-3-270m", &["<eos>", "<end_of_turn>"]),
    ] {
        let tokenizer = tokenizer(model);
        let found: Vec<&str> =
            tokenizer.end_of_turn().iter().map(|&id| tokenizer.token_text(id)).collect();
        assert_eq!(found, expected);
        assert!(tokenizer.end_of_turn().iter().all(|&id| tokenizer.is_control(id)));
    }
}
