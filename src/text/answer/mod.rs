//! What a model's text is to those who asked for it: content, reasoning, tool calls.
//!
//! Promises: every token that [`TextStream`] releases is released here once, with the first part
//! that is made of its text; the parts of an answer do not depend on how its text was split into
//! tokens.
//! Never knows: credits, HTTP, how a route writes these parts.

mod format;
mod parser;
mod stream;

pub use self::format::{AnswerFormat, AnswerRules, Opening, REASONING, REASONING_END};
pub use self::stream::{AnswerState, AnswerStream};

/// A part of an answer, or a piece of one: pieces of the same kind that follow each other are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerPart {
    /// What the caller reads.
    Content(String),
    /// What the model thinks before it answers.
    Reasoning(String),
    /// A tool call begins.
    ToolCall {
        /// Counts the calls of an answer from 0.
        index: usize,
        /// The tool.
        name: String,
    },
    /// More of the arguments of the call that began last.
    ToolArguments {
        /// The call's.
        index: usize,
        /// Text of a JSON object, or of a piece of it.
        json: String,
    },
}

/// Parts that go out together, and the ids they release, which are charged before they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerPiece {
    /// In order. Empty where the ids are the syntax around a part, which is paid for too.
    pub parts: Vec<AnswerPart>,
    /// In the order they were sampled. Empty where the parts are the rest of a token that an
    /// earlier piece released.
    pub ids: Vec<u32>,
}

impl AnswerPart {
    /// Takes in `next` if it is more of the same, or gives it back.
    pub fn join(&mut self, next: Self) -> Option<Self> {
        use AnswerPart::{Content, Reasoning, ToolArguments};
        match (self, next) {
            (Content(text), Content(more)) | (Reasoning(text), Reasoning(more)) => {
                text.push_str(&more);
            }
            (ToolArguments { index, json }, ToolArguments { index: of, json: more })
                if *index == of =>
            {
                json.push_str(&more);
            }
            (_, next) => return Some(next),
        }
        None
    }
}

impl AnswerPiece {
    /// Adds a part, to the last one if it goes on.
    pub(crate) fn push(&mut self, part: AnswerPart) {
        let next = match self.parts.last_mut() {
            Some(last) => last.join(part),
            None => Some(part),
        };
        self.parts.extend(next);
    }

    /// Whether its tokens are reasoning.
    pub fn is_reasoning(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, AnswerPart::Reasoning(_)))
    }
}

/// The parts of an answer, joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// What the caller reads; empty if there is nothing.
    pub content: String,
    /// What the model thought; empty if it did not.
    pub reasoning: String,
    /// In order.
    pub tool_calls: Vec<ToolCall>,
}

/// A call that the model wants made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// Text of a JSON object, as the model wrote it.
    pub arguments: String,
}

impl Turn {
    /// Adds the next part.
    pub fn push(&mut self, part: &AnswerPart) {
        match part {
            AnswerPart::Content(text) => self.content.push_str(text),
            AnswerPart::Reasoning(text) => self.reasoning.push_str(text),
            AnswerPart::ToolCall { name, .. } => {
                self.tool_calls.push(ToolCall { name: name.clone(), ..ToolCall::default() });
            }
            AnswerPart::ToolArguments { index, json } => {
                if let Some(call) = self.tool_calls.get_mut(*index) {
                    call.arguments.push_str(json);
                }
            }
        }
    }
}

impl<'a> FromIterator<&'a AnswerPart> for Turn {
    fn from_iter<I: IntoIterator<Item = &'a AnswerPart>>(parts: I) -> Self {
        let mut turn = Self::default();
        parts.into_iter().for_each(|part| turn.push(part));
        turn
    }
}

#[cfg(test)]
mod tests;
