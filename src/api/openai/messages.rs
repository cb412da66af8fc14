//! `messages` of a chat completion, and the tools beside them, as the conversation has them.

use serde_json::{Map, Value, json};

use super::super::conversation::{Prompt, Tool, ToolChoice, ToolUse};
use super::super::error::ApiError;
use super::super::fields::{Fields, wrong};
use crate::text::ChatMessage;

/// Who may say something.
pub(in super::super) const ROLES: [&str; 6] =
    ["system", "developer", "user", "assistant", "tool", "function"];

/// Tools of one request, and the length of a name, at most: OpenAI's bounds.
pub(in super::super) const MAX_TOOLS: usize = 128;
pub(in super::super) const MAX_TOOL_NAME: usize = 64;

/// How much a model may be told to reason: OpenAI's words.
pub(in super::super) const EFFORTS: [&str; 7] =
    ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Reads `messages`, `tools` and `chat_template_kwargs` of a body of `bytes` length.
pub(in super::super) fn prompt_of(fields: &Fields<'_>, bytes: usize) -> Result<Prompt, ApiError> {
    let list = fields.require("messages", fields.array("messages")?)?;
    if list.is_empty() {
        return Err(fields.refuse("messages", "'messages' needs at least one message"));
    }
    let mut messages = Vec::with_capacity(list.len());
    for (index, message) in list.iter().enumerate() {
        messages.push(message_of(&Fields::at(message, format!("messages[{index}]"))?)?);
    }
    let variables = fields.fields("chat_template_kwargs")?;
    let mut variables = variables.map(|fields| fields.object().clone()).unwrap_or_default();
    let enable_thinking = enable_thinking(fields, &mut variables)?;
    let tools = tools_of(fields)?;
    let continues = continues(fields, &messages)?;
    Ok(Prompt { messages, field: "messages", tools, enable_thinking, continues, variables, bytes })
}

/// Whether the model should reason first: as `enable_thinking` says, or else the effort that is
/// asked for, which templates may read too.
fn enable_thinking(
    fields: &Fields<'_>,
    variables: &mut Map<String, Value>,
) -> Result<Option<bool>, ApiError> {
    let explicit = fields.boolean("enable_thinking")?;
    let explicit = explicit.or(variables.get("enable_thinking").and_then(Value::as_bool));
    // OpenRouter's object, or OpenAI's word; `reasoning` is text in messages only.
    let reasoning = fields.fields("reasoning")?;
    let (fields, name) = match &reasoning {
        Some(reasoning) if reasoning.get("effort").is_some() => (reasoning, "effort"),
        _ => (fields, "reasoning_effort"),
    };
    let Some(effort) = fields.string(name)? else { return Ok(explicit) };
    // Templates know three words for it.
    let (implied, word) = match effort {
        "none" => (Some(false), effort),
        "minimal" => (None, effort),
        "low" | "medium" | "high" => (Some(true), effort),
        "xhigh" | "max" => (Some(true), "high"),
        other => {
            let message = format!(
                "'{}' is {other:?} and must be one of {}",
                fields.path(name),
                EFFORTS.join(", ")
            );
            return Err(fields.refuse(name, message));
        }
    };
    variables.entry("reasoning_effort").or_insert_with(|| word.into());
    Ok(explicit.or(implied))
}

/// Whether the answer goes on with the last message: if that is the assistant's text, unless the
/// request says otherwise by vLLM's `continue_final_message` and `add_generation_prompt`.
fn continues(fields: &Fields<'_>, messages: &[ChatMessage]) -> Result<bool, ApiError> {
    let wanted = fields.boolean("continue_final_message")?;
    let has_prompt = fields.boolean("add_generation_prompt")?;
    if wanted == Some(true) && has_prompt == Some(true) {
        let message = "'continue_final_message' and 'add_generation_prompt' contradict each other";
        return Err(fields.refuse("continue_final_message", message));
    }
    let can = messages.last().is_some_and(|last| {
        last.role == "assistant"
            && last.content.as_deref().is_some_and(|text| !text.is_empty())
            && !last.extra.contains_key("tool_calls")
    });
    if wanted == Some(true) && !can {
        let message = "'continue_final_message' needs an assistant's text as the last message";
        return Err(fields.refuse("continue_final_message", message));
    }
    Ok(can && wanted != Some(false) && has_prompt != Some(true))
}

