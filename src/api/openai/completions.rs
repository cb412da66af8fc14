//! `POST /v1/completions`: the older route, which continues text without a template.
//! Never knows: how the answer is generated or paid for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::super::AppState;
use super::super::auth::Caller;
use super::super::body::JsonBody;
use super::super::delivery::{Finish, Release};
use super::super::error::ApiError;
use super::super::fields::{Fields, token_id, wrong};
use super::super::generation::{self, GenerationRequest};
use super::super::limits::Admission;
use super::format::format_of;
use super::request::{
    MAX_CHOICES, Options, Unsupported, idempotency_key, is_empty, refuse_unsupported,
    require_a_token, require_places, require_room,
};
use super::respond::{Wire, respond};
use super::types::{CompletionChoice, CompletionLogprobs};
use crate::registry::LoadedModel;
use crate::text::AnswerPart;
use crate::text::{Specials, Tokenizer};

/// OpenAI's default for this route.
pub(in super::super) const DEFAULT_MAX_TOKENS: usize = 16;

/// Alternatives that a token may be told with, at most: OpenAI's bound for this route.
pub(in super::super) const MAX_LOGPROBS: usize = 5;

/// Fields that this server has no answer to, and the values of them that ask for nothing.
const UNSUPPORTED: &[Unsupported] = &[("suffix", is_empty), ("echo", |echo| echo == false)];

/// `POST /v1/completions`
pub(in super::super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    admission: Admission,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields = body.fields();
    let options = Options::read(&fields)?;
    refuse_unsupported(&fields, UNSUPPORTED)?;
    let prompts = Prompt::read(&fields)?;
    let num_choices = prompts.len() * options.n;
    if num_choices > MAX_CHOICES {
        let message =
            format!("prompts times 'n' is {num_choices}, at most {MAX_CHOICES} are taken");
        return Err(fields.refuse("n", message));
    }
    refuse_best_of(&fields, options.n)?;
    let max_tokens = fields.count("max_tokens", 1..=i64::MAX as usize)?;
    let top_logprobs = fields.count("logprobs", 0..=MAX_LOGPROBS)?;
    let format = format_of(&fields)?;
    let idempotency_key = idempotency_key(&headers, num_choices)?;

    let model = state.model(&options.model).await?;
    require_places(&model, num_choices)?;
    require_a_token(&model, options.max_credits)?;
    let sampling = options.sampling.resolve(&model, top_logprobs)?;
    let prompts = encode(&state, &model, prompts).await?;
    for prompt in &prompts {
        require_room(&model, "prompt", prompt.len())?;
    }
    admission.check_prompts("prompt", &prompts)?;
    let constraint = match format {
        Some(format) => Some(format.compile(&state, &model).await?),
        None => None,
    };
    let wire = CompletionWire {
        tokenizer: model.tokenizer.clone(),
        has_logprobs: top_logprobs.is_some(),
        text_offsets: vec![0; num_choices],
    };
    let request = GenerationRequest {
        model,
        caller,
        admission,
        prompts,
        choices_per_prompt: options.n,
        max_tokens: Some(max_tokens.unwrap_or(DEFAULT_MAX_TOKENS)),
        sampling,
        constraint,
        stop: options.stop,
        stop_ids: options.stop_ids,
        max_credits: options.max_credits,
        streamed: options.stream.is_some(),
        idempotency_key,
        body_sha256: body.sha256,
    };
    let started = generation::start(&state, request).await?;
    respond(&state, started, options.stream, wire).await
}

/// All answers are given: choosing the best of more would charge for those thrown away.
fn refuse_best_of(fields: &Fields<'_>, n: usize) -> Result<(), ApiError> {
    match fields.count("best_of", 1..=MAX_CHOICES)? {
        Some(best_of) if best_of != n => {
            let message = format!("'best_of' is {best_of} and only the value of 'n', {n}, works");
            Err(fields.refuse("best_of", message))
        }
        Some(_) | None => Ok(()),
    }
}

/// One prompt as it was sent.
#[derive(Debug)]
enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

