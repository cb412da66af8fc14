//! Why a command was refused: one closed enum for each operation.
//! Promises: a refused command changed nothing. Messages give value, bound and remedy.

use std::path::PathBuf;

use super::server_keys::ServerKeysError;
use super::types::{AccountId, Balance, Credits, MeterId, NoticeId};
use super::verify::Finding;

/// The ledger can not take or answer a command. After a restart the books say whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The queue is full; nothing was done.
    #[error("the ledger's queue is full: try again shortly")]
    Busy,
    /// Writing failed, and the ledger takes nothing more until it is reopened.
    #[error("the ledger could not write and has stopped: see the log, free space, restart")]
    Failed,
    /// The ledger was shut down.
    #[error("the ledger is shut down")]
    Stopped,
    /// The command broke a rule of the database that it should have checked; it was undone.
    #[error("the ledger undid a command that broke its rules: see the log")]
    Broken,
}

/// An argument outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct Invalid {
    /// Which argument.
    pub field: &'static str,
    /// What it has to be.
    pub rule: String,
}

/// Why an account was not created or closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Another account has this name.
    #[error("there already is an account named {0:?}: choose another name")]
    NameTaken(String),
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a key was not created or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The account is closed.
    #[error("account {0} is closed: it gets no new keys")]
    AccountClosed(AccountId),
    /// There is no such key.
    #[error("there is no such key")]
    UnknownKey,
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why credits were not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The account is closed.
    #[error("account {0} is closed: it takes no credits")]
    AccountClosed(AccountId),
    /// This command id was used for another grant.
    #[error("this idempotency key was used for another grant: use a new one")]
    Conflict,
    /// All grants together would pass the bound below which no sum of credits can overflow.
    #[error("grants would pass {bound} credits in all: grant less")]
    TooMuchInAll {
        /// The most that may ever be granted on one server.
        bound: Credits,
    },
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a notice was not set, or not recorded as tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// There is no such notice.
    #[error("there is no notice {0}")]
    UnknownNotice(NoticeId),
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why usage was not summed up.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The groups are more than one answer holds.
    #[error("more than {max} rows: take a shorter time, or group by less")]
    TooManyRows {
        /// The bound.
        max: usize,
    },
    /// The books could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why no meter was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The balance cannot pay one token.
    #[error("one token costs {needed} credits and the balance is {balance}: add credits")]
    Insufficient {
        /// The price of one token.
        needed: Credits,
        /// The account's balance.
        balance: Balance,
    },
    /// The key's limit leaves less than one token.
    #[error("one token costs {needed} credits and the key's limit leaves {remaining}")]
    KeyLimit {
        /// The price of one token.
        needed: Credits,
        /// What the key may still spend.
        remaining: Credits,
        /// When the limit starts again, Unix milliseconds; `None`: never.
        resets_ms: Option<i64>,
    },
    /// The same request was answered before, by this meter: send that answer again, for 0 credits.
    #[error("answered before, by generation {0}")]
    Replay(MeterId),
    /// The idempotency key was used with another body.
    #[error("this Idempotency-Key was used with another request body: use a new key")]
    Conflict,
    /// The same request is being answered now, by this meter.
    #[error("the request with this Idempotency-Key is still running, as generation {0}")]
    StillRunning(MeterId),
    /// The account is closed.
    #[error("the account is closed")]
    AccountClosed,
    /// The account is frozen.
    #[error("the account is frozen")]
    AccountFrozen,
    /// The key is revoked.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The account has no such key.
    #[error("the account has no such key")]
    UnknownKey,
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why nothing was charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// The balance cannot pay the first group.
    #[error("the next tokens cost {needed} credits and the balance is {balance}")]
    Insufficient {
        /// The price of the first group.
        needed: Credits,
        /// The account's balance.
        balance: Balance,
    },
    /// The key's limit cannot pay the first group.
    #[error("the next tokens cost {needed} credits and the key's limit leaves {remaining}")]
    KeyLimit {
        /// The price of the first group.
        needed: Credits,
        /// What the key may still spend.
        remaining: Credits,
    },
    /// The meter is closed or reversed.
    #[error("the meter is closed")]
    MeterClosed,
    /// There is no such meter.
    #[error("there is no such meter")]
    UnknownMeter,
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a meter was not closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The meter was reversed, so it can not be closed as spent.
    #[error("the meter is reversed")]
    Reversed,
    /// There is no such meter.
    #[error("there is no such meter")]
    UnknownMeter,
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why the books could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process has them open.
    #[error(
        "another mizan process uses these books (it holds {0}): stop it, or give the command to \
         the running server"
    )]
    Locked(PathBuf),
    /// SQLite is older than the first version without the WAL-reset corruption bug.
    #[error(
        "SQLite is {found} and has a bug that can corrupt the books: 3.51.3 or later is needed"
    )]
    OldSqlite {
        /// The version linked.
        found: &'static str,
    },
    /// The file is some other SQLite database.
    #[error("{0} is not a mizan ledger: give another data folder")]
    NotALedger(PathBuf),
    /// The file system can not hold a write-ahead log.
    #[error("{0}: the file system can not hold a write-ahead log: use a local disk")]
    NoWal(PathBuf),
    /// A newer mizan wrote the books.
    #[error("the books have schema {found}, this mizan knows up to {known}: use a newer mizan")]
    NewerSchema {
        /// The file's schema version.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// An older mizan wrote the books, and they are open for reading only.
    #[error("the books have schema {found}, this mizan reads {known}: start the server once")]
    OlderSchema {
        /// The file's schema version.
        found: i64,
        /// The version this program reads.
        known: i64,
    },
    /// A migration would break what refers to what; nothing was changed.
    #[error(
        "the books have schema {found} and can not be brought to {version}: rows refer to rows \
         that are not there; run `mizan ledger verify` of the version that wrote them"
    )]
    Migration {
        /// The file's schema version.
        found: i64,
        /// The version that was to be made.
        version: i64,
    },
    /// The books contradict themselves.
    #[error("the books are damaged, nothing was changed: {0}; restore a backup")]
    Damaged(Finding),
    /// The server's keys, which belong to the books, could not be read or made.
    #[error(transparent)]
    Keys(#[from] ServerKeysError),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        source: std::io::Error,
    },
    /// SQLite failed.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
}
