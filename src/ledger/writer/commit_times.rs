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

    /// The time within which so many of a thousand commits were done, in microseconds: as if those
    /// between two bounds were spread evenly. `None`: there was no commit, or it is above the last
    /// bound.
    pub fn quantile_micros(&self, per_mille: u64) -> Option<u64> {
        let all: u64 = self.counts.iter().sum();
        let rank = (all * per_mille).div_ceil(1_000).max(1);
        let (mut before, mut lower) = (0, 0);
        for (count, upper) in self.counts.iter().zip(BOUNDS) {
            if before + count >= rank {
                return Some(lower + (upper - lower) * (rank - before) / count);
            }
            (before, lower) = (before + count, upper);
        }
        None
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_read_off_the_counts() {
        let times = |counts: &[u64]| {
            let mut times = CommitTimes { counts: Default::default(), sum_micros: 0 };
            times.counts[..counts.len()].copy_from_slice(counts);
            times
        };
        let check = |counts: &[u64], per_mille, expected| {
            assert_eq!(times(counts).quantile_micros(per_mille), expected, "{counts:?}");
        };
        check(&[], 500, None);
        check(&[1], 500, Some(50));
        check(&[0, 10], 500, Some(75));
        check(&[0, 10], 1_000, Some(100));
        check(&[50, 0, 50], 500, Some(50));
        check(&[50, 0, 50], 510, Some(103));
        let mut slow = [0; BOUNDS.len() + 1];
        slow[BOUNDS.len()] = 1;
        check(&slow, 500, None);
    }
}
