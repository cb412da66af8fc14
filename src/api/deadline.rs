//! How long a generation may take: until its first token, and in all.
//! Never knows: what happens to one that is late.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::config::Config;

/// Stands for ever: timers need a time.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The bounds of one generation, whose time runs from when this is made.
#[derive(Debug)]
pub(super) struct Deadline {
    timer: Pin<Box<Sleep>>,
    /// When the whole answer has to be there.
    end: Instant,
    max_wait: Duration,
    has_begun: bool,
}

/// Which bound has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// There is no token yet, after this time.
    FirstToken(Duration),
    /// There is part of an answer.
    Answer,
}

impl Deadline {
    pub(super) fn new(config: &Config) -> Self {
        let whole = config.request_timeout.unwrap_or(NEVER);
        let max_wait = whole.min(config.first_token_timeout);
        let end = Instant::now() + whole;
        Self { timer: Box::pin(sleep(max_wait)), end, max_wait, has_begun: false }
    }

    /// The first token is there.
    pub(super) fn begun(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.timer.as_mut().reset(self.end);
        }
    }

    /// Returns when a bound has passed. Cancel safe.
    pub(super) async fn passed(&mut self) -> Late {
        self.timer.as_mut().await;
        if self.has_begun { Late::Answer } else { Late::FirstToken(self.max_wait) }
    }
}
