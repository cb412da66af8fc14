//! How users come in: an invitation, accepted once with a password, and sessions after that.
//! Promises: only hashes come here; of an invitation and its repeats, one is accepted once.

use rusqlite::{OptionalExtension, params};

use super::accounts::team;
use super::users::managed;
use super::{Context, Outcome, audit, check_actor, check_text, exactly_one, refuse};
use crate::ledger::errors::{InvitationError, SessionError, UserError};
use crate::ledger::people::{self, Reach};
use crate::ledger::scopes::Role;
use crate::ledger::types::UserId;

/// How long an invitation can be accepted: seven days.
const INVITATION_MS: i64 = 7 * 24 * 3_600_000;

/// How long a session lasts: twelve hours.
const SESSION_MS: i64 = 12 * 3_600_000;

/// Invites a user to set its password, the first or another. Ends earlier invitations that were
/// not accepted. Says when it ends.
pub(crate) fn invite(
    context: &Context<'_>,
    id: UserId,
    secret_hash: [u8; 32],
    reach: Reach,
    actor: &str,
) -> Outcome<i64, UserError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let user = managed(context.conn, id, reach)?;
    if user.disabled {
        return refuse(UserError::Disabled);
    }
    if let Some(account) = user.account
        && team(context.conn, account)?.is_none_or(|team| team.closed)
    {
        return refuse(UserError::AccountClosed(account));
    }
    context
        .conn
        .prepare_cached("DELETE FROM invitation WHERE user_id=?1 AND accepted_ms IS NULL")?
        .execute([id])?;
    let expires_ms = context.now_ms + INVITATION_MS;
    context
        .conn
        .prepare_cached(
            "INSERT INTO invitation(secret_hash,user_id,created_ms,expires_ms)
             VALUES(?1,?2,?3,?4)",
        )?
        .execute(params![secret_hash, id, context.now_ms, expires_ms])
        .and_then(exactly_one)?;
    audit(context, actor, "user.invite", &format!("user {id} {:?}", user.name))?;
    Ok(expires_ms)
}

/// Sets the password of an invited user, once, and ends what sessions it has.
pub(crate) fn accept_invitation(
    context: &Context<'_>,
    secret_hash: [u8; 32],
    password_hash: &str,
) -> Outcome<UserId, InvitationError> {
    if let Err(invalid) = check_text("password hash", password_hash, 500) {
        return refuse(invalid.into());
    }
    let invited = context
        .conn
        .prepare_cached(
            "SELECT u.id,u.name,u.role FROM invitation i JOIN user u ON u.id=i.user_id
               LEFT JOIN account a ON a.id=u.account_id
             WHERE i.secret_hash=?1 AND i.accepted_ms IS NULL AND i.expires_ms>?2
               AND u.disabled_ms IS NULL AND a.closed_ms IS NULL",
        )?
        .query_row(params![secret_hash, context.now_ms], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((user, name, role)): Option<(UserId, String, Role)> = invited else {
        return refuse(InvitationError::NotValid);
    };
    context
        .conn
        .prepare_cached(
            "UPDATE invitation SET accepted_ms=?2 WHERE secret_hash=?1 AND accepted_ms IS NULL",
        )?
        .execute(params![secret_hash, context.now_ms])
        .and_then(exactly_one)?;
    context
        .conn
        .prepare_cached("UPDATE user SET password_hash=?2 WHERE id=?1")?
        .execute(params![user, password_hash])
        .and_then(exactly_one)?;
    context.conn.prepare_cached("DELETE FROM session WHERE user_id=?1")?.execute([user])?;
    audit(context, &people::actor(role, &name), "user.accept", &format!("user {user}"))?;
    Ok(user)
}

/// Signs in a user whose password was checked against `password_hash`. Says when the session ends.
/// Removes sessions that are over.
pub(crate) fn start_session(
    context: &Context<'_>,
    user: UserId,
    password_hash: &str,
    secret_hash: [u8; 32],
) -> Outcome<i64, SessionError> {
    let allowed = context
        .conn
        .prepare_cached(
            "SELECT 1 FROM user WHERE id=?1 AND password_hash=?2 AND disabled_ms IS NULL",
        )?
        .exists(params![user, password_hash])?;
    if !allowed {
        return refuse(SessionError::NotAllowed);
    }
    context
        .conn
        .prepare_cached("DELETE FROM session WHERE expires_ms<=?1")?
        .execute([context.now_ms])?;
    let expires_ms = context.now_ms + SESSION_MS;
    context
        .conn
        .prepare_cached(
            "INSERT INTO session(secret_hash,user_id,created_ms,expires_ms) VALUES(?1,?2,?3,?4)",
        )?
        .execute(params![secret_hash, user, context.now_ms, expires_ms])
        .and_then(exactly_one)?;
    Ok(expires_ms)
}

/// Signs out. Again: no change.
pub(crate) fn end_session(
    context: &Context<'_>,
    secret_hash: [u8; 32],
) -> Outcome<(), SessionError> {
    context
        .conn
        .prepare_cached("DELETE FROM session WHERE secret_hash=?1")?
        .execute([secret_hash])?;
    Ok(())
}
