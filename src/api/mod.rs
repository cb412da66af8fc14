//! HTTP: routes, wire JSON and status codes, and nothing else that knows of them.
//!
//! [`router`] answers in memory, as tests use it; [`serve`] puts it on a socket and takes it off
//! again. A handler reads a request and hands it to `generation`, the task that owns the engine's
//! sequences, the text and the meter, and has one exit; `openai` and `anthropic` put what that task
//! delivers into their shapes.
//!
//! Promises: every answer has a request id, every error a shape that the route's clients know; a
//! route answers those whom the table in `access` names and nobody else; nothing is sent that was
//! not charged before.
//! Never knows: tensors, SQL, how tokens are made.

mod access;
mod account;
mod address;
mod admin;
mod anthropic;
mod auth;
mod authenticate;
mod billing;
mod body;
mod books_metrics;
mod callbacks;
mod choice;
mod connections;
mod conversation;
mod csv;
mod dashboard;
mod deadline;
mod delivery;
mod error;
mod etag;
mod event_stream;
mod export;
mod fields;
mod format;
mod generation;
mod keys;
mod lifecycle;
mod limits;
mod middleware;
mod native;
mod notices;
mod observe;
mod openai;
mod openapi;
mod operations;
mod operator;
mod passwords;
mod plan;
mod receipts;
mod replay;
mod request_log;
mod responses;
#[cfg(test)]
mod sample_parts;
mod sampling;
mod sessions;
mod sign_ins;
mod state;
mod time_span;
mod tries;
mod unread;
mod unsettled;
mod url;
mod usage;
mod users;

use std::future::Future;

use axum::routing::{delete, get, post};
use axum::serve::ListenerExt;
use axum::{Extension, Router};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;

pub use access::{Access, ROUTES, Route};
pub use address::local_address;
pub use error::ApiError;
pub use limits::{PromptLimit, RateLimit};
pub use operator::OperatorKey;
pub use state::{AppState, NOTICE_TIMEOUT};

use anthropic::{count_tokens, messages};
use connections::CLOSING_TIMEOUT;
use openai::{chat, completions, embeddings, models};
use operator::ThroughControlSocket;

/// All routes, ready to be called.
pub fn router(state: AppState) -> Router {
    let generating = Router::new()
        .route("/chat/completions", post(chat::create))
        .route("/completions", post(completions::create))
        .route("/embeddings", post(embeddings::create))
        .route("/responses", post(responses::create))
        .route("/responses/{id}", get(responses::get).delete(responses::remove))
        .route("/responses/{id}/input_items", get(responses::input_items))
        .route("/messages", post(messages::create))
        .route("/messages/count_tokens", post(count_tokens::count));
    let v1 = generating
        .clone()
        .route("/models", get(models::list))
        .route("/models/{*id}", get(models::get));
    let api_v1 = generating
        .route("/models", get(models::list_with_prices))
        .route("/models/{*id}", get(models::get_with_price))
        .route("/credits", get(account::credits))
        .route("/key", get(account::key))
        .route("/plan", get(plan::own))
        .route("/usage", get(usage::own))
        .route("/notices", get(notices::list_own))
        .route("/notices/low-balance", get(notices::own).put(notices::set_own))
        .route("/generations", get(request_log::own))
        .route("/generations/{id}", get(account::generation))
        .route("/packs", get(billing::packs))
        .route("/topups", get(billing::list).post(billing::order))
        .route("/topups/{id}", get(billing::show))
        .route("/topups/{id}/receipt", get(receipts::purchase))
        .route("/vouchers/redeem", post(billing::redeem))
        .route("/payments/{provider}/webhook", post(callbacks::webhook))
        .route("/sessions", post(sessions::create))
        .route("/sessions/cookie", post(dashboard::sign_in))
        .route("/sessions/current", delete(sessions::end))
        .route("/invitations/accept", post(sessions::accept_invitation))
        .route("/me", get(sessions::me))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}", delete(keys::revoke))
        .merge(users::routes())
        .route("/generations/{id}/receipt", get(receipts::generation))
        .route("/receipt-key", get(receipts::key))
        .nest("/admin", admin::routes());
    let routes = Router::new()
        .nest("/v1", v1)
        .nest("/api/v1", api_v1)
        .route("/topups/{id}/return", get(callbacks::customer_returned))
        .route("/tokenize", post(native::tokenize))
        .route("/detokenize", post(native::detokenize))
        .route("/apply-template", post(native::apply_template))
        .route("/", get(dashboard::index))
        .route("/docs", get(dashboard::index))
        .route("/assets/{*path}", get(dashboard::file))
        .route("/openapi.json", get(openapi::document))
        .route("/health", get(operations::health))
        .route("/ready", get(operations::ready))
        .route("/metrics", get(operations::metrics));
    middleware::wrap(routes, &state).with_state(state)
}

/// Serves until `shutdown` resolves, then refuses new work, lets what runs finish for as long as
/// the configuration allows, ends the rest, and closes every meter before it returns.
///
/// The ledger and the engines are left running: whoever opened them closes them.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    // A token's frame is small and must not wait for the next one.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "frames may be delayed: TCP_NODELAY could not be set");
        }
    });
    connections::serve(listener, router(state.clone()), wind_down(state, shutdown)).await;
}

/// Serves the same routes on a socket that only the operator can open, and which therefore needs
/// no operator's key. Ends as [`serve`] does.
pub async fn serve_control(
    listener: UnixListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let router = router(state.clone()).layer(Extension(ThroughControlSocket));
    connections::serve(listener, router, wind_down(state, shutdown)).await;
}

/// Waits for `shutdown`; returns when no generation is in flight after that, or when those that
/// were told to stop did not.
async fn wind_down(state: AppState, shutdown: impl Future<Output = ()>) {
    shutdown.await;
    let lifecycle = &state.lifecycle;
    lifecycle.drain();
    tracing::info!(running = lifecycle.running(), "stopping: no new work is taken");
    if timeout(state.config.shutdown_timeout, lifecycle.idle()).await.is_err() {
        tracing::warn!(running = lifecycle.running(), "out of time: requests are cut off");
        lifecycle.stop();
        let _ = timeout(CLOSING_TIMEOUT, lifecycle.idle()).await;
    }
}
