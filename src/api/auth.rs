//! Who is calling, once `access` has let it in, and where its credentials are.
//! Promises: an extractor gives what the table of `access` let in, and asks for nothing more.
//! Never knows: what the caller may spend; the ledger decides that when a meter opens.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request::Parts};

use super::AppState;
use super::error::ApiError;
use super::operator::Operator;
use crate::ledger::{AccountId, KeyInfo};

/// Who was let in, as the request carries it.
#[derive(Clone, Debug)]
pub(super) enum Principal {
    /// An account's key.
    Key(KeyInfo),
    /// Whoever runs the server; it has no account.
    Operator(Operator),
}

/// The caller of an account's route.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) key: KeyInfo,
}

impl Caller {
    /// Whose credits it spends.
    pub(super) fn account(&self) -> AccountId {
        self.key.account
    }

    /// That account's name.
    pub(super) fn account_name(&self) -> &str {
        &self.key.account_name
    }

    /// What the books name it.
    pub(super) fn actor(&self) -> String {
        format!("key {}", self.key.prefix)
    }

    /// The engine's fairness is by account, not by key.
    pub(super) fn lane(&self) -> u64 {
        self.key.account.0.unsigned_abs()
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        match parts.extensions.get() {
            Some(Principal::Key(key)) => Ok(Self { key: key.clone() }),
            Some(Principal::Operator(_)) | None => Err(wrong_row(parts)),
        }
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        match parts.extensions.get() {
            Some(Principal::Operator(operator)) => Ok(*operator),
            Some(Principal::Key(_)) | None => Err(wrong_row(parts)),
        }
    }
}

/// The table lets in somebody else than the handler serves: a bug, and nobody is served.
fn wrong_row(parts: &Parts) -> ApiError {
    tracing::error!(method = %parts.method, path = parts.uri.path(), "the wrong row of access");
    ApiError::Internal
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
