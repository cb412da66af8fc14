//! `POST /v1/chat/completions`.
//! Never knows: how the answer is generated or paid for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value};

use super::super::AppState;
use super::super::auth::Caller;
use super::super::body::JsonBody;
use super::super::delivery::{Finish, Release};
use super::super::error::ApiError;
use super::super::fields::{Fields, wrong};
use super::super::generation::GenerationRequest;
use super::super::limits::Admission;
use super::request::{
    Options, Unsupported, idempotency_key, is_empty, never, refuse_unsupported, require_places,
    require_room,
};
use super::respond::{Wire, respond};
use super::types::{ChatAnswer, ChatChoice, ChatChunkChoice, ChatDelta, ChatLogprobs};
use crate::registry::LoadedModel;
use crate::text::{ChatMessage, Segment, TemplateOptions, Tokenizer};

const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// Fields that this server has no answer to, and the values of them that ask for nothing.
const UNSUPPORTED: &[Unsupported] = &[
    ("tools", is_empty),
    ("functions", is_empty),
    ("tool_choice", |choice| choice == "none" || choice == "auto"),
    ("function_call", |choice| choice == "none" || choice == "auto"),
    ("response_format", |format| format["type"] == "text"),
    ("modalities", |modalities| *modalities == serde_json::json!(["text"])),
    ("audio", never),
    ("web_search_options", never),
];

/// `POST /v1/chat/completions`
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
    let prompt = ChatPrompt::read(&fields, body.len)?;
    let max_tokens = max_tokens(&fields)?;
    let top_logprobs = top_logprobs(&fields)?;
    let idempotency_key = idempotency_key(&headers, options.n)?;

    let model = state.model(&options.model).await?;
    require_places(&model, options.n)?;
    let sampling = options.sampling(&model, top_logprobs)?;
    let ids = encode_chat(&state, &model, prompt).await?;
    require_room(&model, "messages", ids.len())?;
    let prompts = vec![ids];
    admission.check_prompts("messages", &prompts)?;
    let tokenizer = model.tokenizer.clone();
    let request = GenerationRequest {
        model,
        caller,
        admission,
        prompts,
        choices_per_prompt: options.n,
        max_tokens,
        sampling,
        stop: options.stop,
        streamed: options.stream.is_some(),
        idempotency_key,
        body_sha256: body.sha256,
    };
    let wire = ChatWire {
        tokenizer,
        has_logprobs: top_logprobs.is_some(),
        has_opened: vec![false; options.n],
    };
    respond(&state, request, options.stream, wire).await
}

/// The newer name wins where both are given.
fn max_tokens(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let any = 1..=i64::MAX as usize;
    let older = fields.count("max_tokens", any.clone())?;
    Ok(fields.count("max_completion_tokens", any)?.or(older))
}

/// How many alternatives each token is told with; `None` without `logprobs`.
fn top_logprobs(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0..=20)?;
    match (wanted, top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            Err(fields.refuse("top_logprobs", "'top_logprobs' needs 'logprobs': true"))
        }
    }
}

/// What a request's template is rendered with.
#[derive(Debug)]
pub(in super::super) struct ChatPrompt {
    messages: Vec<ChatMessage>,
    /// `chat_template_kwargs`: further variables of the template.
    variables: Map<String, Value>,
    /// Length of the whole body, any field of which a template may write out.
    bytes: usize,
}

impl ChatPrompt {
    /// Reads `messages` and `chat_template_kwargs` of a body of `bytes` length.
    pub(in super::super) fn read(fields: &Fields<'_>, bytes: usize) -> Result<Self, ApiError> {
        let list = fields.require("messages", fields.array("messages")?)?;
        if list.is_empty() {
            return Err(fields.refuse("messages", "'messages' needs at least one message"));
        }
        let mut messages = Vec::with_capacity(list.len());
        for (index, message) in list.iter().enumerate() {
            messages.push(message_of(&Fields::at(message, format!("messages[{index}]"))?)?);
        }
        let variables = fields.fields("chat_template_kwargs")?;
        let variables = variables.map(|fields| fields.object().clone()).unwrap_or_default();
        Ok(Self { messages, variables, bytes })
    }

    /// The prompt's text as the model's template writes it.
    fn render(&self, model: &LoadedModel, now: i64) -> Result<Vec<Segment>, ApiError> {
        let Some(template) = &model.chat_template else {
            let id = &model.entry.id;
            let message =
                format!("'{id}' has no chat template: it completes text, at /v1/completions");
            return Err(ApiError::field("model", message));
        };
        let options = TemplateOptions {
            add_generation_prompt: true,
            now,
            enable_thinking: self.variables.get("enable_thinking").and_then(Value::as_bool),
            variables: self.variables.clone(),
            tools: None,
        };
        template.render(&self.messages, &options).map_err(|error| {
            ApiError::field("messages", format!("'messages' can not be used: {error}"))
        })
    }
}

