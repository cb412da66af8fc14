//! Conversations about tools for templates that know of none, and in ids that templates take.
//!
//! Never knows: HTTP, which model reads them.

use serde_json::{Map, Value};

use super::super::chat_template::{ChatMessage, to_json};
use super::ToolSyntax;

const BEFORE_TOOLS: &str = "# Tools\n\nYou may call one or more functions to assist with the user \
    query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>";

const AFTER_TOOLS: &str = "\n</tools>\n\nFor each function call, return a json object with \
    function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n\
    {\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>";

/// `messages` for a template that does not know tools: a system turn describes them as Qwen's
/// templates do, calls and results are text.
pub(in super::super) fn tool_turns(
    messages: &[ChatMessage],
    tools: Option<&Value>,
) -> Vec<ChatMessage> {
    let mut turns: Vec<ChatMessage> = Vec::with_capacity(messages.len() + 1);
    // Results, and what the user says behind them, are one turn: roles have to alternate.
    let mut has_results = false;
    for message in messages {
        let content = message.content.as_deref().unwrap_or_default();
        match message.role.as_str() {
            "tool" => {
                let result = format!("<tool_response>\n{content}\n</tool_response>");
                match turns.last_mut().filter(|_| has_results) {
                    Some(turn) => append(turn, &result),
                    None => turns.push(ChatMessage::new("user", result)),
                }
                has_results = true;
                continue;
            }
            "user" if has_results => match turns.last_mut() {
                Some(turn) => append(turn, content),
                None => turns.push(message.clone()),
            },
            "assistant" => turns.push(calling_turn(message)),
            _ => turns.push(message.clone()),
        }
        has_results = false;
    }
    if let Some(description) = tools.and_then(describe) {
        match turns.first_mut().filter(|turn| turn.role == "system") {
            Some(system) => append(system, &format!("\n{description}")),
            None => turns.insert(0, ChatMessage::new("system", description)),
        }
    }
    turns
}

fn describe(tools: &Value) -> Option<String> {
    let tools = tools.as_array().filter(|tools| !tools.is_empty())?;
    let list: String = tools.iter().map(|tool| format!("\n{}", to_json(tool))).collect();
    Some(format!("{BEFORE_TOOLS}{list}{AFTER_TOOLS}"))
}

/// The assistant's turn with its calls as text.
fn calling_turn(message: &ChatMessage) -> ChatMessage {
    let mut turn = message.clone();
    let Some(Value::Array(calls)) = turn.extra.shift_remove("tool_calls") else { return turn };
    for call in &calls {
        let function = &call["function"];
        let name = to_json(&function["name"]);
        let arguments = match &function["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => "{}".to_owned(),
            object => to_json(object),
        };
        let call = format!("{{\"name\": {name}, \"arguments\": {arguments}}}");
        append(&mut turn, &format!("<tool_call>\n{call}\n</tool_call>"));
    }
    turn
}

fn append(turn: &mut ChatMessage, text: &str) {
    let content = turn.content.get_or_insert_default();
    if !content.is_empty() && !text.is_empty() {
        content.push('\n');
    }
    content.push_str(text);
}

/// Makes the ids of calls such as the templates of a format take: Mistral's refuse any that is not
/// nine letters and digits.
pub(in super::super) fn fit_call_ids(messages: &mut [ChatMessage], syntax: ToolSyntax) {
    if !matches!(syntax, ToolSyntax::Mistral | ToolSyntax::MistralNamed) {
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    let mut fit = |extra: &mut Map<String, Value>, field: &str| {
        let Some(Value::String(id)) = extra.get_mut(field) else { return };
        if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return;
        }
        let place = seen.iter().position(|known| known == id).unwrap_or_else(|| {
            seen.push(id.clone());
            seen.len() - 1
        });
        *id = format!("call{place:05}");
    };
    for message in messages {
        fit(&mut message.extra, "tool_call_id");
        if let Some(Value::Array(calls)) = message.extra.get_mut("tool_calls") {
            for call in calls.iter_mut().filter_map(Value::as_object_mut) {
                fit(call, "id");
            }
        }
    }
}
