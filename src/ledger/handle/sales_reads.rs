//! Reads of orders, refunds, vouchers, money and the audit.

use crate::ledger::{
    AccountId, AuditEntry, AuditFilter, Ledger, LedgerError, Mismatch, PaidDay, PaymentEventInfo,
    RefundInfo, TopupFilter, TopupId, TopupInfo, VoucherBatch, reader::sales, store,
};

impl Ledger {
    /// One order, whosever it is.
    pub fn topup(&self, id: TopupId) -> Result<Option<TopupInfo>, LedgerError> {
        self.inner.readers.read(|conn| store::topup(conn, id))
    }

    /// The order that its provider knows by this name.
    pub fn topup_of_order(
        &self,
        provider: &str,
        provider_order_id: &str,
    ) -> Result<Option<TopupInfo>, LedgerError> {
        self.inner.readers.read(|conn| store::topup_of_order(conn, provider, provider_order_id))
    }

    /// An account's orders, the latest first; at most 500.
    pub fn topups(&self, account: AccountId) -> Result<Vec<TopupInfo>, LedgerError> {
        let filter = TopupFilter { account: Some(account), limit: 500, ..TopupFilter::default() };
        self.all_topups(&filter)
    }

    /// Orders of all accounts, the latest first.
    pub fn all_topups(&self, filter: &TopupFilter) -> Result<Vec<TopupInfo>, LedgerError> {
        self.inner.readers.read(|conn| sales::all_topups(conn, filter))
    }

    /// Orders to ask their providers about: those that wait, and those made after `since_ms` that
    /// ended without money, which may still come. What was asked about longest ago comes first.
    pub fn topups_waiting(&self, since_ms: i64) -> Result<Vec<TopupInfo>, LedgerError> {
        self.inner.readers.read(|conn| sales::topups_waiting(conn, since_ms))
    }

    /// What providers told about an order, as it came, the earliest first.
    pub fn payment_events(&self, topup: TopupId) -> Result<Vec<PaymentEventInfo>, LedgerError> {
        self.inner.readers.read(|conn| sales::payment_events(conn, topup))
    }

    /// An order's refunds, in the order they were begun.
    pub fn refunds(&self, topup: TopupId) -> Result<Vec<RefundInfo>, LedgerError> {
        self.inner.readers.read(|conn| sales::refunds(conn, topup))
    }

    /// Refunds that have not ended, the earliest first.
    pub fn refunds_pending(&self) -> Result<Vec<RefundInfo>, LedgerError> {
        self.inner.readers.read(sales::refunds_pending)
    }

    /// Money in and out by day of Kuwait, pack and provider, the latest day first.
    pub fn revenue(&self) -> Result<Vec<PaidDay>, LedgerError> {
        self.inner.readers.read(sales::revenue)
    }

    /// Batches of vouchers, the latest first. Vouchers can not be listed.
    pub fn voucher_batches(&self) -> Result<Vec<VoucherBatch>, LedgerError> {
        self.inner.readers.read(sales::voucher_batches)
    }

    /// What waits for the operator because a payment did not fit its order, the earliest first.
    pub fn mismatches(&self) -> Result<Vec<Mismatch>, LedgerError> {
        self.inner.readers.read(store::mismatches)
    }

    /// What operators did, the latest first.
    pub fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, LedgerError> {
        self.inner.readers.read(|conn| sales::audit(conn, filter))
    }
}
