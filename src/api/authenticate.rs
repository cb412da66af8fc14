//! Who calls: what the request shows, looked up for every request, so that a key that was revoked
//! and a session that ended are refused at once.
//! Promises: a cookie counts only if no key is shown, and only for this server's own pages; it is
//! never more than the credential behind it.
//! Never knows: what the caller may do; `access` decides that.

use axum::http::request::Parts;

use super::AppState;
use super::access::Access;
use super::auth::{Principal, Shown, credentials, shows_credentials};
use super::dashboard::{Ticket, check_same_origin, cookie_of};
use super::error::ApiError;
use super::operator::{Operator, ThroughControlSocket};
use crate::ledger::{KeyInfo, SESSION_PREFIX};

/// What the request shows.
pub(super) fn shown(parts: &Parts, access: Access) -> Shown {
    // Elsewhere, who holds the socket acts for the account whose key it shows.
    if access == Access::Operator && parts.extensions.get::<ThroughControlSocket>().is_some() {
        return Shown::Socket;
    }
    match credentials(&parts.headers) {
        Some(secret) => Shown::Secret(secret.to_owned()),
        None if shows_credentials(&parts.headers) => Shown::Nothing,
        None => cookie_of(&parts.headers).map_or(Shown::Nothing, Shown::Cookie),
    }
}

/// Who shows that.
pub(super) async fn authenticate(
    state: &AppState,
    parts: &Parts,
    shown: &Shown,
) -> Result<Principal, ApiError> {
    match shown {
        Shown::Nothing => Err(ApiError::MissingKey),
        Shown::Socket => Ok(Principal::Operator(Operator::unnamed("operator on this machine"))),
        // The operator may have chosen a key that begins like a session.
        Shown::Secret(secret) if !is_operators(state, secret) && is_session(secret) => {
            of_session(state, secret.clone()).await
        }
        Shown::Secret(secret) => of_key(state, secret.clone()).await,
        Shown::Cookie(value) => {
            check_same_origin(&parts.method, &parts.headers)?;
            match state.tickets.find(value, state.clock.now_ms()) {
                Some(Ticket::Operator) => Ok(Principal::Operator(Operator::unnamed("operator"))),
                Some(Ticket::Key(key)) => {
                    valid(state.read_ledger(move |ledger| ledger.key(key)).await?)
                }
                None if is_session(value) => of_session(state, value.clone()).await,
                None => Err(ApiError::InvalidKey),
            }
        }
    }
}

/// Whose key this is: the operator's, or an account's.
pub(super) async fn of_key(state: &AppState, secret: String) -> Result<Principal, ApiError> {
    if is_operators(state, &secret) {
        return Ok(Principal::Operator(Operator::unnamed("operator")));
    }
    valid(state.read_ledger(move |ledger| ledger.find_key(&secret)).await?)
}

/// Who is signed in.
pub(super) async fn of_session(state: &AppState, secret: String) -> Result<Principal, ApiError> {
    let session = state.read_ledger(move |ledger| ledger.find_session(&secret)).await?;
    let session = session.ok_or(ApiError::InvalidKey)?;
    Ok(match session.user.account {
        Some(account) => Principal::User { account, session },
        None => Principal::Operator(Operator::signed_in(session)),
    })
}

fn is_operators(state: &AppState, secret: &str) -> bool {
    state.operator_key.as_ref().is_some_and(|key| key.matches(secret))
}

fn is_session(secret: &str) -> bool {
    secret.starts_with(SESSION_PREFIX)
}

fn valid(key: Option<KeyInfo>) -> Result<Principal, ApiError> {
    match key {
        Some(key) if !key.revoked && !key.expired => Ok(Principal::Key(key)),
        Some(_) | None => Err(ApiError::InvalidKey),
    }
}
