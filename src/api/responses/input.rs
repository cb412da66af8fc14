//! Items: what a conversation is made of on these routes, read as callers write them.
//!
//! An item is kept as it is given back (every key that clients require, and no others) beside what
//! it says. Items of answers are read by the same rules, so that they can be sent back as they are.
//!
//! Promises: an item that this server can not read is refused by its type, never left out.
//! Never knows: templates, where kept items lie.

use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::fields::{Fields, wrong};

/// Letters of an item's id, at most: what is longer is not one of ours, nor of OpenAI's.
pub(in super::super) const MAX_ID: usize = 128;

/// One element of `input`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Input {
    Item(Item),
    /// An item that an earlier response has.
    Reference {
        id: String,
        /// Of the id, in the body.
        path: String,
    },
}

/// An item of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// As it is given back; its `id` is null if it has none yet.
    pub(super) json: Value,
    pub(super) says: Says,
}

/// What an item says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Says {
    System(String),
    User(String),
    Assistant(String),
    /// What the assistant thought; empty where only its author can read it.
    Reasoning(String),
    Call {
        call_id: String,
        name: String,
        arguments: String,
    },
    Result {
        call_id: String,
        output: String,
    },
}

impl Item {
    /// A user's message.
    fn of_user(text: &str) -> Self {
        let content = json!([{ "type": "input_text", "text": text }]);
        Self { json: message(None, None, "user", &content), says: Says::User(text.to_owned()) }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.json["id"].as_str()
    }

    /// Gives the item an id, if it has none: its place `index` in the input of a generation.
    pub(super) fn with_id(mut self, generation: &str, index: usize) -> Self {
        if self.json["id"].is_null() {
            let prefix = match self.says {
                Says::System(_) | Says::User(_) | Says::Assistant(_) => "msg",
                Says::Reasoning(_) => "rs",
                Says::Call { .. } => "fc",
                Says::Result { .. } => "fco",
            };
            self.json["id"] = format!("{prefix}_{generation}_i{index}").into();
        }
        self
    }
}

/// Reads `input`; empty if it is not there.
pub(super) fn input_of(fields: &Fields<'_>) -> Result<Vec<Input>, ApiError> {
    let list = match fields.get("input") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![Input::Item(Item::of_user(text))]),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong("input", "a string or an array of items", other)),
    };
    let read = |(index, item)| {
        let fields = Fields::at(item, format!("input[{index}]"))?;
        let is_reference = match fields.string("type")? {
            Some(kind) => kind == "item_reference",
            // Also its short form.
            None => fields.get("role").is_none() && fields.get("id").is_some(),
        };
        if !is_reference {
            return item_of(&fields).map(Input::Item);
        }
        let id = fields.require("id", fields.string("id")?)?.to_owned();
        Ok(Input::Reference { id, path: fields.path("id") })
    };
    list.iter().enumerate().map(read).collect()
}

/// Reads one item.
pub(super) fn item_of(fields: &Fields<'_>) -> Result<Item, ApiError> {
    match fields.string("type")? {
        None | Some("message") => message_of(fields),
        Some("function_call") => call_of(fields),
        Some("function_call_output") => result_of(fields),
        Some("reasoning") => reasoning_of(fields),
        Some(other) => {
            let message = format!(
                "items of type '{other}' are not supported, only 'message', 'reasoning', \
                 'function_call', 'function_call_output' and 'item_reference'"
            );
            Err(fields.refuse("type", message))
        }
    }
}

fn message_of(fields: &Fields<'_>) -> Result<Item, ApiError> {
    let role = fields.require("role", fields.string("role")?)?;
    let texts = texts_of(fields, "content", &["input_text", "output_text", "text", "refusal"])?;
    let says = match role {
        "system" | "developer" => Says::System,
        "user" => Says::User,
        "assistant" => Says::Assistant,
        other => {
            let message =
                format!("'{other}' is no role; use one of system, developer, user, assistant");
            return Err(fields.refuse("role", message));
        }
    };
    let part = |text: &&str| match role {
        "assistant" => {
            json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
        }
        _ => json!({ "type": "input_text", "text": text }),
    };
    let content: Value = texts.iter().map(part).collect();
    let json = message(id_of(fields)?, status_of(fields)?, role, &content);
    Ok(Item { json, says: says(texts.join("\n")) })
}

