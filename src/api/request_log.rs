//! `/api/v1/generations`, `/api/v1/admin/generations`: one line for each request, newest first.
//! Promises: a key sees its own account only; a page goes on exactly behind the one before,
//! whatever opens meanwhile; as CSV, memory for one page at a time.
//! Never knows: what the answers said.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppState;
use super::account::{finish_reason, meter_id, status};
use super::auth::AccountCaller;
use super::csv;
use super::error::ApiError;
use super::operator::Operator;
use super::time_span::{end, said, start, wants_csv};
use super::url::Query;
use super::usage::key_json;
use crate::ledger::{
    AccountId, GenerationPage, GenerationQuery, GenerationRow, KeyId, MeterState, rfc3339,
};

/// Rows of a page: when nobody says, and at most.
pub(super) const DEFAULT_LIMIT: usize = 20;
pub(super) const MAX_LIMIT: usize = 1_000;

/// The query as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    limit: Option<usize>,
    before: Option<String>,
    model: Option<String>,
    key: Option<i64>,
    finish: Option<String>,
    from: Option<String>,
    to: Option<String>,
    format: Option<String>,
    account: Option<String>,
}

/// `GET /api/v1/generations?limit=&before=&model=&key=&finish=&from=&to=&format=json|csv`
pub(super) async fn own(
    caller: AccountCaller,
    State(state): State<AppState>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    if asked.account.is_some() {
        return Err(ApiError::field("account", "'account' is the key's own: leave it out"));
    }
    answer(state, Some(caller.account), asked, &headers).await
}

/// `GET /api/v1/admin/generations?account=&...`: of all accounts, if none is named.
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
    answer(state, account, asked, &headers).await
}

async fn answer(
    state: AppState,
    account: Option<AccountId>,
    asked: Asked,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let is_csv = wants_csv(asked.format.as_deref(), headers)?;
    let Log { mut query, finish } = Log::read(account, &asked)?;
    if !is_csv {
        query.limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&query.limit) {
            let message = format!("'limit' is {}: give 1 to {MAX_LIMIT}", query.limit);
            return Err(ApiError::field("limit", message));
        }
        let page = page(&state, query, finish).await?;
        let data: Vec<Value> = page.rows.iter().map(row_json).collect();
        let next = page.next.map(|next| next.to_string());
        let list = json!({
            "object": "list", "data": data, "has_more": next.is_some(), "next": next,
        });
        return Ok(Json(list).into_response());
    }
    // The first page is read before the answer begins, so that what is wrong has its status.
    let mut left = asked.limit.unwrap_or(usize::MAX);
    query.limit = left.min(MAX_LIMIT);
    let mut read = page(&state, query.clone(), finish.clone()).await?;
    let (parts, response) = csv::streamed("requests.csv");
    tokio::spawn(async move {
        let mut text = String::new();
        csv::push_names(&mut text, &COLUMNS);
        loop {
            read.rows.iter().for_each(|row| csv::push_row(&mut text, &row_cells(row)));
            left -= read.rows.len();
            let part = Bytes::from(std::mem::take(&mut text));
            if !part.is_empty() && parts.send(Ok(part)).await.is_err() {
                return;
            }
            let (Some(next), 1..) = (read.next, left) else { return };
            query = GenerationQuery { before: Some(next), limit: left.min(MAX_LIMIT), ..query };
            read = match page(&state, query.clone(), finish.clone()).await {
                Ok(page) => page,
                Err(error) => {
                    let _ = parts.send(Err(error)).await;
                    return;
                }
            };
        }
    });
    Ok(response)
}

/// What is asked of the log.
struct Log {
    query: GenerationQuery,
    /// The reason, in the wire's words, that one of the choices ended for.
    finish: Option<String>,
}

impl Log {
    fn read(account: Option<AccountId>, asked: &Asked) -> Result<Self, ApiError> {
        let before = match said(asked.before.as_deref()) {
            Some(id) => {
                Some(meter_id(id).ok_or_else(|| ApiError::UnknownGeneration(id.to_owned()))?)
            }
            None => None,
        };
        let query = GenerationQuery {
            account,
            key: asked.key.map(KeyId),
            model: said(asked.model.as_deref()).map(str::to_owned),
            from_ms: start(asked.from.as_deref())?,
            to_ms: end(asked.to.as_deref())?,
            before,
            limit: 0,
        };
        Ok(Self { query, finish: said(asked.finish.as_deref()).map(str::to_owned) })
    }
}