fn message_of(fields: &Fields<'_>) -> Result<ChatMessage, ApiError> {
    let role = fields.require("role", fields.string("role")?)?;
    if !ROLES.contains(&role) {
        let message = format!("'{role}' is no role; use one of {}", ROLES.join(", "));
        return Err(fields.refuse("role", message));
    }
    let mut extra = Map::new();
    for name in ["name", "tool_call_id"] {
        if let Some(text) = fields.string(name)? {
            extra.insert(name.to_owned(), text.into());
        }
    }
    // Clients send back either name, as they got it.
    let reasoning = fields.string("reasoning_content")?.or(fields.string("reasoning")?);
    if let Some(reasoning) = reasoning {
        extra.insert("reasoning_content".to_owned(), reasoning.into());
    }
    let tool_calls = tool_calls_of(fields)?;
    let content = match content_of(fields)? {
        // A turn that only calls tools has no text; elsewhere no text is empty text.
        None if !tool_calls.is_empty() => None,
        content => Some(content.unwrap_or_default()),
    };
    if !tool_calls.is_empty() {
        extra.insert("tool_calls".to_owned(), tool_calls.into());
    }
    // What OpenAI called them before, or does now; templates know one name.
    let role = match role {
        "developer" => "system",
        "function" => "tool",
        role => role,
    };
    Ok(ChatMessage { role: role.to_owned(), content, extra })
}

/// `tool_calls` of an assistant's turn, or `function_call`, which came before them.
fn tool_calls_of(fields: &Fields<'_>) -> Result<Vec<Value>, ApiError> {
    let called = |fields: Fields<'_>| -> Result<Value, ApiError> {
        let name = fields.require("name", fields.string("name")?)?;
        let arguments = match fields.get("arguments") {
            Some(arguments @ (Value::String(_) | Value::Object(_))) => arguments.clone(),
            None => "{}".into(),
            Some(other) => return Err(wrong(&fields.path("arguments"), "a string", other)),
        };
        Ok(json!({ "name": name, "arguments": arguments }))
    };
    let mut calls = Vec::new();
    for (index, call) in fields.array("tool_calls")?.into_iter().flatten().enumerate() {
        let call = Fields::at(call, format!("{}[{index}]", fields.path("tool_calls")))?;
        let function = called(call.require("function", call.fields("function")?)?)?;
        let id = call.string("id")?.unwrap_or_default();
        calls.push(json!({ "id": id, "type": "function", "function": function }));
    }
    if let Some(function) = fields.fields("function_call")?.filter(|_| calls.is_empty()) {
        calls.push(json!({ "id": "", "type": "function", "function": called(function)? }));
    }
    Ok(calls)
}

/// `content`: a string, or parts of which each is text; they are joined by line breaks.
fn content_of(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let parts = match fields.get("content") {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Array(parts)) => parts,
        Some(other) => {
            return Err(wrong(&fields.path("content"), "a string or an array of parts", other));
        }
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let part = Fields::at(part, format!("{}[{index}]", fields.path("content")))?;
        match part.require("type", part.string("type")?)? {
            "text" => texts.push(part.require("text", part.string("text")?)?),
            other => {
                let message = format!("parts of type '{other}' are not supported, only 'text'");
                return Err(part.refuse("type", message));
            }
        }
    }
    Ok(Some(texts.join("\n")))
}

/// `tools`, `tool_choice` and `parallel_tool_calls`.
fn tools_of(fields: &Fields<'_>) -> Result<ToolUse, ApiError> {
    let tools = tool_list(fields, tool_of)?;
    let choice = tool_choice_of(fields, &tools)?;
    let is_single = !fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    Ok(ToolUse { tools, choice, is_single })
}

