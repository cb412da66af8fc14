//! Text that is built to be slow, and vocabularies that are built to break.

use std::time::{Duration, Instant};

use mizan::text::{Specials, TokenType, Tokenizer, TokenizerError, Vocabulary};

use super::{MODELS, tokenizer};

const LONG: usize = 1 << 18;

#[test]
fn long_text_takes_seconds_at_most_whatever_it_holds() {
    let fill = |unit: &str| unit.repeat(LONG / unit.len());
    let texts = [
        fill("a"),
        fill(" "),
        fill("\n"),
        fill("\r\n"),
        fill("1"),
        fill("!"),
        fill("ab"),
        fill("中"),
        fill("😀"),
        fill("\u{301}"),
        fill("<|im_end|>"),
        fill("<|im_end"),
        fill("<"),
        fill(" \n"),
        fill("'s"),
        fill("\u{3000}"),
        fill("The cat sat. "),
        format!("{}x", fill(" ")),
        format!("{}\n", fill("\t")),
        fill("\0"),
        fill("Aa"),
        fill("<unused1>"),
    ];
    for model in MODELS {
        let tokenizer = tokenizer(model);
        for text in &texts {
            let start = Instant::now();
            let ids = tokenizer.encode(text, Specials::Parse);
            let elapsed = start.elapsed();
            // Quadratic time would be many minutes.
            let begins: String = text.chars().take(12).collect();
            assert!(elapsed < Duration::from_secs(20), "{model}: {begins:?}: {elapsed:?}");
            let length: usize = ids.iter().map(|&id| tokenizer.token_bytes(id).len()).sum();
            assert_eq!(length, text.len(), "{model}: {begins:?} lost text");
        }
    }
}

fn small() -> Vocabulary {
    let tokens: Vec<String> = ["a", "b", "ab"].map(str::to_owned).into();
    let merges = vec!["a b".to_owned()];
    Vocabulary {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        token_types: vec![TokenType::Normal; tokens.len()],
        tokens,
        merges,
        ..Vocabulary::default()
    }
}

#[test]
fn a_damaged_vocabulary_is_an_error_that_says_what_is_wrong() {
    let check = |damage: fn(&mut Vocabulary), expected: &str| {
        let mut vocabulary = small();
        damage(&mut vocabulary);
        let error = Tokenizer::from_vocabulary(vocabulary).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    Tokenizer::from_vocabulary(small()).unwrap();
    check(|v| v.tokens.clear(), "no tokens");
    check(|v| v.token_types.truncate(1), "3 tokens but 1 token types");
    check(|v| v.merges.push("ab".into()), "merge 1, \"ab\"");
    check(|v| v.bos = Some(3), "bos token 3 is outside its 3 tokens");
    check(|v| v.tokens.push("a".into()), "token types");
    check(|v| v.tokens[1] = "a".into(), "\"a\" is both token 0 and token 1");
    check(|v| v.model = "llama".into(), "3 tokens but 0 scores");
    check(|v| v.model = "bert".into(), "\"bert\"");
    check(|v| v.pre = Some("klingon".into()), "\"klingon\"");
    check(|v| v.pre = Some("default".into()), "\"default\"");
}

#[test]
fn the_pre_tokenizer_must_be_named() {
    let error = Tokenizer::from_vocabulary(Vocabulary { pre: None, ..small() }).unwrap_err();
    assert_eq!(error, TokenizerError::UnknownPreTokenizer(String::new()));
}
