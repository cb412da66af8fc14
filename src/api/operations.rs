//! `/health`, `/ready`, `/metrics`: for load balancers and Prometheus; no key needed.
//! Never knows: callers.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::AppState;
use crate::engine::Stats;

/// `GET /health`: the process answers.
pub(super) async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /ready`: requests would be served; 503 while stopping or when charges can not be written.
pub(super) async fn ready(State(state): State<AppState>) -> Response {
    let (status, word) = if !state.lifecycle.serving() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if !state.ledger.healthy() {
        (StatusCode::SERVICE_UNAVAILABLE, "ledger unavailable")
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
    let page = state.metrics.render(&engines);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}
