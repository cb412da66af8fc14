//! The rows of an export, out of the books.

use rusqlite::{Connection, Row, params};

use super::format::{Cell, Text};
use super::{Export, ExportWhat};
use crate::ledger::dates::rfc3339;
use crate::ledger::server_keys::hex;
use crate::ledger::types::{AccountId, MeterId};

const JOURNAL: &[&str] = &[
    "seq", "time", "kind", "from", "to", "amount", "unit", "balance", "reason", "actor", "source",
    "reverses", "hash",
];

const USAGE: &[&str] = &[
    "request",
    "opened",
    "closed",
    "account",
    "key",
    "key_label",
    "model",
    "input_tokens",
    "output_tokens",
    "credits_per_token",
    "credits",
    "state",
    "finish_reason",
    "streamed",
    "ids_sha256",
];

/// The names of the columns.
pub(super) fn names(what: ExportWhat) -> &'static [&'static str] {
    match what {
        ExportWhat::Journal => JOURNAL,
        ExportWhat::Usage => USAGE,
    }
}

impl Export {
    /// Transfers up to the number `until`.
    pub(super) fn journal(
        &mut self,
        conn: &Connection,
        until: i64,
        text: &mut Text,
    ) -> rusqlite::Result<()> {
        let mut statement = conn.prepare_cached(
            "SELECT t.seq,t.at_ms,t.kind,f.name,o.name,t.amount,t.reason,t.actor,t.source,
               t.reverses,t.hash,t.to_id,
               iif(f.kind IN('revenue','cash'),'fils','credits')
             FROM transfer t
               LEFT JOIN account f ON f.id=t.from_id LEFT JOIN account o ON o.id=t.to_id
             WHERE t.seq BETWEEN ?1 AND ?2 AND (?3 IS NULL OR ?3 IN(t.from_id,t.to_id))
             ORDER BY t.seq",
        )?;
        let mut rows = statement.query(params![self.next, until, self.account])?;
        while let Some(row) = rows.next()? {
            let amount: i64 = row.get(5)?;
            let balance = match self.account {
                Some(account) => {
                    let is_in = row.get::<_, AccountId>(11)? == account;
                    self.balance += if is_in { amount } else { -amount };
                    Cell::Number(self.balance)
                }
                None => Cell::Absent,
            };
            let at_ms: i64 = row.get(1)?;
            if !self.has(at_ms) {
                continue;
            }
            let (time, source) = (rfc3339(at_ms), hex(row.get_ref(8)?.as_blob()?));
            let hash = hex(row.get_ref(10)?.as_blob()?);
            text.row(
                JOURNAL,
                &[
                    Cell::Number(row.get(0)?),
                    Cell::Text(&time),
                    word(row, 2)?,
                    word(row, 3)?,
                    word(row, 4)?,
                    Cell::Number(amount),
                    word(row, 12)?,
                    balance,
                    word(row, 6)?,
                    word(row, 7)?,
                    Cell::Text(&source),
                    row.get::<_, Option<i64>>(9)?.map_or(Cell::Absent, Cell::Number),
                    Cell::Text(&hash),
                ],
            );
        }
        Ok(())
    }

    /// Requests up to the one opened as the `until`-th.
    pub(super) fn usage(
        &self,
        conn: &Connection,
        until: i64,
        text: &mut Text,
    ) -> rusqlite::Result<()> {
        let mut statement = conn.prepare_cached(
            "SELECT m.id,m.opened_ms,m.closed_ms,a.name,k.prefix,k.label,m.model,m.input_tokens,
               m.output_tokens,m.credits_per_token,iif(m.state='reversed',0,m.used),m.state,
               m.finish_reason,m.streamed,m.ids_sha256
             FROM meter m
               LEFT JOIN account a ON a.id=m.account_id LEFT JOIN api_key k ON k.id=m.key_id
             WHERE m.rowid BETWEEN ?1 AND ?2 AND (?3 IS NULL OR m.account_id=?3)
             ORDER BY m.rowid",
        )?;
        let mut rows = statement.query(params![self.next, until, self.account])?;
        while let Some(row) = rows.next()? {
            let opened_ms: i64 = row.get(1)?;
            if !self.has(opened_ms) {
                continue;
            }
            let id = row.get::<_, MeterId>(0)?.to_string();
            let (opened, closed) = (rfc3339(opened_ms), row.get::<_, Option<i64>>(2)?.map(rfc3339));
            let ids = row.get_ref(14)?.as_blob_or_null()?.map(hex);
            text.row(
                USAGE,
                &[
                    Cell::Text(&id),
                    Cell::Text(&opened),
                    optional(closed.as_deref()),
                    word(row, 3)?,
                    word(row, 4)?,
                    word(row, 5)?,
                    word(row, 6)?,
                    Cell::Number(row.get(7)?),
                    Cell::Number(row.get(8)?),
                    Cell::Number(row.get(9)?),
                    Cell::Number(row.get(10)?),
                    word(row, 11)?,
                    word(row, 12)?,
                    Cell::Number(row.get(13)?),
                    optional(ids.as_deref()),
                ],
            );
        }
        Ok(())
    }

    fn has(&self, ms: i64) -> bool {
        (self.period.0..self.period.1).contains(&ms)
    }
}

fn word<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Cell<'a>> {
    Ok(optional(row.get_ref(column)?.as_str_or_null()?))
}

fn optional(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Absent, Cell::Text)
}
