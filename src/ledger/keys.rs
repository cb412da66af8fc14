//! Secrets of keys, sessions and invitations: made from the system's randomness, stored as SHA-256,
//! compared in constant time. A plain hash is enough, as a secret holds 256 random bits: there is
//! nothing to guess.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 62^43 > 2^256.
const SECRET_CHARS: usize = 43;

/// What a session's secret begins with.
pub const SESSION_PREFIX: &str = "ms-";

/// What an invitation's secret begins with.
const INVITATION_PREFIX: &str = "mi-";

/// `mz-` and eight characters: enough to tell keys apart, far too few to guess the rest.
const PREFIX_CHARS: usize = 11;

/// A fresh secret of a key: `mz-` and 43 letters and digits, each equally likely.
pub fn fresh_secret() -> String {
    fresh("mz-")
}

pub(super) fn fresh_session() -> String {
    fresh(SESSION_PREFIX)
}

pub(super) fn fresh_invitation() -> String {
    fresh(INVITATION_PREFIX)
}

fn fresh(prefix: &str) -> String {
    let mut secret = String::from(prefix);
    let mut random = [0_u8; 64];
    while secret.len() < prefix.len() + SECRET_CHARS {
        fill(&mut random);
        // 248 = 4 * 62: larger bytes would make some characters likelier, so they are dropped.
        let unbiased = random.iter().filter(|&&byte| byte < 248);
        let missing = prefix.len() + SECRET_CHARS - secret.len();
        secret.extend(
            unbiased.take(missing).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])),
        );
    }
    secret
}

/// The part of a secret that may be shown.
pub(super) fn prefix(secret: &str) -> String {
    secret.chars().take(PREFIX_CHARS).collect()
}

/// What is stored.
pub(super) fn secret_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares in a time that does not depend on where the two differ.
pub(super) fn same_hash(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// A UUID of version 7: 48 bits of time, 74 random bits (RFC 9562, section 5.7).
pub(super) fn fresh_id(now_ms: i64) -> [u8; 16] {
    let mut id = [0_u8; 16];
    fill(&mut id);
    id[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    id[6] = 0x70 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    id
}

/// Bytes nobody can guess.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system has randomness; without it nothing here is safe");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_plain_and_different() {
        let secrets: std::collections::BTreeSet<String> =
            (0..500).map(|_| fresh_secret()).collect();
        assert_eq!(secrets.len(), 500);
        let mut seen = std::collections::BTreeSet::new();
        for secret in &secrets {
            let body = secret.strip_prefix("mz-").unwrap();
            assert_eq!(body.len(), SECRET_CHARS);
            assert!(body.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            seen.extend(body.bytes());
            assert!(secret.starts_with(&prefix(secret)) && prefix(secret).len() == PREFIX_CHARS);
        }
        assert_eq!(seen.len(), 62, "every character occurs");
    }

    #[test]
    fn ids_carry_their_time_and_version() {
        let id = fresh_id(0x0123_4567_89ab);
        assert_eq!(id[..6], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
        assert_eq!((id[6] >> 4, id[8] >> 6), (7, 2));
        assert_ne!(id, fresh_id(0x0123_4567_89ab));
    }

    #[test]
    fn equal_hashes_are_equal() {
        assert!(same_hash(&secret_hash("a"), &secret_hash("a")));
        assert!(!same_hash(&secret_hash("a"), &secret_hash("b")));
        assert!(!same_hash(&secret_hash("a"), &[]));
    }
}
