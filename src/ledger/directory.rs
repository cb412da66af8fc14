//! Reads of who there is: users, sessions, invitations.
//! Promises: a session or an invitation that has ended is not found.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::keys;
use super::people::{SessionInfo, SignIn, UserInfo, fold_name};
use super::store::Blob;
use super::types::{AccountId, UserId};

const USER_COLUMNS: &str = "u.id,u.account_id,a.name,u.name,u.role,u.created_ms,
    u.password_hash IS NOT NULL,u.disabled_ms IS NOT NULL";

/// The users of an account, or all of them, in the order they were made.
pub(super) fn users(
    conn: &Connection,
    account: Option<AccountId>,
) -> rusqlite::Result<Vec<UserInfo>> {
    let sql = format!(
        "SELECT {USER_COLUMNS} FROM user u LEFT JOIN account a ON a.id=u.account_id
         WHERE ?1 IS NULL OR u.account_id=?1 ORDER BY u.id"
    );
    conn.prepare_cached(&sql)?.query_map([account], user_info)?.collect()
}

/// One user.
pub(super) fn user(conn: &Connection, user: UserId) -> rusqlite::Result<Option<UserInfo>> {
    let sql = format!(
        "SELECT {USER_COLUMNS} FROM user u LEFT JOIN account a ON a.id=u.account_id WHERE u.id=?1"
    );
    conn.prepare_cached(&sql)?.query_row([user], user_info).optional()
}

/// The session with this secret, if it is not over and its user is not disabled.
pub(super) fn find_session(
    conn: &Connection,
    secret: &str,
    now_ms: i64,
) -> rusqlite::Result<Option<SessionInfo>> {
    let hash = keys::secret_hash(secret);
    let sql = format!(
        "SELECT {USER_COLUMNS},s.expires_ms,s.secret_hash FROM session s
           JOIN user u ON u.id=s.user_id LEFT JOIN account a ON a.id=u.account_id
         WHERE s.secret_hash=?1 AND s.expires_ms>?2 AND u.disabled_ms IS NULL"
    );
    let found = conn
        .prepare_cached(&sql)?
        .query_row(params![hash, now_ms], |row| {
            let session = SessionInfo { user: user_info(row)?, expires_ms: row.get(8)? };
            Ok((row.get::<_, Blob<32>>(9)?.0, session))
        })
        .optional()?;
    Ok(found.filter(|(stored, _)| keys::same_hash(stored, &hash)).map(|(_, session)| session))
}

/// What the password of whoever has this name is checked against, if it may sign in.
pub(super) fn find_sign_in(conn: &Connection, name: &str) -> rusqlite::Result<Option<SignIn>> {
    conn.prepare_cached(
        "SELECT id,password_hash FROM user
         WHERE name=?1 AND password_hash IS NOT NULL AND disabled_ms IS NULL",
    )?
    .query_row([fold_name(name)], |row| {
        Ok(SignIn { user: row.get(0)?, password_hash: row.get(1)? })
    })
    .optional()
}

/// Whether an invitation with this secret can still be accepted.
pub(super) fn has_invitation(
    conn: &Connection,
    secret: &str,
    now_ms: i64,
) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM invitation WHERE secret_hash=?1 AND accepted_ms IS NULL AND expires_ms>?2",
    )?
    .exists(params![keys::secret_hash(secret), now_ms])
}

fn user_info(row: &Row<'_>) -> rusqlite::Result<UserInfo> {
    Ok(UserInfo {
        id: row.get(0)?,
        account: row.get(1)?,
        account_name: row.get(2)?,
        name: row.get(3)?,
        role: row.get(4)?,
        created_ms: row.get(5)?,
        has_password: row.get(6)?,
        disabled: row.get(7)?,
    })
}
