//! What an account may do only a few times a minute: try vouchers that are not there, order packs.
//!
//! A voucher's code has 79 random bits, so this is not what keeps it from being guessed; it keeps
//! the books, and the payment providers, from being filled with noise.
//! Promises: memory is bounded.
//! Never knows: codes, packs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::ApiError;
use crate::ledger::AccountId;

const MINUTE_MS: i64 = 60_000;

/// Tries of one kind that an account has in a minute.
const MAX_TRIES: u32 = 10;

/// Accounts whose tries are remembered; when there are more, all are forgotten.
const MAX_ACCOUNTS: usize = 10_000;

/// The tries of the current minute; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Tries {
    /// What is tried, for people.
    what: &'static str,
    minute: Arc<Mutex<Minute>>,
}

#[derive(Debug, Default)]
struct Minute {
    number: i64,
    tries: HashMap<AccountId, u32>,
}

impl Tries {
    /// Nothing tried yet.
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, minute: Arc::default() }
    }

    /// Counts a try, or refuses it.
    pub(super) fn spend(&self, account: AccountId, now_ms: i64) -> Result<(), ApiError> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now_ms.div_euclid(MINUTE_MS);
        if minute.number != number || minute.tries.len() >= MAX_ACCOUNTS {
            *minute = Minute { number, tries: HashMap::new() };
        }
        let tries = minute.tries.entry(account).or_default();
        if *tries >= MAX_TRIES {
            let left_ms = MINUTE_MS - now_ms.rem_euclid(MINUTE_MS);
            let retry_after_secs = u32::try_from(left_ms / 1000 + 1).unwrap_or(60);
            let (what, max) = (self.what, MAX_TRIES);
            return Err(ApiError::TooManyTries { what, max, retry_after_secs });
        }
        *tries += 1;
        Ok(())
    }

    /// The try was a good one.
    pub(super) fn give_back(&self, account: AccountId) {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tries) = minute.tries.get_mut(&account) {
            *tries = tries.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_tries_a_minute() {
        let tries = Tries::new("orders");
        let (alice, bob) = (AccountId(1), AccountId(2));
        for _ in 0..MAX_TRIES {
            assert_eq!(tries.spend(alice, 120_000), Ok(()));
        }
        let refused = ApiError::TooManyTries { what: "orders", max: 10, retry_after_secs: 41 };
        assert_eq!(tries.spend(alice, 140_000), Err(refused));
        assert_eq!(tries.spend(bob, 140_000), Ok(()));
        tries.give_back(alice);
        assert_eq!(tries.spend(alice, 140_000), Ok(()));
        assert!(tries.spend(alice, 140_000).is_err());
        assert_eq!(tries.spend(alice, 180_000), Ok(()));
    }
}
