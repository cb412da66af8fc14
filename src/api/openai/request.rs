//! What chat and text completions have in common on the way in: sampling, streaming, limits,
//! idempotency.
//! Promises: a field that changes the answer is obeyed or refused by name; every other unknown
//! field is ignored.
//! Never knows: prompts.

use axum::http::HeaderMap;
use serde_json::Value;

use super::super::delivery::MAX_REPLAYED_CHOICES;
use super::super::error::ApiError;
use super::super::fields::{Fields, token_id, wrong};
use super::super::generation::{context_length, price};
use super::super::sampling::SamplingFields;
use crate::registry::LoadedModel;

/// Answers to one request, at most: OpenAI's bound for `n`.
pub(in super::super) const MAX_CHOICES: usize = 128;

/// Stop strings of one request, and their length, at most.
pub(in super::super) const MAX_STOPS: usize = 4;
pub(in super::super) const MAX_STOP_BYTES: usize = 1_000;

/// Ids that may end an answer, at most.
pub(in super::super) const MAX_STOP_IDS: usize = 128;

/// A longer `Idempotency-Key` is refused.
pub(in super::super) const MAX_IDEMPOTENCY_KEY_CHARS: usize = 255;

/// The fields that these routes read alike.
#[derive(Clone, Debug)]
pub(in super::super) struct Options {
    pub(in super::super) model: String,
    /// `None`: not streamed.
    pub(in super::super) stream: Option<StreamOptions>,
    /// Answers to each prompt.
    pub(in super::super) n: usize,
    pub(in super::super) stop: Vec<String>,
    pub(in super::super) stop_ids: Vec<u32>,
    pub(in super::super) max_credits: Option<i64>,
    pub(in super::super) sampling: SamplingFields,
}

/// What of `usage` a stream shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct StreamOptions {
    /// In a last chunk of its own.
    pub(in super::super) include_usage: bool,
    /// The standard counters in every chunk.
    pub(in super::super) continuous_usage: bool,
}

impl Options {
    pub(in super::super) fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        let model = fields.require("model", fields.string("model")?)?.to_owned();
        Ok(Self {
            model,
            stream: stream_options(fields)?,
            n: fields.count("n", 1..=MAX_CHOICES)?.unwrap_or(1),
            stop: stop_strings(fields)?,
            stop_ids: stop_token_ids(fields)?,
            max_credits: max_credits(fields)?,
            sampling: SamplingFields::read(fields)?,
        })
    }
}

fn stream_options(fields: &Fields<'_>) -> Result<Option<StreamOptions>, ApiError> {
    let streamed = fields.boolean("stream")?.unwrap_or(false);
    let Some(options) = fields.fields("stream_options")? else {
        return Ok(streamed.then(StreamOptions::default));
    };
    if !streamed {
        let message = "'stream_options' has a meaning only with 'stream': true";
        return Err(fields.refuse("stream_options", message));
    }
    let include_usage = options.boolean("include_usage")?.unwrap_or(false);
    let continuous = options.boolean("continuous_usage_stats")?.unwrap_or(false);
    Ok(Some(StreamOptions { include_usage, continuous_usage: include_usage && continuous }))
}

/// `stop`: one string, or up to four.
fn stop_strings(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let stops = match fields.get("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(stops)) => stops.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if stops.len() > MAX_STOPS {
        let message = format!("'stop' has {} strings and may have {MAX_STOPS}", stops.len());
        return Err(fields.refuse("stop", message));
    }
    let mut strings = Vec::with_capacity(stops.len());
    for (index, stop) in stops.iter().enumerate() {
        match stop.as_str() {
            Some(stop) if (1..=MAX_STOP_BYTES).contains(&stop.len()) => {
                strings.push(stop.to_owned());
            }
            Some(stop) => {
                let length = stop.len();
                let message = format!(
                    "'stop' has a string of {length} bytes and takes 1 to {MAX_STOP_BYTES}"
                );
                return Err(ApiError::field(format!("stop[{index}]"), message));
            }
            None => return Err(wrong("stop", "a string or an array of strings", stop)),
        }
    }
    Ok(strings)
}

