//! Plain answers between their meter's close and the caller's receipt.
//!
//! The books say `closed` in that gap, yet the answer may still be reversed because nobody took it.
//! A repeat of the request must not be given an answer for nothing that is about to be refunded.
//! Promises: a meter is in the set from before its close commits until its fate has committed.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::ledger::MeterId;

/// The meters whose answers are not settled; clones share the set.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsettled(Arc<watch::Sender<HashSet<MeterId>>>);

/// Keeps a meter in the set until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    set: Unsettled,
    meter: MeterId,
}

impl Unsettled {
    /// Adds a meter for as long as the returned value lives.
    pub(super) fn hold(&self, meter: MeterId) -> Held {
        self.0.send_modify(|set| {
            set.insert(meter);
        });
        Held { set: self.clone(), meter }
    }

    /// Returns when the meter is not in the set.
    pub(super) async fn settled(&self, meter: MeterId) {
        let settled = self.0.subscribe().wait_for(|set| !set.contains(&meter)).await.is_ok();
        debug_assert!(settled, "the sender is in self");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set.0.send_modify(|set| {
            set.remove(&self.meter);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_repeat_waits_until_the_answer_is_taken_or_reversed() {
        let unsettled = Unsettled::default();
        let (held, other) = (MeterId([1; 16]), MeterId([2; 16]));
        let guard = unsettled.hold(held);
        unsettled.settled(other).await;
        let waiting = tokio::spawn({
            let unsettled = unsettled.clone();
            async move { unsettled.settled(held).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(guard);
        waiting.await.expect("it returns");
    }
}
