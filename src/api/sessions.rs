//! `/api/v1/sessions`, `/api/v1/invitations`, `/api/v1/me`: signing in and out, setting a password
//! by invitation, and who one is.
//! Promises: whether a name exists shows neither in the answer nor in the time it takes.
//! Never knows: what users may do; `access` decides that for every request.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::AppState;
use super::auth::{Principal, Shown};
use super::body::JsonBody;
use super::dashboard::{Jar, would_be_let_play};
use super::error::ApiError;
use super::fields::Fields;
use super::users::user_json;
use crate::ledger::{
    InvitationError, NewSecret, Role, Scope, Scopes, SessionError, SessionInfo, UserId,
};

/// `POST /api/v1/sessions`
pub(super) async fn create(
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let (session, user) = start(&state, &body.fields()).await?;
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

/// A session for whoever has the name and the password that the fields give.
pub(super) async fn start(
    state: &AppState,
    fields: &Fields<'_>,
) -> Result<(NewSecret, UserId), ApiError> {
    let name = fields.require("name", fields.string("name")?)?;
    let password = fields.require("password", fields.string("password")?)?;
    state.sign_ins.admit(name, state.clock.now_ms())?;
    let wanted = name.to_owned();
    let found = state.read_ledger(move |ledger| ledger.find_sign_in(&wanted)).await?;
    let stored = found.as_ref().map(|found| found.password_hash.as_str());
    let is_right = state.passwords.matches(password, stored).await?;
    let Some(checked) = found.filter(|_| is_right) else { return Err(ApiError::WrongPassword) };
    let user = checked.user;
    Ok((state.ledger.start_session(checked).await?, user))
}

/// `DELETE /api/v1/sessions/current`
pub(super) async fn end(
    State(state): State<AppState>,
    shown: Shown,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let answer = Json(json!({ "ended": true }));
    match shown {
        Shown::Secret(secret) => {
            state.ledger.end_session(&secret).await?;
            Ok(answer.into_response())
        }
        Shown::Cookie(value) => {
            end_cookie(&state, &value).await?;
            Ok(Jar::of(&state, &headers).empty(answer))
        }
        Shown::Nothing | Shown::Socket => Err(ApiError::MissingKey),
    }
}

/// Ends what a browser's cookie stands for, if it stands for anything.
pub(super) async fn end_cookie(state: &AppState, value: &str) -> Result<(), ApiError> {
    if !state.tickets.end(value) {
        state.ledger.end_session(value).await?;
    }
    Ok(())
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
pub(super) async fn me(
    State(state): State<AppState>,
    principal: Principal,
    shown: Shown,
) -> Result<Json<Value>, ApiError> {
    let by_cookie = matches!(shown, Shown::Cookie(_));
    Ok(Json(describe(&state, principal, by_cookie).await?))
}

/// Who that is, and what it can do as it is signed in.
pub(super) async fn describe(
    state: &AppState,
    principal: Principal,
    by_cookie: bool,
) -> Result<Value, ApiError> {
    let data = match principal {
        Principal::Key(key) => {
            let is_open = !key.account_closed && !key.account_frozen;
            json!({
                "kind": "key",
                "id": key.id.0,
                "name": key.label,
                "prefix": key.prefix,
                "account": key.account_name,
                "plan": key.plan,
                "role": null,
                "scopes": words(key.scopes),
                "playground": is_open && key.scopes.contains(Scope::Inference),
                "expires_at": key.expires_ms.map(|ms| ms / 1000),
            })
        }
        Principal::User { account, session } => {
            let found = state.read_ledger(move |ledger| ledger.account(account)).await?;
            // Accounts are closed, never deleted.
            let found = found.ok_or(ApiError::Internal)?;
            let is_open = found.closed_ms.is_none() && found.frozen_ms.is_none();
            let playground =
                by_cookie && is_open && would_be_let_play(state, account, &session.user).await?;
            signed_in(&session, Some(&found.plan), playground)
        }
        Principal::Operator(operator) => match operator.session {
            Some(session) => signed_in(&session, None, false),
            None => json!({
                "kind": "operator",
                "id": null,
                "name": operator.actor,
                "account": null,
                "plan": null,
                "role": Role::Operator.as_str(),
                "scopes": [],
                "playground": false,
                "expires_at": null,
            }),
        },
    };
    Ok(json!({ "data": data }))
}

fn signed_in(session: &SessionInfo, plan: Option<&str>, playground: bool) -> Value {
    let user = &session.user;
    json!({
        "kind": "user",
        "id": user.id.0,
        "name": user.name,
        "account": user.account_name,
        "plan": plan,
        "role": user.role.as_str(),
        "scopes": words(Scopes::of_role(user.role)),
        "playground": playground,
        "expires_at": session.expires_ms / 1000,
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
