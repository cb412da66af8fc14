//! Meters: what they used, the ids they paid for, and the transfers they ended in.

use rusqlite::{CachedStatement, Connection, Row};

use super::{Invariant, Span, VerifyReport};
use crate::ledger::hash;
use crate::ledger::store::{Blob, ids_by_choice};
use crate::ledger::types::{MeterId, MeterState};

/// What has to be known to judge one meter.
struct Meter {
    id: MeterId,
    state: MeterState,
    tokens: i64,
    used: i64,
    credits_per_token: i64,
    boot: i64,
    closed_ms: Option<i64>,
    ids_sha256: Option<[u8; 32]>,
    key_fits: Option<bool>,
}

/// Checks the meters of `span`, in the order they were opened.
pub(super) fn check(
    conn: &Connection,
    report: &mut VerifyReport,
    span: Span,
) -> rusqlite::Result<()> {
    let number = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let boot = number("SELECT coalesce(max(id),0) FROM boot")?;
    let purged_before = number("SELECT coalesce(max(before_ms),0) FROM purge")?;
    let mut transfers_of = conn.prepare_cached(
        "SELECT (SELECT count(*) FROM transfer WHERE kind='spend' AND source=?1),
           (SELECT count(*) FROM transfer r JOIN transfer s ON r.reverses=s.seq
            WHERE s.kind='spend' AND s.source=?1)",
    )?;
    let mut ids_of = conn.prepare_cached(
        "SELECT count(*),
           (coalesce(sum(length(token_ids)),0)+(SELECT length(last_ids) FROM meter WHERE id=?1))/4,
           coalesce(min(n),0),coalesce(max(n),-1)
         FROM charge WHERE meter_id=?1",
    )?;
    let mut statement = conn.prepare(
        "SELECT m.id,m.state,m.output_tokens,m.used,m.credits_per_token,m.boot,m.closed_ms,
           m.ids_sha256,(SELECT k.account_id=m.account_id FROM api_key k WHERE k.id=m.key_id)
         FROM meter m WHERE m.rowid BETWEEN ?1 AND ?2 ORDER BY m.rowid",
    )?;
    let mut rows = statement.query([span.first, span.last])?;
    while let Some(row) = rows.next()? {
        let meter = read(row)?;
        report.meters += 1;
        check_use(&meter, boot, report);
        check_transfers(&meter, &mut transfers_of, report)?;
        check_ids(conn, &meter, purged_before, &mut ids_of, report)?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Meter> {
    Ok(Meter {
        id: row.get(0)?,
        state: row.get(1)?,
        tokens: row.get(2)?,
        used: row.get(3)?,
        credits_per_token: row.get(4)?,
        boot: row.get(5)?,
        closed_ms: row.get(6)?,
        ids_sha256: row.get::<_, Option<Blob<32>>>(7)?.map(|Blob(hash)| hash),
        key_fits: row.get(8)?,
    })
}

fn check_use(meter: &Meter, boot: i64, report: &mut VerifyReport) {
    let place = format!("meter {}", meter.id);
    if meter.tokens.checked_mul(meter.credits_per_token) != Some(meter.used) {
        let what = format!(
            "used {} and {} tokens at {} cost otherwise",
            meter.used, meter.tokens, meter.credits_per_token
        );
        report.found(Invariant::Tokens, &place, what);
    }
    if meter.key_fits != Some(true) {
        report.found(Invariant::KeyUsage, &place, "its key belongs to another account");
    }
    if meter.state == MeterState::Open {
        report.open_meters += 1;
        if meter.boot != boot {
            let what = format!("is open since boot {}, and this is boot {boot}", meter.boot);
            report.found(Invariant::OpenMeters, &place, what);
        }
    }
}

fn check_transfers(
    meter: &Meter,
    transfers_of: &mut CachedStatement<'_>,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let found: (i64, i64) =
        transfers_of.query_row([meter.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // A spend's amount and accounts are checked with the journal.
    let expected = match meter.state {
        MeterState::Open => (0, 0),
        _ if meter.used == 0 => (0, 0),
        MeterState::Closed => (1, 0),
        MeterState::Reversed => (1, 1),
    };
    if found != expected {
        let what = format!(
            "has {} spends and {} reversals instead of {} and {}",
            found.0, found.1, expected.0, expected.1
        );
        report.found(Invariant::Transfers, format!("meter {}", meter.id), what);
    }
    Ok(())
}

fn check_ids(
    conn: &Connection,
    meter: &Meter,
    purged_before: i64,
    ids_of: &mut CachedStatement<'_>,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let place = format!("meter {}", meter.id);
    let (rows, ids, first, last): (i64, i64, i64, i64) = ids_of
        .query_row([meter.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    report.token_ids += u64::try_from(ids).unwrap_or(0);
    if meter.state == MeterState::Reversed {
        if rows > 0 {
            report.found(Invariant::Transfers, &place, "is reversed and still has its ids");
        }
        return Ok(());
    }
    let may_be_purged = meter.closed_ms.is_some_and(|closed_ms| closed_ms < purged_before);
    if rows == 0 && may_be_purged {
        return Ok(());
    }
    if ids != meter.tokens {
        let what = format!("charged {} tokens and has {ids} ids", meter.tokens);
        report.found(Invariant::Tokens, place, what);
    } else if first != 0 || last != rows - 1 {
        report.found(Invariant::Tokens, place, "its rows of ids are not numbered 0, 1, 2, ...");
    } else if meter.state == MeterState::Closed {
        let recounted = hash::token_ids(&ids_by_choice(conn, meter.id)?);
        if meter.ids_sha256 != Some(recounted) {
            report.found(Invariant::Tokens, place, "its ids do not match their hash");
        }
    }
    Ok(())
}
