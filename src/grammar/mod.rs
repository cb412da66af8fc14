//! Constrained output: a JSON schema, a regular expression or a grammar becomes a mask over token
//! ids, step by step.
//!
//! Promises: what a constraint lets through is a beginning of what the grammar describes, and ends
//! only where that is whole; a grammar of a stranger costs bounded time and memory, opens no file
//! and no connection, and cannot panic.
//! Never knows: HTTP, credits, which request it is for.

mod compile;
mod constraint;
mod digest;
mod environment;
mod error;
mod expansion;
mod pattern;
mod pieces;
mod pool;
mod schema;
mod token_table;
mod turns;

use serde_json::Value;

pub use compile::compile;
pub use environment::Environment;
pub use error::GrammarError;

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema (2020-12 and the drafts before it).
    JsonSchema {
        /// The schema. A `$ref` points into it: `#/$defs/...`.
        schema: Value,
        /// Whether a keyword that cannot be enforced is an error; else it is ignored.
        strict: bool,
    },
    /// Text that matches a regular expression from beginning to end.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A grammar in the Lark syntax of llguidance, from its rule `start`.
    Lark(String),
    /// These parts one after the other.
    Sequence(Vec<Piece>),
}

impl Grammar {
    /// Whether what the caller wrote spells `mark` itself, as a pattern with marks in it does.
    pub fn writes(&self, mark: &str) -> bool {
        match self {
            Self::Regex(text) | Self::Lark(text) => text.contains(mark),
            Self::Choice(texts) => texts.iter().any(|text| text.contains(mark)),
            Self::JsonObject | Self::JsonSchema { .. } | Self::Sequence(_) => false,
        }
    }
}

/// A part of [`Grammar::Sequence`].
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// This text, in whatever tokens. A token of the vocabulary that is spelled so counts too if
    /// it is text; one that steers the model ([`crate::text::Tokenizer::is_control`]) needs
    /// [`Piece::Token`].
    Text(String),
    /// This one token.
    Token(u32),
    /// What this grammar describes, which is no [`Grammar::Sequence`] itself.
    Grammar(Grammar),
    /// Any text, or none, that does not contain the beginning of what follows: what follows begins
    /// as soon as its marker is there. So that must begin with [`Piece::Text`] or
    /// [`Piece::Token`], in all its alternatives. If what follows may be nothing, the answer may
    /// be this text alone.
    FreeText,
    /// One of these.
    OneOf(Vec<Vec<Piece>>),
    /// These parts, `min` to `max` times; `None`: as often as you like.
    Repeat {
        /// What is repeated.
        pieces: Vec<Piece>,
        /// At least so often.
        min: usize,
        /// At most so often.
        max: Option<usize>,
    },
}
