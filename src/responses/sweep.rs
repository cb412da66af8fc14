//! A thread that removes what is too old.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Responses;

/// How long text lies in the file at most after it is no longer given out.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// A start has enough to do.
const FIRST: Duration = Duration::from_secs(30);

/// The thread that sweeps; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "dropped, it removes nothing any more"]
pub struct Sweep {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweep {
    /// Removes what is too old, now and then. `now_ms`: Unix milliseconds.
    pub fn start(
        responses: Responses,
        now_ms: impl Fn() -> i64 + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(1);
        let run = move || {
            let mut wait = FIRST;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = EVERY;
                match responses.remove_expired(now_ms()) {
                    Ok(0) => {}
                    Ok(removed) => tracing::info!(removed, "removed responses that are too old"),
                    Err(error) => tracing::error!(%error, "old responses could not be removed"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("responses".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that removes old responses had panicked");
        }
    }
}
