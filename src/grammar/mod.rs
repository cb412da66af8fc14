//! Constrained output: a JSON schema, a regular expression or a grammar becomes a mask over token
//! ids, step by step.
//!
//! Promises: what a constraint lets through is a beginning of what the grammar describes, and ends
//! only where that is whole; a grammar of a stranger costs bounded time and memory, opens no file
//! and no connection, and cannot panic.
//! Never knows: HTTP, credits, which request it is for.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::Constraint;
use crate::text::Tokenizer;

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

/// A part of [`Grammar::Sequence`].
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// This text, in whatever tokens. A token of the vocabulary that is spelled so counts too if
    /// it is text; one that steers the model ([`Tokenizer::is_control`]) needs [`Piece::Token`].
    Text(String),
    /// This one token.
    Token(u32),
    /// JSON that fits a schema; keywords that cannot be enforced are ignored.
    Json(Value),
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

/// Why a grammar cannot be used. The caller's doing, all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// It is longer than what is read.
    #[error("the {what} has {size} bytes; at most {max} are read")]
    TooLarge {
        /// "schema", "regular expression", ...
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// The schema is wrong, or asks for what cannot be enforced.
    #[error("the schema at {}: {why}", if .at.is_empty() { "its root" } else { .at })]
    Schema {
        /// JSON pointer to the place; empty for the whole.
        at: String,
        /// What is wrong there.
        why: String,
    },
    /// The regular expression is wrong.
    #[error("the regular expression: {0}")]
    Regex(String),
    /// There is nothing to choose from, or too much.
    #[error("the choices: {0}")]
    Choice(String),
    /// The grammar is wrong.
    #[error("the grammar: {0}")]
    Lark(String),
    /// Pieces that cannot follow one another.
    #[error("the pieces: {0}")]
    Pieces(String),
    /// It needs more time or memory than a grammar may.
    #[error("the {what} is too complex: {why}; make it smaller")]
    TooComplex {
        /// "schema", "regular expression", ...
        what: &'static str,
        /// Which bound it broke.
        why: String,
    },
}

/// What grammars are compiled with: a model's tokens, and the grammars compiled last.
#[derive(Clone, Debug)]
pub struct Environment {
    tokenizer: Arc<Tokenizer>,
    vocab_size: usize,
}

impl Environment {
    /// For a model whose logits are `vocab_size` many; they may be more than the tokenizer's ids.
    pub fn new(tokenizer: Arc<Tokenizer>, vocab_size: usize) -> Self {
        Self { tokenizer, vocab_size }
    }
}

/// A constraint at its beginning. Clones of it are for further sequences.
///
/// Takes up to a second for large schemas: call it where blocking is allowed. Asked again for the
/// same grammar, it answers at once.
pub fn compile(
    grammar: &Grammar,
    environment: &Environment,
) -> Result<Box<dyn Constraint>, GrammarError> {
    let _ = (grammar, &environment.tokenizer, environment.vocab_size);
    Err(GrammarError::Lark("not built yet".to_owned()))
}
