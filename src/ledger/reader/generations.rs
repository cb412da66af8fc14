//! The request log: meters, the newest first, a page at a time.
//!
//! A page goes on behind the last meter of the one before, which is found by its id: so meters that
//! open meanwhile move nothing. An account's and a key's meters come from their index, in the order
//! in which they were opened; everybody's in the order of their ids, which is that order, too, as
//! far as the clock allows.
//!
//! Promises: a page looks at a bounded number of meters, however few of them it shows.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::KeyName;
use crate::ledger::types::{AccountId, Credits, KeyId, MeterId, MeterState};

/// Meters looked at for one page, shown or not: some ten milliseconds.
const MAX_SCANNED: usize = 20_000;

/// How far an id's time, taken before the writer's queue, may be from the meter's own.
const ID_SLACK_MS: i64 = 3_600_000;

/// Which meters are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenerationQuery {
    /// Whose; `None`: everybody's.
    pub account: Option<AccountId>,
    /// Of one key.
    pub key: Option<KeyId>,
    /// Of one model, by its id.
    pub model: Option<String>,
    /// Opened at this time or later, in Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Opened before this time.
    pub to_ms: Option<i64>,
    /// Behind this one, which the page before ended with.
    pub before: Option<MeterId>,
    /// How many at most.
    pub limit: usize,
}

/// One meter as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRow {
    /// The meter.
    pub id: MeterId,
    /// The name of the account that paid.
    pub account: String,
    /// With which key.
    pub key: KeyName,
    /// The model's id.
    pub model: String,
    /// Credits for one output token.
    pub credits_per_token: i64,
    /// Whether it was sent while it was generated.
    pub streamed: bool,
    /// Prompt length.
    pub input_tokens: u32,
    /// Tokens charged.
    pub output_tokens: u32,
    /// Credits charged; given back if `state` is `Reversed`.
    pub credits: Credits,
    /// Where it stands.
    pub state: MeterState,
    /// Why it ended; `None` while open.
    pub finish_reason: Option<String>,
    /// Unix milliseconds.
    pub opened_ms: i64,
    /// When the first token was paid for.
    pub first_charge_ms: Option<i64>,
    /// Unix milliseconds; `None` while open.
    pub closed_ms: Option<i64>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationPage {
    /// The newest first; may be fewer than asked for, and none, though there are more.
    pub rows: Vec<GenerationRow>,
    /// Go on `before` this one; `None`: that was all.
    pub next: Option<MeterId>,
}

/// A page was asked for behind a meter that is not there, or is another account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no generation {0} to go on behind")]
pub struct BadCursor(pub MeterId);

/// Reads a page of meters whose end, if they have one, `ended` keeps.
pub(in crate::ledger) fn generations(
    conn: &Connection,
    query: &GenerationQuery,
    ended: &dyn Fn(Option<&str>) -> bool,
) -> rusqlite::Result<Result<GenerationPage, BadCursor>> {
    let from_ms = query.from_ms.unwrap_or(0);
    let to_ms = query.to_ms.unwrap_or(i64::MAX);
    // Behind it in an account's index; a time alone is before all rows of that time.
    let mut bound = (to_ms, i64::MIN);
    if let Some(before) = query.before {
        match position(conn, query.account, before)? {
            Some(position) => bound = bound.min(position),
            None => return Ok(Err(BadCursor(before))),
        }
    }
    let mut statement = conn.prepare_cached(&sql(query))?;
    let rows = if query.account.is_none() && query.key.is_none() {
        let first = id_at(from_ms.saturating_sub(ID_SLACK_MS));
        let behind = id_at(to_ms.saturating_add(ID_SLACK_MS));
        let behind = query.before.map_or(behind, |before| before.min(behind));
        statement.query(named_params! {
            ":from": from_ms, ":to": to_ms, ":first": first, ":behind": behind,
        })?
    } else {
        statement.query(named_params! {
            ":account": query.account, ":key": query.key, ":from": from_ms,
            ":to": bound.0, ":row": bound.1,
        })?
    };
    page(rows, query, ended).map(Ok)
}

fn page(
    mut rows: rusqlite::Rows<'_>,
    query: &GenerationQuery,
    ended: &dyn Fn(Option<&str>) -> bool,
) -> rusqlite::Result<GenerationPage> {
    let mut page = GenerationPage { rows: Vec::new(), next: None };
    let mut last = None;
    let mut scanned = 0;
    while let Some(row) = rows.next()? {
        if page.rows.len() == query.limit || scanned == MAX_SCANNED {
            page.next = last;
            break;
        }
        scanned += 1;
        last = Some(row.get(0)?);
        let finish_reason = match row.get_ref(10)? {
            ValueRef::Null => None,
            text => Some(text.as_str()?),
        };
        let is_model = match &query.model {
            Some(model) => row.get_ref(3)?.as_str()? == model,
            None => true,
        };
        if is_model && ended(finish_reason) {
            page.rows.push(generation(row)?);
        }
    }
    Ok(page)
}

