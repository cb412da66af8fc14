//! `/api/v1/credits`, `/api/v1/key`, `/api/v1/generations/{id}`: what a caller has, may spend, and
//! was charged for.
//! Promises: an account sees its own rows only; another's id is as unknown as none.
//! Never knows: how credits move.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::AppState;
use super::auth::{AccountCaller, Caller};
use super::delivery::End;
use super::error::ApiError;
use super::sessions::words;
use super::url::Path;
use crate::ledger::{GenerationRecord, LimitReset, MeterId, MeterState};
use crate::text::{TextStream, Tokenizer};

/// `GET /api/v1/credits`
pub(super) async fn credits(
    State(state): State<AppState>,
    caller: AccountCaller,
) -> Result<Json<Value>, ApiError> {
    let account = caller.account;
    let totals = state.read_ledger(move |ledger| ledger.account_totals(account)).await?;
    // Accounts are closed, never deleted, and this one has just been found.
    let totals = totals.ok_or(ApiError::Internal)?;
    Ok(Json(json!({ "data": {
        "total_credits": totals.total_credits.0,
        "total_usage": totals.total_usage.0,
        "balance": totals.balance.0,
    } })))
}

/// `GET /api/v1/key`
pub(super) async fn key(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let key = caller.key;
    let id = key.id;
    let usage = state.read_ledger(move |ledger| ledger.key_usage(id)).await?;
    let usage = usage.ok_or(ApiError::Internal)?;
    let reset = key.limit.and_then(|limit| limit.reset).map(LimitReset::as_str);
    Ok(Json(json!({ "data": {
        "label": key.label,
        "scopes": words(key.scopes),
        "expires_at": key.expires_ms.map(|ms| ms / 1000),
        "limit": key.limit.map(|limit| limit.credits.0),
        "limit_reset": reset,
        "limit_remaining": usage.limit_remaining.map(|credits| credits.0),
        "total_limit": key.total_limit.map(|limit| limit.0),
        "total_limit_remaining": usage.total_remaining.map(|credits| credits.0),
        "usage": usage.usage.0,
        "usage_daily": usage.daily.0,
        "usage_weekly": usage.weekly.0,
        "usage_monthly": usage.monthly.0,
        "is_free_tier": false,
    } })))
}

/// `GET /api/v1/generations/{id}`
pub(super) async fn generation(
    State(state): State<AppState>,
    caller: AccountCaller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = caller.account;
    let unknown = || ApiError::UnknownGeneration(id.clone());
    let meter = meter_id(&id).ok_or_else(unknown)?;
    let record = state.read_ledger(move |ledger| ledger.generation(account, meter)).await?;
    let record = record.ok_or_else(unknown)?;
    Ok(Json(json!({ "data": describe(&state, &record) })))
}

/// Ids are given with the prefix of the route that made them, and taken with or without.
pub(super) fn meter_id(id: &str) -> Option<MeterId> {
    id.rsplit(['-', '_']).next()?.parse().ok()
}

fn describe(state: &AppState, record: &GenerationRecord) -> Value {
    // A reversed generation cost nothing in the end.
    let credits = if record.state == MeterState::Reversed { 0 } else { record.credits.0 };
    json!({
        "id": record.id.to_string(),
        "model": record.model,
        "created": record.opened_ms / 1000,
        "status": status(record.state),
        "streamed": record.streamed,
        "finish_reason": record.finish_reason.as_deref().map(finish_reason),
        "tokens_prompt": record.input_tokens,
        "tokens_completion": record.output_tokens,
        "credits": credits,
        "credit_multiplier": record.credits_per_token,
        "generation_time": record.closed_ms.map(|closed| closed - record.opened_ms),
        "time_to_first_token": record.first_charge_ms.map(|first| first - record.opened_ms),
        "choices": choices(state, record),
    })
}

/// The wire's word for where a meter stands.
pub(super) fn status(state: MeterState) -> &'static str {
    match state {
        MeterState::Open => "running",
        MeterState::Closed => "completed",
        MeterState::Reversed => "reversed",
    }
}

/// The wire's words where there are some, one for each choice that ended differently; other ends,
/// such as `disconnect`, are told as they are.
pub(super) fn finish_reason(stored: &str) -> String {
    match End::read(stored, 1) {
        Some(ends) => ends.iter().map(|end| end.finish.wire()).collect::<Vec<_>>().join(","),
        None => stored.to_owned(),
    }
}

/// What was paid for, as long as it is stored: ids, and all of their text while the model is
/// loaded, the beginning of a stop string included that the answer did not show.
fn choices(state: &AppState, record: &GenerationRecord) -> Option<Vec<Value>> {
    let loaded = state.registry.loaded();
    // Another file under the same name may have another vocabulary.
    let model = loaded.iter().find(|model| model.digest == record.model_digest);
    let choices = record.token_ids.as_ref()?.iter().map(|(index, ids)| {
        let text = model.map(|model| text_of(&model.tokenizer, ids));
        json!({ "index": index, "token_ids": ids, "text": text })
    });
    Some(choices.collect())
}

/// The text that `ids` make one after the other, as an answer does.
fn text_of(tokenizer: &Arc<Tokenizer>, ids: &[u32]) -> String {
    let mut stream = TextStream::new(tokenizer.clone(), Vec::new());
    let mut pieces = Vec::new();
    for id in ids {
        stream.push(*id, &mut pieces);
    }
    stream.finish(&mut pieces);
    pieces.into_iter().map(|piece| piece.text).collect()
}
