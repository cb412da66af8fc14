//! How the hidden states of a text become one vector, as far as a model's files say it.
//! Promises: what the files ask for beside a pooling (further layers, ranking) is never left out
//! silently: such a model gives no vectors, and says why.
//! Never knows: who asks for vectors; which pooling a model gets whose files say nothing.

use std::path::Path;

use serde_json::Value;

use super::error::{FileProblem, ModelError};
use super::weights::{GgufMetadata, read_text};

/// Which of a text's final hidden states make its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// That of the first token (of BERT's `[CLS]`, after which it is named elsewhere).
    First,
    /// That of the last token, which in a causal model is the only one that has read all.
    Last,
}

/// What a model's files say of pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredPooling {
    /// Nothing: a model made for something else, as a rule.
    Unsaid,
    /// It was trained for vectors that are made so.
    By(Pooling),
    /// It was trained for something that takes more than pooling; this is what.
    Unsupported(String),
}

/// Reads a GGUF file's `pooling_type`: llama.cpp's `llama_pooling_type`.
pub(super) fn pooling_of_gguf(metadata: &GgufMetadata) -> Result<DeclaredPooling, FileProblem> {
    let architecture = metadata.str("general.architecture")?.unwrap_or_default();
    Ok(match metadata.u32(&format!("{architecture}.pooling_type"))? {
        None | Some(0) => DeclaredPooling::Unsaid,
        Some(1) => DeclaredPooling::By(Pooling::Mean),
        Some(2) => DeclaredPooling::By(Pooling::First),
        Some(3) => DeclaredPooling::By(Pooling::Last),
        Some(4) => DeclaredPooling::Unsupported("it ranks texts".to_owned()),
        Some(kind) => DeclaredPooling::Unsupported(format!("its pooling is of type {kind}")),
    })
}

/// Reads what sentence-transformers writes beside the weights: the chain of modules, and how the
/// one that pools does it.
pub(super) fn pooling_of_folder(folder: &Path) -> Result<DeclaredPooling, ModelError> {
    if let Some(modules) = read_json(&folder.join("modules.json"))? {
        let kinds = modules.as_array().into_iter().flatten().map(module_kind);
        if let Some(other) = kinds.flatten().find(|kind| !COMPUTED_MODULES.contains(kind)) {
            let what = format!("its vectors pass a further module, {other}");
            return Ok(DeclaredPooling::Unsupported(what));
        }
    }
    let Some(pooling) = read_json(&folder.join("1_Pooling").join("config.json"))? else {
        return Ok(DeclaredPooling::Unsaid);
    };
    let modes = pooling.as_object().into_iter().flatten();
    let modes: Vec<&str> = modes
        .filter(|(name, value)| name.starts_with(MODE) && **value == Value::Bool(true))
        .map(|(name, _)| name[MODE.len()..].trim_end_matches("_tokens"))
        .collect();
    Ok(match modes[..] {
        ["mean"] => DeclaredPooling::By(Pooling::Mean),
        ["cls_token"] => DeclaredPooling::By(Pooling::First),
        ["lasttoken"] => DeclaredPooling::By(Pooling::Last),
        [] => DeclaredPooling::Unsupported("its pooling is of no known kind".to_owned()),
        _ => DeclaredPooling::Unsupported(format!("its pooling is {}", modes.join(" and "))),
    })
}

/// The start of the names of sentence-transformers' kinds of pooling.
const MODE: &str = "pooling_mode_";

/// sentence-transformers' modules that are computed here, by the last part of their `type`.
const COMPUTED_MODULES: [&str; 3] = ["Transformer", "Pooling", "Normalize"];

fn module_kind(module: &Value) -> Option<&str> {
    module["type"].as_str()?.rsplit('.').next()
}

/// A file's JSON; `None` if there is no such file.
fn read_json(path: &Path) -> Result<Option<Value>, ModelError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = read_text(path).map_err(|error| FileProblem::from(error).at(path))?;
    let value = serde_json::from_slice(&text)
        .map_err(|error| FileProblem::damaged(0, format!("not JSON: {error}")).at(path))?;
    Ok(Some(value))
}
