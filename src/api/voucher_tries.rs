//! Guessing vouchers: an account may try a few codes a minute.
//!
//! A code has 79 random bits, so this is not what keeps it from being guessed; it is what makes
//! trying pointless to watch and cheap to serve.
//! Promises: a code that was redeemed costs no try; memory is bounded.
//! Never knows: codes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::ApiError;
use crate::ledger::AccountId;

const MINUTE_MS: i64 = 60_000;

/// Codes an account may try in a minute.
const MAX_TRIES: u32 = 10;

/// Accounts whose tries are remembered; when there are more, all are forgotten.
const MAX_ACCOUNTS: usize = 10_000;

/// The tries of the current minute; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct VoucherTries(Arc<Mutex<Minute>>);

#[derive(Debug, Default)]
struct Minute {
    number: i64,
    tries: HashMap<AccountId, u32>,
}

impl VoucherTries {
    /// Counts a try, or refuses it.
    pub(super) fn spend(&self, account: AccountId, now_ms: i64) -> Result<(), ApiError> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now_ms.div_euclid(MINUTE_MS);
        if minute.number != number || minute.tries.len() >= MAX_ACCOUNTS {
            *minute = Minute { number, tries: HashMap::new() };
        }
        let tries = minute.tries.entry(account).or_default();
        if *tries >= MAX_TRIES {
            let left_ms = MINUTE_MS - now_ms.rem_euclid(MINUTE_MS);
            let retry_after_secs = u32::try_from(left_ms / 1000 + 1).unwrap_or(60);
            return Err(ApiError::VoucherTries { max: MAX_TRIES, retry_after_secs });
        }
        *tries += 1;
        Ok(())
    }

    /// The try was a good one.
    pub(super) fn give_back(&self, account: AccountId) {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tries) = minute.tries.get_mut(&account) {
            *tries = tries.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_codes_a_minute() {
        let tries = VoucherTries::default();
        let (alice, bob) = (AccountId(1), AccountId(2));
        for _ in 0..MAX_TRIES {
            assert_eq!(tries.spend(alice, 120_000), Ok(()));
        }
        let refused = ApiError::VoucherTries { max: 10, retry_after_secs: 41 };
        assert_eq!(tries.spend(alice, 140_000), Err(refused));
        assert_eq!(tries.spend(bob, 140_000), Ok(()));
        tries.give_back(alice);
        assert_eq!(tries.spend(alice, 140_000), Ok(()));
        assert!(tries.spend(alice, 140_000).is_err());
        assert_eq!(tries.spend(alice, 180_000), Ok(()));
    }
}
