//! Responses that callers may ask for again, and the conversations that they form, in SQLite.
//!
//! A file of its own, not the ledger's: the books have to stay small enough to be proven row by
//! row, nothing in them is ever removed, and they are copied and handed to auditors. This is
//! private text. Its owner may remove it, it ends by itself after a set time, and to lose it costs
//! nobody a credit, so it is not in backups and a power cut may take the newest of it.
//!
//! Promises: an account reads and removes its own rows only; what was removed or is too old is
//! never given out, and is overwritten in the file; an account keeps a bounded amount, the newest
//! of it; a conversation has a bounded length.
//! Never knows: HTTP, credits, what the JSON says.

mod connection;
mod error;
mod sweep;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

pub use connection::discard;
pub use error::{ConversationError, StoreError};
pub use sweep::Sweep;

/// Bytes that an account keeps in all; the oldest leave first.
const MAX_ACCOUNT_BYTES: i64 = 256 << 20;

/// Responses that one conversation goes on through, and their bytes.
const MAX_DEPTH: i64 = 1_000;
const MAX_CONVERSATION_BYTES: i64 = 16 << 20;

/// Rows removed in one transaction: others want to write, too.
const ROWS_AT_A_TIME: usize = 200;

/// The open store. Clones share it. All calls block, for as long as a disk takes.
#[derive(Clone, Debug)]
pub struct Responses {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    retain_ms: i64,
    max_account_bytes: i64,
}

/// A response that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewResponse {
    /// Unique.
    pub id: String,
    /// Whose it is.
    pub account: i64,
    /// The response that it goes on from, of the same account.
    pub previous: Option<String>,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// What was asked: JSON, an array of items.
    pub input: String,
    /// What was answered: JSON, an object.
    pub body: String,
}

/// A response that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// As [`NewResponse::id`].
    pub id: String,
    /// The response that it goes on from, which may be gone.
    pub previous: Option<String>,
    /// JSON, an array of items.
    pub input: String,
    /// JSON, an object.
    pub body: String,
    depth: i64,
    total_bytes: i64,
}

/// A response and those it goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Oldest first; the last is the one that was asked for.
    pub responses: Vec<StoredResponse>,
    /// The response that the first one goes on from, and that is not kept any more.
    pub missing: Option<String>,
}

