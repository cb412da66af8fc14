//! Reads Hugging Face's `tokenizer.json` and `tokenizer_config.json`.
//! Promises: what the files ask for is done as Hugging Face's library does it, or refused by name.
//! Never knows: GGUF.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::TokenizerError;
use super::bpe::{Bpe, BpeOptions, byte_of};
use super::pretokenizer::Pretokenizer;
use super::special_tokens::SpecialToken;
use super::tokenizer::{Algorithm, Normalizer, Parts, SPACE_MARK, SpacePrefix, find_ends};
use super::vocabulary::TokenType;

/// Ids from here on are refused: no vocabulary is near, and the table is as long as the largest id.
const MAX_ID: u32 = 1 << 24;

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, u32>,
    #[serde(default)]
    merges: Vec<Merge>,
    unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// Older files join the two parts with a space.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Joined(String),
}

#[derive(Deserialize, Default)]
struct ConfigFile {
    bos_token: Option<TokenName>,
    eos_token: Option<TokenName>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenName {
    Plain(String),
    Described { content: String },
}

impl TokenName {
    fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Described { content: text } => text,
        }
    }
}

/// What the normalizer and the pre-tokenizer together ask for.
#[derive(Default)]
struct Steps {
    normalizer: Normalizer,
    pretokenizer: Pretokenizer,
    is_byte_level: bool,
}

pub(super) fn parse(tokenizer: &[u8], config: Option<&[u8]>) -> Result<Parts, TokenizerError> {
    let invalid = |file| {
        move |error: serde_json::Error| TokenizerError::InvalidJson { file, why: error.to_string() }
    };
    let file: TokenizerFile = serde_json::from_slice(tokenizer).map_err(invalid(TOKENIZER))?;
    let config: ConfigFile = match config {
        Some(bytes) => serde_json::from_slice(bytes).map_err(invalid(CONFIG))?,
        None => ConfigFile::default(),
    };
    check_model(&file.model)?;
    let mut steps = Steps::default();
    steps.read_normalizer(&file.normalizer)?;
    steps.read_pre_tokenizer(&file.pre_tokenizer)?;
    let (tokens, mut types) = tokens(&file)?;
    let id_of = |text: &str| {
        let added = file.added_tokens.iter().find(|token| token.content == text);
        added.map(|token| token.id).or_else(|| file.model.vocab.get(text).copied())
    };
    let first = first_special(&file.post_processor);
    let bos_text = config.bos_token.as_ref().map(TokenName::text).or(first);
    let bos = bos_text.and_then(id_of);
    let eos = config.eos_token.as_ref().and_then(|name| id_of(name.text()));
    let unknown = file.model.unk_token.as_deref().and_then(id_of);
    let is_added = |kind| kind != TokenType::Normal;
    let end_of_turn = find_ends(&tokens, &mut types, eos.into_iter(), is_added);
    let options = BpeOptions {
        pretokenizer: steps.pretokenizer,
        ignore_merges: file.model.ignore_merges,
        byte_level: steps.is_byte_level,
        // A control token must never come out of text.
        unknown: unknown.filter(|&id| types[id as usize] != TokenType::Control),
    };
    let bpe = Bpe::new(&tokens, &types, &merges(&file.model)?, options);
    Ok(Parts {
        specials: specials(&file.added_tokens, &types)?,
        tokens,
        types,
        algorithm: Algorithm::Bpe(bpe),
        normalizer: steps.normalizer,
        byte_level: steps.is_byte_level,
        bos,
        eos,
        add_bos: config.add_bos_token.unwrap_or(first.is_some() && first == bos_text),
        eos_suffix: last_special(&file.post_processor)
            .and_then(id_of)
            .or(eos.filter(|_| config.add_eos_token == Some(true))),
        end_of_turn,
    })
}

fn unsupported<T>(part: &'static str, value: &Value) -> Result<T, TokenizerError> {
    Err(TokenizerError::Unsupported { part, value: value.to_string() })
}

fn check_model(model: &Model) -> Result<(), TokenizerError> {
    let kind = model.kind.as_deref().unwrap_or("BPE"); // older files do not say
    if kind != "BPE" {
        return unsupported("model", &kind.into());
    }
    for affix in [&model.continuing_subword_prefix, &model.end_of_word_suffix] {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            return unsupported("affix of words", &affix.into());
        }
    }
    Ok(())
}

/// Spellings and types by id. Ids that the file leaves out have neither.
fn tokens(file: &TokenizerFile) -> Result<(Vec<String>, Vec<TokenType>), TokenizerError> {
    let plain = file.model.vocab.iter().map(|(text, &id)| (text, id, None));
    let added = file.added_tokens.iter().map(|token| (&token.content, token.id, Some(token)));
    let all = || plain.clone().chain(added.clone());
    let Some(last) = all().map(|(_, id, _)| id).max() else {
        return Err(TokenizerError::InvalidVocabulary("it has no tokens".into()));
    };
    if last >= MAX_ID {
        let why = format!("token id {last} is larger than {MAX_ID}");
        return Err(TokenizerError::InvalidVocabulary(why));
    }
    let mut tokens = vec![String::new(); last as usize + 1];
    let mut types = vec![TokenType::Unused; tokens.len()];
    for (text, id, added) in all() {
        let id = id as usize;
        tokens[id].clone_from(text);
        types[id] = match added {
            Some(token) if token.special => TokenType::Control,
            Some(_) => TokenType::UserDefined,
            None if file.model.byte_fallback && byte_of(text).is_some() => TokenType::Byte,
            None => TokenType::Normal,
        };
    }
    Ok((tokens, types))
}

