//! Puts a backup in the place of the books, which are kept under another name.
//!
//! Promises: the books' lock is held, so no server runs; what is put in place verified; at every
//! moment there are whole books under the name of the books, the old ones or the new ones; nothing
//! is deleted.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rusqlite::{Connection, OptionalExtension};

use super::backup::{self, ChainHead, chain_head};
use super::dates;
use super::errors::LedgerError;
use super::files::{self, beside};
use super::lock::Lock;
use super::server_keys::{ServerKeys, ServerKeysError};
use super::store::{Blob, connection};
use super::verify::{self, Finding, VerifyReport};

/// A backup that verified and waits to be put in place. Dropped, it changes nothing.
#[derive(Debug)]
pub struct Restore {
    /// What was verified in the backup.
    pub report: VerifyReport,
    /// Where its journal ends.
    pub head: ChainHead,
    /// What it takes the place of.
    pub replaces: Replaced,
    books: PathBuf,
    prepared: PathBuf,
    keys: Option<ServerKeys>,
    _lock: Lock,
}

/// What a backup takes the place of, compared with the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// There are no books.
    Nothing,
    /// The same books, perhaps later ones: the backup's journal is the beginning of theirs.
    Same {
        /// Transfers that the backup does not have.
        transfers: i64,
        /// What operators did that the backup does not have, such as revoked keys.
        operations: i64,
    },
    /// Other books: the backup's journal is not the beginning of theirs.
    Other {
        /// All of their transfers.
        transfers: i64,
    },
    /// They can not be read, and this is why.
    Unreadable(String),
}

impl Replaced {
    /// Whether the backup lacks something that they have, or may have.
    pub fn is_loss(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Same { transfers: 0, operations: 0 })
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where the books are that were there before.
    pub kept: Option<PathBuf>,
    /// Where the server's keys are that were there before, if the backup's are others.
    pub kept_keys: Option<PathBuf>,
    /// Whether the backup had the server's keys with it.
    pub has_keys: bool,
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such file.
    #[error("there is no backup at {0}")]
    NoBackup(PathBuf),
    /// The backup contradicts itself.
    #[error("the backup is damaged, nothing was changed: {0}; take another one")]
    Damaged(Finding),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        source: io::Error,
    },
    /// The server's keys could not be read or written.
    #[error(transparent)]
    Keys(#[from] ServerKeysError),
    /// The books are in use, or one of the two could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Restore {
    /// Copies `backup` beside the books at `books`, brings it to this program's schema, verifies
    /// it, and compares the two. Refuses while a server runs on the books.
    pub fn prepare(books: &Path, backup: &Path) -> Result<Self, RestoreError> {
        if !backup.exists() {
            return Err(RestoreError::NoBackup(backup.to_owned()));
        }
        let lock = Lock::take(books)?;
        let kept_keys = beside(backup, ".keys");
        let keys = if kept_keys.exists() { Some(ServerKeys::read(&kept_keys)?) } else { None };
        let prepared = files::partial(books);
        remove_database(&prepared).map_err(io_error(&prepared))?;
        let mut restore = Self {
            report: VerifyReport::default(),
            head: ChainHead { seq: 0, hash: [0; 32] },
            replaces: Replaced::Nothing,
            books: books.to_owned(),
            prepared,
            keys,
            _lock: lock,
        };
        backup::copy(&connection::any_version(backup)?, &restore.prepared)?;
        let conn = connection::writer(&restore.prepared)?;
        restore.report = verify::everything(&conn).map_err(LedgerError::Sqlite)?;
        if let Some(finding) = restore.report.findings.first() {
            return Err(RestoreError::Damaged(finding.clone()));
        }
        restore.head = chain_head(&conn).map_err(LedgerError::Sqlite)?;
        restore.replaces = compare(&conn, restore.head, books).map_err(LedgerError::Sqlite)?;
        // The last connection to go leaves one file without a WAL.
        conn.close().map_err(|(_, error)| LedgerError::Sqlite(error))?;
        Ok(restore)
    }

    /// Puts the backup in place. The books that were there keep their content under a name that
    /// tells when.
    pub fn carry_out(self, now_ms: i64) -> Result<Restored, RestoreError> {
        let suffix = format!(".before-restore-{}", dates::stamp(now_ms));
        let books = self.books.as_path();
        let mut done = Restored { kept: None, kept_keys: None, has_keys: self.keys.is_some() };
        if books.exists() {
            let kept = beside(books, &suffix);
            put_aside(books, &kept)?;
            done.kept = Some(kept);
        }
        if let Some(keys) = &self.keys {
            let path = ServerKeys::path_beside(books);
            if path.exists() && !ServerKeys::read(&path).is_ok_and(|there| there == *keys) {
                let kept = beside(&path, &suffix);
                fs::rename(&path, &kept).map_err(io_error(&path))?;
                done.kept_keys = Some(kept);
            }
            if !path.exists() {
                keys.write(&path)?;
            }
        }
        fs::rename(&self.prepared, books).map_err(io_error(books))?;
        files::sync_folder_of(books).map_err(io_error(books))?;
        Ok(done)
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Err(error) = remove_database(&self.prepared) {
            tracing::warn!(%error, "{} was left over", self.prepared.display());
        }
    }
}

