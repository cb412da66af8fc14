//! `/health`, `/ready`, `/metrics`: for load balancers and Prometheus; no key needed.
//! Never knows: callers.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{AppState, books_metrics, notices};
use crate::engine::Stats;

/// `GET /health`: the process answers.
pub(super) async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /ready`: requests would be served; 503 while stopping, when charges can not be
/// written, or when the books contradict themselves.
pub(super) async fn ready(State(state): State<AppState>) -> Response {
    let (status, word) = if !state.lifecycle.serving() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if !state.ledger.healthy() {
        (StatusCode::SERVICE_UNAVAILABLE, "ledger unavailable")
    } else if state.ledger.last_check().is_some_and(|check| !check.is_ok) {
        // The log names the first wrong row; this answer is anybody's to read.
        (StatusCode::SERVICE_UNAVAILABLE, "ledger damaged")
    } else {
        (StatusCode::OK, "ready")
    };
    (status, Json(json!({ "status": word }))).into_response()
}

/// `GET /metrics`, in Prometheus' text format.
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    let mut models = state.registry.loaded();
    models.sort_by(|a, b| a.entry.id.cmp(&b.entry.id));
    let engines: Vec<(&str, Stats)> =
        models.iter().map(|model| (model.entry.id.as_str(), model.engine.stats())).collect();
    let mut page = state.metrics.render(&engines);
    books_metrics::render(&mut page, &state).await;
    notices::render(&mut page, &state).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}
