//! `/api/v1/admin/ledger`: how the books are, and having them checked now.
//! Never knows: how the books are kept or checked.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::operator::Operator;
use crate::ledger::CheckStatus;

/// The words for how the last check of the books went.
pub(in crate::api) const VERIFY_STATES: [&str; 4] = ["ok", "failed", "never", "running"];

/// `GET /api/v1/admin/ledger`
pub(super) async fn show(
    _: Operator,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let (figures, file_bytes, wal_bytes) = state
        .read_ledger(|ledger| Ok((ledger.figures()?, ledger.file_bytes(), ledger.wal_bytes())))
        .await?;
    let stats = state.ledger.stats();
    let hash: String = figures.head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Json(json!({ "data": {
        "healthy": state.ledger.healthy(),
        "schema_version": figures.schema_version,
        "verify": verify_json(&state.ledger.check_status()),
        "chain": { "seq": figures.head.seq, "hash": hash },
        "commits": stats.commits,
        "commands": stats.commands,
        "commit_p50_us": stats.commit_times.quantile_micros(500),
        "commit_p99_us": stats.commit_times.quantile_micros(990),
        "queue": state.ledger.waiting(),
        "open_meters": figures.open_meters,
        "accounts": figures.accounts,
        "file_bytes": file_bytes,
        "wal_bytes": wal_bytes,
        "now_ms": state.clock.now_ms(),
    } })))
}

/// `POST /api/v1/admin/ledger/verify`: begins a check, or finds one that runs.
pub(super) async fn verify(
    _: Operator,
    State(state): State<AppState>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    state.ledger.start_check().map_err(|error| {
        tracing::error!(%error, "the check of the books could not be begun");
        ApiError::Internal
    })?;
    let verify = verify_json(&state.ledger.check_status());
    Ok((StatusCode::ACCEPTED, Json(json!({ "data": { "verify": verify } }))))
}

/// Where it stands; the rest tells of the last check that came to its end.
fn verify_json(status: &CheckStatus) -> Value {
    let CheckStatus { is_running, last, error } = status;
    let [ok, failed, never, running] = VERIFY_STATES;
    let word = match last {
        _ if *is_running => running,
        _ if error.is_some() => failed,
        Some(last) if last.is_ok => ok,
        Some(_) => failed,
        None => never,
    };
    let last = last.as_ref();
    let found = last.and_then(|last| last.problem.clone());
    let unread = error.as_ref().map(|error| format!("the books could not be checked: {error}"));
    json!({
        "state": word,
        "at": last.map(|last| last.at_ms / 1_000),
        "transfers": last.map(|last| last.transfers),
        "duration_ms": last.map(|last| last.took.as_millis() as u64),
        "damages": last.map(|last| last.damages),
        "problem": unread.or(found),
    })
}
