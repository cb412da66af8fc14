//! A tokenizer's data in neutral form, whatever file it came from.
//! Promises: nothing; `Tokenizer::from_vocabulary` checks it.
//! Never knows: file formats, models.

use super::{FastMap, TokenizerError};

/// What a token is for, numbered as in `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// Ordinary text.
    Normal,
    /// Stands for text that no token spells. Shown as its own text.
    Unknown,
    /// Steers the model (`<|im_end|>`, `<bos>`): never read out of users' text, never shown.
    Control,
    /// Added text that is always one token (`<tool_call>`, runs of spaces): shown.
    UserDefined,
    /// A reserved id without text.
    Unused,
    /// One byte, spelled `<0x0A>`.
    Byte,
}

impl TokenType {
    /// The type numbered `id`; `None` if the format defines no such number.
    pub fn from_gguf(id: i32) -> Option<Self> {
        Some(match id {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            0 | 5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// The tokenizer's part of a model file.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    /// The algorithm: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// How BPE splits text before merging (`tokenizer.ggml.pre`).
    pub pre: Option<String>,
    /// Each token's spelling; its index is its id.
    pub tokens: Vec<String>,
    /// SentencePiece's merge scores, highest first; `[tokens.len()]`, or empty for BPE.
    pub scores: Vec<f32>,
    /// `[tokens.len()]`, or empty: all normal.
    pub token_types: Vec<TokenType>,
    /// BPE's merges, `left right`, most important first.
    pub merges: Vec<String>,
    /// Begins a sequence.
    pub bos: Option<u32>,
    /// Ends a sequence.
    pub eos: Option<u32>,
    /// Ends a turn.
    pub eot: Option<u32>,
    /// Ends a message that a tool answers.
    pub eom: Option<u32>,
    /// Stands for what cannot be spelled.
    pub unknown: Option<u32>,
    /// Whether `bos` begins every prompt; `None`: the algorithm's default.
    pub add_bos: Option<bool>,
    /// Whether `eos` ends a text that is embedded.
    pub add_eos: Option<bool>,
    /// Whether SentencePiece puts a space before text; `None`: it does.
    pub add_space_prefix: Option<bool>,
}

impl Vocabulary {
    /// Checks that lists fit one another and that the named ids exist.
    pub(super) fn check(&self) -> Result<(), TokenizerError> {
        let count = self.tokens.len();
        let invalid = |why: String| Err(TokenizerError::InvalidVocabulary(why));
        if count == 0 {
            return invalid("it has no tokens".into());
        }
        if u32::try_from(count).is_err() {
            return invalid(format!("it has {count} tokens, more than 32-bit ids"));
        }
        let types = self.token_types.len();
        if types != 0 && types != count {
            return invalid(format!("it has {count} tokens but {types} token types"));
        }
        let mut ids = FastMap::with_capacity_and_hasher(count, Default::default());
        for (id, text) in self.tokens.iter().enumerate() {
            // Text could stand for either of the two.
            if let Some(first) = ids.insert(text.as_str(), id) {
                return invalid(format!("{text:?} is both token {first} and token {id}"));
            }
        }
        let named = [
            ("bos", self.bos),
            ("eos", self.eos),
            ("eot", self.eot),
            ("eom", self.eom),
            ("unknown", self.unknown),
        ];
        for (name, id) in named {
            if let Some(id) = id.filter(|&id| id as usize >= count) {
                return invalid(format!("{name} token {id} is outside its {count} tokens"));
            }
        }
        Ok(())
    }
}
