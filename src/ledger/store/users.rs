//! Users: made, given another role, disabled, never deleted.

use rusqlite::{Connection, OptionalExtension, params};

use super::accounts::team;
use super::{Context, Outcome, audit, check_actor, check_text, exactly_one, refuse};
use crate::ledger::errors::{Invalid, UserError};
use crate::ledger::people::{NewUser, Reach, fold_name};
use crate::ledger::scopes::Role;
use crate::ledger::types::{AccountId, UserId};

/// With `operator ` before it, a name fits where the audit says who it was.
pub(crate) const MAX_USER_NAME_CHARS: usize = 80;

/// A user, as commands need it.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) account: Option<AccountId>,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) disabled: bool,
}

/// Looks a user up.
pub(super) fn user(conn: &Connection, user: UserId) -> rusqlite::Result<Option<User>> {
    conn.prepare_cached(
        "SELECT account_id,name,role,disabled_ms IS NOT NULL FROM user WHERE id=?1",
    )?
    .query_row([user], |row| {
        Ok(User {
            account: row.get(0)?,
            name: row.get(1)?,
            role: row.get(2)?,
            disabled: row.get(3)?,
        })
    })
    .optional()
}

/// Looks up a user that is about to be managed. One out of reach is as unknown as none.
pub(super) fn managed(conn: &Connection, id: UserId, reach: Reach) -> Outcome<User, UserError> {
    match user(conn, id)? {
        Some(user) if reach.knows(user.account) => match reach.covers(user.role) {
            true => Ok(user),
            false => refuse(UserError::BeyondManager(user.role)),
        },
        Some(_) | None => refuse(UserError::UnknownUser),
    }
}

/// Makes a user, who can do nothing before it has accepted an invitation.
pub(crate) fn create_user(
    context: &Context<'_>,
    new: &NewUser,
    reach: Reach,
    actor: &str,
) -> Outcome<UserId, UserError> {
    if !reach.covers(new.role) {
        return refuse(UserError::BeyondManager(new.role));
    }
    let name = fold_name(&new.name);
    if let Err(invalid) = check_new_user(new, &name, actor) {
        return refuse(invalid.into());
    }
    if let Some(account) = new.account {
        match team(context.conn, account)? {
            Some(_) if !reach.knows(new.account) => {
                return refuse(UserError::UnknownAccount(account));
            }
            None => return refuse(UserError::UnknownAccount(account)),
            Some(team) if team.closed => return refuse(UserError::AccountClosed(account)),
            Some(_) => {}
        }
    }
    if context.conn.prepare_cached("SELECT 1 FROM user WHERE name=?1")?.exists([&name])? {
        return refuse(UserError::NameTaken(name));
    }
    context
        .conn
        .prepare_cached("INSERT INTO user(account_id,name,role,created_ms) VALUES(?1,?2,?3,?4)")?
        .execute(params![new.account, name, new.role, context.now_ms])
        .and_then(exactly_one)?;
    let id = UserId(context.conn.last_insert_rowid());
    let of = new.account.map_or(String::new(), |account| format!(" of account {account}"));
    audit(context, actor, "user.create", &format!("user {id} {name:?}{of} as {}", new.role))?;
    Ok(id)
}

fn check_new_user(new: &NewUser, name: &str, actor: &str) -> Result<(), Invalid> {
    check_text("user name", name, MAX_USER_NAME_CHARS)?;
    check_actor(actor)?;
    if name.contains(char::is_whitespace) {
        let rule = format!("is {name:?}: give a name without spaces, such as an e-mail address");
        return Err(Invalid { field: "user name", rule });
    }
    let rule = match (new.role, new.account) {
        (Role::Operator, Some(_)) => "is operator: an operator belongs to no account",
        (Role::Owner | Role::Member, None) => "needs an account: name it",
        (Role::Operator, None) | (Role::Owner | Role::Member, Some(_)) => return Ok(()),
    };
    Err(Invalid { field: "user role", rule: rule.to_owned() })
}

/// Makes an owner a member, or a member an owner. An account that has an owner keeps one.
pub(crate) fn set_role(
    context: &Context<'_>,
    id: UserId,
    role: Role,
    reach: Reach,
    actor: &str,
) -> Outcome<(), UserError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let user = managed(context.conn, id, reach)?;
    if user.role == role {
        return Ok(());
    }
    if user.role == Role::Operator || role == Role::Operator {
        let rule = "can not change to or from operator: create another user".to_owned();
        return refuse(Invalid { field: "user role", rule }.into());
    }
    if !reach.covers(role) {
        return refuse(UserError::BeyondManager(role));
    }
    if user.disabled {
        return refuse(UserError::Disabled);
    }
    if is_last_owner(context.conn, id, &user)? {
        return refuse(UserError::LastOwner);
    }
    context
        .conn
        .prepare_cached("UPDATE user SET role=?2 WHERE id=?1")?
        .execute(params![id, role])
        .and_then(exactly_one)?;
    audit(context, actor, "user.role", &format!("user {id} from {} to {role}", user.role))?;
    Ok(())
}

/// Ends all that a user could do: its sessions and its invitation. Its keys are the account's and
/// stay. Again: no change.
pub(crate) fn disable_user(
    context: &Context<'_>,
    id: UserId,
    reach: Reach,
    actor: &str,
) -> Outcome<(), UserError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let user = managed(context.conn, id, reach)?;
    if user.disabled {
        return Ok(());
    }
    if is_last_owner(context.conn, id, &user)? {
        return refuse(UserError::LastOwner);
    }
    context
        .conn
        .prepare_cached("UPDATE user SET disabled_ms=?2 WHERE id=?1")?
        .execute(params![id, context.now_ms])
        .and_then(exactly_one)?;
    context.conn.prepare_cached("DELETE FROM session WHERE user_id=?1")?.execute([id])?;
    context
        .conn
        .prepare_cached("DELETE FROM invitation WHERE user_id=?1 AND accepted_ms IS NULL")?
        .execute([id])?;
    audit(context, actor, "user.disable", &format!("user {id} {:?}", user.name))?;
    Ok(())
}

fn is_last_owner(conn: &Connection, id: UserId, user: &User) -> rusqlite::Result<bool> {
    if user.role != Role::Owner || user.disabled {
        return Ok(false);
    }
    let others = conn
        .prepare_cached(
            "SELECT 1 FROM user
             WHERE account_id=?1 AND role='owner' AND disabled_ms IS NULL AND id<>?2",
        )?
        .exists(params![user.account, id])?;
    Ok(!others)
}
