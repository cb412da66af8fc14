//! Accounts: created, closed, never deleted.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Context, Outcome, audit, check_actor, check_text, exactly_one, refuse};
use crate::ledger::errors::{AccountError, Invalid};
use crate::ledger::types::{AccountId, Balance};

/// A team's account, as commands need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Team {
    pub(super) balance: Balance,
    pub(super) closed: bool,
}

/// Looks a team up; the house's accounts are not teams.
pub(super) fn team(conn: &Connection, account: AccountId) -> rusqlite::Result<Option<Team>> {
    conn.prepare_cached(
        "SELECT balance,closed_ms IS NOT NULL FROM account WHERE id=?1 AND kind='team'",
    )?
    .query_row([account], |row| Ok(Team { balance: row.get(0)?, closed: row.get(1)? }))
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
    check_text("account name", name, 64)?;
    check_text("plan", plan, 64)?;
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
