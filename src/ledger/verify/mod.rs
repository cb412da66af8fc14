//! Proves the books, or names the first row that is wrong.
//!
//! Promises: reads one snapshot and writes nothing. The journal comes first, in its order, so the
//! first finding is where a damage begins, not where it shows.

mod accounts;
mod in_parts;
mod journal;
mod meters;
mod sales;

pub(super) use in_parts::in_parts;

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::errors::LedgerError;
use super::store::connection;

/// What has to hold at every commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// The sum of all balances and of `used` of all open meters is zero.
    Sum,
    /// Every account: balance = journal - open meters, never below zero for a team.
    Balance,
    /// `used` = rate x tokens, and the stored ids are exactly those tokens.
    Tokens,
    /// A closed meter that used something has one spend of it; a reversed one also its reversal,
    /// and no ids; no transfer is without its meter.
    Transfers,
    /// No open meter belongs to an earlier boot.
    OpenMeters,
    /// A key has used what its meters used, in its period and ever.
    KeyUsage,
    /// A paid order has one `topup` and one `payment`, a refund its `refund` and what it ended in,
    /// each of its amount and with its accounts; nothing else has any; and what is refunded of an
    /// order is the sum of its refunds.
    Sales,
    /// A redeemed voucher has one transfer of its batch's credits, no other has any.
    Vouchers,
    /// The journal has no gap and its hash chain holds.
    Chain,
    /// SQLite's own structures, constraints and references are sound.
    Storage,
}

/// One contradiction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is broken.
    pub invariant: Invariant,
    /// The row, such as `transfer 17`.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What was read, and what was wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Accounts read, the house's included.
    pub accounts: u64,
    /// API keys read.
    pub keys: u64,
    /// Transfers read.
    pub transfers: u64,
    /// Meters read.
    pub meters: u64,
    /// How many of them are open.
    pub open_meters: u64,
    /// Stored token ids counted again.
    pub token_ids: u64,
    /// Contradictions in the order found; the first 20.
    pub findings: Vec<Finding>,
    /// How many there are in all.
    pub damages: u64,
}

impl VerifyReport {
    /// Whether the books hold.
    pub fn is_ok(&self) -> bool {
        self.damages == 0
    }

    fn found(&mut self, invariant: Invariant, place: impl fmt::Display, what: impl fmt::Display) {
        const MAX_FINDINGS: usize = 20;
        self.damages += 1;
        if self.findings.len() < MAX_FINDINGS {
            let (place, what) = (place.to_string(), what.to_string());
            self.findings.push(Finding { invariant, place, what });
        }
    }
}

/// Rows from `first` to `last`, both included: of the journal by `seq`, of the meters in the order
/// they were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: i64,
    last: i64,
}

impl Span {
    const ALL: Self = Self { first: 1, last: i64::MAX };
}

/// Proves the books at `path` without opening them for writing. A server may be running on them.
pub fn verify_file(path: &Path) -> Result<VerifyReport, LedgerError> {
    let mut conn = connection::reader(path)?;
    let snapshot = conn.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let report = everything(&snapshot)?;
    Ok(report)
}

/// All invariants, all rows. Call inside a transaction, so that all passes see the same commit.
pub(super) fn everything(conn: &Connection) -> rusqlite::Result<VerifyReport> {
    let mut report = VerifyReport::default();
    journal::check_chain(conn, &mut report, Span::ALL)?;
    journal::check_meanings(conn, &mut report, Span::ALL)?;
    meters::check(conn, &mut report, Span::ALL)?;
    sales::check_topups(conn, &mut report)?;
    sales::check_refunds(conn, &mut report)?;
    sales::check_vouchers(conn, &mut report)?;
    sales::check_sources(conn, &mut report)?;
    accounts::check(conn, &mut report)?;
    accounts::check_sum(conn, &mut report)?;
    accounts::check_keys(conn, &mut report)?;
    check_storage(conn, &mut report)?;
    Ok(report)
}

/// What can be proven in a moment, at every start: the sum, and the end of the chain.
pub(super) fn at_start(conn: &Connection) -> rusqlite::Result<VerifyReport> {
    const TAIL: i64 = 1_000;
    let mut report = VerifyReport::default();
    accounts::check_sum(conn, &mut report)?;
    let last: i64 =
        conn.query_row("SELECT coalesce(max(seq),0) FROM transfer", [], |row| row.get(0))?;
    let tail = Span { first: (last - TAIL).max(1), last };
    journal::check_chain(conn, &mut report, tail)?;
    Ok(report)
}

fn check_storage(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut statement = conn.prepare("PRAGMA integrity_check(20)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            report.found(Invariant::Storage, "database", line);
        }
    }
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        report.found(Invariant::Storage, table, format!("refers to a missing row of {parent}"));
    }
    Ok(())
}
