//! `/api/v1/admin/topups` and `refunds`: orders to look at, bank transfers to confirm, money back.
//! Promises: every change is in the journal or the audit with who made it.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::AppState;
use crate::api::billing::{find, topup_json};
use crate::api::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::openai::idempotency_key;
use crate::api::operator::Operator;
use crate::api::url::{Path, Query};
use crate::billing::Billing;
use crate::ledger::{
    Credits, PaidDay, RefundId, RefundInfo, RefundOutcome, TopupFilter, TopupInfo,
};
use crate::money::Fils;

/// The most orders in one answer.
pub(in crate::api) const MAX_ORDERS: u32 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrdersQuery {
    account: Option<String>,
    status: Option<String>,
    provider: Option<String>,
}

/// `GET /api/v1/admin/topups`: the latest orders.
pub(super) async fn list(
    _: Operator,
    State(state): State<AppState>,
    Query(query): Query<OrdersQuery>,
) -> Result<Json<Value>, ApiError> {
    let account = match query.account {
        Some(name) => Some(super::find(&state, &name).await?.id),
        None => None,
    };
    let known = |status: String| {
        let message = format!("there is no status '{status}'");
        status.parse().map_err(|_| ApiError::field("status", message))
    };
    let topup_state = query.status.map(known).transpose()?;
    let filter =
        TopupFilter { account, state: topup_state, provider: query.provider, limit: MAX_ORDERS };
    let topups = state.read_ledger(move |ledger| ledger.all_topups(&filter)).await?;
    let data: Vec<Value> = topups.iter().map(order_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `GET /api/v1/admin/topups/{id}`: with its refunds and what the provider sent.
pub(super) async fn show(
    _: Operator,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let topup = find(&state, &id).await?;
    let id = topup.id;
    let (refunds, events) = state
        .read_ledger(move |ledger| Ok((ledger.refunds(id)?, ledger.payment_events(id)?)))
        .await?;
    let mut shown = order_json(&topup);
    shown["refunds"] = refunds.iter().map(refund_json).collect();
    let events = events
        .iter()
        .map(|event| json!({ "received_at": event.received_ms / 1000, "verdict": event.verdict }));
    shown["events"] = events.collect();
    Ok(Json(shown))
}

/// `POST /api/v1/admin/topups/{id}/check`
pub(super) async fn check(
    _: Operator,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = find(&state, &id).await?.id;
    let topup = state.sell(move |billing| billing.check(id)).await??;
    Ok(Json(order_json(&topup)))
}

/// `POST /api/v1/admin/topups/{id}/confirm`: a bank transfer arrived.
pub(super) async fn confirm(
    operator: Operator,
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let amount = fields.require("amount_kwd", fields.string("amount_kwd")?)?;
    let amount: Fils =
        amount.parse().map_err(|error| fields.refuse("amount_kwd", format!("{error}")))?;
    let reference = fields.require("reference", fields.string("reference")?)?.to_owned();
    let id = find(&state, &id).await?.id;
    let actor = operator.actor;
    let topup =
        state.sell(move |billing| billing.confirm(id, amount, &reference, &actor)).await??;
    Ok(Json(order_json(&topup)))
}

/// `POST /api/v1/admin/topups/{id}/refunds`
pub(super) async fn refund(
    operator: Operator,
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let credits = fields.integer("credits", 1..=i64::MAX)?.map(Credits);
    let reason = fields.require("reason", fields.string("reason")?)?.to_owned();
    let id = find(&state, &id).await?.id;
    let (key, actor) = (idempotency_key(&headers, 1)?, operator.actor);
    let refund =
        move |billing: &Billing| billing.refund(id, credits, &reason, key.as_deref(), &actor);
    let refund = state.sell(refund).await??;
    Ok(Json(refund_json(&refund)))
}

/// `GET /api/v1/admin/refunds`: those that the operator has to settle.
pub(super) async fn pending_refunds(
    _: Operator,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let refunds = state.read_ledger(|ledger| ledger.refunds_pending()).await?;
    let data: Vec<Value> = refunds.iter().map(refund_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `POST /api/v1/admin/refunds/{id}/settle`: the operator says what became of a pending refund.
pub(super) async fn settle_refund(
    operator: Operator,
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let id: RefundId = id.parse().map_err(|_| ApiError::UnknownRefund)?;
    let fields = body.fields();
    let reference = fields.string("reference")?.map(str::to_owned);
    let outcome = match fields.require("outcome", fields.string("outcome")?)? {
        "done" => RefundOutcome::Done { provider_refund_id: reference },
        "failed" => RefundOutcome::Failed { why: reference.unwrap_or_else(|| "operator".into()) },
        _ => return Err(fields.refuse("outcome", "'outcome' must be \"done\" or \"failed\"")),
    };
    let refund =
        state.sell(move |billing| billing.settle_refund(id, outcome, &operator.actor)).await??;
    Ok(Json(refund_json(&refund)))
}

/// `GET /api/v1/admin/revenue`: money by day of Kuwait and pack.
pub(super) async fn revenue(
    _: Operator,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let days = state.read_ledger(|ledger| ledger.revenue()).await?;
    let paid: i64 = days.iter().map(|day| day.paid.0).sum();
    let refunded: i64 = days.iter().map(|day| day.refunded.0).sum();
    let data: Vec<Value> = days.iter().map(day_json).collect();
    let total = json!({
        "paid_kwd": Fils(paid).to_string(),
        "refunded_kwd": Fils(refunded).to_string(),
        "revenue_kwd": Fils(paid - refunded).to_string(),
    });
    Ok(Json(json!({ "object": "list", "data": data, "total": total })))
}

fn day_json(day: &PaidDay) -> Value {
    json!({
        "day": day.day,
        "pack": day.pack,
        "provider": day.provider,
        "orders": day.orders,
        "credits": day.credits.0,
        "paid_kwd": day.paid.to_string(),
        "refunded_kwd": day.refunded.to_string(),
    })
}

pub(super) fn order_json(topup: &TopupInfo) -> Value {
    let mut shown = topup_json(topup);
    shown["account"] = json!(topup.account_name);
    shown["actor"] = json!(topup.actor);
    shown["provider_order_id"] = json!(topup.provider_order_id);
    shown["provider_payment_id"] = json!(topup.provider_payment_id);
    shown["checked_at"] = json!(topup.checked_ms.map(|ms| ms / 1000));
    shown
}

pub(super) fn refund_json(refund: &RefundInfo) -> Value {
    json!({
        "id": refund.id.to_string(),
        "object": "refund",
        "topup": refund.topup.to_string(),
        "status": refund.state.as_str(),
        "credits": refund.credits.0,
        "amount_kwd": refund.fils.to_string(),
        "reason": refund.reason,
        "actor": refund.actor,
        "provider_refund_id": refund.provider_refund_id,
        "created_at": refund.created_ms / 1000,
        "ended_at": refund.ended_ms.map(|ms| ms / 1000),
    })
}
