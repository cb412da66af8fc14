//! Grows books by requests of one token, thousands to a transaction: hours of traffic in minutes.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{NAME, request};
use crate::ledger::clock::{SystemClock, bounded_ms};
use crate::ledger::errors::LedgerError;
use crate::ledger::lock::Lock;
use crate::ledger::store::{self, Context, Failure, connection};
use crate::ledger::types::{AccountId, KeyId, MeterId};
use crate::ledger::{keys, recovery};

/// Requests in one transaction.
const BATCH: u64 = 10_000;

/// Why books did not grow.
#[derive(Debug, thiserror::Error)]
pub enum GrowthError {
    /// They have no account of a bench.
    #[error("these are no books of a bench")]
    NotABench,
    /// A request was refused.
    #[error("a request was refused: {0}")]
    Refused(String),
    /// The books failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Makes `requests` requests on the books at `path`, which a [`super::Load`] has made. Each adds a
/// meter, a charge and a transfer. What a power cut leaves of them is undefined.
pub fn grow(path: &Path, requests: u64) -> Result<(), GrowthError> {
    let _lock = Lock::take(path)?;
    let mut conn = connection::writer(path)?;
    let boot = recovery::begin_boot(&mut conn, bounded_ms(&SystemClock), true)?.boot;
    let sqlite = |error| GrowthError::Ledger(LedgerError::Sqlite(error));
    conn.pragma_update(None, "synchronous", "OFF").map_err(sqlite)?;
    let (account, key) = payer(&conn).map_err(sqlite)?.ok_or(GrowthError::NotABench)?;
    let mut made = 0;
    while made < requests {
        let transaction = conn.transaction().map_err(sqlite)?;
        for _ in 0..BATCH.min(requests - made) {
            let now_ms = bounded_ms(&SystemClock);
            let context = Context { conn: &transaction, now_ms, boot, keeps_ids: true };
            one_request(&context, account, key)?;
            made += 1;
        }
        transaction.commit().map_err(sqlite)?;
        conn.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(())).map_err(sqlite)?;
    }
    Ok(())
}

fn payer(conn: &Connection) -> rusqlite::Result<Option<(AccountId, KeyId)>> {
    conn.query_row(
        "SELECT a.id,k.id FROM account a JOIN api_key k ON k.account_id=a.id WHERE a.name=?1",
        [NAME],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()
}

fn one_request(context: &Context<'_>, account: AccountId, key: KeyId) -> Result<(), GrowthError> {
    let meter = MeterId(keys::fresh_id(context.now_ms));
    done(store::open_meter(context, meter, &request(account, key)))?;
    done(store::charge(context, meter, 0, &[vec![1]]))?;
    done(store::close_meter(context, meter, "stop"))
}

fn done<T, E: std::fmt::Display>(outcome: Result<T, Failure<E>>) -> Result<(), GrowthError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Failure::Refused(refusal)) => Err(GrowthError::Refused(refusal.to_string())),
        Err(Failure::Database(error)) => Err(LedgerError::Sqlite(error).into()),
    }
}
