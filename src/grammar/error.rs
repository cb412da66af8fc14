//! Why a grammar cannot be used.
//! Promises: closed; the message says where and what is wrong, in words for whoever sent it.
//! Never knows: HTTP statuses.

/// Why a grammar cannot be used: the caller's doing, but for `Busy`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// It is longer than what is read.
    #[error("the {what} has {size} {unit}; at most {max} are taken: make it smaller")]
    TooLarge {
        /// "schema", "regular expression", ...
        what: &'static str,
        /// Its size.
        size: usize,
        /// What is counted.
        unit: &'static str,
        /// The bound.
        max: usize,
    },
    /// The schema is wrong, or asks for what cannot be enforced.
    #[error("the schema at {}: {why}", if .at.is_empty() { "its root" } else { .at })]
    Schema {
        /// JSON pointer to the place; empty for the root.
        at: String,
        /// What is wrong there.
        why: String,
    },
    /// The regular expression is wrong.
    #[error("the regular expression: {0}")]
    Regex(String),
    /// There is nothing to choose from.
    #[error("there is nothing to choose from: give at least one text")]
    NoChoice,
    /// The grammar is wrong.
    #[error("the grammar: {0}")]
    Lark(String),
    /// Pieces that cannot follow one another.
    #[error("the pieces: {0}")]
    Pieces(String),
    /// It needs more time or memory than a grammar may.
    #[error("the {what} is too complex: {why}; make it simpler")]
    TooComplex {
        /// "schema", "regular expression", ...
        what: &'static str,
        /// Which bound it broke.
        why: String,
    },
    /// It took longer than a grammar may.
    #[error("the {what} took longer than {max_secs} seconds to prepare; make it simpler")]
    TooSlow {
        /// "schema", "regular expression", ...
        what: &'static str,
        /// The bound.
        max_secs: u64,
    },
    /// Other grammars are being prepared; it may work later.
    #[error("no turn to prepare it came within {max_secs} seconds; try again shortly")]
    Busy {
        /// The bound.
        max_secs: u64,
    },
}
