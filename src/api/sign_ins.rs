//! How often somebody may try to sign in: for each name, and all together.
//! Promises: bounded memory; a refused try counts for nothing and costs no hashing.
//! Never knows: passwords, or whether anybody has the name: a name that nobody has is counted too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::ApiError;

const WINDOW_MS: i64 = 60_000;

/// Tries a minute for one name.
const MAX_FOR_A_NAME: usize = 10;

/// Tries a minute in all: hashing them takes a fraction of one processor.
const MAX_IN_ALL: usize = 300;

/// The longest name that anybody has: what is behind does not count.
const MAX_NAME_CHARS: usize = 80;

/// The tries of the last minute, the oldest first; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct SignIns(Arc<Mutex<VecDeque<Try>>>);

#[derive(Debug)]
struct Try {
    at_ms: i64,
    name: String,
}

impl SignIns {
    /// Counts a try, or refuses it and says when to come again.
    pub(super) fn admit(&self, name: &str, now_ms: i64) -> Result<(), ApiError> {
        let name: String = name.trim().to_lowercase().chars().take(MAX_NAME_CHARS).collect();
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that jumped back has made tries that are to come: nobody waits for those.
        tries.retain(|tried| tried.at_ms > now_ms - WINDOW_MS && tried.at_ms <= now_ms);
        let mut of_name = tries.iter().filter(|tried| tried.name == name);
        let oldest_of_name = of_name.next().filter(|_| of_name.count() + 1 >= MAX_FOR_A_NAME);
        let oldest = tries.front().filter(|_| tries.len() >= MAX_IN_ALL);
        if let Some(full) = oldest_of_name.or(oldest) {
            let wait_secs = (full.at_ms + WINDOW_MS - now_ms + 999) / 1_000;
            let retry_after_secs = u32::try_from(wait_secs).unwrap_or(1).max(1);
            return Err(ApiError::TooManySignIns { retry_after_secs });
        }
        tries.push_back(Try { at_ms: now_ms, name });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(sign_ins: &SignIns, name: &str, now_ms: i64) -> Option<u32> {
        match sign_ins.admit(name, now_ms) {
            Ok(()) => None,
            Err(ApiError::TooManySignIns { retry_after_secs }) => Some(retry_after_secs),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn ten_tries_a_minute_for_a_name() {
        let sign_ins = SignIns::default();
        for second in 0..10 {
            assert_eq!(wait(&sign_ins, "Ann@x", 100_000 + second * 1_000), None, "{second}");
        }
        // Whatever its case, and as long as the first of them is less than a minute old.
        assert_eq!(wait(&sign_ins, " aNN@X", 110_000), Some(50));
        assert_eq!(wait(&sign_ins, "bob@x", 110_000), None);
        assert_eq!(wait(&sign_ins, "ann@x", 159_999), Some(1));
        assert_eq!(wait(&sign_ins, "ann@x", 160_000), None);
        assert_eq!(wait(&sign_ins, "ann@x", 160_000), Some(1));
        // A clock that jumps back locks nobody out.
        assert_eq!(wait(&sign_ins, "ann@x", 5), None);
    }

    #[test]
    fn three_hundred_tries_a_minute_in_all() {
        let sign_ins = SignIns::default();
        for number in 0..1_000 {
            let waits = wait(&sign_ins, &format!("name {number}"), 1_000);
            assert_eq!(waits, (number >= 300).then_some(60), "{number}");
        }
        assert_eq!(sign_ins.0.lock().expect("no panic").len(), 300);
        assert_eq!(wait(&sign_ins, &"x".repeat(1_000_000), 61_000), None);
        let longest = sign_ins.0.lock().expect("no panic").iter().map(|t| t.name.len()).max();
        assert_eq!(longest, Some(80));
    }
}
