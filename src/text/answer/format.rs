//! What a model's answers look like: derived once from its template, narrowed down by each request.
//! Never knows: how answers are read.

use std::sync::Arc;

use super::super::tool_calls::{MARKERS, ToolOffer, ToolSyntax};
use super::super::{Segment, Tokenizer};

/// Begins reasoning.
pub const REASONING: &str = "<think>";
/// Ends it.
pub const REASONING_END: &str = "</think>";

/// How a model writes tool calls and reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerFormat {
    /// How it writes calls: its own format, or the one it is told.
    pub syntax: ToolSyntax,
    /// Whether its template tells it about tools, in its own format.
    pub knows_tools: bool,
    /// Whether it reasons between `<think>` and `</think>`.
    pub reasons: bool,
    /// Control tokens that are syntax of calls: shown to nobody, and not to be missed.
    call_controls: Arc<[u32]>,
    /// Those that are syntax of reasoning.
    reasoning_controls: Arc<[u32]>,
}

impl AnswerFormat {
    /// The format of a model with this template. `prints_tools`: the template does.
    pub(in super::super) fn of_template(
        source: &str,
        prints_tools: bool,
        tokenizer: &Tokenizer,
    ) -> Self {
        let own = ToolSyntax::of_template(source).filter(|_| prints_tools);
        let controls = |spellings: &[&str]| -> Arc<[u32]> {
            spellings.iter().filter_map(|spelling| tokenizer.control_id(spelling)).collect()
        };
        Self {
            syntax: own.unwrap_or(ToolSyntax::Hermes),
            knows_tools: own.is_some(),
            reasons: source.contains(REASONING) || source.contains(REASONING_END),
            call_controls: controls(MARKERS),
            reasoning_controls: controls(&[REASONING, REASONING_END]),
        }
    }

    /// The rules for an answer to a prompt that ends as `opening` says.
    pub fn rules(&self, offer: Option<ToolOffer>, opening: Opening) -> AnswerRules {
        let mut controls = Vec::new();
        if offer.is_some() {
            controls.extend_from_slice(&self.call_controls);
        }
        if self.reasons {
            controls.extend_from_slice(&self.reasoning_controls);
        }
        let reasons = self.reasons;
        let has_syntax = offer.is_some() || reasons;
        let parsing = Parsing { offer, reasons, opening, controls };
        AnswerRules(has_syntax.then(|| Arc::new(parsing)))
    }
}

/// Where an answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// At the start of the assistant's turn.
    #[default]
    Turn,
    /// Within its reasoning.
    Reasoning,
    /// Behind its reasoning, or where it was told not to reason.
    Reasoned,
    /// Within its text.
    Content,
}

impl Opening {
    /// Where the answer to a rendered prompt begins; `prefill` is the text that it goes on with.
    pub fn of_prompt(prompt: &[Segment], prefill: Option<&str>) -> Self {
        if let Some(text) = prefill {
            return match (text.rfind(REASONING), text.rfind(REASONING_END)) {
                (Some(begin), end) if end.is_none_or(|end| end < begin) => Self::Reasoning,
                _ => Self::Content,
            };
        }
        let mut tail = String::new();
        for segment in prompt.iter().rev() {
            tail.insert_str(0, segment.text());
            if tail.trim_end().len() > REASONING_END.len() {
                break;
            }
        }
        match tail.trim_end() {
            tail if tail.ends_with(REASONING) => Self::Reasoning,
            tail if tail.ends_with(REASONING_END) => Self::Reasoned,
            _ => Self::Turn,
        }
    }
}

/// How the text of one request's answers is read; by default it is all content.
#[derive(Clone, Debug, Default)]
pub struct AnswerRules(Option<Arc<Parsing>>);

/// What is looked for in a text.
#[derive(Debug)]
pub(super) struct Parsing {
    /// Tools that may be called.
    pub(super) offer: Option<ToolOffer>,
    pub(super) reasons: bool,
    pub(super) opening: Opening,
    /// Control tokens that are syntax.
    pub(super) controls: Vec<u32>,
}

impl AnswerRules {
    pub(super) fn parsing(&self) -> Option<&Arc<Parsing>> {
        self.0.as_ref()
    }
}
