//! How the work of a region is handed out to its threads.

use super::pool::Worker;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Hands out `0..total` in chunks to whoever is free, so that a preempted thread costs one chunk.
#[derive(Debug, Default)]
pub struct Cursor(AtomicUsize);

impl Cursor {
    /// At 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next up to `chunk` items; `None` when all are handed out.
    #[inline]
    pub fn next(&self, total: usize, chunk: usize) -> Option<Range<usize>> {
        let start = self.0.fetch_add(chunk, Ordering::Relaxed);
        (start < total).then(|| start..total.min(start + chunk))
    }
}

/// Most parts of [`Shares`]; more threads than that share them.
const MAX_SHARES: usize = 16;

/// Hands out `0..total`: to each thread a contiguous part of its own, then what is left of others'.
///
/// Contiguous, because memory that is read in a row is fetched ahead; handed out in chunks, so that
/// a preempted thread costs one chunk.
#[derive(Debug)]
pub(crate) struct Shares {
    next: [OnOwnLine; MAX_SHARES],
    count: usize,
    total: usize,
    unit: usize,
}

/// A counter that no other shares a cache line with.
#[derive(Debug, Default)]
#[repr(align(64))]
struct OnOwnLine(AtomicUsize);

impl Shares {
    /// Nearly equal parts for `threads`, cut at multiples of `unit`.
    pub(crate) fn new(total: usize, unit: usize, threads: usize) -> Self {
        let mut shares = Shares {
            next: Default::default(),
            count: threads.clamp(1, MAX_SHARES),
            total,
            unit: unit.max(1),
        };
        for share in 0..shares.count {
            shares.next[share] = OnOwnLine(AtomicUsize::new(shares.start_of(share)));
        }
        shares
    }

    /// Where a thread's own part starts.
    pub(crate) fn own_start(&self, worker: &Worker<'_>) -> usize {
        self.start_of(worker.index % self.count)
    }

    fn start_of(&self, share: usize) -> usize {
        match share == self.count {
            true => self.total,
            false => self.total / self.unit * share / self.count * self.unit,
        }
    }

    /// The next up to `chunk` items, and the end of the part they are of; `None` when all parts are
    /// handed out.
    #[inline]
    pub(crate) fn next(&self, worker: &Worker<'_>, chunk: usize) -> Option<(Range<usize>, usize)> {
        for i in 0..self.count {
            let share = (worker.index + i) % self.count;
            let (next, end) = (&self.next[share].0, self.start_of(share + 1));
            if next.load(Ordering::Relaxed) >= end {
                continue;
            }
            let start = next.fetch_add(chunk, Ordering::Relaxed);
            if start < end {
                return Some((start..end.min(start + chunk), end));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool::ThreadPool;
    use super::*;

    #[test]
    fn cursor_hands_out_each_item_once() {
        let mut pool = ThreadPool::new(3).unwrap();
        let items: Vec<AtomicUsize> = (0..101).map(|_| AtomicUsize::new(0)).collect();
        let cursor = Cursor::new();
        pool.run(|_| {
            while let Some(range) = cursor.next(items.len(), 7) {
                for item in &items[range] {
                    item.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        assert!(items.iter().all(|item| item.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn shares_hand_out_each_item_once_and_their_own_part_first() {
        for (threads, total, unit) in [(1, 7, 2), (2, 0, 1), (2, 1, 2), (3, 101, 2), (40, 33, 1)] {
            let mut pool = ThreadPool::new(threads).unwrap();
            let items: Vec<AtomicUsize> = (0..total).map(|_| AtomicUsize::new(0)).collect();
            let shares = Shares::new(total, unit, threads);
            pool.run(|worker| {
                let mut is_first = true;
                while let Some((range, end)) = shares.next(worker, 3) {
                    assert!(range.end <= end && end <= total);
                    assert!(!is_first || range.start % unit == 0);
                    is_first = false;
                    for item in &items[range] {
                        item.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            assert!(items.iter().all(|item| item.load(Ordering::Relaxed) == 1));
        }
    }
}
