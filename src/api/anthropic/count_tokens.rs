//! `POST /v1/messages/count_tokens`: how long a prompt is, for nothing.
//! Promises: the count is what `/v1/messages` counts of the same body.
//! Never knows: generations.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::AppState;
use super::super::auth::Caller;
use super::super::body::JsonBody;
use super::super::conversation::encode;
use super::super::error::ApiError;
use super::blocks::prompt_of;

/// `POST /v1/messages/count_tokens`
pub(in super::super) async fn count(
    State(state): State<AppState>,
    _: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let name = fields.require("model", fields.string("model")?)?;
    let prompt = prompt_of(&fields, body.len)?;
    let model = state.model(name).await?;
    let ids = encode(&state, &model, prompt).await?;
    Ok(Json(json!({ "input_tokens": ids.len() })))
}
