//! A stored answer, given again for 0 credits because its `Idempotency-Key` came again.
//! Promises: nothing is generated and nothing charged; an answer whose tokens are no longer stored
//! is an error, never a second run.
//! Never knows: JSON.

use std::time::Duration;

use tokio::time::timeout;

use super::AppState;
use super::delivery::{Admitted, Delivery, Finish, Outlet, Receipt, Release, Summary, Usage};
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
        Err(error) => vec![Delivery::Failed(error)],
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
    let finishes = finishes(&record, request.num_choices());
    let admitted = Admitted {
        id: record.id.to_string(),
        created: record.opened_ms / 1000,
        prompt_tokens: record.input_tokens as usize,
        replayed: true,
    };
    let token_ids = record.token_ids.ok_or(ApiError::IdempotencyExpired)?;
    let mut releases = Vec::new();
    // Which of several it was is not stored: it was not released.
    let only = request.stop.first().filter(|_| request.stop.len() == 1);
    let ended_by = |finish: &Finish| only.filter(|_| *finish == Finish::StopString).cloned();
    let mut stop_strings: Vec<Option<String>> = finishes.iter().map(ended_by).collect();
    for (choice, ids) in token_ids {
        let choice = choice as usize;
        let finish = finishes.get(choice).copied().unwrap_or(Finish::Length);
        let (release, stop_string) = release(request, choice, &ids, finish);
        releases.push(release);
        if let (Some(found), Some(place)) = (stop_string, stop_strings.get_mut(choice)) {
            *place = Some(found);
        }
    }
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

/// Why each choice ended. An answer that was cut short (a disconnect, a failure) is given as far
/// as it went, which `length` says.
fn finishes(record: &GenerationRecord, num_choices: usize) -> Vec<Finish> {
    let stored = record.finish_reason.as_deref().unwrap_or_default();
    let mut finishes = Finish::read(stored, num_choices).unwrap_or_default();
    finishes.resize(num_choices, Finish::Length);
    finishes
}

/// The parts that stored ids released when they were new, in one release, and the stop string that
/// one of them completes.
fn release(
    request: &GenerationRequest,
    choice: usize,
    ids: &[u32],
    finish: Finish,
) -> (Release, Option<String>) {
    let mut stream = request.answer_stream();
    let mut pieces = Vec::new();
    for id in ids {
        stream.push(*id, &mut pieces);
    }
    match finish {
        Finish::EndOfTurn | Finish::ToolCalls | Finish::Length => stream.finish(&mut pieces),
        // What is held back as text is the beginning of that string.
        Finish::StopString => stream.finish_stopped(&mut pieces),
        // What follows was not sent.
        Finish::OutOfCredits | Finish::MaxCredits | Finish::Deadline => {
            stream.finish_cut(&mut pieces);
        }
    }
    let mut release = Release { choice, tokens: ids.len() as u32, ..Release::default() };
    for piece in pieces {
        release.take(piece);
    }
    (release, stream.stop_string().map(str::to_owned))
}
