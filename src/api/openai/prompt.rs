//! A prompt, or an input to embed, in any of the forms that OpenAI's older routes take: a string,
//! strings, token ids, or lists of ids.
//! Never knows: what is done with it.

use std::sync::Arc;

use serde_json::Value;

use super::super::AppState;
use super::super::error::ApiError;
use super::super::fields::{Fields, token_id, wrong};
use crate::registry::LoadedModel;
use crate::text::{Specials, Tokenizer};

/// One prompt as it was sent.
#[derive(Debug)]
pub(super) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// What text is encoded for. Ids are taken as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EncodeFor {
    /// To be continued: it may begin with a BOS.
    Continuation,
    /// To be made a vector of: it may also end with an EOS, on which the model pools.
    Embedding,
}

impl Prompt {
    /// Reads the field `name`.
    pub(super) fn read(fields: &Fields<'_>, name: &'static str) -> Result<Vec<Self>, ApiError> {
        let value = fields.require(name, fields.get(name))?;
        let expected = "a string, an array of strings, or token ids";
        let items = match value {
            Value::String(text) => return Ok(vec![Self::Text(text.clone())]),
            Value::Array(items) if !items.is_empty() => items,
            other => return Err(wrong(name, expected, other)),
        };
        if items[0].is_number() {
            return Ok(vec![Self::Ids(ids_of(value, name)?)]);
        }
        let mut prompts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{name}[{index}]");
            prompts.push(match item {
                Value::String(text) => Self::Text(text.clone()),
                Value::Array(_) => Self::Ids(ids_of(item, &path)?),
                other => return Err(wrong(&path, expected, other)),
            });
        }
        Ok(prompts)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            // Ids are only copied.
            Self::Ids(_) => 0,
        }
    }

    fn encode(&self, tokenizer: &Tokenizer, purpose: EncodeFor) -> Vec<u32> {
        match self {
            Self::Text(text) => {
                let mut ids: Vec<u32> = tokenizer.bos_prefix().into_iter().collect();
                ids.extend(tokenizer.encode(text, Specials::Plain));
                if purpose == EncodeFor::Embedding {
                    ids.extend(tokenizer.eos_suffix());
                }
                ids
            }
            Self::Ids(ids) => ids.clone(),
        }
    }

    /// The text as it was sent, or what the ids stand for.
    pub(super) fn into_text(self, tokenizer: &Tokenizer) -> String {
        match self {
            Self::Text(text) => text,
            Self::Ids(ids) => tokenizer.decode(&ids),
        }
    }
}

fn ids_of(list: &Value, path: &str) -> Result<Vec<u32>, ApiError> {
    let ids = list.as_array().into_iter().flatten();
    ids.map(|id| token_id(id).ok_or_else(|| wrong(path, "token ids", id))).collect()
}

/// The ids of what the field `name` held, each one of the model's, and what it held.
pub(super) async fn encode(
    state: &AppState,
    model: &Arc<LoadedModel>,
    name: &'static str,
    prompts: Vec<Prompt>,
    purpose: EncodeFor,
) -> Result<(Vec<Vec<u32>>, Vec<Prompt>), ApiError> {
    let bytes = prompts.iter().map(Prompt::bytes).sum();
    let tokenizer = model.tokenizer.clone();
    let encode = move || {
        let ids = prompts.iter().map(|prompt| prompt.encode(&tokenizer, purpose)).collect();
        (ids, prompts)
    };
    let (ids, prompts): (Vec<Vec<u32>>, _) = state.text_work(bytes, encode).await?;
    let vocab_size = model.tokenizer.vocab_size();
    if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= vocab_size) {
        let message = format!("token id {id} is not one of this model's {vocab_size}");
        return Err(ApiError::field(name, message));
    }
    Ok((ids, prompts))
}
