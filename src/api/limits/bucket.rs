//! One limit of so many a minute, as a bucket that leaks.
//!
//! This is the generic cell rate algorithm (ITU-T I.371, annex A; ATM Forum TM 4.1, section 4.4.2)
//! in its continuous-state form: what is taken fills the bucket, time drains it, and what would
//! make it overflow is refused. It needs one number and no timer.
//!
//! Promises: in any span of `t` milliseconds at most `limit + limit * t / 60,000` are taken; never
//! less than that is allowed; whole numbers, so both are exact; a refusal takes nothing.
//! Never knows: accounts, what is counted, where the time comes from.

pub(super) const MINUTE_MS: u64 = 60_000;

/// How full the bucket of one limit is. Times are milliseconds that only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// What a minute allows, and the bucket holds.
    limit: u32,
    /// In parts of which [`MINUTE_MS`] are one thing taken: a millisecond drains `limit` of them.
    level: u64,
    /// When the level was that.
    at_ms: u64,
}

/// Where a limit stands, as OpenAI's headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) struct Standing {
    pub(super) limit: u32,
    /// What could be taken now.
    pub(in crate::api) remaining: u64,
    /// Until all of the limit could be taken, if nothing is meanwhile.
    pub(in crate::api) reset_ms: u64,
}

impl Bucket {
    /// An empty bucket.
    pub(super) fn new(limit: u32, now_ms: u64) -> Self {
        Self { limit, level: 0, at_ms: now_ms }
    }

    /// Changes the limit to the one the account's plan has now; what was taken stays taken.
    pub(super) fn set_limit(&mut self, limit: u32, now_ms: u64) {
        self.level = self.level_at(now_ms).min(capacity(limit));
        self.at_ms = now_ms;
        self.limit = limit;
    }

    /// How long until `count` can be taken: 0 is now, `None` never, because it is over the limit.
    pub(super) fn wait_ms(&self, count: u64, now_ms: u64) -> Option<u64> {
        if count > u64::from(self.limit) {
            return None;
        }
        let over = self.level_at(now_ms) + count * MINUTE_MS;
        Some(over.saturating_sub(capacity(self.limit)).div_ceil(u64::from(self.limit)))
    }

    /// Takes `count`, which must not have to wait.
    pub(super) fn take(&mut self, count: u64, now_ms: u64) {
        debug_assert_eq!(self.wait_ms(count, now_ms), Some(0));
        self.level = self.level_at(now_ms) + count * MINUTE_MS;
        self.at_ms = now_ms;
    }

    pub(super) fn standing(&self, now_ms: u64) -> Standing {
        let level = self.level_at(now_ms);
        Standing {
            limit: self.limit,
            remaining: (capacity(self.limit) - level) / MINUTE_MS,
            reset_ms: level.div_ceil(u64::from(self.limit)),
        }
    }

    /// Whether it says no more than a new one would.
    pub(super) fn is_empty(&self, now_ms: u64) -> bool {
        self.level_at(now_ms) == 0
    }

    /// Never above the capacity: at most 4 billion times 60,000, far from overflow.
    fn level_at(&self, now_ms: u64) -> u64 {
        let drained = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(self.limit));
        self.level.saturating_sub(drained)
    }
}

fn capacity(limit: u32) -> u64 {
    u64::from(limit) * MINUTE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `at` takes what it can of `count` and says when to come again, what remains, and the reset.
    fn check(bucket: &mut Bucket, at: u64, count: u64, expected: (Option<u64>, u64, u64)) {
        let wait = bucket.wait_ms(count, at);
        if wait == Some(0) {
            bucket.take(count, at);
        }
        let standing = bucket.standing(at);
        assert_eq!((wait, standing.remaining, standing.reset_ms), expected, "at {at}: {count}");
    }

    #[test]
    fn sixty_a_minute_come_back_one_a_second() {
        let mut bucket = Bucket::new(60, 0);
        check(&mut bucket, 0, 1, (Some(0), 59, 1_000));
        check(&mut bucket, 0, 59, (Some(0), 0, 60_000));
        check(&mut bucket, 0, 1, (Some(1_000), 0, 60_000));
        // A refusal takes nothing.
        check(&mut bucket, 999, 1, (Some(1), 0, 59_001));
        check(&mut bucket, 1_000, 1, (Some(0), 0, 60_000));
        check(&mut bucket, 3_500, 2, (Some(0), 0, 59_500));
        check(&mut bucket, 3_500, 60, (Some(59_500), 0, 59_500));
        check(&mut bucket, 63_000, 60, (Some(0), 0, 60_000));
        check(&mut bucket, 63_000, 61, (None, 0, 60_000));
    }

    #[test]
    fn fractions_of_a_millisecond_are_kept() {
        // 7 a minute: one in 8,571 3/7 ms.
        let mut bucket = Bucket::new(7, 5);
        check(&mut bucket, 5, 7, (Some(0), 0, 60_000));
        check(&mut bucket, 5, 1, (Some(8_572), 0, 60_000));
        check(&mut bucket, 8_576, 1, (Some(1), 0, 51_429));
        for taken in 1..=7 {
            let due = 5 + (taken * MINUTE_MS).div_ceil(7);
            assert_ne!(bucket.wait_ms(1, due - 1), Some(0));
            assert_eq!(bucket.wait_ms(1, due), Some(0));
            bucket.take(1, due);
        }
        // After 7 more it is exactly as full as at the start, a minute later.
        assert_eq!(bucket.standing(60_005).reset_ms, 60_000);
    }

    #[test]
    fn the_largest_limit_does_not_overflow() {
        let mut bucket = Bucket::new(u32::MAX, 0);
        check(&mut bucket, 0, u64::from(u32::MAX), (Some(0), 0, 60_000));
        check(&mut bucket, 30_000, 1, (Some(0), u64::from(u32::MAX) / 2 - 1, 30_001));
        assert!(bucket.is_empty(u64::MAX));
        check(&mut bucket, u64::MAX, u64::MAX, (None, u64::from(u32::MAX), 0));
    }

    #[test]
    fn another_limit_keeps_what_was_taken() {
        let mut bucket = Bucket::new(60, 0);
        check(&mut bucket, 0, 30, (Some(0), 30, 30_000));
        bucket.set_limit(600, 0);
        assert_eq!(bucket.standing(0).remaining, 570);
        bucket.set_limit(10, 0);
        assert_eq!(bucket.standing(0), Standing { limit: 10, remaining: 0, reset_ms: 60_000 });
    }
}
