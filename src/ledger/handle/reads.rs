//! Reads: each sees one commit, and blocks for the moment it takes.

use crate::ledger::{
    AccountId, AccountInfo, AccountTotals, BooksFigures, ChainHead, GenerationRecord, Ledger,
    LedgerError, MeterId, VerifyReport, backup, reader, verify,
};

impl Ledger {
    /// Every account but the house's.
    pub fn accounts(&self) -> Result<Vec<AccountInfo>, LedgerError> {
        self.inner.readers.read(reader::accounts)
    }

    /// One account.
    pub fn account(&self, account: AccountId) -> Result<Option<AccountInfo>, LedgerError> {
        self.inner.readers.read(|conn| reader::account(conn, account))
    }

    /// What an account has had and has; `None`: there is no such account.
    pub fn account_totals(&self, account: AccountId) -> Result<Option<AccountTotals>, LedgerError> {
        self.inner.readers.read(|conn| reader::account_totals(conn, account))
    }

    /// One generation, if it is this account's.
    pub fn generation(
        &self,
        account: AccountId,
        meter: MeterId,
    ) -> Result<Option<GenerationRecord>, LedgerError> {
        self.inner.readers.read(|conn| reader::generation(conn, account, meter))
    }

    /// The last link of the journal's chain.
    pub fn chain_head(&self) -> Result<ChainHead, LedgerError> {
        self.inner.readers.read(backup::chain_head)
    }

    /// How long the write-ahead log is, in bytes: it grows while something holds a checkpoint back.
    pub fn wal_bytes(&self) -> u64 {
        self.inner.readers.wal_bytes()
    }

    /// How long the books' own file is, in bytes, the write-ahead log not counted.
    pub fn file_bytes(&self) -> u64 {
        self.inner.readers.file_bytes()
    }

    /// The books in figures.
    pub fn figures(&self) -> Result<BooksFigures, LedgerError> {
        self.inner.readers.read(reader::figures)
    }

    /// Commands that wait for the writer.
    pub fn waiting(&self) -> usize {
        self.inner.gauges.waiting()
    }

    /// Proves every invariant on every row. Reads the whole of the books: not for a task.
    pub fn verify(&self) -> Result<VerifyReport, LedgerError> {
        self.inner.readers.read(verify::everything)
    }
}
