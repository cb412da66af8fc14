//! Figures of the books as a whole, for whoever runs the place.

use rusqlite::Connection;

use crate::ledger::backup::{self, ChainHead};

/// The books in figures, all of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BooksFigures {
    /// Version of the schema.
    pub schema_version: i64,
    /// Where the journal ends.
    pub head: ChainHead,
    /// Requests that are being charged.
    pub open_meters: i64,
    /// Accounts that are not closed.
    pub accounts: i64,
}

/// Reads them. Whatever is counted has an index or is few.
pub(in crate::ledger) fn figures(conn: &Connection) -> rusqlite::Result<BooksFigures> {
    let count = |sql: &str| conn.prepare_cached(sql)?.query_row([], |row| row.get(0));
    Ok(BooksFigures {
        schema_version: conn.pragma_query_value(None, "user_version", |row| row.get(0))?,
        head: backup::chain_head(conn)?,
        open_meters: count("SELECT count(*) FROM meter WHERE state='open'")?,
        accounts: count("SELECT count(*) FROM account WHERE kind='team' AND closed_ms IS NULL")?,
    })
}
