//! Who may run the place: the holder of the operator's key, or whoever can open the control socket.
//! Promises: the key is kept as its SHA-256 and compared in constant time.
//! Never knows: what an operator does.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The operator's key, as its SHA-256. Prints and parses as hexadecimal digits.
#[derive(Clone)]
pub struct OperatorKey([u8; 32]);

impl OperatorKey {
    /// The key whose secret this is.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    pub(super) fn matches(&self, secret: &str) -> bool {
        // Both are digests, so neither length nor content of the secret shows in the time.
        self.0.ct_eq(&Self::of(secret).0).into()
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorKey(***)")
    }
}

impl fmt::Display for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Operator {
    /// What the audit shows of it.
    pub(super) fn actor(self) -> String {
        self.actor.to_owned()
    }
}

impl FromStr for OperatorKey {
    type Err = ParseOperatorKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseOperatorKeyError);
        }
        let mut digest = [0_u8; 32];
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| ParseOperatorKeyError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseOperatorKeyError)?;
        }
        Ok(Self(digest))
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operator's key is stored as 64 hexadecimal digits")]
pub struct ParseOperatorKeyError;

/// Marks requests that came through the control socket, which only the operator can open.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThroughControlSocket;

/// The caller of an admin route: the operator. Its name is what the audit shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    pub(super) actor: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_digest_alone() {
        let key = OperatorKey::of("correct horse battery");
        let stored: OperatorKey = key.to_string().parse().expect("it prints what it parses");
        assert!(stored.matches("correct horse battery"));
        assert!(!stored.matches("correct horse batterz"));
        assert!(!stored.matches(""));
        assert_eq!(format!("{key:?}"), "OperatorKey(***)");
        let not_ascii = "é".repeat(32);
        for wrong in ["", "00", &"g".repeat(64), &"0".repeat(63), &not_ascii] {
            assert!(wrong.parse::<OperatorKey>().is_err(), "{wrong}");
        }
    }
}
