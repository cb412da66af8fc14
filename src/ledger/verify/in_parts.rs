//! The same proof in many short reads, for books that are being written to.
//!
//! One long read would keep the WAL from being reset for as long as it takes: with ten million
//! transfers minutes, in which every commit makes the WAL longer. Checking a copy would need the
//! books' size in free disk, which the writer must never be short of. So each part has a
//! transaction of its own. That loses nothing: a transfer never changes, a meter is judged against
//! one commit whenever that is, and the sums, which need all rows at once, are one pass each.
//!
//! SQLite's own structures are proven table by table, without comparing every index with its table,
//! which `mizan ledger verify` does.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Invariant, Span, VerifyReport, accounts, journal, meters, sales};
use crate::ledger::errors::LedgerError;
use crate::ledger::reader::Readers;

/// Rows in a part: some tens of milliseconds.
const PART: i64 = 5_000;

/// Proves what there is now. After each part `go_on` is told how long it took, may wait, and says
/// whether to go on; `None` if it did not.
pub(in crate::ledger) fn in_parts(
    readers: &Readers,
    mut go_on: impl FnMut(Duration) -> bool,
) -> Result<Option<VerifyReport>, LedgerError> {
    let mut report = VerifyReport::default();
    let mut part = |check: &dyn Fn(&Connection, &mut VerifyReport) -> rusqlite::Result<()>| {
        let begun = Instant::now();
        readers.read(|conn| check(conn, &mut report))?;
        Ok::<bool, LedgerError>(go_on(begun.elapsed()))
    };
    let last = |sql: &str| readers.read(|conn| conn.query_row(sql, [], |row| row.get(0)));
    let transfers: i64 = last("SELECT coalesce(max(seq),0) FROM transfer")?;
    let opened: i64 = last("SELECT coalesce(max(rowid),0) FROM meter")?;
    for (rows, check) in [
        (transfers, journal::check_chain as Check),
        (transfers, journal::check_meanings),
        (opened, meters::check),
    ] {
        let mut first = 1;
        while first <= rows {
            let span = Span { first, last: rows.min(first + PART - 1) };
            if !part(&|conn, report| check(conn, report, span))? {
                return Ok(None);
            }
            first += PART;
        }
    }
    for check in [
        sales::check_topups,
        sales::check_refunds,
        sales::check_vouchers,
        sales::check_sources,
        accounts::check,
        accounts::check_sum,
        accounts::check_keys,
    ] {
        if !part(&check)? {
            return Ok(None);
        }
    }
    for table in readers.read(tables)? {
        if !part(&|conn, report| check_table(conn, report, &table))? {
            return Ok(None);
        }
    }
    Ok(Some(report))
}

type Check = fn(&Connection, &mut VerifyReport, Span) -> rusqlite::Result<()>;

fn tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT name FROM sqlite_schema WHERE type='table'")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn check_table(conn: &Connection, report: &mut VerifyReport, table: &str) -> rusqlite::Result<()> {
    let mut wrong = Vec::new();
    conn.pragma(None, "quick_check", table, |row| {
        wrong.push(row.get::<_, String>(0)?);
        Ok(())
    })?;
    for line in wrong.iter().filter(|line| *line != "ok") {
        report.found(Invariant::Storage, "database", line);
    }
    let mut parents = Vec::new();
    conn.pragma(None, "foreign_key_check", table, |row| {
        parents.push(row.get::<_, String>(2)?);
        Ok(())
    })?;
    for parent in parents {
        report.found(Invariant::Storage, table, format!("refers to a missing row of {parent}"));
    }
    Ok(())
}
