//! Calls that a request requires, or wants to fit their tools' schemas, as a grammar.
//! Promises: what it lets through is read as calls whose arguments fit; a schema that can not be
//! enforced is the caller's error, and names the tool.
//! Never knows: how calls are read.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::AppState;
use super::super::error::ApiError;
use super::super::format::Format;
use super::tools::{Tool, ToolChoice, ToolUse};
use crate::engine::Constraint;
use crate::grammar::{Grammar, Piece};
use crate::registry::LoadedModel;
use crate::text::{AnswerFormat, CallShape, Opening, REASONING, REASONING_END, Tokenizer};

/// What a model writes behind its reasoning.
const BEHIND_REASONING: &str = "\n\n";

/// What the calls of an answer have to look like.
#[derive(Debug)]
pub(super) struct CallGrammar {
    grammar: Grammar,
    /// Schemas in it, and their places among the request's tools.
    schemas: Vec<(usize, Value)>,
    are_required: bool,
}

impl CallGrammar {
    /// `None`: the model calls what it likes, as it likes.
    pub(super) fn new(
        tools: &ToolUse,
        format: &AnswerFormat,
        opening: Opening,
        tokenizer: &Tokenizer,
    ) -> Option<Self> {
        let are_required = match tools.choice {
            ToolChoice::None => return None,
            ToolChoice::Auto if tools.tools.iter().all(|tool| !tool.strict) => return None,
            ToolChoice::Auto => false,
            ToolChoice::Required | ToolChoice::Named(_) => true,
        };
        let is_offered = |tool: &Tool| match &tools.choice {
            ToolChoice::Named(name) => tool.name == *name,
            _ => true,
        };
        let offered = tools.tools.iter().enumerate().filter(|(_, tool)| is_offered(tool));
        let offered: Vec<(usize, &Tool)> = offered.collect();
        // A model that is free to call may call what is not strict as it likes.
        let schema_of = |tool: &Tool| match tool.strict || are_required {
            true => tool.parameters.clone().unwrap_or_else(no_arguments),
            false => json!({ "type": "object" }),
        };
        let schemas: Vec<(usize, Value)> =
            offered.iter().map(|(index, tool)| (*index, schema_of(tool))).collect();
        let names = offered.iter().map(|(_, tool)| tool.name.as_str());
        let named: Vec<(&str, &Value)> =
            names.zip(schemas.iter().map(|(_, schema)| schema)).collect();
        let writer = Writer { shape: format.syntax.shape(), tokenizer };
        let is_single = tools.offer(format.syntax)?.is_single;
        let calls = writer.calls(&named, is_single);
        let mut pieces = writer.reasoning(format, opening, are_required);
        if are_required {
            pieces.extend(calls);
        } else {
            pieces.extend([Piece::FreeText, Piece::OneOf(vec![calls, Vec::new()])]);
        }
        Some(Self { grammar: Grammar::Sequence(pieces), schemas, are_required })
    }

    /// Whether an answer has to have a call.
    pub(super) fn are_required(&self) -> bool {
        self.are_required
    }

    /// What the model's engine keeps to.
    pub(super) async fn compile(
        self,
        state: &AppState,
        model: &Arc<LoadedModel>,
    ) -> Result<Box<dyn Constraint>, ApiError> {
        let Self { grammar, schemas, .. } = self;
        let compiled = Format { grammar, field: "tools".to_owned() }.compile(state, model).await;
        let Err(error) = compiled else { return compiled };
        // It does not say which of them is wrong.
        for (index, schema) in schemas {
            let grammar = Grammar::JsonSchema { schema, strict: false };
            let field = format!("tools[{index}].function.parameters");
            Format { grammar, field }.compile(state, model).await?;
        }
        Err(error)
    }
}

fn no_arguments() -> Value {
    json!({ "type": "object", "properties": {}, "additionalProperties": false })
}

struct Writer<'a> {
    shape: CallShape,
    tokenizer: &'a Tokenizer,
}

impl Writer<'_> {
    /// One call or more of these tools, by name and schema.
    fn calls(&self, tools: &[(&str, &Value)], is_single: bool) -> Vec<Piece> {
        let one = self.one_of(tools);
        let mut calls = Vec::new();
        if let Some(marker) = self.shape.list {
            let bracket = |text: &str| vec![Piece::Text(text.to_owned())];
            calls.push(self.piece(marker));
            calls.push(Piece::OneOf(vec![bracket("["), bracket(" [")]));
        }
        calls.extend(one.iter().cloned());
        if !is_single {
            let between = [self.shape.between].into_iter().filter(|text| !text.is_empty());
            let mut more: Vec<Piece> = between.map(|text| self.piece(text)).collect();
            more.extend(one);
            calls.push(Piece::Repeat { pieces: more, min: 0, max: None });
        }
        if self.shape.list.is_some() {
            calls.push(Piece::Text("]".to_owned()));
        }
        calls
    }

    fn one_of(&self, tools: &[(&str, &Value)]) -> Vec<Piece> {
        let mut call = self.pieces(self.shape.begin);
        let with_arguments = tools.iter().map(|(name, schema)| {
            let mut pieces = vec![Piece::Text((*name).to_owned())];
            pieces.extend(self.pieces(self.shape.middle));
            pieces.push(Piece::Json((*schema).clone()));
            pieces
        });
        call.push(Piece::OneOf(with_arguments.collect()));
        call.extend(self.pieces(self.shape.end));
        call
    }

    /// What comes before all else, from a model that reasons.
    fn reasoning(&self, format: &AnswerFormat, opening: Opening, is_all: bool) -> Vec<Piece> {
        let end = || {
            let behind = Piece::Text(BEHIND_REASONING.to_owned());
            [Piece::FreeText, self.piece(REASONING_END), behind]
        };
        match opening {
            Opening::Reasoning if format.reasons => end().into(),
            // Before free text it is free text too.
            Opening::Turn if format.reasons && is_all => {
                let mut whole = vec![self.piece(REASONING)];
                whole.extend(end());
                vec![Piece::OneOf(vec![whole, Vec::new()])]
            }
            _ => Vec::new(),
        }
    }

    fn pieces(&self, spellings: &[&str]) -> Vec<Piece> {
        spellings.iter().map(|spelling| self.piece(spelling)).collect()
    }

    fn piece(&self, spelling: &str) -> Piece {
        let id = self.tokenizer.control_id(spelling);
        id.map_or_else(|| Piece::Text(spelling.to_owned()), Piece::Token)
    }
}