impl Responses {
    /// Opens the store at `path`, and makes it if it is not there. Responses are given out for
    /// `retain` after they were made.
    pub fn open(path: &Path, retain: Duration) -> Result<Self, StoreError> {
        let inner = Inner {
            writer: Mutex::new(connection::writer(path)?),
            reader: Mutex::new(connection::reader(path)?),
            retain_ms: i64::try_from(retain.as_millis()).unwrap_or(i64::MAX),
            max_account_bytes: MAX_ACCOUNT_BYTES,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Keeps a response; one with this id that is there already stays as it is.
    ///
    /// Survives a kill once it returns.
    pub fn keep(&self, new: &NewResponse) -> Result<(), StoreError> {
        let bytes = (new.input.len() + new.body.len()) as i64;
        let mut writer = self.writer();
        let transaction = writer.transaction()?;
        let (depth, total_bytes) = match &new.previous {
            Some(previous) => extent(&transaction, new.account, previous)?.unwrap_or((0, 0)),
            None => (0, 0),
        };
        transaction
            .prepare_cached(
                "INSERT INTO response
                     (id, account, previous, created_ms, depth, total_bytes, bytes, input, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![
                new.id,
                new.account,
                new.previous,
                new.created_ms,
                depth + 1,
                total_bytes + bytes,
                bytes,
                new.input,
                new.body,
            ])?;
        make_room(&transaction, new.account, self.inner.max_account_bytes)?;
        transaction.commit()?;
        Ok(())
    }

    /// A response of this account.
    pub fn find(
        &self,
        account: i64,
        id: &str,
        now_ms: i64,
    ) -> Result<Option<StoredResponse>, StoreError> {
        let reader = self.reader();
        self.find_with(&reader, account, id, now_ms)
    }

    /// A response of this account, and all that came before it.
    pub fn conversation(
        &self,
        account: i64,
        id: &str,
        now_ms: i64,
    ) -> Result<Conversation, ConversationError> {
        let reader = self.reader();
        let last = self.find_with(&reader, account, id, now_ms)?;
        let last = last.ok_or_else(|| ConversationError::Unknown { id: id.to_owned() })?;
        if last.depth >= MAX_DEPTH || last.total_bytes > MAX_CONVERSATION_BYTES {
            return Err(ConversationError::TooLong {
                responses: last.depth,
                max_responses: MAX_DEPTH,
                bytes: last.total_bytes,
                max_bytes: MAX_CONVERSATION_BYTES,
            });
        }
        let mut next = last.previous.clone();
        let mut responses = vec![last];
        // As long as the last one says; fewer where one is gone.
        while let Some(id) = &next {
            let Some(found) = self.find_with(&reader, account, id, now_ms)? else { break };
            next.clone_from(&found.previous);
            responses.push(found);
        }
        responses.reverse();
        Ok(Conversation { responses, missing: next })
    }

    /// Removes a response of this account; false if there is none.
    pub fn remove(&self, account: i64, id: &str, now_ms: i64) -> Result<bool, StoreError> {
        let removed = self
            .writer()
            .prepare_cached(
                "DELETE FROM response WHERE id = ?1 AND account = ?2 AND created_ms > ?3",
            )?
            .execute(params![id, account, self.oldest_ms(now_ms)])?;
        Ok(removed > 0)
    }

    /// Removes all that an account keeps.
    pub fn remove_account(&self, account: i64) -> Result<usize, StoreError> {
        self.remove_in_parts("account = ?1", account)
    }

    /// Removes what is too old to be given out, and gives its place in the file back.
    pub fn remove_expired(&self, now_ms: i64) -> Result<usize, StoreError> {
        let removed = self.remove_in_parts("created_ms <= ?1", self.oldest_ms(now_ms))?;
        if removed > 0 {
            // Others may write in between.
            while connection::shrink_in_part(&self.writer())? {}
        }
        Ok(removed)
    }

    fn remove_in_parts(&self, which: &str, value: i64) -> Result<usize, StoreError> {
        let sql = format!(
            "DELETE FROM response WHERE seq IN
                 (SELECT seq FROM response WHERE {which} LIMIT {ROWS_AT_A_TIME})"
        );
        let mut removed = 0;
        loop {
            let part = self.writer().prepare_cached(&sql)?.execute([value])?;
            removed += part;
            if part < ROWS_AT_A_TIME {
                return Ok(removed);
            }
        }
    }

    fn find_with(
        &self,
        reader: &Connection,
        account: i64,
        id: &str,
        now_ms: i64,
    ) -> Result<Option<StoredResponse>, StoreError> {
        let found = reader
            .prepare_cached(
                "SELECT id, previous, input, body, depth, total_bytes FROM response
                 WHERE id = ?1 AND account = ?2 AND created_ms > ?3",
            )?
            .query_row(params![id, account, self.oldest_ms(now_ms)], read_row)
            .optional()?;
        Ok(found)
    }

    /// What was made then or before is no longer given out.
    fn oldest_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.inner.retain_ms)
    }

    /// A panic of another thread left no transaction open: it was rolled back as it went.
    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<StoredResponse> {
    Ok(StoredResponse {
        id: row.get(0)?,
        previous: row.get(1)?,
        input: row.get(2)?,
        body: row.get(3)?,
        depth: row.get(4)?,
        total_bytes: row.get(5)?,
    })
}

/// How many responses a conversation has up to `id`, and how many bytes.
fn extent(
    transaction: &Transaction<'_>,
    account: i64,
    id: &str,
) -> Result<Option<(i64, i64)>, StoreError> {
    let extent = transaction
        .prepare_cached("SELECT depth, total_bytes FROM response WHERE id = ?1 AND account = ?2")?
        .query_row(params![id, account], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(extent)
}

/// Removes an account's oldest responses until it keeps at most `max_bytes`.
fn make_room(
    transaction: &Transaction<'_>,
    account: i64,
    max_bytes: i64,
) -> Result<(), StoreError> {
    let mut used =
        transaction.prepare_cached("SELECT bytes FROM account_use WHERE account = ?1")?;
    let mut remove_oldest = transaction.prepare_cached(
        "DELETE FROM response WHERE seq =
             (SELECT seq FROM response WHERE account = ?1 ORDER BY created_ms, seq LIMIT 1)",
    )?;
    while used.query_row([account], |row| row.get::<_, i64>(0)).optional()? > Some(max_bytes) {
        if remove_oldest.execute([account])? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
