//! The JSON that goes out: a message, its content blocks, what it cost.
//! Promises: keys that Anthropic's schema requires are there, and null (`()` here) where this
//! server has nothing of the kind.
//! Never knows: where the values come from.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::super::delivery::{Finish, Summary, Usage};
use crate::text::AnswerPart;

/// A message, or the start of one.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    pub(super) id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: String,
    content: Vec<Block>,
    #[serde(flatten)]
    ending: Ending,
    usage: WireUsage,
}

impl Message {
    /// What is known when the request is admitted.
    pub(super) fn begun(generation: &str, model: &str, prompt_tokens: usize) -> Self {
        Self {
            id: format!("msg_{generation}"),
            kind: "message",
            role: "assistant",
            model: model.to_owned(),
            content: Vec::new(),
            ending: Ending::default(),
            usage: WireUsage::at_start(prompt_tokens),
        }
    }

    /// All of it.
    pub(super) fn ended(self, content: Vec<Block>, ending: Ending, usage: &Usage) -> Self {
        Self { content, ending, usage: usage.into(), ..self }
    }
}

/// A part of a message's content.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    Text {
        text: String,
        citations: (),
    },
    Thinking {
        thinking: String,
        /// Anthropic's proof that the thinking is its own; ours needs none, and takes any back.
        signature: &'static str,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(rename = "input", serialize_with = "object_of")]
        arguments: String,
        caller: Caller,
    },
}

/// Who calls a tool: the model itself, not a program that it wrote.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Caller {
    Direct,
}

impl Block {
    /// A block of the kind that `part` begins or goes on with, with nothing in it.
    pub(super) fn of(part: &AnswerPart, generation: &str) -> Self {
        match part {
            AnswerPart::Content(_) => Self::Text { text: String::new(), citations: () },
            AnswerPart::Reasoning(_) => Self::Thinking { thinking: String::new(), signature: "" },
            AnswerPart::ToolCall { index, name } => Self::tool_use(generation, *index, name),
            AnswerPart::ToolArguments { index, .. } => Self::tool_use(generation, *index, ""),
        }
    }

    /// The id is the same when the answer is given again.
    fn tool_use(generation: &str, index: usize, name: &str) -> Self {
        Self::ToolUse {
            id: format!("toolu_{generation}_{index}"),
            name: name.to_owned(),
            arguments: String::new(),
            caller: Caller::Direct,
        }
    }

    /// Whether `part` is more of this block.
    pub(super) fn goes_on_with(&self, part: &AnswerPart) -> bool {
        matches!(
            (self, part),
            (Self::Text { .. }, AnswerPart::Content(_))
                | (Self::Thinking { .. }, AnswerPart::Reasoning(_))
                | (Self::ToolUse { .. }, AnswerPart::ToolArguments { .. })
        )
    }
}

/// The blocks of a whole answer.
pub(super) fn blocks_of(parts: Vec<AnswerPart>, generation: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for part in parts {
        if blocks.last().is_none_or(|last| !last.goes_on_with(&part)) {
            blocks.push(Block::of(&part, generation));
        }
        match (blocks.last_mut(), part) {
            (Some(Block::Text { text, .. }), AnswerPart::Content(more)) => text.push_str(&more),
            (Some(Block::Thinking { thinking, .. }), AnswerPart::Reasoning(more)) => {
                thinking.push_str(&more);
            }
            (
                Some(Block::ToolUse { arguments, .. }),
                AnswerPart::ToolArguments { json: more, .. },
            ) => arguments.push_str(&more),
            _ => {}
        }
    }
    blocks
}

/// Clients read an object, whatever the model wrote: what is none is told as it is, under `_raw`.
fn object_of<S: Serializer>(arguments: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let object = match serde_json::from_str::<Map<String, Value>>(arguments) {
        Ok(object) => object,
        Err(_) if arguments.trim().is_empty() => Map::new(),
        Err(_) => Map::from_iter([("_raw".to_owned(), arguments.into())]),
    };
    object.serialize(serializer)
}

/// Why a message ended; all null while it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ending {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<String>,
    stop_details: (),
    container: (),
}

impl Ending {
    /// `is_bound_by_context`: the context had no room for as many tokens as were asked for.
    pub(super) fn of(summary: &Summary, is_bound_by_context: bool) -> Self {
        let finish = summary.finishes.first().copied().unwrap_or(Finish::Length);
        let stop_reason = match finish {
            Finish::EndOfTurn => "end_turn",
            Finish::StopString => "stop_sequence",
            Finish::ToolCalls => "tool_use",
            Finish::Length if is_bound_by_context => "model_context_window_exceeded",
            // It has no word for bounds of credits and time; `usage` tells of credits.
            Finish::Length | Finish::OutOfCredits | Finish::MaxCredits | Finish::Deadline => {
                "max_tokens"
            }
        };
        let stop_string = summary.stop_strings.first().cloned().flatten();
        let stop_sequence = stop_string.filter(|_| finish == Finish::StopString);
        Self { stop_reason: Some(stop_reason), stop_sequence, ..Self::default() }
    }
}

/// `usage`: Anthropic's counters, of which `input_tokens` leaves out what was cached, and what they
/// cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct WireUsage {
    input_tokens: usize,
    cache_creation_input_tokens: usize,
    cache_read_input_tokens: usize,
    output_tokens: u32,
    cache_creation: (),
    server_tool_use: (),
    service_tier: (),
    inference_geo: (),
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    end: Option<UsageAtEnd>,
}

/// What is known at the end only: the counters' details, and the extension fields.
#[derive(Clone, Copy, Debug, Serialize)]
struct UsageAtEnd {
    output_tokens_details: OutputTokensDetails,
    credits: i64,
    credit_multiplier: i64,
    balance: i64,
    credits_exhausted: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct OutputTokensDetails {
    thinking_tokens: u32,
}

impl WireUsage {
    /// What was cached shows at the end, and clients take the later numbers.
    fn at_start(prompt_tokens: usize) -> Self {
        Self {
            input_tokens: prompt_tokens,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: 0,
            output_tokens: 0,
            cache_creation: (),
            server_tool_use: (),
            service_tier: (),
            inference_geo: (),
            end: None,
        }
    }
}

impl From<&Usage> for WireUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: usage.cached_tokens,
            output_tokens: usage.completion_tokens,
            cache_creation: (),
            server_tool_use: (),
            service_tier: (),
            inference_geo: (),
            end: Some(UsageAtEnd {
                output_tokens_details: OutputTokensDetails {
                    thinking_tokens: usage.reasoning_tokens,
                },
                credits: usage.credits,
                credit_multiplier: usage.credit_multiplier,
                balance: usage.balance,
                credits_exhausted: usage.credits_exhausted,
            }),
        }
    }
}
