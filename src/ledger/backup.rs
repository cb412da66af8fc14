//! A copy of the books while they are written to: one commit, in one file, proven before it has its
//! name. The server's keys go with it, as `NAME.keys`.
//!
//! The copy is made inside one read transaction. It holds the WAL's reset back for as long as the
//! copying takes, never the writer.
//! Promises: a file under the given name is a whole backup that verified; nothing is overwritten.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rusqlite::backup::Backup;
use rusqlite::{Connection, TransactionBehavior};

use super::errors::LedgerError;
use super::files::{self, beside};
use super::hash::GENESIS;
use super::server_keys::{ServerKeys, ServerKeysError};
use super::store::{Blob, connection};
use super::verify::{self, Finding, VerifyReport};

/// The last link of the journal's chain. It binds every transfer before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// The transfer's number; 0: the journal is empty.
    pub seq: i64,
    /// Its hash; zeroes when the journal is empty.
    pub hash: [u8; 32],
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// What was verified in it.
    pub report: VerifyReport,
    /// Where its journal ends.
    pub head: ChainHead,
    /// Its length.
    pub bytes: u64,
    /// Where the server's keys are; `None`: there are none yet.
    pub keys: Option<PathBuf>,
}

/// Why no backup was made. Nothing is left under its name.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there are no books at {0}: the first start makes them")]
    NoBooks(PathBuf),
    /// A backup never replaces a file.
    #[error("{0} is there already: give another name")]
    Exists(PathBuf),
    /// The copy contradicts itself, as the books then do.
    #[error("the books are damaged and were not backed up: {0}; restore an earlier backup")]
    Damaged(Finding),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        source: io::Error,
    },
    /// The server's keys could not be copied.
    #[error(transparent)]
    Keys(#[from] ServerKeysError),
    /// The books could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Copies the books at `books` into the new file `target`. A server may be running on them.
pub fn backup(books: &Path, target: &Path) -> Result<BackedUp, BackupError> {
    let keys = beside(target, ".keys");
    if !books.exists() {
        return Err(BackupError::NoBooks(books.to_owned()));
    }
    for taken in [target, keys.as_path()] {
        if taken.exists() {
            return Err(BackupError::Exists(taken.to_owned()));
        }
    }
    let partial = files::partial(target);
    let made = copy_and_verify(books, &partial).and_then(|(report, head, bytes)| {
        let server_keys = ServerKeys::path_beside(books);
        let keys = server_keys.exists().then_some(keys);
        if let Some(keys) = &keys {
            ServerKeys::read(&server_keys)?.write(keys)?;
        }
        if let Err(error) = files::publish(&partial, target) {
            // What failed first is what is told, here and below.
            let _ = keys.as_deref().map(files::remove_if_there);
            return Err(io_error(target)(error));
        }
        Ok(BackedUp { report, head, bytes, keys })
    });
    if made.is_err() {
        let _ = files::remove_if_there(&partial);
    }
    made
}

fn copy_and_verify(
    books: &Path,
    partial: &Path,
) -> Result<(VerifyReport, ChainHead, u64), BackupError> {
    files::remove_if_there(partial).map_err(io_error(partial))?;
    copy(&connection::reader(books)?, partial)?;
    let mut conn = connection::reader(partial)?;
    let snapshot = conn
        .transaction_with_behavior(TransactionBehavior::Deferred)
        .map_err(LedgerError::Sqlite)?;
    let report = verify::everything(&snapshot).map_err(LedgerError::Sqlite)?;
    if let Some(finding) = report.findings.first() {
        return Err(BackupError::Damaged(finding.clone()));
    }
    let head = chain_head(&snapshot).map_err(LedgerError::Sqlite)?;
    let bytes = fs::metadata(partial).map_err(io_error(partial))?.len();
    Ok((report, head, bytes))
}

/// Copies one commit of `source` into the new file `copy`, which is one file without a WAL.
pub(super) fn copy(source: &Connection, copy: &Path) -> Result<(), LedgerError> {
    let io = |source| LedgerError::Io { path: copy.to_owned(), source };
    let file = files::create_private(copy).map_err(io)?;
    let mut target = Connection::open(copy)?;
    // Until it has its name the file is worth nothing, so it is made safe once, at the end.
    target.pragma_update(None, "synchronous", "OFF")?;
    // All pages in one step: between two, the writer's commits would make it begin again.
    Backup::new(source, &mut target)?.run_to_completion(
        i32::MAX,
        Duration::from_millis(10),
        None,
    )?;
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)?;
    file.sync_all().map_err(io)
}

/// Where the journal ends.
pub(super) fn chain_head(conn: &Connection) -> rusqlite::Result<ChainHead> {
    let mut statement =
        conn.prepare_cached("SELECT seq,hash FROM transfer ORDER BY seq DESC LIMIT 1")?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        Some(row) => Ok(ChainHead { seq: row.get(0)?, hash: row.get::<_, Blob<32>>(1)?.0 }),
        None => Ok(ChainHead { seq: 0, hash: GENESIS }),
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
    |source| match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(path.to_owned()),
        _ => BackupError::Io { path: path.to_owned(), source },
    }
}
