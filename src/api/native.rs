//! `/tokenize`, `/detokenize`, `/apply-template`: how this server reads text, in llama-server's
//! shapes. They cost nothing.
//! Never knows: generations.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::AppState;
use super::auth::Caller;
use super::body::JsonBody;
use super::conversation::render;
use super::error::ApiError;
use super::fields::{Fields, token_id, wrong};
use super::openai::prompt_of;
use crate::registry::LoadedModel;
use crate::text::Specials;

/// `POST /tokenize`: `{"content"}` -> `{"tokens"}`.
///
/// `add_special` puts the BOS in front, `parse_special` reads control tokens, `with_pieces` shows
/// each token's text.
pub(super) async fn tokenize(
    State(state): State<AppState>,
    _: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let content = fields.require("content", fields.string("content")?)?.to_owned();
    let add_special = fields.boolean("add_special")?.unwrap_or(false);
    let parse_special = fields.boolean("parse_special")?.unwrap_or(false);
    let with_pieces = fields.boolean("with_pieces")?.unwrap_or(false);
    let tokenizer = model(&state, &fields).await?.tokenizer.clone();
    let specials = if parse_special { Specials::Parse } else { Specials::Plain };
    let work = move || {
        let mut ids: Vec<u32> =
            tokenizer.bos_prefix().filter(|_| add_special).into_iter().collect();
        ids.extend(tokenizer.encode(&content, specials));
        if !with_pieces {
            return json!({ "tokens": ids });
        }
        let pieces = ids.iter().map(|id| {
            let bytes = tokenizer.token_bytes(*id);
            // As llama-server: text where the bytes are text, else the bytes.
            let piece =
                std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
            json!({ "id": id, "piece": piece })
        });
        json!({ "tokens": pieces.collect::<Vec<_>>() })
    };
    Ok(Json(state.text_work(body.len, work).await?))
}

/// `POST /detokenize`: `{"tokens"}` -> `{"content"}`.
pub(super) async fn detokenize(
    State(state): State<AppState>,
    _: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let tokens = fields.require("tokens", fields.array("tokens")?)?;
    let tokenizer = model(&state, &fields).await?.tokenizer.clone();
    let vocab_size = tokenizer.vocab_size();
    let mut ids = Vec::with_capacity(tokens.len());
    for (index, token) in tokens.iter().enumerate() {
        let path = format!("tokens[{index}]");
        let id = token_id(token).ok_or_else(|| wrong(&path, "a token id", token))?;
        if id as usize >= vocab_size {
            let message = format!("token id {id} is not one of this model's {vocab_size}");
            return Err(ApiError::field(path, message));
        }
        ids.push(id);
    }
    let content = state.text_work(body.len, move || tokenizer.decode(&ids)).await?;
    Ok(Json(json!({ "content": content })))
}

/// `POST /apply-template`: `{"messages"}` -> `{"prompt"}`.
pub(super) async fn apply_template(
    State(state): State<AppState>,
    _: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let prompt = prompt_of(&fields, body.len)?;
    let model = model(&state, &fields).await?;
    let segments = render(&state, &model, prompt).await?;
    let prompt: String = segments.iter().map(|segment| segment.text()).collect();
    Ok(Json(json!({ "prompt": prompt })))
}

/// The model that is named, or else the default one.
async fn model(state: &AppState, fields: &Fields<'_>) -> Result<Arc<LoadedModel>, ApiError> {
    let default = state.config.models.first().map(String::as_str);
    let name = fields.require("model", fields.string("model")?.or(default))?;
    state.model(name).await
}
