//! A provider's secret and what is made with it: signatures, checked without telling how wrong.
//!
//! Promises: a secret that exists is not empty, so nobody can sign with the empty key; it is never
//! printed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A secret shared with a provider: never empty, prints as `***`.
#[derive(Clone)]
pub struct Secret(String);

/// Why a text is no [`Secret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Anybody could sign with it.
    #[error("it is not set or empty")]
    Empty,
    /// It came with a line break, a blank or quotes around it, or is something else entirely.
    #[error("it has blanks, line breaks or characters outside of ASCII")]
    NotPrintable,
}

impl Secret {
    /// Takes a secret as the provider shows it.
    pub fn new(text: impl Into<String>) -> Result<Secret, SecretError> {
        let text = text.into();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SecretError::NotPrintable);
        }
        Ok(Secret(text))
    }

    /// The value of an `Authorization` header.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// `text` with `***` wherever this secret is.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }

    /// HMAC-SHA-256 of `text` under this secret.
    pub(super) fn sign(&self, text: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// A name for the event that `signed_text` tells of: its SHA-256 as 64 hexadecimal digits.
pub(super) fn event_name(signed_text: &str) -> String {
    hex(&Sha256::digest(signed_text.as_bytes()))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether two signatures are the same, in a time that does not tell where they differ.
pub(super) fn same_signature(found: &[u8], expected: &[u8]) -> bool {
    found.ct_eq(expected).into()
}
