//! The start of a boot: what an earlier one left open is closed at what it had charged.
//! Promises: one FULL transaction, so a crash during recovery changes nothing and it runs again.

use rusqlite::{Connection, TransactionBehavior, params};

use super::errors::{CloseError, LedgerError};
use super::store::{self, Context, Failure};
use super::types::MeterId;
use super::verify::{Finding, Invariant};

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recovered {
    /// The number of the boot that begins now.
    pub(super) boot: i64,
    /// Meters closed at `used`.
    pub(super) closed: usize,
    /// How many of these had sent nothing (not streamed, or without a token yet): they were given
    /// back, which also frees their idempotency keys.
    pub(super) reversed: usize,
}

/// Begins a boot.
pub(super) fn begin_boot(
    conn: &mut Connection,
    now_ms: i64,
    keeps_ids: bool,
) -> Result<Recovered, LedgerError> {
    conn.pragma_update(None, "synchronous", "FULL")?;
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "INSERT INTO boot(version,at_ms) VALUES(?1,?2)",
        params![env!("CARGO_PKG_VERSION"), now_ms],
    )?;
    let boot = transaction.last_insert_rowid();
    let context = Context { conn: &transaction, now_ms, boot, keeps_ids };
    let open = open_meters(&transaction)?;
    let mut recovered = Recovered { boot, closed: open.len(), reversed: 0 };
    for (meter, keeps_charges) in open {
        settled(meter, store::close_meter(&context, meter, "interrupted"))?;
        if !keeps_charges {
            settled(
                meter,
                store::reverse_meter(&context, meter, "stopped before the answer was sent"),
            )?;
            recovered.reversed += 1;
        }
    }
    transaction.commit()?;
    Ok(recovered)
}

fn open_meters(conn: &Connection) -> rusqlite::Result<Vec<(MeterId, bool)>> {
    let mut statement = conn.prepare(
        "SELECT id,streamed AND output_tokens>0 FROM meter WHERE state='open' ORDER BY rowid",
    )?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn settled<T>(meter: MeterId, outcome: Result<T, Failure<CloseError>>) -> Result<(), LedgerError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Failure::Database(error)) => Err(error.into()),
        // Only when an index and its table disagree.
        Err(Failure::Refused(error)) => Err(LedgerError::Damaged(Finding {
            invariant: Invariant::OpenMeters,
            place: format!("meter {meter}"),
            what: format!("is listed as open and can not be closed: {error}"),
        })),
    }
}
