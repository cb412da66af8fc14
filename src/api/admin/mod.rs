//! `/api/v1/admin`: what an operator does to accounts, keys, users and balances.
//! Promises: every change is in the audit with who made it; a secret is shown once.
//! Never knows: how the books are kept.

mod books;
mod corrections;
mod models;
mod reconciliation;
mod sales;
mod vouchers;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::AppState;
use super::body::JsonBody;
use super::error::ApiError;
use super::export;
use super::fields::Fields;
use super::keys::{self, key_json};
use super::openai::idempotency_key;
use super::operator::Operator;
use super::url::Path;
use super::{notices, request_log, responses, usage, users};
use crate::catalog::DEFAULT_PLAN;
use crate::ledger::{AccountInfo, Credits};

pub(super) use books::VERIFY_STATES;
pub(super) use corrections::{DEFAULT_ENTRIES, MAX_ENTRIES};
pub(super) use models::STATES as MODEL_STATES;
pub(super) use reconciliation::NEEDS;
pub(super) use sales::MAX_ORDERS;
pub(super) use vouchers::{MAX_EXPIRE_DAYS, MAX_VOUCHERS};

/// The routes below `/api/v1/admin`.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/accounts", get(list_accounts).post(create_account))
        .route("/accounts/{name}", get(show_account).patch(corrections::change))
        .route("/accounts/{name}/close", post(close_account))
        .route("/accounts/{name}/keys", get(list_keys).post(create_key))
        .route("/accounts/{name}/grants", post(grant))
        .route("/keys/{id}", delete(revoke_key))
        .route("/accounts/{name}/corrections", post(corrections::correct))
        .route("/plans", get(corrections::plans))
        .route("/audit", get(corrections::audit))
        .route("/topups", get(sales::list))
        .route("/topups/{id}", get(sales::show))
        .route("/topups/{id}/check", post(sales::check))
        .route("/topups/{id}/confirm", post(sales::confirm))
        .route("/topups/{id}/refunds", post(sales::refund))
        .route("/topups/{id}/settle", post(reconciliation::settle))
        .route("/reconciliation", get(reconciliation::list))
        .route("/refunds", get(sales::pending_refunds))
        .route("/refunds/{id}/settle", post(sales::settle_refund))
        .route("/revenue", get(sales::revenue))
        .route("/models", get(models::list))
        .route("/models/load", post(models::load))
        .route("/models/unload", post(models::unload))
        .route("/ledger", get(books::show))
        .route("/ledger/verify", post(books::verify))
        .route("/vouchers", get(vouchers::list).post(vouchers::create))
        .route("/vouchers/{batch}/void", post(vouchers::void))
        .merge(users::routes())
        .route("/export", get(export::rows))
        .route("/accounts/{name}/notices", get(notices::list_of_account))
        .route(
            "/accounts/{name}/notices/low-balance",
            get(notices::of_account).put(notices::set_of_account),
        )
        .route("/usage", get(usage::of_accounts))
        .route("/generations", get(request_log::of_accounts))
}

async fn list_accounts(
    _: Operator,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let accounts = state.read_ledger(|ledger| ledger.accounts()).await?;
    let data: Vec<Value> = accounts.iter().map(account_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

async fn create_account(
    operator: Operator,
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let name = fields.require("name", fields.string("name")?)?;
    let plan = plan(&state, &fields)?.unwrap_or(DEFAULT_PLAN);
    state.ledger.create_account(name, plan, &operator.actor).await?;
    Ok(Json(account_json(&find(&state, name).await?)))
}

/// The plan that a body names, if it is one of `models.toml`.
fn plan<'a>(state: &AppState, fields: &Fields<'a>) -> Result<Option<&'a str>, ApiError> {
    let plans = &state.config.catalog.plans;
    match fields.string("plan")? {
        Some(plan) if !plans.contains_key(plan) => {
            let known: Vec<&str> = plans.keys().map(String::as_str).collect();
            let known = known.join(", ");
            let message = format!("there is no plan '{plan}'; models.toml has {known}");
            Err(fields.refuse("plan", message))
        }
        plan => Ok(plan),
    }
}

async fn show_account(
    _: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = find(&state, &name).await?;
    let keys = state.read_ledger(move |ledger| ledger.keys(account.id)).await?;
    let mut shown = account_json(&account);
    shown["keys"] = keys.iter().map(key_json).collect();
    Ok(Json(shown))
}

async fn close_account(
    operator: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = find(&state, &name).await?;
    state.ledger.close_account(account.id, &operator.actor).await?;
    responses::forget(&state, account.id).await?;
    Ok(Json(account_json(&find(&state, &name).await?)))
}

async fn list_keys(
    _: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = find(&state, &name).await?.id;
    let keys = state.read_ledger(move |ledger| ledger.keys(account)).await?;
    let data: Vec<Value> = keys.iter().map(key_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

async fn create_key(
    operator: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let account = find(&state, &name).await?;
    let request = keys::read_request(&body.fields(), account.id)?;
    let key = state.ledger.create_key(request.clone(), &operator.actor).await?;
    Ok(Json(keys::new_key_json(&key, &request, &account.name)))
}

async fn revoke_key(
    operator: Operator,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = keys::read_id(&id)?;
    state.ledger.revoke_key(id, &operator.actor).await?;
    Ok(Json(json!({ "id": id.0, "revoked": true })))
}

async fn grant(
    operator: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let credits = fields.require("credits", fields.integer("credits", 1..=i64::MAX)?)?;
    let reason = fields.require("reason", fields.string("reason")?)?;
    let account = find(&state, &name).await?.id;
    let (credits_given, actor) = (Credits(credits), &operator.actor);
    let granted = match idempotency_key(&headers, 1)? {
        Some(key) => state.ledger.grant_once(&key, account, credits_given, reason, actor),
        None => state.ledger.grant(account, credits_given, reason, actor),
    };
    let balance = granted.await?;
    Ok(Json(json!({ "account": name, "credits": credits, "balance": balance.0 })))
}

/// The account called `name`. Operators have tens of accounts, not millions.
pub(super) async fn find(state: &AppState, name: &str) -> Result<AccountInfo, ApiError> {
    let accounts = state.read_ledger(|ledger| ledger.accounts()).await?;
    let found = accounts.into_iter().find(|account| account.name == name);
    found.ok_or_else(|| ApiError::UnknownAccount(name.to_owned()))
}

fn account_json(account: &AccountInfo) -> Value {
    json!({
        "id": account.id.0,
        "name": account.name,
        "plan": account.plan,
        "balance": account.balance.0,
        "total_credits": account.total_credits.0,
        "total_usage": account.total_credits.0 - account.balance.0,
        "open": account.open.0,
        "created_at": account.created_ms / 1000,
        "closed_at": account.closed_ms.map(|ms| ms / 1000),
        "frozen_at": account.frozen_ms.map(|ms| ms / 1000),
    })
}
