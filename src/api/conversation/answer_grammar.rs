//! What the answers of a request have to look like, as one grammar: tool calls that are required
//! or have to fit their schemas, text of a format, or whichever of the two the model chooses;
//! behind its reasoning, which is free.
//! Promises: what it lets through is read as calls whose arguments fit, or as text of the format;
//! a schema that can not be enforced is the caller's error, and names its field.
//! Never knows: how calls are read.

use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::format::Format;
use super::tools::{Tool, ToolChoice, ToolUse};
use crate::engine::Constraint;
use crate::grammar::{Grammar, Piece};
use crate::registry::LoadedModel;
use crate::text::{AnswerFormat, CallShape, Opening, REASONING, REASONING_END, Tokenizer};

/// What a model writes behind its reasoning.
const BEHIND_REASONING: &str = "\n\n";

/// What the answers of a request have to look like.
#[derive(Debug)]
pub(super) struct AnswerGrammar {
    whole: Format,
    /// What of it the caller wrote, where it came in several fields.
    parts: Vec<Format>,
}

impl AnswerGrammar {
    /// `wanted`: what text has to look like. As OpenAI has it, a model that may call tools may do
    /// that instead; where it has to call some, there is no text. A pattern that ends the
    /// reasoning itself is one of the whole answer. `None`: the model answers as it likes.
    pub(super) fn new(
        tools: &ToolUse,
        wanted: Option<Format>,
        answers: &AnswerFormat,
        opening: Opening,
        tokenizer: &Tokenizer,
    ) -> Option<Self> {
        let must_call = matches!(tools.choice, ToolChoice::Required | ToolChoice::Named(_));
        let wanted = wanted.filter(|_| !must_call);
        let has_strict = tools.tools.iter().any(|tool| tool.strict);
        let offer = tools.offer(answers.syntax);
        let offer = offer.filter(|_| must_call || wanted.is_some() || has_strict);
        let writer = Writer { shape: answers.syntax.shape(), tokenizer };
        let covers_all = wanted.as_ref().is_some_and(|wanted| wanted.grammar.writes(REASONING_END));
        let mut pieces = match covers_all {
            true => Vec::new(),
            false => writer.reasoning(answers, opening, must_call || wanted.is_some()),
        };
        let mut parts: Vec<Format> = wanted.iter().cloned().collect();
        let text = wanted.map(|wanted| vec![Piece::Grammar(wanted.grammar)]);
        match (offer, text) {
            (None, None) => return None,
            (None, Some(_)) if pieces.is_empty() => {
                return parts.pop().map(|whole| Self { whole, parts });
            }
            (None, Some(text)) => pieces.extend(text),
            (Some(offer), text) => {
                let callable = callable(tools, must_call);
                parts.extend(callable.iter().map(Callable::format));
                let calls = match &text {
                    // Between two kinds of JSON nothing but JSON tells.
                    Some(_) if writer.shape.is_bare() => {
                        vec![Piece::OneOf(callable.iter().map(Callable::object).collect())]
                    }
                    _ => writer.calls(&callable, offer.is_single),
                };
                match text {
                    None if must_call => pieces.extend(calls),
                    Some(text) => pieces.push(Piece::OneOf(vec![calls, text])),
                    None => {
                        pieces.extend([Piece::FreeText, Piece::OneOf(vec![calls, Vec::new()])]);
                    }
                }
            }
        }
        let field = match &parts[..] {
            [only] => only.field.clone(),
            _ => "tools".to_owned(),
        };
        Some(Self { whole: Format { grammar: Grammar::Sequence(pieces), field }, parts })
    }

    /// What the model's engine keeps to. `lane`: for fairness only.
    pub(super) async fn compile(
        self,
        model: &LoadedModel,
        lane: u64,
    ) -> Result<Box<dyn Constraint>, ApiError> {
        let Self { whole, parts } = self;
        let refused = match whole.compile(model, lane).await {
            Err(refused) if refused.tells_a_place() => refused,
            outcome => return outcome.map_err(ApiError::from),
        };
        // The whole does not say which of them is wrong.
        for part in parts {
            part.compile(model, lane).await?;
        }
        Err(refused.into())
    }
}

/// A tool that a call may name.
struct Callable<'a> {
    name: &'a str,
    /// Of its arguments.
    schema: Value,
    /// Where the request has it.
    field: &'a str,
    strict: bool,
}

