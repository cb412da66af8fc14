//! Accounts: created, closed, never deleted.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Context, MAX_IN_ALL, MAX_NAME_CHARS, Outcome, audit, check_actor, check_text, exactly_one,
    refuse,
};
use crate::ledger::errors::{AccountError, Invalid};
use crate::ledger::types::{AccountId, Balance};

/// A team's account, as commands need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Team {
    pub(super) balance: Balance,
    pub(super) closed: bool,
    pub(super) frozen: bool,
}

/// Looks a team up; the house's accounts are not teams.
pub(super) fn team(conn: &Connection, account: AccountId) -> rusqlite::Result<Option<Team>> {
    conn.prepare_cached(
        "SELECT balance,closed_ms IS NOT NULL,frozen_ms IS NOT NULL FROM account
         WHERE id=?1 AND kind='team'",
    )?
    .query_row([account], |row| {
        Ok(Team { balance: row.get(0)?, closed: row.get(1)?, frozen: row.get(2)? })
    })
    .optional()
}

/// Opens an account with no credits.
pub(crate) fn create_account(
    context: &Context<'_>,
    name: &str,
    plan: &str,
    actor: &str,
) -> Outcome<AccountId, AccountError> {
    if let Err(invalid) = check_new_account(name, plan, actor) {
        return refuse(invalid.into());
    }
    let taken =
        context.conn.prepare_cached("SELECT 1 FROM account WHERE name=?1")?.exists([name])?;
    if taken {
        return refuse(AccountError::NameTaken(name.to_owned()));
    }
    context
        .conn
        .prepare_cached("INSERT INTO account(kind,name,plan,created_ms) VALUES('team',?1,?2,?3)")?
        .execute(params![name, plan, context.now_ms])
        .and_then(exactly_one)?;
    let account = AccountId(context.conn.last_insert_rowid());
    audit(context, actor, "account.create", &format!("account {account} {name:?} plan {plan:?}"))?;
    Ok(account)
}

fn check_new_account(name: &str, plan: &str, actor: &str) -> Result<(), Invalid> {
    check_text("account name", name, MAX_NAME_CHARS)?;
    check_text("plan", plan, MAX_NAME_CHARS)?;
    check_actor(actor)?;
    // The house's own accounts are named `house:...`.
    if name.contains(':') {
        let rule = format!("is {name:?}: it may not contain ':'");
        return Err(Invalid { field: "account name", rule });
    }
    Ok(())
}

/// Closes an account: no new keys, credits or meters. Its open meters may finish, its balance
/// stays in the books. Closing it again changes nothing.
pub(crate) fn close_account(
    context: &Context<'_>,
    account: AccountId,
    actor: &str,
) -> Outcome<(), AccountError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let Some(team) = team(context.conn, account)? else {
        return refuse(AccountError::UnknownAccount(account));
    };
    if team.closed {
        return Ok(());
    }
    context
        .conn
        .prepare_cached("UPDATE account SET closed_ms=?2 WHERE id=?1")?
        .execute(params![account, context.now_ms])
        .and_then(exactly_one)?;
    audit(context, actor, "account.close", &format!("account {account}"))?;
    Ok(())
}

/// Freezes an account, or thaws it: a frozen one opens no meters; keys and credits go on as
/// before, and its open meters may finish. Again: no change.
pub(crate) fn set_frozen(
    context: &Context<'_>,
    account: AccountId,
    frozen: bool,
    actor: &str,
) -> Outcome<(), AccountError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let Some(team) = team(context.conn, account)? else {
        return refuse(AccountError::UnknownAccount(account));
    };
    if team.frozen == frozen {
        return Ok(());
    }
    context
        .conn
        .prepare_cached("UPDATE account SET frozen_ms=?2 WHERE id=?1")?
        .execute(params![account, frozen.then_some(context.now_ms)])
        .and_then(exactly_one)?;
    let action = if frozen { "account.freeze" } else { "account.thaw" };
    audit(context, actor, action, &format!("account {account}"))?;
    Ok(())
}

/// Gives an account another plan. The same again: no change.
pub(crate) fn set_plan(
    context: &Context<'_>,
    account: AccountId,
    plan: &str,
    actor: &str,
) -> Outcome<(), AccountError> {
    if let Err(invalid) = check_text("plan", plan, MAX_NAME_CHARS).and_then(|()| check_actor(actor))
    {
        return refuse(invalid.into());
    }
    if team(context.conn, account)?.is_none() {
        return refuse(AccountError::UnknownAccount(account));
    }
    let changed = context
        .conn
        .prepare_cached("UPDATE account SET plan=?2 WHERE id=?1 AND plan<>?2")?
        .execute(params![account, plan])?;
    if changed > 0 {
        audit(context, actor, "account.plan", &format!("account {account} plan {plan:?}"))?;
    }
    Ok(())
}

/// Where money comes from. Not a fixed number: books of version 1 gave 4 to their first team.
pub(super) fn revenue_account(conn: &Connection) -> rusqlite::Result<AccountId> {
    conn.prepare_cached("SELECT id FROM account WHERE name='house:revenue'")?
        .query_row([], |row| row.get(0))
}

/// Where the money lies that came through `provider`; made when it is first needed.
pub(super) fn cash_account(context: &Context<'_>, provider: &str) -> rusqlite::Result<AccountId> {
    let name = format!("house:cash:{provider}");
    let found = context
        .conn
        .prepare_cached("SELECT id FROM account WHERE name=?1")?
        .query_row([&name], |row| row.get(0))
        .optional()?;
    if let Some(cash) = found {
        return Ok(cash);
    }
    context
        .conn
        .prepare_cached("INSERT INTO account(kind,name,plan,created_ms) VALUES('cash',?1,'',?2)")?
        .execute(params![name, context.now_ms])
        .and_then(exactly_one)?;
    Ok(AccountId(context.conn.last_insert_rowid()))
}

/// Whether `amount` more can come out of one of the house's accounts; see [`MAX_IN_ALL`].
pub(super) fn fits_house(
    conn: &Connection,
    house: AccountId,
    amount: i64,
) -> rusqlite::Result<bool> {
    let given: i64 = conn
        .prepare_cached("SELECT -balance FROM account WHERE id=?1")?
        .query_row([house], |row| row.get(0))?;
    Ok(given.saturating_add(amount) <= MAX_IN_ALL)
}
