//! `/api/v1/sessions`, `/api/v1/invitations`, `/api/v1/me`: signing in and out, setting a password
//! by invitation, and who one is.
//! Promises: whether a name exists shows neither in the answer nor in the time it takes.
//! Never knows: what users may do; `access` decides that for every request.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::AppState;
use super::auth::{Principal, SignedIn, credentials};
use super::body::JsonBody;
use super::error::ApiError;
use super::users::user_json;
use crate::ledger::{InvitationError, Role, Scopes, SessionError, UserInfo};

/// `POST /api/v1/sessions`
pub(super) async fn create(
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let name = fields.require("name", fields.string("name")?)?;
    let password = fields.require("password", fields.string("password")?)?;
    state.sign_ins.admit(name, state.clock.now_ms())?;
    let wanted = name.to_owned();
    let found = state.read_ledger(move |ledger| ledger.find_sign_in(&wanted)).await?;
    let stored = found.as_ref().map(|found| found.password_hash.as_str());
    let is_right = state.passwords.matches(password, stored).await?;
    let Some(checked) = found.filter(|_| is_right) else { return Err(ApiError::WrongPassword) };
    let user = checked.user;
    let session = state.ledger.start_session(checked).await?;
    let user = state.read_ledger(move |ledger| ledger.user(user)).await?;
    // Users are disabled, never deleted, and this one has just signed in.
    let user = user.ok_or(ApiError::Internal)?;
    Ok(Json(json!({
        "token": session.secret,
        "expires_at": session.expires_ms / 1000,
        "name": user.name,
        "role": user.role.as_str(),
        "account": user.account_name,
    })))
}

/// `DELETE /api/v1/sessions/current`
pub(super) async fn end(
    State(state): State<AppState>,
    _: SignedIn,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let secret = credentials(&headers).ok_or(ApiError::MissingKey)?;
    state.ledger.end_session(secret).await?;
    Ok(Json(json!({ "ended": true })))
}

/// `POST /api/v1/invitations/accept`
pub(super) async fn accept_invitation(
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let secret = fields.require("invitation", fields.string("invitation")?)?.to_owned();
    let password = fields.require("password", fields.string("password")?)?;
    // First, so that hashing is for the invited only.
    let invited = secret.clone();
    if !state.read_ledger(move |ledger| ledger.has_invitation(&invited)).await? {
        return Err(InvitationError::NotValid.into());
    }
    let hash = state.passwords.hash(password).await?;
    let user = state.ledger.accept_invitation(&secret, &hash).await?;
    let user = state.read_ledger(move |ledger| ledger.user(user)).await?;
    Ok(Json(user_json(&user.ok_or(ApiError::Internal)?)))
}

/// `GET /api/v1/me`
pub(super) async fn me(principal: Principal) -> Json<Value> {
    let data = match principal {
        Principal::Key(key) => json!({
            "kind": "key",
            "id": key.id.0,
            "name": key.label,
            "prefix": key.prefix,
            "account": key.account_name,
            "role": null,
            "scopes": words(key.scopes),
            "expires_at": key.expires_ms.map(|ms| ms / 1000),
        }),
        Principal::User { session, .. } => signed_in(&session.user, session.expires_ms),
        Principal::Operator(operator) => match operator.session {
            Some(session) => signed_in(&session.user, session.expires_ms),
            None => json!({
                "kind": "operator",
                "id": null,
                "name": operator.actor,
                "account": null,
                "role": Role::Operator.as_str(),
                "scopes": [],
                "expires_at": null,
            }),
        },
    };
    Json(json!({ "data": data }))
}

fn signed_in(user: &UserInfo, expires_ms: i64) -> Value {
    json!({
        "kind": "user",
        "id": user.id.0,
        "name": user.name,
        "account": user.account_name,
        "role": user.role.as_str(),
        "scopes": words(Scopes::of_role(user.role)),
        "expires_at": expires_ms / 1000,
    })
}

/// A set of scopes as the wire has it.
pub(super) fn words(scopes: Scopes) -> Vec<&'static str> {
    scopes.iter().map(|scope| scope.as_str()).collect()
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NotAllowed => Self::WrongPassword,
            SessionError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<InvitationError> for ApiError {
    fn from(error: InvitationError) -> Self {
        match error {
            InvitationError::NotValid => Self::field("invitation", error.to_string()),
            InvitationError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            InvitationError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}