/// `stop_token_ids`: ids that end an answer and are not part of it.
fn stop_token_ids(fields: &Fields<'_>) -> Result<Vec<u32>, ApiError> {
    let list = fields.array("stop_token_ids")?.map_or(&[][..], Vec::as_slice);
    if list.len() > MAX_STOP_IDS {
        let message =
            format!("'stop_token_ids' has {} ids and may have {MAX_STOP_IDS}", list.len());
        return Err(fields.refuse("stop_token_ids", message));
    }
    let id_of = |id: &Value| token_id(id).ok_or_else(|| wrong("stop_token_ids", "token ids", id));
    list.iter().map(id_of).collect()
}

/// `max_credits`: what the whole request may cost.
pub(in super::super) fn max_credits(fields: &Fields<'_>) -> Result<Option<i64>, ApiError> {
    fields.integer("max_credits", 1..=i64::MAX)
}

/// Refuses a bound on credits that does not pay for one token.
pub(in super::super) fn require_a_token(
    model: &LoadedModel,
    max_credits: Option<i64>,
) -> Result<(), ApiError> {
    let price = price(model).credits_per_token;
    match max_credits {
        Some(max) if max < price => {
            let message = format!(
                "'max_credits' is {max}, and one output token of this model costs {price}: allow \
                 at least that"
            );
            Err(ApiError::field("max_credits", message))
        }
        _ => Ok(()),
    }
}

/// Refuses a prompt that leaves no room for a token.
pub(in super::super) fn require_room(
    model: &LoadedModel,
    param: &'static str,
    prompt_tokens: usize,
) -> Result<(), ApiError> {
    let context_length = context_length(model);
    if prompt_tokens == 0 {
        return Err(ApiError::field(param, format!("'{param}' holds no tokens")));
    }
    if prompt_tokens < context_length {
        return Ok(());
    }
    Err(ApiError::ContextLength { param, prompt_tokens, context_length })
}

/// Refuses more answers than the engine could ever hold at once: trying again would not help.
pub(in super::super) fn require_places(
    model: &LoadedModel,
    num_choices: usize,
) -> Result<(), ApiError> {
    let options = model.engine.options();
    let places = options.max_batch + options.max_waiting;
    if num_choices <= places {
        return Ok(());
    }
    let message = format!("'n' asks for {num_choices} answers, and this server holds {places}");
    Err(ApiError::field("n", message))
}

/// A field that would change the answer in a way this server has not got, and which of its values
/// ask for nothing.
pub(in super::super) type Unsupported = (&'static str, fn(&Value) -> bool);

/// Refuses fields that ask for something unsupported.
pub(in super::super) fn refuse_unsupported(
    fields: &Fields<'_>,
    unsupported: &[Unsupported],
) -> Result<(), ApiError> {
    for (name, asks_nothing) in unsupported {
        if fields.get(name).is_some_and(|value| !asks_nothing(value)) {
            let message = format!("'{name}' is not supported by this server: leave it out");
            return Err(fields.refuse(name, message));
        }
    }
    Ok(())
}

/// `[]`, `{}` and `""`.
pub(in super::super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

pub(in super::super) fn never(_: &Value) -> bool {
    false
}

/// The `Idempotency-Key` header of a request for `num_choices` answers.
pub(in super::super) fn idempotency_key(
    headers: &HeaderMap,
    num_choices: usize,
) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    if num_choices > MAX_REPLAYED_CHOICES {
        let message = format!(
            "with an Idempotency-Key a request has at most {MAX_REPLAYED_CHOICES} choices, not \
             {num_choices}"
        );
        return Err(ApiError::BadRequest(message));
    }
    match value.to_str() {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY_CHARS).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let message = format!(
                "Idempotency-Key must be 1 to {MAX_IDEMPOTENCY_KEY_CHARS} ASCII characters"
            );
            Err(ApiError::BadRequest(message))
        }
    }
}