/// Where a meter of this account stands in its index.
fn position(
    conn: &Connection,
    account: Option<AccountId>,
    meter: MeterId,
) -> rusqlite::Result<Option<(i64, i64)>> {
    conn.prepare_cached(
        "SELECT opened_ms,rowid FROM meter WHERE id=?1 AND account_id=coalesce(?2,account_id)",
    )?
    .query_row((meter, account), |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()
}

/// The least id of a time.
fn id_at(ms: i64) -> MeterId {
    const LATEST_MS: i64 = (1 << 48) - 1;
    let time = ms.clamp(0, LATEST_MS).to_be_bytes();
    let mut id = [0; 16];
    id[..6].copy_from_slice(&time[2..]);
    MeterId(id)
}

fn sql(query: &GenerationQuery) -> String {
    let (index, chosen) = match (query.account, query.key) {
        (None, None) => (
            "",
            "m.id>=:first AND m.id<:behind AND m.opened_ms>=:from AND m.opened_ms<:to
                 ORDER BY m.id DESC",
        ),
        (Some(_), None) => (
            "INDEXED BY meter_account",
            "m.account_id=:account AND :key IS NULL AND m.opened_ms>=:from
                   AND (m.opened_ms,m.rowid)<(:to,:row)
                 ORDER BY m.opened_ms DESC,m.rowid DESC",
        ),
        (_, Some(_)) => (
            "INDEXED BY meter_key",
            "m.key_id=:key AND m.account_id=coalesce(:account,m.account_id)
                   AND m.opened_ms>=:from AND (m.opened_ms,m.rowid)<(:to,:row)
                 ORDER BY m.opened_ms DESC,m.rowid DESC",
        ),
    };
    format!(
        "SELECT m.id,a.name,m.key_id,m.model,m.credits_per_token,m.streamed,m.input_tokens,
           m.output_tokens,m.used,m.state,m.finish_reason,m.opened_ms,m.first_charge_ms,
           m.closed_ms,k.label,k.prefix
         FROM meter m {index} CROSS JOIN api_key k ON k.id=m.key_id
         CROSS JOIN account a ON a.id=m.account_id WHERE {chosen}"
    )
}

fn generation(row: &Row<'_>) -> rusqlite::Result<GenerationRow> {
    Ok(GenerationRow {
        id: row.get(0)?,
        account: row.get(1)?,
        key: KeyName { id: row.get(2)?, label: row.get(14)?, prefix: row.get(15)? },
        model: row.get(3)?,
        credits_per_token: row.get(4)?,
        streamed: row.get(5)?,
        input_tokens: row.get(6)?,
        output_tokens: row.get(7)?,
        credits: row.get(8)?,
        state: row.get(9)?,
        finish_reason: row.get(10)?,
        opened_ms: row.get(11)?,
        first_charge_ms: row.get(12)?,
        closed_ms: row.get(13)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::store::connection;

    #[test]
    fn pages_come_in_the_order_of_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let conn = connection::writer(&folder.path().join("ledger.db")).unwrap();
        let (account, key) = (Some(AccountId(5)), Some(KeyId(1)));
        for (account, key, meters) in [
            (account, None, "SEARCH m USING INDEX meter_account (account_id=? AND opened_ms>"),
            (account, key, "SEARCH m USING INDEX meter_key (key_id=? AND opened_ms>"),
            (None, key, "SEARCH m USING INDEX meter_key (key_id=? AND opened_ms>"),
            (None, None, "SEARCH m USING INDEX sqlite_autoindex_meter_1 (id>? AND id<?)"),
        ] {
            let query = GenerationQuery { account, key, ..GenerationQuery::default() };
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", sql(&query))).unwrap();
            let steps = plan.raw_query().mapped(|row| row.get::<_, String>(3));
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            assert!(steps[0].starts_with(meters), "{steps:#?}");
            let is_sorted = |step: &String| step.contains("TEMP B-TREE") || step.contains("SCAN");
            assert!(!steps.iter().any(is_sorted), "{steps:#?}");
        }
    }

    #[test]
    fn ids_begin_with_their_time() {
        assert_eq!(id_at(-1), MeterId([0; 16]));
        assert_eq!(id_at(i64::MAX).0[..7], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        assert_eq!(id_at(0x0102).0[4..7], [1, 2, 0]);
    }
}
