//! What every account has used of its plan's limits.
//! Promises: one lock, never held for longer than the arithmetic; an account that has used nothing
//! for a minute takes no memory; a clock that jumps back stops nobody, and one that jumps ahead is
//! no more than a pause.
//! Never knows: HTTP, keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bucket::{Bucket, MINUTE_MS, Standing};
use super::refusal::RateLimit;
use crate::catalog::Plan;
use crate::ledger::{AccountId, Clock};

/// So many accounts are looked after before the idle ones among them are looked for.
const FIRST_SWEEP: usize = 1_024;

/// The accounts' uses; clones share them.
#[derive(Clone, Debug, Default)]
pub(in crate::api) struct Limiter(Arc<Mutex<Accounts>>);

#[derive(Debug)]
struct Accounts {
    time: Time,
    used: HashMap<AccountId, Used>,
    /// Size of `used` at which idle accounts are dropped from it.
    sweep_at: usize,
}

/// What one account has used.
#[derive(Debug, Default)]
struct Used {
    requests: Option<Bucket>,
    input: Option<Bucket>,
    running: u32,
}

/// One of the requests that an account may have at the same time, until it is dropped.
#[derive(Debug)]
pub(in crate::api) struct Place {
    /// Nothing where the plan does not count them.
    counted: Option<(Limiter, AccountId)>,
}

/// Where an account's limits stand: requests, then input tokens.
pub(super) type Standings = [Option<Standing>; 2];

impl Limiter {
    /// Counts a request that begins, or refuses it and counts nothing.
    pub(super) fn begin(
        &self,
        account: AccountId,
        plan: &Plan,
        clock: &dyn Clock,
    ) -> Result<Place, RateLimit> {
        if plan.max_requests_per_minute.is_none() && plan.max_concurrent_requests.is_none() {
            return Ok(Place { counted: None });
        }
        let mut accounts = self.lock();
        let now_ms = accounts.time.read(clock);
        let used = accounts.of(account, now_ms);
        if let Some(limit) = plan.max_concurrent_requests
            && used.running >= limit
        {
            return Err(RateLimit::Concurrent { limit });
        }
        if let Some(limit) = plan.max_requests_per_minute {
            let bucket = at_limit(&mut used.requests, limit, now_ms);
            match bucket.wait_ms(1, now_ms) {
                Some(0) => bucket.take(1, now_ms),
                // A limit is at least 1, so there is a wait after which one fits.
                wait => {
                    let wait_ms = wait.unwrap_or(MINUTE_MS);
                    return Err(RateLimit::Requests { limit, wait_ms });
                }
            }
        }
        if plan.max_concurrent_requests.is_none() {
            return Ok(Place { counted: None });
        }
        used.running += 1;
        Ok(Place { counted: Some((self.clone(), account)) })
    }

    /// Counts the input tokens of a request, or refuses it and counts nothing.
    ///
    /// More than a whole minute's worth waits for ever; callers have refused that before.
    pub(super) fn take_input(
        &self,
        account: AccountId,
        plan: &Plan,
        clock: &dyn Clock,
        tokens: u64,
    ) -> Result<(), RateLimit> {
        let Some(limit) = plan.max_input_tokens_per_minute else { return Ok(()) };
        let mut accounts = self.lock();
        let now_ms = accounts.time.read(clock);
        let used = accounts.of(account, now_ms);
        let bucket = at_limit(&mut used.input, limit, now_ms);
        match bucket.wait_ms(tokens, now_ms) {
            Some(0) => {
                bucket.take(tokens, now_ms);
                Ok(())
            }
            wait => {
                let remaining = bucket.standing(now_ms).remaining;
                let wait_ms = wait.unwrap_or(MINUTE_MS);
                Err(RateLimit::InputTokens { limit, remaining, tokens, wait_ms })
            }
        }
    }

    /// Where `account` stands; nothing for a limit that its plan has not got.
    pub(super) fn standings(
        &self,
        account: AccountId,
        plan: &Plan,
        clock: &dyn Clock,
    ) -> Standings {
        let limits = [plan.max_requests_per_minute, plan.max_input_tokens_per_minute];
        if limits == [None; 2] {
            return [None; 2];
        }
        let mut accounts = self.lock();
        let now_ms = accounts.time.read(clock);
        let used = accounts.used.get(&account);
        let buckets = [used.and_then(|used| used.requests), used.and_then(|used| used.input)];
        let mut standings = [None; 2];
        for ((standing, bucket), limit) in standings.iter_mut().zip(buckets).zip(limits) {
            *standing = limit.map(|limit| {
                let mut bucket = bucket;
                at_limit(&mut bucket, limit, now_ms).standing(now_ms)
            });
        }
        standings
    }

    /// Requests of `account` that run, where they are counted.
    pub(super) fn running(&self, account: AccountId) -> u32 {
        self.lock().used.get(&account).map_or(0, |used| used.running)
    }

    /// Accounts that are looked after.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().used.len()
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        // Whoever panicked did so between two whole changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((limiter, account)) = self.counted.take() else { return };
        if let Some(used) = limiter.lock().used.get_mut(&account) {
            used.running = used.running.saturating_sub(1);
        }
    }
}

/// The bucket of a limit, made when it is first used and kept to the limit of today's plan.
fn at_limit(bucket: &mut Option<Bucket>, limit: u32, now_ms: u64) -> &mut Bucket {
    let bucket = bucket.get_or_insert(Bucket::new(limit, now_ms));
    bucket.set_limit(limit, now_ms);
    bucket
}

impl Default for Accounts {
    fn default() -> Self {
        Self { time: Time::default(), used: HashMap::new(), sweep_at: FIRST_SWEEP }
    }
}

impl Accounts {
    /// What `account` has used; makes room for it first where that has become scarce.
    fn of(&mut self, account: AccountId, now_ms: u64) -> &mut Used {
        if self.used.len() >= self.sweep_at && !self.used.contains_key(&account) {
            self.used.retain(|_, used| !used.is_idle(now_ms));
            // Twice what is busy: sweeping costs each new account a constant share.
            self.sweep_at = FIRST_SWEEP.max(2 * self.used.len());
        }
        self.used.entry(account).or_default()
    }
}

impl Used {
    /// Whether it says no more than a new one would.
    fn is_idle(&self, now_ms: u64) -> bool {
        let is_empty = |bucket: &Option<Bucket>| bucket.is_none_or(|b| b.is_empty(now_ms));
        self.running == 0 && is_empty(&self.requests) && is_empty(&self.input)
    }
}

/// Milliseconds that only grow, out of a clock that may jump.
#[derive(Debug, Default)]
struct Time {
    last_reading_ms: Option<i64>,
    passed_ms: u64,
}

impl Time {
    /// The time that has passed since the first reading, as far as the clock can be believed.
    fn read(&mut self, clock: &dyn Clock) -> u64 {
        let reading = clock.now_ms();
        let last = self.last_reading_ms.replace(reading).unwrap_or(reading);
        // Backwards is no time at all, and beyond a minute there is nothing left to drain.
        let step = u64::try_from(reading.saturating_sub(last)).unwrap_or(0).min(MINUTE_MS);
        self.passed_ms += step;
        self.passed_ms
    }
}
