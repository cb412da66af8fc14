//! `/api/v1/notices`: when a team wants to be told that its balance is low, where, and what it was
//! told; the same for the operator, of any account.
//! Promises: the secret of the signatures is shown where it is set, and nowhere else.
//! Never knows: how notices are sent.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::AppState;
use super::auth::AccountCaller;
use super::body::JsonBody;
use super::error::ApiError;
use super::operator::Operator;
use super::url::Path;
use crate::billing::notices::secret;
use crate::ledger::{AccountId, Credits, LowBalance, NoticeRecord};
use crate::telemetry::figure;

/// Notices in a list.
pub(super) const MAX_LISTED: u32 = 100;

/// `GET /api/v1/notices/low-balance`
pub(super) async fn own(caller: AccountCaller, State(state): State<AppState>) -> Answer {
    show(&state, caller.account).await
}

/// `PUT /api/v1/notices/low-balance` `{"below", "url"}`: without `below` it is off.
pub(super) async fn set_own(
    caller: AccountCaller,
    State(state): State<AppState>,
    body: JsonBody,
) -> Answer {
    set(&state, caller.account, &body, &caller.actor).await
}

/// `GET /api/v1/notices`: the latest, the newest first.
pub(super) async fn list_own(caller: AccountCaller, State(state): State<AppState>) -> Answer {
    list(&state, caller.account).await
}

/// `GET /api/v1/admin/accounts/{name}/notices/low-balance`
pub(super) async fn of_account(
    _: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Answer {
    let account = super::admin::find(&state, &name).await?.id;
    show(&state, account).await
}

/// `PUT /api/v1/admin/accounts/{name}/notices/low-balance`
pub(super) async fn set_of_account(
    operator: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    body: JsonBody,
) -> Answer {
    let account = super::admin::find(&state, &name).await?.id;
    set(&state, account, &body, &operator.actor).await
}

/// `GET /api/v1/admin/accounts/{name}/notices`
pub(super) async fn list_of_account(
    _: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Answer {
    let account = super::admin::find(&state, &name).await?.id;
    list(&state, account).await
}

type Answer = Result<Json<Value>, ApiError>;

async fn show(state: &AppState, account: AccountId) -> Answer {
    Ok(Json(json!({ "data": low_balance_json(&low_balance(state, account).await?) })))
}

async fn set(state: &AppState, account: AccountId, body: &JsonBody, actor: &str) -> Answer {
    let fields = body.fields();
    let below = fields.integer("below", 1..=i64::MAX)?.map(Credits);
    let url = fields.string("url")?;
    if let Some(url) = url
        && let Err(bad) = state.outbound.check(url)
    {
        return Err(fields.refuse("url", format!("'url' {bad}")));
    }
    state.ledger.set_notice(account, below, url, actor).await?;
    let mut shown = low_balance_json(&low_balance(state, account).await?);
    if let Some(url) = url {
        shown["secret"] = json!(secret(&state.ledger, account, url).to_string());
    }
    Ok(Json(json!({ "data": shown })))
}

async fn list(state: &AppState, account: AccountId) -> Answer {
    let notices = state.read_ledger(move |ledger| ledger.notices(account, MAX_LISTED)).await?;
    let data: Vec<Value> = notices.iter().map(notice_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

async fn low_balance(state: &AppState, account: AccountId) -> Result<LowBalance, ApiError> {
    let found = state.read_ledger(move |ledger| ledger.low_balance(account)).await?;
    // Accounts are closed, never deleted, and this one has just been found.
    found.ok_or(ApiError::Internal)
}

fn low_balance_json(low: &LowBalance) -> Value {
    json!({
        "below": low.below.map(|below| below.0),
        "url": low.url,
        "balance": low.balance.0,
        "is_low": low.below.is_some_and(|below| low.balance < below),
        "told_at": low.told_ms.map(|ms| ms / 1_000),
    })
}

fn notice_json(notice: &NoticeRecord) -> Value {
    let seconds = |ms: Option<i64>| ms.map(|ms| ms / 1_000);
    json!({
        "id": format!("notice_{}", notice.id),
        "type": "balance.low",
        "created": notice.at_ms / 1_000,
        "balance": notice.balance.0,
        "threshold": notice.threshold.0,
        "url": notice.url,
        "tries": notice.tries,
        "next_try_at": seconds(notice.next_try_ms),
        "sent_at": seconds(notice.sent_ms),
        "error": notice.error,
    })
}

/// Appends their figures to a page of metrics.
pub(super) async fn render(page: &mut String, state: &AppState) {
    let counts = &state.notice_counts;
    for (name, help, value) in [
        ("mizan_notices_sent_total", "Notices that were taken.", counts.sent()),
        ("mizan_notices_failed_total", "Tries to send a notice that failed.", counts.failed()),
        ("mizan_notices_given_up_total", "Notices that are not tried any more.", counts.given_up()),
    ] {
        figure(page, name, "counter", help, value);
    }
    if let Ok(waiting) = state.read_ledger(|ledger| ledger.notices_waiting()).await {
        let help = "Notices that wait to be sent.";
        figure(page, "mizan_notices_waiting", "gauge", help, waiting);
    }
}
