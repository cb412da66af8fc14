//! Notices: what a team asked for, what it was told, and what waits to be sent.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ledger::types::{AccountId, Balance, Credits, NoticeId};

/// When a team is told that its balance is low.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowBalance {
    /// Below how many credits; `None`: never.
    pub below: Option<Credits>,
    /// Who is called; `None`: only the dashboard shows it.
    pub url: Option<String>,
    /// When it was told of the fall that it is in, in Unix milliseconds.
    pub told_ms: Option<i64>,
    /// What it has now.
    pub balance: Balance,
}

/// One notice, and how far its sending is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    /// Names it.
    pub id: NoticeId,
    /// Whom it is for.
    pub account: AccountId,
    /// That account's name.
    pub account_name: String,
    /// What the balance fell to.
    pub balance: Balance,
    /// What it fell below.
    pub threshold: Credits,
    /// Where it goes; `None`: nowhere.
    pub url: Option<String>,
    /// When the balance fell, in Unix milliseconds.
    pub at_ms: i64,
    /// How often sending was tried.
    pub tries: u32,
    /// When it is tried next; `None`: it was sent, given up, or goes nowhere.
    pub next_try_ms: Option<i64>,
    /// When it was taken.
    pub sent_ms: Option<i64>,
    /// Why the last try failed.
    pub error: Option<String>,
}

const COLUMNS: &str = "n.id,n.account_id,a.name,n.balance,n.threshold,n.url,n.at_ms,n.tries,
    n.next_try_ms,n.sent_ms,n.error";

/// What a team asked to be told of.
pub(in crate::ledger) fn low_balance(
    conn: &Connection,
    account: AccountId,
) -> rusqlite::Result<Option<LowBalance>> {
    conn.prepare_cached(
        "SELECT notice_below,notice_url,noticed_ms,balance FROM account
         WHERE id=?1 AND kind='team'",
    )?
    .query_row([account], |row| {
        Ok(LowBalance {
            below: row.get(0)?,
            url: row.get(1)?,
            told_ms: row.get(2)?,
            balance: row.get(3)?,
        })
    })
    .optional()
}

/// The latest notices of a team, the newest first.
pub(in crate::ledger) fn notices(
    conn: &Connection,
    account: AccountId,
    limit: u32,
) -> rusqlite::Result<Vec<NoticeRecord>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM notice n JOIN account a ON a.id=n.account_id
         WHERE n.account_id=?1 ORDER BY n.id DESC LIMIT ?2"
    );
    conn.prepare_cached(&sql)?.query_map(params![account, limit], record)?.collect()
}

/// Notices to be tried by `now_ms`, those that wait longest first.
pub(in crate::ledger) fn notices_due(
    conn: &Connection,
    now_ms: i64,
    limit: u32,
) -> rusqlite::Result<Vec<NoticeRecord>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM notice n JOIN account a ON a.id=n.account_id
         WHERE n.next_try_ms<=?1 ORDER BY n.next_try_ms LIMIT ?2"
    );
    conn.prepare_cached(&sql)?.query_map(params![now_ms, limit], record)?.collect()
}

/// How many notices wait, whenever they are tried.
pub(in crate::ledger) fn notices_waiting(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT count(*) FROM notice WHERE next_try_ms IS NOT NULL")?
        .query_row([], |row| row.get(0))
}

fn record(row: &Row<'_>) -> rusqlite::Result<NoticeRecord> {
    Ok(NoticeRecord {
        id: row.get(0)?,
        account: row.get(1)?,
        account_name: row.get(2)?,
        balance: row.get(3)?,
        threshold: row.get(4)?,
        url: row.get(5)?,
        at_ms: row.get(6)?,
        tries: row.get(7)?,
        next_try_ms: row.get(8)?,
        sent_ms: row.get(9)?,
        error: row.get(10)?,
    })
}
