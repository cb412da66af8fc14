//! What a request takes from earlier responses: the conversation up to one of them, and items that
//! it names.
//! Promises: an account finds its own responses only, and none whose answer was not paid for in the
//! end; what is read is bounded in responses and bytes.
//! Never knows: what items say.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::super::AppState;
use super::super::error::ApiError;
use super::super::fields::Fields;
use super::answer::{generation_of, response_id};
use super::input::{Input, Item, item_of};
use crate::ledger::{AccountId, MeterId, MeterState};
use crate::responses::{ConversationError, Responses, StoreError, StoredResponse};

/// Other responses whose items one request names, and their bytes, at most.
const MAX_REFERENCED: usize = 64;
const MAX_REFERENCED_BYTES: usize = 16 << 20;

/// A plain answer that is on its way is taken, or its caller turns out to be gone, within this
/// time.
const MAX_SETTLING: Duration = Duration::from_secs(2);

/// Items that were said before.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) items: Vec<Item>,
    /// Length of their JSON.
    pub(super) bytes: usize,
}

/// The conversation up to and with a response.
pub(super) async fn conversation(
    state: &AppState,
    account: AccountId,
    id: &str,
) -> Result<History, ApiError> {
    let unknown = || ApiError::UnknownPreviousResponse(id.to_owned());
    let store = readable(state, account, id).await?.ok_or_else(unknown)?;
    let (now_ms, wanted) = (state.clock.now_ms(), id.to_owned());
    let read = move || {
        let found = match store.conversation(account.0, &wanted, now_ms) {
            Ok(found) => found,
            Err(ConversationError::Unknown { id }) => {
                return Err(ApiError::UnknownPreviousResponse(id));
            }
            Err(error @ ConversationError::TooLong { .. }) => {
                return Err(ApiError::field("previous_response_id", error.to_string()));
            }
            Err(ConversationError::Store(error)) => return Err(unreadable(&error)),
        };
        // Half of a conversation would be another one.
        if let Some(missing) = found.missing {
            return Err(ApiError::UnknownPreviousResponse(missing));
        }
        let mut history = History::default();
        for response in &found.responses {
            history.bytes += response.input.len() + response.body.len();
            history.items.extend(items_of(response)?);
        }
        Ok(history)
    };
    spawn_blocking(read).await.map_err(|_panicked| ApiError::Internal)?
}

/// The items that a request adds to `earlier` ones, with those that it names in their places.
pub(super) async fn resolve(
    state: &AppState,
    account: AccountId,
    input: Vec<Input>,
    earlier: &[Item],
) -> Result<History, ApiError> {
    let is_reference = |input: &Input| matches!(input, Input::Reference { .. });
    if !input.iter().any(is_reference) {
        let items = input.into_iter().filter_map(|input| match input {
            Input::Item(item) => Some(item),
            Input::Reference { .. } => None,
        });
        return Ok(History { items: items.collect(), bytes: 0 });
    }
    let known: HashSet<&str> = earlier.iter().filter_map(Item::id).collect();
    let mut referenced = Referenced::default();
    let mut named: HashSet<String> = HashSet::new();
    let mut items = Vec::with_capacity(input.len());
    for input in input {
        let (id, path) = match input {
            Input::Item(item) => {
                items.push(item);
                continue;
            }
            Input::Reference { id, path } => (id, path),
        };
        // Clients name items that the previous response has already: they are not said twice.
        if known.contains(id.as_str()) {
            continue;
        }
        if !named.insert(id.clone()) {
            let message = format!("the item '{id}' is named twice: name it once");
            return Err(ApiError::field(path, message));
        }
        items.push(referenced.find(state, account, &id, &path).await?);
    }
    Ok(History { items, bytes: referenced.bytes })
}

/// Responses that were read because one of their items was named.
#[derive(Debug, Default)]
struct Referenced {
    /// By the response's id, its items by theirs.
    responses: HashMap<String, HashMap<String, Item>>,
    bytes: usize,
}

impl Referenced {
    async fn find(
        &mut self,
        state: &AppState,
        account: AccountId,
        id: &str,
        path: &str,
    ) -> Result<Item, ApiError> {
        let unknown = || {
            let message = format!("item with id '{id}' not found: send the item itself");
            ApiError::field(path, message)
        };
        // The second part of an item's id is the generation's.
        let response = id.split('_').nth(1).map(response_id).ok_or_else(unknown)?;
        if !self.responses.contains_key(&response) {
            if self.responses.len() == MAX_REFERENCED {
                let message = format!("items of more than {MAX_REFERENCED} responses are named");
                return Err(ApiError::field(path, message));
            }
            let found = find(state, account, &response).await?.ok_or_else(unknown)?;
            self.bytes += found.input.len() + found.body.len();
            if self.bytes > MAX_REFERENCED_BYTES {
                let message =
                    format!("the named items are in more than {MAX_REFERENCED_BYTES} bytes");
                return Err(ApiError::field(path, message));
            }
            let items = items_of(&found)?.into_iter();
            let items = items.filter_map(|item| Some((item.id()?.to_owned(), item))).collect();
            self.responses.insert(response.clone(), items);
        }
        let items = self.responses.get(&response);
        items.and_then(|items| items.get(id)).cloned().ok_or_else(unknown)
    }
}

/// A response that this account keeps.
pub(super) async fn find(
    state: &AppState,
    account: AccountId,
    id: &str,
) -> Result<Option<StoredResponse>, ApiError> {
    let Some(store) = readable(state, account, id).await? else { return Ok(None) };
    let (now_ms, id) = (state.clock.now_ms(), id.to_owned());
    let find = move || store.find(account.0, &id, now_ms);
    let found = spawn_blocking(find).await.map_err(|_panicked| ApiError::Internal)?;
    found.map_err(|error| unreadable(&error))
}

/// The store, if `id` may be looked for in it. A plain answer is kept before it goes out; if its
/// caller is gone by then it is reversed, and nobody may have for nothing what was not paid for.
pub(super) async fn readable(
    state: &AppState,
    account: AccountId,
    id: &str,
) -> Result<Option<Responses>, ApiError> {
    let Some(store) = &state.responses else { return Ok(None) };
    let Some(meter) = generation_of(id).and_then(|id| id.parse::<MeterId>().ok()) else {
        return Ok(None);
    };
    if timeout(MAX_SETTLING, state.unsettled.settled(meter)).await.is_err() {
        return Ok(None);
    }
    let record = state.read_ledger(move |ledger| ledger.generation(account, meter)).await?;
    let is_paid = record.is_some_and(|record| record.state == MeterState::Closed);
    Ok(is_paid.then(|| store.clone()))
}

/// What was asked and answered, in order.
pub(super) fn items_of(response: &StoredResponse) -> Result<Vec<Item>, ApiError> {
    let broken = |_| {
        tracing::error!(id = response.id, "a kept response can not be read");
        ApiError::Internal
    };
    let input: Vec<Value> = serde_json::from_str(&response.input).map_err(broken)?;
    let body: Map<String, Value> = serde_json::from_str(&response.body).map_err(broken)?;
    let output = body.get("output").and_then(Value::as_array);
    let items = input.iter().chain(output.into_iter().flatten());
    items.map(|item| item_of(&Fields::at(item, format!("{}: item", response.id))?)).collect()
}

pub(super) fn unreadable(error: &StoreError) -> ApiError {
    tracing::error!(%error, "the kept responses can not be used");
    ApiError::Internal
}
