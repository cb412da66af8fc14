//! From the metadata of a GGUF file to the neutral [`Vocabulary`]: the names of the keys.
//! Never knows: how text is tokenized.

use crate::model::{FileProblem, GgufMetadata};
use crate::text::{TokenType, Vocabulary};

use super::LoadError;

/// The tokenizer that the file describes. Fails if a key is missing or holds what it should not.
pub fn vocabulary(metadata: &GgufMetadata) -> Result<Vocabulary, LoadError> {
    read(metadata).map_err(|problem| LoadError::Invalid(problem.to_string()))
}

fn read(metadata: &GgufMetadata) -> Result<Vocabulary, FileProblem> {
    let required = |key: &str| FileProblem::Setting {
        key: key.to_owned(),
        what: "is missing: the file has no tokenizer".to_owned(),
    };
    let key = "tokenizer.ggml.model";
    let model = metadata.str(key)?.ok_or_else(|| required(key))?.to_owned();
    let key = "tokenizer.ggml.tokens";
    let tokens = owned(metadata.str_array(key)?.ok_or_else(|| required(key))?);
    Ok(Vocabulary {
        model,
        pre: metadata.str("tokenizer.ggml.pre")?.map(str::to_owned),
        tokens,
        scores: metadata.f32_array("tokenizer.ggml.scores")?.unwrap_or_default(),
        token_types: token_types(metadata)?,
        merges: metadata.str_array("tokenizer.ggml.merges")?.map(owned).unwrap_or_default(),
        bos: metadata.u32("tokenizer.ggml.bos_token_id")?,
        eos: metadata.u32("tokenizer.ggml.eos_token_id")?,
        eot: metadata.u32("tokenizer.ggml.eot_token_id")?,
        eom: metadata.u32("tokenizer.ggml.eom_token_id")?,
        unknown: metadata.u32("tokenizer.ggml.unknown_token_id")?,
        add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
        add_eos: metadata.bool("tokenizer.ggml.add_eos_token")?,
        add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?,
    })
}

fn owned(strings: Vec<&str>) -> Vec<String> {
    strings.into_iter().map(str::to_owned).collect()
}

fn token_types(metadata: &GgufMetadata) -> Result<Vec<TokenType>, FileProblem> {
    let key = "tokenizer.ggml.token_type";
    let numbers = metadata.i32_array(key)?.unwrap_or_default();
    let kind = |(token, &number): (usize, &i32)| {
        TokenType::from_gguf(number).ok_or_else(|| FileProblem::Setting {
            key: key.to_owned(),
            what: format!("is {number} for token {token}; the format defines 0 to 6"),
        })
    };
    numbers.iter().enumerate().map(kind).collect()
}