/// What the books at `books` have that the backup, whose journal ends at `head`, has not.
fn compare(backup: &Connection, head: ChainHead, books: &Path) -> rusqlite::Result<Replaced> {
    if !books.exists() {
        return Ok(Replaced::Nothing);
    }
    let operations = |conn: &Connection| {
        conn.query_row("SELECT count(*) FROM audit", [], |row| row.get::<_, i64>(0))
    };
    let backed_up = operations(backup)?;
    // Damage to these books is a reason to restore, not an error.
    let compared = connection::any_version(books).and_then(|conn| {
        let last = chain_head(&conn)?.seq;
        let same = conn
            .query_row("SELECT hash FROM transfer WHERE seq=?1", [head.seq], |row| row.get(0))
            .optional()?
            .is_some_and(|Blob(hash)| hash == head.hash);
        let newer = (operations(&conn)? - backed_up).max(0);
        Ok(match head.seq == 0 || same {
            true => Replaced::Same { transfers: last - head.seq, operations: newer },
            false => Replaced::Other { transfers: last },
        })
    });
    Ok(compared.unwrap_or_else(|error| Replaced::Unreadable(error.to_string())))
}

/// Gives the books a second name, with all that their WAL holds. Their first name stays theirs
/// until the backup takes it, in one step.
fn put_aside(books: &Path, kept: &Path) -> Result<(), RestoreError> {
    // The last connection to close moves the WAL into the database and removes it. If it can not,
    // the WAL goes with its database below.
    let settled = Connection::open(books)
        .and_then(|conn| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
    if let Err(error) = settled {
        tracing::warn!(%error, "the books that were there are kept as they are");
    }
    if fs::hard_link(books, kept).is_err() {
        // A file system without links: for a moment there are no books under their name.
        fs::rename(books, kept).map_err(io_error(kept))?;
    }
    let (wal, kept_wal) = (beside(books, "-wal"), beside(kept, "-wal"));
    if wal.exists() {
        // Left here, SQLite would play it into the backup.
        fs::rename(&wal, &kept_wal).map_err(io_error(&kept_wal))?;
    }
    let shm = beside(books, "-shm");
    files::remove_if_there(&shm).map_err(io_error(&shm))
}

/// The prepared copy, and what SQLite and a migration put beside it.
fn remove_database(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal", ".v1"] {
        files::remove_if_there(&beside(path, suffix))?;
    }
    Ok(())
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> RestoreError + '_ {
    |source| RestoreError::Io { path: path.to_owned(), source }
}
