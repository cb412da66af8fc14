//! How long commits take: counted by the writer, read by whoever watches.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const BOUNDS: [u64; 13] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// Commits by how long they took, from their beginning to their end on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitTimes {
    /// One count for each bound, and one for what took longer than the last.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Of all commits, in microseconds.
    pub sum_micros: u64,
}

impl CommitTimes {
    /// Upper bounds of the counts, in microseconds.
    pub const BOUNDS_MICROS: &[u64] = &BOUNDS;
}

/// What the writer counts in.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Counts {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Counts {
    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS.partition_point(|bound| *bound < micros)].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    pub(in crate::ledger) fn read(&self) -> CommitTimes {
        CommitTimes {
            counts: std::array::from_fn(|index| self.counts[index].load(Relaxed)),
            sum_micros: self.sum_micros.load(Relaxed),
        }
    }
}