impl Prompt {
    /// Reads `prompt`: a string, strings, ids, or lists of ids.
    fn read(fields: &Fields<'_>) -> Result<Vec<Self>, ApiError> {
        let value = fields.require("prompt", fields.get("prompt"))?;
        let expected = "a string, an array of strings, or token ids";
        let items = match value {
            Value::String(text) => return Ok(vec![Self::Text(text.clone())]),
            Value::Array(items) if !items.is_empty() => items,
            other => return Err(wrong("prompt", expected, other)),
        };
        if items[0].is_number() {
            return Ok(vec![Self::Ids(ids_of(value, "prompt")?)]);
        }
        let mut prompts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("prompt[{index}]");
            prompts.push(match item {
                Value::String(text) => Self::Text(text.clone()),
                Value::Array(_) => Self::Ids(ids_of(item, &path)?),
                other => return Err(wrong(&path, expected, other)),
            });
        }
        Ok(prompts)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            // Ids are only copied.
            Self::Ids(_) => 0,
        }
    }

    fn encode(self, tokenizer: &Tokenizer) -> Vec<u32> {
        match self {
            Self::Text(text) => {
                let mut ids: Vec<u32> = tokenizer.bos_prefix().into_iter().collect();
                ids.extend(tokenizer.encode(&text, Specials::Plain));
                ids
            }
            Self::Ids(ids) => ids,
        }
    }
}

fn ids_of(list: &Value, path: &str) -> Result<Vec<u32>, ApiError> {
    let ids = list.as_array().into_iter().flatten();
    ids.map(|id| token_id(id).ok_or_else(|| wrong(path, "token ids", id))).collect()
}

/// The prompts' ids, each one of the model's.
async fn encode(
    state: &AppState,
    model: &Arc<LoadedModel>,
    prompts: Vec<Prompt>,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let bytes = prompts.iter().map(Prompt::bytes).sum();
    let tokenizer = model.tokenizer.clone();
    let encode = move || prompts.into_iter().map(|prompt| prompt.encode(&tokenizer)).collect();
    let prompts: Vec<Vec<u32>> = state.text_work(bytes, encode).await?;
    let vocab_size = model.tokenizer.vocab_size();
    if let Some(id) = prompts.iter().flatten().find(|id| **id as usize >= vocab_size) {
        let message = format!("token id {id} is not one of this model's {vocab_size}");
        return Err(ApiError::field("prompt", message));
    }
    Ok(prompts)
}

/// Writes answers and chunks of text completions.
#[derive(Debug)]
struct CompletionWire {
    tokenizer: Arc<Tokenizer>,
    has_logprobs: bool,
    /// Of each choice: characters written so far.
    text_offsets: Vec<usize>,
}

impl Wire for CompletionWire {
    type Choice = CompletionChoice;
    type Chunk = CompletionChoice;
    const ID_PREFIX: &'static str = "cmpl";
    const OBJECT: &'static str = "text_completion";
    const CHUNK_OBJECT: &'static str = "text_completion";

    fn choice(&mut self, release: Release, finish: Finish) -> CompletionChoice {
        CompletionChoice { finish_reason: Some(finish.wire()), ..self.text(release) }
    }

    fn chunks(&mut self, release: Release) -> Vec<CompletionChoice> {
        vec![self.text(release)]
    }

    fn opening(&mut self, _choice: usize) -> Option<CompletionChoice> {
        None
    }

    fn finish(&mut self, choice: usize, finish: Finish) -> CompletionChoice {
        let finish_reason = Some(finish.wire());
        CompletionChoice { text: String::new(), index: choice, logprobs: None, finish_reason }
    }
}

impl CompletionWire {
    fn text(&mut self, release: Release) -> CompletionChoice {
        let offset = &mut self.text_offsets[release.choice];
        let logprobs = self
            .has_logprobs
            .then(|| CompletionLogprobs::new(&self.tokenizer, &release.logprobs, offset));
        // This route asks for text, and for nothing to be made of it.
        let text = release.parts.into_iter().map(|part| match part {
            AnswerPart::Content(text) => text,
            _ => String::new(),
        });
        CompletionChoice {
            text: text.collect(),
            index: release.choice,
            logprobs,
            finish_reason: None,
        }
    }
}
