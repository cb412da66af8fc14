//! Opens the file: for its owner alone, with a write-ahead log, and so that removed text is
//! overwritten.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::StoreError;

const SCHEMA: &str = include_str!("schema.sql");

/// The version of [`SCHEMA`], which the file's `user_version` tells.
const VERSION: i64 = 1;

/// "MizR": marks the file as ours.
const APPLICATION_ID: i64 = 0x4d69_7a52;

/// The connection that writes. Makes the file if there is none.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    create_private(path)?;
    let mut conn = open(path)?;
    let is_new = check_version(&conn, path)?;
    if is_new {
        // Only a file without tables can be made so.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "journal_size_limit", 16 << 20)?;
    // A commit survives a kill; a power cut may take the last ones, which cost nobody anything.
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "secure_delete", true)?;
    if is_new {
        let transaction = conn.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(conn)
}

/// A connection that does not write, to a file that is there.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let conn = open(path)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// Gives some of the place of removed rows back, in the file and in its log; true if there is more.
pub(super) fn shrink_in_part(writer: &Connection) -> Result<bool, StoreError> {
    let free = || writer.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
    let before = free()?;
    // Each step of the statement gives back one page.
    let mut vacuum = writer.prepare("PRAGMA incremental_vacuum(2000)")?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    drop(steps);
    writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let after = free()?;
    Ok(0 < after && after < before)
}

/// Removes the file and all that is in it; nothing may have it open.
pub fn discard(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let file = PathBuf::from(name);
        match fs::remove_file(&file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path: file, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // A mapped page that a failing disk can not read kills the process instead of failing a read.
    conn.pragma_update(None, "mmap_size", 0)?;
    Ok(conn)
}

/// Whether the file is empty; an error unless it is ours, and not from the future.
fn check_version(conn: &Connection, path: &Path) -> Result<bool, StoreError> {
    let number = |pragma| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let not_ours = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::NotAStore(path.to_owned()),
        _ => error.into(),
    };
    let application = number("application_id").map_err(not_ours)?;
    let found = number("user_version").map_err(not_ours)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && found == 0 && tables == 0 {
        return Ok(true);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::NotAStore(path.to_owned()));
    }
    if found > VERSION {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: VERSION });
    }
    Ok(false)
}

/// Creates the file readable by its owner alone; SQLite gives its log the same permissions.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    options.open(path).map(drop).map_err(io)
}
