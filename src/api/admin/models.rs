//! `/api/v1/admin/models`: what is in memory and how it runs; loading and unloading.
//! Promises: a model that somebody uses is not unloaded; what was done is in the audit.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::api::AppState;
use crate::api::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::operator::Operator;
use crate::registry::{InMemory, ModelPlace, ModelStatus, RegistryError};

/// The words for where a model is.
pub(in crate::api) const STATES: [&str; 4] = ["loaded", "loading", "available", "missing"];

/// `GET /api/v1/admin/models`
pub(super) async fn list(
    _: Operator,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let models = look(&state).await?;
    let memory = |model: &ModelStatus| in_memory(model).map_or(0, |figures| figures.memory);
    let used: u64 = models.iter().map(memory).sum();
    let queue: usize = models.iter().map(|model| model.waiting).sum();
    let data: Vec<Value> = models.iter().map(|model| model_json(&state, model)).collect();
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "memory_used": used,
        "memory_budget": state.registry.memory_budget(),
        "queue": queue,
        "now_ms": state.clock.now_ms(),
    })))
}

/// `POST /api/v1/admin/models/load`: answers once it is in memory.
pub(super) async fn load(
    operator: Operator,
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let id = named(&state, &body)?;
    if state.registry.get_loaded(&id).is_none() {
        state.registry.get(&id).await.map_err(for_the_operator)?;
        state.ledger.note(&operator.actor, "model.load", &format!("model {id:?}")).await?;
    }
    show(&state, &id).await
}

/// `POST /api/v1/admin/models/unload`: answers once its memory is free.
pub(super) async fn unload(
    operator: Operator,
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let id = named(&state, &body)?;
    let (registry, name) = (state.registry.clone(), id.clone());
    let unloaded = spawn_blocking(move || registry.unload(&name)).await;
    if unloaded.map_err(|_panicked| ApiError::Internal)?? {
        state.ledger.note(&operator.actor, "model.unload", &format!("model {id:?}")).await?;
    }
    show(&state, &id).await
}

/// The id of the model that a body names, by id or alias.
fn named(state: &AppState, body: &JsonBody) -> Result<String, ApiError> {
    let fields = body.fields();
    let name = fields.require("model", fields.string("model")?)?;
    let offered = state.registry.entries().find(|entry| entry.answers_to(name));
    offered.map(|entry| entry.id.clone()).ok_or_else(|| ApiError::UnknownModel(name.to_owned()))
}

/// What is wrong with files may be told to whom they belong.
fn for_the_operator(error: RegistryError) -> ApiError {
    match error {
        RegistryError::Failed { id, why } => {
            ApiError::ModelUnavailable { model: id, why: why.to_string() }
        }
        error => error.into(),
    }
}

async fn show(state: &AppState, id: &str) -> Result<Json<Value>, ApiError> {
    let models = look(state).await?;
    let found = models.iter().find(|model| model.entry.id == id);
    let found = found.ok_or_else(|| ApiError::UnknownModel(id.to_owned()))?;
    Ok(Json(model_json(state, found)))
}

/// How all models stand. Which files are there is a question to the disk.
async fn look(state: &AppState) -> Result<Vec<ModelStatus>, ApiError> {
    let registry = state.registry.clone();
    let looked = spawn_blocking(move || registry.status()).await;
    looked.map_err(|_panicked| ApiError::Internal)
}

fn in_memory(model: &ModelStatus) -> Option<&InMemory> {
    match &model.place {
        ModelPlace::Loaded(figures) => Some(figures),
        ModelPlace::Loading | ModelPlace::Available | ModelPlace::Missing => None,
    }
}

fn model_json(state: &AppState, model: &ModelStatus) -> Value {
    let [loaded, loading, available, missing] = STATES;
    let word = match model.place {
        ModelPlace::Loaded(_) => loaded,
        ModelPlace::Loading => loading,
        ModelPlace::Available => available,
        ModelPlace::Missing => missing,
    };
    let (entry, figures) = (&model.entry, in_memory(model));
    let is_default = state.config.models.first() == Some(&entry.id);
    let known_length = entry.context_length.map(|length| length as usize);
    json!({
        "id": entry.id,
        "object": "model",
        "aliases": entry.aliases,
        "tier": entry.tier,
        "credit_multiplier": state.config.catalog.tier_of(entry).credits_per_output_token,
        "context_length": figures.map(|figures| figures.context_length).or(known_length),
        "state": word,
        "default": is_default,
        "memory": figures.map(|figures| figures.memory),
        "loaded_at": figures.map(|figures| figures.loaded_at),
        "waiting": model.waiting,
        "error": model.error,
        "engine": figures.map(engine_json),
    })
}

fn engine_json(figures: &InMemory) -> Value {
    let stats = &figures.stats;
    json!({
        "running": stats.running,
        "waiting": stats.waiting,
        "paused": stats.paused,
        "max_batch": figures.max_batch,
        "max_waiting": figures.max_waiting,
        "block_tokens": figures.block_tokens,
        "kv_blocks": stats.blocks.total,
        "kv_blocks_owned": stats.blocks.owned,
        "kv_blocks_cached": stats.blocks.cached,
        "prompt_tokens": stats.prompt_tokens,
        "cached_tokens": stats.cached_tokens,
        "generated_tokens": stats.generated_tokens,
        "drafted_tokens": stats.drafted_tokens,
        "accepted_tokens": stats.accepted_tokens,
        "steps": stats.steps,
        "preemptions": stats.preemptions,
        "failed_steps": stats.failed_steps,
    })
}