/// The tools that may be called.
fn callable(tools: &ToolUse, must_call: bool) -> Vec<Callable<'_>> {
    let is_callable = |tool: &Tool| match &tools.choice {
        ToolChoice::Named(name) => tool.name == *name,
        _ => true,
    };
    // A model that is free to call may call what is not strict as it likes.
    let schema_of = |tool: &Tool| match tool.strict || must_call {
        true => tool.parameters.clone().unwrap_or_else(no_arguments),
        false => json!({ "type": "object" }),
    };
    let callable = tools.tools.iter().filter(|tool| is_callable(tool));
    callable
        .map(|tool| Callable {
            name: &tool.name,
            schema: schema_of(tool),
            field: &tool.parameters_field,
            strict: tool.strict,
        })
        .collect()
}

fn no_arguments() -> Value {
    json!({ "type": "object", "properties": {}, "additionalProperties": false })
}

impl Callable<'_> {
    fn grammar(&self) -> Grammar {
        Grammar::JsonSchema { schema: self.schema.clone(), strict: self.strict }
    }

    fn format(&self) -> Format {
        Format { grammar: self.grammar(), field: self.field.to_owned() }
    }

    /// A whole call that is JSON and nothing else.
    fn object(&self) -> Vec<Piece> {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "const": self.name },
                "parameters": moved(&self.schema, "#/properties/parameters"),
            },
            "required": ["name", "parameters"],
            "additionalProperties": false,
        });
        vec![Piece::Grammar(Grammar::JsonSchema { schema, strict: self.strict })]
    }
}

/// `schema` as it is to stand at `place` of another one: what it refers to has moved with it.
fn moved(schema: &Value, place: &str) -> Value {
    match schema {
        Value::Object(entries) => entries
            .iter()
            .map(|(keyword, value)| {
                let value = match (keyword.as_str(), value) {
                    ("$ref", Value::String(reference)) => match reference.strip_prefix('#') {
                        Some(pointer) => format!("{place}{pointer}").into(),
                        None => value.clone(),
                    },
                    // Data, whatever it looks like.
                    ("const" | "enum" | "default" | "examples", _) => value.clone(),
                    _ => moved(value, place),
                };
                (keyword.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(|item| moved(item, place)).collect(),
        other => other.clone(),
    }
}

struct Writer<'a> {
    shape: CallShape,
    tokenizer: &'a Tokenizer,
}

impl Writer<'_> {
    /// One call or more of these tools.
    fn calls(&self, tools: &[Callable<'_>], is_single: bool) -> Vec<Piece> {
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

    fn one_of(&self, tools: &[Callable<'_>]) -> Vec<Piece> {
        let mut call = self.pieces(self.shape.begin);
        let with_arguments = tools.iter().map(|tool| {
            let mut pieces = vec![Piece::Text(tool.name.to_owned())];
            pieces.extend(self.pieces(self.shape.middle));
            pieces.push(Piece::Grammar(tool.grammar()));
            pieces
        });
        call.push(Piece::OneOf(with_arguments.collect()));
        call.extend(self.pieces(self.shape.end));
        call
    }

    /// What comes before all else, from a model that reasons. `is_constrained_at_once`: what comes
    /// behind it is not free text.
    fn reasoning(
        &self,
        answers: &AnswerFormat,
        opening: Opening,
        is_constrained_at_once: bool,
    ) -> Vec<Piece> {
        let end = || {
            let behind = Piece::Text(BEHIND_REASONING.to_owned());
            [Piece::FreeText, self.piece(REASONING_END), behind]
        };
        match opening {
            Opening::Reasoning if answers.reasons => end().into(),
            // Before free text it is free text too.
            Opening::Turn if answers.reasons && is_constrained_at_once => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_move_with_their_schema() {
        let schema = json!({
            "properties": {
                "a": { "$ref": "#/$defs/x" },
                "$ref": { "const": { "$ref": "#/$defs/x" } },
                "b": { "anyOf": [{ "$ref": "#" }, { "$ref": "https://example.com/#/x" }] },
            },
            "$defs": { "x": { "type": "null" } },
        });
        let expected = json!({
            "properties": {
                "a": { "$ref": "#/properties/p/$defs/x" },
                "$ref": { "const": { "$ref": "#/$defs/x" } },
                "b": { "anyOf": [
                    { "$ref": "#/properties/p" },
                    { "$ref": "https://example.com/#/x" },
                ] },
            },
            "$defs": { "x": { "type": "null" } },
        });
        assert_eq!(moved(&schema, "#/properties/p"), expected);
    }
}
