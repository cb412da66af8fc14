//! `/api/v1/users` and `/api/v1/admin/users`: who may sign in. An account's own, for whoever has
//! the scope `users`; all of them, and operators, for the operator.
//! Promises: nobody sees or manages another account's users, or one who may do more than itself.
//! Never knows: passwords; users set them by invitation.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::AppState;
use super::address::Address;
use super::auth::{AccountCaller, Principal};
use super::body::JsonBody;
use super::error::ApiError;
use super::fields::Fields;
use super::url::Path;
use crate::ledger::{AccountId, NewSecret, NewUser, Reach, Role, UserError, UserId, UserInfo};

/// The same routes for both: below `/api/v1`, and below `/api/v1/admin`.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/users", get(list).post(create))
        .route("/users/{id}", delete(disable))
        .route("/users/{id}/invite", post(invite))
        .route("/users/{id}/role", post(set_role))
}

/// Whoever was let in to manage users, and which.
pub(super) struct Manager {
    actor: String,
    reach: Reach,
}

impl Manager {
    /// The account whose users it manages; the operator manages all.
    fn account(&self) -> Option<AccountId> {
        match self.reach {
            Reach::Everyone => None,
            Reach::Account { account, .. } => Some(account),
        }
    }
}

impl FromRequestParts<AppState> for Manager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        if let Some(Principal::Operator(operator)) = parts.extensions.get() {
            return Ok(Self { actor: operator.actor.clone(), reach: Reach::Everyone });
        }
        let caller = AccountCaller::from_request_parts(parts, state).await?;
        let AccountCaller { account, scopes, actor, .. } = caller;
        Ok(Self { actor, reach: Reach::Account { account, scopes } })
    }
}

async fn list(manager: Manager, State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let account = manager.account();
    let users = state.read_ledger(move |ledger| ledger.users(account)).await?;
    let data: Vec<Value> = users.iter().map(user_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// Makes a user and its invitation, which is shown once.
async fn create(
    manager: Manager,
    address: Address,
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let name = fields.require("name", fields.string("name")?)?.to_owned();
    let role = read_role(&fields)?;
    let account = match (manager.account(), fields.string("account")?) {
        (Some(own), None) => Some(own),
        (Some(_), Some(_)) => {
            let message = "only the operator names an account: leave 'account' out";
            return Err(fields.refuse("account", message));
        }
        (None, Some(named)) => {
            let named = named.to_owned();
            let accounts = state.read_ledger(|ledger| ledger.accounts()).await?;
            let found = accounts.iter().find(|account| account.name == named);
            Some(found.ok_or(ApiError::UnknownAccount(named))?.id)
        }
        (None, None) => None,
    };
    let Manager { actor, reach } = &manager;
    let new = NewUser { account, name, role };
    let user = state.ledger.create_user(new, *reach, actor).await?;
    let invitation = state.ledger.invite(user, *reach, actor).await?;
    invited(&state, &address, user, &invitation).await
}

async fn invite(
    manager: Manager,
    address: Address,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = read_id(&id)?;
    let invitation = state.ledger.invite(id, manager.reach, &manager.actor).await?;
    invited(&state, &address, id, &invitation).await
}

async fn set_role(
    manager: Manager,
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let id = read_id(&id)?;
    let role = read_role(&body.fields())?;
    state.ledger.set_role(id, role, manager.reach, &manager.actor).await?;
    Ok(Json(user_json(&find(&state, id).await?)))
}

async fn disable(
    manager: Manager,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = read_id(&id)?;
    state.ledger.disable_user(id, manager.reach, &manager.actor).await?;
    Ok(Json(user_json(&find(&state, id).await?)))
}

/// A user with the secret that it comes in with, and the link to do so. What is behind `#` stays
/// in the browser, and so out of logs.
async fn invited(
    state: &AppState,
    Address(address): &Address,
    user: UserId,
    invitation: &NewSecret,
) -> Result<Json<Value>, ApiError> {
    let mut shown = user_json(&find(state, user).await?);
    shown["invitation"] = json!(invitation.secret);
    shown["invitation_url"] = json!(format!("{address}/#/invitation/{}", invitation.secret));
    shown["invitation_expires_at"] = json!(invitation.expires_ms / 1000);
    Ok(Json(shown))
}

async fn find(state: &AppState, id: UserId) -> Result<UserInfo, ApiError> {
    let user = state.read_ledger(move |ledger| ledger.user(id)).await?;
    user.ok_or(ApiError::UnknownUser)
}

fn read_id(id: &str) -> Result<UserId, ApiError> {
    id.parse().map(UserId).map_err(|_| ApiError::UnknownUser)
}

fn read_role(fields: &Fields<'_>) -> Result<Role, ApiError> {
    let role = fields.require("role", fields.string("role")?)?;
    role.parse().map_err(|error| fields.refuse("role", format!("{error}")))
}

pub(super) fn user_json(user: &UserInfo) -> Value {
    json!({
        "id": user.id.0,
        "name": user.name,
        "account": user.account_name,
        "role": user.role.as_str(),
        "created_at": user.created_ms / 1000,
        "has_password": user.has_password,
        "disabled": user.disabled,
    })
}

impl From<UserError> for ApiError {
    fn from(error: UserError) -> Self {
        match error {
            UserError::UnknownAccount(id) => Self::UnknownAccount(id.to_string()),
            UserError::AccountClosed(_)
            | UserError::NameTaken(_)
            | UserError::Disabled
            | UserError::LastOwner => Self::Conflict(error.to_string()),
            UserError::UnknownUser => Self::UnknownUser,
            UserError::BeyondManager(_) => Self::Forbidden(error.to_string()),
            UserError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            UserError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}
