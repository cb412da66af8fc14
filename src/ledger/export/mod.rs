//! The books as rows for other programs: the journal, or usage by request, of one account or all,
//! over whole days in Kuwait, as CSV or JSON lines.
//!
//! Rows come in parts of a bounded number, each read in a short transaction of its own, so that a
//! reader who takes an hour holds nothing back. That is exact for the journal, which never changes;
//! a request is told as it stood when its part was read. What comes after the start is not in it.
//!
//! Promises: a stable order (that of the journal, or of the requests' beginnings); every row once.

mod format;
mod rows;

use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension};

use super::Ledger;
use super::dates::Day;
use super::errors::LedgerError;
use super::reader::Readers;
use super::types::AccountId;
use format::Text;
pub use format::push_csv_text;

/// Transfers or requests looked at in one part.
const PART: i64 = 4_096;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportQuery {
    /// The account's name; `None`: all accounts. The house's accounts have names, too.
    pub account: Option<String>,
    /// The first day; `None`: from the beginning.
    pub from: Option<Day>,
    /// The last day, which is included; `None`: until now.
    pub to: Option<Day>,
    /// Of what.
    pub what: ExportWhat,
    /// In which form.
    pub format: ExportFormat,
}

/// What there are rows of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExportWhat {
    /// Transfers.
    #[default]
    Journal,
    /// Requests.
    Usage,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values with a line of names (RFC 4180).
    #[default]
    Csv,
    /// A JSON object on each line.
    JsonLines,
}

/// A text that names none of the choices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {known}")]
pub struct UnknownWord {
    found: String,
    known: &'static str,
}

impl FromStr for ExportWhat {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "journal" => Ok(Self::Journal),
            "usage" => Ok(Self::Usage),
            _ => Err(UnknownWord { found: text.to_owned(), known: "journal, usage" }),
        }
    }
}

impl FromStr for ExportFormat {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::JsonLines),
            _ => Err(UnknownWord { found: text.to_owned(), known: "csv, jsonl" }),
        }
    }
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no account of this name.
    #[error("there is no account '{0}'")]
    UnknownAccount(String),
    /// The last day is before the first.
    #[error("the period ends on {to}, before it begins on {from}")]
    EmptyPeriod {
        /// The first day.
        from: Day,
        /// The last day.
        to: Day,
    },
    /// The rows could not be written to where they go.
    #[error("writing the rows failed: {0}")]
    Write(#[from] std::io::Error),
    /// The books could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// An export under way.
#[derive(Debug)]
pub struct Export {
    account: Option<AccountId>,
    /// Unix milliseconds, the first and the one after the last.
    period: (i64, i64),
    what: ExportWhat,
    format: ExportFormat,
    /// The next row looked at, and the last.
    next: i64,
    last: i64,
    begun: bool,
    /// What the journal so far leaves the account.
    balance: i64,
}

impl Export {
    fn begin(conn: &Connection, query: &ExportQuery) -> Result<Self, ExportError> {
        if let (Some(from), Some(to)) = (query.from, query.to)
            && to < from
        {
            return Err(ExportError::EmptyPeriod { from, to });
        }
        let account = match &query.account {
            Some(name) => Some(
                account_id(conn, name)?.ok_or_else(|| ExportError::UnknownAccount(name.clone()))?,
            ),
            None => None,
        };
        let last = match query.what {
            ExportWhat::Journal => "SELECT coalesce(max(seq),0) FROM transfer",
            ExportWhat::Usage => "SELECT coalesce(max(rowid),0) FROM meter",
        };
        let last = conn.query_row(last, [], |row| row.get(0)).map_err(LedgerError::Sqlite)?;
        let from_ms = query.from.map_or(i64::MIN, Day::start_ms);
        let end_ms = query.to.map_or(i64::MAX, Day::end_ms);
        Ok(Self {
            account,
            period: (from_ms, end_ms),
            what: query.what,
            format: query.format,
            next: 1,
            last,
            begun: false,
            balance: 0,
        })
    }

    /// The rows of the next part, which may be none; `None` after the last part.
    fn part(&mut self, conn: &Connection) -> rusqlite::Result<Option<String>> {
        let mut text = Text::new(self.format);
        if !self.begun {
            self.begun = true;
            text.names(rows::names(self.what));
        } else if self.next > self.last {
            return Ok(None);
        }
        let until = self.last.min(self.next.saturating_add(PART - 1));
        match self.what {
            ExportWhat::Journal => self.journal(conn, until, &mut text)?,
            ExportWhat::Usage => self.usage(conn, until, &mut text)?,
        }
        self.next = until + 1;
        Ok(Some(text.into_string()))
    }
}

fn account_id(conn: &Connection, name: &str) -> Result<Option<AccountId>, LedgerError> {
    let found = conn
        .query_row("SELECT id FROM account WHERE name=?1", [name], |row| row.get(0))
        .optional()?;
    Ok(found)
}

impl Ledger {
    /// Begins an export; [`Ledger::export_part`] gives its rows.
    pub fn export(&self, query: &ExportQuery) -> Result<Export, ExportError> {
        self.inner.readers.read(|conn| Ok(Export::begin(conn, query)))?
    }

    /// The next rows of an export, which may be none; `None`: that was all. Blocks.
    pub fn export_part(&self, export: &mut Export) -> Result<Option<String>, LedgerError> {
        self.inner.readers.read(|conn| export.part(conn))
    }
}

/// Writes an export of the books at `path` to `out`. A server may be running on them.
pub fn export_file(
    path: &Path,
    query: &ExportQuery,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let readers = Readers::new(path.to_owned());
    let mut export = readers.read(|conn| Ok(Export::begin(conn, query)))??;
    while let Some(text) = readers.read(|conn| export.part(conn))? {
        out.write_all(text.as_bytes())?;
    }
    Ok(out.flush()?)
}
