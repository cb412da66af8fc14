//! Strings to token ids and back: tokenizers, chat templates, streamed text.
//!
//! Promises: nothing a user writes becomes a control token; every token's text is released once,
//! together with its id, so that it can be charged before it is sent.
//! Never knows: models, credits, HTTP.

mod answer;
mod bpe;
mod byte_level;
mod chat_template;
mod error;
mod merge;
mod pretokenizer;
mod special_tokens;
mod spm;
mod text_stream;
mod tokenizer;
mod tokenizer_json;
mod tool_calls;
mod vocabulary;

pub use answer::{
    AnswerFormat, AnswerPart, AnswerPiece, AnswerRules, AnswerState, AnswerStream, Opening,
    REASONING, REASONING_END, ToolCall, Turn,
};
pub use chat_template::{ChatMessage, ChatTemplate, TemplateError, TemplateOptions};
pub use error::TokenizerError;
pub use text_stream::{Piece, StreamState, TextStream};
pub use tokenizer::{Specials, Tokenizer};
pub use tool_calls::{CallShape, OfferedTool, ToolOffer, ToolSyntax};
pub use vocabulary::{TokenType, Vocabulary};

/// Vocabularies have some 10^5 entries, and each text looks up every pair of its characters.
type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A part of a rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Written by the template: control tokens spelled here are control tokens.
    Template(String),
    /// Everything else, what users wrote above all: never yields control tokens.
    Content(String),
}

impl Segment {
    /// The text, whoever wrote it.
    pub fn text(&self) -> &str {
        match self {
            Self::Template(text) | Self::Content(text) => text,
        }
    }
}