/// The prompt's text; a long one is rendered where blocking is allowed.
pub(in super::super) async fn render_chat(
    state: &AppState,
    model: &Arc<LoadedModel>,
    prompt: ChatPrompt,
) -> Result<Vec<Segment>, ApiError> {
    let (model, now) = (model.clone(), state.now_secs());
    state.text_work(prompt.bytes, move || prompt.render(&model, now)).await?
}

/// The prompt's ids.
async fn encode_chat(
    state: &AppState,
    model: &Arc<LoadedModel>,
    prompt: ChatPrompt,
) -> Result<Vec<u32>, ApiError> {
    let (model, now, bytes) = (model.clone(), state.now_secs(), prompt.bytes);
    let encode = move || {
        let segments = prompt.render(&model, now)?;
        Ok(model.tokenizer.encode_prompt(&segments))
    };
    state.text_work(bytes, encode).await?
}

fn message_of(fields: &Fields<'_>) -> Result<ChatMessage, ApiError> {
    let role = fields.require("role", fields.string("role")?)?;
    if !ROLES.contains(&role) {
        let message = format!("'{role}' is no role; use one of {}", ROLES.join(", "));
        return Err(fields.refuse("role", message));
    }
    let mut extra = Map::new();
    for name in ["name", "tool_call_id"] {
        if let Some(text) = fields.string(name)? {
            extra.insert(name.to_owned(), text.into());
        }
    }
    // Clients send back either name, as they got it.
    let reasoning = fields.string("reasoning_content")?.or(fields.string("reasoning")?);
    if let Some(reasoning) = reasoning {
        extra.insert("reasoning_content".to_owned(), reasoning.into());
    }
    let tool_calls = fields.array("tool_calls")?.filter(|calls| !calls.is_empty());
    if let Some(calls) = tool_calls {
        extra.insert("tool_calls".to_owned(), calls.clone().into());
    }
    let content = match content_of(fields)? {
        // A turn that only calls tools has no text; elsewhere no text is empty text.
        None if tool_calls.is_some() => None,
        content => Some(content.unwrap_or_default()),
    };
    let role = if role == "developer" { "system" } else { role };
    Ok(ChatMessage { role: role.to_owned(), content, extra })
}

/// `content`: a string, or parts of which each is text; they are joined by line breaks.
fn content_of(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let parts = match fields.get("content") {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Array(parts)) => parts,
        Some(other) => {
            return Err(wrong(&fields.path("content"), "a string or an array of parts", other));
        }
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let part = Fields::at(part, format!("{}[{index}]", fields.path("content")))?;
        match part.require("type", part.string("type")?)? {
            "text" => texts.push(part.require("text", part.string("text")?)?),
            other => {
                let message = format!("parts of type '{other}' are not supported, only 'text'");
                return Err(part.refuse("type", message));
            }
        }
    }
    Ok(Some(texts.join("\n")))
}

/// Writes answers and chunks of chat completions.
#[derive(Debug)]
struct ChatWire {
    tokenizer: Arc<Tokenizer>,
    has_logprobs: bool,
    /// Of each choice: whether a chunk has said the role.
    has_opened: Vec<bool>,
}

impl ChatWire {
    fn logprobs(&self, release: &Release) -> Option<ChatLogprobs> {
        self.has_logprobs.then(|| ChatLogprobs::new(&self.tokenizer, &release.logprobs))
    }

    /// The role, the first time.
    fn role(&mut self, choice: usize) -> Option<&'static str> {
        let opened = std::mem::replace(&mut self.has_opened[choice], true);
        (!opened).then_some("assistant")
    }
}

impl Wire for ChatWire {
    type Choice = ChatChoice;
    type Chunk = ChatChunkChoice;
    const ID_PREFIX: &'static str = "chatcmpl";
    const OBJECT: &'static str = "chat.completion";
    const CHUNK_OBJECT: &'static str = "chat.completion.chunk";

    fn choice(&mut self, release: Release, finish: Finish) -> ChatChoice {
        ChatChoice {
            index: release.choice,
            logprobs: self.logprobs(&release),
            message: ChatAnswer { role: "assistant", content: release.text, refusal: None },
            finish_reason: finish.wire(),
        }
    }

    fn text(&mut self, release: Release) -> ChatChunkChoice {
        let logprobs = self.logprobs(&release);
        let role = self.role(release.choice);
        let delta = ChatDelta { role, content: Some(release.text) };
        ChatChunkChoice { index: release.choice, delta, logprobs, finish_reason: None }
    }

    fn opening(&mut self, choice: usize) -> Option<ChatChunkChoice> {
        let role = self.role(choice)?;
        let delta = ChatDelta { role: Some(role), content: Some(String::new()) };
        Some(ChatChunkChoice { index: choice, delta, logprobs: None, finish_reason: None })
    }

    fn finish(&mut self, choice: usize, finish: Finish) -> ChatChunkChoice {
        let delta = ChatDelta::default();
        let finish_reason = Some(finish.wire());
        ChatChunkChoice { index: choice, delta, logprobs: None, finish_reason }
    }
}
