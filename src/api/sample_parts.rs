//! Parts of answers, and what one cost, for the tests of what routes write.

use super::delivery::Usage;
use crate::text::AnswerPart;

/// Of an answer of 7 tokens at 2 credits.
pub(super) const USAGE: Usage = Usage {
    prompt_tokens: 10,
    cached_tokens: 4,
    completion_tokens: 7,
    reasoning_tokens: 2,
    credits: 14,
    credit_multiplier: 2,
    balance: 86,
    credits_exhausted: false,
};

pub(super) fn content(text: &str) -> AnswerPart {
    AnswerPart::Content(text.to_owned())
}

pub(super) fn reasoning(text: &str) -> AnswerPart {
    AnswerPart::Reasoning(text.to_owned())
}

pub(super) fn call(index: usize, name: &str) -> AnswerPart {
    AnswerPart::ToolCall { index, name: name.to_owned() }
}

pub(super) fn arguments(index: usize, json: &str) -> AnswerPart {
    AnswerPart::ToolArguments { index, json: json.to_owned() }
}
