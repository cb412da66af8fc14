//! `tools` and `tool_choice` of a request, which are flatter here than in chat completions.
//! Promises: a tool that only OpenAI's servers have is refused by its type.
//! Never knows: how calls are made.

use serde_json::{Value, json};

use super::super::conversation::{Tool, ToolChoice, ToolUse};
use super::super::error::ApiError;
use super::super::fields::{Fields, wrong};
use super::super::openai::{
    choice_of_word, function_of, require_function, require_offered, tool_list,
};

/// Reads both fields, and `parallel_tool_calls`.
pub(super) fn tools_of(fields: &Fields<'_>) -> Result<ToolUse, ApiError> {
    let tools = tool_list(fields, |tool| {
        require_function(tool)?;
        function_of(tool)
    })?;
    let is_single = !fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    let (tools, choice) = choose(fields, tools)?;
    Ok(ToolUse { tools, choice, is_single })
}

/// `tool_choice`, and the tools that it leaves.
fn choose(fields: &Fields<'_>, tools: Vec<Tool>) -> Result<(Vec<Tool>, ToolChoice), ApiError> {
    let choice = match fields.get("tool_choice") {
        None => ToolChoice::Auto,
        Some(Value::String(word)) => choice_of_word(fields, word)?,
        Some(object @ Value::Object(_)) => {
            let choice = Fields::at(object, "tool_choice".to_owned())?;
            match choice.require("type", choice.string("type")?)? {
                "function" => {
                    let name = choice.require("name", choice.string("name")?)?;
                    ToolChoice::Named(name.to_owned())
                }
                "allowed_tools" => return allowed(fields, &choice, tools),
                other => {
                    let message = format!(
                        "a choice of type '{other}' is not supported, only 'function' and \
                         'allowed_tools'"
                    );
                    return Err(choice.refuse("type", message));
                }
            }
        }
        Some(other) => return Err(wrong("tool_choice", "a string or an object", other)),
    };
    let choice = require_offered(fields, choice, &tools)?;
    Ok((tools, choice))
}

/// `{"type": "allowed_tools", "mode", "tools"}`: the others are not shown to the model.
fn allowed(
    fields: &Fields<'_>,
    choice: &Fields<'_>,
    tools: Vec<Tool>,
) -> Result<(Vec<Tool>, ToolChoice), ApiError> {
    let mode = match choice.string("mode")?.unwrap_or("auto") {
        "auto" => ToolChoice::Auto,
        "required" => ToolChoice::Required,
        other => {
            let message = format!("'{other}' is no mode: use 'auto' or 'required'");
            return Err(choice.refuse("mode", message));
        }
    };
    let list = choice.require("tools", choice.array("tools")?)?;
    let mut names = Vec::with_capacity(list.len());
    for (index, tool) in list.iter().enumerate() {
        let tool = Fields::at(tool, format!("{}[{index}]", choice.path("tools")))?;
        let name = tool.require("name", tool.string("name")?)?;
        require_offered(fields, ToolChoice::Named(name.to_owned()), &tools)?;
        names.push(name);
    }
    let mut tools = tools;
    tools.retain(|tool| names.contains(&tool.name.as_str()));
    let mode = require_offered(fields, mode, &tools)?;
    Ok((tools, mode))
}

/// A tool as responses show it.
pub(super) fn shown(tool: &Tool) -> Value {
    json!({
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    })
}
