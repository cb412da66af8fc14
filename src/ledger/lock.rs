//! One writing process: a lock file beside the books, held for as long as they are open.
//! The operating system lets go of it when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::errors::LedgerError;
use super::files::beside;

/// The held lock; dropping it lets go.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
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
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(LedgerError::Locked(lock_path)),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that this process has just forked still has it
        // open, and so the lock, until it runs another program.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the books' lock is let go of late");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lock_is_free_while_a_child_still_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let books = folder.path().join("ledger.db");
        let lock = Lock::take(&books).unwrap();
        let childs = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(&books), Err(LedgerError::Locked(_))));
        drop(lock);
        Lock::take(&books).unwrap();
        drop(childs);
    }
}
