//! Corrections of balances, plans, freezing, and the audit of all that operators did.
//! Promises: nothing is changed in place: a correction is a new entry in the journal, with a
//! reason and an actor.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{account_json, find};
use crate::api::AppState;
use crate::api::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::openai::idempotency_key;
use crate::api::operator::Operator;
use crate::api::plan::plan_json;
use crate::api::url::{Path, Query};
use crate::ledger::{AuditEntry, AuditFilter};

/// The most entries of the audit in one answer.
pub(in crate::api) const MAX_ENTRIES: u32 = 1_000;

/// Entries of the audit in one answer, when nobody says.
pub(in crate::api) const DEFAULT_ENTRIES: u32 = 100;

/// `POST /api/v1/admin/accounts/{name}/corrections`: more credits, or fewer with a minus.
pub(super) async fn correct(
    operator: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let credits = fields.require("credits", fields.integer("credits", -i64::MAX..=i64::MAX)?)?;
    let reason = fields.require("reason", fields.string("reason")?)?;
    let account = find(&state, &name).await?.id;
    let key = idempotency_key(&headers, 1)?;
    let corrected = state.ledger.correct(account, credits, reason, &operator.actor, key.as_deref());
    let balance = corrected.await?;
    Ok(Json(json!({ "account": name, "credits": credits, "balance": balance.0 })))
}

/// `PATCH /api/v1/admin/accounts/{name}`: its plan, and whether it is frozen.
pub(super) async fn change(
    operator: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let plan = super::plan(&state, &fields)?;
    let frozen = fields.boolean("frozen")?;
    if plan.is_none() && frozen.is_none() {
        return Err(ApiError::BadRequest("give 'plan', 'frozen' or both".to_owned()));
    }
    let account = find(&state, &name).await?.id;
    let actor = operator.actor;
    if let Some(plan) = plan {
        state.ledger.set_plan(account, plan, &actor).await?;
    }
    match frozen {
        Some(true) => state.ledger.freeze_account(account, &actor).await?,
        Some(false) => state.ledger.thaw_account(account, &actor).await?,
        None => {}
    }
    Ok(Json(account_json(&find(&state, &name).await?)))
}

/// `GET /api/v1/admin/plans`
pub(super) async fn plans(_: Operator, State(state): State<AppState>) -> Json<Value> {
    let plans = state.config.catalog.plans.iter().map(|(name, plan)| plan_json(name, plan));
    Json(json!({ "object": "list", "data": plans.collect::<Vec<Value>>() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Entries before this one, to read further back.
    before: Option<i64>,
    actor: Option<String>,
    action: Option<String>,
    limit: Option<u32>,
}

/// `GET /api/v1/admin/audit`: the latest entries first.
pub(super) async fn audit(
    _: Operator,
    State(state): State<AppState>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Value>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_ENTRIES).clamp(1, MAX_ENTRIES);
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = AuditFilter {
        before: query.before,
        actor: given(query.actor),
        action: given(query.action),
        // One more tells whether there are more.
        limit: limit + 1,
    };
    let mut entries = state.read_ledger(move |ledger| ledger.audit(&filter)).await?;
    let has_more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = entries.last().filter(|_| has_more).map(|entry| entry.id);
    let data: Vec<Value> = entries.iter().map(entry_json).collect();
    Ok(Json(json!({ "object": "list", "data": data, "has_more": has_more, "next": next })))
}

fn entry_json(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at": entry.at_ms / 1000,
        "actor": entry.actor,
        "action": entry.action,
        "detail": entry.detail,
    })
}
