//! What several tests share: model files, tiny models, a scripted engine, servers.

pub mod gguf;
pub mod models;
pub mod scripted;
pub mod server;
pub mod tiny_models;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Taken by tests that compute on all cores: spinning threads of two such tests starve each other.
pub fn all_cores() -> MutexGuard<'static, ()> {
    static CORES: Mutex<()> = Mutex::new(());
    CORES.lock().unwrap_or_else(PoisonError::into_inner)
}
