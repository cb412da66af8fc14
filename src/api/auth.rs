//! Who is calling, once `access` has let it in, and where its credentials are in the headers.
//! Promises: an extractor gives what the table of `access` let in, and asks for nothing more.
//! Never knows: what the caller may spend; the ledger decides that when a meter opens.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::AppState;
use super::error::ApiError;
use super::operator::Operator;
use crate::ledger::{AccountId, KeyInfo, Scopes, SessionInfo, UserId};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Who was let in, as the request carries it.
#[derive(Clone, Debug)]
pub(super) enum Principal {
    /// An account's key.
    Key(KeyInfo),
    /// A user of an account, signed in.
    User {
        /// The account.
        account: AccountId,
        /// The session, and whose it is.
        session: SessionInfo,
    },
    /// Whoever runs the server; it has no account.
    Operator(Operator),
}

/// The caller of a route that needs a key.
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

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        match parts.extensions.get() {
            Some(Principal::Key(key)) => Ok(Self { key: key.clone() }),
            Some(Principal::User { .. } | Principal::Operator(_)) | None => Err(wrong_row(parts)),
        }
    }
}

/// Whoever acts for an account: one of its keys, or one of its users.
#[derive(Clone, Debug)]
pub(super) struct AccountCaller {
    pub(super) account: AccountId,
    pub(super) account_name: String,
    /// The user, or who made the key; `None`: the operator made it.
    pub(super) user: Option<UserId>,
    pub(super) scopes: Scopes,
    /// What the audit shows.
    pub(super) actor: String,
}

impl FromRequestParts<AppState> for AccountCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        match parts.extensions.get() {
            Some(Principal::Key(key)) => Ok(Self {
                account: key.account,
                account_name: key.account_name.clone(),
                user: key.user,
                scopes: key.scopes,
                actor: format!("key {}", key.prefix),
            }),
            Some(Principal::User { account, session: SessionInfo { user, .. } }) => Ok(Self {
                account: *account,
                account_name: user.account_name.clone().unwrap_or_default(),
                user: Some(user.id),
                scopes: Scopes::of_role(user.role),
                actor: user.actor(),
            }),
            Some(Principal::Operator(_)) | None => Err(wrong_row(parts)),
        }
    }
}

/// What a caller showed. It holds secrets, and so has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    /// Nothing either, but it could open the control socket.
    Socket,
    /// A key's or a session's secret, in a header.
    Secret(String),
    /// What a browser was given when it signed in: a session's secret, or a ticket.
    Cookie(String),
}

impl FromRequestParts<AppState> for Shown {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(|| wrong_row(parts))
    }
}

/// Whoever it is.
impl FromRequestParts<AppState> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(|| wrong_row(parts))
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        match parts.extensions.get() {
            Some(Principal::Operator(operator)) => Ok(operator.clone()),
            Some(Principal::Key(_) | Principal::User { .. }) | None => Err(wrong_row(parts)),
        }
    }
}

/// The table lets in somebody else than the handler serves: a bug, and nobody is served.
fn wrong_row(parts: &Parts) -> ApiError {
    tracing::error!(method = %parts.method, path = parts.uri.path(), "the wrong row of access");
    ApiError::Internal
}

/// The secret that a caller shows: of a `Bearer` header, or else of `x-api-key`, which Anthropic's
/// clients send. Another scheme of `Authorization` is a proxy's.
pub(super) fn credentials(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| {
        let key = headers.get(API_KEY)?.to_str().ok()?.trim();
        (!key.is_empty()).then_some(key)
    })
}

/// Whether a header for a key is there, however empty. Then no cookie counts.
pub(super) fn shows_credentials(headers: &HeaderMap) -> bool {
    let is_a_proxys = |value: &HeaderValue| {
        let scheme = value.to_str().ok().and_then(|value| value.split_once(' '));
        scheme.is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("bearer"))
    };
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    headers.contains_key(API_KEY) || authorizations.any(|value| !is_a_proxys(value))
}

/// The credentials of a `Bearer` header, whose scheme is case-insensitive (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &'static str)], expected: Option<&str>) {
        let read = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().expect("a header value"))
        };
        let map: HeaderMap = headers.iter().map(read).collect();
        assert_eq!(credentials(&map), expected, "{headers:?}");
    }

    #[test]
    fn bearer_is_read_whatever_its_case() {
        check(&[("authorization", "Bearer mz-1")], Some("mz-1"));
        check(&[("authorization", "bearer   mz-1 ")], Some("mz-1"));
        check(&[("authorization", "BEARER mz-1")], Some("mz-1"));
        check(&[("authorization", "Bearer ")], None);
        check(&[("authorization", "Bearer")], None);
        check(&[("authorization", "Basic mz-1")], None);
    }

    #[test]
    fn a_header_for_a_key_counts_however_empty() {
        let shows = |headers: &[(HeaderName, &'static str)]| {
            let value = |value: &&'static str| HeaderValue::from_static(value);
            shows_credentials(&headers.iter().map(|(n, v)| (n.clone(), value(v))).collect())
        };
        let with = |value| shows(&[(header::AUTHORIZATION, value)]);
        assert!(with("Bearer mz-1") && with("bearer ") && with("Bearer") && with("mz-1"));
        assert!(with("") && shows(&[(API_KEY, "")]));
        assert!(!shows(&[]) && !with("Basic cHJveHk="));
        assert!(shows(&[(header::AUTHORIZATION, "Basic cHJveHk="), (API_KEY, "x")]));
    }

    #[test]
    fn a_key_may_come_in_a_header_of_its_own() {
        check(&[("x-api-key", "mz-1")], Some("mz-1"));
        check(&[("x-api-key", " mz-1 ")], Some("mz-1"));
        check(&[("x-api-key", "")], None);
        check(&[("authorization", "Basic proxy"), ("x-api-key", "mz-1")], Some("mz-1"));
        check(&[("authorization", "Bearer mz-1"), ("x-api-key", "mz-2")], Some("mz-1"));
    }
}
