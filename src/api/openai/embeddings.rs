//! `POST /v1/embeddings`: a vector for each text.
//!
//! Input is free, so it costs nothing: no meter is opened, and an account without credits is
//! served too. What bounds it are the plan's limits, as for every other input, and those here.
//! Promises: vectors have length 1; a text's vector does not depend on what else is asked for.
//! Never knows: how vectors are made.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tokio::time::timeout;

use super::super::AppState;
use super::super::auth::Caller;
use super::super::body::JsonBody;
use super::super::error::ApiError;
use super::super::fields::Fields;
use super::super::generation::{context_length, price};
use super::super::limits::Admission;
use super::super::middleware::{CREDITS_BALANCE, CREDITS_CHARGED};
use super::prompt::{EncodeFor, Prompt, encode};
use super::types::EmbeddingUsage;
use crate::engine::{EmbeddingRequest, EmbeddingStream, FinishReason, SubmitError};
use crate::registry::{Embedding, LoadedModel};

/// Texts of one request, at most: OpenAI's bound, up to which clients gather them.
pub(in super::super) const MAX_INPUTS: usize = 2_048;

/// Tokens of all of them, at most: OpenAI's bound.
const MAX_INPUT_TOKENS: usize = 300_000;

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Float,
    /// Of little-endian 32-bit floats: what OpenAI's own clients ask for.
    Base64,
}

/// `POST /v1/embeddings`
pub(in super::super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    admission: Admission,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields = body.fields();
    let name = fields.require("model", fields.string("model")?)?;
    let encoding = encoding(&fields)?;
    let dimensions = fields.count("dimensions", 1..=i64::MAX as usize)?;
    let inputs = Prompt::read(&fields, "input")?;
    if inputs.len() > MAX_INPUTS {
        let message = format!("'input' has {} texts and may have {MAX_INPUTS}", inputs.len());
        return Err(fields.refuse("input", message));
    }
    // Elsewhere opening a meter sees to that.
    if caller.key.account_closed {
        return Err(ApiError::AccountClosed);
    }
    if caller.key.account_frozen {
        return Err(ApiError::AccountFrozen);
    }

    let model = state.model(name).await?;
    let embedding = model.embedding.clone().map_err(|why| {
        let message = format!("'{}' gives no vectors: {why}", model.entry.id);
        ApiError::field("model", message)
    })?;
    let size = size(&embedding, dimensions)?;
    let (inputs, _) = encode(&state, &model, "input", inputs, EncodeFor::Embedding).await?;
    let input_tokens = check_lengths(&model, &inputs)?;
    admission.check_prompts("input", &inputs)?;
    admission.take_input(input_tokens)?;

    let mut running = state.lifecycle.begin().ok_or(ApiError::ShuttingDown)?;
    // Whoever hangs up drops this, and with it what the engine has of it.
    let vectors = tokio::select! {
        biased;
        () = running.stopping() => return Err(ApiError::ShuttingDown),
        vectors = embed(&state, &model, caller.lane(), &embedding, inputs) => vectors?,
    };
    let account = caller.key.account;
    let totals = state.read_ledger(move |ledger| ledger.account_totals(account)).await?;
    // Accounts are closed, never deleted.
    let balance = totals.ok_or(ApiError::Internal)?.balance.0;
    let usage = EmbeddingUsage::new(input_tokens, price(&model).credits_per_token, balance);
    let id = model.entry.id.clone();
    let bytes = vectors.len() * size * size_of::<f32>();
    let write = move || List::write(id, vectors, size, encoding, usage);
    let body = state.text_work(bytes, write).await?;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CREDITS_CHARGED, HeaderValue::from(0));
    headers.insert(CREDITS_BALANCE, HeaderValue::from(balance));
    Ok(response)
}

fn encoding(fields: &Fields<'_>) -> Result<Encoding, ApiError> {
    match fields.string("encoding_format")? {
        None | Some("float") => Ok(Encoding::Float),
        Some("base64") => Ok(Encoding::Base64),
        Some(other) => {
            let message = format!("'encoding_format' is '{other}' and must be 'float' or 'base64'");
            Err(fields.refuse("encoding_format", message))
        }
    }
}

/// Values of each vector. Fewer than the model makes mean something only where it was trained for
/// that: such a vector's first values are a vector too (Matryoshka, arXiv 2205.13147).
fn size(embedding: &Embedding, dimensions: Option<usize>) -> Result<usize, ApiError> {
    let full = embedding.size;
    let dimensions = dimensions.unwrap_or(full);
    match embedding.min_dimensions {
        _ if dimensions == full => Ok(full),
        Some(least) if (least..full).contains(&dimensions) => Ok(dimensions),
        Some(least) => {
            let message =
                format!("'dimensions' is {dimensions} and must be from {least} to {full}");
            Err(ApiError::field("dimensions", message))
        }
        None => {
            let message = format!(
                "'dimensions' is {dimensions}, and this model's vectors have {full}: it is not \
                 known to be trained for shorter ones"
            );
            Err(ApiError::field("dimensions", message))
        }
    }
}

