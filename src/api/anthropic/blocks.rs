//! From Anthropic's turns of content blocks to the messages that chat templates expect.
//!
//! A turn is one message there, whatever is in it; in templates a tool's result is a message of its
//! own, which comes before what the user says in the same turn.
//!
//! Promises: a block that this server can not read is refused by its type, never left out.
//! Never knows: tokens, models.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::conversation::{Prompt, add_system, append_line};
use super::super::error::ApiError;
use super::super::fields::{Fields, wrong};
use super::tools::tools_of;
use crate::text::ChatMessage;

/// How a line of Claude Code's begins that tells Anthropic whom to bill. It is no prompt, and
/// differs from request to request, so that no prefix of the prompt would be cached.
const BILLING_LINE: &str = "x-anthropic-billing-header:";

/// Reads all fields that make the prompt of a body of `bytes` length.
pub(super) fn prompt_of(fields: &Fields<'_>, bytes: usize) -> Result<Prompt, ApiError> {
    let list = fields.require("messages", fields.array("messages")?)?;
    if list.is_empty() {
        return Err(fields.refuse("messages", "'messages' needs at least one message"));
    }
    let mut conversation = Conversation::default();
    if fields.get("system").is_some() {
        let texts = texts_of(fields, "system")?;
        let texts = texts.into_iter().filter(|text| !text.starts_with(BILLING_LINE));
        conversation.system(&texts.collect::<Vec<_>>());
    }
    for (index, message) in list.iter().enumerate() {
        conversation.take(&Fields::at(message, format!("messages[{index}]"))?)?;
    }
    let messages = conversation.messages;
    let continues = messages.last().is_some_and(|last| {
        last.role == "assistant"
            && last.content.as_deref().is_some_and(|text| !text.is_empty())
            && !last.extra.contains_key("tool_calls")
    });
    Ok(Prompt {
        messages,
        field: "messages",
        tools: tools_of(fields)?,
        enable_thinking: thinking_of(fields)?,
        continues,
        variables: variables_of(fields)?,
        bytes,
    })
}

/// `thinking`: how much of it there may be is the model's own affair.
fn thinking_of(fields: &Fields<'_>) -> Result<Option<bool>, ApiError> {
    let Some(thinking) = fields.fields("thinking")? else { return Ok(None) };
    match thinking.require("type", thinking.string("type")?)? {
        "enabled" | "adaptive" => Ok(Some(true)),
        "disabled" => Ok(Some(false)),
        other => {
            let message = format!("'{other}' is none of 'enabled', 'adaptive' and 'disabled'");
            Err(thinking.refuse("type", message))
        }
    }
}

/// `output_config.effort`, by the name that templates have for it.
fn variables_of(fields: &Fields<'_>) -> Result<Map<String, Value>, ApiError> {
    let mut variables = Map::new();
    let Some(config) = fields.fields("output_config")? else { return Ok(variables) };
    let effort = match config.string("effort")? {
        None => return Ok(variables),
        Some(effort @ ("low" | "medium" | "high")) => effort,
        // No template knows of more.
        Some("xhigh" | "max") => "high",
        Some(other) => {
            let message =
                format!("'{other}' is none of 'low', 'medium', 'high', 'xhigh' and 'max'");
            return Err(config.refuse("effort", message));
        }
    };
    variables.insert("reasoning_effort".to_owned(), effort.into());
    Ok(variables)
}

/// What has been read.
#[derive(Debug, Default)]
struct Conversation {
    messages: Vec<ChatMessage>,
    /// The tools that were called, by the ids of the calls: some templates want a result's name.
    called: HashMap<String, String>,
}

impl Conversation {
    fn take(&mut self, fields: &Fields<'_>) -> Result<(), ApiError> {
        match fields.require("role", fields.string("role")?)? {
            "user" => self.user(fields),
            "assistant" => self.assistant(fields),
            "system" => {
                self.system(&texts_of(fields, "content")?);
                Ok(())
            }
            other => {
                let message = format!("'{other}' is no role; use one of user, assistant, system");
                Err(fields.refuse("role", message))
            }
        }
    }

    fn system(&mut self, texts: &[&str]) {
        if !texts.is_empty() {
            add_system(&mut self.messages, &texts.join("\n"));
        }
    }

    fn user(&mut self, fields: &Fields<'_>) -> Result<(), ApiError> {
        let (mut texts, mut has_results) = (Vec::new(), false);
        for block in blocks_of(fields, "content")? {
            match block {
                Block::Text(text) => texts.push(text),
                Block::Other("tool_result", block) => {
                    self.tool_result(&block)?;
                    has_results = true;
                }
                Block::Other(kind, block) => return Err(unreadable(kind, &block)),
            }
        }
        if texts.is_empty() && has_results {
            return Ok(());
        }
        let text = texts.join("\n");
        match self.messages.last_mut() {
            // Turns of one speaker are one turn.
            Some(ChatMessage { role, content: Some(content), .. }) if role == "user" => {
                append_line(content, &text);
            }
            _ => self.messages.push(ChatMessage::new("user", text)),
        }
        Ok(())
    }

