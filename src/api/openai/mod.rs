//! OpenAI's routes: requests read into what `generation` takes, deliveries written as OpenAI's
//! JSON, whole or as server-sent events.
//! Never knows: how answers come about or are paid for.

pub(super) mod chat;
pub(super) mod completions;
pub(super) mod embeddings;
mod format;
mod messages;
pub(super) mod models;
mod prompt;
mod request;
mod respond;
mod stream;
mod types;

pub(super) use chat::MAX_TOP_LOGPROBS;
pub(super) use completions::{DEFAULT_MAX_TOKENS, MAX_LOGPROBS};
pub(super) use embeddings::MAX_INPUTS;
pub(super) use format::{format_of, json_schema};
pub(super) use messages::{
    EFFORTS, MAX_TOOL_NAME, MAX_TOOLS, ROLES, choice_of_word, function_of, prompt_of,
    require_function, require_offered, tool_list,
};
pub(super) use request::{
    MAX_CHOICES, MAX_IDEMPOTENCY_KEY_CHARS, MAX_STOP_BYTES, MAX_STOP_IDS, MAX_STOPS, Options,
    Unsupported, idempotency_key, is_empty, max_credits, never, refuse_unsupported,
    require_a_token, require_places, require_room,
};
pub(super) use types::{ChatTokenLogprob, token_logprobs};
