//! The events of a stream, and their numbers.
//! Promises: an event's name is its `type`; the keys that typed clients require are there.
//! Never knows: when which event comes.

use serde::Serialize;

use super::super::error::ApiError;
use super::super::event_stream::event_frame;
use super::super::openai::ChatTokenLogprob;
use super::answer::WireResponse;
use super::output::{OutputItem, Part};

/// Where an item stands, and which it is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Place {
    item_id: String,
    output_index: usize,
}

impl Place {
    /// Of the last item.
    pub(super) fn of(items: &[OutputItem]) -> Self {
        let item_id = items.last().map_or("", OutputItem::id).to_owned();
        Self { item_id, output_index: items.len().saturating_sub(1) }
    }
}

/// An event without its number.
#[derive(Debug, Serialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    says: Says<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Says<'a> {
    Response {
        response: &'a WireResponse<'a>,
    },
    Item {
        output_index: usize,
        item: &'a OutputItem,
    },
    Part {
        #[serde(flatten)]
        place: &'a Place,
        content_index: usize,
        part: &'a Part,
    },
    TextDelta {
        #[serde(flatten)]
        place: &'a Place,
        content_index: usize,
        delta: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        logprobs: Option<&'a [ChatTokenLogprob]>,
    },
    TextDone {
        #[serde(flatten)]
        place: &'a Place,
        content_index: usize,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        logprobs: Option<&'a [ChatTokenLogprob]>,
    },
    ArgumentsDelta {
        #[serde(flatten)]
        place: &'a Place,
        delta: &'a str,
    },
    ArgumentsDone {
        #[serde(flatten)]
        place: &'a Place,
        name: &'a str,
        arguments: &'a str,
    },
    Error {
        code: Option<&'a str>,
        message: &'a str,
        param: Option<&'a str>,
    },
}

/// Items have one part at most.
const CONTENT_INDEX: usize = 0;

impl<'a> Event<'a> {
    /// `kind`: what became of the response.
    pub(super) fn response(kind: &'static str, response: &'a WireResponse<'a>) -> Self {
        Self { kind, says: Says::Response { response } }
    }

    pub(super) fn item_added(place: &'a Place, item: &'a OutputItem) -> Self {
        let says = Says::Item { output_index: place.output_index, item };
        Self { kind: "response.output_item.added", says }
    }

    pub(super) fn item_done(place: &'a Place, item: &'a OutputItem) -> Self {
        let says = Says::Item { output_index: place.output_index, item };
        Self { kind: "response.output_item.done", says }
    }

    pub(super) fn part_added(place: &'a Place, part: &'a Part) -> Self {
        let says = Says::Part { place, content_index: CONTENT_INDEX, part };
        Self { kind: "response.content_part.added", says }
    }

    pub(super) fn part_done(place: &'a Place, part: &'a Part) -> Self {
        let says = Says::Part { place, content_index: CONTENT_INDEX, part };
        Self { kind: "response.content_part.done", says }
    }

    pub(super) fn text_delta(
        place: &'a Place,
        delta: &'a str,
        logprobs: &'a [ChatTokenLogprob],
    ) -> Self {
        let (content_index, logprobs) = (CONTENT_INDEX, Some(logprobs));
        let says = Says::TextDelta { place, content_index, delta, logprobs };
        Self { kind: "response.output_text.delta", says }
    }

    pub(super) fn reasoning_delta(place: &'a Place, delta: &'a str) -> Self {
        let (content_index, logprobs) = (CONTENT_INDEX, None);
        let says = Says::TextDelta { place, content_index, delta, logprobs };
        Self { kind: "response.reasoning_text.delta", says }
    }

    /// All of a part's text.
    pub(super) fn text_done(place: &'a Place, part: &'a Part) -> Self {
        let content_index = CONTENT_INDEX;
        match part {
            Part::OutputText { text, logprobs, .. } => {
                let logprobs = Some(logprobs.as_slice());
                let says = Says::TextDone { place, content_index, text, logprobs };
                Self { kind: "response.output_text.done", says }
            }
            Part::ReasoningText { text } => {
                let says = Says::TextDone { place, content_index, text, logprobs: None };
                Self { kind: "response.reasoning_text.done", says }
            }
        }
    }

    pub(super) fn arguments_delta(place: &'a Place, delta: &'a str) -> Self {
        let says = Says::ArgumentsDelta { place, delta };
        Self { kind: "response.function_call_arguments.delta", says }
    }

    pub(super) fn arguments_done(place: &'a Place, name: &'a str, arguments: &'a str) -> Self {
        let says = Says::ArgumentsDone { place, name, arguments };
        Self { kind: "response.function_call_arguments.done", says }
    }

    fn error(message: &'a str, code: Option<&'a str>, param: Option<&'a str>) -> Self {
        Self { kind: "error", says: Says::Error { code, message, param } }
    }
}

/// Counts the events of a stream.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: usize,
}

#[derive(Serialize)]
struct Numbered<'a> {
    #[serde(flatten)]
    event: &'a Event<'a>,
    sequence_number: usize,
}

impl Numbers {
    /// Appends an event with its number.
    pub(super) fn write(&mut self, event: &Event<'_>, frames: &mut String) {
        event_frame(frames, event.kind, &Numbered { event, sequence_number: self.next });
        self.next += 1;
    }

    /// Appends the flat event of a failure: a key called `error` would make clients raise before
    /// they have read what failed.
    pub(super) fn write_error(&mut self, error: &ApiError, frames: &mut String) {
        let body = error.body();
        let [message, code, param] =
            ["message", "code", "param"].map(|name| body["error"][name].as_str());
        self.write(&Event::error(message.unwrap_or_default(), code, param), frames);
    }
}