    fn tool_result(&mut self, fields: &Fields<'_>) -> Result<(), ApiError> {
        let id = fields.require("tool_use_id", fields.string("tool_use_id")?)?;
        let mut content = match fields.get("content") {
            None => String::new(),
            Some(_) => texts_of(fields, "content")?.join("\n"),
        };
        if fields.boolean("is_error")?.unwrap_or(false) {
            // Templates have no other way to tell it.
            content.insert_str(0, "Error: ");
        }
        let mut message = ChatMessage::new("tool", content);
        message.extra.insert("tool_call_id".to_owned(), id.into());
        if let Some(name) = self.called.get(id) {
            message.extra.insert("name".to_owned(), name.as_str().into());
        }
        self.messages.push(message);
        Ok(())
    }

    fn assistant(&mut self, fields: &Fields<'_>) -> Result<(), ApiError> {
        let (mut text, mut reasoning, mut calls) = (None::<String>, String::new(), Vec::new());
        for block in blocks_of(fields, "content")? {
            match block {
                // What stood between these blocks was no text.
                Block::Text(more) => text.get_or_insert_default().push_str(more),
                Block::Other("thinking", block) => {
                    let more = block.require("thinking", block.string("thinking")?)?;
                    append_line(&mut reasoning, more);
                }
                // Encrypted for other models.
                Block::Other("redacted_thinking", _) => {}
                Block::Other("tool_use", block) => calls.push(self.tool_use(&block)?),
                Block::Other(kind, block) => return Err(unreadable(kind, &block)),
            }
        }
        if text.is_none() && calls.is_empty() {
            text = Some(String::new());
        }
        let message = self.assistants_turn();
        match (&mut message.content, text) {
            (Some(content), Some(text)) => append_line(content, &text),
            (content, text) => *content = content.take().or(text),
        }
        if !reasoning.is_empty() {
            let entry = message.extra.entry("reasoning_content");
            if let Value::String(before) = entry.or_insert_with(|| "".into()) {
                append_line(before, &reasoning);
            }
        }
        if !calls.is_empty() {
            let entry = message.extra.entry("tool_calls");
            if let Value::Array(before) = entry.or_insert_with(|| json!([])) {
                before.extend(calls);
            }
        }
        Ok(())
    }

    /// The assistant's turn that is last, or else a new one without anything.
    fn assistants_turn(&mut self) -> &mut ChatMessage {
        if self.messages.last().is_none_or(|last| last.role != "assistant") {
            let role = "assistant".to_owned();
            self.messages.push(ChatMessage { role, content: None, extra: Map::new() });
        }
        self.messages.last_mut().expect("there is one now")
    }

    fn tool_use(&mut self, fields: &Fields<'_>) -> Result<Value, ApiError> {
        let id = fields.require("id", fields.string("id")?)?;
        let name = fields.require("name", fields.string("name")?)?;
        let input = fields.fields("input")?;
        let input = input.map(|input| input.object().clone()).unwrap_or_default();
        self.called.insert(id.to_owned(), name.to_owned());
        let function = json!({ "name": name, "arguments": input });
        Ok(json!({ "id": id, "type": "function", "function": function }))
    }
}

/// One block of a turn.
enum Block<'a> {
    Text(&'a str),
    /// Its type, and what is in it.
    Other(&'a str, Fields<'a>),
}

/// A field that is a string or an array of blocks.
fn blocks_of<'a>(fields: &Fields<'a>, name: &str) -> Result<Vec<Block<'a>>, ApiError> {
    let path = fields.path(name);
    let list = match fields.require(name, fields.get(name))? {
        Value::String(text) => return Ok(vec![Block::Text(text)]),
        Value::Array(list) => list,
        other => return Err(wrong(&path, "a string or an array of blocks", other)),
    };
    let read = |(index, block): (usize, &'a Value)| {
        let block = Fields::at(block, format!("{path}[{index}]"))?;
        match block.require("type", block.string("type")?)? {
            "text" => Ok(Block::Text(block.require("text", block.string("text")?)?)),
            kind => Ok(Block::Other(kind, block)),
        }
    };
    list.iter().enumerate().map(read).collect()
}

/// A field that is a string or an array of blocks of text.
fn texts_of<'a>(fields: &Fields<'a>, name: &str) -> Result<Vec<&'a str>, ApiError> {
    let text = |block| match block {
        Block::Text(text) => Ok(text),
        Block::Other(kind, block) => Err(unreadable(kind, &block)),
    };
    blocks_of(fields, name)?.into_iter().map(text).collect()
}

fn unreadable(kind: &str, block: &Fields<'_>) -> ApiError {
    let message = format!("blocks of type '{kind}' are not supported here: send them as text");
    block.refuse("type", message)
}
