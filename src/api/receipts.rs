//! Signed receipts of requests and purchases, and the key they are checked with: what a caller can
//! prove later.
//! Promises: an account gets receipts for its own requests and orders only.
//! Never knows: what is signed, or how.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::AppState;
use super::account::meter_id;
use super::auth::AccountCaller;
use super::error::ApiError;
use super::url::Path;
use crate::ledger::{ReceiptError, SignedReceipt, TopupId};

/// `GET /api/v1/generations/{id}/receipt`: the receipt as it is kept and checked.
pub(super) async fn generation(
    State(state): State<AppState>,
    caller: AccountCaller,
    Path(id): Path<String>,
) -> Result<Json<SignedReceipt>, ApiError> {
    let account = caller.account;
    let meter = meter_id(&id).ok_or_else(|| ApiError::UnknownGeneration(id.clone()))?;
    let ledger = state.ledger.clone();
    let receipt = spawn_blocking(move || ledger.charge_receipt(account, meter)).await;
    match receipt.map_err(|_panicked| ApiError::Internal)? {
        Ok(receipt) => Ok(Json(receipt)),
        Err(ReceiptError::Unknown) => Err(ApiError::UnknownGeneration(id)),
        Err(error) => Err(error.into()),
    }
}

/// `GET /api/v1/topups/{id}/receipt`: of an order that is paid.
pub(super) async fn purchase(
    State(state): State<AppState>,
    caller: AccountCaller,
    Path(id): Path<String>,
) -> Result<Json<SignedReceipt>, ApiError> {
    let account = caller.account;
    let id: TopupId = id.parse().map_err(|_| ApiError::UnknownTopup)?;
    let ledger = state.ledger.clone();
    let receipt = spawn_blocking(move || ledger.purchase_receipt(account, id.0)).await;
    match receipt.map_err(|_panicked| ApiError::Internal)? {
        Ok(receipt) => Ok(Json(receipt)),
        Err(ReceiptError::Unknown) => Err(ApiError::UnknownTopup),
        Err(error) => Err(error.into()),
    }
}

/// `GET /api/v1/receipt-key`: what receipts are checked with; no key needed, as it is no secret.
pub(super) async fn key(State(state): State<AppState>) -> Json<Value> {
    let key = state.ledger.server_keys().public_key();
    Json(json!({ "data": {
        "algorithm": "Ed25519",
        "id": key.id(),
        "public_key": key.to_string(),
    } }))
}