fn merges(model: &Model) -> Result<Vec<(&str, &str)>, TokenizerError> {
    let invalid = |joined: &str| {
        let why = format!("merge {joined:?} is not two parts with a space between");
        TokenizerError::InvalidVocabulary(why)
    };
    let merges = model.merges.iter().map(|merge| match merge {
        Merge::Pair(left, right) => Ok((left.as_str(), right.as_str())),
        Merge::Joined(joined) => joined.split_once(' ').ok_or_else(|| invalid(joined)),
    });
    merges.collect()
}

fn specials(
    added: &[AddedToken],
    types: &[TokenType],
) -> Result<Vec<SpecialToken>, TokenizerError> {
    let special = |token: &AddedToken| {
        if token.single_word {
            return unsupported("single_word token", &token.content.as_str().into());
        }
        Ok(SpecialToken {
            id: token.id,
            text: token.content.clone(),
            is_control: types[token.id as usize] == TokenType::Control,
            strips_left: token.lstrip,
            strips_right: token.rstrip,
        })
    };
    added.iter().map(special).collect()
}

/// The special token that the post-processor puts in front of a text.
fn first_special(processor: &Value) -> Option<&str> {
    match processor["type"].as_str()? {
        "TemplateProcessing" => processor["single"][0]["SpecialToken"]["id"].as_str(),
        "Sequence" => processor["processors"].as_array()?.iter().find_map(first_special),
        _ => None,
    }
}

/// The special token that the post-processor puts after a text.
fn last_special(processor: &Value) -> Option<&str> {
    match processor["type"].as_str()? {
        "TemplateProcessing" => match processor["single"].as_array()?.as_slice() {
            [_, .., last] => last["SpecialToken"]["id"].as_str(),
            _ => None,
        },
        "Sequence" => processor["processors"].as_array()?.iter().find_map(last_special),
        _ => None,
    }
}

impl Steps {
    fn read_normalizer(&mut self, step: &Value) -> Result<(), TokenizerError> {
        let normalizer = &mut self.normalizer;
        match step["type"].as_str() {
            None if step.is_null() => {}
            Some("Sequence") => {
                for step in step["normalizers"].as_array().into_iter().flatten() {
                    self.read_normalizer(step)?;
                }
            }
            Some("NFC") => normalizer.composes = true,
            Some("Prepend") if step["prepend"] == SPACE_MARK => {
                normalizer.prefix = SpacePrefix::Always;
            }
            Some("Replace")
                if step["pattern"]["String"] == " " && step["content"] == SPACE_MARK =>
            {
                normalizer.marks_spaces = true;
            }
            _ => return unsupported("normalizer", step),
        }
        Ok(())
    }

    fn read_pre_tokenizer(&mut self, step: &Value) -> Result<(), TokenizerError> {
        let is = |name: &str, default: bool| step[name].as_bool().unwrap_or(default);
        if self.is_byte_level && !step.is_null() {
            return unsupported("pre-tokenizer after ByteLevel", step);
        }
        match step["type"].as_str() {
            None if step.is_null() => {}
            Some("Sequence") => {
                for step in step["pretokenizers"].as_array().into_iter().flatten() {
                    self.read_pre_tokenizer(step)?;
                }
            }
            Some("ByteLevel") => {
                if is("add_prefix_space", true) {
                    self.normalizer.prefix = SpacePrefix::IfMissing;
                }
                if is("use_regex", true) {
                    self.pretokenizer.push_gpt2();
                }
                self.is_byte_level = true;
            }
            Some("Digits") => {
                let digits = if is("individual_digits", false) { r"\p{N}" } else { r"\p{N}+" };
                self.pretokenizer.push(digits)?;
            }
            Some("Split") => return self.read_split(step),
            Some("Metaspace") if step["replacement"] == SPACE_MARK => {
                self.normalizer.marks_spaces = true;
                self.normalizer.prefix = match step["prepend_scheme"].as_str() {
                    Some("first") => SpacePrefix::IfMissingAtStart,
                    Some("never") => SpacePrefix::Never,
                    None if !is("add_prefix_space", true) => SpacePrefix::Never,
                    _ => SpacePrefix::IfMissing,
                };
                if is("split", true) {
                    self.pretokenizer.push("▁[^▁]*|[^▁]+")?;
                }
            }
            _ => return unsupported("pre-tokenizer", step),
        }
        Ok(())
    }

    fn read_split(&mut self, step: &Value) -> Result<(), TokenizerError> {
        // Gemma splits at spaces after they have all been replaced: never.
        if step["pattern"]["String"] == " " && self.normalizer.marks_spaces {
            return Ok(());
        }
        let is_isolated = step["behavior"] == "Isolated" && step["invert"] != true;
        match step["pattern"]["Regex"].as_str() {
            Some(pattern) if is_isolated => self.pretokenizer.push(pattern),
            _ => unsupported("pre-tokenizer", step),
        }
    }
}
