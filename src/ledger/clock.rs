//! What time it is, as a value that tests can choose.
//! Promises: the ledger asks for the time here only, and stays right when it jumps.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the ledger's times come from.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since the Unix epoch, UTC. May jump forwards and backwards.
    fn now_ms(&self) -> i64;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        // A clock set before 1970 reads as 1970: the books need an order, not an error.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Bounds a clock's answer to the years 1970 to 9999, so that no sum of times can overflow.
pub(super) fn bounded_ms(clock: &dyn Clock) -> i64 {
    const END_OF_9999_MS: i64 = 253_402_300_799_999;
    clock.now_ms().clamp(0, END_OF_9999_MS)
}
