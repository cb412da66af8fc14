//! Responses that are kept: how they come to be, and the routes that give them out again.
//! Promises: an answer that can not be kept is given all the same, and says that it was not kept;
//! another account's response is as unknown as none.
//! Never knows: how answers are made.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn, spawn_blocking};
use tokio::time::timeout;

use super::super::AppState;
use super::super::auth::Caller;
use super::super::error::ApiError;
use super::super::url::{Path, Query};
use super::history::{find, items_of, readable, unreadable};
use super::input::Item;
use crate::ledger::AccountId;
use crate::responses::{ConversationError, NewResponse, Responses};

/// Items of one answer, when nobody says, and at most.
pub(in super::super) const USUAL_ITEMS: usize = 20;
pub(in super::super) const MAX_ITEMS: usize = 100;

/// How long a finished answer waits to be kept before it goes out without.
const MAX_KEEPING: Duration = Duration::from_secs(5);

/// A response that is to be kept when it has ended.
#[derive(Debug)]
pub(super) struct Keeping {
    store: Responses,
    id: String,
    account: AccountId,
    previous: Option<String>,
    /// Unix seconds.
    created_at: i64,
    input: Vec<Item>,
}

impl Keeping {
    /// `generation` makes the response `id`, which answers `input`. `None`: nothing is kept here.
    pub(super) fn new(
        state: &AppState,
        account: AccountId,
        id: &str,
        previous: Option<&str>,
        created_at: i64,
        input: Vec<Item>,
    ) -> Option<Self> {
        let store = state.responses.clone()?;
        let (id, previous) = (id.to_owned(), previous.map(str::to_owned));
        Some(Self { store, id, account, previous, created_at, input })
    }

    /// Begins to keep `body`, which tells of itself that it is kept. The task says whether it is,
    /// and waits no longer than an answer may: a store that is slow keeps it all the same, later.
    pub(super) fn begin(self, body: String) -> JoinHandle<bool> {
        let kept = self.keep(body);
        spawn(async { timeout(MAX_KEEPING, kept).await.is_ok_and(|kept| kept.unwrap_or(false)) })
    }

    fn keep(self, body: String) -> JoinHandle<bool> {
        spawn_blocking(move || {
            let new = NewResponse {
                id: self.id,
                account: self.account.0,
                previous: self.previous,
                created_ms: self.created_at.saturating_mul(1_000),
                input: self.input.into_iter().map(|item| item.json).collect::<Value>().to_string(),
                body,
            };
            let kept = self.store.keep(&new);
            // It is paid for, so it is given: only asking again is not possible.
            kept.inspect_err(|error| tracing::error!(%error, id = new.id, "a response is not kept"))
                .is_ok()
        })
    }
}

/// What may be asked about a response.
#[derive(Debug, Deserialize)]
pub(in super::super) struct AskedResponse {
    stream: Option<String>,
}

/// `GET /v1/responses/{id}`
pub(in super::super) async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(asked): Query<AskedResponse>,
) -> Result<Response, ApiError> {
    if asked.stream.is_some_and(|stream| stream != "false") {
        let message = "'stream' is not supported here: a kept response is whole";
        return Err(ApiError::field("stream", message));
    }
    let found = find(&state, caller.key.account, &id).await?;
    let found = found.ok_or(ApiError::UnknownResponse(id))?;
    Ok(json_response(found.body))
}

/// `DELETE /v1/responses/{id}`
pub(in super::super) async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = caller.key.account;
    let unknown = || ApiError::UnknownResponse(id.clone());
    let store = readable(&state, account, &id).await?.ok_or_else(unknown)?;
    let (now_ms, wanted) = (state.clock.now_ms(), id.clone());
    let removed = spawn_blocking(move || store.remove(account.0, &wanted, now_ms)).await;
    let removed = removed.map_err(|_panicked| ApiError::Internal)?;
    if !removed.map_err(|error| unreadable(&error))? {
        return Err(unknown());
    }
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })))
}

/// Which items to list.
#[derive(Debug, Deserialize)]
pub(in super::super) struct AskedItems {
    after: Option<String>,
    limit: Option<usize>,
    order: Option<String>,
}

/// `GET /v1/responses/{id}/input_items`: all that the response answered, earlier turns of its
/// conversation included as far as they are kept.
pub(in super::super) async fn input_items(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(asked): Query<AskedItems>,
) -> Result<Json<Value>, ApiError> {
    let limit = asked.limit.unwrap_or(USUAL_ITEMS);
    if !(1..=MAX_ITEMS).contains(&limit) {
        let message = format!("'limit' is {limit} and must be from 1 to {MAX_ITEMS}");
        return Err(ApiError::field("limit", message));
    }
    let is_ascending = match asked.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(other) => {
            let message = format!("'order' is {other:?} and must be 'asc' or 'desc'");
            return Err(ApiError::field("order", message));
        }
    };
    let mut items = input_of_kept(&state, caller.key.account, &id).await?;
    if !is_ascending {
        items.reverse();
    }
    let start = match asked.after {
        None => 0,
        Some(after) => match items.iter().position(|item| item["id"] == after.as_str()) {
            Some(place) => place + 1,
            None => {
                let message = format!("'after' is {after:?}, and there is no such item");
                return Err(ApiError::field("after", message));
            }
        },
    };
    let has_more = items.len() > start + limit;
    let data: Vec<Value> = items.into_iter().skip(start).take(limit).collect();
    // Typed clients require both.
    let id_of = |item: Option<&Value>| item.map_or("".into(), |item| item["id"].clone());
    Ok(Json(json!({
        "object": "list",
        "first_id": id_of(data.first()),
        "last_id": id_of(data.last()),
        "has_more": has_more,
        "data": data,
    })))
}

/// Removes all that an account keeps.
pub(in super::super) async fn forget(state: &AppState, account: AccountId) -> Result<(), ApiError> {
    let Some(store) = state.responses.clone() else { return Ok(()) };
    let removed = spawn_blocking(move || store.remove_account(account.0)).await;
    let removed = removed.map_err(|_panicked| ApiError::Internal)?;
    removed.map(|_| ()).map_err(|error| unreadable(&error))
}

/// The items before a response's own output, oldest first.
async fn input_of_kept(
    state: &AppState,
    account: AccountId,
    id: &str,
) -> Result<Vec<Value>, ApiError> {
    let unknown = || ApiError::UnknownResponse(id.to_owned());
    let store = readable(state, account, id).await?.ok_or_else(unknown)?;
    let (now_ms, id) = (state.clock.now_ms(), id.to_owned());
    let read = move || {
        let found = match store.conversation(account.0, &id, now_ms) {
            Ok(found) => found.responses,
            Err(ConversationError::Unknown { id }) => return Err(ApiError::UnknownResponse(id)),
            // What this one adds to it can be told.
            Err(ConversationError::TooLong { .. }) => {
                let found = store.find(account.0, &id, now_ms);
                found.map_err(|error| unreadable(&error))?.into_iter().collect()
            }
            Err(ConversationError::Store(error)) => return Err(unreadable(&error)),
        };
        let mut items = Vec::new();
        for (index, mut response) in found.iter().cloned().enumerate() {
            if index + 1 == found.len() {
                response.body = "{}".to_owned();
            }
            items.extend(items_of(&response)?.into_iter().map(|item| item.json));
        }
        Ok(items)
    };
    spawn_blocking(read).await.map_err(|_panicked| ApiError::Internal)?
}

/// A response that is JSON already.
pub(super) fn json_response(body: String) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], body).into_response()
}
