//! A stored answer, given again for 0 credits because its `Idempotency-Key` came again.
//! Promises: nothing is generated and nothing charged; an answer whose tokens are no longer stored
//! is an error, never a second run.
//! Never knows: JSON.

use std::time::Duration;

use tokio::time::timeout;

use super::AppState;
use super::delivery::{Admitted, Delivery, End, Finish, Outlet, Receipt, Release, Summary, Usage};
use super::error::ApiError;
use super::generation::{GenerationRequest, price};
use crate::ledger::{GenerationRecord, MeterId, MeterState};

/// The first caller takes its answer, or turns out to be gone, within this time.
const MAX_SETTLING: Duration = Duration::from_secs(2);

/// Delivers the answer of `meter` in one release for each choice.
pub(super) async fn deliver(
    state: &AppState,
    request: GenerationRequest,
    meter: MeterId,
    outlet: &Outlet,
) {
    let deliveries = match stored(state, &request, meter).await {
        Ok(deliveries) => deliveries,
        Err(error) => vec![Delivery::Failed(error.into())],
    };
    // The caller's next request finds the place of this one free.
    drop(request);
    for delivery in deliveries {
        if outlet.send(delivery).await.is_err() {
            return;
        }
    }
}

async fn stored(
    state: &AppState,
    request: &GenerationRequest,
    meter: MeterId,
) -> Result<Vec<Delivery>, ApiError> {
    if timeout(MAX_SETTLING, state.unsettled.settled(meter)).await.is_err() {
        return Err(ApiError::IdempotencyRunning);
    }
    let account = request.caller.key.account;
    let record = state.read_ledger(move |ledger| ledger.generation(account, meter)).await?;
    let totals = state.read_ledger(move |ledger| ledger.account_totals(account)).await?;
    let record = record.ok_or(ApiError::IdempotencyExpired)?;
    let totals = totals.ok_or(ApiError::Internal)?;
    if record.state != MeterState::Closed {
        // Reversed meanwhile: the key is free again.
        return Err(ApiError::IdempotencyRunning);
    }
    if record.model_digest != request.model.digest {
        // The ids are another model's, which the file behind this name was then.
        return Err(ApiError::IdempotencyExpired);
    }
    let ends = ends(&record, request.num_choices());
    let admitted = Admitted {
        id: record.id.to_string(),
        created: record.opened_ms / 1000,
        prompt_tokens: record.input_tokens as usize,
        replayed: true,
    };
    let token_ids = record.token_ids.ok_or(ApiError::IdempotencyExpired)?;
    let release = |(choice, ids): (u32, Vec<u32>)| {
        let choice = choice as usize;
        let end = ends.get(choice).copied().unwrap_or(Finish::Length.into());
        release(request, choice, &ids, end)
    };
    let releases: Vec<Release> = token_ids.into_iter().map(release).collect();
    let finishes: Vec<Finish> = ends.iter().map(|end| end.finish).collect();
    let stop_strings = ends.iter().map(|end| stop_string(request, *end).cloned()).collect();
    let usage = Usage {
        prompt_tokens: record.input_tokens as usize,
        cached_tokens: 0,
        completion_tokens: record.output_tokens,
        reasoning_tokens: releases.iter().map(|release| release.reasoning_tokens).sum(),
        credits: 0,
        credit_multiplier: price(&request.model).credits_per_token,
        balance: totals.balance.0,
        credits_exhausted: finishes.contains(&Finish::OutOfCredits),
    };
    let (receipt, _) = Receipt::new();
    Ok(vec![
        Delivery::Admitted(admitted),
        Delivery::Released(releases),
        Delivery::Ended(Box::new(Summary { finishes, stop_strings, usage, receipt })),
    ])
}

/// How each choice ended. An answer that was cut short (a disconnect, a failure) is given as far
/// as it went, which `length` says.
fn ends(record: &GenerationRecord, num_choices: usize) -> Vec<End> {
    let stored = record.finish_reason.as_deref().unwrap_or_default();
    let mut ends = End::read(stored, num_choices).unwrap_or_default();
    ends.resize(num_choices, Finish::Length.into());
    ends
}

/// The stop string that ended a choice.
fn stop_string(request: &GenerationRequest, end: End) -> Option<&String> {
    request.stop.get(end.stop).filter(|_| end.finish == Finish::StopString)
}

/// The parts that stored ids released when they were new, in one release.
fn release(request: &GenerationRequest, choice: usize, ids: &[u32], end: End) -> Release {
    let mut stream = request.answer_stream();
    let mut pieces = Vec::new();
    for id in ids {
        stream.push(*id, &mut pieces);
    }
    match (end.finish, stop_string(request, end)) {
        (Finish::StopString, Some(stop)) => stream.finish_before(stop, &mut pieces),
        (Finish::OutOfCredits | Finish::MaxCredits | Finish::Deadline, _) => {
            // What follows was not sent.
            stream.finish_cut(&mut pieces);
        }
        _ => stream.finish(&mut pieces),
    }
    let mut release = Release { choice, tokens: ids.len() as u32, ..Release::default() };
    pieces.into_iter().for_each(|piece| release.take(piece));
    release
}
