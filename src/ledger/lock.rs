//! One writing process: a lock file beside the books, held for as long as they are open.
//! The operating system lets go of it when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::errors::LedgerError;
use super::files::beside;

/// The held lock; dropping it lets go.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the books at `path`, without waiting.
    pub(super) fn take(path: &Path) -> Result<Self, LedgerError> {
        let lock_path = beside(path, ".lock");
        let io = |source| LedgerError::Io { path: lock_path.clone(), source };
        // The file stays when the lock goes: removing it would let two processes lock two files.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LedgerError::Locked(lock_path)),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}