/// `tools`, each as `tool_of` reads it and named differently.
pub(in super::super) fn tool_list(
    fields: &Fields<'_>,
    tool_of: impl Fn(&Fields<'_>) -> Result<Tool, ApiError>,
) -> Result<Vec<Tool>, ApiError> {
    let list = fields.array("tools")?.map_or(&[][..], Vec::as_slice);
    if list.len() > MAX_TOOLS {
        let message = format!("'tools' has {} tools and may have {MAX_TOOLS}", list.len());
        return Err(fields.refuse("tools", message));
    }
    let mut tools: Vec<Tool> = Vec::with_capacity(list.len());
    for (index, tool) in list.iter().enumerate() {
        let tool = tool_of(&Fields::at(tool, format!("tools[{index}]"))?)?;
        if tools.iter().any(|other| other.name == tool.name) {
            let message = format!("there are two tools named '{}'", tool.name);
            return Err(fields.refuse("tools", message));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn tool_of(fields: &Fields<'_>) -> Result<Tool, ApiError> {
    require_function(fields)?;
    function_of(&fields.require("function", fields.fields("function")?)?)
}

/// Refuses tools that only OpenAI's servers have.
pub(in super::super) fn require_function(fields: &Fields<'_>) -> Result<(), ApiError> {
    match fields.require("type", fields.string("type")?)? {
        "function" => Ok(()),
        kind => {
            let message = format!("tools of type '{kind}' are not supported, only 'function'");
            Err(fields.refuse("type", message))
        }
    }
}

/// `name`, `description`, `parameters` and `strict` of a function.
pub(in super::super) fn function_of(fields: &Fields<'_>) -> Result<Tool, ApiError> {
    Ok(Tool {
        name: tool_name(fields)?,
        description: fields.string("description")?.map(str::to_owned),
        parameters: fields.fields("parameters")?.map(|p| Value::Object(p.object().clone())),
        parameters_field: fields.path("parameters"),
        strict: fields.boolean("strict")?.unwrap_or(false),
    })
}

/// `name` of a tool: letters, digits, `_`, `-` and `.`, up to a bound.
fn tool_name(fields: &Fields<'_>) -> Result<String, ApiError> {
    let name = fields.require("name", fields.string("name")?)?;
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > MAX_TOOL_NAME || !name.chars().all(is_fit) {
        let message = format!(
            "a tool's name has 1 to {MAX_TOOL_NAME} letters, digits, '_', '-' and '.': {name:?}"
        );
        return Err(fields.refuse("name", message));
    }
    Ok(name.to_owned())
}

/// `tool_choice`: a word, or the tool to call.
fn tool_choice_of(fields: &Fields<'_>, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
    let choice = match fields.get("tool_choice") {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => choice_of_word(fields, word)?,
        Some(Value::Object(_)) => {
            let choice = fields.require("tool_choice", fields.fields("tool_choice")?)?;
            let function = choice.require("function", choice.fields("function")?)?;
            let name = function.require("name", function.string("name")?)?;
            ToolChoice::Named(name.to_owned())
        }
        Some(other) => return Err(wrong("tool_choice", "a string or an object", other)),
    };
    require_offered(fields, choice, tools)
}

/// `tool_choice` where it is a word.
pub(in super::super) fn choice_of_word(
    fields: &Fields<'_>,
    word: &str,
) -> Result<ToolChoice, ApiError> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        other => {
            let message = format!(
                "'tool_choice' is {other:?} and must be 'none', 'auto', 'required' or a tool"
            );
            Err(fields.refuse("tool_choice", message))
        }
    }
}

/// Refuses a choice that no tool can fulfil.
pub(in super::super) fn require_offered(
    fields: &Fields<'_>,
    choice: ToolChoice,
    tools: &[Tool],
) -> Result<ToolChoice, ApiError> {
    match &choice {
        ToolChoice::Required if tools.is_empty() => {
            Err(fields
                .refuse("tool_choice", "'tool_choice' requires a call, and there are no tools"))
        }
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool.name == *name) => {
            let message = format!("'tool_choice' names {name:?}, which is not among the tools");
            Err(fields.refuse("tool_choice", message))
        }
        _ => Ok(choice),
    }
}
