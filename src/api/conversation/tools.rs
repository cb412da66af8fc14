//! The tools that a request offers the model.

use serde_json::{Map, Value, json};

use crate::text::{OfferedTool, ToolOffer, ToolSyntax};

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Tool {
    pub(in super::super) name: String,
    pub(in super::super) description: Option<String>,
    /// JSON schema of its arguments; `None`: it takes none.
    pub(in super::super) parameters: Option<Value>,
    /// Where the request has that schema: each API has a place of its own.
    pub(in super::super) parameters_field: String,
    /// Whether calls must fit the schema even where the model is free to call.
    pub(in super::super) strict: bool,
}

/// Whether and what the model calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// Something.
    Required,
    /// This tool.
    Named(String),
}

/// What a request says about tools; the default offers none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct ToolUse {
    pub(in super::super) tools: Vec<Tool>,
    pub(in super::super) choice: ToolChoice,
    /// Whether one answer has one call at most.
    pub(in super::super) is_single: bool,
}

impl ToolUse {
    /// The tools as templates expect them, which is as chat completions have them. `None`: the
    /// model is to know of none.
    pub(super) fn for_template(&self) -> Option<Value> {
        if self.tools.is_empty() || self.choice == ToolChoice::None {
            return None;
        }
        Some(self.tools.iter().map(Tool::for_template).collect())
    }

    /// What reading calls in this format needs to know; `None`: nothing is a call.
    pub(super) fn offer(&self, syntax: ToolSyntax) -> Option<ToolOffer> {
        if self.tools.is_empty() || self.choice == ToolChoice::None {
            return None;
        }
        let offered = |tool: &Tool| OfferedTool::new(&tool.name, tool.parameters.as_ref());
        let tools = self.tools.iter().map(offered).collect();
        // Some tool by name is one call of it.
        let is_named = matches!(self.choice, ToolChoice::Named(_));
        let is_single = self.is_single || is_named || syntax.is_single();
        Some(ToolOffer { syntax, tools, is_single })
    }
}

impl Tool {
    fn for_template(&self) -> Value {
        let mut function = Map::from_iter([("name".to_owned(), self.name.as_str().into())]);
        // Templates print what is there; some fail on what is not.
        let description = self.description.as_deref().unwrap_or_default();
        function.insert("description".to_owned(), description.into());
        let none = || json!({ "type": "object", "properties": {} });
        let parameters = self.parameters.clone().unwrap_or_else(none);
        function.insert("parameters".to_owned(), parameters);
        json!({ "type": "function", "function": function })
    }
}

/// The id of a call: the same when the answer is given again.
pub(in super::super) fn call_id(generation: &str, choice: usize, index: usize) -> String {
    format!("call_{generation}_{choice}_{index}")
}
