//! `/api/v1/plan`: what the caller's account may do a minute and at once, and what is left of it.
//! Never knows: credits, which are separate.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::AppState;
use super::auth::AccountCaller;
use super::error::ApiError;
use super::limits::{Standing, allowance};
use crate::catalog::Plan;

/// `GET /api/v1/plan`
pub(super) async fn own(
    caller: AccountCaller,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let id = caller.account;
    let account = state.read_ledger(move |ledger| ledger.account(id)).await?;
    // Accounts are closed, never deleted, and this one has just been found.
    let account = account.ok_or(ApiError::Internal)?;
    let allowed = allowance(&state, id, &account.plan);
    let remaining = |standing: Option<Standing>| standing.map(|standing| standing.remaining);
    let reset_ms = |standing: Option<Standing>| standing.map(|standing| standing.reset_ms);
    let mut shown = plan_json(allowed.name, &allowed.plan);
    shown["remaining"] = json!({
        "requests": remaining(allowed.requests),
        "input_tokens": remaining(allowed.input_tokens),
        "concurrent_requests": allowed.concurrent,
    });
    shown["reset_ms"] = json!({
        "requests": reset_ms(allowed.requests),
        "input_tokens": reset_ms(allowed.input_tokens),
    });
    Ok(Json(json!({ "data": shown })))
}

/// A plan as `models.toml` has it; null is no limit.
pub(super) fn plan_json(name: &str, plan: &Plan) -> Value {
    json!({
        "name": name,
        "max_requests_per_minute": plan.max_requests_per_minute,
        "max_input_tokens_per_minute": plan.max_input_tokens_per_minute,
        "max_prompt_tokens": plan.max_prompt_tokens,
        "max_concurrent_requests": plan.max_concurrent_requests,
    })
}
