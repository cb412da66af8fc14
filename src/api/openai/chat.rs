//! `POST /v1/chat/completions`.
//! Never knows: how the answer is generated or paid for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::AppState;
use super::super::auth::Caller;
use super::super::body::JsonBody;
use super::super::conversation::{self, ChatRequest, call_id};
use super::super::delivery::{Finish, Release};
use super::super::error::ApiError;
use super::super::fields::Fields;
use super::super::limits::Admission;
use super::format::format_of;
use super::messages::prompt_of;
use super::request::{Options, Unsupported, idempotency_key, is_empty, never, refuse_unsupported};
use super::respond::{Wire, respond};
use super::types::{
    CalledFunction, ChatAnswer, ChatChoice, ChatChunkChoice, ChatDelta, ChatLogprobs, ChatToolCall,
    Reasoning,
};
use crate::text::{AnswerPart, Tokenizer, Turn};

/// Alternatives that a token may be told with, at most: OpenAI's bound.
pub(in super::super) const MAX_TOP_LOGPROBS: usize = 20;

/// Fields that this server has no answer to, and the values of them that ask for nothing.
const UNSUPPORTED: &[Unsupported] = &[
    ("functions", is_empty),
    ("function_call", |choice| choice == "none" || choice == "auto"),
    ("modalities", |modalities| *modalities == serde_json::json!(["text"])),
    ("audio", never),
    ("web_search_options", never),
    // Others' field: what a model thinks is paid for, so it is always told.
    ("include_reasoning", |include| *include == true),
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
    let request = ChatRequest {
        prompt: prompt_of(&fields, body.len)?,
        max_tokens: max_tokens(&fields)?,
        top_logprobs: top_logprobs(&fields)?,
        idempotency_key: idempotency_key(&headers, options.n)?,
        model: options.model,
        format: format_of(&fields)?,
        n: options.n,
        sampling: options.sampling,
        stop: options.stop,
        stop_ids: options.stop_ids,
        max_credits: options.max_credits,
        streamed: options.stream.is_some(),
        body_sha256: body.sha256,
    };
    let has_logprobs = request.top_logprobs.is_some();
    let started = conversation::start(&state, caller, admission, request).await?;
    let wire = ChatWire {
        tokenizer: started.model.tokenizer.clone(),
        generation: started.admitted.id.clone(),
        has_logprobs,
        has_opened: vec![false; started.num_choices],
    };
    respond(&state, started, options.stream, wire).await
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
    let top = fields.count("top_logprobs", 0..=MAX_TOP_LOGPROBS)?;
    match (wanted, top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            Err(fields.refuse("top_logprobs", "'top_logprobs' needs 'logprobs': true"))
        }
    }
}

/// Writes answers and chunks of chat completions.
#[derive(Debug)]
struct ChatWire {
    tokenizer: Arc<Tokenizer>,
    /// The generation's id.
    generation: String,
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

    fn delta(&mut self, choice: usize, part: AnswerPart) -> ChatDelta {
        let role = self.role(choice);
        let delta = ChatDelta { role, ..ChatDelta::default() };
        match part {
            AnswerPart::Content(text) => ChatDelta { content: Some(Some(text)), ..delta },
            AnswerPart::Reasoning(text) => {
                // As before a call: what has not begun is null, not empty.
                let content = role.map(|_| None);
                ChatDelta { content, reasoning: Reasoning::new(text), ..delta }
            }
            AnswerPart::ToolCall { index, name } => ChatDelta {
                content: role.map(|_| None),
                tool_calls: vec![ChatToolCall {
                    index: Some(index),
                    id: Some(call_id(&self.generation, choice, index)),
                    kind: Some("function"),
                    function: CalledFunction { name: Some(name), arguments: String::new() },
                }],
                ..delta
            },
            AnswerPart::ToolArguments { index, json } => ChatDelta {
                tool_calls: vec![ChatToolCall {
                    index: Some(index),
                    id: None,
                    kind: None,
                    function: CalledFunction { name: None, arguments: json },
                }],
                ..delta
            },
        }
    }

    fn answer(&self, release: &Release) -> ChatAnswer {
        let Turn { content, reasoning, tool_calls } = release.parts.iter().collect();
        let content = (!content.is_empty() || tool_calls.is_empty()).then_some(content);
        let tool_calls = tool_calls.into_iter().enumerate().map(|(index, call)| ChatToolCall {
            index: None,
            id: Some(call_id(&self.generation, release.choice, index)),
            kind: Some("function"),
            function: CalledFunction { name: Some(call.name), arguments: call.arguments },
        });
        ChatAnswer {
            role: "assistant",
            content,
            refusal: None,
            reasoning: Reasoning::new(reasoning),
            tool_calls: tool_calls.collect(),
        }
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
            message: self.answer(&release),
            finish_reason: finish.wire(),
        }
    }

    fn chunks(&mut self, release: Release) -> Vec<ChatChunkChoice> {
        let mut logprobs = self.logprobs(&release);
        let index = release.choice;
        if release.parts.is_empty() {
            // Log probabilities of tokens that are the syntax of a part.
            let role = self.role(index);
            let delta = ChatDelta { role, content: role.map(|_| None), ..ChatDelta::default() };
            return vec![ChatChunkChoice { index, delta, logprobs, finish_reason: None }];
        }
        let mut chunks = Vec::with_capacity(release.parts.len());
        for part in release.parts {
            let delta = self.delta(index, part);
            let logprobs = logprobs.take();
            chunks.push(ChatChunkChoice { index, delta, logprobs, finish_reason: None });
        }
        chunks
    }

    fn opening(&mut self, choice: usize) -> Option<ChatChunkChoice> {
        let role = Some(self.role(choice)?);
        let delta = ChatDelta { role, content: Some(Some(String::new())), ..ChatDelta::default() };
        Some(ChatChunkChoice { index: choice, delta, logprobs: None, finish_reason: None })
    }

    fn finish(&mut self, choice: usize, finish: Finish) -> ChatChunkChoice {
        let delta = ChatDelta::default();
        let finish_reason = Some(finish.wire());
        ChatChunkChoice { index: choice, delta, logprobs: None, finish_reason }
    }
}
