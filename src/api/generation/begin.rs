//! How a generation begins: what may refuse it, and what is undone then.
//! Promises: the first delivery is `Admitted` or `Failed`; a request that is refused costs nothing
//! and leaves its idempotency key free.
//! Never knows: text.

use std::sync::Arc;

use super::super::AppState;
use super::super::choice::Choice;
use super::super::deadline::Deadline;
use super::super::delivery::{Deliveries, Delivery, Outlet};
use super::super::error::ApiError;
use super::super::lifecycle::Running;
use super::super::limits::RateLimit;
use super::super::observe::Observer;
use super::super::replay;
use super::drive::Generation;
use super::finish::settled;
use super::{GenerationRequest, context_length, price};
use crate::engine::SequenceRequest;
use crate::ledger::{MeterId, MeterRequest, OpenError};
use crate::metering::Meter;

/// Its first delivery is `Admitted` or `Failed`.
pub(super) fn spawn(state: &AppState, request: GenerationRequest) -> Result<Deliveries, ApiError> {
    let running = state.lifecycle.begin().ok_or(ApiError::ShuttingDown)?;
    let (outlet, deliveries) = Outlet::new(state.config.stall_timeout);
    let credits_per_token = price(&request.model).credits_per_token;
    let id = &request.model.entry.id;
    let observer = Observer::new(&state.metrics, id, credits_per_token, request.num_choices());
    tokio::spawn(run(state.clone(), request, outlet, running, observer));
    Ok(deliveries)
}

async fn run(
    state: AppState,
    request: GenerationRequest,
    outlet: Outlet,
    running: Running,
    observer: Observer,
) {
    let deadline = Deadline::new(&state.config);
    let refused = match begin(&state, &request).await {
        Ok((meter, choices)) => {
            let created = state.now_secs();
            let unsettled = state.unsettled.clone();
            let generation = Generation {
                request,
                choices,
                meter,
                outlet,
                running,
                observer,
                created,
                unsettled,
                reasoning_tokens: 0,
                deadline,
            };
            return generation.run().await;
        }
        Err(NotBegun::Stored(meter)) => {
            return replay::deliver(&state, request, meter, &outlet).await;
        }
        Err(NotBegun::Refused(error)) => error,
    };
    drop(request);
    // The handler may be gone, and then nobody needs to know.
    let _ = outlet.send(Delivery::Failed(refused.into())).await;
}

/// Why nothing is generated.
#[derive(Debug)]
enum NotBegun {
    /// The answer is in the books, as this meter's.
    Stored(MeterId),
    Refused(ApiError),
}

impl From<OpenError> for NotBegun {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Replay(meter) => Self::Stored(meter),
            error => Self::Refused(error.into()),
        }
    }
}

impl From<RateLimit> for NotBegun {
    fn from(limit: RateLimit) -> Self {
        Self::Refused(limit.into())
    }
}

/// Counts the input, opens the meter and hands the sequences to the engine; or undoes what of it
/// the books would show.
async fn begin(
    state: &AppState,
    request: &GenerationRequest,
) -> Result<(Meter, Vec<Choice>), NotBegun> {
    let take_input = || request.admission.take_input(request.prompt_tokens());
    // A stored answer computes no input, and whether there is one shows when the meter opens. All
    // other requests are refused before they cost the books a row.
    let may_be_stored = request.idempotency_key.is_some();
    if !may_be_stored {
        take_input()?;
    }
    let meter = open_meter(state, request).await?;
    let taken = if may_be_stored { take_input() } else { Ok(()) };
    match taken.map_err(ApiError::from).and_then(|()| submit(request)) {
        Ok(choices) => Ok((meter, choices)),
        Err(error) => {
            // The request was never taken: its idempotency key stays free for another try.
            settled(meter.abandon("refused").await);
            Err(NotBegun::Refused(error))
        }
    }
}

async fn open_meter(state: &AppState, request: &GenerationRequest) -> Result<Meter, OpenError> {
    let model = &request.model;
    let request = MeterRequest {
        account: request.caller.key.account,
        key: request.caller.key.id,
        model: model.entry.id.clone(),
        model_digest: model.digest,
        credits_per_token: price(model).credits_per_token,
        streamed: request.streamed,
        input_tokens: u32::try_from(request.prompt_tokens()).unwrap_or(u32::MAX),
        idempotency_key: request.idempotency_key.clone(),
        body_hash: request.body_sha256,
    };
    Meter::open(&state.ledger, request).await
}

/// Hands all sequences to the engine, or none.
fn submit(request: &GenerationRequest) -> Result<Vec<Choice>, ApiError> {
    let model = &request.model;
    let stop_ids = model.tokenizer.end_of_turn().iter().chain(&request.stop_ids);
    let stop_ids: Arc<[u32]> = stop_ids.copied().collect();
    let mut choices = Vec::with_capacity(request.num_choices());
    for prompt in &request.prompts {
        for _ in 0..request.choices_per_prompt {
            let room = context_length(model).saturating_sub(prompt.len());
            let mut sampling = request.sampling.clone();
            // Choices of one request differ, and the first is the one a lone request gets.
            sampling.seed = sampling.seed.wrapping_add(choices.len() as u64);
            let sequence = model.engine.submit(SequenceRequest {
                lane: request.caller.lane(),
                prompt: prompt.clone(),
                max_tokens: request.max_tokens.unwrap_or(room).min(room),
                stop_ids: stop_ids.clone(),
                sampling,
                constraint: request.constraint.clone(),
            })?;
            choices.push(Choice::new(sequence, request.answer_stream()));
        }
    }
    Ok(choices)
}
