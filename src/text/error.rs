//! Why a tokenizer could not be built. Encoding and decoding themselves cannot fail.

use super::pretokenizer::KNOWN;

/// A vocabulary or `tokenizer.json` that this build cannot tokenize with exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.ggml.model` names an algorithm that is not implemented.
    #[error("tokenizer model {0:?} is not supported; \"gpt2\" and \"llama\" are")]
    UnknownModel(String),
    /// `tokenizer.ggml.pre` names no known pre-tokenizer. Guessing one would give wrong ids.
    #[error("pre-tokenizer {0:?} is not supported; supported are {known}", known = KNOWN)]
    UnknownPreTokenizer(String),
    /// The file's lists contradict one another.
    #[error("invalid vocabulary: {0}")]
    InvalidVocabulary(String),
    /// `tokenizer.json` or `tokenizer_config.json` is not valid JSON of the expected form.
    #[error("invalid {file}: {why}")]
    InvalidJson {
        /// Which of the two files.
        file: &'static str,
        /// What is wrong, with the place where known.
        why: String,
    },
    /// `tokenizer.json` asks for a step that is not implemented.
    #[error("tokenizer.json: {part} {value} is not supported")]
    Unsupported {
        /// The step: normalizer, pre-tokenizer, model.
        part: &'static str,
        /// What the file says.
        value: String,
    },
}
