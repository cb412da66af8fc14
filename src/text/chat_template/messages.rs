//! Messages as templates expect them.

use serde_json::{Map, Value, json};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool`, or what else the template understands.
    pub role: String,
    /// The text; `None` for a turn that only calls tools.
    pub content: Option<String>,
    /// Further fields, in order: `tool_calls`, `name`, `tool_call_id`, `reasoning_content`.
    pub extra: Map<String, Value>,
}

impl ChatMessage {
    /// A turn that is text only.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), extra: Map::new() }
    }
}

/// The variable `messages`. With `folds_system`, system messages go in front of the next user's
/// turn, as llama.cpp does where a template refuses them.
pub(super) fn to_json(
    messages: &[ChatMessage],
    folds_system: bool,
    wants_text_arguments: bool,
) -> Vec<Value> {
    let mut list = Vec::with_capacity(messages.len());
    let mut folded = String::new(); // system text for the next user's turn
    for message in messages {
        let mut content = message.content.clone();
        if folds_system && message.role == "system" {
            append_line(&mut folded, content.as_deref().unwrap_or_default());
            continue;
        }
        if message.role == "user" && !folded.is_empty() {
            append_line(&mut folded, content.as_deref().unwrap_or_default());
            content = Some(std::mem::take(&mut folded));
        }
        let mut object = Map::new();
        object.insert("role".into(), message.role.as_str().into());
        object.insert("content".into(), content.into());
        for (name, value) in &message.extra {
            let mut value = value.clone();
            if name == "tool_calls" {
                convert_arguments(&mut value, wants_text_arguments);
            }
            object.insert(name.clone(), value);
        }
        list.push(Value::Object(object));
    }
    if !folded.is_empty() {
        list.push(json!({"role": "user", "content": folded}));
    }
    list
}

/// Makes the text of turns that have none the empty text.
pub(super) fn empty_missing_content(messages: &mut [Value]) {
    for content in messages.iter_mut().filter_map(|message| message.get_mut("content")) {
        if content.is_null() {
            *content = "".into();
        }
    }
}

/// Marks where the text of the last message ends, if it has one.
pub(super) fn mark_end(messages: &mut [Value]) {
    let content = messages.last_mut().and_then(|message| message.get_mut("content"));
    if let Some(Value::String(text)) = content {
        text.push(super::marks::CUT);
    }
}

/// Arguments are JSON in a string on the wire, an object in most templates.
fn convert_arguments(calls: &mut Value, wants_text: bool) {
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        match arguments {
            Value::String(text) if !wants_text => {
                if let Ok(parsed @ Value::Object(_)) = serde_json::from_str(text) {
                    *arguments = parsed;
                }
            }
            Value::Object(_) if wants_text => *arguments = super::python::to_json(arguments).into(),
            _ => {}
        }
    }
}

fn append_line(text: &mut String, line: &str) {
    if !text.is_empty() && !line.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}
