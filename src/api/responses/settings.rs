//! What a request asks for beside its input: read, and said again in its answer.
//! Promises: each field that changes the answer is obeyed or refused by name; what is said again is
//! what was obeyed.
//! Never knows: items, tools' calls.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::conversation::ToolUse;
use super::super::error::ApiError;
use super::super::fields::{Fields, wrong};
use super::super::format::Format;
use super::super::openai::{format_of, json_schema};
use super::tools::shown;
use crate::registry::LoadedModel;

/// Bounds of `metadata`, which are OpenAI's: pairs, letters of a name, letters of a value.
pub(in super::super) const MAX_METADATA: usize = 16;
const MAX_METADATA_NAME: usize = 64;
pub(in super::super) const MAX_METADATA_VALUE: usize = 512;

/// Letters of names that callers give to themselves or their users.
pub(in super::super) const MAX_NAME: usize = 512;

/// What `include` may ask for. All but the log probabilities belong to tools and images, which
/// there are none of here, or to reasoning that is secret, which it is not here.
pub(in super::super) const INCLUDABLE: [&str; 8] = [
    LOGPROBS,
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];

const LOGPROBS: &str = "message.output_text.logprobs";

/// How much the model may be told to reason.
pub(in super::super) const EFFORTS: [&str; 7] =
    ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// The fields that every response says again.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Settings {
    frequency_penalty: f32,
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<usize>,
    max_tool_calls: Option<usize>,
    metadata: Map<String, Value>,
    parallel_tool_calls: bool,
    presence_penalty: f32,
    pub(super) previous_response_id: Option<String>,
    prompt_cache_key: Option<String>,
    pub(super) reasoning: Reasoning,
    safety_identifier: Option<String>,
    service_tier: &'static str,
    /// Whether the response can be asked for again.
    pub(super) store: bool,
    /// `None` until the model has said its own.
    temperature: Option<f32>,
    text: Value,
    tool_choice: Value,
    tools: Vec<Value>,
    top_logprobs: usize,
    /// As `temperature`.
    top_p: Option<f32>,
    truncation: &'static str,
    user: Option<String>,
}

/// `reasoning`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Reasoning {
    effort: Option<String>,
    summary: Option<String>,
}

impl Settings {
    /// Reads all fields that are said again.
    pub(super) fn read(fields: &Fields<'_>, tools: &ToolUse) -> Result<Self, ApiError> {
        let any = 1..=i64::MAX as usize;
        let previous_response_id = fields.string("previous_response_id")?.map(str::to_owned);
        fields.string("service_tier")?;
        // Not OpenAI's here, but every sampler's, and Open Responses asks that they are said.
        let penalty = |name| fields.number(name, -2.0..=2.0).map(Option::unwrap_or_default);
        Ok(Self {
            frequency_penalty: penalty("frequency_penalty")?,
            instructions: fields.string("instructions")?.map(str::to_owned),
            max_output_tokens: fields.count("max_output_tokens", any.clone())?,
            max_tool_calls: fields.count("max_tool_calls", any)?,
            metadata: metadata(fields)?,
            parallel_tool_calls: !tools.is_single,
            presence_penalty: penalty("presence_penalty")?,
            previous_response_id,
            prompt_cache_key: name(fields, "prompt_cache_key")?,
            reasoning: Reasoning::read(fields)?,
            safety_identifier: name(fields, "safety_identifier")?,
            // There is one.
            service_tier: "default",
            store: fields.boolean("store")?.unwrap_or(true),
            temperature: fields.number("temperature", 0.0..=2.0)?,
            text: shown_text(fields)?,
            tool_choice: fields.get("tool_choice").cloned().unwrap_or_else(|| "auto".into()),
            tools: tools.tools.iter().map(shown).collect(),
            top_logprobs: fields.count("top_logprobs", 0..=20)?.unwrap_or(0),
            top_p: fields.number("top_p", 0.0..=1.0)?,
            truncation: "disabled",
            user: name(fields, "user")?,
        })
    }

    /// Fills in what the request left to the model.
    pub(super) fn complete(&mut self, model: &LoadedModel) {
        let defaults = &model.entry.sampling;
        self.temperature = self.temperature.or(defaults.temperature).or(Some(1.0));
        self.top_p = self.top_p.or(defaults.top_p).or(Some(1.0));
    }
}

