//! `POST /v1/completions`: the older route, which continues text without a template.
//! Never knows: how the answer is generated or paid for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::AppState;
use super::super::auth::Caller;
use super::super::body::JsonBody;
use super::super::delivery::{Finish, Release};
use super::super::error::ApiError;
use super::super::fields::Fields;
use super::super::generation::{self, GenerationRequest};
use super::super::limits::Admission;
use super::format::format_of;
use super::prompt::{EncodeFor, Prompt, encode};
use super::request::{
    MAX_CHOICES, Options, idempotency_key, is_empty, require_a_token, require_places, require_room,
};
use super::respond::{Wire, respond};
use super::types::{CompletionChoice, CompletionLogprobs};
use crate::text::{AnswerPart, AnswerRules, Tokenizer};

/// OpenAI's default for this route.
pub(in super::super) const DEFAULT_MAX_TOKENS: usize = 16;

/// Alternatives that a token may be told with, at most: OpenAI's bound for this route.
pub(in super::super) const MAX_LOGPROBS: usize = 5;

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
    refuse_suffix(&fields)?;
    let echoes = fields.boolean("echo")?.unwrap_or(false);
    let prompts = Prompt::read(&fields, "prompt")?;
    let num_choices = prompts.len() * options.n;
    if num_choices > MAX_CHOICES {
        let message =
            format!("prompts times 'n' is {num_choices}, at most {MAX_CHOICES} are taken");
        return Err(fields.refuse("n", message));
    }
    refuse_best_of(&fields, options.n)?;
    // Whoever has the prompt echoed may want nothing but its log probabilities.
    let least_tokens = usize::from(!echoes);
    let max_tokens = fields.count("max_tokens", least_tokens..=i64::MAX as usize)?;
    let top_logprobs = fields.count("logprobs", 0..=MAX_LOGPROBS)?;
    let format = format_of(&fields)?;
    let idempotency_key = idempotency_key(&headers, num_choices)?;

    let model = state.model(&options.model).await?;
    require_places(&model, num_choices)?;
    require_a_token(&model, options.max_credits)?;
    let mut sampling = options.sampling.resolve(&model, top_logprobs)?;
    if echoes && top_logprobs.is_some() {
        sampling.prompt_logprobs = top_logprobs;
        // Programs that score prompts ask for one token more and cut the last one off.
        sampling.min_tokens = sampling.min_tokens.max(1);
    }
    let (prompts, sent) =
        encode(&state, &model, "prompt", prompts, EncodeFor::Continuation).await?;
    for prompt in &prompts {
        require_room(&model, "prompt", prompt.len())?;
    }
    admission.check_prompts("prompt", &prompts)?;
    let constraint = match format {
        Some(format) => Some(format.compile(&model, caller.lane()).await?),
        None => None,
    };
    let wire = CompletionWire {
        tokenizer: model.tokenizer.clone(),
        has_logprobs: top_logprobs.is_some(),
        text_offsets: vec![0; num_choices],
        echoes: if echoes { Echo::of(&model.tokenizer, sent, &prompts) } else { Vec::new() },
        choices_per_prompt: options.n,
        has_echoed: vec![!echoes; num_choices],
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
        answers: AnswerRules::default(),
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

/// Said apart from other fields, since it is one that clients know from elsewhere.
fn refuse_suffix(fields: &Fields<'_>) -> Result<(), ApiError> {
    match fields.get("suffix") {
        Some(suffix) if !is_empty(suffix) => {
            let message = "'suffix' is not supported: models continue text here, and do not fill \
                           in what is between two texts; leave it out";
            Err(fields.refuse("suffix", message))
        }
        Some(_) | None => Ok(()),
    }
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

/// Writes answers and chunks of text completions.
#[derive(Debug)]
struct CompletionWire {
    tokenizer: Arc<Tokenizer>,
    has_logprobs: bool,
    /// Of each choice: characters written so far.
    text_offsets: Vec<usize>,
    /// Of each prompt, where it is to come before its answers.
    echoes: Vec<Echo>,
    choices_per_prompt: usize,
    /// Of each choice: whether nothing has to come before its answer any more.
    has_echoed: Vec<bool>,
}

/// A prompt that is given back.
#[derive(Debug)]
struct Echo {
    text: String,
    ids: Vec<u32>,
}

impl Echo {
    fn of(tokenizer: &Tokenizer, prompts: Vec<Prompt>, ids: &[Vec<u32>]) -> Vec<Self> {
        let texts = prompts.into_iter().map(|prompt| prompt.into_text(tokenizer));
        texts.zip(ids).map(|(text, ids)| Self { text, ids: ids.clone() }).collect()
    }
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

    fn opening(&mut self, choice: usize) -> Option<CompletionChoice> {
        let is_due = !self.has_echoed[choice];
        is_due.then(|| self.text(Release { choice, ..Release::default() }))
    }

    fn finish(&mut self, choice: usize, finish: Finish) -> CompletionChoice {
        let finish_reason = Some(finish.wire());
        CompletionChoice { text: String::new(), index: choice, logprobs: None, finish_reason }
    }
}

impl CompletionWire {
    fn text(&mut self, release: Release) -> CompletionChoice {
        let index = release.choice;
        let offset = &mut self.text_offsets[index];
        let mut text = String::new();
        let mut logprobs = CompletionLogprobs::default();
        if !std::mem::replace(&mut self.has_echoed[index], true) {
            let echo = &self.echoes[index / self.choices_per_prompt];
            text.push_str(&echo.text);
            *offset += echo.text.chars().count();
            if let Some(of_prompt) = &release.prompt_logprobs {
                logprobs.add_prompt(&self.tokenizer, &echo.text, &echo.ids, of_prompt);
            }
        }
        logprobs.add(&self.tokenizer, &release.logprobs, offset);
        for part in release.parts {
            // This route asks for text, and for nothing to be made of it.
            if let AnswerPart::Content(content) = part {
                text.push_str(&content);
            }
        }
        let logprobs = self.has_logprobs.then_some(logprobs);
        CompletionChoice { text, index, logprobs, finish_reason: None }
    }
}