/// The tokens of all texts, each of which fits the model's context.
fn check_lengths(model: &LoadedModel, inputs: &[Vec<u32>]) -> Result<usize, ApiError> {
    let context_length = context_length(model);
    for (index, input) in inputs.iter().enumerate() {
        if input.is_empty() {
            let message = format!("text {index} of 'input' holds no tokens");
            return Err(ApiError::field("input", message));
        }
        if input.len() > context_length {
            return Err(ApiError::InputLength { index, tokens: input.len(), context_length });
        }
    }
    let total = inputs.iter().map(Vec::len).sum();
    if total > MAX_INPUT_TOKENS {
        let message =
            format!("'input' has {total} tokens and may have {MAX_INPUT_TOKENS}: send it in parts");
        return Err(ApiError::field("input", message));
    }
    Ok(total)
}

/// The texts' vectors, within the time that requests have.
async fn embed(
    state: &AppState,
    model: &LoadedModel,
    lane: u64,
    embedding: &Embedding,
    inputs: Vec<Vec<u32>>,
) -> Result<Vec<Vec<f32>>, ApiError> {
    let late = |max: Duration| move |_| ApiError::TooBusy { max_secs: max.as_secs() };
    let first_timeout = state.config.first_token_timeout;
    let vectors = async {
        let requests = inputs.into_iter();
        let requests =
            requests.map(|prompt| EmbeddingRequest { lane, prompt, pooling: embedding.pooling });
        let mut queue = Queue { model, waiting: requests.collect(), running: VecDeque::new() };
        let mut vectors = Vec::with_capacity(queue.waiting.len());
        let first = timeout(first_timeout, queue.next()).await.map_err(late(first_timeout))?;
        vectors.extend(first?);
        while let Some(vector) = queue.next().await? {
            vectors.push(vector);
        }
        Ok(vectors)
    };
    match state.config.request_timeout {
        Some(max) => timeout(max, vectors).await.map_err(late(max))?,
        None => vectors.await,
    }
}

/// A request's texts on their way through the engine, in order, a batch of them at a time: more
/// would take the places of other callers.
struct Queue<'a> {
    model: &'a LoadedModel,
    waiting: VecDeque<EmbeddingRequest>,
    running: VecDeque<EmbeddingStream>,
}

impl Queue<'_> {
    /// The next text's vector; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<f32>>, ApiError> {
        let engine = &self.model.engine;
        while self.running.len() < engine.options().max_batch
            && let Some(request) = self.waiting.front()
        {
            match engine.embed(request.clone()) {
                Ok(stream) => {
                    self.running.push_back(stream);
                    self.waiting.pop_front();
                }
                // A place is free again when one of ours has ended.
                Err(SubmitError::QueueFull { .. }) if !self.running.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        let Some(mut stream) = self.running.pop_front() else { return Ok(None) };
        match stream.vector().await {
            Ok(vector) => Ok(Some(vector)),
            Err(FinishReason::Aborted) => Err(ApiError::ShuttingDown),
            Err(_) => Err(ApiError::EngineFailed),
        }
    }
}

/// The answer.
#[derive(Debug, Serialize)]
struct List {
    object: &'static str,
    data: Vec<Item>,
    model: String,
    usage: EmbeddingUsage,
}

#[derive(Debug, Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Values,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Values {
    Float(Vec<f32>),
    Base64(String),
}

impl List {
    fn write(
        model: String,
        vectors: Vec<Vec<f32>>,
        size: usize,
        encoding: Encoding,
        usage: EmbeddingUsage,
    ) -> Vec<u8> {
        let data = vectors.into_iter().enumerate().map(|(index, vector)| {
            let vector = unit(vector, size);
            let embedding = match encoding {
                Encoding::Float => Values::Float(vector),
                Encoding::Base64 => {
                    let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
                    Values::Base64(STANDARD.encode(bytes))
                }
            };
            Item { object: "embedding", index, embedding }
        });
        let list = List { object: "list", data: data.collect(), model, usage };
        serde_json::to_vec(&list).expect("numbers and strings are JSON")
    }
}

/// The first `size` values, scaled to length 1.
fn unit(mut vector: Vec<f32>, size: usize) -> Vec<f32> {
    vector.truncate(size);
    let square: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
    // All zeros has no direction, and stays.
    let scale = if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 };
    vector.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one() {
        assert_eq!(unit(vec![3.0, 4.0], 2), [0.6, 0.8]);
        assert_eq!(unit(vec![3.0, 4.0, 12.0], 2), [0.6, 0.8]);
        assert_eq!(unit(vec![-2.0], 1), [-1.0]);
        assert_eq!(unit(vec![0.0, 0.0], 2), [0.0, 0.0]);
        // Squares beyond what a 32-bit float holds.
        let huge = 2.0_f32.powi(100);
        assert_eq!(unit(vec![3.0 * huge, 4.0 * huge], 2), [0.6, 0.8]);
    }

    #[test]
    fn base64_is_of_little_endian_floats() {
        let usage = EmbeddingUsage::new(1, 2, 3);
        let body = List::write("m".to_owned(), vec![vec![5.0]], 1, Encoding::Base64, usage);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["data"][0]["embedding"], "AACAPw==");
    }
}
