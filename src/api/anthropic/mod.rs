//! Anthropic's Messages API: requests read into what `conversation` takes, deliveries written as
//! content blocks, whole or as Anthropic's events, and every error of these routes in its shape.
//!
//! ```text
//! messages, count_tokens -> blocks, tools -> conversation -> answer | stream
//! ```
//!
//! Never knows: how answers come about or are paid for.

mod answer;
mod blocks;
pub(super) mod count_tokens;
mod errors;
pub(super) mod messages;
mod models;
mod stream;
#[cfg(test)]
mod tests;
mod tools;

pub(super) use errors::{REQUEST_ID, in_shape, is_their_client};
pub(super) use messages::{MAX_STOPS, MAX_TEMPERATURE};
pub(super) use models::{describe, list_of};
pub(super) use tools::{MAX_TOOL_NAME, MAX_TOOLS};
