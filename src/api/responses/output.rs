//! The items of an answer, as its parts come: what the model thinks, says and calls, in that order
//! or any other.
//! Promises: the same items whether or not somebody is told of them on the way; of each item it is
//! told that it began, what was added, and that it ended, and only the last is open.
//! Never knows: how what is told goes out.

use std::sync::Arc;

use serde::Serialize;

use super::super::conversation::call_id;
use super::super::delivery::{Finish, Release};
use super::super::openai::{ChatTokenLogprob, token_logprobs};
use super::events::{Event, Place};
use crate::text::{AnswerPart, Tokenizer};

/// One element of `output`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum OutputItem {
    /// What the model thought. There is no summary of it: it is given whole.
    Reasoning { id: String, summary: Vec<String>, content: Vec<Part>, status: Status },
    /// What it said.
    Message { id: String, status: Status, role: &'static str, content: Vec<Part> },
    /// What it wants called.
    FunctionCall { id: String, call_id: String, name: String, arguments: String, status: Status },
}

/// The text of an item.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    OutputText { text: String, annotations: Vec<String>, logprobs: Vec<ChatTokenLogprob> },
    ReasoningText { text: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    /// Cut by a bound, the end of the credits, or a failure.
    Incomplete,
}

/// The items of one answer so far.
#[derive(Debug)]
pub(super) struct Output {
    /// The generation's id, which makes the ids of items: they are the same when the answer is
    /// given again.
    generation: String,
    tokenizer: Arc<Tokenizer>,
    items: Vec<OutputItem>,
    /// Whether the last item may go on.
    is_open: bool,
    /// Of tokens whose text is still to come.
    logprobs: Vec<ChatTokenLogprob>,
}

