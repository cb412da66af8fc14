//! Opens the database as this ledger needs it: one writer, many readers, the same rules on all.
//! Promises: every connection has `recursive_triggers` on; without it `INSERT OR REPLACE` deletes
//! rows behind the append-only triggers' back.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::ledger::errors::LedgerError;

/// What fresh books are made of: the newest version. The books' `user_version` says which they
/// have.
const SCHEMA: &str = include_str!("../schema.sql");

/// What brings books of version 1 to 2, and so on. Frozen once released: books out there had them.
const MIGRATIONS: &[&str] =
    &[include_str!("../migrations/2.sql"), include_str!("../migrations/3.sql")];

/// "Mizn": marks the file as ours.
const APPLICATION_ID: i64 = 0x4d69_7a6e;

/// 3.7.0 to 3.51.2 can corrupt a database when its WAL is reset.
const MIN_SQLITE: i32 = 3_051_003;

/// The write connection. Creates the books if there are none, and brings old ones up to date.
pub(crate) fn writer(path: &Path) -> Result<Connection, LedgerError> {
    check_sqlite_version()?;
    create_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = open(path, flags)?;
    let found = schema_version(&conn, path)?;
    // KiB. What charges touch is the right edge of each tree, the open meters, and the pages above
    // them: a few MiB at ten million rows. SQLite's 2 MiB would also have to hold what a batch
    // changed, and reading a page again costs more than the memory.
    conn.pragma_update(None, "cache_size", -65_536)?;
    // Checkpoints are the writer's own: SQLite's automatic ones run inside somebody's commit.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(LedgerError::NoWal(path.to_owned()));
    }
    match found {
        0 => create(&mut conn)?,
        _ => migrate(&mut conn, path, found)?,
    }
    conn.pragma_update(None, "foreign_keys", true)?;
    Ok(conn)
}

/// A connection that does not write. The books have to exist, in the schema of this program.
pub(crate) fn reader(path: &Path) -> Result<Connection, LedgerError> {
    let conn = any_version(path)?;
    let (found, known) = (schema_version(&conn, path)?, newest());
    if found < known {
        return Err(LedgerError::OlderSchema { found, known });
    }
    Ok(conn)
}

/// A connection that does not write, to books of this or an older schema. They have to exist.
pub(crate) fn any_version(path: &Path) -> Result<Connection, LedgerError> {
    check_sqlite_version()?;
    // Not READ_ONLY: SQLite then forgets the CHECK constraints, and `integrity_check` passes over
    // them (tried, 3.53.2). It still opens books that may only be read.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = open(path, flags)?;
    conn.pragma_update(None, "query_only", true)?;
    // The last connection to go would move the WAL into the database: that is the writer's to do.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if schema_version(&conn, path)? == 0 {
        return Err(LedgerError::NotALedger(path.to_owned()));
    }
    Ok(conn)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, LedgerError> {
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.pragma_update(None, "recursive_triggers", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // A mapped page that a failing disk can not read kills the process instead of failing a read.
    conn.pragma_update(None, "mmap_size", 0)?;
    Ok(conn)
}

fn check_sqlite_version() -> Result<(), LedgerError> {
    if rusqlite::version_number() < MIN_SQLITE {
        return Err(LedgerError::OldSqlite { found: rusqlite::version() });
    }
    Ok(())
}

fn newest() -> i64 {
    MIGRATIONS.len() as i64 + 1
}

/// The books' version, 0 if they are empty; an error unless they are ours, and not from the future.
fn schema_version(conn: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let number = |pragma| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let not_ours = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => LedgerError::NotALedger(path.to_owned()),
        _ => error.into(),
    };
    let application = number("application_id").map_err(not_ours)?;
    let found = number("user_version").map_err(not_ours)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = application == 0 && found == 0 && tables == 0;
    if !empty && application != APPLICATION_ID {
        return Err(LedgerError::NotALedger(path.to_owned()));
    }
    if found > newest() {
        return Err(LedgerError::NewerSchema { found, known: newest() });
    }
    Ok(found)
}

/// Writes the schema into an empty file, in one transaction.
fn create(conn: &mut Connection) -> Result<(), LedgerError> {
    conn.pragma_update(None, "synchronous", "FULL")?;
    let transaction = conn.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest())?;
    transaction.commit()?;
    Ok(())
}

/// Applies what is missing, each version in its own transaction. The books as they were are kept
/// beside the new ones, as `ledger.db.v1`.
fn migrate(conn: &mut Connection, path: &Path, found: i64) -> Result<(), LedgerError> {
    if found == newest() {
        return Ok(());
    }
    keep_copy(conn, path, found)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Tables are made anew and renamed, which must not touch what refers to them.
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "legacy_alter_table", true)?;
    for (version, sql) in (2_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = conn.transaction()?;
        transaction.execute_batch(sql)?;
        if transaction.prepare("PRAGMA foreign_key_check")?.exists([])? {
            return Err(LedgerError::Migration { found, version });
        }
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        tracing::info!(version, "brought the books to a newer schema");
    }
    conn.pragma_update(None, "legacy_alter_table", false)?;
    Ok(())
}

/// A whole copy of the books, made once: an earlier try at the same migration may have left one.
fn keep_copy(conn: &Connection, path: &Path, version: i64) -> Result<(), LedgerError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".v{version}"));
    let copy = Path::new(&name);
    let io = |source| LedgerError::Io { path: copy.to_owned(), source };
    if copy.exists() {
        std::fs::remove_file(copy).map_err(io)?;
    }
    create_private(copy)?;
    conn.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
    Ok(())
}

/// Creates the file readable by its owner alone; SQLite gives its WAL the same permissions.
fn create_private(path: &Path) -> Result<(), LedgerError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let io = |source| LedgerError::Io { path: path.to_owned(), source };
    options.open(path).map(drop).map_err(io)
}
