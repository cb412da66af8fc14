//! What an answer has to look like: `response_format`, and vLLM's fields for the same.
//! Promises: a schema or grammar that can not be enforced is refused by the name of its field.
//! Never knows: how a grammar is enforced.

use serde_json::Value;

use super::super::error::ApiError;
use super::super::fields::{Fields, wrong};
use super::super::format::Format;
use crate::grammar::Grammar;

/// Reads `response_format`, `structured_outputs` and the older `guided_...` fields; one of them at
/// most may ask for something.
pub(in super::super) fn format_of(fields: &Fields<'_>) -> Result<Option<Format>, ApiError> {
    let mut formats = Vec::new();
    formats.extend(response_format(fields)?);
    if let Some(outputs) = fields.fields("structured_outputs")? {
        if outputs.boolean("json_object")? == Some(true) {
            let field = outputs.path("json_object");
            formats.push(Format { grammar: Grammar::JsonObject, field });
        }
        formats.extend(constraints(&outputs, "")?);
    }
    formats.extend(constraints(fields, "guided_")?);
    if let [first, second, ..] = &formats[..] {
        let message = format!("'{}' and '{}' can not both be obeyed", first.field, second.field);
        return Err(ApiError::field(second.field.clone(), message));
    }
    Ok(formats.pop())
}

/// OpenAI's own field.
fn response_format(fields: &Fields<'_>) -> Result<Option<Format>, ApiError> {
    let Some(format) = fields.fields("response_format")? else { return Ok(None) };
    match format.require("type", format.string("type")?)? {
        "text" => Ok(None),
        "json_object" => {
            Ok(Some(Format { grammar: Grammar::JsonObject, field: format.path("type") }))
        }
        "json_schema" => {
            let wrapped = format.require("json_schema", format.fields("json_schema")?)?;
            json_schema(&wrapped).map(Some)
        }
        other => {
            let message = format!(
                "'{}' is {other:?} and must be 'text', 'json_object' or 'json_schema'",
                format.path("type")
            );
            Err(format.refuse("type", message))
        }
    }
}

/// `{"name", "schema", "strict"}`, as chat completions wrap it and responses have it.
pub(in super::super) fn json_schema(fields: &Fields<'_>) -> Result<Format, ApiError> {
    let schema = fields.require("schema", fields.get("schema"))?;
    let strict = fields.boolean("strict")?.unwrap_or(false);
    let grammar = Grammar::JsonSchema { schema: schema_of(fields, "schema", schema)?, strict };
    Ok(Format { grammar, field: fields.path("schema") })
}

/// `json`, `regex`, `choice` and `grammar`, each behind `prefix`.
fn constraints(fields: &Fields<'_>, prefix: &str) -> Result<Vec<Format>, ApiError> {
    let mut formats = Vec::new();
    let name = |kind: &str| format!("{prefix}{kind}");
    let mut add = |grammar, field: String| formats.push(Format { grammar, field });
    let json = name("json");
    if let Some(value) = fields.get(&json) {
        let schema = schema_of(fields, &json, value)?;
        add(Grammar::JsonSchema { schema, strict: false }, fields.path(&json));
    }
    let regex = name("regex");
    if let Some(text) = fields.string(&regex)? {
        add(Grammar::Regex(text.to_owned()), fields.path(&regex));
    }
    let choice = name("choice");
    if let Some(list) = fields.array(&choice)? {
        let of = |text: &Value| match text {
            Value::String(text) => Ok(text.clone()),
            other => Err(wrong(&fields.path(&choice), "an array of strings", other)),
        };
        let texts = list.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        add(Grammar::Choice(texts), fields.path(&choice));
    }
    let grammar = name("grammar");
    if let Some(text) = fields.string(&grammar)? {
        add(Grammar::Lark(text.to_owned()), fields.path(&grammar));
    }
    Ok(formats)
}

/// A schema: an object, `true`, or either of them as text.
fn schema_of(fields: &Fields<'_>, name: &str, value: &Value) -> Result<Value, ApiError> {
    match value {
        Value::Object(_) | Value::Bool(_) => Ok(value.clone()),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(schema),
            Ok(other) => Err(wrong(&fields.path(name), "a JSON schema", &other)),
            Err(error) => {
                let path = fields.path(name);
                Err(fields.refuse(name, format!("'{path}' is not JSON: {error}")))
            }
        },
        other => Err(wrong(&fields.path(name), "a JSON schema", other)),
    }
}
