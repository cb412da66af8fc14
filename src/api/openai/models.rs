//! `GET /v1/models` and `/api/v1/models`: what can be asked for, and for how much. Anthropic's
//! clients are told in its shape.
//! Never knows: whether a model is in memory.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::super::AppState;
use super::super::anthropic;
use super::super::auth::AccountCaller;
use super::super::error::ApiError;
use super::super::generation::context_length;
use super::super::url::Path;
use crate::catalog::ModelEntry;
use crate::registry::LoadedModel;

/// `GET /v1/models`
pub(in super::super) async fn list(
    State(state): State<AppState>,
    _: AccountCaller,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    list_as(&state, &headers, plain).await
}

/// `GET /api/v1/models`: each model also has its tier, price and context length.
pub(in super::super) async fn list_with_prices(
    State(state): State<AppState>,
    _: AccountCaller,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    list_as(&state, &headers, with_price).await
}

/// `GET /v1/models/{id}`
pub(in super::super) async fn get(
    State(state): State<AppState>,
    _: AccountCaller,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(in_shape(&headers, plain)(&state, offered(&state, &id)?)))
}

/// `GET /api/v1/models/{id}`
pub(in super::super) async fn get_with_price(
    State(state): State<AppState>,
    _: AccountCaller,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(in_shape(&headers, with_price)(&state, offered(&state, &id)?)))
}

/// What is told of a model.
type Describe = fn(&AppState, &ModelEntry) -> Value;

/// `describe`, unless it is Anthropic's client that asks.
fn in_shape(headers: &HeaderMap, describe: Describe) -> Describe {
    if anthropic::is_their_client(headers) { as_anthropic } else { describe }
}

async fn list_as(
    state: &AppState,
    headers: &HeaderMap,
    describe: Describe,
) -> Result<Json<Value>, ApiError> {
    let registry = state.registry.clone();
    // Which files are there is a question to the disk.
    let available = spawn_blocking(move || registry.available()).await;
    let available = available.map_err(|_panicked| ApiError::Internal)?;
    let describe = in_shape(headers, describe);
    let data: Vec<Value> = available.iter().map(|entry| describe(state, entry)).collect();
    if anthropic::is_their_client(headers) {
        return Ok(Json(anthropic::list_of(data)));
    }
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

/// The model, if it is in memory, and the length of its context, if that is known. The file may
/// hold less than the entry allows, which shows once it is read.
fn read_of(state: &AppState, entry: &ModelEntry) -> (Option<Arc<LoadedModel>>, Option<usize>) {
    let mut loaded = state.registry.loaded().into_iter();
    let loaded = loaded.find(|model| model.entry.id == entry.id);
    let read = loaded.as_deref().map(context_length);
    (loaded, read.or(entry.context_length.map(|n| n as usize)))
}

fn as_anthropic(state: &AppState, entry: &ModelEntry) -> Value {
    let (_, context_length) = read_of(state, entry);
    anthropic::describe(entry, state.started_secs, context_length)
}

fn with_price(state: &AppState, entry: &ModelEntry) -> Value {
    let (loaded, context_length) = read_of(state, entry);
    let mut model = plain(state, entry);
    model["tier"] = entry.tier.as_str().into();
    model["credit_multiplier"] =
        state.config.catalog.tier_of(entry).credits_per_output_token.into();
    model["context_length"] = context_length.into();
    model["loaded"] = loaded.is_some().into();
    model
}
