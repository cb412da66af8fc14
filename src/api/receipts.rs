//! `/api/v1/generations/{id}/receipt`, `/api/v1/receipt-key`: what a caller can prove later.
//! Promises: an account gets receipts for its own requests only.
//! Never knows: what is signed, or how.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::AppState;
use super::account::meter_id;
use super::auth::AccountCaller;
use super::error::ApiError;
use crate::ledger::{ReceiptError, SignedReceipt};

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

/// `GET /api/v1/receipt-key`: what receipts are checked with; no key needed, as it is no secret.
pub(super) async fn key(State(state): State<AppState>) -> Json<Value> {
    let key = state.ledger.server_keys().public_key();
    Json(json!({ "data": {
        "algorithm": "Ed25519",
        "id": key.id(),
        "public_key": key.to_string(),
    } }))
}
