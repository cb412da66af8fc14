//! `/api/v1/keys`: an account's own keys; and what the operator's routes for keys share with them.
//! Promises: a key sees and revokes its own account's keys only, and makes none that may do more
//! than itself; a secret is shown once.
//! Never knows: how limits are counted.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::AppState;
use super::auth::AccountCaller;
use super::body::JsonBody;
use super::error::ApiError;
use super::fields::Fields;
use super::sessions::words;
use super::url::Path;
use crate::ledger::{AccountId, Credits, KeyId, KeyInfo, KeyLimit, NewKey, NewKeyRequest, Scopes};

/// The last second that a time in milliseconds can name.
pub(super) const MAX_SECS: i64 = i64::MAX / 1000;

/// `GET /api/v1/keys`
pub(super) async fn list(
    caller: AccountCaller,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let account = caller.account;
    let keys = state.read_ledger(move |ledger| ledger.keys(account)).await?;
    let data: Vec<Value> = keys.iter().map(key_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `POST /api/v1/keys`
pub(super) async fn create(
    caller: AccountCaller,
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let mut request = read_request(&body.fields(), caller.account)?;
    request.user = caller.user;
    if !caller.scopes.contains_all(request.scopes) {
        let (asked, has) = (request.scopes, caller.scopes);
        let message = format!("a key with the scopes {asked} may do more than you, who have {has}");
        return Err(ApiError::Forbidden(message));
    }
    let key = state.ledger.create_key(request.clone(), &caller.actor).await?;
    Ok(Json(new_key_json(&key, &request, &caller.account_name)))
}

/// `DELETE /api/v1/keys/{id}`
pub(super) async fn revoke(
    caller: AccountCaller,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = read_id(&id)?;
    state.ledger.revoke_key_of(caller.account, id, &caller.actor).await?;
    Ok(Json(json!({ "id": id.0, "revoked": true })))
}

pub(super) fn read_id(id: &str) -> Result<KeyId, ApiError> {
    id.parse().map(KeyId).map_err(|_| ApiError::UnknownKey)
}

/// The key that a body asks for.
pub(super) fn read_request(
    fields: &Fields<'_>,
    account: AccountId,
) -> Result<NewKeyRequest, ApiError> {
    let label = fields.require("label", fields.string("label")?)?;
    let reset = match fields.string("limit_reset")? {
        Some(text) => {
            Some(text.parse().map_err(|error| fields.refuse("limit_reset", format!("{error}")))?)
        }
        None => None,
    };
    let credits = fields.integer("limit", 0..=i64::MAX)?;
    if reset.is_some() && credits.is_none() {
        return Err(fields.refuse("limit_reset", "'limit_reset' needs 'limit'"));
    }
    let expires_secs = fields.integer("expires_at", 0..=MAX_SECS)?;
    Ok(NewKeyRequest {
        scopes: read_scopes(fields)?.unwrap_or(NewKeyRequest::DEFAULT_SCOPES),
        limit: credits.map(|credits| KeyLimit { credits: Credits(credits), reset }),
        total_limit: fields.integer("total_limit", 0..=i64::MAX)?.map(Credits),
        expires_ms: expires_secs.map(|secs| secs * 1000),
        ..NewKeyRequest::new(account, label)
    })
}

/// A list of words, or one text with commas between them.
fn read_scopes(fields: &Fields<'_>) -> Result<Option<Scopes>, ApiError> {
    let Some(value) = fields.get("scopes") else { return Ok(None) };
    let refused = |why: String| fields.refuse("scopes", why);
    let form = || refused("'scopes' must be a list of words".to_owned());
    let scopes: Scopes = match value {
        Value::String(text) => text.parse().map_err(|error| refused(format!("{error}")))?,
        Value::Array(words) => {
            let parse = |word: &Value| {
                let word = word.as_str().ok_or_else(form)?;
                word.parse().map_err(|error| refused(format!("{error}")))
            };
            words.iter().map(parse).collect::<Result<_, _>>()?
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(form()),
    };
    if scopes.is_empty() {
        return Err(refused(format!("'scopes' is empty: give some of {}", Scopes::ALL)));
    }
    Ok(Some(scopes))
}

/// A key that was just made, the only time its secret is shown.
pub(super) fn new_key_json(key: &NewKey, request: &NewKeyRequest, account: &str) -> Value {
    json!({
        "id": key.id.0,
        "secret": key.secret,
        "prefix": key.prefix,
        "label": request.label,
        "account": account,
        "scopes": words(request.scopes),
        "limit": request.limit.map(|limit| limit.credits.0),
        "limit_reset": request.limit.and_then(|limit| limit.reset).map(|reset| reset.as_str()),
        "total_limit": request.total_limit.map(|limit| limit.0),
        "expires_at": request.expires_ms.map(|ms| ms / 1000),
    })
}

pub(super) fn key_json(key: &KeyInfo) -> Value {
    json!({
        "id": key.id.0,
        "prefix": key.prefix,
        "label": key.label,
        "user": key.user.map(|user| user.0),
        "scopes": words(key.scopes),
        "limit": key.limit.map(|limit| limit.credits.0),
        "limit_reset": key.limit.and_then(|limit| limit.reset).map(|reset| reset.as_str()),
        "total_limit": key.total_limit.map(|limit| limit.0),
        "usage": key.used.0,
        "created_at": key.created_ms / 1000,
        "last_used_at": key.last_used_ms.map(|ms| ms / 1000),
        "expires_at": key.expires_ms.map(|ms| ms / 1000),
        "expired": key.expired,
        "revoked": key.revoked,
    })
}
