//! OpenAI's Responses API: `/v1/responses`, and the same below `/api/v1`.
//!
//! A request is items, old ones by `previous_response_id` or by reference (`history`) and new ones
//! (`input`), which become the messages of a conversation (`turns`); an answer is items (`output`),
//! told whole or as events, and kept for its caller (`stored`) before its end goes out.
//!
//! Promises: the items of an answer are the same whole, streamed and asked for again; what was not
//! paid for is not given out, today or later.
//! Never knows: how answers come about or are paid for.

mod answer;
mod create;
mod events;
mod history;
mod input;
mod output;
mod settings;
mod stored;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod turns;

pub(super) use create::create;
pub(super) use input::MAX_ID;
pub(super) use settings::{EFFORTS, INCLUDABLE, MAX_METADATA, MAX_METADATA_VALUE, MAX_NAME};
pub(super) use stored::{MAX_ITEMS, USUAL_ITEMS, forget, get, input_items, remove};
