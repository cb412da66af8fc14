//! The playground: users who are signed in by cookie spend their account's credits, through a key
//! of their own that nobody holds.
//!
//! The key is called `Playground`, belongs to the user, is made at its first request, and its
//! secret is thrown away. So all that is true of keys is true of the playground: what it spends
//! shows by key, plan and limits apply, and it can be revoked. Whoever may make keys gets another
//! one after that, as it could make one itself; for others revoked is revoked, and what they are
//! left with is a key that an owner gives them. A key that an owner makes by this name beforehand,
//! with a limit, is that owner's playground.
//!
//! Promises: a user has one such key that is good, however many requests come first.
//! Never knows: what is generated, what it costs.

use super::super::AppState;
use super::super::error::ApiError;
use crate::ledger::{
    AccountId, KeyError, KeyInfo, Ledger, LedgerError, NewKeyRequest, Scope, Scopes, UserId,
    UserInfo,
};

const LABEL: &str = "Playground";

/// The user's playground, as the books have it.
enum Found {
    /// Made, and good.
    Key(Box<KeyInfo>),
    /// There was one; it was revoked, or has expired.
    Gone,
    Never,
}

/// The key through which this user of this account spends.
pub(in super::super) async fn playground_key(
    state: &AppState,
    account: AccountId,
    user: &UserInfo,
) -> Result<KeyInfo, ApiError> {
    let id = user.id;
    match state.read_ledger(move |ledger| find(ledger, account, id)).await? {
        Found::Key(key) => return Ok(*key),
        Found::Gone if !may_make_keys(user) => return Err(ApiError::PlaygroundRevoked),
        Found::Gone | Found::Never => {}
    }
    let request = NewKeyRequest { user: Some(id), ..NewKeyRequest::new(account, LABEL) };
    let made = state.ledger.create_key_once(request, &user.actor()).await;
    let key = made.map_err(|error| match error {
        KeyError::AccountClosed(_) => ApiError::AccountClosed,
        other => other.into(),
    })?;
    let key = state.read_ledger(move |ledger| ledger.key(key)).await?;
    // Keys are revoked, never deleted, and this one has just been made or found.
    key.filter(|key| !key.revoked).ok_or(ApiError::PlaygroundRevoked)
}

/// Whether [`playground_key`] would give this user a key.
pub(in super::super) async fn would_be_let_play(
    state: &AppState,
    account: AccountId,
    user: &UserInfo,
) -> Result<bool, ApiError> {
    let id = user.id;
    Ok(match state.read_ledger(move |ledger| find(ledger, account, id)).await? {
        Found::Key(_) | Found::Never => true,
        Found::Gone => may_make_keys(user),
    })
}

fn find(ledger: &Ledger, account: AccountId, user: UserId) -> Result<Found, LedgerError> {
    let mut keys = ledger.keys_named(account, user, LABEL)?;
    keys.retain(|key| key.scopes.contains(Scope::Inference));
    let any = !keys.is_empty();
    let good = keys.into_iter().find(|key| !key.revoked && !key.expired);
    Ok(match good {
        Some(key) => Found::Key(Box::new(key)),
        None if any => Found::Gone,
        None => Found::Never,
    })
}

fn may_make_keys(user: &UserInfo) -> bool {
    Scopes::of_role(user.role).contains(Scope::Keys)
}
