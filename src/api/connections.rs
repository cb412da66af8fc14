//! Connections: taken one by one, bounded in number and in the time a request may take to arrive,
//! and closed in order.
//! Promises: a client that is slow, silent or one of very many costs a bounded amount of memory
//! and never keeps the server from stopping.
//! Never knows: routes, what answers mean.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a request's head may take to arrive, and how long a connection may idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Below the 1,024 open files that a process may have by default: models and books need some.
const MAX_CONNECTIONS: usize = 960;

/// How long connections may take to close once nothing is in flight any more.
pub(super) const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves `router` until `shutdown` resolves, then takes no more connections and closes those that
/// there are. The listener stays open until then, so that callers get an answer, not a closed port.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (listener.accept().await.0, slot)
        };
        let (io, slot) = tokio::select! {
            next = next => next,
            () = &mut shutdown => break,
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(router.clone()));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // A client that left or was too slow: nothing that the operator has to act on.
                tracing::debug!(%error, "a connection broke off");
            }
            drop(slot);
        });
    }
    drop(listener);
    if timeout(CLOSING_TIMEOUT, connections.shutdown()).await.is_err() {
        tracing::warn!("connections that would not close were dropped");
    }
}