/// Who is told.
pub(super) type Tell<'t> = &'t mut dyn FnMut(Event<'_>);

impl Output {
    pub(super) fn new(generation: String, tokenizer: Arc<Tokenizer>) -> Self {
        Self { generation, tokenizer, items: Vec::new(), is_open: false, logprobs: Vec::new() }
    }

    pub(super) fn items(&self) -> &[OutputItem] {
        &self.items
    }

    /// Adds parts that are paid for.
    pub(super) fn take(&mut self, release: Release, tell: Tell<'_>) {
        self.logprobs.extend(token_logprobs(&self.tokenizer, &release.logprobs));
        let has_parts = !release.parts.is_empty();
        for part in release.parts {
            self.push(part, tell);
        }
        if has_parts {
            // They were of reasoning or calls, which have none here.
            self.logprobs.clear();
        }
    }

    fn push(&mut self, part: AnswerPart, tell: Tell<'_>) {
        if !self.goes_on_with(&part) {
            self.close(Status::Completed, tell);
            let item = self.item_of(&part);
            self.open(item, tell);
        }
        let place = Place::of(&self.items);
        match (self.items.last_mut(), part) {
            (Some(OutputItem::Message { content, .. }), AnswerPart::Content(more)) => {
                let Some(Part::OutputText { text, logprobs, .. }) = content.last_mut() else {
                    return;
                };
                text.push_str(&more);
                let new = std::mem::take(&mut self.logprobs);
                if !more.is_empty() || !new.is_empty() {
                    tell(Event::text_delta(&place, &more, &new));
                }
                logprobs.extend(new);
            }
            (Some(OutputItem::Reasoning { content, .. }), AnswerPart::Reasoning(more)) => {
                let Some(Part::ReasoningText { text }) = content.last_mut() else { return };
                text.push_str(&more);
                if !more.is_empty() {
                    tell(Event::reasoning_delta(&place, &more));
                }
            }
            (
                Some(OutputItem::FunctionCall { arguments, .. }),
                AnswerPart::ToolArguments { json, .. },
            ) => {
                arguments.push_str(&json);
                if !json.is_empty() {
                    tell(Event::arguments_delta(&place, &json));
                }
            }
            _ => {}
        }
    }

    /// Ends the answer. One that has nothing in it says so by an empty message.
    pub(super) fn end(&mut self, finish: Finish, tell: Tell<'_>) {
        if self.items.is_empty() {
            let item = self.item_of(&AnswerPart::Content(String::new()));
            self.open(item, tell);
        }
        let status = if is_whole(finish) { Status::Completed } else { Status::Incomplete };
        self.close(status, tell);
    }

    /// Ends what is open where it stands: there is no more of it.
    pub(super) fn cut(&mut self, tell: Tell<'_>) {
        self.close(Status::Incomplete, tell);
    }

    /// Whether `part` is more of the item that is open.
    fn goes_on_with(&self, part: &AnswerPart) -> bool {
        let last = self.items.last().filter(|_| self.is_open);
        matches!(
            (last, part),
            (Some(OutputItem::Message { .. }), AnswerPart::Content(_))
                | (Some(OutputItem::Reasoning { .. }), AnswerPart::Reasoning(_))
                | (Some(OutputItem::FunctionCall { .. }), AnswerPart::ToolArguments { .. })
        )
    }

    /// The item that `part` begins, with nothing in it.
    fn item_of(&self, part: &AnswerPart) -> OutputItem {
        let id = |prefix: &str| format!("{prefix}_{}_{}", self.generation, self.items.len());
        let (status, content) = (Status::InProgress, Vec::new());
        match part {
            AnswerPart::Content(_) => {
                OutputItem::Message { id: id("msg"), status, role: "assistant", content }
            }
            AnswerPart::Reasoning(_) => {
                OutputItem::Reasoning { id: id("rs"), summary: Vec::new(), content, status }
            }
            AnswerPart::ToolCall { index, .. } | AnswerPart::ToolArguments { index, .. } => {
                let name = match part {
                    AnswerPart::ToolCall { name, .. } => name.clone(),
                    _ => String::new(),
                };
                OutputItem::FunctionCall {
                    id: id("fc"),
                    call_id: call_id(&self.generation, 0, *index),
                    name,
                    arguments: String::new(),
                    status,
                }
            }
        }
    }

    fn open(&mut self, item: OutputItem, tell: Tell<'_>) {
        self.items.push(item);
        self.is_open = true;
        let place = Place::of(&self.items);
        let Some(item) = self.items.last_mut() else { return };
        tell(Event::item_added(&place, item));
        let (content, part) = match item {
            OutputItem::Message { content, .. } => {
                let (text, annotations, logprobs) = (String::new(), Vec::new(), Vec::new());
                (content, Part::OutputText { text, annotations, logprobs })
            }
            OutputItem::Reasoning { content, .. } => {
                (content, Part::ReasoningText { text: String::new() })
            }
            OutputItem::FunctionCall { .. } => return,
        };
        tell(Event::part_added(&place, &part));
        content.push(part);
    }

    /// Ends the item that is open, if one is.
    fn close(&mut self, new_status: Status, tell: Tell<'_>) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        let place = Place::of(&self.items);
        let Some(item) = self.items.last_mut() else { return };
        match item {
            OutputItem::Message { content, status, .. }
            | OutputItem::Reasoning { content, status, .. } => {
                for part in content {
                    tell(Event::text_done(&place, part));
                    tell(Event::part_done(&place, part));
                }
                *status = new_status;
            }
            OutputItem::FunctionCall { name, arguments, status, .. } => {
                tell(Event::arguments_done(&place, name, arguments));
                *status = new_status;
            }
        }
        tell(Event::item_done(&place, item));
    }
}

/// Whether an answer that ended so is all that there was to say.
pub(super) fn is_whole(finish: Finish) -> bool {
    match finish {
        Finish::EndOfTurn | Finish::StopString | Finish::ToolCalls => true,
        Finish::Length | Finish::OutOfCredits | Finish::MaxCredits | Finish::Deadline => false,
    }
}

impl OutputItem {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. }
            | Self::Message { id, .. }
            | Self::FunctionCall { id, .. } => id,
        }
    }
}
