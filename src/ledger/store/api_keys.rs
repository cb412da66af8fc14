//! API keys: made with limits and an end, revoked, never deleted.

use rusqlite::{OptionalExtension, Row, params};

use super::accounts::team;
use super::users::user;
use super::{
    Context, MAX_AMOUNT, MAX_NAME_CHARS, Outcome, audit, check_actor, check_amount, check_text,
    exactly_one, refuse,
};
use crate::ledger::errors::{Invalid, KeyError};
use crate::ledger::period::{self, Spending};
use crate::ledger::scopes::Scopes;
use crate::ledger::types::{AccountId, Credits, KeyId, KeyLimit, NewKeyRequest};

/// The latest time that a key may expire: the end of the year 9999.
const MAX_EXPIRY_MS: i64 = 253_402_300_799_999;

/// A key to be stored; the secret itself never comes here.
#[derive(Debug)]
pub(crate) struct NewKeyRow {
    pub(crate) request: NewKeyRequest,
    pub(crate) prefix: String,
    pub(crate) secret_hash: [u8; 32],
}

/// Stores a key.
pub(crate) fn create_key(
    context: &Context<'_>,
    row: &NewKeyRow,
    actor: &str,
) -> Outcome<KeyId, KeyError> {
    let key = &row.request;
    if let Err(invalid) = check_new_key(key, actor, context.now_ms) {
        return refuse(invalid.into());
    }
    match team(context.conn, key.account)? {
        None => return refuse(KeyError::UnknownAccount(key.account)),
        Some(team) if team.closed => return refuse(KeyError::AccountClosed(key.account)),
        Some(_) => {}
    }
    if let Some(maker) = key.user {
        let maker = user(context.conn, maker)?
            .filter(|maker| maker.account == Some(key.account) && !maker.disabled);
        let Some(maker) = maker else { return refuse(KeyError::UnknownUser) };
        let has = Scopes::of_role(maker.role);
        if !has.contains_all(key.scopes) {
            return refuse(KeyError::BeyondMaker { asked: key.scopes, has });
        }
    }
    let reset = key.limit.and_then(|limit| limit.reset);
    let period_start_ms =
        reset.map_or(context.now_ms, |reset| period::start(reset, context.now_ms));
    context
        .conn
        .prepare_cached(
            "INSERT INTO api_key(account_id,user_id,label,prefix,secret_hash,scopes,limit_credits,
               limit_reset,total_limit_credits,period_start_ms,created_ms,expires_ms)
             VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        )?
        .execute(params![
            key.account,
            key.user,
            key.label,
            row.prefix,
            row.secret_hash,
            key.scopes,
            key.limit.map(|limit| limit.credits),
            reset,
            key.total_limit,
            period_start_ms,
            context.now_ms,
            key.expires_ms
        ])
        .and_then(exactly_one)?;
    let id = KeyId(context.conn.last_insert_rowid());
    let detail = format!("key {id} of account {} for {}", key.account, key.scopes);
    audit(context, actor, "key.create", &detail)?;
    Ok(id)
}

/// Stores a key unless its maker has one of this label and with these scopes that is good; which
/// one there is then.
pub(crate) fn create_key_once(
    context: &Context<'_>,
    row: &NewKeyRow,
    actor: &str,
) -> Outcome<KeyId, KeyError> {
    let key = &row.request;
    let mut select = context.conn.prepare_cached(
        "SELECT id,scopes FROM api_key
         WHERE account_id=?1 AND user_id IS ?2 AND label=?3 AND revoked_ms IS NULL
           AND (expires_ms IS NULL OR expires_ms>?4) ORDER BY id",
    )?;
    let good = select
        .query_map(params![key.account, key.user, key.label, context.now_ms], |row| {
            Ok((row.get::<_, KeyId>(0)?, row.get::<_, Scopes>(1)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    match good.iter().find(|(_, scopes)| scopes.contains_all(key.scopes)) {
        Some((id, _)) => Ok(*id),
        None => create_key(context, row, actor),
    }
}

fn check_new_key(key: &NewKeyRequest, actor: &str, now_ms: i64) -> Result<(), Invalid> {
    check_text("key label", &key.label, MAX_NAME_CHARS)?;
    check_actor(actor)?;
    if key.scopes.is_empty() {
        let rule = format!("are none: give at least one of {}", Scopes::ALL);
        return Err(Invalid { field: "key scopes", rule });
    }
    if let Some(limit) = key.limit {
        check_amount("key limit", limit.credits.0, 0, MAX_AMOUNT)?;
    }
    if let Some(limit) = key.total_limit {
        check_amount("key total limit", limit.0, 0, MAX_AMOUNT)?;
    }
    match key.expires_ms {
        Some(expires_ms) if !(now_ms + 1..=MAX_EXPIRY_MS).contains(&expires_ms) => {
            let rule = "is in the past, or too far away: give a time to come".to_owned();
            Err(Invalid { field: "key expiry", rule })
        }
        Some(_) | None => Ok(()),
    }
}

/// Revokes a key: it opens no meters from now on; its open ones may finish. Again: no change.
/// With an account, only that account's keys are known.
pub(crate) fn revoke_key(
    context: &Context<'_>,
    key: KeyId,
    account: Option<AccountId>,
    actor: &str,
) -> Outcome<(), KeyError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let revoked = context
        .conn
        .prepare_cached(
            "SELECT revoked_ms IS NOT NULL FROM api_key
             WHERE id=?1 AND account_id=coalesce(?2,account_id)",
        )?
        .query_row(params![key, account], |row| row.get::<_, bool>(0))
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

/// Reads a key's limits and what counts against them out of a row that has, side by side:
/// `limit_credits`, `limit_reset`, `total_limit_credits`, `period_start_ms`, `period_used`, `used`.
pub(crate) fn spending_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Spending> {
    Ok(Spending {
        limit: limit_of(row, first)?,
        total_limit: row.get(first + 2)?,
        period_start_ms: row.get(first + 3)?,
        period_used: row.get(first + 4)?,
        used: row.get(first + 5)?,
    })
}
