//! From messages to a generation: template, token ids, bounds.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::AppState;
use super::super::auth::Caller;
use super::super::error::ApiError;
use super::super::format::Format;
use super::super::generation::{self, GenerationRequest, Started};
use super::super::limits::Admission;
use super::super::openai::{require_a_token, require_places, require_room};
use super::super::sampling::SamplingFields;
use super::answer_grammar::AnswerGrammar;
use super::tools::ToolUse;
use crate::registry::LoadedModel;
use crate::text::{AnswerRules, ChatMessage, ChatTemplate, Opening, Segment, TemplateOptions};

/// A conversation to go on with, and how.
#[derive(Debug)]
pub(in super::super) struct ChatRequest {
    /// As the caller named it.
    pub(in super::super) model: String,
    pub(in super::super) prompt: Prompt,
    /// Answers.
    pub(in super::super) n: usize,
    /// `None`: as many as the context holds.
    pub(in super::super) max_tokens: Option<usize>,
    pub(in super::super) sampling: SamplingFields,
    /// How many alternatives each token is told with; `None`: no log probabilities.
    pub(in super::super) top_logprobs: Option<usize>,
    /// What the answers have to look like.
    pub(in super::super) format: Option<Format>,
    /// Strings that end an answer and are not part of it.
    pub(in super::super) stop: Vec<String>,
    /// Ids that end an answer, besides those that end the model's turn.
    pub(in super::super) stop_ids: Vec<u32>,
    /// Credits that all answers together may cost.
    pub(in super::super) max_credits: Option<i64>,
    pub(in super::super) streamed: bool,
    pub(in super::super) idempotency_key: Option<String>,
    pub(in super::super) body_sha256: [u8; 32],
}

/// What a chat template is rendered with.
#[derive(Debug)]
pub(in super::super) struct Prompt {
    pub(in super::super) messages: Vec<ChatMessage>,
    /// The field of the body that they came in: refusals name it.
    pub(in super::super) field: &'static str,
    pub(in super::super) tools: ToolUse,
    /// Whether the model should reason first; `None`: its own default.
    pub(in super::super) enable_thinking: Option<bool>,
    /// Whether the last message is the assistant's own, to be gone on with.
    pub(in super::super) continues: bool,
    /// Further variables of the template.
    pub(in super::super) variables: Map<String, Value>,
    /// Length of the whole body, any field of which a template may write out.
    pub(in super::super) bytes: usize,
}

/// Starts the generation that a request asks for.
pub(in super::super) async fn start(
    state: &AppState,
    caller: Caller,
    admission: Admission,
    request: ChatRequest,
) -> Result<Started, ApiError> {
    let model = state.model(&request.model).await?;
    require_places(&model, request.n)?;
    require_a_token(&model, request.max_credits)?;
    let sampling = request.sampling.resolve(&model, request.top_logprobs)?;
    let field = request.prompt.field;
    let prepared = prepare(state, &model, request.prompt, request.format).await?;
    let Prepared { ids, answers, grammar } = prepared;
    require_room(&model, field, ids.len())?;
    let prompts = vec![ids];
    admission.check_prompts(field, &prompts)?;
    let constraint = match grammar {
        Some(grammar) => Some(grammar.compile(&model, caller.lane()).await?),
        None => None,
    };
    let request = GenerationRequest {
        model,
        caller,
        admission,
        prompts,
        choices_per_prompt: request.n,
        max_tokens: request.max_tokens,
        sampling,
        constraint,
        answers,
        stop: request.stop,
        stop_ids: request.stop_ids,
        max_credits: request.max_credits,
        streamed: request.streamed,
        idempotency_key: request.idempotency_key,
        body_sha256: request.body_sha256,
    };
    generation::start(state, request).await
}

/// The prompt's text; a long one is rendered where blocking is allowed.
pub(in super::super) async fn render(
    state: &AppState,
    model: &Arc<LoadedModel>,
    prompt: Prompt,
) -> Result<Vec<Segment>, ApiError> {
    let (model, now) = (model.clone(), state.now_secs());
    state.text_work(prompt.bytes, move || prompt.render(&model, now)).await?
}

/// The prompt's ids.
pub(in super::super) async fn encode(
    state: &AppState,
    model: &Arc<LoadedModel>,
    prompt: Prompt,
) -> Result<Vec<u32>, ApiError> {
    let (model, now, bytes) = (model.clone(), state.now_secs(), prompt.bytes);
    let encode = move || {
        let segments = prompt.render(&model, now)?;
        Ok(model.tokenizer.encode_prompt(&segments))
    };
    state.text_work(bytes, encode).await?
}

/// A prompt, and what it says about answers to it.
struct Prepared {
    ids: Vec<u32>,
    /// How they are read.
    answers: AnswerRules,
    /// What they have to look like.
    grammar: Option<AnswerGrammar>,
}

async fn prepare(
    state: &AppState,
    model: &Arc<LoadedModel>,
    prompt: Prompt,
    wanted: Option<Format>,
) -> Result<Prepared, ApiError> {
    let (model, now, bytes) = (model.clone(), state.now_secs(), prompt.bytes);
    let prepare = move || {
        let segments = prompt.render(&model, now)?;
        let ids = model.tokenizer.encode_prompt(&segments);
        let prefill = prompt.messages.last().filter(|_| prompt.continues);
        let prefill = prefill.and_then(|message| message.content.as_deref());
        let opening = Opening::of_prompt(&segments, prefill);
        let format = Prompt::template(&model)?.format();
        let answers = format.rules(prompt.tools.offer(format.syntax), opening);
        let tokenizer = &model.tokenizer;
        let grammar = AnswerGrammar::new(&prompt.tools, wanted, format, opening, tokenizer);
        Ok(Prepared { ids, answers, grammar })
    };
    state.text_work(bytes, prepare).await?
}

impl Prompt {
    /// The text as the model's template writes it.
    fn render(&self, model: &LoadedModel, now: i64) -> Result<Vec<Segment>, ApiError> {
        let template = Self::template(model)?;
        let options = TemplateOptions {
            add_generation_prompt: !self.continues,
            continues_last: self.continues,
            now,
            enable_thinking: self.enable_thinking,
            variables: self.variables.clone(),
            tools: self.tools.for_template(),
        };
        template.render_with_tools(&self.messages, &options).map_err(|error| {
            let field = self.field;
            ApiError::field(field, format!("'{field}' can not be used: {error}"))
        })
    }

    fn template(model: &LoadedModel) -> Result<&ChatTemplate, ApiError> {
        model.chat_template.as_ref().ok_or_else(|| {
            let id = &model.entry.id;
            let message =
                format!("'{id}' has no chat template: it completes text, at /v1/completions");
            ApiError::field("model", message)
        })
    }
}
