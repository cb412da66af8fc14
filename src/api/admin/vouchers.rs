//! `/api/v1/admin/vouchers`: batches of codes, shown once.
//! Promises: codes leave the server in the answer that made them, and are never logged or stored.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::api::AppState;
use crate::api::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::operator::Operator;
use crate::api::url::Path;
use crate::ledger::{Credits, NewVouchers, VoucherBatch};

/// The most vouchers made at once.
pub(in crate::api) const MAX_VOUCHERS: usize = 10_000;

/// A hundred years.
pub(in crate::api) const MAX_EXPIRE_DAYS: i64 = 36_500;

const DAY_MS: i64 = 86_400_000;

/// `POST /api/v1/admin/vouchers`
pub(super) async fn create(
    operator: Operator,
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let name = fields.require("batch", fields.string("batch")?)?.to_owned();
    let credits = Credits(fields.require("credits", fields.integer("credits", 1..=i64::MAX)?)?);
    let count = fields.count("count", 1..=MAX_VOUCHERS)?.unwrap_or(1);
    let expire_days = fields.integer("expire_days", 1..=MAX_EXPIRE_DAYS)?;
    let expires_ms = expire_days.map(|days| state.clock.now_ms() + days * DAY_MS);
    let new = NewVouchers { name, credits, count, expires_ms };
    // Ten thousand codes and their MACs take a moment.
    let ledger = state.ledger.clone();
    let made = state.sell(move |_| ledger.create_vouchers(new, &operator.actor).wait()).await??;
    let codes: Vec<String> = made.codes.iter().map(ToString::to_string).collect();
    let mut shown = batch_json(&made.batch);
    shown["codes"] = json!(codes);
    Ok(Json(shown))
}

/// `GET /api/v1/admin/vouchers`
pub(super) async fn list(
    _: Operator,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let batches = state.read_ledger(|ledger| ledger.voucher_batches()).await?;
    let data: Vec<Value> = batches.iter().map(batch_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `POST /api/v1/admin/vouchers/{batch}/void`: what is left of it can not be redeemed any more.
pub(super) async fn void(
    operator: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let batch = state.ledger.void_vouchers(&name, &operator.actor).await?;
    Ok(Json(batch_json(&batch)))
}

fn batch_json(batch: &VoucherBatch) -> Value {
    json!({
        "batch": batch.name,
        "credits": batch.credits.0,
        "count": batch.count,
        "redeemed": batch.redeemed,
        "created_at": batch.created_ms / 1000,
        "expires_at": batch.expires_ms.map(|ms| ms / 1000),
        "voided_at": batch.voided_ms.map(|ms| ms / 1000),
    })
}
