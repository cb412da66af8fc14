//! `GET /v1/models` in Anthropic's shape, for its clients.
//! Never knows: which models there are.

use serde_json::{Value, json};

use crate::catalog::ModelEntry;
use crate::ledger::rfc3339;

/// One model. `context_length` is not known of a model that was never read and says nothing.
pub(in super::super) fn describe(
    entry: &ModelEntry,
    created_secs: i64,
    context_length: Option<usize>,
) -> Value {
    json!({
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": rfc3339(created_secs * 1_000),
        "lifecycle": "active",
        "max_input_tokens": context_length,
        "max_tokens": context_length,
    })
}

/// All models: there is one page.
pub(in super::super) fn list_of(models: Vec<Value>) -> Value {
    let id = |model: Option<&Value>| model.map(|model| model["id"].clone());
    let (first, last) = (id(models.first()), id(models.last()));
    json!({ "data": models, "has_more": false, "first_id": first, "last_id": last })
}
