//! What an answer has to look like, from the request's words to what the engine keeps to.
//! Promises: a grammar that can not be enforced is the caller's error, and names its field.
//! Never knows: which route it came on.

use super::error::ApiError;
use crate::engine::Constraint;
use crate::grammar::{self, Grammar, GrammarError};
use crate::registry::LoadedModel;

/// A grammar, and the field that it came in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Format {
    pub(super) grammar: Grammar,
    /// Path of the schema or text in the body.
    pub(super) field: String,
}

/// Why a format is not obeyed.
#[derive(Debug)]
pub(super) struct FormatError {
    field: String,
    why: GrammarError,
}

impl Format {
    /// What the model's engine keeps to. `lane`: who asks, for fairness only.
    pub(super) async fn compile(
        self,
        model: &LoadedModel,
        lane: u64,
    ) -> Result<Box<dyn Constraint>, FormatError> {
        let Self { grammar, field } = self;
        let compiled = grammar::compile(grammar, &model.grammar, lane).await;
        compiled.map_err(|why| FormatError { field, why })
    }
}

impl FormatError {
    /// Whether it is about some place in the grammar, and not about the time that it takes.
    pub(super) fn tells_a_place(&self) -> bool {
        !matches!(self.why, GrammarError::Busy { .. } | GrammarError::TooSlow { .. })
    }
}

impl From<FormatError> for ApiError {
    fn from(error: FormatError) -> Self {
        let FormatError { field, why } = error;
        if let GrammarError::Busy { max_secs } = why {
            return Self::TooBusy { max_secs };
        }
        let message = format!("'{field}' can not be enforced: {why}");
        Self::field(field, message)
    }
}
