//! `POST /v1/messages`.
//! Never knows: how the answer is generated or paid for.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::super::AppState;
use super::super::auth::Caller;
use super::super::body::JsonBody;
use super::super::conversation::{self, ChatRequest};
use super::super::error::ApiError;
use super::super::event_stream::event_stream;
use super::super::fields::{Fields, wrong};
use super::super::format::Format;
use super::super::generation::{Started, context_length};
use super::super::limits::Admission;
use super::super::middleware::{CREDITS_BALANCE, CREDITS_CHARGED, REPLAYED};
use super::super::openai::{
    MAX_STOP_BYTES, Unsupported, idempotency_key, is_empty, json_schema, max_credits, never,
    refuse_unsupported,
};
use super::super::sampling::SamplingFields;
use super::answer::{Ending, Message, blocks_of};
use super::blocks::prompt_of;
use super::stream::{Content, Events};

/// Stop sequences of one request, at most. Anthropic tells no bound.
pub(in super::super) const MAX_STOPS: usize = 64;

/// Anthropic's bound, which is lower than OpenAI's.
pub(in super::super) const MAX_TEMPERATURE: f64 = 1.0;

/// Fields that this server has no answer to, and the values of them that ask for nothing.
const UNSUPPORTED: &[Unsupported] = &[("container", never), ("mcp_servers", is_empty)];

/// `POST /v1/messages`
pub(in super::super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    admission: Admission,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields = body.fields();
    refuse_unsupported(&fields, UNSUPPORTED)?;
    let max_tokens = fields.count("max_tokens", 1..=i64::MAX as usize)?;
    let max_tokens = fields.require("max_tokens", max_tokens)?;
    let streamed = fields.boolean("stream")?.unwrap_or(false);
    let request = ChatRequest {
        model: fields.require("model", fields.string("model")?)?.to_owned(),
        prompt: prompt_of(&fields, body.len)?,
        n: 1,
        max_tokens: Some(max_tokens),
        sampling: sampling(&fields)?,
        top_logprobs: None,
        stop: stop_sequences(&fields)?,
        stop_ids: Vec::new(),
        format: format_of(&fields)?,
        max_credits: max_credits(&fields)?,
        streamed,
        idempotency_key: idempotency_key(&headers, 1)?,
        body_sha256: body.sha256,
    };
    let started = conversation::start(&state, caller, admission, request).await?;
    let room = context_length(&started.model).saturating_sub(started.admitted.prompt_tokens);
    respond(&state, started, streamed, room < max_tokens).await
}

/// The fields that both APIs have by the same names, and this server's extensions; Anthropic's
/// temperature ends at 1.
fn sampling(fields: &Fields<'_>) -> Result<SamplingFields, ApiError> {
    fields.number("temperature", 0.0..=MAX_TEMPERATURE)?;
    SamplingFields::read(fields)
}

fn stop_sequences(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let list = fields.array("stop_sequences")?.map_or(&[][..], Vec::as_slice);
    if list.len() > MAX_STOPS {
        let length = list.len();
        let message = format!("'stop_sequences' has {length} strings and may have {MAX_STOPS}");
        return Err(fields.refuse("stop_sequences", message));
    }
    let read = |(index, stop): (usize, &Value)| match stop.as_str() {
        Some(stop) if (1..=MAX_STOP_BYTES).contains(&stop.len()) => Ok(stop.to_owned()),
        Some(stop) => {
            let (path, length) = (format!("stop_sequences[{index}]"), stop.len());
            let message = format!("'{path}' has {length} bytes and takes 1 to {MAX_STOP_BYTES}");
            Err(ApiError::field(path, message))
        }
        None => Err(wrong("stop_sequences", "an array of strings", stop)),
    };
    list.iter().enumerate().map(read).collect()
}

/// `output_config.format`, or the field's older place.
fn format_of(fields: &Fields<'_>) -> Result<Option<Format>, ApiError> {
    let config = fields.fields("output_config")?;
    let format = config.map(|config| config.fields("format")).transpose()?.flatten();
    let Some(format) = format.or(fields.fields("output_format")?) else { return Ok(None) };
    match format.require("type", format.string("type")?)? {
        "json_schema" => json_schema(&format).map(Some),
        other => {
            let message =
                format!("formats of type '{other}' are not supported, only 'json_schema'");
            Err(format.refuse("type", message))
        }
    }
}

/// Answers with what a generation delivers.
async fn respond(
    state: &AppState,
    started: Started,
    streamed: bool,
    is_bound_by_context: bool,
) -> Result<Response, ApiError> {
    let Started { model, num_choices, admitted, deliveries } = started;
    let generation = admitted.id;
    let begun = Message::begun(&generation, &model.entry.id, admitted.prompt_tokens);
    let mut response = if streamed {
        let events = Events { generation, begun, is_bound_by_context, content: Content::default() };
        event_stream(deliveries, state.config.keep_alive, events)
    } else {
        let answer = deliveries.collect(num_choices).await?;
        let usage = answer.summary.usage;
        let parts = answer.choices.into_iter().flat_map(|choice| choice.parts).collect();
        let ending = Ending::of(&answer.summary, is_bound_by_context);
        let message = begun.ended(blocks_of(parts, &generation), ending, &usage);
        let mut response = Json(message).into_response();
        let headers = response.headers_mut();
        headers.insert(CREDITS_CHARGED, HeaderValue::from(usage.credits));
        headers.insert(CREDITS_BALANCE, HeaderValue::from(usage.balance));
        // From here to the connection there is no await: the answer is on its way.
        answer.summary.receipt.confirm();
        response
    };
    if admitted.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
