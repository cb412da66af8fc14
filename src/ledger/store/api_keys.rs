//! API keys: made with a limit, revoked, never deleted.

use rusqlite::{OptionalExtension, Row, params};

use super::accounts::team;
use super::{
    Context, MAX_AMOUNT, Outcome, audit, check_actor, check_amount, check_text, exactly_one, refuse,
};
use crate::ledger::errors::{Invalid, KeyError};
use crate::ledger::period;
use crate::ledger::types::{AccountId, Credits, KeyId, KeyLimit};

/// A key to be stored; the secret itself never comes here.
#[derive(Debug)]
pub(crate) struct NewKeyRow {
    pub(crate) account: AccountId,
    pub(crate) label: String,
    pub(crate) limit: Option<KeyLimit>,
    pub(crate) prefix: String,
    pub(crate) secret_hash: [u8; 32],
}

/// Stores a key.
pub(crate) fn create_key(
    context: &Context<'_>,
    key: &NewKeyRow,
    actor: &str,
) -> Outcome<KeyId, KeyError> {
    if let Err(invalid) = check_new_key(key, actor) {
        return refuse(invalid.into());
    }
    match team(context.conn, key.account)? {
        None => return refuse(KeyError::UnknownAccount(key.account)),
        Some(team) if team.closed => return refuse(KeyError::AccountClosed(key.account)),
        Some(_) => {}
    }
    let reset = key.limit.and_then(|limit| limit.reset);
    let period_start_ms =
        reset.map_or(context.now_ms, |reset| period::start(reset, context.now_ms));
    context
        .conn
        .prepare_cached(
            "INSERT INTO api_key(account_id,label,prefix,secret_hash,scopes,limit_credits,
               limit_reset,period_start_ms,created_ms)
             VALUES(?1,?2,?3,?4,'inference,usage',?5,?6,?7,?8)",
        )?
        .execute(params![
            key.account,
            key.label,
            key.prefix,
            key.secret_hash,
            key.limit.map(|limit| limit.credits),
            reset,
            period_start_ms,
            context.now_ms
        ])
        .and_then(exactly_one)?;
    let id = KeyId(context.conn.last_insert_rowid());
    audit(context, actor, "key.create", &format!("key {id} of account {}", key.account))?;
    Ok(id)
}

fn check_new_key(key: &NewKeyRow, actor: &str) -> Result<(), Invalid> {
    check_text("key label", &key.label, 64)?;
    check_actor(actor)?;
    match key.limit {
        Some(limit) => check_amount("key limit", limit.credits.0, 0, MAX_AMOUNT),
        None => Ok(()),
    }
}

/// Revokes a key: it opens no meters from now on; its open ones may finish. Again: no change.
pub(crate) fn revoke_key(context: &Context<'_>, key: KeyId, actor: &str) -> Outcome<(), KeyError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let revoked = context
        .conn
        .prepare_cached("SELECT revoked_ms IS NOT NULL FROM api_key WHERE id=?1")?
        .query_row([key], |row| row.get::<_, bool>(0))
        .optional()?;
    match revoked {
        None => return refuse(KeyError::UnknownKey),
        Some(true) => return Ok(()),
        Some(false) => {}
    }
    context
        .conn
        .prepare_cached("UPDATE api_key SET revoked_ms=?2 WHERE id=?1")?
        .execute(params![key, context.now_ms])
        .and_then(exactly_one)?;
    audit(context, actor, "key.revoke", &format!("key {key}"))?;
    Ok(())
}

/// Reads `limit_credits` and `limit_reset` out of a row that has them side by side.
pub(crate) fn limit_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<KeyLimit>> {
    let credits: Option<Credits> = row.get(first)?;
    let reset = row.get(first + 1)?;
    Ok(credits.map(|credits| KeyLimit { credits, reset }))
}
