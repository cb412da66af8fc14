//! `POST /v1/responses`.
//! Never knows: how the answer is generated or paid for.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde_json::{Map, Value};

use super::super::AppState;
use super::super::auth::Caller;
use super::super::body::JsonBody;
use super::super::conversation::{self, ChatRequest, Prompt, ToolUse};
use super::super::error::ApiError;
use super::super::event_stream::event_stream;
use super::super::fields::Fields;
use super::super::generation::Started;
use super::super::limits::Admission;
use super::super::middleware::{CREDITS_BALANCE, CREDITS_CHARGED, REPLAYED};
use super::super::openai::{
    Options, Unsupported, idempotency_key, is_empty, never, refuse_unsupported,
};
use super::answer::{Draft, finish_of};
use super::history::{self, History};
use super::input::{Input, input_of};
use super::settings::{Settings, format, top_logprobs};
use super::stored::{Keeping, json_response};
use super::stream::Events;
use super::tools::tools_of;
use super::turns::messages_of;
use crate::text::ChatMessage;

/// Fields that this server has no answer to, and the values of them that ask for nothing.
const UNSUPPORTED: &[Unsupported] = &[
    ("background", |background| *background == false),
    ("conversation", never),
    ("prompt", never),
    ("context_management", is_empty),
    ("moderation", never),
    ("truncation", |truncation| truncation == "disabled"),
];

/// `POST /v1/responses`
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
    let tools = tools_of(&fields)?;
    let mut settings = Settings::read(&fields, &tools)?;
    settings.store &= state.responses.is_some();
    let input = input_of(&fields)?;
    let (format, top_logprobs) = (format(&fields)?, top_logprobs(&fields)?);
    let idempotency_key = idempotency_key(&headers, 1)?;
    let variables = variables(&fields, &settings)?;

    let account = caller.key.account;
    let (earlier, added) = said(&state, &caller, &settings, input).await?;
    let items = earlier.items.iter().chain(&added.items);
    let messages = messages_of(settings.instructions.as_deref(), items);
    let bytes = body.len + earlier.bytes + added.bytes;
    let prompt = prompt(messages, tools, &settings, variables, bytes);
    let request = ChatRequest {
        model: options.model,
        prompt,
        n: 1,
        max_tokens: settings.max_output_tokens,
        sampling: options.sampling,
        top_logprobs,
        format,
        stop: options.stop,
        stop_ids: options.stop_ids,
        max_credits: options.max_credits,
        streamed: options.stream.is_some(),
        idempotency_key,
        body_sha256: body.sha256,
    };
    let streamed = request.streamed;
    let started = conversation::start(&state, caller, admission, request).await?;
    let draft = Draft::new(&started, settings, state.clock.clone());
    let keeping = draft.settings.store.then(|| {
        let generation = &started.admitted.id;
        let input = added.items.into_iter().enumerate();
        let input = input.map(|(index, item)| item.with_id(generation, index)).collect();
        let previous = draft.settings.previous_response_id.as_deref();
        Keeping::new(&state, account, &draft.id, previous, draft.created_at, input)
    });
    respond(&state, started, streamed, draft, keeping.flatten()).await
}

/// What was said before, and what the request adds. Something has to be said.
async fn said(
    state: &AppState,
    caller: &Caller,
    settings: &Settings,
    input: Vec<Input>,
) -> Result<(History, History), ApiError> {
    let account = caller.key.account;
    let earlier = match &settings.previous_response_id {
        Some(id) => history::conversation(state, account, id).await?,
        None => History::default(),
    };
    let added = history::resolve(state, account, input, &earlier.items).await?;
    if earlier.items.is_empty() && added.items.is_empty() {
        let message = "'input' needs at least one item, or 'previous_response_id' to go on from";
        return Err(ApiError::field("input", message));
    }
    Ok((earlier, added))
}

fn prompt(
    messages: Vec<ChatMessage>,
    tools: ToolUse,
    settings: &Settings,
    variables: Map<String, Value>,
    bytes: usize,
) -> Prompt {
    let wanted = variables.get("enable_thinking").and_then(Value::as_bool);
    Prompt {
        messages,
        field: "input",
        tools,
        enable_thinking: wanted.or(settings.reasoning.enable_thinking()),
        // An answer is an item of its own here.
        continues: false,
        variables,
        bytes,
    }
}

/// Further variables of the template: vLLM's field for them, and the effort by its usual name.
fn variables(fields: &Fields<'_>, settings: &Settings) -> Result<Map<String, Value>, ApiError> {
    let variables = fields.fields("chat_template_kwargs")?;
    let mut variables = variables.map(|fields| fields.object().clone()).unwrap_or_default();
    if let Some(effort) = settings.reasoning.template_effort() {
        variables.entry("reasoning_effort").or_insert_with(|| effort.into());
    }
    Ok(variables)
}

/// Answers with what a generation delivers.
async fn respond(
    state: &AppState,
    started: Started,
    streamed: bool,
    mut draft: Draft,
    keeping: Option<Keeping>,
) -> Result<Response, ApiError> {
    let Started { num_choices, admitted, deliveries, .. } = started;
    let mut response = if streamed {
        event_stream(deliveries, state.config.keep_alive, Events::new(draft, keeping))
    } else {
        let answer = deliveries.collect(num_choices).await?;
        let (summary, silent) = (answer.summary, &mut |_: super::events::Event<'_>| {});
        for release in answer.choices {
            draft.output.take(release, silent);
        }
        draft.output.end(finish_of(&summary), silent);
        let mut body = draft.ended(&summary).to_json();
        if let Some(keeping) = keeping {
            // Before it goes out: a caller may go on from it at once. What is kept of an answer
            // that does not go out then can not be found, see `history::readable`.
            let is_kept = keeping.begin(body.clone()).await.unwrap_or(false);
            if !is_kept {
                draft.settings.store = false;
                body = draft.ended(&summary).to_json();
            }
        }
        let mut response = json_response(body);
        let headers = response.headers_mut();
        headers.insert(CREDITS_CHARGED, HeaderValue::from(summary.usage.credits));
        headers.insert(CREDITS_BALANCE, HeaderValue::from(summary.usage.balance));
        // From here to the connection there is no await: the answer is on its way.
        summary.receipt.confirm();
        response
    };
    if admitted.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
