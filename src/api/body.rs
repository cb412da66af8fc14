//! The body of a request: JSON as a rule, bounded in size and time, read whole.
//! Promises: whatever arrives, the answer is OpenAI's error shape.
//! Never knows: what the JSON means.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::AppState;
use super::error::ApiError;
use super::fields::Fields;

/// How long a body may take to arrive: the largest one over a slow line.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// A JSON object, and what identifies the bytes it came in.
#[derive(Debug)]
pub(super) struct JsonBody {
    object: Map<String, Value>,
    /// SHA-256 of the route and the bytes: an `Idempotency-Key` stands for one body.
    pub(super) sha256: [u8; 32],
    /// Bytes there were.
    pub(super) len: usize,
}

impl JsonBody {
    /// The body's fields.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::body(&self.object)
    }
}

impl FromRequest<AppState> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::NotJson);
        }
        // `/v1` and `/api/v1` are one: a nested router sees the path without its prefix.
        let route = request.uri().path().to_owned();
        let bytes = read(request, state).await?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::InvalidJson(error.to_string()))?;
        match value {
            Value::Object(object) => {
                let hash = Sha256::new().chain_update(route).chain_update([0]).chain_update(&bytes);
                let sha256 = hash.finalize().into();
                Ok(Self { object, sha256, len: bytes.len() })
            }
            _ => Err(ApiError::BadRequest("the body must be a JSON object".to_owned())),
        }
    }
}

/// A body as it was sent: who sends it has its own way of proving that it is whole.
#[derive(Debug)]
pub(super) struct RawBody(pub(super) Bytes);

impl FromRequest<AppState> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        read(request, state).await.map(Self)
    }
}

/// All bytes, within the bounds.
async fn read(request: Request, state: &AppState) -> Result<Bytes, ApiError> {
    let bytes = timeout(BODY_TIMEOUT, Bytes::from_request(request, state));
    let bytes = bytes.await.map_err(|_| ApiError::BodyTooSlow)?;
    bytes.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::BodyTooLarge { max_bytes: state.config.max_body_bytes }
        }
        _ => ApiError::BadRequest(format!("the body broke off: {rejection}")),
    })
}

/// `application/json` or `application/...+json`, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}
