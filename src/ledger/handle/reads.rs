//! Reads: each sees one commit, and blocks for the moment it takes.

use crate::ledger::{
    AccountId, AccountInfo, AccountTotals, GenerationRecord, Ledger, LedgerError, MeterId,
    VerifyReport, reader, verify,
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

    /// Proves every invariant on every row. Reads the whole of the books: not for a task.
    pub fn verify(&self) -> Result<VerifyReport, LedgerError> {
        self.inner.readers.read(verify::everything)
    }
}
