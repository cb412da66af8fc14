//! OpenAI's routes: requests read into what `generation` takes, deliveries written as OpenAI's
//! JSON, whole or as server-sent events.
//! Never knows: how answers come about or are paid for.

pub(super) mod chat;
pub(super) mod completions;
mod format;
mod messages;
pub(super) mod models;
mod request;
mod respond;
mod stream;
mod types;

pub(super) use messages::prompt_of;
pub(super) use request::{idempotency_key, require_a_token, require_places, require_room};
