//! Reads: own connections that do not write, each used for one short transaction.
//! Promises: a read sees one commit, never waits for the writer, and never makes it wait.

mod figures;
mod generations;
mod notices;
pub(super) mod sales;
mod usage;

pub use figures::BooksFigures;
pub(in crate::ledger) use figures::figures;
pub(in crate::ledger) use generations::generations;
pub use generations::{BadCursor, GenerationPage, GenerationQuery, GenerationRow};
pub use notices::{LowBalance, NoticeRecord};
pub(in crate::ledger) use notices::{low_balance, notices, notices_due, notices_waiting};
pub use sales::AuditFilter;
pub use usage::{KeyName, UnknownGrouping, Usage, UsageBy, UsageQuery, UsageRow, UsageSums};
pub(in crate::ledger) use usage::{MAX_USAGE_ROWS, usage};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ledger::errors::LedgerError;
use crate::ledger::files::beside;
use crate::ledger::keys;
use crate::ledger::period;
use crate::ledger::store::{self, Blob, connection};
use crate::ledger::types::{
    AccountId, AccountInfo, AccountTotals, Credits, GenerationRecord, KeyId, KeyInfo, KeyUsage,
    LimitReset, MeterId, UserId,
};

/// Connections kept open between reads; more are opened while more reads run at once.
const MAX_IDLE: usize = 8;

/// The read connections of one ledger.
#[derive(Debug)]
pub(in crate::ledger) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(in crate::ledger) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()) }
    }

    /// Runs `query` in a read transaction of its own.
    pub(in crate::ledger) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let conn = match self.lock().pop() {
            Some(conn) => conn,
            None => connection::reader(&self.path)?,
        };
        // On an error the connection is dropped with whatever state it is in.
        let transaction = conn.unchecked_transaction()?;
        let value = query(&transaction)?;
        transaction.commit()?;
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE {
            idle.push(conn);
        }
        Ok(value)
    }

    /// How long the WAL is, in bytes.
    pub(in crate::ledger) fn wal_bytes(&self) -> u64 {
        let wal = std::fs::metadata(beside(&self.path, "-wal"));
        wal.map_or(0, |metadata| metadata.len())
    }

    /// How long the books' own file is, in bytes.
    pub(in crate::ledger) fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Closes the connections that no read uses.
    pub(in crate::ledger) fn close_idle(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const KEY_COLUMNS: &str = "k.id,k.account_id,a.name,a.plan,k.label,k.prefix,k.user_id,k.scopes,
    k.limit_credits,k.limit_reset,k.total_limit_credits,k.used,k.created_ms,k.expires_ms,
    k.revoked_ms IS NOT NULL,a.closed_ms IS NOT NULL,k.secret_hash,a.frozen_ms IS NOT NULL";

/// The key with this secret.
pub(in crate::ledger) fn find_key(
    conn: &Connection,
    secret: &str,
    now_ms: i64,
) -> rusqlite::Result<Option<KeyInfo>> {
    let hash = keys::secret_hash(secret);
    let sql = format!(
        "SELECT {KEY_COLUMNS},NULL FROM api_key k JOIN account a ON a.id=k.account_id
         WHERE k.secret_hash=?1"
    );
    let found = conn
        .prepare_cached(&sql)?
        .query_row([hash], |row| Ok((row.get::<_, Blob<32>>(16)?.0, key_info(row, now_ms)?)))
        .optional()?;
    // The index compares bytes one by one, but on a hash, which the caller does not control.
    Ok(found.filter(|(stored, _)| keys::same_hash(stored, &hash)).map(|(_, key)| key))
}

/// One key.
pub(in crate::ledger) fn key(
    conn: &Connection,
    key: KeyId,
    now_ms: i64,
) -> rusqlite::Result<Option<KeyInfo>> {
    let sql = format!(
        "SELECT {KEY_COLUMNS},NULL FROM api_key k JOIN account a ON a.id=k.account_id WHERE k.id=?1"
    );
    conn.prepare_cached(&sql)?.query_row([key], |row| key_info(row, now_ms)).optional()
}

/// The keys of this label that a user of the account made, in the order they were made.
pub(in crate::ledger) fn keys_named(
    conn: &Connection,
    account: AccountId,
    user: UserId,
    label: &str,
    now_ms: i64,
) -> rusqlite::Result<Vec<KeyInfo>> {
    let sql = format!(
        "SELECT {KEY_COLUMNS},NULL FROM api_key k JOIN account a ON a.id=k.account_id
         WHERE k.account_id=?1 AND k.user_id=?2 AND k.label=?3 ORDER BY k.id"
    );
    let mut select = conn.prepare_cached(&sql)?;
    select.query_map(params![account, user, label], |row| key_info(row, now_ms))?.collect()
}

/// An account's keys, in the order they were made.
pub(in crate::ledger) fn keys(
    conn: &Connection,
    account: AccountId,
    now_ms: i64,
) -> rusqlite::Result<Vec<KeyInfo>> {
    let sql = format!(
        "SELECT {KEY_COLUMNS},(SELECT max(opened_ms) FROM meter WHERE key_id=k.id)
         FROM api_key k JOIN account a ON a.id=k.account_id WHERE k.account_id=?1 ORDER BY k.id"
    );
    conn.prepare_cached(&sql)?.query_map([account], |row| key_info(row, now_ms))?.collect()
}

fn key_info(row: &Row<'_>, now_ms: i64) -> rusqlite::Result<KeyInfo> {
    let expires_ms: Option<i64> = row.get(13)?;
    Ok(KeyInfo {
        id: row.get(0)?,
        account: row.get(1)?,
        account_name: row.get(2)?,
        plan: row.get(3)?,
        label: row.get(4)?,
        prefix: row.get(5)?,
        user: row.get(6)?,
        scopes: row.get(7)?,
        limit: store::limit_of(row, 8)?,
        total_limit: row.get(10)?,
        used: row.get(11)?,
        created_ms: row.get(12)?,
        expires_ms,
        expired: expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms),
        revoked: row.get(14)?,
        account_closed: row.get(15)?,
        account_frozen: row.get(17)?,
        last_used_ms: row.get(18)?,
    })
}