impl Reasoning {
    fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        let Some(reasoning) = fields.fields("reasoning")? else { return Ok(Self::default()) };
        let effort = reasoning.string("effort")?;
        if let Some(unknown) = effort.filter(|effort| !EFFORTS.contains(effort)) {
            let message = format!("{unknown:?} is no effort; use one of {}", EFFORTS.join(", "));
            return Err(reasoning.refuse("effort", message));
        }
        let summary = reasoning.string("summary")?;
        Ok(Self { effort: effort.map(str::to_owned), summary: summary.map(str::to_owned) })
    }

    /// Whether the model is to reason; `None`: its own default.
    pub(super) fn enable_thinking(&self) -> Option<bool> {
        self.effort.as_deref().map(|effort| effort != "none")
    }

    /// The effort, by the words that templates have for it.
    pub(super) fn template_effort(&self) -> Option<&'static str> {
        match self.effort.as_deref()? {
            "minimal" | "low" => Some("low"),
            "medium" => Some("medium"),
            "high" | "xhigh" | "max" => Some("high"),
            _ => None,
        }
    }
}

/// `top_logprobs`, and `include`, either of which asks for log probabilities.
pub(super) fn top_logprobs(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let mut is_included = false;
    for (index, value) in fields.array("include")?.into_iter().flatten().enumerate() {
        let Some(word) = value.as_str() else {
            return Err(wrong(&format!("include[{index}]"), "a string", value));
        };
        if !INCLUDABLE.contains(&word) {
            let known = INCLUDABLE.join(", ");
            let message = format!("{word:?} can not be included; there are {known}");
            return Err(ApiError::field(format!("include[{index}]"), message));
        }
        is_included |= word == LOGPROBS;
    }
    let top = fields.count("top_logprobs", 0..=20)?.unwrap_or(0);
    Ok((is_included || top > 0).then_some(top))
}

/// What the answer has to look like: `text.format`, or one of vLLM's fields for the same.
pub(super) fn format(fields: &Fields<'_>) -> Result<Option<Format>, ApiError> {
    let extension = format_of(fields)?;
    let Some(format) = text_format(fields)? else { return Ok(extension) };
    let asked = match format.require("type", format.string("type")?)? {
        "text" => return Ok(extension),
        "json_object" => {
            let grammar = crate::grammar::Grammar::JsonObject;
            Format { grammar, field: format.path("type") }
        }
        "json_schema" => json_schema(&format)?,
        other => {
            let message = format!(
                "'{}' is {other:?} and must be 'text', 'json_object' or 'json_schema'",
                format.path("type")
            );
            return Err(format.refuse("type", message));
        }
    };
    match extension {
        None => Ok(Some(asked)),
        Some(other) => {
            let message = format!("'{}' and '{}' can not both be obeyed", asked.field, other.field);
            Err(ApiError::field(other.field, message))
        }
    }
}

fn text_format<'a>(fields: &Fields<'a>) -> Result<Option<Fields<'a>>, ApiError> {
    match fields.fields("text")? {
        Some(text) => text.fields("format"),
        None => Ok(None),
    }
}

/// `text`, with what it leaves out.
fn shown_text(fields: &Fields<'_>) -> Result<Value, ApiError> {
    let format = match text_format(fields)? {
        Some(format) => Value::Object(format.object().clone()),
        None => json!({ "type": "text" }),
    };
    let verbosity = match fields.fields("text")? {
        Some(text) => text.string("verbosity")?,
        None => None,
    };
    Ok(json!({ "format": format, "verbosity": verbosity.unwrap_or("medium") }))
}

fn name(fields: &Fields<'_>, name: &str) -> Result<Option<String>, ApiError> {
    match fields.string(name)? {
        Some(text) if text.chars().count() > MAX_NAME => {
            let length = text.chars().count();
            let message = format!("'{name}' has {length} characters and may have {MAX_NAME}");
            Err(fields.refuse(name, message))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// `metadata`: names and short texts.
fn metadata(fields: &Fields<'_>) -> Result<Map<String, Value>, ApiError> {
    let Some(metadata) = fields.fields("metadata")? else { return Ok(Map::new()) };
    let pairs = metadata.object();
    if pairs.len() > MAX_METADATA {
        let message = format!("'metadata' has {} pairs and may have {MAX_METADATA}", pairs.len());
        return Err(fields.refuse("metadata", message));
    }
    for (name, value) in pairs {
        let letters = name.chars().count();
        if letters > MAX_METADATA_NAME {
            let message = format!(
                "'metadata' has a name of {letters} letters and takes up to {MAX_METADATA_NAME}"
            );
            return Err(fields.refuse("metadata", message));
        }
        let path = metadata.path(name);
        match value.as_str().map(|value| value.chars().count()) {
            None => return Err(wrong(&path, "a string", value)),
            Some(letters) if letters > MAX_METADATA_VALUE => {
                let message =
                    format!("'{path}' has {letters} letters and may have {MAX_METADATA_VALUE}");
                return Err(ApiError::field(path, message));
            }
            Some(_) => {}
        }
    }
    Ok(pairs.clone())
}
