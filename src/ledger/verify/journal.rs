//! The journal: its order and hashes, and that each transfer means what its kind says.

use rusqlite::{Connection, Row};

use super::{Invariant, Span, VerifyReport};
use crate::ledger::hash::{self, GENESIS, TransferFields};
use crate::ledger::store::Blob;
use crate::ledger::types::MeterId;

/// Recomputes the chain over `span`. The row before it, if there should be one, is taken as it is.
pub(super) fn check_chain(
    conn: &Connection,
    report: &mut VerifyReport,
    span: Span,
) -> rusqlite::Result<()> {
    let Span { first, last } = span;
    let mut statement = conn.prepare(
        "SELECT seq,id,kind,from_id,to_id,amount,source,reverses,actor,reason,at_ms,prev_hash,hash
         FROM transfer WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
    )?;
    let mut expected_seq = first;
    let mut expected_prev = hash_of(conn, first - 1)?;
    if expected_prev.is_none() {
        report.found(Invariant::Chain, format!("transfer {}", first - 1), "is missing");
    }
    let mut rows = statement.query([first, last])?;
    while let Some(row) = rows.next()? {
        let fields = fields(row)?;
        let place = format!("transfer {}", fields.seq);
        let hash = row.get_ref(12)?.as_blob()?;
        if fields.seq != expected_seq {
            report.found(
                Invariant::Chain,
                format!("transfer {expected_seq}"),
                format!("is missing: the next is transfer {}", fields.seq),
            );
        } else if expected_prev.is_some_and(|prev| fields.prev_hash != prev) {
            let what = format!("does not continue the hash of transfer {}", fields.seq - 1);
            report.found(Invariant::Chain, &place, what);
        }
        if hash::transfer(&fields) != hash {
            report.found(Invariant::Chain, &place, "its contents do not match its hash");
        }
        expected_seq = fields.seq + 1;
        expected_prev = hash.try_into().ok();
        report.transfers += 1;
    }
    Ok(())
}

fn hash_of(conn: &Connection, seq: i64) -> rusqlite::Result<Option<[u8; 32]>> {
    if seq == 0 {
        return Ok(Some(GENESIS));
    }
    let mut statement = conn.prepare("SELECT hash FROM transfer WHERE seq=?1")?;
    let mut rows = statement.query([seq])?;
    rows.next()?.map(|row| row.get::<_, Blob<32>>(0).map(|Blob(hash)| hash)).transpose()
}

fn fields<'a>(row: &'a Row<'_>) -> rusqlite::Result<TransferFields<'a>> {
    Ok(TransferFields {
        seq: row.get(0)?,
        id: row.get_ref(1)?.as_blob()?,
        kind: row.get_ref(2)?.as_str()?,
        from_id: row.get(3)?,
        to_id: row.get(4)?,
        amount: row.get(5)?,
        source: row.get_ref(6)?.as_blob()?,
        reverses: row.get(7)?,
        actor: row.get_ref(8)?.as_str()?,
        reason: row.get_ref(9)?.as_str_or_null()?,
        at_ms: row.get(10)?,
        prev_hash: row.get_ref(11)?.as_blob()?,
    })
}

/// Each kind moves between its own two sides; spends and reversals belong to a meter or a refund
/// and mirror it.
pub(super) fn check_meanings(
    conn: &Connection,
    report: &mut VerifyReport,
    span: Span,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "SELECT t.seq,t.kind,f.kind,o.kind,t.amount,m.id,m.state,m.used,
           t.from_id=m.account_id,t.to_id=m.account_id,r.kind,
           r.amount=t.amount AND r.source=t.source AND r.from_id=t.to_id AND r.to_id=t.from_id
         FROM transfer t
           LEFT JOIN account f ON f.id=t.from_id LEFT JOIN account o ON o.id=t.to_id
           LEFT JOIN meter m ON m.id=t.source AND t.kind IN('spend','reversal')
           LEFT JOIN transfer r ON r.seq=t.reverses
         WHERE t.seq BETWEEN ?1 AND ?2 ORDER BY t.seq",
    )?;
    let mut rows = statement.query([span.first, span.last])?;
    while let Some(row) = rows.next()? {
        if let Some(what) = wrong_meaning(row)? {
            report.found(Invariant::Transfers, format!("transfer {}", row.get::<_, i64>(0)?), what);
        }
    }
    Ok(())
}

fn wrong_meaning(row: &Row<'_>) -> rusqlite::Result<Option<String>> {
    let word = |column| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
    let (kind, from, to) = (word(1)?, word(2)?, word(3)?);
    let sides = [kind, from, to].map(Option::unwrap_or_default);
    let reversed = match sides {
        ["grant" | "voucher" | "correction", "granted", "team"]
        | ["correction", "team", "granted"]
        | ["topup", "paid", "team"]
        | ["refund", "team", "paid"]
        | ["payment", "revenue", "cash"]
        | ["payout", "cash", "revenue"] => return Ok(None),
        ["spend", "team", "spent"] => None,
        ["reversal", "spent", "team"] => Some("spend"),
        ["reversal", "paid", "team"] => Some("refund"),
        _ => return Ok(Some(format!("is a {kind:?} from {from:?} to {to:?}"))),
    };
    let mirrors = row.get::<_, Option<bool>>(11)? == Some(true);
    if reversed.is_some() && (!mirrors || word(10)? != reversed) {
        return Ok(Some("does not mirror the transfer it reverses".to_owned()));
    }
    match reversed {
        Some("refund") => Ok(None),
        _ => not_its_meters(row, reversed.is_some()),
    }
}

/// What is wrong between a spend, or the reversal of one, and its meter.
fn not_its_meters(row: &Row<'_>, is_reversal: bool) -> rusqlite::Result<Option<String>> {
    let Some(meter): Option<MeterId> = row.get(5)? else {
        return Ok(Some("belongs to no meter".to_owned()));
    };
    let (amount, used): (i64, i64) = (row.get(4)?, row.get(7)?);
    if used != amount {
        return Ok(Some(format!("moves {amount} and meter {meter} used {used}")));
    }
    let state = row.get_ref(6)?.as_str_or_null()?.unwrap_or_default();
    let (is_payers, state_fits): (bool, bool) = match is_reversal {
        false => (row.get(8)?, state != "open"),
        true => (row.get(9)?, state == "reversed"),
    };
    if !is_payers {
        return Ok(Some(format!("is not with the account of meter {meter}")));
    }
    if !state_fits {
        return Ok(Some(format!("does not fit meter {meter}, which is {state}")));
    }
    Ok(None)
}