fn message(id: Option<&str>, status: Option<&str>, role: &str, content: &Value) -> Value {
    let status = status.unwrap_or("completed");
    json!({ "type": "message", "id": id, "status": status, "role": role, "content": content })
}

fn call_of(fields: &Fields<'_>) -> Result<Item, ApiError> {
    let call_id = fields.require("call_id", fields.string("call_id")?)?;
    let name = fields.require("name", fields.string("name")?)?;
    let arguments = fields.require("arguments", fields.string("arguments")?)?;
    let json = json!({
        "type": "function_call",
        "id": id_of(fields)?,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status_of(fields)?.unwrap_or("completed"),
    });
    let (call_id, name, arguments) = (call_id.into(), name.into(), arguments.into());
    Ok(Item { json, says: Says::Call { call_id, name, arguments } })
}

fn result_of(fields: &Fields<'_>) -> Result<Item, ApiError> {
    let call_id = fields.require("call_id", fields.string("call_id")?)?;
    let texts = texts_of(fields, "output", &["input_text", "output_text", "text"])?;
    let output = match fields.get("output") {
        Some(Value::Array(_)) => {
            texts.iter().map(|text| json!({ "type": "input_text", "text": text })).collect()
        }
        _ => Value::from(texts.concat()),
    };
    let json = json!({
        "type": "function_call_output",
        "id": id_of(fields)?,
        "call_id": call_id,
        "output": output,
        "status": status_of(fields)?.unwrap_or("completed"),
    });
    let (call_id, output) = (call_id.into(), texts.join("\n"));
    Ok(Item { json, says: Says::Result { call_id, output } })
}

/// `encrypted_content`, which another server may have made, says nothing here.
fn reasoning_of(fields: &Fields<'_>) -> Result<Item, ApiError> {
    let read = |name, kind| match fields.get(name) {
        None => Ok(Vec::new()),
        Some(_) => texts_of(fields, name, &[kind]),
    };
    let summary = read("summary", "summary_text")?;
    let content = read("content", "reasoning_text")?;
    let part = |kind: &str, text: &str| json!({ "type": kind, "text": text });
    let json = json!({
        "type": "reasoning",
        "id": id_of(fields)?,
        "summary": summary.iter().map(|text| part("summary_text", text)).collect::<Value>(),
        "content": content.iter().map(|text| part("reasoning_text", text)).collect::<Value>(),
        "status": status_of(fields)?.unwrap_or("completed"),
    });
    let thought = if content.is_empty() { summary } else { content };
    Ok(Item { json, says: Says::Reasoning(thought.join("\n")) })
}

fn id_of<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, ApiError> {
    match fields.string("id")? {
        Some(id) if !(1..=MAX_ID).contains(&id.chars().count()) => {
            let (path, length) = (fields.path("id"), id.chars().count());
            let message = format!("'{path}' has {length} characters and takes 1 to {MAX_ID}");
            Err(fields.refuse("id", message))
        }
        id => Ok(id),
    }
}

fn status_of<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, ApiError> {
    match fields.string("status")? {
        None => Ok(None),
        Some(status @ ("in_progress" | "completed" | "incomplete")) => Ok(Some(status)),
        Some(other) => {
            let message =
                format!("'{other}' is none of 'in_progress', 'completed' and 'incomplete'");
            Err(fields.refuse("status", message))
        }
    }
}

/// A field that is a string or an array of parts, each of which is text of one of these `kinds`.
fn texts_of<'a>(fields: &Fields<'a>, name: &str, kinds: &[&str]) -> Result<Vec<&'a str>, ApiError> {
    let path = fields.path(name);
    let parts = match fields.require(name, fields.get(name))? {
        Value::String(text) => return Ok(vec![text.as_str()]),
        Value::Array(parts) => parts,
        other => return Err(wrong(&path, "a string or an array of parts", other)),
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let part = Fields::at(part, format!("{path}[{index}]"))?;
        let kind = part.require("type", part.string("type")?)?;
        if !kinds.contains(&kind) {
            let known = kinds.join(", ");
            let message = format!("parts of type '{kind}' are not supported here, only {known}");
            return Err(part.refuse("type", message));
        }
        let field = if kind == "refusal" { "refusal" } else { "text" };
        texts.push(part.require(field, part.string(field)?)?);
    }
    Ok(texts)
}
