//! What a model's text is to those who asked for it: content, reasoning, tool calls.
//!
//! Promises: every token that [`TextStream`] releases is released here once, with the first part
//! that is made of its text; the parts of an answer do not depend on how its text was split into
//! tokens.
//! Never knows: credits, HTTP, how a route writes these parts.

use std::sync::Arc;

use super::{Piece, StreamState, TextStream, Tokenizer};

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

impl AnswerPiece {
    /// Whether its tokens are reasoning.
    pub fn is_reasoning(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, AnswerPart::Reasoning(_)))
    }
}

/// The parts of one choice, as its tokens come.
#[derive(Debug)]
pub struct AnswerStream {
    text: TextStream,
    pieces: Vec<Piece>,
}

impl AnswerStream {
    /// A stream that ends before the first of `stop`, as [`TextStream::new`] does.
    pub fn new(tokenizer: Arc<Tokenizer>, stop: Vec<String>) -> Self {
        Self { text: TextStream::new(tokenizer, stop), pieces: Vec::new() }
    }

    /// Takes the next token and appends the pieces that may go out now.
    pub fn push(&mut self, id: u32, out: &mut Vec<AnswerPiece>) -> StreamState {
        let state = self.text.push(id, &mut self.pieces);
        self.pass_on(out);
        state
    }

    /// The stop string that ended the text.
    pub fn stop_string(&self) -> Option<&str> {
        self.text.stop_string()
    }

    /// Gives out what was held, when the sequence has ended otherwise than by a stop string.
    pub fn finish(&mut self, out: &mut Vec<AnswerPiece>) {
        self.text.finish(&mut self.pieces);
        self.pass_on(out);
    }

    fn pass_on(&mut self, out: &mut Vec<AnswerPiece>) {
        out.extend(self.pieces.drain(..).map(|Piece { text, ids }| AnswerPiece {
            parts: vec![AnswerPart::Content(text)],
            ids,
        }));
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
