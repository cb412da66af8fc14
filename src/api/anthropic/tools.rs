//! `tools` and `tool_choice` of a request.
//! Promises: a tool that only Anthropic's servers or models have is refused by its type.
//! Never knows: how calls are made.

use std::collections::HashSet;

use serde_json::Value;

use super::super::conversation::{Tool, ToolChoice, ToolUse};
use super::super::error::ApiError;
use super::super::fields::Fields;

/// Tools of one request, at most: agents with many servers of tools have hundreds.
pub(in super::super) const MAX_TOOLS: usize = 1_000;

/// Letters of a tool's name, at most: Anthropic's bound.
pub(in super::super) const MAX_TOOL_NAME: usize = 128;

/// Reads both fields.
pub(super) fn tools_of(fields: &Fields<'_>) -> Result<ToolUse, ApiError> {
    let list = fields.array("tools")?.map_or(&[][..], Vec::as_slice);
    if list.len() > MAX_TOOLS {
        let message = format!("'tools' has {} tools and may have {MAX_TOOLS}", list.len());
        return Err(fields.refuse("tools", message));
    }
    let mut tools: Vec<Tool> = Vec::with_capacity(list.len());
    let mut names = HashSet::with_capacity(list.len());
    for (index, tool) in list.iter().enumerate() {
        let tool = tool_of(&Fields::at(tool, format!("tools[{index}]"))?)?;
        if !names.insert(tool.name.clone()) {
            let message = format!("'tools' has two tools named '{}'", tool.name);
            return Err(fields.refuse("tools", message));
        }
        tools.push(tool);
    }
    let Some(choice) = fields.fields("tool_choice")? else {
        return Ok(ToolUse { tools, ..ToolUse::default() });
    };
    let is_single = choice.boolean("disable_parallel_tool_use")?.unwrap_or(false);
    let choice = choice_of(&choice, &names)?;
    Ok(ToolUse { tools, choice, is_single })
}

fn tool_of(fields: &Fields<'_>) -> Result<Tool, ApiError> {
    if let Some(kind) = fields.string("type")?
        && kind != "custom"
    {
        let message = format!(
            "tools of type '{kind}' are not supported, only 'custom' ones, with an 'input_schema'"
        );
        return Err(fields.refuse("type", message));
    }
    let schema = fields.require("input_schema", fields.fields("input_schema")?)?;
    Ok(Tool {
        name: name_of(fields)?,
        description: fields.string("description")?.map(str::to_owned),
        parameters: Some(Value::Object(schema.object().clone())),
        parameters_field: fields.path("input_schema"),
        strict: fields.boolean("strict")?.unwrap_or(false),
    })
}

fn name_of(fields: &Fields<'_>) -> Result<String, ApiError> {
    let name = fields.require("name", fields.string("name")?)?;
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > MAX_TOOL_NAME || !name.chars().all(is_fit) {
        let message = format!(
            "a tool's name has 1 to {MAX_TOOL_NAME} letters, digits, '_' and '-', not {name:?}"
        );
        return Err(fields.refuse("name", message));
    }
    Ok(name.to_owned())
}

fn choice_of(fields: &Fields<'_>, names: &HashSet<String>) -> Result<ToolChoice, ApiError> {
    match fields.require("type", fields.string("type")?)? {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "any" if names.is_empty() => {
            let message = "'tool_choice' wants a call, and there are no tools";
            Err(fields.refuse("type", message))
        }
        "any" => Ok(ToolChoice::Required),
        "tool" => {
            let name = fields.require("name", fields.string("name")?)?;
            if !names.contains(name) {
                let message = format!("'tool_choice' names {name:?}, which is not among the tools");
                return Err(fields.refuse("name", message));
            }
            Ok(ToolChoice::Named(name.to_owned()))
        }
        other => {
            let message = format!("'{other}' is none of 'auto', 'any', 'tool' and 'none'");
            Err(fields.refuse("type", message))
        }
    }
}