async fn page(
    state: &AppState,
    query: GenerationQuery,
    finish: Option<String>,
) -> Result<GenerationPage, ApiError> {
    let read = move |ledger: &crate::ledger::Ledger| {
        let ended = |stored: Option<&str>| match (&finish, stored) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(stored)) => {
                finish_reason(stored).split(',').any(|found| found == wanted)
            }
        };
        ledger.generations(&query, &ended)
    };
    let page = state.read_ledger(read).await?;
    page.map_err(|bad| ApiError::UnknownGeneration(bad.0.to_string()))
}

/// Milliseconds of a request: all of it, and up to its first token.
fn times(row: &GenerationRow) -> (Option<i64>, Option<i64>) {
    let since = |at: Option<i64>| at.map(|at| at - row.opened_ms);
    (since(row.closed_ms), since(row.first_charge_ms))
}

/// The tokens behind the first over the time that they took, with one decimal.
fn tokens_per_second(row: &GenerationRow) -> Option<f64> {
    let millis = row.closed_ms? - row.first_charge_ms?;
    let tenths = i64::from(row.output_tokens).checked_sub(1)?.checked_mul(10_000)?;
    let tenths = (millis > 0 && tenths > 0).then(|| tenths / millis)?;
    Some(tenths as f64 / 10.0)
}

/// A reversed generation cost nothing in the end.
fn credits(row: &GenerationRow) -> i64 {
    if row.state == MeterState::Reversed { 0 } else { row.credits.0 }
}

fn row_json(row: &GenerationRow) -> Value {
    let (generation_time, time_to_first_token) = times(row);
    json!({
        "id": row.id.to_string(),
        "created": row.opened_ms / 1_000,
        "account": row.account,
        "model": row.model,
        "key": key_json(&row.key),
        "status": status(row.state),
        "streamed": row.streamed,
        "finish_reason": row.finish_reason.as_deref().map(finish_reason),
        "tokens_prompt": row.input_tokens,
        "tokens_completion": row.output_tokens,
        "credits": credits(row),
        "credit_multiplier": row.credits_per_token,
        "generation_time": generation_time,
        "time_to_first_token": time_to_first_token,
        "tokens_per_second": tokens_per_second(row),
    })
}

const COLUMNS: [&str; 17] = [
    "id",
    "created",
    "account",
    "model",
    "key_id",
    "key_label",
    "key_prefix",
    "status",
    "streamed",
    "finish_reason",
    "tokens_prompt",
    "tokens_completion",
    "credits",
    "credit_multiplier",
    "generation_time_ms",
    "time_to_first_token_ms",
    "tokens_per_second",
];

fn row_cells(row: &GenerationRow) -> [Value; COLUMNS.len()] {
    let (generation_time, time_to_first_token) = times(row);
    [
        json!(row.id.to_string()),
        json!(rfc3339(row.opened_ms)),
        json!(row.account),
        json!(row.model),
        json!(row.key.id.0),
        json!(row.key.label),
        json!(row.key.prefix),
        json!(status(row.state)),
        json!(row.streamed),
        json!(row.finish_reason.as_deref().map(finish_reason)),
        json!(row.input_tokens),
        json!(row.output_tokens),
        json!(credits(row)),
        json!(row.credits_per_token),
        json!(generation_time),
        json!(time_to_first_token),
        json!(tokens_per_second(row)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Credits, KeyName, MeterId};

    #[test]
    fn the_rate_is_of_the_tokens_behind_the_first() {
        let check = |tokens, first_charge_ms, closed_ms, expected| {
            let key = KeyName { id: KeyId(1), label: String::new(), prefix: String::new() };
            let row = GenerationRow {
                id: MeterId([0; 16]),
                account: String::new(),
                key,
                model: String::new(),
                credits_per_token: 1,
                streamed: true,
                input_tokens: 1,
                output_tokens: tokens,
                credits: Credits(i64::from(tokens)),
                state: MeterState::Closed,
                finish_reason: None,
                opened_ms: 1_000,
                first_charge_ms,
                closed_ms,
            };
            assert_eq!(tokens_per_second(&row), expected, "{tokens} {first_charge_ms:?}");
        };
        check(101, Some(2_000), Some(3_000), Some(100.0));
        check(8, Some(2_000), Some(2_333), Some(21.0));
        check(4, Some(2_000), Some(9_000), Some(0.4));
        check(1, Some(2_000), Some(3_000), None);
        check(5, Some(2_000), Some(2_000), None); // One release: no time passed.
        check(5, Some(2_000), Some(1_000), None); // The clock was set back.
        check(0, None, Some(3_000), None);
        check(5, Some(2_000), None, None);
    }
}
