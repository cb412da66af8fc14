//! What several tests share: model files, tiny models, a scripted engine, servers.

pub mod beside;
pub mod fake_provider;
pub mod gguf;
pub mod gpu;
pub mod models;
pub mod random;
pub mod scripted;
pub mod server;
pub mod tiny_models;
pub mod weightless;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Taken by tests that compute on all cores: spinning threads of two such tests starve each other.
pub fn all_cores() -> MutexGuard<'static, ()> {
    static CORES: Mutex<()> = Mutex::new(());
    CORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The real binary on the folder `data`, with nothing of the caller's settings and no hub.
pub fn binary(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizan"));
    command.env_clear().env("MIZAN_DATA", data).env("HF_HUB_OFFLINE", "1");
    command.current_dir(data).stdin(Stdio::null());
    command
}
