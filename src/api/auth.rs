//! Who is calling: `Authorization: Bearer KEY` -> the key's account.
//! Promises: a key is looked up for every request, so a revoked one is refused at once.
//! Never knows: what the caller may spend; the ledger decides that when a meter opens.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request::Parts};

use super::AppState;
use super::error::ApiError;
use crate::ledger::KeyInfo;

/// The caller of an authenticated route.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) key: KeyInfo,
}

impl Caller {
    /// The engine's fairness is by account, not by key.
    pub(super) fn lane(&self) -> u64 {
        self.key.account.0.unsigned_abs()
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let secret = bearer(&parts.headers).ok_or(ApiError::MissingKey)?.to_owned();
        let key = state.read_ledger(move |ledger| ledger.find_key(&secret)).await?;
        match key {
            Some(key) if !key.revoked => Ok(Self { key }),
            Some(_) | None => Err(ApiError::InvalidKey),
        }
    }
}

/// The credentials of a `Bearer` header, whose scheme is case-insensitive (RFC 9110, 11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &'static str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().expect("a header value"));
        assert_eq!(bearer(&headers), expected, "{value:?}");
    }

    #[test]
    fn bearer_is_read_whatever_its_case() {
        check("Bearer mz-1", Some("mz-1"));
        check("bearer   mz-1 ", Some("mz-1"));
        check("BEARER mz-1", Some("mz-1"));
        check("Bearer ", None);
        check("Bearer", None);
        check("Basic mz-1", None);
    }
}
