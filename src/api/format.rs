//! What an answer has to look like, from the request's words to what the engine keeps to.
//! Promises: a grammar that can not be enforced is the caller's error, and names its field.
//! Never knows: which route it came on.

use std::sync::Arc;

use super::AppState;
use super::error::ApiError;
use crate::engine::Constraint;
use crate::grammar::{self, Grammar};
use crate::registry::LoadedModel;

/// A grammar, and the field that it came in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Format {
    pub(super) grammar: Grammar,
    /// Path of the schema or text in the body.
    pub(super) field: String,
}

impl Format {
    /// What the model's engine keeps to; compiled where blocking is allowed.
    pub(super) async fn compile(
        self,
        state: &AppState,
        model: &Arc<LoadedModel>,
    ) -> Result<Box<dyn Constraint>, ApiError> {
        let environment = model.grammar.clone();
        let Self { grammar, field } = self;
        let compile = move || grammar::compile(&grammar, &environment);
        let compiled = state.slow_text_work(compile).await?;
        compiled.map_err(|error| {
            let message = format!("'{field}' can not be enforced: {error}");
            ApiError::field(field, message)
        })
    }
}
