//! `GET /v1/models` and `/api/v1/models`: what can be asked for, and for how much.
//! Never knows: whether a model is in memory.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::super::AppState;
use super::super::auth::AccountCaller;
use super::super::error::ApiError;
use super::super::generation::context_length;
use super::super::url::Path;
use crate::catalog::ModelEntry;

/// `GET /v1/models`
pub(in super::super) async fn list(
    State(state): State<AppState>,
    _: AccountCaller,
) -> Result<Json<Value>, ApiError> {
    list_as(&state, plain).await
}

/// `GET /api/v1/models`: each model also has its tier, price and context length.
pub(in super::super) async fn list_with_prices(
    State(state): State<AppState>,
    _: AccountCaller,
) -> Result<Json<Value>, ApiError> {
    list_as(&state, with_price).await
}

/// `GET /v1/models/{id}`
pub(in super::super) async fn get(
    State(state): State<AppState>,
    _: AccountCaller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(plain(&state, offered(&state, &id)?)))
}

/// `GET /api/v1/models/{id}`
pub(in super::super) async fn get_with_price(
    State(state): State<AppState>,
    _: AccountCaller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(with_price(&state, offered(&state, &id)?)))
}

async fn list_as(
    state: &AppState,
    describe: fn(&AppState, &ModelEntry) -> Value,
) -> Result<Json<Value>, ApiError> {
    let registry = state.registry.clone();
    // Which files are there is a question to the disk.
    let available = spawn_blocking(move || registry.available()).await;
    let available = available.map_err(|_panicked| ApiError::Internal)?;
    let data: Vec<Value> = available.iter().map(|entry| describe(state, entry)).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

fn offered<'a>(state: &'a AppState, id: &str) -> Result<&'a ModelEntry, ApiError> {
    state.config.model(id).ok_or_else(|| ApiError::UnknownModel(id.to_owned()))
}

fn plain(state: &AppState, entry: &ModelEntry) -> Value {
    json!({
        "id": entry.id,
        "object": "model",
        "created": state.started_secs,
        "owned_by": entry.owned_by.as_deref().unwrap_or("mizan"),
    })
}

fn with_price(state: &AppState, entry: &ModelEntry) -> Value {
    let loaded = state.registry.loaded();
    let loaded = loaded.iter().find(|model| model.entry.id == entry.id);
    // The file may hold less than the entry allows, which shows once it is read.
    let context_length =
        loaded.map(|model| context_length(model)).or(entry.context_length.map(|n| n as usize));
    let mut model = plain(state, entry);
    model["tier"] = entry.tier.as_str().into();
    model["credit_multiplier"] =
        state.config.catalog.tier_of(entry).credits_per_output_token.into();
    model["context_length"] = context_length.into();
    model["loaded"] = loaded.is_some().into();
    model
}
