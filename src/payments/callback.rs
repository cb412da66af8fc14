//! A provider's callback: its headers, what it may claim, and why it is not believed.

use std::fmt;

/// A longer callback is refused unread; real ones have a few KiB.
pub const MAX_CALLBACK_BYTES: usize = 64 * 1024;

/// The headers of a callback, by name in any case.
#[derive(Clone, Default)]
pub struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Headers<'a> {
    /// The value of `name`; `None` if it is absent or there several times.
    pub fn only(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.0.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        // Of two signatures one would be checked and the other perhaps believed elsewhere.
        values.next().is_none().then_some(*value)
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(pairs: I) -> Self {
        Headers(pairs.into_iter().collect())
    }
}

/// Names only: a value may be a signature or a session.
impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// What an authenticated callback points at. It says where to look, never what is so.
///
/// It holds only what the signature covers, so a changed body either is refused or claims the
/// same. A callback may be old or be there many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The same for every delivery of the same event: 64 hexadecimal digits.
    pub event: String,
    /// The provider's name for the order; `None` if the event is about no order.
    pub order_id: Option<String>,
}

/// Why a callback is not believed. The sender is told nothing of it but that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// No signature, or several.
    #[error("no signature: the callback needs one {header} header")]
    Unsigned {
        /// Where it belongs.
        header: &'static str,
    },
    /// The signature belongs to another text or another secret.
    #[error("the signature in {header} is not that of this body: compare the provider's secret")]
    WrongSignature {
        /// Where it was.
        header: &'static str,
    },
    /// What would have to be signed is not there, or not as the provider writes it.
    #[error("not a callback of this provider: {0}")]
    Malformed(String),
    /// Past the bound.
    #[error("the callback has {bytes} bytes, at most {MAX_CALLBACK_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// This provider sends none.
    #[error("{provider} has no callbacks")]
    NoCallbacks {
        /// Its name.
        provider: &'static str,
    },
}

/// The text of a callback's body, if it is one and within the bound.
pub(super) fn readable(body: &[u8]) -> Result<&str, Forged> {
    if body.len() > MAX_CALLBACK_BYTES {
        return Err(Forged::TooLarge { bytes: body.len() });
    }
    std::str::from_utf8(body).map_err(|_| Forged::Malformed("it is not UTF-8".to_owned()))
}
