//! `/api/v1/usage`, `/api/v1/admin/usage`: requests, tokens and credits by day, model and key.
//! Promises: a key sees its own account only; the rows add up to the total, and over all time the
//! credits to `total_usage` of `/api/v1/credits`.
//! Never knows: how meters are summed up.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppState;
use super::auth::AccountCaller;
use super::csv;
use super::error::ApiError;
use super::operator::Operator;
use super::time_span::{TimeSpan, said, wants_csv};
use super::url::Query;
use crate::ledger::{AccountId, KeyName, Usage, UsageBy, UsageQuery, UsageRow, UsageSums};

/// The query as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    from: Option<String>,
    to: Option<String>,
    group_by: Option<String>,
    format: Option<String>,
    account: Option<String>,
}

/// `GET /api/v1/usage?from=&to=&group_by=day,model,key&format=json|csv`
pub(super) async fn own(
    caller: AccountCaller,
    State(state): State<AppState>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    if asked.account.is_some() {
        return Err(ApiError::field("account", "'account' is the key's own: leave it out"));
    }
    answer(&state, Some(caller.account), &asked, &headers).await
}

/// `GET /api/v1/admin/usage?account=&from=&to=&group_by=day,account,model,key&format=json|csv`
pub(super) async fn of_accounts(
    _: Operator,
    State(state): State<AppState>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let account = match said(asked.account.as_deref()) {
        Some(name) => Some(super::admin::find(&state, name).await?.id),
        None => None,
    };
    answer(&state, account, &asked, &headers).await
}

async fn answer(
    state: &AppState,
    account: Option<AccountId>,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let is_csv = wants_csv(asked.format.as_deref(), headers)?;
    let by = groups(asked.group_by.as_deref(), account.is_none())?;
    let TimeSpan { from_ms, to_ms } =
        TimeSpan::read(asked.from.as_deref(), asked.to.as_deref(), state.clock.now_ms())?;
    let query = UsageQuery { account, from_ms, to_ms, by: by.clone() };
    let usage = state.read_ledger(move |ledger| Ok(ledger.usage(&query))).await??;
    if is_csv {
        return Ok(csv::whole(table(&usage, &by), "usage.csv"));
    }
    let data: Vec<Value> = usage.rows.iter().map(row_json).collect();
    Ok(Json(json!({
        "object": "list",
        "from": from_ms / 1_000,
        "to": to_ms / 1_000,
        "data": data,
        "total": sums_json(&usage.total),
    }))
    .into_response())
}

/// What to tell apart, in the order of the rows; days, if nothing is said.
fn groups(text: Option<&str>, has_accounts: bool) -> Result<Vec<UsageBy>, ApiError> {
    let refuse = |message: String| Err(ApiError::field("group_by", message));
    let mut by = Vec::new();
    for word in text.unwrap_or("day").split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse::<UsageBy>() {
            Ok(UsageBy::Account) if !has_accounts => {
                return refuse("there is one account: group by day, model or key".to_owned());
            }
            Ok(group) if by.contains(&group) => {
                return refuse(format!("'group_by' has {word} twice: name it once"));
            }
            Ok(group) => by.push(group),
            Err(error) => return refuse(error.to_string()),
        }
    }
    Ok(by)
}

fn row_json(row: &UsageRow) -> Value {
    let mut shown = json!({});
    if let Some(day) = row.day {
        shown["day"] = json!(day.to_string());
    }
    if let Some(account) = &row.account {
        shown["account"] = json!(account);
    }
    if let Some(model) = &row.model {
        shown["model"] = json!(model);
    }
    if let Some(key) = &row.key {
        shown["key"] = key_json(key);
    }
    if let (Value::Object(shown), Value::Object(sums)) = (&mut shown, sums_json(&row.sums)) {
        shown.extend(sums);
    }
    shown
}

/// A key as people know it.
pub(super) fn key_json(key: &KeyName) -> Value {
    json!({ "id": key.id.0, "label": key.label, "prefix": key.prefix })
}

fn sums_json(sums: &UsageSums) -> Value {
    json!({
        "requests": sums.requests,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "credits": sums.credits.0,
        "reversed": sums.reversed,
    })
}

fn table(usage: &Usage, by: &[UsageBy]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for group in by {
        match group {
            UsageBy::Key => names.extend(["key_id", "key_label", "key_prefix"]),
            UsageBy::Day | UsageBy::Account | UsageBy::Model => names.push(group.as_str()),
        }
    }
    names.extend(["requests", "input_tokens", "output_tokens", "credits", "reversed"]);
    let mut text = String::new();
    csv::push_names(&mut text, &names);
    for row in &usage.rows {
        let mut cells = Vec::new();
        for group in by {
            match group {
                UsageBy::Day => cells.push(json!(row.day.map(|day| day.to_string()))),
                UsageBy::Account => cells.push(json!(row.account)),
                UsageBy::Model => cells.push(json!(row.model)),
                UsageBy::Key => {
                    let key = row.key.as_ref();
                    cells.push(json!(key.map(|key| key.id.0)));
                    cells.push(json!(key.map(|key| &key.label)));
                    cells.push(json!(key.map(|key| &key.prefix)));
                }
            }
        }
        let UsageSums { requests, input_tokens, output_tokens, credits, reversed } = row.sums;
        cells.extend([requests, input_tokens, output_tokens, credits.0, reversed].map(Value::from));
        csv::push_row(&mut text, &cells);
    }
    text
}