const ACCOUNT_COLUMNS: &str = "id,name,plan,balance,credited,created_ms,closed_ms,frozen_ms,
    (SELECT coalesce(sum(used),0) FROM meter WHERE account_id=account.id AND state='open')";

/// Every team, in the order they were made.
pub(in crate::ledger) fn accounts(conn: &Connection) -> rusqlite::Result<Vec<AccountInfo>> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE kind='team' ORDER BY id");
    conn.prepare_cached(&sql)?.query_map([], account_info)?.collect()
}

/// One team.
pub(in crate::ledger) fn account(
    conn: &Connection,
    account: AccountId,
) -> rusqlite::Result<Option<AccountInfo>> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE kind='team' AND id=?1");
    conn.prepare_cached(&sql)?.query_row([account], account_info).optional()
}

fn account_info(row: &Row<'_>) -> rusqlite::Result<AccountInfo> {
    Ok(AccountInfo {
        id: row.get(0)?,
        name: row.get(1)?,
        plan: row.get(2)?,
        balance: row.get(3)?,
        total_credits: row.get(4)?,
        created_ms: row.get(5)?,
        closed_ms: row.get(6)?,
        frozen_ms: row.get(7)?,
        open: row.get(8)?,
    })
}

/// What a team has had and has.
pub(in crate::ledger) fn account_totals(
    conn: &Connection,
    account: AccountId,
) -> rusqlite::Result<Option<AccountTotals>> {
    conn.prepare_cached(
        "SELECT credited,credited-balance,balance FROM account WHERE id=?1 AND kind='team'",
    )?
    .query_row([account], |row| {
        Ok(AccountTotals {
            total_credits: row.get(0)?,
            total_usage: row.get(1)?,
            balance: row.get(2)?,
        })
    })
    .optional()
}

/// What a key has spent, seen from `now_ms`.
pub(in crate::ledger) fn key_usage(
    conn: &Connection,
    key: KeyId,
    now_ms: i64,
) -> rusqlite::Result<Option<KeyUsage>> {
    let stored = conn
        .prepare_cached(
            "SELECT limit_credits,limit_reset,total_limit_credits,period_start_ms,period_used,used
             FROM api_key WHERE id=?1",
        )?
        .query_row([key], |row| store::spending_of(row, 0))
        .optional()?;
    let Some(spending) = stored else { return Ok(None) };
    let mut sum = conn.prepare_cached(
        "SELECT coalesce(sum(used),0) FROM meter
         WHERE key_id=?1 AND opened_ms>=?2 AND state<>'reversed'",
    )?;
    let mut since = |reset| {
        sum.query_row(params![key, period::start(reset, now_ms)], |row| row.get::<_, Credits>(0))
    };
    let allowance = period::allowance(&spending, now_ms);
    Ok(Some(KeyUsage {
        usage: Credits(spending.used),
        daily: since(LimitReset::Daily)?,
        weekly: since(LimitReset::Weekly)?,
        monthly: since(LimitReset::Monthly)?,
        limit_remaining: allowance.period_remaining.map(Credits),
        total_remaining: allowance.total_remaining.map(Credits),
    }))
}

/// One generation of this account, with its ids if they are still there.
pub(in crate::ledger) fn generation(
    conn: &Connection,
    account: AccountId,
    meter: MeterId,
) -> rusqlite::Result<Option<GenerationRecord>> {
    let record = conn
        .prepare_cached(
            "SELECT id,account_id,key_id,model,model_digest,credits_per_token,streamed,
               input_tokens,output_tokens,used,state,finish_reason,ids_sha256,idempotency_key,
               body_hash,opened_ms,first_charge_ms,closed_ms
             FROM meter WHERE id=?1 AND account_id=?2",
        )?
        .query_row(params![meter, account], record)
        .optional()?;
    let Some(mut record) = record else { return Ok(None) };
    let choices = store::ids_by_choice(conn, meter)?;
    // Nothing was charged, or something was and is still there; else it was removed.
    if record.output_tokens == 0 || !choices.is_empty() {
        let decoded = choices.into_iter().map(|(choice, bytes)| (choice, decode_ids(&bytes)));
        record.token_ids = Some(decoded.collect::<BTreeMap<_, _>>());
    }
    Ok(Some(record))
}

fn record(row: &Row<'_>) -> rusqlite::Result<GenerationRecord> {
    Ok(GenerationRecord {
        id: row.get(0)?,
        account: row.get(1)?,
        key: row.get(2)?,
        model: row.get(3)?,
        model_digest: row.get::<_, Blob<32>>(4)?.0,
        credits_per_token: row.get(5)?,
        streamed: row.get(6)?,
        input_tokens: row.get(7)?,
        output_tokens: row.get(8)?,
        credits: row.get(9)?,
        state: row.get(10)?,
        finish_reason: row.get(11)?,
        ids_sha256: row.get::<_, Option<Blob<32>>>(12)?.map(|Blob(hash)| hash),
        idempotency_key: row.get(13)?,
        body_hash: row.get::<_, Blob<32>>(14)?.0,
        opened_ms: row.get(15)?,
        first_charge_ms: row.get(16)?,
        closed_ms: row.get(17)?,
        token_ids: None,
    })
}

fn decode_ids(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}
