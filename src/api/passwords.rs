//! Passwords: argon2id with the parameters that OWASP's Password Storage Cheat Sheet names first
//! for little memory: 19 MiB, 2 passes, 1 lane.
//! Promises: never on a thread that serves connections, and two at a time, so that signing in can
//! not eat the machine; for a name that nobody has it takes as long as for one that somebody has.
//! Never knows: users.

use std::sync::Arc;

use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::error::ApiError;

/// Passwords hashed at once; each takes 19 MiB and some hundredths of a second of one processor.
const MAX_AT_ONCE: usize = 2;

/// A shorter password could be guessed.
pub(super) const MIN_CHARS: usize = 12;

/// A longer one is no password.
pub(super) const MAX_BYTES: usize = 1_024;

/// Nobody's: of the right form, with the right parameters, and no password has it.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The turns of those who have a password hashed.
#[derive(Clone, Debug)]
pub(super) struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_AT_ONCE)))
    }
}

impl Passwords {
    /// Hashes a new password, which has to be good enough, with a fresh salt.
    pub(super) async fn hash(&self, password: &str) -> Result<String, ApiError> {
        check_length(password)?;
        let chars = password.chars().count();
        if chars < MIN_CHARS {
            let message = format!(
                "'password' has {chars} characters and needs at least {MIN_CHARS}: add words"
            );
            return Err(ApiError::field("password", message));
        }
        let password = password.to_owned();
        let hashed = self.in_turn(move || {
            argon2().hash_password(password.as_bytes()).map(|hash| hash.to_string())
        });
        hashed.await?.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            ApiError::Internal
        })
    }

    /// Whether `password` is the one that `stored` was made of; never without `stored`.
    pub(super) async fn matches(
        &self,
        password: &str,
        stored: Option<&str>,
    ) -> Result<bool, ApiError> {
        check_length(password)?;
        let known = stored.is_some();
        let stored = stored.unwrap_or(NOBODYS_HASH).to_owned();
        let password = password.to_owned();
        let verified =
            self.in_turn(move || argon2().verify_password(password.as_bytes(), stored.as_str()));
        match verified.await? {
            Ok(()) => Ok(known),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => {
                tracing::error!(%error, "a stored password can not be checked");
                Err(ApiError::Internal)
            }
        }
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let turn = turn.map_err(|_closed| ApiError::ShuttingDown)?;
        let work = move || {
            let _turn = turn;
            work()
        };
        spawn_blocking(work).await.map_err(|_panicked| ApiError::Internal)
    }
}

fn check_length(password: &str) -> Result<(), ApiError> {
    if password.len() <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("'password' has {} bytes, at most {MAX_BYTES}", password.len());
    Err(ApiError::field("password", message))
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1_024, 2, 1, None).expect("these are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "a good long password";

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash(GOOD).await.expect("long enough");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(passwords.hash(GOOD).await.expect("long enough"), hash, "the salt is fresh");
        assert_eq!(passwords.matches(GOOD, Some(&hash)).await, Ok(true));
        assert_eq!(passwords.matches("a good long passworD", Some(&hash)).await, Ok(false));
        // Goes all the way, as its parameters do, and ends in no.
        assert_eq!(passwords.matches(GOOD, None).await, Ok(false));
        assert_eq!(passwords.matches(GOOD, Some("plain")).await, Err(ApiError::Internal));
    }

    #[tokio::test]
    async fn a_password_is_neither_short_nor_endless() {
        let passwords = Passwords::default();
        let refusal = |password: String| {
            let passwords = passwords.clone();
            async move { passwords.hash(&password).await.err().map(|error| error.to_string()) }
        };
        let short = refusal("elevenchars".to_owned()).await.expect("refused");
        assert!(short.contains("11 characters"), "{short}");
        // Characters count, not bytes.
        assert!(refusal("é".repeat(11)).await.is_some());
        assert_eq!(refusal("é".repeat(12)).await, None);
        assert_eq!(refusal("x".repeat(1_024)).await, None);
        assert!(refusal("x".repeat(1_025)).await.is_some());
        assert!(passwords.matches(&"x".repeat(1_025), None).await.is_err());
    }
}
